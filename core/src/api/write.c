/* Writes, blocking and on queues. */
#include "api/check.h"
#include "api/start.h"
#include "base/error.h"
#include "pattern/wait.h"
#include "pattern/write.h"

static int check(pond *p, const char *const *keys, const size_t *lens, size_t n, const pond_tags *tags,
                 pond_error **err) {
    int code = mp_keys_check(p, keys, lens, n, err);
    if (code == POND_OK && n == 0 && !tags)
        code = mp_fail(err, POND_EMISUSE, "a write of no keys and no tags: say what it changes");
    return code;
}

int pond_write(pond *p, const char *const *keys, const size_t *lens, size_t n, const pond_policy *policy,
               const pond_tags *tags, pond_writer writer, void *ctx, pond_error **err) {
    if (!writer) return mp_fail(err, POND_EMISUSE, "pond_write: writer is NULL");
    int code = check(p, keys, lens, n, tags, err);
    return code == POND_OK ? mp_wait_write(p, policy, keys, lens, n, tags, writer, ctx, err) : code;
}

int pond_write_start(pond *p, pond_queue *queue, const char *const *keys, const size_t *lens, size_t n,
                     const pond_policy *policy, const pond_tags *tags, uint64_t user, pond_request **request,
                     pond_error **err) {
    int code = check(p, keys, lens, n, tags, err);
    if (code == POND_OK) code = mp_queue_enter(p, queue, err);
    if (code != POND_OK) return code;
    mp_write *w = mp_write_new(queue->lane, policy, keys, lens, n, tags, user, NULL);
    if (w) mp_write_begin(w);
    if (request) *request = w ? &w->call : NULL;
    return mp_queue_leave(queue, w ? &w->call : NULL, err);
}
