/* Change events: what is told of a change when it is known, to a stream in Redis or to a broker.
 *
 * A pond has one notifier, whose work is a job on the pool: one at a time, so events go out in order. Directly they wait in memory, and
 * are given up rather than sent twice: at most once. From the store's outbox they are read, delivered and only then dropped, by one
 * process at a time: at least once. Where the broker fails, the next try comes after a pause that grows. */
#ifndef MP_PATTERN_NOTIFIER_H
#define MP_PATTERN_NOTIFIER_H

#include <pthread.h>
#include "base/buf.h"
#include "base/list.h"
#include "engine/loop.h"
#include "engine/pool.h"
#include "notify/notify.h"
#include "observe/stats.h"
#include "store/store.h"

struct pond;
struct pond_collection;

typedef struct mp_notifier {
    pthread_mutex_t lock; /* of what follows but the address, which never changes */
    struct pond *pond;
    mp_broker *broker; /* NULL: a stream, or nothing */
    char *stream;      /* NULL: a broker, or nothing */
    int64_t most;      /* entries of the stream */
    mp_node queue;     /* what waits in memory */
    size_t queued, bytes;
    bool running, pausing; /* a job is under way; none starts before the timer ends, for the last one failed */
    bool watched, due;     /* some collection has an outbox; there may be something in it */
    pthread_cond_t idle;
    unsigned working;  /* jobs that are queued or have not returned: one may set its timer while the next begins */
    bool over;         /* the pond is being freed: none starts any more */
    bool holds;        /* the outbox is claimed, and delivery has failed */
    uint8_t owner[16]; /* who claims the outbox */
    int64_t pause_ms;
    char problem[200];
    mp_job job;
    mp_timer timer; /* on the lane of blocking calls, whose lock guards `timed`: it is set */
    bool timed;
} mp_notifier;

/* By the option events. `stream_allowed`: the cache is a Redis. */
int mp_notifier_open(mp_notifier *n, struct pond *p, bool stream_allowed, pond_error **err);
static inline bool mp_notifier_is_open(const mp_notifier *n) { return n->broker || n->stream; }
/* In the child of a fork: what waits is the parent's to send. */
void mp_notifier_restart(mp_notifier *n);
/* The pond is closed, and its time is over: what waits is lost. */
void mp_notifier_stop(mp_notifier *n);
/* The pond is being freed: returns when nobody works for it any more, and nobody will. */
void mp_notifier_finish(mp_notifier *n);
/* After that: what waits is lost, what is in an outbox stays there. */
void mp_notifier_close(mp_notifier *n);

/* One event of a collection: owns its texts. */
typedef struct mp_event {
    mp_node node;
    mp_ns_stats *stats;
    mp_event_text text;
    char id[33];
} mp_event;

/* NULL without memory. `document`: NULL of one that was deleted. */
mp_event *mp_event_new(const struct pond_collection *c, mp_change_kind kind, const char *id, size_t id_len,
                       const pond_value *document);
void mp_event_free(mp_event *event);

/* The change was committed. Takes the event over. @threads any, no lock held */
void mp_notifier_post(mp_notifier *n, mp_event *event);
/* There may be something in the outbox. @threads any, no lock held */
void mp_notifier_look(mp_notifier *n);
/* Some collection has an outbox: from now on it is looked at now and then, for what a process that died has left there. */
void mp_notifier_watch(mp_notifier *n);

/* ,"events":{...} */
void mp_notifier_describe(mp_notifier *n, mp_buf *json);
int64_t mp_notifier_waiting(mp_notifier *n);

#endif
