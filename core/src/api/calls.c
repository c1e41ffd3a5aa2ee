/* Calls that block: the asynchronous call, and a wait. */
#include "base/error.h"
#include "pattern/inspect.h"
#include "pattern/invalidate.h"
#include "pattern/load.h"
#include "pattern/pond.h"
#include "pattern/read.h"
#include "api/check.h"

/* Opens a blocking call: the lane, locked, or NULL and the error. */
static mp_lane *enter(pond *p, int *code, pond_error **err) {
    mp_lane *lane = mp_pond_blocking_lane(p, err);
    if (!lane) {
        *code = POND_ENOMEM;
        return NULL;
    }
    mp_lane_lock(lane);
    if (lane->closed || atomic_load(&p->closed)) { /* the latter: the lane may have been made after the close */
        mp_lane_unlock(lane);
        *code = mp_closed(err);
        return NULL;
    }
    mp_loop_touch(lane->loop);
    return lane;
}

static int interrupted(pond_error **err) { return mp_fail(err, POND_EINTERRUPTED, "a signal interrupted the wait"); }

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

/* From a call that was started (or NULL: no memory) to its answer. Lock held; unlocks. */
static int finish(mp_lane *lane, mp_call *call, mp_waiter *waiter, pond_loader loader, void *ctx, pond_value **out,
                  pond_error **err) {
    int code = POND_OK;
    if (!call) {
        mp_lane_unlock(lane);
        code = mp_no_memory(err);
    } else {
        mp_lane_kick(lane, !call->ended); /* what ended at once may have left something to be done all the same */
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

static int read(pond *p, const char *key, size_t len, const pond_policy *policy, bool lookup, pond_loader loader,
                void *ctx, pond_value **out, pond_error **err) {
    char name[MP_NAME_MAX + 1];
    mp_key k;
    int code = mp_call_check(p, key, len, policy, name, &k, err);
    if (code != POND_OK) return code;
    pond_value *now = mp_peek(p, policy, &k);
    if (now) {
        *out = now;
        return POND_OK;
    }
    if (!lookup && mp_load_runs_here(p, &k))
        return mp_fail(err, POND_EDEADLOCK,
                       "the loader of \"%.*s\" asks for the key that it is loading: load it from the store",
                       len > 80 ? 80 : (int)len, key);
    mp_lane *lane = enter(p, &code, err);
    if (!lane) return code;
    mp_waiter waiter;
    mp_waiter_init(&waiter);
    mp_read *r = mp_read_start(lane, policy, &k, lookup, 0, &waiter);
    return finish(lane, r ? &r->call : NULL, &waiter, loader, ctx, out, err);
}

int pond_fetch(pond *p, const char *key, size_t len, const pond_policy *policy, pond_loader loader, void *ctx,
               pond_value **out, pond_error **err) {
    if (!loader || !out) return mp_fail(err, POND_EMISUSE, "pond_fetch: loader or out is NULL");
    return read(p, key, len, policy, false, loader, ctx, out, err);
}

int pond_lookup(pond *p, const char *key, size_t len, const pond_policy *policy, pond_value **out, pond_error **err) {
    if (!out) return mp_fail(err, POND_EMISUSE, "pond_lookup: out is NULL");
    return read(p, key, len, policy, true, NULL, NULL, out, err);
}

pond_value *pond_peek(pond *p, const char *key, size_t len, const pond_policy *policy) {
    if (!p || !p->cache->vt->peek) return NULL;
    char name[MP_NAME_MAX + 1];
    mp_key k;
    if (mp_call_check(p, key, len, policy, name, &k, NULL) != POND_OK) return NULL;
    return mp_peek(p, policy, &k);
}

int pond_invalidate(pond *p, const char *const *keys, const size_t *lens, size_t n, const pond_policy *policy,
                    pond_error **err) {
    int code = mp_keys_check(p, keys, lens, n, err);
    if (code != POND_OK || n == 0) return code;
    mp_lane *lane = enter(p, &code, err);
    if (!lane) return code;
    mp_waiter waiter;
    mp_waiter_init(&waiter);
    mp_call *call = mp_invalidate_start(lane, policy, keys, lens, n, 0, &waiter);
    return finish(lane, call, &waiter, NULL, NULL, NULL, err);
}

int pond_explain(pond *p, const char *key, size_t len, const pond_policy *policy, pond_value **out, pond_error **err) {
    if (!out) return mp_fail(err, POND_EMISUSE, "pond_explain: out is NULL");
    char name[MP_NAME_MAX + 1];
    mp_key k;
    int code = mp_call_check(p, key, len, policy, name, &k, err);
    if (code != POND_OK) return code;
    mp_lane *lane = enter(p, &code, err);
    if (!lane) return code;
    mp_waiter waiter;
    mp_waiter_init(&waiter);
    mp_call *call = mp_inspect_start(lane, policy, &k, 0, &waiter);
    return finish(lane, call, &waiter, NULL, NULL, out, err);
}
