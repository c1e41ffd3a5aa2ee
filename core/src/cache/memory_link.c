/* A loop's part of the memory: cache. All operations end at once but MP_AWAIT: whoever ends a lease, on whatever thread, tells the
 * loops of those who wait for that. */
#include <stdlib.h>

#include "base/error.h"
#include "cache/memory_private.h"

typedef struct memory_link {
    mp_link base;
    mp_memory *cache;
    mp_loop *loop;
    mp_node waits;
} memory_link;

typedef struct wait {
    mp_mwait at; /* the lease */
    mp_node node;
    mp_timer over; /* its time, unless it was renewed */
    memory_link *link;
    mp_op *op;
} wait;

static memory_link *link_of(mp_link *link) { return (memory_link *)link; }

mp_link *mp_memory_link_open(mp_cache *cache, mp_loop *loop) {
    memory_link *link = malloc(sizeof *link);
    if (!link) return NULL;
    *link = (memory_link){{cache->vt}, mp_memory_of(cache), loop, {0}};
    mp_list_init(&link->waits);
    return &link->base;
}

/* Nobody will tell of it any more. */
static mp_op *detach(wait *w) {
    mp_op *op = w->op;
    mp_mshard *s = mp_mshard_of(w->link->cache, &op->key);
    mp_mlock(s);
    mp_list_remove(&w->at.node);
    mp_munlock(w->link->cache, s);
    mp_loop_unpost(w->link->loop, &w->at.told);
    mp_loop_timer_stop(w->link->loop, &w->over);
    mp_list_remove(&w->node);
    op->link_private = NULL;
    free(w);
    return op;
}

static void end(mp_op *op, mp_reply reply, pond_error *error) {
    op->reply = reply;
    op->error = error;
    op->done(op);
}

void mp_memory_link_close(mp_link *base) {
    memory_link *link = link_of(base);
    while (!mp_list_empty(&link->waits))
        end(detach(MP_OF(link->waits.next, wait, node)), MP_FAILED, mp_error_new(POND_ECLOSED, "the pond is closed"));
    free(link);
}

static void told(mp_task *task) { end(detach(MP_OF(task, wait, at.told)), MP_DONE, NULL); }

static void time_is_over(mp_timer *timer) {
    wait *w = MP_OF(timer, wait, over);
    mp_memory *m = w->link->cache;
    mp_loop *loop = w->link->loop;
    mp_mshard *s = mp_mshard_of(m, &w->op->key);
    mp_mlock(s);
    int64_t left = mp_mleases_left(&s->leases, &w->op->key, mp_loop_now(loop));
    mp_munlock(m, s);
    if (!left || !mp_loop_timer_set(loop, timer, mp_loop_now(loop) + left)) end(detach(w), MP_DONE, NULL);
}

static void await(memory_link *link, mp_op *op) {
    mp_mshard *s = mp_mshard_of(link->cache, &op->key);
    wait *w = malloc(sizeof *w);
    if (!w) {
        end(op, MP_REFUSED, NULL);
        return;
    }
    *w = (wait){
        .at = {.loop = link->loop, .told = {.run = told}}, .over = {.fire = time_is_over}, .link = link, .op = op};
    op->link_private = w;
    mp_list_push(&link->waits, &w->node);
    mp_mlock(s);
    bool there = mp_mleases_await(&s->leases, &op->key, &w->at, mp_loop_now(link->loop));
    mp_munlock(link->cache, s);
    if (!there) end(detach(w), MP_DONE, NULL);
    else if (!mp_loop_timer_set(link->loop, &w->over, mp_loop_now(link->loop) + op->ms))
        end(detach(w), MP_REFUSED, NULL);
}

void mp_memory_link_submit(mp_link *base, mp_op *op) {
    memory_link *link = link_of(base);
    if (op->kind == MP_AWAIT) await(link, op);
    else mp_memory_submit(&link->cache->base, op, mp_loop_now(link->loop));
}

void mp_memory_link_forget(mp_link *link, mp_op *op) {
    if (op->kind == MP_AWAIT && op->link_private) detach(op->link_private);
    (void)link;
}
