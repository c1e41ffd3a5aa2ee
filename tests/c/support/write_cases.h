/* What writes do, on whatever cache: run by test_write (memory:) and test_write_redis. */
#ifndef TEST_WRITE_CASES_H
#define TEST_WRITE_CASES_H

int write_cases(const char *cache_url); /* returns how many failed */

#endif
