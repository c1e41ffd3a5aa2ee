#include "pattern/collection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/quote.h"
#include "model/duration.h"
#include "pattern/behind/backlog.h"
#include "pattern/behind/embedded.h"
#include "pattern/load.h"
#include "pattern/pond.h"
#include "pattern/read.h"
#include "pattern/behind/tally.h"
#include "pattern/wait.h"

enum {
    DOCUMENT_TTL_MS = 3600000,
    BOUND_MAX_MS = 3600000,
    EVENT_KEY_MAX = 120,
    NEGATIVE_LEAST_MS = 1000,
    REPLICAS_MAX = 16
};

/* ---- documents ---- */

/* The document's id, out of the key of its load: 's' and the id. */
static const char *id_of(const pond_load *load, size_t *len) {
    const char *key = pond_load_key(load, len);
    (*len)--;
    return key + 1;
}

static void fail_all(pond_load *const *loads, size_t n, pond_error *error) {
    for (size_t i = 0; i < n; i++) mp_load_fail_as(loads[i], pond_error_ref(error));
    pond_error_free(error);
}

/* The documents of all loads in one call to the store. The values are fresh, so their codec may be set. */
static int read_documents(pond_collection *c, pond_load *const *loads, size_t n, pond_value **values,
                          pond_error **err) {
    mp_store *store = c->pond->store;
    const char **ids = calloc(n, sizeof *ids);
    size_t *lens = calloc(n, sizeof *lens);
    int code = ids && lens ? POND_OK : mp_fail(err, POND_ENOMEM, "no memory for a call to the store");
    for (size_t i = 0; i < n && code == POND_OK; i++) ids[i] = id_of(loads[i], &lens[i]);
    if (code == POND_OK)
        code = n == 1 ? store->vt->get(store, c->name, ids[0], lens[0], values, err)
                      : store->vt->get_many(store, c->name, ids, lens, n, values, err);
    for (size_t i = 0; i < n && code == POND_OK; i++)
        if (pond_value_state(values[i]) == POND_VALUE) values[i]->codec = (uint8_t)store->vt->codec;
    free(ids);
    free(lens);
    return code;
}

/* Of a write-behind collection: with its version, and with what waits for the store and is known to nobody else (load->dirty, load->unfolded). */
static int read_versioned(pond_collection *c, const pond_load *load, pond_value **out, pond_error **err) {
    size_t len;
    int64_t version = 0;
    const char *id = id_of(load, &len);
    if (!load->unfolded)
        return mp_backlog_read(c->behind, id, len, load->dirty, load->dirty_version, out, &version, err);
    char name[MP_NAME_MAX + 1];
    mp_key key;
    mp_collection_key(c, &key, name, id, len);
    return mp_tally_read(c->behind, key.shard, name + key.ns_len + 1, key.len - key.ns_len - 1u, out, err);
}

static void load_versioned(pond_collection *c, pond_load *const *loads, size_t n) {
    for (size_t i = 0; i < n; i++) {
        pond_error *error = NULL;
        pond_value *value = NULL;
        if (read_versioned(c, loads[i], &value, &error) == POND_OK) mp_loads_answer(&loads[i], &value, 1);
        else mp_load_fail_as(loads[i], error);
    }
}

static void load_documents(mp_source *source, pond_load *const *loads, size_t n) {
    if (((pond_collection *)source)->behind) {
        load_versioned((pond_collection *)source, loads, n);
        return;
    }
    pond_error *error = NULL;
    pond_value *one = NULL, **values = n == 1 ? &one : calloc(n, sizeof *values);
    if (!values) fail_all(loads, n, mp_error_new(POND_ENOMEM, "no memory for a call to the store"));
    else if (read_documents((pond_collection *)source, loads, n, values, &error) != POND_OK) fail_all(loads, n, error);
    else mp_loads_answer(loads, values, n);
    if (values != &one) free(values);
}

void mp_collection_key(const pond_collection *c, mp_key *key, char name[MP_NAME_MAX + 1], const char *id, size_t len) {
    char text[MP_KEY_MAX];
    text[0] = 's';
    memcpy(text + 1, id, len);
    mp_policy_key(c->document, key, name, text, len + 1);
}

/* ---- pages ---- */

static int kind_of(const mp_find *find) { return find->query->term_count > 0; }
pond_policy *mp_find_policy(const mp_find *find) { return find->collection->page[kind_of(find)]; }

static void load_total(pond_load *load, void *ctx) {
    mp_find *find = ctx;
    pond_collection *c = find->collection;
    mp_store *store = c->pond->store;
    pond_error *error = NULL;
    int64_t total = 0;
    if (store->vt->count(store, c->name, find->query, &total, &error) != POND_OK) {
        mp_load_fail_as(load, error);
        return;
    }
    char text[24];
    int len = snprintf(text, sizeof text, "%lld", (long long)total);
    /* Where empty pages are not cached, what says that they are empty is not either. */
    pond_load_value(load, text, (size_t)len, POND_JSON, total == 0 && !c->cache_empty ? POND_LOAD_UNCACHED : 0);
}

/* The total of the query, through the cache under a key that all its pages share. */
static int shared_total(mp_find *find, const char *key, int64_t *total, pond_error **err) {
    pond_collection *c = find->collection;
    const pond_policy *policy = c->total[kind_of(find)];
    char name[MP_NAME_MAX + 1];
    mp_key k;
    pond_value *value = NULL;
    mp_key_make(&k, name, policy->options.namespace, policy->ns_len, key, MP_QUERY_KEY_LEN);
    const mp_ask ask = {.policy = policy, .key = &k, .tags = c->pages};
    value = mp_peek_tagged(c->pond, policy, &k, c->pages);
    int code = value ? POND_OK : mp_wait_read(c->pond, &ask, true, load_total, find, &value, err);
    if (code != POND_OK) return code;
    *total = strtoll(pond_value_data(value, NULL), NULL, 10);
    pond_value_free(value);
    return POND_OK;
}

/* The total, given the `count` documents of the page. */
static int total_of(mp_find *find, int64_t count, int64_t *total, pond_error **err) {
    const mp_query *q = find->query;
    char key[MP_QUERY_KEY_LEN + 1];
    const char *keys[] = {key};
    const size_t lens[] = {MP_QUERY_KEY_LEN};
    *total = q->skip + count;
    if (count < q->limit && (count > 0 || q->skip == 0)) return POND_OK; /* the last page knows */
    mp_query_total_key(q, key);
    int code = shared_total(find, key, total, err);
    if (code != POND_OK || (count > 0 ? *total >= q->skip + count : *total <= q->skip)) return code;
    /* It is older than the page, and can no longer be true. If it cannot be dropped, it is not cached either. */
    mp_wait_invalidate(find->collection->pond, find->collection->total[kind_of(find)], keys, lens, 1, NULL, true, NULL);
    return shared_total(find, key, total, err);
}

static void load_page(mp_source *source, pond_load *const *loads, size_t n) {
    mp_find *find = (mp_find *)source;
    pond_collection *c = find->collection;
    const mp_query *q = find->query;
    mp_store *store = c->pond->store;
    pond_error *error = NULL;
    int64_t total = 0;
    size_t count = 0;
    (void)n; /* one page, one load */
    mp_buf json;
    mp_buf_init(&json);
    mp_buf_text(&json, "{\"data\":");
    int code = store->vt->find(store, c->name, q, &json, &count, &error);
    if (code == POND_OK) code = total_of(find, (int64_t)count, &total, &error);
    if (code != POND_OK) {
        mp_buf_free(&json);
        mp_load_fail_as(loads[0], error);
        return;
    }
    mp_buf_printf(&json, ",\"total\":%lld,\"page\":%lld,\"pages\":%lld,\"limit\":%lld}", (long long)total,
                  (long long)q->page, (long long)((total + q->limit - 1) / q->limit), (long long)q->limit);
    bool uncached = count == 0 && !c->cache_empty;
    if (json.failed) mp_load_fail_as(loads[0], mp_error_new(POND_ENOMEM, "no memory for a page"));
    else pond_load_value(loads[0], json.data, json.len, store->vt->codec, uncached ? POND_LOAD_UNCACHED : 0);
    mp_buf_free(&json);
}

static void find_destroy(mp_source *source) {
    mp_find *find = (mp_find *)source;
    mp_query_free(find->query);
    mp_source_unref(&find->collection->documents);
    free(find);
}

int mp_find_new(mp_find **out, pond_collection *c, pond_query_form form, const char *text, size_t len,
                pond_error **err) {
    mp_query *query = NULL;
    if (!text && len) return mp_fail(err, POND_EMISUSE, "the query is NULL");
    int code = form == POND_QUERY_TEXT ? mp_query_parse_text(&query, c->bounds, text ? text : "", len, err)
               : form == POND_QUERY_OBJECT
                   ? mp_query_parse_json(&query, c->bounds, text ? text : "", len, err)
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

void mp_find_key(const mp_find *find, mp_key *key, char name[MP_NAME_MAX + 1]) {
    const pond_policy *policy = mp_find_policy(find);
    mp_key_make(key, name, policy->options.namespace, policy->ns_len, find->key, MP_QUERY_KEY_LEN);
}

/* What the cache knows of the page. That it cannot be asked is an answer, too. */
static int add_cached(mp_buf *json, mp_find *find, pond_error **err) {
    char name[MP_NAME_MAX + 1];
    mp_key key;
    pond_value *value = NULL;
    pond_error *why = NULL;
    mp_find_key(find, &key, name);
    int code = mp_wait_inspect(find->collection->pond, mp_find_policy(find), &key, true, &value, &why);
    if (code == POND_ECLOSED || code == POND_ENOMEM) {
        if (err) *err = why;
        else pond_error_free(why);
        return code;
    }
    mp_buf_text(json, ",\"cached\":");
    if (code == POND_OK) mp_buf_text(json, pond_value_data(value, NULL));
    else {
        const char *message = pond_error_message(why);
        mp_buf_text(json, "{\"error\":");
        mp_buf_json(json, message, strlen(message));
        mp_buf_text(json, "}");
    }
    pond_value_free(value);
    pond_error_free(why);
    return POND_OK;
}

int mp_find_explain(mp_find *find, pond_value **out, pond_error **err) {
    pond_collection *c = find->collection;
    char total[MP_QUERY_KEY_LEN + 1];
    size_t len;
    const char *canonical = mp_query_canonical(find->query, &len);
    const pond_policy *policy = mp_find_policy(find);
    mp_query_total_key(find->query, total);
    mp_buf json;
    mp_buf_init(&json);
    mp_buf_text(&json, "{\"canonical\":");
    mp_buf_json(&json, canonical, len);
    mp_buf_printf(&json, ",\"key\":\"%s\",\"total_key\":\"%s\",\"namespace\":", find->key, total);
    mp_buf_json(&json, policy->options.namespace, policy->ns_len);
    mp_buf_text(&json, ",");
    int code = c->pond->store->vt->plan(c->pond->store, c->name, find->query, &json, err);
    if (code == POND_OK) code = add_cached(&json, find, err);
    mp_buf_text(&json, "}");
    if (code == POND_OK && json.failed) code = mp_fail(err, POND_ENOMEM, "no memory to explain a query");
    if (code == POND_OK && !(*out = mp_value_new(POND_VALUE, POND_JSON, json.data, json.len)))
        code = mp_fail(err, POND_ENOMEM, "no memory to explain a query");
    mp_buf_free(&json);
    return code;
}

/* ---- the collection ---- */

static void destroy(mp_source *source) {
    pond_collection *c = (pond_collection *)source;
    pond_policy_free(c->document);
    for (int kind = 0; kind < 2; kind++) {
        pond_policy_free(c->page[kind]);
        pond_policy_free(c->total[kind]);
    }
    pond_tags_free(c->pages);
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

/* strict, or bounded(1s): the bound in ms, 0 if there is none. */
static int read_consistency(const char *text, int64_t *bound, pond_error **err) {
    static const char open[] = "bounded(";
    char number[24], shown[MP_QUOTE_MAX];
    size_t len = strlen(text), prefix = sizeof open - 1;
    *bound = 0;
    if (strcmp(text, "strict") == 0) return POND_OK;
    if (strncmp(text, open, prefix) == 0 && text[len - 1] == ')' && len - prefix - 1 < sizeof number) {
        memcpy(number, text + prefix, len - prefix - 1);
        number[len - prefix - 1] = 0;
        if (mp_duration_parse(number, bound) == MP_PARSE_OK && *bound >= 1 && *bound <= BOUND_MAX_MS) return POND_OK;
    }
    return mp_fail(err, POND_EOPTION,
                   "search_consistency: %s is neither strict nor bounded(...) with a time of 1ms to 1h in it: write "
                   "strict, or bounded(1s)",
                   mp_quote(shown, text, len));
}

/* The policies: documents in N/C, pages and totals in N/C?, the totals in a row of their own in the statistics, for what is hit
 * there is no page that was hit. */
static int make_policies(pond_collection *c, const pond_policy *given, int64_t ttl, pond_error **err) {
    const mp_options *o = &given->options;
    const int64_t ttls[] = {o->find_ttl, o->search_ttl};
    char ns[2 * MP_NS_MAX + 4], row[sizeof ns + 8];
    int len = snprintf(ns, sizeof ns, "%s/%s?", o->namespace, c->name);
    if (len > MP_NS_MAX)
        return mp_fail(err, POND_EOPTION, "namespace and collection \"%s/%s\" are %d bytes together: they may be %d",
                       o->namespace, c->name, len - 1, MP_NS_MAX - 1);
    snprintf(row, sizeof row, "%stotal", ns);
    static const char *const everything = "*";
    const size_t one = 1;
    int64_t bound;
    int code = read_consistency(o->search_consistency, &bound, err);
    if (code == POND_OK) code = mp_tags_make(&c->pages, ns, (size_t)len, bound, &everything, &one, 1, err);
    for (int kind = 0; kind < 2 && code == POND_OK; kind++) {
        code = mp_policy_in(&c->page[kind], c->pond, given, ns, ns, ttls[kind], err);
        if (code == POND_OK) code = mp_policy_in(&c->total[kind], c->pond, given, ns, row, ttls[kind], err);
        /* Who waits for it loads a page, and has as long as that. */
        if (code != POND_OK) continue;
        mp_options *total = &c->total[kind]->options;
        total->wait_timeout = o->load_timeout;
        total->grace = total->stale_if_error = total->early_refresh = 0; /* a new page tells a total as new as it is */
    }
    ns[len - 1] = 0;
    return code == POND_OK ? mp_policy_in(&c->document, c->pond, given, ns, ns, ttl, err) : code;
}

/* What is told of its changes. */
static int read_events(pond_collection *c, const mp_options *o, pond_error **err) {
    size_t len = strlen(o->event_key);
    if (len > EVENT_KEY_MAX)
        return mp_fail(err, POND_EOPTION, "event_key: %zu bytes: it may have %d", len, EVENT_KEY_MAX);
    for (const char *at = o->event_key; (at = strchr(at, '{')); at++)
        if (strncmp(at, "{collection}", 12) != 0 && strncmp(at, "{event}", 7) != 0)
            return mp_fail(err, POND_EOPTION, "event_key: %.40s is no placeholder: write {collection} or {event}", at);
    for (const char *at = o->event_key; (at = strstr(at, "{collection}")); at++) len += strlen(c->name);
    if (len > 255) /* what AMQP can carry */
        return mp_fail(err, POND_EOPTION,
                       "event_key: with the collection's name in it it has %zu bytes: it may have 255", len);
    c->tells = mp_notifier_is_open(&c->pond->notifier) && strcmp(o->event_key, "off") != 0;
    c->outbox = o->outbox;
    if (c->outbox && !c->tells)
        return mp_fail(err, POND_EOPTION,
                       "outbox: there is nowhere to deliver from it to: open the pond with events=, and "
                       "leave event_key as it is");
    if (c->outbox && !c->pond->store->vt->outbox_take)
        return mp_fail(err, POND_EOPTION, "outbox: the store %s: has none: leave it off, or use its own change streams",
                       c->pond->store->vt->scheme);
    return POND_OK;
}

/* memory, fsync, or replicas(2): 0, MP_ON_DISK, or how many. */
static int read_ack(pond_collection *c, const mp_options *o, pond_error **err) {
    static const char open[] = "replicas(";
    char shown[MP_QUOTE_MAX], *rest;
    const char *text = o->ack, *number = text + sizeof open - 1;
    if (strcmp(text, "memory") == 0) return POND_OK;
    if (strcmp(text, "fsync") == 0) {
        c->ack = MP_ON_DISK;
    } else if (strncmp(text, open, sizeof open - 1) == 0 && *number >= '1' && *number <= '9') {
        long n = strtol(number, &rest, 10);
        if (strcmp(rest, ")") == 0 && n <= REPLICAS_MAX) c->ack = (int)n;
    }
    if (!c->ack)
        return mp_fail(err, POND_EOPTION,
                       "ack: %s is not memory, fsync or replicas(...) with 1 to %d in it: write replicas(1)",
                       mp_quote(shown, text, strlen(text)), REPLICAS_MAX);
    if (o->write == MP_WRITE_BEHIND) return POND_OK;
    return mp_fail(err, POND_EOPTION, "ack=%s: it is for collections that are written behind: set write=behind, too",
                   text);
}

/* write=behind. What its documents are read by is the backlog as much as the store, so nothing goes past the cache, and nothing past its
 * time is served. */
static int set_behind(pond_collection *c, pond_error **err) {
    pond *p = c->pond;
    mp_options *o = &c->document->options;
    int code = read_ack(c, o, err);
    if (code != POND_OK || o->write != MP_WRITE_BEHIND) return code;
    if (p->cache->vt->peek) {
        char *path = NULL;
        code = mp_embedded_path(&path, &p->options, err);
        free(path);
        if (code != POND_OK) return code;
        if (c->ack > 0)
            return mp_fail(err, POND_EOPTION,
                           "ack: a memory: cache has no replicas: write ack=fsync, which waits for the disk, or "
                           "ack=memory");
    }
    if (!p->store->vt->behind_flush)
        return mp_fail(err, POND_EOPTION, "write=behind: the store %s: cannot do it", p->store->vt->scheme);
    if (!p->options.fence)
        return mp_fail(err, POND_EOPTION, "write=behind: it needs the fence: open the pond without fence=off");
    if (c->tells)
        return mp_fail(err, POND_EOPTION,
                       "write=behind: its changes are not told of: set event_key=off for this collection");
    o->when_cache_down = MP_CACHE_DOWN_ERROR;
    o->when_wait_ends = MP_WAIT_ENDS_ERROR;
    o->grace = o->stale_if_error = o->early_refresh = 0;
    if (o->negative_ttl < NEGATIVE_LEAST_MS) o->negative_ttl = NEGATIVE_LEAST_MS; /* a create asks for the absence */
    o->negative_max = INT32_MAX;
    c->document->shards = MP_BACKLOG_SHARDS;
    c->behind = mp_backlog_of(p, c->name, c->document, c->pages);
    return c->behind ? POND_OK : mp_fail(err, POND_ENOMEM, "no memory for a collection");
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
    const mp_query_options bounds = {.filterable = o->filterable,
                                     .sortable = o->sortable,
                                     .searchable = o->searchable,
                                     .search_fields = o->search_fields,
                                     .default_limit = o->default_limit,
                                     .max_limit = o->max_limit};
    code = make_policies(c, given, ttl, err);
    if (code == POND_OK) code = mp_query_bounds_new(&c->bounds, &bounds, err);
    if (code == POND_OK) code = read_indexes(c, o->indexes, err);
    c->cache_empty = o->cache_empty;
    if (code == POND_OK) code = read_events(c, o, err);
    if (code == POND_OK) code = set_behind(c, err);
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
    if (c->outbox) mp_notifier_watch(&p->notifier);
    if (c->behind && p->options.worker) mp_drain_start(c->behind);
    *out = c;
    return POND_OK;
}

int mp_collection_prepare(pond_collection *c, pond_error **err) {
    mp_store *store = c->pond->store;
    int code = store->vt->create(store, c->name, err);
    if (code == POND_OK && c->outbox) code = store->vt->outbox_prepare(store, err);
    for (size_t i = 0; c->indexes && i + 1 < c->indexes->sort_count && code == POND_OK; i++)
        code = store->vt->index(store, c->name, &c->indexes->sort[i], err);
    return code == POND_OK && c->behind ? mp_collection_ready(c, err) : code;
}

int mp_collection_ready(pond_collection *c, pond_error **err) {
    int code = mp_backlog_open(c->behind, err);
    if (code != POND_OK || c->ack != MP_ON_DISK || atomic_load(&c->ack_known)) return code;
    bool at_once = false;
    code = mp_backlog_on_disk(c->behind, &at_once, err);
    if (code != POND_OK) return code;
    atomic_store(&c->ack_at_once, at_once);
    atomic_store(&c->ack_known, true);
    return code;
}
