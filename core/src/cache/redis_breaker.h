/* The circuit breaker of a node: after several deadlines in a row that passed without an answer nobody waits for the node any more,
 * until a probe that no caller waits for was answered. Shared by all lines to the node.
 *
 * What counts is time that callers lost. A connection that is refused, or an error that the server says, comes at once: those
 * have the connection's backoff, and calls fail over without waiting. */
#ifndef MP_CACHE_REDIS_BREAKER_H
#define MP_CACHE_REDIS_BREAKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "observe/metrics.h"
#include <millpond/error.h>

typedef struct mp_breaker {
    _Atomic uint32_t
        failures; /* operations since the last answer whose deadline passed; 0: nothing else is looked at */
    _Atomic bool open;
    int64_t limit;     /* failures that open it; 0: it never opens */
    int64_t pause_max; /* between two probes */
    int64_t probe_max; /* how long a probe may take; then it counts as lost, and the next line probes */

    pthread_mutex_t lock; /* of what follows */
    bool probing;
    int64_t probe_at;
    unsigned failed_probes;
    uint64_t opened, skipped;
    pond_error *why;
} mp_breaker;

void mp_breaker_init(mp_breaker *breaker, int64_t limit, int64_t pause_max, int64_t probe_max);
void mp_breaker_destroy(mp_breaker *breaker);

static inline bool mp_breaker_closed(mp_breaker *b) { return !atomic_load_explicit(&b->open, memory_order_relaxed); }
/* A command was answered in time, by whatever: it closes. True if it was open. */
bool mp_breaker_close(mp_breaker *breaker);
static inline bool mp_breaker_answered(mp_breaker *b) {
    return atomic_load_explicit(&b->failures, memory_order_relaxed) && mp_breaker_close(b);
}
/* An operation has waited until its deadline. If it opens by that: the error (yours) that it turns others away with; else NULL. */
pond_error *mp_breaker_late(mp_breaker *breaker, int64_t now_ms, const char *address);
/* A connection, or a command that nobody waits for, was in vain: that ends a probe. */
void mp_breaker_lost(mp_breaker *breaker, int64_t now_ms);

/* It is open: an operation is turned away with this error (the caller's). `*probe`: and the node is to be probed now, by this line. */
pond_error *mp_breaker_refuse(mp_breaker *breaker, int64_t now_ms, bool *probe);

/* Appends a JSON object: state (closed, open, half-open), how often it opened, how many operations did not wait. @threads any */
void mp_breaker_describe(mp_breaker *breaker, mp_buf *json);
void mp_breaker_measure(mp_breaker *breaker, int64_t gauges[MP_GAUGES]);

#endif
