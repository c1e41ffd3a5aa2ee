/* Acceptance: a change of a write-behind collection goes into the backlog (protocol.md, section 8), and counts from then on. */
#ifndef MP_PATTERN_BEHIND_ACCEPT_H
#define MP_PATTERN_BEHIND_ACCEPT_H

#include "model/behind.h"
#include "pattern/behind/backlog.h"
#include "pattern/collection.h"

typedef enum mp_accepted {
    MP_ACCEPTED,
    MP_ACCEPT_EXISTS, /* where there was to be none */
    MP_ACCEPT_NONE,   /* where there was to be one */
    MP_ACCEPT_READ,   /* it is not known, or another than expected: read it, and try again */
    MP_ACCEPT_EPOCH,  /* the shard wants an epoch (mp_backlog_epoch with `seen`), then try again */
    MP_ACCEPT_FAILED  /* `error`, the owner's. If it does not say that nothing was accepted, it may have been */
} mp_accepted;

typedef struct mp_accept {
    mp_op op;
    mp_behind behind;
    mp_lane *lane;
    mp_backlog *backlog;
    const mp_options *options;
    mp_timer timer;
    int ack;       /* the collection's */
    mp_op confirm; /* once it is accepted, and must be on replicas or the disk, too */
    mp_behind where;
    uint64_t number, asked_until; /* of the lane's accepted ones: which it is; up to which it has asked about */
    bool confirming;              /* that is under way, */
    bool unconfirmed;             /* or will be, after a pause */
    int64_t until, pause_ms;
    bool flying;     /* the operation is under way, */
    bool waits;      /* or will be, for the backlog is full */
    mp_accepted how; /* what is told when the timer ends */
    unsigned tries;
    uint32_t seen;
    pond_error *error;
    void *owner;
    void (*done)(struct mp_accept *self, mp_accepted how); /* on the lane's driver; perhaps before send returns */
    char name[];
} mp_accept;

/* NULL without memory. The collection outlives it. */
mp_accept *mp_accept_new(mp_lane *lane, const pond_collection *c, const char *id, size_t len);
/* Lane's lock held, here and below. `value` is borrowed until done: the document, or the absence. */
void mp_accept_send(mp_accept *a, mp_expect expect, int64_t version, pond_value *value);
/* The same of an increment; the member is borrowed until done. */
void mp_accept_increment(mp_accept *a, const char *member, size_t len, int64_t by);
/* That error, which it consumes, with a word in front: nothing was accepted, `because` (may be ""). Where the caller's own doing is at fault it goes
 * without saying. */
pond_error *mp_accept_nothing(pond_error *why, const char *because);
/* `done` is not called any more; what is under way may be accepted all the same. */
void mp_accept_leave(mp_accept *a);
void mp_accept_free(mp_accept *a);

#endif
