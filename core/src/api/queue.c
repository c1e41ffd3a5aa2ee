/* Completion queues: a lane that the host drives, and the calls that only start. */
#include <stdlib.h>

#include "api/check.h"
#include "api/start.h"
#include "base/clock.h"
#include "base/error.h"
#include "pattern/batch.h"
#include "pattern/change.h"
#include "pattern/inspect.h"
#include "pattern/invalidate.h"
#include "pattern/load.h"
#include "pattern/read.h"
#include "pattern/store_call.h"
#include "pattern/write.h"

int pond_queue_new(pond_queue **out, pond *p, pond_error **err) {
    if (!out || !p) return mp_fail(err, POND_EMISUSE, "pond_queue_new: out or pond is NULL");
    if (atomic_load(&p->closed)) return mp_closed(err);
    int code = mp_pond_here(p, err);
    if (code != POND_OK) return code;
    pond_queue *queue = calloc(1, sizeof *queue);
    if (!queue) return mp_no_memory(err);
    queue->lane = mp_lane_new(p, false, err);
    if (!queue->lane) {
        free(queue);
        return POND_ENOMEM;
    }
    *out = queue;
    return POND_OK;
}

/* Lock held. Nobody will take the event, so nobody answers the load that it asks for. */
static void untaken(pond_event *event) {
    pond_load *load = event->kind != POND_EVENT_LOAD ? event->load : NULL;
    pond_event_free(event);
    if (load) mp_load_fail_here(load, mp_error_new(POND_ECANCELED, "nobody loads"));
}

void pond_queue_free(pond_queue *queue) {
    if (!queue) return;
    mp_lane *lane = queue->lane;
    if (mp_lane_inherited(lane)) {
        pond_free(lane->pond); /* the lane's reference; the rest is left where it is */
        mp_leave_aside(lane);
        free(queue);
        return;
    }
    mp_lane_close(lane, true);
    mp_pond_rehome_overdue(lane);
    mp_lane_lock(lane);
    mp_node *n;
    while ((n = mp_list_shift(&lane->events))) untaken(MP_OF(n, pond_event, node));
    mp_lane_unlock(lane);
    mp_lane_unlist(lane);
    mp_lane_unref(lane);
    free(queue);
}

int pond_queue_fd(pond_queue *queue) { return mp_lane_inherited(queue->lane) ? -1 : mp_loop_fd(queue->lane->loop); }

void pond_queue_flush(pond_queue *queue) {
    if (mp_lane_inherited(queue->lane)) return;
    mp_lane_lock(queue->lane);
    mp_loop_touch(queue->lane->loop);
    mp_loop_flush(queue->lane->loop);
    mp_lane_unlock(queue->lane);
}

size_t pond_queue_pending(const pond_queue *queue) {
    if (mp_lane_inherited(queue->lane)) return 0;
    mp_lane_lock(queue->lane);
    size_t pending = queue->lane->pending;
    mp_lane_unlock(queue->lane);
    return pending;
}

/* The host takes an event: a final one leaves the books, a LOAD, WRITE, CHECK or BATCH is now owed an answer. */
static pond_event *take(mp_lane *lane) {
    mp_node *n = mp_list_shift(&lane->events);
    if (!n) return NULL;
    pond_event *event = MP_OF(n, pond_event, node);
    if (event->kind == POND_EVENT_LOAD) {
        mp_call_take(event->call);
        event->call = NULL;
    } else if (event->kind == POND_EVENT_WRITE) {
        mp_write_take(event->call);
        event->call = NULL;
    } else if (event->kind == POND_EVENT_CHECK) {
        mp_check_take(event->check);
    } else if (event->kind == POND_EVENT_BATCH) {
        if (!mp_group_hand_over(MP_OF(event->call, mp_group, call))) return take(lane); /* its loads have gone */
        event->call = NULL;
    } else {
        lane->pending--;
    }
    return event;
}

size_t pond_queue_poll(pond_queue *queue, pond_event **events, size_t max, int64_t timeout_ms) {
    mp_lane *lane = queue->lane;
    if (mp_lane_inherited(lane)) return 0;
    mp_lane_lock(lane);
    lane->polling = true;
    int64_t until = mp_clock_after(timeout_ms), wait = timeout_ms;
    mp_loop_touch(lane->loop);
    size_t n = 0;
    for (;;) {
        mp_loop_flush(lane->loop); /* it may bring an event: then there is nothing to sleep for */
        mp_loop_turn(lane->loop, mp_list_empty(&lane->events) ? wait : 0);
        while (n < max && (events[n] = take(lane))) n++;
        if (wait == 0 || n == max || n > 0) break;
        if (wait > 0) wait = until > mp_loop_now(lane->loop) ? until - mp_loop_now(lane->loop) : 0;
    }
    lane->polling = false;
    mp_lane_unlock(lane);
    return n;
}

/* ---- events ---- */

pond_event_type pond_event_kind(const pond_event *event) { return event->kind; }
uint64_t pond_event_user(const pond_event *event) { return event->user; }
pond_value *pond_event_value(const pond_event *event) { return event->call ? event->call->value : NULL; }
pond_error *pond_event_error(const pond_event *event) { return event->call ? event->call->error : NULL; }
pond_load *pond_event_load(const pond_event *event) { return event->load; }
pond_writing *pond_event_writing(const pond_event *event) { return event->writing; }
pond_batch *pond_event_batch(const pond_event *event) { return event->batch; }
pond_check *pond_event_check(const pond_event *event) { return event->check; }
size_t pond_event_count(const pond_event *event) { return event->call ? event->call->list_len : 0; }

pond_value *pond_event_value_at(const pond_event *event, size_t i) {
    return event->call && i < event->call->list_len ? event->call->list[i] : NULL;
}

void pond_event_free(pond_event *event) {
    if (!event) return;
    pond_load *load = event->load;
    if (event->writing) mp_writing_unref(event->writing);
    else if (event->check) mp_check_unref(event->check);
    else if (event->batch) mp_batch_unref(event->batch);
    else if (event->kind != POND_EVENT_LOAD) event->call->vt->destroy(event->call);
    if (load) mp_load_unref(load);
}

void pond_request_cancel(pond_request *request) {
    mp_lane *lane = request->lane;
    if (mp_lane_inherited(lane)) return;
    mp_lane_lock(lane);
    if (request->ended) { /* its event waits to be taken */
        mp_list_remove(&request->event.node);
        lane->pending--;
        untaken(&request->event);
        mp_lane_kick(lane, false);
    } else {
        mp_call_abort(request, NULL, true);
        mp_lane_kick(lane, false);
    }
    mp_lane_unlock(lane);
}

/* ---- starts ---- */

int mp_queue_enter(pond *p, pond_queue *queue, pond_error **err) {
    if (!queue || queue->lane->pond != p) return mp_fail(err, POND_EMISUSE, "the queue is NULL, or another pond's");
    if (mp_lane_inherited(queue->lane))
        return mp_fail(err, POND_EMISUSE, "the queue was made before fork(), and is the parent's: make a new one");
    mp_lane_lock(queue->lane);
    if (queue->lane->closed) {
        mp_lane_unlock(queue->lane);
        return mp_closed(err);
    }
    mp_loop_touch(queue->lane->loop);
    return POND_OK;
}

int mp_queue_leave(pond_queue *queue, mp_call *call, pond_error **err) {
    mp_lane_unlock(queue->lane);
    return call ? POND_OK : mp_no_memory(err);
}

int mp_queue_read(pond *p, pond_queue *queue, const mp_ask *ask, uint64_t user, pond_request **request,
                  pond_error **err) {
    int code = mp_queue_enter(p, queue, err);
    if (code != POND_OK) return code;
    mp_read *r = mp_read_start(queue->lane, ask, user, NULL, NULL);
    if (request) *request = r ? &r->call : NULL;
    return mp_queue_leave(queue, r ? &r->call : NULL, err);
}

int mp_queue_many(pond *p, pond_queue *queue, const mp_many *what, uint64_t user, pond_request **request,
                  pond_error **err) {
    int code = mp_queue_enter(p, queue, err);
    if (code != POND_OK) {
        free(what->keys);
        return code;
    }
    mp_group *group = mp_group_start(queue->lane, what, user, NULL);
    if (request) *request = group ? &group->call : NULL;
    return mp_queue_leave(queue, group ? &group->call : NULL, err);
}

static int read_start(pond *p, pond_queue *queue, const char *key, size_t len, const pond_policy *policy,
                      const pond_tags *tags, bool lookup, uint64_t user, pond_value **now, pond_request **request,
                      pond_error **err) {
    char name[MP_NAME_MAX + 1];
    mp_key k;
    if (now) *now = NULL;
    int code = mp_call_check(p, key, len, policy, name, &k, err);
    if (code != POND_OK || (now && (*now = mp_peek_tagged(p, policy, &k, tags)))) return code;
    const mp_ask ask = {.policy = policy, .key = &k, .tags = tags, .lookup = lookup};
    return mp_queue_read(p, queue, &ask, user, request, err);
}

int pond_fetch_start(pond *p, pond_queue *queue, const char *key, size_t len, const pond_policy *policy, uint64_t user,
                     pond_value **now, pond_request **request, pond_error **err) {
    return read_start(p, queue, key, len, policy, NULL, false, user, now, request, err);
}

int pond_lookup_start(pond *p, pond_queue *queue, const char *key, size_t len, const pond_policy *policy, uint64_t user,
                      pond_value **now, pond_request **request, pond_error **err) {
    return read_start(p, queue, key, len, policy, NULL, true, user, now, request, err);
}

int pond_fetch_tagged_start(pond *p, pond_queue *queue, const char *key, size_t len, const pond_policy *policy,
                            const pond_tags *tags, uint64_t user, pond_value **now, pond_request **request,
                            pond_error **err) {
    return read_start(p, queue, key, len, policy, tags, false, user, now, request, err);
}

int pond_lookup_tagged_start(pond *p, pond_queue *queue, const char *key, size_t len, const pond_policy *policy,
                             const pond_tags *tags, uint64_t user, pond_value **now, pond_request **request,
                             pond_error **err) {
    return read_start(p, queue, key, len, policy, tags, true, user, now, request, err);
}

int pond_invalidate_tagged_start(pond *p, pond_queue *queue, const char *const *keys, const size_t *lens, size_t n,
                                 const pond_policy *policy, const pond_tags *tags, uint64_t user, pond_error **err) {
    int code = mp_keys_check(p, keys, lens, n, err);
    if (code == POND_OK) code = mp_queue_enter(p, queue, err);
    if (code != POND_OK) return code;
    return mp_queue_leave(queue, mp_invalidate_start(queue->lane, policy, keys, lens, n, tags, user, NULL), err);
}

int pond_invalidate_start(pond *p, pond_queue *queue, const char *const *keys, const size_t *lens, size_t n,
                          const pond_policy *policy, uint64_t user, pond_error **err) {
    return pond_invalidate_tagged_start(p, queue, keys, lens, n, policy, NULL, user, err);
}

int pond_explain_start(pond *p, pond_queue *queue, const char *key, size_t len, const pond_policy *policy,
                       uint64_t user, pond_error **err) {
    char name[MP_NAME_MAX + 1];
    mp_key k;
    int code = mp_call_check(p, key, len, policy, name, &k, err);
    if (code == POND_OK) code = mp_queue_enter(p, queue, err);
    if (code != POND_OK) return code;
    return mp_queue_leave(queue, mp_inspect_start(queue->lane, policy, &k, user, NULL), err);
}

int pond_processes_start(pond *p, pond_queue *queue, uint64_t user, pond_error **err) {
    int code = mp_open_check(p, err);
    if (code == POND_OK) code = mp_queue_enter(p, queue, err);
    if (code != POND_OK) return code;
    return mp_queue_leave(queue, mp_inspect_start(queue->lane, NULL, NULL, user, NULL), err);
}

static int store_start(pond *p, pond_queue *queue, mp_store_kind kind, const char *collection, const char *const *ids,
                       const size_t *lens, size_t n, const char *doc, size_t doc_len, uint64_t user, pond_error **err) {
    int code = mp_store_check(p, collection, ids, lens, n, err);
    if (code == POND_OK) code = mp_queue_enter(p, queue, err);
    if (code != POND_OK) return code;
    const mp_store_args args = {
        .kind = kind, .collection = collection, .ids = ids, .lens = lens, .n = n, .doc = doc, .doc_len = doc_len};
    return mp_queue_leave(queue, mp_store_call_start(queue->lane, &args, user), err);
}

int pond_store_create_start(pond *p, pond_queue *queue, const char *collection, uint64_t user, pond_error **err) {
    return store_start(p, queue, MP_STORE_CREATE, collection, NULL, NULL, 0, NULL, 0, user, err);
}

int pond_store_get_start(pond *p, pond_queue *queue, const char *collection, const char *id, size_t len, uint64_t user,
                         pond_error **err) {
    return store_start(p, queue, MP_STORE_GET, collection, &id, &len, 1, NULL, 0, user, err);
}

int pond_store_get_many_start(pond *p, pond_queue *queue, const char *collection, const char *const *ids,
                              const size_t *lens, size_t n, uint64_t user, pond_error **err) {
    return store_start(p, queue, MP_STORE_GET_MANY, collection, ids, lens, n, NULL, 0, user, err);
}

int pond_store_put_start(pond *p, pond_queue *queue, const char *collection, const char *id, size_t len,
                         const char *doc, size_t doc_len, uint64_t user, pond_error **err) {
    if (!doc && doc_len) return mp_fail(err, POND_EMISUSE, "pond_store_put_start: doc is NULL");
    return store_start(p, queue, MP_STORE_PUT, collection, &id, &len, 1, doc, doc_len, user, err);
}

int pond_store_delete_start(pond *p, pond_queue *queue, const char *collection, const char *id, size_t len,
                            uint64_t user, pond_error **err) {
    return store_start(p, queue, MP_STORE_DELETE, collection, &id, &len, 1, NULL, 0, user, err);
}
