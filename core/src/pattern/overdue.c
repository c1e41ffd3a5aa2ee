#include "pattern/overdue.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "pattern/pond.h"

enum { AT_ONCE = 128, FIRST_PAUSE_MS = 50, LAST_PAUSE_MS = 1000, MOST = 100000 /* of a pond */ };

typedef struct item {
    mp_node node;
    mp_op op;
    mp_lane *lane;
    mp_ns_stats *stats;
    char name[];
} item;

static item *item_of(mp_node *n) { return MP_OF(n, item, node); }

/* Each counts as a call, so that a close waits for it. */
static void count_in(pond *p) {
    atomic_fetch_add(&p->calls, 1);
    atomic_fetch_add(&p->overdue, 1);
}

static void end_item(pond *p, item *it, mp_counter how) {
    mp_count(it->stats, how);
    free(it);
    atomic_fetch_sub(&p->overdue, 1);
    mp_pond_call_ended(p);
}

static void try_again(mp_timer *timer);

void mp_overdue_init(mp_overdue *o) {
    mp_list_init(&o->waiting);
    mp_list_init(&o->flying);
    o->timer.fire = try_again;
}

bool mp_overdue_full(const pond *p) { return atomic_load_explicit(&p->overdue, memory_order_relaxed) >= MOST; }

/* Some are waiting, none is under way. */
static void schedule(mp_lane *lane) {
    mp_overdue *o = &lane->overdue;
    if (lane->closed || o->timer.place) return;
    int64_t pause = mp_random_pause(o->pause_ms);
    mp_loop_timer_set(lane->loop, &o->timer, mp_loop_now(lane->loop) + pause);
}

/* None is under way any more. */
static void batch_over(mp_lane *lane) {
    mp_overdue *o = &lane->overdue;
    if (mp_list_empty(&o->waiting)) {
        mp_loop_duty(lane->loop, -1);
        return;
    }
    if (!o->failed) o->pause_ms = 0;
    else
        o->pause_ms = o->pause_ms < FIRST_PAUSE_MS      ? FIRST_PAUSE_MS
                      : o->pause_ms < LAST_PAUSE_MS / 2 ? o->pause_ms * 2
                                                        : LAST_PAUSE_MS;
    schedule(lane);
}

static void answered(mp_op *op) {
    item *it = MP_OF(op, item, op);
    mp_lane *lane = it->lane;
    mp_overdue *o = &lane->overdue;
    mp_list_remove(&it->node);
    pond_error_free(op->error);
    op->error = NULL;
    if (op->reply == MP_FAILED) {
        o->failed = true;
        mp_list_push(&o->waiting, &it->node);
    } else {
        end_item(lane->pond, it, MP_COUNT_delivered_ends);
    }
    if (!o->sending && mp_list_empty(&o->flying)) batch_over(lane);
}

static void try_again(mp_timer *timer) {
    mp_overdue *o = MP_OF(timer, mp_overdue, timer);
    mp_lane *lane = MP_OF(o, mp_lane, overdue);
    mp_node batch, *n;
    mp_list_init(&batch);
    for (int i = 0; i < AT_ONCE && (n = mp_list_shift(&o->waiting)); i++) mp_list_push(&batch, n);
    o->failed = false;
    o->sending = true;
    while ((n = mp_list_shift(&batch))) {
        mp_list_push(&o->flying, n);
        mp_lane_submit(lane, &item_of(n)->op);
    }
    o->sending = false;
    if (mp_list_empty(&o->flying)) batch_over(lane);
}

static bool any(const mp_overdue *o) { return !mp_list_empty(&o->waiting) || !mp_list_empty(&o->flying); }

/* Lane's lock held. */
static void keep(mp_lane *lane, item *it) {
    mp_overdue *o = &lane->overdue;
    if (!any(o)) {
        mp_loop_duty(lane->loop, 1);
        o->pause_ms = FIRST_PAUSE_MS;
    }
    it->lane = lane;
    mp_list_push(&o->waiting, &it->node);
    if (mp_list_empty(&o->flying)) schedule(lane);
}

void mp_overdue_add(mp_lane *lane, const mp_op *end, mp_ns_stats *stats) {
    pond *p = lane->pond;
    mp_count(stats, MP_COUNT_failed_ends);
    bool hopeless = atomic_load(&p->ending) || mp_overdue_full(p);
    item *it = hopeless ? NULL : malloc(sizeof *it + end->key.len + 1);
    if (!it) {
        mp_count(stats, MP_COUNT_lost_ends);
        return;
    }
    mp_list_init(&it->node);
    memcpy(it->name, end->key.name, end->key.len);
    it->name[end->key.len] = 0;
    it->op = (mp_op){.kind = MP_END,
                     .key = end->key,
                     .tag = end->tag,
                     .cut_ms = end->cut_ms,
                     .timeout_ms = end->timeout_ms,
                     .done = answered};
    it->op.key.name = it->name;
    memcpy(it->op.token, end->token, MP_TOKEN_LEN);
    it->stats = stats;
    count_in(p);
    keep(lane, it);
}

void mp_overdue_take(mp_lane *lane, mp_node *out) {
    mp_overdue *o = &lane->overdue;
    if (!any(o)) return;
    for (mp_node *n = o->flying.next; n != &o->flying; n = n->next) mp_lane_forget(lane, &item_of(n)->op);
    mp_loop_timer_stop(lane->loop, &o->timer);
    mp_loop_duty(lane->loop, -1);
    mp_list_move(out, &o->flying);
    mp_list_move(out, &o->waiting);
}

void mp_overdue_give(mp_lane *lane, mp_node *from) {
    mp_node *n;
    while ((n = mp_list_shift(from))) keep(lane, item_of(n));
}

void mp_overdue_drop(pond *p, mp_node *list) {
    mp_node *n;
    while ((n = mp_list_shift(list))) end_item(p, item_of(n), MP_COUNT_lost_ends);
}
