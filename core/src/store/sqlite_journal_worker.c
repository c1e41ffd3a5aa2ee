/* What the worker does with the journal: what waits, in batches, and out of it what the store has (wb_take.lua, wb_ack.lua). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "store/sqlite_journal.h"

/* An id, "place-0". 0: none of ours. */
static int64_t place_of(const char *id) {
    char *end;
    long long place = strtoll(id, &end, 10);
    return place > 0 && strcmp(end, "-0") == 0 ? place : 0;
}

static void name_place(char id[MP_BEHIND_ID_MAX], int64_t place) {
    snprintf(id, MP_BEHIND_ID_MAX, "%lld-0", (long long)place);
}

/* ---- take ---- */

static int newest_of(mp_journal *j, const mp_jshard *s, mp_behind *b, pond_error **err) {
    int64_t place = 0;
    int rc = mp_jnumber(j, &place, err, "SELECT max(place) FROM waiting WHERE shard = ?1", "i", s->id);
    b->newest[0] = 0;
    if (place) name_place(b->newest, place);
    return rc;
}

static int take_row(sqlite3_stmt *row, mp_behind_entry *e, pond_error **err) {
    const void *key = sqlite3_column_blob(row, 1);
    e->key_len = (size_t)sqlite3_column_bytes(row, 1);
    name_place(e->id, sqlite3_column_int64(row, 0));
    e->version = sqlite3_column_int64(row, 2);
    e->key = malloc(e->key_len + 1);
    if (!e->key) return mp_jno_memory(err);
    if (e->key_len) memcpy(e->key, key, e->key_len);
    e->key[e->key_len] = 0;
    if (e->large || sqlite3_column_type(row, 5) == SQLITE_NULL) return POND_OK; /* increments alone */
    e->old_fence = sqlite3_column_int(row, 3) != 1;
    e->value = mp_jvalue(row, 5, e->version, &e->damaged);
    if (!e->value && !e->damaged) return mp_jno_memory(err);
    if (e->key_len > MP_KEY_MAX) {
        pond_value_free(e->value);
        e->value = NULL;
        e->damaged = true;
    }
    return POND_OK;
}

static int take(mp_journal *j, sqlite3_stmt *statement, mp_behind *b, int64_t most, pond_error **err) {
    int64_t bytes = 0;
    for (bool row;;) {
        int rc = mp_jstep(j, statement, &row, err);
        if (rc != POND_OK || !row) return rc;
        if ((int64_t)b->count == most) return POND_OK;
        mp_behind_entry *e = &b->entries[b->count];
        bytes += sqlite3_column_int64(statement, 4);
        bool over = b->bytes_most > 0 && bytes > b->bytes_most;
        if (over && b->count) return POND_OK;
        e->large = over;
        b->count++; /* what it has got by now is the list's to free */
        rc = take_row(statement, e, err);
        if (rc != POND_OK || over) return rc;
    }
}

int mp_journal_take(mp_journal *j, const mp_key *key, mp_behind *b, pond_error **err) {
    mp_jshard *s;
    sqlite3_stmt *statement;
    int rc = mp_jshard_of(j, key, &s, err);
    if (rc == POND_OK) rc = newest_of(j, s, b, err);
    if (rc != POND_OK) return rc;
    int64_t most = b->most < MP_BEHIND_MOST ? b->most : MP_BEHIND_MOST;
    if (most > s->waiting) most = s->waiting;
    if (most < 0) most = 0;
    b->backlog = s->waiting;
    b->epoch = s->in_force ? s->epoch : 0;
    b->increments = s->sums;
    b->count = 0;
    b->entries = calloc((size_t)most + 1, sizeof *b->entries);
    if (!b->entries) return mp_jno_memory(err);
    rc =
        mp_jask(j, &statement, err,
                "SELECT place, key, version, fence = ?3, length(value), state, codec, value FROM waiting WHERE shard = "
                "?1 AND place > ?2 ORDER BY place LIMIT ?4",
                "iibi", s->id, place_of(b->after), (const void *)j->fence, sizeof j->fence, most);
    if (rc == POND_OK) {
        rc = take(j, statement, b, most, err);
        mp_sqlite_done(statement);
    }
    if (rc != POND_OK) mp_behind_clear(b);
    return rc;
}

/* ---- ack ---- */

static int ack_one(mp_journal *j, mp_jshard *s, mp_behind_entry *e, int64_t *gone, pond_error **err) {
    mp_jrow row;
    int rc = mp_jrow_find(j, s, e->key, e->key_len, &row, err);
    e->acked = 0;
    if (rc != POND_OK || (row.first && row.state < 0)) return rc; /* nobody has looked at those yet */
    if (row.first || (row.state >= 0 && row.version != e->version)) {
        if (row.place != place_of(e->id)) return POND_OK;
        return mp_jrun(j, err, "UPDATE waiting SET place = ?2 WHERE place = ?1", "ii", row.place, ++j->place);
    }
    e->acked = 1;
    if (!row.place) return POND_OK;
    rc = mp_jdrop_row(j, &row, err);
    *gone += rc == POND_OK;
    return rc;
}

int mp_journal_ack(mp_journal *j, const mp_key *key, mp_behind *b, pond_error **err) {
    mp_jshard *s;
    int64_t gone = 0;
    int rc = mp_jshard_of(j, key, &s, err);
    if (rc == POND_OK) rc = mp_jbegin(j, err);
    if (rc != POND_OK) return rc;
    for (size_t i = 0; i < b->count && rc == POND_OK; i++) rc = ack_one(j, s, &b->entries[i], &gone, err);
    rc = mp_jend(j, rc, err);
    if (rc == POND_OK) s->waiting -= gone;
    return rc;
}
