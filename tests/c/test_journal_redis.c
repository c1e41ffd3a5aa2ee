/* The same random operations on a Redis and on a journal have the same answers: replies, verdicts, versions, what waits, and dead letters. Both lose
 * their history at the same time. Apart from them is only the version of an absence (behind_on_journal.h), and that in Redis' queue entries are
 * left behind of which nothing waits any more, so that the order is another one. */
#include "behind_on_redis.h"

#include "journal_side.h"

enum { KEYS = 5, STEPS = 6000, MOST = 4 /* entries that may wait, now and then */ };

static side ours; /* the journal; `us` is the Redis */
static int64_t epochs, version_was[KEYS];
static bool absent_was[KEYS], lost;
static unsigned accepted, refused[16], buried, retried, folded, pages, entries_seen, left_behind, unfolded, dirty,
    apart, cached;

static const char *name_of(size_t k) {
    static char name[4];
    snprintf(name, sizeof name, "s%c", (char)('a' + k));
    return name;
}

static void same_answers(const act *r, const act *j) {
    mp_reply a = r->op.reply, b = j->op.reply;
    if (a == MP_FAILED) fail_msg("Redis: %s", pond_error_message(r->op.error));
    if (b == MP_FAILED) fail_msg("journal: %s", pond_error_message(j->op.error));
    if (a != b || r->behind.verdict != j->behind.verdict)
        fail_msg("operation %d: Redis %d (%d), journal %d (%d)", r->op.kind, a, r->behind.verdict, b,
                 j->behind.verdict);
    if (a == MP_REFUSED) refused[r->behind.verdict]++;
}

/* What points to entries is each one's own, and set by the caller. */
static void both(act *r, act *j) {
    act_run(&us, r);
    act_run(&ours, j);
    same_answers(r, j);
}

static void same_text(const pond_value *a, const pond_value *b) {
    assert_true(!a == !b);
    if (!a) return;
    assert_int_equal(a->state, b->state);
    if (a->state == POND_VALUE) assert_string_equal(a->data, b->data);
}

static void same_entry(const mp_behind_entry *a, const mp_behind_entry *b) {
    assert_string_equal(a->key, b->key);
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->damaged || !a->value, b->damaged || !b->value); /* increments alone are no document either */
    if (!a->why) assert_int_equal(a->old_fence, b->old_fence);
    same_text(a->value, b->value);
    assert_true(!a->why == !b->why);
    if (a->why) assert_string_equal(a->why, b->why);
    entries_seen++;
}

static void same_letters(const act *r, const act *j) {
    assert_int_equal(r->behind.count, j->behind.count);
    assert_int_equal(r->behind.backlog, j->behind.backlog);
    for (size_t i = 0; i < r->behind.count; i++) same_entry(&r->behind.entries[i], &j->behind.entries[i]);
}

static mp_behind_entry *entry_of(const act *of, const char *key) {
    for (size_t i = 0; i < of->behind.count; i++)
        if (strcmp(of->behind.entries[i].key, key) == 0) return &of->behind.entries[i];
    return NULL;
}

static void same_waiting(const act *r, const act *j) {
    assert_int_equal(j->behind.count, j->behind.backlog);
    assert_true(r->behind.count <= (size_t)r->behind.backlog);
    for (size_t i = 0; i < j->behind.count; i++) {
        const mp_behind_entry *there = entry_of(r, j->behind.entries[i].key);
        assert_non_null(there);
        same_entry(there, &j->behind.entries[i]);
    }
    for (size_t i = 0; i < r->behind.count; i++) {
        const mp_behind_entry *e = &r->behind.entries[i];
        assert_ptr_equal(entry_of(r, e->key), e); /* once each */
        if (entry_of(j, e->key)) continue;
        assert_true(!e->value && !e->damaged && e->version == 0 && !has_sums(e->key));
        left_behind++;
    }
}

/* How many entries stand in Redis' queue that are none of the journal's: they take room there, too. */
static int64_t over(void) {
    int64_t n = entries();
    for (size_t k = 0; k < KEYS; k++) n -= has_record(name_of(k)) || has_sums(name_of(k));
    assert_true(n >= 0);
    return n;
}

/* Without what processes tell each other, where keys share their slots: a change of one may take another's cached value too, as the dice of
 * the memory that they have in common fall, and no Redis does that. */
static void ours_opens(void) {
    journal_open(&ours);
    behind_pond->shared = NULL;
}

/* ---- callers ---- */

/* What is cached goes. What waits in Redis is the value itself, and stays. */
static void drop_both(size_t k) {
    act a;
    drop_value(name_of(k));
    drop_lease(name_of(k));
    act_make(&a, MP_END, name_of(k), 200);
    assert_int_equal(act_run(&ours, &a), MP_DONE);
}

static void accepts(size_t k) {
    static const mp_expect expects[] = {MP_EXPECT_ANY, MP_EXPECT_ANY, MP_EXPECT_VERSION, MP_EXPECT_ABSENT};
    static unsigned number;
    act a[2];
    mp_expect expect = expects[dice(4)];
    if (expect == MP_EXPECT_VERSION && absent_was[k]) return;
    bool counts = dice(3) == 0, is_there = expect == MP_EXPECT_ABSENT || dice(4) > 0;
    int64_t by = (int64_t)dice(9) - 4, most = dice(4) ? 1000 : MOST, off = dice(3) == 0, ttl = dice(5) ? LONG : 0;
    char text[32];
    snprintf(text, sizeof text, "{\"n\":%u}", ++number);
    for (int i = 0; i < 2; i++) {
        accept_make(i ? &ours : &us, &a[i], name_of(k), is_there ? text : NULL);
        a[i].behind.most = most == MOST && i == 0 ? most + over() : most;
        a[i].op.ttl_ms = ttl;
        if (counts) {
            pond_value_free(a[i].op.value);
            a[i].op.value = NULL;
            a[i].behind.member = number % 2 ? "n" : "m";
            a[i].behind.member_len = 1;
            a[i].behind.by = dice(50) ? by : MP_INCREMENT_MOST;
            by = a[i].behind.by;
        } else {
            a[i].behind.expect = expect;
            a[i].behind.expect_version = version_was[k] - off;
        }
    }
    a[1].behind.by = a[0].behind.by;
    both(&a[0], &a[1]);
    assert_int_equal(a[0].op.version, a[1].op.version);
    if (a[0].op.reply == MP_STORED) assert_int_equal(a[0].behind.epoch, a[1].behind.epoch);
    if (a[0].op.reply == MP_STORED) {
        accepted++;
        if (!counts) {
            version_was[k] = a[0].op.version;
            absent_was[k] = !is_there;
        }
    }
    pond_value_free(a[0].op.value);
    pond_value_free(a[1].op.value);
}

static void give_back(side *s, const char *key, uint8_t token) {
    act a;
    act_make(&a, MP_RELEASE, key, token);
    a.op.lease_ms = 0;
    act_run(s, &a);
}

static void asks(mp_op_kind kind, size_t k) {
    act a[2];
    uint8_t token = (uint8_t)(1 + dice(2));
    for (int i = 0; i < 2; i++) act_make(&a[i], kind, name_of(k), token);
    act_run(&us, &a[0]);
    act_run(&ours, &a[1]);
    if (kind == MP_GET && a[0].op.reply == MP_HIT && a[1].op.reply == MP_MISSED && has_record(name_of(k))) {
        pond_value_free(a[0].op.value); /* a journal may have it cached nowhere, and finds it when a load would begin */
        for (int i = 0; i < 2; i++) act_make(&a[i], MP_LEASE, name_of(k), token);
        act_run(&us, &a[0]);
        act_run(&ours, &a[1]);
        assert_int_equal(a[0].op.reply, MP_HIT);
        apart++;
    }
    same_answers(&a[0], &a[1]);
    unfolded += a[0].op.reply == MP_UNFOLDED;
    dirty += a[0].op.reply == MP_DIRTY;
    same_text(a[0].op.value, a[1].op.value);
    if (a[0].op.value && a[0].op.value->state == POND_VALUE) assert_int_equal(version_of(&a[0]), version_of(&a[1]));
    for (int i = 0; i < 2; i++) pond_value_free(a[i].op.value);
    if (a[0].op.reply != MP_LEASED) return;
    if (dice(3) == 0) accepts(k);
    if (dice(2)) { /* which a change may have done before, or not yet */
        give_back(&us, name_of(k), token);
        give_back(&ours, name_of(k), token);
        return;
    }
    for (int i = 0; i < 2; i++) {
        uint8_t fence[MP_FENCE_LEN];
        memcpy(fence, a[i].op.fence, sizeof fence);
        act_make(&a[i], MP_FILL, name_of(k), token);
        memcpy(a[i].op.fence, fence, sizeof fence);
        a[i].op.value = document("{\"loaded\":1}");
        a[i].op.version = a[i].op.value->version = version_was[k];
    }
    both(&a[0], &a[1]);
    for (int i = 0; i < 2; i++) pond_value_free(a[i].op.value);
}

/* ---- increments ---- */

static void same_sums(const mp_sums *a, const mp_sums *b) {
    assert_int_equal(a->first, b->first);
    assert_int_equal(a->newest, b->newest);
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->old_fence, b->old_fence);
    assert_int_equal(a->n, b->n);
    same_text(a->value, b->value);
    for (size_t i = 0; i < a->n; i++) {
        const mp_sum *other = NULL;
        for (size_t m = 0; m < b->n; m++)
            if (strcmp(a->sum[i].member, b->sum[m].member) == 0) other = &b->sum[m];
        assert_non_null(other);
        assert_int_equal(a->sum[i].by, other->by);
    }
}

static void folds(size_t k, int64_t version) {
    act a[2], b[2];
    mp_behind_entry entry = {.key = (char *)name_of(k), .key_len = 2, .version = version};
    for (int i = 0; i < 2; i++) {
        act_make(&a[i], MP_SUMS, NULL, 0);
        a[i].behind.entries = &entry;
        a[i].behind.count = 1;
    }
    both(&a[0], &a[1]);
    same_sums(&a[0].behind.sums[0], &a[1].behind.sums[0]);
    if (a[0].behind.sums[0].newest || dice(10) == 0) {
        if (dice(3) == 0) accepts(k);
        bool drops = dice(4) == 0;
        for (int i = 0; i < 2; i++) {
            act_make(&b[i], MP_FOLD, name_of(k), 0);
            b[i].behind.sums = &a[i].behind.sums[0];
            b[i].op.value = drops ? NULL : document("{\"folded\":1}");
            memcpy(b[i].op.fence, a[i].op.fence, sizeof b[i].op.fence);
        }
        both(&b[0], &b[1]);
        assert_int_equal(b[0].op.version, b[1].op.version);
        folded += b[0].op.reply == MP_STORED;
        if (b[0].op.reply == MP_STORED) {
            version_was[k] = b[0].op.version;
            absent_was[k] = false;
        }
        for (int i = 0; i < 2; i++) pond_value_free(b[i].op.value);
    }
    for (int i = 0; i < 2; i++) {
        mp_sums_clear(&a[i].behind.sums[0]);
        free(a[i].behind.sums);
    }
}

/* ---- the worker ---- */

static void buries(mp_behind_entry *of[2]) {
    act a[2];
    for (int i = 0; i < 2; i++) {
        act_make(&a[i], MP_DEAD, NULL, 0);
        a[i].behind.entries = of[i];
        a[i].behind.count = 1;
        a[i].behind.error = "why";
        a[i].behind.error_len = 3;
    }
    both(&a[0], &a[1]);
    buried += a[0].op.reply == MP_STORED;
}

/* What is cached for how long then is another matter in either, and has its own tests. */
static void cached_as_acked(const mp_behind_entry *e) {
    act a;
    act_make(&a, MP_GET, e->key, 0);
    if (act_run(&us, &a) == MP_HIT && e->value) {
        assert_int_equal(version_of(&a), e->version);
        same_text(a.op.value, e->value);
    }
    cached += a.op.reply == MP_HIT;
    pond_value_free(a.op.value);
    drop_both((size_t)(e->key[1] - 'a'));
}

/* The journal's first ones, and the same of Redis; there, beside them, what was left behind. */
static void acks(const act of[2], size_t some) {
    act a[2];
    mp_behind_entry entries[2][2 * KEYS];
    size_t n[2] = {some, some};
    for (size_t i = 0; i < some; i++) {
        entries[1][i] = of[1].behind.entries[i];
        entries[0][i] = *entry_of(&of[0], entries[1][i].key);
    }
    for (size_t i = 0; i < of[0].behind.count; i++)
        if (!entry_of(&of[1], of[0].behind.entries[i].key) && dice(2)) entries[0][n[0]++] = of[0].behind.entries[i];
    for (int i = 0; i < 2; i++) {
        act_make(&a[i], MP_ACK, NULL, 0);
        a[i].behind.entries = entries[i];
        a[i].behind.count = n[i];
    }
    both(&a[0], &a[1]);
    for (size_t i = 0; i < some; i++) {
        assert_int_equal(entries[0][i].acked, entries[1][i].acked);
        if (entries[0][i].acked) cached_as_acked(&entries[0][i]);
    }
}

static void works(void) {
    act a[2];
    for (int i = 0; i < 2; i++) {
        act_make(&a[i], MP_TAKE, NULL, 0);
        a[i].behind.most = MP_BEHIND_MOST;
    }
    both(&a[0], &a[1]);
    same_waiting(&a[0], &a[1]);
    if (a[1].behind.epoch)
        assert_int_equal(a[0].behind.epoch, a[1].behind.epoch); /* a journal knows that of its own history */
    size_t n = a[1].behind.count;
    mp_behind_entry *e = a[1].behind.entries;
    if (n && dice(2)) folds((size_t)(e[0].key[1] - 'a'), e[0].version);
    if (dice(3) == 0) accepts(dice(KEYS));
    if (n && dice(4) == 0) {
        mp_behind_entry *one = &e[dice((uint32_t)n)];
        buries((mp_behind_entry *[]){entry_of(&a[0], one->key), one});
    } else if (n || dice(2)) {
        acks(a, n ? 1 + dice((uint32_t)n) : 0);
    }
    mp_behind_clear(&a[0].behind);
    mp_behind_clear(&a[1].behind);
}

/* ---- dead letters ---- */

static void acts_on(act of[2], size_t at) {
    act a[2];
    mp_op_kind kind = dice(3) ? MP_DEAD_RETRY : MP_DEAD_DROP;
    int64_t most = dice(4) ? 1000 : MOST;
    size_t k = (size_t)(of[0].behind.entries[at].key[1] - 'a');
    if (absent_was[k]) drop_both(k); /* the store is asked first, and knows of a deletion */
    for (int i = 0; i < 2; i++) {
        act_make(&a[i], kind, NULL, 0);
        if (kind == MP_DEAD_RETRY) a[i].behind.most = most == MOST && i == 0 ? most + over() : most;
        a[i].behind.entries = &of[i].behind.entries[at];
        a[i].behind.count = 1;
    }
    both(&a[0], &a[1]);
    retried += a[0].op.reply == MP_STORED;
    if (a[0].op.reply == MP_STORED || a[0].op.reply == MP_DONE) both(&a[0], &a[1]); /* once */
}

static void lists(void) {
    act a[2];
    char after[2][MP_BEHIND_ID_MAX] = {"", ""};
    int64_t most = 1 + dice(4);
    for (bool more = true; more; pages++) {
        for (int i = 0; i < 2; i++) {
            act_make(&a[i], MP_DEAD_LIST, NULL, 0);
            a[i].behind.most = most;
            memcpy(a[i].behind.after, after[i], sizeof after[i]);
        }
        both(&a[0], &a[1]);
        same_letters(&a[0], &a[1]);
        assert_int_equal(a[0].behind.more, a[1].behind.more);
        size_t n = a[0].behind.count;
        more = a[0].behind.more;
        for (int i = 0; n && i < 2; i++) memcpy(after[i], a[i].behind.entries[n - 1].id, sizeof after[i]);
        if (n && dice(2)) acts_on(a, dice((uint32_t)n));
        mp_behind_clear(&a[0].behind);
        mp_behind_clear(&a[1].behind);
    }
}

/* ---- what is about the whole ---- */

/* The store gives each once: so what was in force before a loss is never brought again. */
static void takes_an_epoch(bool higher) {
    act a[2];
    for (int i = 0; i < 2; i++) {
        act_make(&a[i], MP_EPOCH, NULL, 0);
        act_run(i ? &ours : &us, &a[i]);
    }
    assert_int_equal(a[0].op.reply, a[1].op.reply);
    epochs += higher || lost;
    lost = false;
    for (int i = 0; i < 2; i++) a[i].behind.epoch = epochs;
    both(&a[0], &a[1]);
    if (a[0].op.reply == MP_DONE) assert_int_equal(a[0].behind.epoch, a[1].behind.epoch);
}

static void owns(void) {
    act a[2];
    uint8_t token = (uint8_t)(1 + dice(3));
    int64_t lease_ms = dice(3) ? LONG : 0;
    for (int i = 0; i < 2; i++) {
        act_make(&a[i], MP_OWN, NULL, token);
        a[i].op.lease_ms = lease_ms;
    }
    both(&a[0], &a[1]);
}

/* Whose shard it is goes with the process that has the journal, and is no part of a Redis' history. */
static void both_lose_history(void) {
    lose_history();
    lost = true;
    redis_do(redis, "DEL mp:t:{b:0}");
    for (size_t k = 0; k < KEYS; k++) { /* nor is what a memory: had */
        drop_value(name_of(k));
        drop_lease(name_of(k));
    }
    journal_close(&ours);
    ours_opens();
}

static void answers_are_the_same(void **state) {
    (void)state;
    watchdog(110);
    begin();
    redis_do(redis, "FLUSHALL");
    shop_make(folder, address);
    ours_opens();
    for (int i = 0; i < STEPS; i++) {
        size_t k = dice(KEYS);
        switch (dice(100)) {
        default: accepts(k); break;
        case 0 ... 14: asks(MP_LEASE, k); break;
        case 15 ... 24: asks(MP_GET, k); break;
        case 25 ... 39: works(); break;
        case 40 ... 49: folds(k, dice(2) ? version_was[k] : 0); break;
        case 50 ... 57: lists(); break;
        case 58 ... 60: owns(); break;
        case 61 ... 63: takes_an_epoch(dice(2)); break;
        case 64: both_lose_history(); break;
        case 65 ... 70: drop_both(k); break;
        }
    }
    assert_true(accepted > 300 && buried > 30 && retried > 5 && folded > 50 && pages > 30 && entries_seen > 500);
    assert_true(unfolded > 10 && dirty > 0 && apart > 2 && cached > 100 && left_behind > 30);
    static const mp_behind_verdict all[] = {MP_STALE_FENCE, MP_FULL, MP_CHANGED, MP_EXISTS, MP_ABSENT, MP_NO_LETTER};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) assert_true(refused[all[i]] > 0);
    journal_close(&ours);
    assert_int_equal(shop_remove(folder), 0);
    end();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(answers_are_the_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
