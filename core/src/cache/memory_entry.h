/* What a memory: cache keeps of a key: its value or its absence, in as few blocks as it can. */
#ifndef MP_CACHE_MEMORY_ENTRY_H
#define MP_CACHE_MEMORY_ENTRY_H

#include "cache/memory_table.h"
#include "model/envelope.h"
#include "model/key.h"
#include "model/value.h"

/* What is known of a value that some reader will ask for its age. Others do not have it. */
typedef struct mp_mage {
    uint32_t keep_ms; /* for so long past its time it is there for those readers */
    uint32_t load_ms;
} mp_mage;

/* An entry of this key for `value` (borrowed), with the generations of its tags and, unless NULL, its age, and a stamp (engine/shared.h)
 * unless that is 0; NULL = no memory. */
mp_mitem *mp_mentry_new(const mp_key *key, pond_value *value, const uint8_t *generations, uint8_t ntags,
                        const mp_mage *age, uint64_t stamp, int64_t expires);
/* Zero where nobody asks. */
mp_mage mp_mentry_age(const mp_mitem *entry);
/* 0: it has none. */
uint64_t mp_mentry_stamp(const mp_mitem *entry);
void mp_mentry_set_stamp(mp_mitem *entry, uint64_t stamp); /* it has one */
/* Borrowed from the entry. NULL if the value has tags: who does not know them cannot be given it. */
pond_value *mp_mentry_value(mp_mitem *entry);
/* The value if it has so many tags, with its generations (borrowed); else NULL. */
pond_value *mp_mentry_tagged(mp_mitem *entry, uint8_t ntags, const uint8_t **generations);
/* The generations of its tags, and how many they are. */
uint8_t mp_mentry_tags(const mp_mitem *entry, const uint8_t **generations);
/* What it takes of the memory that malloc has: key, value, and what goes with them. */
int64_t mp_mentry_bytes(const mp_mitem *entry);
/* The same before it is made. */
int64_t mp_mentry_bytes_of(const mp_key *key, const pond_value *value, uint8_t ntags, bool aged, bool stamped);
/* The cache's reference goes; who still holds the value keeps it. The entry is in no table and no list. */
void mp_mentry_free(mp_mitem *entry);

/* The marks of an entry. */
#define MP_MENTRY_HEAT 3u     /* a number: hits since it was last looked at, up to three */
#define MP_MENTRY_MAIN 4u     /* in the main queue, not in the small one */
#define MP_MENTRY_KIND 24u    /* how the value is kept, see memory_entry.c */
#define MP_MENTRY_AGED 32u    /* it has an mp_mage */
#define MP_MENTRY_STAMPED 64u /* and a stamp */

static inline void mp_mentry_touch(mp_mitem *entry) {
    if ((entry->marks & MP_MENTRY_HEAT) < MP_MENTRY_HEAT) entry->marks++;
}

/* Its time is over: is it there all the same, for those who ask for it? */
bool mp_mentry_kept(const mp_mitem *entry, int64_t now_ms);
/* Nobody may have it any more, neither as a fresh value nor as a stale one. */
static inline bool mp_mentry_over(const mp_mitem *entry, int64_t now_ms) {
    return entry->expires <= now_ms && !mp_mentry_kept(entry, now_ms);
}

#endif
