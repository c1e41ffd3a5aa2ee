/* Grace, stale-if-error, early refresh, jitter and back-off on a memory: cache, to the millisecond. */
#include "base/random.h"
#include "model/freshness.h"
#include "support/support.h"
#include "virtual/virtual.h"
#include <millpond/write.h>

#define MINUTE 60000
#define HOUR (60 * MINUTE)

static pond *p;
static pond_queue *queue;

static void begin(pond *opened) {
    p = opened;
    assert_int_equal(pond_queue_new(&queue, p, NULL), POND_OK);
}

/* A pond of its own cache, with a ttl of ten minutes to the millisecond. */
#define BEGIN(...)                                                                                                     \
    do {                                                                                                               \
        virtual_begin(1);                                                                                              \
        begin(pond_made(fresh("memory:stale"), "ttl", "10m", "jitter", "0", __VA_ARGS__, NULL));                       \
    } while (0)

static void finish(void) {
    pond_queue_free(queue);
    pond_free(p);
}

static pond_event *next(void) {
    pond_event *event = NULL;
    for (int i = 0; i < 6 && !event; i++) pond_queue_poll(queue, &event, 1, 0);
    return event;
}

static void fetch_with(pond_policy *policy, pond_tags *tags) {
    assert_int_equal(pond_fetch_tagged_start(p, queue, "k", 1, policy, tags, 7, NULL, NULL, NULL), POND_OK);
}

static void nothing(void) { assert_null(next()); }

static pond_load *load(void) {
    pond_event *event = next();
    assert_non_null(event);
    assert_int_equal(pond_event_kind(event), POND_EVENT_LOAD);
    pond_load *load = pond_event_load(event);
    pond_event_free(event);
    return load;
}

/* The answer: the text, whether it is stale; the load that is to be done behind it. */
static pond_load *value(const char *text, bool stale) {
    pond_event *event = next();
    assert_non_null(event);
    assert_int_equal(pond_event_kind(event), POND_EVENT_VALUE);
    assert_string_equal(pond_value_data(pond_event_value(event), NULL), text);
    assert_int_equal(pond_value_stale(pond_event_value(event)), stale);
    pond_load *behind = pond_event_load(event);
    pond_event_free(event);
    return behind;
}

static void absent(void) {
    pond_event *event = next();
    assert_non_null(event);
    assert_int_equal(pond_event_kind(event), POND_EVENT_ABSENT);
    assert_null(pond_event_load(event));
    pond_event_free(event);
}

static void error(int code) {
    pond_event *event = next();
    assert_non_null(event);
    assert_int_equal(pond_event_kind(event), POND_EVENT_ERROR);
    assert_int_equal(pond_error_code(pond_event_error(event)), code);
    pond_event_free(event);
}

static void is_fresh(const char *text) {
    fetch_with(NULL, NULL);
    assert_null(value(text, false));
}

/* Stale, and nobody is asked to load. */
static void is_stale(const char *text) {
    fetch_with(NULL, NULL);
    assert_null(value(text, true));
}

static pond_load *refresh_of(const char *text) {
    fetch_with(NULL, NULL);
    pond_load *behind = value(text, true);
    assert_non_null(behind);
    return behind;
}

static void put_tagged(const char *text, pond_tags *tags) {
    fetch_with(NULL, tags);
    answer_text(load(), text);
    assert_null(value(text, false));
}

static void put(const char *text) { put_tagged(text, NULL); }

static void fails(pond_load *behind) { pond_load_fail(behind, POND_ELOADER, "the store is away"); }

static void drop(void) {
    const char *const keys[] = {"k"};
    const size_t lens[] = {1};
    assert_int_equal(pond_invalidate_start(p, queue, keys, lens, 1, NULL, 7, NULL), POND_OK);
    pond_event *event = next();
    assert_int_equal(pond_event_kind(event), POND_EVENT_OK);
    pond_event_free(event);
}

static uint64_t counted(const char *counter) { return pond_stat(p, "default", counter); }

/* ---- grace ---- */

static void one_loads_while_all_are_served(void **state) {
    (void)state;
    BEGIN("grace", "5m");
    put("one");
    virtual_pass(10 * MINUTE - 1);
    is_fresh("one");
    virtual_pass(1);
    pond_load *behind = refresh_of("one");
    for (int i = 0; i < 10; i++) is_stale("one");
    answer_text(behind, "two");
    is_fresh("two");
    nothing();
    assert_int_equal(counted("stale_hits"), 11);
    assert_int_equal(counted("refreshes"), 1);
    assert_int_equal(counted("early_refreshes"), 0);
    assert_int_equal(counted("loads"), 2);
    finish();
}

static void grace_has_an_end(void **state) {
    (void)state;
    BEGIN("grace", "5m");
    put("one");
    virtual_pass(15 * MINUTE - 1);
    fails(refresh_of("one"));
    virtual_pass(1);
    fetch_with(NULL, NULL);
    answer_text(load(), "two");
    assert_null(value("two", false));
    finish();
}

/* Of two ponds over one cache, as two processes have them: the lease decides. */
static void one_of_two_ponds_loads(void **state) {
    (void)state;
    const char *shared = fresh("memory:shared");
    virtual_begin(1);
    begin(pond_made(shared, "ttl", "10m", "jitter", "0", "grace", "5m", NULL));
    pond *one = p;
    pond_queue *of_one = queue;
    put("one");
    begin(pond_made(shared, "ttl", "10m", "jitter", "0", "grace", "5m", NULL));
    virtual_pass(10 * MINUTE);
    pond_load *behind = refresh_of("one");
    pond *two = p;
    pond_queue *of_two = queue;
    p = one, queue = of_one;
    for (int i = 0; i < 3; i++) is_stale("one");
    fails(behind);
    is_stale("one");
    virtual_pass(3000); /* the lease, as far as was heard; the back-off is over, too */
    answer_text(refresh_of("one"), "two");
    finish();
    p = two, queue = of_two;
    is_fresh("two");
    finish();
}

static void a_caller_may_want_nothing_stale(void **state) {
    (void)state;
    BEGIN("grace", "5m");
    pond_policy *strict = policy_made(p, "allow_stale", "off", NULL);
    put("one");
    virtual_pass(10 * MINUTE);
    fetch_with(strict, NULL);
    pond_load *its = load();
    is_stale("one"); /* others go on */
    answer_text(its, "two");
    assert_null(value("two", false));
    is_fresh("two");
    virtual_pass(10 * MINUTE);
    pond_load *behind = refresh_of("two"); /* what it loaded has its grace */
    fetch_with(strict, NULL);
    nothing();
    answer_text(behind, "three");
    assert_null(value("three", false));
    pond_policy_free(strict);
    finish();
}

static void without_grace_nothing_stale_is_kept(void **state) {
    (void)state;
    BEGIN("grace", "0");
    pond_policy *lenient = policy_made(p, "grace", "1h", NULL);
    put("one");
    virtual_pass(10 * MINUTE);
    fetch_with(lenient, NULL);
    answer_text(load(), "two");
    assert_null(value("two", false));
    virtual_pass(10 * MINUTE);
    fetch_with(NULL, NULL); /* and who wants none gets none of what others keep */
    answer_text(load(), "three");
    assert_null(value("three", false));
    pond_policy_free(lenient);
    finish();
}

static void a_lookup_is_served_and_asks_nobody_to_load(void **state) {
    (void)state;
    BEGIN("grace", "5m");
    put("one");
    virtual_pass(10 * MINUTE);
    assert_int_equal(pond_lookup_start(p, queue, "k", 1, NULL, 7, NULL, NULL, NULL), POND_OK);
    assert_null(value("one", true));
    virtual_pass(5 * MINUTE);
    assert_int_equal(pond_lookup_start(p, queue, "k", 1, NULL, 7, NULL, NULL, NULL), POND_OK);
    pond_event *event = next();
    assert_int_equal(pond_event_kind(event), POND_EVENT_MISS);
    pond_event_free(event);
    finish();
}

static void what_is_gone_is_gone(void **state) {
    (void)state;
    BEGIN("grace", "5m");
    put("one");
    virtual_pass(10 * MINUTE);
    pond_load_absent(refresh_of("one"), 0);
    fetch_with(NULL, NULL);
    absent();
    finish();
}

/* That something is not there is said for negative_ttl, and no longer. */
static void absences_are_not_kept(void **state) {
    (void)state;
    BEGIN("grace", "5m", "stale_if_error", "1h", "early_refresh", "100", "negative_ttl", "30s");
    fetch_with(NULL, NULL);
    pond_load_absent(load(), 0);
    absent();
    virtual_pass(29999);
    fetch_with(NULL, NULL);
    absent();
    virtual_pass(1);
    fetch_with(NULL, NULL);
    fails(load());
    error(POND_ELOADER);
    finish();
}

/* ---- what takes stale values away ---- */

static void an_invalidation_takes_the_stale_value(void **state) {
    (void)state;
    BEGIN("grace", "5m", "stale_if_error", "1h");
    put("one");
    virtual_pass(10 * MINUTE);
    drop();
    fetch_with(NULL, NULL);
    fails(load());
    error(POND_ELOADER);
    assert_int_equal(counted("stale_hits"), 0);
    finish();
}

/* A caller that waits for a load cannot fall back on what was invalidated meanwhile, nor is what it loads cached. */
static void an_invalidation_during_the_load(void **state) {
    (void)state;
    BEGIN("stale_if_error", "1h");
    put("one");
    virtual_pass(10 * MINUTE);
    fetch_with(NULL, NULL);
    pond_load *its = load();
    drop();
    fails(its);
    error(POND_ELOADER);
    put("two");
    virtual_pass(10 * MINUTE);
    fetch_with(NULL, NULL);
    its = load();
    drop();
    answer_text(its, "three");
    assert_null(value("three", false));
    fetch_with(NULL, NULL);
    fails(load());
    error(POND_ELOADER);
    finish();
}

static void an_invalidation_during_a_refresh(void **state) {
    (void)state;
    BEGIN("grace", "1h");
    put("one");
    virtual_pass(10 * MINUTE);
    pond_load *behind = refresh_of("one");
    drop();
    fetch_with(NULL, NULL);
    nothing(); /* it waits for the load after this one, which may have read too early */
    answer_text(behind, "early");
    answer_text(load(), "two");
    assert_null(value("two", false));
    is_fresh("two");
    assert_int_equal(counted("refused_fills"), 1);
    finish();
}

static void a_write_takes_the_stale_value(void **state) {
    (void)state;
    BEGIN("grace", "1h", "stale_if_error", "1h");
    const char *const keys[] = {"k"};
    const size_t lens[] = {1};
    put("one");
    virtual_pass(10 * MINUTE);
    assert_int_equal(pond_write_start(p, queue, keys, lens, 1, NULL, NULL, 9, NULL, NULL), POND_OK);
    pond_event *event = next();
    assert_int_equal(pond_event_kind(event), POND_EVENT_WRITE);
    pond_writing *writing = pond_event_writing(event);
    pond_event_free(event);
    fetch_with(NULL, NULL);
    fails(load());
    error(POND_ELOADER);
    assert_int_equal(pond_writing_value(writing, 0, "two", 3, POND_TEXT, NULL), POND_OK);
    pond_write_done(writing);
    event = next();
    assert_int_equal(pond_event_kind(event), POND_EVENT_OK);
    pond_event_free(event);
    is_fresh("two");
    virtual_pass(10 * MINUTE);
    answer_text(refresh_of("two"), "three"); /* a value that was written has its grace, too */
    is_fresh("three");
    finish();
}

static void a_tag_takes_the_stale_value(void **state) {
    (void)state;
    BEGIN("grace", "1h", "stale_if_error", "1h");
    pond_tags *tags = tags_made(p, "t");
    put_tagged("one", tags);
    virtual_pass(10 * MINUTE);
    fetch_with(NULL, tags);
    pond_load *behind = value("one", true);
    assert_non_null(behind);
    assert_int_equal(pond_invalidate_tagged_start(p, queue, NULL, NULL, 0, NULL, tags, 7, NULL), POND_OK);
    pond_event *event = next();
    assert_int_equal(pond_event_kind(event), POND_EVENT_OK);
    pond_event_free(event);
    answer_text(behind, "read before"); /* it is filled, under the generation of before: out of reach */
    fetch_with(NULL, tags);
    fails(load());
    error(POND_ELOADER);
    pond_tags_free(tags);
    finish();
}

/* ---- stale_if_error ---- */

static void a_load_that_fails_falls_back(void **state) {
    (void)state;
    BEGIN("stale_if_error", "1h");
    put("one");
    virtual_pass(10 * MINUTE);
    fetch_with(NULL, NULL);
    fails(load());
    assert_null(value("one", true));
    is_stale("one"); /* the store is left alone */
    assert_int_equal(counted("failed_refreshes"), 1);
    virtual_pass(HOUR - 1);
    fetch_with(NULL, NULL);
    fails(load());
    assert_null(value("one", true));
    virtual_pass(1);
    fetch_with(NULL, NULL);
    fails(load());
    error(POND_ELOADER);
    finish();
}

static void all_who_wait_fall_back(void **state) {
    (void)state;
    BEGIN("stale_if_error", "1h");
    pond_policy *strict = policy_made(p, "allow_stale", "off", NULL);
    put("one");
    virtual_pass(10 * MINUTE);
    fetch_with(NULL, NULL);
    fetch_with(NULL, NULL);
    pond_load *its = load();
    fetch_with(NULL, NULL);
    fetch_with(strict, NULL);
    fails(its);
    int values = 0, errors = 0;
    for (pond_event *event; (event = next()); pond_event_free(event)) {
        values += pond_event_kind(event) == POND_EVENT_VALUE && pond_value_stale(pond_event_value(event));
        errors += pond_event_kind(event) == POND_EVENT_ERROR;
    }
    assert_int_equal(values, 3);
    assert_int_equal(errors, 1);
    pond_policy_free(strict);
    finish();
}

static void a_store_that_is_slow_is_as_one_that_fails(void **state) {
    (void)state;
    BEGIN("stale_if_error", "1h", "call_timeout", "200ms");
    put("one");
    virtual_pass(10 * MINUTE);
    fetch_with(NULL, NULL);
    pond_load *its = load();
    virtual_pass(199);
    nothing();
    virtual_pass(1);
    assert_null(value("one", true));
    answer_text(its, "two");
    is_fresh("two");
    finish();
}

static void a_load_that_is_given_up_is_somebody_elses(void **state) {
    (void)state;
    BEGIN("stale_if_error", "1h");
    put("one");
    virtual_pass(10 * MINUTE);
    fetch_with(NULL, NULL);
    pond_load_fail(load(), POND_ECANCELED, "the task was cancelled");
    error(POND_ECANCELED);
    fetch_with(NULL, NULL); /* no back-off */
    answer_text(load(), "two");
    assert_null(value("two", false));
    finish();
}

/* ---- back-off ---- */

static void failures_back_off(void **state) {
    (void)state;
    BEGIN("grace", "30d", "refresh_backoff", "1s");
    put("one");
    virtual_pass(10 * MINUTE);
    for (int64_t most = 1000, i = 0; i < 9; i++) {
        fails(refresh_of("one"));
        int64_t paused = 0;
        pond_load *behind = NULL;
        while (!behind && paused <= most) {
            is_stale("one");
            virtual_pass(1);
            paused++;
            if (paused * 2 < most) continue;
            fetch_with(NULL, NULL);
            behind = value("one", true);
        }
        assert_non_null(behind);
        assert_in_range(paused * 2, most, 2 * most + 2);
        pond_load_fail(behind, POND_ECANCELED, "not now"); /* no failure: at once again */
        most = most < 32000 ? 2 * most : most;
    }
    answer_text(refresh_of("one"), "two");
    virtual_pass(10 * MINUTE);
    fails(refresh_of("two")); /* all is forgotten */
    virtual_pass(1000);
    answer_text(refresh_of("two"), "three");
    assert_int_equal(counted("failed_refreshes"), 10);
    finish();
}

static void a_back_off_is_for_stale_values_alone(void **state) {
    (void)state;
    BEGIN("grace", "1h");
    put("one");
    virtual_pass(10 * MINUTE);
    fails(refresh_of("one"));
    is_stale("one");
    drop();
    put("two"); /* at once */
    is_fresh("two");
    finish();
}

/* ---- early refresh ---- */

/* The paper's law: with so much time left the share of readers that load is exp(-left / (load time * beta)). */
static void early_refreshes_are_as_many_as_the_law_says(void **state) {
    (void)state;
    virtual_begin(3);
    static const struct {
        int64_t beta, left;
        uint32_t load_ms;
        double share;
    } cases[] = {{100, 100, 100, 0.36788}, {100, 300, 100, 0.04979}, {200, 100, 100, 0.60653}, {50, 100, 100, 0.13534},
                 {100, 10, 1000, 0.99005}, {100, 1, 0, 0.36788},     {100, 5000, 100, 0}};
    enum { DRAWS = 200000 };
    mp_options o;
    assert_true(mp_options_init(&o));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int early = 0;
        o.early_refresh = cases[i].beta;
        for (int n = 0; n < DRAWS; n++) {
            uint32_t draw;
            mp_random_bytes(&draw, sizeof draw);
            early += mp_use_of(&o, false, cases[i].left, cases[i].load_ms, draw) == MP_USE_EARLY;
        }
        double share = (double)early / DRAWS, off = share - cases[i].share;
        if (off > 0.005 || off < -0.005) fail_msg("case %zu: %f, not %f", i, share, cases[i].share);
    }
    mp_options_free(&o);
}

static void a_value_is_loaded_before_its_end(void **state) {
    (void)state;
    int early = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        virtual_begin(seed);
        begin(pond_made(fresh("memory:early"), "ttl", "10m", "jitter", "0", "early_refresh", "100", NULL));
        fetch_with(NULL, NULL);
        pond_load *first = load();
        virtual_pass(1000); /* what a load takes */
        answer_text(first, "one");
        assert_null(value("one", false));
        virtual_pass(10 * MINUTE - 30000);
        is_fresh("one"); /* 30 load times before its end: never */
        virtual_pass(29000);
        fetch_with(NULL, NULL);
        pond_load *behind = value("one", false); /* it is not stale */
        if (behind) {
            early++;
            for (int i = 0; i < 5; i++) is_fresh("one"); /* one winner */
            answer_text(behind, "two");
            virtual_pass(1000);
            is_fresh("two");
            assert_int_equal(counted("early_refreshes"), 1);
        }
        finish();
    }
    assert_in_range(early, 80, 141); /* 0.368 of 300 are 110, and three deviations to both sides */
}

static void a_failed_early_refresh_changes_nothing(void **state) {
    (void)state;
    BEGIN("early_refresh", "1000");
    fetch_with(NULL, NULL);
    pond_load *first = load();
    virtual_pass(2000); /* no longer than its lease */
    answer_text(first, "one");
    assert_null(value("one", false));
    virtual_pass(10 * MINUTE - 500); /* of a reach of 20 s: nearly all load */
    pond_load *behind = NULL;
    for (int i = 0; i < 100 && !behind; i++) {
        fetch_with(NULL, NULL);
        behind = value("one", false);
    }
    fails(behind);
    for (int i = 0; i < 100; i++) is_fresh("one");
    virtual_pass(500);
    fetch_with(NULL, NULL);
    fails(load()); /* no grace: its end is its end */
    error(POND_ELOADER);
    finish();
}

/* ---- jitter ---- */

static void ends_are_spread(void **state) {
    (void)state;
    enum { N = 500 };
    int64_t ends[2][N];
    for (int round = 0; round < 2; round++) {
        virtual_begin(5);
        begin(pond_made(fresh("memory:jitter"), "ttl", "100s", "jitter", "20", NULL));
        for (int i = 0; i < N; i++) {
            char key[16];
            snprintf(key, sizeof key, "k%d", i);
            assert_int_equal(pond_fetch_start(p, queue, key, strlen(key), NULL, 7, NULL, NULL, NULL), POND_OK);
            answer_text(load(), "one");
            assert_null(value("one", false));
            ends[round][i] = 0;
        }
        for (int64_t at = 1; at <= 100001; at += 100) {
            virtual_move_to(VIRTUAL_START + at);
            for (int i = 0; i < N; i++) {
                char key[16];
                snprintf(key, sizeof key, "k%d", i);
                if (ends[round][i]) continue;
                pond_value *v = pond_peek(p, key, strlen(key), NULL);
                if (!v) ends[round][i] = at;
                pond_value_free(v);
            }
        }
        finish();
    }
    int third = 0;
    for (int i = 0; i < N; i++) {
        assert_in_range(ends[0][i], 80000, 100001);
        assert_int_equal(ends[0][i], ends[1][i]); /* the same chance, the same ends */
        third += ends[0][i] < 90000;
    }
    assert_in_range(third, 200, 300);
}

static void jitter_never_lengthens(void **state) {
    (void)state;
    static const int64_t ttls[] = {1, 2, 99, 1000, 31536000000};
    static const uint32_t draws[] = {0, 1, UINT32_MAX / 2, UINT32_MAX};
    for (size_t t = 0; t < 5; t++)
        for (int64_t percent = 0; percent <= 100; percent += 10)
            for (size_t d = 0; d < 4; d++) {
                int64_t ttl = mp_jittered(ttls[t], percent, draws[d]);
                assert_true(ttl >= 1 && ttl <= ttls[t]);
                assert_true(percent == 100 || ttl >= ttls[t] - ttls[t] * percent / 100);
            }
    assert_int_equal(mp_jittered(0, 10, 77), 0);
    assert_int_equal(mp_jittered(1000, 10, UINT32_MAX), 901);
}

/* ---- hosts ---- */

/* A refresh that the host was to do and did not take goes to the next reader at once. */
static void a_refresh_that_nobody_took(void **state) {
    (void)state;
    BEGIN("grace", "1h");
    pond_request *request;
    put("one");
    virtual_pass(10 * MINUTE);
    assert_int_equal(pond_fetch_start(p, queue, "k", 1, NULL, 7, NULL, &request, NULL), POND_OK);
    for (int i = 0; i < 6; i++) pond_queue_poll(queue, NULL, 0, 0);
    pond_request_cancel(request);
    nothing();
    fetch_with(NULL, NULL);
    for (int i = 0; i < 6; i++) pond_queue_poll(queue, NULL, 0, 0);
    pond_queue_free(queue); /* with its event */
    assert_int_equal(pond_queue_new(&queue, p, NULL), POND_OK);
    pond_load *behind = refresh_of("one");
    pond_queue_free(queue); /* while it loads */
    assert_int_equal(pond_queue_new(&queue, p, NULL), POND_OK);
    pond_load_fail(behind, POND_ECANCELED, "too late");
    answer_text(refresh_of("one"), "two");
    is_fresh("two");
    finish();
}

static void a_refresh_that_takes_too_long(void **state) {
    (void)state;
    BEGIN("grace", "1h", "load_timeout", "30s");
    put("one");
    virtual_pass(10 * MINUTE);
    pond_load *behind = refresh_of("one");
    virtual_pass(30000);
    nothing();
    is_stale("one"); /* it counts as failed */
    assert_int_equal(counted("failed_refreshes"), 1);
    answer_text(behind, "late");
    virtual_pass(1000);
    answer_text(refresh_of("one"), "two");
    is_fresh("two");
    finish();
}

int main(void) {
    watchdog(120);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_loads_while_all_are_served),
        cmocka_unit_test(grace_has_an_end),
        cmocka_unit_test(one_of_two_ponds_loads),
        cmocka_unit_test(a_caller_may_want_nothing_stale),
        cmocka_unit_test(without_grace_nothing_stale_is_kept),
        cmocka_unit_test(a_lookup_is_served_and_asks_nobody_to_load),
        cmocka_unit_test(what_is_gone_is_gone),
        cmocka_unit_test(absences_are_not_kept),
        cmocka_unit_test(an_invalidation_takes_the_stale_value),
        cmocka_unit_test(an_invalidation_during_the_load),
        cmocka_unit_test(an_invalidation_during_a_refresh),
        cmocka_unit_test(a_write_takes_the_stale_value),
        cmocka_unit_test(a_tag_takes_the_stale_value),
        cmocka_unit_test(a_load_that_fails_falls_back),
        cmocka_unit_test(all_who_wait_fall_back),
        cmocka_unit_test(a_store_that_is_slow_is_as_one_that_fails),
        cmocka_unit_test(a_load_that_is_given_up_is_somebody_elses),
        cmocka_unit_test(failures_back_off),
        cmocka_unit_test(a_back_off_is_for_stale_values_alone),
        cmocka_unit_test(early_refreshes_are_as_many_as_the_law_says),
        cmocka_unit_test(a_value_is_loaded_before_its_end),
        cmocka_unit_test(a_failed_early_refresh_changes_nothing),
        cmocka_unit_test(ends_are_spread),
        cmocka_unit_test(jitter_never_lengthens),
        cmocka_unit_test(a_refresh_that_nobody_took),
        cmocka_unit_test(a_refresh_that_takes_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
