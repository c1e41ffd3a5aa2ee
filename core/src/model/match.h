/* What a query means for one document: does it match, where does it sort, what of it is shown. One meaning, over parsed
 * JSON, for every store that has no query language of its own. The rules are in GUIDE.md; tests/spec/find.json holds cases. */
#ifndef MP_MODEL_MATCH_H
#define MP_MODEL_MATCH_H

#include <stdbool.h>
#include "base/buf.h"
#include "model/query.h"

typedef enum mp_matched {
    MP_MATCH_NO,
    MP_MATCH_YES,
    MP_MATCH_NOMEM,
    MP_MATCH_DAMAGED,    /* the document is not a JSON object */
    MP_MATCH_SORT_ARRAYS /* two of the sort fields are arrays in it: that has no order */
} mp_matched;

/* YES or NO; `doc` is the stored text, without the id. */
mp_matched mp_match(const mp_query *query, mp_slice id, mp_slice doc);
/* Appends bytes whose memcmp order is the query's sort, the id as the last key. YES if done. */
mp_matched mp_match_sort_key(const mp_query *query, mp_slice id, mp_slice doc, mp_buf *out);
/* Appends the fields that the query asks for, as a JSON object with "id" first. YES if done. */
mp_matched mp_match_project(const mp_query *query, mp_slice id, mp_slice doc, mp_buf *out);

#endif
