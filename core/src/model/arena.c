#include "model/arena.h"

#include <stdint.h>
#include <stdlib.h>

struct mp_arena_block {
    struct mp_arena_block *older;
    max_align_t data[];
};

enum { FIRST = 4096, ALIGN = sizeof(max_align_t) };

void mp_arena_init(mp_arena *arena) { *arena = (mp_arena){0}; }

void mp_arena_free(mp_arena *arena) {
    for (struct mp_arena_block *block = arena->blocks, *older; block != NULL; block = older) {
        older = block->older;
        free(block);
    }
    mp_arena_init(arena);
}

static bool grow(mp_arena *arena, size_t bytes) {
    size_t room = bytes > FIRST ? bytes : FIRST;
    struct mp_arena_block *block = malloc(sizeof *block + room);
    if (block == NULL) {
        arena->failed = true;
        return false;
    }
    block->older = arena->blocks;
    arena->blocks = block;
    arena->next = (char *)block->data;
    arena->left = room;
    return true;
}

void *mp_arena_take(mp_arena *arena, size_t count, size_t size) {
    if (count > SIZE_MAX / 4 / size) arena->failed = true;
    if (arena->failed) return NULL;
    size_t bytes = (count * size + ALIGN - 1) / ALIGN * ALIGN;
    if (bytes == 0) bytes = ALIGN;
    if (bytes > arena->left && !grow(arena, bytes)) return NULL;
    void *out = arena->next;
    arena->next += bytes;
    arena->left -= bytes;
    return out;
}

mp_slice mp_arena_copy(mp_arena *arena, const char *data, size_t len) {
    char *copy = mp_arena_take(arena, len + 1, 1);
    if (copy == NULL) return (mp_slice){NULL, 0};
    if (len > 0) memcpy(copy, data, len);
    copy[len] = 0;
    return (mp_slice){copy, len};
}
