#include "support/write_cases.h"

#include "support/support.h"

static const char *cache_url;
static pond *p;
static desk d;
static char key[64];
static pond_tags *users;

static int set_up(void **state) {
    (void)state;
    p = pond_made(cache_url, "namespace", "write", "lease", "3s", "command_timeout", "5s", NULL);
    desk_open(&d, p, 3);
    users = tags_made(p, "users");
    snprintf(key, sizeof key, "%s", fresh("k"));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    pond_tags_free(users);
    desk_close(&d);
    assert_int_equal(pond_close(p, 2000), POND_OK);
    pond_free(p);
    return 0;
}

static uint64_t stat(const char *counter) { return pond_stat(p, "write", counter); }

/* What a writer does: looks around, gives values, answers. */
typedef struct plan {
    void (*inside)(void);
    const char *value; /* of the first key; NULL: none is given */
    bool absent;
    pond_outcome outcome; /* 0: committed */
    int code;
    bool silent;
    int64_t delay_ms;
    int calls;
} plan;

static void write_now(pond_writing *writing, void *ctx) {
    plan *w = ctx;
    w->calls++;
    if (w->inside) w->inside();
    if (w->delay_ms) rest_ms(w->delay_ms);
    if (w->value) {
        pond_error *err = NULL;
        if (pond_writing_value(writing, 0, w->value, strlen(w->value), POND_TEXT, &err) != POND_OK)
            fail_msg("%s", pond_error_message(err));
    }
    if (w->absent) assert_int_equal(pond_writing_absent(writing, 0, NULL), POND_OK);
    if (w->silent) return;
    if (w->outcome && w->outcome != POND_COMMITTED) pond_write_fail(writing, w->outcome, w->code, "the store says no");
    else pond_write_done(writing);
}

static int write_policy(plan *w, pond_policy *policy, pond_tags *tags, char *message) {
    const char *keys[] = {key};
    const size_t lens[] = {strlen(key)};
    pond_error *err = NULL;
    int code = pond_write(p, keys, lens, 1, policy, tags, write_now, w, &err);
    if (message) snprintf(message, 200, "%s", err ? pond_error_message(err) : "");
    pond_error_free(err);
    return code;
}

static int write_key(plan *w) { return write_policy(w, NULL, NULL, NULL); }

static void start_write(size_t queue, uint64_t user, pond_request **request) {
    const char *keys[] = {key};
    const size_t lens[] = {strlen(key)};
    pond_error *err = NULL;
    if (pond_write_start(p, d.queue[queue], keys, lens, 1, NULL, users, user, request, &err) != POND_OK)
        fail_msg("write_start: %s", pond_error_message(err));
}

/* ---- the guarantee ---- */

static void sees_nothing_cached(void) {
    assert_string_equal(lookup_text(p, key, NULL), "(miss)");
    assert_string_equal(fetch_text(p, key, NULL, "old"), "old"); /* the store's, which is not written yet */
    assert_string_equal(lookup_text(p, key, NULL), "(miss)");
    assert_string_equal(fetch_tagged_text(p, "page", users, "old page"), "old page");
    assert_string_equal(lookup_tagged_text(p, "page", users), "(miss)");
}

static void nothing_is_cached_while_somebody_writes(void **state) {
    (void)state;
    plan w = {.inside = sees_nothing_cached};
    fetch_text(p, key, NULL, "old");
    fetch_tagged_text(p, "page", users, "old page");
    uint64_t writes = stat("writes"), unfilled = stat("unfilled_loads");
    assert_int_equal(write_policy(&w, NULL, users, NULL), POND_OK);
    assert_int_equal(w.calls, 1);
    assert_int_equal(stat("writes") - writes, 1);
    assert_int_equal(stat("unfilled_loads") - unfilled, 2);
    assert_string_equal(fetch_text(p, key, NULL, "new"), "new");
    assert_string_equal(fetch_tagged_text(p, "page", users, "new page"), "new page");
    assert_string_equal(lookup_text(p, key, NULL), "new");
    assert_string_equal(lookup_tagged_text(p, "page", users), "new page");
}

/* A load that began before the write ends after it: what it has read is nobody's who came later. */
static void a_load_under_way_is_not_cached(void **state) {
    (void)state;
    desk_fetch(&d, 0, key, NULL, 1, NULL);
    pond_load *load = desk_load(&d, 0, 1);
    plan w = {0};
    assert_int_equal(write_key(&w), POND_OK);
    desk_fetch(&d, 0, key, NULL, 2, NULL);
    desk_nothing(&d, 20);
    answer_text(load, "old");
    desk_value(&d, 0, 1, "old");
    load = desk_load(&d, 0, 2);
    answer_text(load, "new");
    desk_value(&d, 0, 2, "new");
    assert_string_equal(lookup_text(p, key, NULL), "new");
}

static void many_keys_and_tags_go_together(void **state) {
    (void)state;
    enum { MANY = 100 };
    static char names[MANY][64];
    const char *keys[MANY];
    size_t lens[MANY];
    for (size_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "%.40s-%zu", key, i);
        keys[i] = names[i];
        lens[i] = strlen(names[i]);
        fetch_text(p, keys[i], NULL, "old");
    }
    plan w = {0};
    assert_int_equal(pond_write(p, keys, lens, MANY, NULL, users, write_now, &w, NULL), POND_OK);
    for (size_t i = 0; i < MANY; i++) assert_string_equal(lookup_text(p, keys[i], NULL), "(miss)");
    fetch_tagged_text(p, "page", users, "one");
    assert_int_equal(pond_write(p, NULL, NULL, 0, NULL, users, write_now, &w, NULL), POND_OK); /* tags alone */
    assert_string_equal(lookup_tagged_text(p, "page", users), "(miss)");
}

/* ---- values ---- */

static void the_new_value_is_cached_if_nobody_else_wrote(void **state) {
    (void)state;
    plan w = {.value = "new"};
    fetch_text(p, key, NULL, "old");
    assert_int_equal(write_key(&w), POND_OK);
    assert_string_equal(lookup_text(p, key, NULL), "new");
    w = (plan){.absent = true};
    assert_int_equal(write_key(&w), POND_OK);
    assert_string_equal(lookup_text(p, key, NULL), "(absent)");
    assert_int_equal(stat("written_values"), 2);
    assert_int_equal(stat("refused_values"), 0);
}

static void fails_and_closes(pond_writing *writing, void *ctx) {
    (void)ctx;
    pond_write_fail(writing, POND_NOT_WRITTEN, POND_ESTORE, "the store says no");
    pond_close(p, 2000);
}

static void a_close_does_not_hide_that_it_failed(void **state) {
    (void)state;
    const char *keys[] = {key};
    const size_t lens[] = {strlen(key)};
    pond_error *err = NULL;
    assert_int_equal(pond_write(p, keys, lens, 1, NULL, NULL, fails_and_closes, NULL, &err), POND_ESTORE);
    assert_string_equal(pond_error_message(err), "the store says no");
    pond_error_free(err);
}

static void writes_between(void) {
    plan other = {.value = "theirs"};
    assert_int_equal(write_key(&other), POND_OK);
}

static void writers_that_met_cache_nothing(void **state) {
    (void)state;
    plan w = {.value = "mine", .inside = writes_between};
    assert_int_equal(write_key(&w), POND_OK);
    assert_string_equal(lookup_text(p, key, NULL), "(miss)");
    assert_int_equal(stat("refused_values"), 2);
    assert_int_equal(stat("written_values"), 0);
}

static void invalidates(void) { invalidate(p, key, NULL); }

static void who_wrote_past_the_library_is_seen(void **state) {
    (void)state;
    plan w = {.value = "mine", .inside = invalidates};
    assert_int_equal(write_key(&w), POND_OK);
    assert_string_equal(lookup_text(p, key, NULL), "(miss)");
    assert_int_equal(stat("refused_values"), 1);
}

static pond_writing *given;
static void looks_at_values(pond_writing *writing, void *ctx) {
    (void)ctx;
    pond_error *err = NULL;
    static char large[17 << 20];
    assert_int_equal(pond_writing_value(writing, 1, "x", 1, POND_TEXT, &err), POND_EMISUSE);
    assert_non_null(strstr(pond_error_message(err), "1 keys"));
    pond_error_free(err);
    err = NULL;
    assert_int_equal(pond_writing_value(writing, 0, "\xff", 1, POND_TEXT, &err), POND_EVALUE);
    assert_non_null(strstr(pond_error_message(err), "key 0 of the write"));
    pond_error_free(err);
    assert_int_equal(pond_writing_value(writing, 0, large, sizeof large, POND_BYTES, NULL), POND_EVALUE);
    assert_int_equal(pond_writing_value(writing, 0, "x", 1, (pond_codec)9, NULL), POND_EVALUE);
    assert_int_equal(pond_writing_absent(writing, 7, NULL), POND_EMISUSE);
    assert_int_equal(pond_writing_value(writing, 0, "first", 5, POND_TEXT, NULL), POND_OK);
    assert_int_equal(pond_writing_value(writing, 0, "last", 4, POND_TEXT, NULL), POND_OK);
    assert_int_equal(pond_write_done(writing), POND_OK);
    assert_int_equal(pond_write_done(writing), POND_EMISUSE);
    assert_int_equal(pond_write_fail(writing, POND_UNKNOWN, 0, NULL), POND_EMISUSE);
    assert_int_equal(pond_writing_value(writing, 0, "late", 4, POND_TEXT, NULL), POND_EMISUSE);
}

static void values_are_checked(void **state) {
    (void)state;
    const char *keys[] = {key};
    const size_t lens[] = {strlen(key)};
    assert_int_equal(pond_write(p, keys, lens, 1, NULL, NULL, looks_at_values, NULL, NULL), POND_OK);
    assert_string_equal(lookup_text(p, key, NULL), "last");
}

/* ---- what came of it ---- */

static void a_write_that_failed_changes_nothing(void **state) {
    (void)state;
    char message[200];
    plan w = {.outcome = POND_NOT_WRITTEN, .code = POND_EVALUE, .value = "never"};
    assert_int_equal(write_policy(&w, NULL, NULL, message), POND_EVALUE);
    assert_string_equal(message, "the store says no");
    assert_string_equal(fetch_text(p, key, NULL, "as it was"), "as it was"); /* and may be cached again */
    assert_string_equal(lookup_text(p, key, NULL), "as it was");
    assert_int_equal(stat("write_errors"), 1);
    assert_int_equal(stat("writes"), 0);
}

/* The commit may come yet: nothing is cached until the intent has run out. */
static void of_an_unknown_outcome_nothing_is_cached(void **state) {
    (void)state;
    pond_policy *brief = policy_made(p, "intent", "400ms", NULL);
    plan w = {.outcome = POND_UNKNOWN, .code = POND_ETIMEOUT, .value = "perhaps"};
    int64_t began = clock_ms();
    assert_int_equal(write_policy(&w, brief, NULL, NULL), POND_ETIMEOUT);
    do {
        if (strcmp(lookup_text(p, key, brief), "(miss)") != 0) break;
        fetch_text(p, key, brief, "old or new");
    } while (clock_ms() - began < 5000);
    assert_in_range(clock_ms() - began, 350, 2000);
    assert_string_equal(lookup_text(p, key, brief), "old or new");
    pond_policy_free(brief);
}

static void a_writer_that_says_nothing_is_unknown(void **state) {
    (void)state;
    char message[200];
    pond_policy *brief = policy_made(p, "intent", "300ms", NULL);
    plan w = {.silent = true};
    assert_int_equal(write_policy(&w, brief, NULL, message), POND_EMISUSE);
    assert_non_null(strstr(message, "without saying"));
    fetch_text(p, key, brief, "x");
    assert_string_equal(lookup_text(p, key, brief), "(miss)");
    pond_policy_free(brief);
}

/* ---- renewal ---- */

static void a_slow_writer_is_guarded(void **state) {
    (void)state;
    pond_policy *brief = policy_made(p, "intent", "300ms", NULL);
    for (int attempt = 0;; attempt++) {
        plan w = {.delay_ms = 1000, .value = "slow"};
        uint64_t stored = stat("written_values");
        assert_int_equal(write_policy(&w, brief, NULL, NULL), POND_OK);
        if (stat("written_values") > stored) break;
        if (attempt == 5) fail_msg("its intent was lost, five times");
    }
    assert_string_equal(lookup_text(p, key, brief), "slow");
    assert_true(stat("renewed_intents") >= 3);
    pond_policy_free(brief);
}

/* Longer than write_timeout its intents are not renewed: what is cached meanwhile goes with its end. */
static void a_writer_past_its_time_still_invalidates(void **state) {
    (void)state;
    pond_policy *brief = policy_made(p, "intent", "100ms", "write_timeout", "50ms", NULL);
    start_write(0, 1, NULL); /* of the pond's policy: stands in the way of nobody else */
    pond_writing *first = desk_write(&d, 0, 1);
    pond_write_done(first);
    desk_ok(&d, 0, 1);
    const char *keys[] = {key};
    const size_t lens[] = {strlen(key)};
    assert_int_equal(pond_write_start(p, d.queue[0], keys, lens, 1, brief, NULL, 2, NULL, NULL), POND_OK);
    pond_writing *writing = desk_write(&d, 0, 2);
    desk_drive(&d, 300);
    fetch_text(p, key, brief, "old");
    assert_string_equal(lookup_text(p, key, brief), "old");
    assert_int_equal(pond_writing_value(writing, 0, "new", 3, POND_TEXT, NULL), POND_OK);
    pond_write_done(writing);
    desk_ok(&d, 0, 2);
    assert_string_equal(lookup_text(p, key, brief), "(miss)");
    pond_policy_free(brief);
}

/* ---- queues ---- */

static void a_queue_asks_for_the_write(void **state) {
    (void)state;
    fetch_text(p, key, NULL, "old");
    start_write(0, 7, NULL);
    pond_writing *writing = desk_write(&d, 0, 7);
    desk_nothing(&d, 20);
    desk_fetch(&d, 1, key, NULL, 8, NULL);
    pond_load *load = desk_load(&d, 1, 8);
    answer_text(load, "old");
    desk_value(&d, 1, 8, "old");
    assert_int_equal(pond_writing_value(writing, 0, "new", 3, POND_TEXT, NULL), POND_OK);
    pond_write_done(writing);
    desk_ok(&d, 0, 7);
    assert_string_equal(lookup_text(p, key, NULL), "new");
    assert_int_equal(pond_queue_pending(d.queue[0]), 0);
    start_write(0, 9, NULL);
    pond_write_fail(desk_write(&d, 0, 9), POND_NOT_WRITTEN, POND_EVALUE, "no");
    desk_error(&d, 0, 9, POND_EVALUE);
}

static void *answer_late(void *arg) {
    rest_ms(20);
    pond_write_done(arg);
    return NULL;
}

static void another_thread_may_answer(void **state) {
    (void)state;
    pthread_t thread;
    start_write(0, 1, NULL);
    pond_writing *writing = desk_write(&d, 0, 1);
    assert_int_equal(pthread_create(&thread, NULL, answer_late, writing), 0);
    desk_ok(&d, 0, 1);
    pthread_join(thread, NULL);
}

/* Nobody has begun to write: the intents go at once. */
static void a_cancelled_write_leaves_nothing(void **state) {
    (void)state;
    pond_request *request = NULL;
    start_write(0, 1, &request);
    pond_request_cancel(request); /* perhaps before the cache has answered */
    start_write(0, 2, &request);
    desk_drive(&d, 50); /* the event has come, nobody has taken it */
    if (d.count[0] == 0) fail_msg("no event");
    pond_event *event = desk_event(&d, 0, 100);
    pond_writing *writing = pond_event_writing(event);
    pond_event_free(event);
    pond_write_fail(writing, POND_NOT_WRITTEN, 0, NULL);
    desk_error(&d, 0, 2, POND_ESTORE);
    desk_drive(&d, 20);
    fetch_text(p, key, NULL, "x");
    assert_string_equal(lookup_text(p, key, NULL), "x");
    assert_int_equal(pond_queue_pending(d.queue[0]), 0);
}

/* The host writes already: what it says is still told to the cache. */
static void the_answer_to_a_cancelled_write_counts(void **state) {
    (void)state;
    pond_request *request = NULL;
    start_write(0, 1, &request);
    pond_writing *writing = desk_write(&d, 0, 1);
    pond_request_cancel(request);
    assert_int_equal(pond_queue_pending(d.queue[0]), 0);
    fetch_text(p, key, NULL, "old");
    assert_string_equal(lookup_text(p, key, NULL), "(miss)"); /* the intent stands */
    pond_writing_value(writing, 0, "new", 3, POND_TEXT, NULL);
    pond_write_done(writing);
    desk_nothing(&d, 50);
    assert_string_equal(lookup_text(p, key, NULL), "new");
    assert_int_equal(stat("writes"), 1);
}

static void a_queue_that_goes_away_owes_its_writes(void **state) {
    (void)state;
    start_write(0, 1, NULL);
    start_write(1, 2, NULL);
    pond_writing *writing = desk_write(&d, 0, 1);
    desk_drive(&d, 20);
    desk_free_queue(&d, 0);
    pond_write_done(writing); /* told by another lane */
    pond_write_done(desk_write(&d, 1, 2));
    desk_ok(&d, 1, 2);
    for (int64_t until = clock_ms() + 5000; clock_ms() < until;) {
        fetch_text(p, key, NULL, "x");
        if (strcmp(lookup_text(p, key, NULL), "x") == 0) break;
        rest_ms(5);
    }
    assert_string_equal(lookup_text(p, key, NULL), "x");
}

/* ---- closing ---- */

static void closes(void) { assert_int_equal(pond_close(p, 100), POND_OK); }

static void a_writer_may_close_the_pond(void **state) {
    (void)state;
    plan w = {.inside = closes};
    assert_int_equal(write_key(&w), POND_OK);
    assert_int_equal(write_key(&w), POND_ECLOSED);
}

static void a_close_ends_what_waits(void **state) {
    (void)state;
    start_write(0, 1, NULL);
    pond_writing *writing = desk_write(&d, 0, 1);
    assert_int_equal(pond_close(p, 50), POND_ETIMEOUT);
    desk_error(&d, 0, 1, POND_ECLOSED);
    assert_int_equal(pond_write_done(writing), POND_OK); /* the answer is owed, and goes nowhere */
}

static void bad_calls_are_refused(void **state) {
    (void)state;
    const char *keys[] = {key, ""};
    const size_t lens[] = {strlen(key), 0};
    plan w = {0};
    pond_error *err = NULL;
    assert_int_equal(pond_write(p, keys, lens, 2, NULL, NULL, write_now, &w, NULL), POND_EKEY);
    assert_int_equal(pond_write(p, NULL, NULL, 0, NULL, NULL, write_now, &w, &err), POND_EMISUSE);
    assert_non_null(strstr(pond_error_message(err), "say what it changes"));
    pond_error_free(err);
    assert_int_equal(pond_write(p, keys, lens, 1, NULL, NULL, NULL, NULL, NULL), POND_EMISUSE);
    assert_int_equal(pond_write_start(p, NULL, keys, lens, 1, NULL, NULL, 1, NULL, NULL), POND_EMISUSE);
    assert_int_equal(pond_write_start(p, d.queue[0], keys, lens, 2, NULL, NULL, 1, NULL, NULL), POND_EKEY);
    assert_int_equal(w.calls, 0);
    assert_null(given);
}

/* ---- two writers and the store, for a while ---- */

static _Atomic int store;
typedef struct hammer {
    pthread_t thread;
    bool through;
    int rounds, wrong;
} hammer;

static void write_store(pond_writing *writing, void *ctx) {
    const hammer *h = ctx;
    int value = atomic_fetch_add(&store, 1) + 1;
    char text[16];
    snprintf(text, sizeof text, "%d", value);
    if (dice(4) == 0) rest_ms(1);
    if (h->through) pond_writing_value(writing, 0, text, strlen(text), POND_TEXT, NULL);
    pond_write_done(writing);
}

static void read_store(pond_load *load, void *ctx) {
    (void)ctx;
    char text[16];
    snprintf(text, sizeof text, "%d", atomic_load(&store));
    if (dice(4) == 0) rest_ms(1);
    pond_load_value(load, text, strlen(text), POND_TEXT, 0);
}

static void *hammer_run(void *arg) {
    hammer *h = arg;
    const char *keys[] = {"counter"};
    const size_t lens[] = {7};
    for (int i = 0; i < h->rounds; i++) {
        int before = atomic_load(&store);
        if (pond_write(p, keys, lens, 1, NULL, NULL, write_store, h, NULL) != POND_OK) h->wrong++;
        pond_value *value = NULL;
        if (pond_fetch(p, "counter", 7, NULL, read_store, NULL, &value, NULL) != POND_OK) h->wrong++;
        else if (atoi(pond_value_data(value, NULL)) <= before) h->wrong++; /* older than its own write */
        pond_value_free(value);
    }
    return NULL;
}

static void two_writers_and_the_cache_agree(void **state) {
    (void)state;
    int rounds = slow_build() ? 300 : 1500;
    for (int through = 0; through < 2; through++) {
        hammer h[4];
        atomic_store(&store, 0);
        invalidate(p, "counter", NULL);
        for (size_t i = 0; i < 4; i++) {
            h[i] = (hammer){.through = through, .rounds = rounds};
            assert_int_equal(pthread_create(&h[i].thread, NULL, hammer_run, &h[i]), 0);
        }
        int wrong = 0;
        for (size_t i = 0; i < 4; i++) {
            pthread_join(h[i].thread, NULL);
            wrong += h[i].wrong;
        }
        assert_int_equal(wrong, 0);
        char text[16];
        snprintf(text, sizeof text, "%d", atomic_load(&store));
        const char *cached = lookup_text(p, "counter", NULL);
        if (strcmp(cached, "(miss)") != 0) assert_string_equal(cached, text);
        assert_int_equal(atomic_load(&store), 4 * rounds);
    }
    assert_true(stat("written_values") > 0);
}

int write_cases(const char *url) {
    cache_url = url;
    watchdog(170);
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(nothing_is_cached_while_somebody_writes),
        T(a_load_under_way_is_not_cached),
        T(many_keys_and_tags_go_together),
        T(the_new_value_is_cached_if_nobody_else_wrote),
        T(writers_that_met_cache_nothing),
        T(who_wrote_past_the_library_is_seen),
        T(values_are_checked),
        T(a_write_that_failed_changes_nothing),
        T(of_an_unknown_outcome_nothing_is_cached),
        T(a_writer_that_says_nothing_is_unknown),
        T(a_slow_writer_is_guarded),
        T(a_writer_past_its_time_still_invalidates),
        T(a_queue_asks_for_the_write),
        T(another_thread_may_answer),
        T(a_cancelled_write_leaves_nothing),
        T(the_answer_to_a_cancelled_write_counts),
        T(a_queue_that_goes_away_owes_its_writes),
        T(a_writer_may_close_the_pond),
        T(a_close_does_not_hide_that_it_failed),
        T(a_close_ends_what_waits),
        T(bad_calls_are_refused),
        T(two_writers_and_the_cache_agree),
    };
#undef T
    return cmocka_run_group_tests_name("writes", tests, NULL, NULL);
}
