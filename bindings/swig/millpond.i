/* The Python module millpond._core. SWIG makes it, and wraps from the public headers all that is cold: configuration, the option
 * table, opening and closing, statistics, the store. The hot path is written by hand (glue.h) and registered in %init. No
 * proxy classes (-noproxy): the typed public layer is python/millpond. */
%module(package="millpond") _core

%{
#include "glue.h"

/* Text for a `const char *`: borrowed from the str. None is allowed where `optional`. */
static int text_argument(PyObject *object, int optional, const char *name, const char **out) {
    Py_ssize_t len;
    *out = NULL;
    if (optional && object == Py_None) return 0;
    if (!PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s is a str, not %R", name, Py_TYPE(object));
        return -1;
    }
    *out = PyUnicode_AsUTF8AndSize(object, &len);
    if (*out && strlen(*out) == (size_t)len) return 0;
    PyErr_Clear();
    mp_py_fail(POND_EOPTION, "%s %R is not clean text (a NUL or a lone surrogate)", name, object);
    return -1;
}
%}

/* ---- arguments ---- */

%typemap(in) pond * { if (!($1 = mp_py_pond($input))) SWIG_fail; }
%typemap(in) const char * { if (text_argument($input, 0, "$1_name", (const char **)&$1) < 0) SWIG_fail; }
%typemap(in) const char *ns { if (text_argument($input, 1, "$1_name", (const char **)&$1) < 0) SWIG_fail; }
%typemap(freearg) const char * ""
%typemap(in) (const char *id, size_t len) {
  if (!($1 = (char *)mp_py_key($input, &$2))) SWIG_fail;
}
%typemap(in) (const char *doc, size_t doc_len) (char *doc, Py_ssize_t doc_len) {
  if (PyBytes_AsStringAndSize($input, &doc, &doc_len) < 0) SWIG_fail;
  $1 = doc;
  $2 = (size_t)doc_len;
}
%typemap(in) size_t row { $1 = PyLong_AsSize_t($input); if (PyErr_Occurred()) SWIG_fail; }
%typemap(in) int64_t timeout_ms { $1 = PyLong_AsLongLong($input); if (PyErr_Occurred()) SWIG_fail; }

/* ---- results ---- */

/* A code becomes an exception: by the error that rides with it. */
%typemap(in, numinputs=0) pond_error **err (pond_error *error = NULL) { $1 = &error; }
%typemap(argout) pond_error **err {
  if (result != POND_OK) {
    Py_XDECREF($result);
    $result = NULL;
    mp_py_raise(*$1);
    SWIG_fail;
  }
}
%typemap(out) int { $result = SWIG_Py_Void(); }
%typemap(out) int pond_close { $result = PyLong_FromLong($1); }
%typemap(out) size_t { $result = PyLong_FromSize_t($1); }
%typemap(out) uint64_t { $result = PyLong_FromUnsignedLongLong($1); }
%typemap(out) const char * {
  if ($1) $result = PyUnicode_FromString($1);
  else $result = Py_NewRef(Py_None);
}
%typemap(out) pond_config * {
  if (!$1) {
    PyErr_NoMemory();
    SWIG_fail;
  }
  $result = SWIG_NewPointerObj($1, $1_descriptor, 0);
}
%typemap(out) PyObject * { if (!($result = $1)) SWIG_fail; }

%typemap(in, numinputs=0) pond **out (pond *opened = NULL) { $1 = &opened; }
%typemap(argout) pond **out {
  if (result == POND_OK) {
    Py_XDECREF($result);
    if (!($result = mp_py_engine(*$1))) SWIG_fail;
  }
}
%typemap(in, numinputs=0) pond_value **out (pond_value *value = NULL) { $1 = &value; }
%typemap(argout) pond_value **out {
  if (result == POND_OK) {
    Py_XDECREF($result);
    $result = mp_py_decode(*$1, NULL, NULL);
    pond_value_free(*$1);
    if (!$result) SWIG_fail;
  }
}
%typemap(in, numinputs=0) int *existed (int existed = 0) { $1 = &existed; }
%typemap(argout) int *existed {
  Py_XDECREF($result);
  $result = PyBool_FromLong(*$1);
}

/* ---- waits: without the GIL, ended by Ctrl-C ---- */

%define %waits(function)
%exception function {
  mp_block block;
  mp_py_block(&block);
  $action
  if (mp_py_unblock(&block) < 0) SWIG_fail;
}
%enddef
%waits(pond_open)
%waits(pond_close)
%waits(pond_processes)
%waits(pond_store_create)
%waits(pond_store_get)
%waits(pond_store_put)
%waits(pond_store_delete)

/* ---- what is wrapped ---- */

%rename("%(strip:[pond_])s") "";
/* By hand, in glue.h's files. */
%ignore pond_fetch;
%ignore pond_lookup;
%ignore pond_peek;
%ignore pond_invalidate;
%ignore pond_explain;
%ignore pond_store_get_many;
%ignore pond_policy_new;
/* Counted by the objects that hold them. */
%ignore pond_ref;
%ignore pond_close_start; /* for who cannot wait in a thread */
%ignore pond_free;
%ignore pond_policy_ref;
%ignore pond_policy_free;
%ignore pond_set_interrupt;
%ignore pond_loader;
%rename("$ignore", regextarget=1) "^pond_load_";
%ignore POND_LOAD_UNCACHED;
/* Errors are exceptions, values are Python objects. */
%rename("$ignore", regextarget=1) "^pond_error_";
%ignore pond_code;
%ignore POND_ERROR_MAP;

%rename(store_get_many) mp_py_store_get_many;
PyObject *mp_py_store_get_many(PyObject *handle, const char *collection, PyObject *ids);

%include <stdint.i>
#define POND_API
#define POND_BEGIN_DECLS
#define POND_END_DECLS
typedef struct pond_value pond_value;
#define MILLPOND_EXPORT_H
#define MILLPOND_VALUE_H
%include <millpond/error.h>
%include <millpond/config.h>
%include <millpond/pond.h>

%init %{
#if SWIG_VERSION >= 0x040400 /* the module is initialised in two phases from there */
  if (mp_py_init(m) < 0) return -1;
#else
  if (mp_py_init(m) < 0) return NULL;
#endif
%}
