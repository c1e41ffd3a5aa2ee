#include "pattern/wait.h"

#include <stdlib.h>

#include "base/error.h"
#include "pattern/group.h"
#include "pattern/inspect.h"
#include "pattern/invalidate.h"
#include "pattern/load.h"
#include "pattern/pond.h"
#include "pattern/read.h"
#include "pattern/set.h"
#include "pattern/behind/settle.h"
#include "pattern/stream.h"

static int no_memory(pond_error **err) { return mp_fail(err, POND_ENOMEM, "no memory for a call"); }

/* Opens a blocking call: the lane, locked, or NULL and the error. */
static mp_lane *enter(pond *p, bool inside, int *code, pond_error **err) {
    mp_lane *lane = mp_pond_blocking_lane(p, err);
    if (!lane) {
        *code = POND_ENOMEM;
        return NULL;
    }
    mp_lane_lock(lane);
    /* The lane may have been made after the close: then it is not closed. */
    if (lane->closed || atomic_load(inside ? &p->ending : &p->closed)) {
        mp_lane_unlock(lane);
        *code = mp_fail(err, POND_ECLOSED, "the pond is closed");
        return NULL;
    }
    mp_loop_touch(lane->loop);
    return lane;
}

/* User code ran, and forked: this is the child. The call, and the lock that is not held, are the parent's. */
static int forked(pond_error **err) {
    return mp_fail(err, POND_ECLOSED, "the process forked within this call, which is the parent's: make a new one");
}

/* Lock held. The call may have a load to do, or may have ended (POND_OK); else it is gone. */
static int wait_for(mp_call *call, pond_error **err) {
    switch (mp_call_wait(call)) {
    case MP_WAIT_OVER: return POND_OK;
    case MP_WAIT_STOPPED: return mp_fail(err, POND_EINTERRUPTED, "a signal interrupted the wait");
    default: return forked(err);
    }
}

/* Takes the answer out of an ended call, and frees it. Lock held. */
static int leave(mp_call *call, pond_value **out, pond_error **err) {
    int code = POND_OK;
    if (call->event.kind == POND_EVENT_ERROR) {
        code = call->error ? pond_error_code(call->error) : POND_ENOMEM;
        if (err) {
            *err = call->error;
            call->error = NULL;
        }
    } else if (out) {
        *out = call->value;
        call->value = NULL;
    }
    call->vt->destroy(call);
    return code;
}

/* From a call that was started (or NULL: no memory) to its answer. Lock held; unlocks. */
static int finish(mp_lane *lane, mp_call *call, mp_waiter *waiter, bool inside, pond_loader loader, void *ctx,
                  pond_value **out, pond_error **err) {
    int code = POND_OK;
    if (!call) {
        code = no_memory(err);
    } else {
        call->quiet = inside;
        mp_lane_kick(lane, !call->ended); /* what ended at once may have left something to be done all the same */
        while (!call->ended && (code = wait_for(call, err)) == POND_OK) {
            pond_load *load = mp_call_take(call);
            if (!load) continue;
            mp_load_unref(load);       /* the event's reference: there is no event here */
            mp_lane_kick(lane, false); /* others go on while this thread loads */
            mp_lane_unlock(lane);
            mp_load_run(load, loader, ctx);
            if (mp_lane_inherited(lane)) return forked(err);
            mp_lane_lock(lane);
            mp_loop_touch(lane->loop);
        }
        if (mp_lane_inherited(lane)) return code;
        if (code == POND_OK) code = leave(call, out, err);
    }
    mp_lane_unlock(lane);
    mp_waiter_destroy(waiter);
    return code;
}

int mp_wait_read(pond *p, const mp_ask *ask, bool inside, pond_loader loader, void *ctx, pond_value **out,
                 pond_error **err) {
    int code;
    mp_lane *lane = enter(p, inside, &code, err);
    if (!lane) return code;
    mp_waiter waiter;
    mp_waiter_init(&waiter);
    mp_read *r = mp_read_start(lane, ask, 0, &waiter, NULL);
    return finish(lane, r ? &r->call : NULL, &waiter, inside, loader, ctx, out, err);
}

int mp_wait_invalidate(pond *p, const pond_policy *policy, const char *const *keys, const size_t *lens, size_t n,
                       const pond_tags *tags, bool inside, pond_error **err) {
    int code;
    mp_lane *lane = enter(p, inside, &code, err);
    if (!lane) return code;
    mp_waiter waiter;
    mp_waiter_init(&waiter);
    mp_call *call = mp_invalidate_start(lane, policy, keys, lens, n, tags, 0, &waiter);
    return finish(lane, call, &waiter, inside, NULL, NULL, NULL, err);
}

/* Lock held. The writer, in this thread. If the pond was closed meanwhile the call has ended: what the writer says counts. False: this is
 * a child of it. */
static bool run_writer(mp_lane *lane, mp_call *call, pond_writing *writing, pond_writer writer, void *ctx) {
    call->quiet = true; /* no signal can undo it any more */
    mp_lane_kick(lane, false);
    mp_lane_unlock(lane);
    mp_writing_run(writing, writer, ctx);
    if (mp_lane_inherited(lane)) return false;
    mp_lane_lock(lane);
    mp_loop_touch(lane->loop);
    if (lane->closed) {
        pond_error_free(call->error);
        call->error = mp_writing_left(writing);
        call->event.kind = call->error ? POND_EVENT_ERROR : POND_EVENT_OK;
    }
    mp_writing_unref(writing); /* the event's reference: there is no event here */
    return true;
}

/* Lock held. */
static int finish_write(mp_lane *lane, mp_call *call, pond_writer writer, void *ctx, pond_error **err) {
    mp_lane_kick(lane, !call->ended);
    while (!call->ended) {
        int code = wait_for(call, err);
        if (code != POND_OK) return code;
        pond_writing *writing = mp_write_take(call);
        if (writing && !run_writer(lane, call, writing, writer, ctx)) return forked(err);
    }
    return leave(call, NULL, err);
}

int mp_wait_write(pond *p, const pond_policy *policy, const char *const *keys, const size_t *lens, size_t n,
                  const pond_tags *tags, pond_writer writer, void *ctx, pond_error **err) {
    int code;
    mp_lane *lane = enter(p, false, &code, err);
    if (!lane) return code;
    mp_waiter waiter;
    mp_waiter_init(&waiter);
    mp_write *w = mp_write_new(lane, policy, keys, lens, n, tags, 0, &waiter);
    if (w) mp_write_begin(w);
    code = w ? finish_write(lane, &w->call, writer, ctx, err) : no_memory(err);
    if (mp_lane_inherited(lane)) return code;
    mp_lane_unlock(lane);
    mp_waiter_destroy(&waiter);
    return code;
}

/* Lock held. */
static int finish_change(mp_lane *lane, mp_call *call, pond_checker checker, void *ctx, pond_value **out,
                         pond_error **err) {
    mp_lane_kick(lane, !call->ended);
    while (!call->ended) {
        int code = wait_for(call, err);
        if (code != POND_OK) return code;
        pond_check *step = mp_change_take(call);
        if (!step) continue;
        mp_lane_kick(lane, false);
        mp_lane_unlock(lane);
        mp_change_run(step, checker, ctx);
        if (mp_lane_inherited(lane)) return forked(err);
        mp_lane_lock(lane);
        mp_loop_touch(lane->loop);
        mp_change_leave(step, call);
    }
    return leave(call, out, err);
}

int mp_wait_change(const mp_change_args *args, pond_checker checker, void *ctx, pond_value **out, pond_error **err) {
    int code;
    mp_lane *lane = enter(args->collection->pond, false, &code, err);
    if (!lane) return code;
    mp_waiter waiter;
    mp_waiter_init(&waiter);
    mp_call *call = mp_change_start(lane, args, 0, &waiter);
    code = call ? finish_change(lane, call, checker, ctx, out, err) : no_memory(err);
    if (mp_lane_inherited(lane)) return code;
    mp_lane_unlock(lane);
    mp_waiter_destroy(&waiter);
    return code;
}

int mp_wait_stream(pond *p, const char *stream, int64_t most, const mp_notice *notices, size_t n, size_t *confirmed,
                   pond_error **err) {
    int code;
    mp_lane *lane = enter(p, true, &code, err);
    *confirmed = 0;
    if (!lane) return code;
    mp_waiter waiter;
    mp_waiter_init(&waiter);
    mp_call *call = mp_stream_start(lane, stream, most, notices, n, confirmed, &waiter);
    return finish(lane, call, &waiter, true, NULL, NULL, NULL, err);
}

int mp_wait_errands(pond *p, mp_errand *each, size_t n, pond_error **err) {
    return mp_wait_errands_on(NULL, p, each, n, err);
}

int mp_wait_errands_on(mp_lane *lane, pond *p, mp_errand *each, size_t n, pond_error **err) {
    int code = POND_OK;
    if (lane) {
        mp_lane_lock(lane);
        mp_loop_touch(lane->loop);
    } else if (!(lane = enter(p, true, &code, err))) {
        return code;
    }
    mp_waiter waiter;
    mp_waiter_init(&waiter);
    mp_call *call = mp_errands_start(lane, each, n, &waiter);
    return finish(lane, call, &waiter, true, NULL, NULL, NULL, err);
}

int mp_wait_errands_begin(mp_sent *sent, pond *p, mp_errand *each, size_t n, pond_error **err) {
    int code = POND_OK;
    sent->call = NULL;
    sent->lane = enter(p, true, &code, err);
    if (!sent->lane) return code;
    mp_waiter_init(&sent->waiter);
    sent->call = mp_errands_start(sent->lane, each, n, &sent->waiter);
    if (!sent->call) {
        code = no_memory(err);
        mp_waiter_destroy(&sent->waiter);
    }
    mp_lane_kick(sent->lane, false);
    mp_lane_unlock(sent->lane);
    return code;
}

/* The pond may have been closed since: then it has ended. */
int mp_wait_errands_end(mp_sent *sent, pond_error **err) {
    mp_call *call = sent->call;
    sent->call = NULL;
    mp_lane_lock(sent->lane);
    mp_loop_touch(sent->lane->loop);
    return finish(sent->lane, call, &sent->waiter, true, NULL, NULL, NULL, err);
}

int mp_wait_settle(pond *p, mp_backlog *backlog, int64_t timeout_ms, pond_error **err) {
    int code;
    mp_lane *lane = enter(p, false, &code, err);
    if (!lane) return code;
    mp_waiter waiter;
    mp_waiter_init(&waiter);
    mp_call *call = mp_settle_start(lane, backlog, timeout_ms, 0, &waiter);
    return finish(lane, call, &waiter, false, NULL, NULL, NULL, err);
}

int mp_wait_inspect(pond *p, const pond_policy *policy, const mp_key *key, bool inside, pond_value **out,
                    pond_error **err) {
    int code;
    mp_lane *lane = enter(p, inside, &code, err);
    if (!lane) return code;
    mp_waiter waiter;
    mp_waiter_init(&waiter);
    mp_call *call = mp_inspect_start(lane, policy, key, 0, &waiter);
    return finish(lane, call, &waiter, inside, NULL, NULL, out, err);
}

/* Lock held. The loads that were gathered, if there are any; false: user code forked, and this is the child. */
static bool load_gathered(mp_lane *lane, mp_group *group, pond_bulk_loader loader, void *ctx) {
    mp_source *source = group->call.source;
    pond_batch *batch = source ? NULL : mp_group_hand_over(group);
    size_t n = source ? mp_group_take(group) : 0;
    if (!batch && !n) return true;
    mp_lane_kick(lane, false); /* others go on while this thread loads */
    mp_lane_unlock(lane);
    if (batch) mp_batch_run(batch, loader, ctx);
    else source->run(source, group->loads, n);
    if (mp_lane_inherited(lane)) return false;
    mp_lane_lock(lane);
    mp_loop_touch(lane->loop);
    return true;
}

/* Lock held. */
static int finish_many(mp_lane *lane, mp_group *group, pond_bulk_loader loader, void *ctx, pond_value **out,
                       pond_error **err) {
    mp_call *call = &group->call;
    int code = POND_OK;
    mp_lane_kick(lane, !call->ended); /* what ended at once may have left something to be done all the same */
    while (!call->ended) {
        if ((code = wait_for(call, err)) != POND_OK) return code;
        if (!load_gathered(lane, group, loader, ctx)) return forked(err);
    }
    for (size_t i = 0; out && call->event.kind == POND_EVENT_LIST && i < call->list_len; i++) {
        out[i] = call->list[i];
        call->list[i] = NULL;
    }
    return leave(call, NULL, err);
}

int mp_wait_many(pond *p, const mp_many *what, pond_bulk_loader loader, void *ctx, pond_value **out, pond_error **err) {
    int code;
    mp_lane *lane = enter(p, false, &code, err);
    if (!lane) {
        free(what->keys);
        return code;
    }
    mp_waiter waiter;
    mp_waiter_init(&waiter);
    mp_group *group = mp_group_start(lane, what, 0, &waiter);
    code = group ? finish_many(lane, group, loader, ctx, out, err) : no_memory(err);
    if (mp_lane_inherited(lane)) return code;
    mp_lane_unlock(lane);
    mp_waiter_destroy(&waiter);
    return code;
}

int mp_wait_set(pond *p, const pond_policy *policy, const char *const *keys, const size_t *lens,
                pond_value *const *values, size_t n, pond_error **err) {
    int code;
    mp_lane *lane = enter(p, false, &code, err);
    if (!lane) return code;
    mp_waiter waiter;
    mp_waiter_init(&waiter);
    mp_call *call = mp_set_start(lane, policy, keys, lens, values, n, 0, &waiter);
    return finish(lane, call, &waiter, false, NULL, NULL, NULL, err);
}
