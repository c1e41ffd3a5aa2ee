/* fork() with a pond over Redis. */
#include "support/fork_cases.h"
#include "support/redis.h"

int main(void) { return fork_cases(redis_url(), true); }
