/* Entries for a stream in the cache's Redis. */
#ifndef MP_PATTERN_STREAM_H
#define MP_PATTERN_STREAM_H

#include "notify/notify.h"
#include "pattern/call.h"

/* Lane's lock held; what it points to stays until it has ended. Adds all, in order; `most`: entries that the stream keeps, about.
 * *confirmed: so many, the first, have been added. NULL without memory. */
mp_call *mp_stream_start(mp_lane *lane, const char *stream, int64_t most, const mp_notice *notices, size_t n,
                         size_t *confirmed, mp_waiter *waiter);

#endif
