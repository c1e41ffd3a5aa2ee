/* The mongodb: store on a replica set of three whose members are stopped, killed and made to give way while calls are
 * under way: every call ends in its time, what fails says that it may be tried again, and nothing wrong is answered. */
#include "mongodb_store.h"

#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "find_data.h"
#include "support/heartbeat.h"

enum { SLACK_MS = 50 }; /* past a deadline, less what the machine itself stood still after it */

/* ---- the members ---- */

static void sleep_ms(int ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

typedef struct member {
    int port, pid;
} member;

static int members(member out[3]) {
    FILE *file = fopen(getenv("MILLPOND_TEST_MONGODB_MEMBERS"), "r");
    int n = 0;
    assert_non_null(file);
    while (n < 3 && fscanf(file, "%d %d", &out[n].port, &out[n].pid) == 2) n++;
    fclose(file);
    return n;
}

static bson_t *hello(int port, bson_t *reply) {
    char address[100];
    bson_error_t why;
    bson_t ask = BSON_INITIALIZER;
    snprintf(address, sizeof address,
             "mongodb://127.0.0.1:%d/?directConnection=true&serverSelectionTimeoutMS=300&socketTimeoutMS=300", port);
    mongoc_client_t *client = mongoc_client_new(address);
    bson_append_int32(&ask, "hello", -1, 1);
    bool well = mongoc_client_command_simple(client, "admin", &ask, NULL, reply, &why);
    mongoc_client_destroy(client);
    bson_destroy(&ask);
    return well ? reply : NULL;
}

/* The primary that answers, of those that are not stopped. */
static member primary(void) {
    for (int64_t end = mp_clock_ms() + 30000; mp_clock_ms() < end; sleep_ms(50)) {
        member all[3];
        int n = members(all);
        for (int i = 0; i < n; i++) {
            bson_t reply;
            bson_iter_t iter;
            bool is = hello(all[i].port, &reply) != NULL && bson_iter_init_find(&iter, &reply, "isWritablePrimary") &&
                      bson_iter_bool(&iter);
            bson_destroy(&reply);
            if (is) return all[i];
        }
    }
    fail_msg("there is no primary");
    return (member){0, 0};
}

/* Whether a thread of the process still runs: a stop comes to one after the other. */
static bool runs(int pid) {
    char path[300];
    bool any = false;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    for (struct dirent *one; tasks != NULL && !any && (one = readdir(tasks)) != NULL;) {
        char state = 'T';
        snprintf(path, sizeof path, "/proc/%d/task/%.20s/stat", pid, one->d_name);
        FILE *file = one->d_name[0] != '.' ? fopen(path, "r") : NULL;
        if (file == NULL) continue;
        if (fscanf(file, "%*d (%*[^)]) %c", &state) == 1) any = state != 'T';
        fclose(file);
    }
    if (tasks != NULL) closedir(tasks);
    return any;
}

static void stop(int pid) {
    kill(pid, SIGSTOP);
    while (runs(pid)) sleep_ms(1);
}

static void signal_all(int number) {
    member all[3];
    int n = members(all);
    for (int i = 0; i < n; i++) {
        if (number == SIGSTOP) stop(all[i].pid);
        else kill(all[i].pid, number);
    }
}

static void step_down(void) {
    char address[100];
    bson_error_t why;
    bson_t command = BSON_INITIALIZER, reply;
    snprintf(address, sizeof address, "mongodb://127.0.0.1:%d/?directConnection=true", primary().port);
    mongoc_client_t *client = mongoc_client_new(address);
    bson_append_int32(&command, "replSetStepDown", -1, 12);
    bson_append_int32(&command, "secondaryCatchUpPeriodSecs", -1, 10);
    if (!mongoc_client_command_simple(client, "admin", &command, NULL, &reply, &why)) fail_msg("%s", why.message);
    mongoc_client_destroy(client);
    bson_destroy(&reply);
    bson_destroy(&command);
}

/* All three are there, and one is the primary. */
static void wait_until_whole(void) {
    for (int64_t end = mp_clock_ms() + 60000; mp_clock_ms() < end; sleep_ms(50)) {
        member all[3];
        int n = members(all), good = 0;
        for (int i = 0; i < n; i++) {
            bson_t reply;
            bson_iter_t iter;
            good +=
                hello(all[i].port, &reply) != NULL && bson_iter_init(&iter, &reply) &&
                (bson_iter_find_case(&iter, "isWritablePrimary") &&
                 (bson_iter_bool(&iter) || (bson_iter_init_find(&iter, &reply, "secondary") && bson_iter_bool(&iter))));
            bson_destroy(&reply);
        }
        if (good == 3) {
            primary();
            return;
        }
    }
    fail_msg("the members do not come back");
}

/* ---- deadlines ---- */

/* How long a call that began at `start` and has just ended took more than it may, as far as it is our doing. */
static int64_t overrun_ms(int64_t start, int64_t timeout_ms) {
    int64_t end = mp_clock_ms(), deadline = start + timeout_ms;
    return end > deadline ? end - deadline - stalled_ms(deadline, end) : 0;
}

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
        int64_t start = mp_clock_ms();
        int rc = calls[i].run(s, &err);
        in_time(start, timeout_ms, when, calls[i].name, err);
        if (rc != POND_ESTORE || !pond_error_retriable(err))
            fail_msg("%s, %s: %d %s", when, calls[i].name, rc, pond_error_message(err));
        if (strstr(pond_error_message(err), "films") == NULL) fail_msg("%s", pond_error_message(err));
        pond_error_free(err);
    }
}

static void all_work(mp_store *s, const char *when) {
    for (size_t i = 0; i < CALLS; i++) {
        pond_error *err = NULL;
        if (calls[i].run(s, &err) != POND_OK) fail_msg("%s, %s: %s", when, calls[i].name, pond_error_message(err));
    }
}

/* ---- readers and a writer that do not stop ---- */

/* Every document of `films` is {"n":k,"twice":2k}; a reader never sees another, nor an older one than was acknowledged. */
typedef struct crowd {
    mp_store *store;
    int64_t timeout_ms;
    _Atomic bool stop;
    _Atomic long reads, writes, failed_reads, failed_writes, wrong, over, newest;
} crowd;

static void note(crowd *c, int64_t start, const char *what, const pond_error *err) {
    long over = (long)overrun_ms(start, c->timeout_ms), most = atomic_load(&c->over);
    if (over > SLACK_MS / 2) fprintf(stderr, "%s: %ld ms past its deadline: %s\n", what, over, pond_error_message(err));
    while (over > most && !atomic_compare_exchange_weak(&c->over, &most, over)) {}
}

static bool expected_error(int rc, pond_error *err) {
    bool good = rc == POND_ESTORE && pond_error_retriable(err);
    if (!good) fprintf(stderr, "unexpected: %d %s\n", rc, pond_error_message(err));
    pond_error_free(err);
    return good;
}

static void *read_on(void *arg) {
    crowd *c = arg;
    while (!atomic_load(&c->stop)) {
        pond_value *value = NULL;
        pond_error *err = NULL;
        long before = atomic_load(&c->newest), n = -1, twice = -1;
        int64_t start = mp_clock_ms();
        int rc = c->store->vt->get(c->store, "films", "1", 1, &value, &err);
        note(c, start, "read", err);
        if (rc != POND_OK) {
            atomic_fetch_add(&c->failed_reads, 1);
            atomic_fetch_add(&c->wrong, !expected_error(rc, err));
            continue;
        }
        if (sscanf(pond_value_data(value, NULL), "{\"id\":\"1\",\"n\":%ld,\"twice\":%ld}", &n, &twice) != 2 ||
            twice != 2 * n || n < before) {
            fprintf(stderr, "wrong: %s after %ld\n", pond_value_data(value, NULL), before);
            atomic_fetch_add(&c->wrong, 1);
        }
        pond_value_free(value);
        atomic_fetch_add(&c->reads, 1);
    }
    return NULL;
}

static void *write_on(void *arg) {
    crowd *c = arg;
    for (long n = 1; !atomic_load(&c->stop); n++) {
        char doc[80];
        pond_error *err = NULL;
        int len = snprintf(doc, sizeof doc, "{\"n\":%ld,\"twice\":%ld}", n, 2 * n);
        int64_t start = mp_clock_ms();
        int rc = c->store->vt->put(c->store, "films", "1", 1, doc, (size_t)len, &err);
        note(c, start, "write", err);
        if (rc == POND_OK) {
            atomic_store(&c->newest, n);
            atomic_fetch_add(&c->writes, 1);
        } else {
            atomic_fetch_add(&c->failed_writes, 1);
            atomic_fetch_add(&c->wrong, !expected_error(rc, err));
        }
    }
    return NULL;
}

/* What `trouble` makes is made while they run. */
static void with_a_crowd(crowd *c, void (*trouble)(crowd *)) {
    enum { READERS = 3 };
    pthread_t threads[READERS + 1];
    put(c->store, "films", "1", "{\"n\":0,\"twice\":0}");
    assert_int_equal(pthread_create(&threads[READERS], NULL, write_on, c), 0);
    for (int i = 0; i < READERS; i++) assert_int_equal(pthread_create(&threads[i], NULL, read_on, c), 0);
    sleep_ms(200);
    trouble(c);
    atomic_store(&c->stop, true);
    for (int i = 0; i <= READERS; i++) pthread_join(threads[i], NULL);
    print_message("%ld reads (%ld failed), %ld writes (%ld failed), at most %ld ms past a deadline\n", c->reads,
                  c->failed_reads, c->writes, c->failed_writes, c->over);
    assert_int_equal(c->wrong, 0);
    if (c->over > SLACK_MS) fail_msg("a call ended %ld ms past its deadline", c->over);
}

static void wait_for_more(crowd *c) {
    long reads = atomic_load(&c->reads), writes = atomic_load(&c->writes);
    for (int64_t end = mp_clock_ms() + 30000; mp_clock_ms() < end; sleep_ms(10))
        if (atomic_load(&c->reads) > reads + 10 && atomic_load(&c->writes) > writes + 10) return;
    fail_msg("nothing goes on");
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

/* An election takes a second or two: with time enough no reader sees it. */
static void the_primary_gives_way(void **state) {
    fixture *f = *state;
    mp_store *patient = opened(f->address, "20s");
    crowd c = {.store = patient, .timeout_ms = 20000};
    with_a_crowd(&c, step_down_now);
    assert_int_equal(c.failed_reads, 0);
    assert_true(c.failed_writes <= 4); /* one that was under way each time, at most, and one that met it in between */
    patient->vt->close(patient);
}

static void kill_now(crowd *c) {
    kill(primary().pid, SIGKILL);
    wait_for_more(c);
}

static void the_primary_is_killed(void **state) {
    fixture *f = *state;
    mp_store *patient = opened(f->address, "20s");
    crowd c = {.store = patient, .timeout_ms = 20000};
    with_a_crowd(&c, kill_now);
    assert_int_equal(c.failed_reads, 0);
    assert_true(c.failed_writes <= 2);
    patient->vt->close(patient);
}

static void kill_and_hurry(crowd *c) {
    kill(primary().pid, SIGKILL);
    sleep_ms(1500);
    wait_for_more(c);
}

static void in_a_hurry_when_the_primary_is_killed(void **state) {
    fixture *f = *state;
    mp_store *hasty = opened(f->address, "300ms");
    crowd c = {.store = hasty, .timeout_ms = 300};
    with_a_crowd(&c, kill_and_hurry);
    assert_true(c.failed_reads > 0);
    hasty->vt->close(hasty);
}

/* Its connections stand, and nothing comes: the worst of faults. */
static void stop_now(crowd *c) {
    member first = primary();
    stop(first.pid);
    sleep_ms(4000); /* the others elect one of themselves */
    wait_for_more(c);
    kill(first.pid, SIGCONT); /* it thinks that it is the primary, until it hears */
    wait_for_more(c);
}

static void the_primary_is_stopped(void **state) {
    fixture *f = *state;
    mp_store *store = opened(f->address, "1s");
    crowd c = {.store = store, .timeout_ms = 1000};
    with_a_crowd(&c, stop_now);
    assert_true(c.failed_reads > 0);
    store->vt->close(store);
}

static void everything_is_stopped(void **state) {
    fixture *f = *state;
    mp_store *warm = opened(f->address, "500ms"), *cold = opened(f->address, "500ms");
    all_work(warm, "before");
    signal_all(SIGSTOP);
    all_fail_in_time(warm, 500, "warm");
    all_fail_in_time(cold, 500, "cold");
    int64_t start = mp_clock_ms();
    cold->vt->close(cold); /* does not hang either */
    if (mp_clock_ms() - start > 3000) fail_msg("close took %" PRId64 " ms", mp_clock_ms() - start);
    signal_all(SIGCONT);
    wait_until_whole();
    mp_store *patient = opened(f->address, "20s");
    all_work(patient, "after");
    patient->vt->close(patient);
    warm->vt->close(warm);
}

static void no_majority(void **state) {
    fixture *f = *state;
    member all[3], first = primary();
    mp_store *warm = opened(f->address, "400ms");
    all_work(warm, "before");
    members(all);
    for (int i = 0; i < 3; i++)
        if (all[i].pid != first.pid) stop(all[i].pid);
    pond_error *err = NULL; /* at first it still thinks that it is the primary, but nobody confirms */
    int64_t start = mp_clock_ms();
    int rc = warm->vt->put(warm, "films", "1", 1, "{}", 2, &err);
    in_time(start, 400, "no majority yet", "put", err);
    failed(rc, err, POND_ESTORE, 1, "films \"1\"");
    sleep_ms(3500); /* then it gives up */
    all_fail_in_time(warm, 400, "no majority");
    signal_all(SIGCONT);
    wait_until_whole();
    mp_store *patient = opened(f->address, "20s");
    all_work(patient, "after");
    patient->vt->close(patient);
    warm->vt->close(warm);
}

/* A query that takes longer than it may: the server ends it, and the connection goes on. */
static void slow_queries(void **state) {
    fixture *f = *state;
    mp_store *hasty = opened(f->address, "300ms");
    all_work(f->store, "before");
    get(hasty, "films", "1");
    command(f,
            "{\"create\":\"slow\",\"viewOn\":\"films\",\"pipeline\":[{\"$match\":{\"$expr\":{\"$function\":{\"body\":"
            "\"function() { sleep(2000); return true; }\",\"args\":[],\"lang\":\"js\"}}}}]}");
    put(f->store, "films", "1", "{\"a\":1}");
    pond_value *value = NULL;
    pond_error *err = NULL;
    int64_t start = mp_clock_ms();
    int rc = hasty->vt->get(hasty, "slow", "1", 1, &value, &err);
    in_time(start, 300, "a slow query", "get", err);
    failed(rc, err, POND_ESTORE, 1, "slow \"1\": MongoDB did not answer within store_timeout (300 ms)");
    assert_string_equal(get(hasty, "films", "1"), "{\"id\":\"1\",\"a\":1}");
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
