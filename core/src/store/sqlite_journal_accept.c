/* What callers do to the journal: a document or an increment is accepted (wb_put.lua, wb_incr.lua), looked up, and folded (wb_sums.lua,
 * wb_fold.lua). No operation is sent twice here, so nothing has to remember who did what. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "store/sqlite_journal.h"

typedef struct place {
    mp_journal *j;
    mp_jshard *s;
    const char *key;
    size_t len;
    mp_jrow row;
} place;

static int go_to(place *p, mp_journal *j, const mp_key *key, pond_error **err) {
    p->j = j;
    p->key = mp_juser_key(key, &p->len);
    int rc = mp_jshard_of(j, key, &p->s, err);
    return rc == POND_OK ? mp_jrow_find(j, p->s, p->key, p->len, &p->row, err) : rc;
}

static int64_t next_version(mp_jshard *s) { return s->epoch << 40 | ++s->number; }

static bool has_numbers(const mp_jshard *s) { return s->in_force && s->number < MP_JOURNAL_NUMBERS; }

static void grows(mp_journal *j, size_t bytes) {
    enum { PAGES = 3 * 4096 }; /* of the log, that the least change touches */
    atomic_fetch_add_explicit(&j->written, (int64_t)bytes + PAGES, memory_order_relaxed);
}

/* Which increments wait. */
static int marks(place *p, int64_t first, int64_t newest, pond_error **err) {
    return mp_jrun(p->j, err, "UPDATE waiting SET first = ?2, newest = ?3 WHERE place = ?1", "iii", p->row.place, first,
                   newest);
}

/* ---- accept ---- */

/* Is the document what the caller takes it for? What the cache has counts where there is no record. */
static mp_behind_verdict judge(const mp_behind *b, const mp_jrow *row, const pond_value *cached) {
    if (b->expect == MP_EXPECT_ANY) return MP_VERDICT_OK;
    if (row->first || (row->state >= 0 ? row->old_fence : !cached)) return MP_CHANGED;
    bool absent = (row->state >= 0 ? row->state : (int)pond_value_state(cached)) == POND_ABSENT;
    int64_t version = row->state >= 0 ? row->version : cached->version;
    if (b->expect == MP_EXPECT_ABSENT) return absent ? MP_VERDICT_OK : MP_EXISTS;
    return !absent && version == b->expect_version ? MP_VERDICT_OK : MP_CHANGED;
}

static mp_behind_verdict judge_increment(const mp_jrow *row, const mp_jshard *s, const pond_value *cached) {
    if (row->first) return row->newest >> 40 == s->epoch ? MP_VERDICT_OK : MP_CHANGED;
    bool known = row->state >= 0 ? !row->old_fence : cached != NULL;
    int state = row->state >= 0 ? row->state : cached ? (int)pond_value_state(cached) : -1;
    return known && state == POND_ABSENT ? MP_ABSENT : MP_VERDICT_OK;
}

static int put(place *p, const pond_value *value, int64_t version, pond_error **err) {
    mp_journal *j = p->j;
    bool sums = p->row.first != 0; /* a change is about the whole document: what waited to be added is gone */
    int rc = sums ? mp_jbegin(j, err) : POND_OK;
    if (rc != POND_OK) return rc;
    rc = mp_jrecord(j, p->s, &p->row, p->key, p->len, version, j->fence, value, err);
    if (!sums) return rc;
    if (rc == POND_OK) rc = mp_jdrop_sums(j, p->s, p->key, p->len, err);
    if (rc == POND_OK) rc = marks(p, 0, 0, err);
    return mp_jend(j, rc, err);
}

static int sum_of(place *p, const mp_behind *b, int64_t *out, pond_error **err) {
    return mp_jnumber(p->j, out, err, "SELECT by FROM sums WHERE shard = ?1 AND key = ?2 AND member = ?3", "ibb",
                      p->s->id, (const void *)p->key, p->len, (const void *)b->member, b->member_len);
}

/* Would this member be one too many? Where its sum is 0 it may be there all the same, and then that is to be folded earlier than it had to be. */
static int is_too_many(place *p, int64_t sum, bool *out, pond_error **err) {
    int64_t members = 0;
    int rc = sum ? POND_OK
                 : mp_jnumber(p->j, &members, err, "SELECT count(*) FROM sums WHERE shard = ?1 AND key = ?2", "ib",
                              p->s->id, (const void *)p->key, p->len);
    *out = members >= MP_BEHIND_SUMS;
    return rc;
}

static int add(place *p, const mp_behind *b, int64_t sum, int64_t version, pond_error **err) {
    mp_journal *j = p->j;
    int rc = mp_jbegin(j, err);
    if (rc != POND_OK) return rc;
    rc = mp_jrun(j, err,
                 "INSERT INTO sums(shard, key, member, by) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET by = "
                 "excluded.by",
                 "ibbi", p->s->id, (const void *)p->key, p->len, (const void *)b->member, b->member_len, sum);
    if (rc == POND_OK && p->row.place) {
        rc = marks(p, p->row.first ? p->row.first : version, version, err);
    } else if (rc == POND_OK) {
        rc = mp_jrun(j, err,
                     "INSERT INTO waiting(place, shard, key, version, first, newest) VALUES (?1, ?2, ?3, 0, ?4, ?4)",
                     "iibi", ++j->place, p->s->id, (const void *)p->key, p->len, version);
    }
    return mp_jend(j, rc, err);
}

int mp_journal_accept(mp_journal *j, const mp_key *key, mp_behind *b, const pond_value *value, const pond_value *cached,
                      int64_t *version, pond_error **err) {
    place p;
    int64_t sum = 0;
    int rc = go_to(&p, j, key, err);
    if (rc != POND_OK) return rc;
    *version = 0;
    b->epoch = p.s->in_force ? p.s->epoch : 0;
    b->verdict = !has_numbers(p.s) ? MP_STALE_FENCE
                 : b->member       ? judge_increment(&p.row, p.s, cached)
                                   : judge(b, &p.row, cached);
    if (b->verdict == MP_VERDICT_OK && !p.row.place && p.s->waiting >= b->most) b->verdict = MP_FULL;
    if (b->verdict == MP_VERDICT_OK && b->member) {
        bool too_many = false;
        if (p.row.first) rc = sum_of(&p, b, &sum, err);
        if (p.row.first && rc == POND_OK) rc = is_too_many(&p, sum, &too_many, err);
        sum += b->by; /* both are below 2^53 */
        if (too_many || sum > MP_INCREMENT_MOST || sum < -MP_INCREMENT_MOST) b->verdict = MP_CHANGED;
    }
    if (rc != POND_OK || b->verdict != MP_VERDICT_OK) return rc;
    bool is_new = !p.row.place;
    int64_t number = next_version(p.s);
    rc = b->member ? add(&p, b, sum, number, err) : put(&p, value, number, err);
    if (rc != POND_OK) return rc;
    size_t len = 0;
    if (value) pond_value_data(value, &len);
    grows(j, len);
    p.s->waiting += is_new;
    p.s->sums |= b->member != NULL;
    *version = number;
    return POND_OK;
}

/* ---- what waits of a key ---- */

static int read_record(place *p, mp_waiting *out, pond_error **err) {
    sqlite3_stmt *statement;
    bool row;
    int rc =
        mp_jask(p->j, &statement, err, "SELECT state, codec, value FROM waiting WHERE place = ?1", "i", p->row.place);
    if (rc != POND_OK) return rc;
    rc = mp_jstep(p->j, statement, &row, err);
    if (rc == POND_OK && row) {
        out->value = mp_jvalue(statement, 0, p->row.version, &out->damaged);
        if (!out->value && !out->damaged) rc = mp_jno_memory(err);
    }
    mp_sqlite_done(statement);
    return rc;
}

static int look_up(place *p, mp_waiting *out, pond_error **err) {
    *out = (mp_waiting){.version = p->row.version, .sums = p->row.first != 0};
    if (p->row.state < 0) return POND_OK;
    out->old_fence = p->row.old_fence;
    return read_record(p, out, err);
}

int mp_journal_find(mp_journal *j, const mp_key *key, mp_waiting *out, pond_error **err) {
    place p;
    int rc = go_to(&p, j, key, err);
    *out = (mp_waiting){0};
    return rc == POND_OK && p.row.place ? look_up(&p, out, err) : rc;
}

/* ---- increments ---- */

/* Nothing, where the record is still the one that was taken and no increments wait. */
static int sums_of(mp_journal *j, mp_jshard *s, const mp_behind_entry *e, mp_sums *out, pond_error **err) {
    place p = {.j = j, .s = s, .key = e->key, .len = e->key_len};
    mp_waiting w;
    int rc = mp_jrow_find(j, s, p.key, p.len, &p.row, err);
    *out = (mp_sums){0};
    if (rc != POND_OK || (!p.row.first && p.row.version == e->version)) return rc;
    rc = look_up(&p, &w, err);
    out->value = w.value;
    out->version = p.row.version;
    out->old_fence = w.old_fence;
    out->damaged = w.damaged;
    out->first = p.row.first;
    out->newest = p.row.newest;
    out->damaged |= p.row.first < 0 || p.row.newest < p.row.first;
    sqlite3_stmt *statement;
    if (rc != POND_OK || !p.row.first) return rc;
    rc = mp_jask(j, &statement, err, "SELECT member, by FROM sums WHERE shard = ?1 AND key = ?2", "ib", s->id,
                 (const void *)p.key, p.len);
    return rc == POND_OK ? mp_jsums_read(j, statement, out, err) : rc;
}

int mp_journal_sums(mp_journal *j, const mp_key *key, mp_behind *b, pond_error **err) {
    mp_jshard *s;
    int rc = mp_jshard_of(j, key, &s, err);
    if (rc != POND_OK) return rc;
    b->sums = calloc(b->count + 1, sizeof *b->sums);
    if (!b->sums) return mp_jno_memory(err);
    for (size_t i = 0; i < b->count && rc == POND_OK; i++) rc = sums_of(j, s, &b->entries[i], &b->sums[i], err);
    if (rc == POND_OK) return rc;
    for (size_t i = 0; i < b->count; i++) mp_sums_clear(&b->sums[i]);
    free(b->sums);
    b->sums = NULL;
    return rc;
}

/* What was read goes; what came since stays. */
static int subtract(place *p, const mp_sums *read, bool rest, pond_error **err) {
    mp_journal *j = p->j;
    int rc = POND_OK;
    if (!rest) return mp_jdrop_sums(j, p->s, p->key, p->len, err);
    for (size_t i = 0; i < read->n && rc == POND_OK; i++) {
        const mp_sum *sum = &read->sum[i];
        rc = mp_jrun(j, err, "UPDATE sums SET by = by - ?4 WHERE shard = ?1 AND key = ?2 AND member = ?3", "ibbi",
                     p->s->id, (const void *)p->key, p->len, (const void *)sum->member, sum->len, sum->by);
        if (rc == POND_OK)
            rc = mp_jrun(j, err, "DELETE FROM sums WHERE shard = ?1 AND key = ?2 AND member = ?3 AND by = 0", "ibb",
                         p->s->id, (const void *)p->key, p->len, (const void *)sum->member, sum->len);
    }
    return rc;
}

/* Without what they were to be added to. */
static int drop(place *p, const mp_sums *read, bool rest, pond_error **err) {
    int rc = subtract(p, read, rest, err);
    if (rc != POND_OK) return rc;
    if (rest) return marks(p, p->row.newest, p->row.newest, err);
    return p->row.state < 0 ? mp_jdrop_row(p->j, &p->row, err) : marks(p, 0, 0, err);
}

/* `version`: that of the newest increment in it, where there is a rest, whose own are greater. */
static int replace(place *p, const mp_sums *read, bool rest, const pond_value *value, int64_t version,
                   pond_error **err) {
    int rc = subtract(p, read, rest, err);
    if (rc == POND_OK) rc = mp_jrecord(p->j, p->s, &p->row, p->key, p->len, version, p->j->fence, value, err);
    return rc == POND_OK ? marks(p, rest ? p->row.newest : 0, rest ? p->row.newest : 0, err) : rc;
}

int mp_journal_fold(mp_journal *j, const mp_key *key, mp_behind *b, const uint8_t *fence, const pond_value *value,
                    int64_t *version, bool *last, pond_error **err) {
    place p;
    int rc = go_to(&p, j, key, err);
    if (rc != POND_OK) return rc;
    *version = 0;
    bool stale = memcmp(fence, j->fence, MP_JOURNAL_FENCE) != 0 || !has_numbers(p.s);
    b->verdict = stale ? MP_STALE_FENCE : !p.row.first || p.row.first != b->sums->first ? MP_CHANGED : MP_VERDICT_OK;
    b->epoch = p.s->in_force ? p.s->epoch : 0;
    if (b->verdict != MP_VERDICT_OK) return POND_OK;
    bool rest = p.row.newest != b->sums->newest, goes = !value && !rest && p.row.state < 0;
    int64_t number = !value ? 0 : rest ? b->sums->newest : next_version(p.s);
    rc = mp_jbegin(j, err);
    if (rc != POND_OK) return rc;
    rc = value ? replace(&p, b->sums, rest, value, number, err) : drop(&p, b->sums, rest, err);
    rc = mp_jend(j, rc, err);
    if (rc != POND_OK) return rc;
    grows(j, 0);
    p.s->waiting -= goes;
    *version = number;
    *last = !rest;
    return POND_OK;
}
