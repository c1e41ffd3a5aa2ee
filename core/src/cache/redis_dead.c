/* Dead letters, as JSON for people: what the store would not have, and why. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "cache/redis.h"

/* A record as members: "version", "state", "value". */
static void add_record(mp_buf *json, const redisReply *r) {
    mp_envelope e;
    if (mp_envelope_read(r->str, r->len, &e) != MP_ENVELOPE_OK) {
        mp_buf_text(json, ",\"version\":null,\"state\":\"damaged\",\"value\":null");
        return;
    }
    bool absent = e.flags & MP_ENVELOPE_NEGATIVE;
    bool document = !absent && (e.codec == POND_JSON || e.codec == POND_EJSON);
    mp_buf_printf(json, ",\"version\":%lld,\"state\":\"%s\",\"value\":", (long long)e.version,
                  absent     ? "absent"
                  : document ? "value"
                             : "damaged");
    if (document) mp_buf_add(json, e.payload, e.payload_len);
    else mp_buf_text(json, "null");
}

static bool texts(redisReply *const *of, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!of[i] || of[i]->type != REDIS_REPLY_STRING) return false;
    return true;
}

static void add(mp_buf *json, redisReply *const *of) {
    mp_buf_text(json, json->len > 1 ? ",{\"id\":" : "{\"id\":");
    mp_buf_json(json, of[0]->str, of[0]->len);
    mp_buf_text(json, ",\"key\":");
    mp_buf_json(json, of[1]->str, of[1]->len);
    mp_buf_printf(json, ",\"at_ms\":%lld", strtoll(of[0]->str, NULL, 10));
    mp_buf_text(json, ",\"error\":");
    mp_buf_json(json, of[3]->str, of[3]->len);
    add_record(json, of[2]);
    mp_buf_text(json, "}");
}

mp_reply mp_dead_list_decode(mp_op *op, const redisReply *r) {
    if (r->type != REDIS_REPLY_ARRAY || r->elements < 1 || (r->elements - 1) % 4 != 0) return mp_op_odd(op);
    op->behind->backlog = mp_reply_integer(r, 0);
    mp_buf json;
    mp_buf_init(&json);
    mp_buf_text(&json, "[");
    bool good = op->behind->backlog >= 0;
    for (size_t i = 1; good && i < r->elements; i += 4) {
        good = texts(r->element + i, 4);
        if (good) add(&json, r->element + i);
    }
    mp_buf_text(&json, "]");
    if (good && !json.failed && (op->value = mp_value_adopt(POND_JSON, json.data, json.len))) return MP_HIT;
    if (!good || json.failed) mp_buf_free(&json);
    if (!good) return mp_op_odd(op);
    op->error = mp_error_new(POND_ENOMEM, "no memory for a list of dead letters");
    return MP_FAILED;
}
