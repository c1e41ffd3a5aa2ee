#include "pattern/behind/embedded.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/error.h"
#include "model/behind.h"
#include "pattern/pond.h"
#include "store/journal.h"

/* ---- the journal ---- */

static bool is_one_file(const char *a, const char *b) {
    struct stat x, y;
    return *a && *b &&
           (strcmp(a, b) == 0 ||
            (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino));
}

int mp_embedded_path(char **out, const mp_options *o, pond_error **err) {
    static const char scheme[] = "sqlite:", end[] = ".behind";
    const char *given = o->journal ? o->journal : "", *path = o->store ? o->store : "";
    path = strncasecmp(path, scheme, sizeof scheme - 1) == 0 ? path + sizeof scheme - 1 : "";
    if (!*given && (!*path || *path == ':'))
        return mp_fail(err, POND_EOPTION,
                       "write=behind: with a memory: cache what was accepted waits in a file, and this store has none "
                       "beside which that could stand: say where (journal=/var/lib/shop.behind), or use a Redis "
                       "(cache=redis://...)");
    if (is_one_file(given, path))
        return mp_fail(err, POND_EOPTION,
                       "write=behind: what was accepted cannot wait in %s, which is the store itself: name another "
                       "file (journal), or none",
                       given);
    *out = *given ? strdup(given) : malloc(strlen(path) + sizeof end);
    if (!*out) return mp_fail(err, POND_ENOMEM, "no memory for a path");
    if (!*given) memcpy(mempcpy(*out, path, strlen(path)), end, sizeof end);
    return POND_OK;
}

static void forget(void *cache) { ((mp_cache *)cache)->vt->clear(cache); }

/* Opened by the first operation that needs it: until then another process may have it. */
static mp_journal *journal_of(pond *p, pond_error **err) {
    mp_journal *j = atomic_load_explicit(&p->journal, memory_order_acquire);
    if (j) return j;
    char *path = NULL;
    mp_journal *mine = NULL;
    int code = mp_embedded_path(&path, &p->options, err);
    if (code == POND_OK) code = mp_journal_open(&mine, path, p->cache, forget, p->options.store_timeout, err);
    free(path);
    if (code != POND_OK) return NULL;
    if (atomic_compare_exchange_strong(&p->journal, &j, mine)) return mine;
    mp_journal_close(mine); /* another thread was first, and has the same one */
    return j;
}

struct mp_journal *mp_embedded_hold(pond *p) {
    pthread_mutex_lock(&p->lock);
    mp_journal *j = atomic_load(&p->journal);
    if (j) mp_journal_ref(j);
    pthread_mutex_unlock(&p->lock);
    return j;
}

void mp_embedded_tidy(pond *p) {
    mp_journal *j = mp_embedded_hold(p);
    if (j) mp_journal_tidy(j);
    mp_journal_close(j);
}

void mp_embedded_close(pond *p) {
    pthread_mutex_lock(&p->lock);
    mp_journal *j = atomic_exchange(&p->journal, NULL);
    pthread_mutex_unlock(&p->lock);
    mp_journal_close(j);
}

/* Its operations may have opened the journal once more. */
void mp_embedded_release(pond *p, struct mp_journal *held) {
    if (atomic_load(&p->ending)) mp_embedded_close(p);
    mp_journal_close(held);
}

/* ---- the memory ---- */

static void nothing(mp_op *op) { pond_error_free(op->error); }

/* What the memory has of the key is what every reader sees first, so it is changed in the turn in which the journal is. */
static void tell(mp_lane *lane, const mp_op *of, mp_op_kind kind, uint8_t fence[MP_FENCE_LEN], pond_value *value) {
    static const uint8_t token[MP_TOKEN_LEN] = "millpond journal"; /* a turn is one's own, so it is nobody else's */
    mp_op op = {.kind = kind,
                .key = of->key,
                .lease_ms = 1000,
                .value = value,
                .ttl_ms = of->ttl_ms,
                .keep_ms = of->keep_ms,
                .shared = of->shared,
                .done = nothing};
    memcpy(op.token, token, sizeof token);
    memcpy(op.fence, fence, sizeof op.fence);
    lane->link->vt->submit(lane->link, &op);
    memcpy(fence, op.fence, sizeof op.fence);
}

/* `value` and nothing else; NULL: nothing. Who loads meanwhile loads in vain. */
static void show(mp_lane *lane, const mp_op *of, pond_value *value) {
    bool kept = value && of->ttl_ms > 0;
    uint8_t fence[MP_FENCE_LEN] = {
        0}; /* by which the other processes on this store's file know the end of what began */
    if (kept) tell(lane, of, MP_BEGIN, fence, NULL);
    tell(lane, of, MP_END, fence, kept ? value : NULL);
}

static void set_version(pond_value *value, int64_t version) {
    if (value && value != mp_value_absent()) value->version = version;
}

static pond_value *cached(mp_lane *lane, const mp_op *op) {
    pond *p = lane->pond;
    return p->cache->vt->peek(p->cache, op->shared, &op->key, 0, mp_loop_now(lane->loop));
}

/* ---- readers and writers ---- */

/* MP_PENDING: nothing waits, so it is the memory's to answer. */
static int lease(mp_lane *lane, mp_journal *j, mp_op *op, pond_error **err) {
    mp_waiting w;
    op->version = 0;
    op->value = NULL;
    int code = mp_journal_find(j, &op->key, &w, err);
    if (code != POND_OK) return code;
    if (w.sums) {
        pond_value_free(w.value);
        op->reply = MP_UNFOLDED;
    } else if (w.damaged) {
        return mp_fail(err, POND_EPROTOCOL,
                       "what was accepted for this document and is not in the store yet cannot be read: a worker will "
                       "put it to the dead letters");
    } else if (w.value && w.old_fence) {
        op->value = w.value;
        op->version = w.version;
        op->reply = MP_DIRTY;
    } else if (w.value) {
        op->value = w.value;
        op->left = op->ttl_ms;
        op->load_ms = 0;
        op->rejected_len = 0;
        op->reply = MP_HIT;
        show(lane, op, w.value);
    }
    return POND_OK;
}

static int accept(mp_lane *lane, mp_journal *j, mp_op *op, pond_error **err) {
    mp_behind *b = op->behind;
    pond_value *known = b->member || b->expect != MP_EXPECT_ANY ? cached(lane, op) : NULL;
    int64_t version = 0;
    int code = mp_journal_accept(j, &op->key, b, op->value, known, &version, err);
    pond_value_free(known);
    if (code != POND_OK) return code;
    op->reply = version ? MP_STORED : MP_REFUSED;
    if (!version) return POND_OK;
    op->version = version;
    b->epoch = version >> 40;
    set_version(op->value, version);
    show(lane, op, b->member ? NULL : op->value);
    return POND_OK;
}

static int fold(mp_lane *lane, mp_journal *j, mp_op *op, pond_error **err) {
    bool last = false;
    int code = mp_journal_fold(j, &op->key, op->behind, op->fence, op->value, &op->version, &last, err);
    if (code != POND_OK) return code;
    op->reply = op->version ? MP_STORED : op->behind->verdict == MP_VERDICT_OK ? MP_DONE : MP_REFUSED;
    if (op->reply == MP_REFUSED) return POND_OK;
    set_version(op->value, op->version);
    show(lane, op, last ? op->value : NULL);
    return POND_OK;
}

/* ---- the worker, and dead letters ---- */

static mp_op of_entry(const mp_op *op, char name[MP_NAME_MAX + 1]) {
    const mp_behind_entry *e = &op->behind->entries[0];
    mp_op of = *op;
    of.key = mp_behind_entry_key(name, &op->key, e);
    return of;
}

static int bury(mp_lane *lane, mp_journal *j, mp_op *op, pond_error **err) {
    char name[MP_NAME_MAX + 1];
    bool moved = false;
    int code = mp_journal_dead(j, &op->key, op->behind, &moved, err);
    if (code != POND_OK) return code;
    op->reply = moved ? MP_STORED : MP_REFUSED;
    mp_op of = of_entry(op, name);
    if (moved) show(lane, &of, NULL);
    return POND_OK;
}

static int retry(mp_lane *lane, mp_journal *j, mp_op *op, pond_error **err) {
    char name[MP_NAME_MAX + 1];
    mp_op of = of_entry(op, name);
    pond_value *known = cached(lane, &of);
    int code = mp_journal_dead_retry(j, &op->key, op->behind, known, err);
    pond_value_free(known);
    if (code != POND_OK) return code;
    op->reply = op->behind->verdict == MP_VERDICT_OK ? MP_STORED : MP_REFUSED;
    if (op->reply == MP_STORED) show(lane, &of, NULL);
    return POND_OK;
}

static int own(mp_journal *j, mp_op *op, pond_error **err) {
    bool mine = false;
    int64_t left = 0;
    int code = mp_journal_own(j, &op->key, op->token, op->lease_ms, &mine, &left, err);
    op->ms = left;
    op->reply = !mine ? MP_REFUSED : op->lease_ms ? MP_STORED : MP_DONE;
    return code;
}

static int epoch(mp_journal *j, mp_op *op, pond_error **err) {
    int code = mp_journal_epoch(j, &op->key, op->behind, op->fence, err);
    op->reply = op->behind->verdict == MP_VERDICT_OK ? MP_DONE : MP_REFUSED;
    memcpy(op->fence, mp_journal_fence(j), MP_FENCE_LEN);
    return code;
}

static int in_turn(mp_lane *lane, mp_journal *j, mp_op *op, pond_error **err) {
    int code = POND_OK;
    bool there = false;
    switch (op->kind) {
    case MP_LEASE: return lease(lane, j, op, err);
    case MP_ACCEPT: return accept(lane, j, op, err);
    case MP_FOLD: return fold(lane, j, op, err);
    case MP_EPOCH: return epoch(j, op, err);
    case MP_OWN: return own(j, op, err);
    case MP_DEAD: return bury(lane, j, op, err);
    case MP_DEAD_RETRY: return retry(lane, j, op, err);
    case MP_DEAD_DROP:
        code = mp_journal_dead_drop(j, &op->key, op->behind, &there, err);
        op->reply = there ? MP_DONE : MP_REFUSED;
        return code;
    case MP_BEHIND_OPEN:
        code = mp_journal_prepare(j, &op->key, err);
        op->ms = 1; /* what is accepted outlives this process */
        break;
    case MP_TAKE: code = mp_journal_take(j, &op->key, op->behind, err); break;
    case MP_ACK: code = mp_journal_ack(j, &op->key, op->behind, err); break;
    case MP_DEAD_LIST: code = mp_journal_dead_list(j, &op->key, op->behind, err); break;
    case MP_SUMS:
        code = mp_journal_sums(j, &op->key, op->behind, err);
        memcpy(op->fence, mp_journal_fence(j), MP_FENCE_LEN);
        break;
    case MP_FORGET: break; /* no operation is sent twice here, so none is remembered */
    default: code = mp_fail(err, POND_EMISUSE, "a memory: cache cannot do this"); break;
    }
    op->reply = MP_DONE;
    return code;
}

/* ---- on the disk ---- */

typedef struct mp_syncing {
    mp_job job;
    mp_task task;
    mp_lane *lane;
    mp_journal *journal;
    mp_op *op; /* lane's lock; NULL: nobody wants the answer */
    int code;
    pond_error *error;
} mp_syncing;

static void finish(mp_op *op, int code, pond_error *error) {
    if (code != POND_OK) op->reply = MP_FAILED;
    op->error = error;
    op->done(op);
}

static void synced(mp_task *task) {
    mp_syncing *s = MP_OF(task, mp_syncing, task);
    mp_lane *lane = s->lane;
    mp_loop_inflight(lane->loop, -1);
    if (s->op) {
        s->op->link_private = NULL;
        s->op->reply = MP_DONE;
        s->op->ms = 1;
        finish(s->op, s->code, s->error);
    } else {
        pond_error_free(s->error);
    }
    free(s);
    mp_lane_unref(lane);
}

static void sync_now(mp_job *job, bool refused) {
    mp_syncing *s = MP_OF(job, mp_syncing, job);
    mp_lane *lane = s->lane;
    s->code = refused ? mp_fail(&s->error, POND_ECLOSED, "the pond is closed") : mp_journal_sync(s->journal, &s->error);
    mp_journal_close(s->journal);
    if (mp_lane_post(lane, &s->task)) return;
    pond_error_free(s->error);
    free(s);
    mp_lane_unref(lane);
}

/* By a thread of the pool: a host's loop does not wait for the disk. */
static void confirm(mp_lane *lane, mp_op *op) {
    pond_error *error = NULL;
    if (op->ms != MP_ON_DISK) {
        int code = mp_fail(&error, POND_EOPTION, "ack=replicas: a memory: cache has none: write ack=fsync");
        finish(op, code, error);
        return;
    }
    mp_pool *pool = mp_pond_pool(lane->pond);
    mp_journal *j = journal_of(lane->pond, &error);
    mp_syncing *s = j ? calloc(1, sizeof *s) : NULL;
    if (s) {
        *s =
            (mp_syncing){.job.run = sync_now, .task.run = synced, .lane = lane, .journal = mp_journal_ref(j), .op = op};
        op->link_private = s;
        mp_lane_ref(lane);
        mp_loop_inflight(lane->loop, 1);
        if (pool && mp_pool_submit(pool, &s->job)) return;
        mp_loop_inflight(lane->loop, -1);
        mp_journal_close(j);
        mp_lane_unref(lane); /* not the last: the pond or its queue has one */
        op->link_private = NULL;
        free(s);
    }
    if (!error) mp_fail(&error, POND_ENOMEM, "no thread, or no memory, to wait for the disk");
    finish(op, POND_ENOMEM, error);
}

void mp_embedded_forget(mp_lane *lane, mp_op *op) {
    if (op->kind == MP_CONFIRM) {
        mp_syncing *s = op->link_private;
        if (s) s->op = NULL;
        op->link_private = NULL;
    } else {
        lane->link->vt->forget(lane->link, op);
    }
}

/* ---- all of them ---- */

bool mp_embedded_has(const mp_lane *lane, const mp_op *op) { return op->key.shards && lane->pond->cache->vt->peek; }

static bool is_the_memorys(mp_op_kind kind) { return kind < MP_ACCEPT && kind != MP_LEASE; }

static void later(mp_op *op) { (void)op; }

/* It answers at once, and whoever is told of that may come back with another operation: so that is done behind the turn. */
static void ask_memory(mp_lane *lane, mp_op *op) {
    void (*done)(mp_op *) = op->done;
    op->done = later;
    lane->link->vt->submit(lane->link, op);
    op->done = done;
}

void mp_embedded_submit(mp_lane *lane, mp_op *op) {
    if (is_the_memorys(op->kind)) {
        lane->link->vt->submit(lane->link, op);
        return;
    }
    pond_error *error = NULL;
    op->reply = MP_PENDING;
    op->error = NULL;
    if (op->kind == MP_CONFIRM) {
        confirm(lane, op);
        return;
    }
    mp_journal *j = journal_of(lane->pond, &error);
    int code = j ? mp_journal_enter(j, &error) : POND_ENOMEM;
    if (code == POND_OK) {
        code = in_turn(lane, j, op, &error);
        bool on = code == POND_OK && op->reply == MP_PENDING; /* in the same turn: nothing is accepted in between */
        if (on) ask_memory(lane, op);
        mp_journal_leave(j);
        if (on) error = op->error;
    }
    finish(op, code, error);
}
