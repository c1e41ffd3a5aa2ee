/* A load that a task of the event loop carries out. The task is nobody's in particular: a caller who goes away does not end it,
 * only the last one does. The Python layer's coroutine calls call(), awaits what comes, and then answer() or fail(). */
#include "glue.h"

void mp_py_load_unlist(mp_py_load *self) {
    if (!self->queue) return;
    if (self->prev) self->prev->next = self->next;
    else self->queue->loads = self->next;
    if (self->next) self->next->prev = self->prev;
    self->next = self->prev = NULL;
    self->queue = NULL;
    Py_DECREF((PyObject *)self);
}

/* The core's handle, to be answered by the caller; NULL: it was. */
static pond_load *take(mp_py_load *self) {
    pond_load *load = self->load;
    self->load = NULL;
    if (load) self->engine->loads--;
    return load;
}

static void settled(mp_py_load *self) {
    if (self->queue && mp_py_queue_touch(self->queue) < 0) PyErr_Clear(); /* the loop is closed */
    mp_py_load_unlist(self);
}

static PyObject *load_call(PyObject *object, PyObject *unused) {
    mp_py_load *self = (mp_py_load *)object;
    if (!self->loader) return PyErr_Format(PyExc_RuntimeError, "the load is over");
    return PyObject_CallFunctionObjArgs(self->loader, NULL);
}

static PyObject *load_answer(PyObject *object, PyObject *value) {
    mp_py_load *self = (mp_py_load *)object;
    pond_load *load = take(self);
    if (!load) Py_RETURN_NONE;
    Py_INCREF(object);
    PyObject *own = mp_py_answer(load, value, &self->extras);
    settled(self);
    Py_DECREF(object);
    if (!own) Py_RETURN_NONE;
    PyErr_SetObject((PyObject *)Py_TYPE(own), own);
    Py_DECREF(own);
    return NULL;
}

static PyObject *load_fail(PyObject *object, PyObject *exception) {
    mp_py_load *self = (mp_py_load *)object;
    if (!PyExceptionInstance_Check(exception)) return PyErr_Format(PyExc_TypeError, "fail() takes an exception");
    pond_load *load = take(self);
    if (!load) Py_RETURN_NONE;
    Py_INCREF(object);
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    PyObject *own = mp_py_fail_load(load);
    Py_XDECREF(own);
    settled(self);
    Py_DECREF(object);
    Py_RETURN_NONE;
}

PyObject *mp_py_ident(mp_engine *engine, PyObject *ns, PyObject *key) {
    PyObject *number = PyLong_FromVoidPtr(engine);
    PyObject *made = number ? PyTuple_Pack(3, number, ns, key) : NULL;
    Py_XDECREF(number);
    return made;
}

static PyObject *load_ident(PyObject *object, void *unused) {
    mp_py_load *self = (mp_py_load *)object;
    return mp_py_ident(self->engine, self->ns, self->key);
}

int mp_py_load_start(mp_await *asker, pond_load *load, bool behind) {
    allocfunc alloc = (allocfunc)PyType_GetSlot(mp_py.load_type, Py_tp_alloc);
    mp_py_load *self = (mp_py_load *)alloc(mp_py.load_type, 0);
    if (!self) {
        Py_XDECREF(mp_py_fail_load(load));
        return 0;
    }
    mp_py_queue *queue = asker->queue;
    self->load = load;
    self->behind = behind;
    self->queue = queue;
    self->engine = (mp_engine *)Py_NewRef((PyObject *)queue->engine);
    self->key = Py_NewRef(asker->key);
    self->ns = Py_NewRef(asker->ns);
    self->loader = Py_NewRef(asker->loader);
    self->extras = asker->extras;
    mp_py_extras_own(&self->extras);
    Py_INCREF((PyObject *)self); /* the list's */
    self->next = queue->loads;
    if (self->next) self->next->prev = self;
    queue->loads = self;
    queue->engine->loads++;

    /* In the context of who asked: his context variables are the loader's. */
    PyObject *context = asker->waker_context;
    if (!context && asker->callbacks && PyList_Size(asker->callbacks))
        context = PyTuple_GetItem(PyList_GetItem(asker->callbacks, 0), 1);
    PyObject *task =
        context ? PyObject_CallMethodObjArgs(context, mp_py.name.run, mp_py.spawn, (PyObject *)self, queue->loop, NULL)
                : PyObject_CallFunctionObjArgs(mp_py.spawn, (PyObject *)self, queue->loop, NULL);
    int failed = 0;
    if (!task) {
        failed = PyErr_ExceptionMatches(PyExc_Exception) ? 0 : -1;
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        if ((load = take(self))) {
            Py_XINCREF(type);
            Py_XINCREF(value);
            Py_XINCREF(traceback);
            PyErr_Restore(type, value, traceback);
            Py_XDECREF(mp_py_fail_load(load));
        }
        settled(self);
        if (failed) {
            PyErr_Restore(type, value, traceback);
        } else {
            Py_XDECREF(type);
            Py_XDECREF(value);
            Py_XDECREF(traceback);
        }
    } else if (self->queue) {
        self->task = task;
    } else {
        Py_DECREF(task); /* an eager task has answered already */
    }
    Py_DECREF((PyObject *)self);
    return failed;
}

void mp_py_load_unwanted(mp_py_queue *queue, PyObject *key) {
    if (!queue->loads) return;
    for (mp_await *a = queue->pending; a; a = a->next)
        if (a->loader && a->state == MP_PY_PENDING && a->key && PyUnicode_Compare(a->key, key) == 0) return;
    for (mp_py_load *load = queue->loads, *next; load; load = next) {
        next = load->next;
        if (!load->task || load->behind || PyUnicode_Compare(load->key, key) != 0) continue;
        PyObject *done = PyObject_CallMethodObjArgs(load->task, mp_py.name.cancel, NULL);
        if (!done) PyErr_Clear();
        Py_XDECREF(done);
    }
}

/* ---- type ---- */

static int load_traverse(PyObject *object, visitproc visit, void *arg) {
    mp_py_load *self = (mp_py_load *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->task);
    Py_VISIT(self->key);
    Py_VISIT(self->ns);
    Py_VISIT(self->loader);
    MP_PY_EXTRAS_VISIT(&self->extras);
    return 0;
}

void mp_py_load_give_up(mp_py_load *self) {
    pond_load *load = take(self);
    if (load) pond_load_fail(load, POND_ECANCELED, "the task that loaded it is gone");
}

static int load_clear(PyObject *object) {
    mp_py_load *self = (mp_py_load *)object;
    mp_py_load_give_up(self);
    mp_py_load_unlist(self);
    Py_CLEAR(self->task);
    Py_CLEAR(self->key);
    Py_CLEAR(self->ns);
    Py_CLEAR(self->loader);
    mp_py_extras_clear(&self->extras);
    return 0;
}

static void load_dealloc(PyObject *object) {
    PyObject_GC_UnTrack(object);
    load_clear(object);
    Py_CLEAR(((mp_py_load *)object)->engine);
    MP_PY_FREE(object);
}

static PyMethodDef load_methods[] = {
    {"call", load_call, METH_NOARGS, "Calls the loader."},
    {"answer", load_answer, METH_O, "What the loader gave."},
    {"fail", load_fail, METH_O, "What the loader raised."},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef load_getset[] = {
    {"ident", load_ident, NULL, "What is loaded: compared with what a loader asks for.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot load_slots[] = {
    {Py_tp_traverse, load_traverse},
    {Py_tp_clear, load_clear},
    {Py_tp_dealloc, load_dealloc},
    {Py_tp_methods, load_methods},
    {Py_tp_getset, load_getset},
    {Py_tp_doc, "A load under way."},
    {0, NULL},
};
PyType_Spec mp_py_load_spec = {"millpond._core.Load", sizeof(mp_py_load), 0,
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, load_slots};

bool mp_py_loading(mp_engine *engine, PyObject *ns, PyObject *key) {
    if (engine->loads == 0) return false;
    PyObject *inside = PyObject_CallMethodObjArgs(mp_py.loading, mp_py.name.get, mp_py.empty, NULL);
    PyObject *wanted = inside && PyTuple_Size(inside) > 0 ? mp_py_ident(engine, ns, key) : NULL;
    int found = wanted ? PySequence_Contains(inside, wanted) : 0;
    Py_XDECREF(wanted);
    Py_XDECREF(inside);
    if (PyErr_Occurred()) PyErr_Clear();
    return found > 0;
}
