/* What every store takes as the name of a collection and as the id of a document. One rule for all stores, so that a
 * program does not find out about its names when it changes the store. */
#ifndef MP_STORE_STORE_CHECK_H
#define MP_STORE_STORE_CHECK_H

#include <stddef.h>
#include <millpond/error.h>

#define MP_COLLECTION_MAX 64
/* A document is cached under a key of at most 512 bytes that holds its id. */
#define MP_ID_MAX 509

/* 1..64 bytes: a letter or _, then letters, digits and _ . - (ASCII); not sqlite_... or millpond_..., which SQLite and the
 * library keep for themselves. POND_EOPTION otherwise. */
int mp_collection_check(const char *collection, pond_error **err);
/* 1..509 bytes of UTF-8 without U+0000. POND_EKEY otherwise; `collection` (checked) is only named. */
int mp_id_check(const char *collection, const char *id, size_t len, pond_error **err);

#endif
