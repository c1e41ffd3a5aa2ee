/* Waiting for the load of another pond on the same memory: cache: whoever ends its lease tells who waits, on whatever loop. */
#include "support/support.h"

static pond *p, *other;
static char cache[64], key[64];
static fetcher holder, waiter;
static gate began, go;

static int set_up(void **state) {
    (void)state;
    snprintf(cache, sizeof cache, "memory:%s", fresh("push"));
    p = pond_made(cache, "namespace", "push", "wait_timeout", "20s", NULL);
    other = pond_made(cache, "namespace", "push", NULL);
    snprintf(key, sizeof key, "%s", fresh("k"));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    pond_free(p);
    pond_free(other);
    return 0;
}

static void hold(const char *value, int fail, pond_policy *policy) {
    gate_init(&began);
    gate_init(&go);
    holder = (fetcher){
        .p = other, .key = key, .policy = policy, .script = {.value = value, .fail = fail, .began = &began, .go = &go}};
    fetcher_start(&holder);
    assert_true(gate_wait(&began, 5000));
}

static void let_go(void) {
    gate_open(&go);
    fetcher_join(&holder);
}

static void start_waiting(void) {
    uint64_t misses = pond_stat(p, "push", "misses");
    waiter = (fetcher){.p = p, .key = key, .script = {.value = "its own"}};
    fetcher_start(&waiter);
    await_stat(p, "push", "misses", misses + 1);
    rest_ms(20);
}

static void told_of_the_fill(void **state) {
    (void)state;
    int64_t best = INT64_MAX;
    for (int i = 0; i < 7; i++) {
        snprintf(key, sizeof key, "%s", fresh("k"));
        hold("theirs", 0, NULL);
        start_waiting();
        rest_ms(200);
        int64_t freed = clock_ms();
        let_go();
        fetcher_join(&waiter);
        assert_string_equal(waiter.text, "theirs");
        if (clock_ms() - freed < best) best = clock_ms() - freed;
    }
    print_message("told within %lld ms at best\n", (long long)best);
    assert_in_range(best, 0, 20);
    assert_int_equal(pond_stat(p, "push", "loads"), 0);
}

/* Who is told of nothing would wait for the end of this lease. */
static void a_lease_that_is_released_or_revoked(void **state) {
    (void)state;
    pond_policy *forever = policy_made(other, "lease", "60s", NULL);
    for (int revoked = 0; revoked < 2; revoked++) {
        snprintf(key, sizeof key, "%s", fresh("k"));
        hold(NULL, POND_ELOADER, forever);
        start_waiting();
        int64_t freed = clock_ms();
        if (revoked) invalidate(other, key, NULL);
        else let_go();
        fetcher_join(&waiter);
        if (revoked) let_go();
        assert_string_equal(waiter.text, "its own");
        assert_in_range(clock_ms() - freed, 0, 1000);
    }
    pond_policy_free(forever);
}

/* The other's host has stopped: its lease is not renewed. */
static void a_lease_that_ends(void **state) {
    (void)state;
    pond_policy *brief = policy_made(other, "lease", "300ms", NULL);
    desk d;
    desk_open(&d, other, 1);
    desk_fetch(&d, 0, key, brief, 1, NULL);
    pond_load *load = desk_load(&d, 0, 1);
    start_waiting();
    fetcher_join(&waiter);
    assert_string_equal(waiter.text, "its own");
    assert_in_range(waiter.took_ms, 100, 2000);
    answer_text(load, "theirs");
    desk_value(&d, 0, 1, "theirs");
    desk_close(&d);
    pond_policy_free(brief);
}

static void cancelled_and_closed(void **state) {
    (void)state;
    pond_request *request;
    desk d;
    desk_open(&d, p, 3);
    hold("theirs", 0, NULL);
    for (int i = 0; i < 3; i++) { /* given up */
        desk_fetch(&d, 0, key, NULL, 1, &request);
        desk_drive(&d, 5);
        pond_request_cancel(request);
    }
    desk_fetch(&d, 1, "another", NULL, 2, NULL); /* a load, and the loop that it was for goes away */
    pond_load *load = desk_load(&d, 1, 2);
    desk_free_queue(&d, 1);
    pond_load_fail(load, 0, "nobody hears it");
    desk_fetch(&d, 0, key, NULL, 3, NULL); /* at home on a loop that goes away: the next takes over */
    desk_drive(&d, 5);
    desk_fetch(&d, 2, key, NULL, 4, NULL);
    desk_drive(&d, 5);
    desk_free_queue(&d, 0);
    desk_drive(&d, 5);
    let_go();
    desk_value(&d, 2, 4, "theirs");
    snprintf(key, sizeof key, "%s", fresh("k"));
    hold("theirs", 0, NULL);
    start_waiting();
    assert_int_equal(pond_close(p, 0), POND_ETIMEOUT);
    fetcher_join(&waiter);
    assert_int_equal(waiter.code, POND_ECLOSED);
    let_go();
    desk_close(&d);
}

/* Threads of both ponds on few keys, with invalidations, failures and impatience: everybody gets an answer. */
static atomic_bool over;
static atomic_int answers, odd;

static void any_load(pond_load *load, void *ctx) {
    (void)ctx;
    if (dice(4) == 0) rest_ms(dice(3));
    if (dice(8) == 0) pond_load_fail(load, POND_ELOADER, "as it happens");
    else pond_load_value(load, "v", 1, POND_TEXT, 0);
}

static void *any_calls(void *arg) {
    pond *of = arg;
    pond_policy *hasty = policy_made(of, "wait_timeout", "2ms", NULL);
    while (!atomic_load(&over)) {
        char name[16];
        size_t len = (size_t)snprintf(name, sizeof name, "storm%u", dice(3));
        const char *names = name;
        pond_value *value = NULL;
        int code = pond_fetch(of, name, len, dice(4) ? NULL : hasty, any_load, NULL, &value, NULL);
        if (code != POND_OK && code != POND_ELOADER && code != POND_ETIMEOUT) atomic_fetch_add(&odd, 1);
        pond_value_free(value);
        if (dice(3) == 0) pond_invalidate(of, &names, &len, 1, NULL, NULL);
        atomic_fetch_add(&answers, 1);
    }
    pond_policy_free(hasty);
    return NULL;
}

static void a_storm(void **state) {
    (void)state;
    pthread_t threads[8];
    for (size_t i = 0; i < 8; i++) pthread_create(&threads[i], NULL, any_calls, i % 2 ? p : other);
    rest_ms(1500);
    atomic_store(&over, true);
    for (size_t i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    print_message("%d answers\n", atomic_load(&answers));
    assert_int_equal(atomic_load(&odd), 0);
    assert_true(atomic_load(&answers) > 100);
}

int main(void) {
    watchdog(110);
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(told_of_the_fill),  CASE(a_lease_that_is_released_or_revoked),
        CASE(a_lease_that_ends), CASE(cancelled_and_closed),
        CASE(a_storm),
    };
    return cmocka_run_group_tests_name("waits on memory:", tests, NULL, NULL);
}
