/* The outbox on SQLite: change events, written in the transaction of the change, until they have been delivered. */
#ifndef MP_STORE_SQLITE_OUTBOX_H
#define MP_STORE_SQLITE_OUTBOX_H

#include "store/sqlite_pool.h"
#include "store/store.h"

/* Makes the tables, where they are missing. */
int mp_sqlite_outbox_prepare(mp_sqlite_pool *pool, pond_error **err);
/* Inside the change's transaction. POND_ESTORE. */
int mp_sqlite_outbox_add(mp_sqlite_conn *conn, const mp_change *change, pond_error **err);
/* As mp_store_vt has them. */
int mp_sqlite_outbox_take(mp_sqlite_pool *pool, const uint8_t owner[16], int64_t hold_ms, mp_outbox *out,
                          pond_error **err);
int mp_sqlite_outbox_drop(mp_sqlite_pool *pool, const uint8_t owner[16], const mp_outbox *rows, size_t n,
                          pond_error **err);

#endif
