/* Reads that ask the same at the same time are one command, and none of them gets anything older than its call. */
#include "support/redis.h"
#include "support/support.h"

static redisContext *redis;
static pond *p, *other;
static desk d;
static char key[64], name[96]; /* share:key */

static uint64_t stat(const char *counter) { return pond_stat(p, "share", counter); }

static int set_up(void **state) {
    (void)state;
    p = pond_made(redis_url(), "namespace", "share", NULL);
    other = pond_made(redis_url(), "namespace", "share", NULL);
    desk_open(&d, p, 2);
    for (size_t i = 0; i < 2; i++) {
        desk_fetch(&d, i, "warm", NULL, 0, NULL);
        pond_event *event = desk_event(&d, i, 5000);
        if (pond_event_kind(event) == POND_EVENT_LOAD) {
            answer_text(pond_event_load(event), "x");
            desk_value(&d, i, 0, "x");
        }
        pond_event_free(event);
    }
    invalidate(other, "cold", NULL);
    snprintf(key, sizeof key, "%s", fresh("k"));
    snprintf(name, sizeof name, "share:%s", key);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    desk_close(&d);
    pond_free(p);
    pond_free(other);
    return 0;
}

/* GETs since the last look: those that came over a connection, not those of scripts. */
static long long gets(void) {
    static long long seen;
    const redisReply *r = redis_do(redis, "INFO commandstats");
    const char *get = strstr(r->str, "cmdstat_get:calls=");
    long long now = get ? strtoll(get + 18, NULL, 10) : 0, fresh_ones = now - seen;
    seen = now;
    return fresh_ones;
}

static void a_crowd_is_one_question(void **state) {
    (void)state;
    enum { CROWD = 100 };
    fetch_text(other, key, NULL, "stored");
    uint64_t hits = stat("hits");
    gets();
    for (uint64_t i = 0; i < CROWD; i++) desk_fetch(&d, 0, key, NULL, i, NULL);
    for (uint64_t i = 0; i < CROWD; i++) desk_value(&d, 0, i, "stored");
    assert_int_equal(gets(), 1);
    assert_int_equal(stat("hits") - hits, CROWD);
}

/* Other keys may come between; where two of them have the same place, they are asked for more often. */
static void several_crowds_at_once(void **state) {
    (void)state;
    enum { KEYS = 8, CROWD = 25 };
    char keys[KEYS][64];
    for (size_t k = 0; k < KEYS; k++) {
        snprintf(keys[k], sizeof keys[k], "%s", fresh("k"));
        fetch_text(other, keys[k], NULL, keys[k]);
    }
    gets();
    for (uint64_t i = 0; i < KEYS * CROWD; i++) desk_fetch(&d, 0, keys[i % KEYS], NULL, i, NULL);
    for (uint64_t i = 0; i < KEYS * CROWD; i++) {
        pond_event *event = desk_event(&d, 0, 5000);
        assert_non_null(event);
        size_t len;
        assert_string_equal(pond_value_data(pond_event_value(event), &len), keys[pond_event_user(event) % KEYS]);
        pond_event_free(event);
    }
    assert_in_range(gets(), KEYS, KEYS * CROWD * 3 / 4);
}

/* What has been sent may have been answered before somebody else's call. */
static void what_has_left_is_not_shared(void **state) {
    (void)state;
    fetch_text(other, key, NULL, "old");
    gets();
    desk_fetch(&d, 0, key, NULL, 1, NULL);
    pond_queue_flush(d.queue[0]);
    for (int64_t until = clock_ms() + 5000; gets() == 0;) assert_true(clock_ms() < until); /* it has found "old" */
    invalidate(other, key, NULL);
    fetch_text(other, key, NULL, "new");
    desk_fetch(&d, 0, key, NULL, 2, NULL);
    desk_value(&d, 0, 1, "old");
    desk_value(&d, 0, 2, "new");
}

static void lookups_and_fetches(void **state) {
    (void)state;
    desk_fetch(&d, 0, key, NULL, 1, NULL);
    assert_int_equal(pond_lookup_start(p, d.queue[0], key, strlen(key), NULL, 2, NULL, NULL, NULL), POND_OK);
    desk_fetch(&d, 0, key, NULL, 3, NULL);
    pond_event *event = desk_event(&d, 0, 5000);
    assert_int_equal(pond_event_kind(event), POND_EVENT_MISS);
    assert_int_equal(pond_event_user(event), 2);
    pond_event_free(event);
    answer_text(desk_load(&d, 0, 1), "loaded");
    desk_value(&d, 0, 1, "loaded");
    desk_value(&d, 0, 3, "loaded");
}

static void whoever_asks_may_go(void **state) {
    (void)state;
    enum { CROWD = 5 };
    pond_request *request[CROWD];
    fetch_text(other, key, NULL, "stored");
    for (unsigned gone = 0; gone < 1u << CROWD; gone++) { /* every set of those who go */
        for (uint64_t i = 0; i < CROWD; i++) desk_fetch(&d, 0, key, NULL, i, &request[i]);
        if (gone % 2 && gone & 8) pond_queue_flush(d.queue[0]);
        for (size_t i = 0; i < CROWD; i++)
            if (gone >> i & 1) pond_request_cancel(request[i]);
        bool seen[CROWD] = {false};
        for (unsigned left = CROWD - (unsigned)__builtin_popcount(gone); left; left--) {
            pond_event *event = desk_event(&d, 0, 5000);
            assert_non_null(event);
            uint64_t who = pond_event_user(event);
            assert_false(gone >> who & 1 || seen[who]);
            seen[who] = true;
            size_t len;
            assert_string_equal(pond_value_data(pond_event_value(event), &len), "stored");
            pond_event_free(event);
        }
        assert_int_equal(pond_queue_pending(d.queue[0]), 0);
    }
    desk_nothing(&d, 5);
}

static void all_may_be_closed(void **state) {
    (void)state;
    for (int sent = 0; sent < 2; sent++) {
        for (uint64_t i = 0; i < 50; i++) desk_fetch(&d, 0, key, NULL, i, NULL);
        if (sent) pond_queue_flush(d.queue[0]);
        desk_free_queue(&d, 0);
        assert_int_equal(pond_queue_new(&d.queue[0], p, NULL), POND_OK);
    }
    for (uint64_t i = 0; i < 50; i++) desk_fetch(&d, 0, key, NULL, i, NULL);
    pond_close(p, 0);
    for (uint64_t i = 0; i < 50; i++) desk_error(&d, 0, i, POND_ECLOSED);
}

/* Questions that wait for the connection are one as well. */
static void the_first_ever(void **state) {
    (void)state;
    fetch_text(other, key, NULL, "stored");
    desk_free_queue(&d, 0);
    assert_int_equal(pond_queue_new(&d.queue[0], p, NULL), POND_OK);
    gets();
    for (uint64_t i = 0; i < 50; i++) desk_fetch(&d, 0, key, NULL, i, NULL);
    for (uint64_t i = 0; i < 50; i++) desk_value(&d, 0, i, "stored");
    assert_int_equal(gets(), 1);
}

static void no_server(void **state) {
    (void)state;
    pond *nowhere = pond_made("redis://127.0.0.1:1", "namespace", "share", NULL);
    pond_policy *strict = policy_made(nowhere, "when_cache_down", "error", NULL);
    desk n;
    desk_open(&n, nowhere, 1);
    for (uint64_t i = 0; i < 20; i++) desk_fetch(&n, 0, key, NULL, i, NULL);
    answer_text(desk_load(&n, 0, 0), "from the store");
    for (uint64_t i = 0; i < 20; i++) desk_value(&n, 0, i, "from the store");
    for (uint64_t i = 0; i < 20; i++) desk_fetch(&n, 0, "other", strict, i, NULL);
    for (uint64_t i = 0; i < 20; i++) desk_error(&n, 0, i, POND_ECACHE);
    desk_close(&n);
    pond_policy_free(strict);
    pond_free(nowhere);
}

/* ---- a load that is known of ---- */

static void who_comes_during_a_load_asks_nothing(void **state) {
    (void)state;
    desk_fetch(&d, 0, key, NULL, 1, NULL);
    pond_load *load = desk_load(&d, 0, 1);
    gets();
    for (uint64_t i = 2; i < 20; i++) {
        desk_fetch(&d, 0, key, NULL, i, NULL);
        desk_drive(&d, 2);
    }
    assert_int_equal(gets(), 0);
    answer_text(load, "loaded");
    for (uint64_t i = 1; i < 20; i++) desk_value(&d, 0, i, "loaded");
}

/* Unless the lease is known to be lost: then others may have filled. */
static void but_not_if_the_lease_was_lost(void **state) {
    (void)state;
    pond_policy *brief = policy_made(p, "lease", "150ms", NULL);
    desk_fetch(&d, 0, key, brief, 1, NULL);
    pond_load *load = desk_load(&d, 0, 1);
    invalidate(other, key, NULL);
    assert_string_equal(fetch_text(other, key, NULL, "newer"), "newer");
    desk_drive(&d, 200); /* a renewal has been refused */
    desk_fetch(&d, 0, key, brief, 2, NULL);
    desk_value(&d, 0, 2, "newer");
    answer_text(load, "older");
    desk_value(&d, 0, 1, "older");
    pond_policy_free(brief);
}

static void nor_if_it_was_written_here(void **state) {
    (void)state;
    desk_fetch(&d, 0, key, NULL, 1, NULL);
    pond_load *load = desk_load(&d, 0, 1);
    invalidate(p, key, NULL);
    assert_string_equal(fetch_text(other, key, NULL, "newer"), "newer");
    desk_fetch(&d, 0, key, NULL, 2, NULL);
    desk_value(&d, 0, 2, "newer");
    answer_text(load, "older");
    desk_value(&d, 0, 1, "older");
}

/* A host that is busy elsewhere makes nobody wait for what the cache has. */
static void nor_of_another_loop(void **state) {
    (void)state;
    desk_fetch(&d, 0, key, NULL, 1, NULL);
    pond_load *load = desk_load(&d, 0, 1);
    redis_do(redis, "DEL mp:l:{%s}", name);
    assert_string_equal(fetch_text(other, key, NULL, "newer"), "newer");
    desk_fetch(&d, 1, key, NULL, 2, NULL);
    desk_value(&d, 1, 2, "newer");
    answer_text(load, "mine");
    desk_value(&d, 0, 1, "mine");
}

/* Threads, tasks and cancellations at random on few keys: everybody gets an answer, and none that is older than the call. */
typedef struct storm {
    atomic_int stored[4], acknowledged[4]; /* versions */
    atomic_bool over;
    atomic_int wrong, answered;
} storm;

typedef struct storm_load {
    storm *of;
    int key;
} storm_load;

static void storm_loader(pond_load *load, void *ctx) {
    storm_load *l = ctx;
    char text[16];
    int len = snprintf(text, sizeof text, "%d", atomic_load(&l->of->stored[l->key]));
    pond_load_value(load, text, (size_t)len, POND_TEXT, 0);
}

static void *storm_thread(void *arg) {
    storm *s = arg;
    while (!atomic_load(&s->over)) {
        int k = (int)dice(4);
        char name_of[16];
        int len = snprintf(name_of, sizeof name_of, "storm%d", k);
        int least = atomic_load(&s->acknowledged[k]);
        storm_load l = {s, k};
        pond_value *value = NULL;
        size_t n;
        int code = pond_fetch(p, name_of, (size_t)len, NULL, storm_loader, &l, &value, NULL);
        if (code != POND_OK || atoi(pond_value_data(value, &n)) < least) atomic_fetch_add(&s->wrong, 1);
        atomic_fetch_add(&s->answered, 1);
        pond_value_free(value);
    }
    return NULL;
}

static void a_storm(void **state) {
    (void)state;
    enum { THREADS = 6 };
    static storm s;
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, storm_thread, &s);
    for (int64_t until = clock_ms() + 1500; clock_ms() < until; rest_ms(1)) {
        int k = (int)dice(4), next = atomic_load(&s.stored[k]) + 1;
        char name_of[16];
        snprintf(name_of, sizeof name_of, "storm%d", k);
        atomic_store(&s.stored[k], next);
        invalidate(other, name_of, NULL);
        atomic_store(&s.acknowledged[k], next);
    }
    atomic_store(&s.over, true);
    for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    print_message("%d answers\n", atomic_load(&s.answered));
    assert_int_equal(atomic_load(&s.wrong), 0);
}

int main(void) {
    watchdog(110);
    redis = redis_open(redis_url());
    if (!redis) return 2;
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_crowd_is_one_question),
        CASE(several_crowds_at_once),
        CASE(what_has_left_is_not_shared),
        CASE(lookups_and_fetches),
        CASE(whoever_asks_may_go),
        CASE(all_may_be_closed),
        CASE(the_first_ever),
        CASE(no_server),
        CASE(who_comes_during_a_load_asks_nothing),
        CASE(but_not_if_the_lease_was_lost),
        CASE(nor_if_it_was_written_here),
        CASE(nor_of_another_loop),
        CASE(a_storm),
    };
    int failed = cmocka_run_group_tests_name("shared questions", tests, NULL, NULL);
    redisFree(redis);
    return failed;
}
