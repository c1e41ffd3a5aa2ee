/* cache/memory, the side of writers: intents, tags, leases to refresh. Times are given, so every edge is exact. */
#include "memory_ops.h"

#include "cache/memory_private.h"

static mp_cache *cache;
static key keys[3];
#define A (&keys[0].key)
#define T (&keys[1].key)
#define U (&keys[2].key)

static int set_up(void **state) {
    (void)state;
    cache = mp_memory_new(16 << 20);
    key_set(&keys[0], "a");
    key_set(&keys[1], "t");
    key_set(&keys[2], "u");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    mp_memory_free(cache);
    return 0;
}

static mp_op submitted(mp_op op, uint64_t token, int64_t now_ms) {
    op.done = op_done;
    memcpy(op.token, &token, sizeof token);
    mp_memory_submit(cache, &op, now_ms);
    return op;
}

static mp_reply begin(const mp_key *k, uint64_t token, int64_t ms, int64_t now_ms) {
    return submitted((mp_op){.kind = MP_BEGIN, .key = *k, .lease_ms = ms}, token, now_ms).reply;
}

static mp_reply begin_again(const mp_key *k, uint64_t token, int64_t ms, int64_t now_ms) {
    return submitted((mp_op){.kind = MP_BEGIN, .key = *k, .lease_ms = ms, .again = true}, token, now_ms).reply;
}

static mp_reply end(const mp_key *k, uint64_t token, const char *text, int64_t now_ms) {
    pond_value *value = text ? mp_value_new(POND_VALUE, POND_TEXT, text, strlen(text)) : NULL;
    mp_op op = submitted((mp_op){.kind = MP_END, .key = *k, .value = value, .ttl_ms = 1000000}, token, now_ms);
    pond_value_free(value);
    return op.reply;
}

static mp_reply put(const mp_key *k, const char *text, int64_t now_ms) {
    mp_reply reply = lease(cache, k, 77, 1000, now_ms);
    if (reply != MP_LEASED) return reply;
    pond_value *value = mp_value_new(POND_VALUE, POND_TEXT, text, strlen(text));
    reply = fill(cache, k, 77, value, 1000000, now_ms);
    pond_value_free(value);
    return reply;
}

static int64_t in_doubt_for(const mp_key *k, int64_t now_ms) {
    mp_op op = run(cache, MP_LEASE, k, 99, 1, NULL, now_ms);
    assert_int_equal(op.reply, MP_INDOUBT);
    return op.ms;
}

static void a_writer_is_alone_with_its_key(void **state) {
    (void)state;
    assert_int_equal(put(A, "old", 1), MP_STORED);
    assert_int_equal(begin(A, 1, 100, 10), MP_DONE);
    assert_int_equal(get(cache, A, 10), MP_MISSED); /* what is cached goes before the store is written */
    assert_int_equal(in_doubt_for(A, 20), 90);
    assert_int_equal(end(A, 1, "new", 30), MP_STORED);
    assert_int_equal(get(cache, A, 31), MP_HIT);
    assert_int_equal(end(A, 1, "new", 32), MP_DONE); /* a token is for one write: repeated, it invalidates */
    assert_int_equal(get(cache, A, 33), MP_MISSED);
}

static void begin_revokes_the_loads_under_way(void **state) {
    (void)state;
    pond_value *value = mp_value_new(POND_VALUE, POND_TEXT, "x", 1);
    assert_int_equal(lease(cache, A, 5, 1000, 1), MP_LEASED);
    assert_int_equal(begin(A, 1, 100, 2), MP_DONE);
    assert_int_equal(end(A, 1, NULL, 3), MP_DONE);
    assert_int_equal(fill(cache, A, 5, value, 1000, 4), MP_REFUSED);
    pond_value_free(value);
}

static void writers_that_met_store_nothing(void **state) {
    (void)state;
    begin(A, 1, 100, 1);
    begin(A, 2, 1000, 2);
    assert_int_equal(end(A, 1, "one", 3), MP_DONE);
    assert_int_equal(end(A, 2, "two", 4), MP_DONE);
    begin(A, 3, 100, 5); /* the mark went with the last of them */
    assert_int_equal(end(A, 3, "three", 6), MP_STORED);
}

/* A short intent and a long one: the mark must outlive the short one, or the long one would think that it was alone. */
static void the_mark_stands_as_long_as_the_longest_writer(void **state) {
    (void)state;
    begin(A, 1, 1000, 1);
    begin(A, 2, 50, 2);
    assert_int_equal(in_doubt_for(A, 500), 501); /* purges the second */
    assert_int_equal(end(A, 1, "one", 501), MP_DONE);
    begin(A, 1, 50, 600);
    begin(A, 2, 50, 601);
    begin_again(A, 1, 1000, 602); /* extends the mark, too */
    assert_int_equal(end(A, 1, "one", 1000), MP_DONE);
}

static void an_intent_that_was_lost_is_noticed(void **state) {
    (void)state;
    begin(A, 1, 50, 1);
    begin_again(A, 1, 50, 100); /* it had run out: who knows what came between */
    assert_int_equal(end(A, 1, "one", 101), MP_DONE);
    begin(A, 2, 1000, 200);
    assert_int_equal(end(A, 9, NULL, 201), MP_DONE); /* somebody wrote past the library, and invalidates */
    assert_int_equal(end(A, 2, "two", 202), MP_DONE);
}

static void time_ends_an_intent(void **state) {
    (void)state;
    begin(A, 1, 50, 1);
    assert_int_equal(in_doubt_for(A, 50), 1);
    assert_int_equal(lease(cache, A, 5, 1000, 51), MP_LEASED);
    begin(T, 1, 50, 1);
    begin(T, 2, 100, 1);
    assert_int_equal(end(T, 2, "two", 70), MP_DONE); /* the first is over, but nobody has purged it */
    begin(T, 3, 100, 80);
    assert_int_equal(end(T, 3, "three", 81), MP_DONE); /* nor now: what was in the set then is in it still */
    assert_int_equal(end(T, 1, NULL, 90), MP_DONE);
}

/* As fill.lua: a set whose members are over counts as long as it stands. */
static void a_fill_under_an_intent_is_refused(void **state) {
    (void)state;
    pond_value *value = mp_value_new(POND_VALUE, POND_TEXT, "x", 1);
    assert_int_equal(lease(cache, A, 5, 1000, 1), MP_LEASED);
    mp_memory *m = (mp_memory *)cache;
    uint8_t token[MP_TOKEN_LEN] = {1};
    mp_mintents_begin(&mp_mshard_of(m, A)->intents, A, token, false, 100, 2); /* without begin's revocation */
    assert_int_equal(fill(cache, A, 5, value, 1000, 3), MP_REFUSED);
    assert_int_equal(get(cache, A, 4), MP_MISSED);
    pond_value_free(value);
}

/* Tags. */

typedef struct generation {
    uint8_t bytes[MP_TAG_SIZE];
    mp_reply reply;
} generation;

static generation tag_get(const mp_key *k, int64_t now_ms) {
    generation g = {{0}, MP_PENDING};
    g.reply = submitted((mp_op){.kind = MP_TAG_GET, .key = *k, .generations = g.bytes}, 0, now_ms).reply;
    return g;
}

static generation tag_make(const mp_key *k, uint64_t token, int64_t ttl_ms, int64_t bound_ms, int64_t now_ms) {
    generation g = {{0}, MP_PENDING};
    mp_op op = {.kind = MP_TAG_MAKE, .key = *k, .ttl_ms = ttl_ms, .cut_ms = bound_ms, .generations = g.bytes};
    g.reply = submitted(op, token, now_ms).reply;
    return g;
}

static void assert_same(generation a, generation b) {
    assert_int_equal(a.reply, MP_HIT);
    assert_int_equal(b.reply, MP_HIT);
    assert_memory_equal(a.bytes, b.bytes, MP_TAG_SIZE);
}

static mp_reply tag_begin(const mp_key *k, uint64_t token, int64_t ms, int64_t cut_ms, int64_t now_ms) {
    mp_op op = {.kind = MP_BEGIN, .key = *k, .lease_ms = ms, .cut_ms = cut_ms, .tag = true};
    return submitted(op, token, now_ms).reply;
}

static mp_reply tag_end(const mp_key *k, uint64_t token, int64_t cut_ms, int64_t now_ms) {
    mp_op op = {.kind = MP_END, .key = *k, .cut_ms = cut_ms, .tag = true};
    return submitted(op, token, now_ms).reply;
}

static void a_generation_is_made_once_and_kept(void **state) {
    (void)state;
    assert_int_equal(tag_get(T, 1).reply, MP_MISSED);
    generation first = tag_make(T, 1, 1000, 0, 1);
    assert_same(first, tag_get(T, 2));
    assert_same(first, tag_make(T, 2, 1000, 0, 400));
    assert_int_equal(tag_get(T, 1000).reply, MP_HIT);
    assert_same(first, tag_make(T, 3, 1000, 0, 600)); /* less than half was left: lengthened */
    assert_same(first, tag_get(T, 1599));
    assert_int_equal(tag_get(T, 1600).reply, MP_MISSED);
    assert_int_equal(get(cache, T, 1), MP_MISSED); /* a key of the same name is another thing */
}

static void writers_take_a_generation_away(void **state) {
    (void)state;
    generation first = tag_make(T, 1, 1000, 0, 1);
    assert_int_equal(tag_begin(T, 9, 100, 0, 2), MP_DONE);
    assert_int_equal(tag_get(T, 3).reply, MP_MISSED);
    assert_int_equal(tag_make(T, 2, 1000, 0, 4).reply, MP_INDOUBT);
    assert_int_equal(tag_end(T, 9, 0, 5), MP_DONE);
    generation second = tag_make(T, 3, 1000, 0, 6);
    assert_int_equal(second.reply, MP_HIT);
    assert_memory_not_equal(first.bytes, second.bytes, MP_TAG_SIZE);
    tag_begin(T, 8, 100, 0, 7); /* dies */
    assert_int_equal(tag_make(T, 4, 1000, 0, 106).reply, MP_INDOUBT);
    assert_int_equal(tag_make(T, 4, 1000, 0, 107).reply, MP_HIT);
    assert_int_equal(tag_end(T, 7, 0, 108), MP_DONE); /* an invalidation */
    assert_int_equal(tag_get(T, 109).reply, MP_MISSED);
}

static void bounded_generations_live_so_long(void **state) {
    (void)state;
    generation first = tag_make(T, 1, 10000, 50, 1);
    tag_begin(T, 9, 100, 50, 10);
    assert_same(first, tag_make(T, 2, 10000, 50, 20)); /* not lengthened: its time was cut */
    tag_end(T, 9, 50, 30);                             /* nor does a second cut give it more */
    assert_same(first, tag_get(T, 59));
    assert_int_equal(tag_get(T, 60).reply, MP_MISSED);
    tag_begin(T, 8, 1000, 50, 100);
    generation under = tag_make(T, 3, 10000, 50, 110); /* somebody writes: one that lives for the bound */
    assert_same(under, tag_get(T, 159));
    assert_int_equal(tag_get(T, 160).reply, MP_MISSED);
    tag_end(T, 8, 50, 170);
    generation after = tag_make(T, 4, 10000, 50, 180);
    assert_same(after, tag_get(T, 10179));
}

/* Values with tags. */

static mp_reply fill_tagged(const mp_key *k, const char *text, const generation *g, uint8_t n, int64_t now_ms) {
    uint8_t all[2 * MP_TAG_SIZE];
    for (uint8_t i = 0; i < n; i++) memcpy(all + i * MP_TAG_SIZE, g[i].bytes, MP_TAG_SIZE);
    pond_value *value = text ? mp_value_new(POND_VALUE, POND_TEXT, text, strlen(text)) : mp_value_absent();
    mp_op op = {.kind = MP_FILL, .key = *k, .value = value, .ttl_ms = 1000000, .generations = all, .ntags = n};
    mp_reply reply = lease(cache, k, 7, 1000, now_ms);
    if (reply == MP_LEASED) reply = submitted(op, 7, now_ms).reply;
    pond_value_free(value);
    return reply;
}

static pond_state peek_tagged(const mp_key *k, uint8_t n, int64_t now_ms) {
    const mp_key tags[] = {*T, *U};
    pond_value *value = cache->vt->peek_tagged(cache, NULL, k, tags, n, 0, now_ms);
    pond_state state = pond_value_state(value);
    pond_value_free(value);
    return state;
}

static void who_knows_the_tags_gets_the_value(void **state) {
    (void)state;
    const char *const texts[] = {"small", NULL}; /* a value and an absence */
    for (int i = 0; i < 2; i++) {
        generation g[2] = {tag_make(T, 1, 1000, 0, 1), tag_make(U, 2, 1000, 0, 1)};
        pond_state kind = texts[i] ? POND_VALUE : POND_ABSENT;
        assert_int_equal(fill_tagged(A, texts[i], g, 2, 1), MP_STORED);
        assert_int_equal(peek_tagged(A, 2, 2), kind);
        assert_int_equal(peek_tagged(A, 1, 2), POND_MISS);
        assert_int_equal(peeked(cache, A, 2), POND_MISS);
        assert_int_equal(get(cache, A, 2), MP_MISSED);
        uint8_t out[2 * MP_TAG_SIZE];
        mp_op op = submitted((mp_op){.kind = MP_GET, .key = *A, .generations = out, .ntags = 2}, 0, 2);
        assert_int_equal(op.reply, MP_HIT);
        assert_memory_equal(out, g[0].bytes, MP_TAG_SIZE);
        assert_memory_equal(out + MP_TAG_SIZE, g[1].bytes, MP_TAG_SIZE);
        pond_value_free(op.value);
        /* One of the tags goes: the value stands, and nobody gets it. The lease asks past it by its first bytes. */
        tag_end(U, 3, 0, 3);
        assert_int_equal(peek_tagged(A, 2, 4), POND_MISS);
        mp_op ask = {.kind = MP_LEASE, .key = *A, .generations = out, .ntags = 2, .lease_ms = 1000};
        mp_op found = submitted(ask, 5, 5);
        assert_int_equal(found.reply, MP_HIT);
        pond_value_free(found.value);
        ask.rejected_len = found.rejected_len;
        memcpy(ask.rejected, found.rejected, sizeof ask.rejected);
        assert_int_equal(submitted(ask, 5, 6).reply, MP_LEASED);
        assert_int_equal(run(cache, MP_RELEASE, A, 5, 0, NULL, 7).reply, MP_DONE);
        /* Who has no tags is granted it at once, and stores a value of another kind. */
        assert_int_equal(put(A, "plain", 8), MP_STORED);
        assert_int_equal(get(cache, A, 9), MP_HIT);
        assert_int_equal(peek_tagged(A, 2, 9), POND_MISS);
        end(A, 1, NULL, 10);
    }
}

/* Refreshing. */

static mp_op refresh(uint64_t token, int64_t now_ms) {
    return submitted((mp_op){.kind = MP_LEASE, .key = *A, .lease_ms = 100, .refresh = true}, token, now_ms);
}

static void one_refreshes_while_all_are_served(void **state) {
    (void)state;
    assert_int_equal(put(A, "old", 1), MP_STORED);
    mp_op winner = refresh(1, 2), other = refresh(2, 3);
    assert_int_equal(winner.reply, MP_LEASED);
    assert_non_null(winner.value);
    assert_int_equal(other.reply, MP_BUSY);
    assert_int_equal(other.ms, 99);
    assert_non_null(other.value);
    pond_value_free(winner.value);
    pond_value_free(other.value);
    assert_int_equal(run(cache, MP_RELEASE, A, 1, 50, NULL, 10).reply, MP_DONE); /* it failed: not again for 50 ms */
    other = refresh(2, 20);
    assert_int_equal(other.reply, MP_RESTING);
    assert_int_equal(other.ms, 40);
    pond_value_free(other.value);
    other = refresh(2, 60);
    assert_int_equal(other.reply, MP_LEASED);
    pond_value_free(other.value);
    begin(A, 9, 100, 70);
    assert_int_equal(refresh(3, 71).reply, MP_INDOUBT);
}

static void a_back_off_never_delays_who_has_nothing(void **state) {
    (void)state;
    assert_int_equal(lease(cache, A, 1, 100, 1), MP_LEASED);
    run(cache, MP_RELEASE, A, 1, 5000, NULL, 2);
    assert_int_equal(lease(cache, A, 2, 100, 3), MP_LEASED);
    assert_int_equal(lease(cache, A, 1, 100, 4), MP_BUSY);
}

/* Bounds. */

static void too_many_writers_are_refused_not_forgotten(void **state) {
    (void)state;
    mp_memory_free(cache);
    cache = mp_memory_new(1 << 20);
    key k;
    uint64_t n = 0;
    pond_error *err = NULL;
    for (; !err && n < 1000000; n++) {
        mp_op op = {.kind = MP_BEGIN, .key = *key_number(&k, "k", n), .lease_ms = 1000};
        err = submitted(op, n + 1, 1).error;
    }
    assert_int_equal(pond_error_code(err), POND_EOVERLOAD);
    assert_in_range(n, 100, 10000);
    pond_error_free(err);
    assert_int_equal(in_doubt_for(key_number(&k, "k", 0), 2), 999);
    assert_int_equal(begin(key_number(&k, "k", n - 1), 1, 1000, 1001), MP_DONE); /* those are over */
    for (uint64_t i = 0; i < 2 * n; i++)
        assert_int_equal(begin(key_number(&k, "m", i), 1, 1, 2000 + (int64_t)i), MP_DONE);
    assert_true(described(cache, "bytes") <= 1 << 20);
    assert_true(described(cache, "intents") < 100); /* what is over goes faster than new ones come */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_writer_is_alone_with_its_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(begin_revokes_the_loads_under_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(writers_that_met_store_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_mark_stands_as_long_as_the_longest_writer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_intent_that_was_lost_is_noticed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(time_ends_an_intent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_fill_under_an_intent_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_generation_is_made_once_and_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(writers_take_a_generation_away, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bounded_generations_live_so_long, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_knows_the_tags_gets_the_value, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_refreshes_while_all_are_served, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_back_off_never_delays_who_has_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_many_writers_are_refused_not_forgotten, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
