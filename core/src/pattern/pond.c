#include "pattern/pond.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "pattern/behind/backlog.h"
#include "pattern/behind/embedded.h"
#include "pattern/load.h"

mp_lane *mp_pond_blocking_lane(pond *p, pond_error **err) {
    mp_lane *lane = atomic_load_explicit(&p->blocking, memory_order_acquire);
    if (lane) return lane;
    mp_lane *fresh = mp_lane_new(p, true, err);
    if (!fresh || atomic_compare_exchange_strong(&p->blocking, &lane, fresh)) return fresh;
    mp_lane_unlist(fresh); /* another thread was first */
    mp_lane_unref(fresh);
    return lane;
}

mp_pool *mp_pond_pool(pond *p) {
    pthread_mutex_lock(&p->lock);
    if (!p->pool) p->pool = mp_pool_new((size_t)p->options.store_threads);
    mp_pool *pool = p->pool;
    pthread_mutex_unlock(&p->lock);
    return pool;
}

/* ---- its start, in this process and in a child ---- */

static void fresh_locks(pond *p) {
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->drained, &attr);
    pthread_condattr_destroy(&attr);
}

pond *mp_pond_new(void) {
    pond *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->refs = 1;
    p->generation = mp_generation();
    fresh_locks(p);
    mp_list_init(&p->lanes);
    mp_publisher_init(&p->publisher);
    return p;
}

static pthread_mutex_t adopting = PTHREAD_MUTEX_INITIALIZER;
static void adopt_anew(void) { pthread_mutex_init(&adopting, NULL); }
__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, adopt_anew); }

/* What was counted is the parent's, what was under way goes on there. */
static void begin_again(pond *p, mp_cache *cache, mp_flights *flights) {
    mp_leave_aside(p->cache);
    mp_leave_aside(p->flights);
    mp_leave_aside(p->pool);
    if (!mp_list_empty(&p->lanes)) mp_leave_aside(MP_OF(p->lanes.next, mp_lane, node)); /* and by it the others */
    p->cache = cache;
    mp_leave_aside(atomic_exchange(&p->journal, NULL));
    p->flights = flights;
    p->pool = NULL;
    atomic_store(&p->blocking, NULL);
    atomic_store(&p->calls, 0);
    atomic_store(&p->overdue, 0);
    atomic_fetch_sub(&p->refs, atomic_exchange(&p->left, 0));
    mp_list_init(&p->lanes);
    fresh_locks(p);
    mp_publisher_init(&p->publisher);
    mp_notifier_restart(&p->notifier);
    mp_backlogs_restart(p);
    mp_stats_restart(p->stats);
    for (mp_space *space = p->spaces; space; space = space->next) mp_negative_init(&space->negative);
}

int mp_pond_adopt(pond *p, pond_error **err) {
    int code = POND_OK;
    pthread_mutex_lock(&adopting);
    if (mp_pond_inherited(p)) {
        mp_cache *cache = NULL;
        mp_flights *flights = mp_flights_new();
        if (p->shared) code = p->store->vt->share(p->store, &p->shared, err);
        if (code == POND_OK)
            code = flights ? p->cache->vt->reopen(&cache, p->cache, &p->options, err)
                           : mp_fail(err, POND_ENOMEM, "no memory to use an inherited pond");
        if (code == POND_OK) {
            begin_again(p, cache, flights);
            atomic_store_explicit(&p->generation, mp_generation(), memory_order_release);
        } else {
            mp_flights_free(flights);
        }
    }
    pthread_mutex_unlock(&adopting);
    if (code == POND_OK && p->notifier.watched) mp_notifier_look(&p->notifier);
    if (code == POND_OK) mp_backlogs_start(p);
    return code;
}

void mp_pond_call_ended(pond *p) {
    if (atomic_fetch_sub(&p->calls, 1) == 1 || atomic_load(&p->closed)) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->drained);
        pthread_mutex_unlock(&p->lock);
    }
}

void mp_pond_rehome_overdue(mp_lane *lane) {
    pond *p = lane->pond;
    if (lane->blocking || !atomic_load(&p->overdue)) return;
    mp_node list;
    mp_list_init(&list);
    mp_lane_lock(lane);
    mp_overdue_take(lane, &list);
    mp_lane_unlock(lane);
    if (mp_list_empty(&list)) return;
    mp_lane *to = atomic_load(&p->ending) ? NULL : mp_pond_blocking_lane(p, NULL);
    if (to) {
        mp_lane_lock(to);
        mp_loop_touch(to->loop);
        if (!to->closed) mp_overdue_give(to, &list);
        mp_lane_kick(to, false);
        mp_lane_unlock(to);
    }
    mp_overdue_drop(p, &list);
}

/* ---- its end ---- */

enum { ROUND_MS = 50 }; /* for a round of a worker that is under way: it is seldom longer, unless the store hangs */

/* While the cache can be told. False: a job is under way, and the last of them destroys the pond. */
static bool end_workers(pond *p) {
    pond_ref(p); /* or a job that ends at once would do that already */
    mp_backlogs_halt(p);
    mp_backlogs_wait(p, mp_clock_after(ROUND_MS));
    mp_backlogs_leave(p);
    return atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1;
}

static void destroy(pond *p) {
    if (mp_pond_inherited(p)) { /* a child never used it */
        mp_leave_aside(p);
        return;
    }
    if (!end_workers(p)) return;
    atomic_store(&p->closed, true);
    atomic_store(&p->ending, true);
    mp_lane *blocking = atomic_load(&p->blocking);
    if (blocking) mp_lane_close(blocking, false); /* the notifier's worker may wait there: it is told */
    mp_notifier_finish(&p->notifier);
    blocking = atomic_load(&p->blocking); /* its last pause may have made it */
    if (blocking) {
        mp_lane_close(blocking, true);
        mp_lane_unlist(blocking);
        mp_lane_unref(blocking);
    }
    mp_pool_free(p->pool);
    mp_notifier_close(&p->notifier);
    mp_backlogs_free(p);
    mp_embedded_close(p);
    if (p->store) p->store->vt->close(p->store);
    if (p->cache) p->cache->vt->close(p->cache);
    pond_policy_free(p->defaults);
    for (mp_space *space = p->spaces, *next; space; space = next) {
        next = space->next;
        pthread_mutex_destroy(&space->negative.lock);
        free(space);
    }
    mp_flights_free(p->flights);
    mp_stats_free(p->stats);
    mp_options_free(&p->options);
    pthread_cond_destroy(&p->drained);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

pond *pond_ref(pond *p) {
    if (p) atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void pond_free(pond *p) {
    if (!p) return;
    uint32_t left = mp_pond_inherited(p) ? atomic_load(&p->left) : 0;
    if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1 + left) destroy(p);
}

/* Closes every lane; a lane may come or go meanwhile, so the list is walked anew each time. */
static size_t close_lanes(pond *p) {
    size_t ended = 0;
    for (;;) {
        mp_lane *open = NULL;
        pthread_mutex_lock(&p->lock);
        for (mp_node *n = p->lanes.next; n != &p->lanes && !open; n = n->next) {
            mp_lane *lane = MP_OF(n, mp_lane, node);
            if (!lane->closing) {
                lane->closing = true;
                mp_lane_ref(lane);
                open = lane;
            }
        }
        pthread_mutex_unlock(&p->lock);
        if (!open) return ended;
        ended += mp_lane_close(open, false);
        mp_lane_unref(open);
    }
}

/* Until no more than `own` calls are under way, or for so long. */
static void drain(pond *p, size_t own, int64_t until) {
    struct timespec ts = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
    pthread_mutex_lock(&p->lock);
    while (atomic_load(&p->calls) > own && mp_clock_ms() < until) pthread_cond_timedwait(&p->drained, &p->lock, &ts);
    pthread_mutex_unlock(&p->lock);
}

/* A host whose thread waits here drives nothing: what is overdue on its lanes is sent by others. */
static void rehome_all(pond *p) {
    mp_lane *lanes[64];
    size_t n = 0;
    if (!atomic_load(&p->overdue)) return;
    pthread_mutex_lock(&p->lock);
    for (mp_node *at = p->lanes.next; at != &p->lanes && n < sizeof lanes / sizeof lanes[0]; at = at->next) {
        lanes[n] = MP_OF(at, mp_lane, node);
        mp_lane_ref(lanes[n++]);
    }
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < n; i++) {
        mp_pond_rehome_overdue(lanes[i]);
        mp_lane_unref(lanes[i]);
    }
}

/* Their jobs, that none comes after: within the time, and a round that is under way has a moment at least. False: interrupted. */
static bool wait_for_workers(pond *p, int64_t until) {
    int64_t round = mp_clock_after(ROUND_MS), slice;
    if (until < round) until = round;
    mp_backlogs_halt(p);
    do {
        slice = mp_clock_after(p->interrupt ? MP_SLICE_MS : until - mp_clock_ms());
        if (mp_backlogs_wait(p, slice < until ? slice : until) || mp_clock_ms() >= until) return true;
    } while (!p->interrupt || !p->interrupt(p->interrupt_ctx) || mp_pond_inherited(p));
    return mp_pond_inherited(p);
}

void pond_close_start(pond *p) {
    if (!p || mp_pond_inherited(p)) return;
    atomic_store(&p->closed, true);
    mp_backlogs_halt(p);
}

int pond_close(pond *p, int64_t timeout_ms) {
    if (!p) return POND_OK;
    atomic_store(&p->closed, true);
    if (!mp_pond_inherited(p)) rehome_all(p);
    size_t own = mp_frames_here(p); /* calls of this thread that wait for the loader or writer which closes */
    int64_t until = mp_clock_after(timeout_ms);
    for (int64_t now; !mp_pond_inherited(p);) {
        int64_t slice = mp_clock_after(p->interrupt ? MP_SLICE_MS : timeout_ms);
        drain(p, own, slice < until ? slice : until);
        now = mp_clock_ms();
        if (atomic_load(&p->calls) <= own || now >= until) break;
        if (p->interrupt && p->interrupt(p->interrupt_ctx)) return POND_EINTERRUPTED;
    }
    if (!mp_pond_inherited(p) && !wait_for_workers(p, until)) return POND_EINTERRUPTED;
    bool left = atomic_load(&p->calls) > own; /* also what a worker has yet to take to the store */
    if (!mp_pond_inherited(p)) left |= mp_backlogs_leave(p) > 0;
    atomic_store(&p->ending, true);
    if (mp_pond_inherited(p)) return POND_OK; /* what is under way is the parent's */
    mp_notifier_stop(&p->notifier);
    left |= close_lanes(p) > own;
    mp_embedded_close(p);
    return left ? POND_ETIMEOUT : POND_OK;
}
