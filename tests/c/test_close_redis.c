/* Closing on Redis. */
#include "support/close_cases.h"
#include "support/redis.h"

int main(void) { return close_cases(redis_url()); }
