#include "pattern/stream.h"

#include <stdlib.h>
#include <string.h>

#include "pattern/pond.h"

typedef struct entry {
    mp_op op;
    struct adding *owner;
} entry;

typedef struct adding {
    mp_call call;
    size_t n, open;
    size_t *confirmed; /* the caller's, who waits */
    entry entries[];
} adding;

static void unhook(mp_call *call) {
    adding *a = MP_OF(call, adding, call);
    for (size_t i = 0; i < a->n; i++)
        if (a->entries[i].op.reply == MP_PENDING) mp_lane_forget(call->lane, &a->entries[i].op);
}

static void destroy(mp_call *call) {
    adding *a = MP_OF(call, adding, call);
    for (size_t i = 0; i < a->n; i++) {
        pond_value_free(a->entries[i].op.value);
        pond_error_free(a->entries[i].op.error);
    }
    mp_call_clear(call);
    free(a);
}

static const mp_call_vt vt = {.unhook = unhook, .destroy = destroy};

static void one_done(adding *a) {
    if (--a->open > 0) return;
    size_t n = 0;
    while (n < a->n && a->entries[n].op.reply == MP_DONE) n++;
    *a->confirmed = n;
    pond_error *error = n < a->n ? a->entries[n].op.error : NULL;
    if (error) a->entries[n].op.error = NULL;
    mp_call_end(&a->call, n < a->n ? POND_EVENT_ERROR : POND_EVENT_OK, NULL, error);
}

static void added(mp_op *op) { one_done(MP_OF(op, entry, op)->owner); }

mp_call *mp_stream_start(mp_lane *lane, const char *stream, int64_t most, const mp_notice *notices, size_t n,
                         size_t *confirmed, mp_waiter *waiter) {
    adding *a = calloc(1, sizeof *a + n * sizeof a->entries[0]);
    if (!a) return NULL;
    for (; a->n < n; a->n++) {
        entry *e = &a->entries[a->n];
        e->owner = a;
        e->op = (mp_op){.kind = MP_ADD,
                        .key = {.name = stream, .len = (uint32_t)strlen(stream)},
                        .ms = most,
                        .timeout_ms = lane->pond->options.command_timeout,
                        .value = mp_value_new(POND_VALUE, POND_TEXT, notices[a->n].text, notices[a->n].len),
                        .done = added};
        if (e->op.value) continue;
        while (a->n-- > 0) pond_value_free(a->entries[a->n].op.value);
        free(a);
        return NULL;
    }
    mp_call_init(&a->call, &vt, lane, NULL, 0);
    a->call.waiter = waiter;
    a->confirmed = confirmed;
    a->open = n + 1; /* one for this function */
    for (size_t i = 0; i < n; i++) mp_lane_submit(lane, &a->entries[i].op);
    one_done(a);
    return &a->call;
}
