#include "pattern/change.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/quote.h"
#include "pattern/behind/accept.h"
#include "pattern/behind/backlog.h"
#include "pattern/load.h"
#include "pattern/pond.h"
#include "pattern/wait.h"

typedef enum step_kind { MAKE_READY, JUDGE, APPLY, TAKE_EPOCH } step_kind;

/* The whole change; the host knows it as what it is asked to judge. Whoever does a step has it for himself meanwhile. */
struct pond_check {
    _Atomic uint32_t refs; /* the call, the event, and whoever does the step or owes an answer */
    pond_event event;
    mp_job job;
    mp_lane *lane;
    pond_collection *collection;
    mp_write *write;       /* lane's lock; NULL: nobody waits for it any more */
    pond_writing *writing; /* the intents stand, and an answer is owed */
    mp_change change;
    mp_accept *accept; /* lane's lock; write=behind: instead of a write; NULL else */
    pond_value *base;  /* of an UPDATE that is accepted: what it was made of */
    int64_t by;        /* of an INCREMENT */
    bool checked;
    step_kind step;
    bool waits;            /* lane's lock: the step is for the blocking caller, who has not taken it */
    bool offered;          /* lane's lock: the host has not taken the event */
    _Atomic bool answered; /* of a JUDGE */
    int code;              /* of a MAKE_READY */
    pond_error *error;
    bool settled;     /* of an APPLY: it is known what came of it, */
    pond_error *left; /* and with what error */
    char bytes[];
};

/* ---- its life ---- */

static pond_check *new_change(mp_lane *lane, const mp_change_args *args) {
    pond_check *c = calloc(1, sizeof *c + args->id_len + 1 + args->len + 1);
    if (!c) return NULL;
    c->refs = 1;
    c->lane = lane;
    mp_lane_ref(lane);
    c->collection = pond_collection_ref(args->collection);
    c->checked = args->checked && args->kind != MP_CHANGE_DELETE;
    c->by = args->by;
    c->change = (mp_change){.kind = args->kind,
                            .collection = args->collection->name,
                            .id = memcpy(c->bytes, args->id, args->id_len),
                            .id_len = args->id_len,
                            .id_made = args->id_made,
                            .text = c->bytes + args->id_len + 1,
                            .len = args->len};
    if (args->len) memcpy(c->bytes + args->id_len + 1, args->text, args->len);
    return c;
}

static mp_store *store_of(const pond_check *c) { return c->collection->pond->store; }

static pond_check *ref(pond_check *c) {
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void mp_check_unref(pond_check *c) {
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1) return;
    mp_lane *lane = c->lane;
    store_of(c)->vt->discard(store_of(c), &c->change);
    mp_accept_free(c->accept);
    pond_value_free(c->base);
    pond_error_free(c->left);
    pond_error_free(c->error);
    pond_collection_free(c->collection);
    free(c);
    mp_lane_unref(lane);
}

pond_value *mp_change_result(const pond_check *c) {
    return c->change.document ? pond_value_ref(c->change.document) : NULL;
}

/* ---- what came of it ---- */

static pond_error *none_there(const mp_change *change) {
    char id[MP_QUOTE_MAX];
    return mp_error_new(POND_EABSENT, "%.64s %s: there is no such document", change->collection,
                        mp_quote(id, change->id, change->id_len));
}

static pond_error *one_there(const mp_change *change) {
    char id[MP_QUOTE_MAX];
    return mp_error_new(POND_EDUPLICATE, "%.64s %s: there is such a document already: replace or update it",
                        change->collection, mp_quote(id, change->id, change->id_len));
}

/* Lock held. Nothing was written, nor will be. Takes over the error, which nobody may want any more. */
static void give_up(pond_check *c, pond_error *error) {
    if (c->writing) mp_writing_answer_here(c->writing, POND_NOT_WRITTEN, error);
    else if (c->write) mp_write_refuse(c->write, error);
    else pond_error_free(error);
    c->writing = NULL;
    c->write = NULL;
}

static pond_error *nobody_waits(void) { return mp_error_new(POND_ECANCELED, "the request was cancelled"); }

/* ---- from step to step: lane's lock held ---- */

static void work(mp_job *job, bool refused);

static void start(pond_check *c, step_kind step) {
    c->step = step;
    if (c->write->call.waiter) {
        c->waits = true;
        mp_waiter_wake(c->write->call.waiter);
        return;
    }
    mp_pool *pool = mp_pond_pool(c->lane->pond);
    c->job.run = work;
    ref(c);
    if (pool && mp_pool_submit(pool, &c->job)) return;
    give_up(c, mp_error_new(POND_ENOMEM, "no thread for a call to the store"));
    mp_check_unref(c);
}

static void ask_host(pond_check *c) {
    c->step = JUDGE;
    atomic_store(&c->answered, false);
    ref(c); /* the answer's */
    if (c->write->call.waiter) {
        c->waits = true;
        mp_waiter_wake(c->write->call.waiter);
        return;
    }
    c->offered = true;
    ref(c);              /* the event's */
    if (!c->event.check) /* asked again: the host may be freeing the first one just now */
        c->event = (pond_event){.kind = POND_EVENT_CHECK, .user = c->write->call.event.user, .check = c};
    mp_list_init(&c->event.node);
    mp_call_push_event(c->lane, &c->event);
}

/* Into the backlog, instead of the store. */
static void accept(pond_check *c) {
    mp_change_kind kind = c->change.kind;
    mp_expect expect = kind == MP_CHANGE_CREATE   ? MP_EXPECT_ABSENT
                       : kind == MP_CHANGE_UPDATE ? MP_EXPECT_VERSION
                                                  : MP_EXPECT_ANY;
    c->write->call.quiet = true; /* no signal can undo it any more */
    if (kind == MP_CHANGE_INCREMENT) {
        mp_accept_increment(c->accept, c->change.text, c->change.len, c->by);
        return;
    }
    mp_accept_send(c->accept, expect, c->base ? c->base->version : 0,
                   c->change.document ? c->change.document : mp_value_absent());
}

static void accepted(mp_accept *a, mp_accepted how) {
    pond_check *c = a->owner;
    pond_error *error = a->error;
    a->error = NULL;
    c->write->call.quiet = false;
    switch (how) {
    case MP_ACCEPTED:
        mp_write_accepted(c->write);
        c->write = NULL;
        return;
    case MP_ACCEPT_READ: start(c, MAKE_READY); return;
    case MP_ACCEPT_EPOCH: start(c, TAKE_EPOCH); return;
    case MP_ACCEPT_EXISTS: give_up(c, one_there(&c->change)); return;
    case MP_ACCEPT_NONE: give_up(c, none_there(&c->change)); return;
    default: give_up(c, error);
    }
}

static void go_on(pond_check *c) {
    if (c->writing) start(c, APPLY);
    else if (c->accept) accept(c);
    else mp_write_begin(c->write);
}

/* It is ready, or cannot be made so. */
static void ready(pond_check *c) {
    pond_error *error = c->error;
    c->error = NULL;
    if (c->code != POND_OK) give_up(c, error);
    else if (!c->write) give_up(c, nobody_waits());
    else if (c->change.kind == MP_CHANGE_UPDATE && !c->change.document) give_up(c, none_there(&c->change));
    else if (c->checked) ask_host(c);
    else go_on(c);
}

void mp_change_begun(pond_check *c, pond_writing *writing) {
    c->writing = writing;
    c->change.until = mp_writing_until(writing);
    start(c, APPLY);
}

void mp_change_unhook(pond_check *c) {
    c->write = NULL;
    if (c->accept) mp_accept_leave(c->accept);
    bool owed = c->waits && c->step == JUDGE; /* by the thread that does not come any more */
    if (c->offered) {
        mp_list_remove(&c->event.node);
        mp_check_unref(c); /* the event's */
        owed = true;
    }
    if (c->writing && (c->waits || c->offered)) give_up(c, nobody_waits());
    c->waits = c->offered = false;
    if (owed) mp_check_unref(c); /* not the last: the call has one */
}

/* ---- the steps: no lock held ---- */

/* What the document is now, by whatever was accepted: of an UPDATE, and of a CREATE if nobody knows; what reads it folds the increments that wait, and
 * so makes room for more. */
static int read_base(pond_check *c, pond_error **err) {
    pond_collection *documents = c->collection;
    const mp_ask ask = {.policy = documents->document, .key = &c->accept->op.key, .source = &documents->documents};
    pond_value_free(c->base);
    c->base = NULL;
    return mp_wait_read(documents->pond, &ask, true, mp_source_loader, &documents->documents, &c->base, err);
}

static int make_ready_behind(pond_check *c, pond_error **err) {
    mp_change *change = &c->change;
    int code = mp_collection_ready(c->collection, err);
    bool reads = change->kind == MP_CHANGE_UPDATE || c->accept->tries > 0;
    if (code == POND_OK && reads) code = read_base(c, err);
    if (code != POND_OK && err && *err) *err = mp_accept_nothing(*err, "");
    if (code != POND_OK || change->kind == MP_CHANGE_INCREMENT) return code;
    change->based = change->kind == MP_CHANGE_UPDATE;
    change->base = c->base;
    return store_of(c)->vt->ready(store_of(c), change, err);
}

static void make_ready(pond_check *c) {
    mp_store *store = store_of(c);
    store->vt->discard(store, &c->change);
    c->code = c->accept ? make_ready_behind(c, &c->error) : store->vt->ready(store, &c->change, &c->error);
}

/* The change, and what is told of it: by the store's outbox together with it, or once it is known. */
static mp_applied apply_and_tell(pond_check *c, pond_error **error) {
    const pond_collection *collection = c->collection;
    mp_notifier *notifier = &collection->pond->notifier;
    mp_event *event = NULL;
    if (collection->tells)
        event = mp_event_new(collection, c->change.kind, c->change.id, c->change.id_len, c->change.document);
    if (collection->outbox && !event) {
        mp_fail(error, POND_ENOMEM, "%.64s: no memory for what is to be told of the change", c->change.collection);
        return MP_NOT_APPLIED;
    }
    if (collection->tells && !event) mp_count(collection->document->space->stats, MP_COUNT_lost_events);
    c->change.event = collection->outbox ? &event->text : NULL;
    mp_applied applied = store_of(c)->vt->apply(store_of(c), &c->change, error);
    c->change.event = NULL;
    if (applied == MP_APPLIED && event && !collection->outbox) {
        mp_notifier_post(notifier, event);
        return applied;
    }
    mp_event_free(event);
    if (collection->outbox && (applied == MP_APPLIED || applied == MP_IN_DOUBT)) mp_notifier_look(notifier);
    return applied;
}

/* True: it is known what came of it, as far as it can be. */
static bool apply(pond_check *c) {
    pond_error *error = NULL;
    const mp_options *o = &c->collection->document->options;
    pond_outcome outcome = POND_NOT_WRITTEN;
    switch (apply_and_tell(c, &error)) {
    case MP_OVERTAKEN: return false;
    case MP_THERE_IS_NONE: error = none_there(&c->change); break;
    case MP_THERE_IS_ONE: error = one_there(&c->change); break;
    case MP_NOT_APPLIED: break;
    case MP_IN_DOUBT: outcome = POND_UNKNOWN; break;
    case MP_APPLIED:
        outcome = POND_COMMITTED;
        if (o->write == MP_WRITE_ASIDE) break;
        if (c->change.document) {
            mp_writing_put(c->writing, c->change.document, o->ttl);
        } else {
            pond_value *absent = mp_value_absent();
            mp_writing_put(c->writing, absent, o->negative_ttl);
            pond_value_free(absent);
        }
    }
    pond_writing *writing = c->writing;
    c->writing = NULL;
    c->left = pond_error_ref(error);
    c->settled = true;
    mp_writing_answer(writing, outcome, error);
    return true;
}

static bool wanted(pond_check *c) {
    mp_lane_lock(c->lane);
    bool wanted = c->write != NULL;
    if (!wanted) give_up(c, nobody_waits());
    mp_lane_unlock(c->lane);
    return wanted;
}

/* Somebody else has changed what it was computed from: then it is made ready anew, while its intents stand. That has an end: the
 * store does not apply it when they no longer do. */
static void run(pond_check *c) {
    if (c->step == APPLY) {
        if (!wanted(c) || apply(c)) return;
        for (make_ready(c); !c->checked && c->code == POND_OK && c->change.document; make_ready(c))
            if (apply(c)) return;
    } else if (c->step == TAKE_EPOCH) {
        c->code = mp_backlog_epoch(c->collection->behind, c->accept->seen, &c->error);
        if (c->code != POND_OK)
            c->error = mp_accept_nothing(c->error, "the first changes after a start of Redis need the store: ");
    } else {
        make_ready(c);
    }
    mp_lane_lock(c->lane);
    mp_loop_touch(c->lane->loop);
    if (c->step == TAKE_EPOCH && c->code == POND_OK && c->write) go_on(c);
    else ready(c);
    mp_lane_kick(c->lane, false);
    mp_lane_unlock(c->lane);
}

static void work(mp_job *job, bool refused) {
    pond_check *c = MP_OF(job, pond_check, job);
    if (refused) {
        mp_lane_lock(c->lane);
        give_up(c, mp_error_new(POND_ECLOSED, "the pond is closed"));
        mp_lane_unlock(c->lane);
    } else {
        run(c);
    }
    mp_check_unref(c);
}

/* ---- the blocking caller ---- */

pond_check *mp_change_take(mp_call *call) {
    pond_check *c = MP_OF(call, mp_write, call)->change;
    if (!c->waits) return NULL;
    c->waits = false;
    call->quiet = c->step == APPLY; /* no signal can undo it any more */
    return ref(c);
}

void mp_change_run(pond_check *c, pond_checker checker, void *ctx) {
    if (c->step == JUDGE) {
        mp_frame here; /* a close waits for it */
        mp_frame_enter(&here, c->lane->pond, NULL);
        checker(c, ctx);
        mp_frame_leave(&here);
        if (!atomic_load(&c->answered)) pond_check_fail(c, "the checker returned without an answer");
    } else {
        run(c);
    }
}

void mp_change_leave(pond_check *c, mp_call *call) {
    if (c->lane->closed && c->settled) {
        pond_error_free(call->error);
        call->error = pond_error_ref(c->left);
        if (!call->error && !call->value) call->value = mp_change_result(c);
        call->event.kind = call->error ? POND_EVENT_ERROR : call->value ? POND_EVENT_VALUE : POND_EVENT_OK;
    }
    mp_check_unref(c);
}

/* ---- the host's judgement ---- */

void mp_check_take(pond_check *c) { c->offered = false; }

const pond_value *pond_check_document(const pond_check *c) { return c->change.document; }

/* Takes over the error; NULL: it may go on. */
static int answer(pond_check *c, pond_error *error) {
    if (atomic_exchange(&c->answered, true)) {
        pond_error_free(error);
        return POND_EMISUSE;
    }
    mp_lane *lane = c->lane;
    if (mp_lane_inherited(lane)) { /* the parent answers it; what a child says goes nowhere */
        pond_error_free(error);
        mp_check_unref(c);
        return POND_ECLOSED;
    }
    mp_lane_lock(lane);
    mp_loop_touch(lane->loop);
    if (error || !c->write) give_up(c, error ? error : nobody_waits());
    else go_on(c);
    mp_lane_kick(lane, false);
    mp_lane_unlock(lane);
    mp_check_unref(c);
    return POND_OK;
}

int pond_check_pass(pond_check *c) { return answer(c, NULL); }

int pond_check_fail(pond_check *c, const char *message) {
    return answer(c, mp_error_new(POND_EINVALID, "%s", message ? message : "the validation rejected the document"));
}

int pond_check_fail_with(pond_check *c, const char *message, const void *owner, void *object,
                         void (*release)(void *object)) {
    return answer(c, mp_error_with(POND_EINVALID, message ? message : "the validation rejected the document", owner,
                                   object, release));
}

/* ---- the start ---- */

/* What is accepted without a look at what there is needs no other thread. */
static bool at_once(pond_check *c) {
    if (!c->accept || c->change.kind == MP_CHANGE_UPDATE || !atomic_load(&c->collection->behind->opened) ||
        (c->collection->ack == MP_ON_DISK && !atomic_load(&c->collection->ack_known)))
        return false;
    make_ready(c);
    ready(c);
    return true;
}

mp_call *mp_change_start(mp_lane *lane, const mp_change_args *args, uint64_t user, mp_waiter *waiter) {
    const pond_collection *collection = args->collection;
    char name[MP_NAME_MAX + 1];
    mp_key key;
    mp_collection_key(collection, &key, name, args->id, args->id_len);
    const char *const keys[] = {key.name + key.ns_len + 1};
    const size_t lens[] = {key.len - key.ns_len - 1};
    pond_check *c = new_change(lane, args);
    if (c && collection->behind) {
        c->accept = mp_accept_new(lane, collection, args->id, args->id_len);
        if (!c->accept) {
            mp_check_unref(c);
            return NULL;
        }
        c->accept->owner = c;
        c->accept->done = accepted;
    }
    mp_write *w = c ? mp_write_new(lane, collection->document, keys, lens, 1, collection->pages, user, waiter) : NULL;
    if (!w) {
        if (c) mp_check_unref(c); /* not the lane's last reference: the queue, or the pond, has one */
        return NULL;
    }
    w->change = c; /* its reference */
    c->write = w;
    if (!at_once(c)) start(c, MAKE_READY);
    return &w->call;
}
