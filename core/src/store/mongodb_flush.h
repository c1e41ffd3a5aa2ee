/* One batch of a backlog into MongoDB: a transaction that writes the fences, the documents and the tombstones. */
#ifndef MP_STORE_MONGODB_FLUSH_H
#define MP_STORE_MONGODB_FLUSH_H

#include "store/mongodb_pool.h"
#include "store/store.h"

#define MP_MONGODB_FENCES "millpond_fence" /* {_id: "ns/s3", owner, lsid, term, n} */
#define MP_MONGODB_EPOCHS "millpond_epoch" /* {_id: "ns", epoch} */
#define MP_MONGODB_TOMBS "millpond_tomb"   /* {_id: {c: collection, i: id}, v: version, at: date} */

/* Appends {_id: {c, i}}. */
void mp_mongodb_tomb_id(bson_t *to, const char *collection, const char *id, size_t len);
/* The call's documents are the collection's, the session is of its client, and in no transaction. */
mp_flushed mp_mongodb_flush(mp_mongodb_call *call, mongoc_client_session_t *session, mongoc_collection_t *fences,
                            mp_flush *flush);

#endif
