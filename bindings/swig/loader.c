/* The blocking calls. A memory hit is answered with the GIL held; anything that waits gives it away for the wait alone, and the
 * loader, which runs in this thread, takes it back. */
#include "glue.h"

#include <string.h>

typedef struct waiting {
    mp_block block;
    const mp_py_call *call;
    PyObject *own; /* what the loader raised for this caller alone */
} waiting;

/* The core calls this in the thread that called pond_fetch, without the GIL. */
static void load(pond_load *load, void *ctx) {
    waiting *w = ctx;
    PyEval_RestoreThread(w->block.thread);
    PyObject *value = PyObject_CallFunctionObjArgs(w->call->loader, NULL);
    if (value) {
        w->own = mp_py_answer(load, value, &w->call->extras);
        Py_DECREF(value);
    } else {
        w->own = mp_py_fail_load(load);
    }
    w->block.thread = PyEval_SaveThread();
}

/* NULL with an exception. */
static pond_value *fetch_waiting(mp_handle *self, const mp_py_call *call) {
    waiting w = {.call = call};
    pond_value *value = NULL;
    pond_error *err = NULL;
    mp_py_block(&w.block);
    int code = pond_fetch_tagged(self->engine->pond, call->key, call->len, call->plan->policy, call->tags, load, &w,
                                 &value, &err);
    int signalled = mp_py_unblock(&w.block);
    if (code == POND_OK && !signalled && !w.own) return value;
    if (code == POND_OK)
        pond_value_free(value); /* Ctrl-C in the loader ends the call, whatever else the core has found */
    if (signalled) {
        pond_error_free(err);
    } else if (w.own) {
        pond_error_free(err);
        PyErr_SetObject((PyObject *)Py_TYPE(w.own), w.own);
    } else {
        mp_py_raise(err);
    }
    Py_XDECREF(w.own);
    return NULL;
}

static PyObject *fetch(PyObject *object, const char *name, bool entry, PyObject *const *args, Py_ssize_t n,
                       PyObject *kwnames) {
    mp_handle *self = (mp_handle *)object;
    mp_py_call call;
    if (mp_py_parse(self, name, MP_PY_KEY | MP_PY_LOADER | MP_PY_IN | MP_PY_OUT | MP_PY_TAGS, args, n, kwnames, &call) <
        0)
        return NULL;
    pond_value *value = pond_peek_tagged(self->engine->pond, call.key, call.len, call.plan->policy, call.tags);
    if (!value) value = fetch_waiting(self, &call);
    PyObject *result = !value  ? NULL
                       : entry ? mp_py_entry(value, &call.extras, call.key_object)
                               : mp_py_decode(value, &call.extras, call.key_object);
    pond_value_free(value);
    mp_py_call_clear(&call);
    return result;
}

static PyObject *sync_fetch(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    return fetch(self, "fetch", false, args, n, kwnames);
}

static PyObject *sync_fetch_entry(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    return fetch(self, "fetch_entry", true, args, n, kwnames);
}

static PyObject *sync_lookup(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    mp_handle *self = (mp_handle *)object;
    mp_py_call call;
    if (mp_py_parse(self, "lookup", MP_PY_KEY | MP_PY_IN | MP_PY_TAGS, args, n, kwnames, &call) < 0) return NULL;
    pond_value *value = pond_peek_tagged(self->engine->pond, call.key, call.len, call.plan->policy, call.tags);
    PyObject *result = NULL;
    if (!value) {
        mp_block block;
        pond_error *err = NULL;
        mp_py_block(&block);
        int code =
            pond_lookup_tagged(self->engine->pond, call.key, call.len, call.plan->policy, call.tags, &value, &err);
        int signalled = mp_py_unblock(&block);
        if (signalled) pond_error_free(err);
        else if (code != POND_OK) mp_py_raise(err);
        if (code != POND_OK) value = NULL;
    }
    if (value && !PyErr_Occurred()) result = mp_py_entry(value, &call.extras, call.key_object);
    pond_value_free(value);
    mp_py_call_clear(&call);
    return result;
}

static PyObject *sync_invalidate(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    mp_handle *self = (mp_handle *)object;
    mp_py_call call;
    mp_keys keys;
    if (mp_py_parse(self, "invalidate", MP_PY_KEYS | MP_PY_TAGS, args, n, kwnames, &call) < 0) return NULL;
    PyObject *result = NULL;
    if (mp_py_keys(&keys, args, n) == 0) {
        mp_block block;
        pond_error *err = NULL;
        mp_py_block(&block);
        int code = pond_invalidate_tagged(self->engine->pond, keys.keys, keys.lens, keys.n, call.plan->policy,
                                          call.tags, &err);
        int signalled = mp_py_unblock(&block);
        mp_py_keys_free(&keys);
        if (signalled) pond_error_free(err);
        else if (code != POND_OK) mp_py_raise(err);
        else result = Py_NewRef(Py_None);
    }
    mp_py_call_clear(&call);
    return result;
}

static PyObject *sync_explain(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    mp_handle *self = (mp_handle *)object;
    mp_py_call call;
    if (mp_py_parse(self, "explain", MP_PY_KEY, args, n, kwnames, &call) < 0) return NULL;
    mp_block block;
    pond_value *value = NULL;
    pond_error *err = NULL;
    mp_py_block(&block);
    int code = pond_explain(self->engine->pond, call.key, call.len, call.plan->policy, &value, &err);
    int signalled = mp_py_unblock(&block);
    PyObject *result = NULL;
    if (signalled) pond_error_free(err);
    else if (code != POND_OK) mp_py_raise(err);
    else result = mp_py_decode(value, NULL, NULL);
    if (code == POND_OK) pond_value_free(value);
    mp_py_call_clear(&call);
    return result;
}

PyMethodDef mp_py_sync_methods[] = {
    {"fetch", (PyCFunction)(void (*)(void))sync_fetch, METH_FASTCALL | METH_KEYWORDS,
     "fetch(key, loader, tags=None, **options): the cached value, or what loader() gives, which is then cached."},
    {"fetch_entry", (PyCFunction)(void (*)(void))sync_fetch_entry, METH_FASTCALL | METH_KEYWORDS,
     "fetch_entry(key, loader, tags=None, **options): as fetch(), as an Entry: it says whether the value is stale."},
    {"lookup", (PyCFunction)(void (*)(void))sync_lookup, METH_FASTCALL | METH_KEYWORDS,
     "lookup(key, tags=None, **options): what the cache holds, without loading, as an Entry."},
    {"invalidate", (PyCFunction)(void (*)(void))sync_invalidate, METH_FASTCALL | METH_KEYWORDS,
     "invalidate(*keys, tags=None, **options): drops what is cached under the keys, and all that has one of the tags; "
     "nothing\n"
     "read before is served or cached afterwards."},
    {"explain", (PyCFunction)(void (*)(void))sync_explain, METH_FASTCALL | METH_KEYWORDS,
     "explain(key, **options): what is known of a key, as a dict."},
    {"_write", (PyCFunction)(void (*)(void))mp_py_sync_write, METH_FASTCALL | METH_KEYWORDS,
     "_write(keys, body, **options): body(writing) says what came of it."},
    {"_fetch_many", (PyCFunction)(void (*)(void))mp_py_sync_fetch_many, METH_FASTCALL | METH_KEYWORDS,
     "_fetch_many(keys, body, discard, **options): body(batch) loads it."},
    {"_set_many", (PyCFunction)(void (*)(void))mp_py_sync_set_many, METH_FASTCALL | METH_KEYWORDS,
     "_set_many(keys, values, **options)"},
    {NULL, NULL, 0, NULL},
};

PyObject *mp_py_store_get_many(PyObject *handle, const char *collection, PyObject *ids) {
    pond *p = mp_py_pond(handle);
    if (!p) return NULL;
    PyObject *list = PySequence_List(ids), *result = NULL;
    Py_ssize_t n = list ? PyList_Size(list) : 0;
    PyObject **objects = PyMem_Calloc((size_t)n + 1, sizeof *objects);
    pond_value **values = PyMem_Calloc((size_t)n + 1, sizeof *values);
    mp_keys keys = {0};
    if (!list) goto done;
    if (!objects || !values) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < n; i++) objects[i] = PyList_GetItem(list, i);
    if (mp_py_keys(&keys, objects, n) < 0) goto done;
    mp_block block;
    pond_error *err = NULL;
    mp_py_block(&block);
    int code = pond_store_get_many(p, collection, keys.keys, keys.lens, keys.n, values, &err);
    int signalled = mp_py_unblock(&block);
    if (signalled) pond_error_free(err);
    else if (code != POND_OK) mp_py_raise(err);
    else if ((result = PyList_New(n))) {
        for (Py_ssize_t i = 0; i < n && result; i++) {
            PyObject *document = mp_py_decode(values[i], NULL, NULL);
            if (document) PyList_SetItem(result, i, document);
            else Py_CLEAR(result);
        }
    }
    if (code == POND_OK)
        for (Py_ssize_t i = 0; i < n; i++) pond_value_free(values[i]);
done:
    mp_py_keys_free(&keys);
    PyMem_Free(objects);
    PyMem_Free(values);
    Py_XDECREF(list);
    return result;
}
