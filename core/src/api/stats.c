/* Counters and the version. */
#include <stdlib.h>

#include "api/check.h"
#include "base/error.h"
#include "observe/metrics.h"
#include "pattern/behind/backlog.h"
#include "pattern/wait.h"

const char *pond_version(void) { return POND_VERSION_TEXT; }

/* Takes over the buffer. */
static int give(mp_buf *text, pond_codec codec, pond_value **out, pond_error **err) {
    if (text->failed) {
        mp_buf_free(text);
        return mp_no_memory(err);
    }
    *out = mp_value_adopt(codec, text->data, text->len);
    return *out ? POND_OK : mp_no_memory(err);
}

int pond_stats(pond *p, pond_value **out, pond_error **err) {
    if (!p || !out) return mp_fail(err, POND_EMISUSE, "pond_stats: pond or out is NULL");
    int code = mp_pond_here(p, err);
    if (code != POND_OK) return code;
    mp_buf json;
    mp_buf_init(&json);
    mp_buf_text(&json, "{");
    mp_stats_json(p->stats, SIZE_MAX, &json);
    mp_buf_printf(&json, ",\"calls\":%zu,\"overdue_ends\":%zu,", atomic_load(&p->calls) + mp_backlogs_ending(p),
                  atomic_load(&p->overdue));
    p->cache->vt->describe(p->cache, &json);
    mp_notifier_describe(&p->notifier, &json);
    mp_backlogs_describe(p, &json);
    mp_buf_text(&json, "}");
    return give(&json, POND_JSON, out, err);
}

int pond_metrics(pond *p, pond_value **out, pond_error **err) {
    if (!p || !out) return mp_fail(err, POND_EMISUSE, "pond_metrics: pond or out is NULL");
    int code = mp_pond_here(p, err);
    if (code != POND_OK) return code;
    int64_t gauges[MP_GAUGES];
    mp_buf text;
    mp_buf_init(&text);
    mp_gauges_init(gauges);
    gauges[MP_GAUGE_calls] = (int64_t)atomic_load(&p->calls);
    gauges[MP_GAUGE_overdue_ends] = (int64_t)atomic_load(&p->overdue);
    if (mp_notifier_is_open(&p->notifier)) gauges[MP_GAUGE_waiting_events] = mp_notifier_waiting(&p->notifier);
    p->cache->vt->measure(p->cache, gauges);
    mp_metrics_text(p->stats, gauges, POND_VERSION_TEXT, p->cache->vt->scheme, &text);
    mp_backlogs_measure(p, &text);
    return give(&text, POND_TEXT, out, err);
}

uint64_t pond_stat(pond *p, const char *ns, const char *counter) {
    return p && counter && mp_pond_here(p, NULL) == POND_OK ? mp_stats_get(p->stats, ns, counter) : 0;
}

int pond_processes(pond *p, pond_value **out, pond_error **err) {
    if (!out) return mp_fail(err, POND_EMISUSE, "pond_processes: out is NULL");
    int code = mp_open_check(p, err);
    return code == POND_OK ? mp_wait_inspect(p, NULL, NULL, false, out, err) : code;
}
