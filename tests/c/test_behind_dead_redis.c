/* Dead letters that wait for the store again: what one script of the cache does, and never does. */
#include "behind_side.h"

/* As a worker does it with the entries of what is gone. */
static void ack_the_rest(void) {
    act a;
    take(&us, &a);
    for (size_t i = 0; i < a.behind.count; i++) assert_true(!a.behind.entries[i].value);
    assert_int_equal(ack(&us, a.behind.entries, a.behind.count), MP_DONE);
    mp_behind_clear(&a.behind);
}

/* Accepts it, and puts it aside. The letter, as a list gives it, is the caller's: to be cleared with `a`. */
static mp_behind_entry *buried(act *a, const char *key, const char *text) {
    act taken, dead;
    int64_t version;
    put(&us, key, text, &version);
    assert_int_equal(take(&us, &taken), 1);
    act_make(&dead, MP_DEAD, NULL, 0);
    dead.behind.entries = taken.behind.entries;
    dead.behind.count = 1;
    dead.behind.error = "why";
    dead.behind.error_len = 3;
    assert_int_equal(act_run(&us, &dead), MP_STORED);
    mp_behind_clear(&taken.behind);
    ack_the_rest();
    act_make(a, MP_DEAD_LIST, NULL, 0);
    a->behind.most = 10;
    assert_int_equal(act_run(&us, a), MP_DONE);
    mp_behind_entry *last = &a->behind.entries[a->behind.count - 1];
    assert_string_equal(last->key, key);
    assert_true(last->version == version);
    return last;
}

static void retry_make(act *a, const mp_behind_entry *e) {
    act_make(a, MP_DEAD_RETRY, NULL, 0);
    a->entry = *e;
    a->behind.entries = &a->entry;
    a->behind.count = 1;
    a->behind.most = 10;
}

static mp_behind_verdict retried(const mp_behind_entry *e) {
    act a;
    retry_make(&a, e);
    mp_reply reply = act_run(&us, &a);
    if (reply == MP_FAILED) fail_msg("%s", pond_error_message(a.op.error));
    assert_true((reply == MP_STORED) == (a.behind.verdict == MP_VERDICT_OK));
    return a.behind.verdict;
}

static void it_waits_again_as_it_was(void **state) {
    (void)state;
    act a, taken;
    mp_behind_entry *e = buried(&a, "sa", "{\"n\":1}");
    const char *text;
    int64_t version;
    redis_do(redis, "SET mp:bl:{b:0}sa x"); /* whoever loads meanwhile must not store what was before */
    assert_int_equal(retried(e), MP_VERDICT_OK);
    assert_int_equal(redis_number(redis, "EXISTS mp:bl:{b:0}sa"), 0);
    assert_int_equal(redis_number(redis, "XLEN mp:x:{b:0}"), 0);
    assert_int_equal(take(&us, &taken), 1);
    mp_behind_entry *again = taken.behind.entries;
    assert_string_equal(again->key, "sa");
    assert_string_equal(pond_value_data(again->value, NULL), "{\"n\":1}");
    assert_true(again->version == e->version);
    assert_true(again->old_fence);                                    /* so a worker looks for a newer deletion */
    assert_int_equal(lease(&us, "sa", 1, &text, &version), MP_DIRTY); /* and a reader for a newer document */
    assert_string_equal(text, "{\"n\":1}");
    assert_true(version == e->version);
    assert_int_equal(ack(&us, again, 1), MP_DONE);
    assert_int_equal(again->acked, 1);
    mp_behind_clear(&taken.behind);
    assert_int_equal(retried(e), MP_NO_LETTER);
    mp_behind_clear(&a.behind);
}

static void it_never_takes_the_place_of_what_is_newer(void **state) {
    (void)state;
    act first, second, taken;
    int64_t version;
    mp_behind_entry *e = buried(&first, "sa", "{\"n\":1}");
    put(&us, "sa", "{\"n\":2}", &version);
    assert_int_equal(retried(e), MP_CHANGED); /* it waits */
    assert_int_equal(take(&us, &taken), 1);
    assert_int_equal(ack(&us, taken.behind.entries, 1), MP_DONE);
    mp_behind_clear(&taken.behind);
    assert_false(redis_record(redis, "sa"));
    assert_int_equal(retried(e), MP_CHANGED); /* it is cached */
    redis_do(redis, "DEL mp:b:{b:0}sa");
    redis_do(redis, "HSET mp:i:{b:0}sa /n 1");
    assert_int_equal(retried(e), MP_CHANGED); /* increments wait */
    redis_do(redis, "DEL mp:i:{b:0}sa");
    assert_int_equal(redis_number(redis, "XLEN mp:x:{b:0}"), 1);

    /* Of two letters the newer one wins, in whatever order they are retried. */
    mp_behind_entry *f = buried(&second, "sa", "{\"n\":3}");
    for (int newer_first = 0; newer_first < 2; newer_first++) {
        redis_lose(redis);
        redis_do(redis, "COPY mp:x:{b:0} kept:{b:0} REPLACE");
        assert_int_equal(retried(newer_first ? f : e), MP_VERDICT_OK);
        assert_int_equal(retried(newer_first ? e : f), newer_first ? MP_CHANGED : MP_VERDICT_OK);
        assert_int_equal(take(&us, &taken), 1);
        assert_true(taken.behind.entries[0].version == f->version);
        mp_behind_clear(&taken.behind);
        redis_do(redis, "COPY kept:{b:0} mp:x:{b:0} REPLACE");
    }
    mp_behind_clear(&first.behind);
    mp_behind_clear(&second.behind);
}

/* By number, not by text: one version is the greater in its low byte, the other in the next; and an epoch counts more than both. */
static void versions_are_compared_as_numbers(void **state) {
    (void)state;
    act a, taken;
    for (int i = 0; i < 254; i++) put(&us, "sx", "{}", NULL);
    redis_lose(redis);
    mp_behind_entry *e = buried(&a, "sa", "{\"n\":255}");
    assert_int_equal(e->version & 0xffff, 0x00ff);
    put(&us, "sa", "{\"n\":256}", NULL); /* 0x0100 */
    assert_int_equal(retried(e), MP_CHANGED);
    mp_behind_clear(&a.behind);
    redis_lose(redis);
    redis_do(redis, "DEL mp:x:{b:0}");
    e = buried(&a, "sa", "{\"n\":257}");
    assert_true(epoch(&us, 6) == 6);
    put(&us, "sa", "{\"n\":1}", NULL); /* 1 of a later epoch */
    assert_int_equal(retried(e), MP_CHANGED);
    redis_lose(redis);
    assert_int_equal(retried(e), MP_VERDICT_OK);
    assert_int_equal(take(&us, &taken), 1);
    mp_behind_clear(&taken.behind);
    mp_behind_clear(&a.behind);
}

static void what_does_not_fit_stays_a_letter(void **state) {
    (void)state;
    act a, sent;
    mp_behind_entry *e = buried(&a, "sa", "{\"n\":1}"), other = *e;
    put(&us, "sb", "{}", NULL);
    retry_make(&sent, e);
    sent.behind.most = 1;
    assert_int_equal(act_run(&us, &sent), MP_REFUSED);
    assert_int_equal(sent.behind.verdict, MP_FULL);
    other.version--;
    assert_int_equal(retried(&other), MP_NO_LETTER);
    other = *e;
    other.key = "sc";
    assert_int_equal(retried(&other), MP_NO_LETTER);
    assert_int_equal(redis_number(redis, "XLEN mp:x:{b:0}"), 1);
    assert_int_equal(redis_number(redis, "LLEN mp:q:{b:0}"), 1);
    mp_behind_clear(&a.behind);
}

/* Increments that came after the record was looked at went aside with it. */
static void its_increments_wait_again(void **state) {
    (void)state;
    act a, taken;
    int64_t version;
    put(&us, "sa", "{\"n\":1}", &version);
    increment(&us, "sa", "n", 5);
    increment(&us, "sa", "e", -1);
    assert_int_equal(take(&us, &taken), 1);
    assert_true(taken.behind.entries[0].version == version);
    act_make(&a, MP_DEAD, NULL, 0);
    a.behind.entries = taken.behind.entries;
    a.behind.count = 1;
    a.behind.error = "why";
    a.behind.error_len = 3;
    assert_int_equal(act_run(&us, &a), MP_STORED);
    assert_int_equal(redis_number(redis, "EXISTS mp:i:{b:0}sa"), 0);
    mp_behind_clear(&taken.behind);
    act_make(&a, MP_DEAD_LIST, NULL, 0);
    a.behind.most = 1;
    assert_int_equal(act_run(&us, &a), MP_DONE);
    assert_int_equal(retried(&a.behind.entries[0]), MP_VERDICT_OK);
    mp_behind_clear(&a.behind);
    assert_int_equal(redis_number(redis, "HLEN mp:i:{b:0}sa"), 3);
    assert_string_equal(redis_do(redis, "HGET mp:i:{b:0}sa n")->str, "5");
    assert_string_equal(redis_do(redis, "HGET mp:i:{b:0}sa e")->str, "-1");
    redisReply *versions = redis_do(redis, "HGET mp:i:{b:0}sa %b", "", (size_t)0);
    assert_int_equal(versions->len, 16);
    assert_int_equal(versions->str[0], (version + 2) & 0xff); /* the newest, and the first */
    assert_int_equal(versions->str[8], (version + 1) & 0xff);
    assert_string_equal(redis_do(redis, "HGET mp:m:{b:0} incr")->str, "1");
    assert_int_equal(redis_number(redis, "EXISTS mp:b:{b:0}sa"),
                     0); /* nobody takes the record alone for the document */
    assert_true(redis_record(redis, "sa") && redis_queued(redis, "sa"));
}

/* A deletion is a change as others are. */
static void a_deletion_waits_again(void **state) {
    (void)state;
    act a, taken;
    mp_behind_entry *e = buried(&a, "sa", NULL);
    assert_int_equal(retried(e), MP_VERDICT_OK);
    assert_int_equal(take(&us, &taken), 1);
    assert_ptr_equal(taken.behind.entries[0].value, mp_value_absent());
    mp_behind_clear(&taken.behind);
    mp_behind_clear(&a.behind);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(it_waits_again_as_it_was),         TEST(it_never_takes_the_place_of_what_is_newer),
        TEST(versions_are_compared_as_numbers), TEST(what_does_not_fit_stays_a_letter),
        TEST(its_increments_wait_again),        TEST(a_deletion_waits_again)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
