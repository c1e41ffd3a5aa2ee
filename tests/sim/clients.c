/* Clients of documents that are written behind: one call after the other, of all kinds. */
#include "actors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "virtual/virtual.h"
#include "world.h"
#include <millpond/behind.h>
#include <millpond/change.h>

static void begin(void *owner, uint64_t arg);

bool client_over(const client *c) { return c->p->dead || (!c->left && !c->calling); }

static void next(client *c) {
    int64_t pause = c->audits ? 50 : dice_between(&c->p->world->dice, 0, 90), burst = c->p->world->row->burst;
    if (burst) pause += burst - 1 - (virtual_now() + pause - 1) % burst;
    c->calling = false;
    c->handle = NULL;
    if (c->left) process_after(c->p, pause, begin, c, 0);
}

static const char *text_of(pond_value *value, size_t *len) {
    *len = 0;
    return pond_value_state(value) == POND_ABSENT ? NULL : pond_value_data(value, len);
}

static void judge_value(client *c, pond_value *value) {
    size_t len;
    const char *text = text_of(value, &len);
    trace_line(&c->p->world->trace, "p%u.c%u reads %s", c->p->number, c->number, text ? text : "absent");
    ledger_read(&c->p->world->ledger, c->request.key, c->since, text, len, c->audits);
}

/* Where the error says so, nothing was accepted, nor will be. */
static void judge_error(client *c, pond_error *error) {
    world *w = c->p->world;
    int code = pond_error_code(error);
    const char *said = pond_error_message(error);
    bool exists = code == POND_EDUPLICATE, absent = code == POND_EABSENT;
    trace_line(&w->trace, "p%u.c%u fails: %s", c->p->number, c->number, said);
    if (c->changes && (exists || absent || strstr(said, "nothing was accepted")))
        ledger_op_refused(&w->ledger, c->op, exists, absent, c->since);
    if (c->changes && (exists || absent)) return;
    w->judge.counts.errors++;
    if (c->flushes && code == POND_ETIMEOUT && w->row->crashes) return; /* no worker is left */
    bool closing = c->audits && c->left >= 2 * w->row->keys; /* in the first round a breaker may still have to close */
    if (!sim_row_fails(w->row) || (w->calm && !closing)) judge_broken(&w->judge, said);
}

static void ended(request *r, pond_event *event) {
    client *c = (client *)r;
    world *w = c->p->world;
    if (!c->calling) {
        judge_broken(&w->judge, "a request has ended twice");
        return;
    }
    if (pond_event_kind(event) == POND_EVENT_ERROR) {
        judge_error(c, pond_event_error(event));
    } else if (c->flushes) {
        ledger_flushed(&w->ledger, c->accepted, w->row->keys);
    } else if (c->invalidates) {
        trace_line(&w->trace, "p%u.c%u has invalidated k%zu", c->p->number, c->number, c->request.key);
    } else if (!c->changes) {
        judge_value(c, pond_event_value(event));
    } else {
        size_t len = 0;
        const char *text = pond_event_kind(event) == POND_EVENT_OK ? NULL : text_of(pond_event_value(event), &len);
        trace_line(&w->trace, "p%u.c%u has changed k%zu", c->p->number, c->number, c->request.key);
        ledger_op_done(&w->ledger, c->op, text, len);
    }
    next(c);
}

static void give_up(void *owner, uint64_t call) {
    client *c = owner;
    if (!c->calling || c->calls != call) return;
    trace_line(&c->p->world->trace, "p%u.c%u gives up", c->p->number, c->number);
    pond_request_cancel(c->handle);
    next(c);
}

static int begin_increment(client *c, const char *id, size_t id_len, pond_error **error) {
    return pond_collection_increment_start(c->p->collection, c->p->queue[c->request.lane], id, id_len, "n", 1, c->op,
                                           (uintptr_t)&c->request, &c->handle, error);
}

static int begin_change(client *c, const char *id, size_t id_len, pond_error **error) {
    static const pond_change_kind kinds[] = {POND_REPLACE, POND_CREATE, POND_UPDATE, POND_DELETE};
    static const char *const words[] = {"puts", "creates", "updates", "deletes", "increments"};
    world *w = c->p->world;
    uint32_t draw = dice_below(&w->dice, 100);
    bool counts = w->row->increments && dice_chance(&w->dice, w->row->increments);
    ledger_kind kind = counts      ? LEDGER_INCREMENT
                       : draw < 20 ? LEDGER_PUT
                       : draw < 33 ? LEDGER_CREATE
                       : draw < 57 ? LEDGER_UPDATE
                       : draw < 67 ? LEDGER_DELETE
                                   : LEDGER_INCREMENT;
    char text[LEDGER_TEXT];
    size_t len = ledger_text(text, kind, c->number, ++c->ops);
    c->op = c->number * LEDGER_OPS + c->ops;
    ledger_op_begins(&w->ledger, c->op, kind, c->request.key);
    trace_line(&w->trace, "p%u.c%u %s %s as %u.%u", c->p->number, c->number, words[kind], id, c->number, c->ops);
    if (kind == LEDGER_INCREMENT) return begin_increment(c, id, id_len, error);
    if (kind == LEDGER_DELETE) len = 0;
    return pond_collection_change_start(c->p->collection, c->p->queue[c->request.lane], kinds[kind], id, id_len,
                                        kind == LEDGER_DELETE ? NULL : text, len, 0, (uintptr_t)&c->request, &c->handle,
                                        error);
}

/* As who has written past the library does. What waits for the store stays. */
static int begin_invalidate(client *c, const char *id, size_t len, pond_error **error) {
    trace_line(&c->p->world->trace, "p%u.c%u invalidates %s", c->p->number, c->number, id);
    return pond_collection_invalidate_start(c->p->collection, c->p->queue[c->request.lane], &id, &len, 1,
                                            (uintptr_t)&c->request, error);
}

static int begin_read(client *c, const char *id, size_t len, pond_value **now, pond_error **error) {
    trace_line(&c->p->world->trace, "p%u.c%u wants %s", c->p->number, c->number, id);
    return pond_collection_get_start(c->p->collection, c->p->queue[c->request.lane], id, len, (uintptr_t)&c->request,
                                     now, &c->handle, error);
}

/* Until all that was accepted before is in the store. */
static int begin_flush(client *c, pond_error **error) {
    world *w = c->p->world;
    for (size_t i = 0; i < w->row->keys; i++) c->accepted[i] = ledger_now(&w->ledger, i);
    trace_line(&w->trace, "p%u.c%u flushes", c->p->number, c->number);
    return pond_collection_flush_start(c->p->collection, c->p->queue[c->request.lane], 20000, (uintptr_t)&c->request,
                                       error);
}

static void begin(void *owner, uint64_t arg) {
    client *c = owner;
    world *w = c->p->world;
    static const size_t of_one_shard[LEDGER_KEYS] = {8, 17, 42, 35};
    char id[16];
    pond_value *now = NULL;
    pond_error *error = NULL;
    c->left--;
    c->calls++;
    c->calling = true;
    c->request.lane = dice_below(&w->dice, (uint32_t)c->p->lanes);
    c->request.key = c->audits ? c->left % w->row->keys : dice_below(&w->dice, w->row->keys);
    c->changes = !c->audits && dice_chance(&w->dice, 550);
    c->flushes = !c->audits && !c->changes && dice_chance(&w->dice, 120);
    c->invalidates = !c->audits && !c->changes && !c->flushes && dice_chance(&w->dice, 60);
    c->since = ledger_now(&w->ledger, c->request.key);
    size_t len = (size_t)snprintf(id, sizeof id, "k%zu", w->row->burst ? of_one_shard[c->request.key] : c->request.key);
    int code = c->changes       ? begin_change(c, id, len, &error)
               : c->flushes     ? begin_flush(c, &error)
               : c->invalidates ? begin_invalidate(c, id, len, &error)
                                : begin_read(c, id, len, &now, &error);
    if (code != POND_OK) {
        judge_broken(&w->judge, pond_error_message(error));
        pond_error_free(error);
        next(c);
    } else if (now) {
        judge_value(c, now);
        pond_value_free(now);
        next(c);
    } else if (!w->calm && c->handle && dice_chance(&w->dice, w->row->cancels)) {
        process_after(c->p, dice_between(&w->dice, 0, 60), give_up, c, c->calls);
    }
}

client *client_start(process *p, unsigned number, unsigned calls, bool audits) {
    client *c = calloc(1, sizeof *c);
    if (!c) abort();
    *c = (client){.request.ended = ended, .p = p, .number = number, .left = calls, .audits = audits};
    next(c);
    return c;
}
