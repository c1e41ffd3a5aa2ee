/* Changes of a collection's documents: create, replace, update, delete. The store is written to first, then the cache.
 *
 * Each is a write as write.h has it, on the document's key and on all pages of the collection: once it has returned POND_OK no reader,
 * in any process that is connected to the same cache, gets the document, or a page, as it was before. With the collection's option
 * write=through (the default) the new document is then in the cache, unless somebody else was changing it too; with write=aside it is
 * loaded when it is next asked for. If the cache fails after the store was written to, the change has been made all the same.
 *
 * With write=behind a change counts as soon as Redis (with a memory: cache: its journal) has accepted it, and a worker takes it to the store
 * afterwards: readers of the document see it at once, pages when it is stored. A replacement or a deletion does not look whether there is a document;
 * creates and updates do. See GUIDE.md for what that promises. */
#ifndef MILLPOND_CHANGE_H
#define MILLPOND_CHANGE_H

#include <millpond/collection.h>
#include <millpond/write.h>

POND_BEGIN_DECLS

typedef enum pond_change_kind {
    POND_CREATE = 1,  /* a document that is not there yet */
    POND_REPLACE = 2, /* the whole of one that is there */
    POND_UPDATE =
        3, /* some members: a JSON merge patch (RFC 7386): null removes one, objects are merged, lists are replaced */
    POND_DELETE = 4
} pond_change_kind;

typedef struct pond_check pond_check; /* a document that this caller was asked to judge */

/* Judges a document, and answers by exactly one of pond_check_pass and pond_check_fail before it returns. It runs in the thread that
 * called pond_collection_change, with no lock held, and again if somebody else has changed the document that an update changes. */
typedef void (*pond_checker)(pond_check *check, void *ctx);

/* `id` may be NULL (length 0) for POND_CREATE: then it is the document's own "id", a string; if it has none it gets one, 24 hexadecimal
 * digits, which MongoDB keeps as an ObjectId. `doc` is the document or patch, a JSON object; none for POND_DELETE. An "id" in it must be
 * the same. `checker` (may be NULL) is asked about the document as it would be in the store, not for POND_DELETE; what it rejects
 * touches neither the store nor the cache.
 * `*out` (if out is not NULL) is the document as it is now, NULL of one that was deleted.
 * An update is one of the document as it stands: of several at once none is lost. On MongoDB the document before and after it may have
 * 16 MiB together: POND_EVALUE beyond that, where a replacement would still do.
 *
 * Errors: POND_EKEY, POND_EVALUE (nothing happened); POND_EINVALID (the checker's); POND_EABSENT (replace, update, delete: there is
 * none); POND_EDUPLICATE (create: there is one); POND_ESTORE, POND_ETIMEOUT (if the message does not say that nothing was written, it may
 * have been, and the cache is passed by until that shows); POND_ECACHE and others before the store was touched
 * (when_cache_down_write=strict). With write=behind: POND_EOVERLOAD (the backlog is full, and
 * nothing was accepted); POND_ECACHE, POND_ESTORE, POND_ETIMEOUT (nothing was accepted if the message says so; else it may have been, or it was, and
 * is not known to be as safe as `ack` asks). POND_EINTERRUPTED (nothing was written); POND_ECLOSED. @threads any, blocks; not in a thread that drives
 * a queue */
POND_API int pond_collection_change(pond_collection *collection, pond_change_kind kind, const char *id, size_t id_len,
                                    const char *doc, size_t len, pond_checker checker, void *ctx, pond_value **out,
                                    pond_error **err);
/* The same on a queue: it ends with POND_EVENT_VALUE (the document as it is now), POND_EVENT_OK (deleted) or POND_EVENT_ERROR. If
 * `checked` is not 0, a POND_EVENT_CHECK with `user` comes first (pond_event_check), perhaps more than once, which must be answered, from
 * any thread. A request that is cancelled before the store is written to writes nothing. */
POND_API int pond_collection_change_start(pond_collection *collection, pond_queue *queue, pond_change_kind kind,
                                          const char *id, size_t id_len, const char *doc, size_t len, int checked,
                                          uint64_t user, pond_request **request, pond_error **err);
/* Of a POND_EVENT_CHECK; NULL of others. */
POND_API pond_check *pond_event_check(const pond_event *event);

/* Adds `by` (up to 2^53 - 1 either way) to a member of a document that is there, and written behind (write=behind): view counts, likes. It costs one command, and no
 * document is read for it: increments wait beside the document until somebody reads it or a worker takes it to the store. From the moment that it is
 * accepted every reader of the document sees it, and it counts exactly once, whoever is killed afterwards. That is also why the new value is not
 * told: nobody knows it yet. A member that is not there counts from 0; "a.b" is no member, but a path, and cannot be incremented.
 * A replacement or deletion that is accepted later takes the increments before it with it.
 * It is accepted without a look into the store (but for a document of which 100 other members wait already: those are made a part of it
 * first, and for that it is read). So one of a document that turns out not to exist, or of a member that is no integer or
 * would leave that range, has nothing to be added to: it is dropped, and counted in `dropped_increments` of the process that found that out. So is one of
 * which a Redis that came back with an old memory has lost whether the store counts it already.
 *
 * Errors: POND_EKEY, POND_EVALUE (the member, or `by`), POND_EOPTION (the collection has another `write`), POND_EABSENT (it is known that there is no such
 * document), POND_EOVERLOAD (the backlog is full): nothing happened; POND_ECACHE, POND_ETIMEOUT: it was not accepted if the message says so, else it
 * may have been: who repeats it may count twice; POND_ECLOSED. @threads any, blocks; not in a thread that drives a queue */
POND_API int pond_collection_increment(pond_collection *collection, const char *id, size_t id_len, const char *member,
                                       size_t member_len, int64_t by, pond_error **err);
/* The same on a queue: it ends with POND_EVENT_OK or POND_EVENT_ERROR. */
POND_API int pond_collection_increment_start(pond_collection *collection, pond_queue *queue, const char *id,
                                             size_t id_len, const char *member, size_t member_len, int64_t by,
                                             uint64_t user, pond_request **request, pond_error **err);

/* The document as it would be in the store, borrowed until the answer. */
POND_API const pond_value *pond_check_document(const pond_check *check);
/* The answer, once for each event; it ends the handle. POND_EMISUSE if it was answered before, as far as that can be seen. @threads any */
POND_API int pond_check_pass(pond_check *check);
/* Rejected: the call ends with POND_EINVALID and this message. */
POND_API int pond_check_fail(pond_check *check, const char *message);
/* The same with a host's object: as pond_load_fail_with. */
POND_API int pond_check_fail_with(pond_check *check, const char *message, const void *owner, void *object,
                                  void (*release)(void *object));

POND_END_DECLS

#endif
