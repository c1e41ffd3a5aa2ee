#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

/* The length of the well-formed sequence at `at`, 0 if there is none. The second byte's bounds depend on the first:
 * they keep out overlong forms (E0, F0), surrogates (ED) and what is past U+10FFFF (F4). */
static size_t sequence(const unsigned char *at, size_t left) {
    unsigned char first = at[0], low = 0x80, high = 0xbf;
    size_t n;
    if (first < 0x80) return 1;
    if (first < 0xc2) return 0;
    if (first < 0xe0) n = 2;
    else if (first < 0xf0) n = 3;
    else if (first < 0xf5) n = 4;
    else return 0;
    if (left < n) return 0;
    if (first == 0xe0) low = 0xa0;
    else if (first == 0xed) high = 0x9f;
    else if (first == 0xf0) low = 0x90;
    else if (first == 0xf4) high = 0x8f;
    if (at[1] < low || at[1] > high) return 0;
    for (size_t i = 2; i < n; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    return n;
}

size_t mp_utf8_check(const char *text, size_t len) {
    const unsigned char *bytes = (const unsigned char *)text;
    size_t at = 0;
    while (at < len) {
        if (bytes[at] < 0x80) { /* most text is ASCII: eight bytes at a time */
            uint64_t word;
            while (len - at >= sizeof word) {
                memcpy(&word, bytes + at, sizeof word);
                if (word & 0x8080808080808080u) break;
                at += sizeof word;
            }
            while (at < len && bytes[at] < 0x80) at++;
            continue;
        }
        size_t n = sequence(bytes + at, len - at);
        if (n == 0) return at;
        at += n;
    }
    return len;
}
