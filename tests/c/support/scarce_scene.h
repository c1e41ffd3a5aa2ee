/* Scenes under an allocator that fails: each is played again and again while its n-th allocation fails, until none does. With a `step`
 * of more than 1 not for every n: on average for one in so many, others in each run. */
#ifndef TEST_SUPPORT_SCARCE_SCENE_H
#define TEST_SUPPORT_SCARCE_SCENE_H

#include "support/scarce_malloc.h"
#include "support/support.h"

#if REPLACED
static atomic_int answered; /* calls that had an answer */

/* Whether the call went well; if not, then for want of memory. */
static bool well(int code, pond_error **err) {
    if (code == POND_OK) {
        if (*err) fail_msg("an answer and an error: %s", pond_error_message(*err));
        atomic_fetch_add(&answered, 1);
        return true;
    }
    if (code != POND_ENOMEM || !*err) {
        atomic_store(&armed, false);
        fail_msg("%s: %s", pond_code_name(code), pond_error_message(*err));
    }
    pond_error_free(*err);
    *err = NULL;
    return false;
}

static void same(const char *got, const char *want) {
    if (strcmp(got, want) == 0) return;
    atomic_store(&armed, false);
    fail_msg("%s instead of %s", got, want);
}

static void until_nothing_fails(void (*scene)(void), bool follow, long step, long least) {
    atomic_store(&all_that_follow, follow);
    for (int i = 0; i < 3; i++) scene(); /* what is allocated once for the process */
    atomic_store(&answered, 0);
    long n = 0, times = 0;
    for (long unspent = -1; unspent <= 0; n += 1 + dice(2 * (uint32_t)step - 1), times++) {
        await_threads(3 /* with . and .. */);
        long before = atomic_load(&blocks);
        atomic_store(&left, n);
        atomic_store(&armed, true);
        scene();
        atomic_store(&armed, false);
        unspent = atomic_load(&left);
        await_threads(3 /* with . and .. */);
        if (atomic_load(&blocks) != before)
            fail_msg("%ld blocks are left over after the allocation %ld failed", atomic_load(&blocks) - before, n);
    }
    printf("           %ld allocations failed, %s; %d calls went well\n", times,
           follow ? "with all that follow" : "one at a time", atomic_load(&answered));
    assert_true(n > least);
}
#endif

#endif
