/* Dead letters: changes of a collection that is written behind (write=behind) which the store would not have, such as a document that
 * breaks a unique index or a schema.
 *
 * A worker tries such a change some times while the others go on, and then puts it aside, with the store's error. From then on it is neither
 * in the backlog nor in the cache: readers get the document as the store has it. It stays a dead letter until somebody retries or drops it. */
#ifndef MILLPOND_DEAD_H
#define MILLPOND_DEAD_H

#include <millpond/collection.h>

POND_BEGIN_DECLS

typedef enum pond_dead_act {
    POND_DEAD_SHOW = 1,  /* the letter */
    POND_DEAD_RETRY = 2, /* it waits for the store again, and is a dead letter no more */
    POND_DEAD_DROP = 3   /* it is a dead letter no more */
} pond_dead_act;

/* The oldest dead letters behind `after` (a letter's id; NULL or length 0: from the oldest on), at most `most`, 1..1000. `*out` is a JSON
 * object, {"letters": [...], "total": how many there are, "next": what to give as `after` for those that follow, or null}. A letter is
 *   {"id": its own, "document_id": the document's, "version": of the change, "at_ms": when it was put aside, in ms since 1970, "error": what
 *    the store said, "state": "document" | "deleted" (it was a deletion) | "increments" (there is nothing else: of the document that the store has) |
 *    "damaged" (there is nothing that can be read), "increments": {member: sum} or null, "document": the document, without these, or null}
 * Of large documents fewer come than were asked for, but always one. Letters that are added or go meanwhile do no harm to the order.
 * POND_EMISUSE: `most`, or the collection is not written behind; POND_EKEY: `after` is no letter's id; POND_ECACHE and others: Redis, or the
 * journal, cannot be asked. The store is not. @threads any, blocks; not in a thread that drives a queue */
POND_API int pond_collection_dead_list(pond_collection *collection, const char *after, size_t after_len, int64_t most,
                                       pond_value **out, pond_error **err);
/* One letter. SHOW: `*out` is the letter, a JSON object as above; else out may be NULL, and `*out` is NULL.
 *
 * RETRY: the change takes the place in the order of changes that it had, so it never replaces what is newer: if something newer was accepted
 * or stored for that document since, it stays a dead letter and the error is POND_EDUPLICATE; so it does if nobody can say any more, seven
 * days after it was put aside, whether the document that is not there was deleted since. Letter and backlog change at once, in Redis
 * or the journal: it is never in both nor in neither. What comes of it at the store is seen as of any change: pond_collection_flush waits for that, and what
 * the store refuses again is a dead letter again, with a new id. After POND_ECACHE or POND_ETIMEOUT it may have been done: list again.
 *
 * Increments that were put aside wait again as well, and count once. Of a letter that has nothing else the store must have the document, and no newer one.
 *
 * POND_EABSENT: there is no such letter (any more); POND_EVALUE: RETRY: it is "damaged"; POND_EOVERLOAD: RETRY: the backlog is full;
 * POND_ESTORE: RETRY: the store cannot be asked what it has; and as above. @threads as above */
POND_API int pond_collection_dead_act(pond_collection *collection, pond_dead_act act, const char *letter,
                                      size_t letter_len, pond_value **out, pond_error **err);

/* The same on a queue: ends with POND_EVENT_VALUE, POND_EVENT_OK (RETRY, DROP) or POND_EVENT_ERROR. */
POND_API int pond_collection_dead_list_start(pond_collection *collection, pond_queue *queue, const char *after,
                                             size_t after_len, int64_t most, uint64_t user, pond_error **err);
POND_API int pond_collection_dead_act_start(pond_collection *collection, pond_queue *queue, pond_dead_act act,
                                            const char *letter, size_t letter_len, uint64_t user, pond_error **err);

POND_END_DECLS

#endif
