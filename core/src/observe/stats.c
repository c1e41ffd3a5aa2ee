#include "observe/stats.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mp_stats {
    pthread_mutex_t lock;
    mp_ns_stats *_Atomic first; /* rows are only ever added, and whole when they are: a child of a fork may walk them */
};

static const char *const names[MP_COUNTERS] = {
#define COUNTER(name, text) #name,
#include "observe/counters.def"
#undef COUNTER
};

mp_stats *mp_stats_new(void) {
    mp_stats *stats = calloc(1, sizeof *stats);
    if (stats) pthread_mutex_init(&stats->lock, NULL);
    return stats;
}

void mp_stats_free(mp_stats *stats) {
    if (!stats) return;
    for (mp_ns_stats *row = stats->first, *next; row; row = next) {
        next = row->next;
        free(row);
    }
    pthread_mutex_destroy(&stats->lock);
    free(stats);
}

void mp_stats_restart(mp_stats *stats) {
    pthread_mutex_init(&stats->lock, NULL);
    for (mp_ns_stats *row = stats->first; row; row = row->next) {
        for (size_t i = 0; i < MP_COUNTERS; i++) row->counts[i] = 0;
        for (size_t i = 0; i <= MP_LOAD_BOUNDS; i++) row->load_times[i] = 0;
        row->load_ms = 0;
    }
}

static mp_ns_stats *find(mp_stats *stats, const char *ns) {
    mp_ns_stats *row = stats->first;
    while (row && strcmp(row->ns, ns) != 0) row = row->next;
    return row;
}

mp_ns_stats *mp_stats_ns(mp_stats *stats, const char *ns) {
    pthread_mutex_lock(&stats->lock);
    mp_ns_stats *row = find(stats, ns);
    if (!row && (row = calloc(1, sizeof *row))) {
        snprintf(row->ns, sizeof row->ns, "%s", ns);
        row->next = stats->first;
        stats->first = row;
    }
    pthread_mutex_unlock(&stats->lock);
    return row;
}

/* The rows behind it stay as they are. */
static const mp_ns_stats *newest(mp_stats *stats) {
    pthread_mutex_lock(&stats->lock);
    const mp_ns_stats *first = stats->first;
    pthread_mutex_unlock(&stats->lock);
    return first;
}

static void add_row(mp_ns_stats *to, const mp_ns_stats *row) {
    for (size_t i = 0; i < MP_COUNTERS; i++) to->counts[i] += mp_stats_count(row, i);
    for (size_t i = 0; i <= MP_LOAD_BOUNDS; i++) to->load_times[i] += row->load_times[i];
    to->load_ms += row->load_ms;
}

void mp_stats_look(mp_stats_view *view, mp_stats *stats, size_t most) {
    size_t rows = 0;
    const mp_ns_stats *first = newest(stats);
    for (const mp_ns_stats *row = first; row; row = row->next) rows++;
    memset(view, 0, sizeof *view);
    strcpy(view->others.ns, "?others");
    view->own = first;
    for (; rows > most; rows--, view->own = view->own->next) {
        add_row(&view->others, view->own);
        view->more = true;
    }
}

const mp_ns_stats *mp_stats_next(const mp_stats_view *view, const mp_ns_stats *row) {
    if (!row) return view->more ? &view->others : view->own;
    return row == &view->others ? view->own : row->next;
}

void mp_count_load(mp_ns_stats *ns, int64_t took_ms) {
    static const int64_t bounds[] = {
#define BOUND(ms, seconds) ms,
#include "observe/load_bounds.def"
#undef BOUND
    };
    size_t bucket = 0;
    while (bucket < MP_LOAD_BOUNDS && took_ms > bounds[bucket]) bucket++;
    atomic_fetch_add_explicit(&ns->load_times[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&ns->load_ms, took_ms > 0 ? (uint64_t)took_ms : 0, memory_order_relaxed);
}

uint64_t mp_stats_get(mp_stats *stats, const char *ns, const char *counter) {
    size_t i = 0;
    while (i < MP_COUNTERS && strcmp(names[i], counter) != 0) i++;
    if (i == MP_COUNTERS) return 0;
    uint64_t sum = 0;
    for (const mp_ns_stats *row = newest(stats); row; row = row->next)
        if (!ns || strcmp(row->ns, ns) == 0) sum += mp_stats_count(row, i);
    return sum;
}

static void counters_json(mp_buf *json, const uint64_t *counts) {
    mp_buf_text(json, "{");
    for (size_t i = 0; i < MP_COUNTERS; i++)
        mp_buf_printf(json, "%s\"%s\":%llu", i ? "," : "", names[i], (unsigned long long)counts[i]);
    uint64_t hits = counts[MP_COUNT_hits] + counts[MP_COUNT_negative_hits], all = hits + counts[MP_COUNT_misses];
    unsigned rate = all ? (unsigned)((double)hits / (double)all * 10000 + 0.5) : 0; /* %f would follow the locale */
    mp_buf_printf(json, ",\"hit_rate\":%u.%04u}", rate / 10000, rate % 10000);
}

void mp_stats_json(mp_stats *stats, size_t most, mp_buf *json) {
    mp_stats_view view;
    uint64_t total[MP_COUNTERS] = {0}, counts[MP_COUNTERS];
    mp_stats_look(&view, stats, most);
    for (const mp_ns_stats *row = NULL; (row = mp_stats_next(&view, row));)
        for (size_t i = 0; i < MP_COUNTERS; i++) total[i] += mp_stats_count(row, i);
    mp_buf_text(json, "\"total\":");
    counters_json(json, total);
    mp_buf_text(json, ",\"namespaces\":{");
    const char *comma = "";
    for (const mp_ns_stats *row = NULL; (row = mp_stats_next(&view, row)); comma = ",") {
        for (size_t i = 0; i < MP_COUNTERS; i++) counts[i] = mp_stats_count(row, i);
        mp_buf_text(json, comma);
        mp_buf_json(json, row->ns, strlen(row->ns));
        mp_buf_text(json, ":");
        counters_json(json, counts);
    }
    mp_buf_text(json, "}");
}
