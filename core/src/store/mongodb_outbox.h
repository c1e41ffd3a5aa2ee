/* The outbox in MongoDB: events that were written with the change that they tell of, in millpond_outbox of the same database.
 *
 * Their order is that of `at`, which the server sets as each is written. Two transactions that change one document come one after the other,
 * and write their events behind that, so the events of a document are in the order of its changes. Those of different documents may be
 * committed in another order than they were written; whoever delivers takes what is there, the oldest first, and goes past none. */
#ifndef MP_STORE_MONGODB_OUTBOX_H
#define MP_STORE_MONGODB_OUTBOX_H

#include "store/mongodb_pool.h"
#include "store/store.h"

/* In a transaction, behind the change. */
bool mp_mongodb_outbox_add(mp_mongodb_call *call, const mongoc_client_session_t *session, const mp_event_text *event,
                           bson_error_t *error, bson_t *reply);

/* As those of mp_store_vt. */
int mp_mongodb_outbox_prepare(mp_mongodb_pool *pool, pond_error **err);
int mp_mongodb_outbox_take(mp_mongodb_pool *pool, const uint8_t owner[16], int64_t hold_ms, mp_outbox *out,
                           pond_error **err);
int mp_mongodb_outbox_drop(mp_mongodb_pool *pool, const uint8_t owner[16], const mp_outbox *rows, size_t n,
                           pond_error **err);

#endif
