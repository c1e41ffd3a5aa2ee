#include "store/mongodb_outbox.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "store/mongodb_find.h"
#include "store/mongodb_setup.h"
#include "store/mongodb_transaction.h"

#define EVENTS "millpond_outbox"      /* {_id: the event's id, key, event, at} */
#define OWNER "millpond_outbox_owner" /* {_id: 0, owner, until}: who delivers, and until when it may be believed to */

static mp_mongodb_call call_of(mp_mongodb_pool *pool, bool writes, pond_error **err) {
    return (mp_mongodb_call){.pool = pool, .collection = EVENTS, .writes = writes, .err = err};
}

/* Nobody's yet, unless it is there. */
static int make_owner(mp_mongodb_call *call) {
    enum { DUPLICATE_KEY = 11000 };
    bson_t text = BSON_INITIALIZER, reply = BSON_INITIALIZER, part, set;
    BSON_APPEND_UTF8(&text, "findAndModify", OWNER);
    BSON_APPEND_DOCUMENT_BEGIN(&text, "query", &part);
    BSON_APPEND_INT32(&part, "_id", 0);
    bson_append_document_end(&text, &part);
    BSON_APPEND_DOCUMENT_BEGIN(&text, "update", &part);
    BSON_APPEND_DOCUMENT_BEGIN(&part, "$setOnInsert", &set);
    BSON_APPEND_DATE_TIME(&set, "until", 0);
    bson_append_document_end(&part, &set);
    bson_append_document_end(&text, &part);
    BSON_APPEND_BOOL(&text, "upsert", true);
    int rc = mp_mongodb_command(call, &text, DUPLICATE_KEY, &reply);
    bson_destroy(&reply);
    bson_destroy(&text);
    return rc;
}

int mp_mongodb_outbox_prepare(mp_mongodb_pool *pool, pond_error **err) {
    mp_mongodb_call call = call_of(pool, true, err);
    int rc = mp_mongodb_begin(&call);
    if (rc == POND_OK) rc = mp_mongodb_has_transactions(&call, "outbox");
    if (rc == POND_OK) rc = mp_mongodb_make_collection(&call, EVENTS);
    if (rc == POND_OK) rc = mp_mongodb_make_index(&call, EVENTS, "at", 0);
    if (rc == POND_OK) rc = make_owner(&call);
    mp_mongodb_end(&call);
    return rc;
}

bool mp_mongodb_outbox_add(mp_mongodb_call *call, const mongoc_client_session_t *session, const mp_event_text *event,
                           bson_error_t *error, bson_t *reply) {
    bson_t doc = BSON_INITIALIZER, options = BSON_INITIALIZER;
    mongoc_collection_t *events = mongoc_client_get_collection(call->client, mp_mongodb_database(call), EVENTS);
    BSON_APPEND_UTF8(&doc, "_id", event->id);
    BSON_APPEND_TIMESTAMP(&doc, "at", 0, 0); /* the server's */
    BSON_APPEND_UTF8(&doc, "key", event->key);
    bson_append_utf8(&doc, "event", -1, event->text, (int)event->len);
    mp_mongodb_transaction_options(session, &options);
    bool well = mongoc_collection_insert_one(events, &doc, &options, reply, error);
    mongoc_collection_destroy(events);
    bson_destroy(&options);
    bson_destroy(&doc);
    return well;
}

/* ---- delivery ---- */

static char *copy_of(const bson_t *doc, const char *field, size_t *len) {
    bson_iter_t iter;
    uint32_t n = 0;
    const char *text =
        bson_iter_init_find(&iter, doc, field) && BSON_ITER_HOLDS_UTF8(&iter) ? bson_iter_utf8(&iter, &n) : NULL;
    char *copy = text ? malloc((size_t)n + 1) : NULL;
    if (copy) memcpy(copy, text, (size_t)n + 1);
    *len = n;
    return copy;
}

static int take_row(const mp_mongodb_call *call, mp_outbox *out, const bson_t *doc) {
    mp_outbox_row *row = &out->rows[out->n++];
    size_t len;
    row->seq = 0;
    row->id = copy_of(doc, "_id", &len);
    row->key = copy_of(doc, "key", &len);
    row->text = copy_of(doc, "event", &row->len);
    if (row->id && row->key && row->text) return POND_OK;
    return mp_mongodb_fail(call, POND_ESTORE, 0, "an event that stands there is damaged, or there is no memory for it");
}

/* The oldest events, `most` of them, to `out`; NULL: only whether there is one, *any. */
static int read_rows(mp_mongodb_call *call, int most, mp_outbox *out, bool *any) {
    int rc = POND_OK;
    for (bool well = false; rc == POND_OK && !well;) {
        bson_t filter = BSON_INITIALIZER, options = BSON_INITIALIZER, sort;
        bson_error_t error = {0};
        const bson_t *doc, *said = NULL;
        mp_mongodb_options(call, &options);
        BSON_APPEND_INT64(&options, "limit", most);
        BSON_APPEND_DOCUMENT_BEGIN(&options, "sort", &sort);
        BSON_APPEND_INT32(&sort, "at", 1);
        bson_append_document_end(&options, &sort);
        if (out) mp_outbox_clear(out);
        *any = false;
        mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(call->documents, &filter, &options, NULL);
        while (rc == POND_OK && mongoc_cursor_next(cursor, &doc)) {
            *any = true;
            if (out && out->n < MP_OUTBOX_MOST) rc = take_row(call, out, doc);
        }
        well = !mongoc_cursor_error_document(cursor, &error, &said);
        if (rc == POND_OK) rc = well ? mp_mongodb_confirm(call, &well) : mp_mongodb_again(call, &error, said);
        mongoc_cursor_destroy(cursor);
        bson_destroy(&options);
        bson_destroy(&filter);
    }
    return rc;
}

/* [{$set: {owner: ME, until: {$add: ["$$NOW", MS]}}}]: by the server's clock. */
static void claiming(bson_t *update, const uint8_t owner[16], int64_t hold_ms) {
    bson_t stage, set, until, add;
    BSON_APPEND_DOCUMENT_BEGIN(update, "0", &stage);
    BSON_APPEND_DOCUMENT_BEGIN(&stage, "$set", &set);
    bson_append_binary(&set, "owner", -1, BSON_SUBTYPE_BINARY, owner, 16);
    BSON_APPEND_DOCUMENT_BEGIN(&set, "until", &until);
    BSON_APPEND_ARRAY_BEGIN(&until, "$add", &add);
    BSON_APPEND_UTF8(&add, "0", "$$NOW");
    BSON_APPEND_INT64(&add, "1", hold_ms);
    bson_append_array_end(&until, &add);
    bson_append_document_end(&set, &until);
    bson_append_document_end(&stage, &set);
    bson_append_document_end(update, &stage);
}

/* Mine, or nobody's any more: mine from now on. */
static int claim(mp_mongodb_call *call, const uint8_t owner[16], int64_t hold_ms, bool *mine) {
    bson_t text = BSON_INITIALIZER, reply = BSON_INITIALIZER, query, either, one, expr, pair, update;
    bson_iter_t iter;
    BSON_APPEND_UTF8(&text, "findAndModify", OWNER);
    BSON_APPEND_DOCUMENT_BEGIN(&text, "query", &query);
    BSON_APPEND_INT32(&query, "_id", 0);
    BSON_APPEND_ARRAY_BEGIN(&query, "$or", &either);
    BSON_APPEND_DOCUMENT_BEGIN(&either, "0", &one);
    bson_append_binary(&one, "owner", -1, BSON_SUBTYPE_BINARY, owner, 16);
    bson_append_document_end(&either, &one);
    BSON_APPEND_DOCUMENT_BEGIN(&either, "1", &one);
    BSON_APPEND_DOCUMENT_BEGIN(&one, "$expr", &expr);
    BSON_APPEND_ARRAY_BEGIN(&expr, "$lt", &pair);
    BSON_APPEND_UTF8(&pair, "0", "$until");
    BSON_APPEND_UTF8(&pair, "1", "$$NOW");
    bson_append_array_end(&expr, &pair);
    bson_append_document_end(&one, &expr);
    bson_append_document_end(&either, &one);
    bson_append_array_end(&query, &either);
    bson_append_document_end(&text, &query);
    BSON_APPEND_ARRAY_BEGIN(&text, "update", &update);
    claiming(&update, owner, hold_ms);
    bson_append_array_end(&text, &update);
    int rc = mp_mongodb_command(call, &text, 0, &reply);
    *mine = rc == POND_OK && bson_iter_init_find(&iter, &reply, "value") && BSON_ITER_HOLDS_DOCUMENT(&iter);
    bson_destroy(&reply);
    bson_destroy(&text);
    return rc;
}

int mp_mongodb_outbox_take(mp_mongodb_pool *pool, const uint8_t owner[16], int64_t hold_ms, mp_outbox *out,
                           pond_error **err) {
    mp_mongodb_call call = call_of(pool, false, err);
    bool any = false;
    int rc = mp_mongodb_begin(&call);
    if (rc != POND_OK) return rc;
    rc = read_rows(&call, 1, NULL, &any); /* nothing is written where there is nothing to do */
    if (rc == POND_OK && any) {
        call.writes = true;
        rc = claim(&call, owner, hold_ms, &out->mine);
        call.writes = false;
    }
    if (rc == POND_OK && any && out->mine) {
        bool mine = out->mine;
        rc = read_rows(&call, MP_OUTBOX_MOST, out, &any);
        out->mine = mine;
    }
    mp_mongodb_end(&call);
    if (rc != POND_OK) mp_outbox_clear(out);
    return rc;
}

static int drop_rows(mp_mongodb_call *call, const mp_outbox *rows, size_t n) {
    bson_t text = BSON_INITIALIZER, reply = BSON_INITIALIZER, deletes, one, query, id, list;
    BSON_APPEND_UTF8(&text, "delete", EVENTS);
    BSON_APPEND_ARRAY_BEGIN(&text, "deletes", &deletes);
    BSON_APPEND_DOCUMENT_BEGIN(&deletes, "0", &one);
    BSON_APPEND_DOCUMENT_BEGIN(&one, "q", &query);
    BSON_APPEND_DOCUMENT_BEGIN(&query, "_id", &id);
    BSON_APPEND_ARRAY_BEGIN(&id, "$in", &list);
    for (size_t i = 0; i < n; i++) {
        char room[16];
        const char *key;
        bson_uint32_to_string((uint32_t)i, &key, room, sizeof room);
        BSON_APPEND_UTF8(&list, key, rows->rows[i].id);
    }
    bson_append_array_end(&id, &list);
    bson_append_document_end(&query, &id);
    bson_append_document_end(&one, &query);
    BSON_APPEND_INT32(&one, "limit", 0);
    bson_append_document_end(&deletes, &one);
    bson_append_array_end(&text, &deletes);
    int rc = mp_mongodb_command(call, &text, 0, &reply);
    bson_destroy(&reply);
    bson_destroy(&text);
    return rc;
}

/* Others may go on as soon as there is nothing left, or nobody here to deliver it. */
static int let_go(mp_mongodb_call *call, const uint8_t owner[16]) {
    bson_t text = BSON_INITIALIZER, reply = BSON_INITIALIZER, updates, one, query, update, set;
    BSON_APPEND_UTF8(&text, "update", OWNER);
    BSON_APPEND_ARRAY_BEGIN(&text, "updates", &updates);
    BSON_APPEND_DOCUMENT_BEGIN(&updates, "0", &one);
    BSON_APPEND_DOCUMENT_BEGIN(&one, "q", &query);
    BSON_APPEND_INT32(&query, "_id", 0);
    bson_append_binary(&query, "owner", -1, BSON_SUBTYPE_BINARY, owner, 16);
    bson_append_document_end(&one, &query);
    BSON_APPEND_DOCUMENT_BEGIN(&one, "u", &update);
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$set", &set);
    BSON_APPEND_DATE_TIME(&set, "until", 0);
    bson_append_document_end(&update, &set);
    bson_append_document_end(&one, &update);
    bson_append_document_end(&updates, &one);
    bson_append_array_end(&text, &updates);
    int rc = mp_mongodb_command(call, &text, 0, &reply);
    bson_destroy(&reply);
    bson_destroy(&text);
    return rc;
}

int mp_mongodb_outbox_drop(mp_mongodb_pool *pool, const uint8_t owner[16], const mp_outbox *rows, size_t n,
                           pond_error **err) {
    mp_mongodb_call call = call_of(pool, true, err);
    bool any = true;
    int rc = mp_mongodb_begin(&call);
    if (rc != POND_OK) return rc;
    if (n) rc = drop_rows(&call, rows, n);
    if (rc == POND_OK && n) rc = read_rows(&call, 1, NULL, &any);
    if (rc == POND_OK && (n == 0 || !any)) rc = let_go(&call, owner);
    mp_mongodb_end(&call);
    return rc;
}
