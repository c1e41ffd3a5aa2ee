/* Setting values that their caller is the source of: intents around nothing, whose end brings the values. */
#ifndef MP_PATTERN_SET_H
#define MP_PATTERN_SET_H

#include "pattern/call.h"

/* Lane's lock held; keys and values were checked; references to the values are taken. NULL without memory. Ends with OK, or the first error. */
mp_call *mp_set_start(mp_lane *lane, const pond_policy *policy, const char *const *keys, const size_t *lens,
                      pond_value *const *values, size_t n, uint64_t user, mp_waiter *waiter);

#endif
