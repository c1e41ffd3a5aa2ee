/* Servers that lose, forget or hide what they had: restarts, replicas, FLUSHALL, rights. */
#include "support/redis.h"
#include "support/server.h"
#include "support/support.h"

static pond *made(const server *s, const char *fence) {
    return pond_made(server_url(s), "namespace", "fence", "fence", fence, "command_timeout", "300ms", NULL);
}

/* Until the connection is made anew, the store answers without the cache. */
static void await_fill(pond *p, const char *key, const char *value) {
    for (int64_t until = clock_ms() + 5000; strcmp(lookup_text(p, key, NULL), value) != 0;) {
        assert_true(clock_ms() < until);
        fetch_text(p, key, NULL, value);
        rest_ms(5);
    }
}

static bool up(pond *p) {
    pond_value *value = NULL;
    int code = pond_lookup(p, "any", 3, NULL, &value, NULL);
    pond_value_free(value);
    return code == POND_OK;
}

static void await_up(pond *p) {
    for (int64_t until = clock_ms() + 5000; !up(p); rest_ms(5)) assert_true(clock_ms() < until);
}

/* The server comes back with an old snapshot: what it holds may be older than what was acknowledged since. */
static void what_a_snapshot_brings_back_is_not_served(void **state) {
    (void)state;
    server *s = server_start(NULL);
    pond *p = made(s, "on"), *off = made(s, "off");
    assert_string_equal(fetch_text(p, "k", NULL, "old"), "old");
    assert_string_equal(fetch_text(off, "o", NULL, "old"), "old");
    assert_string_equal(lookup_text(off, "k", NULL), "(miss)"); /* mixed settings: each misses the other's */
    assert_string_equal(lookup_text(p, "o", NULL), "(miss)");
    assert_string_equal(fetch_text(p, "k", NULL, "old"), "old");
    redis_do(server_client(s), "SAVE");
    invalidate(p, "k", NULL);
    assert_string_equal(fetch_text(p, "k", NULL, "new"), "new");
    server_kill(s, false);
    server_again(s);
    assert_int_equal(redis_number(server_client(s), "EXISTS mp:v:{fence:k}"), 1); /* the old one */
    await_up(p);
    assert_string_equal(lookup_text(p, "k", NULL), "(miss)");
    assert_string_equal(fetch_text(p, "k", NULL, "newest"), "newest");
    assert_string_equal(lookup_text(p, "k", NULL), "newest");
    /* A process that starts now agrees. */
    pond *later = made(s, "on");
    assert_string_equal(lookup_text(later, "k", NULL), "newest");
    /* Without a fence the cache stays warm, and stale. */
    await_up(off);
    assert_string_equal(fetch_text(off, "o", NULL, "new"), "old");
    pond_free(p);
    pond_free(off);
    pond_free(later);
    server_stop(s);
}

/* A lease is taken, the server restarts from a snapshot that has the lease too: the fill must not be accepted under the new
 * fence as something fresh. */
static void a_load_across_a_restart(void **state) {
    (void)state;
    server *s = server_start(NULL);
    pond *p = made(s, "on");
    desk d;
    desk_open(&d, p, 1);
    desk_fetch(&d, 0, "k", NULL, 1, NULL);
    pond_load *load = desk_load(&d, 0, 1);
    assert_int_equal(redis_number(server_client(s), "EXISTS mp:l:{fence:k}"), 1);
    server_kill(s, true);
    server_again(s);
    for (int64_t until = clock_ms() + 5000; clock_ms() < until; desk_drive(&d, 5)) { /* the queue is connected again */
        pond_event *event = NULL;
        assert_int_equal(pond_lookup_start(p, d.queue[0], "any", 3, NULL, 2, NULL, NULL, NULL), POND_OK);
        event = desk_event(&d, 0, 1000);
        assert_non_null(event);
        bool there = pond_event_kind(event) == POND_EVENT_MISS;
        pond_event_free(event);
        if (there) break;
    }
    uint64_t refused = pond_stat(p, NULL, "refused_fills");
    answer_text(load, "read before");
    desk_value(&d, 0, 1, "read before");
    assert_int_equal(pond_stat(p, NULL, "refused_fills"), refused + 1);
    assert_string_equal(lookup_text(p, "k", NULL), "(miss)");
    /* and its lease was given back */
    int64_t began = clock_ms();
    assert_string_equal(fetch_text(p, "k", NULL, "read after"), "read after");
    assert_true(clock_ms() - began < 1000);
    desk_close(&d);
    pond_free(p);
    server_stop(s);
}

static void everything_is_flushed(void **state) {
    (void)state;
    server *s = server_start(NULL);
    pond *p = made(s, "on");
    gate began, go;
    gate_init(&began);
    gate_init(&go);
    fetch_text(p, "k", NULL, "one");
    fetcher f = {.p = p, .key = "loading", .script = {.value = "one", .began = &began, .go = &go}};
    fetcher_start(&f);
    assert_true(gate_wait(&began, 5000));
    redis_do(server_client(s), "FLUSHALL");
    redis_do(server_client(s), "SCRIPT FLUSH");
    assert_string_equal(lookup_text(p, "k", NULL), "(miss)");
    gate_open(&go);
    fetcher_join(&f);
    assert_string_equal(f.text, "one");
    assert_int_equal(pond_stat(p, NULL, "refused_fills"), 1); /* its lease was flushed as well */
    assert_string_equal(fetch_text(p, "k", NULL, "two"), "two");
    /* mp:f is gone: the next look makes a new fence, and nothing of the old one is served. */
    rest_ms(1100);
    assert_string_equal(lookup_text(p, "k", NULL), "(miss)");
    assert_int_equal(redis_number(server_client(s), "EXISTS mp:f"), 1);
    await_fill(p, "k", "three");
    pond_free(p);
    gate_destroy(&began);
    gate_destroy(&go);
    server_stop(s);
}

/* Killed and started empty, over and over, under load. */
typedef struct caller {
    pond *p;
    atomic_bool *stop;
    atomic_int wrong, answered;
    int64_t slowest;
} caller;

static void *call(void *arg) {
    caller *c = arg;
    for (int i = 0; !atomic_load(c->stop); i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i % 20);
        fetcher f = {.p = c->p, .key = key, .script = {.value = key}};
        if (fetch(&f) != POND_OK || strcmp(f.text, key) != 0) atomic_fetch_add(&c->wrong, 1);
        else atomic_fetch_add(&c->answered, 1);
        if (f.took_ms > c->slowest) c->slowest = f.took_ms;
        if (i % 50 == 49) {
            size_t len = strlen(key);
            const char *k = key;
            pond_invalidate(c->p, &k, &len, 1, NULL, NULL);
        }
    }
    return NULL;
}

static void restarts_under_load(void **state) {
    (void)state;
    server *s = server_start(NULL);
    pond *p = made(s, "on");
    atomic_bool stop = false;
    caller c[4];
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        c[i] = (caller){.p = p, .stop = &stop};
        pthread_create(&threads[i], NULL, call, &c[i]);
    }
    for (int i = 0; i < 4; i++) {
        rest_ms(100);
        server_kill(s, false);
        rest_ms(50);
        server_again(s);
    }
    server_freeze(s, true); /* neither dead nor alive */
    rest_ms(700);
    server_freeze(s, false);
    rest_ms(100);
    atomic_store(&stop, true);
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(atomic_load(&c[i].wrong), 0);
        assert_true(atomic_load(&c[i].answered) > 50);
        assert_true(c[i].slowest < 3000);
    }
    await_up(p);
    await_fill(p, "k0", "k0");
    pond_free(p);
    server_stop(s);
}

static void a_replica_is_refused(void **state) {
    (void)state;
    char host[64], port[16];
    assert_int_equal(sscanf(redis_url(), "redis://%63[^:]:%15[0-9]", host, port), 2);
    const char *const options[] = {"--replicaof", host, port, NULL};
    server *s = server_start(options);
    pond *p = pond_made(server_url(s), "namespace", "fence", "when_cache_down", "error", NULL);
    fetcher f = {.p = p, .key = "k", .script = {.value = "x"}};
    assert_int_equal(fetch(&f), POND_ECACHE);
    assert_non_null(strstr(f.text, "the server is a slave: connect to its master"));
    assert_int_equal(atomic_load(&f.script.calls), 0);
    /* It is promoted, and then it will do. */
    redis_do(server_client(s), "REPLICAOF NO ONE");
    await_up(p);
    assert_string_equal(fetch_text(p, "k", NULL, "x"), "x");
    /* And demoted again: within about a second nothing of it is served. */
    redis_do(server_client(s), "REPLICAOF %s %s", host, port);
    rest_ms(1100);
    pond_value *value = NULL;
    assert_int_equal(pond_lookup(p, "k", 1, NULL, &value, NULL), POND_ECACHE);
    pond_free(p);
    server_stop(s);
}

static void users_with_few_rights(void **state) {
    (void)state;
    server *s = server_start(NULL);
    redisContext *r = server_client(s);
    redis_do(r, "ACL SETUSER noinfo on >pass ~mp:* +@all -info");
    redis_do(r, "ACL SETUSER nokeys on >pass ~other:* +@all");
    redis_do(r, "ACL SETUSER enough on >pass ~mp:* +get +eval +evalsha +set +del +exists +pttl +hmget +hset +info "
                "+zremrangebyscore "
                "+zscore +zcard +zrem +zadd +zrevrange +strlen +append +pexpire +time +select");
    redis_do(r, "ACL SETUSER nodel on >pass ~mp:* +@all -set");
    const struct {
        const char *user, *password, *fence, *says; /* NULL: it works */
    } cases[] = {
        {"noinfo", "pass", "on", "the cache's user may not run INFO"},
        {"noinfo", "pass", "off", NULL},
        {"nokeys", "pass", "on", "~mp:*"},
        {"nokeys", "pass", "off", "mp:*"},
        {"enough", "pass", "on", NULL},
        {"enough", "wrong", "on", "check username and password"},
        {"nodel", "pass", "on", "lacks a permission"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pond *p = pond_made(server_url(s), "namespace", "rights", "when_cache_down", "error", "username", cases[i].user,
                            "password", cases[i].password, "fence", cases[i].fence, NULL);
        fetcher f = {.p = p, .key = fresh("k"), .script = {.value = "x"}};
        fetch(&f);
        if (!cases[i].says) {
            assert_string_equal(f.text, "x");
            assert_string_equal(lookup_text(p, f.key, NULL), "x");
            invalidate(p, f.key, NULL);
        } else {
            assert_int_equal(f.code, POND_ECACHE);
            if (!strstr(f.text, cases[i].says)) fail_msg("%s: %s", cases[i].user, f.text);
            assert_null(strstr(f.text, "pass "));
        }
        pond_free(p);
    }
    /* Without a password where one is asked for, and with one where none is. */
    redis_do(r, "CONFIG SET requirepass secret");
    pond *p = pond_made(server_url(s), "namespace", "rights", "when_cache_down", "error", NULL);
    fetcher f = {.p = p, .key = "k", .script = {.value = "x"}};
    assert_int_equal(fetch(&f), POND_ECACHE);
    assert_non_null(strstr(f.text, "password"));
    pond_free(p);
    p = pond_made(server_url(s), "namespace", "rights", "when_cache_down", "error", "password", "secret", NULL);
    assert_string_equal(fetch_text(p, "k", NULL, "x"), "x");
    pond_free(p);
    server_stop(s);
}

int main(void) {
    watchdog(110);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_snapshot_brings_back_is_not_served),
        cmocka_unit_test(a_load_across_a_restart),
        cmocka_unit_test(everything_is_flushed),
        cmocka_unit_test(restarts_under_load),
        cmocka_unit_test(a_replica_is_refused),
        cmocka_unit_test(users_with_few_rights),
    };
    return cmocka_run_group_tests_name("fence", tests, NULL, NULL);
}
