/* Dead letters of a collection in MongoDB, from end to end: what a unique index or a schema rule refuses, among 500 that are fine. */
#include "support/support.h"

#include "mongodb_store.h"

#include "support/server.h"

enum { BATCH = 500, BAD = 250 };

static fixture *f;
static server *redis;
static pond *off, *on;
static pond_collection *films, *worked;

static pond *made(const char *worker) {
    return pond_made(server_url(redis), "store", f->address, "namespace", "dead", "worker", worker, "command_timeout",
                     "5s", NULL);
}

static pond_collection *behind(pond *p) {
    static const char *const options[] = {"write", "behind"};
    pond_collection *c = NULL;
    ok(pond_collection_new(&c, p, "films", options, 1, e));
    ok(pond_collection_prepare(c, e));
    return c;
}

static void begin(void **state) {
    f = *state;
    redis = server_start(NULL);
    off = made("off");
    films = behind(off);
}

static void work(void) {
    on = made("on");
    worked = behind(on);
}

static void end(void) {
    pond_collection_free(worked);
    pond_free(on);
    pond_collection_free(films);
    pond_free(off);
    server_stop(redis);
}

static void replaces(const char *id, const char *doc) {
    ok(pond_collection_change(films, POND_REPLACE, id, strlen(id), doc, strlen(doc), NULL, NULL, NULL, e));
}

/* Stands until the next call. */
static const char *letters(void) {
    static char text[4096];
    pond_value *value = NULL;
    ok(pond_collection_dead_list(films, NULL, 0, 10, &value, e));
    snprintf(text, sizeof text, "%s", pond_value_data(value, NULL));
    pond_value_free(value);
    return text;
}

static void there_are_letters(int n) {
    char total[32];
    snprintf(total, sizeof total, "\"total\":%d,", n);
    for (int64_t until = mp_clock_after(30000); !strstr(letters(), total); usleep(20000))
        if (mp_clock_ms() > until) fail_msg("%s", letters());
}

static const char *first_letter(void) {
    static char id[48];
    assert_int_equal(sscanf(letters(), "{\"letters\":[{\"id\":\"%47[-0-9]", id), 1);
    return id;
}

static void retries(const char *letter) {
    ok(pond_collection_dead_act(films, POND_DEAD_RETRY, letter, strlen(letter), NULL, e));
}

static void stored(const char *id, const char *text) {
    pond_value *value = NULL;
    ok(pond_store_get(off, "films", id, strlen(id), &value, e));
    if (text) assert_string_equal(pond_value_data(value, NULL), text);
    else assert_int_equal(pond_value_state(value), POND_ABSENT);
    pond_value_free(value);
}

static int64_t documents(void) {
    mongoc_collection_t *of = mongoc_client_get_collection(f->other, f->name, "films");
    bson_t all = BSON_INITIALIZER;
    int64_t n = mongoc_collection_count_documents(of, &all, NULL, NULL, NULL, NULL);
    mongoc_collection_destroy(of);
    return n;
}

/* Of the server, which nobody else uses. */
static int64_t transactions(const char *which) {
    char path[64];
    bson_t command = BSON_INITIALIZER, reply;
    bson_iter_t iter, found;
    BSON_APPEND_INT32(&command, "serverStatus", 1);
    assert_true(mongoc_client_command_simple(f->other, "admin", &command, NULL, &reply, NULL));
    snprintf(path, sizeof path, "transactions.%s", which);
    assert_true(bson_iter_init(&iter, &reply) && bson_iter_find_descendant(&iter, path, &found));
    int64_t n = bson_iter_as_int64(&found);
    bson_destroy(&reply);
    bson_destroy(&command);
    return n;
}

static void one_of_500_stops_no_other(void **state) {
    char id[16], doc[64], letter[48];
    begin(state);
    command(f, "{\"createIndexes\":\"films\",\"indexes\":[{\"key\":{\"mail\":1},\"name\":\"mail\",\"unique\":true}]}");
    insert(f, "films", "{\"_id\":\"first\",\"mail\":\"a@b.c\"}");
    for (int i = 0; i < BATCH; i++) {
        snprintf(id, sizeof id, "%d", i);
        snprintf(doc, sizeof doc, "{\"mail\":\"%s\"}", i == BAD ? "a@b.c" : id);
        replaces(id, doc);
    }
    int64_t committed = transactions("totalCommitted"), aborted = transactions("totalAborted");
    work();
    for (int64_t until = mp_clock_after(30000); documents() < BATCH; usleep(5000)) assert_true(mp_clock_ms() < until);
    there_are_letters(1);
    assert_int_equal(documents(), BATCH); /* the 499, and the first */
    /* Three were aborted, one for each try of what is refused, of which the first is all that the others ever had to do with: so they
     * landed with three transactions at most. */
    assert_in_range(transactions("totalCommitted") - committed, 1, 2);
    assert_int_equal(transactions("totalAborted") - aborted, 3);
    assert_non_null(strstr(letters(), "\"document_id\":\"250\""));
    assert_non_null(strstr(letters(), "E11000"));
    assert_non_null(strstr(letters(), "\"state\":\"document\",\"document\":{\"id\":\"250\",\"mail\":\"a@b.c\"}"));
    stored("250", NULL);

    /* As long as the reason is there it is refused anew. */
    snprintf(letter, sizeof letter, "%s", first_letter());
    retries(letter);
    for (int64_t until = mp_clock_after(30000); !strstr(letters(), "\"total\":1,") || strstr(letters(), letter);
         usleep(20000))
        assert_true(mp_clock_ms() < until);
    command(f, "{\"dropIndexes\":\"films\",\"index\":\"mail\"}");
    retries(first_letter());
    ok(pond_collection_flush(films, 20000, e));
    stored("250", "{\"id\":\"250\",\"mail\":\"a@b.c\"}");
    there_are_letters(0);
    end();
}

static void a_schema_rule(void **state) {
    pond_error *err = NULL;
    char letter[48];
    begin(state);
    command(f, "{\"collMod\":\"films\",\"validator\":{\"$jsonSchema\":{\"required\":[\"title\"]}}}");
    work();
    replaces("1", "{\"title\":\"Heat\"}");
    ok(pond_collection_flush(films, 20000, e));
    replaces("1", "{\"n\":1}");
    replaces("2", "{\"n\":1}");
    there_are_letters(2);
    stored("1", "{\"id\":\"1\",\"title\":\"Heat\"}"); /* as it was before */
    command(f, "{\"collMod\":\"films\",\"validator\":{}}");

    /* What was changed since is not put back: neither over a newer document nor over a deletion. */
    replaces("1", "{\"n\":2}");
    ok(pond_collection_flush(films, 20000, e));
    ok(pond_collection_change(films, POND_DELETE, "2", 1, NULL, 0, NULL, NULL, NULL, e));
    ok(pond_collection_flush(films, 20000, e));
    for (int i = 0; i < 2; i++) {
        snprintf(letter, sizeof letter, "%s", first_letter());
        int rc = pond_collection_dead_act(films, POND_DEAD_RETRY, letter, strlen(letter), NULL, &err);
        failed(rc, err, POND_EDUPLICATE, 0, "nothing was retried");
        err = NULL;
        ok(pond_collection_dead_act(films, POND_DEAD_DROP, letter, strlen(letter), NULL, e));
    }
    ok(pond_collection_flush(films, 20000, e));
    stored("1", "{\"id\":\"1\",\"n\":2}");
    stored("2", NULL);
    there_are_letters(0);
    end();
}

int main(void) {
    watchdog(200);
    const struct CMUnitTest tests[] = {in_a_database(one_of_500_stops_no_other), in_a_database(a_schema_rule)};
    return cmocka_run_group_tests_name("mongodb_dead", tests, NULL, NULL);
}
