/* cache/memory under an allocator that fails, and what it counts beside what it takes.
 *
 * This program replaces malloc and its kin. So do sanitizers: in their builds it is skipped. */
#include "memory_ops.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define REPLACED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define REPLACED 0
#endif
#endif
#ifndef REPLACED
#define REPLACED 1
#endif

#if REPLACED
#include <errno.h>
#include <malloc.h>

/* glibc's own, under the names that it keeps for this. */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static bool counting;
static int64_t fail_at = -1; /* the allocation that fails, counted down; -1 = none */
static bool fail_from;       /* all after it fail as well */
static int64_t blocks, bytes;

static bool fails(void) {
    if (!counting || fail_at < 0) return false;
    if (fail_at > 0) {
        fail_at--;
        return false;
    }
    if (!fail_from) fail_at = -1;
    errno = ENOMEM;
    return true;
}

static void *made(void *p) {
    if (counting && p) {
        blocks++;
        bytes += (int64_t)(malloc_usable_size(p) + sizeof(size_t));
    }
    return p;
}

static void gone(void *p) {
    if (counting && p) {
        blocks--;
        bytes -= (int64_t)(malloc_usable_size(p) + sizeof(size_t));
    }
}

void *malloc(size_t size) { return fails() ? NULL : made(__libc_malloc(size)); }
void *calloc(size_t n, size_t size) { return fails() ? NULL : made(__libc_calloc(n, size)); }
void *aligned_alloc(size_t align, size_t size) { return fails() ? NULL : made(__libc_memalign(align, size)); }
void *memalign(size_t align, size_t size) { return aligned_alloc(align, size); }
int posix_memalign(void **out, size_t align, size_t size) {
    void *p = aligned_alloc(align, size);
    if (p) *out = p;
    return p ? 0 : ENOMEM;
}
void *realloc(void *p, size_t size) {
    if (fails()) return NULL;
    gone(p);
    return made(__libc_realloc(p, size));
}
void free(void *p) {
    gone(p);
    __libc_free(p);
}

/* Keys of one shard (the top bits of the hash choose it), so that its tables split and entries have to go. */
enum { KEYS = 700 };
static uint64_t numbers[KEYS];

static int choose_keys(void **state) {
    key k;
    for (uint64_t i = 0, n = 0; n < KEYS; i++)
        if (key_number(&k, "k", i)->hash >> 60 == 0) numbers[n++] = i;
    return 0;
}

static bool failed_well(mp_op *op) {
    if (op->reply != MP_FAILED) return false;
    if (pond_error_code(op->error) != POND_ENOMEM) abort();
    pond_error_free(op->error);
    return true;
}

/* Every answer is one that the contract allows, and what was STORED is there at once. How many operations failed. */
static uint32_t exercise(mp_cache *cache) {
    static char data[4000];
    uint32_t failed = 0;
    for (uint64_t i = 0; i < KEYS; i++) {
        key k;
        key_number(&k, "k", numbers[i]);
        mp_op op = run(cache, MP_LEASE, &k.key, i, 1000, NULL, 1);
        if (failed_well(&op)) {
            failed++;
            continue;
        }
        if (op.reply != MP_LEASED) abort();
        memcpy(data, k.name, k.key.len);
        size_t len = i % 2 ? 3000 + i : 200;
        pond_value *value = i % 5 == 0 ? mp_value_absent() : mp_value_new(POND_VALUE, POND_BYTES, data, len);
        if (!value) { /* not the cache's fault */
            run(cache, MP_RELEASE, &k.key, i, 0, NULL, 1);
            failed++;
            continue;
        }
        op = run(cache, MP_FILL, &k.key, i, 1000, value, 1);
        pond_value_free(value);
        if (failed_well(&op)) failed++;
        else if (op.reply != MP_STORED || peeked(cache, &k.key, 1) == POND_MISS) abort();
        if (lease(cache, &k.key, 1u << 30, 1000, 1) == MP_BUSY) abort(); /* a fill ends the lease whatever it answers */
        run(cache, MP_RELEASE, &k.key, 1u << 30, 0, NULL, 1);
        if (i % 100 == 0) {
            op = run(cache, MP_INSPECT, &k.key, 0, 0, NULL, 1);
            if (failed_well(&op)) failed++;
            else pond_value_free(op.value);
        }
    }
    return failed;
}

static void round_of(int64_t at, bool from, uint32_t *failed, bool *reached) {
    blocks = bytes = 0;
    counting = true;
    fail_at = at;
    fail_from = from;
    mp_cache *cache = mp_memory_new(1 << 20);
    *failed = cache ? exercise(cache) : 1;
    *reached = from ? fail_at == 0 : fail_at < 0;
    fail_at = -1;
    if (cache && *reached) {
        key k;
        if (store(cache, key_set(&k, "after"), 700, 1000, 1) != MP_STORED)
            abort(); /* memory is back, and all is well */
        if (described(cache, "bytes") > 1 << 20) abort();
    }
    if (cache) mp_memory_free(cache);
    counting = false;
}

static void any_allocation_fails(void **state) {
    uint32_t failed, rounds = 0, costly = 0;
    bool reached = true;
    for (; reached; rounds++) {
        round_of(rounds, false, &failed, &reached);
        assert_int_equal(blocks, 0); /* nothing leaked */
        assert_int_equal(bytes, 0);
        assert_true(failed <= 1);
        costly += failed;
    }
    assert_true(rounds > 2 * KEYS);
    assert_in_range(costly, rounds * 9 / 10,
                    rounds - 10); /* free: a table that did not split, ghosts without room... */
}

static void all_allocations_fail_from_some_on(void **state) {
    uint32_t failed;
    bool reached = true;
    for (int64_t at = 0; reached; at += at < 20 ? 1 : 47) {
        round_of(at, true, &failed, &reached);
        assert_int_equal(blocks, 0);
        assert_int_equal(bytes, 0);
        if (reached) assert_true(failed > 0);
    }
}

static void opening_fails_without_memory(void **state) {
    mp_options options;
    assert_true(mp_options_init(&options));
    for (int64_t at = 0; at < 2; at++) {
        mp_cache *cache = NULL;
        pond_error *err = NULL;
        counting = true;
        fail_at = at;
        fail_from = true;
        int code = mp_memory_open(&cache, &options, &err);
        counting = false;
        fail_at = -1;
        assert_int_equal(code, POND_ENOMEM);
        assert_int_equal(pond_error_code(err), POND_ENOMEM);
        assert_null(cache);
        pond_error_free(err);
    }
    mp_cache *cache = NULL;
    assert_int_equal(mp_memory_open(&cache, &options, NULL), POND_OK);
    cache->vt->close(cache);
    mp_options_free(&options);
}

/* What describe() says beside what malloc gave, full, for several sizes of values. */
static void what_is_counted_is_what_is_taken(void **state) {
    static const size_t lens[] = {0, 20, 300, 1000, 1100, 5000, 50000, 500000};
    for (size_t n = 0; n < sizeof lens / sizeof lens[0]; n++) {
        key k;
        blocks = bytes = 0;
        counting = true;
        mp_cache *cache = mp_memory_new(16 << 20);
        for (uint64_t i = 0; described(cache, "evictions") < 100; i++)
            for (uint64_t j = 0; j < 20; j++)
                if (store(cache, key_number(&k, "k", i * 20 + j), lens[n], 1000, 1) != MP_STORED) abort();
        int64_t taken = bytes, counted = described(cache, "bytes"), entries = described(cache, "entries");
        mp_memory_free(cache);
        counting = false;
        print_message(
            "values of %6zu bytes: %6lld entries, counted %lld, taken %lld (%+.2f %%), %.1f bytes of overhead\n",
            lens[n], (long long)entries, (long long)counted, (long long)taken,
            100.0 * (double)(counted - taken) / (double)taken,
            ((double)taken - (double)entries * (double)(lens[n] + 7)) / (double)entries);
        assert_int_equal(blocks, 0);
        assert_true(counted <= 16 << 20);
        assert_true(taken <= 16 << 20);
        /* Blocks that are mapped on their own take up to a page more than is counted. */
        assert_in_range(counted, taken - taken / 1000, taken + taken / 20);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(any_allocation_fails, choose_keys),
        cmocka_unit_test_setup(all_allocations_fail_from_some_on, choose_keys),
        cmocka_unit_test(opening_fails_without_memory),
        cmocka_unit_test(what_is_counted_is_what_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else
static void the_allocator_is_replaced(void **state) { skip(); }

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_allocator_is_replaced)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
