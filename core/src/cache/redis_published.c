/* What processes publish of their statistics: rows of JSON that others have written, so nothing in them is believed. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "cache/redis.h"
#include "model/document.h"
#include "model/keyname.h"

static void keys(mp_buf *out) {
    mp_command_arg(out, MP_KEYNAME_PUBLISHED, strlen(MP_KEYNAME_PUBLISHED));
    mp_command_arg(out, MP_KEYNAME_PUBLISHED_ENDS, strlen(MP_KEYNAME_PUBLISHED_ENDS));
}

void mp_publish_encode(mp_buf *out, const mp_op *op, bool with_text) {
    mp_command_script(out, MP_SCRIPT_publish, with_text, 2, 3);
    keys(out);
    mp_command_arg(out, op->token, MP_TOKEN_LEN);
    mp_command_number(out, op->value ? op->ttl_ms : 0);
    mp_command_arg(out, op->value ? op->value->data : "", op->value ? op->value->len : 0);
}

void mp_published_encode(mp_buf *out, bool with_text) {
    mp_command_script(out, MP_SCRIPT_published, with_text, 2, 0);
    keys(out);
}

/* Decimal digits and the space behind them; false: something else. */
static bool number(const char **at, const char *end, int64_t *out) {
    int64_t n = 0;
    const char *p = *at;
    while (p < end && *p >= '0' && *p <= '9' && n <= (INT64_MAX - 9) / 10) n = n * 10 + (*p++ - '0');
    if (p == *at || p == end || *p != ' ') return false;
    *at = p + 1;
    *out = n;
    return true;
}

/* One row as an object of the list, if it is one: the id and what is left of its time come first. */
static void add(mp_buf *json, const uint8_t *id, int64_t left, const char *row, size_t len) {
    char *object;
    size_t size;
    const mp_document_name name = {"statistics", "", 0};
    if (mp_document_pack(&name, row, len, &object, &size, NULL) != POND_OK) return;
    if (size > 2) { /* not {} */
        mp_buf_text(json, json->len > 1 ? ",{\"process\":\"" : "{\"process\":\"");
        for (size_t i = 0; i < MP_TOKEN_LEN; i++) mp_buf_printf(json, "%02x", id[i]);
        mp_buf_printf(json, "\",\"left_ms\":%lld,", (long long)left);
        mp_buf_add(json, object + 1, size - 1);
    }
    free(object);
}

mp_reply mp_published_decode(mp_op *op, const redisReply *r) {
    mp_buf json;
    mp_buf_init(&json);
    mp_buf_text(&json, "[");
    bool good = r->type == REDIS_REPLY_STRING;
    const char *at = good ? r->str : "", *end = good ? at + r->len : at;
    while (good && at < end) {
        const uint8_t *id = (const uint8_t *)at;
        int64_t left, len;
        good = end - at > MP_TOKEN_LEN;
        if (good) at += MP_TOKEN_LEN;
        good = good && number(&at, end, &left) && number(&at, end, &len) && len <= end - at;
        if (!good) break;
        add(&json, id, left, at, (size_t)len);
        at += len;
    }
    mp_buf_text(&json, "]");
    op->value = good && !json.failed ? mp_value_adopt(POND_JSON, json.data, json.len) : NULL;
    if (op->value) return MP_HIT;
    op->error =
        good ? mp_error_new(POND_ENOMEM, "no memory for the statistics of other processes")
             : mp_error_new(POND_EPROTOCOL, "the cache gave the statistics of other processes in another form than the "
                                            "protocol's: is something else writing keys that begin with mp:?");
    if (!good || json.failed) mp_buf_free(&json);
    return MP_FAILED;
}
