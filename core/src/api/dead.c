/* Dead letters, blocking and on queues. */
#include "pattern/behind/dead.h"

#include "api/check.h"
#include "api/start.h"
#include "base/error.h"
#include "pattern/store_call.h"

static int check(pond_collection *c, const char *letter, size_t len, pond_error **err) {
    if (!c) return mp_fail(err, POND_EMISUSE, "the collection is NULL");
    int code = mp_store_check(c->pond, c->name, NULL, NULL, 0, err);
    return code == POND_OK ? mp_dead_check(c, letter, len, err) : code;
}

static int check_list(pond_collection *c, const char *after, size_t len, int64_t most, pond_error **err) {
    static const char any[] = "0-0-0";
    int code = check(c, len ? after : any, len ? len : sizeof any - 1, err);
    if (code != POND_OK || (most >= 1 && most <= MP_DEAD_MOST)) return code;
    return mp_fail(err, POND_EMISUSE, "dead letters: a list of %lld: it may have 1 to %d", (long long)most,
                   MP_DEAD_MOST);
}

static int check_act(pond_collection *c, pond_dead_act act, const char *letter, size_t len, pond_error **err) {
    if (act < POND_DEAD_SHOW || act > POND_DEAD_DROP)
        return mp_fail(err, POND_EMISUSE,
                       "a dead letter can be POND_DEAD_SHOW, POND_DEAD_RETRY or POND_DEAD_DROP, not %d", (int)act);
    return check(c, letter ? letter : "", letter ? len : 0, err);
}

static int start(pond_collection *c, pond_queue *queue, const mp_store_args *args, uint64_t user, pond_error **err) {
    int code = mp_queue_enter(c->pond, queue, err);
    return code == POND_OK ? mp_queue_leave(queue, mp_store_call_start(queue->lane, args, user), err) : code;
}

int pond_collection_dead_list(pond_collection *c, const char *after, size_t after_len, int64_t most, pond_value **out,
                              pond_error **err) {
    if (!out) return mp_fail(err, POND_EMISUSE, "pond_collection_dead_list: out is NULL");
    *out = NULL;
    int code = check_list(c, after, after_len, most, err);
    return code == POND_OK ? mp_dead_list(c, after, after_len, most, out, err) : code;
}

int pond_collection_dead_act(pond_collection *c, pond_dead_act act, const char *letter, size_t letter_len,
                             pond_value **out, pond_error **err) {
    if (out) *out = NULL;
    else if (act == POND_DEAD_SHOW) return mp_fail(err, POND_EMISUSE, "pond_collection_dead_act: out is NULL");
    int code = check_act(c, act, letter, letter_len, err);
    return code == POND_OK ? mp_dead_act(c, act, letter, letter_len, out, err) : code;
}

int pond_collection_dead_list_start(pond_collection *c, pond_queue *queue, const char *after, size_t after_len,
                                    int64_t most, uint64_t user, pond_error **err) {
    int code = check_list(c, after, after_len, most, err);
    if (code != POND_OK) return code;
    const mp_store_args args = {.kind = MP_STORE_DEAD_LIST,
                                .subject = &c->documents,
                                .ids = &after,
                                .lens = &after_len,
                                .n = after_len ? 1 : 0,
                                .number = most};
    return start(c, queue, &args, user, err);
}

int pond_collection_dead_act_start(pond_collection *c, pond_queue *queue, pond_dead_act act, const char *letter,
                                   size_t letter_len, uint64_t user, pond_error **err) {
    int code = check_act(c, act, letter, letter_len, err);
    if (code != POND_OK) return code;
    const mp_store_args args = {.kind = MP_STORE_DEAD_ACT,
                                .subject = &c->documents,
                                .ids = &letter,
                                .lens = &letter_len,
                                .n = 1,
                                .number = act};
    return start(c, queue, &args, user, err);
}
