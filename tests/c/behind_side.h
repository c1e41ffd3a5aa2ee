/* Tests of the write-behind operations, each by a side of its own, on an empty Redis, in epoch 5. */
#ifndef BEHIND_SIDE_H
#define BEHIND_SIDE_H

#include "behind_ops.h"

static side us;
static redisContext *redis;

static int set_up(void **state) {
    (void)state;
    watchdog(110);
    redis = redis_open(redis_url());
    redis_do(redis, "FLUSHALL");
    side_open(&us, redis_url(), "on");
    epoch(&us, 5);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    side_close(&us);
    redisFree(redis);
    return 0;
}

#endif
