/* When the rounds of the worker run: as a job on the pool, and between two of them a timer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "pattern/behind/backlog.h"
#include "pattern/behind/embedded.h"
#include "pattern/pond.h"
#include "pattern/behind/refused.h"
#include "pattern/behind/unsure.h"

enum {
    LINGER_MS = 50, /* what is written again meanwhile costs the store one write */
    IDLE_MS = 400,  /* other processes accept, too: how long theirs may wait at most */
    FIRST_PAUSE_MS = 1000,
    LAST_PAUSE_MS = 30000
};

static const char forgetful[] =
    "this Redis keeps no append-only file: what is accepted is lost if it dies: set appendonly yes";

/* ---- when ---- */

/* Lock held. */
static void start(mp_backlog *b) {
    if (b->over || b->running || b->pausing) return;
    mp_pool *pool = mp_pond_pool(b->pond);
    b->running = pool && mp_pool_submit(pool, &b->job);
    if (b->running) b->working++;
}

static void pause_over(mp_timer *timer) {
    mp_backlog *b = MP_OF(timer, mp_backlog, timer);
    mp_loop_duty(atomic_load(&b->pond->blocking)->loop, -1);
    b->timed = false;
    pthread_mutex_lock(&b->lock);
    b->pausing = false;
    start(b);
    pthread_mutex_unlock(&b->lock);
}

/* No lock held; nothing starts before. False: there can be no timer. */
static bool wake_in(mp_backlog *b, int64_t ms) {
    mp_lane *lane = mp_pond_blocking_lane(b->pond, NULL);
    bool set = false;
    if (lane) {
        mp_lane_lock(lane);
        mp_loop_touch(lane->loop);
        set = !lane->closed && mp_loop_timer_set(lane->loop, &b->timer, mp_loop_now(lane->loop) + ms);
        if (set && !b->timed) {
            mp_loop_duty(lane->loop, 1);
            b->timed = true;
        }
        mp_lane_kick(lane, false);
        mp_lane_unlock(lane);
    }
    return set;
}

/* The same, by the thread of the job: nobody else would wake it. */
static void wait_here(mp_backlog *b, int64_t ms) {
    int64_t until = mp_clock_after(ms);
    struct timespec ts = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
    pthread_mutex_lock(&b->lock);
    for (int rc = 0; !b->over && rc == 0;) rc = pthread_cond_timedwait(&b->idle, &b->lock, &ts);
    b->pausing = false;
    start(b);
    pthread_mutex_unlock(&b->lock);
}

/* ---- the job ---- */

static bool all_in_store(const mp_backlog *b) {
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++)
        if (b->shard[i].owned && b->shard[i].left) return false;
    return true;
}

/* Lock held: until the next round; 0: at once. */
static int64_t pause_after(mp_backlog *b, mp_round how, uint64_t accepted) {
    if (how != MP_ROUND_FAILED) b->pause_ms = 0;
    switch (how) {
    case MP_ROUND_FULL: return 0;
    case MP_ROUND_SOME: b->idle_ms = LINGER_MS; return LINGER_MS;
    case MP_ROUND_EMPTY:
        b->idle_ms = b->accepted != accepted || b->idle_ms * 2 > IDLE_MS ? b->idle_ms : b->idle_ms * 2;
        if (b->accepted != accepted) b->idle_ms = LINGER_MS;
        return b->idle_ms;
    default:
        b->pause_ms = b->pause_ms ? b->pause_ms * 2 : FIRST_PAUSE_MS;
        if (b->pause_ms > LAST_PAUSE_MS) b->pause_ms = LAST_PAUSE_MS;
        return mp_random_pause(b->pause_ms);
    }
}

static int64_t one_round(mp_backlog *b) {
    pond_error *why = NULL;
    pthread_mutex_lock(&b->lock);
    uint64_t accepted = b->accepted;
    pthread_mutex_unlock(&b->lock);
    mp_embedded_tidy(b->pond);
    bool opened = mp_backlog_open(b, &why) == POND_OK;
    if (!opened && pond_error_code(why) == POND_ESTORE) mp_flush_look(b);
    mp_round how = opened ? mp_flush_round(b, &why) : MP_ROUND_FAILED;
    pthread_mutex_lock(&b->lock);
    if (how == MP_ROUND_FAILED)
        snprintf(b->problem, sizeof b->problem, "%s", why ? pond_error_message(why) : "no memory");
    else b->problem[0] = 0;
    b->shown_shards = 0;
    b->shown_left = b->shown_since = 0;
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++) {
        const mp_drained *d = &b->shard[i];
        b->shown_shards += d->owned;
        if (!d->left || (opened && !d->hinted))
            continue; /* while the store is away none is owned, and all the more waits */
        b->shown_left += d->left;
        if (!b->shown_since || d->lag.since < b->shown_since) b->shown_since = d->lag.since;
    }
    int64_t ms = pause_after(b, how, accepted);
    bool paid = b->owes && how == MP_ROUND_EMPTY && b->accepted == accepted && all_in_store(b);
    if (paid) b->owes = false;
    pthread_mutex_unlock(&b->lock);
    if (paid) mp_pond_call_ended(b->pond);
    pond_error_free(why);
    return ms;
}

/* One job less is under way. Nothing of the backlog may be looked at behind that. The last one of a pond that was closed meanwhile does what the
 * close would have done. */
static void ended(mp_backlog *b) {
    pond *p = b->pond;
    pthread_mutex_lock(&b->lock);
    while (b->working == 1 && b->left && !b->given) {
        b->given = true;
        pthread_mutex_unlock(&b->lock);
        mp_flush_leave(b, b->policy->options.command_timeout, true);
        pthread_mutex_lock(&b->lock);
    }
    bool last = --b->working == 0, left = last && b->left;
    if (last) pthread_cond_broadcast(&b->idle);
    if (left) b->left = false;
    pthread_mutex_unlock(&b->lock);
    if (!left) return;
    atomic_fetch_sub(&p->left, 1);
    pond_free(p);
}

static void work(mp_job *job, bool refused) {
    mp_backlog *b = MP_OF(job, mp_backlog, job);
    int64_t ms = refused ? 0 : one_round(b);
    pthread_mutex_lock(&b->lock);
    b->running = false;
    b->pausing = !b->over && ms > 0;
    bool pause = b->pausing;
    if (!refused && !pause) start(b); /* behind those who have come meanwhile: the threads are not the worker's alone */
    pthread_mutex_unlock(&b->lock);
    if (pause && !wake_in(b, ms)) wait_here(b, ms);
    ended(b);
}

/* ---- from outside ---- */

void mp_drain_init(mp_backlog *b) {
    b->job = (mp_job){.run = work};
    b->timer = (mp_timer){.fire = pause_over};
    b->timed = b->running = b->pausing = b->left = b->given = b->asked = false;
    b->working = 0;
    b->accepted = 0;
    b->owes = false;
    b->dropped = (mp_dropped){0}; /* a child's; its parent may have been in the midst of them */
    b->pause_ms = b->hinted_at = 0;
    b->idle_ms = LINGER_MS;
    b->batch = b->batch_most = MP_BATCH_MOST;
    b->unsure = NULL;
    mp_random_bytes(b->owner, sizeof b->owner);
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++) {
        b->shard[i] = (mp_drained){0};
        snprintf(b->shard[i].name, sizeof b->shard[i].name, "%s/s%zu", b->policy->options.namespace, i);
    }
}

void mp_drain_clear(mp_backlog *b) {
    mp_refused_clear(b);
    mp_unsure_clear(b);
    mp_dropped_clear(&b->dropped);
}

void mp_drain_accepted(mp_backlog *b) {
    pthread_mutex_lock(&b->lock);
    b->accepted++;
    if (!b->owes && !b->over && b->pond->options.worker) {
        b->owes = true;
        atomic_fetch_add(&b->pond->calls, 1);
    }
    pthread_mutex_unlock(&b->lock);
}

void mp_drain_start(mp_backlog *b) {
    pthread_mutex_lock(&b->lock);
    start(b);
    pthread_mutex_unlock(&b->lock);
}

bool mp_drain_over(mp_backlog *b) {
    pthread_mutex_lock(&b->lock);
    bool over = b->over;
    pthread_mutex_unlock(&b->lock);
    return over;
}

void mp_drain_halt(mp_backlog *b) {
    pthread_mutex_lock(&b->lock);
    b->over = true;
    if (b->working && mp_pool_withdraw(mp_pond_pool(b->pond), &b->job)) {
        b->working--;
        b->running = false;
    }
    pthread_cond_broadcast(&b->idle); /* to who waits for his time */
    pthread_mutex_unlock(&b->lock);
}

size_t mp_drain_ending(mp_backlog *b) {
    pthread_mutex_lock(&b->lock);
    size_t n = b->over ? b->working : 0;
    pthread_mutex_unlock(&b->lock);
    return n;
}

bool mp_drain_wait(mp_backlog *b, int64_t until) {
    struct timespec ts = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
    pthread_mutex_lock(&b->lock);
    for (int rc = 0; b->working && rc == 0;) rc = pthread_cond_timedwait(&b->idle, &b->lock, &ts);
    bool none = !b->working;
    pthread_mutex_unlock(&b->lock);
    return none;
}

bool mp_drain_leave(mp_backlog *b, int64_t timeout_ms) {
    pthread_mutex_lock(&b->lock);
    bool works = b->working > 0, gives = !works && !b->given;
    b->given |= gives;
    if (works && !b->left) {
        b->left = true;
        atomic_fetch_add(&b->pond->left, 1);
        pond_ref(b->pond);
    }
    bool owes = b->owes;
    b->owes = false;
    pthread_mutex_unlock(&b->lock);
    if (owes) mp_pond_call_ended(b->pond); /* others take it there */
    if (gives) mp_flush_leave(b, timeout_ms, false);
    return !works;
}

/* Lock held. */
static int64_t lag(const mp_backlog *b) { return b->shown_since ? mp_clock_ms() - b->shown_since : 0; }

void mp_drain_measure(mp_backlog *b, int64_t values[MP_BEHIND_GAUGES]) {
    pthread_mutex_lock(&b->lock);
    values[MP_BEHIND_GAUGE_shards] = (int64_t)b->shown_shards;
    values[MP_BEHIND_GAUGE_backlog] = b->shown_left;
    values[MP_BEHIND_GAUGE_lag_seconds] = lag(b);
    pthread_mutex_unlock(&b->lock);
}

void mp_drain_describe(mp_backlog *b, mp_buf *json) {
    pthread_mutex_lock(&b->lock);
    mp_buf_printf(json, ":{\"shards\":%zu,\"backlog\":%lld,\"lag_ms\":%lld,\"problem\":", b->shown_shards,
                  (long long)b->shown_left, (long long)lag(b));
    if (b->problem[0]) mp_buf_json(json, b->problem, strlen(b->problem));
    else if (b->forgetful) mp_buf_printf(json, "\"%s\"", forgetful);
    else mp_buf_text(json, "null");
    mp_buf_printf(json, ",\"dropped_increments\":%llu,\"last_dropped\":",
                  (unsigned long long)mp_stats_count(b->policy->space->stats, MP_COUNT_dropped_increments));
    mp_dropped_describe(&b->dropped, json);
    mp_buf_text(json, "}");
    pthread_mutex_unlock(&b->lock);
}
