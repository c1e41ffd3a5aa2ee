#include "documents.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "faults.h"
#include "jobs.h"
#include "model/document.h"
#include "model/json_patch.h"
#include "virtual/virtual.h"
#include "world.h"

typedef struct documents_way {
    mp_store store; /* first */
    process *process;
} documents_way;

static process *process_of(const mp_store *to) { return ((const documents_way *)to)->process; }

/* ---- there and back ---- */

/* A question: it gets to the store, is answered there at one moment, and the answer comes back, unless the process is dead by then. On the stack of a fiber,
 * which stays where it is. */
typedef struct question {
    void (*answer)(struct question *q, world *w);
    process *process;
    job *job;
    bool answered, fails;
    int64_t back, late; /* how long the answer takes, and how much longer than others */
} question;

static int64_t way(world *w) {
    if (w->calm) return 1;
    if (dice_chance(&w->dice, w->row->slow_loads)) return dice_between(&w->dice, 20, 400);
    return dice_between(&w->dice, 1, 20);
}

static void arrive(void *owner, uint64_t arg) {
    question *q = owner;
    world *w = q->process->world;
    if (w->ended) return;
    if (!q->fails) q->answer(q, w);
    q->answered = true;
    job_wake(q->job, q->back);
}

/* False: the store cannot be reached. */
static bool ask(question *q, process *p, pond_error **err) {
    world *w = p->world;
    q->process = p;
    q->job = job_here();
    q->fails = !w->calm && dice_chance(&w->dice, w->row->failed_loads);
    q->back = way(w) + q->late;
    agenda_at(&w->agenda, virtual_now() + way(w), arrive, q, 0);
    bool over = false;
    while (!over && !q->answered) over = job_park();
    if (!over && !q->fails) return true;
    mp_fail(err, POND_ESTORE, "the store cannot be reached");
    return false;
}

/* ---- epochs and fences ---- */

typedef struct owning {
    question question; /* first, here and below */
    const uint8_t *owner;
    const char *const *shards;
    size_t n;
    int64_t epoch;
} owning;

static size_t shard_of(const char *name) {
    return (size_t)strtoul(strrchr(name, 's') + 1, NULL, 10) % DOCUMENTS_SHARDS;
}

static void give_epoch(question *q, world *w) { ((owning *)q)->epoch = ++w->documents.epoch; }

static void give_shards(question *q, world *w) {
    const owning *o = (const owning *)q;
    for (size_t i = 0; i < o->n; i++) {
        documents_fence *f = &w->documents.fence[shard_of(o->shards[i])];
        memcpy(f->owner, o->owner, sizeof f->owner);
        f->written++;
    }
    trace_line(&w->trace, "p%u owns %zu shards in the store", q->process->number, o->n);
}

static void nothing(question *q, world *w) {}

static int create(mp_store *to, const char *collection, pond_error **err) {
    question q = {.answer = nothing};
    return ask(&q, process_of(to), err) ? POND_OK : POND_ESTORE;
}

static int take_epoch(mp_store *to, const char *ns, int64_t *epoch, pond_error **err) {
    owning o = {.question.answer = give_epoch};
    if (!ask(&o.question, process_of(to), err)) return POND_ESTORE;
    *epoch = o.epoch;
    return POND_OK;
}

static int own(mp_store *to, const uint8_t owner[16], const char *const *shards, size_t n, pond_error **err) {
    owning o = {.question.answer = give_shards, .owner = owner, .shards = shards, .n = n};
    return ask(&o.question, process_of(to), err) ? POND_OK : POND_ESTORE;
}

/* ---- flushes ---- */

typedef struct flush_row {
    size_t key;
    int64_t version;
    bool absent, verify;
    char text[LEDGER_TEXT];
    size_t len;
} flush_row;

/* A transaction. It writes the fences when it begins, and is committed only if nobody else has written them until then. */
typedef struct transaction {
    world *world;
    unsigned process;
    uint8_t owner[16];
    size_t shard[DOCUMENTS_SHARDS], shards;
    uint64_t written[DOCUMENTS_SHARDS];
    flush_row row[LEDGER_KEYS];
    size_t rows;
} transaction;

typedef struct flushing {
    question question;
    mp_flush *flush;
    mp_flushed how;
    transaction *t; /* that has begun */
} flushing;

static void change_document(world *w, const flush_row *r) {
    document *d = &w->documents.document[r->key];
    bool guarded = w->setting->layer != LAYER_NO_VERSION;
    if (r->verify && d->tomb >= r->version && w->setting->layer != LAYER_NO_TOMBS) return;
    if (guarded && d->there && d->version >= r->version) return;
    if (r->absent) {
        if (d->tomb < r->version) d->tomb = r->version;
        d->there = false;
        d->version = 0;
    } else {
        d->there = true;
        d->version = r->version;
        memcpy(d->text, r->text, r->len);
        d->len = r->len;
    }
    ledger_stored(&w->ledger, r->key, r->version, r->absent ? NULL : d->text, d->len);
}

static mp_flushed commit(transaction *t) {
    world *w = t->world;
    for (size_t i = 0; i < t->shards && w->setting->layer != LAYER_NO_FENCE; i++) {
        const documents_fence *f = &w->documents.fence[t->shard[i]];
        if (f->written == t->written[i]) continue;
        trace_line(&w->trace, "p%u's flush is refused by the fence", t->process);
        return memcmp(f->owner, t->owner, sizeof f->owner) == 0 ? MP_FLUSH_CONFLICT : MP_FLUSH_LOST;
    }
    trace_line(&w->trace, "p%u's flush of %zu is committed", t->process, t->rows);
    for (size_t i = 0; i < t->rows; i++) change_document(w, &t->row[i]);
    return MP_FLUSHED;
}

static void commit_unheard(void *owner, uint64_t arg) {
    transaction *t = owner;
    if (!t->world->ended) commit(t);
    free(t);
}

/* A transaction that writes a document twice is in its own way. */
static bool ids_differ(const mp_flush *flush) {
    for (size_t i = 0; i < flush->n; i++)
        for (size_t k = 0; k < i; k++)
            if (flush->rows[i].id_len == flush->rows[k].id_len &&
                memcmp(flush->rows[i].id, flush->rows[k].id, flush->rows[i].id_len) == 0)
                return false;
    return true;
}

static void begin_flush(question *q, world *w) {
    flushing *f = (flushing *)q;
    const mp_flush *flush = f->flush;
    if (!ids_differ(flush)) {
        judge_broken(&w->judge, "a document stands twice in a flush");
        f->how = MP_FLUSH_LOST;
        return;
    }
    transaction *t = calloc(1, sizeof *t);
    if (!t || flush->n > LEDGER_KEYS) abort();
    t->world = w;
    t->process = q->process->number;
    memcpy(t->owner, flush->owner, sizeof t->owner);
    f->how = MP_FLUSHED;
    for (size_t i = 0; i < flush->nshards && f->how == MP_FLUSHED; i++) {
        size_t shard = shard_of(flush->shards[i]);
        documents_fence *fence = &w->documents.fence[shard];
        bool mine = memcmp(fence->owner, t->owner, sizeof t->owner) == 0;
        if (!mine && w->setting->layer != LAYER_NO_FENCE) f->how = MP_FLUSH_LOST;
        t->shard[t->shards] = shard;
        t->written[t->shards++] = ++fence->written;
    }
    for (size_t i = 0; i < flush->n; i++) {
        const mp_flush_row *from = &flush->rows[i];
        flush_row *to = &t->row[t->rows++];
        const char *text = pond_value_data(from->value, &to->len);
        *to = (flush_row){.key = (size_t)strtoul(from->id + 1, NULL, 10) % LEDGER_KEYS,
                          .version = from->version,
                          .absent = pond_value_state(from->value) == POND_ABSENT,
                          .verify = from->verify,
                          .len = to->len};
        if (to->absent) to->len = 0;
        if (to->len > LEDGER_TEXT) abort();
        memcpy(to->text, text ? text : "", to->len);
    }
    f->t = t;
}

static void end_flush(question *q, world *w) {
    flushing *f = (flushing *)q;
    f->how = commit(f->t);
    if (dice_chance(&w->dice, w->row->deadly_writes)) faults_kill(w, q->process);
}

/* It has begun, and nobody will say what becomes of it: nothing, or a commit, perhaps much later. */
static mp_flushed leave_unknown(flushing *f, world *w, pond_error **err) {
    int64_t later = dice_between(&w->dice, 0, dice_chance(&w->dice, 500) ? 100 : 20000);
    if (dice_chance(&w->dice, 700)) agenda_at(&w->agenda, virtual_now() + later, commit_unheard, f->t, 0);
    else free(f->t);
    mp_fail(err, POND_ESTORE, "the store does not say what came of it");
    return MP_FLUSH_FAILED;
}

enum { REFUSALS = 2 }; /* of one version: behind the third it would be a dead letter */

/* One of the rows is not to be had, for now. */
static bool is_poison(world *w, mp_flush *what, pond_error **err) {
    if (w->calm || !dice_chance(&w->dice, w->row->poison)) return false;
    what->poison = dice_below(&w->dice, (uint32_t)what->n);
    const mp_flush_row *row = &what->rows[what->poison];
    document *d = &w->documents.document[(size_t)strtoul(row->id + 1, NULL, 10) % LEDGER_KEYS];
    if (d->poison != row->version) d->refused = 0;
    if (d->refused == REFUSALS) return false;
    d->poison = row->version;
    d->refused++;
    trace_line(&w->trace, "the store refuses %.*s", (int)row->id_len, row->id);
    mp_fail(err, POND_ESTORE, "the store will not have it");
    return true;
}

static mp_flushed flush(mp_store *to, mp_flush *what, pond_error **err) {
    process *p = process_of(to);
    world *w = p->world;
    flushing begins = {.question.answer = begin_flush, .flush = what};
    if (!ask(&begins.question, p, err)) {
        free(begins.t);
        return MP_FLUSH_FAILED;
    }
    if (begins.how != MP_FLUSHED) {
        free(begins.t);
        return begins.how;
    }
    if (is_poison(w, what, err)) {
        free(begins.t);
        return MP_FLUSH_POISON;
    }
    if (!w->calm && dice_chance(&w->dice, w->row->unknown_writes)) return leave_unknown(&begins, w, err);
    if (!w->calm && dice_chance(&w->dice, w->row->slow_writes)) {
        int64_t ms = dice_between(&w->dice, 100, 20000);
        trace_line(&w->trace, "p%u's flush stands still for %lld ms", p->number, (long long)ms);
        process_stand(p, ms);
        job_wake(job_here(), 0);
        job_park();
    }
    flushing ends = {.question.answer = end_flush, .t = begins.t};
    bool told = ask(&ends.question, p, err);
    free(begins.t);
    return told ? ends.how : MP_FLUSH_FAILED;
}

/* ---- documents ---- */

typedef struct getting {
    question question;
    size_t key;
    document found;
} getting;

static void give_document(question *q, world *w) {
    getting *g = (getting *)q;
    g->found = w->documents.document[g->key];
    trace_line(&w->trace, "p%u gets k%zu of %lld+%lld", q->process->number, g->key, (long long)(g->found.version >> 40),
               (long long)(g->found.version & 0xffffffffff));
}

static int get_version(mp_store *to, const char *collection, const char *id, size_t len, pond_value **out,
                       int64_t *version, pond_error **err) {
    process *p = process_of(to);
    getting g = {.question.answer = give_document, .key = (size_t)strtoul(id + 1, NULL, 10) % LEDGER_KEYS};
    const mp_document_name name = {collection, id, len};
    p->world->judge.counts.loads++;
    if (!p->world->calm && dice_chance(&p->world->dice, p->world->row->late_loads))
        g.question.late = dice_between(&p->world->dice, 200, 2500);
    if (!ask(&g.question, p, err)) return POND_ESTORE;
    *version = g.found.there ? g.found.version : g.found.tomb;
    if (g.found.there) return mp_document_unpack(&name, g.found.text, g.found.len, out, err);
    *out = mp_value_absent();
    return POND_OK;
}

static int ready(mp_store *to, mp_change *c, pond_error **err) {
    const mp_document_name name = {c->collection, c->id, c->id_len};
    char *doc = NULL, *whole = NULL;
    size_t len, old_len;
    if (c->kind == MP_CHANGE_DELETE) return POND_OK;
    int code = mp_document_pack(&name, c->text, c->len, &doc, &len, err);
    if (code == POND_OK && c->kind == MP_CHANGE_UPDATE && pond_value_state(c->base) != POND_ABSENT) {
        const char *old = pond_value_data(c->base, &old_len);
        code = mp_json_patch(&name, old, old_len, doc, len, &whole, &len, err);
    }
    bool made = c->kind != MP_CHANGE_UPDATE || whole;
    if (code == POND_OK && made) code = mp_document_unpack(&name, whole ? whole : doc, len, &c->document, err);
    free(whole);
    free(doc);
    return code;
}

static void discard(mp_store *to, mp_change *c) {
    pond_value_free(c->document);
    c->document = NULL;
}

static void close_way(mp_store *to) { free(to); }

static const mp_store_vt vt = {.scheme = "sim",
                               .codec = POND_JSON,
                               .create = create,
                               .close = close_way,
                               .ready = ready,
                               .discard = discard,
                               .behind_prepare = create,
                               .behind_epoch = take_epoch,
                               .behind_own = own,
                               .behind_flush = flush,
                               .behind_get = get_version};

mp_store *documents_store(process *p) {
    documents_way *to = calloc(1, sizeof *to);
    if (!to) abort();
    to->store.vt = &vt;
    to->process = p;
    return &to->store;
}
