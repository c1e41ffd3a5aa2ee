/* The body of pond_value: whoever makes one embeds this first and says how it is freed. */
#ifndef MP_MODEL_VALUE_H
#define MP_MODEL_VALUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <millpond/value.h>

#define MP_VERSION_NOWHERE (-1) /* of what is right, but under no version in cache or store */

struct pond_value {
    _Atomic uint32_t refs;
    uint8_t state; /* pond_state */
    uint8_t codec; /* pond_codec */
    bool stale;    /* served past its time */
    uint32_t len;
    int64_t version;  /* of a document that is written behind, or MP_VERSION_NOWHERE; 0 else */
    const char *data; /* NUL-terminated */
    void (*free)(pond_value *self);
};

/* A value with its own copy of the bytes (refs 1); NULL = no memory. */
pond_value *mp_value_new(pond_state state, pond_codec codec, const void *data, size_t len);
/* The two values without a payload; static, so they cost and fail nothing. */
pond_value *mp_value_absent(void);
pond_value *mp_value_miss(void);
/* The same value, marked as stale: others may have it as a fresh one. Takes over the reference; frees it and answers NULL without
 * memory. */
pond_value *mp_value_stale(pond_value *value);
/* Takes over a malloc'ed, NUL-terminated text. Frees it and answers NULL without memory. */
pond_value *mp_value_adopt(pond_codec codec, char *data, size_t len);

#endif
