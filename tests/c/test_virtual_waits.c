/* Waiting for another process's load, to the millisecond, on a server that says what the test wants: connection 0 is the line's, 1 the one
 * on which it tells. */
#include "support/world.h"

#define BUSY "*3\r\n:3\r\n$-1\r\n:3000\r\n" /* somebody loads, for three seconds more */

static const char *told(void) { /* of the lease of "k" */
    static char text[128];
    const char *name = "mp:l:{default:k}";
    snprintf(text, sizeof text, ">2\r\n$10\r\ninvalidate\r\n*1\r\n$%zu\r\n%s\r\n", strlen(name), name);
    return text;
}

/* The lease is somebody else's when it is asked for the first `times` times; then it is ours. */
#define HELD(times)                                                                                                    \
    {                                                                                                                  \
        FAKE_LEASE, 0, times, { PEER_SAY, 0, BUSY }                                                                    \
    }
#define STANDS                                                                                                         \
    {                                                                                                                  \
        FAKE_PTTL, 0, 0, { PEER_SAY, 0, ":3000\r\n" }                                                                  \
    }

static void begin(const world_rule *rules) {
    static const char *const options[] = {"fence", "off", "wait_timeout", "60s", NULL};
    world_open(rules, NULL, options);
    world_start(WORLD_FETCH);
}

/* A load comes between these moments, and all ends. */
static void expect_load(const char *name, int64_t from, int64_t to) {
    int64_t at;
    pond_event *event = world_event(to + 1, &at);
    if (!event || pond_event_kind(event) != POND_EVENT_LOAD || at < from || at > to)
        fail_msg("%s: %s after %lld ms, not a load in %lld..%lld", name, event ? "an event" : "nothing", (long long)at,
                 (long long)from, (long long)to);
    answer_text(pond_event_load(event), "mine");
    pond_event_free(event);
    pond_event_free(world_expect(name, at, "a value"));
    world_close();
}

static const char *waits(void) {
    static char text[8];
    pond_value *value;
    size_t len;
    assert_int_equal(pond_stats(world.p, &value, NULL), POND_OK);
    const char *at = strstr(pond_value_data(value, &len), "\"wait_mode\":");
    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s", (int)strcspn(at + 12, ","), at + 12);
    pond_value_free(value);
    return text;
}

static void told_at_once(void **state) {
    (void)state;
    static const world_rule rules[WORLD_RULES] = {HELD(1), STANDS};
    begin(rules);
    world_pass_to(500);
    assert_string_equal(waits(), "\"push\"");
    peer_push(world.server, 1, told());
    expect_load("a push", 500, 500);
}

static void the_lease_was_over_already(void **state) {
    (void)state;
    static const world_rule rules[WORLD_RULES] = {HELD(1)};
    begin(rules);
    expect_load("no lease any more", 0, 0);
}

static void nothing_is_told(void **state) {
    (void)state;
    static const world_rule rules[WORLD_RULES] = {HELD(1), STANDS};
    begin(rules);
    expect_load("the lease's time", 3001, 3009);
}

/* Each renewal is looked at, and the wait goes on until the end that was heard last. */
static void a_renewal_wakes_nobody(void **state) {
    (void)state;
    static const world_rule rules[WORLD_RULES] = {HELD(1), STANDS};
    begin(rules);
    for (int i = 1; i <= 5; i++) {
        world_pass_to(1000 * i);
        peer_push(world.server, 1, told());
    }
    world_pass_to(5100);
    assert_int_equal(world_seen(FAKE_PTTL), 6);
    assert_int_equal(world_seen(FAKE_LEASE), 1);
    expect_load("the time after the last renewal", 8001, 8009);
}

/* A fill may come at the same moment; then there is no lease any more. */
static void a_fill_where_a_renewal_was_due(void **state) {
    (void)state;
    static const world_rule rules[WORLD_RULES] = {HELD(1), {FAKE_PTTL, 0, 1, {PEER_SAY, 0, ":3000\r\n"}}};
    begin(rules);
    world_pass_to(1020);
    peer_push(world.server, 1, told());
    expect_load("a fill", 1020, 1020);
}

static void a_renewal_that_comes_late_wakes(void **state) {
    (void)state;
    static const world_rule rules[WORLD_RULES] = {HELD(2), STANDS};
    begin(rules);
    world_pass_to(1500);
    peer_push(world.server, 1, told());
    world_pass_to(1600);
    assert_int_equal(world_seen(FAKE_LEASE), 2);
    assert_int_equal(world_seen(FAKE_PTTL), 2);
    peer_push(world.server, 1, told());
    expect_load("a push", 1600, 1620); /* in vain a moment ago, so not quite at once */
}

static void all_is_flushed(void **state) {
    (void)state;
    static const world_rule rules[WORLD_RULES] = {HELD(1), STANDS};
    begin(rules);
    world_pass_to(500);
    peer_push(world.server, 1, ">2\r\n$10\r\ninvalidate\r\n_\r\n");
    expect_load("FLUSHALL", 500, 500);
}

static void either_connection_is_cut(void **state) {
    (void)state;
    static const world_rule rules[WORLD_RULES] = {HELD(1), STANDS};
    for (int number = 0; number < 2; number++) {
        begin(rules);
        world_pass_to(500);
        peer_cut(world.server, number);
        expect_load("cut", 500, 500);
    }
}

static void what_is_of_no_interest(void **state) {
    (void)state;
    static const world_rule rules[WORLD_RULES] = {HELD(1), STANDS};
    static const char *const odd[] = {
        ">1\r\n+x\r\n",
        ">0\r\n",
        ">2\r\n$10\r\ninvalidate\r\n:5\r\n",
        ">2\r\n$10\r\ninvalidate\r\n*0\r\n",
        ">2\r\n$10\r\ninvalidate\r\n*2\r\n_\r\n:7\r\n",
        ">2\r\n$10\r\ninvalidate\r\n*1\r\n*1\r\n$1\r\nx\r\n",
        ">2\r\n$10\r\ninvalidate\r\n*1\r\n$0\r\n\r\n",
        ">2\r\n$10\r\ninvalidate\r\n*1\r\n$5\r\nother\r\n",
        ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n",
        ">2\r\n_\r\n_\r\n",
        ">2\r\n:1\r\n*1\r\n$16\r\nmp:l:{default:k}\r\n",
    };
    begin(rules);
    world_pass_to(100);
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) peer_push(world.server, 1, odd[i]);
    peer_push(world.server, 0, told()); /* the line asked for nothing of the kind */
    world_pass_to(500);
    assert_int_equal(world_seen(FAKE_LEASE), 1);
    assert_int_equal(peer_connections(world.server), 2);
    peer_push(world.server, 1, told());
    expect_load("a push", 500, 500);
}

/* An answer that nobody asked for: that connection is not to be trusted. */
static void what_nobody_asked(void **state) {
    (void)state;
    static const world_rule rules[WORLD_RULES] = {HELD(1), STANDS};
    begin(rules);
    world_pass_to(500);
    peer_push(world.server, 1, ":1\r\n");
    expect_load("a stray answer", 500, 500);
}

/* 5, 10, 20 ... 160 ms, each shortened by up to a half: some ten questions in a second. */
static void polls(const char *name, const world_rule *rules) {
    begin(rules);
    world_pass_to(1000);
    int asked = world_seen(FAKE_LEASE);
    if (asked < 9 || asked > 22) fail_msg("%s: %d questions in a second", name, asked);
    world_rules(NULL);
    expect_load(name, 1000, 1161);
}

static void it_will_not_tell(void **state) {
    (void)state;
    static const struct {
        const char *name;
        world_rule rules[WORLD_RULES];
    } cases[] = {
        {"an old server", {HELD(0), {FAKE_HELLO, 0, 0, {PEER_SAY, 0, "-ERR unknown command 'HELLO'\r\n"}}}},
        {"RESP2 only", {HELD(0), {FAKE_HELLO, 0, 0, {PEER_SAY, 0, "-NOPROTO unsupported protocol version\r\n"}}}},
        {"a proxy that says yes", {HELD(0), {FAKE_HELLO, 0, 0, {PEER_SAY, 0, "+OK\r\n"}}}},
        {"a proxy in RESP2", {HELD(0), {FAKE_HELLO, 0, 0, {PEER_SAY, 0, "*2\r\n$5\r\nproto\r\n:3\r\n"}}}},
        {"no tracking", {HELD(0), {FAKE_TRACKING, 0, 0, {PEER_SAY, 0, "-NOPERM no permission\r\n"}}}},
        {"odd tracking", {HELD(0), {FAKE_TRACKING, 0, 0, {PEER_SAY, 0, ":1\r\n"}}}},
        {"no PTTL", {HELD(0), {FAKE_PTTL, 0, 0, {PEER_SAY, 0, "-NOPERM no permission\r\n"}}}},
        {"odd PTTL", {HELD(0), {FAKE_PTTL, 0, 0, {PEER_SAY, 0, "$1\r\nx\r\n"}}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin(cases[i].rules);
        world_pass_to(50);
        assert_string_equal(waits(), "\"poll\"");
        world_pass_to(9000);
        int connections = peer_connections(world.server); /* it is not tried all the time */
        if (connections != 2) fail_msg("%s: %d connections", cases[i].name, connections);
        world_close();
        polls(cases[i].name, cases[i].rules);
    }
}

static void it_is_tried_again_after_ten_seconds(void **state) {
    (void)state;
    static const world_rule rules[WORLD_RULES] = {
        HELD(0), STANDS, {FAKE_HELLO, 0, 1, {PEER_SAY, 0, "-ERR unknown command 'HELLO'\r\n"}}};
    begin(rules);
    world_pass_to(10400);
    assert_string_equal(waits(), "\"push\"");
    assert_int_equal(world_seen(FAKE_HELLO), 2);
    world_rules(NULL);
    world_pass_to(10500);
    peer_push(world.server, 2, told());
    expect_load("a push", 10500, 10500 + 80);
}

/* Nothing comes on the second connection: nobody waits for it longer than 160 ms, and then they poll. */
static void it_is_silent(void **state) {
    (void)state;
    static const fake_kind silent[] = {FAKE_HELLO, FAKE_TRACKING, FAKE_PTTL};
    for (size_t i = 0; i < 3; i++) {
        const world_rule rules[WORLD_RULES] = {HELD(0), {silent[i], 0, 0, {PEER_SILENT, 0, 0}}};
        begin(rules);
        world_pass_to(159);
        assert_int_equal(world_seen(FAKE_LEASE), 1);
        world_pass_to(170);
        assert_int_equal(world_seen(FAKE_LEASE), 2);
        world_pass_to(5000);
        int asked = world_seen(FAKE_LEASE);
        if (asked < 15 || asked > 60) fail_msg("%d questions in five seconds", asked);
        world_rules(NULL);
        int64_t at;
        pond_event *event = world_event(5400, &at);
        assert_non_null(event);
        answer_text(pond_event_load(event), "mine");
        pond_event_free(event);
        pond_event_free(world_expect("silence", at, "a value"));
        world_close();
    }
}

/* A server that tells all the time is not asked all the time. */
static void it_tells_too_much(void **state) {
    (void)state;
    static const world_rule rules[WORLD_RULES] = {HELD(0), STANDS};
    begin(rules);
    for (int64_t ms = 1; ms <= 2000; ms++) {
        world_pass_to(ms);
        peer_push(world.server, 1, told());
    }
    int asked = world_seen(FAKE_LEASE);
    if (asked < 15 || asked > 40) fail_msg("%d questions in two seconds", asked);
    world_rules(NULL);
    peer_push(world.server, 1, told());
    expect_load("the next push", 2000, 2081);
}

/* A server that is closing, full or loading is no server that cannot: the connection's backoff decides. */
static void it_cannot_now(void **state) {
    (void)state;
    static const world_rule rules[WORLD_RULES] = {
        HELD(0), STANDS, {FAKE_HELLO, 0, 3, {PEER_SAY, 0, "-ERR max number of clients reached\r\n"}}};
    begin(rules);
    world_pass_to(2000);
    assert_string_equal(waits(), "\"push\"");
    assert_int_equal(world_seen(FAKE_HELLO), 4);
    world_close();
}

/* Neither says anything about a lease. */
static void a_time_that_is_none(void **state) {
    (void)state;
    static const char *const odd[] = {"9223372036854775807", "-9223372036854775808", "-1", "600001"};
    for (size_t i = 0; i < 4; i++) {
        char busy[64], left[32];
        snprintf(busy, sizeof busy, "*3\r\n:3\r\n$-1\r\n:%s\r\n", odd[i]);
        snprintf(left, sizeof left, ":%s\r\n", odd[i]);
        const world_rule rules[WORLD_RULES] = {{FAKE_LEASE, 0, 1, {PEER_SAY, 0, busy}},
                                               {FAKE_PTTL, 0, 0, {PEER_SAY, 0, left}}};
        begin(rules);
        expect_load(odd[i], 3001, 3009); /* as long as one of our own */
    }
}

/* Reads that come while the flight waits cost nothing, and all are told. */
static void who_comes_meanwhile(void **state) {
    (void)state;
    static const world_rule rules[WORLD_RULES] = {HELD(1), STANDS};
    begin(rules);
    for (int i = 1; i < 10; i++) {
        world_pass_to(50 * i);
        world_start(WORLD_FETCH);
    }
    world_pass_to(500);
    assert_int_equal(world_seen(FAKE_GET), 1);
    assert_int_equal(world_seen(FAKE_LEASE), 1);
    assert_int_equal(world_seen(FAKE_PTTL), 1);
    peer_push(world.server, 1, told());
    pond_event *event = world_expect("a push", 500, "a load");
    answer_text(pond_event_load(event), "mine");
    pond_event_free(event);
    for (int i = 0; i < 10; i++) pond_event_free(world_expect("all", 500, "a value"));
    world_close();
}

int main(void) {
    watchdog(110);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(told_at_once),
        cmocka_unit_test(the_lease_was_over_already),
        cmocka_unit_test(nothing_is_told),
        cmocka_unit_test(a_renewal_wakes_nobody),
        cmocka_unit_test(a_fill_where_a_renewal_was_due),
        cmocka_unit_test(a_renewal_that_comes_late_wakes),
        cmocka_unit_test(all_is_flushed),
        cmocka_unit_test(either_connection_is_cut),
        cmocka_unit_test(what_is_of_no_interest),
        cmocka_unit_test(what_nobody_asked),
        cmocka_unit_test(it_will_not_tell),
        cmocka_unit_test(it_is_tried_again_after_ten_seconds),
        cmocka_unit_test(it_is_silent),
        cmocka_unit_test(it_tells_too_much),
        cmocka_unit_test(it_cannot_now),
        cmocka_unit_test(a_time_that_is_none),
        cmocka_unit_test(who_comes_meanwhile),
    };
    return cmocka_run_group_tests_name("waits, under virtual time", tests, NULL, NULL);
}
