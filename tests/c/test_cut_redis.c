/* A server, a proxy or a firewall closes a connection that stood idle: the next call does not notice. */
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
                                       cmocka_unit_test(a_fill_does_not_notice)};
    return cmocka_run_group_tests(tests, begin, end);
}
