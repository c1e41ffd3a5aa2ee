/* Completion queues: the same calls for programs with a loop of their own.
 *
 * A queue has one driver: the thread that polls it. Nothing moves on a queue unless its driver calls pond_queue_poll or
 * pond_queue_flush; the library makes no thread for it. Watch pond_queue_fd for reading and poll when it is
 * readable. All calls below are for the driver's thread unless they say @threads any.
 *
 * A queue, its requests and its loads are those of the process that made them. In a child of fork() pond_queue_fd is -1, starts are
 * POND_EMISUSE, and all else does nothing, so a child may free, cancel and answer what it inherits; it makes a queue of its
 * own.
 */
#ifndef MILLPOND_QUEUE_H
#define MILLPOND_QUEUE_H

#include <millpond/pond.h>

POND_BEGIN_DECLS

typedef struct pond_queue pond_queue;
typedef struct pond_event pond_event;
typedef struct pond_request pond_request; /* one call under way */

typedef enum pond_event_type {
    POND_EVENT_VALUE = 1,  /* a value: pond_event_value; perhaps with a load (pond_event_load). Final. */
    POND_EVENT_ABSENT = 2, /* known absent. Final. */
    POND_EVENT_MISS = 3,   /* lookup: the cache knows nothing. Final. */
    POND_EVENT_OK = 4,     /* an invalidation or a store call is done. Final. */
    POND_EVENT_ERROR = 5,  /* pond_event_error. Final. */
    POND_EVENT_LOAD = 6,   /* please load: pond_event_load, then answer it; a final event for the same `user` follows */
    POND_EVENT_LIST = 7,   /* get_many, fetch_many: pond_event_count, pond_event_value_at. Final. */
    POND_EVENT_WRITE = 8,  /* please write (write.h): pond_event_writing, then answer it; a final event follows */
    POND_EVENT_CHECK = 9,  /* please judge (change.h): pond_event_check, then answer it; a final event may follow */
    POND_EVENT_BATCH = 10  /* please load these (bulk.h): pond_event_batch, then answer it; a final event follows */
} pond_event_type;

/* @threads any; the caller's thread becomes the driver with its first poll or start. */
POND_API int pond_queue_new(pond_queue **out, pond *p, pond_error **err);
/* Ends the queue: its loads are given up (their leases are released, so that others load), its requests end without an
 * event. Events not yet freed stay valid. */
POND_API void pond_queue_free(pond_queue *queue);
/* One descriptor, readable when pond_queue_poll has something to do (sockets, timers, other threads' completions).
 * It stays the same for the queue's life. Owned by the queue: do not read or close it. */
POND_API int pond_queue_fd(pond_queue *queue);
/* Sends what the calls of this turn have written. Cheap when there is nothing. Call it once at the end of a turn; it also
 * happens by itself when 32 commands wait, and in pond_queue_poll. */
POND_API void pond_queue_flush(pond_queue *queue);
/* Drives the queue: sends, receives, runs timers; then moves up to `max` finished events to `events` (each yours:
 * pond_event_free) and returns how many. Waits up to `timeout_ms` if there are none (0 = not at all, -1 = until there
 * is one). If it returns `max`, call it again: the descriptor may not fire for what is left. */
POND_API size_t pond_queue_poll(pond_queue *queue, pond_event **events, size_t max, int64_t timeout_ms);
/* Requests that have not had their final event: 0 means that the host may exit. */
POND_API size_t pond_queue_pending(const pond_queue *queue);

/* Events. `user` is what the start call was given. Value and error are borrowed from the event. */
POND_API pond_event_type pond_event_kind(const pond_event *event);
POND_API uint64_t pond_event_user(const pond_event *event);
POND_API pond_value *pond_event_value(const pond_event *event);
POND_API pond_error *pond_event_error(const pond_event *event);
/* Of a POND_EVENT_LOAD. Of a POND_EVENT_VALUE too, where options ask for it (grace, early_refresh): the value is for the caller now, and
 * the load, which must be answered as any other, is to be done behind it: nobody waits for it, and no event follows. NULL of others. */
POND_API pond_load *pond_event_load(const pond_event *event);
POND_API size_t pond_event_count(const pond_event *event);
POND_API pond_value *pond_event_value_at(const pond_event *event, size_t i);
POND_API void pond_event_free(pond_event *event);

/* The start calls check their arguments and return at once. Their result is one of:
 *   POND_OK      under way: exactly one final event with `user` will come (before it, perhaps a LOAD event);
 *   a negative   refused, nothing will come: `*err` says why.
 * pond_fetch_start and pond_lookup_start may also answer at once: `*now` (if now is not NULL) is then set to a value
 * that is yours, and no event comes. `*request` (if not NULL) is borrowed until the final event is taken. */
POND_API int pond_fetch_start(pond *p, pond_queue *queue, const char *key, size_t len, const pond_policy *policy,
                              uint64_t user, pond_value **now, pond_request **request, pond_error **err);
POND_API int pond_lookup_start(pond *p, pond_queue *queue, const char *key, size_t len, const pond_policy *policy,
                               uint64_t user, pond_value **now, pond_request **request, pond_error **err);
POND_API int pond_invalidate_start(pond *p, pond_queue *queue, const char *const *keys, const size_t *lens, size_t n,
                                   const pond_policy *policy, uint64_t user, pond_error **err);
POND_API int pond_explain_start(pond *p, pond_queue *queue, const char *key, size_t len, const pond_policy *policy,
                                uint64_t user, pond_error **err);
POND_API int pond_processes_start(pond *p, pond_queue *queue, uint64_t user, pond_error **err);
/* No event will come for this request any more. A load that it was asked to do must still be answered. */
POND_API void pond_request_cancel(pond_request *request);

/* The store, past the cache, on the pond's worker threads. */
POND_API int pond_store_create_start(pond *p, pond_queue *queue, const char *collection, uint64_t user,
                                     pond_error **err);
POND_API int pond_store_get_start(pond *p, pond_queue *queue, const char *collection, const char *id, size_t len,
                                  uint64_t user, pond_error **err);
POND_API int pond_store_get_many_start(pond *p, pond_queue *queue, const char *collection, const char *const *ids,
                                       const size_t *lens, size_t n, uint64_t user, pond_error **err);
POND_API int pond_store_put_start(pond *p, pond_queue *queue, const char *collection, const char *id, size_t len,
                                  const char *doc, size_t doc_len, uint64_t user, pond_error **err);
/* Its event is POND_EVENT_OK if there was one, POND_EVENT_ABSENT if not. */
POND_API int pond_store_delete_start(pond *p, pond_queue *queue, const char *collection, const char *id, size_t len,
                                     uint64_t user, pond_error **err);

POND_END_DECLS

#endif
