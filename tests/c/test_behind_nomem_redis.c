/* The write-behind operations under an allocator that fails, at each allocation in its turn: each ends, with its answer or for want of
 * memory, and nothing is left over or broken by it.
 *
 * This program replaces malloc and its kin. So do sanitizers: in their builds it is skipped. */
#include "support/scarce_malloc.h"

#include "behind_ops.h"

#if REPLACED
static side us;
static redisContext *redis;
static unsigned failed, went_well;

static void ended(act *a) {
    mp_reply reply = act_run(&us, a);
    if (reply == MP_FAILED) {
        failed++;
        pond_code code = pond_error_code(a->op.error);
        if (code != POND_ENOMEM && code != POND_ECACHE && code != POND_EOVERLOAD && code != POND_EPROTOCOL) {
            atomic_store(&armed, false);
            fail_msg("%s: %s", pond_code_name(code), pond_error_message(a->op.error));
        }
        pond_error_free(a->op.error);
        a->op.error = NULL;
    } else {
        went_well++;
    }
}

static void takes(void) {
    act a, b;
    act_make(&a, MP_TAKE, NULL, 0);
    a.behind.most = 10;
    ended(&a);
    if (a.op.reply == MP_FAILED) {
        assert_null(a.behind.entries);
        assert_int_equal(a.behind.count, 0);
        return;
    }
    if (a.behind.count) {
        act_make(&b, MP_ACK, NULL, 0);
        b.behind.entries = a.behind.entries;
        b.behind.count = 1;
        ended(&b);
    }
    if (a.behind.count > 1) {
        act_make(&b, MP_DEAD, NULL, 0);
        b.behind.entries = &a.behind.entries[1];
        b.behind.count = 1;
        b.behind.error = "why";
        b.behind.error_len = 3;
        ended(&b);
    }
    mp_behind_clear(&a.behind);
}

static pond_value *content; /* made while nothing fails */

static void scene(void) {
    static const mp_op_kind of_shard[] = {MP_EPOCH, MP_OWN, MP_BEHIND_OPEN, MP_DEAD_LIST, MP_FORGET};
    act a;
    for (int i = 0; i < 3; i++) {
        accept_make(&us, &a, i == 0 ? "sa" : i == 1 ? "sb" : "sc", NULL);
        a.op.value = content;
        ended(&a);
    }
    for (int i = 0; i < 3; i++) {
        act_make(&a, i == 0 ? MP_GET : i == 1 ? MP_LEASE : MP_INSPECT, "sa", 1);
        ended(&a);
        pond_value_free(a.op.value);
    }
    takes();
    for (size_t i = 0; i < sizeof of_shard / sizeof of_shard[0]; i++) {
        act_make(&a, of_shard[i], NULL, 1);
        a.behind.most = 10;
        a.behind.epoch = 1;
        ended(&a);
        if (of_shard[i] == MP_DEAD_LIST) mp_behind_clear(&a.behind);
    }
}

static void nothing_is_lost(void **state) {
    (void)state;
    watchdog(110);
    redis = redis_open(redis_url());
    for (int follow = 0; follow < 2; follow++) {
        atomic_store(&all_that_follow, follow);
        long at_first = atomic_load(&blocks);
        side_open(&us, redis_url(), "on");
        assert_true(epoch(&us, 1) > 0);
        content = document("{\"id\":\"a\"}");
        failed = went_well = 0;
        long n = 0, unspent = -1;
        for (; unspent <= 0; n++) {
            act a;
            act_make(&a, MP_GET, "sa", 0); /* the connection stands again */
            for (int64_t until = clock_ms() + 5000; act_run(&us, &a) == MP_FAILED; rest_ms(1)) {
                assert_true(clock_ms() < until);
                pond_error_free(a.op.error);
            }
            pond_value_free(a.op.value);
            atomic_store(&left, n);
            atomic_store(&armed, true);
            scene();
            atomic_store(&armed, false);
            unspent = atomic_load(&left);
        }
        assert_true(n > 20 && failed > 20 && went_well > 20);
        /* Whatever was not acked or buried waits. */
        for (int i = 0; i < 3; i++) {
            const char *key = i == 0 ? "sa" : i == 1 ? "sb" : "sc";
            if (redis_record(redis, key)) assert_true(redis_queued(redis, key));
        }
        long before = 0;
        for (int i = 0; i < 20; i++) { /* what is kept for the next ones is kept once */
            scene();
            if (i == 9) before = atomic_load(&blocks);
        }
        redis_do(redis, "DEL mp:x:{b:0}");
        assert_int_equal(atomic_load(&blocks), before);
        pond_value_free(content);
        side_close(&us);
        if (follow) assert_int_equal(atomic_load(&blocks), at_first); /* the first time others make what they keep */
    }
    redisFree(redis);
}
#else
static void nothing_is_lost(void **state) {
    (void)state;
    skip();
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_lost)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
