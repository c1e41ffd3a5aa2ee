/* SHA-256 (FIPS 180-4), for the keys of queries: strangers choose queries, so a shorter or a weaker hash would let two of
 * them share a page. Our own because the core links no cryptographic library, and a wheel or an addon would have to carry
 * one for this alone; it hashes a few hundred bytes a query and guards no secret. */
#ifndef MP_MODEL_SHA256_H
#define MP_MODEL_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { MP_SHA256_BYTES = 32, MP_SHA256_HEX = 64 };

void mp_sha256(uint8_t out[MP_SHA256_BYTES], const void *data, size_t len);
/* In lower-case hex, NUL-terminated. */
void mp_sha256_hex(char out[MP_SHA256_HEX + 1], const void *data, size_t len);

#endif
