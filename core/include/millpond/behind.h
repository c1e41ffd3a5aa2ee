/* Collections that are written behind (write=behind): Redis, or a journal file where the cache is memory:,
 * accepts their changes, and a worker takes them to the store. */
#ifndef MILLPOND_BEHIND_H
#define MILLPOND_BEHIND_H

#include <millpond/collection.h>

POND_BEGIN_DECLS

/* Waits until all that was accepted before this call, by any process, is in the store; at once for a collection that is written otherwise.
 * What is accepted meanwhile is not waited for; what the store refuses is until it is a dead letter (dead.h), and is no error here. POND_ETIMEOUT (retriable) after `timeout_ms`, 0..INT64_MAX: it is still on its way. Also
 * POND_ECACHE (in all that time it could not be asked), POND_EMISUSE (a timeout below 0), POND_ECLOSED, POND_EINTERRUPTED. @threads any, blocks; not in a thread that drives a queue */
POND_API int pond_collection_flush(pond_collection *collection, int64_t timeout_ms, pond_error **err);
/* The same on a queue: ends with POND_EVENT_OK or POND_EVENT_ERROR. */
POND_API int pond_collection_flush_start(pond_collection *collection, pond_queue *queue, int64_t timeout_ms,
                                         uint64_t user, pond_error **err);

POND_END_DECLS

#endif
