/* Changes of a collection's documents, blocking and awaited. A validation is the caller's own code, and runs in its own thread or task: a
 * blocking call runs it when the core asks, an awaiting one is handed the document (a Check), and says what it thinks of it. */
#include "glue.h"

/* ---- what an awaiting caller is handed ---- */

typedef struct check {
    PyObject_HEAD pond_check *check; /* NULL once answered */
    mp_await *end;
} check;

static pond_check *take(check *self) {
    pond_check *c = self->check;
    self->check = NULL;
    return c;
}

static void answered(check *self) {
    mp_py_queue *queue = self->end ? self->end->queue : NULL;
    if (queue && mp_py_queue_touch(queue) < 0) PyErr_Clear(); /* the loop is closed */
}

/* document(): as it would be in the store. */
static PyObject *check_document(PyObject *object, PyObject *unused) {
    check *self = (check *)object;
    if (self->check) return mp_py_decode(pond_check_document(self->check), NULL, NULL);
    return mp_py_fail(POND_EMISUSE, "the document was judged before");
}

/* _pass() -> who waits for the next check, or for the end. */
static PyObject *check_pass(PyObject *object, PyObject *unused) {
    check *self = (check *)object;
    mp_await *end = self->end;
    pond_check *c = self->check;
    if (!c || !end || !end->queue) return mp_py_fail(POND_EMISUSE, "the change is over");
    mp_await *next = mp_py_await_new(end->queue, MP_PY_PLAIN);
    if (!next) return NULL;
    end->begin = (mp_await *)Py_NewRef((PyObject *)next);
    pond_check_pass(take(self));
    answered(self);
    return (PyObject *)next;
}

/* _fail(): the exception itself goes its own way, for nobody else waits for this change. */
static PyObject *check_fail(PyObject *object, PyObject *unused) {
    check *self = (check *)object;
    pond_check *c = take(self);
    if (c) pond_check_fail(c, NULL);
    answered(self);
    Py_RETURN_NONE;
}

static int check_traverse(PyObject *object, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(object));
    Py_VISIT((PyObject *)((check *)object)->end);
    return 0;
}

static int check_clear(PyObject *object) {
    check *self = (check *)object;
    pond_check *c = take(self);
    if (c) pond_check_fail(c, "who was to judge the document is gone");
    Py_CLEAR(self->end);
    return 0;
}

static void check_dealloc(PyObject *object) {
    PyObject_GC_UnTrack(object);
    check_clear(object);
    MP_PY_FREE(object);
}

static PyMethodDef check_methods[] = {
    {"document", check_document, METH_NOARGS, "document(): as it would be in the store."},
    {"_pass", check_pass, METH_NOARGS, "_pass() -> who waits for the next check, or for the end."},
    {"_fail", check_fail, METH_NOARGS, "_fail(): it is rejected."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot check_slots[] = {
    {Py_tp_traverse, check_traverse},
    {Py_tp_clear, check_clear},
    {Py_tp_dealloc, check_dealloc},
    {Py_tp_methods, check_methods},
    {Py_tp_doc, "A document to be judged before it is written."},
    {0, NULL},
};
PyType_Spec mp_py_check_spec = {"millpond._core.Check", sizeof(check), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                                check_slots};

int mp_py_check_asked(mp_await *end, pond_check *c, bool inline_) {
    mp_await *begin = end->begin;
    allocfunc alloc = (allocfunc)PyType_GetSlot(mp_py.check_type, Py_tp_alloc);
    if (!begin || begin->state != MP_PY_PENDING || !end->queue) {
        pond_check_fail(c, "who was to judge the document was cancelled");
        return 0;
    }
    end->begin = NULL;
    check *self = (check *)alloc(mp_py.check_type, 0);
    if (self) {
        self->check = c;
        self->end = (mp_await *)Py_NewRef((PyObject *)end);
    } else {
        pond_check_fail(c, "no memory to judge the document");
    }
    int failed = mp_py_await_end(begin, (PyObject *)self, inline_);
    Py_DECREF((PyObject *)begin);
    return failed;
}

/* ---- the calls ---- */

typedef struct change {
    pond_collection *collection;
    mp_engine *engine;
    pond_change_kind kind;
    const char *id, *doc; /* NULL: none */
    size_t id_len, doc_len;
    PyObject *last; /* borrowed: validate or checked */
} change;

/* _change(kind, id or None, bytes or None, last) */
static int parse(PyObject *object, PyObject *const *args, Py_ssize_t n, change *out) {
    char *doc = NULL;
    Py_ssize_t len = 0;
    *out = (change){0};
    if (n != 4) {
        PyErr_SetString(PyExc_TypeError, "_change() takes four arguments");
        return -1;
    }
    if (!(out->collection = mp_py_collection(object, &out->engine))) return -1;
    out->kind = (pond_change_kind)PyLong_AsLong(args[0]);
    if (PyErr_Occurred()) return -1;
    if (args[1] != Py_None && !(out->id = mp_py_key(args[1], &out->id_len))) return -1;
    if (args[2] != Py_None && PyBytes_AsStringAndSize(args[2], &doc, &len) < 0) return -1;
    out->doc = doc;
    out->doc_len = (size_t)len;
    out->last = args[3];
    return 0;
}

typedef struct judging {
    mp_block block;
    PyObject *judge, *own; /* own: what it raised */
} judging;

/* The core calls this in the thread that called pond_collection_change, without the GIL. */
static void judge_here(pond_check *c, void *ctx) {
    judging *self = ctx;
    PyEval_RestoreThread(self->block.thread);
    PyObject *document = mp_py_decode(pond_check_document(c), NULL, NULL);
    PyObject *result = document ? PyObject_CallFunctionObjArgs(self->judge, document, NULL) : NULL;
    if (!result) self->own = mp_py_take_exception();
    Py_XDECREF(document);
    Py_XDECREF(result);
    self->block.thread = PyEval_SaveThread();
    if (self->own) pond_check_fail(c, NULL);
    else pond_check_pass(c);
}

PyObject *mp_py_sync_change(PyObject *object, PyObject *const *args, Py_ssize_t n) {
    change c;
    if (parse(object, args, n, &c) < 0) return NULL;
    judging j = {.judge = c.last};
    pond_value *value = NULL;
    pond_error *err = NULL;
    mp_py_block(&j.block);
    int code = pond_collection_change(c.collection, c.kind, c.id, c.id_len, c.doc, c.doc_len,
                                      c.last == Py_None ? NULL : judge_here, &j, &value, &err);
    int signalled = mp_py_unblock(&j.block);
    PyObject *result = NULL;
    if (signalled || j.own) pond_error_free(err);
    else if (code != POND_OK) mp_py_raise(err);
    else if (!value) result = Py_NewRef(Py_None);
    else result = mp_py_decode(value, NULL, NULL);
    if (!signalled && j.own) PyErr_SetObject((PyObject *)Py_TYPE(j.own), j.own);
    Py_XDECREF(j.own);
    pond_value_free(value);
    return result;
}

/* _change(kind, id, bytes, checked) -> what is awaited, or (check, end). */
PyObject *mp_py_loop_change(PyObject *object, PyObject *const *args, Py_ssize_t n) {
    change c;
    if (parse(object, args, n, &c) < 0) return NULL;
    bool checked = c.last == Py_True;
    mp_py_queue *queue = mp_py_queue_here(c.engine);
    mp_await *end = queue ? mp_py_await_new(queue, MP_PY_PLAIN) : NULL;
    mp_await *begin = end && checked ? mp_py_await_new(queue, MP_PY_PLAIN) : NULL;
    PyObject *result = NULL;
    if (end && (begin || !checked)) {
        end->begin = begin ? (mp_await *)Py_NewRef((PyObject *)begin) : NULL;
        pond_error *err = NULL;
        int code = pond_collection_change_start(c.collection, queue->queue, c.kind, c.id, c.id_len, c.doc, c.doc_len,
                                                checked, (uint64_t)(uintptr_t)end, &end->request, &err);
        mp_py_started(end, queue, code, NULL, err);
        result = checked ? PyTuple_Pack(2, (PyObject *)begin, (PyObject *)end) : Py_NewRef((PyObject *)end);
    } else if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_RuntimeError, "a document is changed in an event loop");
    }
    Py_XDECREF((PyObject *)begin);
    Py_XDECREF((PyObject *)end);
    return result;
}
