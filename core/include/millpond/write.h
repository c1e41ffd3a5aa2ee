/* Writes: the caller's own write to its store, with what is cached of it kept right around it.
 *
 * The cache is told before the store is touched (an intent) and after it is known what came of it. In between nothing is cached under the
 * keys and tags, readers ask the store, and loads that began before are not cached. So after a write has been acknowledged no reader
 * gets anything older, and if the writer dies at any point, the intent runs out (option `intent`) and nothing old is left. */
#ifndef MILLPOND_WRITE_H
#define MILLPOND_WRITE_H

#include <millpond/tags.h>

POND_BEGIN_DECLS

typedef struct pond_writing pond_writing; /* a write that this caller was asked to do */

/* What came of it. */
typedef enum pond_outcome {
    POND_COMMITTED = 1,   /* it is in the store */
    POND_NOT_WRITTEN = 2, /* it is certain that nothing was, and will be, written: it was refused, or rolled back */
    POND_UNKNOWN = 3      /* anything else: a timeout, a lost connection, an exception. It may be there, or come yet */
} pond_outcome;

/* Does the write, and says what came of it by exactly one of pond_write_done and pond_write_fail before it returns. It runs in the thread
 * that called pond_write, with no lock held. */
typedef void (*pond_writer)(pond_writing *writing, void *ctx);

/* Writes: n keys (of the policy's namespace) and tags are what the write changes; one of both may be none. It returns when `writer` has
 * said what came of it and the cache has been told.
 *
 * Guaranteed once it has returned POND_OK: no reader of these keys, or of what has these tags, in any process that is connected to the same
 * cache, gets what was read from the store before. While the writer runs its intents are renewed, for write_timeout (30 s) at most; a writer
 * that takes longer is guarded only by its end: what was cached meanwhile goes then.
 * If the outcome is POND_UNKNOWN the intents are left to run out, so that a commit that comes yet is seen.
 * If the cache has failed after the writer: POND_OK all the same, and what it was not told is repeated until it takes it; until the
 * intents run out nothing is cached there anyway. pond_close waits for that within its time.
 * If the cache cannot be told before: with when_cache_down_write=strict (the default) the writer is not called, nothing is written, and the
 * error is retriable. With lenient it is called, and the cache is told as soon as it can be reached; readers who reach it
 * before get what is there.
 * Not guaranteed: anything about writers of the same data that neither write this way nor invalidate.
 *
 * Errors: POND_EKEY; POND_ECACHE, POND_EOVERLOAD and others before the writer was called (nothing was written); the writer's own error;
 * POND_EMISUSE if it said nothing (the outcome is then taken as unknown); POND_EINTERRUPTED before the writer was called;
 * POND_ECLOSED. @threads any, blocks; not in a thread that drives a queue */
POND_API int pond_write(pond *p, const char *const *keys, const size_t *lens, size_t n, const pond_policy *policy,
                        const pond_tags *tags, pond_writer writer, void *ctx, pond_error **err);
/* The same on a queue: a POND_EVENT_WRITE with `user` asks for the write (pond_event_writing), which must be answered by pond_write_done or
 * pond_write_fail, from any thread; then POND_EVENT_OK or POND_EVENT_ERROR follows. If the request is cancelled, or the queue freed, while
 * the host writes, no event comes, but the answer is still owed, and what it says is still done. */
POND_API int pond_write_start(pond *p, pond_queue *queue, const char *const *keys, const size_t *lens, size_t n,
                              const pond_policy *policy, const pond_tags *tags, uint64_t user, pond_request **request,
                              pond_error **err);
/* Of a POND_EVENT_WRITE; NULL of others. */
POND_API pond_writing *pond_event_writing(const pond_event *event);

/* Before the answer, if there is one: what the i-th key's value is to be once the write is committed (write-through). It is cached
 * for the policy's ttl if this writer was alone; else the key's value goes, as it does where this was not called. `data` is copied.
 * pond_writing_absent: there is no such thing any more (negative_ttl). POND_EVALUE, POND_EMISUSE (no such key): nothing has changed.
 * @threads one at a time */
POND_API int pond_writing_value(pond_writing *writing, size_t i, const void *data, size_t len, pond_codec codec,
                                pond_error **err);
POND_API int pond_writing_absent(pond_writing *writing, size_t i, pond_error **err);

/* The answer, once; both end the handle. POND_EMISUSE if it was answered before. @threads any */
POND_API int pond_write_done(pond_writing *writing);
/* It failed: `outcome` is POND_NOT_WRITTEN or POND_UNKNOWN (what is neither is taken as that), `code` (0 = POND_ESTORE) and `message` are
 * the error that the call ends with. When in doubt say POND_UNKNOWN: it costs a few uncached reads, the other may cost a stale value. */
POND_API int pond_write_fail(pond_writing *writing, pond_outcome outcome, int code, const char *message);
/* The same with a host's object: as pond_load_fail_with. */
POND_API int pond_write_fail_with(pond_writing *writing, pond_outcome outcome, int code, const char *message,
                                  const void *owner, void *object, void (*release)(void *object));

POND_END_DECLS

#endif
