/* The asyncio calls. They start at once and return an answer to await; outside a running loop they return a coroutine that
 * starts when it is awaited. What is wrong with the arguments is raised by the call, everything else by the await. */
#include "glue.h"

PyObject *mp_py_later(PyObject *self, const char *method, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    if (PyErr_Occurred()) return NULL;
    PyObject *name = PyUnicode_FromString(method), *tuple = PyTuple_New(n), *dict = PyDict_New(), *made = NULL;
    bool ok = name && tuple && dict;
    for (Py_ssize_t i = 0; ok && i < n; i++) PyTuple_SetItem(tuple, i, Py_NewRef(args[i]));
    for (Py_ssize_t i = 0; ok && kwnames && i < PyTuple_Size(kwnames); i++)
        ok = PyDict_SetItem(dict, PyTuple_GetItem(kwnames, i), args[n + i]) == 0;
    if (ok) made = PyObject_CallFunctionObjArgs(mp_py.later, self, name, tuple, dict, NULL);
    Py_XDECREF(name);
    Py_XDECREF(tuple);
    Py_XDECREF(dict);
    return made;
}

PyObject *mp_py_started(mp_await *a, mp_py_queue *queue, int code, pond_value *now, pond_error *err) {
    if (code == POND_OK && !now) {
        mp_py_queue_list(queue, a);
        if (mp_py_queue_touch(queue) == 0) return (PyObject *)a;
        PyErr_Clear(); /* call_soon refused: then at once */
        pond_queue_flush(queue->queue);
        return (PyObject *)a;
    }
    PyObject *result = NULL;
    if (code != POND_OK) mp_py_raise(err);
    else result = mp_py_await_value(a, now);
    if (code == POND_OK) pond_value_free(now);
    mp_py_await_end(a, result, false);
    return (PyObject *)a;
}

static uint64_t user_of(mp_await *a) { return (uint64_t)(uintptr_t)a; }

static PyObject *fetch(PyObject *object, const char *name, mp_py_kind kind, PyObject *const *args, Py_ssize_t n,
                       PyObject *kwnames) {
    mp_handle *self = (mp_handle *)object;
    mp_py_call call;
    if (mp_py_parse(self, name, MP_PY_KEY | MP_PY_LOADER | MP_PY_IN | MP_PY_OUT | MP_PY_TAGS, args, n, kwnames, &call) <
        0)
        return NULL;
    pond *p = self->engine->pond;
    PyObject *result = NULL;
    pond_value *now = pond_peek_tagged(p, call.key, call.len, call.plan->policy, call.tags);
    if (now) {
        result = mp_py_await_done(kind == MP_PY_ENTRY ? mp_py_entry(now, &call.extras, call.key_object)
                                                      : mp_py_decode(now, &call.extras, call.key_object));
        pond_value_free(now);
        goto done;
    }
    mp_py_queue *queue = mp_py_queue_here(self->engine);
    if (!queue) {
        result = mp_py_later(object, name, args, n, kwnames);
        goto done;
    }
    if (mp_py_loading(self->engine, call.plan->ns, call.key_object)) {
        mp_py_fail(POND_EDEADLOCK, "the loader of %R asks for the same key, and would wait for itself",
                   call.key_object);
        result = mp_py_await_done(NULL);
        goto done;
    }
    mp_await *a = mp_py_await_new(queue, kind);
    if (!a) goto done;
    a->key = Py_NewRef(call.key_object);
    a->ns = Py_NewRef(call.plan->ns);
    a->loader = Py_NewRef(call.loader);
    a->extras = call.extras;
    mp_py_extras_own(&a->extras);
    pond_error *err = NULL;
    int code = pond_fetch_tagged_start(p, queue->queue, call.key, call.len, call.plan->policy, call.tags, user_of(a),
                                       &now, &a->request, &err);
    result = mp_py_started(a, queue, code, now, err);
done:
    mp_py_call_clear(&call);
    return result;
}

static PyObject *loop_fetch(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    return fetch(self, "fetch", MP_PY_FETCH, args, n, kwnames);
}

static PyObject *loop_fetch_entry(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    return fetch(self, "fetch_entry", MP_PY_ENTRY, args, n, kwnames);
}

static PyObject *loop_lookup(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    mp_handle *self = (mp_handle *)object;
    mp_py_call call;
    if (mp_py_parse(self, "lookup", MP_PY_KEY | MP_PY_IN | MP_PY_TAGS, args, n, kwnames, &call) < 0) return NULL;
    PyObject *result = NULL;
    mp_py_queue *queue = mp_py_queue_here(self->engine);
    if (!queue) {
        result = mp_py_later(object, "lookup", args, n, kwnames);
        goto done;
    }
    mp_await *a = mp_py_await_new(queue, MP_PY_LOOKUP);
    if (!a) goto done;
    a->key = Py_NewRef(call.key_object);
    a->extras = call.extras;
    mp_py_extras_own(&a->extras);
    pond_error *err = NULL;
    pond_value *now = NULL;
    int code = pond_lookup_tagged_start(self->engine->pond, queue->queue, call.key, call.len, call.plan->policy,
                                        call.tags, user_of(a), &now, &a->request, &err);
    result = mp_py_started(a, queue, code, now, err);
done:
    mp_py_call_clear(&call);
    return result;
}

static PyObject *loop_invalidate(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    mp_handle *self = (mp_handle *)object;
    mp_py_call call;
    mp_keys keys = {0};
    if (mp_py_parse(self, "invalidate", MP_PY_KEYS | MP_PY_TAGS, args, n, kwnames, &call) < 0) return NULL;
    PyObject *result = NULL;
    if (mp_py_keys(&keys, args, n) < 0) goto done;
    mp_py_queue *queue = mp_py_queue_here(self->engine);
    if (!queue) {
        result = mp_py_later(object, "invalidate", args, n, kwnames);
        goto done;
    }
    mp_await *a = mp_py_await_new(queue, MP_PY_DONE);
    if (!a) goto done;
    pond_error *err = NULL;
    int code = pond_invalidate_tagged_start(self->engine->pond, queue->queue, keys.keys, keys.lens, keys.n,
                                            call.plan->policy, call.tags, user_of(a), &err);
    result = mp_py_started(a, queue, code, NULL, err);
done:
    mp_py_keys_free(&keys);
    mp_py_call_clear(&call);
    return result;
}

static PyObject *loop_explain(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    mp_handle *self = (mp_handle *)object;
    mp_py_call call;
    if (mp_py_parse(self, "explain", MP_PY_KEY, args, n, kwnames, &call) < 0) return NULL;
    PyObject *result = NULL;
    mp_py_queue *queue = mp_py_queue_here(self->engine);
    if (!queue) {
        result = mp_py_later(object, "explain", args, n, kwnames);
        goto done;
    }
    mp_await *a = mp_py_await_new(queue, MP_PY_PLAIN);
    if (!a) goto done;
    pond_error *err = NULL;
    int code =
        pond_explain_start(self->engine->pond, queue->queue, call.key, call.len, call.plan->policy, user_of(a), &err);
    result = mp_py_started(a, queue, code, NULL, err);
done:
    mp_py_call_clear(&call);
    return result;
}

static PyObject *loop_processes(PyObject *object, PyObject *unused) {
    mp_handle *self = (mp_handle *)object;
    mp_py_queue *queue = mp_py_queue_here(self->engine);
    if (!queue) return mp_py_later(object, "processes", NULL, 0, NULL);
    mp_await *a = mp_py_await_new(queue, MP_PY_PLAIN);
    if (!a) return NULL;
    pond_error *err = NULL;
    int code = pond_processes_start(self->engine->pond, queue->queue, user_of(a), &err);
    return mp_py_started(a, queue, code, NULL, err);
}

/* ---- the store ---- */

/* The queue, the collection and one text after it, if it is wanted. NULL: no loop runs, or an exception. */
static mp_py_queue *store_args(mp_handle *self, const char *method, Py_ssize_t wanted, PyObject *const *args,
                               Py_ssize_t n, const char **collection, const char **id, size_t *len) {
    size_t collection_len;
    if (n != wanted) {
        PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments", method, wanted);
        return NULL;
    }
    if (!(*collection = mp_py_key(args[0], &collection_len))) return NULL;
    if (strlen(*collection) != collection_len) {
        mp_py_fail(POND_EOPTION, "the collection's name %R is not clean text", args[0]);
        return NULL;
    }
    if (id && !(*id = mp_py_key(args[1], len))) return NULL;
    return mp_py_queue_here(self->engine);
}

static PyObject *store_create(PyObject *object, PyObject *const *args, Py_ssize_t n) {
    mp_handle *self = (mp_handle *)object;
    const char *collection;
    mp_py_queue *queue = store_args(self, "create", 1, args, n, &collection, NULL, NULL);
    mp_await *a = queue ? mp_py_await_new(queue, MP_PY_DONE) : NULL;
    if (!a) return mp_py_later(object, "_store_create", args, n, NULL);
    pond_error *err = NULL;
    int code = pond_store_create_start(self->engine->pond, queue->queue, collection, user_of(a), &err);
    return mp_py_started(a, queue, code, NULL, err);
}

static PyObject *store_get(PyObject *object, PyObject *const *args, Py_ssize_t n) {
    mp_handle *self = (mp_handle *)object;
    const char *collection, *id;
    size_t len;
    mp_py_queue *queue = store_args(self, "get", 2, args, n, &collection, &id, &len);
    mp_await *a = queue ? mp_py_await_new(queue, MP_PY_PLAIN) : NULL;
    if (!a) return mp_py_later(object, "_store_get", args, n, NULL);
    pond_error *err = NULL;
    int code = pond_store_get_start(self->engine->pond, queue->queue, collection, id, len, user_of(a), &err);
    return mp_py_started(a, queue, code, NULL, err);
}

static PyObject *store_get_many(PyObject *object, PyObject *const *args, Py_ssize_t n) {
    mp_handle *self = (mp_handle *)object;
    PyObject *list = n == 2 ? PySequence_List(args[1]) : NULL, *result = NULL;
    if (n == 2 && !list) return NULL;
    Py_ssize_t count = list ? PyList_Size(list) : 0;
    PyObject **ids = PyMem_Calloc((size_t)count + 1, sizeof *ids);
    mp_keys keys = {0};
    if (!ids) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < count; i++) ids[i] = PyList_GetItem(list, i);
    if (mp_py_keys(&keys, ids, count) < 0) goto done;
    const char *collection;
    mp_py_queue *queue = store_args(self, "get_many", 2, args, n, &collection, NULL, NULL);
    mp_await *a = queue ? mp_py_await_new(queue, MP_PY_PLAIN) : NULL;
    if (a) {
        pond_error *err = NULL;
        int code = pond_store_get_many_start(self->engine->pond, queue->queue, collection, keys.keys, keys.lens, keys.n,
                                             user_of(a), &err);
        result = mp_py_started(a, queue, code, NULL, err);
    } else {
        result = mp_py_later(object, "_store_get_many", args, n, NULL);
    }
done:
    mp_py_keys_free(&keys);
    PyMem_Free(ids);
    Py_XDECREF(list);
    return result;
}

static PyObject *store_put(PyObject *object, PyObject *const *args, Py_ssize_t n) {
    mp_handle *self = (mp_handle *)object;
    const char *collection, *id;
    char *document;
    size_t len;
    Py_ssize_t document_len;
    mp_py_queue *queue = store_args(self, "put", 3, args, n, &collection, &id, &len);
    if (PyErr_Occurred() || PyBytes_AsStringAndSize(args[2], &document, &document_len) < 0) return NULL;
    mp_await *a = queue ? mp_py_await_new(queue, MP_PY_DONE) : NULL;
    if (!a) return mp_py_later(object, "_store_put", args, n, NULL);
    pond_error *err = NULL;
    int code = pond_store_put_start(self->engine->pond, queue->queue, collection, id, len, document,
                                    (size_t)document_len, user_of(a), &err);
    return mp_py_started(a, queue, code, NULL, err);
}

static PyObject *store_delete(PyObject *object, PyObject *const *args, Py_ssize_t n) {
    mp_handle *self = (mp_handle *)object;
    const char *collection, *id;
    size_t len;
    mp_py_queue *queue = store_args(self, "delete", 2, args, n, &collection, &id, &len);
    mp_await *a = queue ? mp_py_await_new(queue, MP_PY_DELETE) : NULL;
    if (!a) return mp_py_later(object, "_store_delete", args, n, NULL);
    pond_error *err = NULL;
    int code = pond_store_delete_start(self->engine->pond, queue->queue, collection, id, len, user_of(a), &err);
    return mp_py_started(a, queue, code, NULL, err);
}

/* _queue(): this loop's, if it has one. */
static PyObject *loop_queue(PyObject *object, PyObject *unused) {
    mp_engine *engine = ((mp_handle *)object)->engine;
    if (!engine) return mp_py_not_open();
    PyObject *loop = PyObject_CallFunctionObjArgs(mp_py.running_loop, NULL);
    if (!loop) return NULL;
    mp_py_queue *queue = mp_py_queue_of(engine, loop);
    Py_DECREF(loop);
    return Py_NewRef(queue ? (PyObject *)queue : Py_None);
}

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

PyMethodDef mp_py_loop_methods[] = {
    {"fetch", FAST(loop_fetch), METH_FASTCALL | METH_KEYWORDS,
     "fetch(key, loader, tags=None, **options): the cached value, or what loader() gives, which is then cached."},
    {"fetch_entry", FAST(loop_fetch_entry), METH_FASTCALL | METH_KEYWORDS,
     "fetch_entry(key, loader, tags=None, **options): as fetch(), as an Entry: it says whether the value is stale."},
    {"lookup", FAST(loop_lookup), METH_FASTCALL | METH_KEYWORDS,
     "lookup(key, tags=None, **options): what the cache holds, without loading, as an Entry."},
    {"invalidate", FAST(loop_invalidate), METH_FASTCALL | METH_KEYWORDS,
     "invalidate(*keys, tags=None, **options): drops what is cached under the keys, and all that has one of the tags; "
     "nothing\n"
     "read before is served or cached afterwards."},
    {"explain", FAST(loop_explain), METH_FASTCALL | METH_KEYWORDS,
     "explain(key, **options): what is known of a key, as a dict."},
    {"processes", loop_processes, METH_NOARGS,
     "processes(): what the processes count that publish it to this cache (option publish_stats)."},
    {"_write", FAST(mp_py_loop_write), METH_FASTCALL | METH_KEYWORDS,
     "_write(keys, **options) -> (begin, end): the first gives the writing."},
    {"_fetch_many", FAST(mp_py_loop_fetch_many), METH_FASTCALL | METH_KEYWORDS,
     "_fetch_many(keys, discard, **options) -> (step, end): a step gives a batch, or the answer."},
    {"_set_many", FAST(mp_py_loop_set_many), METH_FASTCALL | METH_KEYWORDS, "_set_many(keys, values, **options)"},
    {"_store_create", FAST(store_create), METH_FASTCALL, NULL},
    {"_store_get", FAST(store_get), METH_FASTCALL, NULL},
    {"_store_get_many", FAST(store_get_many), METH_FASTCALL, NULL},
    {"_store_put", FAST(store_put), METH_FASTCALL, NULL},
    {"_store_delete", FAST(store_delete), METH_FASTCALL, NULL},
    {"_queue", loop_queue, METH_NOARGS, "The queue of the running loop, or None."},
    {NULL, NULL, 0, NULL},
};
