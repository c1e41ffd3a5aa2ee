#include "store/mongodb_find.h"

#include <stdio.h>
#include <string.h>

#include "store/mongodb_json.h"
#include "store/mongodb_query.h"

static int too_long(const mp_mongodb_call *call) {
    return mp_mongodb_fail(call, POND_EQUERY, 0, "the query is too large for MongoDB");
}

void mp_mongodb_collation(bson_t *to) {
    bson_t collation;
    bson_append_document_begin(to, "collation", -1, &collation);
    bson_append_utf8(&collation, "locale", -1, "simple", -1);
    bson_append_document_end(to, &collation);
}

void mp_mongodb_options(const mp_mongodb_call *call, bson_t *to) {
    mp_mongodb_collation(to);
    bson_append_int64(to, "maxTimeMS", -1, mp_mongodb_left_ms(call));
}

/* ---- a page ---- */

typedef struct statement {
    bson_t filter, sort, projection, probe;
    bool has_probe, ok;
} statement;

static void statement_init(statement *s, const mp_query *q) {
    bson_init(&s->filter);
    bson_init(&s->sort);
    bson_init(&s->projection);
    bson_init(&s->probe);
    s->ok = mp_mongodb_filter(&s->filter, q) && mp_mongodb_sort(&s->sort, q) &&
            mp_mongodb_projection(&s->projection, q) && mp_mongodb_shared_arrays(&s->probe, q, &s->has_probe);
}

static void statement_free(statement *s) {
    bson_destroy(&s->filter);
    bson_destroy(&s->sort);
    bson_destroy(&s->projection);
    bson_destroy(&s->probe);
}

/* What a cursor ended with: true if with all documents; otherwise *error, and *reply is a copy. */
static bool ended_well(mongoc_cursor_t *cursor, bson_error_t *error, bson_t *reply) {
    const bson_t *said = NULL;
    bool well = !mongoc_cursor_error_document(cursor, error, &said);
    if (!well && said != NULL) bson_copy_to(said, reply);
    else bson_init(reply);
    mongoc_cursor_destroy(cursor);
    return well;
}

/* Whether any document matches. */
static int probe(mp_mongodb_call *call, const bson_t *filter, bool *found) {
    int rc = POND_OK;
    for (bool well = false; rc == POND_OK && !well;) {
        bson_t options = BSON_INITIALIZER, fields, reply;
        bson_error_t error = {0};
        const bson_t *doc;
        mp_mongodb_options(call, &options);
        bson_append_int64(&options, "limit", -1, 1);
        bson_append_bool(&options, "singleBatch", -1, true);
        bson_append_document_begin(&options, "projection", -1, &fields);
        bson_append_int32(&fields, "_id", -1, 1);
        bson_append_document_end(&options, &fields);
        mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(call->documents, filter, &options, NULL);
        *found = mongoc_cursor_next(cursor, &doc);
        well = ended_well(cursor, &error, &reply);
        rc = well ? mp_mongodb_confirm(call, &well) : mp_mongodb_again(call, &error, &reply);
        bson_destroy(&reply);
        bson_destroy(&options);
    }
    return rc;
}

typedef struct page {
    const mp_query *query;
    const statement *statement;
    mp_buf *out;
    size_t from, most; /* where the page begins in `out`, and how long it may get */
    size_t *count;
} page;

static void append_page(const page *p, bson_t *to) {
    bson_append_document(to, "sort", -1, &p->statement->sort);
    if (!bson_empty(&p->statement->projection)) bson_append_document(to, "projection", -1, &p->statement->projection);
    if (p->query->skip > 0) bson_append_int64(to, "skip", -1, p->query->skip);
    bson_append_int64(to, "limit", -1, p->query->limit);
    /* The whole page in the first answer, if it is not over 16 MiB. */
    bson_append_int64(to, "batchSize", -1, p->query->limit);
}

/* One attempt: *well, or an error in *error and *reply. Another code than POND_OK is final, its error made. */
static int read_page(mp_mongodb_call *call, const page *p, bool *well, bson_error_t *error, bson_t *reply) {
    bson_t options = BSON_INITIALIZER;
    const bson_t *doc;
    int rc = POND_OK;
    p->out->len = p->from;
    *p->count = 0;
    mp_mongodb_options(call, &options);
    append_page(p, &options);
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(call->documents, &p->statement->filter, &options, NULL);
    mp_buf_text(p->out, "[");
    while (rc == POND_OK && mongoc_cursor_next(cursor, &doc)) {
        if ((*p->count)++ > 0) mp_buf_text(p->out, ",");
        if (!mp_mongodb_document_json(p->out, doc))
            rc = mp_mongodb_fail(call, POND_ESTORE, 0, "a document that was found is damaged");
        else if (p->out->len - p->from > p->most)
            rc = mp_mongodb_fail(
                call, POND_EVALUE, 0,
                "the page is over the limit (max_value is %zu bytes): ask for fewer documents or fields", p->most);
    }
    mp_buf_text(p->out, "]");
    *well = ended_well(cursor, error, reply);
    bson_destroy(&options);
    return rc;
}

static int find_page(mp_mongodb_call *call, const page *p) {
    bool arrays = false;
    int rc = p->statement->has_probe ? probe(call, &p->statement->probe, &arrays) : POND_OK;
    if (rc == POND_OK && arrays) return mp_mongodb_sort_arrays(call);
    for (bool well = false; rc == POND_OK && !well;) {
        bson_t reply;
        bson_error_t error = {0};
        rc = read_page(call, p, &well, &error, &reply);
        if (rc == POND_OK) rc = well ? mp_mongodb_confirm(call, &well) : mp_mongodb_again(call, &error, &reply);
        bson_destroy(&reply);
    }
    if (rc == POND_OK && p->out->failed) rc = mp_mongodb_fail(call, POND_ENOMEM, 1, "no memory for a page");
    return rc;
}

int mp_mongodb_find(mp_mongodb_pool *pool, const char *collection, const mp_query *query, int64_t most, mp_buf *out,
                    size_t *count, pond_error **err) {
    mp_mongodb_call call = {.pool = pool, .collection = collection, .err = err};
    statement s;
    statement_init(&s, query);
    int rc = s.ok ? mp_mongodb_begin(&call) : too_long(&call);
    if (rc == POND_OK) {
        const page p = {query, &s, out, out->len, (size_t)most, count};
        rc = find_page(&call, &p);
        mp_mongodb_end(&call);
    }
    statement_free(&s);
    return rc;
}

/* ---- the total ---- */

int mp_mongodb_count(mp_mongodb_pool *pool, const char *collection, const mp_query *query, int64_t *total,
                     pond_error **err) {
    mp_mongodb_call call = {.pool = pool, .collection = collection, .err = err};
    bson_t filter = BSON_INITIALIZER;
    int rc = mp_mongodb_filter(&filter, query) ? mp_mongodb_begin(&call) : too_long(&call);
    for (bool well = false; rc == POND_OK && !well;) {
        bson_t options = BSON_INITIALIZER, reply;
        bson_error_t error = {0};
        mp_mongodb_options(&call, &options);
        *total = mongoc_collection_count_documents(call.documents, &filter, &options, NULL, &reply, &error);
        well = *total >= 0;
        rc = well ? mp_mongodb_confirm(&call, &well) : mp_mongodb_again(&call, &error, &reply);
        bson_destroy(&reply);
        bson_destroy(&options);
    }
    mp_mongodb_end(&call);
    bson_destroy(&filter);
    return rc;
}

/* ---- the plan ---- */

enum { PLAN_DEPTH = 100 };

/* The name of an index in the plan; the first one, should there be several. */
static bool find_index(const bson_iter_t *stage, int depth, mp_buf *name) {
    bson_iter_t iter;
    if (depth > PLAN_DEPTH || !bson_iter_recurse(stage, &iter)) return false;
    while (bson_iter_next(&iter)) {
        const char *key = bson_iter_key(&iter);
        if (strcmp(key, "indexName") == 0 && BSON_ITER_HOLDS_UTF8(&iter)) {
            mp_buf_text(name, bson_iter_utf8(&iter, NULL));
            return true;
        }
        if (strcmp(key, "stage") == 0 && BSON_ITER_HOLDS_UTF8(&iter) &&
            strcmp(bson_iter_utf8(&iter, NULL), "IDHACK") == 0) {
            mp_buf_text(name, "_id_");
            return true;
        }
        if ((BSON_ITER_HOLDS_DOCUMENT(&iter) || BSON_ITER_HOLDS_ARRAY(&iter)) && find_index(&iter, depth + 1, name))
            return true;
    }
    return false;
}

static void add_plan(mp_buf *out, const bson_t *reply, const bson_t *command) {
    bson_iter_t iter, plan;
    mp_buf text;
    mp_buf_init(&text);
    bool any = bson_iter_init(&iter, reply) && bson_iter_find_descendant(&iter, "queryPlanner.winningPlan", &plan) &&
               find_index(&plan, 0, &text);
    mp_buf_text(out, "\"index\":");
    if (any && !text.failed) mp_buf_json(out, text.data, text.len);
    else mp_buf_text(out, "null");
    out->failed |= text.failed;
    mp_buf_reset(&text);
    mp_mongodb_json(&text, command);
    mp_buf_text(out, ",\"statement\":");
    if (!text.failed) mp_buf_json(out, text.data, text.len);
    out->failed |= text.failed;
    mp_buf_free(&text);
}

int mp_mongodb_plan(mp_mongodb_pool *pool, const char *collection, const mp_query *query, mp_buf *out,
                    pond_error **err) {
    mp_mongodb_call call = {.pool = pool, .collection = collection, .err = err};
    statement s;
    statement_init(&s, query);
    const page p = {.query = query, .statement = &s};
    bson_t find = BSON_INITIALIZER;
    bson_append_utf8(&find, "find", -1, collection, -1);
    bson_append_document(&find, "filter", -1, &s.filter);
    append_page(&p, &find);
    mp_mongodb_collation(&find);
    int rc = s.ok ? mp_mongodb_begin(&call) : too_long(&call);
    for (bool well = false; rc == POND_OK && !well;) {
        bson_t command = BSON_INITIALIZER, reply;
        bson_error_t error = {0};
        bson_append_document(&command, "explain", -1, &find);
        bson_append_utf8(&command, "verbosity", -1, "queryPlanner", -1);
        bson_append_int64(&command, "maxTimeMS", -1, mp_mongodb_left_ms(&call));
        well = mongoc_client_command_with_opts(call.client, mp_mongodb_database(&call), &command, NULL, NULL, &reply,
                                               &error);
        if (well) add_plan(out, &reply, &find);
        else rc = mp_mongodb_again(&call, &error, &reply);
        bson_destroy(&reply);
        bson_destroy(&command);
    }
    mp_mongodb_end(&call);
    bson_destroy(&find);
    statement_free(&s);
    if (rc == POND_OK && out->failed) rc = mp_mongodb_fail(&call, POND_ENOMEM, 1, "no memory for a plan");
    return rc;
}

/* ---- indexes ---- */

enum { INDEX_EXISTS_OTHER_NAME = 85 };

static void append_index(bson_t *command, const mp_query_sort *field) {
    const char *name = mp_mongodb_field(&field->path);
    char index_name[MP_QUERY_NAME_MAX + 16];
    bson_t all, one, key;
    snprintf(index_name, sizeof index_name, "%s_%d__id_1", name, field->descending ? -1 : 1); /* as MongoDB would */
    bson_append_array_begin(command, "indexes", -1, &all);
    bson_append_document_begin(&all, "0", -1, &one);
    bson_append_document_begin(&one, "key", -1, &key);
    bson_append_int32(&key, name, -1, field->descending ? -1 : 1);
    bson_append_int32(&key, "_id", -1, 1);
    bson_append_document_end(&one, &key);
    bson_append_utf8(&one, "name", -1, index_name, -1);
    mp_mongodb_collation(&one);
    bson_append_document_end(&all, &one);
    bson_append_array_end(command, &all);
}

int mp_mongodb_index(mp_mongodb_pool *pool, const char *collection, const mp_query_sort *field, pond_error **err) {
    mp_mongodb_call call = {.pool = pool, .collection = collection, .err = err};
    if (field->path.is_id) return POND_OK; /* every collection has that one */
    int rc = mp_mongodb_begin(&call);
    for (bool well = false; rc == POND_OK && !well;) {
        bson_t command = BSON_INITIALIZER, reply;
        bson_error_t error = {0};
        /* Without maxTimeMS: the server goes on when our time is over, and the next call waits for the same index. */
        bson_append_utf8(&command, "createIndexes", -1, collection, -1);
        append_index(&command, field);
        well = mongoc_client_write_command_with_opts(call.client, mp_mongodb_database(&call), &command, NULL, &reply,
                                                     &error) ||
               error.code == INDEX_EXISTS_OTHER_NAME;
        if (!well) rc = mp_mongodb_again(&call, &error, &reply);
        bson_destroy(&reply);
        bson_destroy(&command);
    }
    mp_mongodb_end(&call);
    return rc;
}
