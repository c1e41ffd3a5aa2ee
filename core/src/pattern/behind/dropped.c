#include "pattern/behind/dropped.h"

#include <stdlib.h>

#include "base/clock.h"

/* Without memory it is counted all the same. */
void mp_dropped_note(mp_dropped *d, const char *id, size_t len, const mp_sum *sum, const char *why) {
    mp_buf json;
    mp_buf_init(&json);
    mp_buf_text(&json, "{\"document_id\":");
    mp_buf_json(&json, id, len);
    mp_buf_text(&json, ",\"field\":");
    mp_buf_json(&json, sum->member, sum->len);
    mp_buf_printf(&json, ",\"by\":%lld,\"why\":\"%s\",\"at_ms\":%lld}", (long long)sum->by, why,
                  (long long)mp_clock_wall_ms());
    if (json.failed) {
        mp_buf_free(&json);
        return;
    }
    size_t at = d->n++ % MP_DROPPED_MOST;
    free(d->text[at]);
    d->text[at] = json.data;
}

void mp_dropped_describe(const mp_dropped *d, mp_buf *json) {
    bool first = true;
    mp_buf_text(json, "[");
    for (size_t i = 0; i < MP_DROPPED_MOST; i++) {
        const char *text = d->text[(d->n + i) % MP_DROPPED_MOST];
        if (!text) continue;
        if (!first) mp_buf_text(json, ",");
        mp_buf_text(json, text);
        first = false;
    }
    mp_buf_text(json, "]");
}

void mp_dropped_clear(mp_dropped *d) {
    for (size_t i = 0; i < MP_DROPPED_MOST; i++) free(d->text[i]);
    *d = (mp_dropped){0};
}
