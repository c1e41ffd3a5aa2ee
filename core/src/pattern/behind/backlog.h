/* The backlog of a write-behind collection: what was accepted and is not in the store yet (protocol.md, section 8).
 *
 * It stands in Redis, in shards; this is a process's side of it, one for all handles of the collection. accept.c puts changes into it,
 * drain.c takes them to the store. */
#ifndef MP_PATTERN_BEHIND_BACKLOG_H
#define MP_PATTERN_BEHIND_BACKLOG_H

#include <pthread.h>
#include "engine/loop.h"
#include "engine/pool.h"
#include "observe/metrics.h"
#include "pattern/behind/dropped.h"
#include "pattern/behind/lag.h"
#include "pattern/policy.h"
#include "pattern/tags.h"
#include "store/store.h"

/* Shards: as few as let some workers drain side by side, for changes that go to the same one at once are one call (cache/redis_puts.c). */
enum { MP_BACKLOG_SHARDS = 4, MP_BATCH_MOST = 500, MP_DAY_MS = 86400000 };

/* What the worker knows of a shard. */
typedef struct mp_drained {
    bool hinted;  /* Redis says that it is ours */
    bool owned;   /* so does the store */
    int64_t left; /* that wait, as far as was seen */
    mp_lag lag;
    int64_t swept;            /* the day on which old sessions were dropped */
    char name[MP_NS_MAX + 8]; /* "ns/s3": its fence document */
} mp_drained;

/* A document that the store has refused. */
typedef struct mp_refusal {
    char *key; /* owned */
    size_t len;
    int64_t version;
    unsigned times;
    int64_t again_at; /* mp_clock_ms */
} mp_refusal;
enum { MP_REFUSALS = 256 };

typedef struct mp_backlog {
    struct mp_backlog *next; /* pond->backlogs; only ever added */
    struct pond *pond;
    char *collection;
    pond_policy *policy; /* of the documents */
    pond_tags *pages;

    pthread_mutex_t lock;    /* of what follows, down to the worker */
    pthread_mutex_t opening; /* held over calls to cache and store: one thread opens, or takes an epoch, at a time */
    _Atomic bool opened;
    _Atomic uint32_t epochs; /* how often one was taken: who waited for that need not take another */

    /* The worker: a job on the pool, one at a time. `lock` guards the first lines. */
    bool running, pausing; /* a job is under way; none starts before the timer ends */
    bool over;
    bool left;        /* the pond was closed while a job ran, which has a reference to it since */
    bool given;       /* the shards are given back */
    unsigned working; /* jobs that are queued or have not returned */
    pthread_cond_t idle;
    uint64_t accepted; /* by this process */
    bool
        owes; /* not all of that is in the store, as far as was seen, and it is for this process to take there: counts as a call */
    char problem[200]; /* of the last round; "": none */
    bool forgetful;    /* Redis keeps no append-only file */
    mp_dropped dropped;
    mp_job job;
    mp_timer timer; /* on the lane of blocking calls, whose lock guards `timed` */
    bool timed;
    size_t shown_shards;             /* of the last round, for describe */
    int64_t shown_left, shown_since; /* mp_lag's, the oldest of those where something waits; 0: nothing does */
    /* The job's own. */
    uint8_t owner[16];
    mp_drained shard[MP_BACKLOG_SHARDS];
    bool asked; /* for shards, in Redis: some may be ours there, whatever was answered */
    int64_t hinted_at, pause_ms, idle_ms;
    size_t batch, batch_most; /* most documents at once: fewer after a conflict */
    mp_refusal refused[MP_REFUSALS];
    size_t refusals;
    struct mp_unsure *unsure; /* unsure.h */
} mp_backlog;

/* The pond's, for this namespace and collection; made if there is none. NULL without memory. */
mp_backlog *mp_backlog_of(struct pond *p, const char *collection, const pond_policy *document, pond_tags *pages);
/* It stands in a journal, beside a memory: cache. */
bool mp_backlog_embedded(const mp_backlog *b);
/* Looks once whether cache and store can do it. Blocks; no lock held. */
int mp_backlog_open(mp_backlog *b, pond_error **err);
/* Can the cache tell that what was accepted is on the disk? *at_once: it does so by its answer to the change, and need not be asked. Blocks; no
 * lock held. */
int mp_backlog_on_disk(mp_backlog *b, bool *at_once, pond_error **err);
/* A shard's versions cannot go on: takes an epoch from the store, for all that want one, unless another thread has since `seen`. Blocks; no lock held. */
int mp_backlog_epoch(mp_backlog *b, uint32_t seen, pond_error **err);
/* The document as the store has it, with its version; or the record that was accepted in a history of Redis that was lost since (`record` NULL: there
 * is none), if that is newer: *out has a version, too. Blocks; no lock held. */
int mp_backlog_read(const mp_backlog *b, const char *id, size_t len, pond_value *record, int64_t record_version,
                    pond_value **out, int64_t *version, pond_error **err);
/* Of at most `backlog_max` that wait, a shard's part. */
int64_t mp_backlog_most(int64_t backlog_max);

/* drain.c: the worker. */
void mp_drain_init(mp_backlog *b);
void mp_drain_clear(mp_backlog *b);
/* This process has accepted something. @threads any, also with a lane's lock held */
void mp_drain_accepted(mp_backlog *b);
/* What waits is to be taken to the store, by this process if it can. @threads any, no lock held */
void mp_drain_start(mp_backlog *b);
bool mp_drain_over(mp_backlog *b); /* no job starts any more, and the one under way ends soon */
/* No job starts any more. */
void mp_drain_halt(mp_backlog *b);
size_t mp_drain_ending(mp_backlog *b); /* halted, and so many have not ended yet */
/* Until none is under way, or until then. False: one is. @threads any, no lock held */
bool mp_drain_wait(mp_backlog *b, int64_t until);
/* Gives the shards back, in so much time. False: a job is under way, and does that when it ends; until then it has a reference to the pond. */
bool mp_drain_leave(mp_backlog *b, int64_t timeout_ms);
void mp_drain_describe(mp_backlog *b, mp_buf *json); /* :{...} */
void mp_drain_measure(mp_backlog *b, int64_t values[MP_BEHIND_GAUGES]);

/* flush.c: one round of it. */
typedef enum mp_round {
    MP_ROUND_EMPTY, /* there was nothing to do, or nothing that is ours */
    MP_ROUND_SOME,  /* what there was was done */
    MP_ROUND_FULL,  /* there is more */
    MP_ROUND_FAILED /* *err says why: again after a pause */
} mp_round;
mp_round mp_flush_round(mp_backlog *b, pond_error **err);
/* In its place, where the store could not even be opened: how much waits, in all shards. */
void mp_flush_look(mp_backlog *b);
/* The shards are for others to take, at once. `closed`: the pond's lanes may be. Blocks for so long at most; no lock held. */
void mp_flush_leave(mp_backlog *b, int64_t timeout_ms, bool closed);

/* Of all of a pond's. */
void mp_backlogs_restart(struct pond *p); /* in the child of a fork; then start */
void mp_backlogs_start(struct pond *p);
void mp_backlogs_halt(struct pond *p);
size_t mp_backlogs_ending(struct pond *p);
/* Halted, until their jobs have ended, or until then. */
bool mp_backlogs_wait(struct pond *p, int64_t until);
/* No lane is closed yet. How many jobs are left to end by themselves, each with a reference to the pond. */
size_t mp_backlogs_leave(struct pond *p);
void mp_backlogs_free(struct pond *p);
void mp_backlogs_describe(struct pond *p, mp_buf *json);
void mp_backlogs_measure(struct pond *p, mp_buf *metrics);

#endif
