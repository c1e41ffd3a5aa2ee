/* Write-behind's side of a store: the cases that hold on every one. Included behind the store's own header, which has create, put, get and ok. */
#ifndef BEHIND_CASES_H
#define BEHIND_CASES_H

#include <pthread.h>

#include "store/behind.h"

#define EPOCH(epoch, n) (((int64_t)(epoch) << 40) | (n))

static const uint8_t anna[16] = "anna, a worker.", bert[16] = "bert, a worker.";
static const char *const shards[] = {"s/films/s0", "s/films/s1", "s/films/s2"};

/* A document as a get gives it: "id" first. */
static pond_value *document(const char *id, const char *members) {
    char text[400];
    snprintf(text, sizeof text, *members ? "{\"id\":\"%s\",%s}" : "{\"id\":\"%s\"%s}", id, members);
    return mp_value_new(POND_VALUE, POND_EJSON, text, strlen(text));
}

static mp_flush flush_of(const uint8_t *owner, mp_flush_row *rows, size_t n) {
    return (mp_flush){.collection = "films", .owner = owner, .shards = shards, .nshards = 2, .rows = rows, .n = n};
}

/* One document; members NULL: its deletion. */
static mp_flushed flushed_as(mp_store *s, const uint8_t *owner, const char *id, int64_t version, const char *members,
                             bool verify, bool *stale) {
    pond_value *value = members ? document(id, members) : mp_value_absent();
    mp_flush_row row = {.id = id, .id_len = strlen(id), .version = version, .value = value, .verify = verify};
    mp_flush f = flush_of(owner, &row, 1);
    pond_error *err = NULL;
    mp_flushed how = s->vt->behind_flush(s, &f, &err);
    if (how == MP_FLUSH_FAILED) fail_msg("%s", err ? pond_error_message(err) : "failed without a word");
    pond_error_free(err);
    pond_value_free(value);
    if (stale) *stale = row.stale;
    return how;
}

static void flushes(mp_store *s, const uint8_t *owner, const char *id, int64_t version, const char *members) {
    assert_int_equal(flushed_as(s, owner, id, version, members, false, NULL), MP_FLUSHED);
}

static void owns(mp_store *s, const uint8_t *owner) { ok(s->vt->behind_own(s, owner, shards, 3, e)); }

static mp_store *prepared_store(void **state) {
    mp_store *s = ((fixture *)*state)->store;
    create(s, "films");
    ok(s->vt->behind_prepare(s, "films", e));
    ok(s->vt->behind_prepare(s, "films", e));
    return s;
}

/* What there is, with its version. text NULL: nothing. */
static void has(mp_store *s, const char *id, const char *text, int64_t version) {
    pond_value *value = NULL;
    int64_t found = -1;
    ok(s->vt->behind_get(s, "films", id, strlen(id), &value, &found, e));
    if (text) assert_string_equal(pond_value_data(value, NULL), text);
    else assert_int_equal(pond_value_state(value), POND_ABSENT);
    assert_int_equal(found, version);
    pond_value_free(value);
}

/* ---- */

static void a_document_keeps_its_version(void **state) {
    mp_store *s = prepared_store(state);
    owns(s, anna);
    flushes(s, anna, "1", EPOCH(1, 1), "\"a\":1");
    has(s, "1", "{\"id\":\"1\",\"a\":1}", EPOCH(1, 1));
    flushes(s, anna, "1", EPOCH(1, 5), "\"b\":{\"c.d\":[2,\"$x\"]},\"e\":null,\"\":{\"$f\":1}");
    has(s, "1", "{\"id\":\"1\",\"b\":{\"c.d\":[2,\"$x\"]},\"e\":null,\"\":{\"$f\":1}}", EPOCH(1, 5));
    put(s, "films", "2", "{\"a\":1}");
    has(s, "2", "{\"id\":\"2\",\"a\":1}", 0);
    flushes(s, anna, "2", EPOCH(1, 6), "");
    has(s, "2", "{\"id\":\"2\"}", EPOCH(1, 6));
    has(s, "3", NULL, 0);
}

static void nothing_goes_back(void **state) {
    mp_store *s = prepared_store(state);
    owns(s, anna);
    flushes(s, anna, "1", EPOCH(1, 5), "\"a\":5");
    flushes(s, anna, "1", EPOCH(1, 4), "\"a\":4");
    has(s, "1", "{\"id\":\"1\",\"a\":5}", EPOCH(1, 5));
    flushes(s, anna, "1", EPOCH(1, 5), "\"a\":5"); /* once more */
    has(s, "1", "{\"id\":\"1\",\"a\":5}", EPOCH(1, 5));
    flushes(s, anna, "1", EPOCH(1, 3), NULL);
    has(s, "1", "{\"id\":\"1\",\"a\":5}", EPOCH(1, 5));
    flushes(s, anna, "1", EPOCH(2, 1), "\"a\":6");
    has(s, "1", "{\"id\":\"1\",\"a\":6}", EPOCH(2, 1));
}

static void what_was_deleted_stays_so(void **state) {
    mp_store *s = prepared_store(state);
    bool stale = false;
    owns(s, anna);
    flushes(s, anna, "1", EPOCH(1, 5), "\"a\":5");
    flushes(s, anna, "1", EPOCH(1, 7), NULL);
    has(s, "1", NULL, EPOCH(1, 7));
    flushes(s, anna, "1", EPOCH(1, 7), NULL);
    assert_int_equal(flushed_as(s, anna, "1", EPOCH(1, 6), "\"a\":6", true, &stale),
                     MP_FLUSHED); /* out of an old Redis */
    assert_true(stale);
    has(s, "1", NULL, EPOCH(1, 7));
    flushes(s, anna, "1", EPOCH(2, 1), "\"a\":8");
    has(s, "1", "{\"id\":\"1\",\"a\":8}", EPOCH(2, 1));
    assert_int_equal(flushed_as(s, anna, "2", EPOCH(1, 9), "\"a\":9", true, &stale), MP_FLUSHED); /* never deleted */
    assert_false(stale);
    has(s, "2", "{\"id\":\"2\",\"a\":9}", EPOCH(1, 9));
    flushes(s, anna, "3", EPOCH(2, 2), NULL); /* of one that there never was */
    has(s, "3", NULL, EPOCH(2, 2));
}

static void only_the_owner_writes(void **state) {
    mp_store *s = prepared_store(state);
    assert_int_equal(flushed_as(s, anna, "1", EPOCH(1, 1), "\"a\":1", false, NULL),
                     MP_FLUSH_LOST); /* nobody owns them */
    owns(s, anna);
    flushes(s, anna, "1", EPOCH(1, 5), "\"a\":5");
    ok(s->vt->behind_own(s, bert, shards + 1, 1, e)); /* one of the two */
    assert_int_equal(flushed_as(s, anna, "1", EPOCH(1, 6), "\"a\":6", false, NULL), MP_FLUSH_LOST);
    has(s, "1", "{\"id\":\"1\",\"a\":5}", EPOCH(1, 5));
    owns(s, bert);
    flushes(s, bert, "1", EPOCH(1, 7), NULL);
    assert_int_equal(flushed_as(s, anna, "1", EPOCH(1, 6), "\"a\":6", false, NULL), MP_FLUSH_LOST);
    has(s, "1", NULL, EPOCH(1, 7));
    owns(s, anna);
    flushes(s, anna, "1", EPOCH(1, 8), "\"a\":8");
}

static void a_poison_is_named(void **state) {
    mp_store *s = prepared_store(state);
    owns(s, anna);
    enum { N = 20, BAD = 13 };
    mp_flush_row rows[N];
    char ids[N][8];
    for (int i = 0; i < N; i++) {
        snprintf(ids[i], sizeof ids[i], "%d", i);
        rows[i] = (mp_flush_row){.id = ids[i], .id_len = strlen(ids[i]), .version = EPOCH(1, i + 1)};
        rows[i].value = i == BAD ? mp_value_new(POND_VALUE, POND_EJSON, "[1]", 3) : document(ids[i], "\"a\":1");
    }
    mp_flush f = flush_of(anna, rows, N);
    pond_error *err = NULL;
    assert_int_equal(s->vt->behind_flush(s, &f, &err), MP_FLUSH_POISON);
    assert_int_equal(f.poison, BAD);
    assert_non_null(err);
    pond_error_free(err);
    has(s, "0", NULL, 0); /* nothing was written */
    pond_value *bad = (pond_value *)rows[BAD].value;
    rows[BAD].value = mp_value_absent();
    assert_int_equal(s->vt->behind_flush(s, &f, NULL), MP_FLUSHED);
    has(s, "0", "{\"id\":\"0\",\"a\":1}", EPOCH(1, 1));
    has(s, "19", "{\"id\":\"19\",\"a\":1}", EPOCH(1, 20));
    has(s, "13", NULL, EPOCH(1, 14));
    pond_value_free(bad);
    for (int i = 0; i < N; i++) pond_value_free((pond_value *)rows[i].value);
}

/* ---- epochs ---- */

typedef struct taker {
    pthread_t thread;
    mp_store *store;
    int64_t epochs[25];
} taker;

static void *take_epochs(void *arg) {
    taker *t = arg;
    for (int i = 0; i < 25; i++)
        if (t->store->vt->behind_epoch(t->store, "s/films", &t->epochs[i], NULL) != POND_OK) t->epochs[i] = -1;
    return NULL;
}

static void no_epoch_is_given_twice(void **state) {
    mp_store *s = prepared_store(state);
    taker t[4];
    bool seen[101] = {false};
    int64_t other = 0;
    for (int i = 0; i < 4; i++) {
        t[i].store = s;
        assert_int_equal(pthread_create(&t[i].thread, NULL, take_epochs, &t[i]), 0);
    }
    for (int i = 0; i < 4; i++) pthread_join(t[i].thread, NULL);
    for (int i = 0; i < 100; i++) {
        int64_t epoch = t[i / 25].epochs[i % 25];
        assert_in_range(epoch, 1, 100);
        assert_false(seen[epoch]);
        seen[epoch] = true;
    }
    ok(s->vt->behind_epoch(s, "other/films", &other, e));
    assert_int_equal(other, 1);
}

/* ---- updates of what a cache has ---- */

static void an_update_of_what_is_given(void **state) {
    mp_store *s = prepared_store(state);
    put(s, "films", "1", "{\"a\":1}");
    pond_value *base = document("1", "\"a\":2,\"b\":{\"c\":3,\"d\":4}");
    mp_change change = {.kind = MP_CHANGE_UPDATE,
                        .collection = "films",
                        .id = "1",
                        .id_len = 1,
                        .text = "{\"a\":null,\"b\":{\"c\":5},\"e\":6}",
                        .len = 30,
                        .based = true,
                        .base = base};
    change.len = strlen(change.text);
    ok(s->vt->ready(s, &change, e));
    assert_string_equal(pond_value_data(change.document, NULL), "{\"id\":\"1\",\"b\":{\"c\":5,\"d\":4},\"e\":6}");
    s->vt->discard(s, &change);
    change.base = mp_value_absent();
    ok(s->vt->ready(s, &change, e));
    assert_null(change.document);
    s->vt->discard(s, &change);
    pond_value_free(base);
}

#define BEHIND_CASES(with)                                                                                             \
    with(a_document_keeps_its_version), with(nothing_goes_back), with(what_was_deleted_stays_so),                      \
        with(only_the_owner_writes), with(a_poison_is_named), with(no_epoch_is_given_twice),                           \
        with(an_update_of_what_is_given)

#endif
