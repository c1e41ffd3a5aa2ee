#include "base/fork.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

_Atomic uint32_t mp_forks;

static pthread_rwlock_t unforked = PTHREAD_RWLOCK_INITIALIZER; /* readers: who must not be forked; the writer: a fork */
static bool alone;                                             /* the fork's own: it has waited, and not in vain */

enum { PATIENCE_NS = 100 * 1000 * 1000 };

void mp_unforked_begin(void) { pthread_rwlock_rdlock(&unforked); }
void mp_unforked_end(void) { pthread_rwlock_unlock(&unforked); }

static void before(void) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += PATIENCE_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    alone = pthread_rwlock_timedwrlock(&unforked, &until) == 0;
}

static void in_parent(void) {
    if (alone) pthread_rwlock_unlock(&unforked);
}

static void in_child(void) {
    pthread_rwlock_init(&unforked, NULL);
    atomic_fetch_add_explicit(&mp_forks, 1, memory_order_relaxed);
}

/* Before anything is made that remembers a generation. */
__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(before, in_parent, in_child); }

typedef struct left {
    struct left *next;
    void *inherited;
} left;

static _Atomic(left *) all;

void mp_leave_aside(void *inherited) {
    left *one = inherited ? malloc(sizeof *one) : NULL;
    if (!one) return;
    one->inherited = inherited;
    one->next = atomic_load(&all);
    while (!atomic_compare_exchange_weak(&all, &one->next, one)) continue;
}
