/* The mongodb: store on a replica set of three whose members are stopped, killed and made to give way while calls are
 * under way: every call ends in its time, what fails says that it may be tried again, and nothing wrong is answered. */
#include "mongodb_crowd.h"

#include "find_data.h"

static void in_time(int64_t start, int64_t timeout_ms, const char *when, const char *what, const pond_error *err) {
    int64_t over = overrun_ms(start, timeout_ms);
    if (over > SLACK_MS)
        fail_msg("%s, %s: %" PRId64 " ms past its deadline: %s", when, what, over, pond_error_message(err));
}

/* ---- calls, all kinds of them ---- */

typedef int call(mp_store *s, pond_error **err);

static mp_query *query(void) {
    static mp_query *q;
    if (q == NULL) q = taken("a[gte]=0&sort=-b");
    return q;
}

static int call_get(mp_store *s, pond_error **err) {
    pond_value *value = NULL;
    int rc = s->vt->get(s, "films", "1", 1, &value, err);
    pond_value_free(value);
    return rc;
}

static int call_get_many(mp_store *s, pond_error **err) {
    const char *ids[] = {"1", "2", "x"};
    const size_t lens[] = {1, 1, 1};
    pond_value *out[3] = {NULL, NULL, NULL};
    int rc = s->vt->get_many(s, "films", ids, lens, 3, out, err);
    for (int i = 0; i < 3; i++) {
        if (rc != POND_OK) assert_null(out[i]);
        pond_value_free(out[i]);
    }
    return rc;
}

static int call_put(mp_store *s, pond_error **err) { return s->vt->put(s, "films", "9", 1, "{\"z\":1}", 7, err); }
static int call_put_number(mp_store *s, pond_error **err) {
    return s->vt->put(s, "films", "o", 1, "{\"z\":1}", 7, err);
}

static int call_remove(mp_store *s, pond_error **err) {
    bool existed;
    return s->vt->remove(s, "films", "8", 1, &existed, err);
}

static int call_find(mp_store *s, pond_error **err) {
    mp_buf out;
    mp_buf_init(&out);
    size_t count;
    int rc = s->vt->find(s, "films", query(), &out, &count, err);
    mp_buf_free(&out);
    return rc;
}

static int call_count(mp_store *s, pond_error **err) {
    int64_t total;
    return s->vt->count(s, "films", query(), &total, err);
}

static int call_plan(mp_store *s, pond_error **err) {
    mp_buf out;
    mp_buf_init(&out);
    int rc = s->vt->plan(s, "films", query(), &out, err);
    mp_buf_free(&out);
    return rc;
}

static int call_index(mp_store *s, pond_error **err) { return s->vt->index(s, "films", &query()->sort[0], err); }
static int call_create(mp_store *s, pond_error **err) { return s->vt->create(s, "films", err); }

static const struct {
    const char *name;
    call *run;
} calls[] = {
    {"get", call_get},       {"get_many", call_get_many}, {"put", call_put},     {"put again", call_put_number},
    {"remove", call_remove}, {"find", call_find},         {"count", call_count}, {"plan", call_plan},
    {"index", call_index},   {"create", call_create}};

enum { CALLS = sizeof calls / sizeof calls[0] };

/* Each fails, retriable, within its time. */
static void all_fail_in_time(mp_store *s, int64_t timeout_ms, const char *when) {
    for (size_t i = 0; i < CALLS; i++) {
        pond_error *err = NULL;
        int64_t start = clock_ms();
        int rc = calls[i].run(s, &err);
        in_time(start, timeout_ms, when, calls[i].name, err);
        if (rc != POND_ESTORE || !pond_error_retriable(err))
            fail_msg("%s, %s: %d %s", when, calls[i].name, rc, pond_error_message(err));
        if (strstr(pond_error_message(err), "films") == NULL) fail_msg("%s", pond_error_message(err));
        pond_error_free(err);
    }
}

/* Each call has worked once, though its time may be short, the machine busy, or an election be under way. */
static void warm_up(mp_store *s) {
    for (size_t i = 0; i < CALLS; i++)
        for (int64_t end = clock_ms() + 30000;;) {
            pond_error *err = NULL;
            if (calls[i].run(s, &err) == POND_OK) break;
            if (clock_ms() > end) fail_msg("%s: %s", calls[i].name, pond_error_message(err));
            pond_error_free(err);
        }
}

/* ---- the tests ---- */

static int whole(void **state) {
    signal_all(SIGCONT);
    wait_until_whole();
    return set_up(state);
}

static int restore(void **state) {
    signal_all(SIGCONT);
    wait_until_whole();
    return tear_down(state);
}

static void step_down_now(crowd *c) {
    step_down();
    wait_for_more(c);
    step_down();
    wait_for_more(c);
}

/* An election takes a second or two: with time enough no reader sees it, and a writer only if its write was under way. */
static void patiently(fixture *f, void (*trouble)(crowd *)) {
    crowd c;
    long before = term();
    with_a_crowd(f, &c, 20000, trouble);
    assert_int_equal(c.failed_reads, 0);
    /* One that was under way each time, at most, and one that met the election in between. */
    if (c.failed_writes > 2 * (term() - before))
        fail_msg("%ld writes failed, in %ld terms", c.failed_writes, term() - before);
}

static void the_primary_gives_way(void **state) { patiently(*state, step_down_now); }

static void kill_now(crowd *c) {
    kill(primary().pid, SIGKILL);
    wait_for_more(c);
}

static void the_primary_is_killed(void **state) { patiently(*state, kill_now); }

static void kill_and_hurry(crowd *c) {
    kill(primary().pid, SIGKILL);
    rest_ms(1500);
    wait_for_more(c);
}

static void in_a_hurry_when_the_primary_is_killed(void **state) {
    crowd c;
    with_a_crowd(*state, &c, 300, kill_and_hurry);
    assert_true(c.failed_reads > 0);
}

/* Its connections stand, and nothing comes: the worst of faults. */
static void stop_now(crowd *c) {
    member first = primary();
    stop(first.pid);
    rest_ms(4000); /* the others elect one of themselves */
    wait_for_more(c);
    kill(first.pid, SIGCONT); /* it thinks that it is the primary, until it hears */
    wait_for_more(c);
}

static void the_primary_is_stopped(void **state) {
    crowd c;
    with_a_crowd(*state, &c, 1000, stop_now);
    assert_true(c.failed_reads > 0);
}

static void everything_is_stopped(void **state) {
    fixture *f = *state;
    mp_store *warm = opened(f->address, "500ms"), *cold = opened(f->address, "500ms");
    warm_up(warm);
    signal_all(SIGSTOP);
    all_fail_in_time(warm, 500, "warm");
    all_fail_in_time(cold, 500, "cold");
    int64_t start = clock_ms();
    cold->vt->close(cold);
    in_time(start, 1000, "all stopped", "close", NULL);
    signal_all(SIGCONT);
    wait_until_whole();
    mp_store *patient = opened(f->address, "20s");
    warm_up(patient);
    patient->vt->close(patient);
    warm->vt->close(warm);
}

static void no_majority(void **state) {
    fixture *f = *state;
    member all[3], first = primary();
    mp_store *warm = opened(f->address, "400ms");
    warm_up(warm);
    members(all);
    for (int i = 0; i < 3; i++)
        if (all[i].pid != first.pid) stop(all[i].pid);
    pond_error *err = NULL; /* at first it still thinks that it is the primary, but nobody confirms */
    int64_t start = clock_ms();
    int rc = warm->vt->put(warm, "films", "1", 1, "{}", 2, &err);
    in_time(start, 400, "no majority yet", "put", err);
    failed(rc, err, POND_ESTORE, 1, "films \"1\"");
    wait_until_no_primary(first.port);
    all_fail_in_time(warm, 400, "no majority");
    signal_all(SIGCONT);
    wait_until_whole();
    mp_store *patient = opened(f->address, "20s");
    warm_up(patient);
    patient->vt->close(patient);
    warm->vt->close(warm);
}

/* A query that takes longer than it may: the server ends it, and the connection goes on. */
static void slow_queries(void **state) {
    fixture *f = *state;
    mp_store *hasty = opened(f->address, "300ms");
    warm_up(hasty);
    command(f,
            "{\"create\":\"slow\",\"viewOn\":\"films\",\"pipeline\":[{\"$match\":{\"$expr\":{\"$function\":{\"body\":"
            "\"function() { sleep(2000); return true; }\",\"args\":[],\"lang\":\"js\"}}}}]}");
    put(f->store, "films", "1", "{\"a\":1}");
    pond_value *value = NULL;
    pond_error *err = NULL;
    int64_t start = clock_ms();
    int rc = hasty->vt->get(hasty, "slow", "1", 1, &value, &err);
    in_time(start, 300, "a slow query", "get", err);
    failed(rc, err, POND_ESTORE, 1, "slow \"1\": MongoDB did not answer within store_timeout (300 ms)");
    warm_up(hasty);
    hasty->vt->close(hasty);
}

#define in_trouble(test) cmocka_unit_test_setup_teardown(test, whole, restore)

int main(void) {
    const struct CMUnitTest tests[] = {
        in_trouble(slow_queries),
        in_trouble(the_primary_gives_way),
        in_trouble(the_primary_is_stopped),
        in_trouble(everything_is_stopped),
        in_trouble(no_majority),
        in_trouble(in_a_hurry_when_the_primary_is_killed),
        in_trouble(the_primary_is_killed),
    };
    heartbeat_start();
    return cmocka_run_group_tests_name("mongodb_faults", tests, NULL, NULL);
}
