/* The Prometheus text: the counters and load times of all namespaces, and the gauges of the whole. */
#ifndef MP_OBSERVE_METRICS_H
#define MP_OBSERVE_METRICS_H

#include "observe/stats.h"

typedef enum mp_gauge {
#define GAUGE(name, kind, text) MP_GAUGE_##name,
#include "observe/gauges.def"
#undef GAUGE
    MP_GAUGES
} mp_gauge;

#define MP_GAUGE_UNKNOWN INT64_MIN

/* Rows that have lines of their own; newer ones are summed up. */
#define MP_METRICS_ROWS 1000

/* All unknown. */
void mp_gauges_init(int64_t gauges[MP_GAUGES]);
/* In the text exposition format 0.0.4. `cache`: the kind of cache. @threads any */
void mp_metrics_text(mp_stats *stats, const int64_t gauges[MP_GAUGES], const char *version, const char *cache,
                     mp_buf *out);

#endif
