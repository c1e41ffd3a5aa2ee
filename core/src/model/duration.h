/* Numbers with a unit, as options write them: "250ms", "1.5s", "64MiB". */
#ifndef MP_MODEL_DURATION_H
#define MP_MODEL_DURATION_H

#include <stdint.h>

typedef enum mp_parse {
    MP_PARSE_OK = 0,
    MP_PARSE_SYNTAX,  /* not such a number, or an unknown unit */
    MP_PARSE_INEXACT, /* a fraction of a millisecond or of a byte */
    MP_PARSE_TOO_BIG  /* past int64_t */
} mp_parse;

/* ms, s, m, h, d; without a unit milliseconds. */
mp_parse mp_duration_parse(const char *text, int64_t *ms);
/* KiB, MiB, GiB, TiB; without a unit bytes. */
mp_parse mp_size_parse(const char *text, int64_t *bytes);
/* Digits only. */
mp_parse mp_count_parse(const char *text, int64_t *count);

#endif
