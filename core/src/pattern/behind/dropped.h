/* The last increments that this process had to drop, as there was nothing that they could be added to: they were accepted, so somebody may
 * want to know which. */
#ifndef MP_PATTERN_BEHIND_DROPPED_H
#define MP_PATTERN_BEHIND_DROPPED_H

#include <stddef.h>
#include "base/buf.h"
#include "model/json_increment.h"

enum { MP_DROPPED_MOST = 16 };

typedef struct mp_dropped { /* zero: none yet */
    char *text
        [MP_DROPPED_MOST]; /* JSON objects, owned: the one at n % MP_DROPPED_MOST is the oldest, and the next to go */
    size_t n;
} mp_dropped;

void mp_dropped_note(mp_dropped *d, const char *id, size_t len, const mp_sum *sum, const char *why);
void mp_dropped_describe(const mp_dropped *d, mp_buf *json); /* [{...},...], oldest first */
void mp_dropped_clear(mp_dropped *d);

#endif
