/* A growing byte buffer. An append that finds no memory sets `failed` and changes nothing more, so callers check once
 * at the end. */
#ifndef MP_BASE_BUF_H
#define MP_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mp_buf {
    char *data; /* NUL-terminated whenever anything was appended */
    size_t len, cap;
    bool failed;
} mp_buf;

void mp_buf_init(mp_buf *buf);
void mp_buf_free(mp_buf *buf);
void mp_buf_reset(mp_buf *buf); /* empty, memory kept, failed cleared */
bool mp_buf_reserve(mp_buf *buf, size_t more);
void mp_buf_add(mp_buf *buf, const void *data, size_t len);
void mp_buf_text(mp_buf *buf, const char *text);
void mp_buf_printf(mp_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
void mp_buf_json(mp_buf *buf, const char *text, size_t len);

#endif
