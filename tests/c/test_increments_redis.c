/* Increments of what is written behind: as operations on the cache beside a model, and as a collection's callers see them. */
#include "behind_ops.h"

#include <pthread.h>
#include <sqlite3.h>
#include <unistd.h>

#include "support/server.h"

enum { KEYS = 3, STEPS = 12000 };

static side us;
static redisContext *redis;

/* ---- one key as it must be ---- */

typedef struct counter {
    bool there;
    int64_t n;
} counter;

static counter now[KEYS], in_store[KEYS];
static int64_t store_version[KEYS], last_version, epochs;
static unsigned counted, repeated, folded, dropped, overtaken, known_absent, kept;

static const char *name_of(size_t k) {
    static char name[4];
    snprintf(name, sizeof name, "s%c", (char)('a' + k));
    return name;
}

static mp_behind_verdict increment_by(act *a, const char *key, int64_t by) {
    accept_make(&us, a, key, NULL);
    a->op.value = NULL;
    a->behind.member = "n";
    a->behind.member_len = 1;
    a->behind.by = by;
    return accept_run(&us, a, NULL);
}

static void take_an_epoch(void) {
    assert_int_equal(epoch(&us, epochs + 1), epochs + 1);
    epochs++;
}

static int64_t number_in(const pond_value *value) {
    long long n = -1;
    assert_int_equal(sscanf(value->data, "{\"n\":%lld}", &n), 1);
    return n;
}

/* What a reader or a worker does: reads, adds, and says what that makes. `between` may come in between. False: somebody was faster. */
static bool fold(size_t k, const mp_behind_entry *taken, void (*between)(size_t), counter *out, int64_t *version) {
    act a, b;
    const char *name = name_of(k);
    mp_behind_entry entry = {.key = (char *)name, .key_len = strlen(name), .version = taken ? taken->version : 0};
    act_make(&a, MP_SUMS, NULL, 0);
    a.behind.entries = &entry;
    a.behind.count = 1;
    assert_int_equal(act_run(&us, &a), MP_DONE);
    mp_sums *s = &a.behind.sums[0];
    if (taken && taken->value && !s->value && !s->newest) { /* it is as it was taken */
        s->value = pond_value_ref(taken->value);
        s->version = taken->version;
        s->old_fence = taken->old_fence;
    }
    assert_false(s->damaged);
    bool use = s->value && (!s->old_fence || s->version > store_version[k]);
    counter base =
        use ? (counter){s->value->state == POND_VALUE, s->value->state == POND_VALUE ? number_in(s->value) : 0}
            : in_store[k];
    int64_t base_version = use ? s->version : store_version[k];
    int64_t sum = 0;
    for (size_t i = 0; i < s->n; i++) sum += s->sum[i].by;
    *out = base;
    *version = base_version;
    bool adds = s->newest && base_version <= s->newest && base.there, well = true;
    if (adds) out->n += sum;
    if (between) between(k);
    if (s->newest) {
        char text[64];
        snprintf(text, sizeof text, "{\"n\":%lld}", (long long)out->n);
        act_make(&b, MP_FOLD, name, 0);
        b.behind.sums = s;
        b.op.value = adds ? document(text) : NULL;
        memcpy(b.op.fence, a.op.fence, sizeof b.op.fence);
        mp_reply reply = act_run(&us, &b);
        if (reply == MP_FAILED) fail_msg("%s", pond_error_message(b.op.error));
        if (reply == MP_REFUSED && b.behind.verdict == MP_STALE_FENCE) take_an_epoch();
        well = reply != MP_REFUSED;
        if (well) assert_int_equal(reply, adds ? MP_STORED : MP_DONE);
        if (reply == MP_STORED) {
            assert_true(b.op.version > last_version);
            *version = last_version = b.op.version;
        }
        if (reply == MP_STORED && dice(4) == 0)
            assert_int_equal(act_run(&us, &b), MP_REFUSED); /* its answer was lost */
        folded += reply == MP_STORED;
        dropped += reply == MP_DONE;
        overtaken += !well;
        pond_value_free(b.op.value);
    }
    mp_sums_clear(s);
    free(a.behind.sums);
    return well;
}

static void put_one(size_t k) {
    static unsigned fresh_number;
    char text[32] = "";
    int64_t n = 1000 * ++fresh_number;
    bool there = dice(4) > 0;
    if (there) snprintf(text, sizeof text, "{\"n\":%lld}", (long long)n);
    while (put(&us, name_of(k), there ? text : NULL, &last_version) == MP_STALE_FENCE) take_an_epoch();
    now[k] = (counter){there, there ? n : 0};
}

static void increment_one(size_t k) {
    act a;
    int64_t by = (int64_t)dice(9) - 3;
    mp_behind_verdict verdict = increment_by(&a, name_of(k), by);
    if (verdict == MP_STALE_FENCE) {
        take_an_epoch();
        verdict = increment_by(&a, name_of(k), by);
    }
    if (verdict == MP_CHANGED) { /* of an earlier epoch */
        counter is;
        int64_t version;
        while (!fold(k, NULL, NULL, &is, &version)) continue;
        verdict = increment_by(&a, name_of(k), by);
    }
    if (verdict == MP_ABSENT) {
        assert_false(now[k].there);
        known_absent++;
        return;
    }
    assert_int_equal(verdict, MP_VERDICT_OK);
    assert_true(a.op.version > last_version);
    last_version = a.op.version;
    if (now[k].there) now[k].n += by;
    counted++;
    if (dice(4)) return;
    assert_int_equal(accept_run(&us, &a, NULL), MP_VERDICT_OK); /* its answer was lost */
    assert_true(a.op.version == last_version);
    repeated++;
}

static bool over; /* nothing more is accepted */

static void something(size_t k) {
    if (over) return;
    if (dice(2)) increment_one(k);
    else if (dice(3) == 0) put_one(k);
}

static void read_one(size_t k) {
    const char *text;
    mp_reply reply = get(&us, name_of(k), &text, NULL);
    char due[64] = "absent";
    if (now[k].there) snprintf(due, sizeof due, "{\"n\":%lld}", (long long)now[k].n);
    if (reply == MP_MISSED) reply = lease(&us, name_of(k), 1, &text, NULL);
    if (reply == MP_HIT) {
        assert_string_equal(text, due);
    } else if (reply == MP_LEASED) {
        assert_true(in_store[k].there == now[k].there && in_store[k].n == now[k].n);
        act a;
        act_make(&a, MP_RELEASE, name_of(k), 1);
        a.op.lease_ms = 0;
        act_run(&us, &a);
    } else if (reply == MP_UNFOLDED) {
        counter is;
        int64_t version;
        if (fold(k, NULL, NULL, &is, &version)) assert_true(is.there == now[k].there && is.n == now[k].n);
    } else {
        assert_int_equal(reply, MP_DIRTY);
        assert_string_equal(text, due);
    }
}

static void work(void) {
    act a;
    size_t n = take(&us, &a), m = 0;
    mp_behind_entry *e = a.behind.entries;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++) assert_string_not_equal(e[i].key, e[k].key);
    for (size_t i = 0; i < n; i++) {
        size_t k = (size_t)(e[i].key[1] - 'a');
        counter is;
        int64_t version;
        if (!fold(k, &e[i], dice(4) ? NULL : something, &is, &version)) continue;
        if (version > store_version[k]) {
            in_store[k] = is;
            store_version[k] = version;
        }
        e[i].version = version > e[i].version || e[i].value ? version : 0;
        mp_behind_entry swap = e[m];
        e[m++] = e[i];
        e[i] = swap;
    }
    if (dice(3) == 0) something(dice(KEYS));
    for (int times = dice(4) ? 1 + (int)dice(2) : 0; m && times > 0; times--) {
        assert_int_equal(ack(&us, e, m), MP_DONE);
        for (size_t i = 0; i < m; i++) kept += !e[i].acked;
    }
    mp_behind_clear(&a.behind);
}

static void drop_fence(void) {
    redis_do(redis, "DEL mp:f");
    side_close(&us);
    uint8_t was = us.session;
    int64_t n = us.n;
    side_open(&us, redis_url(), "on");
    us.session = was;
    us.n = n;
}

/* What waits has an entry, and only one; a value stands alone. */
static void check(void) {
    long long waiting = 0;
    for (size_t k = 0; k < KEYS; k++) {
        bool record = redis_number(redis, "HEXISTS mp:d:{b:0} %s", name_of(k));
        bool sums = redis_number(redis, "EXISTS mp:i:{b:0}%s", name_of(k));
        if (sums) assert_int_equal(redis_number(redis, "EXISTS mp:b:{b:0}%s", name_of(k)), 0);
        if (!sums && !record) assert_true(in_store[k].there == now[k].there && in_store[k].n == now[k].n);
        waiting += record || sums;
    }
    assert_int_equal(redis_number(redis, "XLEN mp:s:{b:0}"), waiting);
}

static void each_counts_once(void **state) {
    (void)state;
    watchdog(110);
    redis = redis_open(redis_url());
    side_open(&us, redis_url(), "on");
    for (int i = 0; i < (slow_build() ? STEPS / 10 : STEPS); i++) {
        size_t k = dice(KEYS);
        switch (dice(100)) {
        default: read_one(k); break;
        case 0 ... 29: increment_one(k); break;
        case 30 ... 35: put_one(k); break;
        case 36 ... 49: work(); break;
        case 50 ... 54: redis_do(redis, "DEL mp:b:{b:0}%s", name_of(k)); break;
        case 55: drop_fence(); break;
        case 56 ... 59: check(); break;
        }
    }
    act a;
    over = true;
    for (int i = 0; i < 200; i++) work();
    assert_int_equal(take(&us, &a), 0);
    check();
    for (size_t k = 0; k < KEYS; k++) assert_true(in_store[k].there == now[k].there && in_store[k].n == now[k].n);
    assert_true(counted > 300 && repeated > 50 && folded > 200 && dropped > 5 && overtaken > 10 && known_absent > 20);
    assert_true(kept > 10 && epochs > 5);
    side_close(&us);
    redisFree(redis);
}

/* ---- a collection ---- */

static char folder[SHOP_FOLDER], address[SHOP_ADDRESS], ns[64];

static int set_up(void **state) {
    (void)state;
    shop_make(folder, address);
    snprintf(ns, sizeof ns, "%s", fresh("increments"));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return shop_remove(folder);
}

static pond *made(const char *url, const char *worker) {
    return pond_made(url, "store", address, "namespace", ns, "worker", worker, "command_timeout", "5s", NULL);
}

static pond_collection *films(pond *p, const char *mode) {
    const char *const options[] = {"write", mode};
    return films_made(p, options, 1);
}

static void replaces(pond_collection *c, const char *id, const char *doc) {
    pond_error *err = NULL;
    if (pond_collection_change(c, doc ? POND_REPLACE : POND_DELETE, id, strlen(id), doc, doc ? strlen(doc) : 0, NULL,
                               NULL, NULL, &err) != POND_OK)
        fail_msg("%s", pond_error_message(err));
}

static int counts_as(pond_collection *c, const char *id, const char *member, int64_t by, pond_error **err) {
    return pond_collection_increment(c, id, strlen(id), member, strlen(member), by, err);
}

static void counts(pond_collection *c, const char *id, const char *member, int64_t by) {
    pond_error *err = NULL;
    if (counts_as(c, id, member, by, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
}

static void stored(pond *p, pond_collection *c, const char *id, const char *text) {
    pond_value *value = NULL;
    pond_error *err = NULL;
    if (pond_collection_flush(c, 10000, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
    assert_int_equal(pond_store_get(p, "films", id, strlen(id), &value, NULL), POND_OK);
    if (text) assert_string_equal(pond_value_data(value, NULL), text);
    else assert_int_equal(pond_value_state(value), POND_ABSENT);
    pond_value_free(value);
}

static void counters_are_read_and_stored(void **state) {
    (void)state;
    pond *p = made(redis_url(), "on"), *q = made(redis_url(), "off");
    pond_collection *c = films(p, "behind"), *d = films(q, "behind");
    replaces(c, "1", "{\"title\":\"Tampopo\",\"views\":5.0}");
    counts(c, "1", "views", 1);
    counts(d, "1", "views", 2);
    counts(c, "1", "likes", -1);
    films_read(d, "1", "{\"id\":\"1\",\"title\":\"Tampopo\",\"views\":8,\"likes\":-1}");
    stored(p, c, "1", "{\"id\":\"1\",\"title\":\"Tampopo\",\"views\":8,\"likes\":-1}");
    counts(d, "1", "views", 1); /* of what only the store has, and nobody reads */
    stored(q, d, "1", "{\"id\":\"1\",\"title\":\"Tampopo\",\"views\":9,\"likes\":-1}");
    counts(c, "1", "views", 1);
    assert_int_equal(pond_collection_change(d, POND_UPDATE, "1", 1, "{\"title\":null}", 14, NULL, NULL, NULL, NULL),
                     POND_OK);
    films_read(c, "1", "{\"id\":\"1\",\"views\":10,\"likes\":-1}"); /* an update is one of what was counted */
    counts(c, "1", "views", 1);
    replaces(c, "1", "{}"); /* goes over them */
    counts(c, "1", "views", 7);
    assert_int_equal(pond_close(p, 10000), POND_OK);
    pond_value *value = NULL;
    assert_int_equal(pond_store_get(q, "films", "1", 1, &value, NULL), POND_OK);
    assert_string_equal(pond_value_data(value, NULL), "{\"id\":\"1\",\"views\":7}");
    pond_value_free(value);
    pond_collection_free(c);
    pond_collection_free(d);
    pond_free(p);
    pond_free(q);
}

static void what_cannot_be_counted(void **state) {
    (void)state;
    pond *p = made(redis_url(), "on");
    pond_collection *c = films(p, "behind");
    pond_error *err = NULL;
    static const char *const wrong[] = {"", "a.b", "$n", "id", "_id", "_mpv", "\xff"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(counts_as(c, "1", wrong[i], 1, NULL), POND_EVALUE);
    assert_int_equal(counts_as(c, "1", "a.b", 1, &err), POND_EVALUE);
    assert_non_null(strstr(pond_error_message(err), "no dotted path"));
    pond_error_free(err);
    assert_int_equal(counts_as(c, "1", "n", MP_INCREMENT_MOST + 1, NULL), POND_EVALUE);
    assert_int_equal(counts_as(c, "", "n", 1, NULL), POND_EKEY);
    pond_collection *through = films(p, "through");
    assert_int_equal(counts_as(through, "1", "n", 1, &err), POND_EOPTION);
    assert_non_null(strstr(pond_error_message(err), "write=behind"));
    pond_error_free(err);
    pond_collection_free(through);
    char row[80];
    snprintf(row, sizeof row, "%s/films", ns);
    counts(c, "none", "n", 1); /* nobody knows yet that there is none */
    stored(p, c, "none", NULL);
    assert_int_equal(pond_stat(p, row, "dropped_increments"), 1);
    films_read(c, "none", NULL);
    assert_int_equal(counts_as(c, "none", "n", 1, NULL), POND_EABSENT); /* now it is known */
    replaces(c, "gone", NULL);
    assert_int_equal(counts_as(c, "gone", "n", 1, NULL), POND_EABSENT);
    replaces(c, "1", "{\"s\":\"text\",\"half\":0.5,\"most\":9007199254740991,\"n\":1}");
    counts(c, "1", "s", 1);
    counts(c, "1", "half", 1);
    counts(c, "1", "most", 1);
    counts(c, "1", "n", 1);
    films_read(c, "1", "{\"id\":\"1\",\"s\":\"text\",\"half\":0.5,\"most\":9007199254740991,\"n\":2}");
    assert_int_equal(pond_stat(p, row, "dropped_increments"), 4);
    counts(c, "1", "most", -1);
    counts(c, "1", "n", MP_INCREMENT_MOST);
    counts(c, "1", "n", -MP_INCREMENT_MOST);
    counts(c, "1", "n", MP_INCREMENT_MOST);
    counts(c, "1", "n", 1); /* the sum would leave the range: folded first, where there is no room */
    films_read(c, "1", "{\"id\":\"1\",\"s\":\"text\",\"half\":0.5,\"most\":9007199254740990,\"n\":3}");
    pond_collection_free(c);
    pond_free(p);
}

enum { THREADS = 4, EACH = 250 };

static void *count_on(void *arg) {
    for (int i = 0; i < EACH; i++) counts(arg, "hot", "n", 1);
    return NULL;
}

static void *read_on(void *arg) {
    for (int i = 0; i < EACH / 5; i++) {
        pond_value *value = NULL;
        assert_int_equal(pond_collection_get(arg, "hot", 3, &value, NULL), POND_OK);
        pond_value_free(value);
    }
    return NULL;
}

static void none_is_lost_beside_readers_and_workers(void **state) {
    (void)state;
    pond *p = made(redis_url(), "on"), *q = made(redis_url(), "on");
    pond_collection *c = films(p, "behind"), *d = films(q, "behind");
    pthread_t threads[2 * THREADS];
    char text[64];
    replaces(c, "hot", "{\"n\":0}");
    for (int i = 0; i < 2 * THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i % 2 ? read_on : count_on, i < THREADS ? c : d), 0);
    for (int i = 0; i < 2 * THREADS; i++) pthread_join(threads[i], NULL);
    snprintf(text, sizeof text, "{\"id\":\"hot\",\"n\":%d}", THREADS * EACH);
    films_read(d, "hot", text);
    stored(p, c, "hot", text);
    pond_collection_free(c);
    pond_collection_free(d);
    pond_free(p);
    pond_free(q);
}

/* A server that comes back with an old memory brings increments again that the store counts already. */
static void an_old_memory_counts_nothing_twice(void **state) {
    (void)state;
    server *old = server_start(NULL);
    pond *off = made(server_url(old), "off");
    pond_collection *c = films(off, "behind");
    pond *on = made(server_url(old), "on");
    pond_collection *d = films(on, "behind");
    replaces(d, "1", "{\"n\":0}");
    stored(on, d, "1", "{\"id\":\"1\",\"n\":0}");
    pond_collection_free(d);
    pond_free(on);
    counts(c, "1", "n", 1);
    redis_do(server_client(old), "SAVE"); /* with that one waiting */
    on = made(server_url(old), "on");
    d = films(on, "behind");
    stored(on, d, "1", "{\"id\":\"1\",\"n\":1}");
    pond_collection_free(d);
    pond_free(on);
    server_kill(old, false);
    server_again(old);
    for (int64_t until = mp_clock_after(10000); counts_as(c, "1", "n", 1, NULL) != POND_OK; usleep(20000))
        assert_true(mp_clock_ms() < until);
    films_read(c, "1", "{\"id\":\"1\",\"n\":2}");
    on = made(server_url(old), "on");
    d = films(on, "behind");
    stored(on, d, "1", "{\"id\":\"1\",\"n\":2}");
    pond_collection_free(c);
    pond_collection_free(d);
    pond_free(off);
    pond_free(on);
    server_stop(old);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_counts_once),
        TEST(counters_are_read_and_stored),
        TEST(what_cannot_be_counted),
        TEST(none_is_lost_beside_readers_and_workers),
        TEST(an_old_memory_counts_nothing_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
