/* Increments of a document's members, by integers. */
#ifndef MP_MODEL_JSON_INCREMENT_H
#define MP_MODEL_JSON_INCREMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <millpond/error.h>
#include "model/value.h"

#define MP_INCREMENT_MOST ((INT64_C(1) << 53) - 1) /* of one, and of a sum: what every language counts exactly */
#define MP_MEMBER_MAX 255

/* What a member is to grow by. */
typedef struct mp_sum {
    char *member; /* NUL-terminated */
    size_t len;
    int64_t by;
    bool dropped; /* mp_increment, out */
} mp_sum;

/* May a caller name it? POND_EVALUE says why not: it is a member of the document itself, not "id" or the library's, and no path. */
int mp_increment_check(const char *collection, const char *member, size_t len, int64_t by, pond_error **err);

/* The document, as a store's get gives it, with the sums; a member that is not there counts from 0. *out: a new value of the same codec.
 * *dropped: sums that could not be added, as the member is no integer or would leave that; if all were, *out is NULL. POND_ENOMEM; POND_ESTORE, not
 * retriable: that is no document. */
int mp_increment(const pond_value *document, mp_sum *sums, size_t n, pond_value **out, size_t *dropped,
                 pond_error **err);

#endif
