#include <string.h>

#include "base/buf.h"
#include "cache/explain.h"
#include "cache/memory_private.h"

static const char *state_name(const pond_value *value) {
    return !value ? "miss" : value->state == POND_ABSENT ? "absent" : "value";
}

static const char *codec_name(const pond_value *value) {
    switch (value->codec) {
    case POND_JSON: return "json";
    case POND_BYTES: return "bytes";
    case POND_TEXT: return "text";
    case POND_EJSON: return "ejson";
    default: return "none";
    }
}

static void add_number(mp_buf *json, const char *name, bool known, int64_t number) {
    if (known) mp_buf_printf(json, ", \"%s\": %lld", name, (long long)number);
    else mp_buf_printf(json, ", \"%s\": null", name);
}

void mp_memory_inspect(mp_memory *m, mp_op *op, int64_t now_ms) {
    mp_mshard *s = mp_mshard_of(m, &op->key);
    mp_node out;
    mp_list_init(&out);
    uint64_t stamp = mp_mstamp(op->shared, &op->key, now_ms);
    mp_mlock(s);
    mp_mitem *entry = mp_mfind(s, &op->key, stamp, now_ms, &out); /* looking is no hit */
    const uint8_t *generations = NULL;
    uint8_t tags[UINT8_MAX * MP_TAG_SIZE], ntags = entry ? mp_mentry_tags(entry, &generations) : 0;
    pond_value *value = entry ? pond_value_ref(mp_mentry_tagged(entry, ntags, &generations)) : NULL;
    if (ntags) memcpy(tags, generations, (size_t)ntags * MP_TAG_SIZE);
    int64_t ttl = entry ? entry->expires - now_ms : 0, keep = entry ? mp_mentry_age(entry).keep_ms : 0;
    int64_t lease = mp_mleases_left(&s->leases, &op->key, now_ms);
    int64_t intents = mp_mintents_left(&s->intents, &op->key, now_ms);
    unsigned writers = mp_mintents_count(&s->intents, &op->key, now_ms);
    mp_munlock(m, s);
    mp_mfree_entries(&out);

    mp_buf json;
    mp_buf_init(&json);
    mp_buf_printf(&json, "{\"state\": \"%s\", ", state_name(value));
    if (!value) mp_buf_printf(&json, "\"why\": \"%s\", ", mp_why_nothing(lease > 0, writers > 0));
    mp_buf_text(&json, "\"codec\": ");
    if (value) mp_buf_printf(&json, "\"%s\"", codec_name(value));
    else mp_buf_text(&json, "null");
    add_number(&json, "bytes", value != NULL, value ? value->len : 0);
    add_number(&json, "ttl_ms", value != NULL, ttl > 0 ? ttl : 0);
    add_number(&json, "stale_ms", value != NULL && ttl <= 0, -ttl);
    add_number(&json, "keep_ms", value != NULL, keep);
    add_number(&json, "lease_ms", lease > 0, lease);
    add_number(&json, "writers", true, writers);
    add_number(&json, "intents_ms", intents > 0, intents);
    mp_buf_text(&json, ", \"tags\": [");
    for (size_t i = 0; i < ntags; i++) {
        mp_buf_text(&json, i ? ", \"" : "\"");
        for (size_t k = 0; k < MP_TAG_SIZE; k++) mp_buf_printf(&json, "%02x", tags[i * MP_TAG_SIZE + k]);
        mp_buf_text(&json, "\"");
    }
    mp_buf_text(&json, "]}");
    pond_value_free(value);

    op->value = json.failed ? NULL : mp_value_adopt(POND_JSON, json.data, json.len);
    if (json.failed) mp_buf_free(&json);
    if (op->value) op->reply = MP_HIT;
    else mp_memory_fail(op, "an explanation");
}
