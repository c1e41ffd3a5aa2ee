#include "model/envelope.h"

#include <string.h>
#include <millpond/value.h>

#include "model/crc32c.h"

enum { FORMAT = 1 };

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LITTLE(bits, number) (number)
#else
#define LITTLE(bits, number) __builtin_bswap##bits(number)
#endif

#define ACCESS(bits)                                                                                                   \
    static inline void put##bits(char *out, uint##bits##_t number) {                                                   \
        number = LITTLE(bits, number);                                                                                 \
        memcpy(out, &number, sizeof number);                                                                           \
    }                                                                                                                  \
    static inline uint##bits##_t take##bits(const char *in) {                                                          \
        uint##bits##_t number;                                                                                         \
        memcpy(&number, in, sizeof number);                                                                            \
        return LITTLE(bits, number);                                                                                   \
    }
ACCESS(16)
ACCESS(32)
ACCESS(64)
#undef ACCESS

size_t mp_envelope_size(uint32_t payload_len, uint8_t ntags) {
    return MP_ENVELOPE_HEAD + (size_t)ntags * MP_TAG_SIZE + payload_len;
}

void mp_envelope_write_first(char *out, const mp_envelope *envelope) {
    out[0] = 'M';
    out[1] = 'P';
    out[2] = FORMAT;
    out[3] = (char)envelope->flags;
    put32(out + 4, mp_crc32c(envelope->payload, envelope->payload_len));
}

void mp_envelope_write_rest(char *out, const mp_envelope *envelope) {
    put64(out + 8, (uint64_t)envelope->version);
    memcpy(out + 16, envelope->fence, MP_FENCE_SIZE);
    put64(out + 24, envelope->created_ms);
    put32(out + 32, envelope->grace_ms);
    put32(out + 36, envelope->load_ms);
    out[40] = (char)envelope->ntags;
    out[41] = (char)envelope->codec;
    put16(out + 42, 0);
    put32(out + 44, envelope->payload_len);
}

void mp_envelope_write(char *out, const mp_envelope *envelope) {
    mp_envelope_write_first(out, envelope);
    mp_envelope_write_rest(out, envelope);
    size_t tags = (size_t)envelope->ntags * MP_TAG_SIZE;
    if (tags > 0) memcpy(out + MP_ENVELOPE_HEAD, envelope->tags, tags);
    if (envelope->payload_len > 0) memcpy(out + MP_ENVELOPE_HEAD + tags, envelope->payload, envelope->payload_len);
}

/* Whether flags, codec and payload agree: an absence has neither codec nor payload, a value has a known codec. */
static mp_envelope_state check_kind(unsigned flags, unsigned codec, uint32_t payload_len) {
    const unsigned known = MP_ENVELOPE_NEGATIVE | MP_ENVELOPE_COMPRESSED | MP_ENVELOPE_SRCVER | MP_ENVELOPE_DIRTY;
    if (flags & ~known) return MP_ENVELOPE_UNKNOWN;
    if (flags & MP_ENVELOPE_NEGATIVE) {
        if (codec != POND_NONE || payload_len != 0 || (flags & MP_ENVELOPE_COMPRESSED)) return MP_ENVELOPE_UNKNOWN;
    } else if (codec < POND_JSON || codec > POND_EJSON) {
        return MP_ENVELOPE_UNKNOWN;
    }
    return flags & MP_ENVELOPE_COMPRESSED ? MP_ENVELOPE_UNSUPPORTED : MP_ENVELOPE_OK;
}

mp_envelope_state mp_envelope_read(const char *data, size_t len, mp_envelope *out) {
    if (len < 2 || data[0] != 'M' || data[1] != 'P') return len == 0 ? MP_ENVELOPE_SHORT : MP_ENVELOPE_MAGIC;
    if (len < MP_ENVELOPE_HEAD) return MP_ENVELOPE_SHORT;
    if (data[2] != FORMAT || take16(data + 42) != 0) return MP_ENVELOPE_FORMAT;
    mp_envelope found = {.flags = (uint8_t)data[3],
                         .codec = (uint8_t)data[41],
                         .ntags = (uint8_t)data[40],
                         .version = (int64_t)take64(data + 8),
                         .created_ms = take64(data + 24),
                         .grace_ms = take32(data + 32),
                         .load_ms = take32(data + 36),
                         .payload_len = take32(data + 44)};
    mp_envelope_state kind = check_kind(found.flags, found.codec, found.payload_len);
    if (kind != MP_ENVELOPE_OK) return kind;
    if (len != mp_envelope_size(found.payload_len, found.ntags)) return MP_ENVELOPE_LENGTH;
    found.tags = data + MP_ENVELOPE_HEAD;
    found.payload = found.tags + (size_t)found.ntags * MP_TAG_SIZE;
    if (mp_crc32c(found.payload, found.payload_len) != take32(data + 4)) return MP_ENVELOPE_CRC;
    memcpy(found.fence, data + 16, MP_FENCE_SIZE);
    *out = found;
    return MP_ENVELOPE_OK;
}

const char *mp_envelope_text(mp_envelope_state state) {
    static const char *const texts[] = {[MP_ENVELOPE_OK] = "readable",
                                        [MP_ENVELOPE_SHORT] = "it ends before its head does",
                                        [MP_ENVELOPE_MAGIC] = "not an entry of this library",
                                        [MP_ENVELOPE_FORMAT] = "of another format",
                                        [MP_ENVELOPE_UNKNOWN] =
                                            "its flags and codec are unknown or contradict each other",
                                        [MP_ENVELOPE_UNSUPPORTED] = "compressed, which this version cannot read",
                                        [MP_ENVELOPE_LENGTH] = "longer or shorter than its head says",
                                        [MP_ENVELOPE_CRC] = "damaged: its checksum is another"};
    return (unsigned)state < sizeof texts / sizeof texts[0] ? texts[state] : "unknown";
}
