/* Queries on the sqlite: store: the vectors of tests/spec/find.json without and with declared indexes, queries by the thousand
 * against model/match alone, and databases that somebody else has written. */
#include "sqlite_store.h"

#include "find_cases.h"

#include <pthread.h>
#include <stdatomic.h>

/* Writes them past the store, in one transaction. The collection is made if it is not there. */
static void fill(fixture *f, const documents *docs) {
    sqlite3 *db = NULL;
    sqlite3_stmt *insert = NULL;
    char text[200];
    create(f->store, docs->collection);
    assert_int_equal(sqlite3_open_v2(f->path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    snprintf(text, sizeof text, "INSERT INTO \"%s\"(id, doc, ver) VALUES (?1, ?2, 0)", docs->collection);
    assert_int_equal(sqlite3_exec(db, "BEGIN", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &insert, NULL), SQLITE_OK);
    for (size_t i = 0; i < docs->count; i++) {
        sqlite3_bind_text(insert, 1, docs->all[i].id, -1, SQLITE_STATIC);
        sqlite3_bind_text(insert, 2, docs->all[i].doc, (int)docs->all[i].len, SQLITE_STATIC);
        assert_int_equal(sqlite3_step(insert), SQLITE_DONE);
        sqlite3_reset(insert);
    }
    sqlite3_finalize(insert);
    assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void fill_both(fixture *f) {
    documents many = films(1), few = nasty();
    fill(f, &many);
    fill(f, &few);
    documents_free(&many);
    documents_free(&few);
}

static void the_vectors_by_scan(void **state) {
    fixture *f = *state;
    fill_both(f);
    check_vectors(f->store);
    check_vectors(f->store); /* by statements that are prepared already */
}

static void the_vectors_by_index(void **state) {
    fixture *f = *state;
    fill_both(f);
    check_vectors(f->store);
    declare_all(f->store);
    check_vectors(f->store);
    sql(f, "ANALYZE"); /* then SQLite plans otherwise */
    check_vectors(f->store);
    assert_true(atoi(sql(f, "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'mp:%'")) > 20);
}

static void thousands_of_queries(void **state) {
    fixture *f = *state;
    const char *given = getenv("MILLPOND_TEST_SEED"), *rounds = getenv("MILLPOND_TEST_ROUNDS");
    size_t count = rounds ? strtoul(rounds, NULL, 10) : 1;
    seed = given ? strtoull(given, NULL, 10) : 20240601;
    documents many = films(1), few = nasty(), all = mixed(400);
    const place places[] = {PLACE(&many, film_fields), PLACE(&few, nasty_fields), PLACE(&all, mixed_fields)};
    const size_t counts[] = {100 * count / FEWER, 400 * count / FEWER, 400 * count / FEWER};
    for (size_t i = 0; i < 3; i++) {
        fill(f, places[i].docs);
        some_queries(&places[i], f->store, counts[i], "scan");
        for (size_t k = 0; k < places[i].field_count; k++) {
            char name[80];
            snprintf(name, sizeof name, "-%s", places[i].fields[k]);
            if (dice(3) > 0) declare(f->store, places[i].docs->collection, name + 1);
            else declare(f->store, places[i].docs->collection, name);
        }
        some_queries(&places[i], f->store, counts[i], "index");
    }
    sql(f, "ANALYZE");
    for (size_t i = 0; i < 3; i++) some_queries(&places[i], f->store, counts[i], "index, analysed");
    /* A list comes to a field, and goes: then its index must hold its tongue, and may speak again. */
    assert_string_not_equal(index_used(f->store, "mixed", "q=7"), "");
    document *d = &all.all[7];
    char *before = d->doc;
    d->doc = strdup("{\"q\":[7,{\"z\":1}],\"p\":[],\"d\":[{\"e\":10},{\"e\":\"red\"}]}");
    d->len = strlen(d->doc);
    put(f->store, "mixed", d->id, d->doc);
    assert_string_equal(index_used(f->store, "mixed", "q=7"), "");
    some_queries(&places[2], f->store, counts[2], "index, not plain");
    free(d->doc);
    d->doc = before;
    d->len = strlen(before);
    put(f->store, "mixed", d->id, d->doc);
    assert_string_not_equal(index_used(f->store, "mixed", "q=7"), "");
    some_queries(&places[2], f->store, counts[2], "index, plain again");
    documents_free(&many);
    documents_free(&few);
    documents_free(&all);
}

/* ---- declared indexes ---- */

static void an_index_is_used_where_it_can_be(void **state) {
    fixture *f = *state;
    mp_store *s = f->store;
    static const char *const docs[] = {
        "{\"rating\":7,\"genre\":\"Drama\",\"Rating\":1}",     "{\"rating\":8.5,\"genre\":\"Comedy\",\"Rating\":2}",
        "{\"rating\":7,\"genre\":\"Comedy\",\"Rating\":3}",    "{\"genre\":null,\"Rating\":[1,2]}",
        "{\"rating\":\"7\",\"genre\":\"drama\",\"Rating\":4}",
    };
    create(s, "films");
    for (size_t i = 0; i < 5; i++) put(s, "films", (char[]){(char)('a' + i), 0}, docs[i]);
    assert_string_equal(index_used(s, "films", "rating=7"), "");
    declare(s, "films", "rating");
    declare(s, "films", "rating"); /* there already */
    assert_string_equal(index_used(s, "films", "rating=7"), "mp:films:rating");
    assert_string_equal(index_used(s, "films", "rating[gte]=7&sort=-rating"), "mp:films:rating");
    assert_string_equal(index_used(s, "films", "sort=rating"), "mp:films:rating");
    assert_string_equal(index_used(s, "films", "rating[ne]=7"), "");
    assert_string_equal(index_used(s, "films", "genre=Drama"), "");
    finds(s, "films", "rating=7", 3, "a c e");
    finds(s, "films", "rating[gte]=7&sort=-rating", 3, "b a c"); /* not the text 7 */
    finds(s, "films", "sort=-rating", 5, "e b a c d");
    finds(s, "films", "sort=rating,-id", 5, "d c a b e");
    finds(s, "films", "sort=rating,-genre", 5, "d a c b e");
    finds(s, "films", "rating=7&genre=Comedy", 1, "c");
    finds(s, "films", "rating[in]=8.5,null", 2, "b d");
    finds(s, "films", "rating=1", 0, "");
    finds(s, "films", "rating[gt]=x", 0, "");
    /* Downwards, and beside a name that differs by a capital only. */
    declare(s, "films", "-genre");
    assert_string_equal(index_used(s, "films", "sort=-genre"), "mp:films:-genre");
    declare(s, "films", "Rating");
    assert_int_equal(atoi(sql(f, "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND name LIKE 'mp:%'")), 3);
    assert_string_equal(index_used(s, "films", "Rating=2"), ""); /* d has a list there */
    finds(s, "films", "Rating=2", 2, "b d");
    finds(s, "films", "sort=Rating", 5, "a d b c e");
    finds(s, "films", "sort=-genre", 5, "e a b c d");
    put(s, "films", "d", "{}");
    assert_int_equal(strncmp(index_used(s, "films", "Rating=2"), "mp:films:Rating:", 16), 0);
    finds(s, "films", "Rating=2", 1, "b");
    declare(s, "films", "id"); /* the primary key: nothing to do */
}

static void an_index_that_is_not_ours_is_not_believed(void **state) {
    fixture *f = *state;
    mp_store *s = f->store;
    create(s, "films");
    put(s, "films", "a", "{\"n\":1}");
    put(s, "films", "b", "{\"n\":2}");
    sql(f, "CREATE INDEX \"mp:films:n\" ON films(ver)"); /* an older version's, say */
    assert_string_equal(index_used(s, "films", "n=2"), "");
    finds(s, "films", "n=2&sort=n", 1, "b");
    declare(s, "films", "n"); /* made anew */
    assert_string_equal(index_used(s, "films", "n=2"), "mp:films:n");
    finds(s, "films", "n=2&sort=n", 1, "b");
    int version = atoi(sql(f, "PRAGMA schema_version"));
    declare(s, "films", "n");
    assert_int_equal(atoi(sql(f, "PRAGMA schema_version")), version); /* nothing was written */
    sql(f, "DROP INDEX \"mp:films:n\"");
    assert_string_equal(index_used(s, "films", "n=2"), "");
    finds(s, "films", "n=2&sort=n", 1, "b");
    sql(f, "DROP TABLE films");
    find_fails(s, "films", "n=2", POND_ESTORE, "create the collection first");
    create(s, "films");
    finds(s, "films", "n=2", 0, "");
}

static void names_are_text(void **state) {
    fixture *f = *state;
    static const char *const names[] = {"it's",  "''",  "a`b;--", "x') OR 1=1 --",    "%p",
                                        "Größe", "a b", "?1",     "\xf0\x9d\x92\xb3", "d.it's.'"};
    create(f->store, "o-b.c");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        mp_buf doc, query;
        mp_buf_init(&doc);
        mp_buf_init(&query);
        mp_buf_text(&doc, "{");
        mp_buf_json(&doc, strncmp(names[i], "d.", 2) == 0 ? "d" : names[i],
                    strncmp(names[i], "d.", 2) == 0 ? 1 : strlen(names[i]));
        mp_buf_text(&doc, strncmp(names[i], "d.", 2) == 0 ? ":{\"it's\":{\"'\":7}}}" : ":7}");
        mp_buf_text(&query, "{\"where\":{");
        mp_buf_json(&query, names[i], strlen(names[i]));
        mp_buf_text(&query, ":7},\"sort\":");
        mp_buf_json(&query, names[i], strlen(names[i]));
        mp_buf_text(&query, "}");
        put(f->store, "o-b.c", "a", doc.data);
        put(f->store, "o-b.c", "b", "{\"x\":7}");
        finds(f->store, "o-b.c", query.data, 1, "a");
        declare(f->store, "o-b.c", names[i]);
        finds(f->store, "o-b.c", query.data, 1, "a");
        assert_int_equal(strncmp(index_used(f->store, "o-b.c", query.data), "mp:o-b.c:", 9), 0);
        mp_buf_free(&doc);
        mp_buf_free(&query);
    }
}

/* ---- databases of others ---- */

static void a_table_of_others(void **state) {
    fixture *f = *state;
    mp_store *s = f->store;
    sql(f, "CREATE TABLE things(id TEXT UNIQUE, doc JSON, ver INTEGER DEFAULT 0, owner TEXT, weight REAL);"
           "INSERT INTO things(id, doc) VALUES ('a', ' { \"n\" : 1.50, \"big\": 12345678901234567890123, \"s\": "
           "\"\\u00e9\\/\" } '),"
           "('b', '{\"id\":\"other\",\"_mpv\":5,\"n\":1.5}'), ('c', '{\"n\":null}'), ('d', '{}')");
    finds(s, "things", "n=1.5", 2, "a b");
    finds(s, "things", "n=null", 2, "c d");
    finds(s, "things", "s=\xc3\xa9/", 1, "a");
    finds(s, "things", "big[gt]=1e22", 1, "a");
    page p = find_text(s, "things", "n=1.5"); /* as they are spelled, with the row's id */
    assert_string_equal(p.data.data,
                        "[{\"id\":\"a\", \"n\" : 1.50, \"big\": 12345678901234567890123, \"s\": \"\\u00e9\\/\" } ,"
                        "{\"id\":\"b\",\"n\":1.5}]");
    mp_buf_free(&p.data);
    p = find_text(s, "things", "n=1.5&fields=n,big");
    assert_string_equal(p.data.data,
                        "[{\"id\":\"a\",\"n\":1.50,\"big\":12345678901234567890123},{\"id\":\"b\",\"n\":1.5}]");
    mp_buf_free(&p.data);
    declare(s, "things", "n");
    finds(s, "things", "n=1.5&sort=n", 2, "a b");
    /* A view reads well, and has no index. */
    sql(f, "CREATE VIEW heavy AS SELECT id, doc FROM things WHERE id < 'c'");
    finds(s, "heavy", "n=1.5", 2, "a b");
    finds(s, "heavy", "", 2, "a b");
    /* Names of tables are those of cached keys: capitals count. */
    find_fails(s, "Things", "n=1", POND_EOPTION, "the table is called");
    find_fails(s, "nothing", "n=1", POND_ESTORE, "create the collection first");
}

/* Whatever stands in a row: an error that names it where it is looked at, and never worse. */
static void damaged_rows(void **state) {
    fixture *f = *state;
    mp_store *s = f->store;
    static const struct row {
        const char *value, *says;
    } rows[] = {
        {"'{\"n\":'", "not a JSON object"},
        {"'[1,2]'", "not a JSON object"},
        {"'7'", "not a JSON object"},
        {"''", "not a JSON object"},
        {"NULL", "not a JSON object"},
        {"42", "not a JSON object"},
        {"x'ff00'", "not a JSON object"},
        {"'{\"n\":\"\\ud800\"}'", "not a JSON object"},
        {"'{\"n\":1} x'", "not a JSON object"},
        {"CAST(x'7b226e223a22ff227d' AS TEXT)", "not a JSON object"}, /* not UTF-8 */
    };
    char text[300];
    sql(f, "CREATE TABLE bad(id TEXT PRIMARY KEY, doc, ver DEFAULT 0); INSERT INTO bad(id, doc) VALUES ('a', "
           "'{\"n\":1}'), ('z', '{\"n\":2}')");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(text, sizeof text, "INSERT OR REPLACE INTO bad(id, doc) VALUES ('row 5', %s)", rows[i].value);
        sql(f, text);
        static const char *const queries[] = {"n=1", "sort=n", "search=x&search_in=n", "fields=n", "limit=3"};
        for (size_t k = 0; k < 5; k++) {
            page p = find_text(s, "bad", queries[k]);
            if (p.code != POND_ESTORE || strstr(p.error, "row 5") == NULL)
                fail_msg("%s %s: %d %s", rows[i].value, queries[k], p.code, p.error);
            mp_buf_free(&p.data);
        }
        finds(s, "bad", "id[in]=a,z&n=2", 1, "z"); /* who does not look there does not see it */
    }
    sql(f, "UPDATE bad SET doc = '{' WHERE id = 'row 5'");
    pond_error *err = NULL;
    mp_query *q = taken("{\"sort\":\"n\"}");
    int rc = s->vt->index(s, "bad", &q->sort[0], &err);
    failed(rc, err, POND_ESTORE, 0, "\"row 5\": doc is not JSON");
    mp_query_free(q);
    sql(f, "DELETE FROM bad WHERE id = 'row 5'");
    declare(s, "bad", "n");
    finds(s, "bad", "n[gte]=1&sort=-n", 2, "z a");
}

static void ids_that_are_none(void **state) {
    fixture *f = *state;
    mp_store *s = f->store;
    sql(f, "CREATE TABLE loose(id, doc TEXT, ver DEFAULT 0); INSERT INTO loose(id, doc) VALUES (NULL, '{\"n\":1}'), "
           "('b', '{\"n\":2}'), (7, '{\"n\":3}')");
    find_fails(s, "loose", "n=1", POND_ESTORE, "a row without an id");
    finds(s, "loose", "n=2", 1, "b");
    find_fails(s, "loose", "n=3", POND_ESTORE, "\"7\": the id is not a text");
    /* A column that is declared as a number finds its rows by the number's text. */
    sql(f, "CREATE TABLE counted(id INTEGER PRIMARY KEY, doc TEXT, ver DEFAULT 0); INSERT INTO counted(id, doc) VALUES "
           "(9, '{\"n\":1}'), (10, '{\"n\":1}')");
    finds(s, "counted", "n=1", 2, "9 10");
    finds(s, "counted", "id=10", 1, "10");
}

static void documents_without_bounds(void **state) {
    fixture *f = *state;
    enum { DEEP = 100000 };
    mp_buf doc;
    mp_buf_init(&doc);
    mp_buf_text(&doc, "{\"a\":");
    for (int i = 0; i < DEEP; i++) mp_buf_text(&doc, "[");
    for (int i = 0; i < DEEP; i++) mp_buf_text(&doc, "]");
    mp_buf_text(&doc, ",\"n\":1}");
    sql(f, "CREATE TABLE deep(id TEXT PRIMARY KEY NOT NULL, doc TEXT, ver DEFAULT 0)");
    documents docs = {.collection = "deep", .count = 1};
    document one = {.id = "a", .doc = doc.data, .len = doc.len};
    docs.all = &one;
    fill(f, &docs);
    finds(f->store, "deep", "n=1&sort=a", 1, "a");
    finds(f->store, "deep", "a.b.c=null&sort=-a.b", 0, "");
    finds(f->store, "deep", "n=1&fields=a.b,n", 1, "a");
    mp_buf_free(&doc);
}

static void what_cannot_be_ordered_says_so(void **state) {
    fixture *f = *state;
    create(f->store, "films");
    put(f->store, "films", "a", "{\"x\":[1],\"y\":[2],\"z\":1}");
    put(f->store, "films", "b", "{\"x\":1,\"y\":[2],\"z\":[1]}");
    find_fails(f->store, "films", "sort=x,y", POND_EQUERY, "(films \"a\")");
    find_fails(f->store, "films", "id=a&sort=x,y", POND_EQUERY, "(films \"a\")");
    find_fails(f->store, "films", "sort=z,x,y", POND_EQUERY, "sort by one of them");
    finds(f->store, "films", "id=b&sort=x,y", 1, "b");
    finds(f->store, "films", "x=5&sort=x,y", 0, "");
    finds(f->store, "films", "sort=x,id,y", 2, "a b");
}

/* ---- while others write ---- */

typedef struct writer {
    mp_store *store;
    _Atomic bool stop;
    bool well;
} writer;

static void *flip(void *arg) {
    writer *w = arg;
    static const char *const docs[] = {"{\"n\":5}", "{\"n\":[5,6]}", "{\"n\":\"5\"}"};
    w->well = true;
    for (size_t i = 0; !w->stop; i++) w->well &= put_ok(w->store, "flips", docs[i % 3]);
    return NULL;
}

static void one_query_is_one_moment(void **state) {
    fixture *f = *state;
    create(f->store, "films");
    for (int i = 0; i < 50; i++)
        put(f->store, "films", (char[]){'f', (char)('0' + i / 10), (char)('0' + i % 10), 0}, "{\"n\":1}");
    put(f->store, "films", "flips", "{\"n\":5}");
    declare(f->store, "films", "n");
    writer w = {.store = f->store};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, flip, &w), 0);
    for (int i = 0; i < 500; i++) {
        finds(f->store, "films", "n[in]=5,7&sort=n", 1, "flips");
        finds(f->store, "films", "n[gt]=0&n[lt]=2&limit=1&page=50&sort=n", 50, "f49");
    }
    w.stop = true;
    pthread_join(thread, NULL);
    assert_true(w.well);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_a_file(the_vectors_by_scan),
        in_a_file(the_vectors_by_index),
        in_a_file(thousands_of_queries),
        in_a_file(an_index_is_used_where_it_can_be),
        in_a_file(an_index_that_is_not_ours_is_not_believed),
        in_a_file(names_are_text),
        in_a_file(a_table_of_others),
        in_a_file(damaged_rows),
        in_a_file(ids_that_are_none),
        in_a_file(documents_without_bounds),
        in_a_file(what_cannot_be_ordered_says_so),
        in_a_file(one_query_is_one_moment),
    };
    return cmocka_run_group_tests_name("find", tests, NULL, NULL);
}
