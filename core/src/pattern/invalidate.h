/* Invalidation of keys: value and lease go, in one operation a key. */
#ifndef MP_PATTERN_INVALIDATE_H
#define MP_PATTERN_INVALIDATE_H

#include "pattern/call.h"

/* Lane's lock held; every key was checked. NULL without memory. Ends with OK, or the first error after all have ended. */
mp_call *mp_invalidate_start(mp_lane *lane, const pond_policy *policy, const char *const *keys, const size_t *lens,
                             size_t n, uint64_t user, mp_waiter *waiter);

#endif
