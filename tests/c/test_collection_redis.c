/* Collections on Redis: the common cases, and what a page costs there. */
#include "support/collection_cases.h"

#include <unistd.h>

#include "support/redis.h"
#include "support/shadow.h"
#include <millpond/collection.h>

static redisContext *redis;
static char folder[SHOP_FOLDER], address[SHOP_ADDRESS];

static pond *made(const char *name, shadow **s, pond_collection **films) {
    pond *p = pond_made(redis_url(), "store", address, "namespace", name, NULL);
    pond_error *err = NULL;
    *s = shadow_of(p);
    if (pond_collection_new(films, p, "films", NULL, 0, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
    assert_int_equal(pond_collection_prepare(*films, NULL), POND_OK);
    return p;
}

static void find(pond_collection *films, const char *query) {
    pond_value *value = NULL;
    pond_error *err = NULL;
    if (pond_collection_find(films, POND_QUERY_TEXT, query, strlen(query), &value, &err) != POND_OK)
        fail_msg("%s: %s", query, pond_error_message(err));
    pond_value_free(value);
}

static int set_up(void **state) {
    (void)state;
    shop_make(folder, address);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return shop_remove(folder);
}

static void fill(pond *p, int count) {
    for (int i = 0; i < count; i++) {
        char id[8], doc[40];
        size_t len = (size_t)snprintf(id, sizeof id, "%d", i),
               doc_len = (size_t)snprintf(doc, sizeof doc, "{\"n\":%d}", i);
        assert_int_equal(pond_store_put(p, "films", id, len, doc, doc_len, NULL), POND_OK);
    }
}

/* The page and its collection's generation, asked for together. */
static void a_cached_page_is_one_round_trip(void **state) {
    (void)state;
    shadow *s;
    pond_collection *films;
    pond *p = made(fresh("one"), &s, &films);
    fill(p, 5);
    find(films, "n[gte]=1&limit=2");
    find(films, "n[gte]=1&limit=2"); /* connected, fenced, warm */
    long long gets = redis_calls(redis, "get"), scripts = redis_scripts_run(redis), sets = redis_calls(redis, "set");
    long long reads = redis_reads(redis);
    for (int i = 0; i < 20; i++) find(films, "limit=2&n[gte]=1.0");
    assert_in_range(redis_reads(redis) - reads, 20, 21);       /* and our own question */
    assert_in_range(redis_calls(redis, "get") - gets, 40, 42); /* a fence check, should a second pass, looks too */
    assert_in_range(redis_scripts_run(redis) - scripts, 0, 2);
    assert_int_equal(redis_calls(redis, "set"), sets);
    assert_int_equal(s->finds, 1);
    assert_int_equal(s->counts, 1);
    pond_collection_free(films);
    pond_free(p);
}

/* What one process has loaded the other finds: documents, pages and totals. */
static void processes_share_pages_and_totals(void **state) {
    (void)state;
    const char *name = fresh("two");
    shadow *s, *t;
    pond_collection *films, *others;
    pond *p = made(name, &s, &films), *q = made(name, &t, &others);
    fill(p, 9);
    find(films, "limit=2");
    find(others, "limit=2&page=1");
    assert_int_equal(t->finds, 0);
    find(others, "limit=2&page=2");
    assert_int_equal(t->finds, 1);
    assert_int_equal(s->counts + t->counts, 1);
    static const char *const ids[] = {"1", "2", "77"};
    static const size_t lens[] = {1, 1, 2};
    pond_value *values[3];
    assert_int_equal(pond_collection_get_many(films, ids, lens, 3, values, NULL), POND_OK);
    for (size_t i = 0; i < 3; i++) pond_value_free(values[i]);
    assert_int_equal(pond_collection_get_many(others, ids, lens, 3, values, NULL), POND_OK);
    assert_int_equal(pond_value_state(values[2]), POND_ABSENT);
    assert_int_equal(pond_value_codec(values[0]), POND_EJSON);
    for (size_t i = 0; i < 3; i++) pond_value_free(values[i]);
    assert_int_equal(t->gets + t->get_manys, 0);
    pond_collection_free(films);
    pond_collection_free(others);
    pond_free(p);
    pond_free(q);
}

/* Documents lie in N/C, pages and totals in N/C?, under the keys that every process makes of the same question. */
static void keys_are_those_of_the_protocol(void **state) {
    (void)state;
    const char *name = fresh("keys");
    char text[64];
    snprintf(text, sizeof text, "%s", name);
    shadow *s;
    pond_collection *films;
    pond *p = made(text, &s, &films);
    fill(p, 5);
    pond_value *value = NULL;
    assert_int_equal(pond_collection_get(films, "1", 1, &value, NULL), POND_OK);
    pond_value_free(value);
    find(films, "limit=2");
    assert_int_equal(redis_number(redis, "EXISTS mp:v:{%s/films:s1}", text), 1);
    assert_int_equal(pond_collection_explain(films, POND_QUERY_TEXT, "limit=2", 7, &value, NULL), POND_OK);
    const char *json = pond_value_data(value, NULL), *key = strstr(json, "\"key\":\""),
               *total = strstr(json, "\"total_key\":\"");
    assert_non_null(key);
    assert_non_null(total);
    assert_int_equal(redis_number(redis, "EXISTS mp:v:{%s/films?:%b}", text, key + 7, (size_t)64), 1);
    assert_int_equal(redis_number(redis, "EXISTS mp:v:{%s/films?:%b}", text, total + 13, (size_t)64), 1);
    pond_value_free(value);
    pond_collection_free(films);
    pond_free(p);
}

/* Without the cache everything still has an answer, and explain says why it knows nothing. */
static void a_cache_that_is_down(void **state) {
    (void)state;
    pond *p = pond_made("redis://127.0.0.1:1/0", "store", address, "namespace", fresh("down"), NULL);
    shadow *s = shadow_of(p);
    pond_collection *films = NULL;
    assert_int_equal(pond_collection_new(&films, p, "films", NULL, 0, NULL), POND_OK);
    assert_int_equal(pond_collection_prepare(films, NULL), POND_OK);
    fill(p, 5);
    find(films, "limit=2");
    find(films, "limit=2");
    assert_int_equal(s->finds, 2);
    static const char *const ids[] = {"1", "2", "77"};
    static const size_t lens[] = {1, 1, 2};
    pond_value *values[3];
    assert_int_equal(pond_collection_get_many(films, ids, lens, 3, values, NULL), POND_OK);
    for (size_t i = 0; i < 3; i++) pond_value_free(values[i]);
    assert_in_range(s->get_manys + s->gets, 1, 3);
    assert_int_equal(pond_collection_explain(films, POND_QUERY_TEXT, "limit=2", 7, values, NULL), POND_OK);
    assert_non_null(strstr(pond_value_data(values[0], NULL), "\"cached\":{\"error\":\""));
    pond_value_free(values[0]);
    pond_collection_free(films);
    pond_free(p);
}

int main(void) {
    watchdog(110);
    redis = redis_open(redis_url());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_cached_page_is_one_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(processes_share_pages_and_totals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_are_those_of_the_protocol, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cache_that_is_down, set_up, tear_down),
    };
    int failed = collection_cases(redis_url());
    failed += cmocka_run_group_tests_name("collection_redis", tests, NULL, NULL);
    redisFree(redis);
    return failed;
}
