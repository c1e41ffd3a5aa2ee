/* The memory: cache, as its opener and its tests see it beyond cache.h. */
#ifndef MP_CACHE_MEMORY_H
#define MP_CACHE_MEMORY_H

#include "cache/cache.h"

/* A cache of its own, bounded by `max` bytes; NULL = no memory. */
mp_cache *mp_memory_new(int64_t max);
/* No link is open. Values that were handed out live on. */
void mp_memory_free(mp_cache *cache);
/* An operation at the given time, all but MP_AWAIT; its `done` was called when this returns. @threads any */
void mp_memory_submit(mp_cache *cache, mp_op *op, int64_t now_ms);

/* The vtable's close (memory_open.c): drops the reference of one mp_memory_open. */
void mp_memory_close(mp_cache *cache);
/* The vtable's reopen. */
int mp_memory_reopen(mp_cache **out, mp_cache *inherited, const mp_options *options, pond_error **err);

#endif
