/* Many loops on one pond over Redis. */
#include "support/lane_cases.h"
#include "support/redis.h"

int main(void) { return lane_cases(redis_url()); }
