/* What the hand-written parts of the Python module share. SWIG (millpond.i) builds the module and wraps what is cold; these
 * files are the hot path: types made with PyType_FromSpec and METH_FASTCALL, within the limited API of 3.10.
 *
 *   module.c     the registry: names and Python objects that the others need; setup()
 *   errors.c     pond_error <-> exception, and what waits outside the GIL
 *   convert.c    value <-> Python object
 *   options.c    keyword arguments -> a compiled policy and the rest of a call
 *   handle.c     engine and handle: what millpond.Pond and millpond.aio.Pond stand on
 *   loader.c     the blocking calls and their loader
 *   queue.c      completion queue of one asyncio loop: delivery in batches
 *   awaitable.c  what the asyncio calls return
 *   load.c       a load that a task of the loop carries out
 *   calls.c      the asyncio calls
 *   tags.c       sets of tags, compiled once
 *   write.c      writes inside their intents, blocking and awaited
 *   bulk.c       many keys in one call, blocking and awaited
 *   change.c     changes of documents, blocking and awaited
 *   collection.c collections: documents and pages of queries, blocking and awaited
 *
 * No caching decision is made here: the core makes them all. */
#ifndef MP_SWIG_GLUE_H
#define MP_SWIG_GLUE_H

#ifndef PY_SSIZE_T_CLEAN
#define PY_SSIZE_T_CLEAN
#endif
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <millpond/millpond.h>

/* ---- module.c ---- */

/* Names that are compared or looked up often. */
#define MP_PY_NAMES(X)                                                                                                 \
    X(key)                                                                                                             \
    X(loader)                                                                                                          \
    X(should_cache)                                                                                                    \
    X(encode)                                                                                                          \
    X(decode)                                                                                                          \
    X(model)                                                                                                           \
    X(absent)                                                                                                          \
    X(namespace)                                                                                                       \
    X(tags)                                                                                                            \
    X(context)                                                                                                         \
    X(run)                                                                                                             \
    X(call_soon)                                                                                                       \
    X(flush)                                                                                                           \
    X(cancel)                                                                                                          \
    X(get)                                                                                                             \
    X(remove_reader)                                                                                                   \
    X(is_closed)                                                                                                       \
    X(number)                                                                                                          \
    X(retriable)                                                                                                       \
    X(reason)                                                                                                          \
    X(message)                                                                                                         \
    X(exception)                                                                                                       \
    X(call_exception_handler)                                                                                          \
    X(query)                                                                                                           \
    X(id)                                                                                                              \
    X(data)                                                                                                            \
    X(total)                                                                                                           \
    X(page)                                                                                                            \
    X(pages)                                                                                                           \
    X(limit)

/* What the Python layer hands to setup(), by these names. */
#define MP_PY_OBJECTS(X)                                                                                               \
    X(errors) /* tuple: the class of POND_E... number -(i + 1) */                                                      \
    X(error_base)                                                                                                      \
    X(null)         /* millpond.NULL */                                                                                \
    X(entry)        /* millpond.Entry */                                                                               \
    X(encode_json)  /* object -> bytes, or InvalidValue with the path */                                               \
    X(scan_json)    /* json's scanner: (text, 0) -> (object, end) */                                                   \
    X(scan_dates)   /* the same, with {"$date": ..} as datetime */                                                     \
    X(encode_query) /* what find() was given, if it is no text -> bytes of JSON */                                     \
    X(page)         /* millpond.Page */                                                                                \
    X(model_codec)  /* model -> (encode, decode), cached */                                                            \
    X(option_text)  /* (name, value) -> str, for what is not a str or an int */                                        \
    X(later)        /* (handle, method, args, kwargs) -> coroutine, for calls outside a running loop */                \
    X(attach)       /* (queue, loop): watch its descriptor */                                                          \
    X(spawn)        /* (load, loop) -> the task that carries the load out */                                           \
    X(running_loop) /* asyncio.get_running_loop */                                                                     \
    X(current_task) /* asyncio.current_task */                                                                         \
    X(copy_context) /* contextvars.copy_context */                                                                     \
    X(loading)      /* ContextVar: the loads that this task is inside of */                                            \
    X(cancelled_error)                                                                                                 \
    X(invalid_state_error)

typedef struct mp_registry {
    struct {
#define X(name) PyObject *name;
        MP_PY_NAMES(X)
#undef X
    } name;
#define X(name) PyObject *name;
    MP_PY_OBJECTS(X)
#undef X
    PyObject *zero;
    PyObject *empty; /* () */
    unsigned long main_thread;
    PyTypeObject *engine_type, *plan_type, *handle_type, *sync_type, *loop_type, *queue_type, *await_type, *load_type,
        *sync_collection_type, *loop_collection_type, *tag_set_type, *writing_type, *batch_type, *check_type;
} mp_registry;
extern mp_registry mp_py;

/* Adds types and functions to the module; -1 with an exception. */
int mp_py_init(PyObject *module);
/* setup(**objects), once, by the Python layer. */
PyObject *mp_py_setup(PyObject *module, PyObject *args, PyObject *kwargs);

/* ---- errors.c ---- */

/* The exception that stands for an error (new reference); takes the error over. Never NULL without an exception set. */
PyObject *mp_py_exception(pond_error *error);
/* Raises it; takes the error over; always NULL. */
PyObject *mp_py_raise(pond_error *error);
/* Raises the class of `code` with a sentence. */
PyObject *mp_py_fail(int code, const char *format, ...);
/* Fails `load` with the exception that is set (and clears it): with the exception itself, for everybody in this process who
 * waits. What is no Exception (KeyboardInterrupt, CancelledError...) is for this caller alone: it is returned, and the
 * others are told that the load was given up. */
PyObject *mp_py_fail_load(pond_load *load);
PyObject *mp_py_fail_batch(pond_batch *batch); /* the same */
/* Drops what the core released without the GIL. */
void mp_py_sweep(void);
/* The exception that is set, normalised, with its traceback; clears it. New reference. */
PyObject *mp_py_take_exception(void);
/* Raises an exception object again: its traceback grows from where it was when it was stored. Steals nothing. */
void mp_py_reraise(PyObject *exception, PyObject *traceback);

/* A wait: from here the GIL is released, and the core's interrupt check runs Python's signal handlers in the main thread. */
typedef struct mp_block {
    PyThreadState *thread;
    struct mp_block *outer;
    bool main;
    PyObject *type, *value, *traceback; /* what a signal handler raised */
} mp_block;
void mp_py_block(mp_block *block);
/* The GIL again; -1 if a signal handler raised (then set). */
int mp_py_unblock(mp_block *block);
int mp_py_interrupt(void *ctx); /* for pond_set_interrupt */

/* ---- convert.c ---- */

/* How values of a call go out and in. Borrowed where a call lasts, owned in a handle or an awaitable. */
typedef struct mp_extras {
    PyObject *should_cache, *encode, *decode;
    bool json;         /* encode and decode are a model's: JSON text, not bytes or text of the user's */
    bool raise_absent; /* absent="raise" */
    bool document;     /* of a store: Extended JSON, whatever the codec says */
} mp_extras;

void mp_py_extras_own(mp_extras *extras); /* borrowed -> owned */
void mp_py_extras_clear(mp_extras *extras);
#define MP_PY_EXTRAS_VISIT(x)                                                                                          \
    do {                                                                                                               \
        Py_VISIT((x)->should_cache);                                                                                   \
        Py_VISIT((x)->encode);                                                                                         \
        Py_VISIT((x)->decode);                                                                                         \
    } while (0)

typedef struct mp_payload {
    PyObject *owner;
    const char *data;
    size_t len;
    pond_codec codec;
} mp_payload;

int mp_py_encode(PyObject *value, const mp_extras *extras, mp_payload *out);
/* A value or an absence as fetch() returns it. `extras` may be NULL: a document or what
 * the core itself wrote, None for absent. `key` names it in errors. */
PyObject *mp_py_decode(const pond_value *value, const mp_extras *extras, PyObject *key);
/* A page of a query, as find() returns it. */
PyObject *mp_py_page(const pond_value *value);
/* As lookup() and fetch_entry() return it. */
PyObject *mp_py_entry(const pond_value *value, const mp_extras *extras, PyObject *key);
/* Answers a load with what its loader returned. NULL, or an exception that is the caller's alone (mp_py_fail_load). The GIL is
 * held; it is released for the copy of a large payload. */
PyObject *mp_py_answer(pond_load *load, PyObject *value, const mp_extras *extras);

/* ---- handle.c, options.c ---- */

typedef struct mp_engine {
    PyObject_HEAD pond *pond;
    struct mp_py_queue *queues; /* live ones, borrowed: the loop owns them */
    Py_ssize_t loads;           /* that tasks carry out now */
} mp_engine;

typedef struct mp_plan { /* a compiled policy */
    PyObject_HEAD pond_policy *policy;
    PyObject *ns;    /* str */
    PyObject *texts; /* (name, text, ...) that it differs by from what was opened; NULL: by nothing */
} mp_plan;

#define MP_PY_FAST_PAIRS 6
#define MP_PY_FAST_SLOTS 16

typedef struct mp_fast { /* the options of a call site, by identity */
    Py_ssize_t n;
    PyObject *names[MP_PY_FAST_PAIRS], *values[MP_PY_FAST_PAIRS];
    mp_plan *plan;
} mp_fast;

typedef struct mp_handle {
    PyObject_HEAD mp_engine *engine;
    mp_plan *plan;      /* of calls that say nothing */
    mp_extras extras;   /* the same; owned */
    PyObject *plans;    /* (name, text, ...) -> plan */
    PyObject *tag_sets; /* (namespace, (tag, ...)) -> compiled; NULL: none yet */
    mp_fast fast[MP_PY_FAST_SLOTS];
} mp_handle;

typedef struct mp_py_call {
    PyObject *key_object; /* borrowed */
    const char *key;
    size_t len;
    PyObject *loader;      /* borrowed */
    mp_plan *plan;         /* owned */
    mp_extras extras;      /* borrowed */
    PyObject *codec;       /* owned: the pair that extras of a model= borrow from */
    PyObject *tag_set;     /* owned */
    const pond_tags *tags; /* its; NULL: none */
} mp_py_call;

/* What a method takes beside options: a key, a loader, any number of keys (left to the caller), how values come in (decode,
 * model), how they go out (encode, should_cache, absent), tags. */
enum { MP_PY_KEY = 1, MP_PY_LOADER = 2, MP_PY_KEYS = 4, MP_PY_IN = 8, MP_PY_OUT = 16, MP_PY_TAGS = 32 };
/* The arguments of a method of a handle. -1 with an exception. */
int mp_py_parse(mp_handle *handle, const char *method, int wanted, PyObject *const *args, Py_ssize_t n,
                PyObject *kwnames, mp_py_call *call);
void mp_py_call_clear(mp_py_call *call);
/* Raises that the handle was made past open(), by a subclass with an __init__ of its own perhaps; always NULL. */
PyObject *mp_py_not_open(void);
/* absent= of a call; -1 with an exception. */
int mp_py_set_absent(mp_extras *extras, PyObject *value);
/* An option's name and text as the core takes them: UTF-8 without NUL; NULL with an exception. */
const char *mp_py_option_text(PyObject *name, PyObject *text);
int mp_py_fast_traverse(mp_handle *handle, visitproc visit, void *arg);
void mp_py_fast_clear(mp_handle *handle);

/* Keys of invalidate(): borrowed from the argument objects; free with PyMem_Free. */
typedef struct mp_keys {
    const char **keys;
    size_t *lens, n;
} mp_keys;
int mp_py_keys(mp_keys *out, PyObject *const *objects, Py_ssize_t n);
int mp_py_keys_of(mp_keys *out, PyObject *tuple);
void mp_py_keys_free(mp_keys *keys);
/* A str's UTF-8. TypeError: no str; InvalidKey: not clean. */
const char *mp_py_key(PyObject *object, size_t *len);

/* SWIG's door: the pond of a handle or an engine; NULL with an exception. Borrowed. */
pond *mp_py_pond(PyObject *object);
/* An engine for a pond that was just opened; takes it over. */
PyObject *mp_py_engine(pond *p);

/* ---- tags.c ---- */

/* tags= of a call, whose plan is known, into its tag_set. -1 with an exception. */
int mp_py_set_tags(mp_handle *handle, mp_py_call *call, PyObject *tags);

/* ---- loader.c ---- */

extern PyMethodDef mp_py_sync_methods[];
/* get_many for SWIG. */
PyObject *mp_py_store_get_many(PyObject *handle, const char *collection, PyObject *ids);

/* ---- queue.c, awaitable.c, load.c, calls.c ---- */

typedef enum mp_py_kind {
    MP_PY_FETCH,
    MP_PY_ENTRY, /* of a fetch */
    MP_PY_LOOKUP,
    MP_PY_PLAIN,
    MP_PY_DONE,
    MP_PY_DELETE,
    MP_PY_DOCUMENT,
    MP_PY_PAGE,
    MP_PY_MANY
} mp_py_kind;
typedef enum mp_py_state { MP_PY_PENDING, MP_PY_RESULT, MP_PY_EXCEPTION, MP_PY_CANCELLED } mp_py_state;

typedef struct mp_await {
    PyObject_HEAD struct mp_await *next, *prev; /* in the queue's list while the core has it */
    struct mp_py_queue *queue; /* borrowed, while it is in that list: a queue that goes takes its answers out */
    PyObject *loop;            /* NULL if it was answered at once */
    pond_request *request;     /* the core's */
    uint8_t kind, state;
    bool blocking, armed, arriving;  /* arriving: its final event was taken and is about to be told */
    PyObject *result;                /* value or exception */
    PyObject *traceback;             /* of the exception, as it was */
    PyObject *waker, *waker_context; /* the task that awaits it */
    PyObject *callbacks;             /* list of (callable, context) or NULL */
    PyObject *key, *ns, *loader;
    mp_extras extras;       /* owned */
    struct mp_await *begin; /* of a write, change or fetch_many: who waits for its next step. Owned */
} mp_await;

/* Answered already. Steals `result`; NULL: the exception that is set. */
PyObject *mp_py_await_done(PyObject *result);
mp_await *mp_py_await_new(struct mp_py_queue *queue, mp_py_kind kind);
/* A value or an absence as what `self` was asked for. */
PyObject *mp_py_await_value(const mp_await *self, const pond_value *value);
/* The answer is here: steals `result` (NULL: the exception that is set), and lets the awaiting task go on: at once if
 * `inline_` (we are called by the loop itself, no task is running), else in the next turn. -1: an exception that must leave
 * the loop (KeyboardInterrupt, SystemExit). */
int mp_py_await_end(mp_await *self, PyObject *result, bool inline_);

typedef struct mp_py_load {
    PyObject_HEAD struct mp_py_load *next, *prev; /* in the queue's list until answered */
    pond_load *load;
    bool behind;               /* nobody awaits it: its caller has an older value */
    struct mp_py_queue *queue; /* borrowed, while it is in that list */
    mp_engine *engine;
    PyObject *task;
    PyObject *key, *ns, *loader;
    mp_extras extras; /* owned */
} mp_py_load;

/* Starts the load in a task of the loop. -1: an exception that must leave the loop; the load is then answered. */
int mp_py_load_start(mp_await *asker, pond_load *load, bool behind);
void mp_py_load_unlist(mp_py_load *load);
/* Nobody will answer it: others may load. */
void mp_py_load_give_up(mp_py_load *load);
/* What is loaded, as a task remembers it. */
PyObject *mp_py_ident(mp_engine *engine, PyObject *ns, PyObject *key);
/* Is this task inside of the load of that key? */
bool mp_py_loading(mp_engine *engine, PyObject *ns, PyObject *key);
/* Nobody of this loop waits for `key` any more: ends the tasks that load it. */
void mp_py_load_unwanted(struct mp_py_queue *queue, PyObject *key);

typedef struct mp_py_queue {
    PyObject_HEAD struct mp_py_queue *next; /* engine->queues */
    mp_engine *engine;                      /* owned */
    pond_queue *queue;                      /* NULL once closed */
    PyObject *loop, *call_soon;
    mp_await *pending; /* the list owns a reference to each */
    mp_py_load *loads; /* the same */
    bool flush_due, polling;
} mp_py_queue;

/* The queue of the running loop, made at the first call (borrowed: the loop owns it). NULL: no loop runs, or an exception. */
mp_py_queue *mp_py_queue_here(mp_engine *engine);
/* The queue of a loop, if it has one in this process. Borrowed. */
mp_py_queue *mp_py_queue_of(mp_engine *engine, PyObject *loop);
/* The core has the request: `a` is kept alive until its final event. */
void mp_py_queue_list(mp_py_queue *queue, mp_await *a);
/* Takes it out; the list's reference is now the caller's. */
void mp_py_queue_unlist(mp_await *a);
/* Something was started: flush at the end of this turn. */
int mp_py_queue_touch(mp_py_queue *queue);
int mp_py_call_soon(PyObject *loop, PyObject *callback, PyObject *argument, PyObject *context);

extern PyMethodDef mp_py_loop_methods[];
/* What a start call gave: an answer, now or to come. Steals `a`. */
PyObject *mp_py_started(mp_await *a, mp_py_queue *queue, int code, pond_value *now, pond_error *err);
/* No loop runs: the call as a coroutine, for asyncio.run(pond.fetch(...)). Or the exception that is set. */
PyObject *mp_py_later(PyObject *self, const char *method, PyObject *const *args, Py_ssize_t n, PyObject *kwnames);

/* ---- write.c ---- */

PyObject *mp_py_sync_write(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames);
PyObject *mp_py_loop_write(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames);
/* The core asks for the write of `end`: who waits for that goes on. -1: an exception that must leave the loop. */
int mp_py_write_begin(mp_await *end, pond_writing *writing, bool inline_);

/* ---- change.c, collection.c ---- */

PyObject *mp_py_sync_change(PyObject *object, PyObject *const *args, Py_ssize_t n);
PyObject *mp_py_loop_change(PyObject *object, PyObject *const *args, Py_ssize_t n);
/* The core asks what `end`'s caller thinks of a document. -1: an exception that must leave the loop. */
int mp_py_check_asked(mp_await *end, pond_check *check, bool inline_);
/* A Python collection's; NULL with an exception. Borrowed. */
pond_collection *mp_py_collection(PyObject *object, mp_engine **engine);

/* ---- bulk.c ---- */

PyObject *mp_py_sync_fetch_many(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames);
PyObject *mp_py_loop_fetch_many(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames);
PyObject *mp_py_sync_set_many(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames);
PyObject *mp_py_loop_set_many(PyObject *object, PyObject *const *args, Py_ssize_t n, PyObject *kwnames);
/* As mp_py_write_begin, for a batch. */
int mp_py_batch_begin(mp_await *end, pond_batch *batch, bool inline_);
/* The answer of a fetch_many. */
PyObject *mp_py_many(const mp_await *end, const pond_event *event);

/* Types: each file's own, made in mp_py_init. */
extern PyType_Spec mp_py_engine_spec, mp_py_plan_spec, mp_py_handle_spec, mp_py_sync_spec, mp_py_loop_spec,
    mp_py_queue_spec, mp_py_await_spec, mp_py_load_spec, mp_py_sync_collection_spec, mp_py_loop_collection_spec,
    mp_py_tag_set_spec, mp_py_writing_spec, mp_py_batch_spec, mp_py_check_spec;

#define MP_PY_FREE(self)                                                                                               \
    do {                                                                                                               \
        PyTypeObject *type_ = Py_TYPE(self);                                                                           \
        freefunc free_ = (freefunc)PyType_GetSlot(type_, Py_tp_free);                                                  \
        free_(self);                                                                                                   \
        Py_DECREF(type_);                                                                                              \
    } while (0)

#endif
