#include "support/fetch_cases.h"

#include <signal.h>

#include "support/heartbeat.h"
#include "support/support.h"

static const char *cache_url;
static pond *p;
static char key[64];

static int set_up(void **state) {
    (void)state;
    p = pond_made(cache_url, "namespace", "fetch", NULL);
    snprintf(key, sizeof key, "%s", fresh("k"));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    assert_int_equal(pond_close(p, 2000), POND_OK);
    pond_free(p);
    return 0;
}

static uint64_t stat(const char *counter) { return pond_stat(p, "fetch", counter); }

enum { CROWD = 32 };

static void a_crowd_loads_once(void **state) {
    (void)state;
    for (int round = 0; round < 10; round++) {
        const char *cold = fresh("crowd");
        fetcher f[CROWD];
        int loads = 0;
        for (size_t i = 0; i < CROWD; i++) {
            f[i] = (fetcher){.p = p, .key = cold, .script = {.value = "one", .delay_ms = 5}};
            fetcher_start(&f[i]);
        }
        for (size_t i = 0; i < CROWD; i++) {
            fetcher_join(&f[i]);
            assert_int_equal(f[i].code, POND_OK);
            assert_string_equal(f[i].text, "one");
            loads += atomic_load(&f[i].script.calls);
        }
        assert_int_equal(loads, 1);
    }
}

/* Did this machine stand still for so long that a lease of 300 ms ends, whoever renews it? Then its fill is rightly refused,
 * and the test says nothing. Only the loader's own sleep shows it: a call also takes longer if it had to load anew. */
/* A lease is renewed every third of its time. Who cannot run for the rest of it, on a busy machine, loses it, and that is right: once
 * more then, with a lease twice as long. */
static bool stood_still(int64_t from, int64_t lease_ms) { return stalled_ms(from, clock_ms()) > lease_ms / 3; }

static pond_policy *with_lease(int64_t lease_ms) {
    char text[30];
    snprintf(text, sizeof text, "%lldms", (long long)lease_ms);
    return policy_made(p, "lease", text, NULL);
}

/* The only caller is inside its loader, so nobody drives: the background thread must renew the lease. */
static void a_lease_is_renewed_while_its_holder_loads(void **state) {
    (void)state;
    for (int64_t lease = 300; lease < 10000; lease *= 2) {
        pond_policy *brief = with_lease(lease);
        fetcher f = {.p = p, .key = fresh("k"), .policy = brief, .script = {.value = "slow", .delay_ms = 3 * lease}};
        uint64_t fills = stat("fills");
        int64_t began = clock_ms();
        assert_int_equal(fetch(&f), POND_OK);
        bool filled = stat("fills") == fills + 1;
        pond_policy_free(brief);
        if (filled) {
            assert_string_equal(lookup_text(p, f.key, NULL), "slow");
            return;
        }
        if (!stood_still(began, lease))
            fail_msg("not filled: refused %d, cache_errors %d, unfilled %d, took %lld ms", (int)stat("refused_fills"),
                     (int)stat("cache_errors"), (int)stat("unfilled_loads"), (long long)f.took_ms);
    }
    fail_msg("this machine stands still too often");
}

/* Four loaders at once, of four keys, and a fifth caller who waits. */
static void leases_are_renewed_while_others_wait(void **state) {
    (void)state;
    for (int64_t lease = 300; lease < 2000; lease *= 2) { /* the fifth waits 5 s */
        pond_policy *brief = with_lease(lease);
        char keys[4][64];
        fetcher f[5];
        uint64_t fills = stat("fills"), loads = stat("loads");
        int64_t began = clock_ms();
        for (size_t i = 0; i < 5; i++) {
            if (i < 4) snprintf(keys[i], sizeof keys[i], "%s", fresh("k"));
            f[i] = (fetcher){
                .p = p, .key = keys[i % 4], .policy = brief, .script = {.value = "slow", .delay_ms = 7 * lease / 3}};
            fetcher_start(&f[i]);
        }
        for (size_t i = 0; i < 5; i++) {
            fetcher_join(&f[i]);
            assert_string_equal(f[i].text, "slow");
        }
        pond_policy_free(brief);
        if (stat("fills") == fills + 4 && stat("loads") == loads + 4) return;
        if (!stood_still(began, lease))
            fail_msg("%d loads, %d fills", (int)(stat("loads") - loads), (int)(stat("fills") - fills));
    }
    fail_msg("this machine stands still too often");
}

/* ---- loaders that fetch ---- */

typedef struct nested {
    const char *key;
    size_t len;
    int code;
    char text[200];
} nested;

static void nest(pond_load *load, void *ctx) {
    nested *n = ctx;
    pond_value *value = NULL;
    pond_error *err = NULL;
    script inner = {.value = "inner"};
    n->code = pond_fetch(p, n->key, n->len, NULL, run_script, &inner, &value, &err);
    if (err) snprintf(n->text, sizeof n->text, "%s", pond_error_message(err));
    pond_value_free(value);
    pond_error_free(err);
    pond_load_value(load, "outer", 5, POND_TEXT, 0);
}

static int fetch_nested(const char *name, size_t len, nested *n) {
    pond_value *value = NULL;
    int code = pond_fetch(p, name, len, NULL, nest, n, &value, NULL);
    pond_value_free(value);
    return code;
}

static void loaders_may_fetch_other_keys(void **state) {
    (void)state;
    nested n = {.key = fresh("inner")};
    n.len = strlen(n.key);
    assert_int_equal(fetch_nested(key, strlen(key), &n), POND_OK);
    assert_int_equal(n.code, POND_OK);
    assert_string_equal(lookup_text(p, key, NULL), "outer");
    assert_string_equal(lookup_text(p, n.key, NULL), "inner");
}

static void a_loader_that_fetches_its_own_key(void **state) {
    (void)state;
    char *exact = malloc(5); /* no NUL behind it, and nothing else that may be read */
    memcpy(exact, "exact", 5);
    invalidate(p, "exact", NULL);
    nested n = {.key = exact, .len = 5};
    assert_int_equal(fetch_nested(exact, 5, &n), POND_OK);
    assert_int_equal(n.code, POND_EDEADLOCK);
    assert_non_null(strstr(n.text, "\"exact\""));
    free(exact);
}

/* ---- loaders that misbehave ---- */

static void say_nothing(pond_load *load, void *ctx) {
    (void)load;
    (void)ctx;
}

static void say_it_thrice(pond_load *load, void *ctx) {
    int *codes = ctx;
    codes[0] = pond_load_value(load, "first", 5, POND_TEXT, 0);
    codes[1] = pond_load_value(load, "second", 6, POND_TEXT, 0);
    codes[2] = pond_load_fail(load, 0, "third");
}

static void a_loader_answers_exactly_once(void **state) {
    (void)state;
    pond_value *value = NULL;
    pond_error *err = NULL;
    assert_int_equal(pond_fetch(p, key, strlen(key), NULL, say_nothing, NULL, &value, &err), POND_EMISUSE);
    assert_non_null(strstr(pond_error_message(err), "without an answer"));
    pond_error_free(err);
    int codes[3];
    assert_int_equal(pond_fetch(p, key, strlen(key), NULL, say_it_thrice, codes, &value, NULL), POND_OK);
    assert_int_equal(codes[0], POND_OK);
    assert_int_equal(codes[1], POND_EMISUSE);
    pond_value_free(value);
    assert_string_equal(lookup_text(p, key, NULL), "first");
}

/* ---- interruption ---- */

static atomic_int asked;
static int interrupt(void *ctx) {
    (void)ctx;
    return atomic_fetch_add(&asked, 1) >= 1;
}

static void a_wait_is_interrupted(void **state) {
    (void)state;
    gate began, go;
    gate_init(&began);
    gate_init(&go);
    pond_set_interrupt(p, interrupt, NULL);
    fetcher holder = {.p = p, .key = key, .script = {.value = "one", .began = &began, .go = &go}};
    fetcher_start(&holder);
    assert_true(gate_wait(&began, 5000));
    fetcher f[4];
    atomic_store(&asked, 0);
    for (size_t i = 0; i < 4; i++) {
        f[i] = (fetcher){.p = p, .key = key, .script = {.value = "two"}};
        fetcher_start(&f[i]);
    }
    for (size_t i = 0; i < 4; i++) {
        fetcher_join(&f[i]);
        assert_int_equal(f[i].code, POND_EINTERRUPTED);
        assert_in_range(f[i].took_ms, 80, 1000);
    }
    gate_open(&go);
    fetcher_join(&holder);
    assert_string_equal(holder.text, "one");
    assert_string_equal(lookup_text(p, key, NULL), "one");
    gate_destroy(&began);
    gate_destroy(&go);
}

/* Signals without a check are nobody's business: calls that they interrupt in the kernel go on. */
static void on_signal(int number) { (void)number; }

static void signals_do_not_disturb(void **state) {
    (void)state;
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART */
    sigaction(SIGUSR1, &action, NULL);
    gate began, go;
    gate_init(&began);
    gate_init(&go);
    fetcher f[4];
    for (size_t i = 0; i < 4; i++) f[i] = (fetcher){.p = p, .key = key, .script = {.value = "one"}};
    f[0].script.began = &began;
    f[0].script.go = &go;
    fetcher_start(&f[0]);
    assert_true(gate_wait(&began, 5000));
    for (size_t i = 1; i < 4; i++) fetcher_start(&f[i]);
    for (int k = 0; k < 100; k++) {
        for (size_t i = 1; i < 4; i++) pthread_kill(f[i].thread, SIGUSR1);
        rest_ms(1);
    }
    gate_open(&go);
    for (size_t i = 0; i < 4; i++) {
        fetcher_join(&f[i]);
        assert_string_equal(f[i].text, "one");
    }
    gate_destroy(&began);
    gate_destroy(&go);
}

/* ---- everybody at once ---- */

enum { KEYS = 5 };
typedef struct storm {
    char keys[KEYS][64];
    atomic_llong version[KEYS]; /* of the store */
    int rounds;
    atomic_int wrong, failed;
} storm;

typedef struct stormy_load {
    storm *s;
    size_t k;
} stormy_load;

static void load_version(pond_load *load, void *ctx) {
    stormy_load *at = ctx;
    char text[32];
    long long version = atomic_load(&at->s->version[at->k]);
    if (dice(4) == 0) rest_ms(1);
    snprintf(text, sizeof text, "%lld", version);
    if (dice(50) == 0) pond_load_fail(load, 0, "now and then");
    else pond_load_value(load, text, strlen(text), POND_TEXT, dice(10) == 0 ? POND_LOAD_UNCACHED : 0);
}

static void *storm_thread(void *arg) {
    storm *s = arg;
    for (int i = 0; i < s->rounds; i++) {
        stormy_load at = {.s = s, .k = dice(KEYS)};
        const char *name = s->keys[at.k];
        size_t len = strlen(name);
        if (dice(6) == 0) {
            atomic_fetch_add(&s->version[at.k], 1);
            if (pond_invalidate(p, &name, &len, 1, NULL, NULL) != POND_OK) atomic_fetch_add(&s->failed, 1);
            continue;
        }
        pond_value *value = NULL;
        int code = pond_fetch(p, name, len, NULL, load_version, &at, &value, NULL);
        if (code != POND_OK && code != POND_ELOADER) atomic_fetch_add(&s->failed, 1);
        pond_value_free(value);
    }
    return NULL;
}

/* One writer a key, so that what is acknowledged is known exactly. */
typedef struct writer {
    storm *s;
    size_t k;
    atomic_llong *acknowledged;
    atomic_bool *stop;
} writer;

static void *writer_thread(void *arg) {
    writer *w = arg;
    const char *name = w->s->keys[w->k];
    size_t len = strlen(name);
    for (int i = 0; i < w->s->rounds; i++) {
        long long version = atomic_fetch_add(&w->s->version[w->k], 1) + 1;
        if (pond_invalidate(p, &name, &len, 1, NULL, NULL) == POND_OK) atomic_store(w->acknowledged, version);
        if (dice(3) == 0) rest_ms(dice(2));
    }
    atomic_store(w->stop, true);
    return NULL;
}

static void *reader_thread(void *arg) {
    writer *w = arg;
    stormy_load at = {.s = w->s, .k = w->k};
    const char *name = w->s->keys[w->k];
    while (!atomic_load(w->stop)) {
        long long before = atomic_load(w->acknowledged);
        pond_value *value = NULL;
        size_t len;
        if (pond_fetch(p, name, strlen(name), NULL, load_version, &at, &value, NULL) != POND_OK) continue;
        if (strtoll(pond_value_data(value, &len), NULL, 10) < before) atomic_fetch_add(&w->s->wrong, 1);
        pond_value_free(value);
    }
    return NULL;
}

static void nothing_older_than_what_was_acknowledged(void **state) {
    (void)state;
    storm s = {.rounds = slow_build() ? 150 : 600};
    atomic_llong acknowledged[KEYS] = {0};
    atomic_bool stop[KEYS] = {false};
    writer w[KEYS];
    pthread_t writers[KEYS], readers[KEYS][3];
    for (size_t k = 0; k < KEYS; k++) {
        snprintf(s.keys[k], sizeof s.keys[k], "%s", fresh("storm"));
        w[k] = (writer){.s = &s, .k = k, .acknowledged = &acknowledged[k], .stop = &stop[k]};
        pthread_create(&writers[k], NULL, writer_thread, &w[k]);
        for (size_t i = 0; i < 3; i++) pthread_create(&readers[k][i], NULL, reader_thread, &w[k]);
    }
    for (size_t k = 0; k < KEYS; k++) {
        pthread_join(writers[k], NULL);
        for (size_t i = 0; i < 3; i++) pthread_join(readers[k][i], NULL);
    }
    assert_int_equal(atomic_load(&s.wrong), 0);
    assert_true(stat("refused_fills") > 0); /* else the race was never met */
}

static void a_storm_of_calls(void **state) {
    (void)state;
    storm s = {.rounds = slow_build() ? 100 : 400};
    for (size_t k = 0; k < KEYS; k++) snprintf(s.keys[k], sizeof s.keys[k], "%s", fresh("storm"));
    pthread_t threads[16];
    for (size_t i = 0; i < 16; i++) pthread_create(&threads[i], NULL, storm_thread, &s);
    for (size_t i = 0; i < 16; i++) pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&s.failed), 0);
}

int fetch_cases(const char *cache) {
    cache_url = cache;
    watchdog(100);
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_crowd_loads_once),
        CASE(a_lease_is_renewed_while_its_holder_loads),
        CASE(leases_are_renewed_while_others_wait),
        CASE(loaders_may_fetch_other_keys),
        CASE(a_loader_that_fetches_its_own_key),
        CASE(a_loader_answers_exactly_once),
        CASE(a_wait_is_interrupted),
        CASE(signals_do_not_disturb),
        CASE(nothing_older_than_what_was_acknowledged),
        CASE(a_storm_of_calls),
    };
    heartbeat_start();
    return cmocka_run_group_tests_name("fetch", tests, NULL, NULL);
}
