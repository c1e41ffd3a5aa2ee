#include "store/mongodb_change.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "model/document.h"
#include "store/mongodb_error.h"
#include "store/mongodb_find.h"
#include "store/mongodb_id.h"
#include "store/mongodb_json.h"
#include "store/mongodb_look.h"
#include "store/mongodb_outbox.h"
#include "store/mongodb_patch.h"
#include "store/mongodb_stream.h"
#include "store/mongodb_transaction.h"

typedef struct ready {
    bson_t doc; /* to be stored; CREATE: with its _id; else without, as it is not yet known how that is spelled */
    bson_t old; /* UPDATE: what it was made of, which has to be there still */
    mp_mongodb_kind kind; /* UPDATE: of old's _id; MP_ID_OTHER: there is none */
} ready;

static mp_mongodb_call call_of(mp_mongodb_pool *pool, const mp_change *change, pond_error **err) {
    return (mp_mongodb_call){
        .pool = pool, .collection = change->collection, .id = change->id, .id_len = change->id_len, .err = err};
}

/* Of a document that is created. */
static mp_mongodb_kind new_kind(const mp_change *change) { return change->id_made ? MP_ID_OID : MP_ID_STRING; }

/* ---- what is there ---- */

/* A call of its own. */
static int look(mp_mongodb_pool *pool, const mp_change *change, mp_mongodb_kind *kind, bson_t *whole,
                pond_error **err) {
    mp_mongodb_call call = call_of(pool, change, err);
    mp_mongodb_id id = mp_mongodb_id_read(change->id, change->id_len);
    int rc = mp_mongodb_begin(&call);
    if (rc == POND_OK) rc = mp_mongodb_look(&call, &id, kind, whole);
    mp_mongodb_end(&call);
    return rc;
}

/* ---- made ready ---- */

static int too_large(const mp_change *change, size_t len, int64_t most, pond_error **err) {
    return mp_fail(err, POND_EVALUE, "%.64s: a document of %zu bytes is over the limit: max_value is %lld bytes",
                   change->collection, len, (long long)most);
}

/* As a get will give it, whatever the type of its _id. */
static int show(mp_change *change, const ready *r, mp_mongodb_kind kind, int64_t most, pond_error **err) {
    mp_mongodb_id id = mp_mongodb_id_read(change->id, change->id_len);
    bson_t whole = BSON_INITIALIZER;
    mp_buf json;
    mp_buf_init(&json);
    int rc = POND_OK;
    if (!mp_mongodb_id_append(&whole, "_id", &id, kind) || !bson_concat(&whole, &r->doc) ||
        whole.len > MP_MONGODB_BSON_MAX)
        rc = mp_fail(err, POND_EVALUE, "%.64s: the document is too large for MongoDB", change->collection);
    else if (!mp_mongodb_document_json(&json, &whole))
        rc = mp_fail(err, POND_ESTORE, "%.64s: what stands in the store is damaged", change->collection);
    else if (json.failed) rc = mp_fail(err, POND_ENOMEM, "%.64s: no memory for a document", change->collection);
    else if (json.len > (uint64_t)most) rc = too_large(change, json.len, most, err);
    bson_destroy(&whole);
    if (rc != POND_OK) {
        mp_buf_free(&json);
        return rc;
    }
    change->document = mp_value_adopt(POND_EJSON, json.data, json.len);
    return change->document ? POND_OK
                            : mp_fail(err, POND_ENOMEM, "%.64s: no memory for a document", change->collection);
}

/* What the caller has is no BSON, and is only shown: it is what makes the new document. */
static int read_base(const mp_change *change, ready *r, pond_error **err) {
    const mp_document_name name = {change->collection, change->id, change->id_len};
    char *packed = NULL;
    size_t len = 0, given;
    r->kind = MP_ID_OTHER;
    if (pond_value_state(change->base) == POND_ABSENT) return POND_OK;
    const char *text = pond_value_data(change->base, &given);
    int rc = mp_document_pack_numbered(&name, text, given, &packed, &len, err);
    if (rc == POND_OK) rc = mp_mongodb_bson(&r->old, &name, packed, len, err);
    if (rc == POND_OK) r->kind = MP_ID_STRING;
    free(packed);
    return rc;
}

/* From the patch to the whole document. */
static int patch(mp_mongodb_pool *pool, const mp_change *change, ready *r, const bson_t *by, pond_error **err) {
    int rc = change->based ? read_base(change, r, err) : look(pool, change, &r->kind, &r->old, err);
    if (rc != POND_OK || r->kind == MP_ID_OTHER) return rc;
    if (!mp_mongodb_patch(&r->doc, &r->old, by))
        return mp_fail(err, POND_EVALUE, "%.64s: the document is too large for MongoDB, or damaged",
                       change->collection);
    if (!change->based &&
        (uint64_t)r->old.len + r->doc.len > MP_MONGODB_BSON_MAX) /* both go into one statement, see attempt() */
        return mp_fail(err, POND_EVALUE,
                       "%.64s: an update names the document before it and after it, %u and %u bytes, and MongoDB takes "
                       "no more than %d: replace the document",
                       change->collection, r->old.len, r->doc.len, MP_MONGODB_BSON_MAX);
    return POND_OK;
}

int mp_mongodb_ready(mp_mongodb_pool *pool, mp_change *change, int64_t most, pond_error **err) {
    const mp_document_name name = {change->collection, change->id, change->id_len};
    char *packed = NULL;
    size_t len = 0;
    if (change->kind == MP_CHANGE_DELETE) return POND_OK;
    if (change->len > (uint64_t)most) return too_large(change, change->len, most, err);
    int rc = mp_document_pack_numbered(&name, change->text, change->len, &packed, &len, err);
    if (rc != POND_OK) return rc;
    ready *r = change->ready = BSON_ALIGNED_ALLOC0(ready);
    bson_t given = BSON_INITIALIZER;
    bson_init(&r->doc);
    bson_init(&r->old);
    r->kind = new_kind(change);
    rc = mp_mongodb_bson(&given, &name, packed, len, err);
    free(packed);
    if (rc == POND_OK) {
        if (change->kind == MP_CHANGE_UPDATE) rc = patch(pool, change, r, &given, err);
        else bson_concat(&r->doc, &given);
    }
    bson_destroy(&given);
    if (rc != POND_OK || r->kind == MP_ID_OTHER) return rc;
    return show(change, r, r->kind, most, err);
}

void mp_mongodb_discard(mp_change *change) {
    ready *r = change->ready;
    if (r != NULL) {
        bson_destroy(&r->doc);
        bson_destroy(&r->old);
    }
    bson_free(r);
    pond_value_free(change->document);
    change->ready = NULL;
    change->document = NULL;
}

/* ---- done ---- */

void mp_mongodb_write_options(const mp_mongodb_call *call, bson_t *options) {
    mp_mongodb_collation(options);
    mp_mongodb_majority_append(call, options);
}

/* One attempt, in the session's transaction if there is one; *n: how many documents it has found. */
static bool attempt(mp_mongodb_call *call, const mp_change *change, const mp_mongodb_id *id, mp_mongodb_kind kind,
                    mongoc_client_session_t *session, int64_t *n, bson_error_t *error, bson_t *reply) {
    const ready *r = change->ready;
    bson_t filter = BSON_INITIALIZER, options = BSON_INITIALIZER, doc = BSON_INITIALIZER;
    bson_iter_t iter;
    const char *counted = "insertedCount";
    bool well;
    mp_mongodb_id_append(&filter, "_id", id, kind);
    if (session == NULL) {
        mp_mongodb_write_options(call, &options);
    } else {
        mp_mongodb_collation(&options);
        mp_mongodb_transaction_options(session, &options);
    }
    if (change->kind == MP_CHANGE_DELETE) {
        counted = "deletedCount";
        well = mongoc_collection_delete_one(call->documents, &filter, &options, reply, error);
    } else {
        mp_mongodb_id_append(&doc, "_id", id, kind);
        bson_concat(&doc, &r->doc);
        bson_append_bool(&options, "validate", -1, false); /* mp_document_pack has looked */
        if (change->kind == MP_CHANGE_CREATE) {
            bson_t plain = BSON_INITIALIZER; /* an insert knows no collation */
            bson_copy_to_excluding_noinit(&options, &plain, "collation", NULL);
            well = mongoc_collection_insert_one(call->documents, &doc, &plain, reply, error);
            bson_destroy(&plain);
        } else {
            counted = "matchedCount";
            if (change->kind == MP_CHANGE_UPDATE) {
                bson_t expression, pair, literal;
                bson_append_document_begin(&filter, "$expr", -1, &expression);
                bson_append_array_begin(&expression, "$eq", -1, &pair);
                bson_append_utf8(&pair, "0", -1, "$$ROOT", -1);
                bson_append_document_begin(&pair, "1", -1, &literal);
                bson_append_document(&literal, "$literal", -1, &r->old);
                bson_append_document_end(&pair, &literal);
                bson_append_array_end(&expression, &pair);
                bson_append_document_end(&filter, &expression);
            }
            well = mongoc_collection_replace_one(call->documents, &filter, &doc, &options, reply, error);
        }
    }
    *n = well && bson_iter_init_find(&iter, reply, counted) ? bson_iter_as_int64(&iter) : 0;
    bson_destroy(&doc);
    bson_destroy(&options);
    bson_destroy(&filter);
    return well;
}

/* The call is to be over when the cache's intents still stand. */
static int cut_to(mp_mongodb_call *call, const mp_change *change) {
    if (change->until == NULL) return POND_OK;
    int64_t until = atomic_load(change->until);
    if (mp_clock_ms() >= until)
        return mp_mongodb_fail(call, POND_ESTORE, 1,
                               "it took longer than the cache was told (option intent), so nothing was written");
    if (until < call->deadline) call->deadline = until;
    mp_mongodb_wait_until(call->deadline);
    return POND_OK;
}

static mp_applied counted(const mp_change *change, int64_t n) {
    if (n > 0) return MP_APPLIED;
    return change->kind == MP_CHANGE_UPDATE ? MP_OVERTAKEN : MP_THERE_IS_NONE;
}

/* A key is there already: the document's, or another that the collection wants unique; perhaps by an attempt of ours. */
static mp_applied duplicate(mp_mongodb_call *call, const mp_change *change, const mp_mongodb_id *id) {
    mp_mongodb_kind kind = MP_ID_OTHER;
    if (mp_mongodb_look(call, id, &kind, NULL) != POND_OK) return MP_IN_DOUBT;
    if (kind == MP_ID_OTHER) {
        mp_mongodb_fail(call, POND_ESTORE, 0, "another document has one of its unique keys");
        return MP_NOT_APPLIED;
    }
    if (call->tries == 0) return MP_THERE_IS_ONE;
    mp_mongodb_fail(call, POND_ESTORE, 1, "it is there now, perhaps by an attempt of this call that was not answered");
    return MP_IN_DOUBT;
}

/* Whoever is to be asked is looked for first: libmongoc may answer that there is nobody also when it had sent the write before, and
 * only could not send it once more. */
static bool anybody_there(mp_mongodb_call *call, bson_error_t *error) {
    mongoc_server_description_t *server = mongoc_client_select_server(call->client, true, NULL, error);
    if (server == NULL) return false;
    mongoc_server_description_destroy(server);
    return true;
}

static mp_applied attempts(mp_mongodb_call *call, const mp_change *change, const mp_mongodb_id *id,
                           mp_mongodb_kind kind) {
    for (bool sent = false;;) {
        bson_error_t error = {0};
        bson_t reply = BSON_INITIALIZER;
        int64_t n;
        if (cut_to(call, change) != POND_OK) return sent ? MP_IN_DOUBT : MP_NOT_APPLIED;
        bool there = anybody_there(call, &error);
        if (there && attempt(call, change, id, kind, NULL, &n, &error, &reply)) {
            bson_destroy(&reply);
            return counted(change, n);
        }
        sent = sent || there;
        mp_mongodb_problem p = mp_mongodb_problem_of(&error, &reply);
        bool refused = !p.retriable && !p.network && !p.out_of_time && error.domain != MONGOC_ERROR_WRITE_CONCERN;
        bool is_duplicate = p.duplicate && change->kind == MP_CHANGE_CREATE;
        int rc = is_duplicate ? POND_OK : mp_mongodb_again(call, &error, &reply);
        bson_destroy(&reply);
        if (is_duplicate) return duplicate(call, change, id);
        if (rc != POND_OK) return !sent || (refused && call->tries <= 1) ? MP_NOT_APPLIED : MP_IN_DOUBT;
    }
}

/* One attempt; false: another one may do better. In a transaction a statement that fails ends it, so nothing was done; only what came of a
 * commit can be unknown. */
static bool attempt_told(mp_mongodb_call *call, const mp_change *change, const mp_mongodb_id *id, mp_mongodb_kind kind,
                         mongoc_client_session_t *session, mp_applied *applied) {
    bson_error_t error = {0};
    bson_t reply = BSON_INITIALIZER;
    int64_t n = 0;
    bool well = attempt(call, change, id, kind, session, &n, &error, &reply), committing = false, over = true;
    if (well && n > 0) {
        bson_destroy(&reply);
        well = mp_mongodb_outbox_add(call, session, change->event, &error, &reply);
    }
    if (well && n > 0) {
        bson_destroy(&reply);
        committing = true;
        well = mp_mongodb_transaction_commit(call, session, &error, &reply);
    }
    if (well) {
        *applied = counted(change, n);
    } else if (committing && mongoc_error_has_label(&reply, "UnknownTransactionCommitResult")) {
        call->deadline = 0; /* no more tries */
        mp_mongodb_again(call, &error, &reply);
        *applied = MP_IN_DOUBT;
    } else if (mp_mongodb_problem_of(&error, &reply).duplicate && change->kind == MP_CHANGE_CREATE) {
        mongoc_client_session_abort_transaction(session, NULL);
        call->tries = 0; /* none of ours was committed */
        *applied = duplicate(call, change, id);
    } else {
        bool transient = mongoc_error_has_label(&reply, "TransientTransactionError");
        call->writes = !transient; /* that nothing was done is sure: it may be tried again */
        over = mp_mongodb_again(call, &error, &reply) != POND_OK;
        call->writes = true;
    }
    if (mongoc_client_session_in_transaction(session)) mongoc_client_session_abort_transaction(session, NULL);
    bson_destroy(&reply);
    return over;
}

/* The change and its event, or neither. */
static mp_applied attempts_told(mp_mongodb_call *call, const mp_change *change, const mp_mongodb_id *id,
                                mp_mongodb_kind kind) {
    bson_error_t error = {0};
    mongoc_client_session_t *session = mongoc_client_start_session(call->client, NULL, &error);
    if (session == NULL) {
        mp_mongodb_fail(call, POND_ESTORE, 1, "%s", error.message);
        return MP_NOT_APPLIED;
    }
    mp_applied applied = MP_NOT_APPLIED;
    while (cut_to(call, change) == POND_OK && mp_mongodb_transaction_begin(call, session) &&
           !attempt_told(call, change, id, kind, session, &applied))
        continue;
    mongoc_client_session_destroy(session);
    return applied;
}

/* How the id of the document to be changed is spelled there, if more than one way is possible. */
static int spelling(mp_mongodb_call *call, const mp_change *change, const mp_mongodb_id *id, mp_mongodb_kind *kind) {
    *kind = MP_ID_STRING;
    if (change->kind == MP_CHANGE_UPDATE) *kind = ((const ready *)change->ready)->kind;
    else if (id->also != MP_ID_STRING) return mp_mongodb_look(call, id, kind, NULL);
    return POND_OK;
}

mp_applied mp_mongodb_apply(mp_mongodb_pool *pool, const mp_change *change, pond_error **err) {
    mp_mongodb_call call = call_of(pool, change, err);
    mp_mongodb_id id = mp_mongodb_id_read(change->id, change->id_len);
    mp_mongodb_kind kind;
    bool looks = change->kind != MP_CHANGE_UPDATE && id.also != MP_ID_STRING;
    call.writes = !looks; /* so that what is read first is not older than others were told */
    if (mp_mongodb_begin(&call) != POND_OK) return MP_NOT_APPLIED;
    mp_applied applied = MP_NOT_APPLIED;
    if (spelling(&call, change, &id, &kind) == POND_OK) {
        call.writes = true;
        bool creates = change->kind == MP_CHANGE_CREATE;
        if (creates && looks && kind != MP_ID_OTHER) applied = MP_THERE_IS_ONE;
        else if (!creates && kind == MP_ID_OTHER) applied = MP_THERE_IS_NONE;
        else
            applied = (change->event ? attempts_told : attempts)(&call, change, &id, creates ? new_kind(change) : kind);
    }
    mp_mongodb_end(&call);
    return applied;
}
