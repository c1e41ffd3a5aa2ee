/* A transaction of a call, with a majority. */
#ifndef MP_STORE_MONGODB_TRANSACTION_H
#define MP_STORE_MONGODB_TRANSACTION_H

#include "store/mongodb_pool.h"

/* Begins one on the session; false: the error was made. */
bool mp_mongodb_transaction_begin(mp_mongodb_call *call, mongoc_client_session_t *session);
/* {sessionId: ...}: what every statement of it has. */
void mp_mongodb_transaction_options(const mongoc_client_session_t *session, bson_t *options);
/* Commits, and asks again where the answer was lost, while there is time. False: *error and *reply (to be destroyed) say why; with the
 * label UnknownTransactionCommitResult nobody knows what came of it. */
bool mp_mongodb_transaction_commit(mp_mongodb_call *call, mongoc_client_session_t *session, bson_error_t *error,
                                   bson_t *reply);

#endif
