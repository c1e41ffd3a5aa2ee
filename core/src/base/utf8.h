/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing past U+10FFFF. */
#ifndef MP_BASE_UTF8_H
#define MP_BASE_UTF8_H

#include <stddef.h>

/* Offset of the first byte that is not well-formed, or `len` if all are. */
size_t mp_utf8_check(const char *text, size_t len);

#endif
