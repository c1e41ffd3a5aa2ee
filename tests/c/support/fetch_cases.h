/* Calls that block, and what goes on behind them: on memory: by test_fetch, on Redis by test_fetch_redis. */
#ifndef TEST_FETCH_CASES_H
#define TEST_FETCH_CASES_H

/* The number of tests that failed. */
int fetch_cases(const char *cache);

#endif
