/* Groups: many reads that end as one call (get_many), and whose loads are done together.
 *
 * Loads are offered one by one, as the cache answers; they are held until no read can bring another (or GATHER_MS have passed),
 * so that what the cache does not have is one statement. */
#ifndef MP_PATTERN_GROUP_H
#define MP_PATTERN_GROUP_H

#include "model/key.h"
#include "pattern/call.h"
#include "pattern/source.h"

typedef struct mp_group {
    mp_call call; /* call.list: the answers, in the order asked; call.source: who loads */
    size_t open;
    mp_call **reads;
    pond_error *error; /* the first */
    pond_load **loads; /* room for all */
    mp_task gather;
    mp_timer again;
    bool gathering, gathered; /* gathered: a blocking caller may take them */
    int64_t since;
} mp_group;

/* Lane's lock held. `keys` were checked. NULL without memory. Ends with LIST or the first error. */
mp_group *mp_group_start(mp_lane *lane, const pond_policy *policy, const mp_key *keys, size_t n, mp_source *source,
                         uint64_t user, mp_waiter *waiter);
/* From its reads, lock held. */
void mp_group_joined(mp_group *group, mp_call *read);
void mp_group_ended(mp_group *group, mp_call *read);
void mp_group_offered(mp_group *group);
/* A blocking caller takes what was gathered: so many in group->loads; 0: not yet. */
size_t mp_group_take(mp_group *group);

#endif
