#include "engine/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/loop_private.h"

#define BATCH 32

typedef struct tasks {
    mp_task *first, **last;
} tasks;

struct mp_loop {
    pthread_mutex_t lock;
    int epoll, wake, clock; /* descriptors: epoll, eventfd, timerfd */
    int64_t now;
    bool asleep;
    void (*on_sleep)(void *ctx);
    void *on_sleep_ctx;
    size_t inflight, duties;

    mp_timer **heap; /* 1-based binary heap by `at` */
    size_t timers, room;
    int64_t armed; /* when the timerfd fires; 0 = it does not */

    tasks deferred;
    pthread_mutex_t inbox_lock; /* a leaf: nothing is locked under it */
    tasks inbox;

    struct epoll_event events[BATCH]; /* of the turn; a watch that goes away is struck out of the rest */
    int event, event_count;
    bool struck; /* a watch went away while the driver slept: what it brings may name that watch */
};

static void tasks_init(tasks *t) {
    t->first = NULL;
    t->last = &t->first;
}

static void tasks_push(tasks *t, mp_task *task) {
    task->next = NULL;
    task->queued = true;
    *t->last = task;
    t->last = &task->next;
}

static mp_task *tasks_shift(tasks *t) {
    mp_task *task = t->first;
    if (!task) return NULL;
    t->first = task->next;
    if (!t->first) t->last = &t->first;
    task->queued = false;
    return task;
}

static void tasks_remove(tasks *t, mp_task *task) {
    for (mp_task **at = &t->first; *at; at = &(*at)->next)
        if (*at == task) {
            *at = task->next;
            if (!*at) t->last = at;
            task->queued = false;
            return;
        }
}

static bool watch_own(mp_loop *loop, int fd, void *mark) {
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = mark};
    return epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &ev) == 0;
}

mp_loop *mp_loop_new(void) {
    mp_loop *loop = calloc(1, sizeof *loop);
    if (!loop) return NULL;
    tasks_init(&loop->deferred);
    tasks_init(&loop->inbox);
    pthread_mutex_init(&loop->lock, NULL);
    pthread_mutex_init(&loop->inbox_lock, NULL);
    loop->wake = loop->clock = -1;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll >= 0) loop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake >= 0) loop->clock = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (loop->clock < 0 || !watch_own(loop, loop->wake, &loop->wake) || !watch_own(loop, loop->clock, &loop->clock)) {
        int e = errno;
        mp_loop_free(loop);
        errno = e;
        return NULL;
    }
    loop->now = mp_clock_ms();
    return loop;
}

void mp_loop_free(mp_loop *loop) {
    if (!loop) return;
    if (loop->clock >= 0) close(loop->clock);
    if (loop->wake >= 0) close(loop->wake);
    if (loop->epoll >= 0) close(loop->epoll);
    pthread_mutex_destroy(&loop->lock);
    pthread_mutex_destroy(&loop->inbox_lock);
    free(loop->heap);
    free(loop);
}

void mp_loop_lock(mp_loop *loop) { pthread_mutex_lock(&loop->lock); }
void mp_loop_unlock(mp_loop *loop) { pthread_mutex_unlock(&loop->lock); }
pthread_mutex_t *mp_loop_mutex(mp_loop *loop) { return &loop->lock; }
int64_t mp_loop_now(const mp_loop *loop) { return loop->now; }
int64_t mp_loop_touch(mp_loop *loop) { return loop->now = mp_clock_ms(); }
int mp_loop_fd(const mp_loop *loop) { return loop->epoll; }
bool mp_loop_asleep(const mp_loop *loop) { return loop->asleep; }

void mp_loop_on_sleep(mp_loop *loop, void (*call)(void *ctx), void *ctx) {
    loop->on_sleep = call;
    loop->on_sleep_ctx = ctx;
}

void mp_loop_inflight(mp_loop *loop, int change) { loop->inflight += (size_t)(ptrdiff_t)change; }
void mp_loop_duty(mp_loop *loop, int change) { loop->duties += (size_t)(ptrdiff_t)change; }
bool mp_loop_has_inflight(const mp_loop *loop) { return loop->inflight > 0; }
bool mp_loop_has_duties(const mp_loop *loop) { return loop->inflight > 0 || loop->duties > 0; }
int64_t mp_loop_next_timer(const mp_loop *loop) { return loop->timers ? loop->heap[1]->at : INT64_MAX; }

void mp_loop_defer(mp_loop *loop, mp_task *task) {
    if (!task->queued) tasks_push(&loop->deferred, task);
}

void mp_loop_flush(mp_loop *loop) {
    mp_task *task;
    while ((task = tasks_shift(&loop->deferred))) task->run(task);
}

void mp_loop_post(mp_loop *loop, mp_task *task) {
    pthread_mutex_lock(&loop->inbox_lock);
    bool first = loop->inbox.first == NULL;
    if (!task->queued) tasks_push(&loop->inbox, task);
    if (first) {
        uint64_t one = 1;
        ssize_t n = write(loop->wake, &one, sizeof one); /* can only fail when the counter is full: awake anyway */
        (void)n;
    }
    pthread_mutex_unlock(&loop->inbox_lock);
}

void mp_loop_unpost(mp_loop *loop, mp_task *task) {
    tasks_remove(&loop->deferred, task);
    pthread_mutex_lock(&loop->inbox_lock);
    tasks_remove(&loop->inbox, task);
    pthread_mutex_unlock(&loop->inbox_lock);
}

static void run_inbox(mp_loop *loop) {
    uint64_t count;
    ssize_t n = read(loop->wake, &count, sizeof count);
    (void)n;
    for (;;) {
        pthread_mutex_lock(&loop->inbox_lock);
        mp_task *task = tasks_shift(&loop->inbox);
        pthread_mutex_unlock(&loop->inbox_lock);
        if (!task) return;
        task->run(task);
    }
}

/* ---- timers ---- */

static void place(mp_loop *loop, mp_timer *t, size_t i) {
    loop->heap[i] = t;
    t->place = i;
}

static void sift_up(mp_loop *loop, mp_timer *t, size_t i) {
    for (; i > 1 && loop->heap[i / 2]->at > t->at; i /= 2) place(loop, loop->heap[i / 2], i);
    place(loop, t, i);
}

static void sift_down(mp_loop *loop, mp_timer *t, size_t i) {
    for (;;) {
        size_t child = 2 * i;
        if (child > loop->timers) break;
        if (child < loop->timers && loop->heap[child + 1]->at < loop->heap[child]->at) child++;
        if (loop->heap[child]->at >= t->at) break;
        place(loop, loop->heap[child], i);
        i = child;
    }
    place(loop, t, i);
}

static void arm(mp_loop *loop, int64_t at) {
    struct itimerspec when = {.it_value = {.tv_sec = at / 1000, .tv_nsec = at % 1000 * 1000000}};
    if (timerfd_settime(loop->clock, TFD_TIMER_ABSTIME, &when, NULL) == 0) loop->armed = at;
}

bool mp_loop_timer_set(mp_loop *loop, mp_timer *timer, int64_t at) {
    if (at < 1) at = 1;
    mp_loop_timer_stop(loop, timer);
    if (loop->timers + 2 > loop->room) {
        size_t room = loop->room ? loop->room * 2 : 64;
        mp_timer **heap = realloc(loop->heap, room * sizeof *heap);
        if (!heap) return false;
        loop->heap = heap;
        loop->room = room;
    }
    timer->at = at;
    sift_up(loop, timer, ++loop->timers);
    if (!loop->armed || at < loop->armed) arm(loop, at);
    return true;
}

void mp_loop_timer_stop(mp_loop *loop, mp_timer *timer) {
    size_t i = timer->place;
    if (!i) return;
    mp_timer *last = loop->heap[loop->timers--];
    timer->place = 0;
    if (last == timer) return;
    if (i > 1 && loop->heap[i / 2]->at > last->at) sift_up(loop, last, i);
    else sift_down(loop, last, i);
}

static void run_timers(mp_loop *loop) {
    while (loop->timers && loop->heap[1]->at <= loop->now) {
        mp_timer *t = loop->heap[1];
        mp_loop_timer_stop(loop, t);
        t->fire(t);
    }
    /* A timer that was stopped leaves the descriptor armed: it then fires once for nothing, which is cheaper than a system
     * call at every stop. */
    if (loop->armed && loop->armed <= loop->now) {
        loop->armed = 0;
        uint64_t count;
        ssize_t n = read(loop->clock, &count, sizeof count);
        (void)n;
        if (loop->timers) arm(loop, loop->heap[1]->at);
    }
}

/* ---- descriptors ---- */

bool mp_loop_watch(mp_loop *loop, mp_watch *watch, bool read, bool write) {
    uint32_t events = (read ? EPOLLIN : 0) | (write ? EPOLLOUT : 0);
    if (events == watch->events) return true;
    struct epoll_event ev = {.events = events, .data.ptr = watch};
    int op = !events ? EPOLL_CTL_DEL : watch->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(loop->epoll, op, watch->fd, &ev) != 0 && events) return false;
    watch->events = events;
    if (!events) {
        loop->struck = true;
        for (int i = loop->event + 1; i < loop->event_count; i++)
            if (loop->events[i].data.ptr == watch) loop->events[i].data.ptr = NULL;
    }
    return true;
}

void mp_loop_turn(mp_loop *loop, int64_t timeout_ms) {
    loop->now = mp_clock_ms(); /* what is flushed may have waited for the driver: its deadlines begin now */
    mp_loop_flush(loop);
    int wait = timeout_ms < 0 ? -1 : timeout_ms > INT32_MAX ? INT32_MAX : (int)timeout_ms;
    int n;
    if (wait == 0) {
        n = epoll_wait(loop->epoll, loop->events, BATCH, 0);
    } else {
        if (loop->on_sleep) loop->on_sleep(loop->on_sleep_ctx);
        loop->asleep = true;
        loop->struck = false;
        pthread_mutex_unlock(&loop->lock);
        struct epoll_event events[BATCH];
        n = epoll_wait(loop->epoll, events, BATCH, wait);
        pthread_mutex_lock(&loop->lock);
        loop->asleep = false;
        if (loop->struck) n = epoll_wait(loop->epoll, events, BATCH, 0); /* level-triggered: nothing is lost */
        for (int i = 0; i < n; i++) loop->events[i] = events[i];
    }
    loop->now = mp_clock_ms();
    bool posted = false;
    loop->event_count = n > 0 ? n : 0;
    for (loop->event = 0; loop->event < loop->event_count; loop->event++) {
        struct epoll_event *ev = &loop->events[loop->event];
        if (ev->data.ptr == &loop->wake) posted = true;
        else if (ev->data.ptr && ev->data.ptr != &loop->clock) {
            mp_watch *watch = ev->data.ptr;
            bool broken = ev->events & (EPOLLERR | EPOLLHUP);
            watch->ready(watch, broken || (ev->events & EPOLLIN), broken || (ev->events & EPOLLOUT));
        }
    }
    loop->event_count = loop->event = 0;
    if (posted) run_inbox(loop);
    run_timers(loop); /* after the sockets: a late driver must not turn received answers into timeouts */
    mp_loop_flush(loop);
}
