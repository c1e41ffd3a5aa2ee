/* What the files of the addon share. An environment (the main thread, each Worker) has one mpn_env and any number of
 * ponds; nothing here is global. Everything runs on the environment's thread unless it says @threads any. */
#ifndef MPN_ADDON_H
#define MPN_ADDON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <node_api.h>
#include <millpond/millpond.h>
#include "uv_abi.h"

/* Events that are delivered by one call into JavaScript. */
#define MPN_BATCH 128

/* What lib/core.cjs is told about an event or an answer; 1..4 are the codecs. */
enum mpn_kind {
    MPN_JSON = POND_JSON,
    MPN_BYTES = POND_BYTES,
    MPN_TEXT = POND_TEXT,
    MPN_EJSON = POND_EJSON,
    MPN_ABSENT = 5,
    MPN_MISS = 6,
    MPN_OK = 7,
    MPN_ERROR = 8,
    MPN_LOAD = 9,
    MPN_LIST = 10,
    MPN_WRITE = 11,
    MPN_CHECK = 12,
    MPN_MANY = 13, /* a batch of loads */
    /* With the kind of a value: */
    MPN_STALE = 256,
    MPN_BEHIND = 512 /* a load comes with it, to be done behind it: [value, load] */
};

typedef struct mpn_env mpn_env;
typedef struct mpn_pond mpn_pond;
typedef struct mpn_mailbox mpn_mailbox;

struct mpn_env {
    napi_env napi;
    uv_loop_t *loop;
    napi_async_cleanup_hook_handle hook;
    mpn_pond *ponds;      /* those with a queue */
    mpn_mailbox *mailbox; /* loaders' errors that the core no longer needs */
    unsigned refs;        /* the instance data, each mpn_pond, each uv handle that is closing */
    unsigned closing;     /* uv handles that have not called back yet */
    bool ending;          /* the clean-up hook has run */
};

/* A growing table of pointers with free places; 0 is no place. */
typedef struct mpn_table {
    void **rows;
    uint32_t size, used;
    uint32_t *spare;
    uint32_t spares;
} mpn_table;

struct mpn_pond {
    mpn_env *env;
    mpn_pond *prev, *next;
    pond *core; /* NULL once closed, as all that follows */
    pond_queue *queue;
    uv_poll_t *poll;
    uv_prepare_t *prepare;
    bool dirty;       /* something was written in this turn: `prepare` is started */
    bool held;        /* requests are under way: `poll` and `deliver` are held */
    unsigned refs;    /* the JavaScript object, and calls on the stack */
    napi_ref deliver; /* strong while held, else weak: an idle pond can be collected */
    napi_async_context context;
    uint32_t *meta; /* shared with JavaScript: (user, kind) of each event, then the kind of a direct answer */
    napi_ref meta_ref;
    mpn_table policies; /* 0 is the pond's own */
    mpn_table collections;
    mpn_table loads;
    mpn_table tags; /* sets of them */
    mpn_table writings;
    mpn_table checks;
    mpn_table batches;
};

/* addon.c */
void mpn_env_release(mpn_env *env);

/* pond.c */
napi_value mpn_open(napi_env napi, napi_callback_info info);
void mpn_pond_release(mpn_pond *p);
/* Closes what is open: handles, queue, loads, policies, pond. Idempotent. */
void mpn_pond_end(mpn_pond *p);
/* The pond of a method call and its arguments (missing ones are undefined); NULL, with an exception pending, if closed. */
mpn_pond *mpn_args(napi_env napi, napi_callback_info info, size_t n, napi_value *args);

/* drive.c */
bool mpn_drive_start(mpn_pond *p);
void mpn_drive_stop(mpn_pond *p);
/* A request went under way. */
void mpn_drive_began(mpn_pond *p);
/* Delivers what is finished, until there is nothing more. */
void mpn_drive_drain(mpn_pond *p);

/* calls.c, tags.c, store.c, collection.c, loads.c, writes.c, changes.c: the methods */
extern const napi_property_descriptor mpn_call_methods[], mpn_tag_methods[], mpn_store_methods[],
    mpn_collection_methods[], mpn_load_methods[], mpn_write_methods[], mpn_change_methods[], mpn_bulk_methods[];
extern const size_t mpn_call_method_count, mpn_tag_method_count, mpn_store_method_count, mpn_collection_method_count,
    mpn_load_method_count, mpn_write_method_count, mpn_change_method_count, mpn_bulk_method_count;
/* What a start call came to: an answer at once, an error (thrown), or undefined for 'under way'. Takes `now` and `error`. */
napi_value mpn_started(mpn_pond *p, int rc, pond_value *now, pond_error *error);
/* Hands a LOAD event's load to JavaScript: its number. 0: no memory, the load was failed. */
uint32_t mpn_load_add(mpn_pond *p, pond_load *load);
/* Ends all that JavaScript has not answered. */
void mpn_loads_end(mpn_pond *p);
/* The same for a WRITE event's writing. */
uint32_t mpn_writing_add(mpn_pond *p, pond_writing *writing);
void mpn_writings_end(mpn_pond *p);
/* A CHECK event's: [its number, the document]; NULL: it was rejected, for want of memory. */
napi_value mpn_check_js(mpn_pond *p, pond_check *check);
void mpn_checks_end(mpn_pond *p);
/* A BATCH event's, as [number, [key...]]; NULL: no memory, the batch was failed. */
napi_value mpn_batch_js(mpn_pond *p, pond_batch *batch);
void mpn_batches_end(mpn_pond *p);
void mpn_tags_end(mpn_pond *p);

/* values.c */
enum mpn_kind mpn_value_kind(const pond_value *value);
napi_value mpn_value_js(napi_env napi, const pond_value *value);
napi_value mpn_string_js(napi_env napi, const char *text, size_t len);

/* errors.c. Errors cross as arrays [code, message, retriable, loader's box, query's reason], the last two perhaps undefined;
 * lib/errors.cjs makes the class. */
napi_value mpn_error_js(mpn_env *env, pond_error *error);
/* Throws it and frees it; always NULL. */
napi_value mpn_throw(mpn_env *env, pond_error *error);
napi_value mpn_throw_code(napi_env napi, int code, const char *message);
mpn_mailbox *mpn_mailbox_new(void);
/* The environment ends: what is released later has no JavaScript object any more. */
void mpn_mailbox_end(mpn_mailbox *mailbox);
/* Lets go of the objects whose errors are gone. */
void mpn_mailbox_drain(mpn_mailbox *mailbox, napi_env napi);
/* Something to give to pond_load_fail_with that keeps the JavaScript object `box`; NULL without memory. */
void *mpn_box_new(mpn_mailbox *mailbox, napi_env napi, napi_value box);
void mpn_box_release(void *box); /* @threads any */

/* text.c */
#define MPN_TEXT_STACK 600
typedef struct mpn_text {
    char *data; /* NUL-terminated UTF-8 */
    size_t len;
    char stack[MPN_TEXT_STACK];
} mpn_text;
/* false, with an exception pending, if `value` is no string or there is no memory. */
bool mpn_text_get(napi_env napi, napi_value value, mpn_text *text);
void mpn_text_free(mpn_text *text);
/* An array of strings. */
typedef struct mpn_texts {
    char **data;
    size_t *lens;
    uint32_t n;
} mpn_texts;
bool mpn_texts_get(napi_env napi, napi_value array, mpn_texts *texts);
void mpn_texts_free(mpn_texts *texts);
bool mpn_uint_get(napi_env napi, napi_value value, uint32_t *out);

/* Tables (text.c too: they are as small). 0 without memory. */
uint32_t mpn_table_add(mpn_table *table, void *row);
/* Takes it out; NULL if there is none. */
void *mpn_table_take(mpn_table *table, uint32_t place);
static inline void *mpn_table_at(const mpn_table *table, uint32_t place) {
    return place < table->used ? table->rows[place] : NULL;
}
void mpn_table_free(mpn_table *table);

#endif
