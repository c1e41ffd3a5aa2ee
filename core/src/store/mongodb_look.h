/* As what a document is there: an id has several readings (mongodb_id.h). */
#ifndef MP_STORE_MONGODB_LOOK_H
#define MP_STORE_MONGODB_LOOK_H

#include "store/mongodb_id.h"
#include "store/mongodb_pool.h"

/* The best reading of the call's id that a document has (MP_ID_OTHER: there is none), and, if `whole` is not NULL, that document: it was
 * initialised, and is changed only if there is one. */
int mp_mongodb_look(mp_mongodb_call *call, const mp_mongodb_id *id, mp_mongodb_kind *kind, bson_t *whole);

#endif
