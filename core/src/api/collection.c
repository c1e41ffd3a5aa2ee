/* Collections: documents and pages, blocking and on queues. */
#include <stdlib.h>
#include <string.h>

#include "api/check.h"
#include "api/start.h"
#include "base/error.h"
#include "pattern/collection.h"
#include "pattern/group.h"
#include "pattern/invalidate.h"
#include "pattern/store_call.h"
#include "pattern/wait.h"
#include <millpond/tags.h>

int pond_collection_new(pond_collection **out, pond *p, const char *name, const char *const *options, size_t n,
                        pond_error **err) {
    if (!out || (n && !options)) return mp_fail(err, POND_EMISUSE, "pond_collection_new: out or options is NULL");
    int code = mp_store_check(p, name, NULL, NULL, 0, err);
    return code == POND_OK ? mp_collection_new(out, p, name, options, n, err) : code;
}

pond_collection *pond_collection_ref(pond_collection *c) {
    if (c) mp_source_ref(&c->documents);
    return c;
}

void pond_collection_free(pond_collection *c) {
    if (c) mp_source_unref(&c->documents);
}

static int check(pond_collection *c, const char *const *ids, const size_t *lens, size_t n, pond_error **err) {
    if (!c) return mp_fail(err, POND_EMISUSE, "the collection is NULL");
    return mp_store_check(c->pond, c->name, ids, lens, n, err);
}

static int no_out(const char *function, pond_error **err) {
    return mp_fail(err, POND_EMISUSE, "%s: out is NULL", function);
}

/* The keys of many documents and, behind them, their names; one block. */
static mp_key *make_keys(pond_collection *c, const char *const *ids, const size_t *lens, size_t n) {
    size_t room = 0;
    char name[MP_NAME_MAX + 1];
    for (size_t i = 0; i < n; i++) room += c->document->ns_len + lens[i] + 3; /* ns:s and the NUL */
    mp_key *keys = malloc(n * sizeof *keys + room + 1);
    char *at = (char *)(keys + n);
    for (size_t i = 0; keys && i < n; i++) {
        mp_collection_key(c, &keys[i], name, ids[i], lens[i]);
        keys[i].name = memcpy(at, name, keys[i].len + 1);
        at += keys[i].len + 1;
    }
    return keys;
}

/* ---- documents ---- */

int pond_collection_get(pond_collection *c, const char *id, size_t len, pond_value **out, pond_error **err) {
    char name[MP_NAME_MAX + 1];
    mp_key key;
    if (!out) return no_out("pond_collection_get", err);
    int code = check(c, &id, &len, 1, err);
    if (code != POND_OK) return code;
    mp_collection_key(c, &key, name, id, len);
    if ((*out = mp_peek(c->pond, c->document, &key))) return POND_OK;
    const mp_ask ask = {.policy = c->document, .key = &key, .source = &c->documents};
    return mp_wait_read(c->pond, &ask, false, mp_source_loader, &c->documents, out, err);
}

int pond_collection_get_start(pond_collection *c, pond_queue *queue, const char *id, size_t len, uint64_t user,
                              pond_value **now, pond_request **request, pond_error **err) {
    char name[MP_NAME_MAX + 1];
    mp_key key;
    if (now) *now = NULL;
    int code = check(c, &id, &len, 1, err);
    if (code != POND_OK) return code;
    mp_collection_key(c, &key, name, id, len);
    if (now && (*now = mp_peek(c->pond, c->document, &key))) return POND_OK;
    const mp_ask ask = {.policy = c->document, .key = &key, .source = &c->documents};
    return mp_queue_read(c->pond, queue, &ask, user, request, err);
}

int pond_collection_get_many(pond_collection *c, const char *const *ids, const size_t *lens, size_t n, pond_value **out,
                             pond_error **err) {
    if (!out && n) return no_out("pond_collection_get_many", err);
    int code = check(c, ids, lens, n, err);
    if (code != POND_OK || n == 0) return code;
    mp_key *keys = make_keys(c, ids, lens, n);
    if (!keys) return mp_no_memory(err);
    const mp_many many = {.policy = c->document, .keys = keys, .n = n, .source = &c->documents};
    return mp_wait_many(c->pond, &many, NULL, NULL, out, err);
}

int pond_collection_get_many_start(pond_collection *c, pond_queue *queue, const char *const *ids, const size_t *lens,
                                   size_t n, uint64_t user, pond_error **err) {
    int code = check(c, ids, lens, n, err);
    if (code != POND_OK) return code;
    mp_key *keys = make_keys(c, ids, lens, n);
    if (!keys) return mp_no_memory(err);
    const mp_many many = {.policy = c->document, .keys = keys, .n = n, .source = &c->documents};
    return mp_queue_many(c->pond, queue, &many, user, NULL, err);
}

/* Keys without their namespace, as invalidation takes them. */
static const char **user_keys(const mp_key *keys, size_t n, size_t **lens) {
    const char **names = malloc(n * sizeof *names + 1);
    *lens = malloc(n * sizeof **lens + 1);
    for (size_t i = 0; names && *lens && i < n; i++) {
        names[i] = keys[i].name + keys[i].ns_len + 1;
        (*lens)[i] = keys[i].len - keys[i].ns_len - 1;
    }
    return names;
}

static int invalidate(pond_collection *c, pond_queue *queue, const char *const *ids, const size_t *lens, size_t n,
                      uint64_t user, pond_error **err) {
    int code = check(c, ids, lens, n, err);
    if (code != POND_OK) return code;
    mp_key *keys = make_keys(c, ids, lens, n);
    size_t *user_lens = NULL;
    const char **names = keys ? user_keys(keys, n, &user_lens) : NULL;
    if (!names || !user_lens) code = mp_no_memory(err);
    else if (queue)
        code = pond_invalidate_tagged_start(c->pond, queue, names, user_lens, n, c->document, c->pages, user, err);
    else code = pond_invalidate_tagged(c->pond, names, user_lens, n, c->document, c->pages, err);
    free(names);
    free(user_lens);
    free(keys);
    return code;
}

int pond_collection_invalidate(pond_collection *c, const char *const *ids, const size_t *lens, size_t n,
                               pond_error **err) {
    return invalidate(c, NULL, ids, lens, n, 0, err);
}

int pond_collection_invalidate_start(pond_collection *c, pond_queue *queue, const char *const *ids, const size_t *lens,
                                     size_t n, uint64_t user, pond_error **err) {
    if (!queue) return mp_fail(err, POND_EMISUSE, "the queue is NULL");
    return invalidate(c, queue, ids, lens, n, user, err);
}

/* ---- pages ---- */

static int new_find(mp_find **out, pond_collection *c, pond_query_form form, const char *query, size_t len,
                    pond_error **err) {
    int code = check(c, NULL, NULL, 0, err);
    return code == POND_OK ? mp_find_new(out, c, form, query, len, err) : code;
}

int pond_collection_find(pond_collection *c, pond_query_form form, const char *query, size_t len, pond_value **out,
                         pond_error **err) {
    mp_find *find;
    char name[MP_NAME_MAX + 1];
    mp_key key;
    if (!out) return no_out("pond_collection_find", err);
    int code = new_find(&find, c, form, query, len, err);
    if (code != POND_OK) return code;
    mp_find_key(find, &key, name);
    const mp_ask ask = {.policy = mp_find_policy(find), .key = &key, .tags = c->pages, .source = &find->source};
    *out = mp_peek_tagged(c->pond, ask.policy, &key, c->pages);
    if (!*out) code = mp_wait_read(c->pond, &ask, false, mp_source_loader, &find->source, out, err);
    mp_source_unref(&find->source);
    return code;
}

int pond_collection_find_start(pond_collection *c, pond_queue *queue, pond_query_form form, const char *query,
                               size_t len, uint64_t user, pond_value **now, pond_request **request, pond_error **err) {
    mp_find *find;
    char name[MP_NAME_MAX + 1];
    mp_key key;
    if (now) *now = NULL;
    int code = new_find(&find, c, form, query, len, err);
    if (code != POND_OK) return code;
    mp_find_key(find, &key, name);
    const mp_ask ask = {.policy = mp_find_policy(find), .key = &key, .tags = c->pages, .source = &find->source};
    if (!now || !(*now = mp_peek_tagged(c->pond, ask.policy, &key, c->pages)))
        code = mp_queue_read(c->pond, queue, &ask, user, request, err);
    mp_source_unref(&find->source);
    return code;
}

int pond_collection_explain(pond_collection *c, pond_query_form form, const char *query, size_t len, pond_value **out,
                            pond_error **err) {
    mp_find *find;
    if (!out) return no_out("pond_collection_explain", err);
    int code = new_find(&find, c, form, query, len, err);
    if (code != POND_OK) return code;
    code = mp_find_explain(find, out, err);
    mp_source_unref(&find->source);
    return code;
}

static int start_subject(pond_collection *c, pond_queue *queue, mp_store_kind kind, mp_source *subject, uint64_t user,
                         pond_error **err) {
    int code = mp_queue_enter(c->pond, queue, err);
    if (code != POND_OK) return code;
    const mp_store_args args = {.kind = kind, .subject = subject};
    return mp_queue_leave(queue, mp_store_call_start(queue->lane, &args, user), err);
}

int pond_collection_explain_start(pond_collection *c, pond_queue *queue, pond_query_form form, const char *query,
                                  size_t len, uint64_t user, pond_error **err) {
    mp_find *find;
    int code = new_find(&find, c, form, query, len, err);
    if (code != POND_OK) return code;
    code = start_subject(c, queue, MP_STORE_EXPLAIN, &find->source, user, err);
    mp_source_unref(&find->source);
    return code;
}

/* ---- the store's side ---- */

int pond_collection_prepare(pond_collection *c, pond_error **err) {
    int code = check(c, NULL, NULL, 0, err);
    return code == POND_OK ? mp_collection_prepare(c, err) : code;
}

int pond_collection_prepare_start(pond_collection *c, pond_queue *queue, uint64_t user, pond_error **err) {
    int code = check(c, NULL, NULL, 0, err);
    return code == POND_OK ? start_subject(c, queue, MP_STORE_PREPARE, &c->documents, user, err) : code;
}
