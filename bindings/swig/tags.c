/* Sets of tags. A call site says nearly always the same ones, so a set is compiled once and found again by its text. */
#include "glue.h"

#define MOST_SETS 1000 /* per handle: a program with a tag for every user must not fill the memory */

typedef struct tag_set {
    PyObject_HEAD pond_tags *tags; /* NULL: none */
} tag_set;

static void tag_set_dealloc(PyObject *self) {
    pond_tags_free(((tag_set *)self)->tags);
    MP_PY_FREE(self);
}

static PyType_Slot tag_set_slots[] = {
    {Py_tp_dealloc, tag_set_dealloc},
    {Py_tp_doc, "Tags, compiled."},
    {0, NULL},
};
PyType_Spec mp_py_tag_set_spec = {"millpond._core.TagSet", sizeof(tag_set), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, tag_set_slots};

/* tags= as a tuple of str; new reference. */
static PyObject *tuple_of(PyObject *tags) {
    if (PyUnicode_Check(tags) || PyBytes_Check(tags))
        return mp_py_fail(POND_EOPTION, "tags=%R is one text: write a list, as tags=[%R]", tags, tags);
    PyObject *tuple = PySequence_Tuple(tags);
    if (!tuple) {
        if (!PyErr_ExceptionMatches(PyExc_TypeError)) return NULL;
        PyErr_Clear();
        return mp_py_fail(POND_EOPTION, "tags= is a list of str, not %R", Py_TYPE(tags));
    }
    for (Py_ssize_t i = 0; i < PyTuple_Size(tuple); i++) {
        PyObject *tag = PyTuple_GetItem(tuple, i);
        if (PyUnicode_Check(tag)) continue;
        PyErr_Format(PyExc_TypeError, "a tag is a str, not %R", Py_TYPE(tag));
        Py_DECREF(tuple);
        return NULL;
    }
    return tuple;
}

static tag_set *compile(mp_handle *handle, const mp_plan *plan, PyObject *tuple) {
    mp_keys keys;
    pond_tags *tags = NULL;
    pond_error *err = NULL;
    if (mp_py_keys_of(&keys, tuple) < 0) return NULL;
    int code = pond_tags_new(&tags, handle->engine->pond, plan->policy, keys.keys, keys.lens, keys.n, &err);
    mp_py_keys_free(&keys);
    if (code != POND_OK) {
        mp_py_raise(err);
        return NULL;
    }
    tag_set *made = PyObject_New(tag_set, mp_py.tag_set_type);
    if (made) made->tags = tags;
    else pond_tags_free(tags);
    return made;
}

int mp_py_set_tags(mp_handle *handle, mp_py_call *call, PyObject *given) {
    PyObject *tuple = tuple_of(given), *name = tuple ? PyTuple_Pack(2, call->plan->ns, tuple) : NULL, *found = NULL;
    if (name && !handle->tag_sets) handle->tag_sets = PyDict_New();
    if (name && handle->tag_sets) {
        found = PyDict_GetItemWithError(handle->tag_sets, name);
        Py_XINCREF(found);
        if (!found && !PyErr_Occurred() && (found = (PyObject *)compile(handle, call->plan, tuple))) {
            if (PyDict_Size(handle->tag_sets) >= MOST_SETS) PyDict_Clear(handle->tag_sets);
            if (PyDict_SetItem(handle->tag_sets, name, found) < 0) PyErr_Clear(); /* it works without the memory */
        }
    }
    Py_XDECREF(name);
    Py_XDECREF(tuple);
    if (!found) return -1;
    call->tag_set = found;
    call->tags = ((tag_set *)found)->tags;
    return 0;
}
