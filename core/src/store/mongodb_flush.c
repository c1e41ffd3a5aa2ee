#include "store/mongodb_flush.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "model/document.h"
#include "store/mongodb_error.h"
#include "store/mongodb_find.h"
#include "store/mongodb_id.h"
#include "store/mongodb_json.h"
#include "store/mongodb_transaction.h"

enum { WRITE_CONFLICT = 112, NO_SUCH_TRANSACTION = 251, TRANSACTION_TOO_LARGE = 257, DUPLICATE_KEY = 11000 };

typedef struct batch {
    mp_mongodb_call *call;
    mongoc_client_session_t *session;
    mongoc_collection_t *fences, *tombs;
    mp_flush *flush;
    mp_mongodb_kind *kinds; /* of each row's id, as it is spelled there */
    size_t *at;             /* the row of each of the bulk's operations */
    size_t operations;
} batch;

void mp_mongodb_tomb_id(bson_t *to, const char *collection, const char *id, size_t len) {
    bson_t both;
    BSON_APPEND_DOCUMENT_BEGIN(to, "_id", &both);
    BSON_APPEND_UTF8(&both, "c", collection);
    bson_append_utf8(&both, "i", -1, id, (int)len);
    bson_append_document_end(to, &both);
}

/* ---- what failed ---- */

static void tell(const batch *b, const bson_error_t *error, const bson_t *reply) {
    b->call->deadline = 0; /* no more tries here: the worker has its own pauses */
    mp_mongodb_again(b->call, error, reply);
}

/* The row that a bulk's reply blames; n: none. */
static size_t blamed(const batch *b, const bson_t *reply) {
    bson_iter_t iter, index;
    if (!bson_iter_init(&iter, reply) || !bson_iter_find_descendant(&iter, "writeErrors.0.index", &index))
        return b->flush->n;
    int64_t at = bson_iter_as_int64(&index);
    return at >= 0 && (size_t)at < b->operations ? b->at[at] : b->flush->n;
}

/* A document with this _id was made meanwhile by somebody else. The server names the index in front of the value, in which anything may stand. */
static bool is_id(const bson_error_t *error) {
    static const char index[] = "index: _id_";
    const char *value = strstr(error->message, " dup key:");
    size_t len = sizeof index - 1;
    return value != NULL && (size_t)(value - error->message) >= len && memcmp(value - len, index, len) == 0;
}

/* What a statement of the transaction said. */
static mp_flushed failed(batch *b, const bson_error_t *error, const bson_t *reply, size_t row) {
    mp_flush *f = b->flush;
    mp_mongodb_problem p = mp_mongodb_problem_of(error, reply);
    bool transient = mongoc_error_has_label(reply, "TransientTransactionError");
    if (error->code == WRITE_CONFLICT || (error->code == DUPLICATE_KEY && is_id(error))) return MP_FLUSH_CONFLICT;
    if (error->code == TRANSACTION_TOO_LARGE && f->n > 1) return MP_FLUSH_CONFLICT; /* fewer may do */
    if (transient || p.retriable || p.network || p.no_server || error->code == NO_SUCH_TRANSACTION) {
        tell(b, error, reply);
        return MP_FLUSH_FAILED;
    }
    if (row >= f->n && f->n > 1) return MP_FLUSH_CONFLICT; /* it is one of them: with fewer it is found */
    f->poison = row < f->n ? row : 0;
    b->call->id = f->rows[f->poison].id;
    b->call->id_len = f->rows[f->poison].id_len;
    tell(b, error, reply);
    b->call->id = NULL;
    return MP_FLUSH_POISON;
}

/* ---- the statements ---- */

static mp_flushed write_fences(batch *b) {
    const mp_flush *f = b->flush;
    bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER, options = BSON_INITIALIZER, part, list, reply;
    bson_error_t error = {0};
    bson_iter_t iter;
    BSON_APPEND_DOCUMENT_BEGIN(&filter, "_id", &part);
    BSON_APPEND_ARRAY_BEGIN(&part, "$in", &list);
    for (size_t i = 0; i < f->nshards; i++) {
        char room[16];
        const char *key;
        bson_uint32_to_string((uint32_t)i, &key, room, sizeof room);
        BSON_APPEND_UTF8(&list, key, f->shards[i]);
    }
    bson_append_array_end(&part, &list);
    bson_append_document_end(&filter, &part);
    bson_append_binary(&filter, "owner", -1, BSON_SUBTYPE_BINARY, f->owner, 16);
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$inc", &part);
    BSON_APPEND_INT64(&part, "n", 1);
    bson_append_document_end(&update, &part);
    mp_mongodb_transaction_options(b->session, &options);
    bool well = mongoc_collection_update_many(b->fences, &filter, &update, &options, &reply, &error);
    int64_t matched = well && bson_iter_init_find(&iter, &reply, "matchedCount") ? bson_iter_as_int64(&iter) : 0;
    mp_flushed how = MP_FLUSHED;
    if (well) how = matched == (int64_t)f->nshards ? MP_FLUSHED : MP_FLUSH_LOST;
    else if (error.code == WRITE_CONFLICT) how = MP_FLUSH_LOST; /* somebody takes over just now */
    else how = failed(b, &error, &reply, f->n);
    if (how == MP_FLUSH_POISON) how = MP_FLUSH_FAILED; /* it is about no row */
    bson_destroy(&reply);
    bson_destroy(&options);
    bson_destroy(&update);
    bson_destroy(&filter);
    return how;
}

/* Documents of this transaction's moment, one after the other to `each`. */
static mp_flushed find(batch *b, mongoc_collection_t *from, const bson_t *filter, const char *field,
                       void (*each)(batch *b, const bson_t *doc)) {
    bson_t options = BSON_INITIALIZER, fields, empty = BSON_INITIALIZER;
    bson_error_t error = {0};
    const bson_t *doc, *said = NULL;
    mp_mongodb_collation(&options);
    BSON_APPEND_DOCUMENT_BEGIN(&options, "projection", &fields);
    BSON_APPEND_INT32(&fields, field, 1);
    bson_append_document_end(&options, &fields);
    mp_mongodb_transaction_options(b->session, &options);
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(from, filter, &options, NULL);
    while (mongoc_cursor_next(cursor, &doc)) each(b, doc);
    mp_flushed how = MP_FLUSHED;
    if (mongoc_cursor_error_document(cursor, &error, &said)) {
        how = failed(b, &error, said != NULL ? said : &empty, b->flush->n);
        if (how == MP_FLUSH_POISON) how = MP_FLUSH_FAILED;
    }
    mongoc_cursor_destroy(cursor);
    bson_destroy(&options);
    bson_destroy(&empty);
    return how;
}

static void note_kind(batch *b, const bson_t *doc) {
    char room[MP_MONGODB_ID_ROOM];
    bson_iter_t iter;
    mp_mongodb_kind kind;
    size_t len;
    const char *text = bson_iter_init_find(&iter, doc, "_id") ? mp_mongodb_id_text(&iter, room, &len, &kind) : NULL;
    for (size_t i = 0; text != NULL && i < b->flush->n; i++)
        if (b->flush->rows[i].id_len == len && memcmp(b->flush->rows[i].id, text, len) == 0 && kind < b->kinds[i])
            b->kinds[i] = kind;
}

/* How ids that can be spelled more than one way are spelled there; of a new one, as a string. */
static mp_flushed find_spellings(batch *b) {
    bson_t filter = BSON_INITIALIZER, part, list;
    uint32_t n = 0;
    BSON_APPEND_DOCUMENT_BEGIN(&filter, "_id", &part);
    BSON_APPEND_ARRAY_BEGIN(&part, "$in", &list);
    for (size_t i = 0; i < b->flush->n; i++) {
        const mp_flush_row *row = &b->flush->rows[i];
        mp_mongodb_id id = mp_mongodb_id_read(row->id, row->id_len);
        b->kinds[i] = id.also == MP_ID_STRING ? MP_ID_STRING : MP_ID_OTHER;
        if (id.also != MP_ID_STRING) mp_mongodb_id_append_all(&list, &n, &id);
    }
    bson_append_array_end(&part, &list);
    bson_append_document_end(&filter, &part);
    mp_flushed how = n ? find(b, b->call->documents, &filter, "_id", note_kind) : MP_FLUSHED;
    bson_destroy(&filter);
    for (size_t i = 0; i < b->flush->n; i++)
        if (b->kinds[i] == MP_ID_OTHER) b->kinds[i] = MP_ID_STRING;
    return how;
}

static void note_tomb(batch *b, const bson_t *doc) {
    bson_iter_t iter, id, v;
    if (!bson_iter_init(&iter, doc) || !bson_iter_find_descendant(&iter, "_id.i", &id) ||
        !bson_iter_init_find(&v, doc, "v"))
        return;
    uint32_t len;
    const char *text = BSON_ITER_HOLDS_UTF8(&id) ? bson_iter_utf8(&id, &len) : NULL;
    for (size_t i = 0; text != NULL && i < b->flush->n; i++) {
        mp_flush_row *row = &b->flush->rows[i];
        if (row->verify && row->id_len == len && memcmp(row->id, text, len) == 0)
            row->stale = bson_iter_as_int64(&v) >= row->version;
    }
}

/* Rows out of an old history: were they deleted since? */
static mp_flushed find_tombs(batch *b) {
    const mp_flush *f = b->flush;
    bson_t filter = BSON_INITIALIZER, part, list;
    uint32_t n = 0;
    BSON_APPEND_DOCUMENT_BEGIN(&filter, "_id", &part);
    BSON_APPEND_ARRAY_BEGIN(&part, "$in", &list);
    for (size_t i = 0; i < f->n; i++) {
        bson_t one = BSON_INITIALIZER;
        bson_iter_t iter;
        char room[16];
        const char *key;
        f->rows[i].stale = false;
        if (!f->rows[i].verify) continue;
        mp_mongodb_tomb_id(&one, f->collection, f->rows[i].id, f->rows[i].id_len);
        bson_uint32_to_string(n++, &key, room, sizeof room);
        if (bson_iter_init_find(&iter, &one, "_id")) bson_append_iter(&list, key, -1, &iter);
        bson_destroy(&one);
    }
    bson_append_array_end(&part, &list);
    bson_append_document_end(&filter, &part);
    mp_flushed how = n ? find(b, b->tombs, &filter, "v", note_tomb) : MP_FLUSHED;
    bson_destroy(&filter);
    return how;
}

/* [{$replaceWith: {$cond: [{$lt: [VERSION THERE, V]}, {$literal: doc}, "$$ROOT"]}}]; a version that is no number counts as none. */
static void guarded(bson_t *update, const bson_t *doc, int64_t version) {
    bson_t stage, with, cond, less, pair, number, test, literal;
    BSON_APPEND_DOCUMENT_BEGIN(update, "0", &stage);
    BSON_APPEND_DOCUMENT_BEGIN(&stage, "$replaceWith", &with);
    BSON_APPEND_ARRAY_BEGIN(&with, "$cond", &cond);
    BSON_APPEND_DOCUMENT_BEGIN(&cond, "0", &less);
    BSON_APPEND_ARRAY_BEGIN(&less, "$lt", &pair);
    BSON_APPEND_DOCUMENT_BEGIN(&pair, "0", &number);
    BSON_APPEND_ARRAY_BEGIN(&number, "$cond", &test);
    bson_t is;
    BSON_APPEND_DOCUMENT_BEGIN(&test, "0", &is);
    BSON_APPEND_UTF8(&is, "$isNumber", "$_mpv");
    bson_append_document_end(&test, &is);
    BSON_APPEND_UTF8(&test, "1", "$_mpv");
    BSON_APPEND_INT32(&test, "2", -1);
    bson_append_array_end(&number, &test);
    bson_append_document_end(&pair, &number);
    BSON_APPEND_INT64(&pair, "1", version);
    bson_append_array_end(&less, &pair);
    bson_append_document_end(&cond, &less);
    BSON_APPEND_DOCUMENT_BEGIN(&cond, "1", &literal);
    BSON_APPEND_DOCUMENT(&literal, "$literal", doc);
    bson_append_document_end(&cond, &literal);
    BSON_APPEND_UTF8(&cond, "2", "$$ROOT");
    bson_append_array_end(&with, &cond);
    bson_append_document_end(&stage, &with);
    bson_append_document_end(update, &stage);
}

/* The row's document with its _id and version. POND_EVALUE: it cannot be one. */
static int document(const batch *b, size_t at, bson_t *doc) {
    const mp_flush_row *row = &b->flush->rows[at];
    const mp_document_name name = {b->flush->collection, row->id, row->id_len};
    mp_mongodb_id id = mp_mongodb_id_read(row->id, row->id_len);
    char *packed = NULL;
    size_t len = 0, given;
    const char *text = pond_value_data(row->value, &given);
    int rc = mp_document_pack_numbered(&name, text, given, &packed, &len, b->call->err);
    if (rc != POND_OK) return rc;
    mp_mongodb_id_append(doc, "_id", &id, b->kinds[at]);
    BSON_APPEND_INT64(doc, "_mpv", row->version);
    rc = mp_mongodb_bson(doc, &name, packed, len, b->call->err);
    free(packed);
    return rc;
}

static mp_flushed poison(batch *b, size_t at, int code) {
    if (code == POND_ENOMEM) return MP_FLUSH_FAILED;
    b->flush->poison = at;
    return MP_FLUSH_POISON;
}

static mp_flushed add_upsert(batch *b, mongoc_bulk_operation_t *bulk, size_t at) {
    const mp_flush_row *row = &b->flush->rows[at];
    bson_t doc = BSON_INITIALIZER, filter = BSON_INITIALIZER, update = BSON_INITIALIZER, options = BSON_INITIALIZER;
    bson_error_t error = {0};
    mp_mongodb_id id = mp_mongodb_id_read(row->id, row->id_len);
    mp_flushed how = MP_FLUSHED;
    int rc = document(b, at, &doc);
    if (rc != POND_OK) {
        how = poison(b, at, rc);
    } else {
        mp_mongodb_id_append(&filter, "_id", &id, b->kinds[at]);
        guarded(&update, &doc, row->version);
        mp_mongodb_collation(&options);
        BSON_APPEND_BOOL(&options, "upsert", true);
        BSON_APPEND_BOOL(&options, "validate", false);
        if (mongoc_bulk_operation_update_one_with_opts(bulk, &filter, &update, &options, &error))
            b->at[b->operations++] = at;
        else {
            mp_mongodb_fail(b->call, POND_EVALUE, 0, "the document is too large for MongoDB: %s", error.message);
            how = poison(b, at, POND_EVALUE);
        }
    }
    bson_destroy(&options);
    bson_destroy(&update);
    bson_destroy(&filter);
    bson_destroy(&doc);
    return how;
}

static void add_delete(batch *b, mongoc_bulk_operation_t *bulk, size_t at) {
    const mp_flush_row *row = &b->flush->rows[at];
    bson_t filter = BSON_INITIALIZER, options = BSON_INITIALIZER, not, least;
    bson_error_t error;
    mp_mongodb_id id = mp_mongodb_id_read(row->id, row->id_len);
    mp_mongodb_id_append(&filter, "_id", &id, b->kinds[at]);
    BSON_APPEND_DOCUMENT_BEGIN(&filter, "_mpv", &not );
    BSON_APPEND_DOCUMENT_BEGIN(&not, "$not", &least);
    BSON_APPEND_INT64(&least, "$gte", row->version);
    bson_append_document_end(&not, &least);
    bson_append_document_end(&filter, &not );
    mp_mongodb_collation(&options);
    if (mongoc_bulk_operation_remove_one_with_opts(bulk, &filter, &options, &error)) b->at[b->operations++] = at;
    bson_destroy(&options);
    bson_destroy(&filter);
}

static void add_tomb(batch *b, mongoc_bulk_operation_t *bulk, size_t at) {
    const mp_flush_row *row = &b->flush->rows[at];
    bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER, options = BSON_INITIALIZER, part;
    bson_error_t error;
    mp_mongodb_tomb_id(&filter, b->flush->collection, row->id, row->id_len);
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$max", &part);
    BSON_APPEND_INT64(&part, "v", row->version);
    bson_append_document_end(&update, &part);
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$currentDate", &part);
    BSON_APPEND_BOOL(&part, "at", true);
    bson_append_document_end(&update, &part);
    BSON_APPEND_BOOL(&options, "upsert", true);
    if (mongoc_bulk_operation_update_one_with_opts(bulk, &filter, &update, &options, &error))
        b->at[b->operations++] = at;
    bson_destroy(&options);
    bson_destroy(&update);
    bson_destroy(&filter);
}

static bool is_deleted(const mp_flush_row *row) { return pond_value_state(row->value) == POND_ABSENT; }

static mongoc_bulk_operation_t *new_bulk(batch *b, mongoc_collection_t *of) {
    bson_t options = BSON_INITIALIZER;
    BSON_APPEND_BOOL(&options, "ordered", false);
    mp_mongodb_transaction_options(b->session, &options);
    mongoc_bulk_operation_t *bulk = mongoc_collection_create_bulk_operation_with_opts(of, &options);
    bson_destroy(&options);
    b->operations = 0;
    return bulk;
}

static mp_flushed execute(batch *b, mongoc_bulk_operation_t *bulk) {
    bson_t reply;
    bson_error_t error = {0};
    if (!b->operations) return MP_FLUSHED;
    mp_flushed how = MP_FLUSHED;
    if (!mongoc_bulk_operation_execute(bulk, &reply, &error)) how = failed(b, &error, &reply, blamed(b, &reply));
    bson_destroy(&reply);
    return how;
}

static mp_flushed write_documents(batch *b) {
    mongoc_bulk_operation_t *bulk = new_bulk(b, b->call->documents);
    mp_flushed how = MP_FLUSHED;
    for (size_t i = 0; i < b->flush->n && how == MP_FLUSHED; i++)
        if (!b->flush->rows[i].stale && !is_deleted(&b->flush->rows[i])) how = add_upsert(b, bulk, i);
    for (size_t i = 0; i < b->flush->n && how == MP_FLUSHED; i++)
        if (!b->flush->rows[i].stale && is_deleted(&b->flush->rows[i])) add_delete(b, bulk, i);
    if (how == MP_FLUSHED) how = execute(b, bulk);
    mongoc_bulk_operation_destroy(bulk);
    return how;
}

static mp_flushed write_tombs(batch *b) {
    mongoc_bulk_operation_t *bulk = new_bulk(b, b->tombs);
    for (size_t i = 0; i < b->flush->n; i++)
        if (!b->flush->rows[i].stale && is_deleted(&b->flush->rows[i])) add_tomb(b, bulk, i);
    mp_flushed how = execute(b, bulk);
    mongoc_bulk_operation_destroy(bulk);
    return how;
}

/* ---- the transaction ---- */

static mp_flushed commit(batch *b) {
    bson_t reply;
    bson_error_t error = {0};
    bool well = mp_mongodb_transaction_commit(b->call, b->session, &error, &reply);
    if (!well) tell(b, &error, &reply);
    bson_destroy(&reply);
    return well ? MP_FLUSHED : MP_FLUSH_FAILED;
}

static mp_flushed transact(batch *b) {
    if (!mp_mongodb_transaction_begin(b->call, b->session)) return MP_FLUSH_FAILED;
    mp_flushed how = write_fences(b);
    if (how == MP_FLUSHED) how = find_tombs(b);
    if (how == MP_FLUSHED) how = find_spellings(b);
    if (how == MP_FLUSHED) how = write_documents(b);
    if (how == MP_FLUSHED) how = write_tombs(b);
    if (how == MP_FLUSHED) return commit(b);
    mongoc_client_session_abort_transaction(b->session, NULL);
    return how;
}

mp_flushed mp_mongodb_flush(mp_mongodb_call *call, mongoc_client_session_t *session, mongoc_collection_t *fences,
                            mp_flush *flush) {
    batch b = {.call = call, .session = session, .fences = fences, .flush = flush};
    b.kinds = calloc(flush->n + 1, sizeof *b.kinds);
    b.at = calloc(flush->n + 1, sizeof *b.at);
    mp_flushed how = MP_FLUSH_FAILED;
    if (b.kinds == NULL || b.at == NULL) {
        mp_mongodb_fail(call, POND_ENOMEM, 1, "no memory for a batch");
    } else {
        b.tombs = mongoc_client_get_collection(call->client, mp_mongodb_database(call), MP_MONGODB_TOMBS);
        how = transact(&b);
        mongoc_collection_destroy(b.tombs);
    }
    free(b.kinds);
    free(b.at);
    return how;
}
