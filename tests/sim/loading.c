#include "loading.h"

#include <stdio.h>
#include <stdlib.h>

#include "virtual/virtual.h"
#include "world.h"

typedef struct loading {
    struct loading *next;
    process *p;
    pond_load *load; /* of one key, */
    size_t key;
    uint32_t version;
    pond_batch *batch; /* or of some, read at one moment */
    uint32_t versions[STORE_KEYS];
} loading;

static void forget(loading *l) {
    loading **at = &l->p->loads;
    while (*at != l) at = &(*at)->next;
    *at = l->next;
    free(l);
}

static size_t key_of(const pond_batch *batch, size_t i) {
    return (size_t)strtoul(pond_batch_key(batch, i, NULL) + 1, NULL, 10); /* "k3" */
}

/* An absence is left out. */
static void answer_many(loading *l) {
    world *w = l->p->world;
    bool fails = !w->calm && dice_chance(&w->dice, w->row->failed_loads);
    for (size_t i = 0; i < pond_batch_count(l->batch); i++) {
        char text[32];
        size_t key = key_of(l->batch, i);
        int len = snprintf(text, sizeof text, "k%zu:%u", key, l->versions[key]);
        trace_line(&w->trace, "p%u loaded %s with others%s", l->p->number, text, fails ? ", but fails" : "");
        if (!w->store.key[key].absent[l->versions[key]]) pond_batch_value(l->batch, i, text, (size_t)len, POND_TEXT, 0);
    }
    if (fails) pond_batch_fail(l->batch, 0, "the store failed");
    else pond_batch_done(l->batch);
    forget(l);
}

static void answer(void *owner, uint64_t arg) {
    loading *l = owner;
    world *w = l->p->world;
    char text[32];
    if (l->batch) {
        answer_many(l);
        return;
    }
    int len = snprintf(text, sizeof text, "k%zu:%u", l->key, l->version);
    bool fails = !w->calm && dice_chance(&w->dice, w->row->failed_loads);
    trace_line(&w->trace, "p%u loaded %s%s", l->p->number, text, fails ? ", but fails" : "");
    if (fails) pond_load_fail(l->load, 0, "the store failed");
    else if (w->store.key[l->key].absent[l->version]) pond_load_absent(l->load, 0);
    else pond_load_value(l->load, text, (size_t)len, POND_TEXT, 0);
    forget(l);
}

static int64_t store_delay(world *w) {
    if (w->calm) return 1;
    if (dice_chance(&w->dice, w->row->slow_loads)) return dice_between(&w->dice, 20, 400);
    return dice_between(&w->dice, 1, 20);
}

static void at_store(void *owner, uint64_t arg) {
    loading *l = owner;
    if (!l->batch) l->version = store_latest(&l->p->world->store, l->key);
    for (size_t i = 0; l->batch && i < pond_batch_count(l->batch); i++) {
        size_t key = key_of(l->batch, i);
        l->versions[key] = store_latest(&l->p->world->store, key);
    }
    process_after(l->p, store_delay(l->p->world), answer, l, 0);
}

static void begin(process *p, pond_load *load, size_t key, pond_batch *batch) {
    world *w = p->world;
    loading *l = malloc(sizeof *l);
    if (!l) abort();
    *l = (loading){.next = p->loads, .p = p, .load = load, .key = key, .batch = batch};
    p->loads = l;
    w->judge.counts.loads++;
    agenda_at(&w->agenda, virtual_now() + store_delay(w), at_store, l, 0);
}

void loading_begin(process *p, pond_load *load, size_t key) {
    trace_line(&p->world->trace, "p%u loads k%zu", p->number, key);
    begin(p, load, key, NULL);
}

void loading_begin_many(process *p, pond_batch *batch) {
    trace_line(&p->world->trace, "p%u loads %zu keys", p->number, pond_batch_count(batch));
    begin(p, NULL, 0, batch);
}

void loading_end_all(process *p) {
    while (p->loads) {
        if (p->loads->batch) pond_batch_fail(p->loads->batch, 0, "the world is over");
        else pond_load_fail(p->loads->load, 0, "the world is over");
        forget(p->loads);
    }
}
