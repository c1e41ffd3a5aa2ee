#include "pattern/behind/backlog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "model/behind.h"
#include "pattern/behind/shards.h"
#include "pattern/pond.h"
#include "pattern/wait.h"

enum { LEAVE_MS = 50 }; /* for all shards to be given back; else others wait for the end of their time */

/* ---- its life ---- */

static void fresh(mp_backlog *b) {
    pthread_mutex_init(&b->lock, NULL);
    pthread_mutex_init(&b->opening, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&b->idle, &attr);
    pthread_condattr_destroy(&attr);
    mp_drain_init(b);
}

static void destroy(mp_backlog *b) {
    mp_drain_clear(b);
    pond_policy_free(b->policy);
    pond_tags_free(b->pages);
    pthread_cond_destroy(&b->idle);
    pthread_mutex_destroy(&b->opening);
    pthread_mutex_destroy(&b->lock);
    free(b->collection);
    free(b);
}

static mp_backlog *find(pond *p, const char *collection, const char *ns) {
    mp_backlog *b = p->backlogs;
    while (b && (strcmp(b->collection, collection) != 0 || strcmp(b->policy->options.namespace, ns) != 0)) b = b->next;
    return b;
}

mp_backlog *mp_backlog_of(pond *p, const char *collection, const pond_policy *document, pond_tags *pages) {
    mp_backlog *fresh_one = calloc(1, sizeof *fresh_one);
    if (fresh_one && !(fresh_one->collection = strdup(collection))) {
        free(fresh_one);
        fresh_one = NULL;
    }
    pthread_mutex_lock(&p->lock);
    mp_backlog *b = find(p, collection, document->options.namespace);
    if (!b && fresh_one) {
        b = fresh_one;
        fresh_one = NULL;
        b->pond = p;
        b->policy = pond_policy_ref((pond_policy *)document);
        b->pages = pond_tags_ref(pages);
        fresh(b);
        b->next = p->backlogs;
        p->backlogs = b;
    }
    pthread_mutex_unlock(&p->lock);
    if (fresh_one) free(fresh_one->collection);
    free(fresh_one);
    return b;
}

void mp_backlogs_restart(pond *p) {
    for (mp_backlog *b = p->backlogs; b; b = b->next) {
        atomic_store(&b->opened, false);
        fresh(b);
    }
}

void mp_backlogs_start(pond *p) {
    for (mp_backlog *b = p->backlogs; b && p->options.worker; b = b->next) mp_drain_start(b);
}

void mp_backlogs_halt(pond *p) {
    for (mp_backlog *b = p->backlogs; b; b = b->next) mp_drain_halt(b);
}

size_t mp_backlogs_ending(pond *p) {
    size_t n = 0;
    for (mp_backlog *b = p->backlogs; b; b = b->next) n += mp_drain_ending(b);
    return n;
}

bool mp_backlogs_wait(pond *p, int64_t until) {
    bool ended = true;
    for (mp_backlog *b = p->backlogs; b; b = b->next) ended &= mp_drain_wait(b, until);
    return ended;
}

size_t mp_backlogs_leave(pond *p) {
    size_t left = 0;
    int64_t until = mp_clock_after(LEAVE_MS);
    for (mp_backlog *b = p->backlogs; b; b = b->next) {
        int64_t ms = until - mp_clock_ms();
        left += !mp_drain_leave(b, ms > 1 ? ms : 1);
    }
    return left;
}

void mp_backlogs_free(pond *p) {
    for (mp_backlog *b = p->backlogs, *next; b; b = next) {
        next = b->next;
        destroy(b);
    }
    p->backlogs = NULL;
}

bool mp_backlog_embedded(const mp_backlog *b) { return b->pond->cache->vt->peek != NULL; }

/* One operation on a shard as a whole; what else the errand has is sent with it. */
static int ask(const mp_backlog *b, mp_errand *errand, mp_op_kind kind, uint8_t shard, mp_behind *behind,
               pond_error **err) {
    char name[MP_NAME_MAX + 1];
    errand->op.kind = kind;
    errand->op.behind = behind;
    errand->op.timeout_ms = b->policy->options.command_timeout;
    mp_shard_key(b, &errand->op.key, name, shard);
    int code = mp_wait_errands(b->pond, errand, 1, err);
    return code == POND_OK ? mp_errand_code(errand, err) : code;
}

/* ---- epochs ---- */

/* One for all shards that want one, taken in the store, so that no two histories of a Redis have the same; put in force in Redis, unless a higher
 * one is. */
static int take_epoch(mp_backlog *b, pond_error **err) {
    mp_store *store = b->pond->store;
    for (int tries = 0; tries < 8; tries++) {
        mp_shards question = {.backlog = b}, errand = {.backlog = b};
        int64_t epoch = 0;
        for (uint8_t i = 0; i < MP_BACKLOG_SHARDS; i++) mp_shards_add(&question, MP_EPOCH, i);
        int code = mp_shards_send(&question, err); /* the fence first, then the epoch */
        bool wanted = false, taken = true;
        for (size_t i = 0; code == POND_OK && i < question.n; i++) wanted |= question.errand[i].op.reply != MP_DONE;
        if (!wanted) return code;
        code = store->vt->behind_epoch(store, b->policy->options.namespace, &epoch, err);
        for (uint8_t i = 0; code == POND_OK && i < MP_BACKLOG_SHARDS; i++) {
            if (question.errand[i].op.reply == MP_DONE) continue;
            mp_op *op = mp_shards_add(&errand, MP_EPOCH, i);
            memcpy(op->fence, question.errand[i].op.fence, MP_FENCE_LEN);
            op->behind->epoch = epoch;
        }
        if (code == POND_OK) code = mp_shards_send(&errand, err);
        if (code != POND_OK) return code;
        for (size_t i = 0; i < errand.n; i++) taken &= errand.errand[i].op.reply == MP_DONE;
        if (taken) return POND_OK;
    }
    return mp_fail(err, POND_ECACHE, "%.64s: others take epochs of the backlog all the time: try again", b->collection);
}

int mp_backlog_epoch(mp_backlog *b, uint32_t seen, pond_error **err) {
    int code = POND_OK;
    pthread_mutex_lock(&b->opening);
    if (atomic_load(&b->epochs) == seen) {
        code = take_epoch(b, err);
        if (code == POND_OK) atomic_fetch_add(&b->epochs, 1);
    }
    pthread_mutex_unlock(&b->opening);
    return code;
}

/* ---- opening ---- */

static int open_it(mp_backlog *b, pond_error **err) {
    mp_store *store = b->pond->store;
    mp_errand errand = {0};
    mp_behind behind = {0};
    int code = ask(b, &errand, MP_BEHIND_OPEN, 0, &behind, err);
    if (code == POND_OK) code = store->vt->behind_prepare(store, b->collection, err);
    /* Now, for the store may be away when the first change comes. Each start of a journal is another history, and may come to no change. */
    if (code == POND_OK && !mp_backlog_embedded(b)) code = take_epoch(b, err);
    if (code == POND_OK) {
        pthread_mutex_lock(&b->lock);
        b->forgetful = errand.op.ms == 0;
        pthread_mutex_unlock(&b->lock);
    }
    return code;
}

int mp_backlog_open(mp_backlog *b, pond_error **err) {
    int code = POND_OK;
    if (atomic_load_explicit(&b->opened, memory_order_acquire)) return POND_OK;
    pthread_mutex_lock(&b->opening);
    if (!atomic_load(&b->opened)) code = open_it(b, err);
    if (code == POND_OK) atomic_store_explicit(&b->opened, true, memory_order_release);
    pthread_mutex_unlock(&b->opening);
    return code;
}

/* Of servers that have no WAITAOF, some write their file before they answer. */
static bool answers_from_disk(mp_backlog *b) {
    mp_behind behind = {0};
    mp_errand errand = {.op = {.ms = MP_AT_ONCE}};
    return ask(b, &errand, MP_CONFIRM, 0, &behind, NULL) == POND_OK && errand.op.ms == 1;
}

int mp_backlog_on_disk(mp_backlog *b, bool *at_once, pond_error **err) {
    pond_error *why = NULL;
    mp_behind behind = {0};
    mp_errand errand = {.op = {.ms = MP_ON_DISK, .lease_ms = 1}};
    int code = ask(b, &errand, MP_CONFIRM, 0, &behind, &why);
    bool cannot = why && strstr(pond_error_message(why), "WAITAOF");
    *at_once = cannot && answers_from_disk(b);
    if (*at_once) {
        code = POND_OK;
    } else if (cannot) {
        code =
            mp_fail(err, POND_EOPTION,
                    "ack=fsync: this server does not say what is on its disk: set appendonly yes, and take Redis 7.2 "
                    "or newer, or set appendfsync always as well and no-appendfsync-on-rewrite no, and allow the "
                    "cache's user +config|get (%s)",
                    pond_error_message(why));
    } else if (err) {
        *err = why;
        why = NULL;
    }
    pond_error_free(why);
    return code;
}

/* ---- the store ---- */

int mp_backlog_read(const mp_backlog *b, const char *id, size_t len, pond_value *record, int64_t record_version,
                    pond_value **out, int64_t *version, pond_error **err) {
    mp_store *store = b->pond->store;
    int code = store->vt->behind_get(store, b->collection, id, len, out, version, err);
    if (code != POND_OK) return code;
    if (record && record_version > *version) {
        pond_value_free(*out);
        *out = pond_value_ref(record);
        *version = record_version;
    } else if (pond_value_state(*out) == POND_VALUE) {
        (*out)->codec = (uint8_t)store->vt->codec;
        (*out)->version = *version;
    }
    return POND_OK;
}

int64_t mp_backlog_most(int64_t backlog_max) { return (backlog_max + MP_BACKLOG_SHARDS - 1) / MP_BACKLOG_SHARDS; }

void mp_backlogs_measure(pond *p, mp_buf *metrics) {
    mp_behind_row rows[MP_BEHIND_ROWS];
    size_t n = 0;
    for (mp_backlog *b = p->backlogs; b && n < MP_BEHIND_ROWS; b = b->next, n++) {
        rows[n].name = b->policy->options.namespace;
        mp_drain_measure(b, rows[n].values);
    }
    mp_metrics_behind(rows, n, metrics);
}

void mp_backlogs_describe(pond *p, mp_buf *json) {
    bool first = true;
    for (mp_backlog *b = p->backlogs; b; b = b->next, first = false) {
        mp_buf_text(json, first ? ",\"behind\":{" : ",");
        mp_buf_json(json, b->policy->options.namespace, b->policy->ns_len);
        mp_drain_describe(b, json);
    }
    if (!first) mp_buf_text(json, "}");
}
