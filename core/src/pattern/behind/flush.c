/* One round of the worker: whose the shards are, what waits in them, to the store, told to the pages, and out of the backlog. Whatever
 * stops it on the way, the next round, perhaps another process', does it again: the store refuses what is older than what it has. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "model/behind.h"
#include "pattern/behind/backlog.h"
#include "pattern/behind/embedded.h"
#include "pattern/behind/parcel.h"
#include "pattern/pond.h"
#include "pattern/behind/refused.h"
#include "pattern/behind/tally.h"
#include "pattern/behind/unsure.h"
#include "pattern/wait.h"

enum {
    HINT_MS = 10000, /* of who dies others take the shards after this */
    RENEW_MS = 3000,
    CONFLICTS = 16,   /* in a row, until the round ends */
    PARCELS = 3,      /* one on its way here, one in the store, one on its way out */
    PARCELS_MOST = 16 /* of a round */
};

typedef struct round {
    mp_backlog *b;
    mp_shards to;
    mp_parcel parcel[PARCELS];
    mp_parcel_place at;
} round;

static mp_op *add(round *r, mp_op_kind kind, uint8_t shard) {
    mp_op *op = mp_shards_add(&r->to, kind, shard);
    memcpy(op->token, r->b->owner, sizeof op->token);
    return op;
}

/* ---- whose the shards are ---- */

/* Once a day, and when a shard is new here: the sessions of days gone by. */
static int forget_sessions(round *r, pond_error **err) {
    int64_t today = mp_clock_wall_ms() / MP_DAY_MS;
    r->to.n = 0;
    for (uint8_t i = 0; i < MP_BACKLOG_SHARDS; i++) {
        const mp_drained *d = &r->b->shard[i];
        if (!d->hinted || d->swept == today) continue;
        add(r, MP_FORGET, i)->behind->day = today;
    }
    int code = mp_shards_send(&r->to, err);
    for (size_t i = 0; code == POND_OK && i < r->to.n; i++) r->b->shard[r->to.shard[i]].swept = today;
    return code;
}

static bool hints_are_fresh(const mp_backlog *b) { return b->hinted_at && mp_clock_ms() - b->hinted_at < RENEW_MS; }

/* Redis says who may try; the store decides (behind_own, and the fence of each flush). */
static int ask_hints(round *r, pond_error **err) {
    mp_backlog *b = r->b;
    int64_t now = mp_clock_ms();
    if (hints_are_fresh(b)) return POND_OK;
    r->to.n = 0;
    b->asked = true;
    for (uint8_t i = 0; i < MP_BACKLOG_SHARDS; i++) add(r, MP_OWN, i)->lease_ms = HINT_MS;
    int code = mp_shards_send(&r->to, err);
    if (code != POND_OK) return code;
    for (size_t i = 0; i < r->to.n; i++) {
        mp_drained *d = &b->shard[r->to.shard[i]];
        d->hinted = r->to.errand[i].op.reply == MP_STORED;
        if (d->hinted) continue;
        d->owned = false;
        d->left = 0;
        d->lag = (mp_lag){0};
    }
    b->hinted_at = now;
    return forget_sessions(r, err);
}

static int take_over(mp_backlog *b, pond_error **err) {
    mp_store *store = b->pond->store;
    const char *names[MP_BACKLOG_SHARDS];
    size_t n = 0;
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++)
        if (b->shard[i].hinted && !b->shard[i].owned) names[n++] = b->shard[i].name;
    int code = n ? store->vt->behind_own(store, b->owner, names, n, err) : POND_OK;
    for (size_t i = 0; code == POND_OK && i < MP_BACKLOG_SHARDS; i++) b->shard[i].owned = b->shard[i].hinted;
    return code;
}

/* Nothing can be taken to the store. How much waits is looked at all the same, for whoever asks what is the matter. */
static void look(round *r) {
    mp_backlog *b = r->b;
    r->to.n = 0;
    for (uint8_t i = 0; i < MP_BACKLOG_SHARDS; i++) {
        if (!b->shard[i].hinted && atomic_load(&b->opened)) continue;
        mp_behind *head = add(r, MP_TAKE, i)->behind;
        head->most = head->bytes_most = 1;
    }
    mp_shards_send(&r->to, NULL);
    for (size_t i = 0; i < r->to.n; i++) {
        if (r->to.errand[i].op.reply != MP_DONE) continue;
        mp_drained *d = &b->shard[r->to.shard[i]];
        d->left = r->to.behind[i].backlog;
        mp_lag_look(&d->lag, &r->to.behind[i], mp_clock_ms());
        mp_behind_clear(&r->to.behind[i]);
    }
}

static void lose_all(mp_backlog *b) {
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++) b->shard[i].owned = false;
}

/* ---- dead letters ---- */

static int bury(mp_parcel *p, uint8_t shard, mp_behind_entry *e, const char *why, pond_error **err) {
    mp_backlog *b = p->b;
    p->to.n = 0;
    mp_behind *behind = mp_parcel_ask(p, MP_DEAD, shard)->behind;
    behind->entries = e;
    behind->count = 1;
    behind->error = why;
    behind->error_len = strlen(why);
    int code = mp_shards_send(&p->to, err);
    if (code != POND_OK) return code;
    mp_refused_over(b, e);
    if (p->to.errand[0].op.reply == MP_STORED) mp_count(b->policy->space->stats, MP_COUNT_dead_letters);
    return POND_OK;
}

static int bury_damaged(mp_parcel *p, pond_error **err) {
    int code = POND_OK;
    for (uint8_t i = 0; i < MP_BACKLOG_SHARDS; i++)
        for (size_t k = 0; k < p->taken[i].count && code == POND_OK; k++)
            if (p->taken[i].entries[k].damaged)
                code = bury(p, i, &p->taken[i].entries[k], "what stands in the backlog is damaged", err);
    return code;
}

/* Increments that wait become a part of what is flushed. Where they cannot, ever, the document is a dead letter with them. */
static int fold(mp_parcel *p, pond_error **err) {
    mp_untold *bad = NULL;
    size_t n = 0;
    int code = mp_tally_taken(p->b, p->taken, &bad, &n, err);
    for (size_t i = 0; i < n; i++) {
        if (code == POND_OK) code = bury(p, bad[i].shard, bad[i].entry, pond_error_message(bad[i].why), err);
        pond_error_free(bad[i].why);
    }
    free(bad);
    return code;
}

/* The store will not have this one: the others go on without it, and it is tried again some times. */
static int refuse(mp_parcel *p, size_t at, const pond_error *why, pond_error **err) {
    bool again = mp_refused_again(p->b, p->entry[at]);
    int code = again ? POND_OK : bury(p, p->of[at], p->entry[at], pond_error_message(why), err);
    mp_parcel_drop(p, at);
    return code;
}

/* ---- to the store ---- */

static mp_flushed flush(mp_parcel *p, size_t *poison, pond_error **err) {
    mp_store *store = p->b->pond->store;
    const char *shards[MP_BACKLOG_SHARDS];
    bool in[MP_BACKLOG_SHARDS] = {false};
    mp_flush f = {.collection = p->b->collection, .owner = p->b->owner, .shards = shards, .rows = p->rows, .n = p->n};
    for (size_t i = 0; i < p->n; i++) in[p->of[i]] = true;
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++)
        if (in[i]) shards[f.nshards++] = p->b->shard[i].name;
    mp_flushed how = store->vt->behind_flush(store, &f, err);
    *poison = f.poison < p->n ? f.poison : 0;
    return how;
}

/* The store has them now, whatever it had against them before. */
static void forgive(mp_parcel *p) {
    for (size_t i = 0; i < p->n; i++) mp_refused_over(p->b, p->entry[i]);
}

/* All rows that are left, until they stand in the store. False: *err, or (NULL) the round is over for now. */
static bool store_rows(mp_parcel *p, pond_error **err) {
    mp_backlog *b = p->b;
    for (unsigned conflicts = 0; p->n;) {
        pond_error *why = NULL;
        size_t poison;
        switch (flush(p, &poison, &why)) {
        case MP_FLUSHED:
            p->untold = true;
            forgive(p);
            if (b->batch < b->batch_most) b->batch = b->batch * 2 < b->batch_most ? b->batch * 2 : b->batch_most;
            return true;
        case MP_FLUSH_POISON: {
            int code = refuse(p, poison, why, err);
            pond_error_free(why);
            if (code != POND_OK) return false;
            break;
        }
        case MP_FLUSH_CONFLICT: /* a large batch meets others' writes at each try, a small one seldom */
            pond_error_free(why);
            b->batch = b->batch > 4 ? b->batch / 4 : 1;
            if (p->n > b->batch) p->n = b->batch;
            p->more = true;
            if (++conflicts == CONFLICTS) return false;
            break;
        case MP_FLUSH_LOST:
            pond_error_free(why);
            lose_all(b);
            b->hinted_at = 0;
            p->more = true;
            return false;
        default:
            lose_all(b); /* nobody knows what came of it: taking over decides that */
            p->untold = true;
            if (err) *err = why;
            else pond_error_free(why);
            return false;
        }
    }
    return true;
}

/* ---- parcel after parcel ---- */

static int tell_pages(const mp_backlog *b, pond_error **err) {
    return mp_wait_invalidate(b->pond, b->policy, NULL, NULL, 0, b->pages, true, err);
}

static void clear(mp_parcel *p) {
    if (p->untold) mp_unsure_note(p->b, p->rows, p->of, p->n);
    mp_parcel_clear(p);
}

static void are_gone(mp_parcel *p) {
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++)
        for (size_t k = 0; k < p->taken[i].count; k++)
            if (p->taken[i].entries[k].acked && p->b->shard[i].left) p->b->shard[i].left--;
}

static int acked(mp_parcel *p, pond_error **err) {
    int code = mp_parcel_ack_end(p, err);
    for (size_t i = 0; code == POND_OK && i < p->n; i++) mp_count(p->b->policy->space->stats, MP_COUNT_flushed);
    if (code == POND_OK) are_gone(p);
    p->untold &= code != POND_OK;
    clear(p);
    return code;
}

/* May the next one be taken while the store has this one? Not for ever: others want the thread, too. Nor in a journal, whose operations are over
 * when they are asked for. But where none of this one goes to the store, for it has refused them a short while ago, what is behind them must not
 * wait for them, in a journal neither. */
static bool goes_on(const mp_parcel *p, unsigned number) {
    mp_backlog *b = p->b;
    return p->more && !p->passed && number < PARCELS_MOST && hints_are_fresh(b) && (!p->n || !mp_backlog_embedded(b)) &&
           !mp_drain_over(b) && !mp_pool_waits(mp_pond_pool(b->pond));
}

static int make_ready(mp_parcel *p, pond_error **err) {
    int code = fold(p, err);
    if (code == POND_OK) code = mp_parcel_sort(p, err);
    return code == POND_OK ? bury_damaged(p, err) : code;
}

/* A pipeline: while the store has one parcel the next is taken, and the last one goes out of the backlog. What is taken early is as what a slow worker
 * has in its hands, and what goes late as what a slow one left there. An ack goes behind its commit and the end on the pages all the same, and
 * ahead of the taking that follows, so no entry is taken twice. */
static mp_round run(round *r, pond_error **err) {
    mp_backlog *b = r->b;
    mp_parcel *last = &r->parcel[0], *p = &r->parcel[1], *next = &r->parcel[2];
    if (ask_hints(r, err) != POND_OK) return MP_ROUND_FAILED;
    if (take_over(b, err) != POND_OK) {
        if (!mp_drain_over(b)) look(r);
        return MP_ROUND_FAILED;
    }
    if (mp_unsure_settle(b, err) != POND_OK || mp_parcel_take(p, &r->at, err) != POND_OK) return MP_ROUND_FAILED;
    if (!p->count) return MP_ROUND_EMPTY;
    for (unsigned number = 1; p->count; number++) {
        if (make_ready(p, err) != POND_OK) return MP_ROUND_FAILED;
        size_t had = p->n;
        bool on = goes_on(p, number);
        if (on && mp_parcel_take_begin(next, &r->at, err) != POND_OK) return MP_ROUND_FAILED;
        bool stored = store_rows(p, err);
        if (acked(last, *err ? NULL : err) != POND_OK || *err) return MP_ROUND_FAILED;
        if (!stored) return MP_ROUND_FULL;
        if (p->n && tell_pages(b, err) != POND_OK) return MP_ROUND_FAILED;
        on &= p->n == had; /* else those that were left behind come first */
        mp_round how = p->more && had ? MP_ROUND_FULL : MP_ROUND_SOME;
        if (!on) return mp_parcel_ack(p, err) == POND_OK && acked(p, err) == POND_OK ? how : MP_ROUND_FAILED;
        if (mp_parcel_ack_begin(p, err) != POND_OK || mp_parcel_take_end(next, &r->at, p, err) != POND_OK)
            return MP_ROUND_FAILED;
        mp_parcel *spare = last;
        last = p;
        p = next;
        next = spare;
        if (!hints_are_fresh(b)) return acked(last, err) == POND_OK ? MP_ROUND_FULL : MP_ROUND_FAILED;
    }
    if (acked(last, err) != POND_OK) return MP_ROUND_FAILED;
    return p->passed ? MP_ROUND_FULL : MP_ROUND_SOME;
}

mp_round mp_flush_round(mp_backlog *b, pond_error **err) {
    round *r = calloc(1, sizeof *r);
    *err = NULL;
    if (!r) {
        mp_fail(err, POND_ENOMEM, "no memory for a batch");
        return MP_ROUND_FAILED;
    }
    r->b = b;
    r->to.backlog = b;
    for (size_t i = 0; i < PARCELS; i++) mp_parcel_init(&r->parcel[i], b);
    mp_round how = run(r, err);
    for (size_t i = 0; i < PARCELS; i++) clear(&r->parcel[i]);
    free(r);
    return how;
}

void mp_flush_look(mp_backlog *b) {
    round *r = calloc(1, sizeof *r);
    if (!r) return;
    r->b = b;
    r->to.backlog = b;
    look(r);
    free(r);
}

void mp_flush_leave(mp_backlog *b, int64_t timeout_ms, bool closed) {
    round *r = calloc(1, sizeof *r);
    if (!r) return;                         /* then their time runs out */
    bool embedded = mp_backlog_embedded(b); /* what is owned there ends with the journal */
    struct mp_journal *held = closed && embedded ? mp_embedded_hold(b->pond) : NULL;
    mp_lane *lane = closed && (held || !embedded) ? mp_lane_new(b->pond, true, NULL) : NULL;
    r->to.lane = lane;
    r->b = b;
    r->to.backlog = b;
    for (uint8_t i = 0; i < MP_BACKLOG_SHARDS; i++) {
        if (b->asked) { /* also where the answer did not come: one that is not ours stays as it is */
            mp_op *op = add(r, MP_OWN, i);
            op->lease_ms = 0;
            if (op->timeout_ms > timeout_ms) op->timeout_ms = timeout_ms;
        }
        b->shard[i].hinted = b->shard[i].owned = false;
    }
    if (lane || !closed) mp_shards_send(&r->to, NULL);
    free(r);
    if (lane) {
        mp_lane_close(lane, true);
        mp_lane_unlist(lane);
        mp_lane_unref(lane);
    }
    if (held) mp_embedded_release(b->pond, held);
    b->hinted_at = 0;
    b->asked = false;
}
