/* Errors of the core as exceptions, exceptions as errors of a load, and waits that signals can end. */
#include "glue.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Marks attachments as ours. */
static const char owner;

/* A loader's exception on its way through the core. */
typedef struct parcel {
    PyObject *exception, *traceback;
    struct parcel *next;
} parcel;

/* The core drops the last reference of an error in any thread, perhaps with a lock held: taking the GIL there could
 * deadlock, and after finalisation it is not there to take. So parcels are only put aside, and swept by whoever holds the
 * GIL next. */
static _Atomic(parcel *) swept;

static int sweep_pending(void *unused) {
    mp_py_sweep();
    return 0;
}

static void release(void *object) {
    parcel *p = object, *first = atomic_load(&swept);
    do p->next = first;
    while (!atomic_compare_exchange_weak(&swept, &first, p));
    if (!first && Py_IsInitialized()) Py_AddPendingCall(sweep_pending, NULL);
}

void mp_py_sweep(void) {
    if (!atomic_load_explicit(&swept, memory_order_relaxed)) return;
    parcel *p = atomic_exchange(&swept, NULL);
    while (p) {
        parcel *next = p->next;
        Py_DECREF(p->exception);
        Py_XDECREF(p->traceback);
        free(p);
        p = next;
    }
}

PyObject *mp_py_take_exception(void) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback) PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

void mp_py_reraise(PyObject *exception, PyObject *traceback) {
    PyException_SetTraceback(exception, traceback ? traceback : Py_None);
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
}

static PyObject *class_of(int code) {
    Py_ssize_t row = -(Py_ssize_t)code - 1;
    if (mp_py.errors && row >= 0 && row < PyTuple_Size(mp_py.errors)) return PyTuple_GetItem(mp_py.errors, row);
    return mp_py.error_base ? mp_py.error_base : PyExc_RuntimeError;
}

PyObject *mp_py_exception(pond_error *error) {
    parcel *p = pond_error_attachment(error, &owner);
    PyObject *exception;
    if (p) {
        exception = Py_NewRef(p->exception);
        PyException_SetTraceback(exception, p->traceback ? p->traceback : Py_None);
    } else {
        const char *text = pond_error_message(error);
        PyObject *message = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
        exception = message ? PyObject_CallFunctionObjArgs(class_of(pond_error_code(error)), message, NULL) : NULL;
        Py_XDECREF(message);
        PyObject *standard = exception ? PyObject_GetAttr(exception, mp_py.name.retriable) : NULL;
        if (standard && PyObject_IsTrue(standard) != pond_error_retriable(error) &&
            PyObject_SetAttr(exception, mp_py.name.retriable, pond_error_retriable(error) ? Py_True : Py_False) < 0)
            Py_CLEAR(exception);
        Py_XDECREF(standard);
        const char *rule = exception ? pond_error_reason(error) : NULL;
        PyObject *reason = rule ? PyUnicode_FromString(rule) : NULL;
        if (reason && PyObject_SetAttr(exception, mp_py.name.reason, reason) < 0) Py_CLEAR(exception);
        Py_XDECREF(reason);
    }
    pond_error_free(error);
    mp_py_sweep();
    return exception;
}

PyObject *mp_py_raise(pond_error *error) {
    if (!error) {
        PyErr_SetString(PyExc_SystemError, "millpond: a call failed without an error");
        return NULL;
    }
    PyObject *exception = mp_py_exception(error);
    if (!exception) return NULL;
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_DECREF(exception);
    return NULL;
}

PyObject *mp_py_fail(int code, const char *format, ...) {
    va_list list;
    va_start(list, format);
    PyErr_FormatV(class_of(code), format, list);
    va_end(list);
    return NULL;
}

/* "ValueError: no such user", for those who cannot have the exception itself. */
static PyObject *sentence(PyObject *exception) {
    PyObject *type = (PyObject *)Py_TYPE(exception), *name = PyObject_GetAttrString(type, "__name__");
    PyObject *text = name ? PyUnicode_FromFormat("the loader raised %U: %S", name, exception) : NULL;
    Py_XDECREF(name);
    PyObject *bytes = text ? PyUnicode_AsEncodedString(text, "utf-8", "replace") : NULL;
    Py_XDECREF(text);
    if (!bytes) PyErr_Clear();
    return bytes;
}

/* An exception as the core takes it. */
typedef struct failure {
    int code;
    PyObject *text;
    const char *message;
    parcel *parcel; /* NULL: without the exception itself */
} failure;

/* Takes the exception that is set. What is for this caller alone is returned. */
static PyObject *failure_of(failure *f) {
    PyObject *exception = mp_py_take_exception();
    *f = (failure){.code = POND_ELOADER, .text = sentence(exception)};
    f->message = f->text ? PyBytes_AsString(f->text) : "the loader failed";
    if (!PyObject_IsInstance(exception, PyExc_Exception)) {
        f->code = POND_ECANCELED;
        return exception;
    }
    if (PyObject_IsInstance(exception, mp_py.error_base) == 1) {
        PyObject *number = PyObject_GetAttr(exception, mp_py.name.number);
        long n = number ? PyLong_AsLong(number) : 0;
        Py_XDECREF(number);
        PyErr_Clear();
        if (n < 0 && n >= -(long)PyTuple_Size(mp_py.errors) && n != POND_ECANCELED) f->code = (int)n;
    }
    f->parcel = malloc(sizeof *f->parcel);
    if (f->parcel)
        *f->parcel = (parcel){.exception = Py_NewRef(exception), .traceback = PyException_GetTraceback(exception)};
    else f->code = POND_ENOMEM;
    Py_DECREF(exception);
    return NULL;
}

PyObject *mp_py_fail_load(pond_load *load) {
    failure f;
    PyObject *own = failure_of(&f);
    if (f.parcel) pond_load_fail_with(load, f.code, f.message, &owner, f.parcel, release);
    else pond_load_fail(load, f.code, f.message);
    Py_XDECREF(f.text);
    return own;
}

PyObject *mp_py_fail_batch(pond_batch *batch) {
    failure f;
    PyObject *own = failure_of(&f);
    if (f.parcel) pond_batch_fail_with(batch, f.code, f.message, &owner, f.parcel, release);
    else pond_batch_fail(batch, f.code, f.message);
    Py_XDECREF(f.text);
    return own;
}

/* ---- waits ---- */

static _Thread_local mp_block *innermost;

void mp_py_block(mp_block *block) {
    *block = (mp_block){.outer = innermost, .main = PyThread_get_thread_ident() == mp_py.main_thread};
    innermost = block;
    block->thread = PyEval_SaveThread();
}

int mp_py_unblock(mp_block *block) {
    PyEval_RestoreThread(block->thread);
    innermost = block->outer;
    if (!block->type) return 0;
    PyErr_Restore(block->type, block->value, block->traceback);
    return -1;
}

int mp_py_interrupt(void *ctx) {
    mp_block *block = innermost;
    if (!block || !block->main || block->type) return 0; /* signal handlers run in the main thread alone */
    PyEval_RestoreThread(block->thread);
    int raised = PyErr_CheckSignals() < 0;
    if (raised) PyErr_Fetch(&block->type, &block->value, &block->traceback);
    block->thread = PyEval_SaveThread();
    return raised;
}
