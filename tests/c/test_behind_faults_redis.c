/* Write-behind, when connections go and servers lose what they had: a change is accepted once or not at all, versions only grow, and none
 * comes from a history that was lost. */
#include "behind_ops.h"

#include "support/relay.h"
#include "support/server.h"

static redisContext *redis;

static int set_up(void **state) {
    (void)state;
    watchdog(110);
    redis = redis_open(redis_url());
    redis_do(redis, "FLUSHALL");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    redisFree(redis);
    return 0;
}

static long long waiting(void) { return redis_number(redis, "LLEN mp:q:{b:0}"); }

/* Drives it until the server has so many entries. */
static void await_waiting(side *s, long long n) {
    for (int64_t until = clock_ms() + 5000; waiting() < n; mp_loop_turn(s->loop, 5)) assert_true(clock_ms() < until);
}

/* The server has done it, and its answer is lost with the connection: on the next one it gets the same answer again. */
static void a_change_whose_answer_was_lost_is_applied_once(void **state) {
    (void)state;
    int64_t before, version;
    act a;
    side s, direct;
    relay *r = relay_start(atoi(strrchr(redis_url(), ':') + 1));
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d/0", relay_port(r));
    side_open(&direct, redis_url(), "on");
    side_open(&s, url, "on");
    epoch(&direct, 1);
    put(&direct, "sa", "{\"n\":0}", &before);
    assert_int_equal(get(&s, "none", NULL, NULL), MP_MISSED); /* a handshake, and 5 bytes */
    /* The next handshake may be some bytes longer; of the answer to the change, 22 bytes, never all come through. */
    relay_mute(r, 0, relay_bytes(r, 0) - 5 + 10);
    side_close(&s);
    side_open(&s, url, "on");
    accept_make(&s, &a, "sb", "{\"n\":1}");
    s.link->vt->submit(s.link, &a.op);
    await_waiting(&s, 2);
    assert_false(a.ended);
    put(&direct, "sb", "{\"n\":2}", NULL); /* somebody else goes on from there */
    relay_mute(r, 0, -1);
    relay_cut(r, true);
    relay_cut(r, false);
    assert_int_equal(act_wait(&s, &a), MP_STORED);
    version = a.op.version;
    assert_true(version == before + 1);
    const char *text;
    assert_int_equal(get(&s, "sb", &text, NULL), MP_HIT);
    assert_string_equal(text, "{\"n\":2}"); /* not overwritten */
    pond_value_free(a.op.value);
    side_close(&s);
    side_close(&direct);
    relay_stop(r);
}

static void a_server_without_the_scripts_is_sent_them(void **state) {
    (void)state;
    int64_t first, second;
    side s;
    side_open(&s, redis_url(), "on");
    epoch(&s, 1);
    put(&s, "sa", "{}", &first);
    redis_do(redis, "SCRIPT FLUSH");
    assert_int_equal(put(&s, "sb", "{}", &second), MP_VERDICT_OK);
    assert_true(second == first + 1);
    side_close(&s);
}

/* The check is due with this very call. A change that was sent beside it would be accepted under the fence that it ends. */
static void a_change_waits_for_the_fence(void **state) {
    (void)state;
    side s, late;
    side_open(&s, redis_url(), "on");
    epoch(&s, 1);
    assert_int_equal(put(&s, "sa", "{}", NULL), MP_VERDICT_OK);
    redis_do(redis, "DEL mp:f");
    rest_ms(1100);
    assert_int_equal(put(&s, "sa", "{}", NULL), MP_STALE_FENCE);
    assert_int_equal(epoch(&s, 2), 2);
    redis_do(redis, "DEL mp:f");
    rest_ms(1100);
    assert_int_equal(epoch(&s, 3), 3); /* under the fence that the check made */
    side_open(&late, redis_url(), "on");
    assert_int_equal(put(&late, "sa", "{}", NULL), MP_VERDICT_OK);
    assert_int_equal(put(&s, "sa", "{}", NULL), MP_VERDICT_OK);
    side_close(&late);
    side_close(&s);
}

/* While several wait for the fence, one is given up, one has no time left, and the others go out together. */
static void what_waits_for_the_fence_can_be_given_up(void **state) {
    (void)state;
    server *own = server_start(NULL);
    act a[4];
    side s;
    side_open(&s, server_url(own), "on");
    epoch(&s, 1);
    rest_ms(1100);
    mp_loop_turn(s.loop, 0);
    server_freeze(own, true);
    for (int i = 0; i < 4; i++) {
        accept_make(&s, &a[i], (char[]){'s', (char)('a' + i), 0}, "{}");
        if (i == 2) a[i].op.timeout_ms = 100;
        s.link->vt->submit(s.link, &a[i].op);
    }
    s.link->vt->forget(s.link, &a[1].op);
    assert_int_equal(act_wait(&s, &a[2]), MP_FAILED);
    assert_int_equal(pond_error_code(a[2].op.error), POND_ECACHE);
    assert_non_null(strstr(pond_error_message(a[2].op.error), "no answer within command_timeout (100 ms)"));
    pond_error_free(a[2].op.error);
    assert_false(a[0].ended || a[1].ended || a[3].ended);
    server_freeze(own, false);
    assert_int_equal(act_wait(&s, &a[0]), MP_STORED);
    assert_int_equal(act_wait(&s, &a[3]), MP_STORED);
    assert_false(a[1].ended);
    assert_int_equal(redis_number(server_client(own), "LLEN mp:q:{b:0}"), 2); /* nothing was sent of the others */
    for (int i = 0; i < 4; i++) pond_value_free(a[i].op.value);
    side_close(&s);
    server_stop(own);
}

/* The connection goes while it waits for the fence: it was not sent, and goes out on the next one. */
static void a_cut_while_it_waits_for_the_fence(void **state) {
    (void)state;
    side s;
    side_open(&s, redis_url(), "on");
    epoch(&s, 1);
    for (int i = 0; i < 3; i++) {
        rest_ms(1050);
        redis_do(redis, "CLIENT KILL TYPE normal SKIPME yes");
        assert_int_equal(put(&s, "sa", "{}", NULL), MP_VERDICT_OK);
    }
    side_close(&s);
}

/* And when the link closes. */
static void a_link_closes_while_it_waits_for_the_fence(void **state) {
    (void)state;
    server *own = server_start(NULL);
    act a;
    side s;
    side_open(&s, server_url(own), "on");
    epoch(&s, 1);
    rest_ms(1100);
    mp_loop_turn(s.loop, 0);
    server_freeze(own, true);
    accept_make(&s, &a, "sa", "{}");
    s.link->vt->submit(s.link, &a.op);
    side_close(&s);
    assert_true(a.ended);
    assert_int_equal(a.op.reply, MP_FAILED);
    assert_int_equal(pond_error_code(a.op.error), POND_ECLOSED);
    pond_error_free(a.op.error);
    pond_value_free(a.op.value);
    server_freeze(own, false);
    server_stop(own);
}

static mp_behind_verdict put_when_up(side *s, const char *key, const char *text, int64_t *version) {
    act a;
    mp_reply reply;
    accept_make(s, &a, key, text);
    for (int64_t until = clock_ms() + 5000;; rest_ms(5)) {
        reply = act_run(s, &a);
        if (reply != MP_FAILED) break;
        assert_true(clock_ms() < until);
        pond_error_free(a.op.error);
    }
    pond_value_free(a.op.value);
    *version = a.op.version;
    return a.behind.verdict;
}

/* The server comes back with an old snapshot, in which what was accepted last is not, and its numbers neither. */
static void what_a_snapshot_brings_back_gets_another_epoch(void **state) {
    (void)state;
    server *own = server_start(NULL);
    int64_t first, lost, read, next;
    const char *text;
    act a;
    side s;
    side_open(&s, server_url(own), "on");
    epoch(&s, 1);
    put(&s, "sa", "{\"n\":1}", &first);
    redis_do(server_client(own), "SAVE");
    put(&s, "sa", "{\"n\":2}", &lost);
    server_kill(own, false);
    server_again(own);
    assert_int_equal(put_when_up(&s, "sb", "{}", &next), MP_STALE_FENCE);
    assert_int_equal(get(&s, "sa", NULL, NULL), MP_MISSED);
    assert_int_equal(lease(&s, "sa", 1, &text, &read), MP_DIRTY);
    assert_string_equal(text, "{\"n\":1}");
    assert_true(read == first);
    assert_int_equal(take(&s, &a), 1);
    assert_true(a.behind.entries[0].old_fence);
    mp_behind_clear(&a.behind);
    assert_int_equal(epoch(&s, 1), 0);
    assert_int_equal(epoch(&s, 2), 2);
    assert_int_equal(put(&s, "sa", "{\"n\":3}", &next), MP_VERDICT_OK);
    assert_true(next > lost); /* never a number that was given away */
    assert_int_equal(get(&s, "sa", &text, NULL), MP_HIT);
    assert_string_equal(text, "{\"n\":3}");
    side_close(&s);
    server_stop(own);
}

static void everything_is_flushed(void **state) {
    (void)state;
    int64_t first, next;
    side s;
    side_open(&s, redis_url(), "on");
    epoch(&s, 1);
    put(&s, "sa", "{}", &first);
    redis_do(redis, "FLUSHALL");
    redis_do(redis, "SCRIPT FLUSH");
    assert_int_equal(put(&s, "sa", "{}", NULL), MP_STALE_FENCE);
    assert_int_equal(epoch(&s, 2), 2); /* the store gives a higher one */
    assert_int_equal(put(&s, "sa", "{}", &next), MP_VERDICT_OK);
    assert_true(next > first);
    side_close(&s);
}

/* It has no room: nothing of the change is there, and it is told so. */
static void a_server_without_room_accepts_nothing(void **state) {
    (void)state;
    act a;
    side s;
    side_open(&s, redis_url(), "on");
    epoch(&s, 1);
    put(&s, "sa", "{}", NULL);
    redis_do(redis, "CONFIG SET maxmemory 1");
    accept_make(&s, &a, "sb", "{}");
    assert_int_equal(act_run(&s, &a), MP_FAILED);
    redis_do(redis, "CONFIG SET maxmemory 0");
    assert_int_equal(pond_error_code(a.op.error), POND_ECACHE);
    pond_error_free(a.op.error);
    assert_int_equal(waiting(), 1);
    assert_int_equal(redis_number(redis, "EXISTS mp:b:{b:0}sb"), 0);
    assert_int_equal(accept_run(&s, &a, NULL), MP_VERDICT_OK);
    pond_value_free(a.op.value);
    side_close(&s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_change_whose_answer_was_lost_is_applied_once),
        TEST(a_server_without_the_scripts_is_sent_them),
        TEST(a_change_waits_for_the_fence),
        TEST(what_waits_for_the_fence_can_be_given_up),
        TEST(a_cut_while_it_waits_for_the_fence),
        TEST(a_link_closes_while_it_waits_for_the_fence),
        TEST(what_a_snapshot_brings_back_gets_another_epoch),
        TEST(everything_is_flushed),
        TEST(a_server_without_room_accepts_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
