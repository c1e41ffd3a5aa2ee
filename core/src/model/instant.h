/* Instants: RFC 3339 text and milliseconds since 1970. */
#ifndef MP_MODEL_INSTANT_H
#define MP_MODEL_INSTANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 2020-01-01 (midnight UTC), or 2020-01-01T12:00[:00[.000]] with Z or an offset such as +01:00; 1 to 3 decimals. A day
 * that is not in the calendar is none, nor is a time without an offset or a leap second. */
bool mp_instant_parse(const char *text, size_t len, int64_t *ms);

#endif
