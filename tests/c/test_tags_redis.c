/* Tags on Redis: the common cases, and what a tagged value costs there. */
#include "support/redis.h"
#include "support/support.h"
#include "support/tag_cases.h"

static redisContext *redis;

static void a_tagged_hit_is_one_round_trip(void **state) {
    (void)state;
    enum { HITS = 50 };
    pond *p = pond_made(redis_url(), "namespace", "trip", NULL);
    pond_tags *tags = tags_made(p, "a b c");
    const char *key = fresh("k");
    fetch_tagged_text(p, key, tags, "one");
    long long gets = redis_calls(redis, "get"), scripts = redis_scripts_run(redis), reads = redis_reads(redis);
    for (int i = 0; i < HITS; i++) assert_string_equal(fetch_tagged_text(p, key, tags, "two"), "one");
    assert_in_range(redis_reads(redis) - reads, HITS, HITS + 2);               /* and our own question */
    assert_in_range(redis_calls(redis, "get") - gets, 4 * HITS, 4 * HITS + 2); /* a fence check may look, too */
    assert_in_range(redis_scripts_run(redis) - scripts, 0, 2);
    pond_tags_free(tags);
    pond_free(p);
}

/* What stands in Redis is what the protocol says. */
static void keys_are_those_of_the_protocol(void **state) {
    (void)state;
    pond *p =
        pond_made(redis_url(), "namespace", "shop", "ttl", "10s", "negative_ttl", "1s", "load_timeout", "2s", NULL);
    pond_tags *tags = tags_made(p, "t");
    fetch_tagged_text(p, "k", tags, "payload");
    redisReply *r = redis_do(redis, "GET mp:v:{shop:k}");
    assert_int_equal(r->len, 48 + 24 + 7);
    assert_int_equal(r->str[40], 1);
    char generation[24], fence[8];
    memcpy(generation, r->str + 48, sizeof generation);
    memcpy(fence, r->str + 16, sizeof fence);
    assert_memory_equal(generation, fence, sizeof fence);
    r = redis_do(redis, "GET mp:g:{shop:t}");
    assert_int_equal(r->len, 24);
    assert_memory_equal(r->str, generation, sizeof generation);
    assert_in_range(redis_number(redis, "PTTL mp:g:{shop:t}"), 23000, 24000); /* 2 x (ttl + load_timeout) */
    invalidate_tags(p, "t");
    assert_int_equal(redis_number(redis, "EXISTS mp:g:{shop:t} mp:gw:{shop:t}"), 0);
    assert_int_equal(redis_number(redis, "EXISTS mp:v:{shop:k}"), 1); /* out of reach all the same */
    assert_string_equal(lookup_tagged_text(p, "k", tags), "(miss)");
    pond_tags_free(tags);
    pond_free(p);
}

/* A generation of a history that was lost is none, even if a value names it. */
static void generations_of_another_history_are_none(void **state) {
    (void)state;
    pond *p = pond_made(redis_url(), "namespace", "lost", NULL);
    pond_tags *tags = tags_made(p, "t");
    fetch_tagged_text(p, "k", tags, "one");
    redis_do(redis, "SETRANGE mp:g:{lost:t} 0 %b", "another!", (size_t)8);
    redis_do(redis, "SETRANGE mp:v:{lost:k} 48 %b", "another!", (size_t)8);
    assert_string_equal(lookup_tagged_text(p, "k", tags), "(miss)");
    assert_string_equal(fetch_tagged_text(p, "k", tags, "two"), "two");
    assert_string_equal(lookup_tagged_text(p, "k", tags), "two");
    pond_tags_free(tags);
    pond_free(p);
}

/* Two processes, here two ponds. */
static void tags_reach_all_processes(void **state) {
    (void)state;
    pond *p = pond_made(redis_url(), "namespace", "two", NULL), *q = pond_made(redis_url(), "namespace", "two", NULL);
    pond_tags *tags = tags_made(p, "a b"), *same = tags_made(q, "b a");
    const char *key = fresh("k");
    fetch_tagged_text(p, key, tags, "one");
    assert_string_equal(fetch_tagged_text(q, key, same, "two"), "one");
    invalidate_tags(q, "b");
    assert_string_equal(fetch_tagged_text(p, key, tags, "three"), "three");
    assert_string_equal(lookup_tagged_text(q, key, same), "three");
    pond_tags_free(tags);
    pond_tags_free(same);
    pond_free(p);
    pond_free(q);
}

static void an_evicted_generation_is_a_miss(void **state) {
    (void)state;
    pond *p = pond_made(redis_url(), "namespace", "evict", NULL);
    pond_tags *tags = tags_made(p, "a b");
    const char *key = fresh("k");
    fetch_tagged_text(p, key, tags, "one");
    redis_do(redis, "DEL mp:g:{evict:b}");
    assert_string_equal(lookup_tagged_text(p, key, tags), "(miss)");
    assert_string_equal(fetch_tagged_text(p, key, tags, "two"), "two");
    assert_string_equal(lookup_tagged_text(p, key, tags), "two");
    pond_tags_free(tags);
    pond_free(p);
}

int main(void) {
    int failed = tag_cases(redis_url());
    redis = redis_open(redis_url());
    if (!redis) return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tagged_hit_is_one_round_trip),          cmocka_unit_test(keys_are_those_of_the_protocol),
        cmocka_unit_test(generations_of_another_history_are_none), cmocka_unit_test(tags_reach_all_processes),
        cmocka_unit_test(an_evicted_generation_is_a_miss),
    };
    failed += cmocka_run_group_tests_name("tags on redis", tests, NULL, NULL);
    redisFree(redis);
    return failed;
}
