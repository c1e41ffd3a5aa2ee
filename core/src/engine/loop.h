/* A loop: descriptors, timers and tasks behind one pollable descriptor, driven by whoever waits.
 *
 * Everything that hangs on a loop is touched only with its lock held; the driver drops the lock while it sleeps. Two
 * kinds of driver use it: a host's thread by way of a completion queue, and blocking callers, one of whom leads
 * (engine/wait.h). mp_loop_post is the one door for other threads that must not take the lock. */
#ifndef MP_ENGINE_LOOP_H
#define MP_ENGINE_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mp_loop mp_loop;

typedef struct mp_task {
    struct mp_task *next;
    void (*run)(struct mp_task *self); /* on the driver, lock held; self may be freed in it */
    bool queued;
} mp_task;

typedef struct mp_timer {
    int64_t at;
    size_t place; /* in the heap, 1-based; 0 = not set */
    void (*fire)(struct mp_timer *self);
} mp_timer;

typedef struct mp_watch {
    int fd;
    uint32_t events; /* what is asked of the kernel now */
    void (*ready)(struct mp_watch *self, bool readable, bool writable);
} mp_watch;

mp_loop *mp_loop_new(void); /* NULL: no memory or no descriptors (errno) */
void mp_loop_free(mp_loop *loop);

void mp_loop_lock(mp_loop *loop);
void mp_loop_unlock(mp_loop *loop);

/* The time at the start of this turn; mp_loop_touch reads the clock anew (after user code, before deadlines are made). */
int64_t mp_loop_now(const mp_loop *loop);
int64_t mp_loop_touch(mp_loop *loop);

/* Runs once, at the end of the turn or at the next flush. */
void mp_loop_defer(mp_loop *loop, mp_task *task);
/* Runs what was deferred. */
void mp_loop_flush(mp_loop *loop);
/* Any thread, lock not needed: the task runs in the driver's next turn, which is woken. */
void mp_loop_post(mp_loop *loop, mp_task *task);
/* Takes back a task that was posted or deferred and has not run. Rare: walks the list. */
void mp_loop_unpost(mp_loop *loop, mp_task *task);

bool mp_loop_timer_set(mp_loop *loop, mp_timer *timer, int64_t at); /* false: no memory, not set */
void mp_loop_timer_stop(mp_loop *loop, mp_timer *timer);

bool mp_loop_watch(mp_loop *loop, mp_watch *watch, bool read, bool write); /* again to change; none of both removes */

int mp_loop_fd(const mp_loop *loop);
/* One turn with the lock held: flush, sleep up to timeout_ms (lock dropped), descriptors, posted tasks, timers, flush. */
void mp_loop_turn(mp_loop *loop, int64_t timeout_ms);
/* Counts that decide whether somebody must drive when no caller does: answers under way, and duties that need the timers
 * (a lease to renew). */
void mp_loop_inflight(mp_loop *loop, int change);
void mp_loop_duty(mp_loop *loop, int change);
bool mp_loop_has_inflight(const mp_loop *loop);
bool mp_loop_has_duties(const mp_loop *loop);

/* Called with the lock held right before a turn gives it up to sleep. */
void mp_loop_on_sleep(mp_loop *loop, void (*call)(void *ctx), void *ctx);
/* Asleep in mp_loop_turn right now? Then nobody else will flush. */
bool mp_loop_asleep(const mp_loop *loop);

#endif
