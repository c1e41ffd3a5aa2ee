/* What the files of a flight share. The way of a flight:
 *
 *   flight.c          who joins it, who leaves it, and what becomes of them: rounds
 *   flight_table.c    where it is found by its key
 *   flight_lease.c    it asks for the lease, and waits while somebody else has it
 *   flight_load.c     it has somebody load, and fills
 */
#ifndef MP_PATTERN_FLIGHT_PRIVATE_H
#define MP_PATTERN_FLIGHT_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include "pattern/flight.h"
#include "pattern/load.h"
#include "pattern/pond.h"
#include "pattern/read.h"

typedef enum mp_phase {
    MP_NEW,     /* its task is queued */
    MP_ASKING,  /* the lease operation is under way */
    MP_WAITING, /* another process loads: ask again when its lease ends or is renewed */
    MP_LOADING,
    MP_FILLING
} mp_phase;

struct mp_flight {
    mp_flight *next; /* in its bucket */
    mp_node node;    /* home->flights */
    bool listed;     /* in the table: others may join */

    /* Guarded by the shard. `early` may share whatever this flight gives; `mid` joined while an operation was under way that may
     * have been done before they came: of the lease they share the load, which starts later, but not a value that was
     * found; of the fill they share nothing, for an invalidation may have come between it and them. `late` joined
     * during the load: they share it only if the fill, which came after them, was accepted. */
    mp_phase phase;
    mp_node early, mid, late;
    bool held; /* somebody else loads, as far as was heard */
    bool firm; /* MP_LOADING under a lease that stands, as far as was heard: nobody else can have filled */

    /* The home lane's. */
    mp_lane *home;
    mp_task task;
    mp_op op, renew;
    mp_timer timer, deadline;
    uint8_t token[MP_TOKEN_LEN], fence[MP_FENCE_LEN];
    bool leased, asking, renewing; /* `asking`: `op` is under way */
    bool cache_down;               /* load without a lease */
    int64_t held_at;               /* when somebody else was last found to load, */
    unsigned in_vain;              /* how often so, shortly one after the other */
    int64_t lease_ends;            /* theirs, if they do not renew it */
    int64_t load_began;
    mp_read *loader;
    pond_load *load;
    pond_policy *policy; /* of who loads */
    pond_value *value;   /* being filled */
    mp_tagging *tagging; /* NULL: no tags */
    unsigned rejections; /* values found under other generations, one after the other */
    bool tags_stand;     /* after the fill: they are as they were before the load */

    mp_key key;
    char name[];
};

static inline void mp_flight_count(const mp_flight *f, mp_counter counter) {
    mp_count(f->policy->space->stats, counter);
}

/* --- flight_table.c --------------------------------------------------------------------------------------------- */

enum { MP_SHARD_BUCKETS = 64 }; /* flights are few, they live as long as a load */

typedef struct mp_shard {
    pthread_mutex_t lock;
    _Atomic uint64_t taken; /* a bit a bucket that is not empty: who has no flight to meet needs no lock to see it */
    mp_flight *buckets[MP_SHARD_BUCKETS];
} mp_shard;

mp_shard *mp_shard_of(const mp_lane *lane, const mp_key *key);
bool mp_shard_may_have(const mp_shard *shard, const mp_key *key); /* no lock held */
/* Lock held. Of a key under other tags there is another flight: what this one gives says nothing of those. */
mp_flight *mp_shard_find(const mp_shard *shard, const mp_key *key, const pond_tags *tags);
void mp_shard_list(mp_shard *shard, mp_flight *flight);
void mp_shard_unlist(mp_shard *shard, mp_flight *flight); /* if it is listed */

/* --- flight.c: lock of the flight's home held, as for all below. The flight may be gone afterwards ------------------ */

/* Ends this round. `shared`: the late ones may have the answer too; else they are the early ones of the next round. Takes over value
 * and error. */
void mp_flight_finish(mp_flight *flight, pond_value *value, pond_error *error, bool shared);
/* Who was to load has gone before it took the load, or there never was one at home: somebody else, perhaps elsewhere. */
void mp_flight_move_on(mp_flight *flight);
/* Gives the lease back, if it has it. The flight stays. */
void mp_flight_release(mp_flight *flight);
bool mp_flight_wanted(mp_flight *flight); /* does anybody still wait for what it brings? It stays. */

/* --- flight_lease.c ----------------------------------------------------------------------------------------------- */

void mp_flight_ask(mp_flight *flight);
void mp_flight_time(mp_timer *timer); /* to ask again, or to renew */
/* A question went with others for the tags' generations: this one was answered, and all were. */
void mp_flight_one_answered(mp_op *op);
void mp_flight_tags_answered(mp_tagging *tagging);

/* --- flight_load.c ------------------------------------------------------------------------------------------------ */

void mp_flight_load(mp_flight *flight);
void mp_flight_too_slow(mp_timer *timer); /* load_timeout has passed */
void mp_flight_filled(mp_op *op);

#endif
