#include "pattern/notifier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "pattern/collection.h"
#include "pattern/pond.h"
#include "pattern/wait.h"

enum {
    AT_ONCE = 64,
    QUEUED_MOST = 10000,
    BYTES_MOST = 64 * 1024 * 1024,
    FIRST_PAUSE_MS = 100,
    LAST_PAUSE_MS = 5000,
    LOOK_MS = 5000,  /* how often an outbox is looked at */
    LIMIT_MS = 5000, /* of one delivery */
    HOLD_MS = 20000, /* a claim: LIMIT_MS, a send that hangs (amqp.c), and the store's own waits */
    ENTRIES_MOST = 1000000
};

/* ---- events ---- */

/* "{collection}.{event}" with both filled in. */
static void add_key(mp_buf *out, const char *pattern, const char *collection, const char *event) {
    static const char names[2][13] = {"{collection}", "{event}"};
    const char *values[2] = {collection, event};
    while (*pattern) {
        size_t which = 2;
        for (size_t i = 0; i < 2; i++)
            if (strncmp(pattern, names[i], strlen(names[i])) == 0) which = i;
        if (which == 2) mp_buf_add(out, pattern++, 1);
        else {
            mp_buf_text(out, values[which]);
            pattern += strlen(names[which]);
        }
    }
}

mp_event *mp_event_new(const pond_collection *c, mp_change_kind kind, const char *id, size_t id_len,
                       const pond_value *document) {
    static const char *const names[] = {[MP_CHANGE_CREATE] = "created",
                                        [MP_CHANGE_REPLACE] = "updated",
                                        [MP_CHANGE_UPDATE] = "updated",
                                        [MP_CHANGE_DELETE] = "deleted"};
    uint8_t bytes[16];
    size_t len = 0;
    mp_event *e = calloc(1, sizeof *e);
    mp_buf key, json;
    mp_buf_init(&key);
    mp_buf_init(&json);
    if (!e) return NULL;
    mp_random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) snprintf(e->id + 2 * i, 3, "%02x", bytes[i]);
    add_key(&key, c->document->options.event_key, c->name, names[kind]);
    mp_buf_add(&key, "", 1);
    mp_buf_printf(&json, "{\"event\":\"%s\",\"event_id\":\"%s\",\"at\":%lld,\"collection\":\"%s\",\"id\":", names[kind],
                  e->id, (long long)mp_clock_wall_ms(), c->name);
    mp_buf_json(&json, id, id_len);
    mp_buf_text(&json, ",\"document\":");
    const char *text = document ? pond_value_data(document, &len) : "null";
    mp_buf_add(&json, text, document ? len : 4);
    mp_buf_text(&json, "}");
    len = json.len;
    mp_buf_add(&json, "", 1);
    mp_list_init(&e->node);
    e->stats = c->document->space->stats;
    e->text = (mp_event_text){.id = e->id, .key = key.data, .text = json.data, .len = len};
    if (!key.failed && !json.failed) return e;
    mp_buf_free(&key);
    mp_buf_free(&json);
    free(e);
    return NULL;
}

void mp_event_free(mp_event *e) {
    if (!e) return;
    free((char *)(uintptr_t)e->text.key);
    free((char *)(uintptr_t)e->text.text);
    free(e);
}

/* ---- the queue: the notifier's lock held ---- */

static mp_event *event_of(mp_node *node) { return MP_OF(node, mp_event, node); }

static void end_event(mp_notifier *n, mp_event *e, mp_counter how) {
    mp_count(e->stats, how);
    n->queued--;
    n->bytes -= e->text.len;
    mp_event_free(e);
    mp_pond_call_ended(n->pond);
}

static void drop_all(mp_notifier *n) {
    mp_node *node;
    while ((node = mp_list_shift(&n->queue))) end_event(n, event_of(node), MP_COUNT_lost_events);
}

static void start(mp_notifier *n) {
    if (n->over) drop_all(n);
    if (n->over || n->running || n->pausing) return;
    mp_pool *pool = mp_pond_pool(n->pond);
    n->running = pool && mp_pool_submit(pool, &n->job);
    if (n->running) n->working++;
    else drop_all(n);
}

/* ---- pauses ---- */

static void pause_over(mp_timer *timer) {
    mp_notifier *n = MP_OF(timer, mp_notifier, timer);
    mp_loop_duty(atomic_load(&n->pond->blocking)->loop, -1);
    n->timed = false;
    pthread_mutex_lock(&n->lock);
    n->pausing = false;
    n->due |= n->watched;
    start(n);
    pthread_mutex_unlock(&n->lock);
}

/* No lock held. A pause moves the timer; a look that is due sometime does not. */
static void wake_in(mp_notifier *n, int64_t ms, bool pause) {
    mp_lane *lane = mp_pond_blocking_lane(n->pond, NULL);
    bool set = false;
    if (lane) {
        mp_lane_lock(lane);
        mp_loop_touch(lane->loop);
        set = !lane->closed &&
              ((n->timed && !pause) || mp_loop_timer_set(lane->loop, &n->timer, mp_loop_now(lane->loop) + ms));
        if (set && !n->timed) {
            mp_loop_duty(lane->loop, 1);
            n->timed = true;
        }
        mp_lane_kick(lane, false);
        mp_lane_unlock(lane);
    }
    if (set) return;
    pthread_mutex_lock(&n->lock);
    n->pausing = false; /* what comes next starts it */
    if (atomic_load(&n->pond->ending)) drop_all(n);
    pthread_mutex_unlock(&n->lock);
}

/* ---- delivery: no lock held, on a worker ---- */

static int deliver(mp_notifier *n, const mp_notice *notices, size_t count, size_t *tried, size_t *confirmed,
                   pond_error **err) {
    if (n->broker)
        return n->broker->vt->publish(n->broker, notices, count, mp_clock_ms() + LIMIT_MS, tried, confirmed, err);
    *tried = count;
    return mp_wait_stream(n->pond, n->stream, n->most, notices, count, confirmed, err);
}

static void note(mp_notifier *n, pond_error *why) {
    snprintf(n->problem, sizeof n->problem, "%s", why ? pond_error_message(why) : "no memory");
    n->pause_ms = n->pause_ms ? n->pause_ms * 2 : FIRST_PAUSE_MS;
    if (n->pause_ms > LAST_PAUSE_MS) n->pause_ms = LAST_PAUSE_MS;
    pond_error_free(why);
}

static bool settle(mp_notifier *n, int code, pond_error *why) {
    if (code != POND_OK) {
        note(n, why);
        return false;
    }
    n->pause_ms = 0;
    n->problem[0] = 0;
    return true;
}

/* Those that wait in memory, a batch; after a failure one alone, so that no more than one is tried in vain. False: it failed. */
static bool send_queued(mp_notifier *n) {
    mp_notice notices[AT_ONCE];
    mp_node batch, *node;
    size_t count = 0, tried = 0, confirmed = 0;
    pond_error *why = NULL;
    mp_list_init(&batch);
    pthread_mutex_lock(&n->lock);
    for (size_t most = n->pause_ms ? 1 : AT_ONCE; count < most && (node = mp_list_shift(&n->queue)); count++) {
        const mp_event *e = event_of(node);
        notices[count] = (mp_notice){.key = e->text.key, .id = e->id, .text = e->text.text, .len = e->text.len};
        mp_list_push(&batch, node);
    }
    pthread_mutex_unlock(&n->lock);
    int code = deliver(n, notices, count, &tried, &confirmed, &why);
    pthread_mutex_lock(&n->lock);
    for (size_t i = 0; i < tried && (node = mp_list_shift(&batch)); i++)
        end_event(n, event_of(node), i < confirmed ? MP_COUNT_events : MP_COUNT_lost_events);
    mp_list_move(&batch, &n->queue); /* the others come first when it goes on */
    mp_list_move(&n->queue, &batch);
    bool well = settle(n, code, why);
    pthread_mutex_unlock(&n->lock);
    return well;
}

/* What is in the outbox, a batch. *more: there may be more. */
static bool send_outbox(mp_notifier *n, bool *more) {
    mp_store *store = n->pond->store;
    mp_outbox *box = calloc(1, sizeof *box);
    mp_notice notices[MP_OUTBOX_MOST];
    size_t tried, confirmed = 0;
    pond_error *why = NULL;
    int code = box ? store->vt->outbox_take(store, n->owner, HOLD_MS, box, &why) : POND_ENOMEM;
    for (size_t i = 0; code == POND_OK && i < box->n; i++)
        notices[i] = (mp_notice){
            .key = box->rows[i].key, .id = box->rows[i].id, .text = box->rows[i].text, .len = box->rows[i].len};
    *more = code == POND_OK && box->n > 0;
    bool holds = *more;
    if (code == POND_OK && box->n) {
        code = deliver(n, notices, box->n, &tried, &confirmed, &why);
        pond_error *late = NULL;
        int dropped = confirmed ? store->vt->outbox_drop(store, n->owner, box, confirmed, &late) : POND_OK;
        for (size_t i = 0; i < confirmed; i++) mp_count(n->pond->defaults->space->stats, MP_COUNT_events);
        if (code == POND_OK && dropped != POND_OK) { /* then they are delivered again */
            code = dropped;
            why = late;
        } else {
            pond_error_free(late);
        }
    }
    if (box) mp_outbox_clear(box);
    free(box);
    pthread_mutex_lock(&n->lock);
    bool well = settle(n, code, why);
    n->holds = holds && !well;
    pthread_mutex_unlock(&n->lock);
    return well;
}

static void work(mp_job *job, bool refused) {
    mp_notifier *n = MP_OF(job, mp_notifier, job);
    bool well = true;
    for (;;) {
        pthread_mutex_lock(&n->lock);
        if (refused) drop_all(n);
        bool any = !refused && !mp_list_empty(&n->queue), due = !refused && n->due;
        n->due = false;
        if (!well) n->due = due;
        if (!well || (!any && !due)) {
            n->running = false;
            int64_t ms = refused ? 0 : !well ? n->pause_ms : n->watched ? LOOK_MS : 0;
            n->pausing = !well;
            pthread_mutex_unlock(&n->lock);
            if (ms > 0) wake_in(n, ms, !well);
            pthread_mutex_lock(&n->lock);
            if (--n->working == 0) pthread_cond_broadcast(&n->idle);
            pthread_mutex_unlock(&n->lock);
            return;
        }
        pthread_mutex_unlock(&n->lock);
        bool more = false;
        if (any) well = send_queued(n);
        if (well && due) well = send_outbox(n, &more);
        pthread_mutex_lock(&n->lock);
        n->due |= more || (due && !well);
        pthread_mutex_unlock(&n->lock);
    }
}

/* ---- from outside ---- */

void mp_notifier_post(mp_notifier *n, mp_event *e) {
    pond *p = n->pond;
    atomic_fetch_add(&p->calls, 1); /* so that a close waits for it */
    pthread_mutex_lock(&n->lock);
    n->queued++;
    n->bytes += e->text.len;
    if (n->queued > QUEUED_MOST || n->bytes > BYTES_MOST || atomic_load(&p->ending)) {
        end_event(n, e, MP_COUNT_lost_events);
    } else {
        mp_list_push(&n->queue, &e->node);
        start(n);
    }
    pthread_mutex_unlock(&n->lock);
}

void mp_notifier_look(mp_notifier *n) {
    pthread_mutex_lock(&n->lock);
    n->due = true;
    start(n);
    pthread_mutex_unlock(&n->lock);
}

void mp_notifier_watch(mp_notifier *n) {
    pthread_mutex_lock(&n->lock);
    n->watched = true;
    pthread_mutex_unlock(&n->lock);
    mp_notifier_look(n);
}

void mp_notifier_describe(mp_notifier *n, mp_buf *json) {
    if (!mp_notifier_is_open(n)) return;
    pthread_mutex_lock(&n->lock);
    mp_buf_printf(json, ",\"events\":{\"waiting\":%zu,\"problem\":", n->queued);
    if (n->problem[0]) mp_buf_json(json, n->problem, strlen(n->problem));
    else mp_buf_text(json, "null");
    mp_buf_text(json, "}");
    pthread_mutex_unlock(&n->lock);
}

int64_t mp_notifier_waiting(mp_notifier *n) {
    pthread_mutex_lock(&n->lock);
    int64_t waiting = (int64_t)n->queued;
    pthread_mutex_unlock(&n->lock);
    return waiting;
}

/* ---- its life ---- */

/* stream:[name][?maxlen=n] */
static int read_stream(mp_notifier *n, const char *rest, const char *ns, pond_error **err) {
    size_t len = strcspn(rest, "?");
    n->most = ENTRIES_MOST;
    if (rest[len]) {
        char *end = NULL;
        n->most = strncmp(rest + len, "?maxlen=", 8) == 0 ? strtoll(rest + len + 8, &end, 10) : 0;
        if (!end || *end || n->most < 1)
            return mp_fail(err, POND_EURL, "events: write stream:name, or stream:name?maxlen=100000");
    }
    size_t room = len ? len + 1 : strlen(ns) + 16;
    n->stream = malloc(room);
    if (!n->stream) return mp_fail(err, POND_ENOMEM, "no memory for a stream's name");
    if (len) snprintf(n->stream, room, "%.*s", (int)len, rest);
    else snprintf(n->stream, room, "mp:events:{%s}", ns);
    return POND_OK;
}

int mp_notifier_open(mp_notifier *n, pond *p, bool stream_allowed, pond_error **err) {
    const char *address = p->options.events;
    *n = (mp_notifier){.pond = p, .job.run = work, .timer.fire = pause_over};
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->idle, NULL);
    mp_list_init(&n->queue);
    mp_random_bytes(n->owner, sizeof n->owner);
    if (!address || !*address) return POND_OK;
    if (strncmp(address, "amqp:", 5) == 0) return mp_amqp_plugin_open(&n->broker, address, err);
    if (strncmp(address, "stream:", 7) != 0)
        return mp_fail(err, POND_EURL,
                       "events: write stream:name, or amqp://user:password@host:port/vhost?exchange=name");
    if (!stream_allowed)
        return mp_fail(err, POND_EOPTION, "events: a stream is kept in Redis, and this pond's cache is memory:");
    return read_stream(n, address + 7, p->options.namespace, err);
}

void mp_notifier_restart(mp_notifier *n) {
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->idle, NULL);
    n->working = 0;
    if (!mp_list_empty(&n->queue)) mp_leave_aside(event_of(n->queue.next)); /* and by it the others */
    mp_list_init(&n->queue);
    n->queued = n->bytes = 0;
    n->running = n->pausing = false;
    n->holds = false;
    n->due = n->watched;
    n->pause_ms = 0;
    n->timer = (mp_timer){.fire = pause_over};
    n->timed = false;
    mp_random_bytes(n->owner, sizeof n->owner);
    if (n->broker) n->broker->vt->forget(n->broker);
}

void mp_notifier_stop(mp_notifier *n) {
    pthread_mutex_lock(&n->lock);
    drop_all(n);
    pthread_mutex_unlock(&n->lock);
}

void mp_notifier_finish(mp_notifier *n) {
    if (!n->pond) return;
    pthread_mutex_lock(&n->lock);
    n->over = true;
    drop_all(n);
    if (n->working && mp_pool_withdraw(mp_pond_pool(n->pond), &n->job)) n->working--;
    while (n->working) pthread_cond_wait(&n->idle, &n->lock);
    pthread_mutex_unlock(&n->lock);
}

void mp_notifier_close(mp_notifier *n) {
    if (!n->pond) return;
    mp_notifier_stop(n);
    if (n->holds) n->pond->store->vt->outbox_drop(n->pond->store, n->owner, NULL, 0, NULL);
    if (n->broker) n->broker->vt->close(n->broker);
    free(n->stream);
    pthread_cond_destroy(&n->idle);
    pthread_mutex_destroy(&n->lock);
}
