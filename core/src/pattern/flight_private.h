/* What the files of a flight share. The way of a flight:
 *
 *   flight.c          who joins it, who leaves it, and what becomes of them: rounds
 *   flight_table.c    where it is found by its key
 *   flight_lease.c    it asks for the lease, and waits while somebody else has it
 *   flight_load.c     it has somebody load, and fills
 *   flight_stale.c    the value that is there meanwhile: who may have it, and when it is loaded anew
 */
#ifndef MP_PATTERN_FLIGHT_PRIVATE_H
#define MP_PATTERN_FLIGHT_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include "pattern/flight.h"
#include "pattern/load.h"
#include "pattern/pond.h"
#include "pattern/read.h"
#include "pattern/rest.h"

typedef enum mp_phase {
    MP_NEW,     /* its task is queued */
    MP_ASKING,  /* the lease operation is under way */
    MP_WAITING, /* another process loads: ask again when its lease ends or is renewed */
    MP_LOADING,
    MP_FILLING,
    MP_RELEASING /* the load has failed, and the lease goes back: does what was cached still stand? */
} mp_phase;

struct mp_flight {
    mp_flight *next; /* in its bucket */
    mp_node node;    /* home->flights */
    bool listed;     /* in the table: others may join */

    /* Guarded by the shard. `early` may share whatever this flight gives; `mid` joined while an operation was under way that may
     * have been done before they came: of the lease they share the load, which starts later, but not a value that was
     * found (of a key that is written behind not the load either); of the fill they share nothing, for an invalidation may have come between it and them. `late` joined
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
    pond_value *dirty;   /* MP_DIRTY: the load compares it with the store */
    int64_t dirty_version;
    bool unfolded;     /* MP_UNFOLDED: the load folds */
    pond_error *error; /* of a load, while the lease goes back */
    bool error_shared;
    mp_tagging *tagging; /* NULL: no tags */
    bool spared;         /* guarded by the shard: some read of it had found a value, which may have gone */
    bool refresh;        /* guarded by the shard: the last question also told of the value that is there */
    bool stands;         /* as far as the cache says, what the reads found there has not been taken away */
    int64_t left;        /* of the value, as its first reader found it */
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
    mp_rests rests;
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
void mp_flight_drop_load(mp_flight *flight); /* whoever still answers it is told nothing */
bool mp_flight_wanted(mp_flight *flight);    /* does anybody still wait for what it brings? It stays. */

/* Empties `from`: each gets the value or the error; with neither what it found (read.h). Shard locked; reads of the home lane go to
 * `own`, to be answered by mp_flight_answer_own when it is not. */
void mp_flight_hand_out(mp_flight *flight, mp_node *from, mp_node *own, pond_value *value, pond_error *error);
void mp_flight_answer_own(mp_node *own, pond_value *value, pond_error *error);

/* --- flight_lease.c ----------------------------------------------------------------------------------------------- */

void mp_flight_ask(mp_flight *flight);
void mp_flight_time(mp_timer *timer); /* to ask again, or to renew */
/* A question went with others for the tags' generations: this one was answered, and all were. */
void mp_flight_one_answered(mp_op *op);
void mp_flight_tags_answered(mp_tagging *tagging);

/* --- flight_stale.c ----------------------------------------------------------------------------------------------- */

bool mp_flight_spares(const mp_flight *flight); /* shard locked: has any of its reads found a value? */
/* The cache says that what they found is still there: who can be served is; `failed`: also who would rather have had it loaded. */
void mp_flight_serve(mp_flight *flight, bool failed);
/* It is not, or nobody can say: they have to wait for a load as all others. */
void mp_flight_lost(mp_flight *flight);
/* LEASED for a refresh, of a value that is there. False: it is newer than the one that was found; the flight is over. */
bool mp_flight_renews(mp_flight *flight, mp_op *op);
/* For so many ms nobody need be asked. */
void mp_flight_rests(mp_flight *flight, int64_t ms, bool failed);
/* Who was to load needs not wait for it: it is served, and the load is done behind it. */
bool mp_flight_behind(mp_flight *flight, mp_read *read, pond_load *load);
/* A load that failed while its value may be served: the lease goes back with a back-off, and says whether that still stands. Takes over
 * the error. */
void mp_flight_back_off(mp_flight *flight, pond_error *error, bool shared);

/* --- flight_load.c ------------------------------------------------------------------------------------------------ */

void mp_flight_load(mp_flight *flight);
void mp_flight_too_slow(mp_timer *timer); /* load_timeout has passed */
void mp_flight_filled(mp_op *op);

#endif
