/* Engine: one open pond. Plan: a compiled policy. Handle: an engine with the defaults of its calls; millpond.Pond and
 * millpond.aio.Pond are handles, and so is every view that pond.namespace() gives. */
#include "glue.h"

#include <stddef.h>

/* ---- engine ---- */

static void engine_dealloc(PyObject *self) {
    pond *p = ((mp_engine *)self)->pond;
    if (p) {
        Py_BEGIN_ALLOW_THREADS pond_free(p);
        Py_END_ALLOW_THREADS
    }
    MP_PY_FREE(self);
}

static PyType_Slot engine_slots[] = {
    {Py_tp_dealloc, engine_dealloc},
    {Py_tp_doc, "An open pond."},
    {0, NULL},
};
PyType_Spec mp_py_engine_spec = {"millpond._core.Engine", sizeof(mp_engine), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, engine_slots};

PyObject *mp_py_engine(pond *p) {
    mp_engine *engine = PyObject_New(mp_engine, mp_py.engine_type);
    if (!engine) {
        pond_free(p);
        return NULL;
    }
    engine->pond = p;
    engine->queues = NULL;
    engine->loads = 0;
    pond_set_interrupt(p, mp_py_interrupt, NULL);
    return (PyObject *)engine;
}

pond *mp_py_pond(PyObject *object) {
    if (PyObject_TypeCheck(object, mp_py.engine_type)) return ((mp_engine *)object)->pond;
    if (PyObject_TypeCheck(object, mp_py.handle_type) && ((mp_handle *)object)->engine)
        return ((mp_handle *)object)->engine->pond;
    PyErr_Format(PyExc_TypeError, "expected a pond, not %R", Py_TYPE(object));
    return NULL;
}

/* ---- plan ---- */

static void plan_dealloc(PyObject *self) {
    pond_policy_free(((mp_plan *)self)->policy);
    Py_XDECREF(((mp_plan *)self)->ns);
    Py_XDECREF(((mp_plan *)self)->texts);
    MP_PY_FREE(self);
}

static PyType_Slot plan_slots[] = {
    {Py_tp_dealloc, plan_dealloc},
    {Py_tp_doc, "Options of a call, compiled."},
    {0, NULL},
};
PyType_Spec mp_py_plan_spec = {"millpond._core.Plan", sizeof(mp_plan), 0,
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, plan_slots};

/* ---- handle ---- */

/* Handle(engine, namespace): the pond's own defaults; the namespace is what open() was told. */
static int handle_init(PyObject *object, PyObject *args, PyObject *kwargs) {
    mp_handle *self = (mp_handle *)object;
    PyObject *engine, *ns;
    if (self->engine) {
        PyErr_SetString(PyExc_TypeError, "a pond is made once");
        return -1;
    }
    if ((kwargs && PyDict_Size(kwargs)) || !PyArg_ParseTuple(args, "OU", &engine, &ns) ||
        !PyObject_TypeCheck(engine, mp_py.engine_type)) {
        PyErr_SetString(PyExc_TypeError, "use millpond.open() or millpond.aio.open()");
        return -1;
    }
    mp_plan *plan = PyObject_New(mp_plan, mp_py.plan_type);
    if (!plan) return -1;
    plan->policy = NULL;
    plan->texts = NULL;
    plan->ns = Py_NewRef(ns);
    self->plan = plan;
    self->engine = (mp_engine *)Py_NewRef(engine);
    return (self->plans = PyDict_New()) ? 0 : -1;
}

static int handle_traverse(PyObject *object, visitproc visit, void *arg) {
    mp_handle *self = (mp_handle *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT((PyObject *)self->engine);
    Py_VISIT((PyObject *)self->plan);
    Py_VISIT(self->plans);
    Py_VISIT(self->tag_sets);
    MP_PY_EXTRAS_VISIT(&self->extras);
    return mp_py_fast_traverse(self, visit, arg);
}

static int handle_clear(PyObject *object) {
    mp_handle *self = (mp_handle *)object;
    mp_py_fast_clear(self);
    mp_py_extras_clear(&self->extras);
    Py_CLEAR(self->plans);
    Py_CLEAR(self->tag_sets);
    return 0;
}

static void handle_dealloc(PyObject *object) {
    mp_handle *self = (mp_handle *)object;
    PyObject_GC_UnTrack(object);
    handle_clear(object);
    Py_CLEAR(self->plan); /* before the engine: policies do not outlive the pond */
    Py_CLEAR(self->engine);
    MP_PY_FREE(object);
}

PyObject *mp_py_not_open(void) {
    PyErr_SetString(PyExc_TypeError, "the pond was not opened: use millpond.open() or millpond.aio.open()");
    return NULL;
}

/* _derive(**options): the same pond with other defaults. */
static PyObject *handle_derive(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    mp_handle *self = (mp_handle *)object;
    mp_py_call call;
    if (mp_py_parse(self, "namespace", MP_PY_IN | MP_PY_OUT, args, n, kwnames, &call) < 0) return NULL;
    mp_handle *made = (mp_handle *)PyObject_CallFunctionObjArgs((PyObject *)Py_TYPE(object), (PyObject *)self->engine,
                                                                call.plan->ns, NULL);
    if (made) {
        Py_DECREF((PyObject *)made->plan);
        made->plan = (mp_plan *)Py_NewRef((PyObject *)call.plan);
        made->extras = call.extras;
        mp_py_extras_own(&made->extras);
    }
    mp_py_call_clear(&call);
    return (PyObject *)made;
}

static PyObject *handle_ns(PyObject *object, void *unused) {
    mp_handle *self = (mp_handle *)object;
    return self->engine ? Py_NewRef(self->plan->ns) : mp_py_not_open();
}
static PyObject *handle_engine(PyObject *object, void *unused) {
    mp_handle *self = (mp_handle *)object;
    return self->engine ? Py_NewRef((PyObject *)self->engine) : mp_py_not_open();
}

static PyMethodDef handle_methods[] = {
    {"_derive", (PyCFunction)(void (*)(void))handle_derive, METH_FASTCALL | METH_KEYWORDS,
     "The same pond with other defaults."},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef handle_getset[] = {
    {"_namespace", handle_ns, NULL, "The namespace of calls that name none.", NULL},
    {"_engine", handle_engine, NULL, "The open pond.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot handle_slots[] = {
    {Py_tp_init, handle_init},
    {Py_tp_traverse, handle_traverse},
    {Py_tp_clear, handle_clear},
    {Py_tp_dealloc, handle_dealloc},
    {Py_tp_methods, handle_methods},
    {Py_tp_getset, handle_getset},
    {Py_tp_doc, "An engine with the defaults of its calls."},
    {0, NULL},
};
PyType_Spec mp_py_handle_spec = {"millpond._core.Handle", sizeof(mp_handle), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, handle_slots};

static PyType_Slot sync_slots[] = {
    {Py_tp_methods, mp_py_sync_methods}, {Py_tp_traverse, handle_traverse},    {Py_tp_clear, handle_clear},
    {Py_tp_dealloc, handle_dealloc},     {Py_tp_doc, "The calls that block."}, {0, NULL},
};
PyType_Spec mp_py_sync_spec = {"millpond._core.SyncHandle", sizeof(mp_handle), 0,
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, sync_slots};

static PyType_Slot loop_slots[] = {
    {Py_tp_methods, mp_py_loop_methods}, {Py_tp_traverse, handle_traverse},          {Py_tp_clear, handle_clear},
    {Py_tp_dealloc, handle_dealloc},     {Py_tp_doc, "The calls that are awaited."}, {0, NULL},
};
PyType_Spec mp_py_loop_spec = {"millpond._core.LoopHandle", sizeof(mp_handle), 0,
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, loop_slots};
