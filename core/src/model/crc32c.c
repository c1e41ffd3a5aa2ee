#include "model/crc32c.h"

#include <string.h>

/* Bits are reflected: bit i of a 32-bit word stands for x^(31-i), so a shift to the right multiplies by x. */
#define POLYNOMIAL 0x82f63b78u

enum { SLICES = 8 };
static uint32_t slice[SLICES][256]; /* slice[k][b]: byte b followed by k zero bytes */

/* Three lanes run at once because the crc instruction takes three cycles but one can start in each. They are joined by
 * multiplying a lane by x^(64 words after it); join[n] is x^(64n - 33): the carry-less product and the
 * last crc put the 33 back. */
enum { LANE_MAX = 128 }; /* words */
static uint32_t join[2 * LANE_MAX + 1];

/* Filled when the library is loaded, about 10 us: after that they are constants, and no call needs to ask. */
__attribute__((constructor)) static void make_tables(void) {
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
        slice[0][b] = crc;
    }
    for (int k = 1; k < SLICES; k++)
        for (int b = 0; b < 256; b++) slice[k][b] = (slice[k - 1][b] >> 8) ^ slice[0][slice[k - 1][b] & 0xff];
    join[1] = 1; /* x^31 */
    for (int n = 2; n <= 2 * LANE_MAX; n++) {
        join[n] = join[n - 1];
        for (int byte = 0; byte < 8; byte++) join[n] = (join[n] >> 8) ^ slice[0][join[n] & 0xff];
    }
}

uint32_t mp_crc32c_portable(const void *data, size_t len) {
    const unsigned char *at = data;
    uint32_t crc = 0xffffffffu;
    for (; len >= 8; at += 8, len -= 8) {
        crc ^= (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        crc = slice[7][crc & 0xff] ^ slice[6][crc >> 8 & 0xff] ^ slice[5][crc >> 16 & 0xff] ^ slice[4][crc >> 24] ^
              slice[3][at[4]] ^ slice[2][at[5]] ^ slice[1][at[6]] ^ slice[0][at[7]];
    }
    for (; len > 0; at++, len--) crc = (crc >> 8) ^ slice[0][(crc ^ *at) & 0xff];
    return ~crc;
}

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

static inline uint64_t word_at(const unsigned char *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* crc * join[n] as 64 bits; one crc over it makes the remainder. */
__attribute__((target("sse4.2,pclmul"))) static inline uint64_t multiply(uint64_t crc, uint32_t by) {
    return (uint64_t)_mm_cvtsi128_si64(
        _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)crc), _mm_cvtsi64_si128((int64_t)by), 0));
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t with_instructions(const unsigned char *at, size_t len) {
    uint64_t crc = 0xffffffffu;
    while (len >= 24 * 4) { /* below that joining costs more than it saves */
        size_t words = len / 24 < LANE_MAX ? len / 24 : LANE_MAX;
        const unsigned char *second = at + 8 * words, *third = second + 8 * words;
        uint64_t b = 0, c = 0;
        for (size_t i = 0; i < words; i++) {
            crc = _mm_crc32_u64(crc, word_at(at + 8 * i));
            b = _mm_crc32_u64(b, word_at(second + 8 * i));
            c = _mm_crc32_u64(c, word_at(third + 8 * i));
        }
        crc = _mm_crc32_u64(0, multiply(crc, join[2 * words]) ^ multiply(b, join[words])) ^ c;
        at += 24 * words;
        len -= 24 * words;
    }
    for (; len >= 8; at += 8, len -= 8) crc = _mm_crc32_u64(crc, word_at(at));
    for (; len > 0; at++, len--) crc = _mm_crc32_u8((uint32_t)crc, *at);
    return ~(uint32_t)crc;
}

uint32_t mp_crc32c(const void *data, size_t len) {
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")) return with_instructions(data, len);
    return mp_crc32c_portable(data, len);
}

#else

uint32_t mp_crc32c(const void *data, size_t len) { return mp_crc32c_portable(data, len); }

#endif
