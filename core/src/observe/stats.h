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

enum {
#define BOUND(ms, seconds) MP_LOAD_TO_##ms,
#include "observe/load_bounds.def"
#undef BOUND
    MP_LOAD_BOUNDS
};

typedef struct mp_ns_stats {
    struct mp_ns_stats *next;
    _Atomic uint64_t counts[MP_COUNTERS];
    _Atomic uint64_t load_times[MP_LOAD_BOUNDS + 1]; /* in buckets; the last: longer than all bounds */
    _Atomic uint64_t load_ms;                        /* together */
    char ns[80];                                     /* a namespace, or a collection's row of its own in it */
} mp_ns_stats;

typedef struct mp_stats mp_stats;

mp_stats *mp_stats_new(void);
void mp_stats_free(mp_stats *stats);
/* In the child of a fork: the rows stay, and count from zero. */
void mp_stats_restart(mp_stats *stats);
/* The row of a namespace, made if missing; NULL without memory. @threads any */
mp_ns_stats *mp_stats_ns(mp_stats *stats, const char *ns);

/* A bounded look at the rows: the oldest `most`, and the sum of the newer ones, if there are any, as one that no namespace can be
 * called like. That sum only grows. @threads any */
typedef struct mp_stats_view {
    const mp_ns_stats *own; /* the newest of those that are shown by themselves */
    bool more;
    mp_ns_stats others;
} mp_stats_view;
void mp_stats_look(mp_stats_view *view, mp_stats *stats, size_t most);
/* The row after this one; NULL: the first, or the last has been. */
const mp_ns_stats *mp_stats_next(const mp_stats_view *view, const mp_ns_stats *row);

/* ns NULL: the sum over all; 0 for a name that there is not. @threads any */
uint64_t mp_stats_get(mp_stats *stats, const char *ns, const char *counter);
/* `"total": {...}, "namespaces": {...}` appended to an open JSON object. @threads any */
void mp_stats_json(mp_stats *stats, size_t most, mp_buf *json);

static inline void mp_count(mp_ns_stats *ns, mp_counter counter) {
    atomic_fetch_add_explicit(&ns->counts[counter], 1, memory_order_relaxed);
}

static inline uint64_t mp_stats_count(const mp_ns_stats *row, size_t counter) {
    return atomic_load_explicit(&row->counts[counter], memory_order_relaxed);
}

/* A load has ended after so long. @threads any */
void mp_count_load(mp_ns_stats *ns, int64_t took_ms);

#endif
