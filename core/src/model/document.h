/* Documents: the JSON objects of a collection, as they come from a caller and as they stand in a store.
 *
 * A stored document is in normal form, so that the store's own JSON functions, every language and every query see the
 * same thing: an object without whitespace, strings with no escape that is not needed, numbers in the shortest spelling
 * of their value, members in the caller's order, and no "id" member, which is the row's key. */
#ifndef MP_MODEL_DOCUMENT_H
#define MP_MODEL_DOCUMENT_H

#include <stddef.h>
#include <millpond/error.h>
#include "model/value.h"

/* Levels of objects and arrays, the document itself being the first. What MongoDB stores is bounded by the same number;
 * SQLite's JSON functions and the parsers of the three languages take more. */
#define MP_DOCUMENT_DEPTH 180

/* What a document is called in an error: collection "id". */
typedef struct mp_document_name {
    const char *collection;
    const char *id;
    size_t id_len;
} mp_document_name;

/* The normal form of a caller's document into *out (NUL-terminated, the caller frees it). POND_EVALUE names the member or
 * the byte: not a JSON object, not UTF-8, U+0000 or a lone surrogate in a string, a member twice (at any depth), a number
 * past the range of a double, nested too deep, "_mpv" (the library's own), or an "id" that is not `name->id`.
 * Integers outside int64 become the nearest double, as both stores keep them. */
int mp_document_pack(const mp_document_name *name, const char *text, size_t len, char **out, size_t *out_len,
                     pond_error **err);

/* The same for stores that have numbers as ids: an "id" that is the integer whose digits are `name->id` is fine too. */
int mp_document_pack_numbered(const mp_document_name *name, const char *text, size_t len, char **out, size_t *out_len,
                              pond_error **err);

/* The id that a caller's document names itself: its "id", a string; *out is NUL-terminated, the caller frees it; NULL if it has none.
 * POND_EVALUE if that is no string, or the document no JSON object. (What else is wrong with it mp_document_pack finds.) */
int mp_document_id(const char *collection, const char *text, size_t len, char **out, size_t *out_len, pond_error **err);

/* A stored document as callers get it: "id" first, a JSON text. Others may have written it, so it is parsed, but what it
 * holds is handed out as it is spelled, with two exceptions: an "id" or "_mpv" member of its own is left out, for the
 * row's key is the id. POND_ESTORE, not retriable, if it is not a JSON object in UTF-8. */
int mp_document_unpack(const mp_document_name *name, const char *text, size_t len, pond_value **out, pond_error **err);

#endif
