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

typedef enum mp_behind_gauge {
#define BEHIND(name, text) MP_BEHIND_GAUGE_##name,
#include "observe/behind.def"
#undef BEHIND
    MP_BEHIND_GAUGES
} mp_behind_gauge;

/* A collection that is written behind; most of them that have lines of their own. */
#define MP_BEHIND_ROWS 100
typedef struct mp_behind_row {
    const char *name; /* "shop/views" */
    int64_t values[MP_BEHIND_GAUGES];
} mp_behind_row;

/* All unknown. */
void mp_gauges_init(int64_t gauges[MP_GAUGES]);
/* In the text exposition format 0.0.4. `cache`: the kind of cache. @threads any */
void mp_metrics_text(mp_stats *stats, const int64_t gauges[MP_GAUGES], const char *version, const char *cache,
                     mp_buf *out);
/* The same of these; nothing, where there are none. @threads any */
void mp_metrics_behind(const mp_behind_row *rows, size_t n, mp_buf *out);

#endif
