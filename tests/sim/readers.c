#include "actors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virtual/virtual.h"
#include "world.h"

static void begin(void *owner, uint64_t arg);

bool reader_over(const reader *r) { return r->p->dead || (!r->left && !r->reading); }

static void next(reader *r) {
    world *w = r->p->world;
    r->reading = false;
    r->handle = NULL;
    if (r->left) process_after(r->p, r->audits ? 1 : dice_between(&w->dice, 0, 60), begin, r, 0);
}

/* The last round, when all is quiet (in the first a breaker may still have to close): who has to load now would do so for ever. */
static void must_be_cached(reader *r) {
    world *w = r->p->world;
    if (w->row->ttl) return; /* what is past its time is loaded, too */
    if (r->left < w->row->keys * (1 + w->row->pages) && w->judge.counts.loads != r->loads_before)
        judge_broken(&w->judge, "nothing is cached at rest");
}

static void judge_value(reader *r, pond_value *value) {
    world *w = r->p->world;
    size_t len = 0;
    const char *text = pond_value_data(value, &len);
    if (pond_value_state(value) == POND_ABSENT) text = NULL;
    trace_line(&w->trace, "p%u.r%u reads k%zu: %.*s", r->p->number, r->number, r->request.key, text ? (int)len : 6,
               text ? text : "absent");
    w->judge.counts.stale += (uint64_t)pond_value_stale(value);
    judge_read(&w->judge, r->request.key, r->floor, text, len, r->audits);
    if (r->audits) must_be_cached(r);
}

static void ended(request *req, pond_event *event) {
    reader *r = (reader *)req;
    world *w = r->p->world;
    if (!r->reading) {
        judge_broken(&w->judge, "a request has ended twice");
        return;
    }
    if (pond_event_kind(event) == POND_EVENT_ERROR) {
        pond_error *error = pond_event_error(event);
        w->judge.counts.errors++;
        trace_line(&w->trace, "p%u.r%u fails to read k%zu: %s", r->p->number, r->number, r->request.key,
                   pond_error_message(error));
        if (!sim_row_fails(w->row) || w->calm) judge_broken(&w->judge, pond_error_message(error));
    } else if (r->many) {
        for (size_t i = 0; i < w->row->keys; i++) {
            r->request.key = i;
            r->floor = r->floors[i];
            judge_value(r, pond_event_value_at(event, i));
        }
    } else {
        judge_value(r, pond_event_value(event));
    }
    next(r);
}

static void give_up(void *owner, uint64_t read) {
    reader *r = owner;
    if (!r->reading || r->reads != read) return;
    trace_line(&r->p->world->trace, "p%u.r%u gives up k%zu", r->p->number, r->number, r->request.key);
    pond_request_cancel(r->handle);
    next(r);
}

/* All keys in one call, their own values. */
static int begin_many(reader *r, pond_error **error) {
    world *w = r->p->world;
    char names[STORE_KEYS][8];
    const char *keys[STORE_KEYS];
    size_t lens[STORE_KEYS];
    r->many = true;
    r->reading = true;
    r->request.lane = dice_below(&w->dice, (uint32_t)r->p->lanes);
    for (size_t i = 0; i < w->row->keys; i++) {
        lens[i] = (size_t)snprintf(names[i], sizeof names[i], "k%zu", i);
        keys[i] = names[i];
        r->floors[i] = judge_floor_of(&w->judge, i, 0);
    }
    trace_line(&w->trace, "p%u.r%u wants all keys", r->p->number, r->number);
    return pond_fetch_many_start(r->p->pond, r->p->queue[r->request.lane], keys, lens, w->row->keys, NULL, NULL,
                                 (uintptr_t)&r->request, &r->handle, error);
}

static int begin_one(reader *r, pond_value **now, pond_error **error) {
    world *w = r->p->world;
    char name[16];
    unsigned views = 1 + w->row->pages;
    r->many = false;
    unsigned what = r->audits ? r->left % (w->row->keys * views) : dice_below(&w->dice, w->row->keys * views);
    r->request.key = what / views;
    r->page = what % views;
    r->request.lane = dice_below(&w->dice, (uint32_t)r->p->lanes);
    r->floor = judge_floor_of(&w->judge, r->request.key, r->page ? w->row->bound : 0);
    r->reading = true;
    r->loads_before = w->judge.counts.loads;
    int len = r->page ? snprintf(name, sizeof name, "k%zu.page%u", r->request.key, r->page)
                      : snprintf(name, sizeof name, "k%zu", r->request.key);
    trace_line(&w->trace, "p%u.r%u wants %s", r->p->number, r->number, name);
    return pond_fetch_tagged_start(r->p->pond, r->p->queue[r->request.lane], name, (size_t)len, NULL,
                                   r->page ? r->p->tags[r->request.key] : NULL, (uintptr_t)&r->request, now, &r->handle,
                                   error);
}

static void begin(void *owner, uint64_t arg) {
    reader *r = owner;
    world *w = r->p->world;
    pond_value *now = NULL;
    pond_error *error = NULL;
    r->left--;
    r->reads++;
    bool many = w->row->many && !r->audits && dice_chance(&w->dice, w->row->many);
    int code = many ? begin_many(r, &error) : begin_one(r, &now, &error);
    if (code != POND_OK) {
        judge_broken(&w->judge, pond_error_message(error));
        pond_error_free(error);
        next(r);
    } else if (now) {
        judge_value(r, now);
        pond_value_free(now);
        next(r);
    } else if (!w->calm && dice_chance(&w->dice, w->row->cancels)) {
        process_after(r->p, dice_between(&w->dice, 0, 60), give_up, r, r->reads);
    }
}

static reader *start(process *p, unsigned number, unsigned reads, bool audits) {
    reader *r = calloc(1, sizeof *r);
    if (!r) abort();
    *r = (reader){.request.ended = ended, .p = p, .number = number, .left = reads, .audits = audits};
    next(r);
    return r;
}

reader *reader_start(process *p, unsigned number, unsigned reads) { return start(p, number, reads, false); }
reader *auditor_start(process *p) { return start(p, 99, 3 * p->world->row->keys * (1 + p->world->row->pages), true); }
