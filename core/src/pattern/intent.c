#include "pattern/intent.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "pattern/pond.h"

static void count(const mp_intent *in, mp_counter counter) { mp_count(in->policy->space->stats, counter); }

static void renew(mp_timer *timer);

mp_intent *mp_intent_new(mp_lane *lane, const pond_policy *policy, const char *const *keys, const size_t *lens,
                         size_t n, const pond_tags *tags, int64_t stand_ms) {
    size_t room = 0, all = n + (tags ? tags->n : 0);
    for (size_t i = 0; i < n; i++) room += policy->ns_len + 1 + lens[i] + 1;
    mp_intent *in = calloc(1, sizeof *in + all * sizeof in->items[0]);
    char *name = in ? malloc(room + 1) : NULL;
    if (!name) {
        free(in);
        return NULL;
    }
    in->lane = lane;
    in->policy = pond_policy_ref((pond_policy *)policy);
    in->tags = pond_tags_ref((pond_tags *)tags);
    in->stand_ms = stand_ms;
    in->keys = n;
    in->n = all;
    in->names = name;
    in->timer.fire = renew;
    for (size_t i = 0; i < all; i++) {
        mp_intent_item *it = &in->items[i];
        it->owner = in;
        it->op.tag = i >= n;
        if (it->op.tag) {
            it->op.key = tags->keys[i - n];
            it->op.cut_ms = tags->bound_ms;
        } else {
            mp_policy_key(policy, &it->op.key, name, keys[i], lens[i]);
            name += it->op.key.len + 1;
        }
    }
    return in;
}

static void destroy(mp_intent *in) {
    for (size_t i = 0; i < in->keys; i++)
        if (in->items[i].op.kind == MP_END) pond_value_free(in->items[i].op.value);
    pond_error_free(in->error);
    pond_tags_free(in->tags);
    pond_policy_free(in->policy);
    free(in->names);
    free(in);
}

/* An item's operation, from what all of them have. */
static mp_op *prepare(mp_intent *in, size_t i, mp_op_kind kind, void (*done)(mp_op *op)) {
    mp_op *op = &in->items[i].op;
    *op = (mp_op){.kind = kind,
                  .key = op->key,
                  .tag = op->tag,
                  .cut_ms = op->cut_ms,
                  .lease_ms = in->stand_ms,
                  .timeout_ms = in->policy->options.command_timeout,
                  .done = done};
    memcpy(op->token, in->token, MP_TOKEN_LEN);
    return op;
}

static void one_done(mp_intent *in) {
    if (--in->open > 0) return;
    if (in->done) in->done(in);
    else destroy(in);
}

/* A commit may begin while at least a fifth of the time is left. */
static void stands_from(mp_intent *in, int64_t sent) { atomic_store(&in->commit_until, sent + in->stand_ms / 5 * 4); }

static void submit_all(mp_intent *in, mp_op_kind kind, void (*done)(mp_op *op)) {
    in->open = in->n + 1; /* one for this function: an operation may end before the next is submitted */
    for (size_t i = 0; i < in->n; i++) mp_lane_submit(in->lane, prepare(in, i, kind, done));
    one_done(in);
}

/* ---- begin ---- */

static void begun(mp_op *op) {
    mp_intent_item *it = MP_OF(op, mp_intent_item, op);
    mp_intent *in = it->owner;
    memcpy(it->fence, op->fence, MP_FENCE_LEN);
    if (op->reply == MP_FAILED) count(in, MP_COUNT_cache_errors);
    if (op->reply == MP_FAILED && !in->error) in->error = op->error;
    else pond_error_free(op->error);
    op->error = NULL;
    one_done(in);
}

void mp_intent_begin(mp_intent *in) {
    /* Here, not when it is made: what is accepted instead begins none, and is spared the system call. */
    mp_random_bytes(in->token, MP_TOKEN_LEN);
    stands_from(in, mp_loop_now(in->lane->loop));
    submit_all(in, MP_BEGIN, begun);
}

/* ---- renewal ---- */

static void renewed(mp_op *op) {
    mp_intent_item *it = MP_OF(op, mp_intent_item, op);
    mp_intent *in = it->owner;
    if (op->reply == MP_FAILED) {
        count(in, MP_COUNT_cache_errors);
        in->round_failed = true;
    } else {
        count(in, MP_COUNT_renewed_intents);
        if (memcmp(op->fence, it->fence, MP_FENCE_LEN) != 0) it->odd_fence = true;
    }
    pond_error_free(op->error);
    op->error = NULL;
    if (--in->open == 0 && !in->round_failed) stands_from(in, in->round);
}

static void set_timer(mp_intent *in) {
    int64_t next = mp_loop_now(in->lane->loop) + in->stand_ms / 3;
    if (next < in->renew_until) mp_loop_timer_set(in->lane->loop, &in->timer, next);
}

static void renew(mp_timer *timer) {
    mp_intent *in = MP_OF(timer, mp_intent, timer);
    set_timer(in);
    if (in->open) return; /* the last round is not over: the cache is slow, or away */
    in->round = mp_loop_now(in->lane->loop);
    in->round_failed = false;
    in->open = in->n + 1;
    for (size_t i = 0; i < in->n; i++) {
        mp_op *op = prepare(in, i, MP_BEGIN, renewed);
        op->again = true;
        mp_lane_submit(in->lane, op);
    }
    if (--in->open == 0 && !in->round_failed) stands_from(in, in->round);
}

void mp_intent_hold(mp_intent *in) {
    in->renewing = true;
    in->renew_until = mp_loop_now(in->lane->loop) + in->policy->options.write_timeout;
    mp_loop_duty(in->lane->loop, 1);
    set_timer(in);
}

/* Nothing of it is under way any more, as far as it knows: what was sent stays sent. */
static void halt(mp_intent *in) {
    if (in->renewing) mp_loop_duty(in->lane->loop, -1);
    in->renewing = false;
    mp_loop_timer_stop(in->lane->loop, &in->timer);
    for (size_t i = 0; i < in->n && in->open > 0; i++)
        if (in->items[i].op.reply == MP_PENDING) mp_lane_forget(in->lane, &in->items[i].op);
    in->open = 0;
}

/* ---- end ---- */

static void ended(mp_op *op) {
    mp_intent_item *it = MP_OF(op, mp_intent_item, op);
    mp_intent *in = it->owner;
    if (op->reply == MP_FAILED) {
        count(in, MP_COUNT_cache_errors);
        if (in->sure) mp_overdue_add(in->lane, op, in->policy->space->stats);
    } else if (op->value) {
        count(in, op->reply == MP_STORED ? MP_COUNT_written_values : MP_COUNT_refused_values);
    }
    pond_value_free(op->value);
    op->value = NULL;
    pond_error_free(op->error);
    op->error = NULL;
    one_done(in);
}

void mp_intent_end(mp_intent *in, mp_written *written, bool sure) {
    halt(in);
    in->sure = sure;
    in->open = in->n + 1;
    for (size_t i = 0; i < in->n; i++) {
        mp_intent_item *it = &in->items[i];
        mp_op *op = prepare(in, i, MP_END, ended);
        if (written && i < in->keys && written[i].ttl_ms > 0 && !it->odd_fence) {
            op->value = written[i].value;
            mp_policy_times(in->policy, pond_value_state(op->value) == POND_ABSENT, written[i].ttl_ms, op);
            written[i].value = NULL;
            memcpy(op->fence, it->fence, MP_FENCE_LEN);
        }
        mp_lane_submit(in->lane, op);
    }
    one_done(in);
}

void mp_intent_leave(mp_intent *in) {
    halt(in);
    destroy(in);
}
