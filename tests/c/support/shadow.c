#include "support/shadow.h"

#include "base/error.h"
#include "pattern/pond.h"

static shadow *of(mp_store *store) { return (shadow *)store; }

static int begin(shadow *s, atomic_int *count, atomic_int *fail, pond_error **err) {
    gate *began = s->began, *go = s->go;
    atomic_fetch_add(count, 1);
    if (began) gate_open(began);
    if (go) gate_wait(go, 10000);
    rest_ms(s->delay_ms);
    int code = fail ? atomic_load(fail) : POND_OK;
    return code ? mp_fail(err, code, "the store was told to fail") : POND_OK;
}

static void note(shadow *s, const char *id, size_t len) {
    char text[24];
    atomic_fetch_add(&s->documents, 1);
    snprintf(text, sizeof text, "%.*s", (int)len, id);
    unsigned long n = strtoul(text, NULL, 10);
    if (n < SHADOW_IDS) atomic_fetch_add(&s->read[n], 1);
}

static int create(mp_store *store, const char *collection, pond_error **err) {
    return of(store)->inner->vt->create(of(store)->inner, collection, err);
}

static int get(mp_store *store, const char *collection, const char *id, size_t len, pond_value **out,
               pond_error **err) {
    shadow *s = of(store);
    note(s, id, len);
    int code = begin(s, &s->gets, &s->fail_get, err);
    return code == POND_OK ? s->inner->vt->get(s->inner, collection, id, len, out, err) : code;
}

static int get_many(mp_store *store, const char *collection, const char *const *ids, const size_t *lens, size_t n,
                    pond_value **out, pond_error **err) {
    shadow *s = of(store);
    for (size_t i = 0; i < n; i++) note(s, ids[i], lens[i]);
    int code = begin(s, &s->get_manys, &s->fail_get, err);
    return code == POND_OK ? s->inner->vt->get_many(s->inner, collection, ids, lens, n, out, err) : code;
}

static int put(mp_store *store, const char *collection, const char *id, size_t len, const char *doc, size_t doc_len,
               pond_error **err) {
    return of(store)->inner->vt->put(of(store)->inner, collection, id, len, doc, doc_len, err);
}

static int remove_one(mp_store *store, const char *collection, const char *id, size_t len, bool *existed,
                      pond_error **err) {
    return of(store)->inner->vt->remove(of(store)->inner, collection, id, len, existed, err);
}

static int find(mp_store *store, const char *collection, const mp_query *query, mp_buf *out, size_t *count,
                pond_error **err) {
    shadow *s = of(store);
    int code = begin(s, &s->finds, &s->fail_find, err);
    return code == POND_OK ? s->inner->vt->find(s->inner, collection, query, out, count, err) : code;
}

static int count_all(mp_store *store, const char *collection, const mp_query *query, int64_t *total, pond_error **err) {
    shadow *s = of(store);
    gate *began = s->count_began, *go = s->count_go;
    if (began) gate_open(began);
    if (go) gate_wait(go, 10000);
    int code = begin(s, &s->counts, &s->fail_count, err);
    return code == POND_OK ? s->inner->vt->count(s->inner, collection, query, total, err) : code;
}

static int make_index(mp_store *store, const char *collection, const mp_query_sort *field, pond_error **err) {
    return of(store)->inner->vt->index(of(store)->inner, collection, field, err);
}

static int plan(mp_store *store, const char *collection, const mp_query *query, mp_buf *out, pond_error **err) {
    atomic_fetch_add(&of(store)->plans, 1);
    return of(store)->inner->vt->plan(of(store)->inner, collection, query, out, err);
}

static int make_ready(mp_store *store, mp_change *change, pond_error **err) {
    atomic_fetch_add(&of(store)->readies, 1);
    return of(store)->inner->vt->ready(of(store)->inner, change, err);
}

static mp_applied apply(mp_store *store, mp_change *change, pond_error **err) {
    shadow *s = of(store);
    void (*before)(void) = atomic_exchange(&s->before_apply, NULL);
    gate *began = s->apply_began, *go = s->apply_go;
    atomic_fetch_add(&s->applies, 1);
    if (before) before();
    if (began) gate_open(began);
    if (go) gate_wait(go, 10000);
    mp_applied applied = s->inner->vt->apply(s->inner, change, err);
    if (applied != MP_APPLIED || !atomic_exchange(&s->doubt, 0)) return applied;
    mp_fail(err, POND_ESTORE, "the store was told to leave it in doubt");
    return MP_IN_DOUBT;
}

static void discard(mp_store *store, mp_change *change) { of(store)->inner->vt->discard(of(store)->inner, change); }

static void close_store(mp_store *store) {
    of(store)->inner->vt->close(of(store)->inner);
    free(store);
}

static const mp_store_vt vt = {
    .scheme = "shadow",
    .create = create,
    .get = get,
    .get_many = get_many,
    .put = put,
    .remove = remove_one,
    .close = close_store,
    .codec = POND_EJSON,
    .find = find,
    .count = count_all,
    .index = make_index,
    .plan = plan,
    .ready = make_ready,
    .apply = apply,
    .discard = discard,
};

shadow *shadow_of(pond *p) {
    shadow *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->base.vt = &vt;
    s->inner = p->store;
    p->store = &s->base;
    return s;
}
