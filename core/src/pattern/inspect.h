/* explain(key): what the cache knows of a key; processes(): what it knows of who uses it. */
#ifndef MP_PATTERN_INSPECT_H
#define MP_PATTERN_INSPECT_H

#include "pattern/call.h"

/* Lane's lock held. NULL without memory. Ends with a VALUE (a JSON object; with key NULL: an array of what processes have
 * published) or an error. */
mp_call *mp_inspect_start(mp_lane *lane, const pond_policy *policy, const mp_key *key, uint64_t user,
                          mp_waiter *waiter);

#endif
