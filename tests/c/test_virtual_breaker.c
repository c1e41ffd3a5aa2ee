/* The circuit breaker, to the millisecond: when nobody waits any more, who asks whether the server is back, and who learns of it. */
#include "support/world.h"

static const world_rule mute[WORLD_RULES] = {{FAKE_FENCE, 0, 0, {PEER_SILENT, 0, 0}},
                                             {FAKE_GET, 0, 0, {PEER_SILENT, 0, 0}}};

static const char *stats(void) {
    static char text[4096];
    pond_value *value;
    assert_int_equal(pond_stats(world.p, &value, NULL), POND_OK);
    size_t len;
    const char *json = pond_value_data(value, &len);
    const char *breaker = strstr(json, "\"breaker\":");
    assert_non_null(breaker);
    snprintf(text, sizeof text, "%s", breaker + strlen("\"breaker\":"));
    pond_value_free(value);
    return text;
}

static void expect_state(const char *state, int opened) {
    char wanted[64];
    snprintf(wanted, sizeof wanted, "{\"state\":\"%s\",\"opened\":%d,", state, opened);
    if (strncmp(stats(), wanted, strlen(wanted)) != 0)
        fail_msg("after %lld ms: %s instead of %s", (long long)world_now(), stats(), wanted);
}

/* Lookups one after the other, until the breaker turns one away; returns how many have waited. */
static int open_it(void) {
    for (int waited = 0;;) {
        int64_t before = world_now(), at;
        world_start(WORLD_LOOKUP);
        pond_event *event = world_event(before + 100000, &at);
        assert_int_equal(pond_event_kind(event), POND_EVENT_ERROR);
        assert_true(pond_error_retriable(pond_event_error(event)));
        bool refused = strstr(pond_error_message(pond_event_error(event)), "deadlines in a row") != NULL;
        pond_event_free(event);
        if (refused) {
            assert_int_equal(at, before);
            return waited;
        }
        if (at == before)
            world_pass_to(at + 1); /* a connection that failed in its handshake is not made again at once */
        else assert_int_equal(at - before, 500);
        waited += at != before;
    }
}

/* A call in every millisecond until one succeeds; returns when that was. None of them takes any time. */
static int64_t call_until_well(int64_t give_up) {
    for (;;) {
        int64_t before = world_now(), at;
        world_start(WORLD_LOOKUP);
        pond_event *event = world_event(before + 100000, &at);
        assert_int_equal(at, before);
        bool well = pond_event_kind(event) == POND_EVENT_MISS;
        pond_event_free(event);
        if (well || at >= give_up) return at;
        world_pass_to(at + 1);
    }
}

static void after_three_deadlines_nobody_waits(void **state) {
    (void)state;
    world_open(mute, NULL, NULL);
    expect_state("closed", 0);
    assert_int_equal(open_it(), 3);
    expect_state("open", 1);
    world_start(WORLD_FETCH); /* fails over to its loader at once */
    int64_t now = world_now();
    pond_event *event = world_expect("an open breaker", now, "a load");
    answer_text(pond_event_load(event), "mine");
    pond_event_free(event);
    pond_event_free(world_expect("an open breaker", now, "a value"));
    world_close();
    /* As many as one wants; 0: everybody waits, always. */
    static const char *const two[] = {"breaker_failures", "2", NULL}, *const never[] = {"breaker_failures", "0", NULL};
    world_open(mute, NULL, two);
    assert_int_equal(open_it(), 2);
    world_close();
    world_open(mute, NULL, never);
    for (int64_t i = 1; i < 20; i++) {
        world_start(WORLD_LOOKUP);
        /* a connection that was given up in its handshake is not made again at once */
        int64_t before = world_now(), at;
        pond_event_free(world_event(before + 100000, &at));
        assert_true(at - before == 500 || at == before);
        if (at == before) world_pass_to(at + 1000);
    }
    expect_state("closed", 0);
    world_close();
}

/* Calls that wait at the same time count each: who comes next does not wait. */
static void a_crowd_opens_it_at_once(void **state) {
    (void)state;
    world_open(NULL, NULL, NULL);
    world_start(WORLD_LOOKUP);
    pond_event_free(world_expect("a good start", 0, "a miss"));
    world_rules(mute);
    for (int i = 0; i < 10; i++) world_start_key(WORLD_LOOKUP, (char)('a' + i));
    for (int i = 0; i < 10; i++) pond_event_free(world_expect("a crowd", 500, "POND_ECACHE"));
    expect_state("open", 1);
    assert_int_equal(open_it(), 0);
    world_close();
    /* The first deadline shows that the connection is dead, and ends them all. */
    world_open(NULL, NULL, NULL);
    world_start(WORLD_LOOKUP);
    pond_event_free(world_expect("a good start", 0, "a miss"));
    world_rules(mute);
    for (int i = 1; i <= 10; i++) {
        world_pass_to(10 * i);
        world_start_key(WORLD_LOOKUP, (char)('a' + i));
    }
    for (int i = 0; i < 10; i++) pond_event_free(world_expect("a crowd, one after the other", 510, "POND_ECACHE"));
    expect_state("open", 1);
    world_close();
}

/* An answer in between, whatever it says, and it counts anew; one that comes too late does not. */
static void an_answer_counts_anew(void **state) {
    (void)state;
    static const world_rule now_and_then[WORLD_RULES] = {{FAKE_GET, 0, 2, {PEER_SILENT, 0, 0}},
                                                         {FAKE_GET, 2, 3, {PEER_SAY, 0, "-ERR no\r\n"}},
                                                         {FAKE_GET, 3, 0, {PEER_SILENT, 0, 0}}};
    world_open(now_and_then, NULL, NULL);
    for (int i = 0; i < 2; i++) { /* the handshake in between is an answer, too */
        world_start(WORLD_LOOKUP);
        pond_event_free(world_expect("silence", 500 + 500 * i, "POND_ECACHE"));
    }
    world_start(WORLD_LOOKUP);
    pond_event_free(world_expect("an error", 1000, "POND_ECACHE"));
    expect_state("closed", 0);
    world_close();
    /* Answers to everything, each a little too late: nobody would ever be served. */
    static const world_rule slow[WORLD_RULES] = {{FAKE_GET, 0, 0, {PEER_ANSWER, 600, 0}}};
    static const char *const without[] = {"fence", "off", NULL};
    world_open(slow, NULL, without);
    assert_int_equal(open_it(), 3);
    world_close();
}

static void the_pause_grows_and_the_probe_closes_it(void **state) {
    (void)state;
    world_open(mute, NULL, NULL);
    open_it();
    int64_t last = world_now(), longest = 0;
    int made = peer_connections(world.server), probes = 0;
    while (world_now() < 20000) { /* 20 s of calls, none of which waits */
        call_until_well(world_now());
        world_pass_to(world_now() + 1);
        if (peer_connections(world.server) == made) continue;
        made = peer_connections(world.server);
        int64_t pause = world_now() - last - (probes ? 500 : 0); /* the last probe took so long to fail */
        int64_t most = 20 << (probes < 6 ? probes : 6);
        if (most > 1000) most = 1000;
        assert_in_range(pause, most / 2, most + 2);
        last = world_now();
        if (pause > longest) longest = pause;
        probes++;
    }
    assert_true(longest > 700 && probes > 12);
    expect_state(strstr(stats(), "half-open") ? "half-open" : "open", 1);
    world_rules(NULL); /* it is back */
    int64_t healed = world_now();
    int64_t well = call_until_well(healed + 5000);
    assert_in_range(well - healed, 0, 500 + 1000 + 2); /* what is left of a probe in vain, and a pause */
    expect_state("closed", 1);
    assert_non_null(strstr(stats(), "\"skipped\":"));
    world_close();
}

/* The server still stands there as it did, and so does the connection: a command asks. */
static void a_connection_that_stands_is_asked(void **state) {
    (void)state;
    static const world_rule slow[WORLD_RULES] = {{FAKE_GET, 0, 3, {PEER_ANSWER, 600, 0}}};
    static const char *const without[] = {"fence", "off", NULL};
    world_open(slow, NULL, without);
    assert_int_equal(open_it(), 3);
    call_until_well(world_now() + 1000);
    expect_state("closed", 1);
    world_close();
}

/* More was asked than it can answer in time, but it answers: a new connection would only lose what it has done. Then it stops. */
static void a_server_that_lags_behind_keeps_its_connection(void **state) {
    (void)state;
    static const world_rule lagging[WORLD_RULES] = {{FAKE_GET, 0, 1, {PEER_ANSWER, 400, 0}},
                                                    {FAKE_GET, 1, 2, {PEER_ANSWER, 800, 0}},
                                                    {FAKE_GET, 2, 3, {PEER_ANSWER, 1200, 0}},
                                                    {FAKE_GET, 3, 0, {PEER_SILENT, 0, 0}}};
    static const char *const without[] = {"fence", "off", "breaker_failures", "0", NULL};
    world_open(lagging, NULL, without);
    for (int i = 0; i < 4; i++) world_start_key(WORLD_LOOKUP, (char)('a' + i));
    pond_event_free(world_expect("the first answer", 400, "a miss"));
    for (int i = 0; i < 3; i++) pond_event_free(world_expect("too late", 500, "POND_ECACHE"));
    world_pass_to(2199);
    world_start_key(WORLD_LOOKUP, 'e');
    assert_int_equal(peer_connections(world.server), 1);
    pond_event_free(world_expect("no answer any more", 2200, "POND_ECACHE")); /* twice the time after the last one */
    world_rules(NULL);
    world_start(WORLD_LOOKUP);
    pond_event_free(world_expect("a new connection", 2200, "a miss"));
    assert_int_equal(peer_connections(world.server), 2);
    world_close();
}

/* Without a fence a connection says nothing by itself: it is asked before anybody trusts it. */
static void a_new_connection_is_asked(void **state) {
    (void)state;
    static const world_rule dumb[WORLD_RULES] = {{FAKE_GET, 0, 0, {PEER_SILENT, 0, 0}},
                                                 {FAKE_OTHER, 0, 0, {PEER_SILENT, 0, 0}}};
    static const char *const without[] = {"fence", "off", NULL};
    world_open(dumb, NULL, without);
    assert_int_equal(open_it(), 3);
    call_until_well(world_now() + 3000);
    expect_state(strstr(stats(), "half-open") ? "half-open" : "open", 1);
    world_rules(NULL);
    int64_t healed = world_now();
    assert_in_range(call_until_well(healed + 5000) - healed, 0, 1502);
    expect_state("closed", 1);
    world_close();
}

/* What is refused costs nobody any time: the breaker is none of its business. But it ends a probe. */
static void a_refusal_opens_nothing(void **state) {
    (void)state;
    world_open(NULL, NULL, NULL);
    peer_refuse(world.server, true);
    for (int i = 0; i < 200; i++) {
        world_start(WORLD_LOOKUP);
        pond_event_free(world_expect("refused", i, "POND_ECACHE"));
        world_pass_to(i + 1);
    }
    expect_state("closed", 0);
    world_close();
    world_open(mute, NULL, NULL);
    open_it();
    peer_refuse(world.server, true);
    call_until_well(world_now() + 3000);
    expect_state("open", 1);
    peer_refuse(world.server, false);
    world_rules(NULL);
    int64_t healed = world_now();
    assert_in_range(call_until_well(healed + 5000) - healed, 0, 1002);
    world_close();
}

/* All lines to the node share it: what one learns holds for all, and one at a time asks. */
static void all_loops_share_it(void **state) {
    (void)state;
    world_open(mute, NULL, NULL);
    pond_queue *first = world.queue, *second;
    assert_int_equal(pond_queue_new(&second, world.p, NULL), POND_OK);
    open_it();
    int made = peer_connections(world.server);
    world.queue = second;
    int64_t opened = world_now();
    assert_int_equal(open_it(), 0);
    assert_int_equal(peer_connections(world.server), made);
    world_pass_to(opened + 25);
    assert_int_equal(open_it(), 0); /* asks */
    expect_state("half-open", 1);
    world.queue = first;
    assert_int_equal(open_it(), 0); /* does not */
    world.queue = second;
    world_pass_to(opened + 26);
    assert_int_equal(peer_connections(world.server), made + 1);
    /* Who asked goes away: the next one asks, in its time. */
    pond_queue_free(second);
    world.queue = first;
    world_rules(NULL);
    int64_t gone = world_now();
    assert_in_range(call_until_well(gone + 10000) - gone, 0, 1502);
    expect_state("closed", 1);
    world_close();
}

/* What others rely on is tried all the same, and an answer to that closes it, too. */
static void an_invalidation_is_always_tried(void **state) {
    (void)state;
    static const world_rule deaf[WORLD_RULES] = {{FAKE_GET, 0, 0, {PEER_SILENT, 0, 0}},
                                                 {FAKE_END, 0, 1, {PEER_SILENT, 0, 0}}};
    world_open(deaf, NULL, NULL);
    for (int i = 0; i < 3; i++) world_start_key(WORLD_LOOKUP, (char)('a' + i));
    for (int i = 0; i < 3; i++) pond_event_free(world_expect("silence", 500, "POND_ECACHE"));
    expect_state("open", 1);
    world_start(WORLD_INVALIDATE);
    pond_event_free(world_expect("an invalidation in vain", 1000, "POND_ECACHE"));
    world_start(WORLD_INVALIDATE);
    pond_event_free(world_expect("an invalidation", 1000, "ok"));
    expect_state("closed", 1);
    world_close();
}

int main(void) {
    watchdog(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_three_deadlines_nobody_waits),
        cmocka_unit_test(a_crowd_opens_it_at_once),
        cmocka_unit_test(an_answer_counts_anew),
        cmocka_unit_test(the_pause_grows_and_the_probe_closes_it),
        cmocka_unit_test(a_connection_that_stands_is_asked),
        cmocka_unit_test(a_server_that_lags_behind_keeps_its_connection),
        cmocka_unit_test(a_new_connection_is_asked),
        cmocka_unit_test(a_refusal_opens_nothing),
        cmocka_unit_test(all_loops_share_it),
        cmocka_unit_test(an_invalidation_is_always_tried),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
