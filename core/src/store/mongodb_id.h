/* Ids: the text that a program has for a document, and what stands in _id.
 *
 * Collections of others have ids of other types. The text of an id is read as every type that it spells exactly:
 *   the string itself;  an integer, of text that is its decimal digits (42, -7; not 042, +42 or 42.0), within int64;
 *   an ObjectId, of 24 hex digits, lower case.
 * Only exact spellings count, so that one document has one text and therefore one place in a cache. Where documents
 * with several of them exist, the string is meant, then the integer. Documents whose _id is of yet another type are
 * found by queries, but cannot be got by a text. */
#ifndef MP_STORE_MONGODB_ID_H
#define MP_STORE_MONGODB_ID_H

#include <stdbool.h>
#include <stddef.h>

#include <bson/bson.h>

/* In the order in which they are preferred. */
typedef enum mp_mongodb_kind { MP_ID_STRING, MP_ID_INTEGER, MP_ID_OID, MP_ID_OTHER } mp_mongodb_kind;

typedef struct mp_mongodb_id {
    const char *text;
    size_t len;
    mp_mongodb_kind also; /* MP_ID_INTEGER or MP_ID_OID: a second reading, in `value` or `oid`; MP_ID_STRING: none */
    int64_t integer;
    bson_oid_t oid;
} mp_mongodb_id;

mp_mongodb_id mp_mongodb_id_read(const char *text, size_t len);
/* Appends it under `key`, as a string or in its second reading. */
bool mp_mongodb_id_append(bson_t *to, const char *key, const mp_mongodb_id *id, mp_mongodb_kind as);
/* Appends all readings to an array, from index *at on, which is then past them. */
bool mp_mongodb_id_append_all(bson_t *array, uint32_t *at, const mp_mongodb_id *id);

/* The text that spells the _id at `iter`, of `*len` bytes; NULL: none does. It stands in `room` or in the document. */
enum { MP_MONGODB_ID_ROOM = 32 };
const char *mp_mongodb_id_text(const bson_iter_t *iter, char room[MP_MONGODB_ID_ROOM], size_t *len,
                               mp_mongodb_kind *kind);
/* Whether a double is a whole number within int64. */
bool mp_mongodb_is_whole(double x);

#endif
