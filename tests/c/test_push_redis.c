/* Waiting for another process's load: told by the server, on a connection of its own, and polled only where it will not tell. `p`
 * waits; `other` stands for the other process. What is sent is counted by the server's MONITOR. */
#include "cache/redis_scripts.h"
#include "support/server.h"
#include "support/support.h"

static server *s;
static pond *p, *other;
static redisContext *monitor;
static char key[64], name[96]; /* push:key */
static uint64_t base_loads;

/* ---- what the server saw ---- */

typedef struct tally {
    int get, lease, await, fill, renew, release, fence, hello, tracking;
} tally;

static bool is_script(const char *command, mp_script_id id) {
    char by_sha[64], by_text[32];
    static const char *const names[MP_SCRIPTS] = {[MP_SCRIPT_fence] = "fence",
                                                  [MP_SCRIPT_get] = "get",
                                                  [MP_SCRIPT_fill] = "fill",
                                                  [MP_SCRIPT_renew] = "renew",
                                                  [MP_SCRIPT_release] = "release"};
    snprintf(by_sha, sizeof by_sha, "\"EVALSHA\" \"%s\"", mp_scripts[id].sha);
    snprintf(by_text, sizeof by_text, "\"EVAL\" \"-- %s:", names[id]);
    return strstr(command, by_sha) || strstr(command, by_text);
}

static void classify(tally *t, const char *line) {
    if (strstr(line, " lua] ")) return; /* from a script */
    const char *command = strchr(line, '"');
    if (!command) return;
    t->get += strstr(command, "\"GET\" \"mp:v:") == command;
    t->await += strstr(command, "\"PTTL\"") == command;
    t->hello += strstr(command, "\"HELLO\"") == command;
    t->tracking += strstr(command, "\"CLIENT\" \"TRACKING\"") == command;
    t->lease += is_script(command, MP_SCRIPT_get);
    t->fill += is_script(command, MP_SCRIPT_fill);
    t->renew += is_script(command, MP_SCRIPT_renew);
    t->release += is_script(command, MP_SCRIPT_release);
    t->fence += is_script(command, MP_SCRIPT_fence);
}

/* Everything since the last tally. */
static tally count_up(void) {
    tally t = {0};
    const char *mark = fresh("mark");
    redis_do(server_client(s), "ECHO %s", mark);
    for (bool marked = false; !marked;) {
        redisReply *r = NULL;
        assert_int_equal(redisGetReply(monitor, (void **)&r), REDIS_OK);
        marked = strstr(r->str, mark) != NULL;
        classify(&t, r->str);
        freeReplyObject(r);
    }
    return t;
}

static long long info_number(const char *field) {
    const redisReply *r = redis_do(server_client(s), "INFO stats");
    const char *at = strstr(r->str, field);
    assert_non_null(at);
    return strtoll(at + strlen(field) + 1, NULL, 10);
}

/* What the server will tell of. */
static long long tracked(void) { return info_number("tracking_total_keys"); }

static void await_tracked(long long n) {
    for (int64_t until = clock_ms() + 5000; tracked() != n; rest_ms(1))
        if (clock_ms() > until) fail_msg("the server tracks %lld keys, not %lld", tracked(), n);
}

static bool waits_are(const char *how) {
    pond_value *stats = NULL;
    char wanted[32];
    snprintf(wanted, sizeof wanted, "\"wait_mode\":%s", how);
    assert_int_equal(pond_stats(p, &stats, NULL), POND_OK);
    size_t len;
    bool so = strstr(pond_value_data(stats, &len), wanted) != NULL;
    pond_value_free(stats);
    return so;
}

static uint64_t loads(void) { return pond_stat(p, "push", "loads") - base_loads; }

/* ---- who loads and who waits ---- */

static fetcher holder, waiter;
static gate began, go;

static void hold(const char *value, int fail) {
    gate_init(&began);
    gate_init(&go);
    holder = (fetcher){.p = other, .key = key, .script = {.value = value, .fail = fail, .began = &began, .go = &go}};
    fetcher_start(&holder);
    assert_true(gate_wait(&began, 5000));
}

static void let_go(void) {
    gate_open(&go);
    fetcher_join(&holder);
}

/* A thread of `p` that is known to wait. */
static void start_waiting(void) {
    waiter = (fetcher){.p = p, .key = key, .script = {.value = "its own"}};
    fetcher_start(&waiter);
    await_tracked(1);
}

static int set_up(void **state) {
    (void)state;
    static const char *const none[] = {NULL};
    s = server_start(*state ? *state : none);
    p = pond_made(server_url(s), "namespace", "push", NULL);
    other = pond_made(server_url(s), "namespace", "push", NULL);
    fetch_text(p, "warm", NULL, "x");
    fetch_text(other, "warm", NULL, "x");
    invalidate(other, "cold", NULL);
    monitor = redis_open(server_url(s));
    redis_do(monitor, "MONITOR");
    count_up();
    base_loads = pond_stat(p, "push", "loads");
    snprintf(key, sizeof key, "%s", fresh("k"));
    snprintf(name, sizeof name, "push:%s", key);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    redisFree(monitor);
    pond_free(p);
    pond_free(other);
    server_stop(s);
    return 0;
}

/* ---- the cases ---- */

/* GET, the question, the registration, and the question again when the fill was told: four, whatever the load takes. */
static void a_wait_is_four_commands(void **state) {
    (void)state;
    for (int round = 0; round < 3; round++) {
        snprintf(key, sizeof key, "%s", fresh("k"));
        hold("theirs", 0);
        tally before = count_up();
        assert_int_equal(before.lease, 1);
        start_waiting();
        rest_ms(300);
        let_go();
        fetcher_join(&waiter);
        tally t = count_up();
        assert_string_equal(waiter.text, "theirs");
        assert_int_equal(t.get, 1);
        assert_int_equal(t.lease, 2);
        assert_int_equal(t.await, 1);
        assert_int_equal(t.hello, round == 0);
        assert_int_equal(t.tracking, round == 0);
        assert_int_equal(t.renew, 0);
        assert_int_equal(t.fill, 1);
        assert_int_equal(tracked(), 0); /* the server forgets what it has told */
    }
    assert_int_equal(loads(), 0);
    assert_true(waits_are("\"push\""));
}

static void it_is_told_at_once(void **state) {
    (void)state;
    int64_t best = INT64_MAX;
    for (int round = 0; round < 7; round++) {
        snprintf(key, sizeof key, "%s", fresh("k"));
        hold("theirs", 0);
        start_waiting();
        rest_ms(200); /* where polls would be 80 to 160 ms apart */
        int64_t freed = clock_ms();
        let_go();
        fetcher_join(&waiter);
        if (clock_ms() - freed < best) best = clock_ms() - freed;
    }
    print_message("told within %lld ms of the fill at best\n", (long long)best);
    assert_in_range(best, 0, 20);
}

/* A renewal wakes nobody: one PTTL finds out that it was one. */
static void renewals_cost_one_command(void **state) {
    (void)state;
    pond_policy *short_lease = policy_made(other, "lease", "600ms", NULL),
                *mine = policy_made(p, "lease", "600ms", NULL);
    gate_init(&began);
    gate_init(&go);
    holder = (fetcher){
        .p = other, .key = key, .policy = short_lease, .script = {.value = "theirs", .began = &began, .go = &go}};
    fetcher_start(&holder);
    assert_true(gate_wait(&began, 5000));
    waiter = (fetcher){.p = p, .key = key, .policy = mine, .script = {.value = "its own"}};
    fetcher_start(&waiter);
    await_tracked(1);
    count_up();
    rest_ms(1500);
    tally t = count_up();
    let_go();
    fetcher_join(&waiter);
    assert_string_equal(waiter.text, "theirs");
    print_message("%d renewals: %d registrations, %d questions, %d fence checks\n", t.renew, t.await, t.lease, t.fence);
    assert_in_range(t.renew, 4, 8);
    assert_true(t.await + t.lease <=
                t.renew + 4); /* where a renewal came late, it wakes: a question and a registration */
    assert_int_equal(loads(), 0);
    pond_policy_free(short_lease);
    pond_policy_free(mine);
}

/* The holder gives up: the next loads, at once. */
static void a_released_lease_is_taken_over(void **state) {
    (void)state;
    hold(NULL, POND_ELOADER);
    start_waiting();
    rest_ms(200);
    int64_t freed = clock_ms();
    let_go();
    fetcher_join(&waiter);
    assert_string_equal(waiter.text, "its own");
    assert_in_range(clock_ms() - freed, 0, 1000); /* not the lease's three seconds */
    assert_int_equal(loads(), 1);
}

static void so_is_a_revoked_one(void **state) {
    (void)state;
    hold("theirs", 0);
    start_waiting();
    invalidate(other, key, NULL);
    fetcher_join(&waiter);
    assert_string_equal(waiter.text, "its own");
    let_go();
    assert_string_equal(lookup_text(p, key, NULL), "its own");
}

/* As of a loader that was killed: its lease ends by itself. */
static void so_is_one_whose_time_is_over(void **state) {
    (void)state;
    redis_do(server_client(s), "SET mp:l:{%s} 0123456789abcdef PX 400", name);
    int64_t from = clock_ms();
    start_waiting();
    fetcher_join(&waiter);
    assert_string_equal(waiter.text, "its own");
    assert_in_range(clock_ms() - from, 350, 1400);
}

/* The server forgets all, and says so. */
static void everything_is_flushed(void **state) {
    (void)state;
    hold("theirs", 0);
    start_waiting();
    int64_t from = clock_ms();
    redis_do(server_client(s), "FLUSHALL");
    fetcher_join(&waiter);
    assert_string_equal(waiter.text, "its own");
    assert_in_range(clock_ms() - from, 0, 1000);
    let_go();
}

/* Ids of the connections that track. */
static size_t lease_connections(char ids[][24], size_t max) {
    const redisReply *r = redis_do(server_client(s), "CLIENT LIST");
    size_t n = 0;
    for (const char *line = r->str; line && *line && n < max;) {
        const char *end = strchr(line, '\n'), *flags = strstr(line, " flags=");
        if (flags && flags < end && memchr(flags + 7, 't', strcspn(flags + 7, " "))) {
            const char *id = strstr(line, "id=") + 3;
            snprintf(ids[n++], 24, "%.*s", (int)strcspn(id, " "), id);
        }
        line = end ? end + 1 : NULL;
    }
    return n;
}

/* What the server would have told is lost with the connection: the waiter asks again, and waits on a new one. */
static void the_connection_is_cut(void **state) {
    (void)state;
    char ids[4][24], again[4][24];
    hold("theirs", 0);
    start_waiting();
    assert_int_equal(lease_connections(ids, 4), 1);
    count_up();
    for (int i = 0; i < 3; i++) {
        redis_do(server_client(s), "CLIENT KILL ID %s", ids[0]);
        for (int64_t until = clock_ms() + 5000; lease_connections(again, 4) != 1 || strcmp(again[0], ids[0]) == 0;)
            assert_true(clock_ms() < until);
        await_tracked(1);
        strcpy(ids[0], again[0]);
    }
    int64_t freed = clock_ms();
    let_go();
    fetcher_join(&waiter);
    assert_string_equal(waiter.text, "theirs");
    assert_in_range(clock_ms() - freed, 0, 1000);
    tally t = count_up();
    assert_in_range(t.lease, 4, 7); /* one a cut, and the last; a poll may come between */
    assert_in_range(t.hello, 3, 4);
    assert_int_equal(loads(), 0);
}

/* Killed and started again empty: the lease is gone, so the waiter loads. */
static void the_server_is_killed(void **state) {
    (void)state;
    hold("theirs", 0);
    start_waiting();
    redisFree(monitor);
    server_kill(s, false);
    server_again(s);
    monitor = redis_open(server_url(s));
    redis_do(monitor, "MONITOR");
    fetcher_join(&waiter);
    assert_string_equal(waiter.text, "its own");
    let_go();
}

/* ---- where it will not tell ---- */

static void waits_poll(const char *said) {
    hold("theirs", 0);
    waiter = (fetcher){.p = p, .key = key, .script = {.value = "its own"}};
    fetcher_start(&waiter);
    rest_ms(400);
    tally t = count_up();
    assert_in_range(t.lease, 4, 12); /* 5, 10 ... 160 ms apart */
    assert_true(waits_are("\"poll\""));
    pond_value *stats = NULL;
    size_t len;
    assert_int_equal(pond_stats(p, &stats, NULL), POND_OK);
    if (!strstr(pond_value_data(stats, &len), said)) fail_msg("no \"%s\" in %s", said, pond_value_data(stats, &len));
    pond_value_free(stats);
    let_go();
    fetcher_join(&waiter);
    assert_string_equal(waiter.text, "theirs");
    assert_int_equal(loads(), 0);
}

static void it_knows_no_hello(void **state) {
    (void)state;
    waits_poll("HELLO");
    assert_int_equal(count_up().hello, 0);
}

static void the_user_may_not(const char *what) {
    redisContext *c = server_client(s);
    redis_do(c, "ACL SETUSER shy on >secret ~* &* +@all %s", what);
    pond_free(p);
    p = pond_made(server_url(s), "namespace", "push", "username", "shy", "password", "secret", NULL);
    fetch_text(p, "warm", NULL, "x");
    count_up();
    base_loads = pond_stat(p, "push", "loads");
    waits_poll("NOPERM");
    redis_do(c, "ACL SETUSER shy +@all");
}

static void the_user_may_not_track(void **state) {
    (void)state;
    the_user_may_not("-client|tracking");
}

static void a_password_and_a_database(void **state) {
    (void)state;
    char url[160];
    redisContext *c = server_client(s);
    redis_do(c, "ACL SETUSER bold on >secret ~* &* +@all");
    snprintf(url, sizeof url, "%s?db=3", server_url(s));
    pond_free(p);
    pond_free(other);
    p = pond_made(url, "namespace", "push", "username", "bold", "password", "secret", NULL);
    other = pond_made(url, "namespace", "push", "username", "bold", "password", "secret", NULL);
    base_loads = 0;
    hold("theirs", 0);
    start_waiting();
    rest_ms(100);
    let_go();
    fetcher_join(&waiter);
    assert_string_equal(waiter.text, "theirs");
    assert_true(waits_are("\"push\""));
    tally t = count_up();
    assert_int_equal(t.await, 1);
}

/* No place for another connection: polled until there is. */
static void the_connection_is_refused(void **state) {
    (void)state;
    redisContext *c = server_client(s);
    redis_do(c, "CONFIG SET maxclients 4");
    hold("theirs", 0);
    waiter = (fetcher){.p = p, .key = key, .script = {.value = "its own"}};
    fetcher_start(&waiter);
    rest_ms(300);
    tally t = count_up();
    assert_in_range(t.lease, 3, 14);
    redis_do(c, "CONFIG SET maxclients 100");
    await_tracked(1);
    let_go();
    fetcher_join(&waiter);
    assert_string_equal(waiter.text, "theirs");
}

/* A server that can remember one key only tells all the time: nobody may ask all the time. */
static void it_remembers_too_little(void **state) {
    (void)state;
    enum { KEYS = 20 };
    redisContext *c = server_client(s);
    redis_do(c, "CONFIG SET tracking-table-max-keys 1");
    desk d;
    char keys[KEYS][64];
    desk_open(&d, p, 1);
    for (uint64_t i = 0; i < KEYS; i++) {
        snprintf(keys[i], sizeof keys[i], "%s", fresh("k"));
        redis_do(c, "SET mp:l:{push:%s} 0123456789abcdef PX 60000", keys[i]);
        desk_fetch(&d, 0, keys[i], NULL, i, NULL);
    }
    count_up();
    desk_drive(&d, 1000);
    tally t = count_up();
    print_message("%d waits in one second with a table of one: %d questions, %d registrations\n", KEYS, t.lease,
                  t.await);
    assert_in_range(t.lease, KEYS, KEYS * 25);
    for (uint64_t i = 0; i < KEYS; i++) redis_do(c, "DEL mp:l:{push:%s}", keys[i]);
    for (uint64_t i = 0; i < 2 * KEYS; i++) {
        pond_event *event = desk_event(&d, 0, 5000);
        assert_non_null(event);
        if (pond_event_kind(event) == POND_EVENT_LOAD) answer_text(pond_event_load(event), "mine");
        else assert_int_equal(pond_event_kind(event), POND_EVENT_VALUE);
        pond_event_free(event);
    }
    desk_close(&d);
}

/* ---- many, and those that give up ---- */

static void many_keys_on_one_connection(void **state) {
    (void)state;
    enum { KEYS = 10000 };
    redisContext *c = server_client(s);
    pond_queue *queue;
    char ids[4][24];
    /* It is the number that counts: a busy machine may take its time over the questions. The connection on which the server tells
     * has the usual one: it is not given up while answers come. */
    pond_policy *patient = policy_made(p, "command_timeout", "20s", "wait_timeout", "60s", NULL);
    assert_int_equal(pond_queue_new(&queue, p, NULL), POND_OK);
    for (int i = 0; i < KEYS; i++) redisAppendCommand(c, "SET mp:l:{push:many%d} 0123456789abcdef PX 60000", i);
    redisReply *r;
    for (int i = 0; i < KEYS; i++) {
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        freeReplyObject(r);
    }
    for (uint64_t i = 0; i < KEYS; i++) {
        char k[32];
        int len = snprintf(k, sizeof k, "many%d", (int)i);
        assert_int_equal(pond_fetch_start(p, queue, k, (size_t)len, patient, i, NULL, NULL, NULL), POND_OK);
        if (i % 100 == 99) pond_queue_poll(queue, NULL, 0, 0);
    }
    for (int64_t until = clock_ms() + 20000; tracked() < KEYS;) {
        if (clock_ms() > until) fail_msg("the server tracks %lld keys", tracked());
        pond_queue_poll(queue, NULL, 0, 5);
    }
    assert_int_equal(lease_connections(ids, 4), 1);
    tally t = count_up();
    print_message("%d registrations, %d questions\n", t.await, t.lease);
    assert_in_range(t.await, KEYS, t.lease); /* whom a slow server kept waiting asks, and waits, once more */
    /* One after the other ends, and is told. */
    int64_t from = clock_ms();
    for (int i = 0; i < KEYS; i++) redisAppendCommand(c, "DEL mp:l:{push:many%d}", i);
    for (int i = 0; i < KEYS; i++) {
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        freeReplyObject(r);
    }
    size_t answered = 0;
    for (int64_t until = clock_ms() + 30000; answered < KEYS;) {
        pond_event *events[64];
        size_t n = pond_queue_poll(queue, events, 64, 100);
        assert_true(clock_ms() < until);
        for (size_t i = 0; i < n; i++) {
            if (pond_event_kind(events[i]) == POND_EVENT_LOAD) answer_text(pond_event_load(events[i]), "mine");
            else answered += pond_event_kind(events[i]) == POND_EVENT_VALUE;
            pond_event_free(events[i]);
        }
    }
    print_message("%d waits on one connection: all told, loaded and filled in %lld ms\n", KEYS,
                  (long long)(clock_ms() - from));
    /* What is told is forgotten. Who was slow and polled may have been registered for a lease that was over by then. */
    assert_in_range(tracked(), 0, KEYS / 10);
    pond_policy_free(patient);
    pond_queue_free(queue);
}

static void cancelled_in_mid_wait(void **state) {
    (void)state;
    desk d;
    pond_request *request[3];
    desk_open(&d, p, 1);
    hold("theirs", 0);
    for (int round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < 3; i++) desk_fetch(&d, 0, key, NULL, i, &request[i]);
        for (int64_t until = clock_ms() + 5000; tracked() == 0;) {
            assert_true(clock_ms() < until);
            desk_drive(&d, 2);
        }
        for (size_t i = 0; i < 3; i++) pond_request_cancel(request[i]);
        desk_nothing(&d, 20);
    }
    desk_fetch(&d, 0, key, NULL, 7, NULL);
    desk_drive(&d, 50);
    let_go(); /* what was registered for those who have gone is told as well */
    desk_value(&d, 0, 7, "theirs");
    desk_nothing(&d, 20);
    desk_close(&d);
}

static void closed_in_mid_wait(void **state) {
    (void)state;
    desk d;
    desk_open(&d, p, 1);
    hold("theirs", 0);
    start_waiting();
    desk_fetch(&d, 0, "another", NULL, 1, NULL);
    desk_free_queue(&d, 0);
    assert_int_equal(pond_close(p, 0), POND_ETIMEOUT);
    fetcher_join(&waiter);
    assert_int_equal(waiter.code, POND_ECLOSED);
    let_go();
    desk_close(&d);
}

/* The one at whose lane the wait is has lost patience; who waits elsewhere is told all the same. */
static void the_last_at_home_gives_up(void **state) {
    (void)state;
    pond_policy *hasty = policy_made(p, "wait_timeout", "200ms", NULL);
    desk d;
    desk_open(&d, p, 1);
    hold("theirs", 0);
    waiter = (fetcher){.p = p, .key = key, .policy = hasty, .script = {.value = "its own"}};
    fetcher_start(&waiter);
    await_tracked(1);
    desk_fetch(&d, 0, key, NULL, 1, NULL);
    desk_drive(&d, 20);
    fetcher_join(&waiter);
    assert_int_equal(waiter.code, POND_ETIMEOUT);
    rest_ms(50);
    int64_t freed = clock_ms();
    let_go();
    desk_value(&d, 0, 1, "theirs");
    assert_in_range(clock_ms() - freed, 0, 1000);
    desk_close(&d);
    pond_policy_free(hasty);
}

int main(void) {
    watchdog(110);
    cmocka_set_test_filter(getenv("CMOCKA_FILTER"));
    static const char *no_hello[] = {"--rename-command", "HELLO", "", NULL};
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_wait_is_four_commands),
        CASE(it_is_told_at_once),
        CASE(renewals_cost_one_command),
        CASE(a_released_lease_is_taken_over),
        CASE(so_is_a_revoked_one),
        CASE(so_is_one_whose_time_is_over),
        CASE(everything_is_flushed),
        CASE(the_connection_is_cut),
        CASE(the_server_is_killed),
        cmocka_unit_test_prestate_setup_teardown(it_knows_no_hello, set_up, tear_down, no_hello),
        CASE(the_user_may_not_track),
        CASE(a_password_and_a_database),
        CASE(the_connection_is_refused),
        CASE(it_remembers_too_little),
        CASE(many_keys_on_one_connection),
        CASE(cancelled_in_mid_wait),
        CASE(closed_in_mid_wait),
        CASE(the_last_at_home_gives_up),
    };
    return cmocka_run_group_tests_name("push waits", tests, NULL, NULL);
}
