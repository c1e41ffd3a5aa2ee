#include "pattern/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/utf8.h"
#include "pattern/flight.h"
#include "pattern/pond.h"

static _Thread_local mp_frame *innermost;

enum { AT_ONCE = 64 }; /* answers while others wait for the lane's lock */

pond_load *mp_load_new(mp_lane *lane, const mp_key *key, int64_t max_value) {
    pond_load *load = calloc(1, sizeof *load + key->len + 1);
    if (!load) return NULL;
    load->refs = 1;
    load->lane = lane;
    mp_lane_ref(lane);
    load->max_value = max_value;
    load->ns_len = key->ns_len;
    load->len = key->len;
    memcpy(load->name, key->name, key->len);
    return load;
}

void mp_load_unref(pond_load *load) {
    if (atomic_fetch_sub_explicit(&load->refs, 1, memory_order_acq_rel) != 1) return;
    mp_lane_unref(load->lane);
    pond_value_free(load->dirty);
    free(load);
}

void mp_frame_enter(mp_frame *frame, const pond *p, const pond_load *load) {
    *frame = (mp_frame){.outer = innermost, .p = p, .load = load};
    innermost = frame;
}

void mp_frame_leave(mp_frame *frame) { innermost = frame->outer; }

size_t mp_frames_here(const pond *p) {
    size_t n = 0;
    for (const mp_frame *f = innermost; f; f = f->outer) n += f->p == p;
    return n;
}

static bool is_of(const pond_load *load, const mp_key *key) {
    return load->len == key->len && memcmp(load->name, key->name, key->len) == 0;
}

bool mp_load_runs_here(const pond *p, const mp_key *key) {
    for (const mp_frame *f = innermost; f; f = f->outer) {
        if (f->p != p) continue;
        if (f->load && is_of(f->load, key)) return true;
        for (size_t i = 0; i < f->n; i++)
            if (is_of(f->loads[i], key)) return true;
    }
    return false;
}

void mp_load_run(pond_load *load, pond_loader loader, void *ctx) {
    mp_frame here;
    mp_frame_enter(&here, load->lane->pond, load);
    atomic_fetch_add_explicit(&load->refs, 1, memory_order_relaxed);
    loader(load, ctx);
    mp_frame_leave(&here);
    if (!atomic_load(&load->answered)) pond_load_fail(load, POND_EMISUSE, "the loader returned without an answer");
    mp_load_unref(load);
}

const char *pond_load_key(const pond_load *load, size_t *len) {
    if (len) *len = load->len - load->ns_len - 1;
    return load->name + load->ns_len + 1;
}

/* Lane's lock held: to the flight, if anybody still wants it. */
static void give(pond_load *load, pond_value *value, pond_error *error, unsigned flags) {
    mp_flight *flight = load->flight;
    load->flight = NULL;
    if (flight) {
        mp_flight_loaded(flight, value, error, flags & POND_LOAD_UNCACHED);
    } else {
        pond_value_free(value);
        pond_error_free(error);
    }
}

/* The one way back. Takes over value and error; frees the handle. */
static int answer(pond_load *load, pond_value *value, pond_error *error, unsigned flags) {
    if (atomic_exchange(&load->answered, true)) {
        pond_value_free(value);
        pond_error_free(error);
        return POND_EMISUSE;
    }
    int code = error ? pond_error_code(error) : POND_OK;
    mp_lane *lane = load->lane;
    if (mp_lane_inherited(lane)) { /* the parent answers it; what a child says goes nowhere */
        pond_value_free(value);
        pond_error_free(error);
        mp_load_unref(load);
        return POND_ECLOSED;
    }
    mp_lane_lock(lane);
    mp_loop_touch(lane->loop);
    give(load, value, error, flags);
    mp_lane_kick(lane, false);
    mp_lane_unlock(lane);
    mp_load_unref(load);
    return code;
}

void mp_load_fail_here(pond_load *load, pond_error *error) {
    mp_flight *flight = load->flight;
    atomic_store(&load->answered, true);
    load->flight = NULL;
    if (flight) mp_flight_loaded(flight, NULL, error, false);
    else pond_error_free(error);
    mp_load_unref(load);
}

pond_error *mp_value_check(const char *what, const void *data, size_t len, pond_codec codec, int64_t max) {
    if (codec < POND_JSON || codec > POND_EJSON)
        return mp_error_new(POND_EVALUE, "the value of %s has codec %d, which there is not", what, (int)codec);
    if (!data && len) return mp_error_new(POND_EVALUE, "the value of %s is NULL with length %zu", what, len);
    if (len > (uint64_t)max || len > UINT32_MAX - 1024)
        return mp_error_new(POND_EVALUE,
                            "the value of %s has %zu bytes, over max_value = %lld: store less, or raise it", what, len,
                            (long long)max);
    if (codec != POND_BYTES) {
        size_t good = mp_utf8_check(data, len);
        if (good < len)
            return mp_error_new(POND_EVALUE, "the value of %s is not UTF-8 at byte %zu: store it as bytes", what, good);
    }
    if (codec == POND_JSON && len == 0)
        return mp_error_new(POND_EVALUE, "the value of %s is empty, which is not JSON", what);
    return NULL;
}

pond_error *mp_load_check(const pond_load *load, const void *data, size_t len, pond_codec codec) {
    size_t key_len;
    const char *key = pond_load_key(load, &key_len);
    char what[88];
    snprintf(what, sizeof what, "\"%.*s\"", key_len > 80 ? 80 : (int)key_len, key);
    return mp_value_check(what, data, len, codec, load->max_value);
}

int pond_load_value(pond_load *load, const void *data, size_t len, pond_codec codec, unsigned flags) {
    pond_error *error = mp_load_check(load, data, len, codec);
    pond_value *value = error ? NULL : mp_value_new(POND_VALUE, codec, data, len);
    if (!value && !error) error = mp_error_new(POND_ENOMEM, "no memory for a value of %zu bytes", len);
    return answer(load, value, error, flags);
}

void mp_load_fail_as(pond_load *load, pond_error *error) { answer(load, NULL, error, 0); }

static pond_error *check_value(const pond_load *load, const pond_value *value) {
    size_t len;
    const char *data = pond_value_data(value, &len);
    return pond_value_state(value) == POND_VALUE ? mp_load_check(load, data, len, pond_value_codec(value)) : NULL;
}

void mp_loads_answer(pond_load *const *loads, pond_value **values, size_t n) {
    for (size_t from = 0; from < n; from += AT_ONCE) {
        pond_error *errors[AT_ONCE];
        static const unsigned flags[AT_ONCE];
        size_t part = n - from < AT_ONCE ? n - from : AT_ONCE;
        for (size_t i = 0; i < part; i++) {
            if (!(errors[i] = check_value(loads[from + i], values[from + i]))) continue;
            pond_value_free(values[from + i]);
            values[from + i] = NULL;
        }
        mp_loads_settle(loads + from, values + from, errors, flags, part);
    }
}

void mp_loads_settle(pond_load *const *loads, pond_value **values, pond_error **errors, const unsigned *flags,
                     size_t n) {
    mp_lane *lane = loads[0]->lane;
    mp_lane_ref(lane);
    for (size_t from = 0, to; from < n; from = to) {
        to = n - from < AT_ONCE ? n : from + AT_ONCE;
        mp_lane_lock(lane);
        mp_loop_touch(lane->loop);
        for (size_t i = from; i < to; i++) {
            atomic_store(&loads[i]->answered, true);
            give(loads[i], values[i], errors[i], flags[i]);
        }
        mp_lane_kick(lane, false);
        mp_lane_unlock(lane);
        for (size_t i = from; i < to; i++) mp_load_unref(loads[i]);
    }
    mp_lane_unref(lane);
}

int pond_load_absent(pond_load *load, unsigned flags) { return answer(load, mp_value_absent(), NULL, flags); }

int pond_load_fail(pond_load *load, int code, const char *message) {
    answer(load, NULL, mp_error_new(code ? code : POND_ELOADER, "%s", message ? message : "the loader failed"), 0);
    return POND_OK;
}

int pond_load_fail_with(pond_load *load, int code, const char *message, const void *owner, void *object,
                        void (*release)(void *object)) {
    answer(load, NULL,
           mp_error_with(code ? code : POND_ELOADER, message ? message : "the loader failed", owner, object, release),
           0);
    return POND_OK;
}
