#include "layer.h"

#include <stdlib.h>
#include <string.h>

#include "cache/redis.h"
#include "pattern/pond.h"

typedef struct layer {
    mp_cache cache; /* first */
    mp_cache_vt vt;
    mp_cache *below;
    layer_kind kind;
} layer;

typedef struct layer_link {
    mp_link link; /* first */
    layer *layer;
    mp_link *below;
} layer_link;

/* An operation that is falsified. */
typedef struct passing {
    mp_node node;
    mp_op *op;
    void (*done)(mp_op *op);
    layer_link *link;
    mp_op probe; /* LAYER_FENCE: goes ahead of it */
    bool probing;
} passing;

static mp_node all = {&all, &all}; /* of the program: it has one thread */

static passing *find(const mp_op *op) {
    for (mp_node *n = all.next; n != &all; n = n->next)
        if (MP_OF(n, passing, node)->op == op) return MP_OF(n, passing, node);
    return NULL;
}

static passing *pass(layer_link *l, mp_op *op) {
    passing *p = calloc(1, sizeof *p);
    if (!p) abort();
    *p = (passing){.op = op, .done = op->done, .link = l};
    mp_list_init(&p->node);
    mp_list_push(&all, &p->node);
    return p;
}

static void take_away(passing *p) {
    p->op->done = p->done;
    mp_list_remove(&p->node);
    free(p);
}

static void refusal_denied(mp_op *op) {
    take_away(find(op));
    if (op->reply == MP_REFUSED) op->reply = MP_STORED;
    op->done(op);
}

/* The connection stands by now, and its fence is known: what is sent next goes under that. */
static void probed(mp_op *probe) {
    passing *p = MP_OF(probe, passing, probe);
    layer_link *l = p->link;
    mp_op *op = p->op;
    pond_value_free(probe->value);
    pond_error_free(probe->error);
    take_away(p);
    memcpy(op->fence, ((mp_redis *)l->layer->below)->node[0].fence.now, MP_FENCE_LEN);
    l->below->vt->submit(l->below, op);
}

static void submit(mp_link *link, mp_op *op) {
    layer_link *l = (layer_link *)link;
    if (op->kind == MP_FILL && l->layer->kind == LAYER_SHARE) {
        pass(l, op);
        op->done = refusal_denied;
    } else if (op->kind == MP_FILL && l->layer->kind == LAYER_FENCE) {
        passing *p = pass(l, op);
        p->probing = true;
        p->probe = (mp_op){.kind = MP_GET, .key = op->key, .timeout_ms = op->timeout_ms, .done = probed};
        op->reply = MP_PENDING;
        op = &p->probe;
    }
    l->below->vt->submit(l->below, op);
}

static void forget(mp_link *link, mp_op *op) {
    layer_link *l = (layer_link *)link;
    passing *p = find(op);
    if (p && p->probing) op = &p->probe;
    l->below->vt->forget(l->below, op);
    if (p) take_away(p);
}

static bool unsent(mp_link *link, const mp_op *op) {
    layer_link *l = (layer_link *)link;
    return l->below->vt->unsent(l->below, op);
}

static mp_link *link_open(mp_cache *cache, mp_loop *loop) {
    layer *l = (layer *)cache;
    layer_link *link = malloc(sizeof *link);
    if (!link) abort();
    *link = (layer_link){.link.vt = &l->vt, .layer = l, .below = l->below->vt->link_open(l->below, loop)};
    return &link->link;
}

static void link_close(mp_link *link) {
    layer_link *l = (layer_link *)link;
    l->below->vt->link_close(l->below);
    free(l);
}

static void describe(mp_cache *cache, mp_buf *json) {
    layer *l = (layer *)cache;
    l->below->vt->describe(l->below, json);
}

static void close_cache(mp_cache *cache) {
    layer *l = (layer *)cache;
    l->below->vt->close(l->below);
    free(l);
}

void layer_put(pond *p, layer_kind kind) {
    layer *l = calloc(1, sizeof *l);
    if (!l) abort();
    l->vt = (mp_cache_vt){.scheme = "layer",
                          .link_open = link_open,
                          .link_close = link_close,
                          .submit = submit,
                          .forget = forget,
                          .unsent = unsent,
                          .describe = describe,
                          .close = close_cache};
    l->cache.vt = &l->vt;
    l->below = p->cache;
    l->kind = kind;
    p->cache = &l->cache;
}
