/* Changes of one document of a collection, which the library writes itself.
 *
 * The store makes it ready (an update reads what there is), the host judges it if it asked to, the cache is told, the store does it,
 * and the cache is told what came of it: a write (pattern/write.h) whose writer is here. What the store and the host say costs time and
 * holds no lock: each is a step, done by the blocking caller's own thread, or on the pool. */
#ifndef MP_PATTERN_CHANGE_H
#define MP_PATTERN_CHANGE_H

#include "pattern/collection.h"
#include "pattern/write.h"
#include "store/store.h"
#include <millpond/change.h>

typedef struct mp_change_args {
    pond_collection *collection;
    mp_change_kind kind;
    const char *id; /* was checked; copied, as the text is */
    size_t id_len;
    const char *text;
    size_t len;
    int64_t by;   /* INCREMENT: of the member that `text` names */
    bool id_made; /* CREATE: the library chose the id */
    bool checked; /* the host judges the document */
} mp_change_args;

/* Lane's lock held, here and below. NULL without memory. Ends with VALUE (the document as it is now), OK (deleted) or an error. */
mp_call *mp_change_start(mp_lane *lane, const mp_change_args *args, uint64_t user, mp_waiter *waiter);

/* From its write: the intents stand. */
void mp_change_begun(pond_check *change, pond_writing *writing);
/* Nobody waits for it any more. */
void mp_change_unhook(pond_check *change);
/* What the call ends with; a reference. */
pond_value *mp_change_result(const pond_check *change);

/* A blocking caller: the step that is its thread's to do, if there is one; NULL otherwise. */
pond_check *mp_change_take(mp_call *call);
/* No lock held. Does it. */
void mp_change_run(pond_check *change, pond_checker checker, void *ctx);
/* Lock held again. If the pond was closed meanwhile the call has ended: what the store said counts. Frees the step. */
void mp_change_leave(pond_check *change, mp_call *call);

/* The host takes the CHECK event: from now on an answer is owed. */
void mp_check_take(pond_check *check);
void mp_check_unref(pond_check *check);

#endif
