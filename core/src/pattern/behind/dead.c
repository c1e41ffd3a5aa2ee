#include "pattern/behind/dead.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/quote.h"
#include "model/behind.h"
#include "pattern/behind/backlog.h"
#include "pattern/pond.h"
#include "pattern/behind/shards.h"

enum {
    LIST_BYTES = 4 * 1024 * 1024, /* of documents in one list, about */
    SEQ_MOST = 999999999,         /* more than any server adds to a stream in one millisecond */
    TOMB_DAYS = 7,                /* as long the store knows what was deleted (store/behind.h) */
    MARGIN_MS = 600000
};

/* A letter's place in the stream of its shard, and which that is. Shards have nothing in common but the clock, so that is the order. */
typedef struct letter_id {
    int64_t ms, seq, shard;
} letter_id;

/* ---- ids: "ms-seq-shard" ---- */

static bool read_number(const char **at, const char *end, int64_t most, int64_t *out) {
    const char *first = *at;
    for (*out = 0; *at < end && **at >= '0' && **at <= '9' && *out <= most; (*at)++) *out = *out * 10 + (**at - '0');
    return *at > first && (*first != '0' || *at == first + 1) && *out <= most;
}

static bool skip(const char **at, const char *end, char what) {
    if (*at == end || **at != what) return false;
    (*at)++;
    return true;
}

static bool read_id(const char *text, size_t len, letter_id *id) {
    const char *at = text, *end = text + len;
    return read_number(&at, end, 9999999999999, &id->ms) && skip(&at, end, '-') &&
           read_number(&at, end, SEQ_MOST, &id->seq) && skip(&at, end, '-') &&
           read_number(&at, end, MP_BACKLOG_SHARDS - 1, &id->shard) && at == end;
}

static int order(const letter_id *a, const letter_id *b) {
    if (a->ms != b->ms) return a->ms < b->ms ? -1 : 1;
    if (a->seq != b->seq) return a->seq < b->seq ? -1 : 1;
    return a->shard < b->shard ? -1 : a->shard > b->shard;
}

static letter_id id_of(const mp_behind_entry *e, int64_t shard) {
    char *rest;
    letter_id id = {.ms = strtoll(e->id, &rest, 10), .shard = shard};
    id.seq = *rest ? strtoll(rest + 1, NULL, 10) : 0;
    return id;
}

/* What an entry of `shard` must come behind, to come behind `id` (or, `with`, to be that one or come behind it). */
static void begin_behind(char out[MP_BEHIND_ID_MAX], const letter_id *id, int64_t shard, bool with) {
    int64_t ms = id->ms, seq = id->seq;
    if (shard > id->shard || with) { /* the one before it */
        if (seq == 0 && ms == 0) {
            out[0] = 0;
            return;
        }
        ms -= seq == 0;
        seq = seq ? seq - 1 : SEQ_MOST;
    }
    snprintf(out, MP_BEHIND_ID_MAX, "%lld-%lld", (long long)ms, (long long)seq);
}

/* ---- errands ---- */

static mp_shards *new_asking(const pond_collection *c, pond_error **err) {
    mp_shards *a = calloc(1, sizeof *a);
    if (a) a->backlog = c->behind;
    else mp_fail(err, POND_ENOMEM, "no memory for dead letters");
    return a;
}

static mp_behind *add(mp_shards *a, mp_op_kind kind, int64_t shard) {
    return mp_shards_add(a, kind, (uint8_t)shard)->behind;
}

static void asking_free(mp_shards *a) {
    for (size_t i = 0; a && i < a->n; i++) /* what others are given borrows its entries */
        if (a->errand[i].op.kind == MP_DEAD_LIST) mp_behind_clear(&a->behind[i]);
    free(a);
}

/* ---- as JSON ---- */

static bool is_document(const mp_behind_entry *e) {
    return e->value && pond_value_state(e->value) == POND_VALUE &&
           (pond_value_codec(e->value) == POND_JSON || pond_value_codec(e->value) == POND_EJSON);
}

/* There are increments, and no document that was accepted before them: they are of the store's. */
static bool is_increments(const mp_behind_entry *e) { return !e->value && e->increments && e->increments->n; }

static bool is_damaged(const mp_behind_entry *e) {
    if (e->damaged || e->key_len < 2 || e->key[0] != 's') return true;
    if (!e->value) return !is_increments(e);
    return pond_value_state(e->value) != POND_ABSENT && !is_document(e);
}

/* {"views":3}, or null. */
static void add_increments(mp_buf *json, const mp_sums *sums) {
    if (!sums || !sums->n) {
        mp_buf_text(json, "null");
        return;
    }
    for (size_t i = 0; i < sums->n; i++) {
        mp_buf_text(json, i ? "," : "{");
        mp_buf_json(json, sums->sum[i].member, sums->sum[i].len);
        mp_buf_printf(json, ":%lld", (long long)sums->sum[i].by);
    }
    mp_buf_text(json, "}");
}

static void add_letter(mp_buf *json, const mp_behind_entry *e, int64_t shard) {
    bool behind = e->key_len > 0 && e->key[0] == 's';
    mp_buf_printf(json, "{\"id\":\"%s-%lld\",\"document_id\":", e->id, (long long)shard);
    mp_buf_json(json, e->key + behind, e->key_len - behind);
    mp_buf_printf(json, ",\"version\":%lld,\"increments\":", (long long)e->version);
    add_increments(json, e->increments);
    mp_buf_printf(json, ",\"at_ms\":%lld,\"error\":", (long long)id_of(e, shard).ms);
    mp_buf_json(json, e->why, e->why_len);
    mp_buf_printf(json, ",\"state\":\"%s\",\"document\":",
                  is_damaged(e)      ? "damaged"
                  : is_increments(e) ? "increments"
                  : is_document(e)   ? "document"
                                     : "deleted");
    if (!is_damaged(e) && is_document(e)) {
        size_t len;
        const char *text = pond_value_data(e->value, &len);
        mp_buf_add(json, text, len);
    } else {
        mp_buf_text(json, "null");
    }
    mp_buf_text(json, "}");
}

static int give(mp_buf *json, pond_value **out, pond_error **err) {
    if (json->failed) mp_buf_free(json);
    else *out = mp_value_adopt(POND_JSON, json->data, json->len);
    return *out ? POND_OK : mp_fail(err, POND_ENOMEM, "no memory for dead letters");
}

/* ---- list ---- */

/* The shard whose next letter is the oldest; -1: there is none, or one that is not here yet may be older. */
static int oldest(const mp_shards *a, const size_t *at) {
    letter_id best = {0};
    int of = -1;
    for (int i = 0; i < (int)a->n; i++) {
        if (at[i] == a->behind[i].count && a->behind[i].more) return -1;
        if (at[i] == a->behind[i].count) continue;
        letter_id id = id_of(&a->behind[i].entries[at[i]], i);
        if (of >= 0 && order(&id, &best) > 0) continue;
        best = id;
        of = i;
    }
    return of;
}

static int merge(const mp_shards *a, int64_t most, pond_value **out, pond_error **err) {
    size_t at[MP_BACKLOG_SHARDS] = {0};
    const mp_behind_entry *last = NULL;
    int shard = -1, last_shard = 0;
    int64_t total = 0;
    bool more = false;
    mp_buf json;
    mp_buf_init(&json);
    mp_buf_text(&json, "{\"letters\":[");
    for (; most-- > 0 && (shard = oldest(a, at)) >= 0; last_shard = shard) {
        if (last) mp_buf_text(&json, ",");
        last = &a->behind[shard].entries[at[shard]++];
        add_letter(&json, last, shard);
    }
    for (size_t i = 0; i < a->n; i++) {
        total += a->behind[i].backlog;
        more = more || a->behind[i].more || at[i] < a->behind[i].count;
    }
    mp_buf_printf(&json, "],\"total\":%lld,\"next\":", (long long)total);
    if (more && last) mp_buf_printf(&json, "\"%s-%d\"}", last->id, last_shard);
    else mp_buf_text(&json, "null}");
    return give(&json, out, err);
}

int mp_dead_list(pond_collection *c, const char *after, size_t len, int64_t most, pond_value **out, pond_error **err) {
    letter_id from;
    mp_shards *a = new_asking(c, err);
    if (!a) return POND_ENOMEM;
    bool behind = len && read_id(after, len, &from);
    for (int64_t i = 0; i < MP_BACKLOG_SHARDS; i++) {
        mp_behind *b = add(a, MP_DEAD_LIST, i);
        b->most = most;
        b->bytes_most = LIST_BYTES / MP_BACKLOG_SHARDS;
        if (behind) begin_behind(b->after, &from, i, false);
    }
    int code = mp_shards_send(a, err);
    if (code == POND_OK) code = merge(a, most, out, err);
    asking_free(a);
    return code;
}

/* ---- one of them ---- */

static int no_letter(const pond_collection *c, const char *letter, size_t len, pond_error **err) {
    return mp_fail(err, POND_EABSENT, "%.64s: there is no dead letter %.*s: perhaps it was retried or dropped", c->name,
                   (int)len, letter);
}

/* Of the errand that was asked for one: *out is borrowed from it. */
static int find(pond_collection *c, mp_shards *a, const letter_id *id, const char *letter, size_t len,
                mp_behind_entry **out, pond_error **err) {
    mp_behind *b = add(a, MP_DEAD_LIST, id->shard);
    b->most = 1;
    begin_behind(b->after, id, id->shard, true);
    int code = mp_shards_send(a, err);
    if (code != POND_OK) return code;
    *out = b->count ? &b->entries[0] : NULL;
    letter_id found = *out ? id_of(*out, id->shard) : (letter_id){.ms = -1};
    return order(&found, id) == 0 ? POND_OK : no_letter(c, letter, len, err);
}

static int show(const mp_behind_entry *e, int64_t shard, pond_value **out, pond_error **err) {
    mp_buf json;
    mp_buf_init(&json);
    add_letter(&json, e, shard);
    return give(&json, out, err);
}

static int drop(pond_collection *c, const letter_id *id, const char *letter, size_t len, pond_error **err) {
    mp_shards *a = new_asking(c, err);
    if (!a) return POND_ENOMEM;
    mp_behind_entry e = {0};
    begin_behind(e.id, id, id->shard, false);
    mp_behind *b = add(a, MP_DEAD_DROP, id->shard);
    b->entries = &e;
    b->count = 1;
    int code = mp_shards_send(a, err);
    if (code == POND_OK && a->errand[0].op.reply != MP_DONE) code = no_letter(c, letter, len, err);
    asking_free(a);
    return code;
}

/* ---- retry ---- */

static int overtaken(const pond_collection *c, const mp_behind_entry *e, const char *how, pond_error **err) {
    char id[MP_QUOTE_MAX];
    return mp_fail(err, POND_EDUPLICATE,
                   "%.64s %s: nothing was retried: %s: drop the dead letter, or change the document anew", c->name,
                   mp_quote(id, e->key + 1, e->key_len - 1), how);
}

/* A change that the store would refuse as an older one, silently, is refused here. What comes in between does no harm: the store's own look
 * at the versions is what counts. */
static int ask_store(pond_collection *c, const mp_behind_entry *e, const letter_id *id, pond_error **err) {
    mp_store *store = c->pond->store;
    pond_value *value = NULL;
    int64_t version = 0;
    int code = store->vt->behind_get(store, c->name, e->key + 1, e->key_len - 1, &value, &version, err);
    if (code != POND_OK) return code;
    bool absent = pond_value_state(value) == POND_ABSENT;
    pond_value_free(value);
    if (absent && is_increments(e))
        return overtaken(c, e, "there is no such document, so its increments have nothing to be added to", err);
    if (version > e->version)
        return overtaken(c, e, absent ? "it was deleted since" : "a newer change of it is in the store", err);
    if (absent && version == 0 && mp_clock_wall_ms() - id->ms > (int64_t)TOMB_DAYS * MP_DAY_MS - MARGIN_MS)
        return overtaken(c, e,
                         "it was put aside more than seven days ago, and nobody knows any more whether the document "
                         "was deleted since",
                         err);
    return POND_OK;
}

static int refused(const pond_collection *c, const mp_behind_entry *e, mp_behind_verdict verdict, const char *letter,
                   size_t len, pond_error **err) {
    switch (verdict) {
    case MP_CHANGED: return overtaken(c, e, "a newer change of it was accepted since", err);
    case MP_NO_LETTER: return no_letter(c, letter, len, err);
    case MP_FULL:
        return mp_fail(err, POND_EOVERLOAD,
                       "nothing was retried: the backlog of %.64s is full (backlog_max %lld): try again later", c->name,
                       (long long)c->document->options.backlog_max);
    default:
        return mp_fail(err, POND_EPROTOCOL, "the backlog of %.64s gave an answer that makes no sense here", c->name);
    }
}

static int accept(pond_collection *c, mp_behind_entry *e, const letter_id *id, const char *letter, size_t len,
                  pond_error **err) {
    mp_backlog *backlog = c->behind;
    mp_shards *a = new_asking(c, err);
    if (!a) return POND_ENOMEM;
    mp_behind *b = add(a, MP_DEAD_RETRY, id->shard);
    b->entries = e;
    b->count = 1;
    b->most = mp_backlog_most(c->document->options.backlog_max);
    int code = mp_shards_send(a, err);
    if (code == POND_OK && a->errand[0].op.reply != MP_STORED) {
        code = refused(c, e, b->verdict, letter, len, err);
    } else if (code == POND_OK) {
        mp_count(backlog->policy->space->stats, MP_COUNT_accepted);
        mp_drain_accepted(backlog);
    }
    asking_free(a);
    return code;
}

static int retry(pond_collection *c, mp_behind_entry *e, const letter_id *id, const char *letter, size_t len,
                 pond_error **err) {
    if (is_damaged(e))
        return mp_fail(err, POND_EVALUE,
                       "%.64s: the dead letter %.*s has no document that can be read: it can only be dropped", c->name,
                       (int)len, letter);
    int code = mp_backlog_open(c->behind, err);
    if (code == POND_OK) code = ask_store(c, e, id, err);
    return code == POND_OK ? accept(c, e, id, letter, len, err) : code;
}

int mp_dead_act(pond_collection *c, pond_dead_act act, const char *letter, size_t len, pond_value **out,
                pond_error **err) {
    letter_id id;
    mp_behind_entry *e;
    if (!read_id(letter, len, &id)) return mp_dead_check(c, letter, len, err);
    if (act == POND_DEAD_DROP) return drop(c, &id, letter, len, err);
    mp_shards *a = new_asking(c, err);
    if (!a) return POND_ENOMEM;
    int code = find(c, a, &id, letter, len, &e, err);
    if (code == POND_OK)
        code = act == POND_DEAD_SHOW ? show(e, id.shard, out, err) : retry(c, e, &id, letter, len, err);
    asking_free(a);
    return code;
}

int mp_dead_check(const pond_collection *c, const char *letter, size_t len, pond_error **err) {
    char shown[MP_QUOTE_MAX];
    letter_id id;
    if (!c->behind)
        return mp_fail(err, POND_EMISUSE, "%.64s is not written behind (write=behind): it has no dead letters",
                       c->name);
    if (read_id(letter, len, &id)) return POND_OK;
    return mp_fail(err, POND_EKEY, "%.64s: %s is not the id of a dead letter, such as 1790000000000-0-3", c->name,
                   mp_quote(shown, letter, len));
}
