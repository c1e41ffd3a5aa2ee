#include "pattern/lane.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "pattern/call.h"
#include "pattern/behind/embedded.h"
#include "pattern/flight.h"
#include "pattern/pond.h"
#include "pattern/source.h"

static void wake_run(mp_task *task) { (void)task; }

mp_lane *mp_lane_new(pond *p, bool blocking, pond_error **err) {
    mp_lane *lane = calloc(1, sizeof *lane);
    if (lane) {
        if (blocking) lane->blocking = mp_blocking_new();
        lane->loop = blocking ? lane->blocking ? mp_blocking_loop(lane->blocking) : NULL : mp_loop_new();
    }
    if (!lane || !lane->loop) {
        free(lane);
        mp_fail(err, POND_ENOMEM, "no memory or descriptors for an event loop: %s", strerror(errno));
        return NULL;
    }
    lane->refs = 1;
    lane->generation = mp_generation();
    lane->pond = blocking ? p : pond_ref(p);
    lane->wake.run = wake_run;
    lane->start_sourced.run = mp_source_start;
    mp_list_init(&lane->calls);
    mp_list_init(&lane->flights);
    mp_list_init(&lane->events);
    mp_publish_start(lane);
    mp_overdue_init(&lane->overdue);
    pthread_mutex_lock(&p->lock);
    mp_list_push(&p->lanes, &lane->node);
    pthread_mutex_unlock(&p->lock);
    return lane;
}

void mp_lane_unlist(mp_lane *lane) {
    pthread_mutex_lock(&lane->pond->lock);
    mp_list_remove(&lane->node);
    pthread_mutex_unlock(&lane->pond->lock);
}

void mp_lane_lock(mp_lane *lane) { mp_loop_lock(lane->loop); }
void mp_lane_unlock(mp_lane *lane) { mp_loop_unlock(lane->loop); }

void mp_lane_kick(mp_lane *lane, bool waits) {
    if (lane->blocking) mp_blocking_submitted(lane->blocking, waits);
    else mp_loop_flush(lane->loop);
}

void mp_lane_submit(mp_lane *lane, mp_op *op) {
    op->shared = lane->pond->shared;
    if (!lane->link && !lane->closed) lane->link = lane->pond->cache->vt->link_open(lane->pond->cache, lane->loop);
    if (op->kind == MP_BEGIN || op->kind == MP_END) mp_flights_doubt(lane, &op->key);
    if (lane->link) {
        if (mp_embedded_has(lane, op)) mp_embedded_submit(lane, op);
        else lane->link->vt->submit(lane->link, op);
        return;
    }
    op->reply = MP_FAILED;
    op->error = lane->closed ? mp_error_new(POND_ECLOSED, "the pond is closed")
                             : mp_error_new(POND_ENOMEM, "no memory to connect to the cache");
    op->done(op);
}

void mp_lane_forget(mp_lane *lane, mp_op *op) {
    if (!lane->link) return;
    if (mp_embedded_has(lane, op)) mp_embedded_forget(lane, op);
    else lane->link->vt->forget(lane->link, op);
}

typedef struct release {
    mp_op op;
    char name[];
} release;

static void released(mp_op *op) {
    pond_error_free(op->error);
    free(MP_OF(op, release, op));
}

void mp_lane_release(mp_lane *lane, const mp_key *key, const uint8_t *token, int64_t timeout_ms) {
    release *r = lane->link ? calloc(1, sizeof *r + key->len + 1) : NULL;
    if (!r) return; /* the lease then ends by its time */
    memcpy(r->name, key->name, key->len);
    r->op.kind = MP_RELEASE;
    r->op.key = *key;
    r->op.key.name = r->name;
    r->op.timeout_ms = timeout_ms;
    r->op.done = released;
    memcpy(r->op.token, token, MP_TOKEN_LEN);
    mp_lane_submit(lane, &r->op);
}

bool mp_lane_post(mp_lane *lane, mp_task *task) {
    mp_lane_lock(lane);
    bool open = !lane->closed;
    if (open) mp_loop_post(lane->loop, task);
    mp_lane_unlock(lane);
    return open;
}

size_t mp_lane_close(mp_lane *lane, bool silently) {
    size_t ended = 0;
    mp_lane_lock(lane);
    lane->ending = true;
    while (!mp_list_empty(&lane->calls)) {
        mp_call_abort(MP_OF(lane->calls.next, mp_call, node), mp_error_new(POND_ECLOSED, "the pond is closed"),
                      silently);
        ended++;
    }
    mp_flights_abandon(lane);
    mp_publish_stop(lane);
    lane->closed = true;
    mp_loop_turn(lane->loop, 0); /* what was posted, and what is still to be sent: releases */
    if (lane->link) {
        lane->link->vt->link_close(lane->link);
        lane->link = NULL;
    }
    if (atomic_load(&lane->pond->ending)) mp_overdue_drop(lane->pond, &lane->overdue.waiting);
    mp_loop_post(lane->loop, &lane->wake); /* the turn above took the wake-ups that were the driver's */
    mp_lane_unlock(lane);
    return ended;
}

void mp_lane_ref(mp_lane *lane) { atomic_fetch_add_explicit(&lane->refs, 1, memory_order_relaxed); }

void mp_lane_unref(mp_lane *lane) {
    if (mp_lane_inherited(lane) || atomic_fetch_sub_explicit(&lane->refs, 1, memory_order_acq_rel) != 1) return;
    pond *p = lane->blocking ? NULL : lane->pond;
    mp_overdue_drop(lane->pond, &lane->overdue.waiting);
    if (lane->blocking) mp_blocking_free(lane->blocking);
    else mp_loop_free(lane->loop);
    free(lane);
    pond_free(p);
}
