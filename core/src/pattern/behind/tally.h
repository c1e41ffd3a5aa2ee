/* Increments that wait become a part of their documents (protocol.md, section 8: fold), when somebody wants the document: a reader, or the worker
 * before it flushes. What is flushed is so always a whole document with a version, which may be repeated. */
#ifndef MP_PATTERN_BEHIND_TALLY_H
#define MP_PATTERN_BEHIND_TALLY_H

#include "model/behind.h"
#include "pattern/behind/backlog.h"

/* Blocks; no lock held, here and below. For a reader: *out is the document as it is with all that was accepted when this began, or the absence. */
int mp_tally_read(mp_backlog *b, uint8_t shard, const char *key, size_t len, pond_value **out, pond_error **err);

/* A key whose increments cannot be folded, now or ever. */
typedef struct mp_untold {
    uint8_t shard;
    mp_behind_entry *entry;
    pond_error *why; /* owned */
} mp_untold;

/* For the worker: entries that it has taken, by shard, become what they are with their increments; `unfolded` are those that others were faster with
 * all the time. *bad (the owner's, to be freed with its errors): those for which there is no cure. */
int mp_tally_taken(mp_backlog *b, mp_behind taken[MP_BACKLOG_SHARDS], mp_untold **bad, size_t *nbad, pond_error **err);

#endif
