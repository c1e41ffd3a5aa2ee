#include "actors.h"

#include <stdio.h>
#include <stdlib.h>

#include "virtual/virtual.h"
#include "world.h"

static void begin(void *owner, uint64_t arg);

bool writer_over(const writer *w) { return w->p->dead || (!w->left && !w->version); }

bool writer_exposed(const writer *w) { return w->version != 0; }

static void next(writer *w) {
    w->version = 0;
    if (w->left) process_after(w->p, dice_between(&w->p->world->dice, 0, 120), begin, w, 0);
}

static void invalidate(void *owner, uint64_t arg) {
    writer *w = owner;
    world *in = w->p->world;
    char text[8];
    size_t len = (size_t)snprintf(text, sizeof text, "k%zu", w->request.key);
    const char *key = text;
    pond_error *error = NULL;
    w->request.lane = dice_below(&in->dice, (uint32_t)w->p->lanes);
    int code = pond_invalidate_start(w->p->pond, w->p->queue[w->request.lane], &key, &len, 1, NULL,
                                     (uintptr_t)&w->request, &error);
    if (code == POND_OK) return;
    judge_broken(&in->judge, pond_error_message(error));
    pond_error_free(error);
    next(w);
}

static void invalidated(request *req, pond_event *event) {
    writer *w = (writer *)req;
    world *in = w->p->world;
    if (pond_event_kind(event) == POND_EVENT_OK) {
        trace_line(&in->trace, "p%u.w%u acknowledges k%zu:%u", w->p->number, w->number, w->request.key, w->version);
        judge_acked(&in->judge, w->request.key, w->version);
        next(w);
        return;
    }
    pond_error *error = pond_event_error(event);
    trace_line(&in->trace, "p%u.w%u tries again: %s", w->p->number, w->number, pond_error_message(error));
    if (!sim_row_fails(in->row)) judge_broken(&in->judge, pond_error_message(error));
    process_after(w->p, dice_between(&in->dice, 1, 200), invalidate, w, 0);
}

static void commit(void *owner, uint64_t arg) {
    writer *w = owner;
    world *in = w->p->world;
    w->version = store_commit(&in->store, w->request.key, dice_chance(&in->dice, in->row->deletes));
    in->judge.counts.writes++;
    trace_line(&in->trace, "the store has k%zu:%u%s, of p%u.w%u", w->request.key, w->version,
               in->store.key[w->request.key].absent[w->version] ? " (absent)" : "", w->p->number, w->number);
    process_after(w->p, dice_between(&in->dice, 1, 20), invalidate, w, 0);
}

static void begin(void *owner, uint64_t arg) {
    writer *w = owner;
    world *in = w->p->world;
    w->left--;
    w->request.key = dice_below(&in->dice, in->row->keys);
    w->version = UINT32_MAX; /* under way */
    agenda_at(&in->agenda, virtual_now() + dice_between(&in->dice, 1, 20), commit, w, 0);
}

writer *writer_start(process *p, unsigned number, unsigned writes) {
    writer *w = calloc(1, sizeof *w);
    if (!w) abort();
    *w = (writer){.request.ended = invalidated, .p = p, .number = number, .left = writes};
    next(w);
    return w;
}
