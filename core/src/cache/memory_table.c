#include "cache/memory_table.h"

#include <stdlib.h>
#include <string.h>

/* A bucket is one cache line: seven items with a byte of hash each, so that a look at `tags` finds the few to compare.
 * The top byte counts the items that found this bucket full and went on to the next (a search may end where there are
 * none); it cannot overflow, as a segment holds fewer items than that. */
#define BUCKET_ITEMS 7
#define BUCKETS 32 /* of a segment, power of two */
#define SEGMENT_ITEMS (BUCKETS * BUCKET_ITEMS)
#define SPLIT_AT (SEGMENT_ITEMS * 7 / 8)
#define LINE 64

/* The bits of a hash: 0-4 the bucket, 5-12 the tag, from 31 downwards the segment. */
#define TAG_SHIFT 5
#define DEPTH_MAX 19

#define ONES UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)
#define TOP_BYTE (UINT64_C(0xff) << 56)
#define PASSED_ONE (UINT64_C(1) << 56)

struct bucket {
    uint64_t tags; /* byte i belongs to items[i], 0 = none */
    mp_mitem *items[BUCKET_ITEMS];
};

struct mp_msegment {
    struct bucket buckets[BUCKETS];
    uint32_t count;
    uint32_t depth; /* so many top bits of the hash are the same in all its items */
    char fill[LINE - 2 * sizeof(uint32_t)];
};

_Static_assert(sizeof(void *) != 8 || sizeof(struct bucket) == LINE, "a bucket is a cache line");
_Static_assert(SEGMENT_ITEMS < 256, "what passed a bucket fits in a byte");

/* aligned_alloc may lose up to a line before the block. */
#define SEGMENT_BYTES ((int64_t)sizeof(struct mp_msegment) + LINE + 16)

static uint64_t tag_of(uint32_t hash) {
    uint64_t tag = hash >> TAG_SHIFT & 0xff;
    return tag ? tag : 1;
}

/* The top bit of byte i is set if byte i of `word` is zero; now and then also for a byte above one that is. */
static uint64_t zeros(uint64_t word) { return (word - ONES) & ~word & HIGHS; }

static unsigned lowest(uint64_t marks) { return (unsigned)__builtin_ctzll(marks) / 8; }

static size_t place_of(uint32_t hash, uint32_t depth) { return (size_t)((uint64_t)hash >> (32 - depth)); }

static struct mp_msegment *segment_of(const mp_mtable *table, uint32_t hash) {
    return table->directory[place_of(hash, table->depth)];
}

static struct mp_msegment *segment_new(uint32_t depth) {
    struct mp_msegment *segment = aligned_alloc(LINE, sizeof *segment);
    if (!segment) return NULL;
    memset(segment, 0, sizeof *segment);
    segment->depth = depth;
    return segment;
}

void mp_mtable_init(mp_mtable *table) { *table = (mp_mtable){0}; }

void mp_mtable_free(mp_mtable *table) {
    size_t size = table->directory ? (size_t)1 << table->depth : 0;
    for (size_t i = 0; i < size;) {
        struct mp_msegment *segment = table->directory[i];
        i += (size_t)1 << (table->depth - segment->depth);
        free(segment);
    }
    free(table->directory);
    mp_mtable_init(table);
}

static bool is(const mp_mitem *item, uint32_t hash, const char *key, size_t len) {
    return item->hash == hash && item->key_len == len && memcmp(mp_mitem_key(item), key, len) == 0;
}

mp_mitem *mp_mtable_find(const mp_mtable *table, uint32_t hash, const char *key, size_t len) {
    if (!table->directory) return NULL;
    const struct mp_msegment *segment = segment_of(table, hash);
    uint64_t pattern = tag_of(hash) * ONES;
    for (uint32_t i = 0; i < BUCKETS; i++) {
        const struct bucket *bucket = &segment->buckets[(hash + i) % BUCKETS];
        uint64_t tags = bucket->tags;
        for (uint64_t same = zeros((tags ^ pattern) | TOP_BYTE); same; same &= same - 1) {
            mp_mitem *item = bucket->items[lowest(same)];
            if (!item) continue;                     /* not the same after all, see zeros() */
            __builtin_prefetch((char *)item + LINE); /* the key may reach there */
            if (is(item, hash, key, len)) return item;
        }
        if (!(tags & TOP_BYTE)) return NULL;
    }
    return NULL;
}

/* false: the segment is full. */
static bool put(struct mp_msegment *segment, mp_mitem *item) {
    if (segment->count == SEGMENT_ITEMS) return false;
    for (uint32_t i = 0;; i++) {
        struct bucket *bucket = &segment->buckets[(item->hash + i) % BUCKETS];
        uint64_t free_slots = zeros(bucket->tags | TOP_BYTE);
        if (free_slots) {
            unsigned slot = lowest(free_slots);
            bucket->tags |= tag_of(item->hash) << (8 * slot);
            bucket->items[slot] = item;
            segment->count++;
            return true;
        }
        bucket->tags += PASSED_ONE;
    }
}

static bool directory_double(mp_mtable *table) {
    size_t size = (size_t)1 << table->depth;
    if (table->depth == DEPTH_MAX) return false;
    struct mp_msegment **wider = malloc(2 * size * sizeof *wider);
    if (!wider) return false;
    for (size_t i = 0; i < size; i++) wider[2 * i] = wider[2 * i + 1] = table->directory[i];
    free(table->directory);
    table->directory = wider;
    table->depth++;
    table->bytes += mp_mblock_bytes(2 * size * sizeof *wider) - mp_mblock_bytes(size * sizeof *wider);
    return true;
}

/* Half of the segment's items move to a new one. Without memory nothing changes. */
static void split(mp_mtable *table, struct mp_msegment *segment) {
    uint32_t depth = segment->depth + 1;
    struct mp_msegment *upper = NULL;
    if (segment->depth == table->depth && !directory_double(table)) return;
    if (!(upper = segment_new(depth))) return;
    table->bytes += SEGMENT_BYTES;

    mp_mitem *items[SEGMENT_ITEMS];
    size_t n = 0;
    for (uint32_t b = 0; b < BUCKETS; b++)
        for (uint32_t i = 0; i < BUCKET_ITEMS; i++) {
            mp_mitem *item = segment->buckets[b].items[i];
            if (!item) continue;
            __builtin_prefetch(&item->hash);
            items[n++] = item;
        }
    uint32_t hash = items[0]->hash; /* any of them: they agree in the bits that matter here */
    memset(segment->buckets, 0, sizeof segment->buckets);
    segment->count = 0;
    segment->depth = depth;
    for (size_t i = 0; i < n; i++) put(items[i]->hash >> (32 - depth) & 1 ? upper : segment, items[i]);

    size_t span = (size_t)1 << (table->depth - depth), first = (place_of(hash, depth) | 1) * span;
    for (size_t i = 0; i < span; i++) table->directory[first + i] = upper;
}

static bool begin(mp_mtable *table) {
    struct mp_msegment **directory = malloc(sizeof *directory);
    struct mp_msegment *segment = directory ? segment_new(0) : NULL;
    if (!segment) {
        free(directory);
        return false;
    }
    directory[0] = segment;
    table->directory = directory;
    table->bytes = SEGMENT_BYTES + mp_mblock_bytes(sizeof *directory);
    return true;
}

bool mp_mtable_add(mp_mtable *table, mp_mitem *item) {
    if (!table->directory && !begin(table)) return false;
    struct mp_msegment *segment = segment_of(table, item->hash);
    if (segment->count >= SPLIT_AT) {
        split(table, segment);
        segment = segment_of(table, item->hash);
    }
    if (!put(segment, item)) return false;
    table->count++;
    return true;
}

void mp_mtable_remove(mp_mtable *table, const mp_mitem *item) {
    struct mp_msegment *segment = segment_of(table, item->hash);
    for (uint32_t i = 0;; i++) {
        struct bucket *bucket = &segment->buckets[(item->hash + i) % BUCKETS];
        for (unsigned slot = 0; slot < BUCKET_ITEMS; slot++) {
            if (bucket->items[slot] != item) continue;
            bucket->tags &= ~(UINT64_C(0xff) << (8 * slot));
            bucket->items[slot] = NULL;
            segment->count--;
            table->count--;
            return;
        }
        bucket->tags -= PASSED_ONE;
    }
}
