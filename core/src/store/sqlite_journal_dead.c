/* Dead letters in the journal: what the store would not have (wb_dead.lua, wb_dead_list.lua, wb_dead_retry.lua). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "store/sqlite_journal.h"

/* An id, "ms-n"; no two letters have the same, and a later one has a greater one. */
typedef struct letter {
    int64_t ms, n;
} letter;

static letter read_id(const char *id) {
    char *rest;
    letter l = {.ms = strtoll(id, &rest, 10)};
    l.n = *rest == '-' ? strtoll(rest + 1, NULL, 10) : 0;
    return l;
}

static letter next_letter(mp_journal *j) {
    int64_t now = mp_clock_wall_ms();
    j->dead = now > j->dead_ms ? 0 : j->dead + 1;
    if (now > j->dead_ms) j->dead_ms = now;
    return (letter){j->dead_ms, j->dead};
}

/* ---- in ---- */

static int bury(mp_journal *j, const mp_jshard *s, const mp_jrow *row, const mp_behind *b, pond_error **err) {
    const mp_behind_entry *e = &b->entries[0];
    letter l = next_letter(j);
    int rc = mp_jrun(j, err,
                     "INSERT INTO dead(ms, n, shard, key, version, first, newest, why, state, codec, value) SELECT ?2, "
                     "?3, shard, key, version, first, newest, ?4, state, codec, value FROM waiting WHERE place = ?1",
                     "iiib", row->place, l.ms, l.n, (const void *)b->error, b->error_len);
    if (rc == POND_OK)
        rc = mp_jrun(j, err,
                     "INSERT INTO dead_sums(ms, n, member, by) SELECT ?3, ?4, member, by FROM sums WHERE shard = ?1 "
                     "AND key = ?2",
                     "ibii", s->id, (const void *)e->key, e->key_len, l.ms, l.n);
    if (rc == POND_OK) rc = mp_jdrop_sums(j, s, e->key, e->key_len, err);
    return rc == POND_OK ? mp_jdrop_row(j, row, err) : rc;
}

int mp_journal_dead(mp_journal *j, const mp_key *key, mp_behind *b, bool *moved, pond_error **err) {
    const mp_behind_entry *e = &b->entries[0];
    mp_jshard *s;
    mp_jrow row = {0};
    int rc = mp_jshard_of(j, key, &s, err);
    if (rc == POND_OK) rc = mp_jrow_find(j, s, e->key, e->key_len, &row, err);
    if (rc != POND_OK) return rc;
    *moved = row.state < 0 || row.version == e->version;
    if (!*moved || !row.place) return POND_OK;
    rc = mp_jbegin(j, err);
    if (rc != POND_OK) return rc;
    rc = mp_jend(j, bury(j, s, &row, b, err), err);
    if (rc == POND_OK) s->waiting--;
    return rc;
}

/* ---- list ---- */

static int read_letter(sqlite3_stmt *row, mp_behind_entry *e, pond_error **err) {
    const void *key = sqlite3_column_blob(row, 2), *why = sqlite3_column_blob(row, 4);
    e->key_len = (size_t)sqlite3_column_bytes(row, 2);
    e->why_len = (size_t)sqlite3_column_bytes(row, 4);
    snprintf(e->id, sizeof e->id, "%lld-%lld", (long long)sqlite3_column_int64(row, 0),
             (long long)sqlite3_column_int64(row, 1));
    e->version = sqlite3_column_int64(row, 3);
    e->key = malloc(e->key_len + 1);
    e->why = malloc(e->why_len + 1);
    if (!e->key || !e->why) return mp_jno_memory(err);
    if (e->key_len) memcpy(e->key, key, e->key_len);
    e->key[e->key_len] = 0;
    if (e->why_len) memcpy(e->why, why, e->why_len);
    e->why[e->why_len] = 0;
    int64_t first = sqlite3_column_int64(row, 9), newest = sqlite3_column_int64(row, 10);
    if (first && !(e->increments = calloc(1, sizeof *e->increments))) return mp_jno_memory(err);
    if (first) *e->increments = (mp_sums){.first = first, .newest = newest, .damaged = first < 0 || newest < first};
    if (sqlite3_column_type(row, 6) == SQLITE_NULL) {
        e->damaged = !first;
        if (first) e->version = newest; /* of a letter that has nothing else */
        return POND_OK;
    }
    e->value = mp_jvalue(row, 6, e->version, &e->damaged);
    return e->value || e->damaged ? POND_OK : mp_jno_memory(err);
}

static int list(mp_journal *j, sqlite3_stmt *statement, mp_behind *b, int64_t most, pond_error **err) {
    int64_t bytes = 0;
    for (bool row;;) {
        int rc = mp_jstep(j, statement, &row, err);
        if (rc != POND_OK || !row) return rc;
        bytes += sqlite3_column_int64(statement, 5);
        b->more = (int64_t)b->count == most || (b->count && b->bytes_most > 0 && bytes > b->bytes_most);
        if (b->more) return POND_OK;
        b->count++;
        rc = read_letter(statement, &b->entries[b->count - 1], err);
        if (rc != POND_OK) return rc;
    }
}

/* Its increments. A letter that has nothing else is damaged if they are. */
static int read_sums(mp_journal *j, mp_behind_entry *e, pond_error **err) {
    letter l = read_id(e->id);
    sqlite3_stmt *statement;
    int rc = mp_jask(j, &statement, err, "SELECT member, by FROM dead_sums WHERE ms = ?1 AND n = ?2", "ii", l.ms, l.n);
    if (rc == POND_OK) rc = mp_jsums_read(j, statement, e->increments, err);
    e->damaged |= !e->value && e->increments->damaged;
    return rc;
}

int mp_journal_dead_list(mp_journal *j, const mp_key *key, mp_behind *b, pond_error **err) {
    mp_jshard *s;
    sqlite3_stmt *statement;
    letter after = read_id(b->after);
    int rc = mp_jshard_of(j, key, &s, err);
    if (rc == POND_OK) rc = mp_jnumber(j, &b->backlog, err, "SELECT count(*) FROM dead WHERE shard = ?1", "i", s->id);
    if (rc != POND_OK) return rc;
    int64_t most = b->most < MP_BEHIND_MOST ? b->most : MP_BEHIND_MOST;
    if (most > b->backlog) most = b->backlog;
    if (most < 0) most = 0;
    b->more = false;
    b->count = 0;
    b->entries = calloc((size_t)most + 1, sizeof *b->entries);
    if (!b->entries) return mp_jno_memory(err);
    rc = mp_jask(j, &statement, err,
                 "SELECT ms, n, key, version, why, length(value), state, codec, value, first, newest FROM dead WHERE "
                 "shard = ?1 AND "
                 "(ms, n) > (?2, ?3) ORDER BY ms, n LIMIT ?4",
                 "iiii", s->id, b->after[0] ? after.ms : -1, b->after[0] ? after.n : -1, most + 1);
    if (rc == POND_OK) {
        rc = list(j, statement, b, most, err);
        mp_sqlite_done(statement);
    }
    for (size_t i = 0; i < b->count && rc == POND_OK; i++)
        if (b->entries[i].increments) rc = read_sums(j, &b->entries[i], err);
    if (rc != POND_OK) mp_behind_clear(b);
    return rc;
}

/* ---- out ---- */

typedef struct dead_row {
    bool there, alone; /* `alone`: increments, and no record */
    int64_t first, newest;
} dead_row;

static int find(mp_journal *j, const mp_jshard *s, letter l, const mp_behind_entry *e, dead_row *out,
                pond_error **err) {
    sqlite3_stmt *statement;
    int rc = mp_jask(
        j, &statement, err,
        "SELECT first, newest, state IS NULL FROM dead WHERE ms = ?1 AND n = ?2 AND shard = ?3 AND key = ?4 AND "
        "CASE WHEN state IS NULL THEN newest ELSE version END = ?5 AND (state IS NOT NULL OR first > 0)",
        "iiibi", l.ms, l.n, s->id, (const void *)e->key, e->key_len, e->version);
    if (rc != POND_OK) return rc;
    rc = mp_jstep(j, statement, &out->there, err);
    if (out->there) {
        out->first = sqlite3_column_int64(statement, 0);
        out->newest = sqlite3_column_int64(statement, 1);
        out->alone = sqlite3_column_int(statement, 2);
    }
    mp_sqlite_done(statement);
    return rc;
}

static int drop(mp_journal *j, letter l, pond_error **err) {
    int rc = mp_jrun(j, err, "DELETE FROM dead WHERE ms = ?1 AND n = ?2", "ii", l.ms, l.n);
    return rc == POND_OK ? mp_jrun(j, err, "DELETE FROM dead_sums WHERE ms = ?1 AND n = ?2", "ii", l.ms, l.n) : rc;
}

/* With the version that it had, and a fence that was never in force: readers compare it with the store, and the worker looks for a newer deletion. */
static int revive(mp_journal *j, const mp_jshard *s, letter l, const mp_behind_entry *e, const dead_row *d, int64_t at,
                  bool waits, pond_error **err) {
    static const uint8_t no_fence[MP_JOURNAL_FENCE];
    bool to_record = d->alone && waits; /* which is an older one, and stays */
    int rc = to_record ? mp_jrun(j, err, "UPDATE waiting SET first = ?3, newest = ?4 WHERE shard = ?1 AND key = ?2",
                                 "ibii", s->id, (const void *)e->key, e->key_len, d->first, d->newest)
                       : mp_jrun(j, err, "DELETE FROM waiting WHERE shard = ?1 AND key = ?2", "ib", s->id,
                                 (const void *)e->key, e->key_len);
    if (rc == POND_OK && !to_record)
        rc =
            mp_jrun(j, err,
                    "INSERT INTO waiting(place, shard, key, version, first, newest, fence, state, codec, value) SELECT "
                    "?3, shard, key, version, first, newest, ?4, state, codec, value FROM dead WHERE ms = ?1 AND n = "
                    "?2",
                    "iiib", l.ms, l.n, at, (const void *)no_fence, sizeof no_fence);
    if (rc == POND_OK && d->first)
        rc = mp_jrun(j, err,
                     "INSERT INTO sums(shard, key, member, by) SELECT ?3, ?4, member, by FROM dead_sums WHERE ms = ?1 "
                     "AND n = ?2",
                     "iiib", l.ms, l.n, s->id, (const void *)e->key, e->key_len);
    return rc == POND_OK ? drop(j, l, err) : rc;
}

int mp_journal_dead_retry(mp_journal *j, const mp_key *key, mp_behind *b, const pond_value *cached, pond_error **err) {
    const mp_behind_entry *e = &b->entries[0];
    letter l = read_id(e->id);
    mp_jshard *s;
    mp_jrow row = {0};
    dead_row d = {0};
    int rc = mp_jshard_of(j, key, &s, err);
    if (rc == POND_OK) rc = find(j, s, l, e, &d, err);
    if (rc == POND_OK) rc = mp_jrow_find(j, s, e->key, e->key_len, &row, err);
    if (rc != POND_OK) return rc;
    bool newer = row.first || (row.state >= 0 && row.version > e->version) ||
                 (cached && pond_value_state(cached) == POND_VALUE && cached->version > e->version);
    b->verdict = !d.there                              ? MP_NO_LETTER
                 : newer                               ? MP_CHANGED
                 : !row.place && s->waiting >= b->most ? MP_FULL
                                                       : MP_VERDICT_OK;
    if (b->verdict != MP_VERDICT_OK) return POND_OK;
    rc = mp_jbegin(j, err);
    if (rc != POND_OK) return rc;
    rc = mp_jend(j, revive(j, s, l, e, &d, row.place ? row.place : ++j->place, row.place != 0, err), err);
    if (rc != POND_OK) return rc;
    s->waiting += !row.place;
    s->sums |= d.first != 0;
    return POND_OK;
}

int mp_journal_dead_drop(mp_journal *j, const mp_key *key, mp_behind *b, bool *was_there, pond_error **err) {
    letter l = read_id(b->entries[0].id);
    mp_jshard *s;
    int rc = mp_jshard_of(j, key, &s, err);
    if (rc == POND_OK) rc = mp_jbegin(j, err);
    if (rc != POND_OK) return rc;
    rc = mp_jrun(j, err, "DELETE FROM dead WHERE ms = ?1 AND n = ?2 AND shard = ?3", "iii", l.ms, l.n, s->id);
    *was_there = rc == POND_OK && sqlite3_changes(j->conn->db) > 0;
    if (*was_there) rc = drop(j, l, err);
    return mp_jend(j, rc, err);
}
