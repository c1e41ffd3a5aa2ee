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
static int64_t began, answer_at[2 * MOST]; /* by call; < 0: never */
static int64_t read_after;                 /* how long a GET takes */
static act reading;
static char order[8 * MOST]; /* the keys of the changes that came */
static int came;
static int calls, changes[2 * MOST]; /* that came, and of how many changes each was */
static put_one puts_[2 * CALLS];

static bool is_script(const fake_conn *c, mp_script_id id) {
    return c->argc > 2 && c->len[1] == 40 && memcmp(c->argv[1], mp_scripts[id].sha, 40) == 0;
}

static peer_reply says(const fake_conn *c, void *ctx) {
    static char text[400];
    (void)ctx;
    bool one = is_script(c, MP_SCRIPT_wb_put), many = is_script(c, MP_SCRIPT_wb_puts);
    if (!one && !many) return (peer_reply){.after_ms = c->argc == 2 ? read_after : 0}; /* a GET's */
    assert_true(calls < MOST * 2);
    for (int i = 3; i < c->argc; i++) /* a user's key has two letters here */
        if (c->len[i] == 2 && c->argv[i][0] == 's') order[came++] = c->argv[i][1];
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

static side opened(const char *url) {
    mp_options options;
    side s = {.loop = mp_loop_new()};
    assert_true(mp_options_init(&options));
    free(options.cache);
    options.cache = strdup(url);
    options.breaker_failures = 0;
    assert_int_equal(mp_redis_open(&s.cache, &options, NULL), POND_OK);
    mp_options_free(&options);
    mp_loop_lock(s.loop);
    s.link = s.cache->vt->link_open(s.cache, s.loop);
    return s;
}

/* Something is heard of the server, then, whatever becomes of changes. */
static void hears_at(int64_t ms) {
    read_after = ms - now();
    act_make(&reading, MP_GET, "sx", 0);
    us.link->vt->submit(us.link, &reading.op);
    turn();
}

static int set_up(void **state) {
    (void)state;
    read_after = 0;
    virtual_begin(1);
    server = peer_new(says, NULL);
    began = virtual_now();
    calls = came = 0;
    for (int i = 0; i < 2 * MOST; i++) answer_at[i] = -1;
    us = opened(peer_url(server));
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

/* The calls are under way for longer than those who wait for them have. */
static void others_may_have_longer(void **state) {
    (void)state;
    hears_at(100);
    for (int i = 0; i < CALLS; i++) sends(i, 5000, true);
    put_one *p = sends(CALLS, 500, true), *q = sends(CALLS + 1, 300, true);
    pass_to(90);
    put_one *r = sends(CALLS + 2, 500, true);
    pass_to(550);
    is_late(p, 500);
    is_late(q, 300);
    assert_int_equal(calls, CALLS); /* nobody waits for them any more, so they need not be sent */
    assert_int_equal(peer_connections(server), 1);
    pass_to(1000);
    is_late(r, 590);
}

/* Not a byte came in the whole time of one: the connection goes, as it would if that one had been sent. */
static void a_silent_server(void **state) {
    (void)state;
    for (int i = 0; i < CALLS; i++) sends(i, 5000, true);
    put_one *p = sends(CALLS, 500, true);
    pass_to(200);
    put_one *q = sends(CALLS + 1, 500, true);
    answer_at[CALLS] = 0;
    pass_to(499);
    assert_int_equal(peer_connections(server), 1);
    pass_to(1000);
    assert_int_equal(peer_connections(server), 2);
    is_late(p, 500);
    is_well(q, 500); /* on the other connection */
    for (int i = 0; i < CALLS; i++) is_late(&puts_[i], 500);
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
    hears_at(50);
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

/* What was under way when the connection was lost is sent again before what was held back behind it. */
static void in_the_order_in_which_they_came(void **state) {
    (void)state;
    for (int i = 0; i < CALLS; i++) sends(i, 5000, true);
    for (int i = CALLS; i < CALLS + 2; i++) sends(i, 5000, true);
    for (int i = 0; i < 2 * MOST; i++) answer_at[i] = 0;
    peer_cut(server, 0);
    pass_to(100);
    for (int i = 0; i < CALLS + 2; i++) is_well(&puts_[i], puts_[0].ended_at);
    order[came] = 0;
    assert_string_equal(order, "01234567"
                               "0123456789");
}

/* ---- a server that says anything ---- */

enum { ROUNDS = 15000, SHARED = 24, TIME = 500 };

typedef struct one {
    act a; /* first */
    int64_t sent_at;
    size_t at;
} one;

static one *under_way[SHARED];
static unsigned went_well, went_wrong, gave_up;

static void one_ended(mp_op *op) {
    one *o = (one *)op;
    if (op->reply == MP_FAILED) went_wrong++;
    else went_well += op->reply == MP_STORED;
    assert_int_not_equal(op->reply, MP_PENDING);
    assert_true((op->reply == MP_FAILED) == (op->error != NULL));
    assert_true(virtual_now() - o->sent_at <= TIME); /* not a millisecond more, whatever was said */
    assert_ptr_equal(under_way[o->at], o);
    under_way[o->at] = NULL;
    pond_error_free(op->error);
    pond_value_free(op->value);
    free(o);
}

static void one_begins(void) {
    static const mp_expect expects[] = {MP_EXPECT_ANY, MP_EXPECT_ANY, MP_EXPECT_ABSENT, MP_EXPECT_VERSION};
    size_t at = dice(SHARED);
    if (under_way[at]) return;
    one *o = under_way[at] = malloc(sizeof *o);
    char key[8];
    snprintf(key, sizeof key, "s%u", dice(6));
    if (dice(6)) {
        accept_make(&us, &o->a, key, dice(9) ? "{}" : NULL);
        o->a.behind.expect = expects[dice(4)];
    } else {
        act_make(&o->a, MP_ACCEPT, key, 0);
        o->a.behind.member = "n";
        o->a.behind.member_len = 1;
    }
    o->at = at;
    o->a.op.timeout_ms = TIME;
    o->a.op.done = one_ended;
    o->sent_at = virtual_now();
    us.link->vt->submit(us.link, &o->a.op);
}

/* Its memory goes with it: whoever looks at it after that is found out by a checker of memory. */
static void one_gives_up(void) {
    one *o = under_way[dice(SHARED)];
    if (!o) return;
    gave_up++;
    under_way[o->at] = NULL;
    us.link->vt->forget(us.link, &o->a.op);
    pond_value_free(o->a.op.value);
    free(o);
}

static size_t add_version(char *out) { return (size_t)sprintf(out, "$8\r\n%.8s\r\n", "12345678"); }

/* What comes for each of `n`. */
static size_t some_parts(char *out, int n) {
    static const char *const parts[] = {"*1\r\n:-3\r\n",     "*2\r\n:-1\r\n:5\r\n",
                                        "*1\r\n:-4\r\n",     "*1\r\n:0\r\n",
                                        "*1\r\n:-2\r\n",     "$-1\r\n",
                                        "*-1\r\n",           ":1\r\n",
                                        "*1\r\n:-5\r\n",     "-WRONGTYPE x\r\n",
                                        "-NOSCRIPT x\r\n",   "-READONLY x\r\n",
                                        "$7\r\n1234567\r\n", "*2\r\n:1\r\n$-1\r\n",
                                        "*2\r\n:1\r\n:1\r\n"};
    size_t len = (size_t)sprintf(out, "*%d\r\n", n);
    for (int i = 0; i < n; i++)
        len += dice(2) ? add_version(out + len)
                       : (size_t)sprintf(out + len, "%s", parts[dice(sizeof parts / sizeof parts[0])]);
    return len;
}

static peer_reply says_anything(const fake_conn *c, void *ctx) {
    static char text[4096];
    static const char *const errors[] = {
        "-NOSCRIPT x\r\n", "-MOVED 7 1.2.3.4:5\r\n", "-READONLY x\r\n", "-LOADING x\r\n", "-OOM x\r\n",
        "-BUSY x\r\n",     "-MASTERDOWN x\r\n",      "-ERR x\r\n",      "-NOAUTH x\r\n",  "-CLUSTERDOWN x\r\n",
        "-MISCONF x\r\n"};
    (void)ctx;
    int64_t after = dice(3) ? dice(30) : dice(10) ? 0 : dice(1200);
    int n = c->argc > 2 && c->len[2] < 6 ? (atoi(c->argv[2]) - 4) / 2 : 0;
    bool one_put = c->argc == 19, many = n > 1 && c->argc > 19;
    if (!one_put && !many) return dice(30) ? (peer_reply){0} : (peer_reply){.act = (peer_act)(2 + dice(4))};
    if (dice(40) == 0) return (peer_reply){.act = (peer_act)(2 + dice(4)), .after_ms = after};
    if (dice(4) == 0)
        return (peer_reply){.act = PEER_SAY, .after_ms = after, .text = errors[dice(sizeof errors / sizeof errors[0])]};
    if (one_put) n = 1;
    if (n > 20) n = 20;
    int said = dice(5) ? n : n - 1 + (int)dice(3);
    if (many && dice(2)) {
        size_t len = (size_t)sprintf(text, "$%d\r\n", 8 * said);
        memset(text + len, 5, 8 * (size_t)said);
        strcpy(text + len + 8 * (size_t)said, "\r\n");
    } else if (one_put && dice(2)) {
        add_version(text + sprintf(text, "*2\r\n:1\r\n"));
    } else {
        some_parts(text, said);
    }
    if (strlen(text) > 500) return (peer_reply){.act = PEER_SAY, .text = "*0\r\n", .after_ms = after};
    return (peer_reply){.act = PEER_SAY, .text = text, .after_ms = after};
}

static void whatever_it_says(void **state) {
    (void)state;
    for (int life = 0; life < 40; life++) {
        began = virtual_now();
        server = peer_new(says_anything, NULL);
        us = opened(peer_url(server));
        for (int i = 0; i < (slow_build() ? ROUNDS / 5 : ROUNDS); i++) {
            for (uint32_t many = dice(8); many > 0; many--) one_begins();
            if (dice(5) == 0) one_gives_up();
            if (dice(3)) pass_to(now() + dice(dice(4) ? 20 : 300));
        }
        if (life % 2) pass_to(now() + TIME);
        side_close(&us); /* whatever is under way ends with it */
        for (int i = 0; i < SHARED; i++) assert_null(under_way[i]);
        peer_free(server);
    }
    printf("           %u went well, %u went wrong, %u gave up\n", went_well, went_wrong, gave_up);
    assert_true(went_well > 1000 && went_wrong > 1000 && gave_up > 100);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(others_may_have_longer),
        CASE(a_silent_server),
        CASE(late_ones_hold_nobody_up_for_ever),
        CASE(together_with_an_older_one),
        CASE(an_answer_behind_the_first_ones_time),
        CASE(a_host_that_was_busy),
        CASE(a_turn_that_took_long),
        CASE(who_leaves_leaves_nothing_behind),
        CASE(in_the_order_in_which_they_came),
        cmocka_unit_test(whatever_it_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
