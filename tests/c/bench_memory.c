/* The memory: cache alone: nanoseconds per hit, per miss and per fill, and bytes per entry.
 *
 *   bench_memory [ENTRIES...]     default 10000 100000 1000000
 *   bench_memory sqlite [ENTRIES...]     as a pond over a sqlite: store has it: each look-up also asks what others have changed
 *
 * Values of 300 bytes under keys of about 20; the keys are made and hashed beforehand and asked for in an order drawn at
 * random (uniform, or zipf with exponent 0.99), so what is measured is the look-up with its reference taken and dropped. */
#include <assert.h>
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "cache/memory.h"
#include "store/sqlite_pool.h"

enum { VALUE = 300, ASKED = 1 << 20, ROUNDS = 5, THREADS_MAX = 2, NAME = 32 };

typedef struct asker {
    mp_cache *cache;
    const mp_key *keys;
    const uint32_t *order;
    uint64_t hits;
    double ns;
} asker;

static pthread_barrier_t barrier;
static mp_shared *shared; /* NULL: there are no others */

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static uint64_t next_random(uint64_t *state) { /* splitmix64 */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static size_t resident(void) {
    long pages = 0, all = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f) {
        if (fscanf(f, "%ld %ld", &all, &pages) != 2) pages = 0;
        fclose(f);
    }
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void *must(void *p) {
    if (!p) abort();
    return p;
}

/* n keys "bench:item:<number>", their names in one block. */
static mp_key *make_keys(size_t n, const char *ns, size_t from) {
    mp_key *keys = must(malloc(n * sizeof *keys));
    char *names = must(malloc(n * NAME)), text[NAME];
    for (size_t i = 0; i < n; i++) {
        int len = snprintf(text, sizeof text, "item:%zu", from + i);
        mp_key_make(&keys[i], names + i * NAME, ns, strlen(ns), text, (size_t)len);
    }
    return keys;
}

static void free_keys(mp_key *keys) {
    free((char *)keys[0].name);
    free(keys);
}

/* Which keys are asked for, in a random order. Zipf by its inverse: hot ranks are spread over all keys. */
static uint32_t *make_order(size_t n, bool zipf, uint64_t seed) {
    uint32_t *order = must(malloc(ASKED * sizeof *order));
    double *sums = zipf ? must(malloc(n * sizeof *sums)) : NULL, sum = 0;
    for (size_t i = 0; zipf && i < n; i++) sums[i] = sum += 1 / pow((double)(i + 1), 0.99);
    for (size_t i = 0; i < ASKED; i++) {
        uint64_t r = next_random(&seed);
        if (!zipf) {
            order[i] = (uint32_t)(r % n);
            continue;
        }
        double at = (double)(r >> 11) / (double)(UINT64_C(1) << 53) * sum;
        size_t low = 0, high = n - 1;
        while (low < high) {
            size_t middle = (low + high) / 2;
            if (sums[middle] < at) low = middle + 1;
            else high = middle;
        }
        order[i] = (uint32_t)(low * 2654435761u % n);
    }
    free(sums);
    return order;
}

/* The keys in the order in which they are asked for, so that reading the list costs the same at every size. */
static mp_key *ordered(const mp_key *keys, const uint32_t *order) {
    mp_key *list = must(malloc(ASKED * sizeof *list));
    char *names = must(malloc((size_t)ASKED * NAME));
    for (size_t i = 0; i < ASKED; i++) {
        list[i] = keys[order[i]];
        memcpy(names + i * NAME, keys[order[i]].name, NAME);
        list[i].name = names + i * NAME;
    }
    return list;
}

static void done(mp_op *op) {}

/* Nanoseconds of each lease and fill together to `times`. */
static void fill_all(mp_cache *cache, const mp_key *keys, size_t n, double *times) {
    char text[VALUE];
    memset(text, 'v', sizeof text);
    for (size_t i = 0; i < n; i++) {
        pond_value *value = must(mp_value_new(POND_VALUE, POND_JSON, text, sizeof text));
        mp_op op = {
            .kind = MP_LEASE, .key = keys[i], .lease_ms = 3000, .ttl_ms = 300000, .done = done, .shared = shared};
        memcpy(op.token, &i, sizeof i);
        double start = now_ns();
        mp_memory_submit(cache, &op, 1);
        op.kind = MP_FILL;
        op.value = value;
        mp_memory_submit(cache, &op, 1);
        times[i] = now_ns() - start;
        pond_value_free(value);
    }
}

static void *ask(void *arg) {
    asker *a = arg;
    pthread_barrier_wait(&barrier);
    double start = now_ns();
    for (size_t i = 0; i < ASKED; i++) {
        pond_value *value = a->cache->vt->peek(a->cache, shared, &a->keys[i], 0, 2);
        a->hits += value != NULL;
        pond_value_free(value);
    }
    a->ns = now_ns() - start;
    return NULL;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(mp_cache *cache, const mp_key *keys, size_t n, const char *what, bool zipf, int threads) {
    double times[ROUNDS];
    uint64_t hits = 0;
    mp_key *lists[THREADS_MAX];
    for (int t = 0; t < threads; t++) {
        uint32_t *order = make_order(n, zipf, 7u + (unsigned)t);
        lists[t] = ordered(keys, order);
        free(order);
    }
    for (int round = 0; round < ROUNDS; round++) {
        asker askers[THREADS_MAX];
        pthread_t ids[THREADS_MAX];
        double ns = 0;
        pthread_barrier_init(&barrier, NULL, (unsigned)threads);
        for (int t = 0; t < threads; t++) {
            askers[t] = (asker){.cache = cache, .keys = lists[t]};
            if (t > 0 && pthread_create(&ids[t], NULL, ask, &askers[t])) abort();
        }
        ask(&askers[0]);
        for (int t = 1; t < threads; t++) pthread_join(ids[t], NULL);
        for (int t = 0; t < threads; t++) {
            ns += askers[t].ns / threads / ASKED;
            hits += askers[t].hits;
        }
        pthread_barrier_destroy(&barrier);
        times[round] = ns;
    }
    qsort(times, ROUNDS, sizeof *times, by_size);
    printf("  %-14s %d thread%s  min %6.1f  median %6.1f  max %6.1f ns   hits %.3f\n", what, threads,
           threads > 1 ? "s" : " ", times[0], times[ROUNDS / 2], times[ROUNDS - 1],
           (double)hits / ((double)ASKED * ROUNDS * threads));
    for (int t = 0; t < threads; t++) free_keys(lists[t]);
}

static void print_fills(const char *what, double *times, size_t n) {
    qsort(times, n, sizeof *times, by_size);
    printf("  %-14s median %.0f  99 %% %.0f  99.99 %% %.0f  longest %.0f ns\n", what, times[n / 2], times[n / 100 * 99],
           times[n / 10000 * 9999], times[n - 1]);
}

static void run(size_t n) {
    mp_cache *cache = must(mp_memory_new((int64_t)n * 1024 + (16 << 20)));
    mp_key *keys = make_keys(n, "bench", 0), *others = make_keys(n, "others", n);
    double *times = must(calloc(n, sizeof *times));
    memset(times, 1, n * sizeof *times); /* resident before */
    size_t before = resident(), key_bytes = 0;
    fill_all(cache, keys, n, times);
    size_t taken = resident() - before;
    mp_buf json;
    mp_buf_init(&json);
    cache->vt->describe(cache, &json);
    for (size_t i = 0; i < n; i++) key_bytes += keys[i].len;
    long long counted = atoll(strstr(must(json.data), "\"bytes\":") + 8);
    double payload = (double)(key_bytes + n * VALUE);
    printf("%zu entries: beyond key and value %.1f bytes an entry counted, %.1f resident\n", n,
           ((double)counted - payload) / (double)n, ((double)taken - payload) / (double)n);
    mp_buf_free(&json);
    print_fills("lease and fill", times, n);
    measure(cache, keys, n, "hit, uniform", false, 1);
    measure(cache, keys, n, "hit, zipf", true, 1);
    measure(cache, others, n, "miss", false, 1);
    measure(cache, keys, n, "hit, uniform", false, 2);
    measure(cache, keys, n, "hit, zipf", true, 2);
    mp_memory_free(cache);

    cache = must(mp_memory_new((int64_t)n * 100 + (1 << 20))); /* the same, each pushing out another */
    fill_all(cache, others, n, times);
    fill_all(cache, keys, n, times);
    print_fills("... when full", times, n);
    mp_memory_free(cache);
    free(times);
    free_keys(keys);
    free_keys(others);
    malloc_trim(0);
}

/* Over an empty database. */
static mp_sqlite_pool *share(char folder[32]) {
    char path[64];
    mp_sqlite_pool *pool = NULL;
    strcpy(folder, "/tmp/pond-bench-XXXXXX");
    must(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/s.db", folder);
    if (mp_sqlite_pool_open(&pool, path, 1, 5000, NULL) != 0 || mp_sqlite_pool_share(pool, &shared, NULL) != 0) abort();
    printf("beside sqlite:\n");
    return pool;
}

int main(int argc, char **argv) {
    size_t standard[] = {10000, 100000, 1000000};
    char folder[32];
    bool sqlite = argc > 1 && strcmp(argv[1], "sqlite") == 0;
    mp_sqlite_pool *pool = sqlite ? share(folder) : NULL;
    int first = sqlite ? 2 : 1;
    if (argc <= first)
        for (int i = 0; i < 3; i++) run(standard[i]);
    for (int i = first; i < argc; i++) run((size_t)strtoull(argv[i], NULL, 10));
    if (pool) {
        char path[64];
        mp_sqlite_pool_close(pool);
        snprintf(path, sizeof path, "%s/s.db", folder);
        unlink(path);
        rmdir(folder);
    }
    return 0;
}
