/* Increments of what is written behind: as operations on the cache beside a model, and as a collection's callers see them. */
#include "behind_on_redis.h"

#include "increments_random.h"

#include <pthread.h>
#include <sqlite3.h>
#include <unistd.h>

#include "support/relay.h"
#include "support/server.h"

/* ---- answers that are lost ---- */

static relay *way;
static side far; /* on it */

static long long numbers_given(void) { return redis_number(redis, "HINCRBY mp:m:{b:0} seq 0"); }

/* Its connection goes when the server has done it, or would have: what it refuses cannot be waited for. */
static mp_behind_verdict lose_the_answer(act *a, const char *key, int64_t by) {
    relay_drop(way);
    get(&far, "none", NULL, NULL); /* knows the fence, so that it does not change in between */
    long long before = numbers_given();
    relay_hold(way);
    increment_make(&far, a, key, by);
    a->ended = false;
    far.link->vt->submit(far.link, &a->op);
    for (int64_t until = clock_ms() + 30; numbers_given() == before && clock_ms() < until;) mp_loop_turn(far.loop, 1);
    assert_false(a->ended);
    relay_drop(way);
    mp_reply reply = act_wait(&far, a);
    if (reply == MP_FAILED) fail_msg("%s", pond_error_message(a->op.error));
    assert_in_range(numbers_given() - before, 0, 1);
    assert_int_equal(numbers_given() - before, reply == MP_STORED);
    return a->behind.verdict;
}

static void each_counts_once_where_answers_are_lost(void **state) {
    char url[64];
    way = relay_start(atoi(strrchr(redis_url(), ':') + 1));
    snprintf(url, sizeof url, "redis://127.0.0.1:%d/0", relay_port(way));
    side_open(&far, url, "on");
    increment_again = lose_the_answer;
    each_counts_once(state);
    side_close(&far);
    relay_stop(way);
}

/* ---- a collection ---- */

static char folder[SHOP_FOLDER], address[SHOP_ADDRESS], ns[64];

static int set_up(void **state) {
    (void)state;
    shop_make(folder, address);
    snprintf(ns, sizeof ns, "%s", fresh("increments"));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return shop_remove(folder);
}

static pond *made(const char *url, const char *worker) {
    return pond_made(url, "store", address, "namespace", ns, "worker", worker, "command_timeout", "5s", NULL);
}

static pond_collection *films(pond *p, const char *mode) {
    const char *const options[] = {"write", mode};
    return films_made(p, options, 1);
}

static void replaces(pond_collection *c, const char *id, const char *doc) {
    pond_error *err = NULL;
    if (pond_collection_change(c, doc ? POND_REPLACE : POND_DELETE, id, strlen(id), doc, doc ? strlen(doc) : 0, NULL,
                               NULL, NULL, &err) != POND_OK)
        fail_msg("%s", pond_error_message(err));
}

static int counts_as(pond_collection *c, const char *id, const char *member, int64_t by, pond_error **err) {
    return pond_collection_increment(c, id, strlen(id), member, strlen(member), by, err);
}

static void counts(pond_collection *c, const char *id, const char *member, int64_t by) {
    pond_error *err = NULL;
    if (counts_as(c, id, member, by, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
}

static void stored(pond *p, pond_collection *c, const char *id, const char *text) {
    pond_value *value = NULL;
    pond_error *err = NULL;
    if (pond_collection_flush(c, 10000, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
    assert_int_equal(pond_store_get(p, "films", id, strlen(id), &value, NULL), POND_OK);
    if (text) assert_string_equal(pond_value_data(value, NULL), text);
    else assert_int_equal(pond_value_state(value), POND_ABSENT);
    pond_value_free(value);
}

static void counters_are_read_and_stored(void **state) {
    (void)state;
    pond *p = made(redis_url(), "on"), *q = made(redis_url(), "off");
    pond_collection *c = films(p, "behind"), *d = films(q, "behind");
    replaces(c, "1", "{\"title\":\"Tampopo\",\"views\":5.0}");
    counts(c, "1", "views", 1);
    counts(d, "1", "views", 2);
    counts(c, "1", "likes", -1);
    films_read(d, "1", "{\"id\":\"1\",\"title\":\"Tampopo\",\"views\":8,\"likes\":-1}");
    stored(p, c, "1", "{\"id\":\"1\",\"title\":\"Tampopo\",\"views\":8,\"likes\":-1}");
    counts(d, "1", "views", 1); /* of what only the store has, and nobody reads */
    stored(q, d, "1", "{\"id\":\"1\",\"title\":\"Tampopo\",\"views\":9,\"likes\":-1}");
    counts(c, "1", "views", 1);
    assert_int_equal(pond_collection_change(d, POND_UPDATE, "1", 1, "{\"title\":null}", 14, NULL, NULL, NULL, NULL),
                     POND_OK);
    films_read(c, "1", "{\"id\":\"1\",\"views\":10,\"likes\":-1}"); /* an update is one of what was counted */
    counts(c, "1", "views", 1);
    replaces(c, "1", "{}"); /* goes over them */
    counts(c, "1", "views", 7);
    assert_int_equal(pond_close(p, 10000), POND_OK);
    pond_value *value = NULL;
    assert_int_equal(pond_store_get(q, "films", "1", 1, &value, NULL), POND_OK);
    assert_string_equal(pond_value_data(value, NULL), "{\"id\":\"1\",\"views\":7}");
    pond_value_free(value);
    pond_collection_free(c);
    pond_collection_free(d);
    pond_free(p);
    pond_free(q);
}

/* Each of these is told of; NULL-terminated. */
static void dropped_are(pond *p, const char *const *which) {
    pond_value *stats = NULL;
    assert_int_equal(pond_stats(p, &stats, NULL), POND_OK);
    const char *list = strstr(pond_value_data(stats, NULL), "\"last_dropped\":[{");
    assert_non_null(list);
    for (; *which; which++)
        if (!strstr(list, *which)) fail_msg("%s is not in %s", *which, list);
    pond_value_free(stats);
}

/* More than are remembered: the last ones are. */
static void the_last_that_were_dropped(void **state) {
    (void)state;
    enum { MANY = 20, KEPT = 16 };
    pond *p = made(redis_url(), "on");
    pond_collection *c = films(p, "behind");
    pond_value *stats = NULL;
    char id[16];
    for (int i = 0; i < MANY; i++) {
        snprintf(id, sizeof id, "none%d", i);
        counts(c, id, "n", i);
        assert_int_equal(pond_collection_flush(c, 10000, NULL), POND_OK);
    }
    assert_int_equal(pond_stats(p, &stats, NULL), POND_OK);
    const char *at = strstr(pond_value_data(stats, NULL), "\"last_dropped\":[");
    assert_non_null(at);
    for (int i = MANY - KEPT; i < MANY; i++) { /* in their order */
        char text[40];
        snprintf(text, sizeof text, "{\"document_id\":\"none%d\"", i);
        at = strstr(at, text);
        assert_non_null(at);
    }
    assert_null(strstr(pond_value_data(stats, NULL), "\"none3\""));
    pond_value_free(stats);
    pond_collection_free(c);
    pond_free(p);
}

static void what_cannot_be_counted(void **state) {
    (void)state;
    pond *p = made(redis_url(), "on");
    pond_collection *c = films(p, "behind");
    pond_error *err = NULL;
    static const char *const wrong[] = {"", "a.b", "$n", "id", "_id", "_mpv", "\xff"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(counts_as(c, "1", wrong[i], 1, NULL), POND_EVALUE);
    assert_int_equal(counts_as(c, "1", "a.b", 1, &err), POND_EVALUE);
    assert_non_null(strstr(pond_error_message(err), "no dotted path"));
    pond_error_free(err);
    assert_int_equal(counts_as(c, "1", "n", MP_INCREMENT_MOST + 1, NULL), POND_EVALUE);
    assert_int_equal(counts_as(c, "", "n", 1, NULL), POND_EKEY);
    pond_collection *through = films(p, "through");
    assert_int_equal(counts_as(through, "1", "n", 1, &err), POND_EOPTION);
    assert_non_null(strstr(pond_error_message(err), "write=behind"));
    pond_error_free(err);
    pond_collection_free(through);
    char row[80];
    snprintf(row, sizeof row, "%s/films", ns);
    counts(c, "none", "n", 1); /* nobody knows yet that there is none */
    stored(p, c, "none", NULL);
    assert_int_equal(pond_stat(p, row, "dropped_increments"), 1);
    films_read(c, "none", NULL);
    assert_int_equal(counts_as(c, "none", "n", 1, NULL), POND_EABSENT); /* now it is known */
    replaces(c, "gone", NULL);
    assert_int_equal(counts_as(c, "gone", "n", 1, NULL), POND_EABSENT);
    replaces(c, "1", "{\"s\":\"text\",\"half\":0.5,\"most\":9007199254740991,\"n\":1}");
    counts(c, "1", "s", 1);
    counts(c, "1", "half", 1);
    counts(c, "1", "most", 1);
    counts(c, "1", "n", 1);
    films_read(c, "1", "{\"id\":\"1\",\"s\":\"text\",\"half\":0.5,\"most\":9007199254740991,\"n\":2}");
    assert_int_equal(pond_stat(p, row, "dropped_increments"), 4);
    dropped_are(
        p, (const char *const[]){"{\"document_id\":\"none\",\"field\":\"n\",\"by\":1,\"why\":\"no such document\"",
                                 "{\"document_id\":\"1\",\"field\":\"s\",\"by\":1,\"why\":\"the field is no integer",
                                 "\"field\":\"half\"", "\"field\":\"most\"", NULL});
    counts(c, "1", "most", -1);
    counts(c, "1", "n", MP_INCREMENT_MOST);
    counts(c, "1", "n", -MP_INCREMENT_MOST);
    counts(c, "1", "n", MP_INCREMENT_MOST);
    counts(c, "1", "n", 1); /* the sum would leave the range: folded first, where there is no room */
    films_read(c, "1", "{\"id\":\"1\",\"s\":\"text\",\"half\":0.5,\"most\":9007199254740990,\"n\":3}");
    pond_collection_free(c);
    pond_free(p);
}

enum { THREADS = 4, EACH = 250 };

/* More members than an answer of the server holds, or a script: they are folded on the way. */
static void many_members(const char *url) {
    enum { MEMBERS = 5000 };
    char member[16], want[32];
    pond *p = made(url, "off");
    pond_collection *c = films(p, "behind");
    pond_value *value = NULL;
    replaces(c, "1", "{}");
    for (int i = 0; i < MEMBERS; i++) {
        snprintf(member, sizeof member, "m%d", i);
        counts(c, "1", member, i + 1);
    }
    for (int i = 0; i < MEMBERS / 10; i++) counts(c, "1", "m0", 2); /* no more of them */
    pond *worker = made(url, "on");
    pond_collection *d = films(worker, "behind");
    assert_int_equal(pond_collection_flush(d, 10000, NULL), POND_OK);
    assert_int_equal(pond_store_get(worker, "films", "1", 1, &value, NULL), POND_OK);
    for (int i = 0; i < MEMBERS; i++) {
        snprintf(want, sizeof want, "\"m%d\":%d", i, i ? i + 1 : 1 + MEMBERS / 5);
        const char *at = strstr(pond_value_data(value, NULL), want);
        if (!at || !strchr(",}", at[strlen(want)])) fail_msg("%s", want);
    }
    pond_value_free(value);
    pond_collection_free(d);
    pond_free(worker);
    pond_collection_free(c);
    pond_free(p);
}

static void many_members_in_redis(void **state) {
    (void)state;
    many_members(redis_url());
}

static void many_members_in_a_journal(void **state) {
    (void)state;
    many_members("memory:");
}

static void *count_on(void *arg) {
    for (int i = 0; i < EACH; i++) counts(arg, "hot", "n", 1);
    return NULL;
}

static void *read_on(void *arg) {
    for (int i = 0; i < EACH / 5; i++) {
        pond_value *value = NULL;
        assert_int_equal(pond_collection_get(arg, "hot", 3, &value, NULL), POND_OK);
        pond_value_free(value);
    }
    return NULL;
}

static void none_is_lost_beside_readers_and_workers(void **state) {
    (void)state;
    pond *p = made(redis_url(), "on"), *q = made(redis_url(), "on");
    pond_collection *c = films(p, "behind"), *d = films(q, "behind");
    pthread_t threads[2 * THREADS];
    char text[64];
    replaces(c, "hot", "{\"n\":0}");
    for (int i = 0; i < 2 * THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i % 2 ? read_on : count_on, i < THREADS ? c : d), 0);
    for (int i = 0; i < 2 * THREADS; i++) pthread_join(threads[i], NULL);
    snprintf(text, sizeof text, "{\"id\":\"hot\",\"n\":%d}", THREADS * EACH);
    films_read(d, "hot", text);
    stored(p, c, "hot", text);
    pond_collection_free(c);
    pond_collection_free(d);
    pond_free(p);
    pond_free(q);
}

/* A server that comes back with an old memory brings increments again that the store counts already. */
static void an_old_memory_counts_nothing_twice(void **state) {
    (void)state;
    server *old = server_start(NULL);
    pond *off = made(server_url(old), "off");
    pond_collection *c = films(off, "behind");
    pond *on = made(server_url(old), "on");
    pond_collection *d = films(on, "behind");
    replaces(d, "1", "{\"n\":0}");
    stored(on, d, "1", "{\"id\":\"1\",\"n\":0}");
    pond_collection_free(d);
    pond_free(on);
    counts(c, "1", "n", 1);
    redis_do(server_client(old), "SAVE"); /* with that one waiting */
    on = made(server_url(old), "on");
    d = films(on, "behind");
    stored(on, d, "1", "{\"id\":\"1\",\"n\":1}");
    pond_collection_free(d);
    pond_free(on);
    server_kill(old, false);
    server_again(old);
    for (int64_t until = mp_clock_after(10000); counts_as(c, "1", "n", 1, NULL) != POND_OK; usleep(20000))
        assert_true(mp_clock_ms() < until);
    films_read(c, "1", "{\"id\":\"1\",\"n\":2}");
    on = made(server_url(old), "on");
    d = films(on, "behind");
    stored(on, d, "1", "{\"id\":\"1\",\"n\":2}");
    pond_collection_free(c);
    pond_collection_free(d);
    pond_free(off);
    pond_free(on);
    server_stop(old);
}

static void sql(const char *statement) {
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(address + strlen("sqlite:"), &db), SQLITE_OK);
    if (sqlite3_exec(db, statement, NULL, NULL, NULL) != SQLITE_OK) fail_msg("%s", sqlite3_errmsg(db));
    sqlite3_close(db);
}

/* The store has got a document with the first of two increments: a fold had taken that one while the other came. And the cache comes back with what
 * it had before the fold. `stored_before`: the document was in the store, and nowhere else, before they came. What is read then. */
static void comes_back_in_a_fold(bool stored_before, const char *due) {
    static const char *const untold[] = {"{\"document_id\":\"1\",\"field\":\"n\",\"by\":3,\"why\":\"the cache has lost",
                                         NULL};
    server *old = server_start(NULL);
    pond *off = made(server_url(old), "off");
    pond_collection *c = films(off, "behind");
    pond_error *err = NULL;
    char statement[160], row[80];
    replaces(c, "1", "{\"n\":0}");
    if (stored_before) {
        pond *on = made(server_url(old), "on");
        pond_collection *d = films(on, "behind");
        stored(on, d, "1", "{\"id\":\"1\",\"n\":0}");
        pond_collection_free(d);
        pond_free(on);
    }
    counts(c, "1", "n", 1);
    redisReply *r = redis_do(server_client(old), "KEYS mp:i:{%s/films:*}s1", ns);
    assert_int_equal(r->elements, 1);
    char key[128];
    snprintf(key, sizeof key, "%s", r->element[0]->str);
    r = redis_do(server_client(old), "HGET %s %s", key, "");
    assert_true(r->len >= 16);
    int64_t first;
    memcpy(&first, r->str + 8, 8);
    counts(c, "1", "n", 2);
    redis_do(server_client(old), "SAVE");
    snprintf(statement, sizeof statement, "INSERT OR REPLACE INTO films(id, doc, ver) VALUES ('1', '{\"n\":1}', %lld)",
             (long long)first);
    sql(statement);
    server_kill(old, false);
    server_again(old);
    pond *on = made(server_url(old), "on");
    pond_collection *d = films(on, "behind");
    for (int64_t until = mp_clock_after(10000); pond_collection_flush(d, 10000, &err) != POND_OK; usleep(20000)) {
        assert_true(mp_clock_ms() < until);
        pond_error_free(err);
    }
    stored(on, d, "1", due);
    films_read(d, "1", due);
    snprintf(row, sizeof row, "%s/films", ns);
    assert_int_equal(pond_stat(on, row, "dropped_increments"), stored_before ? 1 : 0);
    if (stored_before) dropped_are(on, untold);
    pond_collection_free(c);
    pond_collection_free(d);
    pond_free(off);
    pond_free(on);
    server_stop(old);
}

static void a_fold_that_the_cache_has_lost(void **state) {
    (void)state;
    comes_back_in_a_fold(false, "{\"id\":\"1\",\"n\":3}");
}

static void a_fold_that_the_cache_has_lost_with_what_it_was_made_of(void **state) {
    (void)state;
    comes_back_in_a_fold(true, "{\"id\":\"1\",\"n\":1}");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_counts_once_where_answers_are_lost),
        TEST(many_members_in_redis),
        TEST(many_members_in_a_journal),
        TEST(counters_are_read_and_stored),
        TEST(what_cannot_be_counted),
        TEST(the_last_that_were_dropped),
        TEST(none_is_lost_beside_readers_and_workers),
        TEST(an_old_memory_counts_nothing_twice),
        TEST(a_fold_that_the_cache_has_lost),
        TEST(a_fold_that_the_cache_has_lost_with_what_it_was_made_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
