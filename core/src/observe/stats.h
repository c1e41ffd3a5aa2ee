/* Counters per namespace. A namespace's row is made once and lives as long as the pond, so policies point at it. */
#ifndef MP_OBSERVE_STATS_H
#define MP_OBSERVE_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"

typedef enum mp_counter {
#define COUNTER(name, text) MP_COUNT_##name,
#include "observe/counters.def"
#undef COUNTER
    MP_COUNTERS
} mp_counter;

typedef struct mp_ns_stats {
    struct mp_ns_stats *next;
    _Atomic uint64_t counts[MP_COUNTERS];
    char ns[80]; /* a namespace, or a collection's row of its own in it */
} mp_ns_stats;

typedef struct mp_stats mp_stats;

mp_stats *mp_stats_new(void);
void mp_stats_free(mp_stats *stats);
/* The row of a namespace, made if missing; NULL without memory. @threads any */
mp_ns_stats *mp_stats_ns(mp_stats *stats, const char *ns);
/* ns NULL: the sum over all; 0 for a name that there is not. @threads any */
uint64_t mp_stats_get(mp_stats *stats, const char *ns, const char *counter);
/* `"total": {...}, "namespaces": {...}` appended to an open JSON object. @threads any */
void mp_stats_json(mp_stats *stats, mp_buf *json);

static inline void mp_count(mp_ns_stats *ns, mp_counter counter) {
    atomic_fetch_add_explicit(&ns->counts[counter], 1, memory_order_relaxed);
}

#endif
