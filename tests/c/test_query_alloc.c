/* Queries under an allocator that fails at every place in turn, and what the worst of them take.
 *
 * This program replaces malloc and its kin. So do sanitizers: in their builds it is skipped. */
#include "query_support.h"

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
#include <malloc.h>

/* glibc's own, under the names that it keeps for this. */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

static bool counting;
static long fail_at = -1; /* the allocation that fails, counted down; -1 = none */
static bool fail_from;    /* all after it fail as well */
static bool hit;          /* one has failed */
static long blocks;       /* what is held of what was given while counting */
static int64_t bytes, most;

static bool fails(void) {
    if (!counting || fail_at < 0) return false;
    if (fail_at > 0) {
        fail_at--;
        return false;
    }
    if (!fail_from) fail_at = -1;
    hit = true;
    errno = ENOMEM;
    return true;
}

static void *made(void *p) {
    if (counting && p != NULL) {
        blocks++;
        bytes += (int64_t)malloc_usable_size(p);
        if (bytes > most) most = bytes;
    }
    return p;
}

static void gone(void *p) {
    if (!counting || p == NULL) return;
    blocks--;
    bytes -= (int64_t)malloc_usable_size(p);
}

void *malloc(size_t size) { return fails() ? NULL : made(__libc_malloc(size)); }
void *calloc(size_t n, size_t size) { return fails() ? NULL : made(__libc_calloc(n, size)); }
void *realloc(void *p, size_t size) {
    if (fails()) return NULL;
    gone(p);
    void *q = __libc_realloc(p, size);
    return made(q != NULL ? q : p);
}
void free(void *p) {
    gone(p);
    __libc_free(p);
}

/* What came of it; nothing may be left behind. */
static int code_of(const mp_query_bounds *bounds, const char *text) {
    mp_query *query = NULL;
    pond_error *err = NULL;
    counting = true;
    bytes = most = 0;
    int rc = *text == '{' ? mp_query_parse_json(&query, bounds, text, strlen(text), &err)
                          : mp_query_parse_text(&query, bounds, text, strlen(text), &err);
    mp_query_free(query);
    assert_int_equal(pond_error_code(err), rc);
    pond_error_free(err);
    counting = false;
    assert_int_equal(blocks, 0);
    return rc;
}

static void every_allocation_may_fail(void **state) {
    char *long_one = malloc(8192);
    assert_non_null(long_one);
    strcpy(long_one, "a=1");
    for (int i = 0; i < 90; i++) strcat(long_one, "&a=507f1f77bcf86cd799439011&a[ne]=2020-01-01&b[in]=1,2,3");
    const char *const texts[] = {"",
                                 "a=1&b[gte][date]=2020-01-01&sort=-a,b&fields=a,b.c&search=Red+shoes&page=2&a[ne]=x&a["
                                 "in]=1,2&o[eq][oid]=507f1f77bcf86cd799439011",
                                 "{\"where\":{\"a\":{\"in\":[1,\"x\",null,{\"string\":\"10\"}]}},\"search\":300,"
                                 "\"sort\":[\"a\"],\"b[gt][number]\":\"1e1\"}",
                                 "price[$gte]=1",
                                 "{\"a\":",
                                 long_one};
    for (int from = 0; from < 2; from++) {
        long failed = 0;
        for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++) {
            fail_at = -1;
            int wanted = code_of(plain(), texts[t]);
            for (long at = 0;; at++) {
                fail_at = at;
                fail_from = from == 1;
                hit = false;
                int rc = code_of(plain(), texts[t]);
                fail_at = -1;
                if (rc != POND_ENOMEM && rc != wanted) fail_msg("%.60s: allocation %ld: %d", texts[t], at, rc);
                if (!hit) break;
                failed++;
            }
        }
        assert_true(failed > 20);
    }
    /* the bounds of a collection, too */
    for (long at = 0, done = 0; !done; at++) {
        mp_query_bounds *bounds = NULL;
        pond_error *err = NULL;
        counting = true;
        fail_at = at;
        fail_from = hit = false;
        int rc = mp_query_bounds_new(
            &bounds, &(mp_query_options){.filterable = "a,b,c", .sortable = "d", .search_fields = "e"}, &err);
        done = !hit;
        fail_at = -1;
        mp_query_bounds_free(bounds);
        pond_error_free(err);
        counting = false;
        assert_int_equal(rc, done ? POND_OK : POND_ENOMEM);
        assert_int_equal(blocks, 0);
    }
    free(long_one);
}

/* 8,192 bytes of the worst kinds: a stranger gets no more than this for them. */
static void memory_is_bounded(void **state) {
    static const char *const kinds[][2] = {{"", "a&"},
                                           {"", "a=&"},
                                           {"a[in]=", "1,"},
                                           {"sort=", "a,"},
                                           {"fields=", "a.b.c.d.e.f.g,"},
                                           {"", "a=%41&"},
                                           {"", "a[]=1&"},
                                           {"search=", "a+"},
                                           {"{\"a\":[", "1,"},
                                           {"{\"a\":[", "{\"string\":\"\"},"},
                                           {"{\"a\":", "[[[["},
                                           {"{", "\"\":{"},
                                           {"{\"where\":{", "\"a\":1,"}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        bool json = kinds[i][0][0] == '{';
        size_t room = json ? MP_QUERY_JSON_MAX : MP_QUERY_TEXT_MAX, len = strlen(kinds[i][1]);
        char *text = malloc(room + 1);
        assert_non_null(text);
        strcpy(text, kinds[i][0]);
        for (size_t at = strlen(text); at + len <= room; at += len) strcpy(text + at, kinds[i][1]);
        code_of(plain(), text);
        if (most > 2 << 20) fail_msg("%s%s: %" PRId64 " bytes", kinds[i][0], kinds[i][1], most);
        free(text);
    }
    /* 32 conditions of as many values as there is room for */
    char *text = malloc(MP_QUERY_TEXT_MAX + 1);
    assert_non_null(text);
    size_t at = 0;
    for (int i = 0; i < 32; i++) {
        at += (size_t)sprintf(text + at, "&%c%d[in]=1", 'a' + i % 26, i);
        for (int k = 0; k < 99; k++) at += (size_t)sprintf(text + at, ",%d", k % 10);
    }
    assert_int_equal(code_of(plain(), text), POND_OK);
    assert_true(most < 2 << 20);
    free(text);
}
#else
static void every_allocation_may_fail(void **state) { skip(); }
static void memory_is_bounded(void **state) { skip(); }
#endif

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail),
                                       cmocka_unit_test(memory_is_bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
