#include "pattern/invalidate.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "pattern/pond.h"

typedef struct item {
    mp_op op;
    struct invalidation *owner;
} item;

enum { PART = 1024 }; /* at once: what a server does well within command_timeout */

typedef struct invalidation {
    mp_call call;
    size_t n, begun, open; /* all, those that were submitted, and of these those without an answer */
    mp_task part;
    pond_error *error; /* the first */
    pond_tags *tags;   /* the names of the last items; a reference */
    char *names;
    item items[];
} invalidation;

static void unhook(mp_call *call) {
    invalidation *inv = MP_OF(call, invalidation, call);
    mp_loop_unpost(call->lane->loop, &inv->part);
    for (size_t i = 0; i < inv->begun; i++)
        if (inv->items[i].op.reply == MP_PENDING) mp_lane_forget(call->lane, &inv->items[i].op);
}

static void destroy(mp_call *call) {
    invalidation *inv = MP_OF(call, invalidation, call);
    mp_call_clear(call);
    pond_error_free(inv->error);
    pond_tags_free(inv->tags);
    free(inv->names);
    free(inv);
}

static const mp_call_vt vt = {.unhook = unhook, .destroy = destroy};

static void one_done(invalidation *inv) {
    if (--inv->open > 0) return;
    if (!inv->error && inv->begun < inv->n) {
        mp_loop_defer(inv->call.lane->loop, &inv->part); /* not here, in the midst of an operation's end */
        return;
    }
    pond_error *error = inv->error;
    inv->error = NULL;
    mp_call_end(&inv->call, error ? POND_EVENT_ERROR : POND_EVENT_OK, NULL, error);
}

static void dropped(mp_op *op) {
    item *it = MP_OF(op, item, op);
    invalidation *inv = it->owner;
    mp_ns_stats *stats = inv->call.policy->space->stats;
    mp_count(stats, op->reply == MP_DONE ? MP_COUNT_invalidations : MP_COUNT_cache_errors);
    if (!inv->error) inv->error = op->error;
    else pond_error_free(op->error);
    op->error = NULL;
    one_done(inv);
}

static void start_part(invalidation *inv) {
    size_t end = inv->n - inv->begun < PART ? inv->n : inv->begun + PART;
    inv->open = end - inv->begun + 1; /* one for this function: an operation may end before the next is submitted */
    while (inv->begun < end) mp_lane_submit(inv->call.lane, &inv->items[inv->begun++].op);
    one_done(inv);
}

static void next_part(mp_task *task) { start_part(MP_OF(task, invalidation, part)); }

static mp_op *prepare(invalidation *inv, size_t i) {
    item *it = &inv->items[i];
    it->owner = inv;
    it->op.kind = MP_END;
    it->op.timeout_ms = inv->call.policy->options.command_timeout;
    it->op.done = dropped;
    mp_random_bytes(it->op.token, MP_TOKEN_LEN);
    return &it->op;
}

mp_call *mp_invalidate_start(mp_lane *lane, const pond_policy *policy, const char *const *keys, const size_t *lens,
                             size_t n, const pond_tags *tags, uint64_t user, mp_waiter *waiter) {
    if (!policy) policy = lane->pond->defaults;
    size_t room = 0, all = n + (tags ? tags->n : 0);
    for (size_t i = 0; i < n; i++) room += policy->ns_len + 1 + lens[i] + 1;
    invalidation *inv = calloc(1, sizeof *inv + all * sizeof inv->items[0]);
    char *name = inv ? malloc(room + 1) : NULL;
    if (!name) {
        free(inv);
        return NULL;
    }
    inv->names = name;
    inv->tags = pond_tags_ref((pond_tags *)tags);
    inv->n = all;
    mp_call_init(&inv->call, &vt, lane, policy, user);
    inv->call.waiter = waiter;
    for (size_t i = 0; i < n; i++) {
        mp_op *op = prepare(inv, i);
        mp_policy_key(policy, &op->key, name, keys[i], lens[i]);
        name += op->key.len + 1;
    }
    for (size_t i = n; i < all; i++) {
        mp_op *op = prepare(inv, i);
        op->key = tags->keys[i - n];
        op->tag = true;
        op->cut_ms = tags->bound_ms;
    }
    inv->part.run = next_part;
    start_part(inv);
    return &inv->call;
}
