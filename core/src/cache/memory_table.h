/* The hash table of a memory: cache's shard: items by key, found in one line of the table and one of the item.
 *
 * Extendible hashing: a directory of small segments. A segment that fills up is split in two, so growth moves some two
 * hundred pointers at a time however large the table is. Segments are not joined again: a table that was large once
 * keeps them, and goes on counting them. */
#ifndef MP_CACHE_MEMORY_TABLE_H
#define MP_CACHE_MEMORY_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/list.h"

/* What stands in a table: the head of an entry or of a lease. The key lies in the same block, `key_at` bytes on. */
typedef struct mp_mitem {
    mp_node link;    /* its owner's list */
    int64_t expires; /* ms; from then on it does not count */
    uint32_t hash;   /* of the key: the low half of mp_key.hash, as the high half chooses the shard */
    uint16_t key_len;
    uint8_t key_at;
    uint8_t marks; /* its owner's */
} mp_mitem;

typedef struct mp_mtable {
    struct mp_msegment **directory; /* NULL: nothing was ever added */
    uint32_t depth;                 /* 1 << depth pointers */
    uint32_t count;
    int64_t bytes; /* of directory and segments */
} mp_mtable;

static inline const char *mp_mitem_key(const mp_mitem *item) { return (const char *)item + item->key_at; }

/* What malloc takes for `size` bytes: its header and rounding, as in glibc and nearly so elsewhere (a very large block is
 * rounded to a page, which is not counted). */
static inline int64_t mp_mblock_bytes(size_t size) {
    return size < 24 ? 32 : (int64_t)((size + sizeof(size_t) + 15) & ~(size_t)15);
}

void mp_mtable_init(mp_mtable *table);
/* The items are not freed. */
void mp_mtable_free(mp_mtable *table);
mp_mitem *mp_mtable_find(const mp_mtable *table, uint32_t hash, const char *key, size_t len);
/* No item of that key is in the table. false: no memory, not added. */
bool mp_mtable_add(mp_mtable *table, mp_mitem *item);
/* The item is in the table. */
void mp_mtable_remove(mp_mtable *table, const mp_mitem *item);

#endif
