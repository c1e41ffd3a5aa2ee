/* What all calls of one pond share. */
#ifndef MP_PATTERN_POND_H
#define MP_PATTERN_POND_H

#include <pthread.h>
#include <stdatomic.h>
#include "base/fork.h"
#include "base/list.h"
#include "cache/cache.h"
#include "engine/pool.h"
#include "pattern/flight.h"
#include "pattern/lane.h"
#include "pattern/notifier.h"
#include "pattern/policy.h"
#include "store/store.h"
#include <millpond/queue.h>

struct pond {
    _Atomic uint32_t refs;
    _Atomic uint32_t
        left; /* of these: jobs' that had not ended when it was closed. A child has their references and no such jobs */
    _Atomic uint32_t generation; /* base/fork.h: whose the cache, the flights, the lanes, the pool and the locks are */
    mp_options options;
    pond_policy *defaults;
    mp_cache *cache;
    struct mp_journal
        *_Atomic journal; /* of what is written behind, where the cache is a memory:; opened when it is needed */
    mp_store *store;      /* NULL: loaders only; it looks after forks itself */
    mp_shared *shared;    /* the store's: by which a memory: cache hears other processes; or NULL */
    mp_stats *stats;
    mp_flights *flights;
    mp_publisher publisher;
    mp_notifier notifier;

    _Atomic bool closed;
    _Atomic bool ending;       /* closed, and what is still under way is being ended: no load starts any more */
    _Atomic size_t calls;      /* under way, on all lanes; an overdue end is one, too */
    _Atomic size_t overdue;    /* ends that the cache has not taken yet */
    mp_lane *_Atomic blocking; /* the lane of calls that block; made with the first */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t drained;
    mp_node lanes;
    mp_pool *pool;                       /* made with the first job */
    mp_space *_Atomic spaces;            /* only ever added */
    struct mp_backlog *_Atomic backlogs; /* likewise */

    int (*interrupt)(void *ctx);
    void *interrupt_ctx;
};

/* With no cache and no store yet; NULL without memory. */
pond *mp_pond_new(void);
/* Every call begins here: in the child of a fork the first one makes the pond this process's own, with a cache, flights and
 * lanes of its own. POND_OK, or why that cannot be done (nothing is changed then). @threads any */
int mp_pond_adopt(pond *p, pond_error **err);
static inline bool mp_pond_inherited(const pond *p) {
    return atomic_load_explicit(&p->generation, memory_order_acquire) != mp_generation();
}
static inline int mp_pond_here(pond *p, pond_error **err) {
    return mp_pond_inherited(p) ? mp_pond_adopt(p, err) : POND_OK;
}

/* NULL without memory or descriptors. */
mp_lane *mp_pond_blocking_lane(pond *p, pond_error **err);
mp_pool *mp_pond_pool(pond *p);
/* One call less is under way. */
void mp_pond_call_ended(pond *p);
/* No lock held: what is overdue on this lane, which is not driven any more, goes to that of blocking calls. */
void mp_pond_rehome_overdue(mp_lane *lane);

#endif
