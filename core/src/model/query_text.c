#include "model/query_private.h"

#include "base/utf8.h"

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes percent escapes and + into the query's memory. */
static int decode(mp_query_build *b, const char *text, size_t len, char **out, size_t *out_len) {
    char shown[MP_QUOTE_MAX], *to = mp_arena_take(b->arena, len + 1, 1);
    size_t n = 0;
    if (to == NULL) return mp_query_no_memory(b);
    for (size_t at = 0; at < len; at++) {
        char c = text[at];
        if (c == '+') c = ' ';
        else if (c == '%') {
            int high = at + 2 < len ? hex(text[at + 1]) : -1, low = at + 2 < len ? hex(text[at + 2]) : -1;
            if (high < 0 || low < 0)
                return MP_REFUSE(b, "bad_encoding",
                                 "%s: %% is not followed by two hex digits: write %%25 for a percent sign",
                                 mp_quote(shown, text, len));
            c = (char)(high << 4 | low);
            at += 2;
        }
        if (c == 0)
            return MP_REFUSE(b, "bad_encoding", "%s: it holds U+0000: leave it out", mp_quote(shown, text, len));
        to[n++] = c;
    }
    to[n] = 0;
    if (mp_utf8_check(to, n) < n)
        return MP_REFUSE(b, "bad_encoding", "%s: it is not UTF-8", mp_quote(shown, text, len));
    *out = to;
    *out_len = n;
    return POND_OK;
}

/* key=value, or a key alone. */
static int read_segment(mp_query_build *b, const char *text, size_t len) {
    const char *equals = memchr(text, '=', len);
    size_t key_len = equals != NULL ? (size_t)(equals - text) : len;
    mp_slice parts[MP_QUERY_KEY_PARTS];
    mp_query_key_path path;
    mp_query_value value = {.kind = MP_VALUE_TEXT};
    char *key, *decoded = "";
    size_t count;
    int rc = decode(b, text, key_len, &key, &count);
    if (rc == POND_OK && equals != NULL) rc = decode(b, equals + 1, len - key_len - 1, &decoded, &value.text.len);
    if (rc == POND_OK) rc = mp_query_key_split(b, key, count, parts, &count);
    if (rc == POND_OK) rc = mp_query_key_resolve(b, parts, count, count, &path);
    value.text.data = decoded;
    return rc == POND_OK ? mp_query_add(b, &path, path.type, value) : rc;
}

int mp_query_read_text(mp_query_build *b, const char *text, size_t len) {
    if (len > MP_QUERY_TEXT_MAX)
        return MP_REFUSE(b, "too_long", "the query string has %zu bytes: it has at most %d", len, MP_QUERY_TEXT_MAX);
    if (len > 0 && *text == '?') text++, len--;
    for (size_t from = 0, to; from < len; from = to + 1) {
        const char *end = memchr(text + from, '&', len - from);
        to = end != NULL ? (size_t)(end - text) : len;
        int rc = to > from ? read_segment(b, text + from, to - from) : POND_OK;
        if (rc != POND_OK) return rc;
    }
    return POND_OK;
}
