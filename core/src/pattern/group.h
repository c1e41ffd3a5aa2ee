/* Groups: many reads that end as one call (get_many). */
#ifndef MP_PATTERN_GROUP_H
#define MP_PATTERN_GROUP_H

#include "pattern/call.h"
#include "pattern/source.h"

typedef struct mp_group {
    mp_call call; /* call.list: the answers, in the order asked */
    size_t open;
    mp_call **reads;
    pond_error *error; /* the first */
    pond_load **loads; /* room for a blocking caller, who does them together */
} mp_group;

/* Lane's lock held. `keys` were checked. NULL without memory. Ends with LIST or the first error. */
mp_group *mp_group_start(mp_lane *lane, const pond_policy *policy, const mp_key *keys, size_t n, mp_source *source,
                         uint64_t user, mp_waiter *waiter);
/* From its reads, lock held. */
void mp_group_joined(mp_group *group, mp_call *read);
void mp_group_ended(mp_group *group, mp_call *read);
void mp_group_offered(mp_group *group);
/* A blocking caller takes what was offered: so many in group->loads. */
size_t mp_group_take(mp_group *group);

#endif
