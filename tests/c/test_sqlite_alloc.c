/* The sqlite: store under an allocator that fails: its own allocations, the JSON parser's and SQLite's.
 *
 * This program replaces malloc and its kin. So do sanitizers: in their builds it is skipped. */
#include "sqlite_store.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
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

/* glibc's own, under the names that it keeps for this. */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

static bool counting;
static long fail_at = -1; /* the allocation that fails, counted down; -1 = none */
static bool fail_from;    /* all after it fail as well */
static long blocks;       /* what is held of what was given while counting */

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
    if (counting && p != NULL) blocks++;
    return p;
}

void *malloc(size_t size) { return fails() ? NULL : made(__libc_malloc(size)); }
void *calloc(size_t n, size_t size) { return fails() ? NULL : made(__libc_calloc(n, size)); }
void *realloc(void *p, size_t size) {
    if (fails()) return NULL;
    void *q = __libc_realloc(p, size);
    if (p == NULL) made(q);
    return q;
}
void free(void *p) {
    if (counting && p != NULL) blocks--;
    __libc_free(p);
}

/* Whether the call went well. If not, then for want of memory: its code says so, but for a document that SQLite's
 * json_valid has no memory to look at, which it reports as one that is not valid. */
static bool well(int rc, pond_error **err) {
    if (rc == POND_OK) {
        if (*err != NULL) abort();
        return true;
    }
    bool check = rc == POND_ESTORE && strstr(pond_error_message(*err), "json_valid") != NULL;
    if ((rc != POND_ENOMEM && !check) || *err == NULL) {
        counting = false;
        fail_msg("%d: %s", rc, *err != NULL ? pond_error_message(*err) : "no error");
    }
    pond_error_free(*err);
    *err = NULL;
    return false;
}

/* All that a store does; what fails is left out. Returns how many calls failed. */
static int live(const mp_options *options) {
    static const char doc[] =
        "{\"id\":\"1\",\"a\":[1,{\"b\":\"\\u00e9\"}],\"c0\":0,\"c1\":0,\"c2\":0,\"c3\":0,\"c4\":0,\"c5\":0,"
        "\"c6\":0,\"c7\":0,\"c8\":0,\"c9\":0,\"d0\":0,\"d1\":0,\"d2\":0,\"d3\":0,\"d4\":0,\"d5\":0}";
    static const char *const ids[] = {"1", "none", "1"};
    static const size_t lens[] = {1, 4, 1};
    mp_store *s = NULL;
    pond_error *err = NULL;
    pond_value *value = NULL, *values[3];
    bool existed = false;
    int bad = 0;
    if (!well(mp_sqlite_open(&s, options, &err), &err)) return 1;
    if (!well(s->vt->create(s, "films", &err), &err)) bad++;
    else {
        bool there = well(s->vt->put(s, "films", "1", 1, doc, sizeof doc - 1, &err), &err);
        bad += !there;
        if (!well(s->vt->get(s, "films", "1", 1, &value, &err), &err)) bad++;
        else if ((pond_value_state(value) == POND_VALUE) != there) abort();
        pond_value_free(value);
        if (!well(s->vt->get_many(s, "films", ids, lens, 3, values, &err), &err)) bad++;
        else
            for (int i = 0; i < 3; i++) {
                if ((pond_value_state(values[i]) == POND_VALUE) != (there && i != 1)) abort();
                pond_value_free(values[i]);
            }
        if (!well(s->vt->remove(s, "films", "1", 1, &existed, &err), &err)) bad++;
        else if (existed != there) abort();
    }
    s->vt->close(s);
    return bad;
}

/* One life with the failing allocation number `at`, then one without in the same file; `*reached`: there was such a one. */
static int life_and_after(fixture *f, const mp_options *options, long at, bool from, bool *reached) {
    counting = true;
    blocks = 0;
    fail_at = at;
    fail_from = from;
    int bad = live(options);
    *reached = from ? fail_at == 0 : fail_at < 0;
    fail_at = -1;
    counting = false;
    assert_int_equal(blocks, 0); /* nothing leaked */
    assert_int_equal(live(options), 0);
    if (at % 50 == 0) assert_string_equal(sql(f, "PRAGMA integrity_check"), "ok");
    sql(f, "DROP TABLE IF EXISTS films");
    return bad;
}

static void without_memory(void **state, bool from, long step) {
    fixture *f = *state;
    mp_options options;
    assert_true(mp_options_init(&options));
    assert_int_equal(mp_options_set(&options, MP_SCOPE_POND, "store", f->address, NULL), POND_OK);
    long at = 0;
    int bad = 0;
    for (bool reached = true; reached; at += step) bad += life_and_after(f, &options, at, from, &reached) > 0;
    assert_true(at > 400 && bad > at / step / 2);
    mp_options_free(&options);
}

static void one_allocation_fails(void **state) { without_memory(state, false, 1); }

static void all_allocations_fail_from_some_on(void **state) { without_memory(state, true, 7); }

int main(void) {
    const struct CMUnitTest tests[] = {
        in_a_file(one_allocation_fails),
        in_a_file(all_allocations_fail_from_some_on),
    };
    return cmocka_run_group_tests_name("sqlite_alloc", tests, NULL, NULL);
}

#else
static void the_allocator_is_replaced(void **state) { skip(); }

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_allocator_is_replaced)};
    return cmocka_run_group_tests_name("sqlite_alloc", tests, NULL, NULL);
}
#endif
