/* Queries: from a query string or an object to one normal form, and from that to one canonical text and key.
 *
 * Everything that a stranger can write ends here: names are checked, values have their types, bounds are held, before any
 * store is asked. The stores translate the normal form and nothing else, so equal keys are equal statements. What a
 * condition, an order and a search mean is said in GUIDE.md; the cases are tests/spec/canonical.json and find.json.
 *
 * Every error is POND_EQUERY, names the key and the repair, and has one of these reasons (pond_error_reason):
 *   bad_field bad_operator bad_type bad_value bad_number bad_page bad_encoding duplicate too_long
 *   sort_arrays    from a store alone: MP_QUERY_SORT_ARRAYS
 * POND_ENOMEM has none. */
#ifndef MP_MODEL_QUERY_H
#define MP_MODEL_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <millpond/error.h>
#include "model/slice.h"

enum {
    MP_QUERY_TEXT_MAX = 8192,     /* bytes of a query string; of an object's names and values together */
    MP_QUERY_JSON_MAX = 65536,    /* bytes of an object's JSON text, which may spell the same with six times as many */
    MP_QUERY_CONDITIONS_MAX = 32, /* (field, operator) pairs */
    MP_QUERY_VALUES_MAX = 100,    /* values in a list */
    MP_QUERY_VALUE_MAX = 1024,    /* bytes of a value */
    MP_QUERY_SORT_MAX = 8,        /* fields to sort by, `id` not counted */
    MP_QUERY_FIELDS_MAX = 64,     /* fields to return or to search in, `id` not counted */
    MP_QUERY_SEARCH_MAX = 256,    /* bytes of a search */
    MP_QUERY_TERMS_MAX = 16,      /* different terms of a search */
    MP_QUERY_NAME_MAX = 255,      /* bytes of a field's name */
    MP_QUERY_PARTS_MAX = 8,       /* dotted parts of a field's name */
    MP_QUERY_SKIP_MAX = 1000000,  /* (page - 1) * limit */
    MP_QUERY_LIMIT_MAX = 100000,  /* highest max_limit that a collection may set */
    MP_QUERY_KEY_LEN = 64         /* SHA-256 in hex */
};

#define MP_QUERY_SORT_ARRAYS "sort_arrays"

/* --- what a collection allows ---------------------------------------------------------------------------------- */

/* Option texts, NULL = not given. The four lists are field names with commas between them (no name can hold one), or
 * "*" for every field, which is also what NULL means; "" allows none. `search_fields` not given: `searchable`, if that is
 * a list. Sorting by `id` is always allowed. */
typedef struct mp_query_options {
    const char *filterable, *sortable, *searchable, *search_fields;
    const char *default_limit, *max_limit; /* "20" (or max_limit if that is less), "100" */
} mp_query_options;

typedef struct mp_query_bounds mp_query_bounds;

/* Compiles them; POND_EOPTION names the option. The result never changes, so any thread may use it. */
int mp_query_bounds_new(mp_query_bounds **out, const mp_query_options *options, pond_error **err);
void mp_query_bounds_free(mp_query_bounds *bounds);

/* --- the normal form ------------------------------------------------------------------------------------------- */

/* A field: "a.b" and its parts "a", "b". `_id` is written `id`; `is_id` says it is the document's key, which has no
 * parts. Names hold no control character, none of `" \ [ ] ,`, no leading `-`, no outer space, no leading `$` in a part
 * (but they may hold `'`, `;` and the like); a part after the first is never all digits. */
typedef struct mp_query_path {
    mp_slice name;
    const mp_slice *parts;
    size_t part_count;
    bool is_id;
} mp_query_path;

/* The ranks of values: the order in which a sort puts their types, which is BSON's. */
typedef enum mp_rank {
    MP_RANK_UNDEFINED = 0,
    MP_RANK_NULL = 1,
    MP_RANK_NUMBER = 2,
    MP_RANK_STRING = 3,
    MP_RANK_OBJECT = 4,
    MP_RANK_ARRAY = 5,
    MP_RANK_OID = 7,
    MP_RANK_BOOL = 8,
    MP_RANK_DATE = 9
} mp_rank;

/* One reading of an operand: a value of exactly one type that stored values are compared with. One operand may have
 * several (the text `10` is the number 10 and the string "10"); a stored value is compared with those of its own type. */
typedef struct mp_query_reading {
    mp_rank rank;    /* NULL, NUMBER, STRING, OID, BOOL or DATE */
    bool is_real;    /* of a NUMBER: `real` counts; otherwise `integer` */
    int64_t integer; /* NUMBER that is whole and within int64 (exact); BOOL 0 or 1; DATE in ms since 1970 */
    double real;     /* any other NUMBER: finite, never a whole number within int64, so never equal to an `integer` */
    mp_slice text;   /* STRING; OID: 24 hex digits, lower case. NUL-terminated, holds no U+0000 */
} mp_query_reading;

typedef enum mp_query_op {
    MP_QUERY_ANY_OF,  /* eq, in: some candidate equals one of the readings; no readings: matches nothing */
    MP_QUERY_NONE_OF, /* ne, nin: NOT any of; no readings: matches everything */
    MP_QUERY_GT, /* ranges: some candidate of a reading's type is past it: one reading, or for text that is a date two */
    MP_QUERY_GTE,
    MP_QUERY_LT,
    MP_QUERY_LTE
} mp_query_op;

/* Readings stand sorted by rank (then value), none twice: those of one rank are one run. */
typedef struct mp_query_condition {
    mp_query_path path;
    mp_query_op op;
    const mp_query_reading *readings;
    size_t reading_count;
} mp_query_condition;

typedef struct mp_query_sort {
    mp_query_path path;
    bool descending;
} mp_query_sort;

/* Read only. All pointers are the query's own and live as long as it; every text is also NUL-terminated. */
typedef struct mp_query {
    const mp_query_condition *conditions; /* all must hold; sorted by field, then operator */
    size_t condition_count;
    const mp_query_path *search_in; /* sorted; some field must hold... */
    size_t search_in_count;
    const mp_slice
        *terms; /* ...each of these, folded (model/fold.h), not empty, sorted; no terms: no search, and no search_in */
    size_t term_count;
    const mp_query_sort *sort; /* at least one; the last one is `id` */
    size_t sort_count;
    const mp_query_path *fields; /* sorted, `id` among them, none below another; none: all */
    size_t field_count;
    int64_t page, limit, skip; /* from 1; from 1; (page - 1) * limit */
} mp_query;

/* A query string as it stands in a URL, with or without its `?`. */
int mp_query_parse_text(mp_query **out, const mp_query_bounds *bounds, const char *text, size_t len, pond_error **err);
/* An object, as JSON text: what a framework made of a query string, a typed object, or a flat dict. */
int mp_query_parse_json(mp_query **out, const mp_query_bounds *bounds, const char *text, size_t len, pond_error **err);
void mp_query_free(mp_query *query);

/* The canonical text, q1{...}; the query's own. */
const char *mp_query_canonical(const mp_query *query, size_t *len);
/* The key: SHA-256 of that text in lower-case hex, NUL-terminated. */
void mp_query_key(const mp_query *query, char out[MP_QUERY_KEY_LEN + 1]);
/* The key of the total: filter and search alone, so that all pages of a query share one count. */
void mp_query_total_key(const mp_query *query, char out[MP_QUERY_KEY_LEN + 1]);
/* The text behind it, for explain(). */
const char *mp_query_total_canonical(const mp_query *query, size_t *len);

#endif
