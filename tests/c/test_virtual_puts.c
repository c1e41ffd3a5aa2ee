/* Changes that wait behind eight calls under way, under virtual time: each has its own deadline, to the millisecond, whatever those before it and those
 * that go with it have. */
#include "support/world.h"

#include "behind_ops.h"
#include "cache/redis_scripts.h"
#include "engine/loop_private.h"

enum { CALLS = 8, MOST = 16 };

typedef struct put_one {
    act a;
    int64_t ended_at;
} put_one;

static peer *server;
static side us;
static int64_t began, answer_at[MOST]; /* by call; < 0: never */
static int calls, changes[MOST];       /* that came, and of how many changes each was */
static put_one puts_[2 * CALLS];

static bool is_script(const fake_conn *c, mp_script_id id) {
    return c->argc > 2 && c->len[1] == 40 && memcmp(c->argv[1], mp_scripts[id].sha, 40) == 0;
}

static peer_reply says(const fake_conn *c, void *ctx) {
    static char text[400];
    (void)ctx;
    bool one = is_script(c, MP_SCRIPT_wb_put), many = is_script(c, MP_SCRIPT_wb_puts);
    if (!one && !many) return (peer_reply){0};
    assert_true(calls < MOST);
    int call = calls++, n = one ? 1 : (atoi(c->argv[2]) - 4) / 2;
    changes[call] = n;
    if (answer_at[call] < 0) return (peer_reply){.act = PEER_SILENT};
    size_t len = (size_t)sprintf(text, one ? "*2\r\n:1\r\n$%d\r\n" : "$%d\r\n", 8 * n);
    memset(text + len, 5, 8 * (size_t)n);
    strcpy(text + len + 8 * (size_t)n, "\r\n");
    int64_t after = began + answer_at[call] - virtual_now();
    return (peer_reply){.act = PEER_SAY, .after_ms = after > 0 ? after : 0, .text = text};
}

static int64_t now(void) { return virtual_now() - began; }

static void turn(void) {
    for (int quiet = 0; quiet < 3; quiet++) {
        if (peer_turn(server, virtual_now())) quiet = 0;
        mp_loop_turn(us.loop, 0);
    }
}

static void pass_to(int64_t ms) {
    for (turn(); now() < ms; turn()) {
        int64_t next = began + ms, timer = mp_loop_next_timer(us.loop), answer = peer_next(server);
        if (timer < next) next = timer;
        if (answer < next) next = answer;
        virtual_move_to(next > virtual_now() ? next : virtual_now() + 1);
    }
}

static void ended(mp_op *op) {
    put_one *p = (put_one *)op;
    p->a.ended = true;
    p->ended_at = now();
}

/* Its number is its key, too. `turns`: in a turn of its own. */
static put_one *sends(int n, int64_t timeout_ms, bool turns) {
    char key[8];
    put_one *p = &puts_[n];
    snprintf(key, sizeof key, "s%d", n);
    accept_make(&us, &p->a, key, "{}");
    p->a.op.timeout_ms = timeout_ms;
    p->a.op.done = ended;
    p->ended_at = -1;
    us.link->vt->submit(us.link, &p->a.op);
    if (turns) turn();
    return p;
}

static int set_up(void **state) {
    (void)state;
    mp_options options;
    virtual_begin(1);
    server = peer_new(says, NULL);
    began = virtual_now();
    calls = 0;
    for (int i = 0; i < MOST; i++) answer_at[i] = -1;
    assert_true(mp_options_init(&options));
    free(options.cache);
    options.cache = strdup(peer_url(server));
    options.breaker_failures = 0;
    us = (side){.loop = mp_loop_new()};
    assert_int_equal(mp_redis_open(&us.cache, &options, NULL), POND_OK);
    mp_options_free(&options);
    mp_loop_lock(us.loop);
    us.link = us.cache->vt->link_open(us.cache, us.loop);
    act a;
    act_make(&a, MP_GET, "sx", 0); /* the connection stands */
    us.link->vt->submit(us.link, &a.op);
    turn();
    assert_true(a.ended);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    side_close(&us);
    peer_free(server);
    for (int i = 0; i < 2 * CALLS; i++) {
        pond_error_free(puts_[i].a.op.error);
        pond_value_free(puts_[i].a.op.value);
    }
    memset(puts_, 0, sizeof puts_);
    return 0;
}

static void is_late(const put_one *p, int64_t at) {
    assert_int_equal(p->ended_at, at);
    assert_int_equal(p->a.op.reply, MP_FAILED);
    assert_non_null(strstr(pond_error_message(p->a.op.error), "no answer within command_timeout"));
}

static void is_well(const put_one *p, int64_t at) {
    assert_int_equal(p->ended_at, at);
    assert_int_equal(p->a.op.reply, MP_STORED);
}

static void others_may_have_longer(void **state) {
    (void)state;
    for (int i = 0; i < CALLS; i++) sends(i, 5000, true);
    assert_int_equal(calls, CALLS);
    put_one *p = sends(CALLS, 500, true);
    pass_to(200);
    put_one *q = sends(CALLS + 1, 500, true);
    pass_to(1000);
    is_late(p, 500);
    is_late(q, 700);
    assert_int_equal(calls, CALLS); /* nobody waits for them any more, so they need not be sent */
}

static void late_ones_hold_nobody_up_for_ever(void **state) {
    (void)state;
    for (int i = 0; i < CALLS; i++) sends(i, 500, true);
    answer_at[0] = 0;
    pass_to(499);
    put_one *p = sends(CALLS, 300, true);
    pass_to(1100);
    is_late(&puts_[1], 500);
    is_late(p, 799);
}

/* Two that go together, and came at different times. */
static void together_with_an_older_one(void **state) {
    (void)state;
    answer_at[0] = 460;
    for (int i = 0; i < CALLS; i++) sends(i, 500, true);
    pass_to(100);
    put_one *p = sends(CALLS, 500, true);
    pass_to(400);
    put_one *q = sends(CALLS + 1, 500, true);
    pass_to(1200);
    assert_int_equal(calls, CALLS + 1);
    assert_int_equal(changes[CALLS], 2);
    is_well(&puts_[0], 460);
    is_late(p, 600);
    is_late(q, 900);
}

static void an_answer_behind_the_first_ones_time(void **state) {
    (void)state;
    for (int i = 0; i < CALLS; i++) answer_at[i] = 460;
    answer_at[CALLS] = 800;
    for (int i = 0; i < CALLS; i++) sends(i, 500, true);
    pass_to(100);
    put_one *p = sends(CALLS, 500, true);
    pass_to(400);
    put_one *q = sends(CALLS + 1, 500, true), *r = sends(CALLS + 2, 500, true);
    pass_to(1200);
    assert_int_equal(changes[CALLS], 3);
    is_late(p, 600);
    is_well(q, 800);
    is_well(r, 800);
}

/* The host has not looked for longer than any of them had: what has come meanwhile counts, and who waited for it has its whole time. */
static void a_host_that_was_busy(void **state) {
    (void)state;
    for (int i = 0; i < CALLS; i++) answer_at[i] = 100;
    answer_at[CALLS] = 2300;
    for (int i = 0; i < CALLS; i++) sends(i, 500, true);
    pass_to(50);
    put_one *p = sends(CALLS, 500, true);
    virtual_pass(150);
    peer_turn(server, virtual_now()); /* it has answered */
    virtual_pass(1800);
    pass_to(3000);
    for (int i = 0; i < CALLS; i++) is_well(&puts_[i], 2000);
    is_well(p, 2300);
}

/* And so has what it made long before it came to its end of the turn. */
static void a_turn_that_took_long(void **state) {
    (void)state;
    for (int i = 0; i < CALLS; i++) answer_at[i] = 2200;
    answer_at[CALLS] = 2300;
    for (int i = 0; i < CALLS; i++) sends(i, 5000, true);
    put_one *p = sends(CALLS, 500, false);
    virtual_pass(2000);
    pass_to(3000);
    is_well(p, 2300);
}

static void who_leaves_leaves_nothing_behind(void **state) {
    (void)state;
    answer_at[0] = 700;
    for (int i = 0; i < CALLS; i++) sends(i, 1000, true);
    put_one *p = sends(CALLS, 300, true), *q = sends(CALLS + 1, 400, true), *r = sends(CALLS + 2, 1000, true);
    us.link->vt->forget(us.link, &p->a.op);
    pass_to(600);
    assert_false(p->a.ended);
    is_late(q, 400);
    us.link->vt->forget(us.link, &r->a.op);
    pass_to(900);
    assert_false(r->a.ended);
    assert_int_equal(calls, CALLS);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(others_may_have_longer),
        CASE(late_ones_hold_nobody_up_for_ever),
        CASE(together_with_an_older_one),
        CASE(an_answer_behind_the_first_ones_time),
        CASE(a_host_that_was_busy),
        CASE(a_turn_that_took_long),
        CASE(who_leaves_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
