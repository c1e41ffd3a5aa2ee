/* Counters and the version. */
#include <stdlib.h>

#include "api/check.h"
#include "base/error.h"

const char *pond_version(void) { return POND_VERSION_TEXT; }

int pond_stats(pond *p, pond_value **out, pond_error **err) {
    if (!p || !out) return mp_fail(err, POND_EMISUSE, "pond_stats: pond or out is NULL");
    mp_buf json;
    mp_buf_init(&json);
    mp_buf_text(&json, "{");
    mp_stats_json(p->stats, &json);
    mp_buf_printf(&json, ",\"calls\":%zu,", atomic_load(&p->calls));
    p->cache->vt->describe(p->cache, &json);
    mp_buf_text(&json, "}");
    if (json.failed) {
        mp_buf_free(&json);
        return mp_no_memory(err);
    }
    *out = mp_value_adopt(POND_JSON, json.data, json.len);
    return *out ? POND_OK : mp_no_memory(err);
}

uint64_t pond_stat(pond *p, const char *ns, const char *counter) {
    return p && counter ? mp_stats_get(p->stats, ns, counter) : 0;
}
