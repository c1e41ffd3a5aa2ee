#include "pattern/errand.h"

#include <stdlib.h>

#include "base/error.h"

typedef struct mp_errands {
    mp_call call;
    mp_errand *each;
    size_t n, open;
} mp_errands;

static void unhook(mp_call *call) {
    mp_errands *all = MP_OF(call, mp_errands, call);
    for (size_t i = 0; i < all->n; i++)
        if (all->each[i].op.reply == MP_PENDING) mp_lane_forget(call->lane, &all->each[i].op);
}

static void destroy(mp_call *call) {
    mp_call_clear(call);
    free(MP_OF(call, mp_errands, call));
}

static const mp_call_vt vt = {.unhook = unhook, .destroy = destroy};

static void one_less(mp_errands *all) {
    if (--all->open == 0) mp_call_end(&all->call, POND_EVENT_OK, NULL, NULL);
}

static void done(mp_op *op) { one_less(MP_OF(op, mp_errand, op)->of); }

mp_call *mp_errands_start(mp_lane *lane, mp_errand *each, size_t n, mp_waiter *waiter) {
    mp_errands *all = calloc(1, sizeof *all);
    if (!all) return NULL;
    mp_call_init(&all->call, &vt, lane, NULL, 0);
    all->call.waiter = waiter;
    all->each = each;
    all->n = n;
    all->open = n + 1; /* one for this loop: an operation may end before the next is submitted */
    for (size_t i = 0; i < n; i++) {
        each[i].of = all;
        each[i].op.reply = MP_PENDING;
        each[i].op.error = NULL;
        each[i].op.done = done;
        mp_lane_submit(lane, &each[i].op);
    }
    one_less(all);
    return &all->call;
}

int mp_errand_code(mp_errand *errand, pond_error **err) {
    mp_op *op = &errand->op;
    if (op->reply != MP_FAILED) return POND_OK;
    pond_error *why = op->error;
    op->error = NULL;
    if (!why) return mp_fail(err, POND_ENOMEM, "no memory for an error of the cache");
    int code = pond_error_code(why);
    if (err) *err = why;
    else pond_error_free(why);
    return code;
}
