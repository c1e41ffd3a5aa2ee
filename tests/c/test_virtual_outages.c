/* Every deadline to the millisecond: a pond against a scripted server, both under virtual time. */
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/random.h"
#include "support/world.h"

/* ---- one fetch, one fault ---- */

#define FOR_EVER "*3\r\n:3\r\n$-1\r\n:100000\r\n" /* somebody else loads, and never ends */

typedef struct one_fault {
    const char *name;
    world_rule rules[WORLD_RULES];
    int64_t load_at; /* -1: its end comes without a load */
    int64_t load_ms; /* -1: the load is never answered */
    int64_t ends_at;
    const char *end;
    const char *options[5];
} one_fault;

static const one_fault faults[] = {
    {"no fault", {{0}}, 0, 70, 70, "a value", {0}},
    {"a silent handshake", {{FAKE_FENCE, 0, 0, {PEER_SILENT, 0, 0}}}, 500, 70, 570, "a value", {0}},
    {"half a handshake", {{FAKE_FENCE, 0, 0, {PEER_HALF_SILENT, 100, 0}}}, 500, 0, 500, "a value", {0}},
    {"a silent question", {{FAKE_GET, 0, 0, {PEER_SILENT, 0, 0}}}, 500, 0, 500, "a value", {0}},
    {"a slow handshake and a silent question: one deadline",
     {{FAKE_FENCE, 0, 0, {PEER_ANSWER, 300, 0}}, {FAKE_GET, 0, 0, {PEER_SILENT, 0, 0}}},
     500,
     0,
     500,
     "a value",
     {0}},
    {"a slow handshake and a slow question",
     {{FAKE_FENCE, 0, 0, {PEER_ANSWER, 300, 0}}, {FAKE_GET, 0, 0, {PEER_ANSWER, 300, 0}}},
     500,
     0,
     500,
     "a value",
     {0}},
    {"half an answer", {{FAKE_GET, 0, 0, {PEER_HALF_SILENT, 10, 0}}}, 500, 0, 500, "a value", {0}},
    {"an answer in the last millisecond", {{FAKE_GET, 0, 0, {PEER_ANSWER, 500, 0}}}, 500, 0, 500, "a value", {0}},
    {"a slow question, a silent lease",
     {{FAKE_GET, 0, 0, {PEER_ANSWER, 300, 0}}, {FAKE_LEASE, 0, 0, {PEER_SILENT, 0, 0}}},
     800,
     50,
     850,
     "a value",
     {0}},
    {"a silent fill", {{FAKE_FILL, 0, 0, {PEER_SILENT, 0, 0}}}, 0, 1000, 1500, "a value", {0}},
    {"all slow, a silent fill",
     {{FAKE_GET, 0, 0, {PEER_ANSWER, 499, 0}},
      {FAKE_LEASE, 0, 0, {PEER_ANSWER, 499, 0}},
      {FAKE_FILL, 0, 0, {PEER_SILENT, 0, 0}}},
     998,
     10,
     1508,
     "a value",
     {0}},
    {"cut at every question", {{FAKE_GET, 0, 0, {PEER_CLOSE, 0, 0}}}, 0, 0, 0, "a value", {0}},
    {"cut in every answer", {{FAKE_GET, 0, 0, {PEER_HALF_CLOSE, 0, 0}}}, 0, 0, 0, "a value", {0}},
    {"cut once, late", {{FAKE_GET, 0, 1, {PEER_CLOSE, 400, 0}}}, 400, 0, 400, "a value", {0}},
    {"cut once, late, and then silence: one deadline",
     {{FAKE_GET, 0, 1, {PEER_CLOSE, 400, 0}}, {FAKE_FENCE, 1, 0, {PEER_SILENT, 0, 0}}},
     500,
     0,
     500,
     "a value",
     {0}},
    {"cut twice, late", {{FAKE_GET, 0, 0, {PEER_CLOSE, 240, 0}}}, 480, 0, 480, "a value", {0}},
    {"cut behind the fill", {{FAKE_FILL, 0, 1, {PEER_HALF_CLOSE, 0, 0}}}, 0, 10, 10, "a value", {0}},
    {"a script that is gone, and then silence: one deadline",
     {{FAKE_LEASE, 0, 1, {PEER_SAY, 300, "-NOSCRIPT none\r\n"}}, {FAKE_LEASE, 1, 0, {PEER_SILENT, 0, 0}}},
     500,
     0,
     500,
     "a value",
     {0}},
    {"full", {{FAKE_LEASE, 0, 0, {PEER_SAY, 0, "-OOM full\r\n"}}}, 0, 10, 10, "a value", {0}},
    {"full at the fill", {{FAKE_FILL, 0, 0, {PEER_SAY, 20, "-OOM full\r\n"}}}, 0, 10, 30, "a value", {0}},
    {"another's load that never ends",
     {{FAKE_LEASE, 0, 0, {PEER_SAY, 0, FOR_EVER}}},
     -1,
     0,
     5000,
     "POND_ETIMEOUT",
     {0}},
    {"another's load that never ends, and then an own one",
     {{FAKE_LEASE, 0, 0, {PEER_SAY, 0, FOR_EVER}}},
     5000,
     80,
     5080,
     "a value",
     {"when_wait_ends", "load", 0}},
    {"a load that never ends", {{0}}, 0, -1, 30000, "POND_ETIMEOUT", {0}},
    {"a load that never ends, with silence around it",
     {{FAKE_GET, 0, 0, {PEER_SILENT, 0, 0}}, {FAKE_RENEW, 0, 0, {PEER_SILENT, 0, 0}}},
     500,
     -1,
     30500,
     "POND_ETIMEOUT",
     {0}},
    {"a load that never ends, renewals in vain",
     {{FAKE_RENEW, 0, 0, {PEER_SILENT, 0, 0}}},
     0,
     -1,
     30000,
     "POND_ETIMEOUT",
     {0}},
    {"call_timeout in the question",
     {{FAKE_GET, 0, 0, {PEER_SILENT, 0, 0}}},
     -1,
     0,
     200,
     "POND_ETIMEOUT",
     {"call_timeout", "200ms", 0}},
    {"call_timeout in the lease",
     {{FAKE_GET, 0, 0, {PEER_ANSWER, 100, 0}}, {FAKE_LEASE, 0, 0, {PEER_SILENT, 0, 0}}},
     -1,
     0,
     200,
     "POND_ETIMEOUT",
     {"call_timeout", "200ms", 0}},
    {"call_timeout in the wait",
     {{FAKE_LEASE, 0, 0, {PEER_SAY, 0, FOR_EVER}}},
     -1,
     0,
     1000,
     "POND_ETIMEOUT",
     {"call_timeout", "1s", 0}},
    {"call_timeout in an own load behind the wait",
     {{FAKE_LEASE, 0, 0, {PEER_SAY, 0, FOR_EVER}}},
     5000,
     -1,
     6000,
     "POND_ETIMEOUT",
     {"call_timeout", "6s", "when_wait_ends", "load", 0}},
    {"call_timeout in the load", {{0}}, 0, -1, 1000, "POND_ETIMEOUT", {"call_timeout", "1s", 0}},
    {"call_timeout in the fill: the value is there",
     {{FAKE_FILL, 0, 0, {PEER_SILENT, 0, 0}}},
     0,
     800,
     1000,
     "a value",
     {"call_timeout", "1s", 0}},
    {"a silent question, and the error is wanted",
     {{FAKE_GET, 0, 0, {PEER_SILENT, 0, 0}}},
     -1,
     0,
     500,
     "POND_ECACHE",
     {"when_cache_down", "error", 0}},
    {"a silent lease, and the error is wanted",
     {{FAKE_GET, 0, 0, {PEER_ANSWER, 300, 0}}, {FAKE_LEASE, 0, 0, {PEER_SILENT, 0, 0}}},
     -1,
     0,
     800,
     "POND_ECACHE",
     {"when_cache_down", "error", 0}},
    {"a silent fill, and the error is wanted: the value all the same",
     {{FAKE_FILL, 0, 0, {PEER_SILENT, 0, 0}}},
     0,
     100,
     600,
     "a value",
     {"when_cache_down", "error", 0}},
};

static pond_event *play(const one_fault *f) {
    int64_t at;
    if (f->load_at < 0) return world_expect(f->name, f->ends_at, f->end);
    pond_event *event = world_expect(f->name, f->load_at, "a load");
    pond_load *load = pond_event_load(event);
    pond_event_free(event);
    if (f->load_ms >= 0) {
        world_pass_to(f->load_at + f->load_ms);
        answer_text(load, "mine");
        return world_expect(f->name, f->ends_at, f->end);
    }
    event = world_expect(f->name, f->ends_at, f->end);
    answer_text(load, "too late"); /* the answer that is owed is heard by nobody */
    assert_null(world_event(f->ends_at + 1000, &at));
    return event;
}

static void every_fault_ends_on_time(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        const one_fault *f = &faults[i];
        world_open(f->rules, NULL, f->options);
        world_start(WORLD_FETCH);
        pond_event *event = play(f);
        if (pond_event_kind(event) == POND_EVENT_VALUE)
            assert_string_equal(pond_value_data(pond_event_value(event), NULL), "mine");
        pond_event_free(event);
        assert_int_equal(pond_queue_pending(world.queue), 0);
        for (int k = 0; k < 20; k++) { /* once, and never again */
            virtual_pass(3000);
            world_pass_to(0);
        }
        world_close();
    }
}

/* Asked again when the other's lease is over, and a few milliseconds that differ from flight to flight. */
static void silence_behind_another_load_ends_on_time(void **state) {
    (void)state;
    static const world_rule rules[WORLD_RULES] = {{FAKE_LEASE, 0, 1, {PEER_SAY, 0, "*3\r\n:3\r\n$-1\r\n:100\r\n"}},
                                                  {FAKE_LEASE, 1, 0, {PEER_SILENT, 0, 0}}};
    static const char *const polls[] = {"lease", "100ms", NULL};
    world_open(rules, NULL, polls);
    world_start(WORLD_FETCH);
    int64_t at;
    pond_event *event = world_event(10000, &at);
    assert_int_equal(pond_event_kind(event), POND_EVENT_LOAD);
    assert_in_range(at, 500, 500 + 100 + 8);
    answer_text(pond_event_load(event), "mine");
    pond_event_free(event);
    pond_event_free(world_expect("silence behind another's load", at, "a value"));
    world_close();
}

/* ---- a lease that was asked for, and never answered ---- */

/* It may have been granted, and then everybody would wait for a load that nobody does: it is given back on the next connection. */
static void a_lease_in_doubt_is_given_back(void **state) {
    (void)state;
    static const struct {
        world_rule rules[WORLD_RULES];
        int64_t load_at;
    } ways[] = {
        {{{FAKE_LEASE, 0, 2, {PEER_CLOSE, 0, 0}}}, 0},
        {{{FAKE_LEASE, 0, 1, {PEER_SILENT, 0, 0}}}, 500},
        {{{FAKE_LEASE, 0, 1, {PEER_CLOSE, 0, 0}}, {FAKE_FENCE, 1, 2, {PEER_CLOSE, 0, 0}}}, 0},
        {{{FAKE_LEASE, 0, 1, {PEER_CLOSE, 0, 0}}, {FAKE_FENCE, 1, 2, {PEER_SILENT, 0, 0}}}, 500},
    };
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        world_open(ways[i].rules, NULL, NULL);
        world_start(WORLD_FETCH);
        pond_event *event = world_expect("a lease in doubt", ways[i].load_at, "a load");
        answer_text(pond_event_load(event), "mine");
        pond_event_free(event);
        pond_event_free(world_expect("a lease in doubt", ways[i].load_at, "a value"));
        assert_int_equal(world_seen(FAKE_RELEASE), 0);
        world_pass_to(2000);
        world_start(WORLD_LOOKUP);
        pond_event_free(world_expect("a lease in doubt", 2000, "a miss"));
        assert_int_equal(world_seen(FAKE_RELEASE), 1);
        world_close();
    }
}

/* The same of a lease whose fill failed, and which could not be given back there and then. */
static void a_lease_is_given_back_later(void **state) {
    (void)state;
    static const world_rule refused[WORLD_RULES] = {{FAKE_FILL, 0, 0, {PEER_CLOSE, 0, 0}},
                                                    {FAKE_FENCE, 1, 2, {PEER_CLOSE, 0, 0}}};
    static const world_rule cut[WORLD_RULES] = {{FAKE_FILL, 0, 0, {PEER_SAY, 0, "-OOM full\r\n"}},
                                                {FAKE_RELEASE, 0, 2, {PEER_CLOSE, 0, 0}}};
    for (int i = 0; i < 2; i++) {
        world_open(i ? cut : refused, NULL, NULL);
        world_start(WORLD_FETCH);
        pond_event *event = world_expect("a fill in vain", 0, "a load");
        answer_text(pond_event_load(event), "mine");
        pond_event_free(event);
        pond_event_free(world_expect("a fill in vain", 0, "a value"));
        world_pass_to(1);
        assert_int_equal(world_seen(FAKE_RELEASE), i ? 2 : 0);
        world_pass_to(2000);
        world_start(WORLD_LOOKUP);
        pond_event_free(world_expect("a fill in vain", 2000, "a miss"));
        assert_int_equal(world_seen(FAKE_RELEASE), i ? 3 : 1);
        world_close();
    }
}

/* ---- the calls that load nothing ---- */

static void calls_without_a_load_end_on_time(void **state) {
    (void)state;
    static const fake_kind kinds[] = {
        [WORLD_LOOKUP] = FAKE_GET, [WORLD_EXPLAIN] = FAKE_INSPECT, [WORLD_INVALIDATE] = FAKE_END};
    for (world_call kind = WORLD_LOOKUP; kind <= WORLD_INVALIDATE; kind++) {
        const world_rule silent[WORLD_RULES] = {{kinds[kind], 0, 0, {PEER_SILENT, 0, 0}}};
        const world_rule slow[WORLD_RULES] = {{FAKE_FENCE, 0, 0, {PEER_ANSWER, 200, 0}},
                                              {kinds[kind], 0, 0, {PEER_ANSWER, 301, 0}}};
        const world_rule handshake[WORLD_RULES] = {{FAKE_FENCE, 0, 0, {PEER_SILENT, 0, 0}}};
        const world_rule *all[] = {silent, slow, handshake};
        for (size_t i = 0; i < 3; i++) {
            world_open(all[i], NULL, NULL);
            world_start(kind);
            pond_event_free(world_expect("a call without a load", 500, "POND_ECACHE"));
            world_close();
        }
    }
}

/* Who shares another's question, and must ask when that one gives up, has waited all the while. */
static void an_heir_has_the_time_that_is_left(void **state) {
    (void)state;
    static const world_rule half[WORLD_RULES] = {{FAKE_GET, 0, 0, {PEER_HALF_SILENT, 100, 0}}};
    world_open(half, NULL, NULL);
    pond_request *asker;
    assert_int_equal(pond_lookup_start(world.p, world.queue, "k", 1, NULL, 1, NULL, &asker, NULL), POND_OK);
    world_start(WORLD_LOOKUP);
    world_pass_to(300);
    assert_int_equal(world_seen(FAKE_GET), 1);
    pond_request_cancel(asker);
    world_pass_to(301);
    assert_int_equal(world_seen(FAKE_GET), 2);
    pond_event_free(world_expect("an heir", 500, "POND_ECACHE"));
    world_close();
}

/* ---- nobody there ---- */

static void a_black_hole_ends_on_time(void **state) {
    (void)state;
    int listener = socket(AF_INET, SOCK_STREAM, 0), fill[8];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    assert_int_equal(bind(listener, (struct sockaddr *)&at, size) | listen(listener, 0), 0);
    getsockname(listener, (struct sockaddr *)&at, &size);
    for (size_t i = 0; i < 8; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fill[i], (struct sockaddr *)&at, size);
    }
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d/0", ntohs(at.sin_port));
    static const char *const patient[] = {"command_timeout", "3s", NULL};
    for (int i = 0; i < 2; i++) { /* the command's time is over first, or the connection's */
        world_open(NULL, url, i ? patient : NULL);
        world_start(WORLD_LOOKUP);
        pond_event *event = world_expect("a black hole", i ? 1000 : 500, "POND_ECACHE");
        assert_non_null(strstr(pond_error_message(pond_event_error(event)), i ? "connect_timeout" : "command_timeout"));
        pond_event_free(event);
        world_close();
    }
    for (size_t i = 0; i < 8; i++) close(fill[i]);
    close(listener);
}

static void a_refused_connection_costs_no_time(void **state) {
    (void)state;
    world_open(NULL, NULL, NULL);
    peer_refuse(world.server, true);
    for (int i = 0; i < 3000; i++) {
        world_start(WORLD_LOOKUP);
        pond_event_free(world_expect("refused", i, "POND_ECACHE"));
        if (i < 2999) virtual_pass(1);
    }
    peer_refuse(world.server, false); /* and it is back within the longest pause */
    int64_t at = 0;
    for (bool well = false; !well; virtual_pass(1)) {
        world_start(WORLD_LOOKUP);
        pond_event *event = world_event(100000, &at);
        well = pond_event_kind(event) == POND_EVENT_MISS;
        pond_event_free(event);
    }
    assert_in_range(at, 2999, 4000);
    world_close();
}

/* ---- anything at any time ---- */

static int64_t slowest;
static peer_reply by_chance(const fake_conn *c, void *ctx) {
    (void)c;
    (void)ctx;
    static const char *const errors[] = {"-LOADING x\r\n", "-OOM x\r\n", "-READONLY x\r\n", "-NOSCRIPT x\r\n",
                                         "-BUSY x\r\n",    "-ERR x\r\n", FOR_EVER};
    uint32_t n = mp_random_below(100);
    peer_reply r = {.after_ms = mp_random_below(3) ? 0 : mp_random_below((uint32_t)slowest + 1)};
    if (n < 70) return r;
    if (n < 80) r.act = PEER_CLOSE;
    else if (n < 85) r.act = PEER_HALF_CLOSE;
    else if (n < 90) r.act = PEER_SILENT;
    else if (n < 92) r.act = PEER_HALF_SILENT;
    else r = (peer_reply){PEER_SAY, r.after_ms, errors[mp_random_below(sizeof errors / sizeof errors[0])]};
    return r;
}

enum { CALLS = 40, KEYS = 3 };
typedef struct call {
    int64_t began, deadline;
    bool open;
} call;

typedef struct loading {
    pond_load *load;
    int key;
    int64_t due;
} loading;

/* Random calls on few keys, random answers, random loads. Whatever comes: every call ends once and on time, and no key is loaded
 * twice at the same time. All chance comes from the seed. */
static void one_history(uint64_t seed, const char *call_timeout) {
    call calls[CALLS] = {0};
    loading loads[CALLS] = {0};
    int at_once[KEYS] = {0}, begun = 0, ended = 0;
    virtual_begin(seed);
    slowest = mp_random_below(2) ? 300 : 900;
    world.server = peer_new(by_chance, NULL);
    world.p = pond_made(peer_url(world.server), "command_timeout", "400ms", "wait_timeout", "1s", "load_timeout", "2s",
                        "call_timeout", call_timeout, "lease", "300ms", NULL);
    assert_int_equal(pond_queue_new(&world.queue, world.p, NULL), POND_OK);
    bool timed = strcmp(call_timeout, "0ms") != 0;
    world.began = virtual_now();
    for (size_t i = 0; i < CALLS; i++) {
        calls[i].began = (i ? calls[i - 1].began : 0) + mp_random_below(60);
        /* the question, the lease and the wait, the load, the fill */
        calls[i].deadline = calls[i].began + (timed ? 800 : 400 + 1000 + 2000 + 400);
    }
    while (ended < CALLS) {
        int64_t next = INT64_MAX, now;
        for (size_t i = 0; i < CALLS; i++) {
            if (loads[i].load && loads[i].due < next) next = loads[i].due;
            if (calls[i].open && calls[i].deadline < next) next = calls[i].deadline;
        }
        if (begun < CALLS && calls[begun].began < next) next = calls[begun].began;
        pond_event *event = world_event(next, &now);
        if (event) {
            uint64_t user = pond_event_user(event);
            if (pond_event_kind(event) == POND_EVENT_LOAD) {
                pond_load *load = pond_event_load(event);
                int key = pond_load_key(load, NULL)[0] - 'a';
                if (++at_once[key] > 1) fail_msg("seed %llu: two loads at once", (unsigned long long)seed);
                size_t i = 0;
                while (loads[i].load) i++;
                loads[i] = (loading){load, key, now + mp_random_below(mp_random_below(4) ? 50 : 1500)};
            } else {
                assert_true(calls[user].open); /* once */
                calls[user].open = false;
                ended++;
            }
            pond_event_free(event);
            continue;
        }
        for (int i = 0; i < begun; i++)
            if (calls[i].open && now >= calls[i].deadline)
                fail_msg("seed %llu: call %d has not ended after %lld ms", (unsigned long long)seed, i,
                         (long long)(now - calls[i].began));
        for (size_t i = 0; i < CALLS; i++)
            if (loads[i].load && loads[i].due <= now) {
                at_once[loads[i].key]--;
                if (mp_random_below(5)) answer_text(loads[i].load, "mine");
                else pond_load_fail(loads[i].load, 0, "on purpose");
                loads[i].load = NULL;
            }
        for (; begun < CALLS && calls[begun].began <= now; begun++) {
            char key[2] = {(char)('a' + mp_random_below(KEYS)), 0};
            calls[begun].open = true;
            assert_int_equal(pond_fetch_start(world.p, world.queue, key, 1, NULL, (uint64_t)begun, NULL, NULL, NULL),
                             POND_OK);
        }
    }
    for (size_t i = 0; i < CALLS; i++)
        if (loads[i].load) pond_load_fail(loads[i].load, 0, "over");
    world_close();
}

static void every_history_ends_on_time(void **state) {
    (void)state;
    uint64_t first = dice(1u << 31);
    for (uint64_t i = 0; i < (slow_build() ? 40 : 200); i++) one_history(first + i, i % 2 ? "800ms" : "0ms");
}

int main(void) {
    watchdog(110);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fault_ends_on_time),         cmocka_unit_test(silence_behind_another_load_ends_on_time),
        cmocka_unit_test(a_lease_in_doubt_is_given_back),   cmocka_unit_test(a_lease_is_given_back_later),
        cmocka_unit_test(calls_without_a_load_end_on_time), cmocka_unit_test(an_heir_has_the_time_that_is_left),
        cmocka_unit_test(a_black_hole_ends_on_time),        cmocka_unit_test(a_refused_connection_costs_no_time),
        cmocka_unit_test(every_history_ends_on_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
