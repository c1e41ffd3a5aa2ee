/* Stories of the journal's operations, each told in an empty journal: what there is before, and the operation. Whatever fails must not have happened, and
 * what comes of it when it is repeated is what would have come of it at once. */
#ifndef JOURNAL_STORIES_H
#define JOURNAL_STORIES_H

#include <stdarg.h>

#include "journal_side.h"

enum { TEXT = 4096 };

static side us;
static act now_on;         /* the operation that is tried */
static act held;           /* what the operation is about: entries that were taken, or letters */
static mp_sums *held_sums; /* or sums that were read */
static uint8_t held_fence[MP_FENCE_LEN];
static sqlite3 *file;
static pond_value *content;

/* ---- what there is, as a stranger reads it ---- */

static void rows_of(char out[TEXT], const char *sql) {
    sqlite3_stmt *statement = NULL;
    size_t len = strlen(out);
    if (sqlite3_prepare_v2(file, sql, -1, &statement, NULL) != SQLITE_OK) fail_msg("%s", sqlite3_errmsg(file));
    while (sqlite3_step(statement) == SQLITE_ROW)
        len += (size_t)snprintf(out + len, TEXT - len, "%s\n", (const char *)sqlite3_column_text(statement, 0));
    assert_true(len < TEXT);
    sqlite3_finalize(statement);
}

static void whole_file(char out[TEXT]) {
    out[0] = 0;
    rows_of(out, "SELECT printf('w %d %s %d %d %d %s %s', place, CAST(key AS TEXT), version, first, newest, state, "
                 "CAST(value AS TEXT)) FROM waiting ORDER BY place");
    rows_of(out, "SELECT printf('s %s %s %d', CAST(key AS TEXT), CAST(member AS TEXT), by) FROM sums ORDER BY 1");
    rows_of(out, "SELECT printf('d %d %d %s %d %d %d %s %s', ms, n, CAST(key AS TEXT), version, first, newest, state, "
                 "CAST(value AS TEXT)) FROM dead ORDER BY ms, n");
    rows_of(out, "SELECT printf('t %d %d %s %d', ms, n, CAST(member AS TEXT), by) FROM dead_sums ORDER BY 1");
}

/* The same without the numbers that are others each time. */
static void what_it_comes_to(char out[TEXT]) {
    out[0] = 0;
    rows_of(out,
            "SELECT printf('w %s %d %d %d %s %s', CAST(key AS TEXT), version > 0, first > 0, newest > first, state, "
            "CAST(value AS TEXT)) FROM waiting ORDER BY place");
    rows_of(out, "SELECT printf('s %s %s %d', CAST(key AS TEXT), CAST(member AS TEXT), by) FROM sums ORDER BY 1");
    rows_of(out, "SELECT printf('d %s %d %d %s %s', CAST(key AS TEXT), version > 0, first > 0, state, CAST(value AS "
                 "TEXT)) FROM dead ORDER BY ms, n");
    rows_of(out, "SELECT printf('t %s %d', CAST(member AS TEXT), by) FROM dead_sums ORDER BY 1");
}

/* ---- what was answered ---- */

static void add(char out[TEXT], const char *format, ...) {
    va_list args;
    size_t len = strlen(out);
    va_start(args, format);
    vsnprintf(out + len, TEXT - len, format, args);
    va_end(args);
}

static const char *text_of(const pond_value *value) {
    return !value ? "none" : value->state == POND_ABSENT ? "absent" : value->data;
}

static void add_sums(char out[TEXT], const mp_sums *s) {
    for (size_t i = 0; i < s->n; i++) add(out, " %s%+lld", s->sum[i].member, (long long)s->sum[i].by);
    add(out, " of %s%s;", text_of(s->value), s->damaged ? " damaged" : "");
}

static void add_answer(char out[TEXT], const act *a) {
    add(out, "reply %d verdict %d", a->op.reply, a->behind.verdict);
    if (a->op.kind == MP_LEASE || a->op.kind == MP_GET) add(out, " %s", text_of(a->op.value));
    for (size_t i = 0; a->op.kind != MP_SUMS && i < a->behind.count && a->behind.entries; i++) {
        const mp_behind_entry *e = &a->behind.entries[i];
        add(out, " [%s %s %s%s%s %d]", e->key, text_of(e->value), e->why ? e->why : "", e->damaged ? " damaged" : "",
            e->large ? " large" : "", e->acked);
        if (e->increments) add_sums(out, e->increments);
    }
    for (size_t i = 0; a->op.kind == MP_SUMS && i < a->behind.count && a->behind.sums; i++)
        add_sums(out, &a->behind.sums[i]);
}

static void drop_answer(act *a) {
    if (a->op.kind == MP_TAKE || a->op.kind == MP_DEAD_LIST) mp_behind_clear(&a->behind);
    for (size_t i = 0; a->op.kind == MP_SUMS && a->behind.sums && i < a->behind.count; i++)
        mp_sums_clear(&a->behind.sums[i]);
    if (a->op.kind == MP_SUMS) free(a->behind.sums);
    if (a->op.kind == MP_LEASE || a->op.kind == MP_GET) pond_value_free(a->op.value);
}

/* ---- the operations ---- */

static void nothing_before(void) {}
static void a_record(void) { put(&us, "sa", "{\"n\":1}", NULL); }
static void a_sum(void) { increment(&us, "sa", "n", 3); }
static void another_sum(void) { increment(&us, "sa", "m", 3); }
static void a_record_and_sums(void) {
    a_record();
    a_sum();
    increment(&us, "sa", "m", -2);
}
static void three_records(void) {
    a_record();
    put(&us, "sb", "{\"n\":2}", NULL);
    put(&us, "sc", NULL, NULL);
}
static void take_them(void) { take(&us, &held); }
static void three_taken(void) {
    three_records();
    take_them();
}
static void one_is_newer(void) {
    three_taken();
    put(&us, "sb", "{\"n\":9}", NULL);
}
static void sums_taken(void) {
    a_record_and_sums();
    take_them();
}

static void read_sums(void) {
    act a;
    sums_taken();
    act_make(&a, MP_SUMS, NULL, 0);
    a.behind.entries = held.behind.entries;
    a.behind.count = held.behind.count;
    assert_int_equal(act_run(&us, &a), MP_DONE);
    held_sums = a.behind.sums;
    memcpy(held_fence, a.op.fence, sizeof held_fence);
}
static void more_since(void) {
    read_sums();
    increment(&us, "sa", "n", 5);
}
static void bury(size_t i) {
    act a;
    act_make(&a, MP_DEAD, NULL, 0);
    a.behind.entries = &held.behind.entries[i];
    a.behind.count = 1;
    a.behind.error = "why";
    a.behind.error_len = 3;
    assert_int_equal(act_run(&us, &a), MP_STORED);
}
static void list_letters(void) {
    mp_behind_clear(&held.behind);
    act_make(&held, MP_DEAD_LIST, NULL, 0);
    held.behind.most = 10;
    assert_int_equal(act_run(&us, &held), MP_DONE);
}
static void letters(void) {
    sums_taken();
    bury(0);
    list_letters();
}
static void letters_and_a_record(void) {
    letters();
    put(&us, "sb", "{}", NULL);
}
static void a_letter_of_sums(void) {
    a_sum();
    take_them();
    bury(0);
    list_letters();
}
static void evicted(void) {
    act a;
    a_record();
    act_make(&a, MP_END, "sa", 7);
    act_run(&us, &a);
}

static void make_put(act *a) {
    act_make(a, MP_ACCEPT, "sa", 0);
    a->op.value = content;
    a->behind.most = 1000;
}
static void make_delete(act *a) {
    make_put(a);
    a->op.value = mp_value_absent();
}
static void make_update(act *a) {
    const char *text;
    make_put(a);
    a->behind.expect = MP_EXPECT_VERSION;
    get(&us, "sa", &text, &a->behind.expect_version);
}
static void make_create(act *a) {
    make_put(a);
    a->behind.expect = MP_EXPECT_ABSENT;
}
static void make_increment(act *a) {
    act_make(a, MP_ACCEPT, "sa", 0);
    a->behind.member = "n";
    a->behind.member_len = 1;
    a->behind.by = 4;
    a->behind.most = 1000;
}
static void make_take(act *a) {
    act_make(a, MP_TAKE, NULL, 0);
    a->behind.most = 10;
}
static void make_of_held(act *a, mp_op_kind kind, size_t count) {
    act_make(a, kind, NULL, 0);
    a->behind.entries = held.behind.entries;
    a->behind.count = count;
}
static void make_ack(act *a) { make_of_held(a, MP_ACK, held.behind.count); }
static void make_sums(act *a) { make_of_held(a, MP_SUMS, held.behind.count); }
static void make_dead(act *a) {
    make_of_held(a, MP_DEAD, 1);
    a->behind.error = "why not";
    a->behind.error_len = 7;
}
static void make_fold(act *a) {
    act_make(a, MP_FOLD, "sa", 0);
    a->behind.sums = held_sums;
    a->op.value = content;
    memcpy(a->op.fence, held_fence, sizeof held_fence);
}
static void make_fold_to_nothing(act *a) {
    make_fold(a);
    a->op.value = NULL;
}
static void make_list(act *a) {
    act_make(a, MP_DEAD_LIST, NULL, 0);
    a->behind.most = 10;
}
static void make_retry(act *a) {
    make_of_held(a, MP_DEAD_RETRY, 1);
    a->behind.most = 10;
}
static void make_drop(act *a) { make_of_held(a, MP_DEAD_DROP, 1); }
static void make_lease(act *a) { act_make(a, MP_LEASE, "sa", 1); }
static void make_own(act *a) { act_make(a, MP_OWN, NULL, 1); }
static void make_epoch(act *a) { act_make(a, MP_EPOCH, NULL, 0); }
static void make_open(act *a) { act_make(a, MP_BEHIND_OPEN, NULL, 0); }

typedef struct story {
    const char *name;
    void (*before)(void);
    void (*make)(act *a);
} story;

static const story stories[] = {
    {"put", nothing_before, make_put},
    {"put again", a_record, make_put},
    {"put over sums", a_record_and_sums, make_put},
    {"delete", a_record, make_delete},
    {"update", a_record, make_update},
    {"create what is there", a_record, make_create},
    {"increment", nothing_before, make_increment},
    {"increment a record", a_record, make_increment},
    {"increment again", a_record_and_sums, make_increment},
    {"increment another member", another_sum, make_increment},
    {"take", three_records, make_take},
    {"take sums", a_record_and_sums, make_take},
    {"ack", three_taken, make_ack},
    {"ack what is newer", one_is_newer, make_ack},
    {"ack what has sums", sums_taken, make_ack},
    {"sums", sums_taken, make_sums},
    {"fold", read_sums, make_fold},
    {"fold a part", more_since, make_fold},
    {"drop sums", read_sums, make_fold_to_nothing},
    {"drop a part", more_since, make_fold_to_nothing},
    {"dead", sums_taken, make_dead},
    {"dead list", letters, make_list},
    {"retry", letters, make_retry},
    {"retry beside another", letters_and_a_record, make_retry},
    {"retry sums", a_letter_of_sums, make_retry},
    {"drop a letter", letters, make_drop},
    {"lease what waits", evicted, make_lease},
    {"lease what has sums", a_sum, make_lease},
    {"lease", nothing_before, make_lease},
    {"own", nothing_before, make_own},
    {"epoch", nothing_before, make_epoch},
    {"open", nothing_before, make_open},
};

/* ---- each in its turn ---- */

static void empty(void) {
    act a;
    mp_behind_clear(&held.behind);
    if (held_sums) mp_sums_clear(held_sums);
    free(held_sums);
    held_sums = NULL;
    for (; take(&us, &a) > 0; mp_behind_clear(&a.behind))
        for (size_t i = 0; i < a.behind.count; i++) { /* what has sums is acked by nobody */
            act b;
            act_make(&b, MP_DEAD, NULL, 0);
            b.behind.entries = &a.behind.entries[i];
            b.behind.count = 1;
            b.behind.error = "";
            assert_int_equal(act_run(&us, &b), MP_STORED);
        }
    mp_behind_clear(&a.behind);
    list_letters();
    for (size_t i = 0; i < held.behind.count; i++) {
        act_make(&a, MP_DEAD_DROP, NULL, 0);
        a.behind.entries = &held.behind.entries[i];
        a.behind.count = 1;
        assert_int_equal(act_run(&us, &a), MP_DONE);
    }
    mp_behind_clear(&held.behind);
    static const char *const keys[] = {"sa", "sb", "sc"};
    for (size_t i = 0; i < 3; i++) {
        act_make(&a, MP_END, keys[i], 7);
        act_run(&us, &a);
    }
    char rest[TEXT];
    whole_file(rest);
    assert_string_equal(rest, "");
}

/* What is counted beside the file is what stands there, and a hit is what waits. */
static void nothing_drifts(const story *s, long n) {
    act a;
    take(&us, &a);
    int64_t rows = journal_number("SELECT count(*) FROM waiting", NULL);
    if (a.behind.backlog != rows || (int64_t)a.behind.count != rows)
        fail_msg("%s, %ld: %lld rows wait, %lld are counted, %zu are taken", s->name, n, (long long)rows,
                 (long long)a.behind.backlog, a.behind.count);
    for (size_t i = 0; i < a.behind.count; i++) {
        const mp_behind_entry *e = &a.behind.entries[i];
        act hit;
        act_make(&hit, MP_GET, e->key, 0);
        if (act_run(&us, &hit) == MP_HIT) {
            bool sums = journal_number("SELECT count(*) FROM waiting WHERE key = ?1 AND first <> 0", e->key);
            if (sums || strcmp(text_of(hit.op.value), text_of(e->value)) != 0)
                fail_msg("%s, %ld: %s is read, and %s waits%s", s->name, n, text_of(hit.op.value), text_of(e->value),
                         sums ? ", with increments" : "");
        }
        pond_value_free(hit.op.value);
    }
    mp_behind_clear(&a.behind);
}

static mp_reply tried(const story *s, char answer[TEXT]) {
    s->make(&now_on);
    mp_reply reply = act_run(&us, &now_on);
    answer[0] = 0;
    add_answer(answer, &now_on);
    return reply;
}

/* What is to happen to an operation while it runs; `n` says how. */
typedef struct trouble {
    void (*begin)(long n);
    void (*end)(void);
    bool (*is_meant)(const pond_error *why); /* NULL: memory was short for an error, too */
} trouble;

/* One time. True: it has failed. */
static bool told(const story *s, const trouble *t, long n, const char *want, const char *want_answer) {
    char before[TEXT], after[TEXT], is[TEXT], answer[TEXT] = "";
    s->before();
    whole_file(before);
    s->make(&now_on);
    mp_loop_turn(us.loop, 0);
    t->begin(n);
    us.link->vt->submit(us.link, &now_on.op);
    t->end();
    assert_true(now_on.ended);
    bool failed = now_on.op.reply == MP_FAILED;
    if (failed) {
        pond_error *why = now_on.op.error;
        if (!t->is_meant(why)) fail_msg("%s, %ld: %s", s->name, n, why ? pond_error_message(why) : "no error");
        pond_error_free(why);
        whole_file(after);
        if (strcmp(before, after) != 0) fail_msg("%s, %ld: failed, but\n%s\nis\n%s", s->name, n, before, after);
        nothing_drifts(s, n);
        drop_answer(&now_on);
        if (tried(s, answer) == MP_FAILED)
            fail_msg("%s, %ld: again: %s", s->name, n, pond_error_message(now_on.op.error));
    } else {
        add_answer(answer, &now_on);
    }
    drop_answer(&now_on);
    what_it_comes_to(is);
    if (strcmp(is, want) != 0) fail_msg("%s, %ld:\n%s\ninstead of\n%s", s->name, n, is, want);
    if (strcmp(answer, want_answer) != 0) fail_msg("%s, %ld: %s instead of %s", s->name, n, answer, want_answer);
    nothing_drifts(s, n);
    empty();
    return failed;
}

/* Each story until `next` has no trouble more for it. How often one failed. */
static long tell_all(const trouble *t, bool (*next)(long *n)) {
    char want[TEXT], want_answer[TEXT];
    long failures = 0;
    for (size_t i = 0; i < sizeof stories / sizeof stories[0]; i++) {
        const story *s = &stories[i];
        s->before();
        if (tried(s, want_answer) == MP_FAILED) fail_msg("%s: %s", s->name, pond_error_message(now_on.op.error));
        drop_answer(&now_on);
        what_it_comes_to(want);
        empty();
        for (long n = -1; next(&n);) failures += told(s, t, n, want, want_answer);
    }
    return failures;
}

/* In an epoch of its own. */
static void stories_begin(int64_t number) {
    char path[SHOP_FOLDER + 32];
    journal_open(&us);
    assert_true(epoch(&us, number) > 0);
    snprintf(path, sizeof path, "%s/shop.db.behind", folder);
    assert_int_equal(sqlite3_open(path, &file), SQLITE_OK);
    content = document("{\"n\":7}");
}

static void stories_end(void) {
    pond_value_free(content);
    sqlite3_close(file);
    journal_close(&us);
}

#endif
