/* The registry: what the C parts need of Python, and the module's contents beside what SWIG puts there. */
#include "glue.h"

mp_registry mp_py;

/* Makes the type at the first import; another import in the same process shares it. */
static int add_type(PyObject *module, PyTypeObject **place, PyType_Spec *spec, PyTypeObject *base) {
    const char *name = strrchr(spec->name, '.') + 1;
    if (*place) return PyModule_AddObjectRef(module, name, (PyObject *)*place);
    PyObject *bases = base ? PyTuple_Pack(1, base) : NULL;
    if (base && !bases) return -1;
    *place = (PyTypeObject *)PyType_FromSpecWithBases(spec, bases);
    Py_XDECREF(bases);
    return *place ? PyModule_AddObjectRef(module, name, (PyObject *)*place) : -1;
}

static PyMethodDef functions[] = {
    {"setup", (PyCFunction)(void (*)(void))mp_py_setup, METH_VARARGS | METH_KEYWORDS,
     "Hands the module the objects of the Python layer that it needs."},
    {NULL, NULL, 0, NULL},
};

int mp_py_init(PyObject *module) {
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) {
        PyErr_SetString(PyExc_ImportError, "millpond works in the main interpreter only, not in a subinterpreter: use "
                                           "threads, or a process of its own");
        return -1;
    }
#define X(text)                                                                                                        \
    if (!mp_py.name.text && !(mp_py.name.text = PyUnicode_InternFromString(#text))) return -1;
    MP_PY_NAMES(X)
#undef X
    if (!mp_py.zero && !(mp_py.zero = PyLong_FromLong(0))) return -1;
    if (!mp_py.empty && !(mp_py.empty = PyTuple_New(0))) return -1;
    if (add_type(module, &mp_py.engine_type, &mp_py_engine_spec, NULL) < 0 ||
        add_type(module, &mp_py.plan_type, &mp_py_plan_spec, NULL) < 0 ||
        add_type(module, &mp_py.handle_type, &mp_py_handle_spec, NULL) < 0 ||
        add_type(module, &mp_py.sync_type, &mp_py_sync_spec, mp_py.handle_type) < 0 ||
        add_type(module, &mp_py.loop_type, &mp_py_loop_spec, mp_py.handle_type) < 0 ||
        add_type(module, &mp_py.queue_type, &mp_py_queue_spec, NULL) < 0 ||
        add_type(module, &mp_py.await_type, &mp_py_await_spec, NULL) < 0 ||
        add_type(module, &mp_py.load_type, &mp_py_load_spec, NULL) < 0 ||
        add_type(module, &mp_py.sync_collection_type, &mp_py_sync_collection_spec, NULL) < 0 ||
        add_type(module, &mp_py.loop_collection_type, &mp_py_loop_collection_spec, NULL) < 0 ||
        add_type(module, &mp_py.tag_set_type, &mp_py_tag_set_spec, NULL) < 0 ||
        add_type(module, &mp_py.writing_type, &mp_py_writing_spec, NULL) < 0 ||
        add_type(module, &mp_py.batch_type, &mp_py_batch_spec, NULL) < 0 ||
        add_type(module, &mp_py.check_type, &mp_py_check_spec, NULL) < 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}

PyObject *mp_py_setup(PyObject *module, PyObject *args, PyObject *kwargs) {
    static struct {
        const char *name;
        PyObject **place;
    } places[] = {
#define X(name) {#name, &mp_py.name},
        MP_PY_OBJECTS(X)
#undef X
    };
    PyObject *name, *value;
    Py_ssize_t at = 0;
    if (PyTuple_Size(args) != 0) return PyErr_Format(PyExc_TypeError, "setup() takes keywords only");
    while (kwargs && PyDict_Next(kwargs, &at, &name, &value)) {
        bool known = false;
        if (PyUnicode_CompareWithASCIIString(name, "main_thread") == 0) {
            mp_py.main_thread = PyLong_AsUnsignedLong(value);
            if (PyErr_Occurred()) return NULL;
            continue;
        }
        for (size_t i = 0; i < sizeof places / sizeof *places && !known; i++) {
            if (PyUnicode_CompareWithASCIIString(name, places[i].name) != 0) continue;
            PyObject *old = *places[i].place;
            *places[i].place = Py_NewRef(value);
            Py_XDECREF(old);
            known = true;
        }
        if (!known) return PyErr_Format(PyExc_TypeError, "setup() knows no %R", name);
    }
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (!*places[i].place) return PyErr_Format(PyExc_TypeError, "setup() was not given %s", places[i].name);
    Py_RETURN_NONE;
}
