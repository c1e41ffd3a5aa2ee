/* An index on field p is one on (R(p), V(p), id): the rank and the value of what stands there, so one index filters and sorts
 * every type. It speaks for a field only while no row holds an array or object there (the field is *plain*); that is looked
 * up at each query, which costs one step in the index. Then the field's conditions and order are SQL. Everything else, and every
 * field without an index, is pond_match and pond_sort: one meaning, in C (a scan of 100,000 documents with them takes about a
 * third of the time of the same in json_extract). */
#include "store/sqlite_find.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "model/document.h"
#include "model/match.h"

/* What the functions are handed, by sqlite3_bind_pointer. */
typedef struct asked {
    const mp_query *query;
    mp_matched problem; /* why a function stopped the statement */
} asked;

static const char pointer_type[] = "millpond query";

static mp_slice text_arg(sqlite3_value *v) {
    const char *text = (const char *)sqlite3_value_text(v);
    return (mp_slice){text ? text : "", text ? (size_t)sqlite3_value_bytes(v) : 0};
}

static void stop(sqlite3_context *ctx, asked *a, mp_matched why) {
    if (a) a->problem = why;
    if (why == MP_MATCH_NOMEM) sqlite3_result_error_nomem(ctx);
    else sqlite3_result_error(ctx, "the query cannot be answered", -1);
}

static void match_function(sqlite3_context *ctx, int argc, sqlite3_value **argv) {
    (void)argc;
    asked *a = sqlite3_value_pointer(argv[2], pointer_type);
    mp_matched m = a ? mp_match(a->query, text_arg(argv[1]), text_arg(argv[0])) : MP_MATCH_DAMAGED;
    if (m == MP_MATCH_YES || m == MP_MATCH_NO) sqlite3_result_int(ctx, m == MP_MATCH_YES);
    else stop(ctx, a, m);
}

static void sort_function(sqlite3_context *ctx, int argc, sqlite3_value **argv) {
    (void)argc;
    asked *a = sqlite3_value_pointer(argv[2], pointer_type);
    mp_buf key;
    mp_buf_init(&key);
    mp_matched m = a ? mp_match_sort_key(a->query, text_arg(argv[1]), text_arg(argv[0]), &key) : MP_MATCH_DAMAGED;
    if (m == MP_MATCH_YES) sqlite3_result_blob64(ctx, key.data, key.len, SQLITE_TRANSIENT);
    else stop(ctx, a, m);
    mp_buf_free(&key);
}

int mp_sqlite_functions(sqlite3 *db) {
    int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY;
    int rc = sqlite3_create_function_v2(db, "pond_match", 3, flags, NULL, match_function, NULL, NULL, NULL);
    if (rc != SQLITE_OK) return rc;
    return sqlite3_create_function_v2(db, "pond_sort", 3, flags, NULL, sort_function, NULL, NULL, NULL);
}

/* ---- SQL text ---- */

static void quoted(mp_buf *sql, char quote, const char *text, size_t len) {
    mp_buf_add(sql, &quote, 1);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == quote) mp_buf_add(sql, &quote, 1);
        mp_buf_add(sql, text + i, 1);
    }
    mp_buf_add(sql, &quote, 1);
}

static void table(mp_buf *sql, const char *collection) { quoted(sql, '"', collection, strlen(collection)); }

/* The JSON path of the first `n` parts, and what follows it, as an SQL text: '$."a"."b"'. No part holds a `"` or `\`. */
static void json_path(mp_buf *sql, const mp_query_path *path, size_t n, const char *more) {
    mp_buf text;
    mp_buf_init(&text);
    mp_buf_text(&text, "$");
    for (size_t i = 0; i < n; i++) {
        mp_buf_text(&text, ".\"");
        mp_buf_add(&text, path->parts[i].data, path->parts[i].len);
        mp_buf_text(&text, "\"");
    }
    mp_buf_text(&text, more);
    if (text.failed) sql->failed = true;
    else quoted(sql, '\'', text.data, text.len);
    mp_buf_free(&text);
}

/* Adds `parts` with each %p the path, %d the path of a date below it, %o that of an ObjectId. */
static void with_paths(mp_buf *sql, const mp_query_path *path, const char *parts) {
    for (; *parts; parts++) {
        if (*parts != '%') mp_buf_add(sql, parts, 1);
        else switch (*++parts) {
            case 'p': json_path(sql, path, path->part_count, ""); break;
            case 'd': json_path(sql, path, path->part_count, ".\"$date\".\"$numberLong\""); break;
            default: json_path(sql, path, path->part_count, ".\"$oid\""); break;
            }
    }
}

/* R(p): the rank of what stands at the path. An index is used only where the text is the same, so here and nowhere else. */
static void rank_sql(mp_buf *sql, const mp_query_path *path) {
    bool dotted = path->part_count > 1;
    if (dotted) {
        mp_buf_text(sql, "CASE WHEN 'array' IN (");
        for (size_t i = 1; i < path->part_count; i++) {
            mp_buf_text(sql, i > 1 ? ",json_type(doc," : "json_type(doc,");
            json_path(sql, path, i, "");
            mp_buf_text(sql, ")");
        }
        mp_buf_text(sql, ") THEN 5 ELSE ");
    }
    with_paths(sql, path,
               "CASE json_type(doc,%p) WHEN 'integer' THEN 2 WHEN 'real' THEN 2 WHEN 'text' THEN 3 WHEN 'true' THEN 8 WHEN "
               "'false' THEN 8 WHEN 'array' THEN 5 WHEN 'object' THEN CASE 'text' WHEN json_type(doc,%d) THEN 9 WHEN "
               "json_type(doc,%o) THEN 7 ELSE 4 END ELSE 1 END");
    if (dotted) mp_buf_text(sql, " END");
}

/* V(p): its value, for the types that have one. */
static void value_sql(mp_buf *sql, const mp_query_path *path) {
    with_paths(sql, path,
               "CASE json_type(doc,%p) WHEN 'object' THEN coalesce(CAST(json_extract(doc,%d) AS INTEGER),json_extract(doc,%o)) "
               "WHEN 'array' THEN NULL ELSE json_extract(doc,%p) END");
}

static void index_name(mp_buf *out, const char *collection, const mp_query_path *path) {
    mp_buf_printf(out, "mp:%s:", collection);
    mp_buf_add(out, path->name.data, path->name.len);
}

/* ---- one query on one connection ---- */

typedef struct builder {
    mp_sqlite_conn *conn;
    const char *collection;
    const mp_query *query;
    mp_buf sql;
    const mp_query_reading **bound; /* in the order of their ?s; the first parameter is the query itself */
    size_t bound_count;
    bool narrowed; /* an index finds the rows */
    asked asked;
} builder;

static int no_memory(const builder *b, pond_error **err) {
    return mp_fail(err, POND_ENOMEM, "%.64s: no memory for a query", b->collection);
}

static int failed(builder *b, pond_error **err) {
    switch (b->asked.problem) {
    case MP_MATCH_SORT_ARRAYS:
        return mp_fail_reason(err, POND_EQUERY, MP_QUERY_SORT_ARRAYS,
                              "sort: two of the fields hold arrays in one document of %.64s, which has no order: sort by one of them",
                              b->collection);
    case MP_MATCH_DAMAGED:
        if (err)
            *err = mp_error_new_retriable(POND_ESTORE, 0, "%.64s: a row's doc is not a JSON object: mend it in the database", b->collection);
        return POND_ESTORE;
    default: return mp_sqlite_fail(err, b->conn, b->collection, NULL, 0);
    }
}

static int prepare(builder *b, const mp_buf *sql, sqlite3_stmt **out, pond_error **err) {
    if (sql->failed) return no_memory(b, err);
    if (sqlite3_prepare_v2(b->conn->db, sql->data, (int)sql->len, out, NULL) == SQLITE_OK) return POND_OK;
    return failed(b, err);
}

/* Runs a statement of one row at most: whether there is one. */
static int any_row(builder *b, const mp_buf *sql, bool *any, pond_error **err) {
    sqlite3_stmt *statement;
    int rc = prepare(b, sql, &statement, err);
    if (rc != POND_OK) return rc;
    int step = sqlite3_step(statement);
    *any = step == SQLITE_ROW;
    if (step != SQLITE_ROW && step != SQLITE_DONE) rc = failed(b, err);
    sqlite3_finalize(statement);
    return rc;
}

/* Has the field an index of ours, and only plain values? */
static int plain(builder *b, const mp_query_path *path, bool *yes, pond_error **err) {
    mp_buf name, sql;
    bool other = false;
    *yes = false;
    if (path->is_id) return POND_OK;
    mp_buf_init(&name);
    mp_buf_init(&sql);
    index_name(&name, b->collection, path);
    mp_buf_text(&sql, "SELECT 1 FROM sqlite_schema WHERE type='index' AND name=");
    if (name.failed) sql.failed = true;
    else quoted(&sql, '\'', name.data, name.len);
    int rc = any_row(b, &sql, yes, err);
    if (rc == POND_OK && *yes) {
        mp_buf_reset(&sql);
        mp_buf_text(&sql, "SELECT 1 FROM ");
        table(&sql, b->collection);
        mp_buf_text(&sql, " INDEXED BY ");
        quoted(&sql, '"', name.data, name.len);
        mp_buf_text(&sql, " WHERE ");
        rank_sql(&sql, path);
        mp_buf_text(&sql, " IN (4,5) LIMIT 1");
        rc = any_row(b, &sql, &other, err);
        *yes = !other;
    }
    mp_buf_free(&name);
    mp_buf_free(&sql);
    return rc;
}

static void bind_later(builder *b, const mp_query_reading *r) {
    b->bound[b->bound_count++] = r;
    mp_buf_printf(&b->sql, "?%zu", b->bound_count + 1);
}

static const char *operator_sql(mp_query_op op) {
    switch (op) {
    case MP_QUERY_GT: return ">";
    case MP_QUERY_GTE: return ">=";
    case MP_QUERY_LT: return "<";
    default: return "<=";
    }
}

/* A run of readings of one rank: V op ?, or V IN (?,..). */
static void readings_sql(builder *b, const mp_query_condition *c, size_t from, size_t to) {
    mp_buf_printf(&b->sql, "(");
    rank_sql(&b->sql, &c->path);
    mp_buf_printf(&b->sql, "=%d", (int)c->readings[from].rank);
    if (c->readings[from].rank != MP_RANK_NULL) {
        mp_buf_text(&b->sql, " AND ");
        value_sql(&b->sql, &c->path);
        if (c->op != MP_QUERY_ANY_OF) mp_buf_text(&b->sql, operator_sql(c->op));
        else mp_buf_text(&b->sql, " IN (");
        for (size_t i = from; i < to; i++) {
            if (i > from) mp_buf_text(&b->sql, ",");
            bind_later(b, &c->readings[i]);
        }
        if (c->op == MP_QUERY_ANY_OF) mp_buf_text(&b->sql, ")");
    }
    mp_buf_text(&b->sql, ")");
}

static void condition_sql(builder *b, const mp_query_condition *c) {
    mp_buf_text(&b->sql, "(");
    for (size_t from = 0, to; from < c->reading_count; from = to) {
        /* A range has one reading of a rank, so runs are for eq and in. */
        for (to = from + 1; to < c->reading_count && c->readings[to].rank == c->readings[from].rank; to++) {}
        if (from) mp_buf_text(&b->sql, " OR ");
        readings_sql(b, c, from, to);
    }
    if (!c->reading_count) mp_buf_text(&b->sql, "0");
    mp_buf_text(&b->sql, ")");
}

static void id_sql(builder *b, const mp_query_condition *c) {
    bool any = false, list = c->op == MP_QUERY_ANY_OF || c->op == MP_QUERY_NONE_OF;
    mp_buf_text(&b->sql, c->op == MP_QUERY_NONE_OF ? "NOT (" : "(");
    for (size_t i = 0; i < c->reading_count; i++) {
        if (c->readings[i].rank != MP_RANK_STRING) continue;
        if (any) mp_buf_text(&b->sql, ",");
        else if (list) mp_buf_text(&b->sql, "id IN (");
        else mp_buf_printf(&b->sql, "id%s", operator_sql(c->op));
        bind_later(b, &c->readings[i]);
        any = true;
    }
    mp_buf_text(&b->sql, !any ? "0)" : list ? "))" : ")");
}

/* FROM and WHERE. */
static int where_sql(builder *b, pond_error **err) {
    const mp_query *q = b->query;
    bool rest = q->term_count > 0;
    const char *glue = " WHERE ";
    mp_buf_text(&b->sql, " FROM ");
    table(&b->sql, b->collection);
    for (size_t i = 0; i < q->condition_count; i++) {
        const mp_query_condition *c = &q->conditions[i];
        bool indexed = false;
        if (!c->path.is_id && c->op != MP_QUERY_NONE_OF) {
            int rc = plain(b, &c->path, &indexed, err);
            if (rc != POND_OK) return rc;
        }
        if (!indexed && !c->path.is_id) {
            rest = true;
            continue;
        }
        mp_buf_text(&b->sql, glue);
        glue = " AND ";
        if (c->path.is_id) id_sql(b, c);
        else condition_sql(b, c);
        b->narrowed |= indexed;
    }
    if (rest) {
        mp_buf_text(&b->sql, glue);
        mp_buf_text(&b->sql, "pond_match(doc,id,?1)");
    }
    return POND_OK;
}

static int order_sql(builder *b, pond_error **err) {
    const mp_query *q = b->query;
    const mp_query_sort *first = &q->sort[0];
    bool indexed = false;
    mp_buf_text(&b->sql, " ORDER BY ");
    if (first->path.is_id) {
        /* After an index has found the rows, walking them by id would be the slower way: `+` keeps SQLite from it. */
        mp_buf_text(&b->sql, b->narrowed ? "+id" : "id");
        if (first->descending) mp_buf_text(&b->sql, " DESC");
        return POND_OK;
    }
    if (q->sort_count == 2) {
        int rc = plain(b, &first->path, &indexed, err);
        if (rc != POND_OK) return rc;
    }
    if (!indexed) {
        mp_buf_text(&b->sql, "pond_sort(doc,id,?1)");
        return POND_OK;
    }
    const char *way = first->descending ? " DESC," : ",";
    rank_sql(&b->sql, &first->path);
    mp_buf_text(&b->sql, way);
    value_sql(&b->sql, &first->path);
    mp_buf_text(&b->sql, way);
    mp_buf_text(&b->sql, q->sort[1].descending ? "id DESC" : "id");
    return POND_OK;
}

static int bind(sqlite3_stmt *statement, int at, const mp_query_reading *r) {
    switch (r->rank) {
    case MP_RANK_NUMBER:
        return r->is_real ? sqlite3_bind_double(statement, at, r->real) : sqlite3_bind_int64(statement, at, r->integer);
    case MP_RANK_STRING:
    case MP_RANK_OID: return sqlite3_bind_text(statement, at, r->text.data, (int)r->text.len, SQLITE_STATIC);
    default: return sqlite3_bind_int64(statement, at, r->integer);
    }
}

/* The statement, ready to step. `page`: the ids of one page; else the count. */
static int build(builder *b, bool page, sqlite3_stmt **out, pond_error **err) {
    mp_buf_text(&b->sql, page ? "SELECT id" : "SELECT count(*)");
    int rc = where_sql(b, err);
    if (rc == POND_OK && page) rc = order_sql(b, err);
    if (page) mp_buf_printf(&b->sql, " LIMIT %lld OFFSET %lld", (long long)b->query->limit, (long long)b->query->skip);
    if (rc == POND_OK) rc = prepare(b, &b->sql, out, err);
    if (rc != POND_OK) return rc;
    int bound = SQLITE_OK;
    if (sqlite3_bind_parameter_count(*out) > 0) bound = sqlite3_bind_pointer(*out, 1, &b->asked, pointer_type, NULL);
    for (size_t i = 0; i < b->bound_count && bound == SQLITE_OK; i++) bound = bind(*out, (int)i + 2, b->bound[i]);
    if (bound == SQLITE_OK) return POND_OK;
    rc = failed(b, err);
    sqlite3_finalize(*out);
    return rc;
}

static int begin(builder *b, mp_sqlite_conn *conn, const char *collection, const mp_query *query, pond_error **err) {
    size_t readings = 0;
    for (size_t i = 0; i < query->condition_count; i++) readings += query->conditions[i].reading_count;
    *b = (builder){.conn = conn, .collection = collection, .query = query, .asked = {.query = query}};
    mp_buf_init(&b->sql);
    b->bound = calloc(readings + 1, sizeof *b->bound);
    if (!b->bound) return no_memory(b, err);
    if (sqlite3_exec(conn->db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK) return POND_OK;
    return failed(b, err);
}

static void end(builder *b) {
    if (!sqlite3_get_autocommit(b->conn->db)) sqlite3_exec(b->conn->db, "COMMIT", NULL, NULL, NULL);
    mp_buf_free(&b->sql);
    free(b->bound);
}

/* ---- the documents of a page ---- */

/* Lengths and bytes of the ids, one after the other: they are read first and their documents then, so that a sort carries
 * ids only. */
static int read_ids(builder *b, sqlite3_stmt *statement, mp_buf *ids, pond_error **err) {
    int step;
    while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
        mp_slice id = {(const char *)sqlite3_column_text(statement, 0), 0};
        if (!id.data) return failed(b, err);
        id.len = (size_t)sqlite3_column_bytes(statement, 0);
        mp_buf_add(ids, &id.len, sizeof id.len);
        mp_buf_add(ids, id.data, id.len);
        if (ids->failed) return no_memory(b, err);
    }
    return step == SQLITE_DONE ? POND_OK : failed(b, err);
}

static int add_document(builder *b, mp_slice id, mp_slice doc, mp_buf *out, pond_error **err) {
    if (b->query->field_count) {
        b->asked.problem = mp_match_project(b->query, id, doc, out);
        return b->asked.problem == MP_MATCH_YES ? POND_OK : b->asked.problem == MP_MATCH_NOMEM ? no_memory(b, err) : failed(b, err);
    }
    const mp_document_name name = {b->collection, id.data, id.len};
    pond_value *value;
    int rc = mp_document_unpack(&name, doc.data, doc.len, &value, err);
    if (rc != POND_OK) return rc;
    size_t len;
    const char *text = pond_value_data(value, &len);
    mp_buf_add(out, text, len);
    pond_value_free(value);
    return POND_OK;
}

static int read_document(builder *b, mp_slice id, mp_buf *out, pond_error **err) {
    sqlite3_stmt *statement;
    int rc = mp_sqlite_statement(b->conn, b->collection, MP_SQL_GET, &statement, err);
    if (rc != POND_OK) return rc;
    int step = sqlite3_bind_text(statement, 1, id.data, (int)id.len, SQLITE_STATIC);
    if (step == SQLITE_OK) step = sqlite3_step(statement);
    const char *doc = step == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : NULL;
    if (doc) rc = add_document(b, id, (mp_slice){doc, (size_t)sqlite3_column_bytes(statement, 0)}, out, err);
    else rc = failed(b, err);
    mp_sqlite_done(statement);
    return rc;
}

static int read_page(builder *b, const mp_buf *ids, mp_buf *out, pond_error **err) {
    mp_buf_text(out, "[");
    for (size_t at = 0; at < ids->len;) {
        mp_slice id;
        memcpy(&id.len, ids->data + at, sizeof id.len);
        id.data = ids->data + at + sizeof id.len;
        if (at) mp_buf_text(out, ",");
        int rc = read_document(b, id, out, err);
        if (rc != POND_OK) return rc;
        at += sizeof id.len + id.len;
    }
    mp_buf_text(out, "]");
    return out->failed ? no_memory(b, err) : POND_OK;
}

int mp_sqlite_find(mp_sqlite_conn *conn, const char *collection, const mp_query *query, mp_buf *out, pond_error **err) {
    builder b;
    sqlite3_stmt *statement;
    mp_buf ids;
    mp_buf_init(&ids);
    int rc = begin(&b, conn, collection, query, err);
    if (rc == POND_OK) rc = build(&b, true, &statement, err);
    if (rc == POND_OK) {
        rc = read_ids(&b, statement, &ids, err);
        sqlite3_finalize(statement);
    }
    if (rc == POND_OK) rc = read_page(&b, &ids, out, err);
    end(&b);
    mp_buf_free(&ids);
    return rc;
}

int mp_sqlite_count(mp_sqlite_conn *conn, const char *collection, const mp_query *query, int64_t *total, pond_error **err) {
    builder b;
    sqlite3_stmt *statement;
    int rc = begin(&b, conn, collection, query, err);
    if (rc == POND_OK) rc = build(&b, false, &statement, err);
    if (rc == POND_OK) {
        if (sqlite3_step(statement) == SQLITE_ROW) *total = sqlite3_column_int64(statement, 0);
        else rc = failed(&b, err);
        sqlite3_finalize(statement);
    }
    end(&b);
    return rc;
}

/* ---- the plan, and indexes ---- */

/* "SEARCH films USING INDEX mp:films:imdb_rating (<expr>=?)" and its kin: the first index of ours that is named. */
static void add_index_used(mp_buf *out, sqlite3_stmt *plan) {
    while (sqlite3_step(plan) == SQLITE_ROW) {
        const char *detail = (const char *)sqlite3_column_text(plan, 3), *at = detail ? strstr(detail, "INDEX mp:") : NULL;
        if (!at) continue;
        at += strlen("INDEX ");
        const char *stop_at = strstr(at, " (");
        mp_buf_json(out, at, stop_at ? (size_t)(stop_at - at) : strlen(at));
        return;
    }
    mp_buf_text(out, "null");
}

int mp_sqlite_plan(mp_sqlite_conn *conn, const char *collection, const mp_query *query, mp_buf *out, pond_error **err) {
    builder b;
    sqlite3_stmt *statement, *plan;
    int rc = begin(&b, conn, collection, query, err);
    if (rc == POND_OK) rc = build(&b, true, &statement, err);
    if (rc == POND_OK) {
        mp_buf sql;
        mp_buf_init(&sql);
        mp_buf_text(&sql, "EXPLAIN QUERY PLAN ");
        mp_buf_text(&sql, sqlite3_sql(statement));
        rc = prepare(&b, &sql, &plan, err);
        if (rc == POND_OK) {
            mp_buf_text(out, "\"index\":");
            add_index_used(out, plan);
            mp_buf_text(out, ",\"statement\":");
            mp_buf_json(out, sqlite3_sql(statement), strlen(sqlite3_sql(statement)));
            sqlite3_finalize(plan);
        }
        mp_buf_free(&sql);
        sqlite3_finalize(statement);
    }
    end(&b);
    return rc;
}

int mp_sqlite_index(mp_sqlite_conn *conn, const char *collection, const mp_query_sort *field, pond_error **err) {
    if (field->path.is_id) return POND_OK; /* the primary key */
    mp_buf sql, name;
    mp_buf_init(&sql);
    mp_buf_init(&name);
    index_name(&name, collection, &field->path);
    mp_buf_text(&sql, "CREATE INDEX IF NOT EXISTS ");
    if (name.failed) sql.failed = true;
    else quoted(&sql, '"', name.data, name.len);
    mp_buf_text(&sql, " ON ");
    table(&sql, collection);
    mp_buf_text(&sql, "(");
    rank_sql(&sql, &field->path);
    mp_buf_text(&sql, ",");
    value_sql(&sql, &field->path);
    mp_buf_text(&sql, ",id)");
    int rc = POND_OK;
    if (sql.failed) rc = mp_fail(err, POND_ENOMEM, "%.64s: no memory for an index", collection);
    else if (sqlite3_exec(conn->db, sql.data, NULL, NULL, NULL) != SQLITE_OK) rc = mp_sqlite_fail(err, conn, collection, NULL, 0);
    mp_buf_free(&sql);
    mp_buf_free(&name);
    return rc;
}
