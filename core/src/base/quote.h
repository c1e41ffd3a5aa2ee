/* How an error's sentence shows what came from outside: in quotes, escaped, and shortened. */
#ifndef MP_BASE_QUOTE_H
#define MP_BASE_QUOTE_H

#include <stddef.h>

enum {
    MP_QUOTE_SHOWN = 48, /* at most so many bytes of the text are shown, then "..." */
    MP_QUOTE_MAX = 4 * MP_QUOTE_SHOWN + 2 + 3 + 1
};

/* Writes it to `out` (MP_QUOTE_MAX bytes), NUL-terminated, and returns `out`. Control characters and bytes that are not
 * UTF-8 become \xNN; the result is always UTF-8. */
const char *mp_quote(char *out, const char *text, size_t len);

#endif
