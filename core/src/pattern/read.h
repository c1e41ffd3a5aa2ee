/* Reads: cache-aside (fetch) and lookup. */
#ifndef MP_PATTERN_READ_H
#define MP_PATTERN_READ_H

#include "model/freshness.h"
#include "model/key.h"
#include "pattern/call.h"
#include "pattern/flight.h"
#include "pattern/tags.h"

/* What a read asks for. All of it is the caller's, and copied or referred to as needed. */
typedef struct mp_ask {
    const pond_policy *policy; /* NULL: the pond's */
    const mp_key *key;         /* checked */
    const pond_tags *tags;     /* NULL: none */
    struct mp_source *source;  /* loads instead of the host; NULL: the host does */
    bool lookup;
} mp_ask;

typedef enum mp_read_state {
    MP_READ_IDLE,
    MP_READ_ASKING,  /* GET is under way */
    MP_READ_SHARING, /* another read's GET will answer this one, too */
    MP_READ_FLYING   /* waits in a flight, or for what a flight has posted to its lane */
} mp_read_state;

typedef struct mp_read {
    mp_call call;
    bool lookup;
    bool loader; /* its caller does the load that it waits for */
    mp_read_state state;
    mp_flight *flight;   /* and its node: guarded by the flight's shard; NULL: no longer in one */
    mp_node flight_node; /* or, SHARING, in the other's `sharers` */
    mp_node sharers;
    mp_timer timer;      /* wait_timeout, call_timeout */
    int64_t started;     /* to share a question, or to wait */
    int64_t deadline;    /* of the whole; INT64_MAX: none */
    mp_task deliver;     /* call.value or call.error was left here by another lane's flight */
    pond_tags *tags;     /* a reference; NULL: none */
    mp_tagging *tagging; /* of its question; NULL: there are no tags, or it asks nothing */
    /* What its question has found that should be loaded anew. `spare_stands` is guarded by the flight's shard while it is in one: it is still
     * there, as far as the cache has said. */
    pond_value *spare;
    int64_t spare_left;
    mp_use spare_use;
    bool spare_stands;
    mp_op op;
    char name[];
} mp_read;

/* Lane's lock held. NULL without memory. `group` (may be NULL) takes its end. */
mp_read *mp_read_start(mp_lane *lane, const mp_ask *ask, uint64_t user, mp_waiter *waiter, struct mp_group *group);
/* A hit that needs no wait, counted; or NULL. @threads any */
pond_value *mp_peek(pond *p, const pond_policy *policy, const mp_key *key);
pond_value *mp_peek_under(pond *p, const pond_policy *policy, const mp_key *key, const pond_tags *tags);
static inline pond_value *mp_peek_tagged(pond *p, const pond_policy *policy, const mp_key *key, const pond_tags *tags) {
    return tags ? mp_peek_under(p, policy, key, tags) : mp_peek(p, policy, key);
}
/* Lock held: is it still to be seen whether the read ends, loads, or waits for another's load? */
bool mp_read_undecided(mp_read *read);
/* Lock held: the read is to load itself, so it waits for nobody any more. */
void mp_read_loads(mp_read *read);
/* Lock held: what a flight gives back: a value, an error (then the read falls back on what it found, if that stands), or neither: what
 * it found. Takes over value and error. */
void mp_read_answer(mp_read *read, pond_value *value, pond_error *error);

#endif
