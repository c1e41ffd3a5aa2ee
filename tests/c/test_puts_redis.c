/* Changes that are submitted in one turn: those of one shard go as one call, and each comes to what it would have come to in a call of its own,
 * behind those before it. */
#include "behind_side.h"

enum { MANY = 100, ROUNDS = 400, AT_ONCE = 9, KEYS = 3 };

static act acts[MANY];

/* How often the server has run a script since it was asked to forget that. */
static long long calls(void) {
    redisReply *r = redisCommand(redis, "INFO commandstats");
    const char *at = r && r->str ? strstr(r->str, "cmdstat_evalsha:calls=") : NULL;
    long long n = at ? strtoll(at + strlen("cmdstat_evalsha:calls="), NULL, 10) : 0;
    freeReplyObject(r);
    return n;
}

/* As the n-th of those that go together. */
static act *prepare(size_t i, const char *key, const char *text, mp_expect expect, int64_t version) {
    accept_make(&us, &acts[i], key, text);
    acts[i].behind.expect = expect;
    acts[i].behind.expect_version = version;
    return &acts[i];
}

static void submit(size_t from, size_t to) {
    mp_loop_turn(us.loop, 0); /* it looks at the clock */
    for (size_t i = from; i < to; i++) us.link->vt->submit(us.link, &acts[i].op);
}

static void wait_for(size_t count) {
    for (size_t i = 0; i < count; i++) act_wait(&us, &acts[i]);
}

static void drop_values(size_t count) {
    for (size_t i = 0; i < count; i++) pond_value_free(acts[i].op.value);
}

static void run_together(size_t count) {
    submit(0, count);
    wait_for(count);
    drop_values(count);
}

static void assert_verdict(size_t i, mp_behind_verdict verdict) {
    assert_int_equal(acts[i].behind.verdict, verdict);
    assert_int_equal(acts[i].op.reply, verdict == MP_VERDICT_OK ? MP_STORED : MP_REFUSED);
}

static void those_of_one_turn_are_one_call(void **state) {
    (void)state;
    char key[8];
    put(&us, "sz", "{}", NULL); /* it knows the scripts now */
    for (int round = 0; round < 2; round++) {
        redis_do(redis, "CONFIG RESETSTAT");
        for (size_t i = 0; i < 10; i++) {
            snprintf(key, sizeof key, "s%zu", i);
            prepare(i, key, "{}", MP_EXPECT_ANY, 0);
        }
        run_together(10);
        for (size_t i = 0; i < 10; i++) {
            assert_verdict(i, MP_VERDICT_OK);
            assert_int_equal(acts[i].op.version, acts[0].op.version + (int64_t)i);
        }
        assert_int_equal(calls(), 1);
    }
    assert_int_equal(redis_number(redis, "LLEN mp:q:{b:0}"), 11);
    assert_int_equal(redis_number(redis, "PTTL mp:b:{b:0}s7"), -1);
    /* No more than so many: the server does nothing else meanwhile. */
    redis_do(redis, "CONFIG RESETSTAT");
    for (size_t i = 0; i < MANY; i++) prepare(i, "sa", "{}", MP_EXPECT_ANY, 0);
    run_together(MANY);
    for (size_t i = 0; i < MANY; i++) assert_verdict(i, MP_VERDICT_OK);
    assert_int_equal(calls(), 2);
}

/* The server is busy with eight calls: what comes meanwhile waits for one of them, and goes with others. If none is answered its time runs out with theirs. */
static void behind_many_calls_more_go_together(void **state) {
    (void)state;
    char key[8];
    put(&us, "sz", "{}", NULL); /* it knows the scripts now */
    for (int late = 0; late < 2; late++) {
        redis_do(redis, "CONFIG RESETSTAT");
        redis_do(redis, late ? "CLIENT PAUSE 1500 ALL" : "CLIENT PAUSE 200 ALL");
        for (size_t i = 0; i < 40; i++) {
            snprintf(key, sizeof key, "s%zu", i);
            prepare(i, key, "{}", MP_EXPECT_ANY, 0);
            if (late) acts[i].op.timeout_ms = 300;
            submit(i, i + 1);
            mp_loop_flush(us.loop);
        }
        int64_t began = clock_ms();
        wait_for(40);
        if (late) assert_in_range(clock_ms() - began, 200, 1000);
        for (size_t i = 0; i < 40; i++) {
            if (late) assert_int_equal(acts[i].op.reply, MP_FAILED);
            else assert_verdict(i, MP_VERDICT_OK);
            if (late) pond_error_free(acts[i].op.error);
        }
        drop_values(40);
        rest_ms(late ? 1500 : 0);
        if (!late) assert_in_range(calls(), 9, 10);
    }
}

static void one_sees_what_the_one_before_it_has_left(void **state) {
    (void)state;
    const char *text;
    int64_t version;
    put(&us, "sv", "{}", &version);
    assert_int_equal(load(&us, "sa", NULL, 3), MP_STORED);
    prepare(0, "sa", "{\"n\":1}", MP_EXPECT_ABSENT, 0);
    prepare(1, "sa", "{\"n\":2}", MP_EXPECT_ABSENT, 0);
    prepare(2, "sa", NULL, MP_EXPECT_ANY, 0);
    prepare(3, "sa", "{\"n\":3}", MP_EXPECT_ABSENT, 0);
    prepare(4, "sv", "{\"n\":4}", MP_EXPECT_VERSION, version);
    prepare(5, "sv", "{\"n\":5}", MP_EXPECT_VERSION, version);
    prepare(6, "sv", "{\"n\":6}", MP_EXPECT_VERSION, version + 4); /* what the fifth has become */
    prepare(7, "su", "{\"n\":7}", MP_EXPECT_VERSION, version);
    run_together(8);
    static const mp_behind_verdict verdicts[] = {MP_VERDICT_OK, MP_EXISTS,  MP_VERDICT_OK, MP_VERDICT_OK,
                                                 MP_VERDICT_OK, MP_CHANGED, MP_VERDICT_OK, MP_CHANGED};
    for (size_t i = 0; i < 8; i++) assert_verdict(i, verdicts[i]);
    assert_int_equal(redis_number(redis, "LLEN mp:q:{b:0}"), 2); /* one entry a key */
    assert_int_equal(get(&us, "sa", &text, NULL), MP_HIT);
    assert_string_equal(text, "{\"n\":3}");
    assert_int_equal(get(&us, "sv", &text, NULL), MP_HIT);
    assert_string_equal(text, "{\"n\":6}");
}

static void the_bound_holds_within_a_call(void **state) {
    (void)state;
    put(&us, "sa", "{}", NULL);
    static const char *const keys[] = {"sb", "sa", "sc", "sd", "sb", "se"};
    for (size_t i = 0; i < 6; i++) prepare(i, keys[i], "{}", MP_EXPECT_ANY, 0)->behind.most = 3;
    run_together(6);
    static const mp_behind_verdict verdicts[] = {MP_VERDICT_OK, MP_VERDICT_OK, MP_VERDICT_OK,
                                                 MP_FULL,       MP_VERDICT_OK, MP_FULL};
    for (size_t i = 0; i < 6; i++) assert_verdict(i, verdicts[i]);
    assert_int_equal(redis_number(redis, "LLEN mp:q:{b:0}"), 3);
    assert_int_equal(redis_number(redis, "EXISTS mp:b:{b:0}sd mp:b:{b:0}se"), 0);
    /* And so do the numbers of the epoch. */
    redis_do(redis, "HSET mp:m:{b:0} seq 1099511627773");
    for (size_t i = 0; i < 2; i++) prepare(i, "sa", "{}", MP_EXPECT_ANY, 0);
    run_together(2);
    assert_verdict(0, MP_VERDICT_OK);
    assert_int_equal(acts[0].op.version, ((int64_t)5 << 40) + 1099511627774);
    assert_verdict(1, MP_STALE_FENCE);
}

/* A value of another kind is the trouble of one of them. */
static void an_error_is_of_one(void **state) {
    (void)state;
    redis_do(redis, "RPUSH mp:b:{b:0}sb x");
    prepare(0, "sa", "{}", MP_EXPECT_ANY, 0);
    prepare(1, "sb", "{}", MP_EXPECT_VERSION, 1);
    prepare(2, "sc", "{}", MP_EXPECT_ANY, 0);
    run_together(3);
    assert_verdict(0, MP_VERDICT_OK);
    assert_verdict(2, MP_VERDICT_OK);
    assert_int_equal(acts[1].op.reply, MP_FAILED);
    assert_non_null(strstr(pond_error_message(acts[1].op.error), "something else writes"));
    pond_error_free(acts[1].op.error);
}

static void who_leaves_takes_nobody_along(void **state) {
    (void)state;
    char key[8];
    put(&us, "s5", "{}", NULL); /* it has asked for the fence now */
    for (size_t i = 0; i < 5; i++) {
        snprintf(key, sizeof key, "s%zu", i);
        prepare(i, key, "{}", MP_EXPECT_ANY, 0);
    }
    submit(0, 5);
    us.link->vt->forget(us.link, &acts[0].op); /* before it is sent */
    us.link->vt->forget(us.link, &acts[3].op);
    mp_loop_flush(us.loop);
    us.link->vt->forget(us.link, &acts[1].op); /* the first of the call, under way */
    act_wait(&us, &acts[2]);
    act_wait(&us, &acts[4]);
    assert_false(acts[0].ended || acts[1].ended || acts[3].ended);
    assert_int_equal(redis_number(redis, "LLEN mp:q:{b:0}"), 4);
    assert_false(redis_record(redis, "s0"));
    drop_values(5);
}

/* The server forgets its scripts; it is cut off with a call under way, and before one is sent; it comes to an end in a close. */
static void each_goes_on_by_itself(void **state) {
    (void)state;
    char key[8];
    for (int trouble = 0; trouble < 3; trouble++) {
        put(&us, "ta", "{}", NULL); /* the connection stands: one that is lost in its handshake is no cut */
        for (size_t i = 0; i < 6; i++) {
            snprintf(key, sizeof key, "t%zu", i);
            prepare(i, key, "{}", MP_EXPECT_ANY, 0);
        }
        if (trouble == 0) redis_do(redis, "SCRIPT FLUSH");
        submit(0, 6);
        if (trouble == 1) mp_loop_flush(us.loop);
        if (trouble > 0) redis_do(redis, "CLIENT KILL TYPE normal SKIPME yes");
        wait_for(6);
        for (size_t i = 0; i < 6; i++) assert_verdict(i, MP_VERDICT_OK);
        for (size_t i = 1; i < 6; i++) assert_true(acts[i].op.version > acts[i - 1].op.version);
        drop_values(6);
    }
    put(&us, "ta", "{}", NULL);
    for (size_t i = 0; i < 6; i++) prepare(i, "sa", "{}", MP_EXPECT_ANY, 0);
    submit(0, 3);
    mp_loop_flush(us.loop);
    submit(3, 6);
    us.link->vt->link_close(us.link);
    for (size_t i = 0; i < 6; i++) {
        assert_true(acts[i].ended);
        if (acts[i].op.reply != MP_FAILED) continue; /* it was fast */
        assert_int_equal(pond_error_code(acts[i].op.error), POND_ECLOSED);
        pond_error_free(acts[i].op.error);
    }
    assert_int_equal(acts[5].op.reply, MP_FAILED);
    drop_values(6);
    us.link = us.cache->vt->link_open(us.cache, us.loop);
}

/* ---- together, and one by one ---- */

typedef struct outcome {
    mp_reply reply;
    mp_behind_verdict verdict;
    int64_t version;
} outcome;

static void show(char *out, size_t size, const char *command, const char *key) {
    redisReply *r = redisCommand(redis, command, key);
    size_t at = strlen(out);
    assert_non_null(r);
    at += (size_t)snprintf(out + at, size - at, "%s:", key);
    for (size_t i = 0; i < r->elements; i++) {
        redisReply *e = r->element[i];
        for (size_t k = 0; k < e->len && at + 4 < size; k++) {
            if (k >= 24 && k < 32 && e->len >= 48) continue; /* when it was made */
            at += (size_t)snprintf(out + at, size - at, "%02x", (unsigned char)e->str[k]);
        }
        at += (size_t)snprintf(out + at, size - at, i % 2 ? ";" : "=");
    }
    freeReplyObject(r);
}

/* All that a change may touch, in words. */
static void look(char *out, size_t size) {
    char key[32];
    out[0] = 0;
    show(out, size, "SORT %s BY nosort", "none");
    show(out, size, "LRANGE %s 0 -1", "mp:q:{b:0}");
    for (size_t k = 0; k < KEYS; k++) {
        static const char *const parts[] = {"b", "bl", "i"};
        snprintf(key, sizeof key, "s%zu", k);
        show(out, size, "HMGET mp:d:{b:0} %s", key);
        for (size_t p = 0; p < 3; p++) {
            snprintf(key, sizeof key, "mp:%s:{b:0}s%zu", parts[p], k);
            size_t at = strlen(out);
            snprintf(out + at, size - at, "%lld", redis_number(redis, "EXISTS %s", key));
            if (p == 0) show(out, size, "MGET %s", key);
        }
    }
    show(out, size, "HMGET %s seq epoch", "mp:m:{b:0}");
}

static void what_was_there(uint32_t seed, const char *fence) {
    redis_do(redis, "DEL mp:q:{b:0} mp:d:{b:0}");
    redis_do(redis, "HSET mp:m:{b:0} seq %u fence %b", seed % 7 ? 5 : 0, fence, (size_t)MP_FENCE_LEN);
    if (seed % 11 == 0) redis_do(redis, "HSET mp:m:{b:0} seq 1099511627772");
    for (size_t k = 0; k < KEYS; k++) {
        char key[4];
        snprintf(key, sizeof key, "s%zu", k);
        redis_do(redis, "DEL mp:b:{b:0}%s mp:bl:{b:0}%s mp:i:{b:0}%s", key, key, key);
        uint32_t kind = seed >> 3 * k & 7;
        if (kind == 1) assert_int_equal(load(&us, key, "{}", 2), MP_STORED);
        if (kind == 2) assert_int_equal(load(&us, key, NULL, 2), MP_STORED);
        if (kind == 3 || kind == 6) {
            redis_do(redis, "HSET mp:i:{b:0}%s f 1", key);
            redis_do(redis, "RPUSH mp:q:{b:0} %s", key);
            redis_do(redis, "HSET mp:m:{b:0} incr 1");
        }
        if (kind == 6) redis_do(redis, "HSET mp:d:{b:0} %s base", key);
        if (kind == 5) put(&us, key, seed % 2 ? "{}" : NULL, NULL);
        if (kind == 4) redis_do(redis, "SET mp:bl:{b:0}%s token", key);
    }
}

static bool all_seen(const unsigned *seen) {
    return seen[MP_VERDICT_OK] && seen[MP_STALE_FENCE] && seen[MP_FULL] && seen[MP_CHANGED] && seen[MP_EXISTS];
}

static void together_is_one_by_one(void **state) {
    (void)state;
    static char first[16384], second[16384];
    unsigned seen[MP_FORGOTTEN + 1] = {0};
    char fence[MP_FENCE_LEN];
    redisReply *r = redisCommand(redis, "HGET mp:m:{b:0} fence");
    assert_int_equal(r->len, sizeof fence);
    memcpy(fence, r->str, sizeof fence);
    freeReplyObject(r);
    /* So many rounds, and as many more as it takes until each verdict has been seen. */
    for (int round = 0; round < (slow_build() ? ROUNDS / 8 : ROUNDS) || (!all_seen(seen) && round < 10 * ROUNDS);
         round++) {
        outcome alone[AT_ONCE];
        uint32_t seed = dice(1u << 30);
        size_t count = 2 + dice(AT_ONCE - 1);
        for (size_t i = 0; i < count; i++) {
            static const mp_expect expects[] = {MP_EXPECT_ANY, MP_EXPECT_VERSION, MP_EXPECT_ABSENT};
            char key[4], text[24];
            snprintf(key, sizeof key, "s%u", dice(KEYS));
            snprintf(text, sizeof text, "{\"n\":%u}", dice(1000));
            int64_t guess = dice(3) ? ((int64_t)5 << 40) + (seed % 7 ? 5 : 0) + 1 + dice(4) : 2;
            act *a = prepare(i, key, dice(4) ? text : NULL, expects[dice(3)], guess);
            if (dice(5) == 0) a->op.ttl_ms = 0;
            a->behind.most = 1 + seed % 3;
        }
        what_was_there(seed, fence);
        for (size_t i = 0; i < count; i++) {
            act_run(&us, &acts[i]);
            alone[i] = (outcome){acts[i].op.reply, acts[i].behind.verdict, acts[i].op.version};
        }
        look(first, sizeof first);
        what_was_there(seed, fence);
        for (size_t i = 0; i < count; i++) {
            acts[i].ended = false;
            acts[i].op.version = 0;
        }
        redis_do(redis, "CONFIG RESETSTAT");
        submit(0, count);
        wait_for(count);
        assert_int_equal(calls(), 1);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(acts[i].op.reply, alone[i].reply);
            assert_int_equal(acts[i].behind.verdict, alone[i].verdict);
            if (alone[i].reply == MP_STORED) assert_true(acts[i].op.version == alone[i].version);
            seen[alone[i].verdict]++;
        }
        look(second, sizeof second);
        assert_string_equal(first, second);
        drop_values(count);
    }
    assert_true(all_seen(seen));
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(those_of_one_turn_are_one_call, set_up, tear_down),
        cmocka_unit_test_setup_teardown(behind_many_calls_more_go_together, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_sees_what_the_one_before_it_has_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_bound_holds_within_a_call, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_error_is_of_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_leaves_takes_nobody_along, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_goes_on_by_itself, set_up, tear_down),
        cmocka_unit_test_setup_teardown(together_is_one_by_one, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
