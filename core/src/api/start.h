/* Starting a call on a queue: what all start functions share. */
#ifndef MP_API_START_H
#define MP_API_START_H

#include "pattern/call.h"
#include "pattern/source.h"

struct pond_queue {
    mp_lane *lane;
};

/* Locks the queue's lane, if it is this pond's and open. */
int mp_queue_enter(pond *p, pond_queue *queue, pond_error **err);
/* Unlocks it; NULL: the call could not be made. */
int mp_queue_leave(pond_queue *queue, mp_call *call, pond_error **err);

/* A whole read: answered at once by `now` (if not NULL), or started. The key was checked; `source` may be NULL. */
int mp_queue_read(pond *p, pond_queue *queue, const pond_policy *policy, const mp_key *key, bool lookup,
                  mp_source *source, uint64_t user, pond_value **now, pond_request **request, pond_error **err);

#endif
