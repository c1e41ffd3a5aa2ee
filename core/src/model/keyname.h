/* The names under which a key's parts live in Redis: "mp:v:{ns:key}" and its kin. One hash tag, so one slot. */
#ifndef MP_MODEL_KEYNAME_H
#define MP_MODEL_KEYNAME_H

#include "model/key.h"

/* The longest name and its NUL. */
#define MP_KEYNAME_MAX (MP_NAME_MAX + 9)

typedef enum mp_part {
    MP_PART_VALUE = 'v',  /* the envelope */
    MP_PART_LEASE = 'l',  /* the token of who loads */
    MP_PART_INTENT = 'w', /* the tokens of who writes */
    MP_PART_TAG = 'g'     /* of a tag: its generation */
} mp_part;

/* What processes publish of their statistics, and until when each row of that stands. Nobody but `processes` reads it. */
#define MP_KEYNAME_PUBLISHED "mp:p:{stats}"
#define MP_KEYNAME_PUBLISHED_ENDS "mp:pe:{stats}"

/* Writes the name of one part to `out` (MP_KEYNAME_MAX bytes), NUL-terminated, and returns its length. */
size_t mp_keyname(char *out, mp_part part, const mp_key *key);
/* The same of what has two letters: the intents of a tag, "mp:gw:{ns:tag}". */
size_t mp_keyname_tag_intent(char *out, const mp_key *tag);

#endif
