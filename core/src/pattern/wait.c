/* Waiting for a call: the blocking lane, and loaders in the caller's thread. */
#include "pattern/wait.h"

#include "base/error.h"
#include "pattern/load.h"
#include "pattern/pond.h"
#include "pattern/read.h"

static int closed(pond_error **err) { return mp_fail(err, POND_ECLOSED, "the pond is closed"); }
static int no_memory(pond_error **err) { return mp_fail(err, POND_ENOMEM, "no memory for a call"); }
static int interrupted(pond_error **err) { return mp_fail(err, POND_EINTERRUPTED, "a signal interrupted the wait"); }

/* `gone`: what says that nobody may come any more. */
static mp_lane *enter(pond *p, _Atomic bool *gone, int *code, pond_error **err) {
    mp_lane *lane = mp_pond_blocking_lane(p, err);
    if (!lane) {
        *code = POND_ENOMEM;
        return NULL;
    }
    mp_lane_lock(lane);
    if (lane->closed || atomic_load(gone)) { /* the latter: the lane may have been made after the close */
        mp_lane_unlock(lane);
        *code = closed(err);
        return NULL;
    }
    mp_loop_touch(lane->loop);
    return lane;
}

mp_lane *mp_wait_enter(pond *p, int *code, pond_error **err) { return enter(p, &p->closed, code, err); }

/* Takes the answer out of an ended call, and frees it. Lock held; unlocks. */
static int leave(mp_call *call, pond_value **out, pond_error **err) {
    mp_lane *lane = call->lane;
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
    mp_lane_unlock(lane);
    call->vt->destroy(call);
    return code;
}

int mp_wait_finish(mp_lane *lane, mp_call *call, mp_waiter *waiter, pond_loader loader, void *ctx, pond_value **out,
                   pond_error **err) {
    int code = POND_OK;
    if (!call) {
        mp_lane_unlock(lane);
        code = no_memory(err);
    } else {
        mp_lane_kick(lane, true);
        while (!call->ended) {
            if (!mp_call_wait(call)) {
                mp_lane_unlock(lane);
                code = interrupted(err);
                call = NULL;
                break;
            }
            pond_load *load = mp_call_take(call);
            if (load) {
                mp_load_unref(load);       /* the event's reference: there is no event here */
                mp_lane_kick(lane, false); /* others go on while this thread loads */
                mp_lane_unlock(lane);
                mp_load_run(load, loader, ctx);
                mp_lane_lock(lane);
                mp_loop_touch(lane->loop);
            }
        }
        if (call) code = leave(call, out, err);
    }
    mp_waiter_destroy(waiter);
    return code;
}

int mp_wait_group(mp_lane *lane, mp_group *group, mp_waiter *waiter, pond_value **out, pond_error **err) {
    int code = POND_OK;
    if (!group) {
        mp_lane_unlock(lane);
        mp_waiter_destroy(waiter);
        return no_memory(err);
    }
    mp_call *call = &group->call;
    mp_lane_kick(lane, true);
    while (!call->ended) {
        if (!mp_call_wait(call)) {
            mp_lane_unlock(lane);
            mp_waiter_destroy(waiter);
            return interrupted(err);
        }
        size_t n = mp_group_take(group);
        if (!n) continue;
        mp_lane_kick(lane, false);
        mp_lane_unlock(lane);
        call->source->run(call->source, group->loads, n);
        mp_lane_lock(lane);
        mp_loop_touch(lane->loop);
    }
    for (size_t i = 0; call->event.kind == POND_EVENT_LIST && i < call->list_len; i++) {
        out[i] = call->list[i];
        call->list[i] = NULL;
    }
    code = leave(call, NULL, err);
    mp_waiter_destroy(waiter);
    return code;
}

static int read_in(mp_lane *lane, const pond_policy *policy, const mp_key *key, bool lookup, bool quiet, pond_loader loader,
                   void *ctx, pond_value **out, pond_error **err) {
    mp_waiter waiter;
    mp_waiter_init(&waiter);
    mp_read *r = mp_read_start(lane, policy, key, lookup, 0, &waiter, NULL, NULL);
    if (r) r->call.quiet = quiet;
    return mp_wait_finish(lane, r ? &r->call : NULL, &waiter, loader, ctx, out, err);
}

int mp_wait_read(pond *p, const pond_policy *policy, const mp_key *key, bool lookup, pond_loader loader, void *ctx,
                 pond_value **out, pond_error **err) {
    int code;
    mp_lane *lane = mp_wait_enter(p, &code, err);
    return lane ? read_in(lane, policy, key, lookup, false, loader, ctx, out, err) : code;
}

int mp_wait_inside(pond *p, const pond_policy *policy, const mp_key *key, pond_loader loader, void *ctx, pond_value **out,
                   pond_error **err) {
    int code;
    if ((*out = mp_peek(p, policy, key))) return POND_OK;
    mp_lane *lane = enter(p, &p->ending, &code, err);
    return lane ? read_in(lane, policy, key, false, true, loader, ctx, out, err) : code;
}
