/* Ends that the cache has not taken: repeated until it does. They stay with the lane that had them while it is driven, and go to the
 * lane of blocking calls when it is not any more. A pond that closes waits for them within its time. */
#ifndef MP_PATTERN_OVERDUE_H
#define MP_PATTERN_OVERDUE_H

#include "base/list.h"
#include "cache/cache.h"
#include "observe/stats.h"
#include <millpond/pond.h>

struct mp_lane;

typedef struct mp_overdue {
    mp_node waiting, flying; /* for the next try; under way */
    mp_timer timer;
    int64_t pause_ms;
    bool failed;  /* one of those that were under way */
    bool sending; /* more are about to be */
} mp_overdue;

void mp_overdue_init(mp_overdue *overdue);
/* Lane's lock held. An MP_END that was not taken: all of it but its value is copied. `stats`: where it is counted. */
void mp_overdue_add(struct mp_lane *lane, const mp_op *end, mp_ns_stats *stats);
/* Lane's lock held: all of them to `out`, which is a list, or from it. */
void mp_overdue_take(struct mp_lane *lane, mp_node *out);
void mp_overdue_give(struct mp_lane *lane, mp_node *from);
/* They are lost. */
void mp_overdue_drop(pond *p, mp_node *list);
/* Can no more be kept? @threads any */
bool mp_overdue_full(const pond *p);

#endif
