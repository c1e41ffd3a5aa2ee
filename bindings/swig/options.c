/* Keyword arguments. What a call site says is nearly always the same objects again (constants of the code), so a compiled
 * policy is found by the identity of names and values; only a new combination is looked up by its text, or compiled. */
#include "glue.h"

#include <string.h>

#define MOST 24         /* options in one call */
#define MOST_PLANS 1000 /* per handle: a program that makes up TTLs must not fill the memory */

typedef struct options {
    Py_ssize_t n;
    PyObject *names[MOST], *values[MOST]; /* borrowed */
} options;

const char *mp_py_key(PyObject *object, size_t *len) {
    if (!PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError, "a key is a str, not %R", Py_TYPE(object));
        return NULL;
    }
    Py_ssize_t n;
    const char *key = PyUnicode_AsUTF8AndSize(object, &n);
    if (!key) {
        if (PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
            PyErr_Clear();
            mp_py_fail(POND_EKEY, "the key %R holds a lone surrogate, which is not UTF-8", object);
        }
        return NULL;
    }
    *len = (size_t)n;
    return key;
}

int mp_py_keys(mp_keys *out, PyObject *const *objects, Py_ssize_t n) {
    *out = (mp_keys){.n = (size_t)n};
    out->keys = PyMem_Malloc((out->n + 1) * sizeof *out->keys);
    out->lens = PyMem_Malloc((out->n + 1) * sizeof *out->lens);
    if (!out->keys || !out->lens) {
        mp_py_keys_free(out);
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < out->n; i++) {
        if ((out->keys[i] = mp_py_key(objects[i], &out->lens[i]))) continue;
        mp_py_keys_free(out);
        return -1;
    }
    return 0;
}

int mp_py_keys_of(mp_keys *out, PyObject *tuple) {
    Py_ssize_t n = PyTuple_Size(tuple);
    PyObject **objects = PyMem_Calloc((size_t)n + 1, sizeof *objects);
    if (!objects) PyErr_NoMemory();
    for (Py_ssize_t i = 0; objects && i < n; i++) objects[i] = PyTuple_GetItem(tuple, i);
    int failed = objects ? mp_py_keys(out, objects, n) : -1;
    PyMem_Free(objects);
    return failed;
}

void mp_py_keys_free(mp_keys *keys) {
    PyMem_Free(keys->keys);
    PyMem_Free(keys->lens);
    *keys = (mp_keys){0};
}

/* ---- plans ---- */

static PyObject *text_of(PyObject *name, PyObject *value) {
    if (PyUnicode_CheckExact(value)) return Py_NewRef(value);
    if (PyLong_CheckExact(value)) return PyObject_Str(value);
    PyObject *text = PyObject_CallFunctionObjArgs(mp_py.option_text, name, value, NULL);
    if (text && !PyUnicode_Check(text)) {
        Py_CLEAR(text);
        PyErr_SetString(PyExc_SystemError, "millpond: option_text() gave no str");
    }
    return text;
}

const char *mp_py_option_text(PyObject *name, PyObject *text) {
    Py_ssize_t len;
    const char *c = PyUnicode_AsUTF8AndSize(text, &len);
    if (c && strlen(c) == (size_t)len) return c;
    PyErr_Clear();
    mp_py_fail(POND_EOPTION, "%U=%R is not clean text", name, text);
    return NULL;
}

/* The plan of a tuple (name, text, name, text...). New reference. */
static mp_plan *compile(mp_handle *handle, PyObject *texts) {
    const char *pairs[2 * MOST];
    Py_ssize_t n = PyTuple_Size(texts);
    PyObject *ns = handle->plan->ns;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *name = PyTuple_GetItem(texts, i & ~1), *text = PyTuple_GetItem(texts, i);
        if (!(pairs[i] = mp_py_option_text(name, text))) return NULL;
        if (i % 2 && PyUnicode_CompareWithASCIIString(name, "namespace") == 0) ns = text;
    }
    pond_policy *policy;
    pond_error *err = NULL;
    if (pond_policy_new(&policy, handle->engine->pond, handle->plan->policy, pairs, (size_t)n / 2, &err) != POND_OK) {
        mp_py_raise(err);
        return NULL;
    }
    PyObject *before = handle->plan->texts, *all = before ? PySequence_Concat(before, texts) : Py_NewRef(texts);
    mp_plan *plan = all ? PyObject_New(mp_plan, mp_py.plan_type) : NULL;
    if (!plan) {
        Py_XDECREF(all);
        pond_policy_free(policy);
        return NULL;
    }
    plan->policy = policy;
    plan->ns = Py_NewRef(ns);
    plan->texts = all;
    return plan;
}

static mp_plan *plan_by_text(mp_handle *handle, const options *o) {
    PyObject *texts = PyTuple_New(2 * o->n);
    for (Py_ssize_t i = 0; texts && i < o->n; i++) {
        PyObject *text = text_of(o->names[i], o->values[i]);
        if (!text) {
            Py_CLEAR(texts);
            break;
        }
        PyTuple_SetItem(texts, 2 * i, Py_NewRef(o->names[i]));
        PyTuple_SetItem(texts, 2 * i + 1, text);
    }
    if (!texts) return NULL;
    mp_plan *plan = (mp_plan *)PyDict_GetItemWithError(handle->plans, texts);
    if (plan) {
        Py_INCREF(plan);
    } else if (!PyErr_Occurred() && (plan = compile(handle, texts))) {
        if (PyDict_Size(handle->plans) >= MOST_PLANS) PyDict_Clear(handle->plans);
        if (PyDict_SetItem(handle->plans, texts, (PyObject *)plan) < 0) PyErr_Clear(); /* it works without the memory */
    }
    Py_DECREF(texts);
    return plan;
}

static mp_fast *slot_of(mp_handle *handle, const options *o) {
    uintptr_t h = (uintptr_t)o->n;
    for (Py_ssize_t i = 0; i < o->n; i++)
        h = h * 31 + ((uintptr_t)o->names[i] >> 4) + ((uintptr_t)o->values[i] >> 4) * 7;
    return &handle->fast[(h ^ h >> 9) % MP_PY_FAST_SLOTS];
}

static void fast_drop(mp_fast *slot) {
    mp_fast old = *slot;
    memset(slot, 0, sizeof *slot);
    for (Py_ssize_t i = 0; i < old.n; i++) {
        Py_DECREF(old.names[i]);
        Py_DECREF(old.values[i]);
    }
    Py_XDECREF((PyObject *)old.plan);
}

static mp_plan *plan_of(mp_handle *handle, const options *o) {
    mp_fast *slot = NULL;
    if (o->n <= MP_PY_FAST_PAIRS) {
        slot = slot_of(handle, o);
        bool same = slot->n == o->n;
        for (Py_ssize_t i = 0; same && i < o->n; i++)
            same = slot->names[i] == o->names[i] && slot->values[i] == o->values[i];
        if (same) return (mp_plan *)Py_NewRef((PyObject *)slot->plan);
    }
    mp_plan *plan = plan_by_text(handle, o);
    if (!plan || !slot) return plan;
    /* Only what is a constant in nearly every program is held on to. */
    for (Py_ssize_t i = 0; i < o->n; i++)
        if (!PyUnicode_CheckExact(o->values[i]) && !PyLong_CheckExact(o->values[i])) return plan;
    fast_drop(slot);
    for (Py_ssize_t i = 0; i < o->n; i++) {
        slot->names[i] = Py_NewRef(o->names[i]);
        slot->values[i] = Py_NewRef(o->values[i]);
    }
    slot->plan = (mp_plan *)Py_NewRef((PyObject *)plan);
    slot->n = o->n;
    return plan;
}

int mp_py_fast_traverse(mp_handle *handle, visitproc visit, void *arg) {
    for (int i = 0; i < MP_PY_FAST_SLOTS; i++) Py_VISIT((PyObject *)handle->fast[i].plan);
    return 0;
}

void mp_py_fast_clear(mp_handle *handle) {
    for (int i = 0; i < MP_PY_FAST_SLOTS; i++) fast_drop(&handle->fast[i]);
}

/* ---- a call ---- */

int mp_py_set_absent(mp_extras *x, PyObject *value) {
    bool text = PyUnicode_Check(value);
    if (text && PyUnicode_CompareWithASCIIString(value, "raise") == 0) x->raise_absent = true;
    else if (text && PyUnicode_CompareWithASCIIString(value, "none") == 0) x->raise_absent = false;
    else {
        mp_py_fail(POND_EOPTION, "absent= is \"none\" or \"raise\", not %R", value);
        return -1;
    }
    return 0;
}

static int set_callable(PyObject **place, PyObject *name, PyObject *value) {
    if (!PyCallable_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%U= is a callable, not %R", name, Py_TYPE(value));
        return -1;
    }
    *place = value;
    return 0;
}

static int set_codec(mp_extras *x, PyObject **place, PyObject *name, PyObject *value) {
    if (x->json) x->encode = x->decode = NULL; /* a model of the handle's: a call's encode or decode stand instead */
    x->json = false;
    return set_callable(place, name, value);
}

static int set_model(mp_py_call *call, PyObject *model) {
    PyObject *pair = PyObject_CallFunctionObjArgs(mp_py.model_codec, model, NULL);
    if (!pair) return -1;
    call->codec = pair;
    call->extras.encode = PyTuple_GetItem(pair, 0);
    call->extras.decode = PyTuple_GetItem(pair, 1);
    call->extras.json = true;
    return call->extras.encode && call->extras.decode ? 0 : -1;
}

typedef struct last {
    PyObject *model, *tags; /* what is read when all else is known */
} last;

/* 1: it was one of the names that are no options; 0: not; -1: an exception. */
static int set_named(mp_py_call *call, const char *method, int wanted, PyObject *name, PyObject *value, last *last) {
    mp_extras *x = &call->extras;
    int takes = 0;
    if (name == mp_py.name.key || name == mp_py.name.loader) {
        PyObject **place = name == mp_py.name.key ? &call->key_object : &call->loader;
        takes = name == mp_py.name.key ? MP_PY_KEY : MP_PY_LOADER;
        if (wanted & takes) {
            if (*place) PyErr_Format(PyExc_TypeError, "%s() got %U twice", method, name);
            else *place = value;
            return PyErr_Occurred() ? -1 : 1;
        }
    } else if (name == mp_py.name.should_cache || name == mp_py.name.encode || name == mp_py.name.absent) {
        takes = MP_PY_OUT;
    } else if (name == mp_py.name.decode || name == mp_py.name.model) {
        takes = MP_PY_IN;
    } else if (name == mp_py.name.tags) {
        takes = MP_PY_TAGS;
    } else {
        return 0;
    }
    if (!(wanted & takes)) {
        PyErr_Format(PyExc_TypeError, "%s() takes no %U=", method, name);
        return -1;
    }
    if (value == Py_None) return 1;
    int failed;
    if (name == mp_py.name.absent) failed = mp_py_set_absent(x, value);
    else if (name == mp_py.name.should_cache) failed = set_callable(&x->should_cache, name, value);
    else if (name == mp_py.name.encode) failed = set_codec(x, &x->encode, name, value);
    else if (name == mp_py.name.decode) failed = set_codec(x, &x->decode, name, value);
    else if (name == mp_py.name.tags) failed = 0, last->tags = value;
    else failed = 0, last->model = value;
    return failed < 0 ? -1 : 1;
}

static int positional(mp_py_call *call, const char *method, int wanted, PyObject *const *args, Py_ssize_t n) {
    if (wanted & MP_PY_KEYS) return 0;
    int most = wanted & MP_PY_LOADER ? 2 : wanted & MP_PY_KEY ? 1 : 0;
    if (n > most) {
        PyErr_Format(PyExc_TypeError, "%s() takes %s; everything else is named, as ttl=\"5m\"", method,
                     most == 2 ? "a key and a loader"
                     : most    ? "a key"
                               : "nothing by position");
        return -1;
    }
    if (n > 0) call->key_object = args[0];
    if (n > 1) call->loader = args[1];
    return 0;
}

static int named(mp_handle *handle, const char *method, int wanted, PyObject *const *values, PyObject *kwnames,
                 mp_py_call *call) {
    options o = {0};
    last last = {0};
    mp_extras before = call->extras;
    for (Py_ssize_t i = 0, n = PyTuple_Size(kwnames); i < n; i++) {
        PyObject *name = PyTuple_GetItem(kwnames, i);
        int done = set_named(call, method, wanted, name, values[i], &last);
        if (done < 0) return -1;
        if (done || values[i] == Py_None) continue; /* ttl=None: as if it was not said */
        if (o.n == MOST) {
            PyErr_Format(PyExc_TypeError, "%s() got too many options", method);
            return -1;
        }
        o.names[o.n] = name;
        o.values[o.n++] = values[i];
    }
    if (last.model) {
        if (call->extras.encode != before.encode || call->extras.decode != before.decode) {
            PyErr_Format(PyExc_TypeError, "%s() takes model=, or encode= and decode=, not both", method);
            return -1;
        }
        if (set_model(call, last.model) < 0) return -1;
    }
    if (o.n > 0) {
        mp_plan *plan = plan_of(handle, &o);
        if (!plan) return -1;
        Py_DECREF((PyObject *)call->plan);
        call->plan = plan;
    }
    return last.tags ? mp_py_set_tags(handle, call, last.tags) : 0;
}

/* Names that came by ** from a dict need not be interned; ours are compared by identity. */
static PyObject *interned(PyObject *kwnames) {
    Py_ssize_t n = PyTuple_Size(kwnames);
    PyObject *out = PyTuple_New(n);
    for (Py_ssize_t i = 0; out && i < n; i++) {
        PyObject *name = Py_NewRef(PyTuple_GetItem(kwnames, i));
        PyUnicode_InternInPlace(&name);
        PyTuple_SetItem(out, i, name);
    }
    return out;
}

int mp_py_parse(mp_handle *handle, const char *method, int wanted, PyObject *const *args, Py_ssize_t n,
                PyObject *kwnames, mp_py_call *call) {
    *call = (mp_py_call){0};
    if (!handle->engine) return mp_py_not_open(), -1;
    *call = (mp_py_call){.extras = handle->extras, .plan = (mp_plan *)Py_NewRef((PyObject *)handle->plan)};
    if (positional(call, method, wanted, args, n) < 0) goto fail;
    if (kwnames && PyTuple_Size(kwnames) > 0) {
        int failed = named(handle, method, wanted, args + n, kwnames, call);
        if (failed && PyErr_ExceptionMatches(mp_py.error_base)) {
            /* An option that is unknown: perhaps one of our names, but another object. */
            PyObject *type, *value, *traceback, *names;
            PyErr_Fetch(&type, &value, &traceback);
            if (!(names = interned(kwnames))) PyErr_Clear();
            bool other = false;
            for (Py_ssize_t i = 0; names && i < PyTuple_Size(names); i++)
                other |= PyTuple_GetItem(names, i) != PyTuple_GetItem(kwnames, i);
            if (other) {
                Py_XDECREF(type);
                Py_XDECREF(value);
                Py_XDECREF(traceback);
                mp_py_call_clear(call);
                int again = mp_py_parse(handle, method, wanted, args, n, names, call);
                Py_DECREF(names);
                return again;
            }
            Py_XDECREF(names);
            PyErr_Restore(type, value, traceback);
        }
        if (failed) goto fail;
    }
    if (wanted & MP_PY_KEY) {
        if (!call->key_object) {
            PyErr_Format(PyExc_TypeError, "%s() needs a key", method);
            goto fail;
        }
        if (!(call->key = mp_py_key(call->key_object, &call->len))) goto fail;
    }
    if (wanted & MP_PY_LOADER && (!call->loader || !PyCallable_Check(call->loader))) {
        if (call->loader)
            PyErr_Format(PyExc_TypeError, "a loader is a callable without arguments, not %R", call->loader);
        else PyErr_Format(PyExc_TypeError, "%s() needs a loader, a callable without arguments", method);
        goto fail;
    }
    return 0;
fail:
    mp_py_call_clear(call);
    return -1;
}

void mp_py_call_clear(mp_py_call *call) {
    Py_XDECREF((PyObject *)call->plan);
    Py_XDECREF(call->codec);
    Py_XDECREF(call->tag_set);
    call->plan = NULL;
    call->codec = call->tag_set = NULL;
    call->tags = NULL;
}
