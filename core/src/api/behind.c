/* Write-behind: what a caller may ask of a backlog. */
#include <millpond/behind.h>

#include "api/check.h"
#include "api/start.h"
#include "base/error.h"
#include "pattern/collection.h"
#include "pattern/behind/settle.h"
#include "pattern/wait.h"

static int check(pond_collection *c, int64_t timeout_ms, pond_error **err) {
    if (!c) return mp_fail(err, POND_EMISUSE, "the collection is NULL");
    if (timeout_ms < 0)
        return mp_fail(err, POND_EMISUSE, "flush: a timeout of %lld ms: it may be 0 or more", (long long)timeout_ms);
    return mp_store_check(c->pond, c->name, NULL, NULL, 0, err);
}

int pond_collection_flush(pond_collection *c, int64_t timeout_ms, pond_error **err) {
    int code = check(c, timeout_ms, err);
    return code == POND_OK && c->behind ? mp_wait_settle(c->pond, c->behind, timeout_ms, err) : code;
}

int pond_collection_flush_start(pond_collection *c, pond_queue *queue, int64_t timeout_ms, uint64_t user,
                                pond_error **err) {
    int code = check(c, timeout_ms, err);
    if (code == POND_OK) code = mp_queue_enter(c->pond, queue, err);
    if (code != POND_OK) return code;
    return mp_queue_leave(queue, mp_settle_start(queue->lane, c->behind, timeout_ms, user, NULL), err);
}
