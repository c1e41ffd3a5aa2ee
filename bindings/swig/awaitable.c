/* What the asyncio calls return: a coroutine to the program (await, create_task, gather, asyncio.run), which has been started
 * already, and a future to the task that awaits it. So a hit costs no Future, and no callback scheduled by call_soon: the
 * queue lets the awaiting task go on itself. */
#include "glue.h"

/* ---- life ---- */

static int await_traverse(PyObject *object, visitproc visit, void *arg) {
    mp_await *self = (mp_await *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->loop);
    Py_VISIT(self->result);
    Py_VISIT(self->traceback);
    Py_VISIT(self->waker);
    Py_VISIT(self->waker_context);
    Py_VISIT(self->callbacks);
    Py_VISIT(self->key);
    Py_VISIT(self->ns);
    Py_VISIT(self->loader);
    Py_VISIT((PyObject *)self->begin);
    MP_PY_EXTRAS_VISIT(&self->extras);
    return 0;
}

static void forget_question(mp_await *self) {
    Py_CLEAR(self->key);
    Py_CLEAR(self->ns);
    Py_CLEAR(self->loader);
    Py_CLEAR(self->begin);
    mp_py_extras_clear(&self->extras);
}

static int await_clear(PyObject *object) {
    mp_await *self = (mp_await *)object;
    if (self->queue) { /* only the collector comes here with it: the core must not answer to freed memory */
        if (self->request && self->queue->queue) pond_request_cancel(self->request);
        mp_py_queue_unlist(self);
        self->state = MP_PY_CANCELLED;
        Py_DECREF(object); /* the list's */
    }
    Py_CLEAR(self->result);
    Py_CLEAR(self->traceback);
    Py_CLEAR(self->waker);
    Py_CLEAR(self->waker_context);
    Py_CLEAR(self->callbacks);
    forget_question(self);
    Py_CLEAR(self->loop);
    return 0;
}

static void await_dealloc(PyObject *object) {
    PyObject_GC_UnTrack(object);
    await_clear(object);
    MP_PY_FREE(object);
}

static mp_await *make(void) {
    static allocfunc alloc;
    if (!alloc) alloc = (allocfunc)PyType_GetSlot(mp_py.await_type, Py_tp_alloc);
    return (mp_await *)alloc(mp_py.await_type, 0); /* all zero: pending, nothing owned */
}

/* To a coroutine StopIteration is the end, with a result: what would be None of a loader that found nothing. As of a generator that raises
 * it (PEP 479). */
static PyObject *no_end(PyObject *exception) {
    if (!PyErr_GivenExceptionMatches(exception, PyExc_StopIteration)) return exception;
    PyObject *made = PyObject_CallFunction(PyExc_RuntimeError, "s", "the loader raised StopIteration");
    if (!made) {
        Py_DECREF(exception);
        return mp_py_take_exception();
    }
    PyException_SetCause(made, exception); /* takes it */
    return made;
}

static void keep_exception(mp_await *self) {
    PyObject *exception = no_end(mp_py_take_exception());
    self->state = MP_PY_EXCEPTION;
    self->result = exception;
    self->traceback = PyException_GetTraceback(exception);
}

PyObject *mp_py_await_done(PyObject *result) {
    PyObject *type = NULL, *value, *traceback;
    if (!result) PyErr_Fetch(&type, &value, &traceback);
    mp_await *self = make();
    if (!self) {
        Py_XDECREF(result);
        if (type) PyErr_Restore(type, value, traceback);
        return NULL;
    }
    if (result) {
        self->state = MP_PY_RESULT;
        self->result = result;
    } else {
        PyErr_Restore(type, value, traceback);
        keep_exception(self);
    }
    return (PyObject *)self;
}

mp_await *mp_py_await_new(mp_py_queue *queue, mp_py_kind kind) {
    mp_await *self = make();
    if (!self) return NULL;
    self->loop = Py_NewRef(queue->loop);
    self->kind = (uint8_t)kind;
    return self;
}

PyObject *mp_py_await_value(const mp_await *self, const pond_value *value) {
    switch (self->kind) {
    case MP_PY_ENTRY:
    case MP_PY_LOOKUP: return mp_py_entry(value, &self->extras, self->key);
    case MP_PY_PAGE: return mp_py_page(value);
    case MP_PY_FETCH:
    case MP_PY_DOCUMENT: return mp_py_decode(value, &self->extras, self->key);
    default: return mp_py_decode(value, NULL, NULL);
    }
}

static PyObject *loop_of(mp_await *self) {
    return self->loop ? Py_NewRef(self->loop) : PyObject_CallFunctionObjArgs(mp_py.running_loop, NULL);
}

/* ---- the answer ---- */

/* Lets the task go on within this call: its context, its step; its own exceptions are its own affair. */
static int run_waker(PyObject *waker, PyObject *context, mp_await *self) {
    PyObject *done = context ? PyObject_CallMethodObjArgs(context, mp_py.name.run, waker, self, NULL)
                             : PyObject_CallFunctionObjArgs(waker, self, NULL);
    if (done) {
        Py_DECREF(done);
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_Exception)) return -1; /* KeyboardInterrupt, SystemExit: out of the loop */
    PyObject *exception = mp_py_take_exception(), *loop = loop_of(self), *about = PyDict_New(), *said = NULL;
    PyObject *text = PyUnicode_FromString("Millpond: a task failed when it was resumed");
    if (loop && about && text && PyDict_SetItem(about, mp_py.name.message, text) == 0 &&
        PyDict_SetItem(about, mp_py.name.exception, exception) == 0)
        said = PyObject_CallMethodObjArgs(loop, mp_py.name.call_exception_handler, about, NULL);
    if (!said) PyErr_Clear();
    Py_XDECREF(said);
    Py_XDECREF(text);
    Py_XDECREF(about);
    Py_XDECREF(loop);
    Py_DECREF(exception);
    return 0;
}

static int schedule(mp_await *self, PyObject *callback, PyObject *context) {
    PyObject *loop = loop_of(self);
    int failed = loop ? mp_py_call_soon(loop, callback, (PyObject *)self, context) : -1;
    Py_XDECREF(loop);
    return failed;
}

static int wake(mp_await *self, bool inline_) {
    PyObject *waker = self->waker, *context = self->waker_context, *callbacks = self->callbacks;
    self->waker = self->waker_context = self->callbacks = NULL;
    int failed = 0;
    for (Py_ssize_t i = 0, n = callbacks ? PyList_Size(callbacks) : 0; i < n; i++) {
        PyObject *pair = PyList_GetItem(callbacks, i);
        if (schedule(self, PyTuple_GetItem(pair, 0), PyTuple_GetItem(pair, 1)) < 0)
            PyErr_Clear(); /* the loop is closed */
    }
    if (waker && inline_) failed = run_waker(waker, context, self);
    else if (waker && schedule(self, waker, context) < 0) PyErr_Clear();
    Py_XDECREF(waker);
    Py_XDECREF(context);
    Py_XDECREF(callbacks);
    return failed;
}

int mp_py_await_end(mp_await *self, PyObject *result, bool inline_) {
    if (self->state != MP_PY_PENDING) {
        Py_XDECREF(result);
        if (!result) PyErr_Clear();
        return 0;
    }
    if (result) {
        self->state = MP_PY_RESULT;
        self->result = result;
    } else {
        keep_exception(self);
    }
    mp_await *begin = self->begin; /* a write that ends before it began: then for the same reason */
    self->begin = NULL;
    forget_question(self);
    int failed = wake(self, inline_);
    if (begin) {
        if (self->state == MP_PY_EXCEPTION) mp_py_reraise(self->result, self->traceback);
        failed |= mp_py_await_end(begin, result ? Py_NewRef(result) : NULL, inline_);
        Py_DECREF((PyObject *)begin);
    }
    return failed;
}

/* ---- a future ---- */

static PyObject *raise_cancelled(mp_await *self) {
    if (self->result) PyErr_SetObject(mp_py.cancelled_error, self->result); /* cancel()'s message */
    else PyErr_SetNone(mp_py.cancelled_error);
    return NULL;
}

static PyObject *await_result(PyObject *object, PyObject *unused) {
    mp_await *self = (mp_await *)object;
    switch (self->state) {
    case MP_PY_RESULT: return Py_NewRef(self->result);
    case MP_PY_EXCEPTION: mp_py_reraise(self->result, self->traceback); return NULL;
    case MP_PY_CANCELLED: return raise_cancelled(self);
    default: PyErr_SetString(mp_py.invalid_state_error, "the answer is not here yet"); return NULL;
    }
}

static PyObject *await_exception(PyObject *object, PyObject *unused) {
    mp_await *self = (mp_await *)object;
    switch (self->state) {
    case MP_PY_RESULT: Py_RETURN_NONE;
    case MP_PY_EXCEPTION: return Py_NewRef(self->result);
    case MP_PY_CANCELLED: return raise_cancelled(self);
    default: PyErr_SetString(mp_py.invalid_state_error, "the answer is not here yet"); return NULL;
    }
}

static PyObject *await_done(PyObject *self, PyObject *unused) {
    return PyBool_FromLong(((mp_await *)self)->state != MP_PY_PENDING);
}

static PyObject *await_cancelled(PyObject *self, PyObject *unused) {
    return PyBool_FromLong(((mp_await *)self)->state == MP_PY_CANCELLED);
}

static void cancel(mp_await *self, PyObject *message) {
    /* About to be told, or nothing that the core can be told to end (pond_request): then it stays in the list, and its answer finds it cancelled. */
    mp_py_queue *queue = self->arriving || !self->request ? NULL : self->queue;
    PyObject *key = queue && self->loader ? Py_NewRef(self->key) : NULL;
    self->state = MP_PY_CANCELLED;
    self->result = message && message != Py_None ? Py_NewRef(message) : NULL;
    if (queue) {
        Py_INCREF((PyObject *)queue);
        mp_py_queue_unlist(self);
        if (queue->queue) pond_request_cancel(self->request);
        self->request = NULL;
        mp_py_queue_touch(queue);
    }
    if (!self->arriving) forget_question(self); /* else its own decode= may be what cancels it */
    wake(self, false);
    if (key) mp_py_load_unwanted(queue, key);
    Py_XDECREF(key);
    if (queue) {
        Py_DECREF((PyObject *)self); /* the list's */
        Py_DECREF((PyObject *)queue);
    }
}

static PyObject *await_cancel(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    mp_await *self = (mp_await *)object;
    if (self->state != MP_PY_PENDING) Py_RETURN_FALSE;
    Py_INCREF(object);
    cancel(self, n + (kwnames ? PyTuple_Size(kwnames) : 0) > 0 ? args[0] : NULL);
    Py_DECREF(object);
    Py_RETURN_TRUE;
}

static PyObject *await_get_loop(PyObject *self, PyObject *unused) { return loop_of((mp_await *)self); }

static PyObject *await_add_done_callback(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    mp_await *self = (mp_await *)object;
    Py_ssize_t named = kwnames ? PyTuple_Size(kwnames) : 0;
    if (n != 1 || named > 1) return PyErr_Format(PyExc_TypeError, "add_done_callback() takes a callable and context=");
    PyObject *context = named && args[1] != Py_None ? Py_NewRef(args[1]) : NULL;
    bool task = self->armed; /* the task that was just handed us is registering its own step */
    self->armed = false;
    if (!context && !(context = PyObject_CallFunctionObjArgs(mp_py.copy_context, NULL))) return NULL;
    int failed = 0;
    if (self->state != MP_PY_PENDING) {
        failed = schedule(self, args[0], context);
    } else if (task && !self->waker) {
        self->waker = Py_NewRef(args[0]);
        self->waker_context = Py_NewRef(context);
    } else {
        if (!self->callbacks) self->callbacks = PyList_New(0);
        PyObject *pair = self->callbacks ? PyTuple_Pack(2, args[0], context) : NULL;
        failed = pair ? PyList_Append(self->callbacks, pair) : -1;
        Py_XDECREF(pair);
    }
    Py_DECREF(context);
    if (failed) return NULL;
    Py_RETURN_NONE;
}

static PyObject *await_remove_done_callback(PyObject *object, PyObject *callback) {
    mp_await *self = (mp_await *)object;
    long removed = 0;
    if (self->waker) {
        int same = PyObject_RichCompareBool(self->waker, callback, Py_EQ);
        if (same < 0) return NULL;
        if (same) {
            Py_CLEAR(self->waker);
            Py_CLEAR(self->waker_context);
            removed++;
        }
    }
    for (Py_ssize_t i = self->callbacks ? PyList_Size(self->callbacks) : 0; i-- > 0;) {
        int same = PyObject_RichCompareBool(PyTuple_GetItem(PyList_GetItem(self->callbacks, i), 0), callback, Py_EQ);
        if (same < 0 || (same && PyList_SetSlice(self->callbacks, i, i + 1, NULL) < 0)) return NULL;
        removed += same;
    }
    return PyLong_FromLong(removed);
}

/* None but in the moment when it is handed to a task: for everybody else it is a coroutine (asyncio.isfuture() is false), which
 * ensure_future(), gather() and the rest make a task of. */
static PyObject *get_blocking(PyObject *self, void *unused) {
    return Py_NewRef(((mp_await *)self)->blocking ? Py_True : Py_None);
}

static int set_blocking(PyObject *object, PyObject *value, void *unused) {
    mp_await *self = (mp_await *)object;
    int blocking = value ? PyObject_IsTrue(value) : 0;
    if (blocking < 0) return -1;
    self->armed = self->blocking && !blocking;
    self->blocking = blocking;
    return 0;
}

/* ---- a coroutine ---- */

static PySendResult await_send_slot(PyObject *object, PyObject *argument, PyObject **result) {
    mp_await *self = (mp_await *)object;
    if (self->state == MP_PY_PENDING) {
        self->blocking = true;
        *result = Py_NewRef(object);
        return PYGEN_NEXT;
    }
    *result = await_result(object, NULL);
    return *result ? PYGEN_RETURN : PYGEN_ERROR;
}

static PyObject *await_next(PyObject *object) {
    PyObject *result;
    PySendResult sent = await_send_slot(object, NULL, &result);
    if (sent != PYGEN_RETURN) return result;
    /* An instance, so that a tuple or an exception as the value stays what it is. */
    PyObject *stop = PyObject_CallFunctionObjArgs(PyExc_StopIteration, result, NULL);
    Py_DECREF(result);
    if (stop) PyErr_SetObject(PyExc_StopIteration, stop);
    Py_XDECREF(stop);
    return NULL;
}

static PyObject *await_send(PyObject *self, PyObject *unused) { return await_next(self); }

static PyObject *await_throw(PyObject *object, PyObject *const *args, Py_ssize_t n) {
    mp_await *self = (mp_await *)object;
    if (n < 1 || n > 3) return PyErr_Format(PyExc_TypeError, "throw() takes an exception");
    Py_INCREF(object);
    if (self->state == MP_PY_PENDING) cancel(self, NULL);
    Py_DECREF(object);
    if (PyExceptionInstance_Check(args[0])) {
        PyErr_SetObject((PyObject *)Py_TYPE(args[0]), args[0]);
    } else if (PyExceptionClass_Check(args[0])) {
        if (n > 1 && args[1] != Py_None) PyErr_SetObject(args[0], args[1]);
        else PyErr_SetNone(args[0]);
    } else {
        PyErr_SetString(PyExc_TypeError, "throw() takes an exception");
    }
    return NULL;
}

static PyObject *await_close(PyObject *object, PyObject *unused) {
    if (((mp_await *)object)->state == MP_PY_PENDING) cancel((mp_await *)object, NULL);
    Py_RETURN_NONE;
}

static PyObject *await_self(PyObject *self) { return Py_NewRef(self); }

static PyObject *await_repr(PyObject *object) {
    static const char *const states[] = {"pending", "finished", "failed", "cancelled"};
    mp_await *self = (mp_await *)object;
    return self->key ? PyUnicode_FromFormat("<millpond answer for %R, %s>", self->key, states[self->state])
                     : PyUnicode_FromFormat("<millpond answer, %s>", states[self->state]);
}

static PyMethodDef await_methods[] = {
    {"result", await_result, METH_NOARGS, NULL},
    {"exception", await_exception, METH_NOARGS, NULL},
    {"done", await_done, METH_NOARGS, NULL},
    {"cancelled", await_cancelled, METH_NOARGS, NULL},
    {"cancel", (PyCFunction)(void (*)(void))await_cancel, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"get_loop", await_get_loop, METH_NOARGS, NULL},
    {"add_done_callback", (PyCFunction)(void (*)(void))await_add_done_callback, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"remove_done_callback", await_remove_done_callback, METH_O, NULL},
    {"send", await_send, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))await_throw, METH_FASTCALL, NULL},
    {"close", await_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef await_getset[] = {
    {"_asyncio_future_blocking", get_blocking, set_blocking, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot await_slots[] = {
    {Py_tp_traverse, await_traverse},
    {Py_tp_clear, await_clear},
    {Py_tp_dealloc, await_dealloc},
    {Py_tp_methods, await_methods},
    {Py_tp_getset, await_getset},
    {Py_tp_repr, await_repr},
    {Py_tp_iter, await_self},
    {Py_tp_iternext, await_next},
    {Py_am_await, await_self},
    {Py_am_send, await_send_slot},
    {0, NULL},
};
PyType_Spec mp_py_await_spec = {"millpond._core.Answer", sizeof(mp_await), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                                await_slots};
