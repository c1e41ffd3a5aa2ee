#include "engine/blocking.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/fork.h"
#include "engine/loop_private.h"

struct mp_blocking {
    mp_loop *loop;
    bool led;
    mp_node followers;
    mp_node woken; /* signals that are sent right before the lock is given up, so that who wakes does not run into it */

    unsigned crowd; /* followers that were answered since the leader last slept */

    pthread_t thread;
    pthread_cond_t thread_cond;
    bool thread_runs, thread_sleeps, stop;
    mp_task wake;
    int64_t thread_until; /* when the sleeping thread wakes by itself */
};

static void cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

static void cond_wait_until(mp_blocking *b, pthread_cond_t *cond, int64_t at) {
    if (at == INT64_MAX) {
        pthread_cond_wait(cond, mp_loop_mutex(b->loop));
        return;
    }
    struct timespec ts = {.tv_sec = at / 1000, .tv_nsec = at % 1000 * 1000000};
    pthread_cond_timedwait(cond, mp_loop_mutex(b->loop), &ts);
}

static void signal_woken(void *blocking) {
    mp_blocking *b = blocking;
    mp_node *n;
    while ((n = mp_list_shift(&b->woken))) pthread_cond_signal(&MP_OF(n, mp_waiter, woken)->cond);
}

static void wake_run(mp_task *task) { (void)task; }

mp_blocking *mp_blocking_new(void) {
    mp_blocking *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    b->loop = mp_loop_new();
    if (!b->loop) {
        free(b);
        return NULL;
    }
    mp_list_init(&b->followers);
    mp_list_init(&b->woken);
    mp_loop_on_sleep(b->loop, signal_woken, b);
    cond_init(&b->thread_cond);
    b->wake.run = wake_run;
    return b;
}

void mp_blocking_free(mp_blocking *b) {
    if (!b) return;
    mp_loop_lock(b->loop);
    b->stop = true;
    pthread_cond_signal(&b->thread_cond);
    mp_loop_unlock(b->loop);
    mp_loop_post(b->loop, &b->wake); /* it may sleep as the leader */
    if (b->thread_runs) pthread_join(b->thread, NULL);
    pthread_cond_destroy(&b->thread_cond);
    mp_loop_free(b->loop);
    free(b);
}

mp_loop *mp_blocking_loop(mp_blocking *b) { return b->loop; }

void mp_waiter_init(mp_waiter *w) {
    mp_list_init(&w->node);
    mp_list_init(&w->woken);
    cond_init(&w->cond);
    w->ready = false;
    w->asleep = w->leads = NULL;
}

void mp_waiter_destroy(mp_waiter *w) { pthread_cond_destroy(&w->cond); }

void mp_waiter_wake(mp_waiter *w) {
    w->ready = true;
    if (w->asleep) w->asleep->crowd++;
    if (w->asleep && w->asleep->led && !mp_loop_asleep(w->asleep->loop)) {
        mp_list_remove(&w->woken);
        mp_list_push(&w->asleep->woken, &w->woken); /* the leader is awake and sends it */
    } else if (w->asleep) {
        pthread_cond_signal(&w->cond);
    } else if (w->leads && mp_loop_asleep(w->leads->loop)) {
        mp_loop_post(w->leads->loop, &w->leads->wake);
    }
}

/* Somebody else's turn: a follower's, or, for what nobody waits for, the background thread's. */
static void hand_over(mp_blocking *b);

static void *background(void *arg) {
    mp_blocking *b = arg;
    mp_loop_lock(b->loop);
    while (!b->stop) {
        int64_t until = INT64_MAX;
        bool idle = b->led || !mp_list_empty(&b->followers) || !mp_loop_has_duties(b->loop);
        if (!idle && !mp_loop_has_inflight(b->loop)) {
            until = mp_loop_next_timer(b->loop);
            idle = until > mp_clock_ms();
        }
        if (idle) {
            b->thread_sleeps = true;
            b->thread_until = until;
            cond_wait_until(b, &b->thread_cond, until);
            b->thread_sleeps = false;
            continue;
        }
        b->led = true;
        mp_loop_turn(b->loop, mp_loop_has_inflight(b->loop) ? MP_SLICE_MS : 0);
        b->led = false;
        hand_over(b);
        signal_woken(b);
    }
    mp_loop_unlock(b->loop);
    return NULL;
}

static void hand_over(mp_blocking *b) {
    if (!mp_list_empty(&b->followers)) {
        pthread_cond_signal(&MP_OF(b->followers.next, mp_waiter, node)->cond);
        return;
    }
    if (!mp_loop_has_duties(b->loop) || b->stop) return;
    if (!b->thread_runs) b->thread_runs = pthread_create(&b->thread, NULL, background, b) == 0;
    else if (b->thread_sleeps && (mp_loop_has_inflight(b->loop) || mp_loop_next_timer(b->loop) < b->thread_until))
        pthread_cond_signal(&b->thread_cond);
}

/* Several callers were answered together, so several are about to ask again: they get a moment to do so, and then all goes
 * out in one write. */
static void gather(mp_blocking *b) {
    signal_woken(b);
    mp_loop_unlock(b->loop);
    sched_yield();
    mp_loop_lock(b->loop);
}

mp_waited mp_blocking_wait(mp_blocking *b, mp_waiter *w, int (*check)(void *), void *ctx) {
    int64_t checked = mp_loop_now(b->loop);
    while (!w->ready) {
        if (!b->led) {
            b->led = true;
            w->leads = b;
            for (;;) {
                if (b->crowd > 1) gather(b);
                b->crowd = 0;
                mp_loop_flush(b->loop); /* it may bring the answer: then there is nothing to sleep for */
                if (w->ready) break;
                mp_loop_turn(b->loop, check ? MP_SLICE_MS : -1);
                if (check && mp_loop_now(b->loop) - checked >= MP_SLICE_MS) break;
            }
            b->led = false;
            w->leads = NULL;
            hand_over(b);
            signal_woken(b);
        } else {
            w->asleep = b;
            mp_list_push(&b->followers, &w->node);
            cond_wait_until(b, &w->cond, check ? mp_clock_ms() + MP_SLICE_MS : INT64_MAX);
            mp_list_remove(&w->node);
            mp_list_remove(&w->woken);
            w->asleep = NULL;
            /* A leader's hand-over may have woken this one just as its answer came: pass it on. */
            if (w->ready && !b->led) hand_over(b);
        }
        if (!w->ready && check) {
            int64_t now = mp_clock_ms();
            if (now - checked >= MP_SLICE_MS) {
                checked = now;
                mp_loop_unlock(b->loop);
                uint32_t generation = mp_generation();
                int stop = check(ctx);
                if (mp_generation() != generation) return MP_WAIT_FORKED;
                mp_loop_lock(b->loop);
                if (stop && !w->ready) {
                    if (!b->led) hand_over(b);
                    return MP_WAIT_STOPPED;
                }
            }
        }
    }
    return MP_WAIT_OVER;
}

void mp_blocking_submitted(mp_blocking *b, bool waits) {
    if (mp_loop_asleep(b->loop)) mp_loop_flush(b->loop);
    else if (!b->led && !waits) {
        mp_loop_flush(b->loop);
        hand_over(b);
    }
}
