/* One round of the worker: whose the shards are, what waits in them, to the store, told to the pages, and out of the backlog. Whatever
 * stops it on the way, the next round, perhaps another process', does it again: the store refuses what is older than what it has. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "model/behind.h"
#include "pattern/backlog.h"
#include "pattern/embedded.h"
#include "pattern/pond.h"
#include "pattern/shards.h"
#include "pattern/tally.h"
#include "pattern/wait.h"

enum {
    HINT_MS = 10000, /* of who dies others take the shards after this */
    RENEW_MS = 3000,
    BATCH_BYTES = 8 * 1024 * 1024, /* of one transaction in MongoDB; a single document may have more */
    ATTEMPTS = 3,                  /* until what the store refuses is a dead letter */
    FIRST_AGAIN_MS = 1000,
    GONE_MS =
        5000, /* what is so long overdue to be tried again waits no more, as a rule: another worker has stored it */
    CONFLICTS = 16 /* in a row, until the round ends */
};

typedef struct round {
    mp_backlog *b;
    mp_shards to;
    /* What was taken. */
    mp_behind taken[MP_BACKLOG_SHARDS]; /* by shard */
    mp_flush_row *rows;
    mp_behind_entry **entry; /* of each row */
    uint8_t *of;             /* its shard */
    size_t n, poison;        /* `poison`: the one of them that the store will not have */
    bool more;
} round;

/* ---- errands to the shards ---- */

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

/* Redis says who may try; the store decides (behind_own, and the fence of each flush). */
static int ask_hints(round *r, pond_error **err) {
    mp_backlog *b = r->b;
    int64_t now = mp_clock_ms();
    if (b->hinted_at && now - b->hinted_at < RENEW_MS) return POND_OK;
    r->to.n = 0;
    b->asked = true;
    for (uint8_t i = 0; i < MP_BACKLOG_SHARDS; i++) add(r, MP_OWN, i)->lease_ms = HINT_MS;
    int code = mp_shards_send(&r->to, err);
    if (code != POND_OK) return code;
    for (size_t i = 0; i < r->to.n; i++) {
        mp_drained *d = &b->shard[r->to.shard[i]];
        d->hinted = r->to.errand[i].op.reply == MP_STORED;
        if (!d->hinted) d->owned = false;
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

static void lose_all(mp_backlog *b) {
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++) b->shard[i].owned = false;
}

/* ---- what waits ---- */

/* A key that no document has: whatever waits of it can go nowhere. */
static void check_key(mp_behind_entry *e) {
    if (e->large || (e->key_len > 1 && e->key_len <= MP_KEY_MAX && e->key[0] == 's')) return;
    pond_value_free(e->value);
    e->value = NULL;
    e->damaged = true;
}

static int send_takes(round *r, pond_error **err) {
    int code = mp_shards_send(&r->to, err);
    for (size_t i = 0; i < r->to.n; i++) {
        if (r->to.errand[i].op.reply != MP_DONE) continue;
        mp_behind *t = &r->taken[r->to.shard[i]];
        *t = r->to.behind[i];
        r->b->shard[r->to.shard[i]].left = t->backlog;
        for (size_t k = 0; k < t->count; k++) check_key(&t->entries[k]);
    }
    return code;
}

/* What is too large for its shard's part comes by itself, and one of all shards in a round: together they may be more than comes within a
 * command's time, and more than a transaction has room for. */
static int take_large(round *r, pond_error **err) {
    uint8_t first, at = MP_BACKLOG_SHARDS;
    mp_random_bytes(&first, 1);
    for (unsigned k = 0; k < MP_BACKLOG_SHARDS; k++) {
        uint8_t i = (uint8_t)((first + k) % MP_BACKLOG_SHARDS);
        if (!r->taken[i].count || !r->taken[i].entries[0].large) continue;
        mp_behind_clear(&r->taken[i]);
        if (at == MP_BACKLOG_SHARDS) at = i;
    }
    if (at == MP_BACKLOG_SHARDS) return POND_OK;
    r->to.n = 0;
    add(r, MP_TAKE, at)->behind->most = 1;
    return send_takes(r, err);
}

/* A batch, of each shard its part by what it had last. */
static int take(round *r, pond_error **err) {
    mp_backlog *b = r->b;
    int64_t all = 0, owned = 0;
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++)
        if (b->shard[i].owned) {
            all += b->shard[i].left;
            owned++;
        }
    r->to.n = 0;
    for (uint8_t i = 0; i < MP_BACKLOG_SHARDS; i++) {
        const mp_drained *d = &b->shard[i];
        if (!d->owned) continue;
        mp_behind *behind = add(r, MP_TAKE, i)->behind;
        int64_t part = (int64_t)b->batch * (all ? d->left : 1) / (all ? all : owned);
        behind->most = part > 0 ? part : 1;
        behind->bytes_most = BATCH_BYTES / owned;
    }
    int code = send_takes(r, err);
    return code == POND_OK ? take_large(r, err) : code;
}

static mp_refusal *refusal_of(mp_backlog *b, const mp_behind_entry *e) {
    for (size_t i = 0; i < b->refusals; i++)
        if (b->refused[i].len == e->key_len && memcmp(b->refused[i].key, e->key, e->key_len) == 0)
            return &b->refused[i];
    return NULL;
}

static void forget_refusal(mp_backlog *b, mp_refusal *of) {
    free(of->key);
    *of = b->refused[--b->refusals];
}

/* Was it refused a short while ago? A newer version is another matter. */
static bool rests(mp_backlog *b, const mp_behind_entry *e, int64_t now) {
    mp_refusal *of = refusal_of(b, e);
    if (of && of->version != e->version) {
        forget_refusal(b, of);
        of = NULL;
    }
    return of && of->again_at > now;
}

static void add_row(round *r, uint8_t shard, mp_behind_entry *e) {
    r->rows[r->n] = (mp_flush_row){.id = e->key + 1, /* behind the 's' */
                                   .id_len = e->key_len - 1,
                                   .version = e->version,
                                   .value = e->value,
                                   .verify = e->old_fence || e->version >> 40 < r->taken[shard].epoch};
    r->entry[r->n] = e;
    r->of[r->n++] = shard;
}

static int sort_out(round *r, pond_error **err) {
    size_t count = 0;
    int64_t now = mp_clock_ms();
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++) count += r->taken[i].count;
    r->rows = calloc(count + 1, sizeof *r->rows);
    r->entry = calloc(count + 1, sizeof *r->entry);
    r->of = calloc(count + 1, sizeof *r->of);
    if (!r->rows || !r->entry || !r->of) return mp_fail(err, POND_ENOMEM, "no memory for a batch");
    for (uint8_t i = 0; i < MP_BACKLOG_SHARDS; i++) {
        mp_behind *t = &r->taken[i];
        r->more |= t->backlog > (int64_t)t->count;
        for (size_t k = 0; k < t->count; k++) {
            mp_behind_entry *e = &t->entries[k];
            e->acked = 0;
            if (e->value && !e->unfolded && !rests(r->b, e, now)) add_row(r, i, e);
        }
    }
    return POND_OK;
}

/* ---- dead letters ---- */

static int bury(round *r, uint8_t shard, mp_behind_entry *e, const char *why, pond_error **err) {
    r->to.n = 0;
    mp_behind *behind = add(r, MP_DEAD, shard)->behind;
    behind->entries = e;
    behind->count = 1;
    behind->error = why;
    behind->error_len = strlen(why);
    int code = mp_shards_send(&r->to, err);
    if (code != POND_OK) return code;
    mp_refusal *of = refusal_of(r->b, e);
    if (of) forget_refusal(r->b, of);
    if (r->to.errand[0].op.reply == MP_STORED) mp_count(r->b->policy->space->stats, MP_COUNT_dead_letters);
    return POND_OK;
}

static int bury_damaged(round *r, pond_error **err) {
    int code = POND_OK;
    for (uint8_t i = 0; i < MP_BACKLOG_SHARDS; i++)
        for (size_t k = 0; k < r->taken[i].count && code == POND_OK; k++)
            if (r->taken[i].entries[k].damaged)
                code = bury(r, i, &r->taken[i].entries[k], "what stands in the backlog is damaged", err);
    return code;
}

/* Increments that wait become a part of what is flushed. Where they cannot, ever, the document is a dead letter with them. */
static int fold(round *r, pond_error **err) {
    mp_untold *bad = NULL;
    size_t n = 0;
    int code = mp_tally_taken(r->b, r->taken, &bad, &n, err);
    for (size_t i = 0; i < n; i++) {
        if (code == POND_OK) code = bury(r, bad[i].shard, bad[i].entry, pond_error_message(bad[i].why), err);
        pond_error_free(bad[i].why);
    }
    free(bad);
    return code;
}

static void drop_row(round *r, size_t at) {
    r->n--;
    memmove(r->rows + at, r->rows + at + 1, (r->n - at) * sizeof *r->rows);
    memmove(r->entry + at, r->entry + at + 1, (r->n - at) * sizeof *r->entry);
    memmove(r->of + at, r->of + at + 1, (r->n - at) * sizeof *r->of);
}

/* Room for one more, though others are in the way: those that nobody waits for any more. If one of them does after all, its tries are counted
 * anew. */
static bool room_for_refusal(mp_backlog *b) {
    int64_t now = mp_clock_ms();
    if (b->refusals < MP_REFUSALS) return true;
    for (size_t i = b->refusals; i-- > 0;)
        if (now - b->refused[i].again_at > GONE_MS) forget_refusal(b, &b->refused[i]);
    return b->refusals < MP_REFUSALS;
}

/* The store will not have this one: the others go on without it, and it is tried again some times. */
static int refuse(round *r, size_t at, pond_error *why, pond_error **err) {
    mp_backlog *b = r->b;
    mp_behind_entry *e = r->entry[at];
    mp_refusal *of = refusal_of(b, e);
    if (!of && room_for_refusal(b)) {
        char *key = malloc(e->key_len + 1);
        if (key) {
            memcpy(key, e->key, e->key_len);
            of = &b->refused[b->refusals++];
            *of = (mp_refusal){.key = key, .len = e->key_len, .version = e->version};
        }
    }
    int code = POND_OK;
    if (!of || ++of->times >= ATTEMPTS) {
        code = bury(r, r->of[at], e, pond_error_message(why), err);
    } else {
        int64_t pause = FIRST_AGAIN_MS << (of->times - 1);
        of->again_at = mp_clock_ms() + mp_random_pause(pause);
    }
    drop_row(r, at);
    return code;
}

/* ---- to the store ---- */

static mp_flushed flush(round *r, pond_error **err) {
    mp_store *store = r->b->pond->store;
    const char *shards[MP_BACKLOG_SHARDS];
    bool in[MP_BACKLOG_SHARDS] = {false};
    mp_flush f = {.collection = r->b->collection, .owner = r->b->owner, .shards = shards, .rows = r->rows, .n = r->n};
    for (size_t i = 0; i < r->n; i++) in[r->of[i]] = true;
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++)
        if (in[i]) shards[f.nshards++] = r->b->shard[i].name;
    mp_flushed how = store->vt->behind_flush(store, &f, err);
    r->poison = f.poison < r->n ? f.poison : 0;
    return how;
}

/* The store has them now, whatever it had against them before. */
static void forgive(round *r) {
    for (size_t i = 0; i < r->n && r->b->refusals; i++) {
        mp_refusal *of = refusal_of(r->b, r->entry[i]);
        if (of) forget_refusal(r->b, of);
    }
}

/* All rows that are left, until they stand in the store. False: *err, or (NULL) the round is over for now. */
static bool store_rows(round *r, pond_error **err) {
    mp_backlog *b = r->b;
    for (unsigned conflicts = 0; r->n;) {
        pond_error *why = NULL;
        switch (flush(r, &why)) {
        case MP_FLUSHED:
            forgive(r);
            if (b->batch < MP_BATCH_MOST) b->batch = b->batch * 2 < MP_BATCH_MOST ? b->batch * 2 : MP_BATCH_MOST;
            return true;
        case MP_FLUSH_POISON: {
            int code = refuse(r, r->poison, why, err);
            pond_error_free(why);
            if (code != POND_OK) return false;
            break;
        }
        case MP_FLUSH_CONFLICT: /* a large batch meets others' writes at each try, a small one seldom */
            pond_error_free(why);
            b->batch = b->batch > 4 ? b->batch / 4 : 1;
            if (r->n > b->batch) r->n = b->batch;
            r->more = true;
            if (++conflicts == CONFLICTS) return false;
            break;
        case MP_FLUSH_LOST:
            pond_error_free(why);
            lose_all(b);
            b->hinted_at = 0;
            r->more = true;
            return false;
        default:
            lose_all(b); /* nobody knows what came of it: taking over decides that */
            if (err) *err = why;
            else pond_error_free(why);
            return false;
        }
    }
    return true;
}

/* ---- and out of the backlog ---- */

static int tell_pages(const mp_backlog *b, pond_error **err) {
    return mp_wait_invalidate(b->pond, b->policy, NULL, NULL, 0, b->pages, true, err);
}

/* Those that stand in the store, and what was left of others that had been there before. */
static int acknowledge(round *r, pond_error **err) {
    r->to.n = 0;
    for (size_t i = 0; i < r->n; i++) r->entry[i]->acked = 1;
    for (uint8_t i = 0; i < MP_BACKLOG_SHARDS; i++) {
        mp_behind *t = &r->taken[i];
        size_t n = 0;
        for (size_t k = 0; k < t->count; k++) {
            mp_behind_entry *e = &t->entries[k];
            if (e->unfolded || (!e->acked && (e->value || e->damaged))) continue;
            mp_behind_entry swap = t->entries[n];
            t->entries[n++] = *e;
            *e = swap;
        }
        if (!n) continue;
        mp_behind *behind = add(r, MP_ACK, i)->behind;
        behind->entries = t->entries;
        behind->count = n;
    }
    return mp_shards_send(&r->to, err);
}

static mp_round run(round *r, pond_error **err) {
    mp_backlog *b = r->b;
    if (ask_hints(r, err) != POND_OK || take_over(b, err) != POND_OK || take(r, err) != POND_OK ||
        fold(r, err) != POND_OK || sort_out(r, err) != POND_OK || bury_damaged(r, err) != POND_OK)
        return MP_ROUND_FAILED;
    size_t taken = 0, had = r->n;
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++) taken += r->taken[i].count;
    if (!store_rows(r, err)) return *err ? MP_ROUND_FAILED : MP_ROUND_FULL;
    if (r->n && tell_pages(b, err) != POND_OK) return MP_ROUND_FAILED;
    if (taken && acknowledge(r, err) != POND_OK) return MP_ROUND_FAILED;
    for (size_t i = 0; i < r->n; i++) mp_count(b->policy->space->stats, MP_COUNT_flushed);
    if (!taken) return MP_ROUND_EMPTY;
    return r->more && had ? MP_ROUND_FULL : MP_ROUND_SOME;
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
    mp_round how = run(r, err);
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++) mp_behind_clear(&r->taken[i]);
    free(r->rows);
    free(r->entry);
    free(r->of);
    free(r);
    return how;
}

void mp_flush_leave(mp_backlog *b, int64_t timeout_ms, bool closed) {
    round *r = calloc(1, sizeof *r);
    if (!r) return;                                   /* then their time runs out */
    bool embedded = b->pond->cache->vt->peek != NULL; /* what is owned there ends with the journal */
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
