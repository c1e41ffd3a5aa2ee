#include "store/mongodb.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "model/document.h"
#include "store/mongodb_behind.h"
#include "store/mongodb_change.h"
#include "store/mongodb_error.h"
#include "store/mongodb_find.h"
#include "store/mongodb_id.h"
#include "store/mongodb_json.h"
#include "store/mongodb_look.h"
#include "store/mongodb_outbox.h"
#include "store/mongodb_pool.h"

/* Calls under way at once: as many as libmongoc's own pools allow by default. */
enum { CLIENTS = 100, IDS_AT_ONCE = 1000, UPSERTS = 3 };

typedef struct mongodb_store {
    mp_store base;
    mp_mongodb_pool *pool;
    mp_mongodb_behind *behind;
    int64_t max_value;
} mongodb_store;

static mp_mongodb_pool *pool_of(mp_store *store) { return ((mongodb_store *)store)->pool; }

/* ---- collections ---- */

static int create(mp_store *store, const char *collection, pond_error **err) {
    enum { EXISTS = 48 };
    mp_mongodb_call call = {.pool = pool_of(store), .collection = collection, .err = err};
    int rc = mp_mongodb_begin(&call);
    for (bool well = false; rc == POND_OK && !well;) {
        bson_t command = BSON_INITIALIZER, reply;
        bson_error_t error = {0};
        bson_append_utf8(&command, "create", -1, collection, -1);
        bson_append_int64(&command, "maxTimeMS", -1, mp_mongodb_left_ms(&call));
        well = mongoc_client_write_command_with_opts(call.client, mp_mongodb_database(&call), &command, NULL, &reply,
                                                     &error) ||
               error.code == EXISTS;
        if (!well) rc = mp_mongodb_again(&call, &error, &reply);
        bson_destroy(&reply);
        bson_destroy(&command);
    }
    mp_mongodb_end(&call);
    return rc;
}

/* ---- reading by id ---- */

/* Documents by id, some at a time. */
typedef struct fetch {
    const char *const *ids;
    const size_t *lens;
    size_t n;
    pond_value **out;
    mp_mongodb_kind *kinds; /* of what stands in `out`, so that a better one replaces it */
    size_t *order;          /* places, by their ids */
} fetch;

static int order_ids(const char *a, size_t a_len, const char *b, size_t b_len) {
    int way = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return way != 0 ? way : (a_len > b_len) - (a_len < b_len);
}

static int by_id(const void *a, const void *b, void *ctx) {
    const fetch *f = ctx;
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    int way = order_ids(f->ids[x], f->lens[x], f->ids[y], f->lens[y]);
    return way != 0 ? way : (x > y) - (x < y);
}

/* The first place in the order whose id is not less. */
static size_t lower(const fetch *f, const char *id, size_t len) {
    size_t from = 0, to = f->n;
    while (from < to) {
        size_t middle = from + (to - from) / 2, at = f->order[middle];
        if (order_ids(f->ids[at], f->lens[at], id, len) < 0) from = middle + 1;
        else to = middle;
    }
    return from;
}

static bool is_at(const fetch *f, size_t place, const char *id, size_t len) {
    return place < f->n && order_ids(f->ids[f->order[place]], f->lens[f->order[place]], id, len) == 0;
}

static pond_value *value_of(const bson_t *doc, bool *sound) {
    mp_buf json;
    mp_buf_init(&json);
    *sound = mp_mongodb_document_json(&json, doc);
    if (*sound && !json.failed) return mp_value_adopt(POND_EJSON, json.data, json.len);
    mp_buf_free(&json);
    return NULL;
}

/* Puts a document where its id was asked for, unless a better one stands there. */
static int take(const mp_mongodb_call *call, fetch *f, const bson_t *doc) {
    char room[MP_MONGODB_ID_ROOM];
    bson_iter_t iter;
    mp_mongodb_kind kind;
    size_t len = 0, place;
    bool sound = true;
    const char *id = bson_iter_init_find(&iter, doc, "_id") ? mp_mongodb_id_text(&iter, room, &len, &kind) : NULL;
    if (id == NULL || !is_at(f, place = lower(f, id, len), id, len)) return POND_OK; /* a collation's idea of equal */
    if (kind >= f->kinds[f->order[place]]) return POND_OK;
    pond_value *value = value_of(doc, &sound);
    if (value == NULL)
        return sound ? mp_mongodb_fail(call, POND_ENOMEM, 1, "no memory for a document")
                     : mp_mongodb_fail(call, POND_ESTORE, 0, "what stands in the store is damaged");
    for (; is_at(f, place, id, len); place++) {
        pond_value_free(f->out[f->order[place]]);
        f->out[f->order[place]] = pond_value_ref(value);
        f->kinds[f->order[place]] = kind;
    }
    pond_value_free(value);
    return POND_OK;
}

/* {_id: {$in: [every reading of these ids]}} */
static bool append_ids(bson_t *filter, const fetch *f, size_t from, size_t to) {
    bson_t operators, values;
    uint32_t at = 0;
    bool ok = bson_append_document_begin(filter, "_id", -1, &operators) &&
              bson_append_array_begin(&operators, "$in", -1, &values);
    for (size_t i = from; i < to && ok; i++) {
        mp_mongodb_id id = mp_mongodb_id_read(f->ids[f->order[i]], f->lens[f->order[i]]);
        ok = mp_mongodb_id_append_all(&values, &at, &id);
    }
    return ok && bson_append_array_end(&operators, &values) && bson_append_document_end(filter, &operators);
}

static void make_absent(fetch *f, size_t place) {
    f->out[place] = mp_value_absent();
    f->kinds[place] = MP_ID_OTHER;
}

/* One attempt at the ids at `from` to `to` of the order. What an earlier attempt found goes: it may be too old. */
static int read_ids(mp_mongodb_call *call, fetch *f, size_t from, size_t to, bool *well, bson_error_t *error,
                    bson_t *reply) {
    bson_t filter = BSON_INITIALIZER, options = BSON_INITIALIZER;
    const bson_t *doc, *said = NULL;
    int rc = append_ids(&filter, f, from, to) ? POND_OK : mp_mongodb_fail(call, POND_EVALUE, 0, "too many ids");
    mp_mongodb_options(call, &options);
    for (size_t i = from; i < to; i++) {
        pond_value_free(f->out[f->order[i]]);
        make_absent(f, f->order[i]);
    }
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(call->documents, &filter, &options, NULL);
    while (rc == POND_OK && mongoc_cursor_next(cursor, &doc)) rc = take(call, f, doc);
    *well = !mongoc_cursor_error_document(cursor, error, &said);
    if (!*well && said != NULL) bson_copy_to(said, reply);
    else bson_init(reply);
    mongoc_cursor_destroy(cursor);
    bson_destroy(&options);
    bson_destroy(&filter);
    return rc;
}

static int read_all(mp_mongodb_call *call, fetch *f) {
    int rc = POND_OK;
    for (size_t from = 0; rc == POND_OK && from < f->n; from += IDS_AT_ONCE) {
        size_t to = f->n - from < IDS_AT_ONCE ? f->n : from + IDS_AT_ONCE;
        for (bool well = false; rc == POND_OK && !well;) {
            bson_t reply;
            bson_error_t error = {0};
            rc = read_ids(call, f, from, to, &well, &error, &reply);
            if (rc == POND_OK) rc = well ? mp_mongodb_confirm(call, &well) : mp_mongodb_again(call, &error, &reply);
            bson_destroy(&reply);
        }
    }
    return rc;
}

static int run(mp_mongodb_call *call, fetch *f) {
    for (size_t i = 0; i < f->n; i++) {
        make_absent(f, i);
        f->order[i] = i;
    }
    qsort_r(f->order, f->n, sizeof *f->order, by_id, f);
    int rc = mp_mongodb_begin(call);
    if (rc == POND_OK) {
        rc = read_all(call, f);
        mp_mongodb_end(call);
    }
    for (size_t i = 0; i < f->n && rc != POND_OK; i++) {
        pond_value_free(f->out[i]);
        f->out[i] = NULL;
    }
    return rc;
}

static int get(mp_store *store, const char *collection, const char *id, size_t len, pond_value **out,
               pond_error **err) {
    mp_mongodb_call call = {.pool = pool_of(store), .collection = collection, .id = id, .id_len = len, .err = err};
    mp_mongodb_kind kind;
    size_t order;
    pond_value *value = NULL;
    fetch f = {.ids = &id, .lens = &len, .n = 1, .out = &value, .kinds = &kind, .order = &order};
    int rc = run(&call, &f);
    if (rc == POND_OK) *out = value;
    return rc;
}

static int get_many(mp_store *store, const char *collection, const char *const *ids, const size_t *lens, size_t n,
                    pond_value **out, pond_error **err) {
    mp_mongodb_call call = {.pool = pool_of(store), .collection = collection, .err = err};
    if (n == 0) return POND_OK;
    fetch f = {.ids = ids, .lens = lens, .n = n, .out = out};
    f.kinds = calloc(n, sizeof *f.kinds);
    f.order = calloc(n, sizeof *f.order);
    int rc = f.kinds != NULL && f.order != NULL ? run(&call, &f)
                                                : mp_mongodb_fail(&call, POND_ENOMEM, 1, "no memory for %zu ids", n);
    free(f.kinds);
    free(f.order);
    return rc;
}

/* ---- writing by id ---- */

/* Replaces the document with this _id, or makes it. `doc` begins with it. */
static int replace(mp_mongodb_call *call, const mp_mongodb_id *id, mp_mongodb_kind kind, const bson_t *doc) {
    int rc = POND_OK, upserts = 0;
    for (bool well = false; rc == POND_OK && !well;) {
        bson_t filter = BSON_INITIALIZER, options = BSON_INITIALIZER, reply;
        bson_error_t error = {0};
        mp_mongodb_id_append(&filter, "_id", id, kind);
        mp_mongodb_write_options(call, &options);
        bson_append_bool(&options, "upsert", -1, true);
        bson_append_bool(&options, "validate", -1, false); /* mp_document_pack has looked */
        well = mongoc_collection_replace_one(call->documents, &filter, doc, &options, &reply, &error);
        /* Two that made it at once: now it is there. Any other key that is there already says so again. */
        if (!well && !(mp_mongodb_problem_of(&error, &reply).duplicate && ++upserts < UPSERTS))
            rc = mp_mongodb_again(call, &error, &reply);
        bson_destroy(&reply);
        bson_destroy(&options);
        bson_destroy(&filter);
    }
    return rc;
}

static int too_large(const mp_document_name *name, size_t len, int64_t max, pond_error **err) {
    return mp_fail(err, POND_EVALUE, "%.64s: a document of %zu bytes is over the limit: max_value is %lld bytes",
                   name->collection, len, (long long)max);
}

static int put_packed(mp_store *store, const mp_document_name *name, const char *json, size_t len, pond_error **err) {
    mp_mongodb_call call = {
        .pool = pool_of(store), .collection = name->collection, .id = name->id, .id_len = name->id_len, .err = err};
    mp_mongodb_id id = mp_mongodb_id_read(name->id, name->id_len);
    mp_mongodb_kind kind = MP_ID_STRING;
    bson_t doc = BSON_INITIALIZER, members = BSON_INITIALIZER;
    int rc = mp_mongodb_bson(&members, name, json, len, err);
    if (rc == POND_OK) rc = mp_mongodb_begin(&call);
    if (rc == POND_OK) {
        if (id.also != MP_ID_STRING) rc = mp_mongodb_look(&call, &id, &kind, NULL);
        if (kind == MP_ID_OTHER) kind = MP_ID_STRING;
        call.writes = true;
        mp_mongodb_id_append(&doc, "_id", &id, kind);
        if (rc == POND_OK && !bson_concat(&doc, &members))
            rc = mp_mongodb_fail(&call, POND_EVALUE, 0, "the document is too large for MongoDB");
        if (rc == POND_OK) rc = replace(&call, &id, kind, &doc);
        mp_mongodb_end(&call);
    }
    bson_destroy(&members);
    bson_destroy(&doc);
    return rc;
}

static int put(mp_store *store, const char *collection, const char *id, size_t len, const char *doc, size_t doc_len,
               pond_error **err) {
    int64_t max = ((mongodb_store *)store)->max_value;
    const mp_document_name name = {collection, id, len};
    char *packed = NULL;
    size_t packed_len = 0;
    if (doc_len > (uint64_t)max) return too_large(&name, doc_len, max, err);
    int rc = mp_document_pack_numbered(&name, doc, doc_len, &packed, &packed_len, err);
    if (rc != POND_OK) return rc;
    if (packed_len > (uint64_t)max) rc = too_large(&name, packed_len, max, err);
    else rc = put_packed(store, &name, packed, packed_len, err);
    free(packed);
    return rc;
}

static int delete_as(mp_mongodb_call *call, const mp_mongodb_id *id, mp_mongodb_kind kind, bool *existed) {
    int rc = POND_OK;
    for (bool well = false; rc == POND_OK && !well;) {
        bson_t filter = BSON_INITIALIZER, options = BSON_INITIALIZER, reply;
        bson_error_t error = {0};
        bson_iter_t iter;
        mp_mongodb_id_append(&filter, "_id", id, kind);
        mp_mongodb_write_options(call, &options);
        well = mongoc_collection_delete_one(call->documents, &filter, &options, &reply, &error);
        if (well) *existed = bson_iter_init_find(&iter, &reply, "deletedCount") && bson_iter_as_int64(&iter) > 0;
        else rc = mp_mongodb_again(call, &error, &reply);
        bson_destroy(&reply);
        bson_destroy(&options);
        bson_destroy(&filter);
    }
    return rc;
}

static int remove_one(mp_store *store, const char *collection, const char *id, size_t len, bool *existed,
                      pond_error **err) {
    mp_mongodb_call call = {
        .pool = pool_of(store), .collection = collection, .id = id, .id_len = len, .writes = true, .err = err};
    mp_mongodb_id as = mp_mongodb_id_read(id, len);
    bool gone = false;
    int rc = mp_mongodb_begin(&call);
    if (rc != POND_OK) return rc;
    rc = delete_as(&call, &as, MP_ID_STRING, &gone);
    if (rc == POND_OK && !gone && as.also != MP_ID_STRING) rc = delete_as(&call, &as, as.also, &gone);
    mp_mongodb_end(&call);
    if (rc == POND_OK && existed != NULL) *existed = gone;
    return rc;
}

/* ---- queries ---- */

static int find(mp_store *store, const char *collection, const mp_query *query, mp_buf *out, size_t *count,
                pond_error **err) {
    return mp_mongodb_find(pool_of(store), collection, query, ((mongodb_store *)store)->max_value, out, count, err);
}

static int count(mp_store *store, const char *collection, const mp_query *query, int64_t *total, pond_error **err) {
    return mp_mongodb_count(pool_of(store), collection, query, total, err);
}

static int make_index(mp_store *store, const char *collection, const mp_query_sort *field, pond_error **err) {
    return mp_mongodb_index(pool_of(store), collection, field, err);
}

static int plan(mp_store *store, const char *collection, const mp_query *query, mp_buf *out, pond_error **err) {
    return mp_mongodb_plan(pool_of(store), collection, query, out, err);
}

/* ---- the store ---- */

/* ---- changes ---- */

static int ready(mp_store *store, mp_change *change, pond_error **err) {
    return mp_mongodb_ready(pool_of(store), change, ((mongodb_store *)store)->max_value, err);
}

static mp_applied apply(mp_store *store, mp_change *change, pond_error **err) {
    return mp_mongodb_apply(pool_of(store), change, err);
}

static void discard(mp_store *store, mp_change *change) { mp_mongodb_discard(change); }

static int outbox_prepare(mp_store *store, pond_error **err) { return mp_mongodb_outbox_prepare(pool_of(store), err); }

static int outbox_take(mp_store *store, const uint8_t owner[16], int64_t hold_ms, mp_outbox *out, pond_error **err) {
    return mp_mongodb_outbox_take(pool_of(store), owner, hold_ms, out, err);
}

static int outbox_drop(mp_store *store, const uint8_t owner[16], const mp_outbox *rows, size_t n, pond_error **err) {
    return mp_mongodb_outbox_drop(pool_of(store), owner, rows, n, err);
}

static mp_mongodb_behind *behind_of(mp_store *store) { return ((mongodb_store *)store)->behind; }

static int behind_prepare(mp_store *store, const char *collection, pond_error **err) {
    return mp_mongodb_behind_prepare(behind_of(store), collection, err);
}

static int behind_epoch(mp_store *store, const char *ns, int64_t *epoch, pond_error **err) {
    return mp_mongodb_behind_epoch(behind_of(store), ns, epoch, err);
}

static int behind_own(mp_store *store, const uint8_t owner[16], const char *const *shards, size_t n, pond_error **err) {
    return mp_mongodb_behind_own(behind_of(store), owner, shards, n, err);
}

static mp_flushed behind_flush(mp_store *store, mp_flush *flush, pond_error **err) {
    return mp_mongodb_behind_flush(behind_of(store), flush, err);
}

static int behind_get(mp_store *store, const char *collection, const char *id, size_t len, pond_value **out,
                      int64_t *version, pond_error **err) {
    return mp_mongodb_behind_get(behind_of(store), collection, id, len, out, version, err);
}

static void close_store(mp_store *store) {
    mp_mongodb_behind_free(behind_of(store));
    mp_mongodb_pool_close(pool_of(store));
    free(store);
}

static const mp_store_vt vt = {
    .scheme = "mongodb",
    .create = create,
    .get = get,
    .get_many = get_many,
    .put = put,
    .remove = remove_one,
    .close = close_store,
    .codec = POND_EJSON,
    .find = find,
    .count = count,
    .index = make_index,
    .plan = plan,
    .ready = ready,
    .apply = apply,
    .discard = discard,
    .outbox_prepare = outbox_prepare,
    .outbox_take = outbox_take,
    .outbox_drop = outbox_drop,
    .behind_prepare = behind_prepare,
    .behind_epoch = behind_epoch,
    .behind_own = behind_own,
    .behind_flush = behind_flush,
    .behind_get = behind_get,
};

int mp_mongodb_open(mp_store **out, const mp_options *options, pond_error **err) {
    unsigned clients = options->store_threads > CLIENTS ? (unsigned)options->store_threads : CLIENTS;
    mongodb_store *store = calloc(1, sizeof *store);
    if (store == NULL) return mp_fail(err, POND_ENOMEM, "store: no memory");
    int rc = mp_mongodb_pool_open(&store->pool, options->store != NULL ? options->store : "", clients,
                                  options->store_timeout, err);
    if (rc == POND_OK && !(store->behind = mp_mongodb_behind_new(store->pool))) {
        mp_mongodb_pool_close(store->pool);
        rc = mp_fail(err, POND_ENOMEM, "store: no memory");
    }
    if (rc != POND_OK) {
        free(store);
        return rc;
    }
    store->base.vt = &vt;
    store->max_value = options->max_value < INT_MAX ? options->max_value : INT_MAX;
    *out = &store->base;
    return POND_OK;
}
