/* Sources: loads that the library does itself, from the store, instead of asking the host.
 *
 * A blocking caller runs its source in its own thread, as it would a loader. On a host's lane the loads of one turn are
 * gathered, so that many documents that miss together are one statement, and run on the pool. */
#ifndef MP_PATTERN_SOURCE_H
#define MP_PATTERN_SOURCE_H

#include "engine/pool.h"
#include "pattern/lane.h"

typedef struct mp_source {
    _Atomic uint32_t refs;
    /* Answers every load; all are of one lane. No lock held; on a worker or in a blocking caller's thread. */
    void (*run)(struct mp_source *self, pond_load *const *loads, size_t n);
    void (*destroy)(struct mp_source *self);
} mp_source;

mp_source *mp_source_ref(mp_source *source); /* NULL is fine, here and below */
void mp_source_unref(mp_source *source);

/* Lane's lock held: this load is for the pool, with others of this turn. */
void mp_source_offered(mp_lane *lane, mp_source *source, pond_load *load);
void mp_source_start(mp_task *task); /* lane->start_sourced */
/* Lane's lock held: these loads are for the pool now, as one job. */
void mp_source_submit(mp_lane *lane, mp_source *source, pond_load *const *loads, size_t n);
/* A loader for blocking calls: ctx is the source. */
void mp_source_loader(pond_load *load, void *ctx);

#endif
