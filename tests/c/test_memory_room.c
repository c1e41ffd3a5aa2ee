/* cache/memory: bounds and eviction: what goes, what stays, and the table below it. */
#include "memory_ops.h"

#include "base/list.h"
#include "cache/memory_lease.h"
#include "cache/memory_table.h"

#define MIB (1ll << 20)

/* References to compare with: the same accesses on a FIFO and an LRU queue of a fixed number of keys. */

typedef struct slot {
    mp_node node;
    bool cached;
} slot;

typedef struct queue_cache {
    slot *slots;
    mp_node order;
    size_t cached, room;
    bool lru;
} queue_cache;

static void queue_init(queue_cache *q, size_t keys, size_t room, bool lru) {
    *q = (queue_cache){.slots = calloc(keys, sizeof(slot)), .room = room, .lru = lru};
    assert_non_null(q->slots);
    for (size_t i = 0; i < keys; i++) mp_list_init(&q->slots[i].node);
    mp_list_init(&q->order);
}

static bool queue_ask(queue_cache *q, size_t i) {
    slot *s = &q->slots[i];
    bool hit = s->cached;
    if (!hit) {
        s->cached = true;
        if (++q->cached > q->room) {
            MP_OF(mp_list_shift(&q->order), slot, node)->cached = false;
            q->cached--;
        }
    }
    if (!hit || q->lru) {
        mp_list_remove(&s->node);
        mp_list_push(&q->order, &s->node);
    }
    return hit;
}

/* The cache asked as a program would: a miss is loaded and filled. */
static bool ask(mp_cache *cache, size_t i, int64_t now_ms) {
    key k;
    key_number(&k, "k", i);
    if (peeked(cache, &k.key, now_ms) == POND_VALUE) return true;
    assert_int_equal(store(cache, &k.key, 200, 1000000, now_ms), MP_STORED);
    return false;
}

/* How many entries of these fit. */
static size_t room_of(int64_t max) {
    mp_cache *cache = mp_memory_new(max);
    for (size_t i = 0; described(cache, "evictions") < 1000; i += 100)
        for (size_t j = 0; j < 100; j++) ask(cache, i + j, 1);
    size_t room = (size_t)described(cache, "entries");
    mp_memory_free(cache);
    return room;
}

static void a_scan_leaves_the_hot_set(void **state) {
    size_t room = room_of(4 * MIB), hot = room / 2, keys = hot + 10 * room, i;
    size_t kept = 0, kept_fifo = 0, kept_lru = 0;
    mp_cache *cache = mp_memory_new(4 * MIB);
    queue_cache fifo, lru;
    queue_init(&fifo, keys, room, false);
    queue_init(&lru, keys, room, true);
    assert_true(room > 5000);
    for (int round = 0; round < 4; round++)
        for (i = 0; i < hot; i++) ask(cache, i, 1), queue_ask(&fifo, i), queue_ask(&lru, i);
    for (i = hot; i < keys; i++) ask(cache, i, 1), queue_ask(&fifo, i), queue_ask(&lru, i);
    for (i = 0; i < hot; i++) {
        key k;
        kept += peeked(cache, key_number(&k, "k", i), 1) == POND_VALUE;
        kept_fifo += fifo.slots[i].cached;
        kept_lru += lru.slots[i].cached;
    }
    print_message("of %zu hot keys a scan of %zu left %zu (FIFO %zu, LRU %zu)\n", hot, keys - hot, kept, kept_fifo,
                  kept_lru);
    assert_int_equal(kept_fifo, 0);
    assert_int_equal(kept_lru, 0);
    assert_true(kept * 100 >= hot * 95);
    assert_true(described(cache, "bytes") <= 4 * MIB);
    mp_memory_free(cache);
    free(fifo.slots);
    free(lru.slots);
}

/* Half of the accesses to a skewed set larger than the cache, half to keys that come once: the usual web mixture. */
static void a_mixed_load_hits_more_than_lru(void **state) {
    size_t room = room_of(4 * MIB), set = 4 * room, total = 60 * room, hits = 0, fifo_hits = 0, lru_hits = 0;
    mp_cache *cache = mp_memory_new(4 * MIB);
    queue_cache fifo, lru;
    queue_init(&fifo, set + total, room, false);
    queue_init(&lru, set + total, room, true);
    uint64_t seed = 5;
    for (size_t n = 0; n < total; n++) {
        double x = (double)(next_random(&seed) >> 11) / (double)(UINT64_C(1) << 53);
        size_t i = n % 2 ? set + n : (size_t)(x * x * x * (double)set);
        hits += ask(cache, i, 1);
        fifo_hits += queue_ask(&fifo, i);
        lru_hits += queue_ask(&lru, i);
    }
    print_message("hits of %zu: %zu (FIFO %zu, LRU %zu)\n", total, hits, fifo_hits, lru_hits);
    assert_true(lru_hits > fifo_hits);
    assert_true(hits * 100 > lru_hits * 105);
    mp_memory_free(cache);
    free(fifo.slots);
    free(lru.slots);
}

/* A hot entry that runs out of time, or is invalidated, returns to where it was. */
static void a_refreshed_hot_key_survives_a_scan(void **state) {
    mp_cache *cache = mp_memory_new(4 * MIB);
    size_t room = room_of(4 * MIB), kept = 0, i;
    key k;
    for (int round = 0; round < 4; round++)
        for (i = 0; i < 100; i++) ask(cache, i, 1);
    for (i = 1000; i < 1000 + 2 * room; i++) ask(cache, i, 1); /* now they are in the main queue */
    for (i = 0; i < 100; i++) {
        assert_int_equal(peeked(cache, key_number(&k, "k", i), 1), POND_VALUE);
        run(cache, MP_END, &k.key, 9, 0, NULL, 1);
        assert_false(ask(cache, i, 1)); /* loaded again, and not asked for since */
    }
    for (i = 1000000; i < 1000000 + room; i++) ask(cache, i, 1);
    for (i = 0; i < 100; i++) kept += peeked(cache, key_number(&k, "k", i), 1) == POND_VALUE;
    assert_true(kept >= 90);
    mp_memory_free(cache);
}

static void absences_never_push_out_a_value(void **state) {
    enum { MAX = 4 << 20 };
    mp_cache *cache = mp_memory_new(MAX);
    size_t room = room_of(MAX), i;
    key k;
    for (i = 0; i < 2 * room; i++) ask(cache, i, 1);
    size_t before = 0, after = 0;
    for (i = 0; i < 2 * room; i++) before += peeked(cache, key_number(&k, "k", i), 1) == POND_VALUE;
    int64_t entries = described(cache, "entries");
    assert_int_equal(entries, before);

    key hot;
    assert_int_equal(store_absence(cache, key_set(&hot, "hot"), 1000, 1), MP_STORED);
    for (i = 0; i < 200000; i++) {
        assert_int_equal(store_absence(cache, key_number(&k, "random", i), 1000, 1), MP_STORED);
        if (i % 64 == 0) assert_int_equal(peeked(cache, &hot.key, 1), POND_ABSENT);
        if (i % 1000 == 0) assert_true(described(cache, "negative_bytes") <= MAX / 10);
    }
    for (i = 0; i < 2 * room; i++) after += peeked(cache, key_number(&k, "k", i), 1) == POND_VALUE;
    assert_int_equal(after, before);
    assert_true(described(cache, "entries") - entries > 1000); /* absences are kept, too */
    assert_true(described(cache, "negative_bytes") > MAX / 10 * 9 / 10);
    assert_true(described(cache, "bytes") <= MAX);

    for (i = 0; i < 3 * room; i++) ask(cache, 5 * room + i, 1); /* nor the other way round */
    assert_int_equal(peeked(cache, &hot.key, 1), POND_ABSENT);
    mp_memory_free(cache);
}

static void the_bound_holds_after_every_operation(void **state) {
    static const int64_t sizes[] = {MIB, 3 * MIB, 80 * MIB};
    for (int n = 0; n < 3; n++) {
        mp_cache *cache = mp_memory_new(sizes[n]);
        uint64_t seed = 3;
        for (uint32_t step = 0; step < 20000; step++) {
            key k;
            uint64_t r = next_random(&seed);
            size_t len = r % 50 == 0 ? r % (size_t)(sizes[n] / 6) : r % 900;
            key_number(&k, "k", next_random(&seed) % 30000);
            int64_t now = step / 10;
            mp_reply reply = r % 4 == 0 ? store_absence(cache, &k.key, 500, now) : store(cache, &k.key, len, 500, now);
            if (reply == MP_REFUSED) assert_true((int64_t)len > sizes[n] / 8 - 1024);
            else assert_true(reply == MP_STORED || reply == MP_HIT);
            if (reply == MP_STORED && len < 100000) assert_true(peeked(cache, &k.key, now) != POND_MISS);
            assert_true(described(cache, "bytes") <= sizes[n]);
        }
        assert_true(described(cache, "evictions") > 0);
        assert_int_equal(described(cache, "leases"), 0);
        mp_memory_free(cache);
    }
}

static size_t count_kept(mp_cache *cache, size_t n) {
    key k;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) kept += peeked(cache, key_number(&k, "k", i), 1) == POND_VALUE;
    return kept;
}

static void a_large_value_costs_what_it_takes(void **state) {
    enum { MAX = 64 << 20, N = 400000 };
    mp_cache *cache = mp_memory_new(MAX);
    key k;
    for (size_t i = 0; i < N; i++) ask(cache, i, 1);
    size_t full = count_kept(cache, N);
    assert_true(full > 100000 && full < N);

    assert_int_equal(store(cache, key_set(&k, "too large"), MAX / 8, 1000, 1), MP_REFUSED);
    assert_int_equal(count_kept(cache, N), full); /* nothing went for it */
    assert_int_equal(described(cache, "leases"), 0);

    /* Many times a shard's share: every shard gives a little, and it stays itself. */
    assert_int_equal(store(cache, key_set(&k, "large"), MAX / 8 - 4096, 1000, 1), MP_STORED);
    assert_int_equal(peeked(cache, &k.key, 1), POND_VALUE);
    size_t left = count_kept(cache, N);
    assert_true(full - left < full / 6 && full - left > full / 10);
    assert_true(described(cache, "bytes") <= MAX);
    for (size_t i = 0; i < 1000; i++) ask(cache, N + i, 1); /* a few more do not push it out at once */
    assert_int_equal(peeked(cache, &k.key, 1), POND_VALUE);
    mp_memory_free(cache);
}

static void a_scan_of_large_values_leaves_the_hot_set(void **state) {
    enum { MAX = 64 << 20 };
    mp_cache *cache = mp_memory_new(MAX);
    key k;
    size_t hot = 80000;
    for (int round = 0; round < 4; round++)
        for (size_t i = 0; i < hot; i++) ask(cache, i, 1);
    assert_int_equal(count_kept(cache, hot), hot); /* half of the room */
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(store(cache, key_number(&k, "large", i), MAX / 10, 1000, 1), MP_STORED);
    size_t left = count_kept(cache, hot);
    print_message("of %zu hot keys a scan of 100 values, each a tenth of the room, left %zu\n", hot, left);
    assert_true(left * 100 >= hot * 95);
    mp_memory_free(cache);
}

static void what_is_over_makes_room_by_itself(void **state) {
    mp_cache *cache = mp_memory_new(64 * MIB);
    key k;
    for (int64_t now = 1; now <= 100000; now++) {
        assert_int_equal(store(cache, key_number(&k, "k", (uint64_t)now), 100, 1000, now), MP_STORED);
        assert_int_equal(store_absence(cache, key_number(&k, "n", (uint64_t)now), 500, now), MP_STORED);
    }
    assert_true(described(cache, "entries") < 2000); /* 1500 live, and a few that were not come upon yet */
    assert_int_equal(described(cache, "evictions"), 0);
    mp_memory_free(cache);
}

static void leases_are_bounded_and_the_oldest_goes(void **state) {
    mp_cache *cache = mp_memory_new(MIB);
    key k;
    for (uint64_t i = 0; i < 100000; i++) {
        assert_int_equal(lease(cache, key_number(&k, "k", i), 7, 1000000, 1), MP_LEASED);
        if (i % 1000 == 0) assert_true(described(cache, "bytes") < MIB / 4);
    }
    assert_true(described(cache, "leases") >= 256);
    assert_int_equal(fill(cache, &k.key, 7, mp_value_absent(), 1000, 1), MP_STORED);
    assert_int_equal(fill(cache, key_number(&k, "k", 0), 7, mp_value_absent(), 1000, 1), MP_REFUSED);
    assert_int_equal(lease(cache, &k.key, 8, 1000, 1), MP_LEASED);
    mp_memory_free(cache);
}

static void leases_that_are_over_are_reclaimed(void **state) {
    mp_cache *cache = mp_memory_new(64 * MIB);
    key k;
    for (uint64_t i = 0; i < 10000; i++) lease(cache, key_number(&k, "dead", i), 7, 100, 1);
    assert_int_equal(described(cache, "leases"), 10000);
    for (uint64_t i = 0; i < 20000; i++) { /* each grant ends at least as many as it makes */
        lease(cache, key_number(&k, "new", i), 7, 100, 200);
        run(cache, MP_RELEASE, &k.key, 7, 0, NULL, 200);
    }
    assert_true(described(cache, "leases") < 100);
    mp_memory_free(cache);
}

/* The table: random adding and removing among more keys than a segment holds, against a flag for each. */

typedef struct item {
    mp_mitem head;
    char key[12];
    bool in;
} item;

static void the_table_finds_what_is_in_it(void **state) {
    enum { N = 50000, STEPS = 1000000 };
    mp_mtable table;
    item *items = calloc(N, sizeof *items);
    uint64_t seed = 11;
    uint32_t in = 0;
    mp_mtable_init(&table);
    for (uint32_t i = 0; i < N; i++) {
        items[i].head.key_at = offsetof(item, key);
        items[i].head.key_len = (uint16_t)snprintf(items[i].key, sizeof items[i].key, "%u", i);
        items[i].head.hash = (uint32_t)next_random(&seed);
        if (i % 16 == 1) items[i].head.hash = items[i - 1].head.hash; /* another key, but the same hash */
    }
    assert_null(mp_mtable_find(&table, 1, "1", 1));
    for (uint32_t step = 0; step < STEPS; step++) {
        /* Growing first, then shrinking to little, then growing again. */
        uint64_t r = next_random(&seed), bias = step / (STEPS / 5) % 2 ? 3 : 1;
        item *i = &items[r % N];
        assert_ptr_equal(mp_mtable_find(&table, i->head.hash, i->key, i->head.key_len), i->in ? &i->head : NULL);
        if (i->in && r >> 32 & bias) {
            mp_mtable_remove(&table, &i->head);
            i->in = false;
            in--;
        } else if (!i->in && (bias == 1 || (r >> 40) % 8 == 0)) {
            assert_true(mp_mtable_add(&table, &i->head));
            i->in = true;
            in++;
        }
        assert_int_equal(table.count, in);
    }
    for (uint32_t i = 0; i < N; i++)
        assert_ptr_equal(mp_mtable_find(&table, items[i].head.hash, items[i].key, items[i].head.key_len),
                         items[i].in ? &items[i].head : NULL);
    assert_true(table.bytes < 40 * (int64_t)N);
    mp_mtable_free(&table);
    free(items);
}

/* Keys of one hash cannot be told apart by splitting: the table says no, and does not grow for ever. */
static void the_table_refuses_what_it_cannot_split(void **state) {
    enum { N = 300 };
    mp_mtable table;
    item *items = calloc(N, sizeof *items);
    uint32_t in = 0;
    mp_mtable_init(&table);
    for (uint32_t i = 0; i < N; i++) {
        items[i].head.key_at = offsetof(item, key);
        items[i].head.key_len = (uint16_t)snprintf(items[i].key, sizeof items[i].key, "%u", i);
        items[i].head.hash = 0xabcd1234u;
        items[i].in = mp_mtable_add(&table, &items[i].head);
        in += items[i].in;
    }
    assert_int_equal(table.count, in);
    assert_true(in >= 190 && in < N);
    for (uint32_t i = 0; i < N; i++)
        assert_ptr_equal(mp_mtable_find(&table, 0xabcd1234u, items[i].key, items[i].head.key_len),
                         items[i].in ? &items[i].head : NULL);
    for (uint32_t i = 0; i < N; i++)
        if (items[i].in) mp_mtable_remove(&table, &items[i].head);
    assert_int_equal(table.count, 0);
    mp_mtable_free(&table);
    free(items);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scan_leaves_the_hot_set),
        cmocka_unit_test(a_mixed_load_hits_more_than_lru),
        cmocka_unit_test(a_refreshed_hot_key_survives_a_scan),
        cmocka_unit_test(absences_never_push_out_a_value),
        cmocka_unit_test(the_bound_holds_after_every_operation),
        cmocka_unit_test(a_large_value_costs_what_it_takes),
        cmocka_unit_test(a_scan_of_large_values_leaves_the_hot_set),
        cmocka_unit_test(what_is_over_makes_room_by_itself),
        cmocka_unit_test(leases_are_bounded_and_the_oldest_goes),
        cmocka_unit_test(leases_that_are_over_are_reclaimed),
        cmocka_unit_test(the_table_finds_what_is_in_it),
        cmocka_unit_test(the_table_refuses_what_it_cannot_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
