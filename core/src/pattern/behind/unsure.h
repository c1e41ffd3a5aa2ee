/* Documents that the store may have got, and of which Redis was not told: the flush was not answered, or the ack. As a rule they wait there still, and are
 * flushed again. But Redis may have lost them meanwhile, and then nobody would ack them: what was cached in between, from the store and older than
 * what it has now, would stand for its ttl. */
#ifndef MP_PATTERN_BEHIND_UNSURE_H
#define MP_PATTERN_BEHIND_UNSURE_H

#include "pattern/behind/backlog.h"
#include "store/store.h"

/* The job's own. Without memory it is forgotten. */
void mp_unsure_note(mp_backlog *b, const mp_flush_row *rows, const uint8_t *shards, size_t n);
/* The shards are owned since, so the store has them by now or never will: away with what is cached of them, unless a change waits. Blocks; no lock
 * held. */
int mp_unsure_settle(mp_backlog *b, pond_error **err);
void mp_unsure_clear(mp_backlog *b);

#endif
