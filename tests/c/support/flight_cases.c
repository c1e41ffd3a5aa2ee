#include "support/flight_cases.h"
#include "support/support.h"

/* The fixture: a pond, three queues, a key that nobody knows. */
static const char *cache_url;
static pond *p;
static desk d;
static char key[64];

static int set_up(void **state) {
    (void)state;
    p = pond_made(cache_url, "namespace", "flight", "lease", "3s", NULL);
    desk_open(&d, p, 3);
    snprintf(key, sizeof key, "%s", fresh("k"));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    desk_close(&d);
    assert_int_equal(pond_close(p, 2000), POND_OK);
    pond_free(p);
    return 0;
}

static uint64_t stat(const char *counter) { return pond_stat(p, "flight", counter); }

/* A fetch that missed: its flight asks for the lease, but no answer was looked at. So who comes next may still share the load. */
static void start_early(size_t i, uint64_t user, pond_policy *policy, pond_request **request) {
    uint64_t misses = stat("misses");
    desk_fetch(&d, i, key, policy, user, request);
    while (stat("misses") == misses) pond_queue_poll(d.queue[i], NULL, 0, 0);
}

/* A fetch that comes while the load is out, and waits in the flight as well. */
static void start_late(size_t i, uint64_t user) { start_early(i, user, NULL, NULL); }

/* A thread that waits in the flight. */
static void start_thread(fetcher *f) {
    uint64_t misses = stat("misses");
    fetcher_start(f);
    await_stat(p, "flight", "misses", misses + 1);
    desk_nothing(&d, 20); /* and whatever was started on the queues moves as well */
}

static void early_callers_share_one_load(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 10; i++) desk_fetch(&d, 0, key, NULL, i, NULL);
    while (stat("misses") < 10) pond_queue_poll(d.queue[0], NULL, 0, 0);
    for (uint64_t i = 0; i < 5; i++) start_early(1, i, NULL, NULL);
    pond_load *load = desk_load(&d, 0, 0);
    answer_text(load, "one");
    for (uint64_t i = 0; i < 10; i++) desk_value(&d, 0, i, "one");
    for (uint64_t i = 0; i < 5; i++) desk_value(&d, 1, i, "one");
    assert_int_equal(stat("loads"), 1);
    assert_int_equal(stat("fills"), 1);
    assert_int_equal(stat("waits"), 14);
    for (size_t i = 0; i < 3; i++) assert_int_equal(pond_queue_pending(d.queue[i]), 0);
}

static void late_callers_share_what_was_cached(void **state) {
    (void)state;
    desk_fetch(&d, 0, key, NULL, 1, NULL);
    pond_load *load = desk_load(&d, 0, 1);
    start_late(0, 2);
    start_late(1, 3);
    fetcher f = {.p = p, .key = key, .script = {.value = "not this"}};
    start_thread(&f);
    answer_text(load, "one");
    desk_value(&d, 0, 1, "one");
    desk_value(&d, 0, 2, "one");
    desk_value(&d, 1, 3, "one");
    fetcher_join(&f);
    assert_string_equal(f.text, "one");
    assert_int_equal(stat("loads"), 1);
}

/* Rule 6: nobody who came after the invalidation may get what was read before it. */
static void late_callers_load_anew_after_an_invalidation(void **state) {
    (void)state;
    start_early(0, 0, NULL, NULL);
    start_early(1, 1, NULL, NULL);
    pond_load *load = desk_load(&d, 0, 0);
    invalidate(p, key, NULL);
    start_late(0, 3); /* late */
    desk_nothing(&d, 20);
    start_late(2, 4);
    desk_nothing(&d, 20);
    answer_text(load, "old");
    desk_value(&d, 0, 0, "old");
    desk_value(&d, 1, 1, "old");
    load = desk_load(&d, 0, 3);
    answer_text(load, "new");
    desk_value(&d, 0, 3, "new");
    desk_value(&d, 2, 4, "new");
    assert_int_equal(stat("refused_fills"), 1);
    assert_int_equal(stat("loads"), 2);
    assert_string_equal(lookup_text(p, key, NULL), "new");
}

static void late_threads_load_anew_after_an_invalidation(void **state) {
    (void)state;
    gate began, go;
    gate_init(&began);
    gate_init(&go);
    fetcher first = {.p = p, .key = key, .script = {.value = "old", .began = &began, .go = &go}};
    fetcher_start(&first);
    assert_true(gate_wait(&began, 5000));
    invalidate(p, key, NULL);
    fetcher late[8];
    for (size_t i = 0; i < 8; i++) {
        late[i] = (fetcher){.p = p, .key = key, .script = {.value = "new"}};
        start_thread(&late[i]);
    }
    for (size_t i = 0; i < 8; i++) assert_int_equal(atomic_load(&late[i].script.calls), 0);
    gate_open(&go);
    fetcher_join(&first);
    assert_string_equal(first.text, "old");
    int loads = 0;
    for (size_t i = 0; i < 8; i++) {
        fetcher_join(&late[i]);
        assert_string_equal(late[i].text, "new");
        loads += atomic_load(&late[i].script.calls);
    }
    assert_int_equal(loads, 1);
    gate_destroy(&began);
    gate_destroy(&go);
}

static void an_error_goes_to_all(void **state) {
    (void)state;
    start_early(0, 0, NULL, NULL);
    start_early(1, 1, NULL, NULL);
    pond_load *load = desk_load(&d, 0, 0);
    start_late(0, 3);
    start_late(2, 4);
    fetcher f = {.p = p, .key = key, .script = {.value = "not this"}};
    start_thread(&f);
    pond_load_fail(load, POND_ESTORE, "the disk is gone");
    desk_error(&d, 0, 0, POND_ESTORE);
    desk_error(&d, 1, 1, POND_ESTORE);
    desk_error(&d, 0, 3, POND_ESTORE);
    desk_error(&d, 2, 4, POND_ESTORE);
    fetcher_join(&f);
    assert_int_equal(f.code, POND_ESTORE);
    assert_string_equal(f.text, "the disk is gone");
    assert_string_equal(lookup_text(p, key, NULL), "(miss)");
    assert_int_equal(stat("load_errors"), 1);
    /* and the lease is free again */
    int64_t began = clock_ms();
    assert_string_equal(fetch_text(p, key, NULL, "back"), "back");
    assert_true(clock_ms() - began < 1000);
}

/* A load that was given up: its own call hears so, everybody else waits for another load. */
static void a_load_that_is_given_up(void **state) {
    (void)state;
    start_early(0, 0, NULL, NULL);
    start_early(1, 1, NULL, NULL);
    pond_load *load = desk_load(&d, 0, 0);
    start_late(0, 3);
    fetcher f = {.p = p, .key = key, .script = {.value = "by a thread"}};
    start_thread(&f);
    int64_t began = clock_ms();
    pond_load_fail(load, POND_ECANCELED, "the task was cancelled");
    desk_error(&d, 0, 0, POND_ECANCELED);
    load = desk_load(&d, 1, 1);
    assert_true(clock_ms() - began < 1000);
    answer_text(load, "one");
    desk_value(&d, 1, 1, "one");
    desk_value(&d, 0, 3, "one");
    fetcher_join(&f);
    assert_string_equal(f.text, "one");
    /* Given up after its call was cancelled, and with nobody else there. */
    pond_request *request;
    snprintf(key, sizeof key, "%s", fresh("k"));
    desk_fetch(&d, 0, key, NULL, 4, &request);
    load = desk_load(&d, 0, 4);
    pond_request_cancel(request);
    pond_load_fail(load, POND_ECANCELED, "the task was cancelled");
    desk_nothing(&d, 10);
    began = clock_ms();
    assert_string_equal(fetch_text(p, key, NULL, "next"), "next");
    assert_true(clock_ms() - began < 1000);
    /* By a thread that others wait for. */
    gate go;
    gate_init(&go);
    snprintf(key, sizeof key, "%s", fresh("k"));
    fetcher g = {.p = p, .key = key, .script = {.value = "stop", .fail = POND_ECANCELED, .go = &go}};
    uint64_t loads = stat("loads");
    fetcher_start(&g);
    await_stat(p, "flight", "loads", loads + 1);
    start_late(2, 5);
    desk_nothing(&d, 20);
    gate_open(&go);
    fetcher_join(&g);
    assert_int_equal(g.code, POND_ECANCELED);
    answer_text(desk_load(&d, 2, 5), "two");
    desk_value(&d, 2, 5, "two");
    gate_destroy(&go);
}

static void an_uncached_load_is_not_shared_with_late_callers(void **state) {
    (void)state;
    start_early(0, 0, NULL, NULL);
    start_early(1, 1, NULL, NULL);
    pond_load *load = desk_load(&d, 0, 0);
    start_late(1, 3);
    desk_nothing(&d, 20);
    assert_int_equal(pond_load_value(load, "empty page", 10, POND_TEXT, POND_LOAD_UNCACHED), POND_OK);
    desk_value(&d, 0, 0, "empty page");
    desk_value(&d, 1, 1, "empty page");
    int64_t began = clock_ms();
    load = desk_load(&d, 1, 3);
    assert_true(clock_ms() - began < 1000); /* the lease was released at once */
    assert_int_equal(pond_load_absent(load, POND_LOAD_UNCACHED), POND_OK);
    desk_value(&d, 1, 3, NULL);
    assert_string_equal(lookup_text(p, key, NULL), "(miss)");
}

/* Drives queue 0 until a load was offered on it, but takes nothing. */
static void await_offers(uint64_t loads) {
    for (int64_t until = clock_ms() + 5000; stat("loads") < loads && clock_ms() < until;)
        pond_queue_poll(d.queue[0], NULL, 0, 1);
    assert_int_equal(stat("loads"), loads);
}

static void a_call_cancelled_before_it_took_the_load(void **state) {
    (void)state;
    pond_request *first, *second;
    desk_fetch(&d, 0, key, NULL, 1, &first);
    desk_fetch(&d, 0, key, NULL, 2, &second);
    await_offers(1);
    desk_fetch(&d, 1, key, NULL, 3, NULL);
    d.stopped[0] = true;
    desk_nothing(&d, 20);
    d.stopped[0] = false;
    pond_request_cancel(first);
    await_offers(2);
    pond_request_cancel(second);
    pond_load *load = desk_load(&d, 1, 3); /* at last to who waits elsewhere */
    answer_text(load, "one");
    desk_value(&d, 1, 3, "one");
    desk_nothing(&d, 10);
    assert_string_equal(lookup_text(p, key, NULL), "one");
    assert_int_equal(pond_queue_pending(d.queue[0]), 0);
}

static void a_call_cancelled_after_it_took_the_load(void **state) {
    (void)state;
    pond_request *request;
    start_early(0, 0, NULL, &request);
    start_early(1, 1, NULL, NULL);
    pond_load *load = desk_load(&d, 0, 0);
    pond_request_cancel(request);
    start_late(0, 3);
    desk_nothing(&d, 20);
    answer_text(load, "one");
    desk_value(&d, 1, 1, "one");
    desk_value(&d, 0, 3, "one");
    desk_nothing(&d, 5);
}

static void all_waiters_cancelled(void **state) {
    (void)state;
    pond_request *request;
    desk_fetch(&d, 0, key, NULL, 1, &request);
    pond_load *load = desk_load(&d, 0, 1);
    pond_request_cancel(request);
    desk_nothing(&d, 5);
    answer_text(load, "one"); /* the work was done: it is kept */
    desk_nothing(&d, 20);
    assert_string_equal(lookup_text(p, key, NULL), "one");
    /* Cancelled before it took the load: the lease is free at once. */
    snprintf(key, sizeof key, "%s", fresh("k"));
    desk_fetch(&d, 0, key, NULL, 2, &request);
    await_offers(2);
    pond_request_cancel(request);
    int64_t began = clock_ms();
    assert_string_equal(fetch_text(p, key, NULL, "two"), "two");
    assert_true(clock_ms() - began < 1000);
    /* Cancelled before anything was sent. */
    desk_fetch(&d, 0, fresh("k"), NULL, 3, &request);
    pond_request_cancel(request);
    desk_nothing(&d, 20);
    assert_int_equal(pond_queue_pending(d.queue[0]), 0);
}

static void a_queue_freed_with_its_load_out(void **state) {
    (void)state;
    start_early(0, 0, NULL, NULL);
    start_early(1, 1, NULL, NULL);
    pond_load *load = desk_load(&d, 0, 0);
    start_late(2, 3);
    fetcher f = {.p = p, .key = key, .script = {.value = "by a thread"}};
    start_thread(&f);
    int64_t began = clock_ms();
    desk_free_queue(&d, 0);
    pond_load *next = desk_load(&d, 1, 1);
    assert_true(clock_ms() - began < 1000); /* not after the lease's 3 s */
    assert_int_equal(pond_load_value(load, "too late", 8, POND_TEXT, 0), POND_OK);
    desk_nothing(&d, 20);
    answer_text(next, "one");
    desk_value(&d, 1, 1, "one");
    desk_value(&d, 2, 3, "one");
    fetcher_join(&f);
    assert_string_equal(f.text, "one");
}

static void a_queue_freed_with_only_a_thread_waiting(void **state) {
    (void)state;
    desk_fetch(&d, 0, key, NULL, 1, NULL);
    pond_load *load = desk_load(&d, 0, 1);
    fetcher f = {.p = p, .key = key, .script = {.value = "by a thread"}};
    start_thread(&f);
    desk_free_queue(&d, 0);
    fetcher_join(&f);
    assert_string_equal(f.text, "by a thread");
    assert_true(f.took_ms < 1000);
    pond_load_fail(load, 0, "nobody hears it");
    assert_string_equal(lookup_text(p, key, NULL), "by a thread");
}

static void a_load_answered_twice(void **state) {
    (void)state;
    desk_fetch(&d, 0, key, NULL, 1, NULL);
    pond_event *event = desk_event(&d, 0, 5000);
    assert_int_equal(pond_event_kind(event), POND_EVENT_LOAD);
    pond_load *load = pond_event_load(event); /* lives as long as its event */
    answer_text(load, "one");
    assert_int_equal(pond_load_value(load, "two", 3, POND_TEXT, 0), POND_EMISUSE);
    assert_int_equal(pond_load_absent(load, 0), POND_EMISUSE);
    desk_value(&d, 0, 1, "one");
    pond_event_free(event);
    assert_string_equal(lookup_text(p, key, NULL), "one");
}

static void a_load_that_takes_too_long(void **state) {
    (void)state;
    pond_policy *quick = policy_made(p, "load_timeout", "100ms", NULL);
    start_early(0, 0, quick, NULL);
    start_early(1, 1, quick, NULL);
    pond_load *load = desk_load(&d, 0, 0);
    desk_fetch(&d, 2, key, quick, 3, NULL);
    int64_t began = clock_ms();
    desk_error(&d, 0, 0, POND_ETIMEOUT);
    desk_error(&d, 1, 1, POND_ETIMEOUT);
    assert_in_range(clock_ms() - began, 50, 1000);
    pond_load *next = desk_load(&d, 2, 3); /* who came later gets a load of its own, at once */
    assert_true(clock_ms() - began < 1000);
    assert_int_equal(pond_load_value(load, "too late", 8, POND_TEXT, 0), POND_OK);
    answer_text(next, "one");
    desk_value(&d, 2, 3, "one");
    assert_string_equal(lookup_text(p, key, NULL), "one");
    pond_policy_free(quick);
}

static void a_wait_that_takes_too_long(void **state) {
    (void)state;
    pond_policy *error = policy_made(p, "wait_timeout", "250ms", NULL);
    pond_policy *alone = policy_made(p, "wait_timeout", "250ms", "when_wait_ends", "load", NULL);
    desk_fetch(&d, 0, key, NULL, 1, NULL);
    pond_load *load = desk_load(&d, 0, 1);
    desk_fetch(&d, 1, key, error, 2, NULL);
    desk_fetch(&d, 1, key, alone, 3, NULL);
    fetcher f = {.p = p, .key = key, .policy = error, .script = {.value = "x"}};
    fetcher g = {.p = p, .key = key, .policy = alone, .script = {.value = "by itself"}};
    start_thread(&f);
    start_thread(&g);
    desk_error(&d, 1, 2, POND_ETIMEOUT);
    pond_load *own = desk_load(&d, 1, 3);
    answer_text(own, "alone");
    desk_value(&d, 1, 3, "alone");
    fetcher_join(&f);
    fetcher_join(&g);
    assert_int_equal(f.code, POND_ETIMEOUT);
    assert_in_range(f.took_ms, 240, 1500);
    assert_string_equal(g.text, "by itself");
    assert_string_equal(lookup_text(p, key, NULL), "(miss)"); /* what was loaded alone is not cached */
    answer_text(load, "one");
    desk_value(&d, 0, 1, "one");
    assert_string_equal(lookup_text(p, key, NULL), "one");
    pond_policy_free(error);
    pond_policy_free(alone);
}

/* A host that is busy with something else must not hold up the program's other threads beyond their own deadlines. */
static void a_flight_whose_home_is_not_driven(void **state) {
    (void)state;
    pond_policy *quick = policy_made(p, "wait_timeout", "50ms", "command_timeout", "50ms", NULL);
    pond_policy *alone =
        policy_made(p, "wait_timeout", "50ms", "command_timeout", "50ms", "when_wait_ends", "load", NULL);
    start_early(0, 1, quick, NULL);
    d.stopped[0] = true;
    fetcher f = {.p = p, .key = key, .policy = quick, .script = {.value = "x"}};
    fetcher g = {.p = p, .key = key, .policy = alone, .script = {.value = "mine"}};
    start_thread(&f);
    start_thread(&g);
    desk_drive(&d, 800);
    d.stopped[0] = false;
    pond_load *load = desk_load(&d, 0, 1);
    answer_text(load, "one");
    desk_value(&d, 0, 1, "one");
    fetcher_join(&f);
    fetcher_join(&g);
    assert_true(f.code == POND_ETIMEOUT);
    assert_in_range(f.took_ms, 50, 700);
    assert_string_equal(g.text, "mine");
    assert_in_range(g.took_ms, 50, 700);
    pond_policy_free(quick);
    pond_policy_free(alone);
}

/* The driver sleeps in pond_queue_poll without a limit; what another thread brings must wake it. */
static void *answer_later(void *arg) {
    rest_ms(30);
    answer_text(arg, "from a thread");
    return NULL;
}

static void *fail_later(void *arg) {
    rest_ms(30);
    pond_load_fail(arg, 0, "from a thread");
    return NULL;
}

static void an_answer_from_another_thread_wakes_the_driver(void **state) {
    (void)state;
    void *(*const how[])(void *) = {answer_later, fail_later};
    for (size_t i = 0; i < 2; i++) {
        snprintf(key, sizeof key, "%s", fresh("k"));
        desk_fetch(&d, 0, key, NULL, 1, NULL);
        pond_load *load = desk_load(&d, 0, 1);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, how[i], load), 0);
        pond_event *event = NULL;
        int64_t began = clock_ms();
        while (!event && clock_ms() - began < 5000) pond_queue_poll(d.queue[0], &event, 1, 2000);
        pthread_join(thread, NULL);
        assert_non_null(event);
        assert_true(clock_ms() - began < 1000);
        assert_int_equal(pond_event_kind(event), i == 0 ? POND_EVENT_VALUE : POND_EVENT_ERROR);
        pond_event_free(event);
    }
}

/* A queue's loader in one thread, waiters elsewhere: the answer comes from anywhere. */
static void the_largest_timeouts(void **state) {
    (void)state;
    pond_policy *long_ones = policy_made(p, "ttl", "365d", "negative_ttl", "365d", "lease", "10m", "wait_timeout", "1h",
                                         "load_timeout", "1h", "command_timeout", "10m", NULL);
    desk_fetch(&d, 0, key, long_ones, 1, NULL);
    pond_load *load = desk_load(&d, 0, 1);
    answer_text(load, "one");
    desk_value(&d, 0, 1, "one");
    assert_string_equal(fetch_text(p, key, long_ones, "two"), "one");
    pond_policy *zeros = policy_made(p, "negative_ttl", "0ms", "wait_timeout", "0", "ttl", "1ms", NULL);
    const char *none = fresh("none");
    assert_string_equal(fetch_text(p, none, zeros, NULL), "(absent)");
    assert_string_equal(lookup_text(p, none, zeros), "(miss)");
    /* The driver's own limit */
    desk_fetch(&d, 0, fresh("k"), long_ones, 2, NULL);
    pond_event *event = NULL;
    assert_int_equal(pond_queue_poll(d.queue[0], &event, 1, INT64_MAX), 1);
    assert_int_equal(pond_event_kind(event), POND_EVENT_LOAD);
    pond_load_fail(pond_event_load(event), 0, "x");
    pond_event_free(event);
    desk_error(&d, 0, 2, POND_ELOADER);
    pond_policy_free(long_ones);
    pond_policy_free(zeros);
}

int flight_cases(const char *cache) {
    cache_url = cache;
    watchdog(100);
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(early_callers_share_one_load),
        CASE(late_callers_share_what_was_cached),
        CASE(late_callers_load_anew_after_an_invalidation),
        CASE(late_threads_load_anew_after_an_invalidation),
        CASE(an_error_goes_to_all),
        CASE(a_load_that_is_given_up),
        CASE(an_uncached_load_is_not_shared_with_late_callers),
        CASE(a_call_cancelled_before_it_took_the_load),
        CASE(a_call_cancelled_after_it_took_the_load),
        CASE(all_waiters_cancelled),
        CASE(a_queue_freed_with_its_load_out),
        CASE(a_queue_freed_with_only_a_thread_waiting),
        CASE(a_load_answered_twice),
        CASE(a_load_that_takes_too_long),
        CASE(a_wait_that_takes_too_long),
        CASE(a_flight_whose_home_is_not_driven),
        CASE(an_answer_from_another_thread_wakes_the_driver),
        CASE(the_largest_timeouts),
    };
    return cmocka_run_group_tests_name("flights", tests, NULL, NULL);
}
