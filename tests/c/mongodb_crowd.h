/* Readers and a writer that do not stop, whatever happens to the servers: straight to the store, and through a pond's cache.
 *
 * A document of `films` is {"n":k,"twice":2k}, and its n only grows. Nobody may ever see another, nor an older one than was
 * acknowledged (and invalidated, where there is a cache) before they asked, nor miss one that is there. */
#ifndef MONGODB_CROWD_H
#define MONGODB_CROWD_H

#include "mongodb_members.h"

#include <inttypes.h>
#include <stdatomic.h>

#include "support/heartbeat.h"
#include <millpond/collection.h>

enum { SLACK_MS = 50 }; /* past a deadline, less what the machine itself stood still after it */
enum { DOCUMENTS = 8, PAGES = 100000 };

/* How long a call that began at `start` and has just ended took more than it may, as far as it is our doing. */
static inline int64_t overrun_ms(int64_t start, int64_t limit_ms) {
    int64_t end = clock_ms(), deadline = start + limit_ms;
    return end > deadline ? end - deadline - stalled_ms(deadline, end) : 0;
}

typedef struct crowd {
    mp_store *store;
    pond *pond;
    pond_collection *films;
    int64_t timeout_ms;
    atomic_bool stop;
    atomic_long reads, writes, failed_reads, failed_writes, wrong, over, newest[DOCUMENTS], pages;
} crowd;

/* ---- what comes of a call ---- */

static inline void wrong(crowd *c, const char *what, const char *text) {
    fprintf(stderr, "wrong: %s: %s\n", what, text);
    atomic_fetch_add(&c->wrong, 1);
}

/* Counts a call, and its error. */
static inline bool done(crowd *c, int64_t start, int64_t limit_ms, const char *what, int rc, pond_error *err) {
    bool reads = strcmp(what, "put") != 0;
    long over = (long)overrun_ms(start, limit_ms), most = atomic_load(&c->over);
    if (over > SLACK_MS / 2) fprintf(stderr, "%s: %ld ms past its deadline: %s\n", what, over, pond_error_message(err));
    while (over > most && !atomic_compare_exchange_weak(&c->over, &most, over)) {}
    if (rc == POND_OK) {
        atomic_fetch_add(reads ? &c->reads : &c->writes, 1);
        return true;
    }
    atomic_fetch_add(reads ? &c->failed_reads : &c->failed_writes, 1);
    if (rc != POND_ESTORE || !pond_error_retriable(err)) wrong(c, what, pond_error_message(err));
    pond_error_free(err);
    return false;
}

/* One document, at `text`; `before`: what was acknowledged for each when the call was made. Where it ends; NULL: it is wrong. */
static inline const char *look_at(const char *text, const long before[DOCUMENTS], unsigned *seen) {
    long id = -1, n = -1, twice = -1;
    int len = 0;
    if (sscanf(text, "{\"id\":\"%ld\",\"n\":%ld,\"twice\":%ld}%n", &id, &n, &twice, &len) != 3 || len == 0) return NULL;
    if (id < 0 || id >= DOCUMENTS || twice != 2 * n || n < before[id] || *seen & 1u << id) return NULL;
    *seen |= 1u << id;
    return text + len;
}

static inline void acknowledged(crowd *c, long out[DOCUMENTS]) {
    for (int i = 0; i < DOCUMENTS; i++) out[i] = atomic_load(&c->newest[i]);
}

static inline void check(crowd *c, const char *what, const pond_value *value, const long before[DOCUMENTS]) {
    unsigned seen = 0;
    bool there = pond_value_state(value) == POND_VALUE;
    const char *text = there ? pond_value_data(value, NULL) : "absent",
               *end = there ? look_at(text, before, &seen) : NULL;
    if (end == NULL || *end != 0) wrong(c, what, text);
}

/* ---- those who call ---- */

/* A write that failed may have been done, or may still be: it is made again until it is known to be, and then what is cached is
 * dropped. */
static inline void *write_on(void *arg) {
    crowd *c = arg;
    for (long n = 1; !atomic_load(&c->stop); n++) {
        char doc[80], id[2] = {(char)('0' + n % DOCUMENTS), 0};
        const char *ids[] = {id};
        const size_t lens[] = {1};
        int len = snprintf(doc, sizeof doc, "{\"n\":%ld,\"twice\":%ld}", n, 2 * n);
        for (bool written = false; !written;) {
            pond_error *err = NULL;
            int64_t start = clock_ms();
            int rc = pond_store_put(c->pond, "films", id, 1, doc, (size_t)len, &err);
            written = done(c, start, c->timeout_ms, "put", rc, err);
        }
        if (pond_collection_invalidate(c->films, ids, lens, 1, NULL) != POND_OK) wrong(c, "invalidate", id);
        atomic_store(&c->newest[n % DOCUMENTS], n);
    }
    return NULL;
}

static inline void *read_store(void *arg) {
    crowd *c = arg;
    for (long n = 0; !atomic_load(&c->stop); n++) {
        char id[2] = {(char)('0' + n % DOCUMENTS), 0};
        long before[DOCUMENTS];
        pond_value *value = NULL;
        pond_error *err = NULL;
        acknowledged(c, before);
        int64_t start = clock_ms();
        int rc = c->store->vt->get(c->store, "films", id, 1, &value, &err);
        if (!done(c, start, c->timeout_ms, "get from the store", rc, err)) continue;
        check(c, "get from the store", value, before);
        pond_value_free(value);
    }
    return NULL;
}

/* Who shares a load that began before an invalidation waits for the next one too. */
static inline int64_t twice(const crowd *c) { return 2 * c->timeout_ms; }

static inline void *read_one(void *arg) {
    crowd *c = arg;
    for (long n = 0; !atomic_load(&c->stop); n++) {
        char id[2] = {(char)('0' + n % DOCUMENTS), 0};
        long before[DOCUMENTS];
        pond_value *value = NULL;
        pond_error *err = NULL;
        acknowledged(c, before);
        int64_t start = clock_ms();
        int rc = pond_collection_get(c->films, id, 1, &value, &err);
        if (!done(c, start, twice(c), "get", rc, err)) continue;
        check(c, "get", value, before);
        pond_value_free(value);
        rest_ms(1);
    }
    return NULL;
}

/* All, and one that there is not. */
static inline void *read_many(void *arg) {
    crowd *c = arg;
    const char *ids[] = {"0", "1", "2", "3", "4", "5", "6", "7", "none"};
    const size_t lens[] = {1, 1, 1, 1, 1, 1, 1, 1, 4};
    while (!atomic_load(&c->stop)) {
        long before[DOCUMENTS];
        pond_value *values[DOCUMENTS + 1] = {NULL};
        pond_error *err = NULL;
        acknowledged(c, before);
        int64_t start = clock_ms();
        int rc = pond_collection_get_many(c->films, ids, lens, DOCUMENTS + 1, values, &err);
        bool well = done(c, start, twice(c), "get_many", rc, err);
        if (well && pond_value_state(values[DOCUMENTS]) != POND_ABSENT)
            wrong(c, "get_many", "a document that there is not");
        for (int i = 0; i <= DOCUMENTS; i++) {
            if (well && i < DOCUMENTS) check(c, "get_many", values[i], before);
            pond_value_free(values[i]);
        }
        rest_ms(1);
    }
    return NULL;
}

/* Page `k` is one of its own in the cache, and shows five documents of eight. */
static inline int find_page(crowd *c, long k, pond_value **value, pond_error **err) {
    char query[60];
    int len = snprintf(query, sizeof query, "n[gte]=%ld&sort=id&limit=5", -1 - k);
    return pond_collection_find(c->films, POND_QUERY_TEXT, query, (size_t)len, value, err);
}

static inline void check_page(crowd *c, const char *what, const pond_value *value, const long before[DOCUMENTS]) {
    unsigned seen = 0;
    const char *text = pond_value_data(value, NULL), *at = text + strlen("{\"data\":[");
    for (int i = 0; i < 5 && at != NULL; i++) {
        at = look_at(at, before, &seen);
        if (at != NULL && *at == ',') at++;
    }
    if (at == NULL || seen != 0x1f || strcmp(at, "],\"total\":8,\"page\":1,\"pages\":2,\"limit\":5}") != 0)
        wrong(c, what, text);
}

static inline void *find_on(void *arg) {
    static const long any[DOCUMENTS];
    crowd *c = arg;
    while (!atomic_load(&c->stop)) {
        long before[DOCUMENTS], k = atomic_load(&c->pages);
        pond_value *value = NULL, *again = NULL;
        pond_error *err = NULL;
        acknowledged(c, before);
        int64_t start = clock_ms();
        int rc = find_page(c, k, &value, &err);
        if (!done(c, start, twice(c), "find", rc, err)) continue; /* the page, and the total */
        check_page(c, "find", value, before);
        start = clock_ms();
        rc = find_page(c, k, &again, &err); /* out of the cache, as a rule */
        if (done(c, start, twice(c), "find again", rc, err)) check_page(c, "find again", again, any);
        pond_value_free(value);
        pond_value_free(again);
        atomic_store(&c->pages, k + 1);
        rest_ms(5);
    }
    return NULL;
}

/* ---- what is left in the cache ---- */

/* What is not cached has to come through a store whose time is short: it is asked for again. */
static inline void must_be_retriable(int rc, pond_error *err, int64_t end) {
    if (rc != POND_OK && (!pond_error_retriable(err) || clock_ms() > end)) fail_msg("%s", pond_error_message(err));
    pond_error_free(err);
}

/* Nobody writes any more: each cached document is the store's, and each cached page one that was there. */
static inline void check_what_is_cached(crowd *c, mp_store *patient) {
    static const long any[DOCUMENTS];
    int64_t end = clock_ms() + 60000;
    for (int i = 0; i < DOCUMENTS; i++) {
        char id[2] = {(char)('0' + i), 0};
        pond_value *value = NULL;
        pond_error *err = NULL;
        for (int rc = POND_ESTORE; rc != POND_OK; err = NULL) {
            rc = pond_collection_get(c->films, id, 1, &value, &err);
            must_be_retriable(rc, err, end);
        }
        const char *text = pond_value_state(value) == POND_VALUE ? pond_value_data(value, NULL) : "absent";
        if (strcmp(text, get(patient, "films", id)) != 0) wrong(c, "left in the cache", text);
        pond_value_free(value);
    }
    for (long k = 0; k < atomic_load(&c->pages); k++) {
        pond_value *value = NULL;
        pond_error *err = NULL;
        for (int rc = POND_ESTORE; rc != POND_OK; err = NULL) {
            rc = find_page(c, k, &value, &err);
            must_be_retriable(rc, err, end);
        }
        check_page(c, "left in the cache", value, any);
        pond_value_free(value);
    }
}

/* ---- all of it ---- */

static inline pond *pond_at(const char *address, int64_t timeout_ms) {
    char timeout[20], wait[20];
    snprintf(timeout, sizeof timeout, "%" PRId64 "ms", timeout_ms);
    snprintf(wait, sizeof wait, "%" PRId64 "ms", 3 * timeout_ms);
    setenv("MILLPOND_MONGODB_PLUGIN", POND_TEST_PLUGIN, 1);
    return pond_made("memory:", "store", address, "store_timeout", timeout, "wait_timeout", wait, "load_timeout", "2m",
                     "namespace", fresh("crowd"), NULL);
}

/* A write is not tried again by itself if an election takes it. */
static inline void put_at_last(mp_store *s, const char *id, const char *doc) {
    for (int64_t end = clock_ms() + 30000;;) {
        pond_error *err = NULL;
        if (s->vt->put(s, "films", id, 1, doc, strlen(doc), &err) == POND_OK) return;
        if (!pond_error_retriable(err) || clock_ms() > end) fail_msg("%s", pond_error_message(err));
        pond_error_free(err);
    }
}

/* What `trouble` makes is made while they call, each with `timeout_ms` for a call to the store. */
static inline void with_a_crowd(fixture *f, crowd *c, int64_t timeout_ms, void (*trouble)(crowd *)) {
    void *(*const who[])(void *) = {write_on, read_store, read_one, read_many, find_on};
    enum { CALLERS = sizeof who / sizeof who[0] };
    pthread_t threads[CALLERS];
    char timeout[20];
    mp_store *patient = opened(f->address, "60s");
    snprintf(timeout, sizeof timeout, "%" PRId64 "ms", timeout_ms);
    *c = (crowd){
        .store = opened(f->address, timeout), .pond = pond_at(f->address, timeout_ms), .timeout_ms = timeout_ms};
    ok(pond_collection_new(&c->films, c->pond, "films", NULL, 0, e));
    for (int i = 0; i < DOCUMENTS; i++) put_at_last(patient, (char[2]){(char)('0' + i), 0}, "{\"n\":0,\"twice\":0}");
    for (int i = 0; i < CALLERS; i++) assert_int_equal(pthread_create(&threads[i], NULL, who[i], c), 0);
    rest_ms(200);
    trouble(c);
    atomic_store(&c->stop, true);
    for (int i = 0; i < CALLERS; i++) pthread_join(threads[i], NULL);
    signal_all(SIGCONT);
    wait_until_whole();
    check_what_is_cached(c, patient);
    print_message("%ld reads (%ld failed), %ld of them hits, %ld writes (%ld failed), at most %ld ms past a deadline\n",
                  c->reads, c->failed_reads, (long)pond_stat(c->pond, NULL, "hits"), c->writes, c->failed_writes,
                  c->over);
    assert_true(pond_stat(c->pond, NULL, "fills") > 0);
    pond_collection_free(c->films);
    pond_free(c->pond);
    c->store->vt->close(c->store);
    patient->vt->close(patient);
    assert_int_equal(c->wrong, 0);
    if (c->over > SLACK_MS) fail_msg("a call ended %ld ms past its deadline", c->over);
}

static inline void wait_for_more(crowd *c) {
    long reads = atomic_load(&c->reads), writes = atomic_load(&c->writes), pages = atomic_load(&c->pages);
    for (int64_t end = clock_ms() + 60000; clock_ms() < end; rest_ms(10))
        if (atomic_load(&c->reads) > reads + 10 && atomic_load(&c->writes) > writes + 10 &&
            atomic_load(&c->pages) > pages + 1)
            return;
    fail_msg("nothing goes on");
}

#endif
