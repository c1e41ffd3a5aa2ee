/* Calls to MongoDB: each has a client of its own while it lasts, and a deadline that holds for all it does.
 *
 * libmongoc's pool of clients (which watches the servers in the background) is made when it is first needed, because an
 * address may have to be looked up for that. fork(): a child makes a pool of its own; what it inherited is neither used
 * nor freed, for the threads behind it are not there.
 *
 * A call is an attempt, or several:
 *
 *     mp_mongodb_call call = {.pool = pool, .collection = "films", .id = id, .id_len = len, .err = err};
 *     int rc = mp_mongodb_begin(&call);
 *     for (bool well = false; rc == POND_OK && !well;) {
 *         well = attempt(&call, &error, &reply);
 *         rc = well ? mp_mongodb_confirm(&call, &well) : mp_mongodb_again(&call, &error, &reply);
 *     }
 *     mp_mongodb_end(&call);
 */
#ifndef MP_STORE_MONGODB_POOL_H
#define MP_STORE_MONGODB_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mongoc/mongoc.h>

#include <millpond/error.h>

typedef struct mp_mongodb_pool mp_mongodb_pool;

/* Checks the address; asks no host. `clients` is how many calls may be under way at once; more wait. */
int mp_mongodb_pool_open(mp_mongodb_pool **out, const char *address, unsigned clients, int64_t timeout_ms,
                         pond_error **err);
/* No call is under way. Takes NULL. */
void mp_mongodb_pool_close(mp_mongodb_pool *pool);

typedef struct mp_mongodb_client mp_mongodb_client;

typedef struct mp_mongodb_call {
    mp_mongodb_pool *pool;
    const char *collection; /* named in errors, as is the id */
    const char *id;         /* or NULL */
    size_t id_len;
    bool writes; /* so that it is tried again only if it is sure that nothing was done */
    pond_error **err;
    /* set by begin */
    mongoc_client_t *client;
    mongoc_collection_t *documents;
    int64_t deadline; /* by mp_clock_ms */
    mp_mongodb_client *slot;
    void *crew;
    unsigned tries;
    uint32_t settled; /* the election whose primary may be read from */
} mp_mongodb_call;

/* Waits for a client. Otherwise nothing has to be ended, but may be. */
int mp_mongodb_begin(mp_mongodb_call *call);
void mp_mongodb_end(mp_mongodb_call *call);
/* A call that is kept for what hangs on its client rests between its parts; each of them has a time of its own. */
void mp_mongodb_rest(const mp_mongodb_call *call);
void mp_mongodb_resume(mp_mongodb_call *call);
const char *mp_mongodb_database(const mp_mongodb_call *call);

/* What is left for the server of the call's time, somewhat before we give up ourselves: at least 1. */
int64_t mp_mongodb_left_ms(const mp_mongodb_call *call);
/* A majority, within that: the caller's. */
mongoc_write_concern_t *mp_mongodb_majority(const mp_mongodb_call *call);
void mp_mongodb_majority_append(const mp_mongodb_call *call, bson_t *options);

/* An attempt failed: POND_OK, after a pause, if there is to be another one; otherwise the error was made. `reply` may be
 * NULL. */
int mp_mongodb_again(mp_mongodb_call *call, const bson_error_t *error, const bson_t *reply);
/* A read succeeded: *well becomes false if another primary may have answered than the one that was known to show all
 * that was acknowledged; then it is read again (or the code says why not). */
int mp_mongodb_confirm(mp_mongodb_call *call, bool *well);
/* Makes an error of the call's that no attempt can mend. `format` says what follows the document's name. */
int mp_mongodb_fail(const mp_mongodb_call *call, int code, int retriable, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Two fields to sort by are arrays in one document. */
int mp_mongodb_sort_arrays(const mp_mongodb_call *call);

#endif
