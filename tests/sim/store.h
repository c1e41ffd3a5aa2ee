/* The store that records: each key's versions 0, 1, 2... in the order in which they were committed. A version is a value, which
 * names key and version, or the absence. */
#ifndef SIM_STORE_H
#define SIM_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STORE_KEYS = 8, STORE_VERSIONS = 256 };

typedef struct store_key {
    uint32_t versions;
    bool absent[STORE_VERSIONS];
    int64_t committed[STORE_VERSIONS]; /* when */
} store_key;

typedef struct store {
    size_t keys;
    store_key key[STORE_KEYS];
} store;

void store_begin(store *s, size_t keys);
uint32_t store_latest(const store *s, size_t key);
uint32_t store_before(const store *s, size_t key, int64_t at); /* the last that was committed before */
uint32_t store_commit(store *s, size_t key, bool absent);      /* the version that it makes */

#endif
