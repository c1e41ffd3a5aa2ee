/* Values: bytes are bytes, str is text, everything else is JSON. A hit and a miss decode the same payload. */
#include "glue.h"

#include <string.h>

#define LARGE (64 * 1024) /* from here a copy is worth giving the GIL away */

void mp_py_extras_own(mp_extras *x) {
    Py_XINCREF(x->should_cache);
    Py_XINCREF(x->encode);
    Py_XINCREF(x->decode);
}

void mp_py_extras_clear(mp_extras *x) {
    Py_CLEAR(x->should_cache);
    Py_CLEAR(x->encode);
    Py_CLEAR(x->decode);
}

/* ---- out ---- */

static int from_bytes(PyObject *bytes, pond_codec codec, mp_payload *out) { /* steals bytes */
    char *data;
    Py_ssize_t len;
    if (PyBytes_AsStringAndSize(bytes, &data, &len) < 0) {
        Py_DECREF(bytes);
        return -1;
    }
    *out = (mp_payload){.owner = bytes, .data = data, .len = (size_t)len, .codec = codec};
    return 0;
}

static int from_text(PyObject *text, pond_codec codec, mp_payload *out) {
    Py_ssize_t len;
    const char *data = PyUnicode_AsUTF8AndSize(text, &len);
    if (!data) {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) return -1;
        PyErr_Clear();
        mp_py_fail(POND_EVALUE, "the text holds a lone surrogate, which is not UTF-8");
        return -1;
    }
    *out = (mp_payload){.owner = Py_NewRef(text), .data = data, .len = (size_t)len, .codec = codec};
    return 0;
}

/* 1: done; 0: neither bytes nor text; -1: an exception. */
static int from_plain(PyObject *value, pond_codec bytes_codec, pond_codec text_codec, mp_payload *out) {
    if (PyUnicode_Check(value)) return from_text(value, text_codec, out) < 0 ? -1 : 1;
    if (PyBytes_Check(value)) return from_bytes(Py_NewRef(value), bytes_codec, out) < 0 ? -1 : 1;
    if (PyByteArray_Check(value) || PyMemoryView_Check(value)) {
        PyObject *bytes = PyBytes_FromObject(value);
        return !bytes || from_bytes(bytes, bytes_codec, out) < 0 ? -1 : 1;
    }
    return 0;
}

int mp_py_encode(PyObject *value, const mp_extras *x, mp_payload *out) {
    if (value == mp_py.null) {
        *out = (mp_payload){.data = "null", .len = 4, .codec = POND_JSON};
        return 0;
    }
    int done;
    if (x && x->encode) {
        PyObject *encoded = PyObject_CallFunctionObjArgs(x->encode, value, NULL);
        if (!encoded) return -1;
        done =
            x->json ? from_plain(encoded, POND_JSON, POND_JSON, out) : from_plain(encoded, POND_BYTES, POND_TEXT, out);
        if (done == 0) mp_py_fail(POND_EVALUE, "encode= must return bytes or str, not %R", Py_TYPE(encoded));
        Py_DECREF(encoded);
        return done == 1 ? 0 : -1;
    }
    done = from_plain(value, POND_BYTES, POND_TEXT, out);
    if (done) return done == 1 ? 0 : -1;
    PyObject *json = PyObject_CallFunctionObjArgs(mp_py.encode_json, value, NULL);
    return json ? from_bytes(json, POND_JSON, out) : -1;
}

PyObject *mp_py_answer(pond_load *load, PyObject *value, const mp_extras *x) {
    if (value == Py_None) {
        pond_load_absent(load, 0);
        return NULL;
    }
    unsigned flags = 0;
    if (x->should_cache) {
        PyObject *verdict = PyObject_CallFunctionObjArgs(x->should_cache, value, NULL);
        int yes = verdict ? PyObject_IsTrue(verdict) : -1;
        Py_XDECREF(verdict);
        if (yes < 0) return mp_py_fail_load(load);
        if (!yes) flags = POND_LOAD_UNCACHED;
    }
    mp_payload payload;
    if (mp_py_encode(value, x, &payload) < 0) return mp_py_fail_load(load);
    if (payload.len < LARGE) {
        pond_load_value(load, payload.data, payload.len, payload.codec, flags);
    } else {
        Py_BEGIN_ALLOW_THREADS pond_load_value(load, payload.data, payload.len, payload.codec, flags);
        Py_END_ALLOW_THREADS
    }
    Py_XDECREF(payload.owner);
    return NULL;
}

/* ---- in ---- */

static bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static PyObject *not_json(PyObject *key, const char *why) {
    return key ? mp_py_fail(POND_EVALUE, "what is stored under %R is not JSON that Python can read: %s", key, why)
               : mp_py_fail(POND_EVALUE, "the answer is not JSON that Python can read: %s", why);
}

/* Whether there may be a date in it: nearly all documents have none, and are read without a call for each object. Whoever
 * writes the name with an escape is served too. */
static bool may_have_dates(const char *data, size_t len) {
    return memmem(data, len, "\"$date\"", 7) || memmem(data, len, "\\u", 2);
}

static PyObject *from_json(const char *data, size_t len, bool extended, PyObject *key) {
    while (len && blank(data[0])) data++, len--;
    while (len && blank(data[len - 1])) len--;
    if (len == 4 && memcmp(data, "null", 4) == 0) return Py_NewRef(mp_py.null);
    PyObject *text = PyUnicode_DecodeUTF8(data, (Py_ssize_t)len, NULL);
    if (!text) {
        PyErr_Clear();
        return not_json(key, "it is not UTF-8");
    }
    Py_ssize_t chars = PyUnicode_GetLength(text);
    PyObject *scan = extended && may_have_dates(data, len) ? mp_py.scan_dates : mp_py.scan_json, *result = NULL;
    PyObject *pair = PyObject_CallFunctionObjArgs(scan, text, mp_py.zero, NULL);
    Py_DECREF(text);
    if (!pair) {
        if (PyErr_ExceptionMatches(PyExc_StopIteration) || PyErr_ExceptionMatches(PyExc_ValueError)) {
            PyErr_Clear();
            return not_json(key, "a syntax error");
        }
        return NULL;
    }
    if (PyTuple_Size(pair) == 2 && PyLong_AsSsize_t(PyTuple_GetItem(pair, 1)) == chars)
        result = Py_NewRef(PyTuple_GetItem(pair, 0));
    else if (!PyErr_Occurred()) not_json(key, "something follows the value");
    Py_DECREF(pair);
    return result;
}

static PyObject *raw(const pond_value *value, const char *data, size_t len) {
    return pond_value_codec(value) == POND_BYTES ? PyBytes_FromStringAndSize(data, (Py_ssize_t)len)
                                                 : PyUnicode_DecodeUTF8(data, (Py_ssize_t)len, NULL);
}

static PyObject *value_of(const pond_value *value, const mp_extras *x, PyObject *key) {
    size_t len;
    const char *data = pond_value_data(value, &len);
    pond_codec codec = pond_value_codec(value);
    bool json = codec == POND_JSON || codec == POND_EJSON;
    bool extended = codec == POND_EJSON || !x || x->document;
    if (!x || !x->decode) return json ? from_json(data, len, extended, key) : raw(value, data, len);
    if (codec == POND_JSON && len == 4 && memcmp(data, "null", 4) == 0) return Py_NewRef(mp_py.null);
    PyObject *payload = raw(value, data, len);
    /* A model's is told whether it is JSON text, or text or bytes that stand for themselves. */
    PyObject *result = !payload  ? NULL
                       : x->json ? PyObject_CallFunctionObjArgs(x->decode, payload, json ? Py_True : Py_False, NULL)
                                 : PyObject_CallFunctionObjArgs(x->decode, payload, NULL);
    Py_XDECREF(payload);
    return result;
}

PyObject *mp_py_decode(const pond_value *value, const mp_extras *x, PyObject *key) {
    if (pond_value_state(value) == POND_VALUE) return value_of(value, x, key);
    if (!x || !x->raise_absent) Py_RETURN_NONE;
    return key ? mp_py_fail(POND_EABSENT, "there is nothing under %R", key)
               : mp_py_fail(POND_EABSENT, "there is no such thing");
}

PyObject *mp_py_page(const pond_value *value) {
    PyObject *page = mp_py_decode(value, NULL, NULL);
    if (!page) return NULL;
    PyObject *data = NULL, *total = NULL, *number = NULL, *pages = NULL, *limit = NULL, *made = NULL;
    if (PyDict_Check(page)) {
        data = PyDict_GetItemWithError(page, mp_py.name.data);
        total = PyDict_GetItemWithError(page, mp_py.name.total);
        number = PyDict_GetItemWithError(page, mp_py.name.page);
        pages = PyDict_GetItemWithError(page, mp_py.name.pages);
        limit = PyDict_GetItemWithError(page, mp_py.name.limit);
    }
    if (data && total && number && pages && limit)
        made = PyObject_CallFunctionObjArgs(mp_py.page, data, total, number, pages, limit, NULL);
    else if (!PyErr_Occurred())
        mp_py_fail(POND_EVALUE, "what is cached for the query is not a page"); /* another program wrote there */
    Py_DECREF(page);
    return made;
}

PyObject *mp_py_entry(const pond_value *value, const mp_extras *x, PyObject *key) {
    static const char *const names[] = {[POND_MISS] = "miss", [POND_VALUE] = "value", [POND_ABSENT] = "absent"};
    pond_state state = pond_value_state(value);
    PyObject *inner = state == POND_VALUE ? value_of(value, x, key) : Py_NewRef(Py_None);
    if (!inner) return NULL;
    PyObject *name = PyUnicode_InternFromString(names[state]);
    PyObject *stale = pond_value_stale(value) ? Py_True : Py_False;
    PyObject *entry = name ? PyObject_CallFunctionObjArgs(mp_py.entry, name, inner, stale, NULL) : NULL;
    Py_XDECREF(name);
    Py_DECREF(inner);
    return entry;
}
