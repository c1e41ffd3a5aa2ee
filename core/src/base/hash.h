/* Hash of bytes, seeded per process, so that strangers who choose keys cannot choose collisions. */
#ifndef MP_BASE_HASH_H
#define MP_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t mp_hash(const void *data, size_t len);
/* The same in every process that has the same seed. */
uint64_t mp_hash_with(const void *data, size_t len, uint64_t seed);

#endif
