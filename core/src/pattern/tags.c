#include "pattern/tags.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/random.h"
#include "pattern/pond.h"

/* ---- the names ---- */

typedef struct name {
    const char *text;
    size_t len;
} name;

static int order(const void *a, const void *b) {
    const name *x = a, *y = b;
    size_t n = x->len < y->len ? x->len : y->len;
    int way = memcmp(x->text, y->text, n);
    return way ? way : (x->len > y->len) - (x->len < y->len);
}

/* Sorts, and drops what is there twice: the same tags in any order are the same. */
static size_t sort(name *names, size_t n) {
    size_t kept = 0;
    qsort(names, n, sizeof *names, order);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || order(&names[kept - 1], &names[i]) != 0) names[kept++] = names[i];
    return kept;
}

static int too_many(size_t n, pond_error **err) {
    return mp_fail(err, POND_EOPTION, "%zu tags are given: a value has at most %d: tag it by what is written together",
                   n, MP_TAGS_MAX);
}

int mp_tags_make(pond_tags **out, const char *ns, size_t ns_len, int64_t bound_ms, const char *const *tags,
                 const size_t *lens, size_t n, pond_error **err) {
    enum { GIVEN_MAX = 4 * MP_TAGS_MAX }; /* before those that are given twice have gone */
    name names[GIVEN_MAX];
    *out = NULL;
    if (n > GIVEN_MAX) return too_many(n, err);
    for (size_t i = 0; i < n; i++) names[i] = (name){tags[i], lens[i]};
    n = sort(names, n);
    if (n > MP_TAGS_MAX) return too_many(n, err);
    if (n == 0) return POND_OK;
    size_t room = 0;
    for (size_t i = 0; i < n; i++) room += ns_len + 1 + names[i].len + 1;
    pond_tags *made = malloc(sizeof *made + n * sizeof made->keys[0] + room);
    if (!made) return mp_fail(err, POND_ENOMEM, "no memory for tags");
    atomic_init(&made->refs, 1);
    made->n = (uint8_t)n;
    made->bound_ms = bound_ms;
    char *at = (char *)&made->keys[n];
    for (size_t i = 0; i < n; i++) {
        mp_key_make(&made->keys[i], at, ns, ns_len, names[i].text, names[i].len);
        at += made->keys[i].len + 1;
    }
    *out = made;
    return POND_OK;
}

int pond_tags_new(pond_tags **out, pond *p, const pond_policy *policy, const char *const *tags, const size_t *lens,
                  size_t n, pond_error **err) {
    if (!out || !p || (n && (!tags || !lens)))
        return mp_fail(err, POND_EMISUSE, "pond_tags_new: out, pond, tags or lens is NULL");
    int code = POND_OK;
    for (size_t i = 0; i < n && code == POND_OK; i++) code = mp_tag_check(tags[i], lens[i], err);
    if (code != POND_OK) return code;
    if (!policy) policy = p->defaults;
    return mp_tags_make(out, policy->options.namespace, policy->ns_len, 0, tags, lens, n, err);
}

pond_tags *pond_tags_ref(pond_tags *tags) {
    if (tags) atomic_fetch_add_explicit(&tags->refs, 1, memory_order_relaxed);
    return tags;
}

void pond_tags_free(pond_tags *tags) {
    if (tags && atomic_fetch_sub_explicit(&tags->refs, 1, memory_order_acq_rel) == 1) free(tags);
}

bool mp_tags_same(const pond_tags *a, const pond_tags *b) {
    if (a == b) return true;
    if (!a || !b || a->n != b->n || a->bound_ms != b->bound_ms) return false;
    for (size_t i = 0; i < a->n; i++) {
        const mp_key *x = &a->keys[i], *y = &b->keys[i];
        if (x->hash != y->hash || x->len != y->len || memcmp(x->name, y->name, x->len) != 0) return false;
    }
    return true;
}

/* ---- their part in a read ---- */

mp_tagging *mp_tagging_new(const pond_tags *tags, void *owner, void (*done)(mp_tagging *self)) {
    size_t bytes = (size_t)tags->n * MP_TAG_SIZE;
    mp_tagging *t = calloc(1, sizeof *t + tags->n * sizeof t->ops[0] + 2 * bytes);
    if (!t) return NULL;
    t->tags = pond_tags_ref((pond_tags *)tags);
    t->owner = owner;
    t->done = done;
    t->found = (uint8_t *)&t->ops[tags->n];
    t->now = t->found + bytes;
    return t;
}

void mp_tagging_one(mp_tagging *t) {
    if (--t->open == 0) t->done(t);
}

static void answered(mp_op *op) {
    mp_tagging *t = MP_OF(op, mp_tag_op, op)->owner;
    if (op->reply == MP_FAILED && !t->error) t->error = op->error;
    else pond_error_free(op->error);
    op->error = NULL;
    if (op->reply != MP_HIT) t->doubt = true;
    mp_tagging_one(t);
}

void mp_tagging_begin(mp_tagging *t, mp_lane *lane, mp_op_kind kind, int64_t ttl_ms, int64_t timeout_ms, size_t more) {
    t->lane = lane;
    t->doubt = false;
    t->open = t->tags->n + more + 1; /* one for mp_tagging_send: an operation may end before the next is submitted */
    for (size_t i = 0; i < t->tags->n; i++) {
        mp_tag_op *it = &t->ops[i];
        it->owner = t;
        it->op = (mp_op){.kind = kind,
                         .key = t->tags->keys[i],
                         .ttl_ms = ttl_ms,
                         .cut_ms = t->tags->bound_ms,
                         .timeout_ms = timeout_ms,
                         .generations = t->now + i * MP_TAG_SIZE,
                         .done = answered};
        if (kind == MP_TAG_MAKE) mp_random_bytes(it->op.token, MP_TOKEN_LEN);
    }
}

void mp_tagging_send(mp_tagging *t) {
    for (size_t i = 0; i < t->tags->n; i++) mp_lane_submit(t->lane, &t->ops[i].op);
    mp_tagging_one(t);
}

bool mp_tagging_same(const mp_tagging *t) {
    return !t->doubt && memcmp(t->found, t->now, (size_t)t->tags->n * MP_TAG_SIZE) == 0;
}

void mp_tagging_forget(mp_tagging *t, mp_op *own) {
    for (size_t i = 0; i < t->tags->n && t->open > 0; i++)
        if (t->ops[i].op.reply == MP_PENDING) mp_lane_forget(t->lane, &t->ops[i].op);
    t->open = 0;
    pond_error_free(t->error);
    t->error = NULL;
    if (own->reply == MP_PENDING) return;
    if (own->kind != MP_FILL) pond_value_free(own->value);
    pond_error_free(own->error);
    own->value = NULL;
    own->error = NULL;
}

void mp_tagging_free(mp_tagging *t) {
    if (!t) return;
    pond_tags_free(t->tags);
    pond_error_free(t->error);
    free(t);
}
