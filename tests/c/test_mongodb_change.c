/* Changes of documents on MongoDB. */
#include "mongodb_store.h"

#include <signal.h>

#include "change_cases.h"

/* Values whose types JSON does not know, or that are stored in another than we would choose. */
static void what_is_not_touched_keeps_its_type(void **state) {
    fixture *f = *state;
    create(f->store, "films");
    insert(
        f, "films",
        "{\"_id\":\"1\",\"i\":{\"$numberInt\":\"5\"},\"l\":{\"$numberLong\":\"5\"},\"d\":{\"$numberDouble\":\"5.0\"},"
        "\"m\":{\"$numberDecimal\":\"0.10\"},\"o\":{\"i\":{\"$numberInt\":\"1\"},\"x\":1},\"_mpv\":9,\"id\":\"own\","
        "\"t\":{\"$timestamp\":{\"t\":1,\"i\":2}}}");
    outcome o = changed(f->store, MP_CHANGE_UPDATE, "1",
                        "{\"o\":{\"x\":null,\"y\":{\"$date\":{\"$numberLong\":\"7\"}}},\"n\":2}");
    assert_int_equal(o.applied, MP_APPLIED);
    assert_string_equal(get(f->store, "films", "1"), o.document);
    assert_string_equal(
        raw(f, "films", "{}"),
        "{ \"_id\" : \"1\", \"i\" : { \"$numberInt\" : \"5\" }, \"l\" : { \"$numberLong\" : \"5\" }, \"d\" : { "
        "\"$numberDouble\" : \"5.0\" }, \"m\" : { \"$numberDecimal\" : \"0.10\" }, \"o\" : { \"i\" : { \"$numberInt\" "
        ": "
        "\"1\" }, \"y\" : { \"$date\" : { \"$numberLong\" : \"7\" } } }, \"id\" : \"own\", \"t\" : { \"$timestamp\" : "
        "{ "
        "\"t\" : 1, \"i\" : 2 } }, \"n\" : { \"$numberInt\" : \"2\" } }");
}

/* One text, documents with several of the ids that it spells: the one that a get gives is changed. */
static void ids_of_all_kinds_are_changed(void **state) {
    fixture *f = *state;
    create(f->store, "films");
    insert(f, "films", "{\"_id\":42,\"a\":\"integer\"}");
    insert(f, "films", "{\"_id\":{\"$oid\":\"507f1f77bcf86cd799439011\"},\"a\":\"oid\"}");
    stays(f->store, MP_CHANGE_CREATE, "42", "{}", MP_THERE_IS_ONE);
    stays(f->store, MP_CHANGE_CREATE, "507f1f77bcf86cd799439011", "{}", MP_THERE_IS_ONE);
    assert_int_equal(changed(f->store, MP_CHANGE_UPDATE, "42", "{\"b\":1}").applied, MP_APPLIED);
    assert_string_equal(get(f->store, "films", "42"), "{\"id\":42,\"a\":\"integer\",\"b\":1}");
    changes(f->store, MP_CHANGE_UPDATE, "507f1f77bcf86cd799439011", "{\"b\":2}");
    insert(f, "films", "{\"_id\":\"42\",\"a\":\"string\"}");
    changes(f->store, MP_CHANGE_UPDATE, "42", "{\"b\":3}");
    assert_string_equal(get(f->store, "films", "42"), "{\"id\":\"42\",\"a\":\"string\",\"b\":3}");
    changes(f->store, MP_CHANGE_REPLACE, "42", "{\"c\":4}");
    assert_int_equal(changed(f->store, MP_CHANGE_DELETE, "42", NULL).applied, MP_APPLIED);
    assert_string_equal(get(f->store, "films", "42"), "{\"id\":42,\"a\":\"integer\",\"b\":1}");
    assert_int_equal(changed(f->store, MP_CHANGE_REPLACE, "42", "{\"d\":5}").applied, MP_APPLIED);
    assert_string_equal(get(f->store, "films", "42"), "{\"id\":42,\"d\":5}");
    assert_int_equal(changed(f->store, MP_CHANGE_DELETE, "42", NULL).applied, MP_APPLIED);
    changes(f->store, MP_CHANGE_CREATE, "42", "{\"id\":42,\"e\":6}"); /* a new one has a string */
    assert_string_equal(get(f->store, "films", "42"), "{\"id\":\"42\",\"e\":6}");
}

static void names_that_look_like_operators(void **state) {
    fixture *f = *state;
    create(f->store, "films");
    changes(f->store, MP_CHANGE_CREATE, "1", "{\"a.b\":1,\"n\":{\"$set\":1,\"$literal\":{\"$expr\":2}}}");
    changes(f->store, MP_CHANGE_UPDATE, "1", "{\"a.b\":2,\"n\":{\"c\":3}}");
    assert_string_equal(get(f->store, "films", "1"), "{\"id\":\"1\",\"a.b\":2,\"n\":{\"c\":3}}");
}

static void other_keys_that_are_unique(void **state) {
    fixture *f = *state;
    create(f->store, "films");
    command(f, "{\"createIndexes\":\"films\",\"indexes\":[{\"key\":{\"c\":1},\"name\":\"c\",\"unique\":true,"
               "\"partialFilterExpression\":{\"c\":{\"$exists\":true}}}]}");
    changes(f->store, MP_CHANGE_CREATE, "1", "{\"c\":1}");
    changes(f->store, MP_CHANGE_CREATE, "2", "{\"c\":2}");
    for (mp_change_kind kind = MP_CHANGE_CREATE; kind <= MP_CHANGE_UPDATE; kind++) {
        outcome o = changed(f->store, kind, kind == MP_CHANGE_CREATE ? "3" : "2", "{\"c\":1}");
        assert_int_equal(o.applied, MP_NOT_APPLIED);
        assert_int_equal(o.code, POND_ESTORE);
        assert_int_equal(o.retriable, 0);
    }
}

static void put_of_size(fixture *f, const char *id, size_t len) {
    static const char head[] = "{\"s\":\"";
    char *text = malloc(len + 16);
    assert_non_null(text);
    strcpy(text, head);
    memset(text + sizeof head - 1, 'x', len);
    strcpy(text + sizeof head - 1 + len, "\"}");
    put(f->store, "films", id, text);
    free(text);
}

/* An update says what it replaces by what, so half as much is the most. */
static void large_documents_are_updated_or_refused(void **state) {
    enum { HALF = 8 * 1024 * 1024 };
    fixture *f = *state;
    create(f->store, "films");
    put_of_size(f, "well", HALF - 64);
    assert_int_equal(changed(f->store, MP_CHANGE_UPDATE, "well", "{\"n\":1}").applied, MP_APPLIED);
    put_of_size(f, "large", HALF);
    outcome o = changed(f->store, MP_CHANGE_UPDATE, "large", "{\"n\":1}");
    assert_int_equal(o.code, POND_EVALUE);
    assert_int_equal(o.applied, MP_NOT_APPLIED);
    assert_non_null(strstr(o.message, "replace the document"));
    assert_null(strstr(get(f->store, "films", "large"), "\"n\""));
    changes(f->store, MP_CHANGE_UPDATE, "large", "{\"s\":null,\"n\":1}");
    put_of_size(f, "large", HALF);
    changes(f->store, MP_CHANGE_REPLACE, "large", "{\"n\":2}");
}

/* What the server refuses is certain, and so is what nobody was there to hear. */
static void what_is_known_and_what_is_not(void **state) {
    fixture *f = *state;
    create(f->store, "films");
    put(f->store, "films", "1", "{\"a\":1}");
    command(f, "{\"collMod\":\"films\",\"validator\":{\"a\":{\"$lt\":10}}}");
    outcome o = changed(f->store, MP_CHANGE_UPDATE, "1", "{\"a\":11}");
    assert_int_equal(o.applied, MP_NOT_APPLIED);
    assert_int_equal(o.retriable, 0);
    assert_string_equal(get(f->store, "films", "1"), "{\"id\":\"1\",\"a\":1}");
    mp_store *nobody = opened("mongodb://127.0.0.1:1/shop", "300ms");
    mp_change change = change_of(MP_CHANGE_CREATE, "1", "{}");
    assert_int_equal(make_ready(nobody, &change, &o), POND_OK);
    apply_it(nobody, &change, &o);
    assert_int_equal(o.applied, MP_NOT_APPLIED);
    assert_int_equal(o.retriable, 1);
    nobody->vt->discard(nobody, &change);
    nobody->vt->close(nobody);
}

/* The servers of this test, from the file that tests/servers/mongodb_server.py writes. */
static void signal_servers(int number) {
    char line[80];
    int port, pid;
    FILE *members = fopen(getenv("MILLPOND_TEST_MONGODB_MEMBERS"), "r");
    assert_non_null(members);
    while (fgets(line, sizeof line, members) != NULL)
        if (sscanf(line, "%d %d", &port, &pid) == 2) kill(pid, number);
    fclose(members);
}

/* It was sent, and nobody says whether it was done: here it is, as soon as the server goes on. */
static void an_answer_that_does_not_come_says_nothing(void **state) {
    fixture *f = *state;
    mp_store *s = opened(f->address, "700ms");
    create(s, "films");
    put(s, "films", "one", "{\"a\":1}");
    mp_change change = change_of(MP_CHANGE_REPLACE, "one", "{\"a\":2}");
    outcome o;
    assert_int_equal(make_ready(s, &change, &o), POND_OK);
    signal_servers(SIGSTOP);
    apply_it(s, &change, &o);
    signal_servers(SIGCONT);
    if (o.applied != MP_IN_DOUBT) fail_msg("%d: %s", o.applied, o.message);
    assert_int_equal(o.retriable, 1);
    s->vt->discard(s, &change);
    s->vt->close(s);
    for (int64_t until = mp_clock_ms() + 10000; mp_clock_ms() < until && !strstr(get(f->store, "films", "one"), ":2");)
        usleep(10000);
    assert_string_equal(get(f->store, "films", "one"), "{\"id\":\"one\",\"a\":2}");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CHANGE_CASES(in_a_database),
        in_a_database(what_is_not_touched_keeps_its_type),
        in_a_database(ids_of_all_kinds_are_changed),
        in_a_database(names_that_look_like_operators),
        in_a_database(other_keys_that_are_unique),
        in_a_database(large_documents_are_updated_or_refused),
        in_a_database(what_is_known_and_what_is_not),
        in_a_database(an_answer_that_does_not_come_says_nothing),
    };
    return cmocka_run_group_tests_name("mongodb_change", tests, NULL, NULL);
}
