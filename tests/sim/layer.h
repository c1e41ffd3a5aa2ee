/* A layer between the patterns and the cache that does one thing wrong: mutants of the library itself, without a line in it. */
#ifndef SIM_LAYER_H
#define SIM_LAYER_H

#include <millpond/pond.h>

typedef enum layer_kind {
    LAYER_NONE,
    LAYER_SHARE,    /* a refused fill is told as an accepted one */
    LAYER_FENCE,    /* the envelope carries the fence of now */
    LAYER_EARLY_END /* no layer, but a host (storing.c): a write is ended before it is committed */
} layer_kind;

/* Puts it into a pond that has made no call yet. It goes with the pond. */
void layer_put(pond *p, layer_kind kind);

#endif
