/* Invalidation of keys and tags: value and lease go, or the generation, in one operation each. */
#ifndef MP_PATTERN_INVALIDATE_H
#define MP_PATTERN_INVALIDATE_H

#include "pattern/call.h"
#include "pattern/tags.h"

/* Lane's lock held; every key was checked; `tags` may be NULL. NULL without memory. Ends with OK, or the first error after all have ended. */
mp_call *mp_invalidate_start(mp_lane *lane, const pond_policy *policy, const char *const *keys, const size_t *lens,
                             size_t n, const pond_tags *tags, uint64_t user, mp_waiter *waiter);

#endif
