/* publish_stats and pond_processes: who is seen, until when, and what strangers may write there. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/redis.h"
#include "support/redis.h"
#include "support/support.h"

static redisContext *redis;

static pond *publisher(const char *ns, const char *every) {
    return pond_made(redis_url(), "namespace", ns, "publish_stats", every, NULL);
}

/* The answer of pond_processes. Borrowed until the next call. */
static const char *processes(pond *p) {
    static pond_value *kept;
    size_t len;
    pond_error *err = NULL;
    pond_value_free(kept);
    kept = NULL;
    if (pond_processes(p, &kept, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
    assert_int_equal(pond_value_codec(kept), POND_JSON);
    return pond_value_data(kept, &len);
}

static size_t times(const char *text, const char *part) {
    size_t n = 0;
    for (; (text = strstr(text, part)); text += strlen(part)) n++;
    return n;
}

/* Waits until a part stands in the answer so often. */
static void await_part(pond *p, const char *part, size_t wanted, int64_t within_ms) {
    int64_t until = clock_ms() + within_ms;
    while (times(processes(p), part) != wanted) {
        if (clock_ms() > until)
            fail_msg("%zu times %s, not %zu, in %s", times(processes(p), part), part, wanted, processes(p));
        rest_ms(5);
    }
}

static int set_up(void **state) {
    (void)state;
    redis_do(redis, "FLUSHALL");
    return 0;
}

static void nothing_is_published_unasked(void **state) {
    (void)state;
    pond *p = pond_made(redis_url(), "namespace", "quiet", NULL);
    fetch_text(p, "k", NULL, "one");
    assert_string_equal(processes(p), "[]");
    assert_int_equal(redis_number(redis, "EXISTS mp:p:{stats} mp:pe:{stats}"), 0);
    pond_free(p);
}

static void others_see_what_a_process_counts(void **state) {
    (void)state;
    char pid[32];
    pond *one = publisher("one", "50ms"), *two = publisher("two", "50ms"), *p = pond_made(redis_url(), NULL);
    fetch_text(one, "k", NULL, "x");
    fetch_text(one, "k", NULL, "x");
    fetch_text(two, "k", NULL, "x");
    await_part(p, "\"one\":{\"hits\":1,", 1, 5000); /* nobody calls: it is published all the same */
    await_part(p, "\"two\":{\"hits\":0,", 1, 5000);
    snprintf(pid, sizeof pid, "\"pid\":%ld,", (long)getpid());
    assert_int_equal(times(processes(p), pid), 2);
    assert_int_equal(times(processes(p), "\"host\":\""), 2);
    assert_int_equal(times(processes(p), "\"every_ms\":50,"), 2);
    fetch_text(one, "k", NULL, "x");
    await_part(p, "\"one\":{\"hits\":2,", 1, 5000);
    assert_true(redis_number(redis, "PTTL mp:p:{stats}") <= 150);
    assert_true(redis_number(redis, "PTTL mp:pe:{stats}") <= 150);
    pond_close(one, 1000); /* who ends says so */
    await_part(p, "\"process\"", 1, 1000);
    pond_free(two);
    await_part(p, "\"process\"", 0, 1000);
    assert_int_equal(redis_number(redis, "EXISTS mp:p:{stats} mp:pe:{stats}"), 0);
    pond_free(one);
    pond_free(p);
}

static void who_was_killed_is_forgotten(void **state) {
    (void)state;
    pond *p = publisher("stays", "100ms");
    pid_t child = fork();
    if (child == 0) {
        alarm(30);
        fetch_text(publisher("dies", "100ms"), "k", NULL, "x");
        for (;;) pause();
    }
    fetch_text(p, "k", NULL, "x");
    await_part(p, "\"dies\":", 1, 10000);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    await_part(p, "\"process\"", 1, 5000);
    assert_int_equal(redis_number(redis, "HLEN mp:p:{stats}"), redis_number(redis, "ZCARD mp:pe:{stats}"));
    assert_int_equal(times(processes(p), "\"stays\":"), 1);
    pond_free(p);
}

/* However many loops a process has, it publishes once an interval. */
static void queues_take_turns(void **state) {
    (void)state;
    pond *p = publisher("queues", "100ms");
    desk d;
    desk_open(&d, p, DESK_QUEUES);
    for (size_t i = 0; i < DESK_QUEUES; i++) {
        desk_fetch(&d, i, "k", NULL, i, NULL);
        if (i == 0) answer_text(desk_load(&d, 0, 0), "x");
        desk_value(&d, i, i, "x");
    }
    pond_event *event = NULL;
    assert_int_equal(pond_processes_start(p, d.queue[0], 77, NULL), POND_OK);
    event = desk_event(&d, 0, 5000);
    assert_non_null(event);
    assert_int_equal(pond_event_kind(event), POND_EVENT_VALUE);
    assert_int_equal(pond_event_user(event), 77);
    size_t len;
    assert_int_equal(times(pond_value_data(pond_event_value(event), &len), "\"queues\":"), 1);
    pond_event_free(event);
    long long before = redis_calls(redis, "hset");
    int64_t began = clock_ms();
    desk_drive(&d, 1000);
    long long published = redis_calls(redis, "hset") - before;
    int64_t most = (clock_ms() - began) / 100 + 1;
    if (published < 2 || published > most) fail_msg("published %lld times, at most %lld", published, (long long)most);
    desk_close(&d);
    pond_free(p);
}

static void a_cache_that_is_down_is_no_trouble(void **state) {
    (void)state;
    pond *p = pond_made("unix:/nobody/listens/here.sock", "namespace", "down", "publish_stats", "10ms", NULL);
    assert_string_equal(fetch_text(p, "k", NULL, "x"), "x");
    rest_ms(100);
    pond_value *value = NULL;
    pond_error *err = NULL;
    assert_int_equal(pond_processes(p, &value, &err), POND_ECACHE);
    pond_error_free(err);
    pond_close(p, 1000);
    assert_int_equal(pond_processes(p, &value, NULL), POND_ECLOSED);
    pond_free(p);
    p = pond_made("memory:published", "publish_stats", "10ms", NULL);
    fetch_text(p, "k", NULL, "x");
    assert_string_equal(processes(p), "[]");
    pond_free(p);
}

static void namespaces_are_bounded(void **state) {
    (void)state;
    pond *p = publisher("first", "50ms");
    char ns[32];
    for (int i = 0; i < 300; i++) {
        snprintf(ns, sizeof ns, "many%d", i);
        pond_policy *policy = policy_made(p, "namespace", ns, NULL);
        if (i == 250) lookup_text(p, "k", policy);
        pond_policy_free(policy);
    }
    await_part(p, "\"misses\":1,", 2, 5000); /* in total, and among the others */
    assert_int_equal(times(processes(p), "\"?others\":"), 1);
    assert_int_equal(times(processes(p), "\"many"), 99);
    pond_free(p);
}

/* ---- what strangers write ---- */

static void strangers_rows_are_not_believed(void **state) {
    (void)state;
    static const char *const rows[] = {"",
                                       "{",
                                       "{}",
                                       "[]",
                                       "null",
                                       "{\"a\":1}x",
                                       "7",
                                       "\xff",
                                       "{\"id\":\"x\"}",
                                       "{\"a\":1,\"a\":2}",
                                       "{\"a\":\"\\u0000\"}"};
    pond *p = pond_made(redis_url(), NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        redis_do(redis, "HSET mp:p:{stats} p-%014d %s", (int)i, rows[i]);
        redis_do(redis, "ZADD mp:pe:{stats} 99999999999999 p-%014d", (int)i);
    }
    redis_do(redis, "ZADD mp:pe:{stats} 99999999999999 process-without-a-row");
    assert_string_equal(processes(p), "[]");
    redis_do(redis, "HSET mp:p:{stats} p-%014d %s", 0, "{\"pid\":7}");
    assert_int_equal(times(processes(p), "\"pid\":7}]"), 1);
    pond_value *value = NULL;
    pond_error *err = NULL;
    redis_do(redis, "HSET mp:p:{stats} short x");
    redis_do(redis, "ZADD mp:pe:{stats} 99999999999998 short");
    assert_int_equal(times(processes(p), "\"process\""), 1);
    redis_do(redis, "SET mp:pe:{stats} text");
    assert_int_equal(pond_processes(p, &value, &err), POND_ECACHE);
    assert_non_null(strstr(pond_error_message(err), "mp:"));
    pond_error_free(err);
    pond_free(p);
}

#define ID "0123456789abcdef"

static void every_reply_is_checked(void **state) {
    (void)state;
    static const struct {
        const char *reply, *json; /* NULL: an error */
    } cases[] = {
        {"", "[]"},
        {ID "5 7 {\"a\":1}", "[{\"process\":\"30313233343536373839616263646566\",\"left_ms\":5,\"a\":1}]"},
        {ID "5 2 {}" ID "6 7 {\"a\":1}", "[{\"process\":\"30313233343536373839616263646566\",\"left_ms\":6,\"a\":1}]"},
        {ID "5 0 ", "[]"},
        {ID "5 3 {}", NULL},
        {ID "5 99999999999999999999 {}", NULL},
        {ID "5 -2 {}", NULL},
        {ID "-5 2 {}", NULL},
        {ID "5 2", NULL},
        {ID "5", NULL},
        {ID " 2 {}", NULL},
        {ID, NULL},
        {"0123", NULL},
        {ID "5 2 {}x", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t len = strlen(cases[i].reply);
        char *exact = malloc(len + 1); /* AddressSanitizer sees a step too far; hiredis puts a NUL behind */
        memcpy(exact, cases[i].reply, len + 1);
        redisReply reply = {.type = REDIS_REPLY_STRING, .str = exact, .len = len};
        mp_op op = {.kind = MP_PUBLISHED};
        mp_reply got = mp_published_decode(&op, &reply);
        if (cases[i].json) {
            assert_int_equal(got, MP_HIT);
            assert_string_equal(op.value->data, cases[i].json);
        } else {
            if (got != MP_FAILED) fail_msg("%s was taken", cases[i].reply);
            assert_int_equal(pond_error_code(op.error), POND_EPROTOCOL);
        }
        pond_value_free(op.value);
        pond_error_free(op.error);
        free(exact);
    }
    redisReply number = {.type = REDIS_REPLY_INTEGER, .integer = 1};
    mp_op op = {.kind = MP_PUBLISHED};
    assert_int_equal(mp_published_decode(&op, &number), MP_FAILED);
    pond_error_free(op.error);
}

int main(void) {
    watchdog(100);
    redis = redis_open(redis_url());
    if (!redis) return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_is_published_unasked, set_up),
        cmocka_unit_test_setup(others_see_what_a_process_counts, set_up),
        cmocka_unit_test_setup(who_was_killed_is_forgotten, set_up),
        cmocka_unit_test_setup(queues_take_turns, set_up),
        cmocka_unit_test_setup(a_cache_that_is_down_is_no_trouble, set_up),
        cmocka_unit_test_setup(namespaces_are_bounded, set_up),
        cmocka_unit_test_setup(strangers_rows_are_not_believed, set_up),
        cmocka_unit_test_setup(every_reply_is_checked, set_up),
    };
    int failed = cmocka_run_group_tests_name("publish", tests, NULL, NULL);
    redisFree(redis);
    return failed;
}
