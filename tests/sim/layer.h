/* A layer between the patterns and the cache that does one thing wrong: mutants of the library itself, without a line in it. */
#ifndef SIM_LAYER_H
#define SIM_LAYER_H

#include <stdbool.h>
#include <millpond/pond.h>

typedef enum layer_kind {
    LAYER_NONE,
    LAYER_SHARE,     /* a refused fill is told as an accepted one */
    LAYER_FENCE,     /* the envelope carries the fence of now */
    LAYER_EARLY_END, /* no layer, but a host (storing.c): a write is ended before it is committed */
    LAYER_NO_FENCE, /* and no layer, but the store of documents (documents.c): a flush does not look who owns the shards, */
    LAYER_NO_VERSION, /* or which version it replaces, */
    LAYER_NO_TOMBS    /* or what was deleted */
} layer_kind;

static inline bool layer_is_one(layer_kind kind) { return kind == LAYER_SHARE || kind == LAYER_FENCE; }
/* Puts it into a pond that has made no call yet. It goes with the pond. */
void layer_put(pond *p, layer_kind kind);

#endif
