#include "jobs.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/blocking.h"
#include "engine/pool.h"
#include "fiber.h"
#include "process.h"
#include "world.h"

struct job {
    struct job *next; /* of its process */
    mp_pool *pool;
    mp_job *what; /* NULL: it is over */
    fiber *fiber; /* NULL: it has not begun */
    mp_waiter *waits;
    bool woken, withdrawn;
};

struct mp_pool {
    process *process;
    bool stop;
};

static job *here;

job *job_here(void) { return here; }

static void must(bool well, const char *what) {
    if (well) return;
    fprintf(stderr, "sim: %s\n", what);
    abort();
}

static void forget(job *j) {
    job **at = &j->pool->process->jobs;
    while (*at != j) at = &(*at)->next;
    *at = j->next;
    if (j->fiber) fiber_free(j->fiber);
    free(j);
}

static void run(void *arg) {
    job *j = arg;
    j->what->run(j->what, false);
}

static void resume(job *j) {
    j->woken = false;
    here = j;
    if (!j->fiber) j->fiber = fiber_new(run, j);
    bool over = fiber_resume(j->fiber);
    here = NULL;
    if (over) forget(j);
}

static void resume_later(void *owner, uint64_t arg) {
    job *j = owner;
    if (j->withdrawn) forget(j);
    else resume(j);
}

/* One wake-up is under way at most, so that none can find a job that is gone. */
void job_wake(job *j, int64_t ms) {
    if (j->woken || j->pool->process->world->ended) return;
    j->woken = true;
    process_after(j->pool->process, ms, resume_later, j, 0);
}

bool job_park(void) {
    must(here != NULL, "something blocks that is no job");
    const world *w = here->pool->process->world;
    fiber_yield();
    return w->ended;
}

void jobs_end_all(process *p) {
    for (unsigned rounds = 0; rounds < 10000; rounds++) {
        job *j = p->jobs;
        while (j && !j->fiber) j = j->next;
        if (!j) return;
        for (job *next; j; j = next) {
            next = j->next;
            if (j->fiber) resume(j);
        }
    }
    must(false, "a job does not end");
}

/* ---- engine/pool.h ---- */

mp_pool *mp_pool_new(size_t threads) {
    mp_pool *pool = calloc(1, sizeof *pool);
    must(pool && process_here(), "a pool that is nobody's");
    pool->process = process_here();
    return pool;
}

bool mp_pool_submit(mp_pool *pool, mp_job *what) {
    process *p = pool->process;
    if (pool->stop || p->world->ended) return false;
    job *j = calloc(1, sizeof *j);
    if (!j) abort();
    *j = (job){.pool = pool, .what = what, .next = p->jobs};
    p->jobs = j;
    job_wake(j, dice_below(&p->world->dice, 3));
    return true;
}

bool mp_pool_waits(mp_pool *pool) {
    for (const job *j = pool->process->jobs; j; j = j->next)
        if (!j->fiber && !j->withdrawn) return true;
    return false;
}

/* Its wake-up is under way, and finds it withdrawn; but not when the world is over. */
bool mp_pool_withdraw(mp_pool *pool, mp_job *what) {
    job *j = pool->process->jobs;
    while (j && (j->what != what || j->fiber || j->withdrawn)) j = j->next;
    if (!j) return false;
    j->withdrawn = true;
    return true;
}

void mp_pool_free(mp_pool *pool) {
    if (!pool) return;
    pool->stop = true;
    for (job *j; (j = pool->process->jobs);) {
        must(!j->fiber, "a pool is freed whose jobs are under way");
        mp_job *what = j->withdrawn ? NULL : j->what;
        forget(j);
        if (what) what->run(what, true);
    }
    free(pool);
}

/* ---- engine/blocking.h: the process's turn drives the loop, so whoever waits is parked ---- */

struct mp_blocking {
    mp_loop *loop;
};

mp_blocking *mp_blocking_new(void) {
    mp_blocking *b = calloc(1, sizeof *b);
    if (!b || !(b->loop = mp_loop_new())) abort();
    return b;
}

void mp_blocking_free(mp_blocking *b) {
    if (!b) return;
    mp_loop_free(b->loop);
    free(b);
}

mp_loop *mp_blocking_loop(mp_blocking *b) { return b->loop; }

void mp_waiter_init(mp_waiter *w) { w->ready = false; }
void mp_waiter_destroy(mp_waiter *w) { (void)w; }

void mp_waiter_wake(mp_waiter *w) {
    w->ready = true;
    process *p = process_here();
    for (job *j = p ? p->jobs : NULL; j; j = j->next)
        if (j->waits == w) job_wake(j, 0);
}

mp_waited mp_blocking_wait(mp_blocking *b, mp_waiter *w, int (*check)(void *), void *ctx) {
    mp_loop_flush(b->loop);
    while (!w->ready) {
        here->waits = w;
        process_touch(here->pool->process);
        mp_loop_unlock(b->loop);
        job_park();
        mp_loop_lock(b->loop);
        here->waits = NULL;
    }
    return MP_WAIT_OVER;
}

/* It has a timer then, which the process has to know of. */
void mp_blocking_submitted(mp_blocking *b, bool waits) {
    if (waits) return;
    mp_loop_flush(b->loop);
    if (here) process_touch(here->pool->process);
}

/* ---- locks ---- */

int __real_pthread_mutex_lock(pthread_mutex_t *lock);
int __wrap_pthread_mutex_lock(pthread_mutex_t *lock);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock);
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until);

/* A ms later, again. */
static void look_again(void) {
    must(here != NULL, "a lock is waited for that a parked job has");
    job_wake(here, 1);
    job_park();
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *lock) {
    if (!fiber_is_here()) {
        int rc = pthread_mutex_trylock(lock);
        must(rc != EBUSY, "a lock is waited for that a parked job has");
        return rc;
    }
    int rc;
    while ((rc = pthread_mutex_trylock(lock)) == EBUSY) look_again();
    return rc;
}

/* Conditions are looked at every ms. */
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock) {
    pthread_mutex_unlock(lock);
    look_again();
    return __wrap_pthread_mutex_lock(lock);
}

/* No time passes any more where the world has ended. */
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until) {
    int rc = __wrap_pthread_cond_wait(cond, lock);
    bool late = here->pool->process->world->ended || mp_clock_ms() >= until->tv_sec * 1000 + until->tv_nsec / 1000000;
    return rc == 0 && late ? ETIMEDOUT : rc;
}
