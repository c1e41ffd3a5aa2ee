/* cache/memory: the operations and their leases, names, threads, fork. */
#include "memory_ops.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/loop.h"

#define MIB (1ll << 20)

static int new_cache(void **state) {
    *state = mp_memory_new(16 * MIB);
    return *state == NULL;
}

static int free_cache(void **state) {
    mp_memory_free(*state);
    return 0;
}

static void a_value_is_leased_filled_and_hit(void **state) {
    mp_cache *cache = *state;
    key k;
    const mp_key *a = key_set(&k, "a");
    assert_int_equal(get(cache, a, 1000), MP_MISSED);
    assert_null(cache->vt->peek(cache, NULL, a, 0, 1000));

    mp_op op = run(cache, MP_LEASE, a, 7, 500, NULL, 1000);
    assert_int_equal(op.reply, MP_LEASED);
    assert_memory_equal(op.fence, "\0\0\0\0\0\0\0", MP_FENCE_LEN);

    pond_value *value = mp_value_new(POND_VALUE, POND_TEXT, "hello", 5);
    assert_int_equal(fill(cache, a, 7, value, 100, 1100), MP_STORED);
    pond_value_free(value);

    op = run(cache, MP_GET, a, 0, 0, NULL, 1100);
    assert_int_equal(op.reply, MP_HIT);
    size_t len;
    assert_string_equal(pond_value_data(op.value, &len), "hello");
    assert_int_equal(len, 5);
    assert_int_equal(pond_value_codec(op.value), POND_TEXT);
    assert_int_equal(pond_value_state(op.value), POND_VALUE);
    pond_value *same = cache->vt->peek(cache, NULL, a, 0, 1199);
    assert_ptr_equal(same, op.value);
    assert_int_equal(lease(cache, a, 8, 500, 1199), MP_HIT);

    assert_null(cache->vt->peek(cache, NULL, a, 0, 1200)); /* its time is over */
    assert_int_equal(described(cache, "entries"), 0);
    assert_string_equal(pond_value_data(same, &len), "hello"); /* ours still */
    pond_value_free(same);
    pond_value_free(op.value);
}

static void a_lease_stands_until_its_time(void **state) {
    mp_cache *cache = *state;
    key k;
    const mp_key *a = key_set(&k, "a");
    assert_int_equal(lease(cache, a, 1, 500, 1000), MP_LEASED);
    mp_op op = run(cache, MP_LEASE, a, 2, 500, NULL, 1200);
    assert_int_equal(op.reply, MP_BUSY);
    assert_int_equal(op.ms, 300);
    assert_int_equal(lease(cache, a, 1, 500, 1200), MP_LEASED); /* the holder asks again: from now */
    op = run(cache, MP_LEASE, a, 2, 500, NULL, 1699);
    assert_int_equal(op.reply, MP_BUSY);
    assert_int_equal(op.ms, 1);
    assert_int_equal(lease(cache, a, 2, 500, 1700), MP_LEASED); /* the other takes over */

    pond_value *value = mp_value_new(POND_VALUE, POND_TEXT, "late", 4);
    assert_int_equal(fill(cache, a, 1, value, 100, 1701), MP_REFUSED);
    assert_int_equal(get(cache, a, 1701), MP_MISSED);
    assert_int_equal(fill(cache, a, 2, value, 100, 2200), MP_REFUSED); /* over, though nobody took it */
    assert_int_equal(lease(cache, a, 2, 500, 2200), MP_LEASED);
    assert_int_equal(fill(cache, a, 2, value, 100, 2699), MP_STORED);
    assert_int_equal(fill(cache, a, 2, value, 100, 2699), MP_REFUSED); /* a fill ends the lease */
    assert_int_equal(described(cache, "leases"), 0);
    pond_value_free(value);
}

static void only_the_holder_renews_and_releases(void **state) {
    mp_cache *cache = *state;
    key k;
    const mp_key *a = key_set(&k, "a");
    assert_int_equal(run(cache, MP_RENEW, a, 1, 500, NULL, 1000).reply, MP_REFUSED);
    assert_int_equal(lease(cache, a, 1, 500, 1000), MP_LEASED);
    assert_int_equal(run(cache, MP_RENEW, a, 2, 500, NULL, 1100).reply, MP_REFUSED);
    assert_int_equal(run(cache, MP_RELEASE, a, 2, 0, NULL, 1100).reply, MP_REFUSED);
    assert_int_equal(run(cache, MP_RENEW, a, 1, 500, NULL, 1400).reply, MP_STORED);
    mp_op op = run(cache, MP_LEASE, a, 2, 500, NULL, 1899);
    assert_int_equal(op.reply, MP_BUSY);
    assert_int_equal(op.ms, 1);
    assert_int_equal(run(cache, MP_RENEW, a, 1, 500, NULL, 1900).reply, MP_REFUSED); /* too late */
    assert_int_equal(lease(cache, a, 1, 500, 1900), MP_LEASED);
    assert_int_equal(run(cache, MP_RELEASE, a, 1, 0, NULL, 1900).reply, MP_DONE);
    assert_int_equal(lease(cache, a, 2, 500, 1900), MP_LEASED);
}

static void invalidate_drops_value_absence_and_lease(void **state) {
    mp_cache *cache = *state;
    key k;
    const mp_key *a = key_set(&k, "a");
    assert_int_equal(store(cache, a, 10, 1000, 1), MP_STORED);
    assert_int_equal(run(cache, MP_END, a, 9, 0, NULL, 2).reply, MP_DONE);
    assert_int_equal(get(cache, a, 2), MP_MISSED);
    assert_int_equal(store_absence(cache, a, 1000, 2), MP_STORED);
    assert_int_equal(run(cache, MP_END, a, 9, 0, NULL, 3).reply, MP_DONE);
    assert_int_equal(lease(cache, a, 1, 500, 3), MP_LEASED);
    assert_int_equal(run(cache, MP_END, a, 9, 0, NULL, 4).reply, MP_DONE);
    assert_int_equal(fill(cache, a, 1, mp_value_absent(), 1000, 5), MP_REFUSED);
    assert_int_equal(lease(cache, a, 2, 500, 5), MP_LEASED); /* at once, not after the first one's time */
    assert_int_equal(described(cache, "entries"), 0);
}

static void an_absence_is_the_one_absent_value(void **state) {
    mp_cache *cache = *state;
    key k;
    const mp_key *a = key_set(&k, "a");
    assert_int_equal(store_absence(cache, a, 100, 1000), MP_STORED);
    assert_ptr_equal(cache->vt->peek(cache, NULL, a, 0, 1099), mp_value_absent());
    assert_int_equal(get(cache, a, 1099), MP_HIT);
    assert_int_equal(get(cache, a, 1100), MP_MISSED);
    assert_int_equal(store(cache, a, 10, 100, 1100), MP_STORED); /* and then there is one */
    assert_int_equal(peeked(cache, a, 1199), POND_VALUE);
    assert_int_equal(store_absence(cache, a, 100, 1200), MP_STORED);
    assert_int_equal(peeked(cache, a, 1200), POND_ABSENT);
    assert_int_equal(described(cache, "entries"), 1);
}

static void what_cannot_be_kept_is_refused_and_ends_the_lease(void **state) {
    mp_cache *cache = *state;
    key k;
    const mp_key *a = key_set(&k, "a");
    pond_value *value = mp_value_new(POND_VALUE, POND_TEXT, "v", 1);
    assert_int_equal(lease(cache, a, 1, 500, 1), MP_LEASED);
    assert_int_equal(fill(cache, a, 1, value, 0, 1), MP_REFUSED); /* no time to live */
    assert_int_equal(lease(cache, a, 2, 500, 1), MP_LEASED);
    assert_int_equal(fill(cache, a, 2, mp_value_miss(), 10, 1), MP_REFUSED);
    assert_int_equal(lease(cache, a, 3, 500, 1), MP_LEASED);
    assert_int_equal(fill(cache, a, 3, value, INT64_MAX, 1), MP_STORED); /* for ever */
    assert_int_equal(get(cache, a, INT64_MAX - 1), MP_HIT);
    pond_value_free(value);
}

static void small_and_large_values_outlive_the_cache(void **state) {
    mp_cache *cache = mp_memory_new(16 * MIB);
    static const size_t lens[] = {0, 1, 1023, 1024, 1025, 100000};
    pond_value *kept[6];
    key k;
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(store(cache, key_number(&k, "len", lens[i]), lens[i], 1000, 1), MP_STORED);
        kept[i] = cache->vt->peek(cache, NULL, &k.key, 0, 1);
        assert_non_null(kept[i]);
    }
    mp_memory_free(cache);
    for (size_t i = 0; i < 6; i++) {
        size_t len;
        const char *data = pond_value_data(kept[i], &len);
        assert_int_equal(len, lens[i]);
        key_number(&k, "len", lens[i]);
        assert_memory_equal(data, k.name, len < k.key.len ? len : k.key.len);
        assert_int_equal(data[len], 0);
        pond_value_free(kept[i]);
    }
}

static void assert_inspected(mp_cache *cache, const mp_key *k, int64_t now_ms, const char *expected) {
    mp_op op = run(cache, MP_INSPECT, k, 0, 0, NULL, now_ms);
    assert_int_equal(op.reply, MP_HIT);
    assert_int_equal(pond_value_codec(op.value), POND_JSON);
    assert_string_equal(pond_value_data(op.value, NULL), expected);
    pond_value_free(op.value);
}

static void inspect_tells_state_and_times(void **state) {
    mp_cache *cache = *state;
    key k;
    const mp_key *a = key_set(&k, "a");
    assert_inspected(cache, a, 10,
                     "{\"state\": \"miss\", \"why\": \"nothing is stored\", \"codec\": null, \"bytes\": null, "
                     "\"ttl_ms\": null, \"stale_ms\": null, \"keep_ms\": null, \"lease_ms\": null, "
                     "\"writers\": 0, \"intents_ms\": null, \"tags\": []}");
    lease(cache, a, 1, 500, 10);
    assert_inspected(cache, a, 110,
                     "{\"state\": \"miss\", \"why\": \"nothing is stored: its load is under way\", \"codec\": null, "
                     "\"bytes\": null, \"ttl_ms\": null, \"stale_ms\": null, \"keep_ms\": null, \"lease_ms\": 400, "
                     "\"writers\": 0, \"intents_ms\": null, \"tags\": []}");
    pond_value *value = mp_value_new(POND_VALUE, POND_EJSON, "{}", 2);
    fill(cache, a, 1, value, 300, 110);
    pond_value_free(value);
    assert_inspected(cache, a, 111,
                     "{\"state\": \"value\", \"codec\": \"ejson\", \"bytes\": 2, \"ttl_ms\": 299, \"stale_ms\": null, "
                     "\"keep_ms\": 0, \"lease_ms\": null, "
                     "\"writers\": 0, \"intents_ms\": null, \"tags\": []}");
    store_absence(cache, a, 300, 410);
    assert_inspected(cache, a, 411,
                     "{\"state\": \"absent\", \"codec\": \"none\", \"bytes\": 0, \"ttl_ms\": 299, \"stale_ms\": null, "
                     "\"keep_ms\": 0, \"lease_ms\": null, "
                     "\"writers\": 0, \"intents_ms\": null, \"tags\": []}");
}

static void describe_is_a_member_of_an_object(void **state) {
    mp_cache *cache = *state;
    key k;
    lease(cache, key_set(&k, "loading"), 1, 500, 1);
    store(cache, key_set(&k, "a"), 10, 1000, 1);
    store_absence(cache, key_set(&k, "b"), 1000, 1);
    mp_buf json;
    mp_buf_init(&json);
    cache->vt->describe(cache, &json);
    long long entries, bytes, negative, max, evictions, leases, intents;
    int end = 0;
    int n = sscanf(json.data,
                   "\"memory\": {\"entries\": %lld, \"bytes\": %lld, \"negative_bytes\": %lld, \"max_bytes\": %lld, "
                   "\"evictions\": %lld, \"leases\": %lld, \"intents\": %lld}%n",
                   &entries, &bytes, &negative, &max, &evictions, &leases, &intents, &end);
    assert_int_equal(n, 7);
    assert_int_equal(end, json.len);
    assert_int_equal(entries, 2);
    assert_int_equal(leases, 1);
    assert_int_equal(intents, 0);
    assert_int_equal(evictions, 0);
    assert_int_equal(max, 16 * MIB);
    assert_true(bytes > negative && negative > 0);
    mp_buf_free(&json);
}

/* Random operations on few keys at a moving time, against a plain model of the contract. Nothing is evicted here. */
static void every_answer_is_the_models(void **state) {
    enum { KEYS = 40, STEPS = 300000 };
    typedef struct model {
        pond_state state;
        uint32_t content;
        int64_t expires;
        uint64_t token;
        int64_t lease_expires;
    } model;
    mp_cache *cache = *state;
    model *models = calloc(KEYS, sizeof *models);
    uint64_t seed = 2024;
    int64_t now = 1000;
    uint32_t stored = 0;
    for (uint32_t step = 0; step < STEPS; step++) {
        key k;
        uint64_t i = next_random(&seed) % KEYS, token = 1 + next_random(&seed) % 3;
        int64_t ms = 1 + (int64_t)(next_random(&seed) % 60);
        model *m = &models[i];
        key_number(&k, "k", i);
        now += next_random(&seed) % 8 == 0;
        bool live = m->state != POND_MISS && m->expires > now;
        bool leased = m->token && m->lease_expires > now, mine = leased && m->token == token;
        static const mp_op_kind kinds[] = {MP_GET, MP_LEASE, MP_FILL, MP_RENEW, MP_RELEASE, MP_END};
        mp_op_kind kind = kinds[next_random(&seed) % 6];
        mp_reply expected = MP_DONE;
        pond_value *value = NULL;
        if (kind == MP_FILL) {
            bool absent = next_random(&seed) % 3 == 0;
            value = absent ? mp_value_absent() : mp_value_new(POND_VALUE, POND_BYTES, &step, sizeof step);
            expected = mine ? MP_STORED : MP_REFUSED;
            if (mine) *m = (model){.state = absent ? POND_ABSENT : POND_VALUE, .content = step, .expires = now + ms};
            stored += mine;
        }
        mp_op op = run(cache, kind, &k.key, token, kind == MP_RELEASE ? 0 : ms, value, now);
        if (kind == MP_FILL) pond_value_free(value);
        if (kind == MP_GET) expected = live ? MP_HIT : MP_MISSED;
        if (kind == MP_LEASE) expected = live ? MP_HIT : leased && !mine ? MP_BUSY : MP_LEASED;
        if (kind == MP_RENEW) expected = mine ? MP_STORED : MP_REFUSED;
        if (kind == MP_RELEASE) expected = mine ? MP_DONE : MP_REFUSED;
        assert_int_equal(op.reply, expected);
        if (op.reply == MP_HIT) {
            assert_int_equal(pond_value_state(op.value), m->state);
            if (m->state == POND_VALUE)
                assert_memory_equal(pond_value_data(op.value, NULL), &m->content, sizeof m->content);
            pond_value_free(op.value);
        }
        if (op.reply == MP_BUSY) assert_int_equal(op.ms, m->lease_expires - now);
        if (op.reply == MP_LEASED || (kind == MP_RENEW && mine)) {
            m->token = token;
            m->lease_expires = now + ms;
        }
        if (kind == MP_RELEASE && mine) m->token = 0;
        if (kind == MP_END) *m = (model){.state = POND_MISS};
    }
    assert_true(stored > 1000);
    assert_int_equal(described(cache, "evictions"), 0);
    free(models);
}

/* Names. */

static int open_named(mp_cache **out, const char *address, int64_t max, pond_error **err) {
    mp_options options;
    assert_true(mp_options_init(&options));
    free(options.cache);
    options.cache = strdup(address);
    options.memory_max = max;
    int code = mp_memory_open(out, &options, err);
    mp_options_free(&options);
    return code;
}

static mp_cache *opened(const char *address, int64_t max) {
    mp_cache *cache = NULL;
    assert_int_equal(open_named(&cache, address, max, NULL), POND_OK);
    assert_string_equal(cache->vt->scheme, "memory");
    return cache;
}

static void a_name_is_one_cache_of_the_process(void **state) {
    key k;
    mp_cache *a = opened("memory:", 16 * MIB), *b = opened("memory:", 16 * MIB), *c = opened("memory:A-z_0.9", MIB);
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, c);
    store(a, key_set(&k, "x"), 5, 1000, 1);
    assert_int_equal(get(c, &k.key, 1), MP_MISSED);
    a->vt->close(a);
    assert_int_equal(get(b, &k.key, 1), MP_HIT);
    b->vt->close(b);
    c->vt->close(c);
    a = opened("memory:", 32 * MIB); /* the last one closed it: empty, and of another size */
    assert_int_equal(get(a, &k.key, 1), MP_MISSED);
    a->vt->close(a);
}

static void assert_refused(const char *address, int64_t max, int code, const char *named) {
    mp_cache *cache = NULL;
    pond_error *err = NULL;
    assert_int_equal(open_named(&cache, address, max, &err), code);
    assert_null(cache);
    assert_int_equal(pond_error_code(err), code);
    assert_non_null(strstr(pond_error_message(err), named));
    pond_error_free(err);
}

static void bad_names_and_other_sizes_are_refused(void **state) {
    char longest[] = "memory:0123456789012345678901234567890123456789012345678901234567890123";
    assert_int_equal(strlen(longest), strlen("memory:") + 64);
    mp_cache *a = opened(longest, MIB);
    a->vt->close(a);
    assert_refused("memory:01234567890123456789012345678901234567890123456789012345678901234", MIB, POND_EURL,
                   "65 characters");
    assert_refused("memory:a/b", MIB, POND_EURL, "\"a/b\"");
    assert_refused("memory:a b", MIB, POND_EURL, "\"a b\"");
    assert_refused("memory://", MIB, POND_EURL, "\"//\"");
    assert_refused("memory:caf\xc3\xa9", MIB, POND_EURL, "memory:");
    assert_refused("redis://x", MIB, POND_EURL, "\"redis://x\"");

    a = opened("memory:one", 2 * MIB);
    assert_refused("memory:one", 3 * MIB, POND_EOPTION, "memory_max: 3145728 bytes");
    a->vt->close(a);
    a = opened("memory:one", 3 * MIB); /* the refused one left no reference */
    a->vt->close(a);
}

static void a_child_of_fork_has_caches_of_its_own(void **state) {
    key k;
    mp_cache *a = opened("memory:forked", MIB);
    store(a, key_set(&k, "x"), 5, 1000, 1);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        mp_cache *b = NULL;
        int code = open_named(&b, "memory:forked", 2 * MIB, NULL); /* not even the size of the parent's */
        bool fresh =
            code == POND_OK && b != a && get(b, &k.key, 1) == MP_MISSED && store(b, &k.key, 5, 9, 1) == MP_STORED;
        a->vt->close(a);
        if (fresh) b->vt->close(b);
        _exit(fresh ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(get(a, &k.key, 1), MP_HIT);
    a->vt->close(a);
}

static void a_link_takes_the_time_of_its_loop(void **state) {
    mp_cache *cache = *state;
    mp_loop *loop = mp_loop_new();
    mp_link *link = cache->vt->link_open(cache, loop);
    assert_non_null(link);
    assert_ptr_equal(link->vt, cache->vt);
    mp_loop_lock(loop);
    mp_loop_touch(loop);
    int64_t now = mp_loop_now(loop);
    key k;
    mp_op op = {.kind = MP_LEASE, .key = *key_set(&k, "a"), .lease_ms = 500, .done = op_done};
    link->vt->submit(link, &op);
    assert_int_equal(op.reply, MP_LEASED);
    link->vt->forget(link, &op);
    op = run(cache, MP_LEASE, &k.key, 2, 500, NULL, now + 100);
    assert_int_equal(op.reply, MP_BUSY);
    assert_int_equal(op.ms, 400);
    link->vt->link_close(link);
    mp_loop_unlock(loop);
    mp_loop_free(loop);
}

/* Threads. */

enum { WORKERS = 4, SHARED_KEYS = 64 };

typedef struct worker {
    pthread_t id;
    mp_cache *cache;
    uint64_t seed;
    uint32_t rounds;
    atomic_int *loading; /* one counter a key */
    uint32_t loads, hits, failures;
} worker;

/* Leases do not run out here, so between LEASED and the end of the lease nobody else may be in. */
static void load_once(worker *w, const mp_key *k, uint64_t i) {
    uint64_t token = next_random(&w->seed);
    mp_reply reply = lease(w->cache, k, token, 1000000, 1);
    if (reply == MP_HIT) w->hits++;
    if (reply != MP_LEASED) return;
    w->failures += atomic_fetch_add(&w->loading[i], 1) != 0;
    w->loads++;
    char data[2000];
    size_t len = k->len + next_random(&w->seed) % (sizeof data - k->len);
    memset(data, 'x', sizeof data);
    memcpy(data, k->name, k->len);
    pond_value *value = mp_value_new(POND_VALUE, POND_BYTES, data, len);
    atomic_fetch_sub(&w->loading[i], 1);
    if (next_random(&w->seed) % 4) w->failures += fill(w->cache, k, token, value, 1000, 1) != MP_STORED;
    else run(w->cache, MP_RELEASE, k, token, 0, NULL, 1);
    pond_value_free(value);
}

static void drop_value(worker *w, const mp_key *k) { /* by time, since an invalidation would end others' leases */
    peeked(w->cache, k, 2000);
}

static void *work(void *arg) {
    worker *w = arg;
    for (uint32_t round = 0; round < w->rounds; round++) {
        key k;
        uint64_t i = next_random(&w->seed) % SHARED_KEYS;
        key_number(&k, "shared", i);
        switch (next_random(&w->seed) % 8) {
        case 0: drop_value(w, &k.key); break;
        case 1: load_once(w, &k.key, i); break;
        case 2: /* keys that nobody else has, so that tables grow and entries go */
            key_number(&k, "own", w->seed);
            w->failures += store(w->cache, &k.key, 400, 1000, 1) != MP_STORED;
            break;
        case 3:
            key_number(&k, "none", w->seed);
            w->failures += store_absence(w->cache, &k.key, 1000, 1) != MP_STORED;
            break;
        default: w->hits += peeked(w->cache, &k.key, 1) == POND_VALUE;
        }
        if (round % 1024 == 0) described(w->cache, "bytes");
    }
    return NULL;
}

static void threads_share_values_and_exclude_each_other(void **state) {
    mp_cache *cache = mp_memory_new(2 * MIB);
    static atomic_int loading[SHARED_KEYS];
    worker workers[WORKERS];
    uint64_t loads = 0, hits = 0;
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (worker){.cache = cache, .seed = 77u + (unsigned)i, .rounds = 40000, .loading = loading};
        assert_int_equal(pthread_create(&workers[i].id, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(workers[i].id, NULL);
        assert_int_equal(workers[i].failures, 0);
        loads += workers[i].loads;
        hits += workers[i].hits;
    }
    assert_true(loads > 1000 && hits > 1000);
    assert_true(described(cache, "bytes") <= 2 * MIB);
    assert_true(described(cache, "evictions") > 1000);
    assert_int_equal(described(cache, "leases"), 0);
    mp_memory_free(cache);
}

/* A reader who starts after an invalidation has returned does not see what was loaded before it. */
typedef struct invalidation {
    mp_cache *cache;
    key k;
    atomic_uint truth; /* what a load finds */
    atomic_bool stop;
    atomic_uint stale, fills;
} invalidation;

static void *load_forever(void *arg) {
    invalidation *v = arg;
    for (uint64_t token = 1; !atomic_load(&v->stop); token++) {
        unsigned least = atomic_load(&v->truth);
        mp_op op = run(v->cache, MP_LEASE, &v->k.key, token, 1000, NULL, 1);
        if (op.reply == MP_LEASED) {
            unsigned found = atomic_load(&v->truth);
            pond_value *value = mp_value_new(POND_VALUE, POND_BYTES, &found, sizeof found);
            if (fill(v->cache, &v->k.key, token, value, 1000, 1) == MP_STORED) atomic_fetch_add(&v->fills, 1);
            pond_value_free(value);
        } else if (op.reply == MP_HIT) {
            unsigned seen;
            memcpy(&seen, pond_value_data(op.value, NULL), sizeof seen);
            if (seen + 1 < least) atomic_fetch_add(&v->stale, 1);
            pond_value_free(op.value);
        }
    }
    return NULL;
}

static void an_invalidation_ends_loads_of_before(void **state) {
    invalidation v = {.cache = *state};
    pthread_t loader;
    key_set(&v.k, "a");
    assert_int_equal(pthread_create(&loader, NULL, load_forever, &v), 0);
    for (unsigned round = 0; round < 20000 || atomic_load(&v.fills) < 1000; round++) {
        /* `least` may be read between the write and its invalidation: one write may be missing, not two. */
        atomic_fetch_add(&v.truth, 1);
        run(v.cache, MP_END, &v.k.key, 0, 0, NULL, 1);
        pond_value *value = v.cache->vt->peek(v.cache, NULL, &v.k.key, 0, 1);
        if (!value) continue;
        unsigned seen;
        memcpy(&seen, pond_value_data(value, NULL), sizeof seen);
        if (seen != round + 1) atomic_fetch_add(&v.stale, 1);
        pond_value_free(value);
    }
    atomic_store(&v.stop, true);
    pthread_join(loader, NULL);
    assert_int_equal(atomic_load(&v.stale), 0);
}

int main(void) {
#define WITH_CACHE(test) cmocka_unit_test_setup_teardown(test, new_cache, free_cache)
    const struct CMUnitTest tests[] = {
        WITH_CACHE(a_value_is_leased_filled_and_hit),
        WITH_CACHE(a_lease_stands_until_its_time),
        WITH_CACHE(only_the_holder_renews_and_releases),
        WITH_CACHE(invalidate_drops_value_absence_and_lease),
        WITH_CACHE(an_absence_is_the_one_absent_value),
        WITH_CACHE(what_cannot_be_kept_is_refused_and_ends_the_lease),
        cmocka_unit_test(small_and_large_values_outlive_the_cache),
        WITH_CACHE(inspect_tells_state_and_times),
        WITH_CACHE(describe_is_a_member_of_an_object),
        WITH_CACHE(every_answer_is_the_models),
        cmocka_unit_test(a_name_is_one_cache_of_the_process),
        cmocka_unit_test(bad_names_and_other_sizes_are_refused),
        cmocka_unit_test(a_child_of_fork_has_caches_of_its_own),
        WITH_CACHE(a_link_takes_the_time_of_its_loop),
        cmocka_unit_test(threads_share_values_and_exclude_each_other),
        WITH_CACHE(an_invalidation_ends_loads_of_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
