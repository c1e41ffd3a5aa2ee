/* Waiting for a call: what all blocking functions share, and what runs inside a load that the library does itself. */
#ifndef MP_PATTERN_WAIT_H
#define MP_PATTERN_WAIT_H

#include "pattern/call.h"
#include "pattern/group.h"

/* The pond's blocking lane, locked; NULL and the error if the pond is closed. */
mp_lane *mp_wait_enter(pond *p, int *code, pond_error **err);
/* From a call that was started (or NULL: no memory) to its answer. Lock held; unlocks. */
int mp_wait_finish(mp_lane *lane, mp_call *call, mp_waiter *waiter, pond_loader loader, void *ctx, pond_value **out,
                   pond_error **err);
/* The same for a group: `out` has room for its answers. */
int mp_wait_group(mp_lane *lane, mp_group *group, mp_waiter *waiter, pond_value **out, pond_error **err);
/* A whole read of a key that was checked and peeked at. */
int mp_wait_read(pond *p, const pond_policy *policy, const mp_key *key, bool lookup, pond_loader loader, void *ctx,
                 pond_value **out, pond_error **err);
/* A read as a part of a load that is under way: it goes on while a pond that closes waits for that, and no interrupt ends
 * it, for the load is others' too. Peeks first. */
int mp_wait_inside(pond *p, const pond_policy *policy, const mp_key *key, pond_loader loader, void *ctx, pond_value **out,
                   pond_error **err);

#endif
