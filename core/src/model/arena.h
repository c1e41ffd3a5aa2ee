/* Memory that is given back all at once: what belongs to one query. A request that finds none sets `failed` and answers
 * NULL, and so do all later ones. */
#ifndef MP_MODEL_ARENA_H
#define MP_MODEL_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include "model/slice.h"

typedef struct mp_arena {
    struct mp_arena_block *blocks;
    char *next;
    size_t left;
    bool failed;
} mp_arena;

void mp_arena_init(mp_arena *arena);
void mp_arena_free(mp_arena *arena);
/* `count` things of `size` bytes, aligned for any of them, not cleared; not NULL if count is 0. */
void *mp_arena_take(mp_arena *arena, size_t count, size_t size);
/* A copy with a NUL behind it; data is NULL without memory. */
mp_slice mp_arena_copy(mp_arena *arena, const char *data, size_t len);

#endif
