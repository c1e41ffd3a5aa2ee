/* The documents of tests/spec/find.json: the films and the nasty ones. Included after sqlite_store.h or mongodb_store.h. */
#ifndef FIND_DATA_H
#define FIND_DATA_H

#include "query_support.h"

#include "model/document.h"

typedef struct document {
    char id[80];
    char *doc; /* in normal form, without the id */
    size_t len;
} document;

typedef struct documents {
    const char *collection;
    document *all;
    size_t count;
} documents;

static yyjson_doc *read_json(const char *path) {
    yyjson_read_err why;
    yyjson_doc *doc = yyjson_read_file(path, YYJSON_READ_NUMBER_AS_RAW, NULL, &why);
    if (doc == NULL) fail_msg("%s: %s", path, why.msg);
    return doc;
}

static void add_document(documents *to, const char *id, yyjson_val *value) {
    document *d = &to->all[to->count++];
    snprintf(d->id, sizeof d->id, "%s", id);
    const mp_document_name name = {to->collection, d->id, strlen(d->id)};
    size_t len;
    char *text = yyjson_val_write(value, 0, &len);
    ok(mp_document_pack(&name, text, len, &d->doc, &d->len, e));
    free(text);
}

/* The catalogue `times` over, "0000" to its end. */
static documents films(size_t times) {
    yyjson_doc *json = read_json(POND_TEST_ROOT "/examples/demo/data/movies.json");
    yyjson_val *list = yyjson_doc_get_root(json), *film;
    documents out = {.collection = "films", .all = calloc(times * yyjson_arr_size(list), sizeof(document))};
    assert_non_null(out.all);
    size_t i, max;
    char id[24];
    for (size_t round = 0; round < times; round++) yyjson_arr_foreach(list, i, max, film) {
            snprintf(id, sizeof id, times > 1 ? "%06zu" : "%04zu", out.count);
            add_document(&out, id, film);
        }
    yyjson_doc_free(json);
    return out;
}

static documents nasty(void) {
    yyjson_doc *json = read_json(POND_TEST_ROOT "/tests/spec/find.json");
    yyjson_val *list =
        yyjson_obj_get(yyjson_obj_get(yyjson_obj_get(yyjson_doc_get_root(json), "collections"), "nasty"), "docs");
    yyjson_val *one;
    documents out = {.collection = "nasty", .all = calloc(yyjson_arr_size(list), sizeof(document))};
    assert_non_null(out.all);
    size_t i, max;
    yyjson_arr_foreach(list, i, max, one) add_document(&out, yyjson_get_str(yyjson_obj_get(one, "id")), one);
    yyjson_doc_free(json);
    return out;
}

static void documents_free(documents *docs) {
    for (size_t i = 0; i < docs->count; i++) free(docs->all[i].doc);
    free(docs->all);
    *docs = (documents){0};
}

/* Declares an index; a name, or -name. */
static void declare(mp_store *s, const char *collection, const char *name) {
    char text[400];
    snprintf(text, sizeof text, "{\"sort\":\"%s\"}", name);
    mp_query *q = taken(text);
    ok(s->vt->index(s, collection, &q->sort[0], e));
    mp_query_free(q);
}

#endif
