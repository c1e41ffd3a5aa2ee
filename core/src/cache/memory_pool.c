#include "cache/memory_pool.h"

#include <stdlib.h>
#include <string.h>

#define SMALL_SHARE 10 /* the small queue may take one part in so many of the bytes */
#define STEPS 64       /* second chances and promotions in a row, so that an eviction ends soon */
#define GHOSTS_OF_A_SET 4
#define GHOST_BITS 16
#define FIRST_SETS 16u
#define MOST_SETS (1u << GHOST_BITS) /* 16 bits of the hash choose the set, the others are kept in it */

static mp_mitem *item_of(mp_node *node) { return MP_OF(node, mp_mitem, link); }
static mp_mitem *head(const mp_node *queue) { return mp_list_empty(queue) ? NULL : item_of(queue->next); }
static unsigned heat(const mp_mitem *entry) { return entry->marks & MP_MENTRY_HEAT; }

void mp_mpool_init(mp_mpool *pool) {
    memset(pool, 0, sizeof *pool);
    mp_mtable_init(&pool->table);
    mp_list_init(&pool->small);
    mp_list_init(&pool->main);
    atomic_init(&pool->entries, 0);
}

void mp_mpool_free(mp_mpool *pool) {
    mp_node *node;
    while ((node = mp_list_shift(&pool->small))) mp_mentry_free(item_of(node));
    while ((node = mp_list_shift(&pool->main))) mp_mentry_free(item_of(node));
    mp_mtable_free(&pool->table);
    free(pool->ghosts);
}

mp_mitem *mp_mpool_find(const mp_mpool *pool, const mp_key *key) {
    return mp_mtable_find(&pool->table, (uint32_t)key->hash, key->name, key->len);
}

/* Ghosts. Nothing depends on them but which queue is chosen, so a hash that is pushed out early, or is another key's, or
 * finds no memory, does no harm. */

static uint64_t *ghost_set(const mp_mpool *pool, uint32_t hash) {
    return &pool->ghosts[hash >> GHOST_BITS & (pool->ghost_sets - 1)];
}

static uint64_t ghost_of(uint32_t hash) {
    uint64_t ghost = hash & 0xffff;
    return ghost ? ghost : 1; /* 0 = none */
}

static bool remembered(const mp_mpool *pool, uint32_t hash) {
    if (!pool->ghosts) return false;
    for (uint64_t set = *ghost_set(pool, hash); set; set >>= GHOST_BITS)
        if ((set & 0xffff) == ghost_of(hash)) return true;
    return false;
}

/* As many as there are entries. A set becomes two with the same memories. */
static void ghosts_grow(mp_mpool *pool) {
    uint32_t old = pool->ghost_sets, sets = old ? 2 * old : FIRST_SETS;
    if (pool->table.count <= old * GHOSTS_OF_A_SET || sets > MOST_SETS) return;
    uint64_t *ghosts = realloc(pool->ghosts, sets * sizeof *ghosts);
    if (!ghosts) return;
    if (old) memcpy(ghosts + old, ghosts, old * sizeof *ghosts);
    else memset(ghosts, 0, sets * sizeof *ghosts);
    pool->ghosts = ghosts;
    pool->ghost_sets = sets;
}

static void remember(mp_mpool *pool, uint32_t hash) {
    ghosts_grow(pool);
    if (!pool->ghosts) return;
    uint64_t *set = ghost_set(pool, hash);
    *set = *set << GHOST_BITS | ghost_of(hash);
}

/* Queues. */

static void count(mp_mpool *pool, const mp_mitem *entry, int sign) {
    int64_t bytes = sign * mp_mentry_bytes(entry);
    if (entry->marks & MP_MENTRY_MAIN) {
        pool->main_bytes += bytes;
    } else {
        pool->small_bytes += bytes;
        pool->small_count += (uint32_t)sign;
    }
}

static void enqueue(mp_mpool *pool, mp_mitem *entry, bool to_main) {
    entry->marks = (uint8_t)((entry->marks & ~(MP_MENTRY_HEAT | MP_MENTRY_MAIN)) | (to_main ? MP_MENTRY_MAIN : 0));
    mp_list_push(to_main ? &pool->main : &pool->small, &entry->link);
    count(pool, entry, 1);
}

static void dequeue(mp_mpool *pool, mp_mitem *entry) {
    count(pool, entry, -1);
    mp_list_remove(&entry->link);
}

static void requeue(mp_node *queue, mp_mitem *entry) {
    mp_list_remove(&entry->link);
    mp_list_push(queue, &entry->link);
}

bool mp_mpool_add(mp_mpool *pool, mp_mitem *entry) {
    if (!mp_mtable_add(&pool->table, entry)) return false;
    enqueue(pool, entry, remembered(pool, entry->hash));
    return true;
}

static void take(mp_mpool *pool, mp_mitem *entry, mp_node *out) {
    mp_mtable_remove(&pool->table, entry);
    dequeue(pool, entry);
    mp_list_push(out, &entry->link);
}

void mp_mpool_take(mp_mpool *pool, mp_mitem *entry, mp_node *out) {
    if (entry->marks & MP_MENTRY_MAIN || heat(entry) > 1) remember(pool, entry->hash);
    take(pool, entry, out);
}

/* The entry to go from this queue, NULL if it holds none but `keep`. */

static mp_mitem *victim_of_small(mp_mpool *pool, const mp_mitem *keep, int64_t now_ms) {
    mp_mitem *entry;
    for (int steps = 0; (entry = head(&pool->small)); steps++) {
        if (entry == keep) {
            if (pool->small.prev == &entry->link) return NULL;
            requeue(&pool->small, entry);
        } else if (heat(entry) > 1 && !mp_mentry_over(entry, now_ms) && steps < STEPS) {
            dequeue(pool, entry);
            enqueue(pool, entry, true);
        } else {
            return entry;
        }
    }
    return NULL;
}

static mp_mitem *victim_of_main(mp_mpool *pool, const mp_mitem *keep, int64_t now_ms) {
    mp_mitem *entry;
    for (int steps = 0; (entry = head(&pool->main)); steps++) {
        if (entry == keep) {
            if (pool->main.prev == &entry->link) return NULL;
            requeue(&pool->main, entry);
        } else if (heat(entry) > 0 && !mp_mentry_over(entry, now_ms) && steps < STEPS) {
            entry->marks--;
            requeue(&pool->main, entry);
        } else {
            return entry;
        }
    }
    return NULL;
}

/* By bytes and by entries: a value larger than the small queue's part would else clear that queue and be the next to go,
 * before anybody can ask for it again. */
static bool small_is_over(const mp_mpool *pool) {
    return pool->small_bytes * SMALL_SHARE > pool->small_bytes + pool->main_bytes &&
           (uint64_t)pool->small_count * SMALL_SHARE > pool->table.count;
}

bool mp_mpool_evict(mp_mpool *pool, bool small_only, const mp_mitem *keep, int64_t now_ms, mp_node *out) {
    mp_mitem *entry;
    if (small_only || small_is_over(pool)) {
        entry = victim_of_small(pool, keep, now_ms);
        if (!entry && !small_only) entry = victim_of_main(pool, keep, now_ms);
    } else {
        entry = victim_of_main(pool, keep, now_ms);
        if (!entry) entry = victim_of_small(pool, keep, now_ms);
    }
    if (!entry) return false;
    if (!mp_mentry_over(entry, now_ms)) {
        pool->evictions++;
        if (!(entry->marks & MP_MENTRY_MAIN)) remember(pool, entry->hash);
    }
    take(pool, entry, out);
    return true;
}

void mp_mpool_reap(mp_mpool *pool, int64_t now_ms, mp_node *out) {
    mp_node *queues[] = {&pool->small, &pool->main};
    for (int q = 0; q < 2; q++)
        for (int i = 0; i < 2; i++) {
            mp_mitem *entry = head(queues[q]);
            if (entry && mp_mentry_over(entry, now_ms)) mp_mpool_take(pool, entry, out);
        }
}

static void tell(_Atomic int64_t *total, int64_t *told, int64_t bytes) {
    if (bytes != *told) atomic_fetch_add_explicit(total, bytes - *told, memory_order_relaxed);
    *told = bytes;
}

void mp_mpool_tell(mp_mpool *pool, mp_mtotal *total) {
    int64_t bytes = pool->table.bytes + pool->small_bytes + pool->main_bytes +
                    (pool->ghosts ? mp_mblock_bytes(pool->ghost_sets * sizeof *pool->ghosts) : 0);
    tell(&total->bytes, &pool->told, bytes);
    tell(&total->small, &pool->small_told, pool->small_bytes);
    atomic_store_explicit(&pool->entries, pool->table.count, memory_order_relaxed);
}
