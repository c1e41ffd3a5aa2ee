/* Calls and a wait: what all blocking functions share, and what runs inside a call that is under way already.
 *
 * `inside`: the wait is a part of a load, or of a worker's job. So it goes on while a pond that closes waits for that; and no
 * interrupt ends it, for the load is others' too, and a worker is nobody's thread. */
#ifndef MP_PATTERN_WAIT_H
#define MP_PATTERN_WAIT_H

#include "model/key.h"
#include "pattern/behind/backlog.h"
#include "pattern/batch.h"
#include "pattern/call.h"
#include "pattern/change.h"
#include "pattern/errand.h"
#include "notify/notify.h"
#include "pattern/read.h"
#include "pattern/source.h"
#include "pattern/write.h"

/* A read of a key that was checked and peeked at. */
int mp_wait_read(pond *p, const mp_ask *ask, bool inside, pond_loader loader, void *ctx, pond_value **out,
                 pond_error **err);
/* Many reads, whose loads the source, or this loader, does together; `out` has room for the answers, or is NULL. */
int mp_wait_many(pond *p, const mp_many *what, pond_bulk_loader loader, void *ctx, pond_value **out, pond_error **err);
int mp_wait_set(pond *p, const pond_policy *policy, const char *const *keys, const size_t *lens,
                pond_value *const *values, size_t n, pond_error **err);
int mp_wait_invalidate(pond *p, const pond_policy *policy, const char *const *keys, const size_t *lens, size_t n,
                       const pond_tags *tags, bool inside, pond_error **err);
int mp_wait_write(pond *p, const pond_policy *policy, const char *const *keys, const size_t *lens, size_t n,
                  const pond_tags *tags, pond_writer writer, void *ctx, pond_error **err);
/* A change of a collection's document; *out: the document as it is then, NULL of one that was deleted. */
int mp_wait_change(const mp_change_args *args, pond_checker checker, void *ctx, pond_value **out, pond_error **err);
/* Entries of a stream (pattern/stream.h), inside. */
int mp_wait_stream(pond *p, const char *stream, int64_t most, const mp_notice *notices, size_t n, size_t *confirmed,
                   pond_error **err);
/* Inside: until each of them has ended, well or not. On an error (POND_ECLOSED, POND_ENOMEM) some may have been done. */
int mp_wait_errands(pond *p, mp_errand *each, size_t n, pond_error **err);
/* The same, by a lane that blocking calls can wait on, and that nobody else closes or frees meanwhile; NULL: the pond's own. */
int mp_wait_errands_on(mp_lane *lane, pond *p, mp_errand *each, size_t n, pond_error **err);
/* The same in two halves, with other work of this thread in between; somebody drives meanwhile. `each` stays as it is until the second. Where the
 * first fails there is nothing to wait for. */
typedef struct mp_sent {
    mp_lane *lane;
    mp_call *call; /* NULL: nothing is under way */
    mp_waiter waiter;
} mp_sent;
int mp_wait_errands_begin(mp_sent *sent, pond *p, mp_errand *each, size_t n, pond_error **err);
int mp_wait_errands_end(mp_sent *sent, pond_error **err);
/* Until a backlog has no more of what is in it now. */
int mp_wait_settle(pond *p, mp_backlog *backlog, int64_t timeout_ms, pond_error **err);
/* What the cache knows of a key, as a JSON object. */
int mp_wait_inspect(pond *p, const pond_policy *policy, const mp_key *key, bool inside, pond_value **out,
                    pond_error **err);

#endif
