/* Redis, to the random tests of what is written behind. */
#ifndef BEHIND_ON_REDIS_H
#define BEHIND_ON_REDIS_H

#include "behind_ops.h"

enum {
    REMOTE = 1,   /* each operation is a round trip */
    VERSIONED = 1 /* a cached absence has its version */
};

static side us;
static redisContext *redis;

static void begin(void) {
    redis = redis_open(redis_url());
    side_open(&us, redis_url(), "on");
}

static void end(void) {
    side_close(&us);
    redisFree(redis);
}

/* The server's history is another one from here on. */
static void lose_history(void) {
    redis_do(redis, "DEL mp:f");
    side_close(&us); /* the next connection looks at once */
    side_open(&us, redis_url(), "on");
}

static void drop_value(const char *key) { redis_evict(redis, key); }
static inline void drop_lease(const char *key) { redis_do(redis, "DEL mp:bl:{b:0}%s", key); }
static inline void drop_caches(void) { redis_do(redis, "SCRIPT FLUSH"); }

static inline long long entries(void) { return redis_number(redis, "LLEN mp:q:{b:0}"); }
static inline bool has_record(const char *key) { return redis_record(redis, key); }
static inline bool has_sums(const char *key) { return redis_number(redis, "EXISTS mp:i:{b:0}%s", key); }
static inline bool has_value(const char *key) { return redis_number(redis, "EXISTS mp:b:{b:0}%s", key); }

#endif
