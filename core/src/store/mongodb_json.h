/* Documents between BSON and JSON, in the shape that SQLite's have too: what JSON knows is written plainly, everything
 * else as MongoDB's canonical Extended JSON: {"$date":{"$numberLong":"ms"}}, {"$oid":"hex"}, {"$numberDecimal":"0.1"}.
 * A double always has a point or an exponent (5.0), so that it comes back as one; NaN and the infinities are
 * {"$numberDouble":"NaN"}. Strings that are not UTF-8, which MongoDB lets in, lose the bytes that are not. */
#ifndef MP_STORE_MONGODB_JSON_H
#define MP_STORE_MONGODB_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include <bson/bson.h>

#include "base/buf.h"
#include "model/document.h"

/* The same number as in other floors' documents; the server takes no more. */
#define MP_MONGODB_BSON_MAX (16 * 1024 * 1024)

/* A document as callers get it: {"id":...,members}. Its _id comes as "id": a string, a number, the hex of an ObjectId,
 * or Extended JSON of any other type; its own "id" and "_mpv" are left out. False: it is damaged, or has no _id. */
bool mp_mongodb_document_json(mp_buf *out, const bson_t *doc);
/* All members as they are. False: damaged. */
bool mp_mongodb_json(mp_buf *out, const bson_t *doc);

/* Appends the members of a caller's document, which is in the normal form of mp_document_pack. An object whose first
 * member has one of Extended JSON's names is that value, and must be well formed; the relaxed spellings of $date are
 * understood too. POND_EVALUE names the member; also if there is an "_id", a member of the
 * document itself whose name begins with $, or too much in all. */
int mp_mongodb_bson(bson_t *to, const mp_document_name *name, const char *json, size_t len, pond_error **err);

#endif
