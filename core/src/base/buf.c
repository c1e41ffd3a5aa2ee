#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum { FIRST = 64 };

void mp_buf_init(mp_buf *buf) { *buf = (mp_buf){0}; }

void mp_buf_free(mp_buf *buf) {
    free(buf->data);
    mp_buf_init(buf);
}

void mp_buf_reset(mp_buf *buf) {
    buf->len = 0;
    buf->failed = false;
    if (buf->data != NULL) buf->data[0] = 0;
}

bool mp_buf_reserve(mp_buf *buf, size_t more) {
    if (buf->failed) return false;
    if (buf->cap > buf->len && more < buf->cap - buf->len) return true; /* one more for the NUL */
    if (more > SIZE_MAX / 2 - buf->len - 1) {
        buf->failed = true;
        return false;
    }
    size_t need = buf->len + more + 1, cap = buf->cap < FIRST ? FIRST : buf->cap;
    while (cap < need) cap *= 2; /* need <= SIZE_MAX / 2, so this ends */
    char *data = realloc(buf->data, cap);
    if (data == NULL) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->cap = cap;
    return true;
}

void mp_buf_add(mp_buf *buf, const void *data, size_t len) {
    if (!mp_buf_reserve(buf, len)) return;
    if (len > 0) memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = 0;
}

void mp_buf_text(mp_buf *buf, const char *text) { mp_buf_add(buf, text, strlen(text)); }

void mp_buf_printf(mp_buf *buf, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    if (len < 0) buf->failed = true;
    else if (mp_buf_reserve(buf, (size_t)len)) {
        vsnprintf(buf->data + buf->len, (size_t)len + 1, format, again);
        buf->len += (size_t)len;
    }
    va_end(again);
    va_end(args);
}

static void add_escape(mp_buf *buf, unsigned char c) {
    switch (c) {
    case '"': mp_buf_text(buf, "\\\""); break;
    case '\\': mp_buf_text(buf, "\\\\"); break;
    case '\n': mp_buf_text(buf, "\\n"); break;
    case '\r': mp_buf_text(buf, "\\r"); break;
    case '\t': mp_buf_text(buf, "\\t"); break;
    default: mp_buf_printf(buf, "\\u%04x", c);
    }
}

/* One run of well-formed UTF-8. */
static void add_clean(mp_buf *buf, const char *text, size_t len) {
    size_t from = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        mp_buf_add(buf, text + from, i - from);
        add_escape(buf, c);
        from = i + 1;
    }
    mp_buf_add(buf, text + from, len - from);
}

void mp_buf_json(mp_buf *buf, const char *text, size_t len) {
    mp_buf_add(buf, "\"", 1);
    for (size_t at = 0; at < len;) {
        size_t good = mp_utf8_check(text + at, len - at);
        add_clean(buf, text + at, good);
        at += good;
        if (at < len) {
            mp_buf_text(buf, "\xef\xbf\xbd");
            at++;
        }
    }
    mp_buf_add(buf, "\"", 1);
}
