/* Values past their time on Redis: the common cases, what they cost there, and what stands in the server. */
#include "support/redis.h"
#include "support/stale_cases.h"
#include "support/support.h"

#define HOUR (60 * 60 * 1000)

static redisContext *redis;

/* Its time is over, by so much of an hour of grace. */
static void make_old(const char *ns, const char *key, int64_t by_ms) {
    redis_do(redis, "PEXPIRE mp:v:{%s:%s} %lld", ns, key, (long long)(HOUR - by_ms));
}

static int64_t commands(const char *name) { return redis_calls(redis, name); }

static void a_hit_costs_a_pttl_where_it_is_asked_for(void **state) {
    (void)state;
    enum { HITS = 50 };
    pond *plain = pond_made(redis_url(), "namespace", "cost-plain", NULL);
    pond *soft = pond_made(redis_url(), "namespace", "cost-soft", "grace", "1h", NULL);
    fetch_text(plain, "k", NULL, "one");
    fetch_text(soft, "k", NULL, "one");
    int64_t gets = commands("get"), times = commands("pttl"), reads = redis_reads(redis);
    for (int i = 0; i < HITS; i++) assert_string_equal(fetch_text(plain, "k", NULL, "two"), "one");
    assert_in_range(commands("get") - gets, HITS, HITS + 2); /* a fence check may look, too */
    assert_int_equal(commands("pttl") - times, 0);
    gets = commands("get"), reads = redis_reads(redis);
    for (int i = 0; i < HITS; i++) assert_string_equal(fetch_text(soft, "k", NULL, "two"), "one");
    assert_int_equal(commands("pttl") - times, HITS);
    assert_in_range(redis_reads(redis) - reads, HITS, HITS + 5); /* in one round trip, and our own questions */
    pond_free(plain);
    pond_free(soft);
}

static void a_stale_hit_while_somebody_loads_costs_no_more(void **state) {
    (void)state;
    enum { HITS = 50 };
    pond *p = pond_made(redis_url(), "namespace", "cost-stale", "grace", "1h", NULL);
    pond *q = pond_made(redis_url(), "namespace", "cost-stale", "grace", "1h", NULL);
    gate began, go;
    fetcher f = {.p = p, .key = "k", .script = {.value = "two", .began = &began, .go = &go}};
    gate_init(&began);
    gate_init(&go);
    fetch_text(p, "k", NULL, "one");
    make_old("cost-stale", "k", 1000);
    fetcher_start(&f);
    assert_true(gate_wait(&began, 5000));
    long long scripts = redis_scripts_run(redis);
    for (int i = 0; i < HITS; i++)
        assert_string_equal(fetch_text(p, "k", NULL, "never"), "one"); /* in this process: none */
    assert_in_range(redis_scripts_run(redis) - scripts, 0, 2);         /* the fence, a renewal */
    for (int i = 0; i < HITS; i++) assert_string_equal(fetch_text(q, "k", NULL, "never"), "one"); /* in another: one */
    assert_in_range(redis_scripts_run(redis) - scripts, 1, 6);
    gate_open(&go);
    fetcher_join(&f);
    assert_string_equal(f.text, "two");
    gate_destroy(&began);
    gate_destroy(&go);
    pond_free(p);
    pond_free(q);
}

static void what_stands_in_redis(void **state) {
    (void)state;
    pond *p = pond_made(redis_url(), "namespace", "stands", "ttl", "100s", "jitter", "0", "grace", "30s",
                        "stale_if_error", "50s", NULL);
    fetch_text(p, "k", NULL, "one");
    assert_in_range(redis_number(redis, "PTTL mp:v:{stands:k}"), 149000, 150000);
    redisReply *r = redis_do(redis, "GETRANGE mp:v:{stands:k} 32 35");
    assert_memory_equal(r->str, "\x50\xc3\0\0", 4); /* 50,000, little endian */
    fetcher gone = {.p = p, .key = "gone", .script = {.value = NULL}};
    assert_int_equal(fetch(&gone), POND_OK);
    assert_in_range(redis_number(redis, "PTTL mp:v:{stands:gone}"), 29000, 30000); /* an absence is not kept */
    redis_do(redis, "PEXPIRE mp:v:{stands:k} 40000");
    fetcher f = {.p = p, .key = "k", .script = {.fail = POND_ELOADER}};
    assert_int_equal(fetch(&f), POND_OK);
    r = redis_do(redis, "GET mp:l:{stands:k}");
    assert_string_equal(r->str, "-");
    assert_in_range(redis_number(redis, "PTTL mp:l:{stands:k}"), 300, 1000);
    pond_free(p);
}

/* Who wants nothing old gets nothing that others keep, though its own GET asks for no time. */
static void readers_without_grace_see_the_time_of_those_with(void **state) {
    (void)state;
    pond *soft = pond_made(redis_url(), "namespace", "mixed", "grace", "1h", NULL);
    pond *plain = pond_made(redis_url(), "namespace", "mixed", NULL);
    fetch_text(soft, "k", NULL, "one");
    int64_t times = commands("pttl");
    assert_string_equal(lookup_text(plain, "k", NULL), "one");
    assert_int_equal(commands("pttl") - times, 1);
    make_old("mixed", "k", 1000);
    assert_string_equal(lookup_text(plain, "k", NULL), "(miss)");
    assert_string_equal(lookup_text(soft, "k", NULL), "one");
    assert_string_equal(fetch_text(plain, "k", NULL, "two"), "two");
    assert_string_equal(lookup_text(soft, "k", NULL), "two");
    pond_free(soft);
    pond_free(plain);
}

/* What explain says of a value past its time. */
static void it_is_explained(void **state) {
    (void)state;
    pond *p = pond_made(redis_url(), "namespace", "explained", "grace", "1h", NULL);
    pond_value *value = NULL;
    fetch_text(p, "k", NULL, "one");
    assert_int_equal(pond_explain(p, "k", 1, NULL, &value, NULL), POND_OK);
    assert_non_null(strstr(pond_value_data(value, NULL), "\"stale_ms\":null,\"keep_ms\":3600000"));
    pond_value_free(value);
    make_old("explained", "k", 60000);
    assert_int_equal(pond_explain(p, "k", 1, NULL, &value, NULL), POND_OK);
    const char *at = strstr(pond_value_data(value, NULL), "\"ttl_ms\":0,\"stale_ms\":");
    assert_non_null(at);
    assert_in_range(strtol(at + 22, NULL, 10), 60000, 65000);
    pond_value_free(value);
    pond_free(p);
}

/* A value of a history that was lost is not served, however much grace it had. */
static void the_fence_takes_stale_values(void **state) {
    (void)state;
    pond *p = pond_made(redis_url(), "namespace", "fenced", "grace", "1h", "stale_if_error", "1h", NULL);
    fetch_text(p, "k", NULL, "one");
    make_old("fenced", "k", 1000);
    assert_string_equal(lookup_text(p, "k", NULL), "one");
    redis_do(redis, "SETRANGE mp:v:{fenced:k} 16 %b", "another!", (size_t)8);
    assert_string_equal(lookup_text(p, "k", NULL), "(miss)");
    fetcher f = {.p = p, .key = "k", .script = {.fail = POND_ELOADER}};
    assert_int_equal(fetch(&f), POND_ELOADER);
    pond_free(p);
}

/* A user who may not ask for the time is told so. */
static void a_user_without_pttl_is_told(void **state) {
    (void)state;
    redis_do(redis, "ACL SETUSER narrow on >thin ~mp:* +@all -pttl");
    pond *p = pond_made(redis_url(), "username", "narrow", "password", "thin", "namespace", "narrow", "grace", "1h",
                        "when_cache_down", "error", NULL);
    pond_value *value = NULL;
    pond_error *err = NULL;
    fetcher f = {.p = p, .key = "k", .script = {.value = "one"}};
    fetch(&f);
    assert_int_equal(pond_lookup(p, "k", 1, NULL, &value, &err), POND_ECACHE);
    assert_non_null(strstr(pond_error_message(err), "pttl"));
    pond_error_free(err);
    pond_free(p);
    redis_do(redis, "ACL DELUSER narrow");
}

int main(void) {
    int failed = stale_cases(redis_url());
    redis = redis_open(redis_url());
    if (!redis) return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hit_costs_a_pttl_where_it_is_asked_for),
        cmocka_unit_test(a_stale_hit_while_somebody_loads_costs_no_more),
        cmocka_unit_test(what_stands_in_redis),
        cmocka_unit_test(readers_without_grace_see_the_time_of_those_with),
        cmocka_unit_test(it_is_explained),
        cmocka_unit_test(the_fence_takes_stale_values),
        cmocka_unit_test(a_user_without_pttl_is_told),
    };
    failed += cmocka_run_group_tests_name("stale values on redis", tests, NULL, NULL);
    redisFree(redis);
    return failed;
}
