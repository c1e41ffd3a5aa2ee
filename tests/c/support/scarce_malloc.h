/* An allocator that fails when it is told to, in place of malloc and its kin: for one source file of a program. Sanitizers
 * replace them too: in their builds REPLACED is 0, and there is none of this. */
#ifndef TEST_SUPPORT_SCARCE_MALLOC_H
#define TEST_SUPPORT_SCARCE_MALLOC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define REPLACED 0
#else
#define REPLACED 1
#endif

#if REPLACED
#include <errno.h>

/* glibc's own, under the names that it keeps for this. */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static atomic_bool armed;
static atomic_long left, blocks; /* allocations until one fails; what is allocated now */
static atomic_bool all_that_follow;

static bool fails(void) {
    if (!atomic_load(&armed)) return false;
    long n = atomic_fetch_sub(&left, 1);
    if (n > 0 || (n < 0 && !atomic_load(&all_that_follow))) return false;
    errno = ENOMEM;
    return true;
}

static void *made(void *p) {
    if (p) atomic_fetch_add(&blocks, 1);
    return p;
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
    void *q = __libc_realloc(p, size);
    if (!p) made(q);
    return q;
}
void free(void *p) {
    if (p) atomic_fetch_sub(&blocks, 1);
    __libc_free(p);
}

#endif /* REPLACED */

#endif
