#include "model/behind.h"

#include <stdlib.h>

mp_key mp_behind_entry_key(char *name, const mp_key *of, const mp_behind_entry *entry) {
    mp_key key;
    mp_key_make(&key, name, of->name, of->ns_len, entry->key, entry->key_len <= MP_KEY_MAX ? entry->key_len : 0);
    key.shards = of->shards;
    key.shard = of->shard;
    return key;
}

void mp_behind_clear(mp_behind *behind) {
    for (size_t i = 0; i < behind->count; i++) {
        free(behind->entries[i].key);
        free(behind->entries[i].why);
        if (behind->entries[i].increments) mp_sums_clear(behind->entries[i].increments);
        free(behind->entries[i].increments);
        pond_value_free(behind->entries[i].value);
    }
    free(behind->entries);
    behind->entries = NULL;
    behind->count = 0;
}

void mp_sums_clear(mp_sums *sums) {
    for (size_t i = 0; i < sums->n; i++) free(sums->sum[i].member);
    free(sums->sum);
    pond_value_free(sums->value);
    *sums = (mp_sums){0};
}
