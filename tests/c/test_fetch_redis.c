/* Blocking calls on Redis. */
#include "support/fetch_cases.h"
#include "support/redis.h"
#include "support/support.h"

static redisContext *redis;

/* Nobody waits for a release, and nobody drives the loop after the call has returned: it is sent all the same. */
static void what_nobody_waits_for_is_sent(void **state) {
    (void)state;
    pond *p = pond_made(redis_url(), "namespace", "sent", NULL);
    for (int i = 0; i < 5; i++) {
        const char *key = fresh("k");
        fetcher f = {.p = p, .key = key, .script = {.value = "empty page", .flags = POND_LOAD_UNCACHED}};
        assert_int_equal(fetch(&f), POND_OK);
        for (int64_t until = clock_ms() + 1000;
             redis_number(redis, "EXISTS mp:l:{sent:%s}", key) && clock_ms() < until;)
            rest_ms(1);
        assert_int_equal(redis_number(redis, "EXISTS mp:l:{sent:%s}", key), 0);
    }
    pond_free(p);
}

/* A waiter that was interrupted while it asked for the lease: whatever was granted to it goes back. */
static int at_once(void *ctx) {
    (void)ctx;
    return 1;
}

static void a_lease_granted_to_nobody_goes_back(void **state) {
    (void)state;
    pond *p = pond_made(redis_url(), "namespace", "back", "command_timeout", "2s", NULL);
    fetch_text(p, fresh("warm"), NULL, "x");
    pond_set_interrupt(p, at_once, NULL);
    const char *key = fresh("k");
    fetcher f = {.p = p, .key = key, .script = {.value = "one"}};
    redis_do(redis, "CLIENT PAUSE 1500 ALL");
    assert_int_equal(fetch(&f), POND_EINTERRUPTED);
    redis_do(redis, "CLIENT UNPAUSE");
    for (int64_t until = clock_ms() + 1000; redis_number(redis, "EXISTS mp:l:{back:%s}", key) && clock_ms() < until;)
        rest_ms(1);
    assert_int_equal(redis_number(redis, "EXISTS mp:l:{back:%s}", key), 0);
    pond_free(p);
}

int main(void) {
    int failed = fetch_cases(redis_url());
    redis = redis_open(redis_url());
    if (!redis) return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_nobody_waits_for_is_sent),
        cmocka_unit_test(a_lease_granted_to_nobody_goes_back),
    };
    failed += cmocka_run_group_tests_name("fetch on redis", tests, NULL, NULL);
    redisFree(redis);
    return failed;
}
