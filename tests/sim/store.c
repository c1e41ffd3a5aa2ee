#include "store.h"

#include <stdlib.h>

#include "virtual/virtual.h"

void store_begin(store *s, size_t keys) {
    *s = (store){.keys = keys};
    for (size_t i = 0; i < keys; i++) s->key[i].versions = 1;
}

uint32_t store_latest(const store *s, size_t key) { return s->key[key].versions - 1; }

uint32_t store_before(const store *s, size_t key, int64_t at) {
    uint32_t v = store_latest(s, key);
    while (v > 0 && s->key[key].committed[v] >= at) v--;
    return v;
}

uint32_t store_commit(store *s, size_t key, bool absent) {
    store_key *k = &s->key[key];
    if (k->versions == STORE_VERSIONS) abort();
    k->absent[k->versions] = absent;
    k->committed[k->versions] = virtual_now();
    return k->versions++;
}
