#include "pattern/store_call.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "pattern/collection.h"
#include "pattern/behind/dead.h"
#include "pattern/pond.h"

typedef struct store_job store_job;

typedef struct store_call {
    mp_call call;
    store_job *job;
} store_call;

/* What the worker has. It outlives the call if that is cancelled. */
struct store_job {
    mp_job job;
    mp_task task;
    mp_lane *lane;
    store_call *call; /* lane's lock; NULL: nobody wants the answer */
    mp_store_kind kind;
    mp_source *subject;
    size_t n;
    const char *collection, *doc;
    size_t doc_len;
    int64_t number;
    const char **ids;
    size_t *lens;
    int code;
    pond_error *error;
    pond_value **values; /* n */
    bool existed;
    char bytes[];
};

static void unhook(mp_call *call) {
    store_call *sc = MP_OF(call, store_call, call);
    if (sc->job) sc->job->call = NULL;
    sc->job = NULL;
}

static void destroy(mp_call *call) {
    mp_call_clear(call);
    free(MP_OF(call, store_call, call));
}

static const mp_call_vt vt = {.unhook = unhook, .destroy = destroy};

static void job_free(store_job *job) {
    for (size_t i = 0; job->values && i < (job->n ? job->n : 1); i++) pond_value_free(job->values[i]);
    free(job->values);
    free(job->ids);
    free(job->lens);
    pond_error_free(job->error);
    mp_source_unref(job->subject);
    free(job);
}

static void done(mp_task *task) {
    store_job *job = MP_OF(task, store_job, task);
    store_call *sc = job->call;
    if (sc) {
        mp_call *call = &sc->call;
        sc->job = NULL;
        if (job->code != POND_OK) {
            mp_call_end(call, POND_EVENT_ERROR, NULL, job->error);
            job->error = NULL;
        } else if (job->kind == MP_STORE_GET || job->kind == MP_STORE_EXPLAIN || job->kind == MP_STORE_DEAD_LIST ||
                   (job->kind == MP_STORE_DEAD_ACT && job->values[0])) {
            mp_call_end_value(call, job->values[0]);
            job->values[0] = NULL;
        } else if (job->kind == MP_STORE_GET_MANY) {
            call->list = job->values;
            call->list_len = job->n;
            job->values = NULL;
            mp_call_end(call, POND_EVENT_LIST, NULL, NULL);
        } else {
            bool absent = job->kind == MP_STORE_DELETE && !job->existed;
            mp_call_end(call, absent ? POND_EVENT_ABSENT : POND_EVENT_OK, NULL, NULL);
        }
    }
    mp_lane *lane = job->lane;
    job_free(job);
    mp_lane_unref(lane);
}

static void work(mp_job *self, bool refused) {
    store_job *job = MP_OF(self, store_job, job);
    mp_store *store = job->lane->pond->store;
    const char *const *ids = job->ids;
    if (refused) {
        job->code = mp_fail(&job->error, POND_ECLOSED, "the pond is closed");
    } else {
        switch (job->kind) {
        case MP_STORE_CREATE: job->code = store->vt->create(store, job->collection, &job->error); break;
        case MP_STORE_GET:
            job->code = store->vt->get(store, job->collection, ids[0], job->lens[0], &job->values[0], &job->error);
            break;
        case MP_STORE_GET_MANY:
            job->code = store->vt->get_many(store, job->collection, ids, job->lens, job->n, job->values, &job->error);
            break;
        case MP_STORE_PUT:
            job->code =
                store->vt->put(store, job->collection, ids[0], job->lens[0], job->doc, job->doc_len, &job->error);
            break;
        case MP_STORE_PREPARE: job->code = mp_collection_prepare((pond_collection *)job->subject, &job->error); break;
        case MP_STORE_EXPLAIN:
            job->code = mp_find_explain((mp_find *)job->subject, &job->values[0], &job->error);
            break;
        case MP_STORE_DEAD_LIST:
            job->code = mp_dead_list((pond_collection *)job->subject, job->n ? ids[0] : NULL, job->n ? job->lens[0] : 0,
                                     job->number, &job->values[0], &job->error);
            break;
        case MP_STORE_DEAD_ACT:
            job->code = mp_dead_act((pond_collection *)job->subject, (pond_dead_act)job->number, ids[0], job->lens[0],
                                    &job->values[0], &job->error);
            break;
        case MP_STORE_DELETE:
            job->code = store->vt->remove(store, job->collection, ids[0], job->lens[0], &job->existed, &job->error);
            break;
        }
    }
    mp_lane *lane = job->lane;
    if (mp_lane_post(lane, &job->task)) return;
    job_free(job);
    mp_lane_unref(lane);
}

mp_call *mp_store_call_start(mp_lane *lane, const mp_store_args *args, uint64_t user) {
    const char *collection = args->collection ? args->collection : "";
    size_t n = args->n, collection_len = strlen(collection), room = collection_len + 1 + args->doc_len + 1;
    for (size_t i = 0; i < n; i++) room += args->lens[i] + 1;
    mp_pool *pool = mp_pond_pool(lane->pond);
    store_call *sc = calloc(1, sizeof *sc);
    store_job *job = calloc(1, sizeof *job + room);
    if (job) {
        job->ids = calloc(n + 1, sizeof *job->ids);
        job->lens = calloc(n + 1, sizeof *job->lens);
        job->values = calloc(n + 1, sizeof *job->values); /* one at least: explain's answer */
    }
    if (!pool || !sc || !job || !job->ids || !job->lens || !job->values) {
        free(sc);
        if (job) job_free(job);
        return NULL;
    }
    char *at = job->bytes;
    job->collection = memcpy(at, collection, collection_len);
    at += collection_len + 1;
    if (args->doc_len) memcpy(at, args->doc, args->doc_len);
    job->doc = at;
    job->doc_len = args->doc_len;
    at += args->doc_len + 1;
    for (size_t i = 0; i < n; i++) {
        job->ids[i] = memcpy(at, args->ids[i], args->lens[i]);
        job->lens[i] = args->lens[i];
        at += args->lens[i] + 1;
    }
    job->kind = args->kind;
    job->subject = mp_source_ref(args->subject);
    job->n = n;
    job->number = args->number;
    job->job.run = work;
    job->task.run = done;
    job->lane = lane;
    mp_lane_ref(lane);
    job->call = sc;
    sc->job = job;
    mp_call_init(&sc->call, &vt, lane, NULL, user);
    if (!mp_pool_submit(pool, &job->job)) {
        mp_call_abort(&sc->call, NULL, true);
        job_free(job);
        mp_lane_unref(lane); /* not the last: the queue has one */
        return NULL;
    }
    return &sc->call;
}
