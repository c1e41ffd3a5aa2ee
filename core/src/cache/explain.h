/* What the caches say alike when they explain a key. */
#ifndef MP_CACHE_EXPLAIN_H
#define MP_CACHE_EXPLAIN_H

#include <stdbool.h>

/* Why a key under which nothing stands is a miss. */
static inline const char *mp_why_nothing(bool loading, bool writing) {
    return loading   ? "nothing is stored: its load is under way"
           : writing ? "nothing is stored: somebody writes it"
                     : "nothing is stored";
}

#endif
