#include "actors.h"

#include <stdio.h>
#include <stdlib.h>

#include "storing.h"
#include "virtual/virtual.h"
#include "world.h"

static void begin(void *owner, uint64_t arg);

bool writer_over(const writer *w) { return w->p->dead || (!w->left && !w->writing); }

bool writer_exposed(const writer *w) {
    const sim_row *row = w->p->world->row;
    bool intents_get_lost = row->evict_intents || row->restarts || row->slow_writes;
    return w->writing && (w->kind == WRITER_FOREIGN || intents_get_lost);
}

static void next(writer *w) {
    w->writing = false;
    w->version = 0;
    w->handle = NULL;
    if (w->left) process_after(w->p, dice_between(&w->p->world->dice, 0, 120), begin, w, 0);
}

static void acknowledge(writer *w) {
    world *in = w->p->world;
    if (w->version) {
        trace_line(&in->trace, "p%u.w%u acknowledges k%zu:%u", w->p->number, w->number, w->request.key, w->version);
        judge_acked(&in->judge, w->request.key, w->version);
    }
    next(w);
}

/* A call that was refused at once. */
static void refused(writer *w, pond_error *error) {
    judge_broken(&w->p->world->judge, pond_error_message(error));
    pond_error_free(error);
    next(w);
}

static size_t key_name(const writer *w, char text[8]) { return (size_t)snprintf(text, 8, "k%zu", w->request.key); }

/* ---- foreign ---- */

static void invalidate(void *owner, uint64_t arg) {
    writer *w = owner;
    char text[8];
    const char *key = text;
    size_t len = key_name(w, text);
    pond_error *error = NULL;
    w->request.lane = dice_below(&w->p->world->dice, (uint32_t)w->p->lanes);
    int code = pond_invalidate_tagged_start(w->p->pond, w->p->queue[w->request.lane], &key, &len, 1, NULL,
                                            w->p->tags[w->request.key], (uintptr_t)&w->request, &error);
    if (code != POND_OK) refused(w, error);
}

static void commit(void *owner, uint64_t arg) {
    writer *w = owner;
    world *in = w->p->world;
    w->version = world_commit(in, w->request.key);
    process_after(w->p, dice_between(&in->dice, 1, 20), invalidate, w, 0);
}

/* ---- with an intent ---- */

static void write(request *r, pond_writing *writing) { storing_begin(((writer *)r)->p, writing, (writer *)r); }

static void give_up(void *owner, uint64_t which) {
    writer *w = owner;
    if (!w->writing || w->writes != which) return;
    trace_line(&w->p->world->trace, "p%u.w%u gives up k%zu", w->p->number, w->number, w->request.key);
    storing_forget(w);
    pond_request_cancel(w->handle);
    next(w);
}

static void write_start(writer *w) {
    world *in = w->p->world;
    char text[8];
    const char *key = text;
    size_t len = key_name(w, text);
    pond_error *error = NULL;
    trace_line(&in->trace, "p%u.w%u writes %s", w->p->number, w->number, text);
    w->request.lane = dice_below(&in->dice, (uint32_t)w->p->lanes);
    int code = pond_write_start(w->p->pond, w->p->queue[w->request.lane], &key, &len, 1, NULL,
                                w->p->tags[w->request.key], (uintptr_t)&w->request, &w->handle, &error);
    if (code != POND_OK) refused(w, error);
    else if (!in->calm && dice_chance(&in->dice, in->row->cancels))
        process_after(w->p, dice_between(&in->dice, 0, 60), give_up, w, w->writes);
}

/* ---- both ---- */

static void ended(request *r, pond_event *event) {
    writer *w = (writer *)r;
    world *in = w->p->world;
    if (!w->writing) {
        judge_broken(&in->judge, "a request has ended twice");
    } else if (pond_event_kind(event) == POND_EVENT_OK) {
        acknowledge(w);
    } else {
        pond_error *error = pond_event_error(event);
        trace_line(&in->trace, "p%u.w%u fails: %s", w->p->number, w->number, pond_error_message(error));
        if (!sim_row_fails(in->row)) judge_broken(&in->judge, pond_error_message(error));
        storing_forget(w);
        if (w->kind == WRITER_FOREIGN) process_after(w->p, dice_between(&in->dice, 1, 200), invalidate, w, 0);
        else next(w);
    }
}

static void begin(void *owner, uint64_t arg) {
    writer *w = owner;
    world *in = w->p->world;
    w->left--;
    w->writes++;
    w->writing = true;
    w->request.key = dice_below(&in->dice, in->row->keys);
    if (w->kind != WRITER_FOREIGN) write_start(w);
    else agenda_at(&in->agenda, virtual_now() + dice_between(&in->dice, 1, 20), commit, w, 0);
}

writer *writer_start(process *p, writer_kind kind, unsigned number, unsigned writes) {
    writer *w = calloc(1, sizeof *w);
    if (!w) abort();
    *w = (writer){.request = {.ended = ended, .write = write}, .p = p, .kind = kind, .number = number, .left = writes};
    next(w);
    return w;
}
