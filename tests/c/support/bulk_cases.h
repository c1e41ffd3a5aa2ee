/* What bulk calls do, on whatever cache: run by test_bulk (memory:) and test_bulk_redis. */
#ifndef TEST_BULK_CASES_H
#define TEST_BULK_CASES_H

int bulk_cases(const char *cache_url); /* returns how many failed */

#endif
