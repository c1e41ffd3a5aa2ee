/* Collections: documents by id and pages of queries, blocking and awaited. What a query means, which key it has and whether it is
 * served from the cache, the core decides: it is handed over as text, or as the JSON that the Python layer made of an object. */
#include "glue.h"

typedef struct collection {
    PyObject_HEAD pond_collection *collection;
    mp_engine *engine;
    bool raise_absent; /* the view's that it was made from */
} collection;

/* ---- life ---- */

static int handle_of(PyObject *object, mp_handle **out) {
    *out = (mp_handle *)object;
    if (PyObject_TypeCheck(object, mp_py.handle_type) && (*out)->engine) return 0;
    PyErr_SetString(PyExc_TypeError, "use collection() of a pond");
    return -1;
}

/* The view's options and then the collection's own; both are (name, text, name, text...). */
static int make(collection *self, mp_handle *handle, PyObject *name, PyObject *own) {
    PyObject *before = handle->plan->texts, *texts = before ? PySequence_Concat(before, own) : Py_NewRef(own);
    const char *c_name = mp_py_option_text(mp_py.name.id, name), **pairs = NULL;
    Py_ssize_t n = texts ? PyTuple_Size(texts) : 0;
    bool ok = texts && c_name;
    if (ok && !(pairs = PyMem_Calloc((size_t)n + 1, sizeof *pairs))) {
        PyErr_NoMemory();
        ok = false;
    }
    for (Py_ssize_t i = 0; ok && i < n; i++)
        ok = (pairs[i] = mp_py_option_text(PyTuple_GetItem(texts, i & ~(Py_ssize_t)1), PyTuple_GetItem(texts, i))) !=
             NULL;
    if (ok) {
        pond_error *err = NULL;
        int code = pond_collection_new(&self->collection, handle->engine->pond, c_name, pairs, (size_t)n / 2, &err);
        if (code != POND_OK) mp_py_raise(err);
        else self->engine = (mp_engine *)Py_NewRef((PyObject *)handle->engine);
        self->raise_absent = handle->extras.raise_absent;
    }
    PyMem_Free(pairs);
    Py_XDECREF(texts);
    return PyErr_Occurred() ? -1 : 0;
}

/* Collection(pond, name, (option, text, ...)) */
static int collection_init(PyObject *object, PyObject *args, PyObject *kwargs) {
    collection *self = (collection *)object;
    PyObject *pond, *name, *texts;
    mp_handle *handle;
    if (self->collection) {
        PyErr_SetString(PyExc_TypeError, "a collection is made once");
        return -1;
    }
    if ((kwargs && PyDict_Size(kwargs)) || !PyArg_ParseTuple(args, "OUO", &pond, &name, &texts) ||
        !PyTuple_Check(texts)) {
        PyErr_SetString(PyExc_TypeError, "use collection() of a pond");
        return -1;
    }
    return handle_of(pond, &handle) < 0 ? -1 : make(self, handle, name, texts);
}

static void collection_dealloc(PyObject *object) {
    collection *self = (collection *)object;
    /* Never the pond's last reference: the engine has one. */
    if (self->collection) pond_collection_free(self->collection);
    Py_XDECREF((PyObject *)self->engine);
    MP_PY_FREE(object);
}

static collection *self_of(PyObject *object) {
    collection *self = (collection *)object;
    if (self->collection) return self;
    PyErr_SetString(PyExc_TypeError, "the collection was not made by collection() of a pond");
    return NULL;
}

pond_collection *mp_py_collection(PyObject *object, mp_engine **engine) {
    collection *self = self_of(object);
    if (!self) return NULL;
    *engine = self->engine;
    return self->collection;
}

/* ---- arguments ---- */

/* A method that takes one thing, by position or as `name`, and perhaps absent=. */
static int one(const char *method, PyObject *name, PyObject *const *args, Py_ssize_t n, PyObject *kwnames,
               PyObject **out, mp_extras *extras) {
    *out = n > 0 ? args[0] : NULL;
    if (n > 1) {
        PyErr_Format(PyExc_TypeError, "%s() takes one argument by position, not %zd", method, n);
        return -1;
    }
    for (Py_ssize_t i = 0; kwnames && i < PyTuple_Size(kwnames); i++) {
        PyObject *given = PyTuple_GetItem(kwnames, i), *value = args[n + i];
        if (PyUnicode_Compare(given, name) == 0 && !*out) {
            *out = value;
        } else if (extras && PyUnicode_Compare(given, mp_py.name.absent) == 0) {
            if (value != Py_None && mp_py_set_absent(extras, value) < 0) return -1;
        } else {
            if (PyUnicode_Compare(given, name) == 0) PyErr_Format(PyExc_TypeError, "%s() got %U twice", method, given);
            else PyErr_Format(PyExc_TypeError, "%s() takes no %U=", method, given);
            return -1;
        }
    }
    return PyErr_Occurred() ? -1 : 0;
}

static int parse_id(collection *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames, PyObject **object,
                    const char **id, size_t *len, mp_extras *extras) {
    *extras = (mp_extras){.raise_absent = self->raise_absent, .document = true};
    if (one("get", mp_py.name.id, args, n, kwnames, object, extras) < 0) return -1;
    if (!*object) PyErr_SetString(PyExc_TypeError, "get() needs an id");
    return *object && (*id = mp_py_key(*object, len)) ? 0 : -1;
}

typedef struct query {
    pond_query_form form;
    const char *data;
    size_t len;
    PyObject *owner; /* NULL: the argument's own */
} query;

static int from_bytes(query *out, PyObject *bytes, pond_query_form form) { /* steals bytes */
    char *data;
    Py_ssize_t len;
    if (!bytes) return -1;
    if (PyBytes_AsStringAndSize(bytes, &data, &len) < 0) {
        Py_DECREF(bytes);
        return -1;
    }
    *out = (query){.form = form, .data = data, .len = (size_t)len, .owner = bytes};
    return 0;
}

static int parse_query(const char *method, PyObject *const *args, Py_ssize_t n, PyObject *kwnames, query *out) {
    PyObject *object;
    *out = (query){.form = POND_QUERY_TEXT, .data = ""};
    if (one(method, mp_py.name.query, args, n, kwnames, &object, NULL) < 0) return -1;
    if (!object || object == Py_None) return 0;
    if (PyUnicode_Check(object)) {
        Py_ssize_t len;
        if ((out->data = PyUnicode_AsUTF8AndSize(object, &len))) {
            out->len = (size_t)len;
            return 0;
        }
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) return -1;
        PyErr_Clear(); /* a lone surrogate: bytes that are not UTF-8, and the core says what it thinks of them */
        return from_bytes(out, PyUnicode_AsEncodedString(object, "utf-8", "surrogatepass"), POND_QUERY_TEXT);
    }
    if (PyBytes_Check(object)) return from_bytes(out, Py_NewRef(object), POND_QUERY_TEXT);
    if (PyByteArray_Check(object)) return from_bytes(out, PyBytes_FromObject(object), POND_QUERY_TEXT);
    return from_bytes(out, PyObject_CallFunctionObjArgs(mp_py.encode_query, object, NULL), POND_QUERY_OBJECT);
}

/* The ids of an iterable as a tuple and as the core takes them. */
static PyObject *parse_ids(PyObject *object, mp_keys *out) {
    PyObject *ids = PySequence_Tuple(object);
    if (ids && mp_py_keys_of(out, ids) < 0) Py_CLEAR(ids);
    return ids;
}

static PyObject *one_list(PyObject *const *args, Py_ssize_t n, mp_keys *out) {
    if (n == 1 && (PyUnicode_Check(args[0]) || PyBytes_Check(args[0])))
        return PyErr_Format(PyExc_TypeError, "get_many() takes a list of ids, not one: get_many([%R])", args[0]);
    if (n == 1) return parse_ids(args[0], out);
    return PyErr_Format(PyExc_TypeError, "get_many() takes one list of ids");
}

/* ---- blocking ---- */

/* The end of a call that waited. */
static PyObject *waited(mp_block *block, int code, pond_value *value, pond_error *err,
                        PyObject *(*decode)(const pond_value *, const mp_extras *, PyObject *), const mp_extras *extras,
                        PyObject *key) {
    PyObject *result = NULL;
    if (mp_py_unblock(block) < 0) pond_error_free(err);
    else if (code != POND_OK) mp_py_raise(err);
    else if (!value) result = Py_NewRef(Py_None);
    else result = decode(value, extras, key);
    if (code == POND_OK) pond_value_free(value);
    return result;
}

static PyObject *page_of(const pond_value *value, const mp_extras *extras, PyObject *key) { return mp_py_page(value); }

/* What needs no wait is answered with the GIL held: a start call without a queue answers at once or says POND_EMISUSE, having
 * started nothing. */
static bool must_wait(int code, pond_error **err) {
    if (code != POND_EMISUSE) return false;
    pond_error_free(*err);
    *err = NULL;
    return true;
}

static PyObject *at_once(int code, pond_value *value, pond_error *err,
                         PyObject *(*decode)(const pond_value *, const mp_extras *, PyObject *),
                         const mp_extras *extras, PyObject *key) {
    if (code != POND_OK) return mp_py_raise(err);
    PyObject *result = decode(value, extras, key);
    pond_value_free(value);
    return result;
}

static PyObject *sync_prepare(PyObject *object, PyObject *unused) {
    collection *self = self_of(object);
    if (!self) return NULL;
    mp_block block;
    pond_error *err = NULL;
    mp_py_block(&block);
    int code = pond_collection_prepare(self->collection, &err);
    return waited(&block, code, NULL, err, NULL, NULL, NULL);
}

/* Of flush: milliseconds. -1: an exception. */
static long long time_of(PyObject *arg) {
    long long ms = PyLong_AsLongLong(arg);
    return PyErr_Occurred() ? -1 : ms < 0 ? 0 : ms;
}

static PyObject *sync_flush(PyObject *object, PyObject *arg) {
    collection *self = self_of(object);
    long long ms = time_of(arg);
    if (!self || ms < 0) return NULL;
    mp_block block;
    pond_error *err = NULL;
    mp_py_block(&block);
    int code = pond_collection_flush(self->collection, ms, &err);
    return waited(&block, code, NULL, err, NULL, NULL, NULL);
}

/* Of increment: a document's id, a member, and by how much. */
typedef struct increment_args {
    const char *id, *member;
    size_t id_len, member_len;
    int64_t by;
} increment_args;

static int parse_increment(PyObject *const *args, Py_ssize_t n, increment_args *out) {
    if (n != 3) {
        PyErr_SetString(PyExc_TypeError, "_increment(id, field, by)");
        return -1;
    }
    out->id = mp_py_key(args[0], &out->id_len);
    out->member = out->id ? mp_py_key(args[1], &out->member_len) : NULL;
    out->by = out->member ? PyLong_AsLongLong(args[2]) : 0;
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *sync_increment(PyObject *object, PyObject *const *args, Py_ssize_t n) {
    collection *self = self_of(object);
    increment_args of;
    if (!self || parse_increment(args, n, &of) < 0) return NULL;
    mp_block block;
    pond_error *err = NULL;
    mp_py_block(&block);
    int code = pond_collection_increment(self->collection, of.id, of.id_len, of.member, of.member_len, of.by, &err);
    return waited(&block, code, NULL, err, NULL, NULL, NULL);
}

/* Of the calls about dead letters: what to do (0: list them) and with how many, and a letter's id. */
typedef struct dead_args {
    pond_dead_act act;
    int64_t most;
    const char *letter;
    size_t len;
} dead_args;

static int parse_dead(PyObject *const *args, Py_ssize_t n, dead_args *out) {
    if (n != 3) {
        PyErr_SetString(PyExc_TypeError, "_dead(act, letter, most)");
        return -1;
    }
    long act = PyLong_AsLong(args[0]);
    out->act = (pond_dead_act)act;
    out->letter = PyErr_Occurred() ? NULL : mp_py_key(args[1], &out->len);
    out->most = out->letter ? PyLong_AsLongLong(args[2]) : 0;
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *sync_dead(PyObject *object, PyObject *const *args, Py_ssize_t n) {
    collection *self = self_of(object);
    dead_args dead;
    if (!self || parse_dead(args, n, &dead) < 0) return NULL;
    mp_block block;
    pond_value *value = NULL;
    pond_error *err = NULL;
    mp_py_block(&block);
    int code = dead.act ? pond_collection_dead_act(self->collection, dead.act, dead.letter, dead.len, &value, &err)
                        : pond_collection_dead_list(self->collection, dead.letter, dead.len, dead.most, &value, &err);
    return waited(&block, code, value, err, mp_py_decode, NULL, NULL);
}

static PyObject *sync_get(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    collection *self = self_of(object);
    PyObject *key;
    const char *id;
    size_t len;
    mp_extras extras;
    if (!self || parse_id(self, args, n, kwnames, &key, &id, &len, &extras) < 0) return NULL;
    pond_value *value = NULL;
    pond_error *err = NULL;
    int code = pond_collection_get_start(self->collection, NULL, id, len, 0, &value, NULL, &err);
    if (!must_wait(code, &err)) return at_once(code, value, err, mp_py_decode, &extras, key);
    mp_block block;
    mp_py_block(&block);
    code = pond_collection_get(self->collection, id, len, &value, &err);
    return waited(&block, code, value, err, mp_py_decode, &extras, key);
}

static PyObject *sync_find(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    collection *self = self_of(object);
    query q;
    if (!self || parse_query("find", args, n, kwnames, &q) < 0) return NULL;
    pond_value *value = NULL;
    pond_error *err = NULL;
    PyObject *result;
    int code = pond_collection_find_start(self->collection, NULL, q.form, q.data, q.len, 0, &value, NULL, &err);
    if (must_wait(code, &err)) {
        mp_block block;
        mp_py_block(&block);
        code = pond_collection_find(self->collection, q.form, q.data, q.len, &value, &err);
        result = waited(&block, code, value, err, page_of, NULL, NULL);
    } else {
        result = at_once(code, value, err, page_of, NULL, NULL);
    }
    Py_XDECREF(q.owner);
    return result;
}

static PyObject *sync_explain(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    collection *self = self_of(object);
    query q;
    if (!self || parse_query("explain", args, n, kwnames, &q) < 0) return NULL;
    mp_block block;
    pond_value *value = NULL;
    pond_error *err = NULL;
    mp_py_block(&block);
    int code = pond_collection_explain(self->collection, q.form, q.data, q.len, &value, &err);
    PyObject *result = waited(&block, code, value, err, mp_py_decode, NULL, NULL);
    Py_XDECREF(q.owner);
    return result;
}

static PyObject *sync_get_many(PyObject *object, PyObject *const *args, Py_ssize_t n) {
    collection *self = self_of(object);
    mp_keys keys = {0};
    PyObject *ids = self ? one_list(args, n, &keys) : NULL, *result = NULL;
    if (!ids) return NULL;
    pond_value **values = PyMem_Calloc(keys.n + 1, sizeof *values);
    if (!values) {
        PyErr_NoMemory();
    } else {
        mp_block block;
        pond_error *err = NULL;
        mp_py_block(&block);
        int code = pond_collection_get_many(self->collection, keys.keys, keys.lens, keys.n, values, &err);
        if (mp_py_unblock(&block) < 0) pond_error_free(err);
        else if (code != POND_OK) mp_py_raise(err);
        else result = PyList_New((Py_ssize_t)keys.n);
        for (size_t i = 0; result && i < keys.n; i++) {
            PyObject *document = mp_py_decode(values[i], NULL, NULL);
            if (document) PyList_SetItem(result, (Py_ssize_t)i, document);
            else Py_CLEAR(result);
        }
        for (size_t i = 0; code == POND_OK && i < keys.n; i++) pond_value_free(values[i]);
    }
    PyMem_Free(values);
    mp_py_keys_free(&keys);
    Py_DECREF(ids);
    return result;
}

static PyObject *sync_invalidate(PyObject *object, PyObject *const *args, Py_ssize_t n) {
    collection *self = self_of(object);
    mp_keys keys = {0};
    if (!self || mp_py_keys(&keys, args, n) < 0) return NULL;
    mp_block block;
    pond_error *err = NULL;
    mp_py_block(&block);
    int code = pond_collection_invalidate(self->collection, keys.keys, keys.lens, keys.n, &err);
    PyObject *result = waited(&block, code, NULL, err, NULL, NULL, NULL);
    mp_py_keys_free(&keys);
    return result;
}

/* ---- awaited ---- */

static uint64_t user_of(mp_await *a) { return (uint64_t)(uintptr_t)a; }

/* NULL: no loop runs, or an exception. */
static mp_await *begin(collection *self, mp_py_kind kind, mp_py_queue **queue) {
    *queue = mp_py_queue_here(self->engine);
    return *queue ? mp_py_await_new(*queue, kind) : NULL;
}

static PyObject *loop_prepare(PyObject *object, PyObject *unused) {
    collection *self = self_of(object);
    mp_py_queue *queue;
    if (!self) return NULL;
    mp_await *a = begin(self, MP_PY_DONE, &queue);
    if (!a) return mp_py_later(object, "prepare", NULL, 0, NULL);
    pond_error *err = NULL;
    int code = pond_collection_prepare_start(self->collection, queue->queue, user_of(a), &err);
    return mp_py_started(a, queue, code, NULL, err);
}

static PyObject *loop_flush(PyObject *object, PyObject *arg) {
    collection *self = self_of(object);
    long long ms = time_of(arg);
    mp_py_queue *queue;
    if (!self || ms < 0) return NULL;
    mp_await *a = begin(self, MP_PY_DONE, &queue);
    if (!a) return mp_py_later(object, "_flush", &arg, 1, NULL);
    pond_error *err = NULL;
    int code = pond_collection_flush_start(self->collection, queue->queue, ms, user_of(a), &err);
    return mp_py_started(a, queue, code, NULL, err);
}

static PyObject *loop_increment(PyObject *object, PyObject *const *args, Py_ssize_t n) {
    collection *self = self_of(object);
    increment_args of;
    mp_py_queue *queue;
    if (!self || parse_increment(args, n, &of) < 0) return NULL;
    mp_await *a = begin(self, MP_PY_DONE, &queue);
    if (!a) return mp_py_later(object, "_increment", args, n, NULL);
    pond_error *err = NULL;
    int code = pond_collection_increment_start(self->collection, queue->queue, of.id, of.id_len, of.member,
                                               of.member_len, of.by, user_of(a), &a->request, &err);
    return mp_py_started(a, queue, code, NULL, err);
}

static PyObject *loop_dead(PyObject *object, PyObject *const *args, Py_ssize_t n) {
    collection *self = self_of(object);
    dead_args dead;
    mp_py_queue *queue;
    if (!self || parse_dead(args, n, &dead) < 0) return NULL;
    mp_await *a = begin(self, MP_PY_PLAIN, &queue);
    if (!a) return mp_py_later(object, "_dead", args, n, NULL);
    pond_error *err = NULL;
    int code = dead.act ? pond_collection_dead_act_start(self->collection, queue->queue, dead.act, dead.letter,
                                                         dead.len, user_of(a), &err)
                        : pond_collection_dead_list_start(self->collection, queue->queue, dead.letter, dead.len,
                                                          dead.most, user_of(a), &err);
    return mp_py_started(a, queue, code, NULL, err);
}

static PyObject *loop_get(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    collection *self = self_of(object);
    PyObject *key;
    const char *id;
    size_t len;
    mp_extras extras;
    mp_py_queue *queue;
    if (!self || parse_id(self, args, n, kwnames, &key, &id, &len, &extras) < 0) return NULL;
    mp_await *a = begin(self, MP_PY_DOCUMENT, &queue);
    if (!a) return mp_py_later(object, "get", args, n, kwnames);
    a->key = Py_NewRef(key);
    a->extras = extras;
    pond_value *now = NULL;
    pond_error *err = NULL;
    int code = pond_collection_get_start(self->collection, queue->queue, id, len, user_of(a), &now, &a->request, &err);
    return mp_py_started(a, queue, code, now, err);
}

static PyObject *loop_find(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    collection *self = self_of(object);
    query q;
    mp_py_queue *queue;
    if (!self || parse_query("find", args, n, kwnames, &q) < 0) return NULL;
    mp_await *a = begin(self, MP_PY_PAGE, &queue);
    PyObject *result;
    if (a) {
        pond_value *now = NULL;
        pond_error *err = NULL;
        int code = pond_collection_find_start(self->collection, queue->queue, q.form, q.data, q.len, user_of(a), &now,
                                              &a->request, &err);
        result = mp_py_started(a, queue, code, now, err);
    } else {
        result = mp_py_later(object, "find", args, n, kwnames);
    }
    Py_XDECREF(q.owner);
    return result;
}

static PyObject *loop_explain(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) {
    collection *self = self_of(object);
    query q;
    mp_py_queue *queue;
    if (!self || parse_query("explain", args, n, kwnames, &q) < 0) return NULL;
    mp_await *a = begin(self, MP_PY_PLAIN, &queue);
    PyObject *result;
    if (a) {
        pond_error *err = NULL;
        int code =
            pond_collection_explain_start(self->collection, queue->queue, q.form, q.data, q.len, user_of(a), &err);
        result = mp_py_started(a, queue, code, NULL, err);
    } else {
        result = mp_py_later(object, "explain", args, n, kwnames);
    }
    Py_XDECREF(q.owner);
    return result;
}

static PyObject *loop_get_many(PyObject *object, PyObject *const *args, Py_ssize_t n) {
    collection *self = self_of(object);
    mp_keys keys = {0};
    mp_py_queue *queue;
    PyObject *ids = self ? one_list(args, n, &keys) : NULL, *result;
    if (!ids) return NULL;
    mp_await *a = begin(self, MP_PY_PLAIN, &queue);
    if (a) {
        pond_error *err = NULL;
        int code = pond_collection_get_many_start(self->collection, queue->queue, keys.keys, keys.lens, keys.n,
                                                  user_of(a), &err);
        result = mp_py_started(a, queue, code, NULL, err);
    } else {
        result = mp_py_later(object, "get_many", &ids, 1, NULL); /* an iterator has been used up: the ids it gave */
    }
    mp_py_keys_free(&keys);
    Py_DECREF(ids);
    return result;
}

static PyObject *loop_invalidate(PyObject *object, PyObject *const *args, Py_ssize_t n) {
    collection *self = self_of(object);
    mp_keys keys = {0};
    mp_py_queue *queue;
    if (!self || mp_py_keys(&keys, args, n) < 0) return NULL;
    mp_await *a = begin(self, MP_PY_DONE, &queue);
    PyObject *result;
    if (a) {
        pond_error *err = NULL;
        int code = pond_collection_invalidate_start(self->collection, queue->queue, keys.keys, keys.lens, keys.n,
                                                    user_of(a), &err);
        result = mp_py_started(a, queue, code, NULL, err);
    } else {
        result = mp_py_later(object, "invalidate", args, n, NULL);
    }
    mp_py_keys_free(&keys);
    return result;
}

/* ---- types ---- */

#define FAST(function) ((PyCFunction)(void (*)(void))(function))
#define PREPARE "prepare(): makes the table and the declared indexes in the store, where they are missing."
#define GET "get(id, absent=\"none\"): the document, through the cache; None if there is none."
#define GET_MANY "get_many(ids): the documents in the order asked, None where there is none."
#define FIND "find(query=None): a page, through the cache."
#define EXPLAIN "explain(query=None): how a query is understood and would be answered."
#define DEAD "_dead(act, letter, most) -> what the core says of them; act 0: a list of so many behind the letter."
#define INVALIDATE "invalidate(*ids): drops the cached documents, and all pages."

static PyMethodDef sync_methods[] = {
    {"prepare", sync_prepare, METH_NOARGS, PREPARE},
    {"get", FAST(sync_get), METH_FASTCALL | METH_KEYWORDS, GET},
    {"get_many", FAST(sync_get_many), METH_FASTCALL, GET_MANY},
    {"find", FAST(sync_find), METH_FASTCALL | METH_KEYWORDS, FIND},
    {"explain", FAST(sync_explain), METH_FASTCALL | METH_KEYWORDS, EXPLAIN},
    {"invalidate", FAST(sync_invalidate), METH_FASTCALL, INVALIDATE},
    {"_flush", sync_flush, METH_O, "_flush(milliseconds)"},
    {"_increment", FAST(sync_increment), METH_FASTCALL, "_increment(id, field, by)"},
    {"_dead", FAST(sync_dead), METH_FASTCALL, DEAD},
    {"_change", FAST(mp_py_sync_change), METH_FASTCALL, "_change(kind, id, document, judge) -> the document."},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef loop_methods[] = {
    {"prepare", loop_prepare, METH_NOARGS, PREPARE},
    {"get", FAST(loop_get), METH_FASTCALL | METH_KEYWORDS, GET},
    {"get_many", FAST(loop_get_many), METH_FASTCALL, GET_MANY},
    {"find", FAST(loop_find), METH_FASTCALL | METH_KEYWORDS, FIND},
    {"explain", FAST(loop_explain), METH_FASTCALL | METH_KEYWORDS, EXPLAIN},
    {"invalidate", FAST(loop_invalidate), METH_FASTCALL, INVALIDATE},
    {"_flush", loop_flush, METH_O, "_flush(milliseconds)"},
    {"_increment", FAST(loop_increment), METH_FASTCALL, "_increment(id, field, by)"},
    {"_dead", FAST(loop_dead), METH_FASTCALL, DEAD},
    {"_change", FAST(mp_py_loop_change), METH_FASTCALL,
     "_change(kind, id, document, checked) -> what is awaited; checked: (check, end)."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot sync_slots[] = {
    {Py_tp_init, collection_init},
    {Py_tp_dealloc, collection_dealloc},
    {Py_tp_methods, sync_methods},
    {Py_tp_doc, "A collection whose calls block."},
    {0, NULL},
};
PyType_Spec mp_py_sync_collection_spec = {"millpond._core.SyncCollection", sizeof(collection), 0,
                                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, sync_slots};

static PyType_Slot loop_slots[] = {
    {Py_tp_init, collection_init},
    {Py_tp_dealloc, collection_dealloc},
    {Py_tp_methods, loop_methods},
    {Py_tp_doc, "A collection whose calls are awaited."},
    {0, NULL},
};
PyType_Spec mp_py_loop_collection_spec = {"millpond._core.LoopCollection", sizeof(collection), 0,
                                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, loop_slots};
