/* Batches: the loads of a group, as the host holds them while its loader runs. Outlives the call, the flights and the queue. */
#ifndef MP_PATTERN_BATCH_H
#define MP_PATTERN_BATCH_H

#include "pattern/group.h"
#include <millpond/bulk.h>

struct pond_batch {
    _Atomic uint32_t refs; /* the event, and the answer that is owed */
    pond_event event;
    mp_lane *lane;
    mp_group *group; /* lane's lock; NULL: gone */
    _Atomic bool answered;
    size_t n;
    pond_load **loads; /* from here on: room for all of the group's part */
    pond_value **values;
    pond_error **errors;
    unsigned *flags;
};

/* Lane's lock held, as for all below: refs 2; nothing is in it yet. NULL without memory. */
pond_batch *mp_batch_new(mp_group *group);
/* It was never handed over: takes back its event. */
void mp_batch_drop(pond_batch *batch);
void mp_batch_unref(pond_batch *batch); /* no lock needed */
/* Runs a loader in this thread, with no lock held, and sees to it that the batch is ended. */
void mp_batch_run(pond_batch *batch, pond_bulk_loader loader, void *ctx);

#endif
