#include "model/behind.h"

#include <stdlib.h>

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
