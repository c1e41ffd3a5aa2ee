#include "base/fork.h"

#include <pthread.h>
#include <stdlib.h>

_Atomic uint32_t mp_forks;

static void in_child(void) { atomic_fetch_add_explicit(&mp_forks, 1, memory_order_relaxed); }

/* Before anything is made that remembers a generation. */
__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, in_child); }

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
