#include "loading.h"

#include <stdio.h>
#include <stdlib.h>

#include "virtual/virtual.h"
#include "world.h"

typedef struct loading {
    struct loading *next;
    process *p;
    pond_load *load;
    size_t key;
    uint32_t version;
} loading;

static void forget(loading *l) {
    loading **at = &l->p->loads;
    while (*at != l) at = &(*at)->next;
    *at = l->next;
    free(l);
}

static void answer(void *owner, uint64_t arg) {
    loading *l = owner;
    world *w = l->p->world;
    char text[32];
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
    l->version = store_latest(&l->p->world->store, l->key);
    process_after(l->p, store_delay(l->p->world), answer, l, 0);
}

void loading_begin(process *p, pond_load *load, size_t key) {
    world *w = p->world;
    loading *l = malloc(sizeof *l);
    if (!l) abort();
    *l = (loading){.next = p->loads, .p = p, .load = load, .key = key};
    p->loads = l;
    w->judge.counts.loads++;
    trace_line(&w->trace, "p%u loads k%zu", p->number, key);
    agenda_at(&w->agenda, virtual_now() + store_delay(w), at_store, l, 0);
}

void loading_end_all(process *p) {
    while (p->loads) {
        pond_load_fail(p->loads->load, 0, "the world is over");
        forget(p->loads);
    }
}
