#include "observe/metrics.h"

#include <string.h>

static const struct {
    const char *name, *text;
} counters[] = {
#define COUNTER(name, text) {#name, text},
#include "observe/counters.def"
#undef COUNTER
};

typedef enum kind { gauge, counter } kind;
static const struct {
    const char *name, *text;
    kind kind;
} gauges[] = {
#define GAUGE(name, kind, text) {#name, text, kind},
#include "observe/gauges.def"
#undef GAUGE
};

static const struct {
    const char *name, *text;
    bool seconds;
} behind[] = {
#define BEHIND(name, text) {#name, text, MP_BEHIND_GAUGE_##name == MP_BEHIND_GAUGE_lag_seconds},
#include "observe/behind.def"
#undef BEHIND
};

static const char *const bounds[] = {
#define BOUND(ms, seconds) seconds,
#include "observe/load_bounds.def"
#undef BOUND
};

void mp_gauges_init(int64_t values[MP_GAUGES]) {
    for (size_t i = 0; i < MP_GAUGES; i++) values[i] = MP_GAUGE_UNKNOWN;
}

static void family(mp_buf *out, const char *name, const char *suffix, const char *type, const char *text) {
    mp_buf_printf(out, "# HELP millpond_%s%s %s\n# TYPE millpond_%s%s %s\n", name, suffix, text, name, suffix, type);
}

static void label(mp_buf *out, const char *name, const char *value, size_t len) {
    mp_buf_printf(out, "%s=\"", name);
    for (size_t i = 0; i < len; i++) {
        if (value[i] == '\n') mp_buf_text(out, "\\n");
        else if (value[i] == '"' || value[i] == '\\') mp_buf_printf(out, "\\%c", value[i]);
        else mp_buf_add(out, &value[i], 1);
    }
    mp_buf_text(out, "\"");
}

static void collection_labels(mp_buf *out, const char *row, const char *slash, const char *mark) {
    label(out, "namespace", row, slash ? (size_t)(slash - row) : strlen(row));
    if (!slash) return;
    mp_buf_text(out, ",");
    label(out, "collection", slash + 1, mark ? (size_t)(mark - slash - 1) : strlen(slash + 1));
}

/* A namespace N, or one of the rows of its collection C: N/C, N/C?, N/C?total. */
static void row_labels(mp_buf *out, const char *row) {
    const char *slash = strchr(row, '/'), *mark = slash ? strchr(slash, '?') : NULL;
    collection_labels(out, row, slash, mark);
    if (slash) mp_buf_printf(out, ",part=\"%s\"", !mark ? "documents" : mark[1] ? "totals" : "pages");
}

static void count_lines(const mp_stats_view *v, size_t i, mp_buf *out) {
    family(out, counters[i].name, "_total", "counter", counters[i].text);
    for (const mp_ns_stats *row = NULL; (row = mp_stats_next(v, row));) {
        mp_buf_printf(out, "millpond_%s_total{", counters[i].name);
        row_labels(out, row->ns);
        mp_buf_printf(out, "} %llu\n", (unsigned long long)mp_stats_count(row, i));
    }
}

static void load_line(const mp_ns_stats *row, const char *suffix, const char *le, mp_buf *out) {
    mp_buf_printf(out, "millpond_load_seconds_%s{", suffix);
    row_labels(out, row->ns);
    if (le) mp_buf_printf(out, ",le=\"%s\"", le);
    mp_buf_text(out, "} ");
}

static void load_lines(const mp_stats_view *v, mp_buf *out) {
    family(out, "load_seconds", "", "histogram", "how long loads took, failed ones included");
    for (const mp_ns_stats *row = NULL; (row = mp_stats_next(v, row));) {
        unsigned long long sum = 0, ms = row->load_ms;
        for (size_t i = 0; i <= MP_LOAD_BOUNDS; i++) {
            sum += row->load_times[i];
            load_line(row, "bucket", i < MP_LOAD_BOUNDS ? bounds[i] : "+Inf", out);
            mp_buf_printf(out, "%llu\n", sum);
        }
        load_line(row, "sum", NULL, out);
        mp_buf_printf(out, "%llu.%03llu\n", ms / 1000, ms % 1000);
        load_line(row, "count", NULL, out);
        mp_buf_printf(out, "%llu\n", sum);
    }
}

void mp_metrics_behind(const mp_behind_row *rows, size_t n, mp_buf *out) {
    for (size_t i = 0; n && i < MP_BEHIND_GAUGES; i++) {
        mp_buf_printf(out, "# HELP millpond_behind_%s %s\n# TYPE millpond_behind_%s gauge\n", behind[i].name,
                      behind[i].text, behind[i].name);
        for (size_t k = 0; k < n; k++) {
            long long value = rows[k].values[i];
            mp_buf_printf(out, "millpond_behind_%s{", behind[i].name);
            collection_labels(out, rows[k].name, strchr(rows[k].name, '/'), NULL);
            if (behind[i].seconds) mp_buf_printf(out, "} %lld.%03lld\n", value / 1000, value % 1000);
            else mp_buf_printf(out, "} %lld\n", value);
        }
    }
}

void mp_metrics_text(mp_stats *stats, const int64_t values[MP_GAUGES], const char *version, const char *cache,
                     mp_buf *out) {
    mp_stats_view v;
    mp_stats_look(&v, stats, MP_METRICS_ROWS);
    family(out, "info", "", "gauge", "the library's version and the kind of its cache");
    mp_buf_printf(out, "millpond_info{version=\"%s\",cache=\"%s\"} 1\n", version, cache);
    for (size_t i = 0; i < MP_GAUGES; i++) {
        if (values[i] == MP_GAUGE_UNKNOWN) continue;
        const char *suffix = gauges[i].kind == counter ? "_total" : "";
        family(out, gauges[i].name, suffix, gauges[i].kind == counter ? "counter" : "gauge", gauges[i].text);
        mp_buf_printf(out, "millpond_%s%s %lld\n", gauges[i].name, suffix, (long long)values[i]);
    }
    for (size_t i = 0; i < MP_COUNTERS; i++) count_lines(&v, i, out);
    load_lines(&v, out);
}
