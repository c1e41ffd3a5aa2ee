/* The journal's shards: their rows, and what is known of them beside those. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/quote.h"
#include "store/sqlite_journal.h"

/* ---- what this process knows ---- */

void mp_jspaces_free(mp_journal *j) {
    for (mp_jspace *s = j->spaces, *next; s; s = next) {
        next = s->next;
        free(s);
    }
    j->spaces = NULL;
}

/* The row of the namespace, made if there is none. */
static int space_row(mp_journal *j, const mp_key *key, int64_t *id, int64_t *shards, pond_error **err) {
    sqlite3_stmt *statement;
    bool row;
    int rc = mp_jrun(j, err, "INSERT INTO space(ns, shards) VALUES (CAST(?1 AS TEXT), ?2) ON CONFLICT(ns) DO NOTHING",
                     "bi", (const void *)key->name, (size_t)key->ns_len, (int64_t)key->shards);
    if (rc == POND_OK)
        rc = mp_jask(j, &statement, err, "SELECT id, shards FROM space WHERE ns = CAST(?1 AS TEXT)", "b",
                     (const void *)key->name, (size_t)key->ns_len);
    if (rc != POND_OK) return rc;
    rc = mp_jstep(j, statement, &row, err);
    *id = rc == POND_OK && row ? sqlite3_column_int64(statement, 0) : 0;
    *shards = rc == POND_OK && row ? sqlite3_column_int64(statement, 1) : 0;
    mp_sqlite_done(statement);
    return rc;
}

/* What waits in them from before, and under which epochs that was accepted: a new one must be above. */
static int read_shards(mp_journal *j, mp_jspace *s, int64_t id, pond_error **err) {
    sqlite3_stmt *statement;
    int rc =
        mp_jask(j, &statement, err,
                "SELECT shard & 255, count(*), max(max(version, newest)) >> 40, max(first <> 0) FROM waiting WHERE "
                "shard BETWEEN ?1 AND ?2 GROUP BY shard",
                "ii", id << 8, id << 8 | 255);
    if (rc != POND_OK) return rc;
    for (bool row = true; row;) {
        rc = mp_jstep(j, statement, &row, err);
        int64_t at = row ? sqlite3_column_int64(statement, 0) : s->shards;
        if (at >= s->shards) continue;
        s->shard[at].waiting = sqlite3_column_int64(statement, 1);
        s->shard[at].epoch = sqlite3_column_int64(statement, 2);
        s->shard[at].sums = sqlite3_column_int64(statement, 3) > 0;
    }
    mp_sqlite_done(statement);
    return rc;
}

static int space_new(mp_journal *j, const mp_key *key, mp_jspace **out, pond_error **err) {
    int64_t id, shards;
    char shown[MP_QUOTE_MAX];
    int rc = space_row(j, key, &id, &shards, err);
    if (rc != POND_OK) return rc;
    if (shards != key->shards)
        return mp_fail(
            err, POND_EOPTION,
            "write=behind: %.*s has %lld shards in the journal %s, and this version uses %u: use the version "
            "that began with it, or another namespace or journal",
            (int)key->ns_len, key->name, (long long)shards, mp_quote(shown, j->path, strlen(j->path)), key->shards);
    mp_jspace *s = calloc(1, sizeof *s + key->shards * sizeof s->shard[0]);
    if (!s) return mp_jno_memory(err);
    memcpy(s->ns, key->name, key->ns_len);
    s->shards = key->shards;
    for (size_t i = 0; i < s->shards; i++) s->shard[i].id = id << 8 | (int64_t)i;
    rc = read_shards(j, s, id, err);
    if (rc != POND_OK) {
        free(s);
        return rc;
    }
    s->next = j->spaces;
    j->spaces = s;
    *out = s;
    return POND_OK;
}

int mp_jshard_of(mp_journal *j, const mp_key *key, mp_jshard **out, pond_error **err) {
    mp_jspace *s = j->spaces;
    while (s && (strncmp(s->ns, key->name, key->ns_len) != 0 || s->ns[key->ns_len])) s = s->next;
    int rc = s ? POND_OK : space_new(j, key, &s, err);
    if (rc == POND_OK) *out = &s->shard[key->shard];
    return rc;
}

int mp_journal_prepare(mp_journal *j, const mp_key *key, pond_error **err) {
    mp_jshard *unused;
    return mp_jshard_of(j, key, &unused, err);
}

/* wb_epoch.lua. The history is this process's, so there is a new one whenever the file is opened. */
int mp_journal_epoch(mp_journal *j, const mp_key *key, mp_behind *b, const uint8_t *fence, pond_error **err) {
    mp_jshard *s;
    int rc = mp_jshard_of(j, key, &s, err);
    if (rc != POND_OK) return rc;
    b->verdict = MP_VERDICT_OK;
    if (s->in_force && s->number < MP_JOURNAL_NUMBERS && s->epoch >= b->epoch) {
        b->epoch = s->epoch;
    } else if (b->epoch > s->epoch && memcmp(fence, j->fence, MP_JOURNAL_FENCE) == 0) {
        s->in_force = true;
        s->epoch = b->epoch;
        s->number = 0;
    } else {
        b->verdict = MP_STALE_FENCE;
    }
    return POND_OK;
}

/* wb_own.lua: several ponds of this process may have a worker each. */
int mp_journal_own(mp_journal *j, const mp_key *key, const uint8_t *owner, int64_t lease_ms, bool *mine, int64_t *left,
                   pond_error **err) {
    mp_jshard *s;
    int rc = mp_jshard_of(j, key, &s, err);
    if (rc != POND_OK) return rc;
    int64_t now = mp_clock_ms();
    *mine = s->owned_until > now && memcmp(s->owner, owner, MP_JOURNAL_OWNER) == 0;
    *left = s->owned_until > now && !*mine ? s->owned_until - now : 0;
    if (lease_ms == 0) {
        if (*mine) s->owned_until = 0;
    } else if (!*left) {
        memcpy(s->owner, owner, MP_JOURNAL_OWNER);
        s->owned_until = now + lease_ms;
        *mine = true;
    }
    return POND_OK;
}

/* ---- rows ---- */

int mp_jrow_find(mp_journal *j, const mp_jshard *s, const char *key, size_t len, mp_jrow *out, pond_error **err) {
    sqlite3_stmt *statement;
    bool row;
    *out = (mp_jrow){.state = -1};
    int rc = mp_jask(j, &statement, err,
                     "SELECT place, version, first, newest, state, fence = ?3 FROM waiting WHERE shard = ?1 AND key = "
                     "?2",
                     "ibb", s->id, (const void *)key, len, (const void *)j->fence, sizeof j->fence);
    if (rc != POND_OK) return rc;
    rc = mp_jstep(j, statement, &row, err);
    if (row) {
        out->place = sqlite3_column_int64(statement, 0);
        out->version = sqlite3_column_int64(statement, 1);
        out->first = sqlite3_column_int64(statement, 2);
        out->newest = sqlite3_column_int64(statement, 3);
        if (sqlite3_column_type(statement, 4) != SQLITE_NULL) out->state = sqlite3_column_int(statement, 4);
        out->old_fence = sqlite3_column_int(statement, 5) != 1;
    }
    mp_sqlite_done(statement);
    return rc;
}

pond_value *mp_jvalue(sqlite3_stmt *statement, int column, int64_t version, bool *damaged) {
    int state = sqlite3_column_int(statement, column), codec = sqlite3_column_int(statement, column + 1);
    *damaged = version <= 0 || (state != POND_VALUE && state != POND_ABSENT) || codec < 0 || codec > POND_EJSON ||
               sqlite3_column_type(statement, column) != SQLITE_INTEGER ||
               (state == POND_VALUE && sqlite3_column_type(statement, column + 2) != SQLITE_BLOB);
    if (*damaged) return NULL;
    if (state == POND_ABSENT) return mp_value_absent();
    const void *bytes = sqlite3_column_blob(statement, column + 2);
    int len = sqlite3_column_bytes(statement, column + 2);
    pond_value *value = bytes || !len ? mp_value_new(POND_VALUE, (pond_codec)codec, bytes, (size_t)len) : NULL;
    if (value) value->version = version;
    return value;
}

int mp_jrecord(mp_journal *j, const mp_jshard *s, mp_jrow *row, const char *key, size_t len, int64_t version,
               const uint8_t *fence, const pond_value *value, pond_error **err) {
    int rc;
    if (row->place) {
        rc = mp_jrun(j, err,
                     "UPDATE waiting SET version = ?2, fence = ?3, state = ?4, codec = ?5, value = ?6 WHERE place = ?1",
                     "iibv", row->place, version, (const void *)fence, (size_t)MP_JOURNAL_FENCE, value);
    } else {
        rc = mp_jrun(j, err,
                     "INSERT INTO waiting(place, shard, key, version, first, newest, fence, state, codec, value) "
                     "VALUES (?1, ?2, ?3, ?4, 0, 0, ?5, ?6, ?7, ?8)",
                     "iibibv", j->place + 1, s->id, (const void *)key, len, version, (const void *)fence,
                     (size_t)MP_JOURNAL_FENCE, value);
        if (rc == POND_OK) row->place = ++j->place;
    }
    return rc;
}

int mp_jdrop_sums(mp_journal *j, const mp_jshard *s, const char *key, size_t len, pond_error **err) {
    return mp_jrun(j, err, "DELETE FROM sums WHERE shard = ?1 AND key = ?2", "ib", s->id, (const void *)key, len);
}

int mp_jdrop_row(mp_journal *j, const mp_jrow *row, pond_error **err) {
    return mp_jrun(j, err, "DELETE FROM waiting WHERE place = ?1", "i", row->place);
}

/* ---- increments ---- */

/* What no increment is makes all of them `damaged`. */
static int add_sum(sqlite3_stmt *row, mp_sums *out, pond_error **err) {
    const void *member = sqlite3_column_blob(row, 0);
    size_t len = (size_t)sqlite3_column_bytes(row, 0);
    int64_t by = sqlite3_column_int64(row, 1);
    if (!len || sqlite3_column_type(row, 1) != SQLITE_INTEGER || by > MP_INCREMENT_MOST || by < -MP_INCREMENT_MOST) {
        out->damaged = true;
        return POND_OK;
    }
    mp_sum *sum = realloc(out->sum, (out->n + 1) * sizeof *sum);
    if (sum) out->sum = sum;
    char *copy = sum && member ? malloc(len + 1) : NULL;
    if (!copy) return mp_jno_memory(err);
    memcpy(copy, member, len);
    copy[len] = 0;
    out->sum[out->n++] = (mp_sum){.member = copy, .len = len, .by = by};
    return POND_OK;
}

int mp_jsums_read(mp_journal *j, sqlite3_stmt *statement, mp_sums *out, pond_error **err) {
    int rc;
    for (bool row; (rc = mp_jstep(j, statement, &row, err)) == POND_OK && row;)
        if ((rc = add_sum(statement, out, err)) != POND_OK) break;
    mp_sqlite_done(statement);
    return rc;
}
