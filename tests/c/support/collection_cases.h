/* Documents and pages through the cache: the cases that hold on every cache. */
#ifndef TEST_COLLECTION_CASES_H
#define TEST_COLLECTION_CASES_H

/* The number of tests that failed. */
int collection_cases(const char *cache);

#endif
