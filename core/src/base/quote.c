#include "base/quote.h"

#include <string.h>

#include "base/utf8.h"

static char *put_hex(char *to, unsigned char c) {
    static const char hex[] = "0123456789abcdef";
    *to++ = '\\';
    *to++ = 'x';
    *to++ = hex[c >> 4];
    *to++ = hex[c & 15];
    return to;
}

static char *put(char *to, unsigned char c) {
    if (c < 0x20 || c == 0x7f) return put_hex(to, c);
    if (c == '"' || c == '\\') *to++ = '\\';
    *to++ = (char)c;
    return to;
}

const char *mp_quote(char *out, const char *text, size_t len) {
    size_t shown = len <= MP_QUOTE_SHOWN ? len : MP_QUOTE_SHOWN;
    /* do not cut a character in two: the start of a sequence is at most three bytes back */
    for (int i = 0; i < 3 && shown < len && shown > 0 && ((unsigned char)text[shown] & 0xc0) == 0x80; i++) shown--;
    char *to = out;
    *to++ = '"';
    for (size_t at = 0; at < shown;) {
        size_t good = at + mp_utf8_check(text + at, shown - at);
        for (; at < good; at++) to = put(to, (unsigned char)text[at]);
        if (at < shown) to = put_hex(to, (unsigned char)text[at++]);
    }
    if (shown < len) {
        memcpy(to, "...", 3);
        to += 3;
    }
    *to++ = '"';
    *to = 0;
    return out;
}
