/* CRC-32C (Castagnoli), as the envelope carries it. */
#ifndef MP_MODEL_CRC32C_H
#define MP_MODEL_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t mp_crc32c(const void *data, size_t len);
/* The same without the processor's instructions; for tests and for processors that have none. */
uint32_t mp_crc32c_portable(const void *data, size_t len);

#endif
