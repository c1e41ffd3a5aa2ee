/* Who shares a load: the cases that hold on every cache. test_flight runs them on memory:, test_flight_redis on Redis. */
#ifndef TEST_FLIGHT_CASES_H
#define TEST_FLIGHT_CASES_H

/* The number of tests that failed. */
int flight_cases(const char *cache);

#endif
