/* Errands to the shards of a backlog: what is asked of some of them, or of all, and one wait. */
#ifndef MP_PATTERN_BEHIND_SHARDS_H
#define MP_PATTERN_BEHIND_SHARDS_H

#include "model/behind.h"
#include "pattern/behind/backlog.h"
#include "pattern/errand.h"
#include "pattern/wait.h"

typedef struct mp_shards { /* zero, but for the backlog: nothing is asked yet */
    const mp_backlog *backlog;
    mp_lane *lane; /* to go by; NULL: that of blocking calls */
    size_t n;
    mp_errand errand[MP_BACKLOG_SHARDS];
    mp_behind behind[MP_BACKLOG_SHARDS]; /* of each errand */
    uint8_t shard[MP_BACKLOG_SHARDS];
    char name[MP_BACKLOG_SHARDS][MP_NAME_MAX + 1];
    mp_sent sent; /* what is under way */
} mp_shards;

/* The key of a shard as a whole; `name` is what it points to. */
void mp_shard_key(const mp_backlog *b, mp_key *key, char name[MP_NAME_MAX + 1], uint8_t shard);

/* One more, at most one a shard; its `behind` is for the caller to set up. */
mp_op *mp_shards_add(mp_shards *s, mp_op_kind kind, uint8_t shard);
/* Blocks; no lock held. All end well, or *err (`err` may be NULL) is the first error, and the code its own: who looks at the others finds
 * those that were answered MP_DONE. */
int mp_shards_send(mp_shards *s, pond_error **err);
/* The same in two halves, with other work in between, by the lane of blocking calls. Where the first fails nothing is under way, and the second does
 * nothing. */
int mp_shards_begin(mp_shards *s, pond_error **err);
int mp_shards_end(mp_shards *s, pond_error **err);

#endif
