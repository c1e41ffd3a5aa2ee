/* How long a cached value is fresh, and what may be done with it later. Pure: time and chance are arguments.
 *
 * Early refresh is XFetch: Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015. Each
 * reader brings the end forward by load time * beta * -ln(u), u drawn evenly from (0, 1]: so a value is loaded anew before it ends, the
 * sooner the longer its load takes, and rarely by two readers at once. */
#ifndef MP_MODEL_FRESHNESS_H
#define MP_MODEL_FRESHNESS_H

#include "model/config.h"

/* What a reader may do with a value that was found. */
typedef enum mp_use {
    MP_USE_FRESH, /* serve it */
    MP_USE_EARLY, /* serve it, and have it loaded anew */
    MP_USE_STALE, /* the same, and it is past its time */
    MP_USE_SPARE, /* load; serve it, as stale, if nothing comes of that */
    MP_USE_NONE
} mp_use;

/* Does a reader need to know how old a value is? */
static inline bool mp_asks_age(const mp_options *o) {
    return o->early_refresh || (o->allow_stale && (o->grace || o->stale_if_error));
}
/* How long a value is kept past its ttl. An absence is not: that something is not there is not said for longer than negative_ttl. */
static inline int64_t mp_kept_past(const mp_options *o, bool absence) {
    return absence ? 0 : o->grace > o->stale_if_error ? o->grace : o->stale_if_error;
}
/* `left`: ms that it is still fresh, <= 0: past its time. `load_ms`: what its load took. `draw`: an even draw of 32 bits. */
mp_use mp_use_of(const mp_options *options, bool absence, int64_t left, uint32_t load_ms, uint32_t draw);
/* No draw makes a value of so many ms left be loaded anew. */
bool mp_surely_fresh(int64_t early_refresh, int64_t left, uint32_t load_ms);
/* ttl or, by the draw, up to so many percent less; at least 1 ms of what is positive. */
int64_t mp_jittered(int64_t ttl, int64_t percent, uint32_t draw);

#endif
