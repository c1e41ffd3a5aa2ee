#include "pattern/batch.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "pattern/load.h"
#include "pattern/pond.h"

pond_batch *mp_batch_new(mp_group *group) {
    size_t room = group->begun - group->first;
    pond_batch *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    b->refs = 2;
    b->lane = group->call.lane;
    mp_lane_ref(b->lane);
    b->group = group;
    b->event = (pond_event){.kind = POND_EVENT_BATCH, .user = group->call.event.user, .call = &group->call, .batch = b};
    mp_list_init(&b->event.node);
    b->loads = calloc(room, sizeof *b->loads);
    b->values = calloc(room, sizeof *b->values);
    b->errors = calloc(room, sizeof *b->errors);
    b->flags = calloc(room, sizeof *b->flags);
    if (b->loads && b->values && b->errors && b->flags) return b;
    mp_batch_drop(b);
    return NULL;
}

void mp_batch_unref(pond_batch *b) {
    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1) return;
    for (size_t i = 0; i < b->n; i++) {
        pond_value_free(b->values[i]);
        pond_error_free(b->errors[i]);
    }
    free(b->loads);
    free(b->values);
    free(b->errors);
    free(b->flags);
    mp_lane_unref(b->lane);
    free(b);
}

void mp_batch_drop(pond_batch *b) {
    mp_list_remove(&b->event.node);
    mp_batch_unref(b);
    mp_batch_unref(b);
}

void mp_batch_run(pond_batch *b, pond_bulk_loader loader, void *ctx) {
    mp_frame here;
    size_t n = b->n;
    for (size_t i = 0; i < n; i++) atomic_fetch_add_explicit(&b->loads[i]->refs, 1, memory_order_relaxed);
    mp_frame_enter(&here, b->lane->pond, NULL);
    here.loads = b->loads;
    here.n = n;
    loader(b, ctx);
    mp_frame_leave(&here);
    for (size_t i = 0; i < n; i++) mp_load_unref(b->loads[i]);
    if (!atomic_load(&b->answered))
        pond_batch_fail(b, POND_EMISUSE, "the loader returned without pond_batch_done or pond_batch_fail");
    mp_batch_unref(b); /* the event's reference: there is no event here */
}

size_t pond_batch_count(const pond_batch *b) { return b->n; }

const char *pond_batch_key(const pond_batch *b, size_t i, size_t *len) {
    return i < b->n ? pond_load_key(b->loads[i], len) : NULL;
}

/* ---- single keys ---- */

static int set(pond_batch *b, size_t i, pond_value *value, pond_error *error, unsigned flags) {
    if (i >= b->n || atomic_load(&b->answered)) {
        pond_value_free(value);
        pond_error_free(error);
        return POND_EMISUSE;
    }
    pond_value_free(b->values[i]);
    pond_error_free(b->errors[i]);
    b->values[i] = value;
    b->errors[i] = error;
    b->flags[i] = flags;
    return error ? pond_error_code(error) : POND_OK;
}

int pond_batch_value(pond_batch *b, size_t i, const void *data, size_t len, pond_codec codec, unsigned flags) {
    if (i >= b->n) return POND_EMISUSE;
    pond_error *error = mp_load_check(b->loads[i], data, len, codec);
    pond_value *value = error ? NULL : mp_value_new(POND_VALUE, codec, data, len);
    if (!value && !error) error = mp_error_new(POND_ENOMEM, "no memory for a value of %zu bytes", len);
    return set(b, i, value, error, flags);
}

int pond_batch_absent(pond_batch *b, size_t i, unsigned flags) { return set(b, i, mp_value_absent(), NULL, flags); }

/* ---- the end ---- */

/* The one way back. Takes over `failed`, which all of its loads end with; NULL: each has its own answer. */
static int end(pond_batch *b, pond_error *failed) {
    if (atomic_exchange(&b->answered, true)) {
        pond_error_free(failed);
        return POND_EMISUSE;
    }
    if (mp_lane_inherited(b->lane)) { /* the parent answers it; what a child says goes nowhere */
        pond_error_free(failed);
        mp_batch_unref(b);
        return POND_ECLOSED;
    }
    for (size_t i = 0; i < b->n; i++) {
        if (failed) {
            pond_value_free(b->values[i]);
            pond_error_free(b->errors[i]);
            b->values[i] = NULL;
            b->errors[i] = pond_error_ref(failed);
        } else if (!b->values[i] && !b->errors[i]) {
            b->values[i] = mp_value_absent(); /* what is left out is not there */
        }
    }
    pond_error_free(failed);
    mp_loads_settle(b->loads, b->values, b->errors, b->flags, b->n);
    mp_lane_lock(b->lane);
    mp_loop_touch(b->lane->loop);
    b->n = 0; /* all of them are gone */
    if (b->group) mp_group_answered(b->group);
    mp_lane_kick(b->lane, false);
    mp_lane_unlock(b->lane);
    mp_batch_unref(b);
    return POND_OK;
}

int pond_batch_done(pond_batch *b) { return end(b, NULL); }

int pond_batch_fail(pond_batch *b, int code, const char *message) {
    return end(b, mp_error_new(code ? code : POND_ELOADER, "%s", message ? message : "the loader failed"));
}

int pond_batch_fail_with(pond_batch *b, int code, const char *message, const void *owner, void *object,
                         void (*release)(void *object)) {
    return end(
        b, mp_error_with(code ? code : POND_ELOADER, message ? message : "the loader failed", owner, object, release));
}
