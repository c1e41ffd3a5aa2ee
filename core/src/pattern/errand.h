/* Errands: operations on the cache that are no read or write of a caller's, some at once, and one wait for all of them. */
#ifndef MP_PATTERN_ERRAND_H
#define MP_PATTERN_ERRAND_H

#include "pattern/call.h"

typedef struct mp_errand {
    mp_op op; /* set up but for `done`; what it points to stays as it is until the wait is over */
    struct mp_errands *of;
} mp_errand;

/* Lane's lock held. Ends with OK when each of them has ended, well or not. NULL without memory. */
mp_call *mp_errands_start(mp_lane *lane, mp_errand *each, size_t n, mp_waiter *waiter);

/* POND_OK, unless the operation failed: then its error, which goes to *err (or is freed, if `err` is NULL), and is the errand's no more. */
int mp_errand_code(mp_errand *errand, pond_error **err);

#endif
