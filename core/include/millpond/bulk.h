/* Bulk: many keys in one round trip, and all that the cache does not have of them in one load.
 *
 * Lists are as long as they are: of more than 2,048 keys each call does one part after the other, so that neither the server's buffers nor
 * the deadlines of single commands (command_timeout) set a limit. */
#ifndef MILLPOND_BULK_H
#define MILLPOND_BULK_H

#include <millpond/tags.h>

POND_BEGIN_DECLS

typedef struct pond_batch pond_batch; /* loads that one caller was asked to do together */

/* Loads what a batch names: answers it by pond_batch_value and pond_batch_absent, key by key, and ends it by exactly one of
 * pond_batch_done and pond_batch_fail before it returns. It runs in the thread that called, with no lock held. */
typedef void (*pond_bulk_loader)(pond_batch *batch, void *ctx);

/* As n calls of pond_fetch_tagged, in one: the answers in the order asked into out[0..n-1], each yours; on error none is set. A key may be
 * there more than once. `tags` (NULL: none) are those of every value.
 * The keys are asked for in one round trip, and what the cache does not have is loaded by one call of the loader: each of these keys with
 * a lease of its own, so that there is still one load per key in all processes. What another caller or process loads already is
 * not loaded again, but waited for; if that comes to nothing, or a list has several parts, the loader is called again, one call
 * after the other.
 * Errors: as of pond_fetch_tagged; the first that any key ends with is the call's. @threads any, blocks; not in a thread that drives a queue */
POND_API int pond_fetch_many(pond *p, const char *const *keys, const size_t *lens, size_t n, const pond_policy *policy,
                             const pond_tags *tags, pond_bulk_loader loader, void *ctx, pond_value **out,
                             pond_error **err);
/* The same on a queue: a POND_EVENT_BATCH with `user` asks for loads (pond_event_batch), which must be answered, from any thread; then
 * POND_EVENT_LIST or POND_EVENT_ERROR follows, or another batch. If the request is cancelled meanwhile, who else waits for these keys gets
 * what is loaded. */
POND_API int pond_fetch_many_start(pond *p, pond_queue *queue, const char *const *keys, const size_t *lens, size_t n,
                                   const pond_policy *policy, const pond_tags *tags, uint64_t user,
                                   pond_request **request, pond_error **err);
/* Of a POND_EVENT_BATCH; NULL of others. */
POND_API pond_batch *pond_event_batch(const pond_event *event);

/* What is to be loaded: each key once. Borrowed from the batch. @threads any */
POND_API size_t pond_batch_count(const pond_batch *batch);
POND_API const char *pond_batch_key(const pond_batch *batch, size_t i, size_t *len);
/* The value of the i-th key. `data` is copied; `flags` as of pond_load_value. POND_EVALUE: this key's load ends with that error, so
 * a caller need not do anything more; POND_EMISUSE: there is no such key, or the batch has been ended. @threads one at a time */
POND_API int pond_batch_value(pond_batch *batch, size_t i, const void *data, size_t len, pond_codec codec,
                              unsigned flags);
/* There is no such thing. Of keys of which nothing is said that is taken to be so. */
POND_API int pond_batch_absent(pond_batch *batch, size_t i, unsigned flags);
/* The end, once; both end the handle. POND_EMISUSE if it was ended before. @threads any */
POND_API int pond_batch_done(pond_batch *batch);
/* All of it failed, whatever was said of single keys: as pond_load_fail and pond_load_fail_with. */
POND_API int pond_batch_fail(pond_batch *batch, int code, const char *message);
POND_API int pond_batch_fail_with(pond_batch *batch, int code, const char *message, const void *owner, void *object,
                                  void (*release)(void *object));

/* Fills the cache ahead of traffic: as pond_fetch_many, `batch` keys at a time (0: 500), without handing out what is there. What is
 * cached already is not loaded. `progress` (may be NULL, with the loader's ctx) is called after each batch, with no lock held; non-zero ends the call with
 * POND_ECANCELED. Errors: as of pond_fetch_many; what came before is cached. @threads any, blocks; not in a thread that drives a queue */
POND_API int pond_warm(pond *p, const char *const *keys, const size_t *lens, size_t n, const pond_policy *policy,
                       const pond_tags *tags, size_t batch, pond_bulk_loader loader, void *ctx,
                       int (*progress)(void *ctx, size_t done, size_t n), pond_error **err);

/* Puts n values into the cache, two round trips for all of them: data[i] of data_lens[i] bytes and codecs[i] under keys[i], for the
 * policy's ttl; data[i] NULL: there is no such thing (negative_ttl). Meanwhile the keys are guarded as in pond_write, and a value is not cached if
 * somebody else writes its key at that time; then, as where a key is there twice, the next read loads.
 * For what you are the source of: a session, something computed. Not for what was read from a store: between your read and this call
 * somebody may have written it, and nothing here can see that. pond_warm and pond_fetch_many can, for they read under a lease.
 * All is checked before the first key is touched. Errors: POND_EKEY, POND_EVALUE; POND_ECACHE and others: some may not have been set, and none
 * that was is wrong. @threads any, blocks */
POND_API int pond_set_many(pond *p, const char *const *keys, const size_t *lens, const void *const *data,
                           const size_t *data_lens, const pond_codec *codecs, size_t n, const pond_policy *policy,
                           pond_error **err);
/* The same on a queue: POND_EVENT_OK or POND_EVENT_ERROR follows. */
POND_API int pond_set_many_start(pond *p, pond_queue *queue, const char *const *keys, const size_t *lens,
                                 const void *const *data, const size_t *data_lens, const pond_codec *codecs, size_t n,
                                 const pond_policy *policy, uint64_t user, pond_request **request, pond_error **err);

POND_END_DECLS

#endif
