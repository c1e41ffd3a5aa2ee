/* How a query is answered. Everything that is asked of a document's fields can be asked of pond_match and pond_sort, which are
 * model/match.h behind SQL: one meaning, for a scan.
 *
 * A declared index on field p is one on (R(p), V(p), id), the rank and the value of what stands there: it filters and sorts every
 * type. It can speak for a field only while no row holds an array or object there (the field is *plain*), which each query asks of
 * the index first: one step in it. Then the field's conditions and its order are SQL. What an operand could mean beside what it
 * does mean here (10 is a number or the string "10") is asked of the index as well, and left out if no row has it: with an OR
 * between them SQLite could neither use the index's order nor count in it.
 *
 * A query is one read transaction, so all that it asks is true at one moment. */
#include "store/sqlite_find.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/quote.h"
#include "model/document.h"
#include "model/match.h"
#include "store/sqlite_expr.h"

/* ---- the functions ---- */

/* What they are handed, by sqlite3_bind_pointer. */
typedef struct asked {
    const mp_query *query;
    mp_matched problem;    /* why one of them stopped the statement */
    char id[MP_QUOTE_MAX]; /* and at which row */
} asked;

static const char pointer_type[] = "millpond query";

static mp_slice text_arg(sqlite3_value *v) {
    const char *text = (const char *)sqlite3_value_text(v);
    return (mp_slice){text ? text : "", text ? (size_t)sqlite3_value_bytes(v) : 0};
}

static void stop(sqlite3_context *ctx, asked *a, mp_matched why, mp_slice id) {
    if (a) {
        a->problem = why;
        mp_quote(a->id, id.data, id.len);
    }
    if (why == MP_MATCH_NOMEM) sqlite3_result_error_nomem(ctx);
    else sqlite3_result_error(ctx, "the query cannot be answered", -1);
}

static void match_function(sqlite3_context *ctx, int argc, sqlite3_value **argv) {
    (void)argc;
    asked *a = sqlite3_value_pointer(argv[2], pointer_type);
    mp_slice id = text_arg(argv[1]);
    mp_matched m = a ? mp_match(a->query, id, text_arg(argv[0])) : MP_MATCH_DAMAGED;
    if (m == MP_MATCH_YES || m == MP_MATCH_NO) sqlite3_result_int(ctx, m == MP_MATCH_YES);
    else stop(ctx, a, m, id);
}

static void sort_function(sqlite3_context *ctx, int argc, sqlite3_value **argv) {
    (void)argc;
    asked *a = sqlite3_value_pointer(argv[2], pointer_type);
    mp_slice id = text_arg(argv[1]);
    mp_buf key;
    mp_buf_init(&key);
    mp_matched m = a ? mp_match_sort_key(a->query, id, text_arg(argv[0]), &key) : MP_MATCH_DAMAGED;
    if (m == MP_MATCH_YES) sqlite3_result_blob64(ctx, key.data, key.len, SQLITE_TRANSIENT);
    else stop(ctx, a, m, id);
    mp_buf_free(&key);
}

int mp_sqlite_functions(sqlite3 *db) {
    int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY;
    int rc = sqlite3_create_function_v2(db, "pond_match", 3, flags, NULL, match_function, NULL, NULL, NULL);
    if (rc != SQLITE_OK) return rc;
    return sqlite3_create_function_v2(db, "pond_sort", 3, flags, NULL, sort_function, NULL, NULL, NULL);
}

/* ---- one query on one connection ---- */

/* Parameters of every statement: the query for the functions, the rows to skip, then what readings are compared with. */
enum { PARAM_QUERY = 1, PARAM_SKIP, PARAM_READINGS };

typedef struct text {
    mp_buf sql;
    const mp_query_reading **bound; /* in the order of their parameters; room for all of the query's */
    size_t bound_count;
} text;

/* A field that an index may speak for. */
typedef struct field {
    const mp_query_path *path;
    mp_buf rank, value;
    mp_buf index; /* the name of one of ours */
    bool plain;
    bool one_rank; /* the conditions leave values of one type */
} field;

typedef struct builder {
    mp_sqlite_conn *conn;
    const char *collection;
    const mp_query *query;
    pond_error **err;
    text main, probe;
    field *fields;
    size_t field_count;
    bool narrowed; /* an index finds the rows */
    asked asked;
} builder;

static int no_memory(const builder *b) {
    return mp_fail(b->err, POND_ENOMEM, "%.64s: no memory for a query", b->collection);
}

static int damaged(const builder *b, const char *id, const char *what) {
    if (b->err)
        *b->err = mp_error_new_retriable(POND_ESTORE, 0, "%.64s %s: %s: mend the row in the database", b->collection,
                                         id, what);
    return POND_ESTORE;
}

/* Something of SQLite's has just failed, perhaps because a function stopped it. */
static int failed(const builder *b) {
    switch (b->asked.problem) {
    case MP_MATCH_SORT_ARRAYS:
        return mp_fail_reason(
            b->err, POND_EQUERY, MP_QUERY_SORT_ARRAYS,
            "sort: two of the fields hold arrays in one document (%.64s %s), which has no order: sort by one "
            "of them",
            b->collection, b->asked.id);
    case MP_MATCH_DAMAGED: return damaged(b, b->asked.id, "what stands in the store is not a JSON object");
    default: return mp_sqlite_fail(b->err, b->conn, b->collection, NULL, 0);
    }
}

static int prepare(const builder *b, const mp_buf *sql, sqlite3_stmt **out) {
    if (sql->failed) return no_memory(b);
    return mp_sqlite_prepared(b->conn, sql->data, sql->len, out) == SQLITE_OK ? POND_OK : failed(b);
}

/* BEGIN, COMMIT. */
static int command(const builder *b, const char *sql) {
    sqlite3_stmt *statement;
    if (mp_sqlite_prepared(b->conn, sql, strlen(sql), &statement) != SQLITE_OK) return failed(b);
    int rc = sqlite3_step(statement) == SQLITE_DONE ? POND_OK : failed(b);
    mp_sqlite_done(statement);
    return rc;
}

static int begin(builder *b) {
    const mp_query *q = b->query;
    sqlite3_stmt *unused;
    size_t readings = 0;
    for (size_t i = 0; i < q->condition_count; i++) readings += q->conditions[i].reading_count;
    b->main.bound = calloc(readings + 1, sizeof *b->main.bound);
    b->probe.bound = calloc(readings + 1, sizeof *b->probe.bound);
    b->fields = calloc(q->condition_count + 1, sizeof *b->fields);
    if (!b->main.bound || !b->probe.bound || !b->fields) return no_memory(b);
    int rc = command(b, "BEGIN");
    /* Is there such a table, spelled like this? */
    return rc == POND_OK ? mp_sqlite_statement(b->conn, b->collection, MP_SQL_GET, &unused, b->err) : rc;
}

static void end(builder *b) {
    if (!sqlite3_get_autocommit(b->conn->db)) {
        const builder quiet = {.conn = b->conn, .collection = b->collection};
        command(&quiet,
                "COMMIT"); /* nothing was written; if it fails, the connection is tidied when it is given back */
    }
    for (size_t i = 0; i < b->field_count; i++) {
        mp_buf_free(&b->fields[i].rank);
        mp_buf_free(&b->fields[i].value);
        mp_buf_free(&b->fields[i].index);
    }
    free(b->fields);
    mp_buf_free(&b->main.sql);
    mp_buf_free(&b->probe.sql);
    free(b->main.bound);
    free(b->probe.bound);
}

static int bind_reading(sqlite3_stmt *statement, int at, const mp_query_reading *r) {
    switch (r->rank) {
    case MP_RANK_NUMBER:
        return r->is_real ? sqlite3_bind_double(statement, at, r->real) : sqlite3_bind_int64(statement, at, r->integer);
    case MP_RANK_STRING:
    case MP_RANK_OID: return sqlite3_bind_text(statement, at, r->text.data, (int)r->text.len, SQLITE_STATIC);
    default: return sqlite3_bind_int64(statement, at, r->integer);
    }
}

/* The statement of `t`, ready to step. */
static int ready(builder *b, const text *t, sqlite3_stmt **out) {
    int rc = prepare(b, &t->sql, out);
    if (rc != POND_OK) return rc;
    int last = sqlite3_bind_parameter_count(*out), bound = SQLITE_OK;
    if (last >= PARAM_QUERY) bound = sqlite3_bind_pointer(*out, PARAM_QUERY, &b->asked, pointer_type, NULL);
    if (bound == SQLITE_OK && last >= PARAM_SKIP) bound = sqlite3_bind_int64(*out, PARAM_SKIP, b->query->skip);
    for (size_t i = 0; i < t->bound_count && bound == SQLITE_OK; i++)
        bound = bind_reading(*out, PARAM_READINGS + (int)i, t->bound[i]);
    if (bound == SQLITE_OK) return POND_OK;
    rc = failed(b);
    mp_sqlite_done(*out);
    return rc;
}

static void add_table(mp_buf *sql, const char *collection) {
    mp_sqlite_add_quoted(sql, '"', collection, strlen(collection));
}

static void add_buf(mp_buf *to, const mp_buf *from) {
    mp_buf_add(to, from->data, from->len);
    to->failed |= from->failed;
}

/* ---- what an index knows ---- */

/* Does the field's index have a row for which b->probe, up to here the condition alone, is true? */
static int ask_index(builder *b, const field *f, const mp_buf *condition, bool *any) {
    sqlite3_stmt *statement;
    mp_buf *sql = &b->probe.sql;
    mp_buf_reset(sql);
    mp_buf_text(sql, "SELECT 1 FROM ");
    add_table(sql, b->collection);
    mp_buf_text(sql, " INDEXED BY ");
    mp_sqlite_add_quoted(sql, '"', f->index.data, f->index.len);
    mp_buf_text(sql, " WHERE ");
    add_buf(sql, condition);
    mp_buf_text(sql, " LIMIT 1");
    int rc = ready(b, &b->probe, &statement);
    if (rc != POND_OK) return rc;
    int step = sqlite3_step(statement);
    *any = step == SQLITE_ROW;
    if (step != SQLITE_ROW && step != SQLITE_DONE) rc = failed(b);
    mp_sqlite_done(statement);
    return rc;
}

/* Finds an index of ours on the field. Only one that was made by this very text will do. */
static int find_index(builder *b, field *f) {
    static const char sql[] = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND name IN (?1, ?2)";
    sqlite3_stmt *statement;
    mp_buf names[2], want;
    int step = SQLITE_OK, rc = POND_OK;
    mp_buf_init(&want);
    if (mp_sqlite_prepared(b->conn, sql, sizeof sql - 1, &statement) != SQLITE_OK) return failed(b);
    for (int i = 0; i < 2; i++) {
        mp_buf_init(&names[i]);
        mp_sqlite_add_index_name(&names[i], b->collection, f->path, i == 1);
        if (names[i].failed) rc = no_memory(b);
        else if (step == SQLITE_OK)
            step = sqlite3_bind_text(statement, i + 1, names[i].data, (int)names[i].len, SQLITE_STATIC);
    }
    if (rc == POND_OK && step == SQLITE_OK) step = sqlite3_step(statement);
    for (; rc == POND_OK && step == SQLITE_ROW; step = sqlite3_step(statement)) {
        const char *name = (const char *)sqlite3_column_text(statement, 0),
                   *made = (const char *)sqlite3_column_text(statement, 1);
        if (!name || !made) break;
        bool descending = strcmp(name, names[1].data) == 0;
        mp_buf_reset(&want);
        mp_sqlite_add_index(&want, b->collection, f->path, descending, &f->rank, &f->value);
        if (want.failed) rc = no_memory(b);
        else if (strcmp(made, want.data) == 0) {
            mp_buf_reset(&f->index);
            mp_buf_text(&f->index, name);
            if (f->index.failed) rc = no_memory(b);
        }
    }
    if (rc == POND_OK && step != SQLITE_DONE) rc = failed(b);
    mp_sqlite_done(statement);
    for (int i = 0; i < 2; i++) mp_buf_free(&names[i]);
    mp_buf_free(&want);
    return rc;
}

/* The field, if an index speaks for it; else NULL. */
static int indexed_field(builder *b, const mp_query_path *path, field **out) {
    *out = NULL;
    field *f = b->fields;
    for (size_t i = 0; i < b->field_count; i++, f++) {
        if (!mp_slice_is(f->path->name, path->name)) continue;
        if (f->plain) *out = f;
        return POND_OK;
    }
    b->field_count++;
    f->path = path;
    mp_sqlite_add_rank(&f->rank, path);
    mp_sqlite_add_value(&f->value, path);
    int rc = f->rank.failed || f->value.failed ? no_memory(b) : find_index(b, f);
    if (rc != POND_OK || f->index.len == 0) return rc;
    mp_buf condition;
    mp_buf_init(&condition);
    add_buf(&condition, &f->rank);
    mp_buf_printf(&condition, " IN (%d,%d)", MP_RANK_OBJECT, MP_RANK_ARRAY);
    bool other;
    b->probe.bound_count = 0;
    rc = ask_index(b, f, &condition, &other);
    mp_buf_free(&condition);
    f->plain = rc == POND_OK && !other;
    if (f->plain) *out = f;
    return rc;
}

/* ---- conditions ---- */

static void bind_later(text *t, mp_buf *sql, const mp_query_reading *r) {
    mp_buf_printf(sql, "?%zu", PARAM_READINGS + t->bound_count);
    t->bound[t->bound_count++] = r;
}

static const char *sign_of(mp_query_op op) {
    switch (op) {
    case MP_QUERY_GT: return ">";
    case MP_QUERY_GTE: return ">=";
    case MP_QUERY_LT: return "<";
    case MP_QUERY_LTE: return "<=";
    default: return "=";
    }
}

/* A run: the readings of one rank. R=2 AND V>?, or V=?, or V IN (?,..); null has no value. */
static void add_run(text *t, mp_buf *sql, const field *f, const mp_query_condition *c, size_t from, size_t to) {
    add_buf(sql, &f->rank);
    mp_buf_printf(sql, "=%d", (int)c->readings[from].rank);
    if (c->readings[from].rank == MP_RANK_NULL) return;
    mp_buf_text(sql, " AND ");
    add_buf(sql, &f->value);
    bool list = to - from > 1; /* a range has one reading of a rank */
    mp_buf_text(sql, list ? " IN (" : sign_of(c->op));
    for (size_t i = from; i < to; i++) {
        if (i > from) mp_buf_text(sql, ",");
        bind_later(t, sql, &c->readings[i]);
    }
    if (list) mp_buf_text(sql, ")");
}

static int run_is_there(builder *b, const field *f, const mp_query_condition *c, size_t from, size_t to, bool *any) {
    mp_buf condition;
    mp_buf_init(&condition);
    b->probe.bound_count = 0;
    add_run(&b->probe, &condition, f, c, from, to);
    int rc = ask_index(b, f, &condition, any);
    mp_buf_free(&condition);
    return rc;
}

static int add_condition(builder *b, field *f, const mp_query_condition *c) {
    mp_buf *sql = &b->main.sql;
    size_t runs = 0;
    mp_buf_text(sql, "(");
    for (size_t from = 0, to; from < c->reading_count; from = to) {
        for (to = from + 1; to < c->reading_count && c->readings[to].rank == c->readings[from].rank;) to++;
        bool there = true, only = from == 0 && to == c->reading_count;
        int rc = only ? POND_OK : run_is_there(b, f, c, from, to, &there);
        if (rc != POND_OK) return rc;
        if (!there) continue;
        if (runs++ > 0) mp_buf_text(sql, " OR ");
        add_run(&b->main, sql, f, c, from, to);
    }
    mp_buf_text(sql, runs > 0 ? ")" : "0)");
    f->one_rank |= runs <= 1;
    return POND_OK;
}

/* The id is a text: of other readings there is none. */
static void add_id_condition(text *t, const mp_query_condition *c) {
    mp_buf *sql = &t->sql;
    bool any = false, list = c->op == MP_QUERY_ANY_OF || c->op == MP_QUERY_NONE_OF;
    mp_buf_text(sql, c->op == MP_QUERY_NONE_OF ? "NOT (" : "(");
    for (size_t i = 0; i < c->reading_count; i++) {
        if (c->readings[i].rank != MP_RANK_STRING) continue;
        mp_buf_text(sql, any ? "," : list ? "id IN (" : "id");
        if (!list) mp_buf_text(sql, sign_of(c->op));
        bind_later(t, sql, &c->readings[i]);
        any = true;
    }
    mp_buf_text(sql, !any ? "0)" : list ? "))" : ")");
}

/* FROM and WHERE. What has no index is left to pond_match, which looks at the whole query. */
static int add_where(builder *b, bool page) {
    const mp_query *q = b->query;
    mp_buf *sql = &b->main.sql;
    bool rest = q->term_count > 0, by_id = false;
    const char *glue = " WHERE ";
    mp_buf_text(sql, " FROM ");
    add_table(sql, b->collection);
    for (size_t i = 0; i < q->condition_count; i++) {
        const mp_query_condition *c = &q->conditions[i];
        field *f = NULL;
        if (!c->path.is_id && c->op != MP_QUERY_NONE_OF) {
            int rc = indexed_field(b, &c->path, &f);
            if (rc != POND_OK) return rc;
        }
        if (!f && !c->path.is_id) {
            rest = true;
            continue;
        }
        mp_buf_text(sql, glue);
        glue = " AND ";
        if (c->path.is_id) {
            add_id_condition(&b->main, c);
            by_id |= c->op == MP_QUERY_ANY_OF;
        } else {
            int rc = add_condition(b, f, c);
            if (rc != POND_OK) return rc;
            b->narrowed = true;
        }
    }
    if (rest) {
        mp_buf_text(sql, glue);
        mp_buf_text(sql, "pond_match(doc,id,?1)");
    }
    /* One row needs no order, thinks SQLite, and would not ask whether it has one. */
    if (by_id && page && q->sort_count > 2) mp_buf_text(sql, " AND pond_sort(doc,id,?1) NOTNULL");
    return POND_OK;
}

/* ---- order ---- */

static int add_order(builder *b) {
    const mp_query *q = b->query;
    mp_buf *sql = &b->main.sql;
    const mp_query_sort *first = &q->sort[0];
    field *f = NULL;
    mp_buf_text(sql, " ORDER BY ");
    if (first->path.is_id) {
        /* After an index has found the rows, walking them by id would be the slower way: `+` keeps SQLite from it. */
        mp_buf_text(sql, b->narrowed ? "+id" : "id");
        mp_buf_text(sql, first->descending ? " DESC" : "");
        return POND_OK;
    }
    /* With more than two fields an array in two of them must be found out, wherever the document would stand. */
    if (q->sort_count <= 3) {
        int rc = indexed_field(b, &first->path, &f);
        if (rc != POND_OK) return rc;
    }
    if (f) {
        const char *way = first->descending ? " DESC," : ",";
        /* SQLite does not see that a rank which the conditions have fixed is in order, and would sort. */
        if (!f->one_rank) {
            add_buf(sql, &f->rank);
            mp_buf_text(sql, way);
        }
        add_buf(sql, &f->value);
        mp_buf_text(sql, way);
    }
    if (f && q->sort_count == 2) mp_buf_text(sql, q->sort[1].descending ? "id DESC" : "id");
    else mp_buf_text(sql, "pond_sort(doc,id,?1)");
    return POND_OK;
}

/* ---- a page ---- */

static int page_statement(builder *b, sqlite3_stmt **out) {
    mp_buf_text(&b->main.sql, "SELECT id");
    int rc = add_where(b, true);
    if (rc == POND_OK) rc = add_order(b);
    /* The limit as a number, for SQLite's plan depends on it; the rest of the text is the same for every page. */
    mp_buf_printf(&b->main.sql, " LIMIT %lld OFFSET ?%d", (long long)b->query->limit, PARAM_SKIP);
    return rc == POND_OK ? ready(b, &b->main, out) : rc;
}

/* Lengths and bytes of the ids, one after the other: they are read first and their documents then, so that a sort carries
 * ids only. */
static int read_ids(builder *b, sqlite3_stmt *statement, mp_buf *ids) {
    int step;
    while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
        mp_slice id = {(const char *)sqlite3_column_text(statement, 0), 0};
        if (!id.data && sqlite3_column_type(statement, 0) == SQLITE_NULL)
            return damaged(b, "NULL", "the table has a row without an id");
        if (!id.data) return failed(b);
        id.len = (size_t)sqlite3_column_bytes(statement, 0);
        mp_buf_add(ids, &id.len, sizeof id.len);
        mp_buf_add(ids, id.data, id.len);
        if (ids->failed) return no_memory(b);
    }
    return step == SQLITE_DONE ? POND_OK : failed(b);
}

static int add_document(builder *b, mp_slice id, mp_slice doc, mp_buf *out) {
    if (b->query->field_count) {
        b->asked.problem = mp_match_project(b->query, id, doc, out);
        mp_quote(b->asked.id, id.data, id.len);
        return b->asked.problem == MP_MATCH_YES     ? POND_OK
               : b->asked.problem == MP_MATCH_NOMEM ? no_memory(b)
                                                    : failed(b);
    }
    const mp_document_name name = {b->collection, id.data, id.len};
    pond_value *value;
    int rc = mp_document_unpack(&name, doc.data, doc.len, &value, b->err);
    if (rc != POND_OK) return rc;
    size_t len;
    const char *json = pond_value_data(value, &len);
    mp_buf_add(out, json, len);
    pond_value_free(value);
    return POND_OK;
}

static int read_document(builder *b, mp_slice id, mp_buf *out) {
    sqlite3_stmt *statement;
    char shown[MP_QUOTE_MAX];
    int rc = mp_sqlite_statement(b->conn, b->collection, MP_SQL_GET, &statement, b->err);
    if (rc != POND_OK) return rc;
    int step = sqlite3_bind_text(statement, 1, id.data, (int)id.len, SQLITE_STATIC);
    if (step == SQLITE_OK) step = sqlite3_step(statement);
    const char *doc = step == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : NULL;
    mp_quote(shown, id.data, id.len);
    if (doc) rc = add_document(b, id, (mp_slice){doc, (size_t)sqlite3_column_bytes(statement, 0)}, out);
    else if (step == SQLITE_DONE) rc = damaged(b, shown, "the id is not a text, so the row cannot be found by it");
    else if (step == SQLITE_ROW && sqlite3_column_type(statement, 0) == SQLITE_NULL)
        rc = damaged(b, shown, "doc is NULL");
    else rc = failed(b);
    mp_sqlite_done(statement);
    return rc;
}

static int read_page(builder *b, const mp_buf *ids, int64_t most, mp_buf *out, size_t *count) {
    size_t begin = out->len;
    mp_buf_text(out, "[");
    for (size_t at = 0; at < ids->len; ++*count) {
        mp_slice id;
        memcpy(&id.len, ids->data + at, sizeof id.len);
        id.data = ids->data + at + sizeof id.len;
        if (at) mp_buf_text(out, ",");
        int rc = read_document(b, id, out);
        if (rc != POND_OK) return rc;
        if (out->len - begin > (uint64_t)most)
            return mp_fail(
                b->err, POND_EVALUE,
                "%.64s: the page is over the limit (max_value is %lld bytes): ask for fewer documents or fields",
                b->collection, (long long)most);
        at += sizeof id.len + id.len;
    }
    mp_buf_text(out, "]");
    return out->failed ? no_memory(b) : POND_OK;
}

int mp_sqlite_find(mp_sqlite_conn *conn, const char *collection, const mp_query *query, int64_t most, mp_buf *out,
                   size_t *count, pond_error **err) {
    builder b = {.conn = conn, .collection = collection, .query = query, .err = err, .asked = {.query = query}};
    sqlite3_stmt *statement;
    mp_buf ids;
    mp_buf_init(&ids);
    *count = 0;
    int rc = begin(&b);
    if (rc == POND_OK) rc = page_statement(&b, &statement);
    if (rc == POND_OK) {
        rc = read_ids(&b, statement, &ids);
        mp_sqlite_done(statement);
    }
    if (rc == POND_OK) rc = read_page(&b, &ids, most, out, count);
    end(&b);
    mp_buf_free(&ids);
    return rc;
}

/* ---- the total ---- */

int mp_sqlite_count(mp_sqlite_conn *conn, const char *collection, const mp_query *query, int64_t *total,
                    pond_error **err) {
    builder b = {.conn = conn, .collection = collection, .query = query, .err = err, .asked = {.query = query}};
    sqlite3_stmt *statement;
    int rc = begin(&b);
    if (rc == POND_OK) {
        mp_buf_text(&b.main.sql, "SELECT count(*)");
        rc = add_where(&b, false);
    }
    if (rc == POND_OK) rc = ready(&b, &b.main, &statement);
    if (rc == POND_OK) {
        if (sqlite3_step(statement) == SQLITE_ROW) *total = sqlite3_column_int64(statement, 0);
        else rc = failed(&b);
        mp_sqlite_done(statement);
    }
    end(&b);
    return rc;
}

/* ---- the plan ---- */

/* "SEARCH films USING INDEX mp:films:rating (<expr>=?)" and its kin: the first index of ours that is named. */
static void add_index_used(mp_buf *out, sqlite3_stmt *plan) {
    while (sqlite3_step(plan) == SQLITE_ROW) {
        const char *detail = (const char *)sqlite3_column_text(plan, 3),
                   *at = detail ? strstr(detail, "INDEX mp:") : NULL;
        if (!at) continue;
        at += strlen("INDEX ");
        const char *end = strstr(at, " (<expr>");
        mp_buf_json(out, at, end ? (size_t)(end - at) : strlen(at));
        return;
    }
    mp_buf_text(out, "null");
}

int mp_sqlite_plan(mp_sqlite_conn *conn, const char *collection, const mp_query *query, mp_buf *out, pond_error **err) {
    builder b = {.conn = conn, .collection = collection, .query = query, .err = err, .asked = {.query = query}};
    sqlite3_stmt *statement, *plan;
    int rc = begin(&b);
    if (rc == POND_OK) rc = page_statement(&b, &statement);
    if (rc == POND_OK) {
        mp_buf sql;
        mp_buf_init(&sql);
        mp_buf_text(&sql, "EXPLAIN QUERY PLAN ");
        add_buf(&sql, &b.main.sql);
        rc = prepare(&b, &sql, &plan);
        if (rc == POND_OK) {
            mp_buf_text(out, "\"index\":");
            add_index_used(out, plan);
            mp_buf_text(out, ",\"statement\":");
            mp_buf_json(out, b.main.sql.data, b.main.sql.len);
            mp_sqlite_done(plan);
        }
        mp_buf_free(&sql);
        mp_sqlite_done(statement);
    }
    end(&b);
    return rc;
}

/* ---- declared indexes ---- */

typedef struct wanted_index {
    mp_buf name, sql;
} wanted_index;

static void describe(wanted_index *w, const char *collection, const mp_query_sort *f) {
    mp_buf rank, value;
    mp_buf_init(&rank);
    mp_buf_init(&value);
    mp_buf_init(&w->name);
    mp_buf_init(&w->sql);
    mp_sqlite_add_rank(&rank, &f->path);
    mp_sqlite_add_value(&value, &f->path);
    mp_sqlite_add_index_name(&w->name, collection, &f->path, f->descending);
    mp_sqlite_add_index(&w->sql, collection, &f->path, f->descending, &rank, &value);
    w->sql.failed |= rank.failed || value.failed || w->name.failed;
    mp_buf_free(&rank);
    mp_buf_free(&value);
}

/* 1: it stands as it should. 0: not, or otherwise. Negative: an error of SQLite. */
static int index_stands(mp_sqlite_conn *conn, const wanted_index *w) {
    static const char sql[] = "SELECT 1 FROM sqlite_schema WHERE type = 'index' AND name = ?1 AND sql = ?2";
    sqlite3_stmt *statement;
    if (mp_sqlite_prepared(conn, sql, sizeof sql - 1, &statement) != SQLITE_OK) return -1;
    int step = sqlite3_bind_text(statement, 1, w->name.data, (int)w->name.len, SQLITE_STATIC);
    if (step == SQLITE_OK) step = sqlite3_bind_text(statement, 2, w->sql.data, (int)w->sql.len, SQLITE_STATIC);
    if (step == SQLITE_OK) step = sqlite3_step(statement);
    mp_sqlite_done(statement);
    return step == SQLITE_ROW ? 1 : step == SQLITE_DONE ? 0 : -1;
}

static int run(mp_sqlite_conn *conn, const char *sql) {
    return sqlite3_exec(conn->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : -1;
}

static int drop_index(mp_sqlite_conn *conn, const wanted_index *w) {
    mp_buf sql;
    mp_buf_init(&sql);
    mp_buf_text(&sql, "DROP INDEX IF EXISTS ");
    mp_sqlite_add_quoted(&sql, '"', w->name.data, w->name.len);
    int rc = sql.failed ? -1 : run(conn, sql.data);
    mp_buf_free(&sql);
    return rc;
}

/* "malformed JSON" says nothing of where. */
static int index_failed(mp_sqlite_conn *conn, const char *collection, pond_error **err) {
    pond_error *why = NULL;
    int rc = mp_sqlite_fail(&why, conn, collection, NULL, 0);
    sqlite3_stmt *statement = NULL;
    mp_buf sql;
    mp_buf_init(&sql);
    mp_buf_text(&sql, "SELECT id FROM ");
    add_table(&sql, collection);
    mp_buf_text(&sql, " WHERE NOT json_valid(doc) LIMIT 1");
    if (rc == POND_ESTORE && !sql.failed && strstr(pond_error_message(why), "JSON") &&
        sqlite3_prepare_v2(conn->db, sql.data, (int)sql.len, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        const builder b = {.collection = collection, .err = err};
        char shown[MP_QUOTE_MAX];
        const char *id = (const char *)sqlite3_column_text(statement, 0);
        damaged(&b, mp_quote(shown, id ? id : "", id ? (size_t)sqlite3_column_bytes(statement, 0) : 0),
                "doc is not JSON");
        pond_error_free(why);
    } else if (err) *err = why;
    else pond_error_free(why);
    sqlite3_finalize(statement);
    mp_buf_free(&sql);
    return rc;
}

int mp_sqlite_index(mp_sqlite_conn *conn, const char *collection, const mp_query_sort *f, pond_error **err) {
    sqlite3_stmt *unused;
    wanted_index w;
    if (f->path.is_id) return POND_OK; /* the primary key */
    int rc = mp_sqlite_statement(conn, collection, MP_SQL_GET, &unused, err);
    if (rc != POND_OK) return rc;
    describe(&w, collection, f);
    if (w.sql.failed) rc = mp_fail(err, POND_ENOMEM, "%.64s: no memory for an index", collection);
    else {
        int stands = index_stands(conn, &w);
        /* Once more behind the lock: another process may be making it. */
        if (stands == 0) stands = run(conn, "BEGIN IMMEDIATE") == 0 ? index_stands(conn, &w) : -1;
        if (stands == 0) stands = drop_index(conn, &w);
        if (stands == 0) stands = run(conn, w.sql.data);
        if (stands < 0) rc = index_failed(conn, collection, err);
        else if (!sqlite3_get_autocommit(conn->db) && run(conn, "COMMIT") != 0)
            rc = index_failed(conn, collection, err);
    }
    mp_buf_free(&w.name);
    mp_buf_free(&w.sql);
    return rc; /* what is still open is rolled back when the connection is given back */
}
