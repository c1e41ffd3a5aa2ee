#include "ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/envelope.h"

void ledger_begin(ledger *l, judge *j) {
    *l = (ledger){.judge = j};
    for (size_t i = 0; i < LEDGER_KEYS; i++) {
        l->states[i] = 1; /* version 0: there never was one */
        l->state[i][0].absent = l->due[i].absent = l->stored[i].absent = true;
    }
}

/* "2.5 of 1+17": the client's change, and epoch and number of its version. */
typedef struct words {
    char text[64];
} words;

static words name_of(const ledger_state *s) {
    words w;
    snprintf(w.text, sizeof w.text, "%s%u.%u and %u of %lld+%lld", s->absent ? "absent " : "", s->op / LEDGER_OPS,
             s->op % LEDGER_OPS, s->count, (long long)(s->version >> 40), (long long)(s->version & 0xffffffffff));
    return w;
}

static void wrong(ledger *l, uint64_t *count, size_t key, const char *what, const ledger_state *is,
                  const ledger_state *due) {
    char line[160];
    snprintf(line, sizeof line, "k%zu: %s: %.60s, due %.60s", key % LEDGER_KEYS, what, name_of(is).text,
             name_of(due).text);
    judge_counted(l->judge, count, line);
}

/* ---- texts ---- */

size_t ledger_text(char out[LEDGER_TEXT], ledger_kind kind, unsigned client, unsigned number) {
    unsigned op = client * LEDGER_OPS + number;
    return (size_t)(kind == LEDGER_UPDATE ? snprintf(out, LEDGER_TEXT, "{\"op\":%u,\"u%u\":%u}", op, client, number)
                                          : snprintf(out, LEDGER_TEXT, "{\"op\":%u,\"base\":%u}", op, op));
}

static unsigned member(const char *text, const char *name) {
    char quoted[16];
    snprintf(quoted, sizeof quoted, "\"%s\":", name);
    const char *at = strstr(text, quoted);
    return at ? (unsigned)strtoul(at + strlen(quoted), NULL, 10) : 0;
}

/* False: it is no document of this key. */
static bool read_state(ledger_state *out, size_t key, const char *text, size_t len) {
    static const char id[] = "{\"id\":\"k";
    char copy[LEDGER_TEXT + 1], name[8];
    *out = (ledger_state){.absent = text == NULL};
    if (!text) return true;
    if (len > LEDGER_TEXT) return false;
    memcpy(copy, text, len);
    copy[len] = 0;
    if (strncmp(copy, id, strlen(id)) != 0 || strtoul(copy + strlen(id), NULL, 10) % LEDGER_KEYS != key) return false;
    out->op = (uint16_t)member(copy, "op");
    out->base = (uint16_t)member(copy, "base");
    for (unsigned i = 0; i < LEDGER_CLIENTS; i++) {
        snprintf(name, sizeof name, "u%u", i);
        out->patch[i] = (uint16_t)member(copy, name);
    }
    out->count = member(copy, "n");
    return out->op > 0 && out->op < LEDGER_CLIENTS * LEDGER_OPS;
}

static bool same(const ledger_state *a, const ledger_state *b) {
    return a->absent == b->absent && a->op == b->op && a->base == b->base && a->count == b->count &&
           memcmp(a->patch, b->patch, sizeof a->patch) == 0;
}

/* The newest state that is this one; NULL: there never was one. */
static const ledger_state *find(const ledger *l, size_t key, const ledger_state *is) {
    for (size_t i = l->states[key]; i-- > 0;)
        if (same(&l->state[key][i], is)) return &l->state[key][i];
    return NULL;
}

static size_t key_of(const char *user_key) { return (size_t)strtoul(user_key + 2, NULL, 10) % LEDGER_KEYS; } /* "sk3" */

static bool open_record(ledger_state *out, size_t key, const char *envelope, size_t size) {
    mp_envelope e;
    if (mp_envelope_read(envelope, size, &e) != MP_ENVELOPE_OK) return false;
    bool absent = e.flags & MP_ENVELOPE_NEGATIVE;
    bool well = read_state(out, key, absent ? NULL : e.payload, e.payload_len);
    out->version = e.version;
    return well;
}

/* ---- changes ---- */

void ledger_op_begins(ledger *l, unsigned op, ledger_kind kind, size_t key) {
    l->op[op] = (ledger_op){.kind = kind, .key = key};
}

/* Is it the change of what was there, and of nothing else? */
static bool follows(const ledger_op *op, unsigned number, const ledger_state *was, const ledger_state *is) {
    ledger_state made = {.op = (uint16_t)number, .base = (uint16_t)number};
    if (op->kind == LEDGER_UPDATE) {
        made = *was;
        made.op = (uint16_t)number;
        made.patch[number / LEDGER_OPS] = (uint16_t)(number % LEDGER_OPS);
    }
    return same(&made, is);
}

/* Where the server has lost something, what the store has, or gets by a flush that was under way, may be newer than all that is left there. */
static bool stored_is_newer(const ledger *l, size_t key) {
    return l->losses && l->stored_as[key] > l->due[key].version;
}

static void judge_change(ledger *l, size_t key, const ledger_state *is) {
    judge *j = l->judge;
    const ledger_state *was = &l->due[key];
    ledger_op *op = &l->op[is->op];
    if (op->key != key) wrong(l, &j->counts.broken, key, "a record of another key", is, was);
    if (op->accepted && !l->losses) wrong(l, &j->counts.broken, key, "applied twice", is, was);
    if (op->refused && !l->losses) wrong(l, &j->counts.broken, key, "accepted though it was refused", is, was);
    if (op->kind == LEDGER_CREATE && !was->absent && !(stored_is_newer(l, key) && l->stored[key].absent))
        wrong(l, &j->counts.broken, key, "created over a document", is, was);
    if (op->kind == LEDGER_UPDATE && was->absent && !l->losses)
        wrong(l, &j->counts.broken, key, "updated though there is none", is, was);
    else if (!follows(op, is->op, was, is) && !(l->losses && follows(op, is->op, &l->stored[key], is)))
        wrong(l, &j->counts.lost, key, "a change is lost", is, was);
    op->accepted++;
    op->version = is->version;
}

static void push_state(ledger *l, size_t key, const ledger_state *is) {
    if (l->states[key] == LEDGER_STATES) abort();
    l->state[key][l->states[key]++] = l->due[key] = *is;
}

static void add_state(ledger *l, size_t key, const ledger_state *is) {
    if (is->version <= l->due[key].version)
        wrong(l, &l->judge->counts.regressed, key, "its version went back", is, &l->due[key]);
    push_state(l, key, is);
}

/* What it was with this version. */
static const ledger_state *state_at(const ledger *l, size_t key, int64_t version) {
    for (size_t i = l->states[key]; i-- > 0;)
        if (l->state[key][i].version == version) return &l->state[key][i];
    return NULL;
}

static void judge_increment(ledger *l, size_t key, const server_news *news) {
    ledger_op *op = &l->op[news->by % (LEDGER_CLIENTS * LEDGER_OPS)];
    ledger_state is = l->due[key];
    is.version = news->version;
    if (!is.absent) is.count += news->by; /* else it has nothing to be added to */
    trace_line(l->judge->trace, "accepted: k%zu + %u: %s", key, news->by, name_of(&is).text);
    if (op->key != key || op->kind != LEDGER_INCREMENT)
        wrong(l, &l->judge->counts.broken, key, "an increment that nobody has made", &is, &l->due[key]);
    if (op->accepted) wrong(l, &l->judge->counts.broken, key, "counted twice", &is, &l->due[key]);
    if (op->refused) wrong(l, &l->judge->counts.broken, key, "counted though it was refused", &is, &l->due[key]);
    op->accepted++;
    op->version = is.version;
    op->losses = l->losses;
    l->judge->counts.writes++;
    add_state(l, key, &is);
}

/* What was added by increments that were accepted behind the one version, up to the other, and that the server has not lost. */
static uint32_t added(const ledger *l, size_t key, int64_t behind, int64_t to) {
    uint32_t sum = 0;
    for (unsigned i = 1; i < LEDGER_CLIENTS * LEDGER_OPS; i++) {
        const ledger_op *op = &l->op[i];
        bool counts =
            op->kind == LEDGER_INCREMENT && op->key == key && op->accepted && !op->dropped && op->losses == l->losses;
        if (counts && op->version > behind && op->version <= to) sum += i;
    }
    return sum;
}

/* The server has lost what the store has, so that increments were added to that: it is due now. */
static bool of_stored(ledger *l, size_t key, int64_t newest, const ledger_state *is) {
    ledger_state made = l->stored[key];
    if (!l->losses || made.absent) return false;
    made.count += added(l, key, l->stored_as[key], newest);
    if (!same(&made, is)) return false;
    int64_t due = l->due[key].version;
    made.version = is->version;
    push_state(l, key, &made);
    l->due[key].count += added(l, key, newest, due); /* they are left */
    return true;
}

/* The state of the newest increment in it, no more and no less. */
static void judge_fold(ledger *l, size_t key, const server_news *news, const ledger_state *is) {
    const ledger_state *of = state_at(l, key, news->version);
    trace_line(l->judge->trace, "folded: k%zu %s", key, name_of(is).text);
    /* What it leaves may have greater ones. */
    if (is->version <= (news->rest ? news->version - 1 : l->due[key].version))
        wrong(l, &l->judge->counts.regressed, key, "its version went back", is, &l->due[key]);
    if ((!of || !same(of, is)) && !of_stored(l, key, news->version, is))
        wrong(l, &l->judge->counts.lost, key, "a counter is wrong", is, of ? of : &l->due[key]);
    if (l->folds[key] == LEDGER_STATES) abort();
    l->fold[key][l->folds[key]++] = (ledger_fold){is->version, news->version, *is};
    if (news->rest <= l->due[key].version) return;
    ledger_state now = l->due[key];
    now.version = news->rest;
    add_state(l, key, &now);
}

/* The version of the accepted state that it is; -1: there is none. */
static int64_t accepted_as(const ledger *l, size_t key, const ledger_state *is) {
    for (size_t i = 1; i < l->states[key]; i++)
        if (l->state[key][i].version == is->version && same(&l->state[key][i], is)) return is->version;
    for (size_t i = 0; i < l->folds[key]; i++)
        if (l->fold[key][i].version == is->version && same(&l->fold[key][i].state, is)) return l->fold[key][i].of;
    return -1;
}

/* With the version of the accepted state that it is. */
static ledger_state as_state(const ledger *l, size_t key, ledger_state is) {
    int64_t as = accepted_as(l, key, &is);
    if (as >= 0) is.version = as;
    return is;
}

/* What the server has of it, or the store, whichever is newer; and if some are left, with those. */
static void due_without_dropped(ledger *l, size_t key, const server_news *news) {
    ledger_state due = l->stored[key], record;
    if (open_record(&record, key, news->record.data, news->record.len) && record.version > due.version) due = record;
    due = as_state(l, key, due);
    l->due[key] = due;
    l->cuts[key]++;
    if (due.version < l->left[key]) l->left[key] = due.version;
    if (!news->rest) return;
    if (!due.absent) due.count += added(l, key, due.version, news->rest);
    due.version = news->rest;
    push_state(l, key, &due);
}

/* Increments have nothing to be added to: there is no document. Or, behind a loss, the store knows better than the server that there is none any more,
 * or has a document that counts them all; or some of them, and what they were added to is nowhere any more. */
static void judge_drop(ledger *l, size_t key, const server_news *news) {
    const ledger_state *of = state_at(l, key, news->version);
    ledger_state record = {.version = -1};
    open_record(&record, key, news->record.data, news->record.len);
    bool gone = l->losses && l->stored[key].absent && l->stored[key].version > record.version;
    int64_t from = record.version < 0 ? news->first : news->version;
    bool counted = l->losses && l->stored_as[key] >= from;
    trace_line(l->judge->trace, "dropped: k%zu %s", key, name_of(of ? of : &l->due[key]).text);
    if (!(of && of->absent) && !gone && !counted)
        wrong(l, &l->judge->counts.lost, key, "increments are dropped", &l->stored[key], of ? of : &l->due[key]);
    if (!l->losses) return;
    for (unsigned i = 1; i < LEDGER_CLIENTS * LEDGER_OPS; i++) {
        ledger_op *op = &l->op[i];
        if (op->kind == LEDGER_INCREMENT && op->key == key && op->accepted && op->version <= news->version)
            op->dropped = true;
    }
    due_without_dropped(l, key, news);
}

void ledger_accepted(ledger *l, const server_news *news) {
    size_t key = key_of(news->key.data);
    ledger_state is;
    if (news->kind == SERVER_INCREMENT) {
        judge_increment(l, key, news);
        return;
    }
    if (news->kind == SERVER_DROP) {
        judge_drop(l, key, news);
        return;
    }
    if (!open_record(&is, key, news->record.data, news->record.len)) {
        judge_broken(l->judge, "a record that nobody has made");
        return;
    }
    if (news->kind == SERVER_FOLD) {
        judge_fold(l, key, news, &is);
        return;
    }
    trace_line(l->judge->trace, "accepted: k%zu %s", key, name_of(&is).text);
    l->judge->counts.writes++;
    if (!is.absent) judge_change(l, key, &is);
    add_state(l, key, &is);
}

void ledger_op_done(ledger *l, unsigned number, const char *text, size_t len) {
    ledger_op *op = &l->op[number];
    ledger_state is;
    if (op->kind == LEDGER_DELETE || op->kind == LEDGER_INCREMENT) {
        if (text) judge_broken(l->judge, "a delete or increment has brought a document");
        if (op->kind == LEDGER_INCREMENT && !op->accepted)
            judge_broken(l->judge, "an increment is acknowledged that was not accepted");
        return;
    }
    if (!text || !read_state(&is, op->key, text, len) || is.op != number || !find(l, op->key, &is) || !op->accepted)
        judge_broken(l->judge, "a change is acknowledged that was not accepted");
}

/* Was it so at some time since then? */
static bool was_ever(const ledger *l, size_t key, int64_t since, bool absent) {
    for (size_t i = 0; i < l->states[key]; i++)
        if (l->state[key][i].version >= since && l->state[key][i].absent == absent) return true;
    return false;
}

void ledger_op_refused(ledger *l, unsigned number, bool exists, bool absent, ledger_since since) {
    ledger_op *op = &l->op[number];
    op->refused = true;
    if (l->losses) return;
    if (op->accepted) judge_broken(l->judge, "a change is refused that was accepted");
    if ((exists && !was_ever(l, op->key, since.version, false)) ||
        (absent && !was_ever(l, op->key, since.version, true)))
        judge_broken(l->judge, "a change is refused for what never was so");
}

/* ---- reads ---- */

ledger_since ledger_now(const ledger *l, size_t key) { return (ledger_since){l->due[key].version, l->cuts[key]}; }

/* What was lost or dropped since then is not due any more. */
static int64_t floor_of(const ledger *l, size_t key, ledger_since since) {
    bool less = since.cuts != l->cuts[key] && l->left[key] < since.version;
    return less ? l->left[key] : since.version;
}

void ledger_read(ledger *l, size_t key, ledger_since begun, const char *text, size_t len, bool at_rest) {
    judge *j = l->judge;
    int64_t since = floor_of(l, key, begun);
    ledger_state is;
    const ledger_state *due = &l->due[key], *found = NULL;
    trace_mark(j->trace, "read", text ? text : "absent", text ? len : 6);
    if (!at_rest) j->counts.reads++;
    if (read_state(&is, key, text, len)) found = find(l, key, &is);
    if (!found) wrong(l, &j->counts.broken, key, "read what nobody has written", &is, due);
    else if (at_rest && !same(found, &l->stored[key]))
        wrong(l, &j->counts.stale_at_rest, key, "read at rest is not what the store has", found, &l->stored[key]);
    else if (found->version < since) {
        ledger_state then = {.version = since};
        wrong(l, &j->counts.stale_after_ack, key, "read is older than what was accepted", found, &then);
    }
}

/* ---- the store ---- */

void ledger_stored(ledger *l, size_t key, int64_t version, const char *text, size_t len) {
    judge *j = l->judge;
    ledger_state is, was = l->stored[key];
    bool well = read_state(&is, key, text, len);
    is.version = version;
    trace_line(j->trace, "the store has k%zu: %s", key, name_of(&is).text);
    int64_t as = well ? accepted_as(l, key, &is) : -1;
    if (as < 0) wrong(l, &j->counts.broken, key, "the store has what nobody has accepted", &is, &was);
    if (version < was.version && was.absent && !is.absent)
        wrong(l, &j->counts.resurrected, key, "the store has again what was deleted", &is, &was);
    else if (version < was.version) wrong(l, &j->counts.regressed, key, "the store went back", &is, &was);
    l->stored[key] = is;
    l->stored_as[key] = as;
}

/* Increments of what there is not leave nothing to be stored. */
static bool both_absent(const ledger *l, size_t key, int64_t due) {
    const ledger_state *then = state_at(l, key, due);
    return l->stored[key].absent && then && then->absent;
}

void ledger_flushed(ledger *l, const ledger_since *due, size_t keys) {
    for (size_t i = 0; i < keys; i++) {
        ledger_state then = {.version = due[i].version};
        if (due[i].cuts == l->cuts[i] && l->stored_as[i] < then.version && !both_absent(l, i, then.version))
            wrong(l, &l->judge->counts.lost, i, "flushed, and the store does not have it", &l->stored[i], &then);
    }
}

/* ---- a server that has forgotten ---- */

void ledger_tail_lost(ledger *l) {
    l->losses++;
    for (size_t i = 0; i < LEDGER_KEYS; i++) {
        l->due[i] = as_state(l, i, l->stored[i]);
        if (l->losses == 1 || l->due[i].version < l->left[i]) l->left[i] = l->due[i].version;
        l->cuts[i]++;
    }
}

/* Increments are due again with what they were added to, unless the store has something newer, which counts them. */
void ledger_survives(ledger *l, const server_news *news) {
    size_t key = key_of(news->key.data);
    ledger_state is;
    if (news->kind == SERVER_INCREMENT) {
        const ledger_state *then = state_at(l, key, news->version);
        if (then && then->version > l->due[key].version) l->due[key] = *then;
        for (unsigned i = 1; i < LEDGER_CLIENTS * LEDGER_OPS; i++) {
            ledger_op *op = &l->op[i];
            /* What an earlier loss had taken is back where this snapshot is older: none of that was folded, so the first is the first of them. */
            bool was_there = op->losses + 1 == l->losses || op->version >= news->first;
            if (op->kind == LEDGER_INCREMENT && op->key == key && op->accepted && was_there &&
                op->version <= news->version)
                op->losses = l->losses;
        }
        return;
    }
    if (!open_record(&is, key, news->record.data, news->record.len)) return;
    is = as_state(l, key, is);
    if (is.version > l->due[key].version) l->due[key] = is;
}

/* ---- the end ---- */

void ledger_rests(ledger *l, size_t keys, size_t waiting) {
    judge *j = l->judge;
    for (size_t i = 0; i < keys && l->losses; i++) /* the server has lost it, the store has not */
        if (l->stored_as[i] > l->due[i].version) l->due[i] = as_state(l, i, l->stored[i]);
    if (waiting) {
        j->counts.left_dirty += waiting;
        judge_broken(j, "something is left in the backlog at rest");
    }
    for (size_t i = 0; i < keys; i++)
        if (!same(&l->stored[i], &l->due[i]) && !(l->stored[i].absent && l->due[i].absent))
            wrong(l, &j->counts.lost, i, "the store does not have at rest what was accepted", &l->stored[i],
                  &l->due[i]);
}
