/* Writes: the caller's own write inside its intents. The Python layer (_writing.py) runs the writer and says what came of it; here are
 * what it is handed, and the way in and out. Awaited, the writer runs in the caller's own task: `end` is what the core
 * answers to, `begin` what the task waits for until it may write. */
#include "glue.h"

typedef struct writing {
    PyObject_HEAD pond_writing *writing; /* NULL once answered */
    mp_engine *engine;
    mp_await *end;  /* NULL in a call that blocks */
    PyObject *keys; /* tuple */
    mp_extras extras;
} writing;

static PyObject *make(pond_writing *w, mp_engine *engine, mp_await *end, PyObject *keys, const mp_extras *extras) {
    allocfunc alloc = (allocfunc)PyType_GetSlot(mp_py.writing_type, Py_tp_alloc);
    writing *self = (writing *)alloc(mp_py.writing_type, 0);
    if (!self) {
        pond_write_fail(w, POND_NOT_WRITTEN, POND_ENOMEM, "no memory to run the writer");
        return NULL;
    }
    self->writing = w;
    self->engine = (mp_engine *)Py_NewRef((PyObject *)engine);
    self->end = end ? (mp_await *)Py_NewRef((PyObject *)end) : NULL;
    self->keys = Py_NewRef(keys);
    self->extras = *extras;
    mp_py_extras_own(&self->extras);
    return (PyObject *)self;
}

/* The core's handle, to be answered by the caller; NULL: it was. */
static pond_writing *take(writing *self) {
    pond_writing *w = self->writing;
    self->writing = NULL;
    return w;
}

static void answered(writing *self) {
    mp_py_queue *queue = self->end ? self->end->queue : NULL;
    if (queue && mp_py_queue_touch(queue) < 0) PyErr_Clear(); /* the loop is closed */
}

/* set(key, value) */
static PyObject *writing_set(PyObject *object, PyObject *const *args, Py_ssize_t n) {
    writing *self = (writing *)object;
    if (n != 2) return PyErr_Format(PyExc_TypeError, "set() takes a key and a value");
    Py_ssize_t i = PySequence_Contains(self->keys, args[0]) == 1 ? PySequence_Index(self->keys, args[0]) : -1;
    if (PyErr_Occurred()) return NULL;
    if (i < 0) return mp_py_fail(POND_EKEY, "set(key, value): %R is not a key of this write", args[0]);
    mp_payload payload = {0};
    if (args[1] != Py_None && mp_py_encode(args[1], &self->extras, &payload) < 0) return NULL;
    /* Whatever encoding it has called may have ended the write. */
    pond_error *err = NULL;
    int code = POND_OK;
    if (!self->writing) mp_py_fail(POND_EMISUSE, "set(key, value): the writer has ended already");
    else if (args[1] == Py_None) code = pond_writing_absent(self->writing, (size_t)i, &err);
    else code = pond_writing_value(self->writing, (size_t)i, payload.data, payload.len, payload.codec, &err);
    Py_XDECREF(payload.owner);
    if (code != POND_OK) mp_py_raise(err);
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

static PyObject *writing_done(PyObject *object, PyObject *unused) {
    writing *self = (writing *)object;
    pond_writing *w = take(self);
    if (w) pond_write_done(w);
    answered(self);
    Py_RETURN_NONE;
}

/* _fail(not_written): the exception itself goes its own way, for nobody else waits for this write. */
static PyObject *writing_fail(PyObject *object, PyObject *not_written) {
    writing *self = (writing *)object;
    pond_writing *w = take(self);
    if (w) pond_write_fail(w, not_written == Py_True ? POND_NOT_WRITTEN : POND_UNKNOWN, 0, "the writer failed");
    answered(self);
    Py_RETURN_NONE;
}

static int writing_traverse(PyObject *object, visitproc visit, void *arg) {
    writing *self = (writing *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT((PyObject *)self->end);
    Py_VISIT(self->keys);
    MP_PY_EXTRAS_VISIT(&self->extras);
    return 0;
}

static int writing_clear(PyObject *object) {
    writing *self = (writing *)object;
    pond_writing *w = take(self);
    if (w) pond_write_fail(w, POND_UNKNOWN, POND_ECANCELED, "the writer is gone");
    Py_CLEAR(self->end);
    Py_CLEAR(self->keys);
    mp_py_extras_clear(&self->extras);
    return 0;
}

static void writing_dealloc(PyObject *object) {
    PyObject_GC_UnTrack(object);
    writing_clear(object);
    Py_CLEAR(((writing *)object)->engine);
    MP_PY_FREE(object);
}

static PyMethodDef writing_methods[] = {
    {"set", (PyCFunction)(void (*)(void))writing_set, METH_FASTCALL,
     "set(key, value): caches the value under a key of this write once it is done, if nobody else was writing that; "
     "None: there is\n"
     "no such thing any more. A key of which nothing is said is dropped from the cache."},
    {"_done", writing_done, METH_NOARGS, "It is written."},
    {"_fail", writing_fail, METH_O, "It failed; True: nothing was, or will be, written."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot writing_slots[] = {
    {Py_tp_traverse, writing_traverse},
    {Py_tp_clear, writing_clear},
    {Py_tp_dealloc, writing_dealloc},
    {Py_tp_methods, writing_methods},
    {Py_tp_doc, "A write under way: what its writer is handed."},
    {0, NULL},
};
PyType_Spec mp_py_writing_spec = {"millpond._core.Writing", sizeof(writing), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                                  writing_slots};

/* ---- the calls ---- */

enum { TAKES = MP_PY_KEYS | MP_PY_TAGS | MP_PY_IN | MP_PY_OUT };

/* _write(keys, ...): the tuple of keys, and what they are to the core. */
static int parse(mp_handle *self, Py_ssize_t wanted, PyObject *const *args, Py_ssize_t n, PyObject *kwnames,
                 mp_py_call *call, mp_keys *keys) {
    if (n != wanted || !PyTuple_Check(args[0])) {
        PyErr_Format(PyExc_TypeError, "_write() takes a tuple of keys");
        return -1;
    }
    if (mp_py_parse(self, "write", TAKES, args, n, kwnames, call) < 0) return -1;
    if (mp_py_keys_of(keys, args[0]) == 0) return 0;
    mp_py_call_clear(call);
    return -1;
}

typedef struct waiting {
    mp_block block;
    mp_engine *engine;
    const mp_py_call *call;
    PyObject *keys, *body;
    PyObject *result, *own; /* what the writer gave, or raised */
} waiting;

/* The core calls this in the thread that called pond_write, without the GIL. */
static void run(pond_writing *w, void *ctx) {
    waiting *self = ctx;
    PyEval_RestoreThread(self->block.thread);
    PyObject *object = make(w, self->engine, NULL, self->keys, &self->call->extras);
    self->result = object ? PyObject_CallFunctionObjArgs(self->body, object, NULL) : NULL;
    if (!self->result) self->own = mp_py_take_exception();
    if (object) ((writing *)object)->writing = NULL; /* unanswered: the core says so */
    Py_XDECREF(object);
    self->block.thread = PyEval_SaveThread();
}

/* _write(keys, body, **options): body(writing) runs the writer and says what came of it. */
PyObject *mp_py_sync_write(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    mp_handle *self = (mp_handle *)object;
    mp_py_call call;
    mp_keys keys;
    if (parse(self, 2, args, n, kwnames, &call, &keys) < 0) return NULL;
    waiting w = {.engine = self->engine, .call = &call, .keys = args[0], .body = args[1]};
    pond_error *err = NULL;
    mp_py_block(&w.block);
    int code =
        pond_write(self->engine->pond, keys.keys, keys.lens, keys.n, call.plan->policy, call.tags, run, &w, &err);
    int signalled = mp_py_unblock(&w.block);
    if (signalled || w.own) pond_error_free(err);
    else if (code != POND_OK) mp_py_raise(err);
    if (!signalled && w.own) PyErr_SetObject((PyObject *)Py_TYPE(w.own), w.own);
    Py_XDECREF(w.own);
    if (PyErr_Occurred()) Py_CLEAR(w.result);
    mp_py_keys_free(&keys);
    mp_py_call_clear(&call);
    return w.result;
}

/* _write(keys, **options) -> (begin, end): the first gives the writing, when the core asks for it. */
PyObject *mp_py_loop_write(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    mp_handle *self = (mp_handle *)object;
    mp_py_call call;
    mp_keys keys;
    if (parse(self, 1, args, n, kwnames, &call, &keys) < 0) return NULL;
    PyObject *pair = NULL;
    mp_py_queue *queue = mp_py_queue_here(self->engine);
    mp_await *begin = queue ? mp_py_await_new(queue, MP_PY_DONE) : NULL;
    mp_await *end = begin ? mp_py_await_new(queue, MP_PY_DONE) : NULL;
    if (end) {
        end->begin = (mp_await *)Py_NewRef((PyObject *)begin);
        end->key = Py_NewRef(args[0]);
        end->extras = call.extras;
        mp_py_extras_own(&end->extras);
        pond_error *err = NULL;
        int code = pond_write_start(self->engine->pond, queue->queue, keys.keys, keys.lens, keys.n, call.plan->policy,
                                    call.tags, (uint64_t)(uintptr_t)end, &end->request, &err);
        mp_py_started(end, queue, code, NULL, err);
        pair = PyTuple_Pack(2, (PyObject *)begin, (PyObject *)end);
    } else if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_RuntimeError, "write() runs in an event loop");
    }
    Py_XDECREF((PyObject *)begin);
    Py_XDECREF((PyObject *)end);
    mp_py_keys_free(&keys);
    mp_py_call_clear(&call);
    return pair;
}

int mp_py_write_begin(mp_await *end, pond_writing *w, bool inline_) {
    mp_await *begin = end->begin;
    if (!begin || begin->state != MP_PY_PENDING || !end->queue) {
        pond_write_fail(w, POND_NOT_WRITTEN, POND_ECANCELED, "who was to write was cancelled");
        return 0;
    }
    end->begin = NULL;
    PyObject *object = make(w, end->queue->engine, end, end->key, &end->extras);
    int failed = mp_py_await_end(begin, object, inline_);
    Py_DECREF((PyObject *)begin);
    return failed;
}
