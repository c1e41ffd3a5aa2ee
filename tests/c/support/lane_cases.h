/* Many loops on one pond: on memory: by test_lanes, on Redis by test_lanes_redis. */
#ifndef TEST_LANE_CASES_H
#define TEST_LANE_CASES_H

/* The number of tests that failed. */
int lane_cases(const char *cache);

#endif
