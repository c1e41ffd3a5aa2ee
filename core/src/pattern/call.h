/* A call: what every request has in common, whatever it asks for. It ends exactly once. */
#ifndef MP_PATTERN_CALL_H
#define MP_PATTERN_CALL_H

#include "pattern/lane.h"
#include "pattern/policy.h"

typedef struct pond_request mp_call;

struct pond_event {
    mp_node node; /* lane->events */
    pond_event_type kind;
    uint64_t user;
    mp_call *call;                /* a final event is freed with its call */
    pond_load *load;              /* a LOAD event with its load's last reference */
    struct pond_writing *writing; /* a WRITE event likewise */
    struct pond_check *check;     /* a CHECK event likewise */
    struct pond_batch *batch;     /* a BATCH event likewise */
};

typedef struct mp_call_vt {
    /* Lock held: take the call out of wherever it waits. Its answer will not come any more. */
    void (*unhook)(mp_call *call);
    void (*destroy)(mp_call *call); /* frees the whole */
} mp_call_vt;

struct pond_request {
    const mp_call_vt *vt;
    mp_lane *lane;
    mp_node node; /* lane->calls */
    pond_event event;
    pond_policy *policy;
    mp_waiter *waiter;        /* a blocking caller */
    pond_load *load;          /* the load that it was asked to do and has not taken yet */
    struct mp_source *source; /* loads are done by the library from the store; a reference */
    struct mp_group *group;   /* it is one of many, whose end is the group's business */
    bool ended, canceled;
    bool quiet; /* no interrupt ends the wait for it */

    pond_value *value;
    pond_value **list;
    size_t list_len;
    pond_error *error;
};

/* Lock held. Enters the call into the lane's books. `policy` NULL = the pond's. */
void mp_call_init(mp_call *call, const mp_call_vt *vt, mp_lane *lane, const pond_policy *policy, uint64_t user);
/* Lock held. Takes over value and error (which may be NULL). The call may be freed in it. */
void mp_call_end(mp_call *call, pond_event_type kind, pond_value *value, pond_error *error);
void mp_call_end_value(mp_call *call, pond_value *value); /* VALUE, ABSENT or MISS, by its state */
/* Lock held. Ends it from outside: unhook, then the error; `silently`: it is freed without an event. */
void mp_call_abort(mp_call *call, pond_error *error, bool silently);
/* Lock held. For the host to take. */
void mp_call_push_event(mp_lane *lane, pond_event *event);
/* Lock held. A LOAD event for this call. */
void mp_call_offer(mp_call *call, pond_load *load);
/* Lock held. Takes the offer back, if the host has not taken it, and frees the load. */
void mp_call_retract(mp_call *call);
/* Lock held. The host takes the load: from now on an answer is owed. */
pond_load *mp_call_take(mp_call *call);
/* Frees value, list and error and the policy's reference: the common part of every destroy. */
void mp_call_clear(mp_call *call);

/* Blocking calls: waits until the call has ended or was offered a load (MP_WAIT_OVER), or the interrupt check stopped it (the
 * call has been ended silently and freed). Lock held, as mp_blocking_wait has it. */
mp_waited mp_call_wait(mp_call *call);

#endif
