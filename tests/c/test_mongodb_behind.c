/* Write-behind's side of the MongoDB store. */
#include "mongodb_store.h"

#include "behind_cases.h"

/* ---- a worker that sleeps, or dies, in the midst of a batch ---- */

/* A transaction as a flush has it, in another client, with the session that the fence names: as far as the document, or to its end. */
typedef struct sleeper {
    mongoc_client_session_t *session;
    mongoc_collection_t *films, *fences;
} sleeper;

static void update(mongoc_collection_t *of, const char *filter, const char *by, mongoc_client_session_t *session,
                   bool *well) {
    bson_t f, u, options = BSON_INITIALIZER;
    bson_error_t error = {0};
    assert_true(bson_init_from_json(&f, filter, -1, &error));
    assert_true(bson_init_from_json(&u, by, -1, &error));
    mongoc_client_session_append(session, &options, &error);
    *well = mongoc_collection_update_one(of, &f, &u, &options, NULL, &error);
    bson_destroy(&f);
    bson_destroy(&u);
    bson_destroy(&options);
}

static sleeper fall_asleep(fixture *f, mp_store *s, bool wrote) {
    sleeper z = {.session = mongoc_client_start_session(f->other, NULL, NULL)};
    bool well = true;
    assert_non_null(z.session);
    z.films = mongoc_client_get_collection(f->other, f->name, "films");
    z.fences = mongoc_client_get_collection(f->other, f->name, "millpond_fence");
    owns(s, anna);
    /* As if it had owned them with this session. */
    bson_t all = BSON_INITIALIZER, set = BSON_INITIALIZER, part;
    BSON_APPEND_DOCUMENT_BEGIN(&set, "$set", &part);
    BSON_APPEND_DOCUMENT(&part, "lsid", mongoc_client_session_get_lsid(z.session));
    bson_append_document_end(&set, &part);
    assert_true(mongoc_collection_update_many(z.fences, &all, &set, NULL, NULL, NULL));
    bson_destroy(&all);
    bson_destroy(&set);
    assert_true(mongoc_client_session_start_transaction(z.session, NULL, NULL));
    update(z.fences, "{\"_id\":\"s/films/s0\"}", "{\"$inc\":{\"n\":1}}", z.session, &well);
    assert_true(well);
    if (wrote) update(z.films, "{\"_id\":\"1\"}", "{\"$set\":{\"a\":\"late\"}}", z.session, &well);
    assert_true(well);
    return z;
}

static bool wakes_up(sleeper *z, bool wrote) {
    bool well = true;
    if (!wrote) update(z->films, "{\"_id\":\"1\"}", "{\"$set\":{\"a\":\"late\"}}", z->session, &well);
    well = well && mongoc_client_session_commit_transaction(z->session, NULL, NULL);
    mongoc_client_session_destroy(z->session);
    mongoc_collection_destroy(z->films);
    mongoc_collection_destroy(z->fences);
    return well;
}

static void a_sleeper_changes_nothing(void **state) {
    fixture *f = *state;
    mp_store *s = prepared_store(state);
    for (int wrote = 0; wrote < 2; wrote++) {
        owns(s, bert);
        flushes(s, bert, "1", EPOCH(wrote + 1, 1), "\"a\":1");
        sleeper z = fall_asleep(f, s, wrote);
        int64_t began = mp_clock_ms();
        owns(s, bert);
        assert_in_range(mp_clock_ms() - began, 0, 2000); /* not until the transaction's time is over */
        flushes(s, bert, "1", EPOCH(wrote + 1, 2), NULL);
        assert_false(wakes_up(&z, wrote));
        has(s, "1", NULL, EPOCH(wrote + 1, 2));
    }
}

/* ---- other writers ---- */

static void others_in_the_way(void **state) {
    fixture *f = *state;
    mp_store *s = prepared_store(state);
    bool well;
    owns(s, anna);
    flushes(s, anna, "1", EPOCH(1, 1), "\"a\":1");
    mongoc_client_session_t *session = mongoc_client_start_session(f->other, NULL, NULL);
    mongoc_collection_t *films = mongoc_client_get_collection(f->other, f->name, "films");
    assert_true(mongoc_client_session_start_transaction(session, NULL, NULL));
    update(films, "{\"_id\":\"1\"}", "{\"$set\":{\"b\":1}}", session, &well);
    assert_true(well);
    assert_int_equal(flushed_as(s, anna, "1", EPOCH(1, 2), "\"a\":2", false, NULL), MP_FLUSH_CONFLICT);
    assert_true(mongoc_client_session_abort_transaction(session, NULL));
    flushes(s, anna, "1", EPOCH(1, 2), "\"a\":2");
    mongoc_client_session_destroy(session);
    mongoc_collection_destroy(films);
    has(s, "1", "{\"id\":\"1\",\"a\":2}", EPOCH(1, 2));
}

static void keys_that_are_unique(void **state) {
    fixture *f = *state;
    mp_store *s = prepared_store(state);
    bson_t command;
    bson_error_t error;
    char text[200];
    snprintf(text, sizeof text,
             "{\"createIndexes\":\"films\",\"indexes\":[{\"key\":{\"mail\":1},\"name\":\"mail\",\"unique\":true,"
             "\"sparse\":true}]}");
    assert_true(bson_init_from_json(&command, text, -1, &error));
    assert_true(mongoc_client_command_simple(f->other, f->name, &command, NULL, NULL, &error));
    bson_destroy(&command);
    owns(s, anna);
    flushes(s, anna, "1", EPOCH(1, 1), "\"mail\":\"index: _id_ dup key: m\"");
    mp_flush_row rows[3];
    static const char *const ids[] = {"2", "3", "4"};
    for (int i = 0; i < 3; i++)
        rows[i] = (mp_flush_row){.id = ids[i],
                                 .id_len = 1,
                                 .version = EPOCH(1, 2 + i),
                                 .value = document(ids[i], i == 1 ? "\"mail\":\"index: _id_ dup key: m\"" : "\"a\":1")};
    mp_flush flush = flush_of(anna, rows, 3);
    pond_error *err = NULL;
    assert_int_equal(s->vt->behind_flush(s, &flush, &err), MP_FLUSH_POISON);
    assert_int_equal(flush.poison, 1);
    assert_non_null(strstr(pond_error_message(err), "mail"));
    pond_error_free(err);
    for (int i = 0; i < 3; i++) pond_value_free((pond_value *)rows[i].value);
}

/* ---- what stands there already ---- */

static void versions_that_are_none(void **state) {
    fixture *f = *state;
    mp_store *s = prepared_store(state);
    insert(f, "films", "{\"_id\":\"1\",\"_mpv\":\"abc\",\"a\":0}");
    insert(f, "films", "{\"_id\":\"2\",\"_mpv\":true}");
    owns(s, anna);
    has(s, "1", "{\"id\":\"1\",\"a\":0}", 0);
    flushes(s, anna, "1", EPOCH(1, 1), "\"a\":1");
    flushes(s, anna, "2", EPOCH(1, 2), NULL);
    has(s, "1", "{\"id\":\"1\",\"a\":1}", EPOCH(1, 1));
    has(s, "2", NULL, EPOCH(1, 2));
}

static void ids_as_they_are_spelled(void **state) {
    fixture *f = *state;
    mp_store *s = prepared_store(state);
    insert(f, "films", "{\"_id\":42,\"a\":0}");
    insert(f, "films", "{\"_id\":{\"$oid\":\"507f1f77bcf86cd799439011\"},\"a\":0}");
    owns(s, anna);
    flushes(s, anna, "42", EPOCH(1, 1), "\"a\":1");
    flushes(s, anna, "507f1f77bcf86cd799439011", EPOCH(1, 2), "\"a\":1");
    flushes(s, anna, "43", EPOCH(1, 3), "\"a\":1");
    assert_string_equal(get(s, "films", "42"), "{\"id\":42,\"a\":1}");
    assert_string_equal(get(s, "films", "507f1f77bcf86cd799439011"), "{\"id\":\"507f1f77bcf86cd799439011\",\"a\":1}");
    assert_string_equal(get(s, "films", "43"), "{\"id\":\"43\",\"a\":1}");
    flushes(s, anna, "42", EPOCH(1, 4), NULL);
    has(s, "42", NULL, EPOCH(1, 4));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BEHIND_CASES(in_a_database),           in_a_database(a_sleeper_changes_nothing),
        in_a_database(others_in_the_way),      in_a_database(keys_that_are_unique),
        in_a_database(versions_that_are_none), in_a_database(ids_as_they_are_spelled),
    };
    return cmocka_run_group_tests_name("mongodb_behind", tests, NULL, NULL);
}
