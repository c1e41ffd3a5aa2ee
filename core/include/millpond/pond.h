/* A pond: a cache in front of a store, and the calls that block until they have an answer.
 *
 * fork(): a child may go on with the ponds, policies and collections that it inherits. Its first call gives the pond what belongs to
 * one process: connections, counters (from zero), a memory: cache (empty). What the child inherits it neither uses, closes
 * nor frees. Calls, loads and queues that were under way are the parent's: see queue.h, and POND_ECLOSED is what a call
 * gives in whose loader or interrupt check the process forked, to the child. */
#ifndef MILLPOND_POND_H
#define MILLPOND_POND_H

#include <stddef.h>
#include <stdint.h>
#include <millpond/config.h>
#include <millpond/value.h>

POND_BEGIN_DECLS

typedef struct pond pond;               /* one per program and purpose; shared by all its threads */
typedef struct pond_policy pond_policy; /* options of a call, compiled once and used many times */
typedef struct pond_load pond_load;     /* a load that this caller was asked to do */

/* The library's version, "major.minor.patch". @threads any */
POND_API const char *pond_version(void);

/* Opens a pond. Nothing is connected yet; a bad address or option fails here and opens nothing.
 * `config` may be freed or reused afterwards. Errors: POND_EURL, POND_EOPTION, POND_ESTORE. @threads any */
POND_API int pond_open(pond **out, const pond_config *config, pond_error **err);
POND_API pond *pond_ref(pond *p);
/* Refuses new work, waits up to `timeout_ms` for what is under way, ends the rest with POND_ECLOSED. Idempotent; may be
 * called from a loader. The handle stays valid until pond_free. POND_ETIMEOUT if something had to be ended, or, of what is written
 * behind, is not in the store yet: another process's worker takes it there. A call to the store that this one's worker is in the midst of cannot be
 * ended: it goes on in its thread, and the pond's memory stays until it has returned, whatever is freed before. Closing again waits for it.
 * POND_EINTERRUPTED if the interrupt check ended the wait: new work is refused, what is under way was left alone.
 * @threads any, blocks */
POND_API int pond_close(pond *p, int64_t timeout_ms);
/* For a host whose loop must go on meanwhile, once nobody waits for an answer any more: new work is refused, the worker of what is written
 * behind begins nothing more, and pond_stats counts what it is in the midst of as calls. When there are no calls, pond_close does not wait. @threads any */
POND_API void pond_close_start(pond *p);
/* Drops a reference; the last one closes at once: a worker that is at work has a moment to end, as in pond_close. @threads any */
POND_API void pond_free(pond *p);

/* Called about every 100 ms while a call of this pond blocks, with no lock held; non-zero ends that call with
 * POND_EINTERRUPTED. Set it before the pond is shared (a binding checks for signals here). */
POND_API void pond_set_interrupt(pond *p, int (*check)(void *ctx), void *ctx);

/* Policies. `options` holds n pairs: name, value, name, value... `base` (may be NULL) gives what is not named. A policy
 * never changes; it may be used by any thread, and outlive the call but not the pond's last reference. NULL in a
 * call's policy argument means the pond's defaults. Errors: POND_EOPTION. @threads any */
POND_API int pond_policy_new(pond_policy **out, pond *p, const pond_policy *base, const char *const *options, size_t n,
                             pond_error **err);
POND_API pond_policy *pond_policy_ref(pond_policy *policy);
POND_API void pond_policy_free(pond_policy *policy);

/* A loader answers `load` by exactly one of pond_load_value, pond_load_absent, pond_load_fail before it returns. It runs
 * in the thread that called pond_fetch, with no lock held. */
typedef void (*pond_loader)(pond_load *load, void *ctx);

/* Cache-aside: the cached value, or what `loader` gives, which is then cached. However many callers, threads and
 * processes miss one key, one of them loads. `key` is 1..512 bytes of UTF-8 without U+0000.
 * With the options grace, stale_if_error and early_refresh a value is served past its ttl, or loaded anew before its end: see
 * pond_value_stale. The one caller that loads meanwhile does so in its own thread, and gets the new value; all others have the old one at
 * once. A queue's caller has it too (pond_event_load). Nothing that was invalidated or written before the call began is ever served.
 * `*out` is POND_VALUE or POND_ABSENT. Errors: POND_EKEY, POND_ELOADER (or whatever code the loader gave),
 * POND_ETIMEOUT, POND_EDEADLOCK, POND_ECLOSED; POND_ECACHE only with when_cache_down=error.
 * @threads any, blocks; not in a thread that drives a queue */
POND_API int pond_fetch(pond *p, const char *key, size_t len, const pond_policy *policy, pond_loader loader, void *ctx,
                        pond_value **out, pond_error **err);

/* What the cache holds, without loading: POND_VALUE, POND_ABSENT or POND_MISS. @threads any, blocks */
POND_API int pond_lookup(pond *p, const char *key, size_t len, const pond_policy *policy, pond_value **out,
                         pond_error **err);

/* The answer if it needs no wait (memory: hits), else NULL, counted as nothing. Never blocks and never fails: a key that
 * is not valid gives NULL too. What it returns is yours. @threads any */
POND_API pond_value *pond_peek(pond *p, const char *key, size_t len, const pond_policy *policy);

/* Drops what is cached under n keys and revokes the loads under way: nothing that was read before this call is served or
 * cached after it has returned. All keys are checked before the first is touched. POND_ECACHE: some may not have
 * been dropped; repeat it. @threads any, blocks */
POND_API int pond_invalidate(pond *p, const char *const *keys, const size_t *lens, size_t n, const pond_policy *policy,
                             pond_error **err);

/* What is known of a key, as a JSON object (text, codec POND_JSON): state, time left, lease, writers, fence.
 * @threads any, blocks */
POND_API int pond_explain(pond *p, const char *key, size_t len, const pond_policy *policy, pond_value **out,
                          pond_error **err);

/* Counters since open, as a JSON object: total, and by namespace; what is known of the cache; and, of collections that are written behind, how far they are:
 * "behind": {"shop/views": {"shards", "backlog", "lag_ms", "problem"...}} (GUIDE.md). Asks nothing of cache and store. @threads any */
POND_API int pond_stats(pond *p, pond_value **out, pond_error **err);
/* One counter ("hits", "misses", "negative_hits", "loads"...; see GUIDE.md) of a namespace, NULL = all together; 0 if
 * there is none of that name. @threads any */
POND_API uint64_t pond_stat(pond *p, const char *ns, const char *counter);

/* The same and more for Prometheus, as text in its exposition format 0.0.4: millpond_hits_total{namespace="shop"} and so on,
 * gauges of the cache and of what waits for the store (write=behind), and a histogram of load times. A collection's rows have the labels collection and part besides. Of more than
 * 1,000 rows the newest are summed up under namespace="?others". @threads any */
POND_API int pond_metrics(pond *p, pond_value **out, pond_error **err);

/* What the processes count that share this cache and publish it (option publish_stats), as a JSON array with an object each: its host,
 * pid and version, up_ms since it opened its pond, total and namespaces as in pond_stats, and left_ms: it is forgotten then unless it
 * publishes again, which it does every every_ms. A memory: cache has none. Errors: POND_ECACHE. @threads any, blocks */
POND_API int pond_processes(pond *p, pond_value **out, pond_error **err);

/* Loads. The answer of a loader, once; every function below but pond_load_key ends the load and its handle.
 * They return POND_OK, or what is wrong with the answer: the load is then ended with that error for all who wait, so a
 * caller need not do anything more. @threads any */
POND_API const char *pond_load_key(const pond_load *load, size_t *len);
/* POND_LOAD_UNCACHED: hand it to who waits, but do not cache it (should_cache said no). */
#define POND_LOAD_UNCACHED 1u
/* `data` is copied. POND_EVALUE: over max_value, or not UTF-8 where the codec says text. */
POND_API int pond_load_value(pond_load *load, const void *data, size_t len, pond_codec codec, unsigned flags);
/* There is no such thing: cached for negative_ttl unless the flag says not. */
POND_API int pond_load_absent(pond_load *load, unsigned flags);
/* The load failed: `code` (0 = POND_ELOADER) and `message` go to all who wait; nothing is cached. POND_ECANCELED says that the
 * load was given up (a task was cancelled, a program interrupted): its own call gets that, who else waits loads anew. */
POND_API int pond_load_fail(pond_load *load, int code, const char *message);
/* The same with a host's object: pond_error_attachment(error, owner) gives `object` back; release(object) is called
 * once, from any thread, when the last reference to the error goes. */
POND_API int pond_load_fail_with(pond_load *load, int code, const char *message, const void *owner, void *object,
                                 void (*release)(void *object));

/* The store, past the cache: JSON documents by id in a collection. Invalidate what you cached of them. Where there is
 * no store= the answer is POND_EOPTION. `id` and `collection`: see GUIDE.md. @threads any, blocks */
POND_API int pond_store_create(pond *p, const char *collection, pond_error **err);
/* *out: POND_VALUE with the document ("id" first), or POND_ABSENT. */
POND_API int pond_store_get(pond *p, const char *collection, const char *id, size_t len, pond_value **out,
                            pond_error **err);
/* n answers in the order asked into out[0..n-1], each yours; on error none is set. */
POND_API int pond_store_get_many(pond *p, const char *collection, const char *const *ids, const size_t *lens, size_t n,
                                 pond_value **out, pond_error **err);
/* Inserts or replaces; `doc` is a JSON object, with no "id" or with the same one. */
POND_API int pond_store_put(pond *p, const char *collection, const char *id, size_t len, const char *doc,
                            size_t doc_len, pond_error **err);
/* `*existed` (may be NULL) says whether there was one. */
POND_API int pond_store_delete(pond *p, const char *collection, const char *id, size_t len, int *existed,
                               pond_error **err);

POND_END_DECLS

#endif
