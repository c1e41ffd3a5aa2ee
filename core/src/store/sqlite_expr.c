#include "store/sqlite_expr.h"

#include <string.h>

#include "model/crc32c.h"

void mp_sqlite_add_quoted(mp_buf *sql, char quote, const char *text, size_t len) {
    mp_buf_add(sql, &quote, 1);
    for (const char *at; len > 0 && (at = memchr(text, quote, len)) != NULL; text = at + 1) {
        size_t n = (size_t)(at + 1 - text);
        mp_buf_add(sql, text, n);
        mp_buf_add(sql, &quote, 1);
        len -= n;
    }
    mp_buf_add(sql, text, len);
    mp_buf_add(sql, &quote, 1);
}

/* The JSON path of the first `n` parts, and what follows it, as a text of SQL: '$."a"."b"'. No part holds a `"` or `\`. */
static void add_path(mp_buf *sql, const mp_query_path *path, size_t n, const char *more) {
    mp_buf_text(sql, "'$");
    for (size_t i = 0; i < n; i++) {
        mp_buf_text(sql, ".\"");
        for (const char *at = path->parts[i].data, *end = at + path->parts[i].len; at < end;) {
            const char *quote = memchr(at, '\'', (size_t)(end - at));
            mp_buf_add(sql, at, (size_t)((quote ? quote : end) - at));
            if (quote) mp_buf_text(sql, "''");
            at = quote ? quote + 1 : end;
        }
        mp_buf_text(sql, "\"");
    }
    mp_buf_text(sql, more);
    mp_buf_text(sql, "'");
}

/* Adds `text` with each %p the path, %d that of a date below it, %o that of an ObjectId. */
static void add_with_paths(mp_buf *sql, const mp_query_path *path, const char *text) {
    for (const char *percent; (percent = strchr(text, '%')) != NULL; text = percent + 2) {
        mp_buf_add(sql, text, (size_t)(percent - text));
        add_path(sql, path, path->part_count,
                 percent[1] == 'd'   ? ".\"$date\".\"$numberLong\""
                 : percent[1] == 'o' ? ".\"$oid\""
                                     : "");
    }
    mp_buf_text(sql, text);
}

void mp_sqlite_add_rank(mp_buf *sql, const mp_query_path *path) {
    bool dotted = path->part_count > 1;
    for (size_t i = 1; i < path->part_count; i++) {
        mp_buf_text(sql, i == 1 ? "CASE WHEN 'array' IN (json_type(doc," : ",json_type(doc,");
        add_path(sql, path, i, "");
        mp_buf_text(sql, ")");
    }
    if (dotted) mp_buf_text(sql, ") THEN 5 ELSE ");
    add_with_paths(
        sql, path,
        "CASE json_type(doc,%p) WHEN 'integer' THEN 2 WHEN 'real' THEN 2 WHEN 'text' THEN 3 WHEN 'true' THEN 8 WHEN "
        "'false' THEN 8 WHEN 'array' THEN 5 WHEN 'object' THEN CASE 'text' WHEN json_type(doc,%d) THEN 9 WHEN "
        "json_type(doc,%o) THEN 7 ELSE 4 END ELSE 1 END");
    if (dotted) mp_buf_text(sql, " END");
}

void mp_sqlite_add_value(mp_buf *sql, const mp_query_path *path) {
    add_with_paths(
        sql, path,
        "CASE json_type(doc,%p) WHEN 'object' THEN CASE 'text' WHEN json_type(doc,%d) THEN CAST(json_extract(doc,%d) "
        "AS INTEGER) WHEN json_type(doc,%o) THEN json_extract(doc,%o) END WHEN 'array' THEN NULL ELSE "
        "json_extract(doc,%p) END");
}

void mp_sqlite_add_index_name(mp_buf *name, const char *collection, const mp_query_path *path, bool descending) {
    bool capitals = false;
    mp_buf_printf(name, "mp:%s:%s", collection, descending ? "-" : "");
    mp_buf_add(name, path->name.data, path->name.len);
    for (size_t i = 0; i < path->name.len; i++) capitals |= path->name.data[i] >= 'A' && path->name.data[i] <= 'Z';
    /* To SQLite the indexes of Rating and rating would have one name. */
    if (capitals) mp_buf_printf(name, ":%08x", (unsigned)mp_crc32c(path->name.data, path->name.len));
}

void mp_sqlite_add_index(mp_buf *sql, const char *collection, const mp_query_path *path, bool descending,
                         const mp_buf *rank, const mp_buf *value) {
    const char *way = descending ? " DESC," : ",";
    mp_buf name;
    mp_buf_init(&name);
    mp_sqlite_add_index_name(&name, collection, path, descending);
    mp_buf_text(sql, "CREATE INDEX ");
    if (name.failed) sql->failed = true;
    else mp_sqlite_add_quoted(sql, '"', name.data, name.len);
    mp_buf_text(sql, " ON ");
    mp_sqlite_add_quoted(sql, '"', collection, strlen(collection));
    mp_buf_text(sql, "(");
    mp_buf_add(sql, rank->data, rank->len);
    mp_buf_text(sql, way);
    mp_buf_add(sql, value->data, value->len);
    mp_buf_text(sql, way);
    mp_buf_text(sql, "id)");
    mp_buf_free(&name);
}
