/* The completion queue of one asyncio loop. The loop calls ready() when the descriptor is readable; ready() takes what has come in
 * batches and lets the awaiting tasks go on, one after the other, within that one call. What they start meanwhile is sent at
 * its end; what is started elsewhere, by one flush() at the end of the turn.
 *
 * The loop owns the queue (its reader's callback is bound to it) and the queue holds the loop and what is under way; nothing else
 * holds the queue. So when the loop is closed and lets go of its readers, the queue goes. */
#include "glue.h"

#define BATCH 128
#define ROUNDS 8 /* batches before the loop's other readers have their turn */

/* ---- what is under way ---- */

void mp_py_queue_list(mp_py_queue *queue, mp_await *a) {
    Py_INCREF((PyObject *)a);
    a->queue = queue;
    a->prev = NULL;
    a->next = queue->pending;
    if (a->next) a->next->prev = a;
    queue->pending = a;
}

void mp_py_queue_unlist(mp_await *a) {
    if (a->prev) a->prev->next = a->next;
    else a->queue->pending = a->next;
    if (a->next) a->next->prev = a->prev;
    a->next = a->prev = NULL;
    a->queue = NULL;
}

int mp_py_call_soon(PyObject *loop, PyObject *callback, PyObject *argument, PyObject *context) {
    PyObject *call_soon = PyObject_GetAttr(loop, mp_py.name.call_soon);
    PyObject *args = argument ? PyTuple_Pack(2, callback, argument) : PyTuple_Pack(1, callback);
    PyObject *kwargs = context ? PyDict_New() : NULL, *handle = NULL;
    if (call_soon && args && (!context || (kwargs && PyDict_SetItem(kwargs, mp_py.name.context, context) == 0)))
        handle = PyObject_Call(call_soon, args, kwargs);
    Py_XDECREF(kwargs);
    Py_XDECREF(args);
    Py_XDECREF(call_soon);
    Py_XDECREF(handle);
    return handle ? 0 : -1;
}

int mp_py_queue_touch(mp_py_queue *queue) {
    if (queue->polling || queue->flush_due || !queue->queue) return 0;
    PyObject *flush = PyObject_GetAttr((PyObject *)queue, mp_py.name.flush);
    PyObject *handle = flush ? PyObject_CallFunctionObjArgs(queue->call_soon, flush, NULL) : NULL;
    Py_XDECREF(flush);
    Py_XDECREF(handle);
    if (!handle) return -1;
    queue->flush_due = true;
    return 0;
}

static PyObject *queue_flush(PyObject *object, PyObject *unused) {
    mp_py_queue *self = (mp_py_queue *)object;
    self->flush_due = false;
    if (self->queue) pond_queue_flush(self->queue);
    Py_RETURN_NONE;
}

/* ---- delivery ---- */

static PyObject *list_of(const pond_event *event) {
    size_t n = pond_event_count(event);
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (size_t i = 0; list && i < n; i++) {
        PyObject *document = mp_py_decode(pond_event_value_at(event, i), NULL, NULL);
        if (document) PyList_SetItem(list, (Py_ssize_t)i, document);
        else Py_CLEAR(list);
    }
    return list;
}

static PyObject *result_of(const mp_await *a, const pond_event *event) {
    switch (pond_event_kind(event)) {
    case POND_EVENT_VALUE:
    case POND_EVENT_ABSENT:
    case POND_EVENT_MISS:
        if (a->kind == MP_PY_DELETE) Py_RETURN_FALSE;
        return mp_py_await_value(a, pond_event_value(event));
    case POND_EVENT_OK:
        if (a->kind == MP_PY_DELETE) Py_RETURN_TRUE;
        Py_RETURN_NONE;
    case POND_EVENT_LIST:
        if (a->kind == MP_PY_DONE) Py_RETURN_NONE;
        return a->kind == MP_PY_MANY ? mp_py_many(a, event) : list_of(event);
    default: return mp_py_raise(pond_error_ref(pond_event_error(event)));
    }
}

/* `behind`: the event also brings the value. */
static int start_load(mp_await *a, pond_load *load, bool behind) {
    if (a->queue && a->state == MP_PY_PENDING) return mp_py_load_start(a, load, behind);
    pond_load_fail(load, POND_ECANCELED, "who was to load it was cancelled");
    return 0;
}

static int deliver(mp_await *a, pond_event *event, bool inline_) {
    if (pond_event_kind(event) == POND_EVENT_LOAD) return start_load(a, pond_event_load(event), false);
    if (pond_event_kind(event) == POND_EVENT_CHECK) return mp_py_check_asked(a, pond_event_check(event), inline_);
    if (pond_event_kind(event) == POND_EVENT_WRITE) return mp_py_write_begin(a, pond_event_writing(event), inline_);
    if (pond_event_kind(event) == POND_EVENT_BATCH) return mp_py_batch_begin(a, pond_event_batch(event), inline_);
    int failed = pond_event_load(event) ? start_load(a, pond_event_load(event), true) : 0;
    PyObject *type = NULL, *value, *traceback;
    if (failed)
        PyErr_Fetch(&type, &value, &traceback); /* it must leave the loop, and the value is there all the same */
    if (a->queue) {
        mp_py_queue_unlist(a);
        Py_DECREF((PyObject *)a);
    }
    if (a->state == MP_PY_PENDING) failed |= mp_py_await_end(a, result_of(a, event), inline_);
    if (type) PyErr_Restore(type, value, traceback);
    return failed;
}

static mp_await *of(const pond_event *event) { return (mp_await *)(uintptr_t)pond_event_user(event); }

/* Its call has not ended. */
static bool is_question(const pond_event *event) {
    pond_event_type kind = pond_event_kind(event);
    return kind == POND_EVENT_LOAD || kind == POND_EVENT_WRITE || kind == POND_EVENT_CHECK || kind == POND_EVENT_BATCH;
}

/* Takes one batch and hands it out; how many there were. Exceptions that must leave the loop: the first is left set. */
static size_t take(mp_py_queue *self, bool inline_) {
    pond_event *events[BATCH];
    size_t n = pond_queue_poll(self->queue, events, BATCH, 0);
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    /* A task that goes on may cancel others whose answer is in this very batch, or close the queue. */
    for (size_t i = 0; i < n; i++) {
        mp_await *a = of(events[i]);
        Py_INCREF((PyObject *)a);
        if (is_question(events[i])) continue;
        a->arriving = true;
        a->request = NULL;
    }
    for (size_t i = 0; i < n; i++) {
        mp_await *a = of(events[i]);
        if (deliver(a, events[i], inline_) < 0) {
            if (!type) PyErr_Fetch(&type, &value, &traceback);
            else PyErr_Clear();
        }
        pond_event_free(events[i]);
        Py_DECREF((PyObject *)a);
    }
    PyErr_Restore(type, value, traceback);
    return n;
}

/* Only the loop itself, between tasks, may let a task go on. */
static bool between_tasks(void) {
    PyObject *task = PyObject_CallFunctionObjArgs(mp_py.current_task, NULL);
    if (!task) PyErr_Clear();
    Py_XDECREF(task);
    return task == Py_None;
}

static PyObject *queue_ready(PyObject *object, PyObject *unused) {
    mp_py_queue *self = (mp_py_queue *)object;
    if (!self->queue || self->polling) Py_RETURN_NONE;
    Py_INCREF(object);
    self->polling = true;
    bool inline_ = between_tasks();
    size_t n = BATCH;
    for (int round = 0; round < ROUNDS && n == BATCH && self->queue; round++) n = take(self, inline_);
    self->polling = false;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (self->queue) {
        pond_queue_flush(self->queue);
        if (n == BATCH) { /* more is there, and the descriptor may not say so */
            PyObject *ready = PyObject_GetAttrString(object, "ready");
            if (!ready || mp_py_call_soon(self->loop, ready, NULL, NULL) < 0) PyErr_Clear();
            Py_XDECREF(ready);
        }
    }
    Py_DECREF(object);
    PyErr_Restore(type, value, traceback);
    if (type) return NULL;
    Py_RETURN_NONE;
}

/* ---- life ---- */

typedef enum why { CLOSED, LOOP_CLOSED, GARBAGE } why; /* in the last, whoever awaits is garbage too */

static void shut(mp_py_queue *self, why why) {
    pond_queue *queue = self->queue;
    if (!queue) return;
    self->queue = NULL;
    for (mp_py_queue **at = &self->engine->queues; *at; at = &(*at)->next) {
        if (*at != self) continue;
        *at = self->next;
        break;
    }
    pond_queue_free(queue); /* no event comes any more */
    mp_await *a;
    while ((a = self->pending)) {
        mp_py_queue_unlist(a);
        a->request = NULL;
        if (why == GARBAGE) {
            a->state = MP_PY_CANCELLED;
        } else {
            mp_py_fail(POND_ECLOSED, "the pond was closed in this event loop");
            mp_py_await_end(a, NULL, false);
        }
        Py_DECREF((PyObject *)a);
    }
    mp_py_load *load;
    while ((load = self->loads)) {
        Py_INCREF((PyObject *)load);
        mp_py_load_unlist(load); /* its task answers it, if it goes on */
        PyObject *done =
            load->task && why == CLOSED ? PyObject_CallMethodObjArgs(load->task, mp_py.name.cancel, NULL) : NULL;
        if (!done) PyErr_Clear();
        Py_XDECREF(done);
        if (why != CLOSED) mp_py_load_give_up(load); /* its task does not run any more */
        Py_DECREF((PyObject *)load);
    }
}

static PyObject *queue_close(PyObject *object, PyObject *unused) {
    mp_py_queue *self = (mp_py_queue *)object;
    size_t n = BATCH;
    if (!self->polling) /* what has come is handed out, in the loop's next turn */
        while (n == BATCH && self->queue) n = take(self, false);
    shut(self, CLOSED);
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

static PyObject *queue_fileno(PyObject *object, PyObject *unused) {
    mp_py_queue *self = (mp_py_queue *)object;
    return PyLong_FromLong(self->queue ? pond_queue_fd(self->queue) : -1);
}

static PyObject *queue_pending(PyObject *object, PyObject *unused) {
    mp_py_queue *self = (mp_py_queue *)object;
    return PyLong_FromSize_t(self->queue ? pond_queue_pending(self->queue) : 0);
}

static PyObject *queue_loop(PyObject *object, void *unused) { return Py_NewRef(((mp_py_queue *)object)->loop); }

static int queue_traverse(PyObject *object, visitproc visit, void *arg) {
    mp_py_queue *self = (mp_py_queue *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->loop);
    Py_VISIT(self->call_soon);
    for (mp_await *a = self->pending; a; a = a->next) Py_VISIT((PyObject *)a);
    for (mp_py_load *load = self->loads; load; load = load->next) Py_VISIT((PyObject *)load);
    return 0;
}

static int queue_clear(PyObject *object) {
    mp_py_queue *self = (mp_py_queue *)object;
    shut(self, GARBAGE);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->call_soon);
    return 0;
}

static void queue_dealloc(PyObject *object) {
    PyObject_GC_UnTrack(object);
    queue_clear(object);
    Py_CLEAR(((mp_py_queue *)object)->engine);
    MP_PY_FREE(object);
}

static PyMethodDef queue_methods[] = {
    {"ready", queue_ready, METH_NOARGS, "Delivers what has come; the loop calls it when the descriptor is readable."},
    {"flush", queue_flush, METH_NOARGS, "Sends what was started in this turn."},
    {"close", queue_close, METH_NOARGS, "Hands out what has come, and ends what is under way in this loop."},
    {"fileno", queue_fileno, METH_NOARGS, "The descriptor to watch for reading."},
    {"pending", queue_pending, METH_NOARGS, "Requests without an answer."},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef queue_getset[] = {
    {"loop", queue_loop, NULL, "The loop that drives it.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot queue_slots[] = {
    {Py_tp_traverse, queue_traverse},
    {Py_tp_clear, queue_clear},
    {Py_tp_dealloc, queue_dealloc},
    {Py_tp_methods, queue_methods},
    {Py_tp_getset, queue_getset},
    {Py_tp_doc, "The completion queue of one event loop."},
    {0, NULL},
};
PyType_Spec mp_py_queue_spec = {"millpond._core.Queue", sizeof(mp_py_queue), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                                queue_slots};

static mp_py_queue *queue_for(mp_engine *engine, PyObject *loop) {
    pond_queue *queue;
    pond_error *err = NULL;
    if (pond_queue_new(&queue, engine->pond, &err) != POND_OK) {
        mp_py_raise(err);
        return NULL;
    }
    allocfunc alloc = (allocfunc)PyType_GetSlot(mp_py.queue_type, Py_tp_alloc);
    mp_py_queue *self = (mp_py_queue *)alloc(mp_py.queue_type, 0);
    if (!self) {
        pond_queue_free(queue);
        return NULL;
    }
    self->queue = queue;
    self->engine = (mp_engine *)Py_NewRef((PyObject *)engine);
    self->loop = Py_NewRef(loop);
    self->next = engine->queues;
    engine->queues = self;
    self->call_soon = PyObject_GetAttr(loop, mp_py.name.call_soon);
    PyObject *attached =
        self->call_soon ? PyObject_CallFunctionObjArgs(mp_py.attach, (PyObject *)self, loop, NULL) : NULL;
    bool owned = attached && Py_REFCNT((PyObject *)self) > 1;
    Py_XDECREF(attached);
    Py_DECREF((PyObject *)self); /* from here on the loop's */
    if (owned) return self;
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_RuntimeError, "the event loop does not keep its readers");
    return NULL;
}

/* A loop that was closed lets go of its queue when it is collected, which may be long after: with a loop for every test or job
 * descriptors would run out meanwhile. */
static bool is_closed(PyObject *loop) {
    PyObject *closed = PyObject_CallMethodObjArgs(loop, mp_py.name.is_closed, NULL);
    if (!closed) PyErr_Clear();
    Py_XDECREF(closed);
    return closed == Py_True;
}

/* New reference. Each question may let another thread run, which closes its loop and frees that loop's queue: the one that is asked
 * about is held, and behind one that has left the list meanwhile the search begins anew. */
static mp_py_queue *of_closed_loop(mp_engine *engine) {
    mp_py_queue *queue = engine->queues, *next;
    Py_XINCREF((PyObject *)queue);
    for (; queue; queue = next) {
        bool closed = is_closed(queue->loop), listed = queue->queue;
        if (closed && listed) return queue;
        next = listed ? queue->next : engine->queues;
        Py_XINCREF((PyObject *)next);
        Py_DECREF((PyObject *)queue);
    }
    return NULL;
}

static void shut_those_of_closed_loops(mp_engine *engine) {
    for (mp_py_queue *queue; (queue = of_closed_loop(engine));) {
        shut(queue, LOOP_CLOSED);
        PyErr_Clear();
        Py_DECREF((PyObject *)queue);
    }
}

mp_py_queue *mp_py_queue_of(mp_engine *engine, PyObject *loop) {
    mp_py_queue *queue = engine->queues;
    while (queue && (queue->loop != loop || pond_queue_fd(queue->queue) < 0)) /* -1: the parent's, by fork() */
        queue = queue->next;
    return queue;
}

mp_py_queue *mp_py_queue_here(mp_engine *engine) {
    if (!engine) {
        mp_py_not_open();
        return NULL;
    }
    PyObject *loop = PyObject_CallFunctionObjArgs(mp_py.running_loop, NULL);
    if (!loop) {
        PyErr_Clear(); /* no running loop */
        return NULL;
    }
    mp_py_queue *queue = mp_py_queue_of(engine, loop);
    if (!queue) {
        shut_those_of_closed_loops(engine);
        queue = queue_for(engine, loop);
    }
    Py_DECREF(loop); /* the queue holds it */
    return queue;
}
