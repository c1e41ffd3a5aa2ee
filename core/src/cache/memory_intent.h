/* The intents of one shard: who writes which key or tag. What stands under a key is a set, as in Redis (begin.lua): tokens with a
 * deadline each, and a mark that says that writers have met, whose deadline is the greatest. Time removes nothing by itself:
 * members that are over stay until somebody purges them, or until all are. */
#ifndef MP_CACHE_MEMORY_INTENT_H
#define MP_CACHE_MEMORY_INTENT_H

#include "cache/cache.h"
#include "cache/memory_table.h"

typedef struct mp_mintents {
    mp_mtable table;
    mp_node queue; /* the longest begun or renewed first */
    uint32_t most; /* sets; an intent is not dropped for another, so a begin beyond fails */
    int64_t item_bytes;
} mp_mintents;

typedef enum mp_mbegin { MP_MBEGUN, MP_MBEGIN_CROWDED, MP_MBEGIN_NO_MEMORY } mp_mbegin;

void mp_mintents_init(mp_mintents *intents, uint32_t most);
void mp_mintents_free(mp_mintents *intents);
mp_mbegin mp_mintents_begin(mp_mintents *intents, const mp_key *key, const uint8_t *token, bool again,
                            int64_t intent_ms, int64_t now_ms);
/* Takes the token out. True if it stood and nothing else did. `*until`: its deadline, 0 if it did not stand. */
bool mp_mintents_end(mp_mintents *intents, const mp_key *key, const uint8_t *token, int64_t now_ms, int64_t *until);
/* Does anybody write? Purges first. */
bool mp_mintents_stand(mp_mintents *intents, const mp_key *key, int64_t now_ms);
/* The same without purging, as fill.lua asks. */
bool mp_mintents_exist(const mp_mintents *intents, const mp_key *key, int64_t now_ms);
/* How long until all are over, and how many they are (with the mark); 0 if there is none. */
int64_t mp_mintents_left(const mp_mintents *intents, const mp_key *key, int64_t now_ms);
unsigned mp_mintents_count(const mp_mintents *intents, const mp_key *key, int64_t now_ms);
int64_t mp_mintents_bytes(const mp_mintents *intents);

#endif
