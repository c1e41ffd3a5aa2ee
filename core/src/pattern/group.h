/* Groups: many reads that end as one call (get_many, fetch_many), and whose loads are done together.
 *
 * Loads are offered one by one, as the cache answers; they are held until no read can bring another (or the cache has had its time),
 * so that what the cache does not have is one statement of the store, or one call of the host's loader. One at a time: who was asked
 * to load answers before they are asked again.
 *
 * Of a long list one part is asked for after the other. */
#ifndef MP_PATTERN_GROUP_H
#define MP_PATTERN_GROUP_H

#include "model/key.h"
#include "pattern/call.h"
#include "pattern/source.h"
#include "pattern/tags.h"

enum { MP_GROUP_PART = 2048 }; /* keys that are asked for at once: what a server answers well within command_timeout */

typedef struct mp_many {
    const pond_policy *policy; /* NULL: the pond's */
    mp_key *keys;              /* checked; one block with their names, which the group takes over and frees */
    size_t n;
    const pond_tags *tags; /* NULL: none */
    mp_source *source;     /* who loads; NULL: the host */
} mp_many;

typedef struct mp_group {
    mp_call call; /* call.list: the answers, in the order asked; call.source: who loads */
    mp_key *keys;
    pond_tags *tags;
    size_t first, begun; /* keys that were asked for: up to `begun`, the present part from `first` on */
    size_t open;         /* of these, without an answer */
    mp_call **reads;
    pond_error *error;                /* the first */
    pond_load **loads;                /* for the source: room for all */
    struct pond_batch *offered, *out; /* for the host: not yet taken; taken, and to be answered */
    mp_task gather, part;
    mp_timer again;
    bool gathering, gathered; /* gathered: a blocking caller may take them */
    int64_t since;
} mp_group;

/* The keys of many calls and, behind them, their names; one block. NULL without memory. */
mp_key *mp_group_keys(const pond_policy *policy, const char *const *keys, const size_t *lens, size_t n);

/* Lane's lock held. NULL without memory: what->keys was freed all the same. Ends with LIST or the first error. */
mp_group *mp_group_start(mp_lane *lane, const mp_many *what, uint64_t user, mp_waiter *waiter);
/* From its reads, lock held. */
void mp_group_joined(mp_group *group, mp_call *read);
void mp_group_ended(mp_group *group, mp_call *read);
void mp_group_offered(mp_group *group);
/* A blocking caller takes what was gathered for the source: so many in group->loads; 0: not yet. */
size_t mp_group_take(mp_group *group);
/* The host, or a blocking caller, takes what was gathered for it; NULL: there is nothing (any more). */
struct pond_batch *mp_group_hand_over(mp_group *group);
/* What was handed over has been answered. */
void mp_group_answered(mp_group *group);

#endif
