/* Bulk calls on Redis: the common cases, and what they cost there. */
#include "support/bulk_cases.h"
#include "support/redis.h"
#include "support/support.h"

enum { MANY = 1000, MISSING = 100 };

static redisContext *redis;
static char names[MANY][24];
static const char *keys[MANY];
static size_t lens[MANY];

static void load(pond_batch *batch, void *ctx) {
    int *calls = ctx;
    for (size_t i = 0; i < pond_batch_count(batch); i++)
        assert_int_equal(pond_batch_value(batch, i, "loaded", 6, POND_TEXT, 0), POND_OK);
    calls[0]++;
    calls[1] += (int)pond_batch_count(batch);
    pond_batch_done(batch);
}

static void fetch_all(pond *p, int calls[2]) {
    pond_value *out[MANY];
    assert_int_equal(pond_fetch_many(p, keys, lens, MANY, NULL, NULL, load, calls, out, NULL), POND_OK);
    for (size_t i = 0; i < MANY; i++) {
        assert_string_equal(pond_value_data(out[i], NULL), "loaded");
        pond_value_free(out[i]);
    }
}

/* 1,000 keys with 10 % missing: a GET a key, and for each that is missing the lease and the fill; one call of the loader. */
static void what_a_thousand_keys_cost(void **state) {
    (void)state;
    pond *p = pond_made(redis_url(), "namespace", "thousand", "command_timeout", "5s", NULL);
    for (size_t i = 0; i < MANY; i++) {
        lens[i] = (size_t)snprintf(names[i], sizeof names[i], "user:%zu", i);
        keys[i] = names[i];
    }
    int calls[2] = {0};
    fetch_all(p, calls);
    assert_int_equal(calls[0], 1);
    assert_int_equal(calls[1], MANY);
    assert_int_equal(pond_invalidate(p, keys, lens, MISSING, NULL, NULL), POND_OK);
    calls[0] = calls[1] = 0;
    long long gets = redis_calls(redis, "get"), scripts = redis_scripts_run(redis);
    fetch_all(p, calls);
    /* get.lua looks once more; a fence check or two may come between. */
    assert_in_range(redis_calls(redis, "get") - gets, MANY + MISSING, MANY + 4 * MISSING);
    assert_in_range(redis_scripts_run(redis) - scripts, 2 * MISSING, 2 * MISSING + 2);
    assert_int_equal(calls[0], 1);
    assert_int_equal(calls[1], MISSING);
    gets = redis_calls(redis, "get");
    scripts = redis_scripts_run(redis);
    fetch_all(p, calls);
    assert_in_range(redis_calls(redis, "get") - gets, MANY, MANY + 4);
    assert_in_range(redis_scripts_run(redis) - scripts, 0, 2);
    assert_int_equal(calls[0], 1);
    pond_free(p);
}

/* The cache away: one call of the loader all the same. */
static void without_a_cache_all_are_loaded_together(void **state) {
    (void)state;
    pond *p = pond_made("redis://127.0.0.1:1/0", "namespace", "away", NULL);
    int calls[2] = {0};
    fetch_all(p, calls);
    assert_int_equal(calls[0], 1);
    assert_int_equal(calls[1], MANY);
    const void *data[] = {"x"};
    const size_t data_lens[] = {1};
    const pond_codec codecs[] = {POND_TEXT};
    assert_int_equal(pond_set_many(p, keys, lens, data, data_lens, codecs, 1, NULL, NULL), POND_ECACHE);
    assert_int_equal(pond_invalidate(p, keys, lens, MANY, NULL, NULL), POND_ECACHE);
    pond_free(p);
}

/* Beside a writer a set caches nothing. */
typedef struct setting {
    pond *p;
    int code;
} setting;

static void set_within(pond_writing *writing, void *ctx) {
    setting *self = ctx;
    const char *one = "k";
    const size_t len = 1, data_len = 3;
    const void *data = "set";
    const pond_codec codec = POND_TEXT;
    self->code = pond_set_many(self->p, &one, &len, &data, &data_len, &codec, 1, NULL, NULL);
    pond_write_done(writing);
}

static void a_set_beside_a_writer(void **state) {
    (void)state;
    pond *p = pond_made(redis_url(), "namespace", "beside", NULL);
    const char *one = "k";
    const size_t len = 1;
    setting self = {.p = p};
    assert_int_equal(pond_write(p, &one, &len, 1, NULL, NULL, set_within, &self, NULL), POND_OK);
    assert_int_equal(self.code, POND_OK);
    assert_string_equal(lookup_text(p, one, NULL), "(miss)");
    assert_int_equal(pond_stat(p, "beside", "refused_values"), 1);
    pond_free(p);
}

int main(void) {
    int failed = bulk_cases(redis_url());
    redis = redis_open(redis_url());
    if (!redis) return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_thousand_keys_cost),
        cmocka_unit_test(without_a_cache_all_are_loaded_together),
        cmocka_unit_test(a_set_beside_a_writer),
    };
    failed += cmocka_run_group_tests_name("bulk on redis", tests, NULL, NULL);
    redisFree(redis);
    return failed;
}
