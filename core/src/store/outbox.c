#include <stdlib.h>

#include "store/store.h"

void mp_outbox_clear(mp_outbox *o) {
    for (size_t i = 0; i < o->n; i++) {
        free(o->rows[i].id);
        free(o->rows[i].key);
        free(o->rows[i].text);
    }
    o->n = 0;
}
