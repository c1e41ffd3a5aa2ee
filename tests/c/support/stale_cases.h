/* Values past their time, on whatever cache: run by test_stale (memory:) and test_stale_redis. */
#ifndef TEST_STALE_CASES_H
#define TEST_STALE_CASES_H

int stale_cases(const char *cache_url); /* returns how many failed */

#endif
