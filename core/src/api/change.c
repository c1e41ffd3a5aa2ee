/* Changes of documents, blocking and on queues. */
#include "pattern/change.h"

#include <stdlib.h>
#include <string.h>

#include "api/check.h"
#include "api/start.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "model/document.h"
#include "model/json_increment.h"
#include "pattern/wait.h"

enum { MADE_ID_LEN = 24 };

/* As an ObjectId has it: seconds, so that ids sort by age, and what nobody else has. */
static void make_id(char out[MADE_ID_LEN + 1]) {
    static const char digits[] = "0123456789abcdef";
    uint8_t bytes[MADE_ID_LEN / 2];
    uint32_t seconds = (uint32_t)(mp_clock_wall_ms() / 1000);
    for (int i = 0; i < 4; i++) bytes[i] = (uint8_t)(seconds >> (24 - 8 * i));
    mp_random_bytes(bytes + 4, sizeof bytes - 4);
    for (size_t i = 0; i < sizeof bytes; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[MADE_ID_LEN] = 0;
}

/* Where the id is not given: *own is the document's, to be freed, or NULL and args->id is made. */
static int find_id(mp_change_args *args, char **own, char made[MADE_ID_LEN + 1], pond_error **err) {
    size_t len = 0;
    int code = mp_document_id(args->collection->name, args->text, args->len, own, &len, err);
    if (code != POND_OK) return code;
    args->id_made = *own == NULL;
    if (args->id_made) make_id(made);
    args->id = args->id_made ? made : *own;
    args->id_len = args->id_made ? MADE_ID_LEN : len;
    return POND_OK;
}

static int check(mp_change_args *args, pond_change_kind kind, char **own, char made[MADE_ID_LEN + 1],
                 pond_error **err) {
    static const mp_change_kind kinds[] = {[POND_CREATE] = MP_CHANGE_CREATE,
                                           [POND_REPLACE] = MP_CHANGE_REPLACE,
                                           [POND_UPDATE] = MP_CHANGE_UPDATE,
                                           [POND_DELETE] = MP_CHANGE_DELETE};
    pond_collection *c = args->collection;
    if (!c) return mp_fail(err, POND_EMISUSE, "the collection is NULL");
    if (kind < POND_CREATE || kind > POND_DELETE)
        return mp_fail(err, POND_EMISUSE, "a change is POND_CREATE, POND_REPLACE, POND_UPDATE or POND_DELETE, not %d",
                       (int)kind);
    args->kind = kinds[kind];
    if (kind == POND_DELETE) args->len = 0;
    else if (!args->text) return mp_fail(err, POND_EMISUSE, "%.64s: the document is NULL", c->name);
    int code = kind == POND_CREATE && !args->id ? find_id(args, own, made, err) : POND_OK;
    return code == POND_OK ? mp_store_check(c->pond, c->name, &args->id, &args->id_len, 1, err) : code;
}

int pond_collection_change(pond_collection *collection, pond_change_kind kind, const char *id, size_t id_len,
                           const char *doc, size_t len, pond_checker checker, void *ctx, pond_value **out,
                           pond_error **err) {
    char *own = NULL, made[MADE_ID_LEN + 1];
    mp_change_args args = {.collection = collection, .id = id, .id_len = id_len, .text = doc, .len = len};
    if (out) *out = NULL;
    int code = check(&args, kind, &own, made, err);
    args.checked = checker != NULL;
    if (code == POND_OK) code = mp_wait_change(&args, checker, ctx, out, err);
    free(own);
    return code;
}

int pond_collection_change_start(pond_collection *collection, pond_queue *queue, pond_change_kind kind, const char *id,
                                 size_t id_len, const char *doc, size_t len, int checked, uint64_t user,
                                 pond_request **request, pond_error **err) {
    char *own = NULL, made[MADE_ID_LEN + 1];
    mp_change_args args = {.collection = collection, .id = id, .id_len = id_len, .text = doc, .len = len};
    int code = check(&args, kind, &own, made, err);
    args.checked = checked != 0;
    if (code == POND_OK) code = mp_queue_enter(collection->pond, queue, err);
    if (code == POND_OK) {
        mp_call *call = mp_change_start(queue->lane, &args, user, NULL);
        if (request) *request = call;
        code = mp_queue_leave(queue, call, err);
    }
    free(own);
    return code;
}

/* ---- increments ---- */

static mp_change_args increment_of(pond_collection *collection, const char *id, size_t id_len, const char *member,
                                   size_t member_len, int64_t by) {
    return (mp_change_args){.collection = collection,
                            .kind = MP_CHANGE_INCREMENT,
                            .id = id,
                            .id_len = id_len,
                            .text = member,
                            .len = member_len,
                            .by = by};
}

static int check_increment(mp_change_args *args, pond_error **err) {
    static const char *const modes[] = {"through", "aside", "behind"};
    pond_collection *c = args->collection;
    if (!c) return mp_fail(err, POND_EMISUSE, "the collection is NULL");
    int code = mp_increment_check(c->name, args->text, args->len, args->by, err);
    if (code == POND_OK) code = mp_store_check(c->pond, c->name, &args->id, &args->id_len, 1, err);
    if (code == POND_OK && !c->behind)
        code =
            mp_fail(err, POND_EOPTION,
                    "%.64s: only a collection with write=behind has increments, and this one has write=%s: update the "
                    "document instead",
                    c->name, modes[c->document->options.write]);
    return code;
}

int pond_collection_increment(pond_collection *collection, const char *id, size_t id_len, const char *member,
                              size_t member_len, int64_t by, pond_error **err) {
    mp_change_args args = increment_of(collection, id, id_len, member, member_len, by);
    int code = check_increment(&args, err);
    return code == POND_OK ? mp_wait_change(&args, NULL, NULL, NULL, err) : code;
}

int pond_collection_increment_start(pond_collection *collection, pond_queue *queue, const char *id, size_t id_len,
                                    const char *member, size_t member_len, int64_t by, uint64_t user,
                                    pond_request **request, pond_error **err) {
    mp_change_args args = increment_of(collection, id, id_len, member, member_len, by);
    int code = check_increment(&args, err);
    if (code == POND_OK) code = mp_queue_enter(collection->pond, queue, err);
    if (code != POND_OK) return code;
    mp_call *call = mp_change_start(queue->lane, &args, user, NULL);
    if (request) *request = call;
    return mp_queue_leave(queue, call, err);
}
