/* A piece of text that somebody else owns. */
#ifndef MP_MODEL_SLICE_H
#define MP_MODEL_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct mp_slice {
    const char *data;
    size_t len;
} mp_slice;

#define MP_SLICE(literal) ((mp_slice){"" literal, sizeof literal - 1})

static inline bool mp_slice_is(mp_slice a, mp_slice b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}
/* Order by bytes, which for UTF-8 is the order by code points. */
static inline int mp_slice_order(mp_slice a, mp_slice b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int way = n > 0 ? memcmp(a.data, b.data, n) : 0;
    return way != 0 ? way : (a.len > b.len) - (a.len < b.len);
}

#endif
