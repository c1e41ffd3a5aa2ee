/* Write-behind, the side of the worker: whose a shard is, what waits in it, acks, dead letters. */
#include "behind_side.h"

static mp_reply own(uint8_t token, int64_t ms, int64_t *left) {
    act a;
    act_make(&a, MP_OWN, NULL, token);
    a.op.lease_ms = ms;
    mp_reply reply = act_run(&us, &a);
    if (left) *left = a.op.ms;
    return reply;
}

static void one_at_a_time_tries_to_be_the_worker(void **state) {
    (void)state;
    int64_t left;
    assert_int_equal(own(1, LONG, NULL), MP_STORED);
    assert_int_equal(own(2, 50, &left), MP_REFUSED);
    assert_true(left > LONG - 60000 && left <= LONG);
    assert_int_equal(own(2, 0, NULL), MP_REFUSED);
    assert_int_equal(own(1, 100, NULL), MP_STORED); /* renewed, and shorter */
    assert_true(redis_number(redis, "PTTL mp:t:{b:0}") <= 100);
    assert_int_equal(own(1, 0, NULL), MP_DONE);
    assert_int_equal(own(2, 30, NULL), MP_STORED);
    rest_ms(40);
    assert_int_equal(own(1, LONG, NULL), MP_STORED); /* a dead one is replaced */
}

static void what_waits_comes_in_its_order(void **state) {
    (void)state;
    act a;
    int64_t version[3];
    assert_int_equal(take(&us, &a), 0);
    assert_int_equal(a.behind.backlog, 0);
    assert_int_equal(a.behind.epoch, 5);
    put(&us, "sa", "{\"id\":\"a\"}", NULL);
    put(&us, "sb", NULL, &version[1]);
    put(&us, "sc", "{\"id\":\"c\"}", &version[2]);
    put(&us, "sa", "{\"id\":\"a2\"}", &version[0]); /* the newest of it, in its old place */
    assert_int_equal(take(&us, &a), 3);
    assert_int_equal(a.behind.backlog, 3);
    static const char *const keys[] = {"sa", "sb", "sc"};
    for (size_t i = 0; i < 3; i++) {
        const mp_behind_entry *e = &a.behind.entries[i];
        assert_string_equal(e->key, keys[i]);
        assert_int_equal(e->key_len, 2);
        assert_true(e->version == version[i]);
        assert_false(e->old_fence || e->damaged);
    }
    assert_string_equal(pond_value_data(a.behind.entries[0].value, NULL), "{\"id\":\"a2\"}");
    assert_int_equal(pond_value_state(a.behind.entries[1].value), POND_ABSENT);
    /* From behind one of them on, as many as were asked for. */
    act b;
    act_make(&b, MP_TAKE, NULL, 0);
    b.behind.most = 1;
    memcpy(b.behind.after, a.behind.entries[0].id, sizeof b.behind.after);
    assert_int_equal(act_run(&us, &b), MP_DONE);
    assert_int_equal(b.behind.count, 1);
    assert_int_equal(b.behind.backlog, 3);
    assert_string_equal(b.behind.entries[0].key, "sb");
    mp_behind_clear(&b.behind);
    mp_behind_clear(&a.behind);
}

static void a_batch_is_bounded_by_bytes(void **state) {
    (void)state;
    char *text = malloc(50001);
    memset(text, 'x', 50000);
    memcpy(text, "\"", 1);
    memcpy(text + 49999, "\"", 2);
    for (char i = 'a'; i < 'g'; i++) put(&us, (char[]){'s', i, 0}, text, NULL);
    act a;
    act_make(&a, MP_TAKE, NULL, 0);
    a.behind.most = 100;
    a.behind.bytes_most = 160000; /* three, and their heads */
    assert_int_equal(act_run(&us, &a), MP_DONE);
    assert_int_equal(a.behind.count, 3);
    mp_behind_clear(&a.behind);
    a.behind.bytes_most = 10; /* one comes all the same, but for what is too large of it */
    assert_int_equal(act_run(&us, &a), MP_DONE);
    assert_int_equal(a.behind.count, 1);
    assert_string_equal(a.behind.entries[0].key, "sa");
    assert_true(a.behind.entries[0].large);
    assert_null(a.behind.entries[0].value);
    mp_behind_clear(&a.behind);
    a.behind.bytes_most = 0;
    assert_int_equal(act_run(&us, &a), MP_DONE);
    assert_int_equal(a.behind.count, 6);
    mp_behind_clear(&a.behind);
    free(text);
}

static void many_entries_fit_in_an_answer(void **state) {
    (void)state;
    char key[16];
    act a;
    for (int i = 0; i < MP_BEHIND_MOST + 5; i++) {
        snprintf(key, sizeof key, "s%d", i);
        accept_make(&us, &a, key, "{}");
        a.behind.most = 2 * MP_BEHIND_MOST;
        assert_int_equal(accept_run(&us, &a, NULL), MP_VERDICT_OK);
        pond_value_free(a.op.value);
    }
    act_make(&a, MP_TAKE, NULL, 0);
    a.behind.most = 1000000;
    assert_int_equal(act_run(&us, &a), MP_DONE);
    assert_int_equal(a.behind.count, MP_BEHIND_MOST);
    assert_int_equal(a.behind.backlog, MP_BEHIND_MOST + 5);
    assert_int_equal(ack(&us, a.behind.entries, a.behind.count), MP_DONE);
    for (size_t i = 0; i < a.behind.count; i++) assert_int_equal(a.behind.entries[i].acked, 1);
    mp_behind_clear(&a.behind);
    assert_int_equal(take(&us, &a), 5);
    assert_string_equal(a.behind.entries[0].key, "s1000");
    mp_behind_clear(&a.behind);
}

static void an_ack_is_of_a_version(void **state) {
    (void)state;
    act a, b;
    put(&us, "sa", "{\"id\":\"a\"}", NULL);
    put(&us, "sb", "{\"id\":\"b\"}", NULL);
    put(&us, "sc", "{\"n\":0}", NULL);
    assert_int_equal(take(&us, &a), 3);
    put(&us, "sb", "{\"id\":\"newer\"}", NULL); /* meanwhile */
    increment(&us, "sc", "n", 1);
    for (int i = 0; i < 2; i++) { /* repeated, it does no harm */
        assert_int_equal(ack(&us, a.behind.entries, 3), MP_DONE);
        assert_int_equal(a.behind.entries[0].acked, 1);
        assert_int_equal(a.behind.entries[1].acked, 0);
        assert_int_equal(a.behind.entries[2].acked, 0);
    }
    assert_int_equal(get(&us, "sa", NULL, NULL), MP_HIT); /* it is cached as before */
    assert_int_equal(take(&us, &b), 2);                   /* at the queue's end, and once, though it was acked twice */
    assert_string_not_equal(b.behind.entries[0].id, a.behind.entries[1].id);
    assert_string_equal(b.behind.entries[1].id, b.behind.newest);
    assert_string_equal(pond_value_data(b.behind.entries[0].value, NULL), "{\"id\":\"newer\"}");
    assert_string_equal(b.behind.entries[1].key, "sc");
    assert_int_equal(ack(&us, b.behind.entries, 2), MP_DONE);
    assert_int_equal(b.behind.entries[0].acked, 1);
    assert_int_equal(b.behind.entries[1].acked, 0); /* until it is folded */
    assert_true(redis_queued(redis, "sc"));
    put(&us, "sc", "{}", NULL); /* drops them */
    mp_behind_clear(&b.behind);
    assert_int_equal(take(&us, &b), 1);
    assert_int_equal(ack(&us, b.behind.entries, 1), MP_DONE);
    assert_int_equal(b.behind.entries[0].acked, 1);
    mp_behind_clear(&a.behind);
    mp_behind_clear(&b.behind);
    assert_int_equal(redis_number(redis, "EXISTS mp:d:{b:0} mp:q:{b:0}"), 0);
    assert_int_equal(put(&us, "sa", "{}", NULL), MP_VERDICT_OK); /* has an entry again */
    assert_int_equal(take(&us, &a), 1);
    mp_behind_clear(&a.behind);
}

/* The server has lost what was taken, and the store got it afterwards: what was loaded in between is older. */
static void an_ack_of_what_was_lost_drops_what_was_loaded_since(void **state) {
    (void)state;
    act a;
    put(&us, "sa", "{\"id\":\"a\"}", NULL);
    put(&us, "sb", "{\"id\":\"b\"}", NULL);
    assert_int_equal(take(&us, &a), 2);
    redis_lose(redis);
    assert_int_equal(load(&us, "sa", NULL, 0), MP_STORED);
    assert_int_equal(lease(&us, "sb", 7, NULL, NULL), MP_LEASED);
    assert_int_equal(ack(&us, a.behind.entries, 2), MP_DONE);
    assert_int_equal(redis_number(redis, "EXISTS mp:b:{b:0}sa mp:bl:{b:0}sb"), 0);
    mp_behind_clear(&a.behind);
}

/* An entry whose record is gone: flushed by who died before the entry went. A new record keeps it. */
static void an_entry_without_a_record_is_acked(void **state) {
    (void)state;
    act a;
    put(&us, "sa", "{}", NULL);
    put(&us, "sb", "{}", NULL);
    redis_do(redis, "DEL mp:b:{b:0}sa mp:b:{b:0}sb");
    assert_int_equal(take(&us, &a), 2);
    for (size_t i = 0; i < 2; i++) {
        assert_null(a.behind.entries[i].value);
        assert_false(a.behind.entries[i].damaged);
        assert_int_equal(a.behind.entries[i].version, 0);
    }
    put(&us, "sb", "{}", NULL); /* so it stands in the queue twice */
    assert_int_equal(redis_number(redis, "LLEN mp:q:{b:0}"), 3);
    assert_int_equal(ack(&us, a.behind.entries, 2), MP_DONE);
    assert_int_equal(a.behind.entries[0].acked, 1);
    assert_int_equal(a.behind.entries[1].acked, 0);
    mp_behind_clear(&a.behind);
    assert_int_equal(take(&us, &a), 1); /* and comes once */
    assert_int_equal(ack(&us, a.behind.entries, 1), MP_DONE);
    assert_int_equal(a.behind.entries[0].acked, 1);
    mp_behind_clear(&a.behind);
    assert_int_equal(take(&us, &a), 1);
    assert_null(a.behind.entries[0].value);
    assert_int_equal(ack(&us, a.behind.entries, 1), MP_DONE);
    mp_behind_clear(&a.behind);
    assert_int_equal(redis_number(redis, "EXISTS mp:q:{b:0}"), 0);
}

/* Some stay, for the store would not have them now: they go to the end, and others before them. Of a worker that was late nothing goes. */
static void what_is_not_acked_goes_to_the_end(void **state) {
    (void)state;
    act a, b, late;
    static const char *const keys[] = {"sa", "sb", "sc", "sd"};
    for (size_t i = 0; i < 4; i++) put(&us, keys[i], "{}", NULL);
    assert_int_equal(take(&us, &a), 4);
    assert_int_equal(take(&us, &late), 4);
    assert_int_equal(ack(&us, a.behind.entries + 1, 2), MP_DONE); /* sb and sc */
    assert_int_equal(take(&us, &b), 2);
    assert_string_equal(b.behind.entries[0].key, "sd");
    assert_string_equal(b.behind.entries[0].id, a.behind.entries[3].id); /* it did not move */
    assert_string_equal(b.behind.entries[1].key, "sa");
    mp_behind_clear(&b.behind);
    put(&us, "sb", "{\"n\":2}", NULL);
    assert_int_equal(ack(&us, late.behind.entries, 3), MP_DONE);
    assert_true(late.behind.entries[0].acked && !late.behind.entries[1].acked && late.behind.entries[2].acked);
    assert_int_equal(take(&us, &b), 3);
    static const char *const left[] = {"sd", "sa", "sb"};
    for (size_t i = 0; i < 3; i++) assert_string_equal(b.behind.entries[i].key, left[i]);
    assert_null(b.behind.entries[1].value); /* its record was acked */
    assert_non_null(b.behind.entries[2].value);
    assert_int_equal(ack(&us, b.behind.entries, 3), MP_DONE);
    mp_behind_clear(&b.behind);
    assert_int_equal(redis_number(redis, "EXISTS mp:q:{b:0}"), 0);
    /* A server that lost the last entries, and a worker that names places which are not there. */
    put(&us, "se", "{}", NULL);
    redis_do(redis, "HSET mp:m:{b:0} head 0");
    assert_int_equal(ack(&us, a.behind.entries + 3, 1), MP_DONE);
    assert_true(redis_queued(redis, "se"));
    assert_int_equal(take(&us, &b), 1);
    assert_non_null(b.behind.entries[0].value);
    mp_behind_clear(&b.behind);
    mp_behind_clear(&a.behind);
    mp_behind_clear(&late.behind);
}

static mp_reply bury(const mp_behind_entry *e, const char *why) {
    act a;
    act_make(&a, MP_DEAD, NULL, 0);
    a.entry = *e;
    a.behind.entries = &a.entry;
    a.behind.count = 1;
    a.behind.error = why;
    a.behind.error_len = strlen(why);
    return act_run(&us, &a);
}

/* To be cleared. */
static size_t dead(act *a, const char *after, int64_t most, int64_t bytes) {
    act_make(a, MP_DEAD_LIST, NULL, 0);
    a->behind.most = most;
    a->behind.bytes_most = bytes;
    snprintf(a->behind.after, sizeof a->behind.after, "%s", after);
    assert_int_equal(act_run(&us, a), MP_DONE);
    return a->behind.count;
}

/* The keys of the list, one behind the other, and "+" if there are more. */
static const char *dead_keys(const char *after, int64_t most, int64_t bytes) {
    static char text[64];
    act a;
    text[0] = 0;
    dead(&a, after, most, bytes);
    for (size_t i = 0; i < a.behind.count; i++) strncat(text, a.behind.entries[i].key, 9);
    if (a.behind.more) strcat(text, "+");
    mp_behind_clear(&a.behind);
    return text;
}

static mp_reply drop(const char *id) {
    act a;
    act_make(&a, MP_DEAD_DROP, NULL, 0);
    snprintf(a.entry.id, sizeof a.entry.id, "%s", id);
    a.behind.entries = &a.entry;
    a.behind.count = 1;
    return act_run(&us, &a);
}

static void what_the_store_refuses_is_kept_aside(void **state) {
    (void)state;
    act a;
    int64_t version;
    char id[MP_BEHIND_ID_MAX];
    assert_string_equal(dead_keys("", 10, 0), "");
    put(&us, "sa", "{\"id\":\"a\"}", &version);
    put(&us, "sb", NULL, NULL);
    put(&us, "s\"", "{}", NULL);
    assert_int_equal(take(&us, &a), 3);
    put(&us, "s\"", "{\"n\":2}", NULL); /* a newer one came: that may be good */
    redis_do(redis, "SET mp:bl:{b:0}sa x");
    for (int i = 0; i < 2; i++) assert_int_equal(bury(&a.behind.entries[0], "a \"unique\" index"), MP_STORED);
    assert_int_equal(bury(&a.behind.entries[1], "why not"), MP_STORED);
    assert_int_equal(bury(&a.behind.entries[2], "x"), MP_REFUSED);
    mp_behind_clear(&a.behind);
    assert_int_equal(redis_number(redis, "EXISTS mp:b:{b:0}sa mp:bl:{b:0}sa mp:b:{b:0}sb"),
                     0); /* readers see the store */
    assert_true(redis_record(redis, "s\""));
    assert_false(redis_record(redis, "sa") || redis_record(redis, "sb"));
    assert_int_equal(take(&us, &a), 3);
    assert_true(!a.behind.entries[0].value && !a.behind.entries[1].value); /* they only wait for an ack */
    mp_behind_clear(&a.behind);

    assert_int_equal(dead(&a, "", 10, 0), 2); /* though one was buried twice */
    assert_int_equal(a.behind.backlog, 2);
    assert_false(a.behind.more);
    const mp_behind_entry *e = a.behind.entries;
    assert_string_equal(e[0].key, "sa");
    assert_string_equal(e[0].why, "a \"unique\" index");
    assert_string_equal(pond_value_data(e[0].value, NULL), "{\"id\":\"a\"}");
    assert_true(e[0].version == version);
    assert_string_equal(e[1].key, "sb");
    assert_string_equal(e[1].why, "why not");
    assert_ptr_equal(e[1].value, mp_value_absent());
    memcpy(id, e[0].id, sizeof id);
    mp_behind_clear(&a.behind);
    assert_string_equal(dead_keys("", 2, 0), "sasb");
    assert_string_equal(dead_keys("", 1, 0), "sa+");
    assert_string_equal(dead_keys("", 10, 1), "sa+");
    assert_string_equal(dead_keys(id, 10, 0), "sb");
    assert_int_equal(drop(id), MP_DONE);
    assert_int_equal(drop(id), MP_REFUSED);
    assert_int_equal(redis_number(redis, "XLEN mp:x:{b:0}"), 1);
}

static void what_is_damaged_can_be_put_aside(void **state) {
    (void)state;
    act a;
    put(&us, "sa", "{}", NULL);
    put(&us, "sb", "{}", NULL);
    redis_do(redis, "SET mp:b:{b:0}sa MPx");
    increment(&us, "sb", "n", 1); /* goes with it */
    redis_do(redis, "HSET mp:d:{b:0} sb abcdefghABCDEFGHnot-an-envelope");
    assert_int_equal(take(&us, &a), 2);
    for (size_t i = 0; i < 2; i++) {
        assert_true(a.behind.entries[i].damaged);
        assert_null(a.behind.entries[i].value);
    }
    assert_int_equal(ack(&us, a.behind.entries, 1), MP_DONE);
    assert_int_equal(a.behind.entries[0].acked, 0); /* it was not flushed */
    mp_behind_clear(&a.behind);
    assert_int_equal(take(&us, &a), 2);
    for (size_t i = 0; i < 2; i++) assert_int_equal(bury(&a.behind.entries[i], "damaged"), MP_STORED);
    mp_behind_clear(&a.behind);
    assert_int_equal(take(&us, &a), 2); /* they only wait for an ack */
    assert_false(a.behind.entries[0].damaged || a.behind.entries[1].damaged);
    mp_behind_clear(&a.behind);
    assert_int_equal(redis_number(redis, "EXISTS mp:i:{b:0}sb mp:d:{b:0} mp:b:{b:0}sa"), 0);
    assert_int_equal(dead(&a, "", 10, 0), 2);
    assert_true(a.behind.entries[0].damaged && a.behind.entries[1].damaged);
    mp_behind_clear(&a.behind);
    /* A version that came since is safe. */
    put(&us, "sa", "{}", NULL);
    redis_do(redis, "SET mp:b:{b:0}sa abcdefghABCDEFGHnot-an-envelope");
    assert_int_equal(take(&us, &a), 2);
    assert_true(a.behind.entries[1].damaged);
    put(&us, "sa", "{}", NULL);
    assert_int_equal(bury(&a.behind.entries[1], "damaged"), MP_REFUSED);
    mp_behind_clear(&a.behind);
}

/* What no client makes stands in the queue: it is told as what it is, and can be put aside. */
static void a_strangers_entry_does_not_stop_the_shard(void **state) {
    (void)state;
    act a;
    char key[MP_KEY_MAX + 2];
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = 0;
    redis_do(redis, "RPUSH mp:q:{b:0} %s", key);
    redis_do(redis, "HSET mp:d:{b:0} %s xxxxxxxxxxxxxxxxxxxx", key);
    put(&us, "sa", "{}", NULL);
    assert_int_equal(take(&us, &a), 2);
    assert_true(a.behind.entries[0].damaged);
    assert_int_equal(bury(&a.behind.entries[0], "damaged"), MP_STORED);
    mp_behind_clear(&a.behind);
    assert_int_equal(take(&us, &a), 2);
    assert_false(a.behind.entries[0].damaged || a.behind.entries[0].value);
    mp_behind_clear(&a.behind);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(one_at_a_time_tries_to_be_the_worker),
        TEST(what_waits_comes_in_its_order),
        TEST(a_batch_is_bounded_by_bytes),
        TEST(many_entries_fit_in_an_answer),
        TEST(an_ack_is_of_a_version),
        TEST(an_ack_of_what_was_lost_drops_what_was_loaded_since),
        TEST(an_entry_without_a_record_is_acked),
        TEST(what_is_not_acked_goes_to_the_end),
        TEST(what_the_store_refuses_is_kept_aside),
        TEST(what_is_damaged_can_be_put_aside),
        TEST(a_strangers_entry_does_not_stop_the_shard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
