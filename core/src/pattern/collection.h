/* Collections: documents and pages of the store under keys of their own (protocol.md, section 2). Documents of collection C
 * live in namespace "N/C", pages and totals in "N/C?", which users cannot name. */
#ifndef MP_PATTERN_COLLECTION_H
#define MP_PATTERN_COLLECTION_H

#include "model/query.h"
#include "pattern/group.h"
#include "pattern/policy.h"
#include "pattern/source.h"
#include "pattern/tags.h"
#include <millpond/collection.h>

#define MP_DOC_KEY_MAX (1 + MP_KEY_MAX)

struct pond_collection {
    mp_source documents; /* first: its reference count is the collection's, for loads outlive the handle */
    pond *pond;
    char *name;
    pond_policy *document;
    pond_policy *page[2], *total[2]; /* [1]: of queries with a search */
    pond_tags *pages;                /* what all pages and totals are tagged with */
    mp_query_bounds *bounds;
    mp_query_bounds *indexable; /* any field may be indexed */
    mp_query *indexes;          /* its sort, without the last (`id`); NULL: none */
    bool cache_empty;
    bool tells, outbox; /* of changes: at all; from the store's outbox */
    int ack; /* write=behind: on so many replicas a change must be, or MP_ON_DISK; 0: in the memory of the cache */
    _Atomic bool ack_known;    /* the cache can say so */
    _Atomic bool ack_at_once;  /* and says it by its answer */
    struct mp_backlog *behind; /* the pond's; NULL: it is written through or aside */
};

int mp_collection_new(pond_collection **out, pond *p, const char *name, const char *const *options, size_t n,
                      pond_error **err);
/* The key of a document: writes to name and points `key` at it. */
void mp_collection_key(const pond_collection *c, mp_key *key, char name[MP_NAME_MAX + 1], const char *id, size_t len);

/* A find: the source of one page. Owns the query. */
typedef struct mp_find {
    mp_source source; /* first */
    pond_collection *collection;
    mp_query *query;
    char key[MP_QUERY_KEY_LEN + 1];
} mp_find;

int mp_find_new(mp_find **out, pond_collection *c, pond_query_form form, const char *text, size_t len,
                pond_error **err);
pond_policy *mp_find_policy(const mp_find *find); /* of the page */
void mp_find_key(const mp_find *find, mp_key *key, char name[MP_NAME_MAX + 1]);

/* Blocking, on any thread without locks: prepare, and how a query would be answered, as a JSON object. */
int mp_collection_prepare(pond_collection *c, pond_error **err);
int mp_find_explain(mp_find *find, pond_value **out, pond_error **err);

/* Of one that is written behind: may changes be accepted? Blocking, as above. */
int mp_collection_ready(pond_collection *c, pond_error **err);

#endif
