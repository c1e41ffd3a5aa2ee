/* Starting a call on a queue: what all start functions share. */
#ifndef MP_API_START_H
#define MP_API_START_H

#include "pattern/group.h"
#include "pattern/read.h"

struct pond_queue {
    mp_lane *lane;
};

/* Locks the queue's lane, if it is this pond's and open. */
int mp_queue_enter(pond *p, pond_queue *queue, pond_error **err);
/* Unlocks it; NULL: the call could not be made. */
int mp_queue_leave(pond_queue *queue, mp_call *call, pond_error **err);

/* A whole read, of what could not be answered at once. */
int mp_queue_read(pond *p, pond_queue *queue, const mp_ask *ask, uint64_t user, pond_request **request,
                  pond_error **err);
/* Many reads. The keys are taken over. */
int mp_queue_many(pond *p, pond_queue *queue, const mp_many *what, uint64_t user, pond_request **request,
                  pond_error **err);

#endif
