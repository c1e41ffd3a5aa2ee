/* The interface of a store: JSON documents by id, blocking calls, safe from any thread.
 * `collection` was checked by mp_collection_check, `id` by mp_id_check; documents come and go as JSON objects: out with
 * "id" as the first member, in without it or with the same one. */
#ifndef MP_STORE_STORE_H
#define MP_STORE_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"
#include "engine/shared.h"
#include "model/config.h"
#include "model/query.h"
#include "model/value.h"
#include "store/behind.h"

typedef struct mp_store mp_store;

typedef enum mp_change_kind {
    MP_CHANGE_CREATE,
    MP_CHANGE_REPLACE,
    MP_CHANGE_UPDATE,
    MP_CHANGE_DELETE,
    MP_CHANGE_INCREMENT /* of what is written behind; no store gets to see it */
} mp_change_kind;

/* What is told of a change, for the store's outbox. Texts are NUL-terminated; borrowed. */
typedef struct mp_event_text {
    const char *id, *key, *text;
    size_t len;
} mp_event_text;

/* Events that wait in the outbox, oldest first. */
enum { MP_OUTBOX_MOST = 100 };
typedef struct mp_outbox_row {
    int64_t seq;
    char *id, *key, *text; /* owned */
    size_t len;
} mp_outbox_row;
typedef struct mp_outbox {
    bool mine; /* false: somebody else delivers them now */
    size_t n;
    mp_outbox_row rows[MP_OUTBOX_MOST];
} mp_outbox;
void mp_outbox_clear(mp_outbox *outbox);

/* A change of one document, made in two steps: first it is made ready, which changes nothing, then it is done. */
typedef struct mp_change {
    mp_change_kind kind;
    const char *collection, *id;
    size_t id_len;
    bool id_made; /* CREATE: the library chose the id, of 24 hexadecimal digits, which a store may keep as it likes */
    const char *text; /* the document, or (UPDATE) the patch, as the caller gave it */
    size_t len;
    /* CLOCK_MONOTONIC ms: when the call has to be over. It may be put off by others meanwhile. */
    const _Atomic int64_t *until;
    pond_value *document; /* out of ready: as a get will give it. NULL: of a DELETE, or there is none to UPDATE */
    void *ready;          /* the store's own */
    /* `based`: an UPDATE is one of `base`, as a get gave it, and not of what stands in the store; ready then does no I/O, as it does none
     * of a CREATE or REPLACE. Borrowed. */
    bool based;
    const pond_value *base;
    const mp_event_text *event; /* apply: written to the outbox in the same transaction; NULL: nothing is */
} mp_change;

typedef enum mp_applied {
    MP_APPLIED,
    MP_THERE_IS_NONE, /* to be replaced, updated or deleted */
    MP_THERE_IS_ONE,  /* where one was to be created */
    MP_OVERTAKEN,     /* UPDATE: it is another document than when the change was made ready: make it ready anew */
    MP_NOT_APPLIED,   /* an error; nothing was changed, nor will be */
    MP_IN_DOUBT       /* an error; it may have been done, or be done yet */
} mp_applied;

typedef struct mp_store_vt {
    const char *scheme;
    int (*create)(mp_store *store, const char *collection, pond_error **err);
    /* *out: a value (POND_JSON) or the absence. */
    int (*get)(mp_store *store, const char *collection, const char *id, size_t len, pond_value **out, pond_error **err);
    /* n answers in the order asked; on error none is set. Repeated ids are answered each time. */
    int (*get_many)(mp_store *store, const char *collection, const char *const *ids, const size_t *lens, size_t n,
                    pond_value **out, pond_error **err);
    int (*put)(mp_store *store, const char *collection, const char *id, size_t len, const char *doc, size_t doc_len,
               pond_error **err);
    int (*remove)(mp_store *store, const char *collection, const char *id, size_t len, bool *existed, pond_error **err);
    /* No call is under way. */
    void (*close)(mp_store *store);

    /* What documents are written in: POND_JSON, or POND_EJSON where values can be more than JSON knows. */
    pond_codec codec;
    /* Appends the page's documents to `out` as a JSON array: "id" first, then all members or those of query->fields; *count is
     * how many. What it means is said in GUIDE.md; skip and limit are the query's. */
    int (*find)(mp_store *store, const char *collection, const mp_query *query, mp_buf *out, size_t *count,
                pond_error **err);
    /* How many documents match, whatever the page. */
    int (*count)(mp_store *store, const char *collection, const mp_query *query, int64_t *total, pond_error **err);
    /* Makes the index that finds and sorts by one field, if it is not there. */
    int (*index)(mp_store *store, const char *collection, const mp_query_sort *field, pond_error **err);
    /* Appends `"index": name or null, "statement": text` to an open JSON object: how find would go about it. */
    int (*plan)(mp_store *store, const char *collection, const mp_query *query, mp_buf *out, pond_error **err);
    /* What is wrong with the text ends here (POND_EVALUE). UPDATE: reads the document that there is. After it, whatever it says, comes
     * discard. */
    int (*ready)(mp_store *store, mp_change *change, pond_error **err);
    /* Once for each time that it was made ready. *err only with the last two. */
    mp_applied (*apply)(mp_store *store, mp_change *change, pond_error **err);
    /* What ready has left. */
    void (*discard)(mp_store *store, mp_change *change);
    /* By what a cache that is this process's own learns what other processes with the same store have changed: the store's, until it is
     * closed. *out stays as it is (NULL) if nobody else can have the store open. Before any other call; and in the child of a
     * fork again, with what its parent had. NULL where there is no such way. */
    int (*share)(mp_store *store, mp_shared **out, pond_error **err);

    /* The outbox; NULL, all three: it has none. */
    int (*outbox_prepare)(mp_store *store, pond_error **err);
    /* Claims the delivery for `owner` and so long, and reads what is to be delivered; to be cleared by the caller. */
    int (*outbox_take)(mp_store *store, const uint8_t owner[16], int64_t hold_ms, mp_outbox *out, pond_error **err);
    /* The first n of them have been delivered; 0: and no more will be by this owner, so that others go on at once. */
    int (*outbox_drop)(mp_store *store, const uint8_t owner[16], const mp_outbox *rows, size_t n, pond_error **err);

    /* Write-behind (store/behind.h); NULL, all five: not with this store. prepare makes what it needs beside the collection, and says
     * why it cannot be. */
    int (*behind_prepare)(mp_store *store, const char *collection, pond_error **err);
    /* The next epoch of a namespace, 1 to 2^23 - 1: nobody else ever gets the same. */
    int (*behind_epoch)(mp_store *store, const char *ns, int64_t *epoch, pond_error **err);
    /* From now on `owner` owns these shards: once it returns, no flush of an earlier owner can be committed any more. */
    int (*behind_own)(mp_store *store, const uint8_t owner[16], const char *const *shards, size_t n, pond_error **err);
    mp_flushed (*behind_flush)(mp_store *store, mp_flush *flush, pond_error **err);
    /* As get, and the version: the document's, that of its deletion, or 0. */
    int (*behind_get)(mp_store *store, const char *collection, const char *id, size_t len, pond_value **out,
                      int64_t *version, pond_error **err);
} mp_store_vt;

struct mp_store {
    const mp_store_vt *vt;
};

int mp_sqlite_open(mp_store **out, const mp_options *options, pond_error **err);

#endif
