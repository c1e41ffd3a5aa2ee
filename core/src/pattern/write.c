#include "pattern/write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "pattern/change.h"
#include "pattern/load.h"
#include "pattern/pond.h"

/* What the host has while it writes. Outlives the call and the queue. */
struct pond_writing {
    _Atomic uint32_t refs; /* the event, and the answer that is owed */
    pond_event event;
    mp_lane *lane;
    mp_write *write;   /* lane's lock; NULL: nobody waits for it any more */
    mp_intent *intent; /* lane's lock; its to end, from the offer to the answer */
    pond_policy *policy;
    int64_t max_value;
    _Atomic bool answered;
    pond_error *left; /* lane's lock: what it ended with */
    size_t n;
    mp_written written[];
};

static mp_write *of_call(mp_call *call) { return MP_OF(call, mp_write, call); }

static void count(const pond_policy *policy, mp_counter counter) { mp_count(policy->space->stats, counter); }

/* ---- the handle ---- */

static pond_writing *new_handle(mp_lane *lane, const pond_policy *policy, size_t n) {
    pond_writing *w = calloc(1, sizeof *w + n * sizeof w->written[0]);
    if (!w) return NULL;
    w->refs = 1;
    w->lane = lane;
    mp_lane_ref(lane);
    w->policy = pond_policy_ref((pond_policy *)policy);
    w->max_value = lane->pond->options.max_value;
    w->n = n;
    return w;
}

void mp_writing_unref(pond_writing *w) {
    if (atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel) != 1) return;
    for (size_t i = 0; i < w->n; i++) pond_value_free(w->written[i].value);
    pond_error_free(w->left);
    pond_policy_free(w->policy);
    mp_lane_unref(w->lane);
    free(w);
}

/* ---- the call ---- */

static void detach(mp_write *w) {
    pond_writing *handle = w->handle;
    if (handle && w->taken) { /* the host writes: what comes of it is told to the cache, and to nobody else */
        handle->write = NULL;
        w->handle = NULL;
        return;
    }
    if (handle) {
        if (w->offered) {
            mp_list_remove(&handle->event.node);
            w->intent = handle->intent;
            mp_writing_unref(handle); /* the event's */
        }
        w->handle = NULL;
        mp_writing_unref(handle);
        w->intent->done = NULL;
        if (w->begun) mp_intent_end(w->intent, NULL, false); /* nothing was written */
        else mp_intent_leave(w->intent);
    } else if (w->intent) {
        w->intent->done = NULL; /* it ends by itself */
    }
    w->intent = NULL;
}

static void unhook(mp_call *call) {
    mp_write *w = of_call(call);
    detach(w);
    if (w->change) mp_change_unhook(w->change);
}

static void destroy(mp_call *call) {
    mp_write *w = of_call(call);
    mp_call_clear(call);
    pond_error_free(w->error);
    if (w->change) mp_check_unref(w->change);
    free(w);
}

static const mp_call_vt vt = {.unhook = unhook, .destroy = destroy};

static void end_call(mp_write *w) {
    pond_error *error = w->error;
    w->error = NULL;
    pond_value *value = w->change && !error ? mp_change_result(w->change) : NULL;
    if (value) mp_call_end_value(&w->call, value);
    else mp_call_end(&w->call, error ? POND_EVENT_ERROR : POND_EVENT_OK, NULL, error);
}

/* Without the host, or the store, having been asked. Takes over the error. */
static void end_before(mp_write *w, pond_error *error) {
    mp_intent *intent = w->intent;
    w->intent = NULL;
    mp_writing_unref(w->handle);
    w->handle = NULL;
    intent->done = NULL;
    if (w->begun) mp_intent_end(intent, NULL, false); /* nothing was written */
    else mp_intent_leave(intent);
    count(w->call.policy, error ? MP_COUNT_write_errors : MP_COUNT_writes);
    w->error = error;
    end_call(w);
}

void mp_write_refuse(mp_write *w, pond_error *error) { end_before(w, error); }

void mp_write_accepted(mp_write *w) { end_before(w, NULL); }

/* The host, or the library, is asked to write. */
static void offer(mp_write *w) {
    pond_writing *handle = w->handle;
    handle->write = w;
    handle->intent = w->intent;
    w->intent = NULL;
    w->offered = true;
    if (w->change) {
        w->taken = true;
        mp_change_begun(w->change, handle);
        return;
    }
    atomic_fetch_add_explicit(&handle->refs, 1, memory_order_relaxed);
    handle->event =
        (pond_event){.kind = POND_EVENT_WRITE, .user = w->call.event.user, .call = &w->call, .writing = handle};
    mp_list_init(&handle->event.node);
    if (w->call.waiter) mp_waiter_wake(w->call.waiter);
    else mp_call_push_event(w->call.lane, &handle->event);
}

static pond_error *not_written(pond_error *why) {
    pond_error *error = mp_error_new_retriable(pond_error_code(why), pond_error_retriable(why),
                                               "nothing was written, for the cache could not be told of it before: %s",
                                               pond_error_message(why));
    pond_error_free(why);
    return error;
}

static void begun(mp_intent *intent) {
    mp_write *w = intent->owner;
    pond_error *error = intent->error;
    intent->error = NULL;
    bool lenient = w->call.policy->options.when_cache_down_write == MP_WRITE_LENIENT;
    if (error && (!lenient || pond_error_code(error) == POND_ECLOSED)) {
        mp_write_refuse(w, not_written(error));
    } else if (error && mp_overdue_full(w->call.lane->pond)) {
        pond_error_free(error);
        mp_write_refuse(w, mp_error_new(POND_EOVERLOAD,
                                        "nothing was written: too many writes wait to be told to the cache, which "
                                        "cannot be reached: try again when it can"));
    } else {
        if (!error) mp_intent_hold(intent);
        pond_error_free(error);
        offer(w);
    }
}

mp_write *mp_write_new(mp_lane *lane, const pond_policy *policy, const char *const *keys, const size_t *lens, size_t n,
                       const pond_tags *tags, uint64_t user, mp_waiter *waiter) {
    if (!policy) policy = lane->pond->defaults;
    mp_write *w = calloc(1, sizeof *w);
    if (w) w->handle = new_handle(lane, policy, n);
    if (w && w->handle) w->intent = mp_intent_new(lane, policy, keys, lens, n, tags, policy->options.intent);
    if (!w || !w->intent) {
        if (w && w->handle) mp_writing_unref(w->handle);
        free(w);
        return NULL;
    }
    mp_call_init(&w->call, &vt, lane, policy, user);
    w->call.waiter = waiter;
    w->intent->owner = w;
    w->intent->done = begun;
    return w;
}

void mp_write_begin(mp_write *w) {
    w->begun = true;
    mp_intent_begin(w->intent);
}

pond_writing *mp_write_take(mp_call *call) {
    mp_write *w = of_call(call);
    if (!w->offered || w->taken) return NULL;
    w->taken = true;
    return w->handle;
}

void mp_writing_run(pond_writing *w, pond_writer writer, void *ctx) {
    mp_frame here;
    mp_frame_enter(&here, w->lane->pond, NULL);
    atomic_fetch_add_explicit(&w->refs, 1, memory_order_relaxed);
    writer(w, ctx);
    mp_frame_leave(&here);
    if (!atomic_load(&w->answered))
        pond_write_fail(w, POND_UNKNOWN, POND_EMISUSE, "the writer returned without saying what came of the write");
    mp_writing_unref(w);
}

pond_error *mp_writing_left(pond_writing *w) {
    pond_error *error = w->left;
    w->left = NULL;
    return error;
}

/* ---- the answer ---- */

static void told(mp_intent *intent) {
    mp_write *w = intent->owner;
    w->intent = NULL;
    /* `done` is the last that it does but for its own end. */
    intent->done = NULL;
    mp_intent_leave(intent);
    end_call(w);
}

/* Lane's lock held. Takes over the error. */
static void answered(pond_writing *handle, pond_outcome outcome, pond_error *error) {
    mp_write *w = handle->write;
    mp_intent *intent = handle->intent;
    handle->write = NULL;
    handle->intent = NULL;
    count(handle->policy, outcome == POND_COMMITTED ? MP_COUNT_writes : MP_COUNT_write_errors);
    if (w) {
        w->handle = NULL;
        w->error = pond_error_ref(error);
    }
    handle->left = error; /* also for a blocking caller who finds the pond closed */
    if (outcome == POND_UNKNOWN) {
        mp_intent_leave(intent);
        if (w) end_call(w);
        return;
    }
    if (w) w->intent = intent;
    intent->owner = w;
    intent->done = w ? told : NULL;
    bool committed = outcome == POND_COMMITTED;
    mp_intent_end(intent, committed ? handle->written : NULL, committed);
}

void mp_writing_answer_here(pond_writing *handle, pond_outcome outcome, pond_error *error) {
    atomic_store(&handle->answered, true);
    answered(handle, outcome, error);
    mp_writing_unref(handle);
}

/* The one way back. Takes over the error; frees the handle. */
static int answer(pond_writing *handle, pond_outcome outcome, pond_error *error) {
    if (atomic_exchange(&handle->answered, true)) {
        pond_error_free(error);
        return POND_EMISUSE;
    }
    mp_lane *lane = handle->lane;
    if (mp_lane_inherited(lane)) { /* the parent answers it; what a child says goes nowhere */
        pond_error_free(error);
        mp_writing_unref(handle);
        return POND_ECLOSED;
    }
    mp_lane_lock(lane);
    mp_loop_touch(lane->loop);
    answered(handle, outcome, error);
    mp_lane_kick(lane, false);
    bool closed = lane->closed;
    mp_lane_unlock(lane);
    if (closed) mp_pond_rehome_overdue(lane);
    mp_writing_unref(handle);
    return POND_OK;
}

void mp_writing_answer(pond_writing *handle, pond_outcome outcome, pond_error *error) {
    answer(handle, outcome, error);
}

int pond_write_done(pond_writing *writing) { return answer(writing, POND_COMMITTED, NULL); }

static pond_outcome failed(pond_outcome outcome) {
    return outcome == POND_NOT_WRITTEN ? POND_NOT_WRITTEN : POND_UNKNOWN;
}

int pond_write_fail(pond_writing *writing, pond_outcome outcome, int code, const char *message) {
    return answer(writing, failed(outcome),
                  mp_error_new(code ? code : POND_ESTORE, "%s", message ? message : "the write failed"));
}

int pond_write_fail_with(pond_writing *writing, pond_outcome outcome, int code, const char *message, const void *owner,
                         void *object, void (*release)(void *object)) {
    return answer(
        writing, failed(outcome),
        mp_error_with(code ? code : POND_ESTORE, message ? message : "the write failed", owner, object, release));
}

/* ---- the values ---- */

static int set_value(pond_writing *w, size_t i, pond_value *value, int64_t ttl_ms, pond_error **err) {
    if (i >= w->n || atomic_load(&w->answered)) {
        pond_value_free(value);
        return mp_fail(err, POND_EMISUSE,
                       i >= w->n ? "this write has %zu keys: there is none of number %zu"
                                 : "this write of %zu keys was answered before (number %zu)",
                       w->n, i);
    }
    pond_value_free(w->written[i].value);
    w->written[i] = (mp_written){.value = value, .ttl_ms = ttl_ms};
    return POND_OK;
}

void mp_writing_put(pond_writing *w, pond_value *value, int64_t ttl_ms) {
    w->written[0] = (mp_written){.value = pond_value_ref(value), .ttl_ms = ttl_ms};
}

const _Atomic int64_t *mp_writing_until(const pond_writing *w) { return &w->intent->commit_until; }

int pond_writing_value(pond_writing *w, size_t i, const void *data, size_t len, pond_codec codec, pond_error **err) {
    char number[32];
    snprintf(number, sizeof number, "key %zu of the write", i);
    pond_error *error = mp_value_check(number, data, len, codec, w->max_value);
    pond_value *value = error ? NULL : mp_value_new(POND_VALUE, codec, data, len);
    if (!value && !error) error = mp_error_new(POND_ENOMEM, "no memory for a value of %zu bytes", len);
    if (!error) return set_value(w, i, value, w->policy->options.ttl, err);
    int code = pond_error_code(error);
    if (err) *err = error;
    else pond_error_free(error);
    return code;
}

int pond_writing_absent(pond_writing *w, size_t i, pond_error **err) {
    return set_value(w, i, mp_value_absent(), w->policy->options.negative_ttl, err);
}
