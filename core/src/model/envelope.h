/* The envelope: how a value stands in Redis, the same from every language. Little endian:
 *
 *    0 "MP" | 2 u8 format | 3 u8 flags | 4 u32 crc32c of the payload | 8 i64 store version | 16 8 bytes fence
 *   24 u64 created_ms | 32 u32 grace_ms | 36 u32 load_ms | 40 u8 ntags | 41 u8 codec | 42 u16 0 | 44 u32 payload_len
 *   48 ntags generations of 24 bytes | payload
 */
#ifndef MP_MODEL_ENVELOPE_H
#define MP_MODEL_ENVELOPE_H

#include <stddef.h>
#include <stdint.h>

#define MP_ENVELOPE_HEAD 48
#define MP_TAG_SIZE 24
#define MP_FENCE_SIZE 8

enum {
    MP_ENVELOPE_NEGATIVE = 1,   /* an absence: no codec, no payload */
    MP_ENVELOPE_COMPRESSED = 2, /* not written or read by this version */
    MP_ENVELOPE_SRCVER = 4,     /* `version` is meaningful */
    MP_ENVELOPE_DIRTY = 128 /* it is written behind, and not in the store yet; `load_ms`: how long it is cached then */
};

typedef struct mp_envelope {
    uint8_t flags;
    uint8_t codec; /* pond_codec */
    uint8_t ntags;
    unsigned char fence[MP_FENCE_SIZE];
    int64_t version;
    uint64_t created_ms; /* diagnostic only, never decides */
    uint32_t grace_ms, load_ms;
    uint32_t payload_len;
    const char *tags;    /* ntags * MP_TAG_SIZE bytes, borrowed */
    const char *payload; /* borrowed, not NUL-terminated */
} mp_envelope;

/* What a read found. Anything but OK is a miss, and counted. */
typedef enum mp_envelope_state {
    MP_ENVELOPE_OK = 0,
    MP_ENVELOPE_SHORT,       /* it ends before its head does */
    MP_ENVELOPE_MAGIC,       /* somebody else's value */
    MP_ENVELOPE_FORMAT,      /* of another format */
    MP_ENVELOPE_UNKNOWN,     /* with a flag or codec that this version does not know, or that contradict each other */
    MP_ENVELOPE_UNSUPPORTED, /* compressed */
    MP_ENVELOPE_LENGTH,      /* longer or shorter than its head says */
    MP_ENVELOPE_CRC          /* damaged */
} mp_envelope_state;

size_t mp_envelope_size(uint32_t payload_len, uint8_t ntags);
/* Of its first MP_ENVELOPE_HEAD bytes those up to the version, and those from there on; `out` is where it begins. */
void mp_envelope_write_first(char *out, const mp_envelope *envelope);
void mp_envelope_write_rest(char *out, const mp_envelope *envelope);
/* Writes mp_envelope_size(...) bytes. */
void mp_envelope_write(char *out, const mp_envelope *envelope);
/* Checks everything but the payload's own form; `*out` points into `data` and is set only if all is well. */
mp_envelope_state mp_envelope_read(const char *data, size_t len, mp_envelope *out);
/* A phrase for explain and the log. */
const char *mp_envelope_text(mp_envelope_state state);

#endif
