/* A lane: one loop, its link to the cache, and the calls that were made on it. Queues are lanes that a host drives; all
 * blocking calls of a pond share one.
 *
 * Locks, in the order they are taken: a lane's loop, then a flight shard (pattern/flight.c), then an inbox. */
#ifndef MP_PATTERN_LANE_H
#define MP_PATTERN_LANE_H

#include <pthread.h>
#include <stdatomic.h>
#include "base/fork.h"
#include "base/list.h"
#include "cache/cache.h"
#include "engine/blocking.h"
#include "engine/loop.h"
#include "pattern/overdue.h"
#include "pattern/publish.h"
#include <millpond/queue.h>

enum { MP_LANE_ASKERS = 64 };

/* What the server has said last of changes that are to be safe (pattern/behind/accept.c). */
typedef struct mp_confirmed {
    uint64_t connection, until; /* of those that this one brought: all that were accepted as the `until`th, or before */
    int64_t count;              /* are on so many replicas, or on the disk */
} mp_confirmed;

typedef struct mp_lane {
    _Atomic uint32_t refs; /* the pond or queue, and every load that is out */
    uint32_t generation;   /* base/fork.h */
    pond *pond;            /* a queue's lane holds a reference */
    mp_loop *loop;
    mp_link *link;                          /* opened by the first operation */
    mp_blocking *blocking;                  /* NULL: a host drives */
    mp_node node;                           /* pond->lanes */
    mp_node calls;                          /* not ended */
    mp_node flights;                        /* that are at home here */
    mp_node events;                         /* for the host to take */
    size_t pending;                         /* calls whose final event was not taken */
    struct mp_read *askers[MP_LANE_ASKERS]; /* the last reads to ask the cache, by their keys (pattern/share.c) */
    uint64_t accepted;                      /* changes, by way of this lane */
    mp_confirmed on_replicas, on_disk;
    bool polling, closed;
    bool ending;                   /* its calls are being ended: none of them asks anything new */
    bool closing;                  /* pond->lock: somebody closes it */
    struct mp_source_job *sourced; /* loads from the store that this turn has brought */
    mp_task start_sourced;
    mp_overdue overdue;
    mp_publication publication;
    mp_task wake; /* makes the descriptor readable */
} mp_lane;

mp_lane *mp_lane_new(pond *p, bool blocking, pond_error **err);
/* Is it the parent's? Then nothing in it may be touched but what is said here to look after it: its lock may be held for
 * ever, and its descriptors are the parent's. */
static inline bool mp_lane_inherited(const mp_lane *lane) { return lane->generation != mp_generation(); }
void mp_lane_lock(mp_lane *lane);
void mp_lane_unlock(mp_lane *lane);
/* Lock held, after submitting from outside a turn: sends it, or sees to it that somebody does. */
void mp_lane_kick(mp_lane *lane, bool waits); /* waits: the caller will now wait for its own answer */
/* From a thread of the pool, no lock held. False: the lane is closed, and nobody drives it any more. */
bool mp_lane_post(mp_lane *lane, mp_task *task);
/* Lock held. An operation on the lane's link; without one it ends at once with FAILED. */
void mp_lane_submit(mp_lane *lane, mp_op *op);
void mp_lane_forget(mp_lane *lane, mp_op *op);
/* Lock held. Frees a lease that nobody will use; nobody waits for the answer. */
void mp_lane_release(mp_lane *lane, const mp_key *key, const uint8_t *token, int64_t timeout_ms);

/* Ends all calls with POND_ECLOSED (`silently`: without an event), gives up the flights. Takes the lock. Returns how many calls
 * it ended. The link is closed. */
size_t mp_lane_close(mp_lane *lane, bool silently);
/* No longer one of the pond's. */
void mp_lane_unlist(mp_lane *lane);
void mp_lane_ref(mp_lane *lane);
void mp_lane_unref(mp_lane *lane); /* an inherited one is left where it is */

#endif
