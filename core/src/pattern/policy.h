/* Policies: the options of a call, compiled once. Spaces: what a namespace has of its own in this pond. */
#ifndef MP_PATTERN_POLICY_H
#define MP_PATTERN_POLICY_H

#include <stdatomic.h>
#include <stddef.h>
#include "model/config.h"
#include "model/key.h"
#include "observe/stats.h"
#include "pattern/negative.h"
#include <millpond/pond.h>

struct mp_op;

typedef struct mp_space {
    struct mp_space *next;
    mp_ns_stats *stats;
    mp_negative negative;
} mp_space;

struct pond_policy {
    _Atomic uint32_t refs;
    mp_options options;
    size_t ns_len;  /* of options.namespace */
    uint8_t shards; /* of a namespace that is written behind; 0 else */
    mp_space *space;
};

/* The key of this name in the policy's namespace: writes to `out` (MP_NAME_MAX + 1 bytes) and points `key` at it. */
void mp_policy_key(const pond_policy *policy, mp_key *key, char *out, const char *user_key, size_t len);

enum { MP_WAIT_ENDS_ERROR = 0, MP_WAIT_ENDS_LOAD = 1 };                 /* when_wait_ends */
enum { MP_CACHE_DOWN_STORE = 0, MP_CACHE_DOWN_ERROR = 1 };              /* when_cache_down */
enum { MP_WRITE_STRICT = 0, MP_WRITE_LENIENT = 1 };                     /* when_cache_down_write */
enum { MP_WRITE_THROUGH = 0, MP_WRITE_ASIDE = 1, MP_WRITE_BEHIND = 2 }; /* write */
enum { MP_BACKLOG_WAIT = 0, MP_BACKLOG_FAIL = 1 };                      /* backlog_full */

/* The cache has failed a read that has a loader: does it go on without the cache, or end with that error? */
bool mp_policy_goes_on(const pond_policy *policy, const pond_error *why);

/* How long what is now stored lives: ttl_ms (with jitter) and, past that, keep_ms; and whether its age will be asked for. */
void mp_policy_times(const pond_policy *policy, bool absence, int64_t ttl, struct mp_op *op);

/* Used by api/ too. */
int mp_policy_make(pond_policy **out, pond *p, const mp_options *base, unsigned scopes, const char *const *options,
                   size_t n, pond_error **err);
/* The same options in another namespace, which users cannot name, with another ttl; `row`: where they are counted. */
int mp_policy_in(pond_policy **out, pond *p, const pond_policy *base, const char *ns, const char *row, int64_t ttl,
                 pond_error **err);

#endif
