/* Changes of a collection's documents: the cases that hold on every cache. */
#ifndef TEST_DOCUMENT_CASES_H
#define TEST_DOCUMENT_CASES_H

/* The number of tests that failed. */
int document_cases(const char *cache);

#endif
