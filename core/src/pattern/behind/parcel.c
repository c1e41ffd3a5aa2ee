#include "pattern/behind/parcel.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "pattern/behind/refused.h"

enum { BYTES_MOST = 8 * 1024 * 1024 }; /* of one transaction in MongoDB; a single document may have more */

void mp_parcel_init(mp_parcel *p, mp_backlog *b) {
    *p = (mp_parcel){.b = b};
    p->to.backlog = b;
}

mp_op *mp_parcel_ask(mp_parcel *p, mp_op_kind kind, uint8_t shard) {
    mp_op *op = mp_shards_add(&p->to, kind, shard);
    memcpy(op->token, p->b->owner, sizeof op->token);
    return op;
}

/* ---- taking ---- */

/* A key that no document has: whatever waits of it can go nowhere. */
static void check_key(mp_behind_entry *e) {
    if (e->large || (e->key_len > 1 && e->key_len <= MP_KEY_MAX && e->key[0] == 's')) return;
    pond_value_free(e->value);
    e->value = NULL;
    e->damaged = true;
}

/* Of each owned shard its part of a batch, by what it has: `left`. */
static void ask_all(mp_parcel *p, const int64_t left[MP_BACKLOG_SHARDS], const mp_parcel_place *behind) {
    const mp_backlog *b = p->b;
    int64_t all = 0, owned = 0;
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++)
        if (b->shard[i].owned) {
            all += left[i];
            owned++;
        }
    p->to.n = 0;
    for (uint8_t i = 0; i < MP_BACKLOG_SHARDS; i++) {
        if (!b->shard[i].owned || (behind && !left[i])) continue;
        mp_behind *what = mp_parcel_ask(p, MP_TAKE, i)->behind;
        int64_t part = (int64_t)b->batch * (all ? left[i] : 1) / (all ? all : owned);
        what->most = part > 0 ? part : 1;
        what->bytes_most = BYTES_MOST / owned;
        if (behind) memcpy(what->after, behind->id[i], sizeof what->after);
    }
}

/* The answers, also where another one was none. */
static void keep_taken(mp_parcel *p) {
    for (size_t i = 0; i < p->to.n; i++) {
        if (p->to.errand[i].op.reply != MP_DONE) continue;
        mp_behind *t = &p->taken[p->to.shard[i]];
        *t = p->to.behind[i];
        p->b->shard[p->to.shard[i]].left = t->backlog;
        for (size_t k = 0; k < t->count; k++) check_key(&t->entries[k]);
    }
}

static bool is_large(const mp_behind *taken) { return taken->count && taken->entries[0].large; }

/* What is too large for its shard's part comes by itself, and one of all shards in a parcel: together they may be more than comes within a
 * command's time, and more than a transaction has room for. */
static int take_large(mp_parcel *p, pond_error **err) {
    uint8_t first, at = MP_BACKLOG_SHARDS;
    mp_random_bytes(&first, 1);
    for (unsigned k = 0; k < MP_BACKLOG_SHARDS; k++) {
        uint8_t i = (uint8_t)((first + k) % MP_BACKLOG_SHARDS);
        if (!is_large(&p->taken[i])) continue;
        mp_behind_clear(&p->taken[i]);
        p->passed = true;
        if (at == MP_BACKLOG_SHARDS) at = i;
    }
    if (at == MP_BACKLOG_SHARDS) return POND_OK;
    p->to.n = 0;
    mp_parcel_ask(p, MP_TAKE, at)->behind->most = 1;
    int code = mp_shards_send(&p->to, err);
    keep_taken(p);
    return code;
}

/* `before`: what was taken before it, and is in the shards still. */
static void look(mp_parcel *p, mp_parcel_place *at, const mp_parcel *before) {
    p->count = 0;
    p->more = false;
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++) {
        mp_behind *t = &p->taken[i];
        int64_t left = t->backlog - (int64_t)t->count - (before ? (int64_t)before->taken[i].count : 0);
        at->left[i] = left > 0 ? left : 0;
        p->more |= left > 0;
        p->count += t->count;
        if (t->count) memcpy(at->id[i], t->entries[t->count - 1].id, sizeof at->id[i]);
    }
}

int mp_parcel_take(mp_parcel *p, mp_parcel_place *at, pond_error **err) {
    int64_t left[MP_BACKLOG_SHARDS];
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++) left[i] = p->b->shard[i].left;
    ask_all(p, left, NULL);
    int code = mp_shards_send(&p->to, err);
    keep_taken(p);
    if (code == POND_OK)
        for (uint8_t i = 0; i < MP_BACKLOG_SHARDS; i++)
            if (p->b->shard[i].owned) mp_lag_look(&p->b->shard[i].lag, &p->taken[i], mp_clock_ms());
    if (code == POND_OK) code = take_large(p, err);
    look(p, at, NULL);
    return code;
}

int mp_parcel_take_begin(mp_parcel *p, const mp_parcel_place *at, pond_error **err) {
    ask_all(p, at->left, at);
    return mp_shards_begin(&p->to, err);
}

int mp_parcel_take_end(mp_parcel *p, mp_parcel_place *at, const mp_parcel *before, pond_error **err) {
    int code = mp_shards_end(&p->to, err);
    keep_taken(p);
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++) {
        if (!is_large(&p->taken[i])) continue;
        mp_behind_clear(&p->taken[i]);
        p->passed = true;
    }
    look(p, at, before);
    return code;
}

/* ---- sorting ---- */

static void add_row(mp_parcel *p, uint8_t shard, mp_behind_entry *e) {
    p->rows[p->n] = (mp_flush_row){.id = e->key + 1, /* behind the 's' */
                                   .id_len = e->key_len - 1,
                                   .version = e->version,
                                   .value = e->value,
                                   .verify = e->old_fence || e->version >> 40 < p->taken[shard].epoch};
    p->entry[p->n] = e;
    p->of[p->n++] = shard;
}

int mp_parcel_sort(mp_parcel *p, pond_error **err) {
    int64_t now = mp_clock_ms();
    p->rows = calloc(p->count + 1, sizeof *p->rows);
    p->entry = calloc(p->count + 1, sizeof *p->entry);
    p->of = calloc(p->count + 1, sizeof *p->of);
    if (!p->rows || !p->entry || !p->of) return mp_fail(err, POND_ENOMEM, "no memory for a batch");
    for (uint8_t i = 0; i < MP_BACKLOG_SHARDS; i++) {
        mp_behind *t = &p->taken[i];
        for (size_t k = 0; k < t->count; k++) {
            mp_behind_entry *e = &t->entries[k];
            e->acked = 0;
            if (e->value && !e->unfolded && !mp_refused_rests(p->b, e, now)) add_row(p, i, e);
        }
    }
    return POND_OK;
}

void mp_parcel_drop(mp_parcel *p, size_t row) {
    p->n--;
    memmove(p->rows + row, p->rows + row + 1, (p->n - row) * sizeof *p->rows);
    memmove(p->entry + row, p->entry + row + 1, (p->n - row) * sizeof *p->entry);
    memmove(p->of + row, p->of + row + 1, (p->n - row) * sizeof *p->of);
}

/* ---- out of the backlog ---- */

static void ask_acks(mp_parcel *p) {
    p->to.n = 0;
    for (size_t i = 0; i < p->n; i++) p->entry[i]->acked = 1;
    for (uint8_t i = 0; i < MP_BACKLOG_SHARDS; i++) {
        mp_behind *t = &p->taken[i];
        size_t n = 0;
        for (size_t k = 0; k < t->count; k++) {
            mp_behind_entry *e = &t->entries[k];
            if (e->unfolded || (!e->acked && (e->value || e->damaged))) continue;
            mp_behind_entry swap = t->entries[n];
            t->entries[n++] = *e;
            *e = swap;
        }
        if (!n) continue;
        mp_behind *behind = mp_parcel_ask(p, MP_ACK, i)->behind;
        behind->entries = t->entries;
        behind->count = n;
    }
}

int mp_parcel_ack(mp_parcel *p, pond_error **err) {
    ask_acks(p);
    return mp_shards_send(&p->to, err);
}

int mp_parcel_ack_begin(mp_parcel *p, pond_error **err) {
    ask_acks(p);
    return mp_shards_begin(&p->to, err);
}

int mp_parcel_ack_end(mp_parcel *p, pond_error **err) { return mp_shards_end(&p->to, err); }

/* ---- its end ---- */

void mp_parcel_clear(mp_parcel *p) {
    bool taking = p->to.sent.call && p->to.n && p->to.errand[0].op.kind == MP_TAKE;
    if (p->to.sent.call) mp_shards_end(&p->to, NULL);
    if (taking) keep_taken(p);
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++) {
        mp_behind_clear(&p->taken[i]);
        p->taken[i].backlog = 0;
    }
    free(p->rows);
    free(p->entry);
    free(p->of);
    p->rows = NULL;
    p->entry = NULL;
    p->of = NULL;
    p->n = p->count = 0;
    p->more = p->passed = p->untold = false;
}
