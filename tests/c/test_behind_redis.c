/* Write-behind, the side of readers and writers: what is accepted, what is refused and why, and what is read meanwhile. */
#include "behind_ops.h"

static side us;
static redisContext *redis;

static int set_up(void **state) {
    (void)state;
    watchdog(110);
    redis = redis_open(redis_url());
    redis_do(redis, "FLUSHALL");
    side_open(&us, redis_url(), "on");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    side_close(&us);
    redisFree(redis);
    return 0;
}

static void an_epoch_comes_first(void **state) {
    (void)state;
    int64_t version;
    assert_int_equal(put(&us, "sa", "{}", NULL), MP_STALE_FENCE);
    assert_int_equal(redis_number(redis, "EXISTS mp:d:{b:0} mp:q:{b:0} mp:b:{b:0}sa"), 0);
    assert_int_equal(epoch(&us, 7), 7);
    assert_int_equal(put(&us, "sa", "{\"id\":\"a\"}", &version), MP_VERDICT_OK);
    assert_int_equal(version, (int64_t)7 << 40 | 1);
    assert_int_equal(put(&us, "sb", "{}", &version), MP_VERDICT_OK);
    assert_int_equal(version, (int64_t)7 << 40 | 2);
    /* One epoch is of one fence, and never goes back. */
    assert_int_equal(epoch(&us, 6), 7);
    assert_int_equal(epoch(&us, 7), 7);
    redis_do(redis, "HSET mp:m:{b:0} fence 01234567");
    act a;
    accept_make(&us, &a, "sa", "{}");
    assert_int_equal(accept_run(&us, &a, NULL), MP_STALE_FENCE);
    assert_int_equal(a.behind.epoch, 7); /* that of which a higher one is wanted */
    pond_value_free(a.op.value);
    assert_int_equal(epoch(&us, 7), 0);
    assert_int_equal(epoch(&us, 8), 8);
    assert_int_equal(put(&us, "sa", "{}", &version), MP_VERDICT_OK);
    assert_int_equal(version, (int64_t)8 << 40 | 1);
    /* Its numbers are used up. */
    redis_do(redis, "HSET mp:m:{b:0} seq 1099511627774");
    assert_int_equal(put(&us, "sa", "{}", NULL), MP_STALE_FENCE);
    assert_int_equal(epoch(&us, 8), 0);
    assert_int_equal(epoch(&us, 9), 9);
    assert_int_equal(put(&us, "sa", "{}", &version), MP_VERDICT_OK);
    assert_int_equal(version, (int64_t)9 << 40 | 1);
}

/* Between its question for the fence and the epoch the server has lost a part of its history: the store may have given higher ones for that. */
static void an_epoch_is_of_the_history_in_which_it_was_asked_for(void **state) {
    (void)state;
    act a, b;
    act_make(&a, MP_EPOCH, NULL, 0);
    assert_int_equal(act_run(&us, &a), MP_REFUSED);
    redis_do(redis, "DEL mp:f");
    act_make(&b, MP_EPOCH, NULL, 0);
    assert_int_equal(act_run(&us, &b), MP_REFUSED); /* it learns the new fence */
    assert_memory_not_equal(a.op.fence, b.op.fence, MP_FENCE_LEN);
    a.behind.epoch = b.behind.epoch = 7;
    assert_int_equal(act_run(&us, &a), MP_REFUSED);
    assert_int_equal(a.behind.verdict, MP_STALE_FENCE);
    assert_int_equal(redis_number(redis, "HEXISTS mp:m:{b:0} epoch"), 0);
    assert_int_equal(act_run(&us, &b), MP_DONE);
    assert_int_equal(b.behind.epoch, 7);
}

static void what_is_accepted_is_read_at_once(void **state) {
    (void)state;
    const char *text;
    int64_t version, read;
    epoch(&us, 1);
    assert_int_equal(get(&us, "sa", &text, NULL), MP_MISSED);
    assert_int_equal(put(&us, "sa", "{\"id\":\"a\"}", &version), MP_VERDICT_OK);
    assert_int_equal(get(&us, "sa", &text, &read), MP_HIT);
    assert_string_equal(text, "{\"id\":\"a\"}");
    assert_true(read == version);
    assert_int_equal(put(&us, "sa", NULL, &version), MP_VERDICT_OK); /* a delete */
    assert_int_equal(get(&us, "sa", &text, &read), MP_HIT);
    assert_string_equal(text, "absent");
    assert_true(read == version);
    assert_int_equal(redis_number(redis, "LLEN mp:q:{b:0}"), 1); /* one entry a key */
    assert_int_equal(redis_number(redis, "PTTL mp:b:{b:0}sa"), -1);
    assert_int_equal(redis_number(redis, "EXISTS mp:d:{b:0}"), 0);
}

/* A reader who could not fold, and has a document that stands nowhere, expects the version 0: so does an absence that nobody has deleted have it. */
static void an_absence_has_no_version(void **state) {
    (void)state;
    epoch(&us, 1);
    assert_int_equal(load(&us, "sa", NULL, 0), MP_STORED);
    assert_int_equal(put_expecting(&us, "sa", "{}", MP_EXPECT_VERSION, 0, NULL), MP_CHANGED);
    act a, b;
    accept_make(&us, &a, "sa", "{}");
    accept_make(&us, &b, "sb", "{}");
    a.behind.expect = MP_EXPECT_VERSION;
    mp_loop_turn(us.loop, 0);
    us.link->vt->submit(us.link, &a.op); /* both in one call */
    us.link->vt->submit(us.link, &b.op);
    assert_int_equal(act_wait(&us, &a), MP_REFUSED);
    assert_int_equal(a.behind.verdict, MP_CHANGED);
    assert_int_equal(act_wait(&us, &b), MP_STORED);
    pond_value_free(a.op.value);
    pond_value_free(b.op.value);
}

/* Until it is acked it stays, whatever is evicted; then it is cached for as long as was said when it was accepted. */
static void what_waits_stays_and_is_cached_then(void **state) {
    (void)state;
    const char *text;
    int64_t version, read;
    act a, taken;
    epoch(&us, 1);
    accept_make(&us, &a, "sa", "{\"id\":\"a\"}");
    a.op.keep_ms = LONG;
    assert_int_equal(accept_run(&us, &a, &version), MP_VERDICT_OK);
    pond_value_free(a.op.value);
    assert_false(redis_evict(redis, "sa"));
    for (int i = 0; i < 2; i++) { /* nor has a refresh anything to load, or a reader who asks how old it is */
        act_make(&a, i ? MP_GET : MP_LEASE, "sa", 1);
        a.op.refresh = a.op.soft = true;
        assert_int_equal(act_run(&us, &a), MP_HIT);
        assert_true(a.op.version == version && a.op.left == INT64_MAX && a.op.load_ms == 0);
        pond_value_free(a.op.value);
    }
    assert_int_equal(redis_number(redis, "EXISTS mp:bl:{b:0}sa"), 0);
    assert_int_equal(take(&us, &taken), 1);
    assert_int_equal(ack(&us, taken.behind.entries, 1), MP_DONE);
    mp_behind_clear(&taken.behind);
    assert_int_equal(get(&us, "sa", &text, &read), MP_HIT);
    assert_string_equal(text, "{\"id\":\"a\"}");
    assert_true(read == version);
    act_make(&a, MP_GET, "sa", 1);
    a.op.soft = true; /* the time that is left is the ttl, not what it is kept past that */
    assert_int_equal(act_run(&us, &a), MP_HIT);
    assert_true(a.op.left > LONG - 60000 && a.op.left <= LONG && a.op.load_ms == 0);
    pond_value_free(a.op.value);
    assert_true(redis_number(redis, "PTTL mp:b:{b:0}sa") > 2 * LONG - 60000);
    assert_true(redis_evict(redis, "sa"));
    /* Where absences are not cached, neither is this one, and it is found all the same until the store has it. */
    accept_make(&us, &a, "sa", NULL);
    a.op.ttl_ms = 0;
    assert_int_equal(accept_run(&us, &a, &version), MP_VERDICT_OK);
    assert_int_equal(get(&us, "sa", &text, &read), MP_HIT);
    assert_string_equal(text, "absent");
    assert_true(read == version);
    assert_int_equal(take(&us, &taken), 1);
    assert_int_equal(ack(&us, taken.behind.entries, 1), MP_DONE);
    mp_behind_clear(&taken.behind);
    assert_int_equal(redis_number(redis, "EXISTS mp:b:{b:0}sa mp:q:{b:0}"), 0);
}

static void fill_now(uint8_t token, const uint8_t *fence, const char *text, mp_reply wanted) {
    act a;
    act_make(&a, MP_FILL, "sa", token);
    memcpy(a.op.fence, fence, sizeof a.op.fence);
    a.op.value = document(text);
    assert_int_equal(act_run(&us, &a), wanted);
    pond_value_free(a.op.value);
}

/* It began before the change: its fill is refused while that waits, and also when the store has it, for it may have read what was there before. */
static void a_load_under_way_is_not_stored(void **state) {
    (void)state;
    const char *text;
    epoch(&us, 1);
    for (int acked = 0; acked < 2; acked++) {
        act a, taken;
        redis_do(redis, "DEL mp:b:{b:0}sa mp:q:{b:0}");
        act_make(&a, MP_LEASE, "sa", 1);
        assert_int_equal(act_run(&us, &a), MP_LEASED);
        uint8_t fence[MP_FENCE_LEN];
        memcpy(fence, a.op.fence, sizeof fence);
        assert_int_equal(lease(&us, "sa", 2, NULL, NULL), MP_BUSY);
        put(&us, "sa", "{\"new\":1}", NULL);
        if (acked) {
            assert_int_equal(take(&us, &taken), 1);
            assert_int_equal(ack(&us, taken.behind.entries, 1), MP_DONE);
            mp_behind_clear(&taken.behind);
            assert_true(redis_evict(redis, "sa"));
        }
        fill_now(1, fence, "{\"old\":1}", MP_REFUSED);
        if (acked) {
            assert_int_equal(get(&us, "sa", NULL, NULL), MP_MISSED);
            assert_int_equal(lease(&us, "sa", 3, NULL, NULL), MP_LEASED);
            fill_now(3, fence, "{\"new\":1}", MP_STORED);
        }
        assert_int_equal(get(&us, "sa", &text, NULL), MP_HIT);
        assert_string_equal(text, "{\"new\":1}");
    }
}

/* Increments that come to nothing, for the record that they were to be added to counts them, leave it: it is the value again. */
static void what_is_dropped_leaves_its_base(void **state) {
    (void)state;
    act a, b;
    const char *text;
    int64_t version, read;
    epoch(&us, 1);
    put(&us, "sa", "{\"n\":1}", &version);
    increment(&us, "sa", "n", 1);
    act_make(&a, MP_SUMS, NULL, 0);
    a.entry = (mp_behind_entry){.key = "sa", .key_len = 2};
    a.behind.entries = &a.entry;
    a.behind.count = 1;
    assert_int_equal(act_run(&us, &a), MP_DONE);
    act_make(&b, MP_FOLD, "sa", 0);
    b.behind.sums = a.behind.sums;
    memcpy(b.op.fence, a.op.fence, sizeof b.op.fence);
    assert_int_equal(act_run(&us, &b), MP_DONE);
    mp_sums_clear(a.behind.sums);
    free(a.behind.sums);
    assert_int_equal(redis_number(redis, "EXISTS mp:d:{b:0} mp:i:{b:0}sa"), 0);
    assert_true(redis_record(redis, "sa") && redis_queued(redis, "sa"));
    assert_int_equal(get(&us, "sa", &text, &read), MP_HIT);
    assert_string_equal(text, "{\"n\":1}");
    assert_true(read == version);
}

static mp_reply invalidated(const char *key) {
    act a;
    act_make(&a, MP_END, key, 77);
    return act_run(&us, &a);
}

static void what_waits_is_not_invalidated(void **state) {
    (void)state;
    act a;
    const char *text;
    epoch(&us, 1);
    put(&us, "sa", "{\"n\":1}", NULL);
    assert_int_equal(invalidated("sa"), MP_DONE);
    assert_int_equal(get(&us, "sa", &text, NULL), MP_HIT);
    assert_string_equal(text, "{\"n\":1}");
    increment(&us, "sa", "n", 1);
    assert_int_equal(invalidated("sa"), MP_DONE);
    assert_string_equal(redis_do(redis, "HGET mp:i:{b:0}sa n")->str, "1");
    assert_true(redis_record(redis, "sa"));
    put(&us, "sa", "{\"n\":2}", NULL);
    assert_int_equal(take(&us, &a), 1);
    assert_int_equal(ack(&us, a.behind.entries, 1), MP_DONE);
    mp_behind_clear(&a.behind);
    assert_int_equal(get(&us, "sa", NULL, NULL), MP_HIT);
    assert_int_equal(invalidated("sa"), MP_DONE);
    assert_int_equal(get(&us, "sa", NULL, NULL), MP_MISSED);
    assert_int_equal(lease(&us, "sa", 1, NULL, NULL), MP_LEASED);
    assert_int_equal(invalidated("sa"), MP_DONE); /* a load that is under way was too early */
    assert_int_equal(redis_number(redis, "EXISTS mp:bl:{b:0}sa"), 0);
}

static void a_load_brings_its_version(void **state) {
    (void)state;
    int64_t version;
    epoch(&us, 1);
    assert_int_equal(load(&us, "sa", "{\"id\":\"a\"}", 4711), MP_STORED);
    assert_int_equal(get(&us, "sa", NULL, &version), MP_HIT);
    assert_int_equal(version, 4711);
    assert_int_equal(lease(&us, "sa", 1, NULL, &version), MP_HIT);
    assert_int_equal(version, 4711);
    /* Increments wait: they are not to be passed by. */
    redis_do(redis, "DEL mp:b:{b:0}sa");
    redis_do(redis, "HSET mp:i:{b:0}sa /n 1");
    assert_int_equal(lease(&us, "sa", 1, NULL, NULL), MP_UNFOLDED);
}

static void an_update_names_the_version_that_it_read(void **state) {
    (void)state;
    int64_t first, second;
    epoch(&us, 1);
    assert_int_equal(put_expecting(&us, "sa", "{}", MP_EXPECT_VERSION, 5, NULL), MP_CHANGED); /* nobody knows */
    assert_int_equal(load(&us, "sa", "{}", 0), MP_STORED); /* a document that this library has not written */
    assert_int_equal(put_expecting(&us, "sa", "{}", MP_EXPECT_VERSION, 5, NULL), MP_CHANGED);
    assert_int_equal(put_expecting(&us, "sa", "{}", MP_EXPECT_VERSION, 0, &first), MP_VERDICT_OK);
    assert_int_equal(put_expecting(&us, "sa", "{}", MP_EXPECT_VERSION, 0, NULL), MP_CHANGED);
    assert_int_equal(put_expecting(&us, "sa", "{}", MP_EXPECT_VERSION, first, &second), MP_VERDICT_OK);
    assert_true(second > first);
    increment(&us, "sa", "/n", 1);
    assert_int_equal(redis_number(redis, "EXISTS mp:b:{b:0}sa"), 0); /* its record waits elsewhere */
    assert_int_equal(put_expecting(&us, "sa", "{}", MP_EXPECT_VERSION, second, NULL), MP_CHANGED);
    assert_int_equal(put(&us, "sa", "{}", NULL), MP_VERDICT_OK); /* a document as a whole takes their place */
    assert_int_equal(redis_number(redis, "EXISTS mp:i:{b:0}sa mp:d:{b:0}"), 0);
    assert_int_equal(redis_number(redis, "LLEN mp:q:{b:0}"), 1);
}

static void a_create_finds_what_is_there(void **state) {
    (void)state;
    int64_t version;
    epoch(&us, 1);
    assert_int_equal(put_expecting(&us, "sa", "{}", MP_EXPECT_ABSENT, 0, NULL), MP_CHANGED); /* nobody knows */
    assert_int_equal(load(&us, "sa", "{}", 3), MP_STORED);
    assert_int_equal(put_expecting(&us, "sa", "{}", MP_EXPECT_ABSENT, 0, NULL), MP_EXISTS);
    assert_int_equal(load(&us, "sb", NULL, 3), MP_STORED);
    assert_int_equal(put_expecting(&us, "sb", "{}", MP_EXPECT_ABSENT, 0, NULL), MP_VERDICT_OK);
    assert_int_equal(put_expecting(&us, "sb", "{}", MP_EXPECT_ABSENT, 0, NULL), MP_EXISTS);
    assert_int_equal(put(&us, "sb", NULL, NULL), MP_VERDICT_OK);
    assert_int_equal(put_expecting(&us, "sb", "{}", MP_EXPECT_ABSENT, 0, &version), MP_VERDICT_OK);
    assert_int_equal(redis_number(redis, "LLEN mp:q:{b:0}"), 1); /* all but sb's were refused */
}

static void a_full_shard_takes_no_new_key(void **state) {
    (void)state;
    epoch(&us, 1);
    act a;
    for (int i = 0; i < 3; i++) {
        accept_make(&us, &a, i == 0 ? "sa" : i == 1 ? "sb" : "sc", "{}");
        a.behind.most = 2;
        assert_int_equal(accept_run(&us, &a, NULL), i < 2 ? MP_VERDICT_OK : MP_FULL);
        pond_value_free(a.op.value);
    }
    accept_make(&us, &a, "sa", "{\"n\":2}"); /* what waits already may be replaced */
    a.behind.most = 2;
    assert_int_equal(accept_run(&us, &a, NULL), MP_VERDICT_OK);
    pond_value_free(a.op.value);
    assert_int_equal(redis_number(redis, "EXISTS mp:b:{b:0}sc"), 0);
}

/* They are forgotten by the day. */
static void sessions_are_forgotten(void **state) {
    (void)state;
    act a;
    long long today = mp_clock_wall_ms() / 86400000;
    epoch(&us, 1);
    put(&us, "sa", "{}", NULL);
    put(&us, "sb", "{}", NULL);
    assert_int_equal(redis_number(redis, "HLEN mp:o:{b:0}:%lld", today), 1); /* no more than were under way at once */
    redis_do(redis, "SET mp:o:{b:0}:%lld x", today - 9);
    redis_do(redis, "SET mp:o:{b:0}:%lld x", today + 1);
    act_make(&a, MP_FORGET, NULL, 0);
    a.behind.day = today + 1;
    assert_int_equal(act_run(&us, &a), MP_DONE);
    assert_int_equal(redis_number(redis, "EXISTS mp:o:{b:0}:%lld mp:o:{b:0}:%lld", today, today - 9), 2);
    a.behind.day = today + 2;
    assert_int_equal(act_run(&us, &a), MP_DONE);
    assert_int_equal(redis_number(redis, "EXISTS mp:o:{b:0}:%lld", today), 0);
    a.behind.day = today;
    assert_int_equal(act_run(&us, &a), MP_DONE);
    assert_int_equal(redis_number(redis, "EXISTS mp:o:{b:0}:%lld mp:o:{b:0}:%lld", today - 9, today + 1), 1);
}

static void what_waits_of_another_history_is_compared(void **state) {
    (void)state;
    const char *text;
    int64_t version, read;
    epoch(&us, 1);
    put(&us, "sa", "{\"id\":\"a\"}", &version);
    put(&us, "sb", NULL, NULL);
    redis_do(redis, "DEL mp:f"); /* as if the server had come back without its last writes */
    rest_ms(1100);
    assert_int_equal(get(&us, "sa", NULL, NULL), MP_MISSED);
    assert_int_equal(lease(&us, "sa", 1, &text, &read), MP_DIRTY);
    assert_string_equal(text, "{\"id\":\"a\"}");
    assert_true(read == version);
    assert_int_equal(redis_number(redis, "EXISTS mp:bl:{b:0}sa"), 0); /* nobody loads */
    assert_int_equal(lease(&us, "sb", 1, &text, NULL), MP_DIRTY);
    assert_string_equal(text, "absent");
    assert_int_equal(put(&us, "sa", "{\"id\":\"b\"}", NULL), MP_STALE_FENCE);
    assert_int_equal(epoch(&us, 1), 0);
    assert_int_equal(epoch(&us, 2), 2);
    assert_int_equal(put_expecting(&us, "sa", "{}", MP_EXPECT_VERSION, version, NULL), MP_CHANGED);
    assert_int_equal(put(&us, "sa", "{\"id\":\"b\"}", &read), MP_VERDICT_OK);
    assert_true(read > version);
    assert_int_equal(get(&us, "sa", &text, NULL), MP_HIT);
    assert_string_equal(text, "{\"id\":\"b\"}");
    act a;
    assert_int_equal(take(&us, &a), 2);
    assert_false(a.behind.entries[0].old_fence);
    assert_true(a.behind.entries[1].old_fence);
    assert_int_equal(a.behind.epoch, 2);
    mp_behind_clear(&a.behind);
}

static void a_damaged_record_is_nobodys_value(void **state) {
    (void)state;
    epoch(&us, 1);
    put(&us, "sa", "{\"id\":\"a\"}", NULL);
    redis_do(redis, "SETRANGE mp:b:{b:0}sa 48 x");
    act a;
    act_make(&a, MP_LEASE, "sa", 1);
    assert_int_equal(act_run(&us, &a), MP_FAILED);
    assert_int_equal(pond_error_code(a.op.error), POND_EPROTOCOL);
    assert_non_null(strstr(pond_error_message(a.op.error), "the key \"sa\""));
    pond_error_free(a.op.error);
}

static void inspect_says_what_waits(void **state) {
    (void)state;
    act a, taken;
    epoch(&us, 1);
    put(&us, "sa", "{\"id\":\"a\"}", NULL);
    assert_int_equal(take(&us, &taken), 1);
    for (int i = 0; i < 3; i++) {
        if (i == 1) ack(&us, taken.behind.entries, 1);
        if (i == 2) increment(&us, "sa", "/n", 1);
        act_make(&a, MP_INSPECT, "sa", 0);
        assert_int_equal(act_run(&us, &a), MP_HIT);
        const char *text = pond_value_data(a.op.value, NULL);
        assert_non_null(strstr(text, i == 1 ? "\"dirty\":false}" : "\"dirty\":true}"));
        assert_non_null(strstr(text, i == 2 ? "\"state\":\"miss\"" : "\"state\":\"value\""));
        assert_non_null(strstr(text, "\"writers\":0"));
        if (i < 2) assert_non_null(strstr(text, "\"load_ms\":0"));
        pond_value_free(a.op.value);
    }
    mp_behind_clear(&taken.behind);
}

static void the_servermust_be_fit(void **state) {
    (void)state;
    act a;
    act_make(&a, MP_BEHIND_OPEN, NULL, 0);
    redis_do(redis, "CONFIG SET maxmemory-policy allkeys-lru");
    assert_int_equal(act_run(&us, &a), MP_FAILED);
    assert_int_equal(pond_error_code(a.op.error), POND_EOPTION);
    assert_non_null(strstr(pond_error_message(a.op.error), "maxmemory-policy is allkeys-lru"));
    pond_error_free(a.op.error);
    assert_int_equal(redis_number(redis, "EXISTS mp:m:{b:0}"), 0);
    redis_do(redis, "CONFIG SET maxmemory-policy volatile-lru");
    assert_int_equal(act_run(&us, &a), MP_DONE);
    assert_int_equal(a.op.ms, 0);
    redis_do(redis, "CONFIG SET maxmemory-policy noeviction");
    redis_do(redis, "CONFIG SET appendonly yes");
    assert_int_equal(act_run(&us, &a), MP_DONE);
    assert_int_equal(a.op.ms, 1);
    redis_do(redis, "CONFIG SET appendonly no");
    epoch(&us, 1); /* keeps the number of shards */
    redis_do(redis, "FLUSHDB");
    mp_key_make_shard(&a.op.key, a.name, "b", 1, 8, 0);
    assert_int_equal(act_run(&us, &a), MP_DONE);
    epoch(&us, 1);
    mp_key_make_shard(&a.op.key, a.name, "b", 1, 4, 0);
    assert_int_equal(act_run(&us, &a), MP_FAILED);
    assert_int_equal(pond_error_code(a.op.error), POND_EOPTION);
    assert_non_null(strstr(pond_error_message(a.op.error), "b has 8 shards in this cache, and this version uses 4"));
    pond_error_free(a.op.error);
    side off;
    side_open(&off, redis_url(), "off");
    mp_key_make_shard(&a.op.key, a.name, "b", 1, 8, 0);
    assert_int_equal(act_run(&off, &a), MP_FAILED);
    assert_non_null(strstr(pond_error_message(a.op.error), "write=behind needs fence=on"));
    pond_error_free(a.op.error);
    side_close(&off);
}

static void memory_has_none_of_it(void **state) {
    (void)state;
    act a;
    mp_options options;
    mp_cache *cache;
    assert_true(mp_options_init(&options));
    assert_int_equal(mp_memory_open(&cache, &options, NULL), POND_OK);
    mp_options_free(&options);
    mp_link *link = cache->vt->link_open(cache, us.loop);
    for (mp_op_kind kind = MP_ACCEPT; kind <= MP_BEHIND_OPEN; kind++) {
        act_make(&a, kind, NULL, 0);
        link->vt->submit(link, &a.op);
        assert_true(a.ended);
        assert_int_equal(a.op.reply, MP_FAILED);
        assert_int_equal(pond_error_code(a.op.error), POND_EOPTION);
        pond_error_free(a.op.error);
    }
    link->vt->link_close(link);
    cache->vt->close(cache);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(an_epoch_comes_first),
        TEST(an_epoch_is_of_the_history_in_which_it_was_asked_for),
        TEST(what_is_accepted_is_read_at_once),
        TEST(an_absence_has_no_version),
        TEST(what_waits_stays_and_is_cached_then),
        TEST(a_load_under_way_is_not_stored),
        TEST(what_is_dropped_leaves_its_base),
        TEST(what_waits_is_not_invalidated),
        TEST(a_load_brings_its_version),
        TEST(an_update_names_the_version_that_it_read),
        TEST(a_create_finds_what_is_there),
        TEST(a_full_shard_takes_no_new_key),
        TEST(sessions_are_forgotten),
        TEST(what_waits_of_another_history_is_compared),
        TEST(a_damaged_record_is_nobodys_value),
        TEST(inspect_says_what_waits),
        TEST(the_servermust_be_fit),
        TEST(memory_has_none_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
