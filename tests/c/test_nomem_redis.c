/* Calls under an allocator that fails: the n-th allocation of a whole scene, for every n, alone and with all that follow.
 * Every call must end, with what it may end with; nothing may crash, leak or stay broken.
 *
 * This program replaces malloc and its kin. So do sanitizers: in their builds it is skipped. */
#include "support/redis.h"
#include "support/scarce_malloc.h"
#include "support/support.h"

#if REPLACED
/* What a call may answer when memory is short: that, or what it makes of a cache that could not do its part. */
static void allowed(int code) {
    if (code != POND_OK && code != POND_ENOMEM && code != POND_ECACHE && code != POND_EOVERLOAD &&
        code != POND_EVALUE && code != POND_EPROTOCOL && code != POND_ETIMEOUT && code != POND_ECLOSED)
        fail_msg("an answer of %s", pond_code_name(code));
}

static void give(pond_load *load, void *ctx) {
    size_t len;
    const char *key = pond_load_key(load, &len);
    allowed(pond_load_value(load, key, len, POND_TEXT, 0));
    (void)ctx;
}

static void give_all(pond_batch *batch, void *ctx) {
    (void)ctx;
    for (size_t i = 0; i < pond_batch_count(batch); i++) {
        size_t len;
        const char *key = pond_batch_key(batch, i, &len);
        allowed(pond_batch_value(batch, i, key, len, POND_TEXT, 0));
    }
    allowed(pond_batch_done(batch));
}

/* The value of every key is the key. */
static void check(const pond_value *value, const char *key) {
    size_t len;
    if (!value || pond_value_state(value) != POND_VALUE) return;
    const char *data = pond_value_data(value, &len);
    assert_int_equal(len, strlen(key));
    assert_memory_equal(data, key, len);
}

/* Three keys at once: one that may be cached, and two that are not. */
enum { FEW = 3 };
static void name_few(char names[FEW][64], const char *few[FEW], size_t lens[FEW], const char *key) {
    for (int i = 0; i < FEW; i++) {
        lens[i] = (size_t)snprintf(names[i], sizeof names[i], i ? "%s.%d" : "%s", key, i);
        few[i] = names[i];
    }
}

static void bulk_calls(pond *p, const char *key) {
    static const pond_codec codecs[FEW] = {POND_TEXT, POND_TEXT, POND_TEXT};
    char names[FEW][64];
    const char *few[FEW];
    size_t lens[FEW];
    pond_value *values[FEW];
    name_few(names, few, lens, key);
    for (int i = 0; i < 2; i++) {
        int code = pond_fetch_many(p, few, lens, FEW, NULL, NULL, give_all, NULL, values, NULL);
        allowed(code);
        for (int k = 0; code == POND_OK && k < FEW; k++) {
            check(values[k], few[k]);
            pond_value_free(values[k]);
        }
    }
    allowed(pond_set_many(p, few, lens, (const void *const *)few, lens, codecs, FEW, NULL, NULL));
    allowed(pond_invalidate(p, few, lens, FEW, NULL, NULL));
}

static void blocking_calls(pond *p, const char *key) {
    pond_value *value = NULL;
    pond_error *err = NULL;
    size_t len = strlen(key);
    for (int i = 0; i < 2; i++) {
        int code = pond_fetch(p, key, len, NULL, give, NULL, &value, &err);
        allowed(code);
        if (code == POND_OK) check(value, key);
        else assert_true(err != NULL && pond_error_code(err) == code && *pond_error_message(err));
        pond_value_free(value);
        pond_error_free(err);
        value = NULL;
        err = NULL;
    }
    if (pond_lookup(p, key, len, NULL, &value, NULL) == POND_OK) check(value, key);
    pond_value_free(value);
    value = NULL;
    allowed(pond_explain(p, key, len, NULL, &value, NULL));
    pond_value_free(value);
    value = NULL;
    allowed(pond_stats(p, &value, NULL));
    pond_value_free(value);
    value = NULL;
    allowed(pond_metrics(p, &value, NULL));
    pond_value_free(value);
    value = NULL;
    allowed(pond_processes(p, &value, NULL));
    pond_value_free(value);
    const char *options[] = {"ttl", "1m", "namespace", "elsewhere"};
    pond_policy *policy = NULL;
    if (pond_policy_new(&policy, p, NULL, options, 2, &err) == POND_OK) {
        value = NULL;
        if (pond_fetch(p, key, len, policy, give, NULL, &value, NULL) == POND_OK) check(value, key);
        pond_value_free(value);
    }
    pond_error_free(err);
    pond_policy_free(policy);
    allowed(pond_invalidate(p, &key, &len, 1, NULL, NULL));
    bulk_calls(p, key);
}

static void queue_calls(pond *p, const char *key) {
    pond_queue *queue = NULL;
    if (pond_queue_new(&queue, p, NULL) != POND_OK) return;
    size_t open = 0, len = strlen(key);
    for (uint64_t i = 0; i < 3; i++) {
        pond_value *now = NULL;
        int code = pond_fetch_start(p, queue, key, len, NULL, i, &now, NULL, NULL);
        allowed(code);
        open += code == POND_OK && !now;
        pond_value_free(now);
    }
    open += pond_invalidate_start(p, queue, &key, &len, 1, NULL, 9, NULL) == POND_OK;
    char names[FEW][64];
    const char *few[FEW];
    size_t lens[FEW];
    name_few(names, few, lens, key);
    open += pond_fetch_many_start(p, queue, few, lens, FEW, NULL, NULL, 10, NULL, NULL) == POND_OK;
    while (open) {
        pond_event *event = NULL;
        if (!pond_queue_poll(queue, &event, 1, 3000)) fail_msg("a call on the queue never ends");
        if (pond_event_kind(event) == POND_EVENT_LOAD) {
            give(pond_event_load(event), NULL);
        } else if (pond_event_kind(event) == POND_EVENT_BATCH) {
            give_all(pond_event_batch(event), NULL);
        } else {
            open--;
            check(pond_event_value(event), key);
            if (pond_event_kind(event) == POND_EVENT_ERROR) allowed(pond_error_code(pond_event_error(event)));
        }
        pond_event_free(event);
    }
    assert_int_equal(pond_queue_pending(queue), 0);
    pond_queue_free(queue);
}

/* `settled`: memory is short only when the pond is open. */
static void scene(const pond_config *config, const char *key, bool settled) {
    pond *p = NULL;
    pond_error *err = NULL;
    if (settled) atomic_store(&armed, false);
    int code = pond_open(&p, config, &err);
    if (settled) atomic_store(&armed, true);
    allowed(code);
    pond_error_free(err);
    if (code != POND_OK) return;
    blocking_calls(p, key);
    queue_calls(p, key);
    /* Memory is back: so is everything else, if need be after the back-off of a connection. Calls that fail at once must
     * not keep it from coming up again. */
    atomic_store(&armed, false);
    int64_t until = clock_ms() + 3000;
    do {
        pond_value *value = NULL;
        code = pond_lookup(p, key, strlen(key), NULL, &value, NULL);
        pond_value_free(value);
    } while (code != POND_OK && clock_ms() < until);
    assert_int_equal(code, POND_OK);
    fetcher f = {.p = p, .key = key, .script = {.value = key}};
    assert_int_equal(fetch(&f), POND_OK);
    assert_string_equal(f.text, key);
    pond_close(p, 1000);
    pond_free(p);
}

/* What OpenSSL keeps with the errors that a thread had last. */
enum { KEPT = 50 };

/* `step`: about so many allocations from one that fails to the next; 1: every one. */
static long until_nothing_fails(const char *cache, bool follow, uint32_t step) {
    char key[64];
    pond_config *config = pond_config_new();
    assert_int_equal(pond_config_set(config, "cache", cache, NULL), POND_OK);
    assert_int_equal(pond_config_set(config, "namespace", "nomem", NULL), POND_OK);
    assert_int_equal(pond_config_set(config, "command_timeout", "300ms", NULL), POND_OK);
    assert_int_equal(pond_config_set(config, "load_timeout", "2s", NULL), POND_OK);
    assert_int_equal(pond_config_set(config, "lease", "100ms", NULL), POND_OK);
    assert_int_equal(pond_config_set(config, "publish_stats", "10ms", NULL), POND_OK);
    bool tls = strncmp(cache, "rediss:", 7) == 0;
    if (tls) assert_int_equal(pond_config_set(config, "tls_ca", certificate("ca.pem"), NULL), POND_OK);
    atomic_store(&all_that_follow, follow);
    for (int i = 0; i < 3; i++) scene(config, "warm-up", false); /* what is allocated once for the process */
    long n = 0, at_first = atomic_load(&blocks);
    for (long unspent = -1; unspent <= 0; n += step > 1 ? 1 + dice(2 * step - 1) : 1) {
        snprintf(key, sizeof key, "%s", fresh("k"));
        long before = atomic_load(&blocks);
        atomic_store(&left, n);
        atomic_store(&armed, true);
        scene(config, key, tls);
        atomic_store(&armed, false);
        unspent = atomic_load(&left);
        int64_t until = clock_ms() + (tls ? 20 : 1000);
        while (atomic_load(&blocks) != before && clock_ms() < until) rest_ms(1);
        if (atomic_load(&blocks) != before && !tls)
            fail_msg("%ld blocks are left over after the allocation %ld failed", atomic_load(&blocks) - before, n);
    }
    if (atomic_load(&blocks) - at_first > KEPT) fail_msg("%ld blocks are left over", atomic_load(&blocks) - at_first);
    pond_config_free(config);
    return n;
}

static void over_memory(void **state) {
    (void)state;
    long n = until_nothing_fails("memory:nomem", false, 1);
    printf("           %ld allocations failed, one at a time\n", n);
    assert_true(n > 30);
    until_nothing_fails("memory:nomem", true, 1);
}

static void over_redis(void **state) {
    (void)state;
    long n = until_nothing_fails(redis_url(), false, 1);
    printf("           %ld allocations failed, one at a time\n", n);
    assert_true(n > 60);
    until_nothing_fails(redis_url(), true, 1);
}

/* OpenSSL allocates a thousand times for a connection. */
static void over_tls(void **state) {
    (void)state;
    long n = until_nothing_fails(redis_tls_url(), false, 80);
    printf("           the last that failed was the allocation %ld\n", n);
    assert_true(n > 500);
    until_nothing_fails(redis_tls_url(), true, 80);
}

/* While it is set up: OpenSSL goes on without the ciphers that it found no memory for, so the pond may say that it is open, and its
 * cache is down for good. Nothing more than that may happen. */
static void opened_over_tls(void **state) {
    (void)state;
    pond_config *config = pond_config_new();
    assert_int_equal(pond_config_set(config, "cache", redis_tls_url(), NULL), POND_OK);
    assert_int_equal(pond_config_set(config, "tls_ca", certificate("ca.pem"), NULL), POND_OK);
    assert_int_equal(pond_config_set(config, "tls_cert", certificate("both.pem"), NULL), POND_OK);
    for (int follow = 0; follow < 2; follow++) {
        atomic_store(&all_that_follow, follow);
        long n = 0, before = atomic_load(&blocks);
        for (long unspent = -1; unspent <= 0; n += 1 + dice(39)) {
            pond *p = NULL;
            pond_error *err = NULL;
            atomic_store(&left, n);
            atomic_store(&armed, true);
            int code = pond_open(&p, config, &err);
            atomic_store(&armed, false);
            unspent = atomic_load(&left);
            if (code != POND_EOPTION) allowed(code); /* it may take a file for bad, too */
            pond_error_free(err);
            if (p) blocking_calls(p, "k");
            pond_free(p);
        }
        assert_true(n > 500);
        for (int64_t until = clock_ms() + 1000; atomic_load(&blocks) - before > KEPT && clock_ms() < until;) rest_ms(1);
        if (atomic_load(&blocks) - before > KEPT) fail_msg("%ld blocks are left over", atomic_load(&blocks) - before);
    }
    pond_config_free(config);
}
#endif

static void skipped(void **state) {
    (void)state;
    skip();
}

int main(void) {
    watchdog(110);
    const struct CMUnitTest tests[] = {
#if REPLACED
        cmocka_unit_test(over_memory),
        cmocka_unit_test(over_redis),
        cmocka_unit_test(over_tls),
        cmocka_unit_test(opened_over_tls),
#else
        cmocka_unit_test(skipped),
#endif
    };
#if REPLACED
    (void)skipped;
#endif
    return cmocka_run_group_tests_name("no memory", tests, NULL, NULL);
}
