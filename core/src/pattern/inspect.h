/* explain(key): what the cache knows of a key. */
#ifndef MP_PATTERN_INSPECT_H
#define MP_PATTERN_INSPECT_H

#include "pattern/call.h"

/* Lane's lock held. NULL without memory. Ends with a VALUE (a JSON object) or an error. */
mp_call *mp_inspect_start(mp_lane *lane, const pond_policy *policy, const mp_key *key, uint64_t user,
                          mp_waiter *waiter);

#endif
