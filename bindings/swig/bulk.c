/* Bulk: fetch_many and set_many. The Python layer (_bulk.py) runs the loader of many and hands back what it gave; awaited, in a task: the
 * call is a chain of steps, each of which gives a batch to load, or the answer. */
#include "glue.h"

typedef struct batch {
    PyObject_HEAD pond_batch *batch; /* NULL once answered */
    mp_engine *engine;
    mp_await *end; /* of the call, and what it comes to after this; NULL in one that blocks */
    mp_await *next;
    PyObject *keys, *ns; /* list of str, str */
    mp_extras extras;
} batch;

/* ---- a batch ---- */

/* The core's handle, to be answered by the caller; NULL: it was. */
static pond_batch *take(batch *self) {
    pond_batch *b = self->batch;
    self->batch = NULL;
    if (b) self->engine->loads--;
    return b;
}

static void answered(batch *self) {
    mp_py_queue *queue = self->end ? self->end->queue : NULL;
    if (queue && mp_py_queue_touch(queue) < 0) PyErr_Clear(); /* the loop is closed */
}

static PyObject *names(const pond_batch *b) {
    size_t n = pond_batch_count(b);
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (size_t i = 0; list && i < n; i++) {
        size_t len;
        const char *key = pond_batch_key(b, i, &len);
        PyObject *text = PyUnicode_DecodeUTF8(key, (Py_ssize_t)len, NULL);
        if (text) PyList_SetItem(list, (Py_ssize_t)i, text);
        else Py_CLEAR(list);
    }
    return list;
}

static PyObject *make(pond_batch *b, mp_engine *engine, PyObject *ns, const mp_extras *extras, mp_await *end) {
    allocfunc alloc = (allocfunc)PyType_GetSlot(mp_py.batch_type, Py_tp_alloc);
    batch *self = (batch *)alloc(mp_py.batch_type, 0);
    if (!self) {
        pond_batch_fail(b, POND_ENOMEM, "no memory to run the loader");
        return NULL;
    }
    self->batch = b;
    self->engine = (mp_engine *)Py_NewRef((PyObject *)engine);
    engine->loads++;
    self->end = end ? (mp_await *)Py_NewRef((PyObject *)end) : NULL;
    self->next = end ? (mp_await *)Py_NewRef((PyObject *)end->begin) : NULL;
    self->ns = Py_NewRef(ns);
    self->extras = *extras;
    mp_py_extras_own(&self->extras);
    if (!(self->keys = names(b))) Py_CLEAR(self);
    return (PyObject *)self;
}

static int put(batch *self, size_t i, PyObject *value) {
    if (value == Py_None) {
        if (self->batch) pond_batch_absent(self->batch, i, 0);
        return 0;
    }
    unsigned flags = 0;
    mp_payload payload;
    if (self->extras.should_cache) {
        PyObject *verdict = PyObject_CallFunctionObjArgs(self->extras.should_cache, value, NULL);
        int yes = verdict ? PyObject_IsTrue(verdict) : -1;
        Py_XDECREF(verdict);
        if (yes < 0) return -1;
        if (!yes) flags = POND_LOAD_UNCACHED;
    }
    if (mp_py_encode(value, &self->extras, &payload) < 0) return -1;
    /* Whatever that has called may have ended the batch. What is wrong with the value, the call ends with. */
    if (self->batch) pond_batch_value(self->batch, i, payload.data, payload.len, payload.codec, flags);
    Py_XDECREF(payload.owner);
    return 0;
}

/* _answer(values): a list, as long as the keys; None: there is no such thing. An exception: nothing has been answered. */
static PyObject *batch_answer(PyObject *object, PyObject *values) {
    batch *self = (batch *)object;
    Py_ssize_t n = PyList_Size(self->keys);
    if (!PyList_Check(values) || PyList_Size(values) != n)
        return PyErr_Format(PyExc_TypeError, "_answer() takes a list of %zd values", n);
    for (Py_ssize_t i = 0; i < n && i < PyList_Size(values); i++) {
        PyObject *value = Py_NewRef(PyList_GetItem(values, i));
        int failed = put(self, (size_t)i, value);
        Py_DECREF(value);
        if (failed) return NULL;
    }
    pond_batch *b = take(self);
    if (b) {
        Py_BEGIN_ALLOW_THREADS pond_batch_done(b);
        Py_END_ALLOW_THREADS
    }
    answered(self);
    Py_RETURN_NONE;
}

/* _fail(exception) -> whether it had not been answered. */
static PyObject *batch_fail(PyObject *object, PyObject *exception) {
    batch *self = (batch *)object;
    if (!PyExceptionInstance_Check(exception)) return PyErr_Format(PyExc_TypeError, "_fail() takes an exception");
    pond_batch *b = take(self);
    if (b) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        Py_XDECREF(mp_py_fail_batch(b));
    }
    answered(self);
    return PyBool_FromLong(b != NULL);
}

static PyObject *batch_keys(PyObject *object, void *unused) {
    batch *self = (batch *)object;
    return PyList_GetSlice(self->keys, 0, PyList_Size(self->keys));
}

static PyObject *batch_next(PyObject *object, void *unused) {
    batch *self = (batch *)object;
    return Py_NewRef(self->next ? (PyObject *)self->next : Py_None);
}

static PyObject *batch_idents(PyObject *object, void *unused) {
    batch *self = (batch *)object;
    Py_ssize_t n = PyList_Size(self->keys);
    PyObject *idents = PyTuple_New(n);
    for (Py_ssize_t i = 0; idents && i < n; i++) {
        PyObject *one = mp_py_ident(self->engine, self->ns, PyList_GetItem(self->keys, i));
        if (one) PyTuple_SetItem(idents, i, one);
        else Py_CLEAR(idents);
    }
    return idents;
}

static int batch_traverse(PyObject *object, visitproc visit, void *arg) {
    batch *self = (batch *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT((PyObject *)self->end);
    Py_VISIT((PyObject *)self->next);
    Py_VISIT(self->keys);
    MP_PY_EXTRAS_VISIT(&self->extras);
    return 0;
}

static int batch_clear(PyObject *object) {
    batch *self = (batch *)object;
    pond_batch *b = take(self);
    if (b) pond_batch_fail(b, POND_ECANCELED, "the task that loaded it is gone");
    Py_CLEAR(self->end);
    Py_CLEAR(self->next);
    Py_CLEAR(self->keys);
    Py_CLEAR(self->ns);
    mp_py_extras_clear(&self->extras);
    return 0;
}

static void batch_dealloc(PyObject *object) {
    PyObject_GC_UnTrack(object);
    batch_clear(object);
    Py_CLEAR(((batch *)object)->engine);
    MP_PY_FREE(object);
}

static PyMethodDef batch_methods[] = {
    {"_answer", batch_answer, METH_O, "What the loader gave."},
    {"_fail", batch_fail, METH_O, "What the loader raised."},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef batch_getset[] = {
    {"keys", batch_keys, NULL, "What is to be loaded.", NULL},
    {"next", batch_next, NULL, "What the call comes to after this: another batch, or its answer.", NULL},
    {"idents", batch_idents, NULL, "What is loaded: compared with what a loader asks for.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot batch_slots[] = {
    {Py_tp_traverse, batch_traverse},
    {Py_tp_clear, batch_clear},
    {Py_tp_dealloc, batch_dealloc},
    {Py_tp_methods, batch_methods},
    {Py_tp_getset, batch_getset},
    {Py_tp_doc, "Loads of one call, to be done together."},
    {0, NULL},
};
PyType_Spec mp_py_batch_spec = {"millpond._core.Batch", sizeof(batch), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                                batch_slots};

/* ---- fetch_many ---- */

static int parse(mp_handle *self, const char *method, Py_ssize_t wanted, int takes, PyObject *const *args, Py_ssize_t n,
                 PyObject *kwnames, mp_py_call *call, mp_keys *keys) {
    if (n != wanted || !PyTuple_Check(args[0])) {
        PyErr_Format(PyExc_TypeError, "_%s() takes a tuple of keys first", method);
        return -1;
    }
    if (mp_py_parse(self, method, MP_PY_KEYS | takes, args, n, kwnames, call) < 0) return -1;
    if (mp_py_keys_of(keys, args[0]) == 0) return 0;
    mp_py_call_clear(call);
    return -1;
}

enum { FETCHES = MP_PY_IN | MP_PY_OUT | MP_PY_TAGS };

typedef struct waiting {
    mp_block block;
    mp_engine *engine;
    const mp_py_call *call;
    PyObject *body;
    PyObject *own; /* what the loader raised for this caller alone */
} waiting;

/* The core calls this in the thread that called pond_fetch_many, without the GIL. */
static void load(pond_batch *b, void *ctx) {
    waiting *w = ctx;
    PyEval_RestoreThread(w->block.thread);
    PyObject *object = make(b, w->engine, w->call->plan->ns, &w->call->extras, NULL);
    PyObject *done = object ? PyObject_CallFunctionObjArgs(w->body, object, NULL) : NULL;
    if (!done) {
        Py_XDECREF(w->own);
        w->own = mp_py_take_exception();
    }
    pond_batch *left =
        object ? take((batch *)object) : NULL; /* a traceback may keep the object longer than the batch lives */
    Py_XDECREF(done);
    Py_XDECREF(object);
    w->block.thread = PyEval_SaveThread();
    if (left) pond_batch_fail(left, POND_ECANCELED, "the loader was interrupted");
}

static PyObject *decode_all(pond_value *const *values, PyObject *keys, const mp_extras *extras) {
    Py_ssize_t n = PyTuple_Size(keys);
    PyObject *list = PyList_New(n);
    for (Py_ssize_t i = 0; list && i < n; i++) {
        PyObject *one = mp_py_decode(values[i], extras, PyTuple_GetItem(keys, i));
        if (one) PyList_SetItem(list, i, one);
        else Py_CLEAR(list);
    }
    return list;
}

/* _fetch_many(keys, body, discard, **options): body(batch) runs the loader; `discard`: the answer is not wanted. */
PyObject *mp_py_sync_fetch_many(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    mp_handle *self = (mp_handle *)object;
    mp_py_call call;
    mp_keys keys;
    if (parse(self, "fetch_many", 3, FETCHES, args, n, kwnames, &call, &keys) < 0) return NULL;
    PyObject *result = NULL;
    pond_value **values = PyMem_Calloc(keys.n + 1, sizeof *values);
    if (!values) {
        PyErr_NoMemory();
        goto done;
    }
    waiting w = {.engine = self->engine, .call = &call, .body = args[1]};
    pond_error *err = NULL;
    mp_py_block(&w.block);
    int code = pond_fetch_many(self->engine->pond, keys.keys, keys.lens, keys.n, call.plan->policy, call.tags, load, &w,
                               values, &err);
    int signalled = mp_py_unblock(&w.block);
    if (signalled) pond_error_free(err);
    else if (w.own)
        pond_error_free(err), PyErr_SetObject((PyObject *)Py_TYPE(w.own), w.own); /* whatever else there is */
    else if (code != POND_OK) mp_py_raise(err);
    else result = args[2] == Py_True ? Py_NewRef(Py_None) : decode_all(values, args[0], &call.extras);
    Py_XDECREF(w.own);
    for (size_t i = 0; code == POND_OK && i < keys.n; i++) pond_value_free(values[i]);
done:
    PyMem_Free(values);
    mp_py_keys_free(&keys);
    mp_py_call_clear(&call);
    return result;
}

static bool asks_for_its_own(mp_handle *self, const mp_plan *plan, PyObject *keys) {
    for (Py_ssize_t i = 0; self->engine->loads > 0 && i < PyTuple_Size(keys); i++) {
        if (!mp_py_loading(self->engine, plan->ns, PyTuple_GetItem(keys, i))) continue;
        mp_py_fail(POND_EDEADLOCK, "the loader of %R asks for the same key, and would wait for itself",
                   PyTuple_GetItem(keys, i));
        return true;
    }
    return false;
}

/* _fetch_many(keys, discard, **options) -> (step, end): a step gives a batch, or the answer. */
PyObject *mp_py_loop_fetch_many(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    mp_handle *self = (mp_handle *)object;
    mp_py_call call;
    mp_keys keys;
    if (parse(self, "fetch_many", 2, FETCHES, args, n, kwnames, &call, &keys) < 0) return NULL;
    PyObject *pair = NULL;
    bool own = asks_for_its_own(self, call.plan, args[0]);
    mp_py_queue *queue = own ? NULL : mp_py_queue_here(self->engine);
    mp_await *step = queue ? mp_py_await_new(queue, MP_PY_DONE) : NULL;
    mp_await *end = step ? mp_py_await_new(queue, args[1] == Py_True ? MP_PY_DONE : MP_PY_MANY) : NULL;
    if (end) {
        end->begin = (mp_await *)Py_NewRef((PyObject *)step);
        end->key = Py_NewRef(args[0]);
        end->ns = Py_NewRef(call.plan->ns);
        end->extras = call.extras;
        mp_py_extras_own(&end->extras);
        pond_error *err = NULL;
        int code = pond_fetch_many_start(self->engine->pond, queue->queue, keys.keys, keys.lens, keys.n,
                                         call.plan->policy, call.tags, (uint64_t)(uintptr_t)end, &end->request, &err);
        mp_py_started(end, queue, code, NULL, err);
        pair = PyTuple_Pack(2, (PyObject *)step, (PyObject *)end);
    } else if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_RuntimeError, "fetch_many() runs in an event loop");
    }
    Py_XDECREF((PyObject *)step);
    Py_XDECREF((PyObject *)end);
    mp_py_keys_free(&keys);
    mp_py_call_clear(&call);
    return pair;
}

int mp_py_batch_begin(mp_await *end, pond_batch *b, bool inline_) {
    mp_await *step = end->begin;
    if (!step || step->state != MP_PY_PENDING || !end->queue) {
        pond_batch_fail(b, POND_ECANCELED, "who was to load it was cancelled");
        return 0;
    }
    end->begin = mp_py_await_new(end->queue, MP_PY_DONE);
    PyObject *object = end->begin ? make(b, end->queue->engine, end->ns, &end->extras, end) : NULL;
    if (!end->begin) pond_batch_fail(b, POND_ENOMEM, "no memory to run the loader");
    int failed = mp_py_await_end(step, object, inline_);
    Py_DECREF((PyObject *)step);
    return failed;
}

PyObject *mp_py_many(const mp_await *end, const pond_event *event) {
    size_t n = pond_event_count(event);
    pond_value **values = PyMem_Calloc(n + 1, sizeof *values);
    if (!values) return PyErr_NoMemory();
    for (size_t i = 0; i < n; i++) values[i] = pond_event_value_at(event, i);
    PyObject *list = decode_all(values, end->key, &end->extras);
    PyMem_Free(values);
    return list;
}

/* ---- set_many ---- */

typedef struct entries {
    size_t n;
    mp_payload *payloads;
    const void **data;
    size_t *lens;
    pond_codec *codecs;
} entries;

static void entries_free(entries *e) {
    for (size_t i = 0; e->payloads && i < e->n; i++) Py_XDECREF(e->payloads[i].owner);
    PyMem_Free(e->payloads);
    PyMem_Free(e->data);
    PyMem_Free(e->lens);
    PyMem_Free(e->codecs);
}

/* A tuple of values, encoded; None is an absence. */
static int encode_all(entries *e, PyObject *values, const mp_extras *extras) {
    size_t n = (size_t)PyTuple_Size(values);
    *e = (entries){.payloads = PyMem_Calloc(n + 1, sizeof *e->payloads),
                   .data = PyMem_Calloc(n + 1, sizeof *e->data),
                   .lens = PyMem_Calloc(n + 1, sizeof *e->lens),
                   .codecs = PyMem_Calloc(n + 1, sizeof *e->codecs)};
    if (!e->payloads || !e->data || !e->lens || !e->codecs) {
        PyErr_NoMemory();
        return -1;
    }
    for (; e->n < n; e->n++) {
        PyObject *value = PyTuple_GetItem(values, (Py_ssize_t)e->n);
        mp_payload *payload = &e->payloads[e->n];
        if (value == Py_None) continue;
        if (mp_py_encode(value, extras, payload) < 0) return -1;
        e->data[e->n] = payload->data;
        e->lens[e->n] = payload->len;
        e->codecs[e->n] = payload->codec;
    }
    return 0;
}

static int parse_set(mp_handle *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames, mp_py_call *call,
                     mp_keys *keys, entries *e) {
    if (parse(self, "set_many", 2, MP_PY_IN | MP_PY_OUT, args, n, kwnames, call, keys) < 0) return -1;
    *e = (entries){0};
    if (!PyTuple_Check(args[1]) || PyTuple_Size(args[1]) != PyTuple_Size(args[0]))
        PyErr_SetString(PyExc_TypeError, "_set_many() takes as many values as keys");
    else if (encode_all(e, args[1], &call->extras) == 0) return 0;
    entries_free(e);
    mp_py_keys_free(keys);
    mp_py_call_clear(call);
    return -1;
}

/* _set_many(keys, values, **options) */
PyObject *mp_py_sync_set_many(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    mp_handle *self = (mp_handle *)object;
    mp_py_call call;
    mp_keys keys;
    entries e;
    if (parse_set(self, args, n, kwnames, &call, &keys, &e) < 0) return NULL;
    mp_block block;
    pond_error *err = NULL;
    mp_py_block(&block);
    int code = pond_set_many(self->engine->pond, keys.keys, keys.lens, e.data, e.lens, e.codecs, keys.n,
                             call.plan->policy, &err);
    int signalled = mp_py_unblock(&block);
    if (signalled) pond_error_free(err);
    else if (code != POND_OK) mp_py_raise(err);
    entries_free(&e);
    mp_py_keys_free(&keys);
    mp_py_call_clear(&call);
    return signalled || code != POND_OK ? NULL : Py_NewRef(Py_None);
}

PyObject *mp_py_loop_set_many(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    mp_handle *self = (mp_handle *)object;
    mp_py_call call;
    mp_keys keys;
    entries e;
    if (parse_set(self, args, n, kwnames, &call, &keys, &e) < 0) return NULL;
    mp_py_queue *queue = mp_py_queue_here(self->engine);
    mp_await *a = queue ? mp_py_await_new(queue, MP_PY_DONE) : NULL;
    PyObject *result;
    if (a) {
        pond_error *err = NULL;
        int code = pond_set_many_start(self->engine->pond, queue->queue, keys.keys, keys.lens, e.data, e.lens, e.codecs,
                                       keys.n, call.plan->policy, (uint64_t)(uintptr_t)a, &a->request, &err);
        result = mp_py_started(a, queue, code, NULL, err);
    } else {
        result = mp_py_later(object, "_set_many", args, n, kwnames);
    }
    entries_free(&e);
    mp_py_keys_free(&keys);
    mp_py_call_clear(&call);
    return result;
}
