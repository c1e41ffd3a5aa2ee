/* The driver for blocking callers: leader and followers on one shared loop (engine.md: whoever waits drives).
 *
 * Who finds no leader leads: it sends and receives for all until its own answer is there, then hands over. A lazy
 * background thread leads only while something is under way, or a timer is due, that no caller waits for. */
#ifndef MP_ENGINE_BLOCKING_H
#define MP_ENGINE_BLOCKING_H

#include <pthread.h>
#include "base/list.h"
#include "engine/loop.h"

#define MP_SLICE_MS 100 /* between two looks whether a wait shall go on */

typedef struct mp_blocking mp_blocking;

typedef struct mp_waiter {
    mp_node node;
    pthread_cond_t cond;
    bool ready;          /* set by mp_waiter_wake, cleared by the owner before it waits again */
    mp_blocking *asleep; /* as a follower of that one */
    mp_node woken;       /* its signal is due */
    mp_blocking *leads;  /* it is the leader of that one */
} mp_waiter;

mp_blocking *mp_blocking_new(void);
/* No caller is left. Joins the background thread. */
void mp_blocking_free(mp_blocking *blocking);
mp_loop *mp_blocking_loop(mp_blocking *blocking);

void mp_waiter_init(mp_waiter *waiter);
void mp_waiter_destroy(mp_waiter *waiter);
/* Lock held. */
void mp_waiter_wake(mp_waiter *waiter);

typedef enum mp_waited {
    MP_WAIT_OVER,    /* `waiter->ready` */
    MP_WAIT_STOPPED, /* `check` returned non-zero */
    MP_WAIT_FORKED   /* `check` forked, and this is the child: all that is here is the parent's, the lock is not held */
} mp_waited;
/* Lock held on entry and return. `check` (may be NULL) is called about every 100 ms without lock or leadership. */
mp_waited mp_blocking_wait(mp_blocking *blocking, mp_waiter *waiter, int (*check)(void *), void *ctx);

/* Lock held: what was just submitted is sent, by the sleeping leader's stead or by whoever drives next; somebody will.
 * `waits`: the caller is about to wait, so it will drive itself if nobody else does. */
void mp_blocking_submitted(mp_blocking *blocking, bool waits);

#endif
