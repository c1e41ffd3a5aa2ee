#include "store/mongodb_behind.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fork.h"
#include "store/mongodb_change.h"
#include "store/mongodb_find.h"
#include "store/mongodb_flush.h"
#include "store/mongodb_id.h"
#include "store/mongodb_json.h"
#include "store/mongodb_look.h"
#include "store/mongodb_setup.h"

enum { TOMB_SECONDS = 7 * 86400, EPOCH_MAX = (1 << 23) - 1 };

/* ---- owners ---- */

typedef struct owner {
    struct owner *next;
    uint8_t name[16];
    pid_t pid; /* whose it is: a child of a fork leaves it where it is */
    mp_mongodb_call call;
    mongoc_client_session_t *session; /* NULL: it owns nothing */
} owner;

struct mp_mongodb_behind {
    mp_mongodb_pool *pool;
    _Atomic(owner *)
        owners; /* only ever added, by whoever uses that one: a lock could be held for ever in the child of a fork */
};

mp_mongodb_behind *mp_mongodb_behind_new(mp_mongodb_pool *pool) {
    mp_mongodb_behind *b = calloc(1, sizeof *b);
    if (b == NULL) return NULL;
    b->pool = pool;
    return b;
}

static void end_session(owner *o) {
    if (o->session == NULL) return;
    mp_mongodb_resume(&o->call);
    mongoc_client_session_destroy(o->session);
    o->session = NULL;
    mp_mongodb_end(&o->call);
}

void mp_mongodb_behind_free(mp_mongodb_behind *b) {
    if (b == NULL) return;
    for (owner *o = atomic_load(&b->owners), *next; o != NULL; o = next) {
        next = o->next;
        if (o->pid != getpid()) {
            mp_leave_aside(o);
            continue;
        }
        end_session(o);
        free(o);
    }
    free(b);
}

static owner *owner_of(mp_mongodb_behind *b, const uint8_t name[16], bool make) {
    owner *o = atomic_load(&b->owners);
    while (o != NULL && (memcmp(o->name, name, sizeof o->name) != 0 || o->pid != getpid())) o = o->next;
    if (o != NULL || !make || (o = calloc(1, sizeof *o)) == NULL) return o;
    memcpy(o->name, name, sizeof o->name);
    o->pid = getpid();
    o->next = atomic_load(&b->owners);
    while (!atomic_compare_exchange_weak(&b->owners, &o->next, o)) continue;
    return o;
}

int mp_mongodb_behind_prepare(mp_mongodb_behind *b, const char *collection, pond_error **err) {
    mp_mongodb_call call = {.pool = b->pool, .collection = collection, .writes = true, .err = err};
    int rc = mp_mongodb_begin(&call);
    if (rc == POND_OK) rc = mp_mongodb_has_transactions(&call, "write=behind");
    if (rc == POND_OK) rc = mp_mongodb_make_collection(&call, collection);
    if (rc == POND_OK) rc = mp_mongodb_make_collection(&call, MP_MONGODB_FENCES);
    if (rc == POND_OK) rc = mp_mongodb_make_collection(&call, MP_MONGODB_TOMBS);
    if (rc == POND_OK) rc = mp_mongodb_make_index(&call, MP_MONGODB_TOMBS, "at", TOMB_SECONDS);
    mp_mongodb_end(&call);
    return rc;
}

/* ---- epochs ---- */

/* {findAndModify: `collection`, query: {_id: `id`}, ..., upsert: true}, but for the update. */
static void find_and_modify(bson_t *text, const char *collection, const char *id) {
    bson_t query;
    BSON_APPEND_UTF8(text, "findAndModify", collection);
    BSON_APPEND_DOCUMENT_BEGIN(text, "query", &query);
    BSON_APPEND_UTF8(&query, "_id", id);
    bson_append_document_end(text, &query);
    BSON_APPEND_BOOL(text, "upsert", true);
}

static void increment(bson_t *update, const char *field) {
    bson_t by;
    BSON_APPEND_DOCUMENT_BEGIN(update, "$inc", &by);
    BSON_APPEND_INT64(&by, field, 1);
    bson_append_document_end(update, &by);
}

/* With a majority, always: a primary that is about to lose its place would give the same one as its successor. */
int mp_mongodb_behind_epoch(mp_mongodb_behind *b, const char *ns, int64_t *epoch, pond_error **err) {
    enum { DUPLICATE_KEY = 11000, TRIES = 5 };
    mp_mongodb_call call = {.pool = b->pool, .collection = MP_MONGODB_EPOCHS, .writes = true, .err = err};
    bson_t text = BSON_INITIALIZER, update;
    bson_iter_t iter, value;
    find_and_modify(&text, MP_MONGODB_EPOCHS, ns);
    BSON_APPEND_BOOL(&text, "new", true);
    BSON_APPEND_DOCUMENT_BEGIN(&text, "update", &update);
    increment(&update, "epoch");
    bson_append_document_end(&text, &update);
    *epoch = 0;
    int rc = mp_mongodb_begin(&call);
    for (int tries = 0; rc == POND_OK && *epoch == 0 && tries < TRIES; tries++) {
        bson_t reply = BSON_INITIALIZER;
        rc = mp_mongodb_command(&call, &text, DUPLICATE_KEY, &reply); /* two that made the first */
        if (rc == POND_OK && bson_iter_init(&iter, &reply) && bson_iter_find_descendant(&iter, "value.epoch", &value))
            *epoch = bson_iter_as_int64(&value);
        bson_destroy(&reply);
    }
    if (rc == POND_OK && (*epoch < 1 || *epoch > EPOCH_MAX))
        rc = mp_mongodb_fail(&call, POND_ESTORE, 0, "all epochs of %.64s are used up, or what stands there is damaged",
                             ns);
    mp_mongodb_end(&call);
    bson_destroy(&text);
    return rc;
}

/* ---- taking over ---- */

/* The last owner's session, if there is one: whatever hangs on it ends. That this may fail does not matter: then its transaction ends by
 * its time. */
static void kill_session(mp_mongodb_call *call, const bson_iter_t *lsid) {
    bson_t text = BSON_INITIALIZER, list, session;
    const uint8_t *data;
    uint32_t len;
    bson_iter_document(lsid, &len, &data);
    if (!bson_init_static(&session, data, len)) return;
    BSON_APPEND_ARRAY_BEGIN(&text, "killSessions", &list);
    BSON_APPEND_DOCUMENT(&list, "0", &session);
    bson_append_array_end(&text, &list);
    mongoc_client_command_simple(call->client, "admin", &text, NULL, NULL, NULL);
    bson_destroy(&text);
}

static int end_last_owner(mp_mongodb_call *call, const char *shard) {
    int rc = POND_OK;
    for (bool well = false; rc == POND_OK && !well;) {
        bson_t filter = BSON_INITIALIZER, options = BSON_INITIALIZER;
        bson_error_t error = {0};
        const bson_t *doc, *said = NULL;
        bson_iter_t iter;
        BSON_APPEND_UTF8(&filter, "_id", shard);
        mp_mongodb_options(call, &options);
        mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(call->documents, &filter, &options, NULL);
        if (mongoc_cursor_next(cursor, &doc) && bson_iter_init_find(&iter, doc, "lsid") &&
            BSON_ITER_HOLDS_DOCUMENT(&iter))
            kill_session(call, &iter);
        well = !mongoc_cursor_error_document(cursor, &error, &said);
        if (!well) rc = mp_mongodb_again(call, &error, said);
        mongoc_cursor_destroy(cursor);
        bson_destroy(&options);
        bson_destroy(&filter);
    }
    return rc;
}

static int own_shard(owner *o, const char *shard) {
    enum { DUPLICATE_KEY = 11000 };
    bson_t text = BSON_INITIALIZER, update, set;
    int rc = end_last_owner(&o->call, shard);
    find_and_modify(&text, MP_MONGODB_FENCES, shard);
    BSON_APPEND_DOCUMENT_BEGIN(&text, "update", &update);
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$set", &set);
    bson_append_binary(&set, "owner", -1, BSON_SUBTYPE_BINARY, o->name, sizeof o->name);
    BSON_APPEND_DOCUMENT(&set, "lsid", mongoc_client_session_get_lsid(o->session));
    bson_append_document_end(&update, &set);
    increment(&update, "term");
    bson_append_document_end(&text, &update);
    bson_iter_t iter;
    for (bool taken = false; rc == POND_OK && !taken;) {
        bson_t reply = BSON_INITIALIZER;
        rc = mp_mongodb_command(&o->call, &text, DUPLICATE_KEY, &reply);
        taken = bson_iter_init_find(&iter, &reply, "value");
        bson_destroy(&reply);
    }
    bson_destroy(&text);
    return rc;
}

int mp_mongodb_behind_own(mp_mongodb_behind *b, const uint8_t name[16], const char *const *shards, size_t n,
                          pond_error **err) {
    owner *o = owner_of(b, name, true);
    if (o == NULL) return mp_fail(err, POND_ENOMEM, "no memory for an owner");
    bool first = o->session == NULL;
    if (first) o->call = (mp_mongodb_call){.pool = b->pool, .collection = MP_MONGODB_FENCES, .writes = true};
    o->call.err = err;
    int rc = first ? mp_mongodb_begin(&o->call) : (mp_mongodb_resume(&o->call), POND_OK);
    if (rc != POND_OK) return rc;
    bson_error_t error = {0};
    if (first && !(o->session = mongoc_client_start_session(o->call.client, NULL, &error)))
        rc = mp_mongodb_fail(&o->call, POND_ESTORE, 1, "%s", error.message);
    for (size_t i = 0; i < n && rc == POND_OK; i++) rc = own_shard(o, shards[i]);
    o->call.err = NULL;
    if (rc != POND_OK && o->session != NULL) end_session(o);
    else if (rc != POND_OK) mp_mongodb_end(&o->call);
    else mp_mongodb_rest(&o->call);
    return rc;
}

mp_flushed mp_mongodb_behind_flush(mp_mongodb_behind *b, mp_flush *flush, pond_error **err) {
    owner *o = owner_of(b, flush->owner, false);
    if (o == NULL || o->session == NULL) return MP_FLUSH_LOST;
    mongoc_collection_t *fences = o->call.documents;
    mp_mongodb_resume(&o->call);
    o->call.err = err;
    o->call.collection = flush->collection;
    o->call.documents = mongoc_client_get_collection(o->call.client, mp_mongodb_database(&o->call), flush->collection);
    mp_flushed how = mp_mongodb_flush(&o->call, o->session, fences, flush);
    mongoc_collection_destroy(o->call.documents);
    o->call.documents = fences;
    o->call.collection = MP_MONGODB_FENCES;
    o->call.err = NULL;
    if (how == MP_FLUSH_FAILED) end_session(o); /* with what may be under way on it */
    else mp_mongodb_rest(&o->call);
    return how;
}

/* ---- reading ---- */

/* NULL: there is none. */
static int read_document(mp_mongodb_call *call, pond_value **out, int64_t *version) {
    mp_mongodb_id id = mp_mongodb_id_read(call->id, call->id_len);
    mp_mongodb_kind kind = MP_ID_OTHER;
    bson_t doc = BSON_INITIALIZER;
    bson_iter_t iter;
    mp_buf json;
    mp_buf_init(&json);
    int rc = mp_mongodb_look(call, &id, &kind, &doc);
    if (rc == POND_OK && kind != MP_ID_OTHER) {
        if (bson_iter_init_find(&iter, &doc, "_mpv") && BSON_ITER_HOLDS_NUMBER(&iter))
            *version = bson_iter_as_int64(&iter);
        if (!mp_mongodb_document_json(&json, &doc))
            rc = mp_mongodb_fail(call, POND_ESTORE, 0, "what stands in the store is damaged");
        else if (!json.failed) {
            *out = mp_value_adopt(POND_EJSON, json.data, json.len);
            mp_buf_init(&json);
        }
        if (rc == POND_OK && *out == NULL) rc = mp_mongodb_fail(call, POND_ENOMEM, 1, "no memory for a document");
    }
    mp_buf_free(&json);
    bson_destroy(&doc);
    return rc;
}

/* The version of its deletion; *version stays as it is if there was none. */
static int read_tomb(mp_mongodb_call *call, int64_t *version) {
    int rc = POND_OK;
    mongoc_collection_t *tombs =
        mongoc_client_get_collection(call->client, mp_mongodb_database(call), MP_MONGODB_TOMBS);
    for (bool well = false; rc == POND_OK && !well;) {
        bson_t filter = BSON_INITIALIZER, options = BSON_INITIALIZER;
        bson_error_t error = {0};
        const bson_t *doc, *said = NULL;
        bson_iter_t iter;
        mp_mongodb_tomb_id(&filter, call->collection, call->id, call->id_len);
        mp_mongodb_options(call, &options);
        mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(tombs, &filter, &options, NULL);
        if (mongoc_cursor_next(cursor, &doc) && bson_iter_init_find(&iter, doc, "v"))
            *version = bson_iter_as_int64(&iter);
        well = !mongoc_cursor_error_document(cursor, &error, &said);
        rc = well ? mp_mongodb_confirm(call, &well) : mp_mongodb_again(call, &error, said);
        mongoc_cursor_destroy(cursor);
        bson_destroy(&options);
        bson_destroy(&filter);
    }
    mongoc_collection_destroy(tombs);
    return rc;
}

int mp_mongodb_behind_get(mp_mongodb_behind *b, const char *collection, const char *id, size_t len, pond_value **out,
                          int64_t *version, pond_error **err) {
    mp_mongodb_call call = {.pool = b->pool, .collection = collection, .id = id, .id_len = len, .err = err};
    pond_value *value = NULL;
    *version = 0;
    int rc = mp_mongodb_begin(&call);
    if (rc != POND_OK) return rc;
    rc = read_document(&call, &value, version);
    if (rc == POND_OK && value == NULL) rc = read_tomb(&call, version);
    mp_mongodb_end(&call);
    if (rc == POND_OK) *out = value != NULL ? value : mp_value_absent();
    else pond_value_free(value);
    return rc;
}
