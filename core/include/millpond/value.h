/* Values: immutable bytes with a codec, shared by reference. */
#ifndef MILLPOND_VALUE_H
#define MILLPOND_VALUE_H

#include <stddef.h>
#include <millpond/export.h>

POND_BEGIN_DECLS

typedef struct pond_value pond_value;

/* The numbers are those of the envelope on the wire and never change. */
typedef enum pond_codec {
    POND_NONE = 0,  /* an absence has no payload */
    POND_JSON = 1,  /* UTF-8 JSON text */
    POND_BYTES = 2, /* any bytes */
    POND_TEXT = 3,  /* UTF-8 text */
    POND_EJSON = 4  /* MongoDB Extended JSON */
} pond_codec;

typedef enum pond_state {
    POND_MISS = 0,  /* the cache knows nothing (only lookup answers this) */
    POND_VALUE = 1, /* a value */
    POND_ABSENT = 2 /* known to be absent */
} pond_state;

/* Nothing here blocks or fails. @threads any */
POND_API pond_state pond_value_state(const pond_value *value);
POND_API pond_codec pond_value_codec(const pond_value *value);
/* 1 if it was served past its ttl, as the options grace and stale_if_error allow, else 0. It is old, but no older than what was
 * invalidated or written before the call began. */
POND_API int pond_value_stale(const pond_value *value);
/* The payload, borrowed from the value; `*len` bytes, followed by a NUL that is not counted. */
POND_API const char *pond_value_data(const pond_value *value, size_t *len);
/* Another reference. */
POND_API pond_value *pond_value_ref(pond_value *value);
/* Drops a reference; the last one frees. */
POND_API void pond_value_free(pond_value *value);

POND_END_DECLS

#endif
