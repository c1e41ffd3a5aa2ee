/* A server, a proxy or a firewall closes a connection that stood idle: the next call does not notice. */
#include "support/fake.h"
#include "support/redis.h"
#include "support/support.h"

static redisContext *server;
static pond *p;

/* As `timeout` in redis.conf does it, and every proxy. */
static void cut(void) { redis_do(server, "CLIENT KILL TYPE normal SKIPME yes"); }

static void blocking_calls_do_not_notice(void **state) {
    (void)state;
    char key[64];
    snprintf(key, sizeof key, "%s", fresh("cut"));
    assert_string_equal(fetch_text(p, key, NULL, "x"), "x");
    for (int i = 0; i < 20; i++) {
        cut();
        assert_string_equal(lookup_text(p, key, NULL), "x");
        cut();
        assert_string_equal(fetch_text(p, key, NULL, "y"), "x");
        cut();
        pond_value *info = NULL;
        assert_int_equal(pond_explain(p, key, strlen(key), NULL, &info, NULL), POND_OK);
        pond_value_free(info);
        cut();
        const char *other = fresh("miss");
        assert_string_equal(fetch_text(p, other, NULL, "z"), "z");
        assert_string_equal(lookup_text(p, other, NULL), "z");
        cut();
        invalidate(p, other, NULL);
        assert_string_equal(lookup_text(p, other, NULL), "(miss)");
    }
    assert_int_equal(pond_stat(p, NULL, "unfilled_loads"), 0);
    assert_int_equal(pond_stat(p, NULL, "cache_errors"), 0);
}

/* In mid-load: the fill goes out on another connection, and is accepted. */
static void cut_while_loading(pond_load *load, void *ctx) {
    (void)ctx;
    cut();
    pond_load_value(load, "x", 1, POND_TEXT, 0);
}

static void a_fill_does_not_notice(void **state) {
    (void)state;
    const char *key = fresh("fill");
    pond_value *value = NULL;
    assert_int_equal(pond_fetch(p, key, strlen(key), NULL, cut_while_loading, NULL, &value, NULL), POND_OK);
    pond_value_free(value);
    assert_string_equal(lookup_text(p, key, NULL), "x");
}

/* ---- a generation is made once ---- */

typedef struct maker {
    atomic_int made;
    char tokens[2][16];
} maker;

/* The answer to the first one is lost. */
static void lose_the_first(fake_conn *c) {
    maker *m = c->ctx;
    while (fake_read(c)) {
        if (c->kind == FAKE_TAG && c->argc == 9) { /* gen.lua: EVALSHA, its name, 2, two keys and four arguments */
            int at = atomic_fetch_add(&m->made, 1);
            assert_true(c->len[5] == 16);
            if (at < 2) memcpy(m->tokens[at], c->argv[5], 16);
            if (at == 0) return;
        }
        fake_proper(c);
    }
}

/* It may have been made, used by others and invalidated before the connection went: then it must not come back. */
static void a_generation_is_not_made_twice(void **state) {
    (void)state;
    maker m = {0};
    fake *f = fake_start(lose_the_first, &m);
    pond *q = pond_made(fake_url(f), NULL);
    pond_tags *tags = tags_made(q, "t");
    assert_string_equal(fetch_tagged_text(q, "k", tags, "x"), "x");
    assert_true(atomic_load(&m.made) >= 2);
    assert_memory_not_equal(m.tokens[0], m.tokens[1], 16);
    pond_tags_free(tags);
    pond_free(q);
    fake_stop(f);
}

static int begin(void **state) {
    (void)state;
    watchdog(60);
    server = redis_open(redis_url());
    p = pond_made(redis_url(), NULL);
    return 0;
}

static int end(void **state) {
    (void)state;
    pond_free(p);
    redisFree(server);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(blocking_calls_do_not_notice),
                                       cmocka_unit_test(a_fill_does_not_notice),
                                       cmocka_unit_test(a_generation_is_not_made_twice)};
    return cmocka_run_group_tests(tests, begin, end);
}
