/* A wait until a backlog has no more of what was in it when the wait began. */
#ifndef MP_PATTERN_BEHIND_SETTLE_H
#define MP_PATTERN_BEHIND_SETTLE_H

#include "pattern/behind/backlog.h"
#include "pattern/call.h"

/* Lane's lock held. Ends with OK, or POND_ETIMEOUT. `backlog` NULL: there is none. NULL without memory. */
mp_call *mp_settle_start(mp_lane *lane, mp_backlog *backlog, int64_t timeout_ms, uint64_t user, mp_waiter *waiter);

#endif
