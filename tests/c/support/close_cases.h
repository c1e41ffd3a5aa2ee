/* Closing, whenever and from wherever: on memory: by test_close, on Redis by test_close_redis. */
#ifndef TEST_CLOSE_CASES_H
#define TEST_CLOSE_CASES_H

/* The number of tests that failed. */
int close_cases(const char *cache);

#endif
