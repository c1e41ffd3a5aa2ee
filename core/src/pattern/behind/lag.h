/* For how long a shard's changes have waited, by the looks that its worker takes at what waits there: no change says when it was accepted.
 *
 * A look finds a newest entry. Once the oldest one is behind that, all that had been accepted by then has left, and so the oldest change that still
 * waits came later: its age is at most the time since that look. */
#ifndef MP_PATTERN_LAG_H
#define MP_PATTERN_LAG_H

#include "model/behind.h"

typedef struct mp_lag { /* zero: nobody has looked yet */
    uint64_t mark;      /* the newest entry's place, when... */
    int64_t mark_at;    /* ... it was looked at last for that; 0: never */
    int64_t since; /* all that had been accepted by then is in the store, as far as was seen; 0: nobody has looked */
} mp_lag;

/* What stands at the head of the queue, from the oldest on. */
void mp_lag_look(mp_lag *lag, const mp_behind *head, int64_t now_ms);

#endif
