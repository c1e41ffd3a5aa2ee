/* The names under which a key's parts live in Redis: "mp:v:{ns:key}" and its kin. One hash tag, so one slot. In a write-behind namespace the
 * tag is the shard's, "mp:b:{ns:3}key", so that all of a shard lives in one slot. */
#ifndef MP_MODEL_KEYNAME_H
#define MP_MODEL_KEYNAME_H

#include "model/key.h"

/* The longest name and its NUL. */
#define MP_KEYNAME_MAX (MP_NAME_MAX + 12)

typedef enum mp_part {
    MP_PART_VALUE = 'v',  /* the envelope; "mp:b:" where it is written behind */
    MP_PART_LEASE = 'l',  /* the token of who loads; "mp:bl:" */
    MP_PART_INTENT = 'w', /* the tokens of who writes; "mp:i:", where nobody announces it: increments that wait */
    MP_PART_TAG = 'g'     /* of a tag: its generation */
} mp_part;

/* What a shard of a write-behind namespace has; none of it ends by its time but OWNER. */
typedef enum mp_shard_part {
    MP_SHARD_QUEUE = 'q', /* list: the user's keys of what is not in the store yet, oldest first */
    MP_SHARD_BASE = 'd',  /* hash: user's key -> envelope that increments wait to be added to */
    MP_SHARD_META = 'm',  /* hash: fence, epoch, seq, head; of shard 0 also shards */
    MP_SHARD_DEAD = 'x',  /* stream of what the store would not have */
    MP_SHARD_OWNER = 't'  /* the token of who is its worker */
} mp_shard_part;

/* What processes publish of their statistics, and until when each row of that stands. Nobody but `processes` reads it. */
#define MP_KEYNAME_PUBLISHED "mp:p:{stats}"
#define MP_KEYNAME_PUBLISHED_ENDS "mp:pe:{stats}"

/* Writes the name of one part to `out` (MP_KEYNAME_MAX bytes), NUL-terminated, and returns its length. */
size_t mp_keyname(char *out, mp_part part, const mp_key *key);
/* The same of what has two letters: the intents of a tag, "mp:gw:{ns:tag}". */
size_t mp_keyname_tag_intent(char *out, const mp_key *tag);
/* The name of what the key's shard has, "mp:q:{ns:3}". */
size_t mp_keyname_shard(char *out, mp_shard_part part, const mp_key *key);
/* A hash of the shard: who has written on this day (since 1970), and what was answered last: "mp:o:{ns:3}:20783". A worker drops the old ones. */
size_t mp_keyname_sessions(char *out, const mp_key *key, int64_t day);

#endif
