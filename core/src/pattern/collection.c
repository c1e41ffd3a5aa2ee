#include "pattern/collection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "pattern/load.h"
#include "pattern/pond.h"

enum { DOCUMENT_TTL_MS = 3600000 };

/* ---- documents ---- */

/* The document's id, out of the key of its load: 's' and the id. */
static const char *id_of(const pond_load *load, size_t *len) {
    const char *key = pond_load_key(load, len);
    (*len)--;
    return key + 1;
}

static void answer(pond_load *load, pond_value *value) {
    size_t len;
    const char *data = pond_value_data(value, &len);
    if (pond_value_state(value) == POND_ABSENT) pond_load_absent(load, 0);
    else pond_load_value(load, data, len, pond_value_codec(value), 0);
    pond_value_free(value);
}

static void fail_all(pond_load *const *loads, size_t n, pond_error *error) {
    for (size_t i = 0; i < n; i++) mp_load_fail_as(loads[i], pond_error_ref(error));
    pond_error_free(error);
}

static void load_documents(mp_source *source, pond_load *const *loads, size_t n) {
    pond_collection *c = (pond_collection *)source;
    mp_store *store = c->pond->store;
    pond_error *error = NULL;
    if (n == 1) {
        size_t len;
        const char *id = id_of(loads[0], &len);
        pond_value *value = NULL;
        if (store->vt->get(store, c->name, id, len, &value, &error) != POND_OK) fail_all(loads, 1, error);
        else answer(loads[0], value);
        return;
    }
    const char **ids = calloc(n, sizeof *ids);
    size_t *lens = calloc(n, sizeof *lens);
    pond_value **values = calloc(n, sizeof *values);
    if (!ids || !lens || !values) {
        fail_all(loads, n, mp_error_new(POND_ENOMEM, "no memory for a call to the store"));
    } else {
        for (size_t i = 0; i < n; i++) ids[i] = id_of(loads[i], &lens[i]);
        if (store->vt->get_many(store, c->name, ids, lens, n, values, &error) != POND_OK) fail_all(loads, n, error);
        else
            for (size_t i = 0; i < n; i++) answer(loads[i], values[i]);
    }
    free(ids);
    free(lens);
    free(values);
}

void mp_collection_key(const pond_collection *c, mp_key *key, char name[MP_NAME_MAX + 1], const char *id, size_t len) {
    char text[MP_KEY_MAX];
    text[0] = 's';
    memcpy(text + 1, id, len);
    mp_key_make(key, name, c->document->options.namespace, c->document->ns_len, text, len + 1);
}

/* ---- pages ---- */

/* The total of a query, through the cache under a key that all its pages share. */
static void load_total(pond_load *load, void *ctx) {
    mp_find *find = ctx;
    mp_store *store = find->collection->pond->store;
    pond_error *error = NULL;
    int64_t total = 0;
    if (store->vt->count(store, find->collection->name, find->query, &total, &error) != POND_OK) {
        mp_load_fail_as(load, error);
        return;
    }
    char text[24];
    int len = snprintf(text, sizeof text, "%lld", (long long)total);
    pond_load_value(load, text, (size_t)len, POND_JSON, 0);
}

static int total_of(mp_find *find, int64_t *total, pond_error **err) {
    char key[MP_QUERY_KEY_LEN + 1];
    pond_value *value = NULL;
    mp_query_total_key(find->query, key);
    int code = pond_fetch(find->collection->pond, key, MP_QUERY_KEY_LEN, mp_find_policy(find), load_total, find, &value, err);
    if (code != POND_OK) return code;
    *total = strtoll(pond_value_data(value, NULL), NULL, 10);
    pond_value_free(value);
    return POND_OK;
}

static void load_page(mp_source *source, pond_load *const *loads, size_t n) {
    mp_find *find = (mp_find *)source;
    pond_collection *c = find->collection;
    const mp_query *q = find->query;
    mp_store *store = c->pond->store;
    pond_error *error = NULL;
    int64_t total = 0;
    (void)n; /* one page, one load */
    mp_buf json;
    mp_buf_init(&json);
    mp_buf_text(&json, "{\"data\":");
    size_t before = json.len;
    int code = store->vt->find(store, c->name, q, &json, &error);
    bool empty = json.len - before <= 2; /* "[]" */
    if (code == POND_OK) code = total_of(find, &total, &error);
    if (code != POND_OK) {
        mp_buf_free(&json);
        mp_load_fail_as(loads[0], error);
        return;
    }
    mp_buf_printf(&json, ",\"total\":%lld,\"page\":%lld,\"pages\":%lld,\"limit\":%lld}", (long long)total, (long long)q->page,
                  (long long)((total + q->limit - 1) / q->limit), (long long)q->limit);
    if (json.failed) mp_load_fail_as(loads[0], mp_error_new(POND_ENOMEM, "no memory for a page"));
    else pond_load_value(loads[0], json.data, json.len, store->vt->codec, empty && !c->cache_empty ? POND_LOAD_UNCACHED : 0);
    mp_buf_free(&json);
}

static void find_destroy(mp_source *source) {
    mp_find *find = (mp_find *)source;
    mp_query_free(find->query);
    mp_source_unref(&find->collection->documents);
    free(find);
}

int mp_find_new(mp_find **out, pond_collection *c, pond_query_form form, const char *text, size_t len, pond_error **err) {
    mp_query *query = NULL;
    if (!text && len) return mp_fail(err, POND_EMISUSE, "the query is NULL");
    int code = form == POND_QUERY_TEXT     ? mp_query_parse_text(&query, c->bounds, text ? text : "", len, err)
               : form == POND_QUERY_OBJECT ? mp_query_parse_json(&query, c->bounds, text ? text : "", len, err)
                                           : mp_fail(err, POND_EMISUSE, "a query is POND_QUERY_TEXT or POND_QUERY_OBJECT");
    if (code != POND_OK) return code;
    mp_find *find = calloc(1, sizeof *find);
    if (!find) {
        mp_query_free(query);
        return mp_fail(err, POND_ENOMEM, "no memory for a query");
    }
    find->source = (mp_source){.refs = 1, .run = load_page, .destroy = find_destroy};
    mp_source_ref(&c->documents);
    find->collection = c;
    find->query = query;
    mp_query_key(query, find->key);
    *out = find;
    return POND_OK;
}

pond_policy *mp_find_policy(const mp_find *find) {
    return find->query->term_count ? find->collection->search : find->collection->page;
}

void mp_find_key(const mp_find *find, mp_key *key, char name[MP_NAME_MAX + 1]) {
    const pond_policy *policy = mp_find_policy(find);
    mp_key_make(key, name, policy->options.namespace, policy->ns_len, find->key, MP_QUERY_KEY_LEN);
}

int mp_find_explain(mp_find *find, pond_value **out, pond_error **err) {
    pond_collection *c = find->collection;
    char total[MP_QUERY_KEY_LEN + 1];
    size_t len;
    const char *canonical = mp_query_canonical(find->query, &len);
    const pond_policy *policy = mp_find_policy(find);
    pond_value *cached = NULL;
    mp_query_total_key(find->query, total);
    mp_buf json;
    mp_buf_init(&json);
    mp_buf_text(&json, "{\"canonical\":");
    mp_buf_json(&json, canonical, len);
    mp_buf_printf(&json, ",\"key\":\"%s\",\"total_key\":\"%s\",\"namespace\":", find->key, total);
    mp_buf_json(&json, policy->options.namespace, policy->ns_len);
    mp_buf_text(&json, ",");
    int code = c->pond->store->vt->plan(c->pond->store, c->name, find->query, &json, err);
    if (code == POND_OK) code = pond_explain(c->pond, find->key, MP_QUERY_KEY_LEN, policy, &cached, err);
    if (code != POND_OK) {
        mp_buf_free(&json);
        return code;
    }
    mp_buf_text(&json, ",\"cached\":");
    mp_buf_text(&json, pond_value_data(cached, NULL));
    mp_buf_text(&json, "}");
    pond_value_free(cached);
    if (json.failed) {
        mp_buf_free(&json);
        return mp_fail(err, POND_ENOMEM, "no memory to explain a query");
    }
    *out = mp_value_adopt(POND_JSON, json.data, json.len);
    return *out ? POND_OK : mp_fail(err, POND_ENOMEM, "no memory to explain a query");
}

/* ---- the collection ---- */

static void destroy(mp_source *source) {
    pond_collection *c = (pond_collection *)source;
    pond_policy_free(c->document);
    pond_policy_free(c->page);
    pond_policy_free(c->search);
    mp_query_bounds_free(c->bounds);
    mp_query_bounds_free(c->indexable);
    mp_query_free(c->indexes);
    free(c->name);
    pond_free(c->pond);
    free(c);
}

/* "a,-b" has the form of a query's sort, so it is read as one. */
static int read_indexes(pond_collection *c, const char *text, pond_error **err) {
    const mp_query_options any = {NULL};
    if (!text || !*text) return POND_OK;
    int code = mp_query_bounds_new(&c->indexable, &any, err);
    if (code != POND_OK) return code;
    mp_buf query;
    mp_buf_init(&query);
    mp_buf_text(&query, "{\"sort\":");
    mp_buf_json(&query, text, strlen(text));
    mp_buf_text(&query, "}");
    pond_error *why = NULL;
    code = query.failed ? POND_ENOMEM : mp_query_parse_json(&c->indexes, c->indexable, query.data, query.len, &why);
    mp_buf_free(&query);
    if (code != POND_OK)
        code = mp_fail(err, why && code == POND_EQUERY ? POND_EOPTION : POND_ENOMEM, "indexes: %s",
                       why ? pond_error_message(why) : "no memory");
    pond_error_free(why);
    return code;
}

/* The options of a collection: a policy's, whose own ttl is that of documents, and the bounds of its queries. */
static int read_options(pond_collection *c, const char *const *options, size_t n, pond_error **err) {
    pond *p = c->pond;
    pond_policy *given = NULL;
    int code = mp_policy_make(&given, p, &p->options, MP_SCOPE_POLICY | MP_SCOPE_COLLECTION, options, n, err);
    if (code != POND_OK) return code;
    const mp_options *o = &given->options;
    int64_t ttl = DOCUMENT_TTL_MS;
    for (size_t i = 0; i < n; i++)
        if (strcmp(options[2 * i], "ttl") == 0) ttl = o->ttl;
    char ns[2 * MP_NS_MAX + 4];
    int len = snprintf(ns, sizeof ns, "%s/%s?", o->namespace, c->name);
    if (len > MP_NS_MAX)
        code = mp_fail(err, POND_EOPTION, "namespace and collection \"%s/%s\" are %d bytes together: they may be %d", o->namespace,
                       c->name, len - 2, MP_NS_MAX - 2);
    if (code == POND_OK) code = mp_policy_in(&c->page, p, given, ns, o->find_ttl, err);
    if (code == POND_OK) code = mp_policy_in(&c->search, p, given, ns, o->search_ttl, err);
    ns[len > 0 && len < (int)sizeof ns ? len - 1 : 0] = 0;
    if (code == POND_OK) code = mp_policy_in(&c->document, p, given, ns, ttl, err);
    const mp_query_options bounds = {.filterable = o->filterable,
                                     .sortable = o->sortable,
                                     .searchable = o->searchable,
                                     .search_fields = o->search_fields,
                                     .default_limit = o->default_limit,
                                     .max_limit = o->max_limit};
    if (code == POND_OK) code = mp_query_bounds_new(&c->bounds, &bounds, err);
    if (code == POND_OK) code = read_indexes(c, o->indexes, err);
    c->cache_empty = o->cache_empty;
    pond_policy_free(given);
    return code;
}

int mp_collection_new(pond_collection **out, pond *p, const char *name, const char *const *options, size_t n,
                      pond_error **err) {
    pond_collection *c = calloc(1, sizeof *c);
    if (!c || !(c->name = strdup(name))) {
        free(c);
        return mp_fail(err, POND_ENOMEM, "no memory for a collection");
    }
    c->documents = (mp_source){.refs = 1, .run = load_documents, .destroy = destroy};
    c->pond = pond_ref(p);
    int code = read_options(c, options, n, err);
    if (code != POND_OK) {
        mp_source_unref(&c->documents);
        return code;
    }
    *out = c;
    return POND_OK;
}

int mp_collection_prepare(pond_collection *c, pond_error **err) {
    mp_store *store = c->pond->store;
    int code = store->vt->create(store, c->name, err);
    for (size_t i = 0; c->indexes && i + 1 < c->indexes->sort_count && code == POND_OK; i++)
        code = store->vt->index(store, c->name, &c->indexes->sort[i], err);
    return code;
}
