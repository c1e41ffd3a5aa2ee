/* Intents: what a writer holds on keys and tags while it writes (protocol.md, section 6). Begun before the store is touched, renewed
 * while it is written to, ended when it is known what came of it. While one stands nothing is cached under its key. */
#ifndef MP_PATTERN_INTENT_H
#define MP_PATTERN_INTENT_H

#include "pattern/policy.h"
#include "pattern/tags.h"

typedef struct mp_intent_item {
    mp_op op;
    struct mp_intent *owner;
    uint8_t fence[MP_FENCE_LEN]; /* in force when it was begun */
    bool odd_fence;              /* another one was when it was renewed */
} mp_intent_item;

/* What a key's value is to be once the write is committed; value NULL: it goes. */
typedef struct mp_written {
    pond_value *value; /* a reference */
    int64_t ttl_ms;
} mp_written;

typedef struct mp_intent {
    mp_lane *lane;
    pond_policy *policy;
    pond_tags *tags; /* whose names the last items have; NULL: none */
    void *owner;
    void (*done)(
        struct mp_intent *self); /* all have answered, `error` is the first that failed. NULL: it frees itself */
    pond_error *error;
    uint8_t token[MP_TOKEN_LEN];
    int64_t stand_ms; /* how long it stands without being renewed */
    size_t keys, n, open;
    bool sure; /* what fails of the end is repeated until it is taken */
    bool renewing, round_failed;
    int64_t round, renew_until;
    mp_timer timer;
    _Atomic int64_t commit_until; /* no commit may begin later */
    char *names;
    mp_intent_item items[];
} mp_intent;

/* Lane's lock held, for all below. `keys` were checked; `tags` may be NULL. NULL without memory. */
mp_intent *mp_intent_new(mp_lane *lane, const pond_policy *policy, const char *const *keys, const size_t *lens,
                         size_t n, const pond_tags *tags, int64_t stand_ms);
/* Calls done, perhaps at once. */
void mp_intent_begin(mp_intent *intent);
/* All have begun: it is renewed from now on, for write_timeout at most. */
void mp_intent_hold(mp_intent *intent);
/* What came of the write is known: calls done. `written`: a row for each key, or NULL; taken from. `sure`: the store may be another
 * than before, so this must reach the cache. */
void mp_intent_end(mp_intent *intent, mp_written *written, bool sure);
/* It is not known: the intents run out, and until then nothing is cached. Frees it, whatever is under way. */
void mp_intent_leave(mp_intent *intent);

#endif
