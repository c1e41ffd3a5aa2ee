#include "process.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/start.h"
#include "documents.h"
#include "engine/loop_private.h"
#include "jobs.h"
#include "loading.h"
#include "pattern/behind/backlog.h"
#include "pattern/collection.h"
#include "pattern/pond.h"
#include "pattern/tags.h"
#include "storing.h"
#include "virtual/virtual.h"
#include "world.h"

static process *here;

process *process_here(void) { return here; }

static void set(pond_config *config, const char *name, const char *value) {
    pond_error *error = NULL;
    if (pond_config_set(config, name, value, &error) == POND_OK) return;
    fprintf(stderr, "sim: %s=%s: %s\n", name, value, pond_error_message(error));
    abort();
}

static void set_ms(pond_config *config, const char *name, int64_t ms) {
    char text[32];
    snprintf(text, sizeof text, "%lldms", (long long)ms);
    set(config, name, text);
}

static void set_number(pond_config *config, const char *name, unsigned number) {
    char text[16];
    snprintf(text, sizeof text, "%u", number);
    set(config, name, text);
}

/* By the inner door, for a collection's tag has a bound and a caller's own has none. */
static void make_tags(process *p, size_t key) {
    char name[8];
    size_t len = (size_t)snprintf(name, sizeof name, "t%zu", key);
    const char *tag = name;
    if (mp_tags_make(&p->tags[key], "s", 1, p->world->row->bound, &tag, &len, 1, NULL) != POND_OK) abort();
}

/* Documents that are written behind. The workers are in the first processes, and in whoever comes when the trouble is over. */
static void open_documents(process *p, bool worker) {
    char ttl[32], most[16];
    snprintf(ttl, sizeof ttl, "%lldms", (long long)(p->world->row->ttl ? p->world->row->ttl : 600000));
    snprintf(most, sizeof most, "%u", p->world->row->backlog ? p->world->row->backlog : 100000);
    const char *const options[] = {"write", "behind", "ttl", ttl, "backlog_max", most};
    pond_error *error = NULL;
    p->documents = p->pond->store = documents_store(p);
    p->pond->options.worker = worker;
    if (pond_collection_new(&p->collection, p->pond, "d", options, 3, &error) != POND_OK) {
        fprintf(stderr, "sim: %s\n", pond_error_message(error));
        abort();
    }
    mp_backlog *b = p->collection->behind;
    if (p->world->row->batch) b->batch = b->batch_most = p->world->row->batch;
}

void process_open(process *p, world *w, unsigned number) {
    *p = (process){.world = w, .number = number, .lanes = w->row->lanes};
    here = p;
    pond_config *config = pond_config_new();
    if (!config) abort();
    set(config, "cache", w->row->memory ? "memory:" : w->network->url);
    set(config, "namespace", "s");
    set(config, "negative_ttl", "10m"); /* as long as ttl: what is stale at rest shall still be there */
    set_ms(config, "ttl", w->row->ttl ? w->row->ttl : 600000);
    set_ms(config, "grace", w->row->grace);
    set_ms(config, "stale_if_error", w->row->grace);
    set_ms(config, "refresh_backoff", 20);
    set_number(config, "early_refresh", w->row->early);
    set_ms(config, "command_timeout", 200);
    set_ms(config, "lease", w->lease);
    set_ms(config, "intent", w->intent);
    if (w->row->lenient) set(config, "when_cache_down_write", "lenient");
    set_ms(config, "wait_timeout", 4000);
    set_ms(config, "load_timeout", 3000);
    pond_error *error = NULL;
    bool open = pond_open(&p->pond, config, &error) == POND_OK;
    if (open && layer_is_one(w->setting->layer)) layer_put(p->pond, w->setting->layer);
    for (size_t i = 0; open && i < p->lanes; i++) open = pond_queue_new(&p->queue[i], p->pond, &error) == POND_OK;
    if (!open) {
        fprintf(stderr, "sim: %s\n", pond_error_message(error));
        abort();
    }
    pond_config_free(config);
    for (size_t i = 0; w->row->pages && i < w->row->keys; i++) make_tags(p, i);
    if (w->row->clients) open_documents(p, number < w->row->workers || w->calm);
    here = NULL;
}

/* Jobs that are parked run to their end: whatever they wait for ends with an error. */
static void end_jobs(process *p) {
    atomic_store(&p->pond->closed, true);
    atomic_store(&p->pond->ending, true);
    mp_lane *lane = atomic_load(&p->pond->blocking);
    if (lane) mp_lane_close(lane, false);
    jobs_end_all(p);
}

void process_close(process *p) {
    if (!p->pond) return;
    here = p;
    loading_end_all(p);
    storing_end_all(p);
    for (size_t i = 0; i < STORE_KEYS; i++) pond_tags_free(p->tags[i]);
    for (size_t i = 0; i < p->lanes; i++) pond_queue_free(p->queue[i]);
    end_jobs(p);
    pond_collection_free(p->collection);
    pond_free(p->pond); /* and with it the way to the documents */
    here = NULL;
}

void process_touch(process *p) { p->touched = true; }

int64_t process_due(const process *p) {
    if (p->dead) return INT64_MAX;
    int64_t at = p->touched ? virtual_now() : INT64_MAX;
    for (size_t i = 0; i < p->lanes; i++) {
        int64_t timer = mp_loop_next_timer(p->queue[i]->lane->loop);
        if (timer < at) at = timer;
    }
    mp_lane *blocking = atomic_load(&p->pond->blocking);
    int64_t timer = blocking ? mp_loop_next_timer(blocking->loop) : INT64_MAX;
    if (timer < at) at = timer;
    return at < p->stands_until ? p->stands_until : at;
}

/* Something lies there that no timer announces: from a socket, or posted by another queue. */
static bool readable(const mp_loop *loop) {
    struct pollfd fd = {.fd = mp_loop_fd(loop), .events = POLLIN};
    return poll(&fd, 1, 0) > 0;
}

/* The loop of calls that block; the one that leads there does no more. True: there is more to do. */
static bool turn_blocking(process *p) {
    mp_lane *lane = atomic_load(&p->pond->blocking);
    if (!lane) return false;
    mp_lane_lock(lane);
    mp_loop_turn(lane->loop, 0);
    mp_lane_unlock(lane);
    return readable(lane->loop);
}

static void take(process *p, pond_event *event) {
    request *r = (request *)(uintptr_t)pond_event_user(event);
    pond_load *load = pond_event_load(event);
    pond_writing *writing = pond_event_writing(event);
    pond_batch *batch = pond_event_batch(event);
    if (load) loading_begin(p, load, r->key); /* perhaps behind the value that comes with it */
    if (batch) loading_begin_many(p, batch);
    else if (writing) r->write(r, writing);
    else if (pond_event_kind(event) != POND_EVENT_LOAD) r->ended(r, event);
    pond_event_free(event);
}

void process_turn(process *p) {
    bool more = true;
    here = p;
    p->touched = false;
    while (more && !p->dead) {
        more = false;
        for (size_t i = 0; i < p->lanes; i++) {
            pond_event *events[8];
            size_t n = pond_queue_poll(p->queue[i], events, 8, 0);
            for (size_t k = 0; k < n; k++) take(p, events[k]);
            more = more || n > 0;
        }
        for (size_t i = 0; i < p->lanes; i++) more = more || readable(p->queue[i]->lane->loop);
        more = turn_blocking(p) || more;
        network_collect(p->world->network, p);
        more = more || p->touched;
        p->touched = false;
    }
    here = NULL;
}

typedef struct later {
    process *p;
    void (*run)(void *owner, uint64_t arg);
    void *owner;
    uint64_t arg;
} later;

static void run_later(void *owner, uint64_t arg) {
    later *l = owner;
    process *p = l->p;
    if (!p->dead && virtual_now() < p->stands_until) {
        agenda_at(&p->world->agenda, p->stands_until, run_later, l, 0);
        return;
    }
    if (!p->dead) {
        here = p;
        l->run(l->owner, l->arg);
        here = NULL;
        network_collect(p->world->network, p); /* a connection made here is nobody else's */
        p->touched = true;
    }
    free(l);
}

void process_after(process *p, int64_t ms, void (*run)(void *owner, uint64_t arg), void *owner, uint64_t arg) {
    later *l = malloc(sizeof *l);
    if (!l) abort();
    *l = (later){.p = p, .run = run, .owner = owner, .arg = arg};
    agenda_at(&p->world->agenda, virtual_now() + ms, run_later, l, 0);
}

void process_stand(process *p, int64_t ms) {
    int64_t until = virtual_now() + ms;
    if (until > p->stands_until) p->stands_until = until;
    trace_line(&p->world->trace, "p%u stands still for %lld ms", p->number, (long long)ms);
}

void process_die(process *p) {
    if (p->dead) return;
    p->dead = true;
    trace_line(&p->world->trace, "p%u dies", p->number);
    network_orphan(p->world->network, p);
}
