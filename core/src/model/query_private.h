/* What the files of the query parser share. The way of a query:
 *
 *   query_text.c, query_json.c   a string or an object becomes entries: a key that is understood, and a value as given
 *   query_key.c                  key paths: reserved words, fields, operators, types, list marks
 *   query_bounds.c               names of fields, and which of them are allowed
 *   query_operand.c              a value becomes readings and one canonical spelling
 *   query.c                      entries are grouped, and the groups become the normal form:
 *   query_filter.c                 conditions
 *   query_reserved.c               page, limit, sort, fields, search
 *   query_canonical.c            the normal form as text
 *
 * Memory comes from one arena, work is bounded by the text's length (sorting is n log n), and nothing recurses deeper than
 * a key path is long. */
#ifndef MP_MODEL_QUERY_PRIVATE_H
#define MP_MODEL_QUERY_PRIVATE_H

#include "base/buf.h"
#include "base/error.h"
#include "base/quote.h"
#include "model/arena.h"
#include "model/query.h"

/* --- bounds ----------------------------------------------------------------------------------------------------- */

typedef struct mp_query_names {
    bool all;
    const mp_slice *names; /* sorted, none twice */
    size_t count;
} mp_query_names;

struct mp_query_bounds {
    mp_arena arena;
    mp_query_names filterable, sortable, searchable, search_fields;
    int64_t default_limit, max_limit;
};

bool mp_query_names_hold(const mp_query_names *names, mp_slice name);
/* What is wrong with a field's name (a phrase for after the name, static), or NULL; *reason: bad_field or too_long. */
const char *mp_query_name_fault(mp_slice name, const char **reason);
/* `_id` is `id`. */
mp_slice mp_query_name_of(mp_slice name);
/* Sorts by bytes and drops what is there twice; returns how many are left. */
size_t mp_query_names_sort(mp_slice *names, size_t count);

/* --- building --------------------------------------------------------------------------------------------------- */

typedef enum mp_query_target {
    MP_TARGET_FILTER,
    MP_TARGET_PAGE,
    MP_TARGET_LIMIT,
    MP_TARGET_SORT,
    MP_TARGET_FIELDS,
    MP_TARGET_SEARCH,
    MP_TARGET_SEARCH_IN
} mp_query_target;

/* Operators as written; `field=` alone is its own, though it means eq. */
typedef enum mp_query_given {
    MP_GIVEN_NONE,
    MP_GIVEN_EQ,
    MP_GIVEN_NE,
    MP_GIVEN_GT,
    MP_GIVEN_GTE,
    MP_GIVEN_LT,
    MP_GIVEN_LTE,
    MP_GIVEN_IN
} mp_query_given;

typedef enum mp_query_type {
    MP_TYPE_NONE,
    MP_TYPE_STRING,
    MP_TYPE_NUMBER,
    MP_TYPE_BOOL,
    MP_TYPE_DATE,
    MP_TYPE_OID
} mp_query_type;

typedef struct mp_query_value {
    enum {
        MP_VALUE_TEXT,
        MP_VALUE_NUMBER,
        MP_VALUE_BOOL,
        MP_VALUE_NULL,
        MP_VALUE_NOTHING
    } kind;        /* NOTHING: of an empty list */
    bool yes;      /* BOOL */
    mp_slice text; /* TEXT; NUMBER as it was spelled */
} mp_query_value;

/* A key path, resolved. Entries of equal paths (index aside) are one group: the values of one repeated parameter. */
typedef struct mp_query_key_path {
    mp_query_target target;
    bool where;     /* through where[..] */
    bool listed;    /* a[], a[0], or an element of an object's list */
    int index;      /* of a[0]; -1 */
    mp_slice field; /* FILTER */
    mp_query_given op;
    mp_query_type type;
} mp_query_key_path;

typedef struct mp_query_entry {
    struct mp_query_entry *next;
    size_t order;
    mp_query_key_path path;
    mp_query_type own_type; /* path.type, or of a list's element: {"string": "10"} */
    mp_query_value value;
} mp_query_entry;

typedef struct mp_query_build {
    const mp_query_bounds *bounds;
    pond_error **err;
    mp_arena *arena; /* the query's */
    mp_buf scratch;
    mp_query_entry *entries, **last;
    size_t count;
} mp_query_build;

/* Refuses: `reason`, then a sentence. */
#define MP_REFUSE(b, reason, ...) mp_fail_reason((b)->err, POND_EQUERY, reason, __VA_ARGS__)
int mp_query_no_memory(mp_query_build *b);
int mp_query_add(mp_query_build *b, const mp_query_key_path *path, mp_query_type own_type, mp_query_value value);
int mp_query_read_text(mp_query_build *b, const char *text, size_t len);
int mp_query_read_json(mp_query_build *b, const char *text, size_t len);

/* Entries of one group, in the order in which they came. */
typedef struct mp_query_group {
    mp_query_entry **entries;
    size_t count;  /* at least one */
    size_t values; /* of those, not counting the mark of an empty list */
    const mp_query_key_path *path;
} mp_query_group;

/* Makes a path of a name that is in order; false without memory. */
bool mp_query_path_make(mp_query_build *b, mp_slice name, mp_query_path *out);

/* --- key paths -------------------------------------------------------------------------------------------------- */

/* where, field, operator, type, list mark; one more is always wrong. */
enum { MP_QUERY_KEY_PARTS = 6, MP_QUERY_SHOWN = MP_QUOTE_MAX };

/* Splits "a[gte][x]" in place: brackets become NUL. The parts are NUL-terminated; past MP_QUERY_KEY_PARTS they are dropped. */
int mp_query_key_split(mp_query_build *b, char *key, size_t len, mp_slice parts[MP_QUERY_KEY_PARTS], size_t *count);
/* Of the parts the first `spelled` stood in one key, the rest are keys of nested objects. */
int mp_query_key_resolve(mp_query_build *b, const mp_slice *parts, size_t count, size_t spelled,
                         mp_query_key_path *out);
/* The type of this name, or MP_TYPE_NONE. */
mp_query_type mp_query_type_of(mp_slice name);
/* How errors show a key: "where[a][gte]", in quotes. */
const char *mp_query_key_show(char out[MP_QUERY_SHOWN], const mp_slice *parts, size_t count);
const char *mp_query_path_show(char out[MP_QUERY_SHOWN], const mp_query_key_path *path);

/* --- operands --------------------------------------------------------------------------------------------------- */

enum { MP_QUERY_READINGS = 3 };

typedef struct mp_query_operand {
    mp_slice canonical;
    mp_query_reading readings[MP_QUERY_READINGS];
    size_t count;
} mp_query_operand;

/* How errors show a value; text is quoted. */
const char *mp_query_value_show(char out[MP_QUOTE_MAX], const mp_query_value *value);
/* Reads a value under a range operator, or under one of equality. */
int mp_query_operand_read(mp_query_build *b, const mp_query_key_path *path, mp_query_type type,
                          const mp_query_value *value, bool range, mp_query_operand *out);

/* --- filter and reserved keys ---------------------------------------------------------------------------------- */

/* A condition as the canonical text has it. Those of one field stand together, operators in the order of their names. */
typedef enum mp_query_word {
    MP_WORD_EQ,
    MP_WORD_GT,
    MP_WORD_GTE,
    MP_WORD_IN,
    MP_WORD_LT,
    MP_WORD_LTE,
    MP_WORD_NE,
    MP_WORD_NIN
} mp_query_word;

typedef struct mp_query_draft {
    mp_slice field;
    mp_query_word word;
    mp_query_operand *operands; /* sorted by their canonical spelling, none twice */
    size_t count;
    const mp_query_key_path *path; /* for errors */
} mp_query_draft;

/* One group as a condition. */
int mp_query_draft_make(mp_query_build *b, const mp_query_group *g, mp_query_draft *draft);
/* Sorts and merges the drafts: the first query->condition_count of them are left, and are the query's conditions. */
int mp_query_conditions_make(mp_query_build *b, mp_query_draft *drafts, size_t count, mp_query *query);
/* Page, limit, sort, fields and search; groups[target] or NULL. */
int mp_query_reserved_read(mp_query_build *b, const mp_query_group *const groups[], mp_query *query);

/* --- writing ---------------------------------------------------------------------------------------------------- */

void mp_query_write_string(mp_buf *to, mp_slice text);
/* The two canonical texts of a query whose normal form is there. */
void mp_query_write(mp_buf *to, const mp_query *query, const mp_query_draft *drafts, bool total);

#endif
