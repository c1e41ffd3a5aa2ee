#include "model/query_private.h"

#include <inttypes.h>

#include "model/instant.h"
#include "model/json_number.h"

enum { OID_LEN = 24 };

const char *mp_query_value_show(char out[MP_QUOTE_MAX], const mp_query_value *value) {
    switch (value->kind) {
    case MP_VALUE_BOOL: return value->yes ? "true" : "false";
    case MP_VALUE_NULL: return "null";
    case MP_VALUE_NOTHING: return "[]";
    default: return mp_quote(out, value->text.data, value->text.len);
    }
}

static int refuse(mp_query_build *b, const char *reason, const mp_query_key_path *path, const mp_query_value *value,
                  const char *why) {
    char key[MP_QUERY_SHOWN], shown[MP_QUOTE_MAX];
    return mp_fail_reason(b->err, POND_EQUERY, reason, "%s: %s %s", mp_query_path_show(key, path),
                          mp_query_value_show(shown, value), why);
}

static bool is_oid(mp_slice text) {
    if (text.len != OID_LEN) return false;
    for (size_t i = 0; i < OID_LEN; i++) {
        char c = text.data[i], low = (char)(c | 0x20);
        if (!((c >= '0' && c <= '9') || (low >= 'a' && low <= 'f'))) return false;
    }
    return true;
}

/* --- readings --------------------------------------------------------------------------------------------------- */

static void add(mp_query_operand *out, mp_query_reading reading) { out->readings[out->count++] = reading; }

static void add_number(mp_query_operand *out, const mp_number *n) {
    add(out, (mp_query_reading){.rank = MP_RANK_NUMBER, .is_real = n->is_real, .integer = n->integer, .real = n->real});
}

static void add_text(mp_query_operand *out, mp_slice text) {
    add(out, (mp_query_reading){.rank = MP_RANK_STRING, .text = text});
}

static void add_date(mp_query_operand *out, int64_t ms) {
    add(out, (mp_query_reading){.rank = MP_RANK_DATE, .integer = ms});
}

static void add_bool(mp_query_operand *out, bool yes) {
    add(out, (mp_query_reading){.rank = MP_RANK_BOOL, .integer = yes});
}

static void add_oid(mp_query_build *b, mp_query_operand *out, mp_slice text) {
    char low[OID_LEN];
    for (size_t i = 0; i < OID_LEN; i++)
        low[i] = (char)(text.data[i] >= 'A' && text.data[i] <= 'F' ? text.data[i] | 0x20 : text.data[i]);
    add(out, (mp_query_reading){.rank = MP_RANK_OID, .text = mp_arena_copy(b->arena, low, OID_LEN)});
}

/* --- canonical spellings, written to b->scratch ----------------------------------------------------------------- */

static void spell_number(mp_query_build *b, const mp_number *n) {
    char text[MP_NUMBER_ROOM];
    mp_buf_add(&b->scratch, text, mp_number_print(text, n));
}

/* {"type":...} around what is there. */
static void wrap(mp_query_build *b, const char *type, mp_slice inner) {
    mp_buf_text(&b->scratch, "{\"");
    mp_buf_text(&b->scratch, type);
    mp_buf_text(&b->scratch, "\":");
    mp_buf_add(&b->scratch, inner.data, inner.len);
    mp_buf_text(&b->scratch, "}");
}

/* --- plain operands --------------------------------------------------------------------------------------------- */

static void read_word(mp_query_build *b, mp_rank rank, const char *word, mp_query_operand *out) {
    mp_buf_text(&b->scratch, word);
    if (rank == MP_RANK_NULL) add(out, (mp_query_reading){.rank = rank});
    else add_bool(out, *word == 't');
    add_text(out, mp_arena_copy(b->arena, word, strlen(word)));
}

/* A number under eq, ne, in: itself, or the string that is spelled as its canonical form. */
static void read_number(mp_query_build *b, const mp_number *n, mp_query_operand *out) {
    char text[MP_NUMBER_ROOM];
    size_t len = mp_number_print(text, n);
    mp_buf_add(&b->scratch, text, len);
    add_number(out, n);
    add_text(out, mp_arena_copy(b->arena, text, len));
}

static bool is_spelled(const mp_number *n, mp_slice text) {
    char canonical[MP_NUMBER_ROOM];
    size_t len = mp_number_print(canonical, n);
    return mp_slice_is((mp_slice){canonical, len}, text);
}

/* Text: everything that it looks like. False: in a range it is a number past the range of doubles. */
static bool read_text(mp_query_build *b, mp_slice text, bool range, mp_query_operand *out) {
    mp_number n;
    int64_t ms;
    mp_number_kind kind = mp_number_parse(text.data, text.len, &n);
    if (range && kind == MP_NUMBER_INFINITE) return false;
    if (range && kind == MP_NUMBER_FINITE) {
        spell_number(b, &n);
        add_number(out, &n);
        return true;
    }
    if (!range) {
        if (kind == MP_NUMBER_FINITE && is_spelled(&n, text)) {
            read_number(b, &n, out);
            return true;
        }
        if (mp_slice_is(text, MP_SLICE("null"))) return read_word(b, MP_RANK_NULL, "null", out), true;
        if (mp_slice_is(text, MP_SLICE("true"))) return read_word(b, MP_RANK_BOOL, "true", out), true;
        if (mp_slice_is(text, MP_SLICE("false"))) return read_word(b, MP_RANK_BOOL, "false", out), true;
    }
    mp_query_write_string(&b->scratch, text);
    add_text(out, text);
    if (kind == MP_NUMBER_FINITE) add_number(out, &n);
    if (!range && is_oid(text)) add_oid(b, out, text); /* of digits alone it is a number, too */
    if (mp_instant_parse(text.data, text.len, &ms)) add_date(out, ms);
    return true;
}

static int read_plain(mp_query_build *b, const mp_query_key_path *path, const mp_query_value *value, bool range,
                      mp_query_operand *out) {
    mp_number n;
    switch (value->kind) {
    case MP_VALUE_TEXT:
        if (read_text(b, value->text, range, out)) return POND_OK;
        return refuse(b, "bad_number", path, value,
                      "is past the range of a double: for the text write [string] after the operator");
    case MP_VALUE_NUMBER:
        if (mp_number_parse(value->text.data, value->text.len, &n) != MP_NUMBER_FINITE)
            return refuse(b, "bad_number", path, value, "is past the range of a double");
        if (range) {
            spell_number(b, &n);
            add_number(out, &n);
        } else read_number(b, &n, out);
        return POND_OK;
    case MP_VALUE_BOOL:
        if (range) break;
        read_word(b, MP_RANK_BOOL, value->yes ? "true" : "false", out);
        return POND_OK;
    case MP_VALUE_NULL:
        if (range) break;
        read_word(b, MP_RANK_NULL, "null", out);
        return POND_OK;
    case MP_VALUE_NOTHING: break;
    }
    return refuse(b, "bad_value", path, value, "is not more or less than anything: write a number, a text or a date");
}

/* --- operands of a forced type ---------------------------------------------------------------------------------- */

/* The wrapper stays only if the plain text would be read otherwise. */
static int read_string(mp_query_build *b, mp_slice text, bool range, mp_query_operand *out) {
    if (read_text(b, text, range, out) && out->count == 1 && out->readings[0].rank == MP_RANK_STRING) return POND_OK;
    mp_buf_reset(&b->scratch);
    out->count = 0;
    mp_buf_text(&b->scratch, "{\"string\":");
    mp_query_write_string(&b->scratch, text);
    mp_buf_text(&b->scratch, "}");
    add_text(out, text);
    return POND_OK;
}

static bool read_date(const mp_query_value *value, int64_t *ms) {
    mp_number n;
    if (value->kind > MP_VALUE_NUMBER) return false;
    if (value->kind == MP_VALUE_TEXT && mp_instant_parse(value->text.data, value->text.len, ms)) return true;
    if (mp_number_parse(value->text.data, value->text.len, &n) != MP_NUMBER_FINITE || n.is_real) return false;
    *ms = n.integer;
    return true;
}

static int read_typed(mp_query_build *b, const mp_query_key_path *path, mp_query_type type, const mp_query_value *value,
                      bool range, mp_query_operand *out) {
    char text[MP_NUMBER_ROOM];
    mp_number n = {0};
    bool text_given = value->kind == MP_VALUE_TEXT, yes;
    switch (type) {
    case MP_TYPE_STRING:
        if (text_given) return read_string(b, value->text, range, out);
        return refuse(b, "bad_value", path, value, "is no string: write it in quotes");
    case MP_TYPE_NUMBER:
        if (value->kind > MP_VALUE_NUMBER || mp_number_parse(value->text.data, value->text.len, &n) != MP_NUMBER_FINITE)
            return refuse(b, "bad_number", path, value, "is no number that a double can hold: write it as JSON does");
        if (range) spell_number(b, &n);
        else wrap(b, "number", (mp_slice){text, mp_number_print(text, &n)});
        add_number(out, &n);
        return POND_OK;
    case MP_TYPE_BOOL:
        if (range)
            return refuse(b, "bad_value", path, value, "is a boolean, and those have no order: use eq, ne or in");
        yes = text_given ? mp_slice_is(value->text, MP_SLICE("true")) : value->yes;
        if (text_given ? !yes && !mp_slice_is(value->text, MP_SLICE("false")) : value->kind != MP_VALUE_BOOL)
            return refuse(b, "bad_value", path, value, "is neither true nor false");
        wrap(b, "bool", yes ? MP_SLICE("true") : MP_SLICE("false"));
        add_bool(out, yes);
        return POND_OK;
    case MP_TYPE_DATE:
        if (!read_date(value, &n.integer))
            return refuse(b, "bad_value", path, value,
                          "is no date: write 2020-01-31, 2020-01-31T12:00:00Z, or milliseconds since 1970");
        wrap(b, "date", (mp_slice){text, mp_number_print(text, &n)});
        add_date(out, n.integer);
        return POND_OK;
    default: /* MP_TYPE_OID */
        if (!text_given || !is_oid(value->text))
            return refuse(b, "bad_value", path, value, "is no ObjectId: write 24 hex digits");
        add_oid(b, out, value->text);
        if (out->readings[0].text.data == NULL) return mp_query_no_memory(b);
        mp_buf_text(&b->scratch, "{\"oid\":");
        mp_query_write_string(&b->scratch, out->readings[0].text);
        mp_buf_text(&b->scratch, "}");
        return POND_OK;
    }
}

int mp_query_operand_read(mp_query_build *b, const mp_query_key_path *path, mp_query_type type,
                          const mp_query_value *value, bool range, mp_query_operand *out) {
    char key[MP_QUERY_SHOWN];
    if (value->text.len > MP_QUERY_VALUE_MAX)
        return MP_REFUSE(b, "too_long", "%s: the value has %zu bytes: it has at most %d", mp_query_path_show(key, path),
                         value->text.len, MP_QUERY_VALUE_MAX);
    mp_buf_reset(&b->scratch);
    out->count = 0;
    int rc =
        type == MP_TYPE_NONE ? read_plain(b, path, value, range, out) : read_typed(b, path, type, value, range, out);
    if (rc != POND_OK) return rc;
    out->canonical = mp_arena_copy(b->arena, b->scratch.data, b->scratch.len);
    return b->scratch.failed || b->arena->failed ? mp_query_no_memory(b) : POND_OK;
}
