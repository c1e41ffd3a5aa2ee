/* The engine: timers, tasks, descriptors, leader and followers, the pool. */
#include <poll.h>
#include <unistd.h>

#include "engine/blocking.h"
#include "engine/loop_private.h"
#include "engine/pool.h"
#include "support/support.h"

#define OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* ---- timers ---- */

enum { TIMERS = 300 };
typedef struct numbered {
    mp_timer timer;
    mp_loop *loop;
    bool set;
    int64_t at;
} numbered;

static int64_t last_fired;
static size_t fired;

static void fire(mp_timer *timer) {
    numbered *t = OF(timer, numbered, timer);
    assert_true(t->set);
    assert_int_equal(timer->place, 0);
    assert_true(t->at >= last_fired); /* in order */
    assert_true(t->at <= mp_loop_now(t->loop));
    last_fired = t->at;
    t->set = false;
    fired++;
}

static int64_t earliest(const numbered *t, size_t n) {
    int64_t at = INT64_MAX;
    for (size_t i = 0; i < n; i++)
        if (t[i].set && t[i].at < at) at = t[i].at;
    return at;
}

static void timers_fire_in_order(void **state) {
    (void)state;
    mp_loop *loop = mp_loop_new();
    assert_non_null(loop);
    numbered t[TIMERS];
    for (size_t i = 0; i < TIMERS; i++) t[i] = (numbered){.timer = {.fire = fire}, .loop = loop};
    mp_loop_lock(loop);
    int64_t now = mp_loop_touch(loop);
    for (int round = 0; round < 40; round++) {
        for (int step = 0; step < 500; step++) {
            numbered *one = &t[dice(TIMERS)];
            if (dice(3) == 0) {
                mp_loop_timer_stop(loop, &one->timer);
                one->set = false;
            } else { /* half of them are due, half of them in an hour */
                one->at = dice(2) ? now - 1000 + dice(1000) : now + 3600000 + dice(1000);
                one->set = true;
                assert_true(mp_loop_timer_set(loop, &one->timer, one->at));
            }
            if (step % 50 == 0) assert_int_equal(mp_loop_next_timer(loop), earliest(t, TIMERS));
        }
        size_t due = 0;
        for (size_t i = 0; i < TIMERS; i++) due += t[i].set && t[i].at <= now;
        fired = 0;
        last_fired = 0;
        mp_loop_turn(loop, 0);
        assert_int_equal(fired, due);
        assert_int_equal(mp_loop_next_timer(loop), earliest(t, TIMERS));
    }
    mp_loop_unlock(loop);
    mp_loop_free(loop);
}

typedef struct repeating {
    mp_timer timer;
    mp_loop *loop;
    mp_timer *victim;
    int times;
} repeating;

static void again(mp_timer *timer) {
    repeating *r = OF(timer, repeating, timer);
    if (r->victim) mp_loop_timer_stop(r->loop, r->victim);
    if (--r->times > 0) mp_loop_timer_set(r->loop, timer, mp_loop_now(r->loop) + 1);
}

/* A timer may set itself again and stop another that is due in the same turn; the descriptor tells a host when. */
static void timers_from_timers(void **state) {
    (void)state;
    mp_loop *loop = mp_loop_new();
    repeating victim = {.timer = {.fire = again}, .loop = loop, .times = 1};
    repeating first = {.timer = {.fire = again}, .loop = loop, .victim = &victim.timer, .times = 20};
    mp_loop_lock(loop);
    int64_t began = mp_loop_touch(loop);
    mp_loop_timer_set(loop, &first.timer, began);
    mp_loop_timer_set(loop, &victim.timer, began + 1);
    while (first.times > 0) {
        struct pollfd fd = {.fd = mp_loop_fd(loop), .events = POLLIN};
        assert_int_equal(poll(&fd, 1, 5000), 1);
        mp_loop_turn(loop, 0);
    }
    assert_int_equal(victim.times, 1);
    assert_in_range(mp_loop_now(loop) - began, 19, 2000);
    /* Far away, and at once */
    mp_loop_timer_set(loop, &victim.timer, INT64_MAX);
    assert_int_equal(mp_loop_next_timer(loop), INT64_MAX);
    mp_loop_turn(loop, 5);
    assert_int_equal(victim.times, 1);
    mp_loop_timer_set(loop, &victim.timer, INT64_MIN);
    mp_loop_turn(loop, -1);
    assert_int_equal(victim.times, 0);
    mp_loop_unlock(loop);
    mp_loop_free(loop);
}

/* ---- tasks ---- */

enum { POSTERS = 8, POSTS = 4000 };
typedef struct posted {
    mp_task task;
    atomic_int runs;
} posted;
static atomic_int ran, taken_back;

static void ran_once(mp_task *task) {
    atomic_fetch_add(&OF(task, posted, task)->runs, 1);
    atomic_fetch_add(&ran, 1);
}

typedef struct posting {
    mp_loop *loop;
    posted jobs[POSTS];
} posting;

static void *post_many(void *arg) {
    posting *self = arg;
    for (size_t i = 0; i < POSTS; i++) {
        posted *j = &self->jobs[i];
        j->task.run = ran_once;
        if (i % 16 == 7) { /* deferred by a thread that submits while the driver sleeps */
            mp_loop_lock(self->loop);
            mp_loop_defer(self->loop, &j->task);
            mp_loop_flush(self->loop);
            mp_loop_unlock(self->loop);
        } else if (i % 16 == 11) { /* taken back, if it has not run */
            mp_loop_post(self->loop, &j->task);
            mp_loop_lock(self->loop);
            if (atomic_load(&j->runs) == 0) {
                mp_loop_unpost(self->loop, &j->task);
                atomic_fetch_add(&taken_back, 1);
                atomic_store(&j->runs, 1);
            }
            mp_loop_unlock(self->loop);
        } else {
            mp_loop_post(self->loop, &j->task);
        }
    }
    return NULL;
}

static void every_task_runs_once(void **state) {
    (void)state;
    mp_loop *loop = mp_loop_new();
    static posting postings[POSTERS];
    memset(postings, 0, sizeof postings);
    pthread_t threads[POSTERS];
    atomic_store(&ran, 0);
    atomic_store(&taken_back, 0);
    for (size_t i = 0; i < POSTERS; i++) {
        postings[i].loop = loop;
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, &postings[i]), 0);
    }
    int64_t began = clock_ms();
    mp_loop_lock(loop);
    while (atomic_load(&ran) + atomic_load(&taken_back) < POSTERS * POSTS && clock_ms() - began < 20000)
        mp_loop_turn(loop, 1000); /* a wake-up that is lost costs a second */
    mp_loop_unlock(loop);
    for (size_t i = 0; i < POSTERS; i++) pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&ran) + atomic_load(&taken_back), POSTERS * POSTS);
    for (size_t i = 0; i < POSTERS; i++)
        for (size_t k = 0; k < POSTS; k++) assert_int_equal(atomic_load(&postings[i].jobs[k].runs), 1);
    mp_loop_free(loop);
}

/* A task that was posted twice before it ran runs once; one that is taken back leaves the others in their order. */
static int order[8], orders;
typedef struct placed {
    mp_task task;
    int number;
} placed;
static void note(mp_task *task) { order[orders++] = OF(task, placed, task)->number; }

static void tasks_keep_their_order(void **state) {
    (void)state;
    mp_loop *loop = mp_loop_new();
    placed t[6];
    for (int i = 0; i < 6; i++) t[i] = (placed){.task = {.run = note}, .number = i};
    mp_loop_lock(loop);
    for (int i = 0; i < 6; i++) mp_loop_post(loop, &t[i].task);
    mp_loop_post(loop, &t[2].task);
    mp_loop_unpost(loop, &t[0].task);
    mp_loop_unpost(loop, &t[3].task);
    mp_loop_unpost(loop, &t[5].task);
    mp_loop_unpost(loop, &t[5].task); /* not there any more: nothing */
    mp_loop_post(loop, &t[0].task);
    mp_loop_turn(loop, 0);
    assert_int_equal(orders, 4);
    const int expected[] = {1, 2, 4, 0};
    assert_memory_equal(order, expected, sizeof expected);
    mp_loop_unlock(loop);
    mp_loop_free(loop);
}

/* ---- descriptors ---- */

typedef struct pipe_end {
    mp_watch watch;
    mp_loop *loop;
    int to;
    struct pipe_end *victim; /* freed by this one's ready */
    int hits;
} pipe_end;

static pipe_end *pipe_made(mp_loop *loop) {
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pipe_end *p = calloc(1, sizeof *p);
    p->watch.fd = fds[0];
    p->loop = loop;
    p->to = fds[1];
    return p;
}

static void pipe_freed(pipe_end *p) {
    mp_loop_watch(p->loop, &p->watch, false, false);
    close(p->watch.fd);
    close(p->to);
    memset(p, 0xee, sizeof *p);
    free(p);
}

static void ready(mp_watch *watch, bool readable, bool writable) {
    pipe_end *p = OF(watch, pipe_end, watch);
    (void)writable;
    assert_true(readable);
    char c;
    assert_int_equal(read(watch->fd, &c, 1), 1);
    p->hits++;
    if (p->victim) pipe_freed(p->victim);
    p->victim = NULL;
}

static void *drive_until_open(void *arg) {
    mp_loop *loop = ((void **)arg)[0];
    gate *stop = ((void **)arg)[1];
    mp_loop_lock(loop);
    while (!gate_wait(stop, 0)) mp_loop_turn(loop, 10000);
    mp_loop_unlock(loop);
    return NULL;
}

static void nothing(mp_task *task) { (void)task; }

/* The descriptor is ready and the driver on its way back from the kernel when somebody else frees the watch. */
static void a_watch_freed_while_the_driver_sleeps(void **state) {
    (void)state;
    mp_loop *loop = mp_loop_new();
    gate stop;
    gate_init(&stop);
    void *args[] = {loop, &stop};
    pthread_t driver;
    assert_int_equal(pthread_create(&driver, NULL, drive_until_open, args), 0);
    for (int i = 0; i < 2000; i++) {
        mp_loop_lock(loop);
        pipe_end *p = pipe_made(loop);
        p->watch.ready = ready;
        assert_true(mp_loop_watch(loop, &p->watch, true, false));
        mp_loop_unlock(loop);
        if (i % 2) sched_yield();
        mp_loop_lock(loop);
        assert_int_equal(write(p->to, "x", 1), 1);
        if (i % 3) {
            mp_loop_unlock(loop);
            mp_loop_lock(loop);
        }
        pipe_freed(p);
        mp_loop_unlock(loop);
    }
    mp_task wake = {.run = nothing};
    gate_open(&stop);
    mp_loop_post(loop, &wake);
    pthread_join(driver, NULL);
    mp_loop_free(loop);
    gate_destroy(&stop);
}

/* Two are ready in one turn, and the first frees the second. */
static void a_watch_freed_by_another(void **state) {
    (void)state;
    mp_loop *loop = mp_loop_new();
    mp_loop_lock(loop);
    for (int i = 0; i < 100; i++) {
        pipe_end *a = pipe_made(loop), *b = pipe_made(loop);
        a->watch.ready = b->watch.ready = ready;
        a->victim = b;
        assert_true(mp_loop_watch(loop, &a->watch, true, false) && mp_loop_watch(loop, &b->watch, true, false));
        assert_int_equal(write(a->to, "x", 1) + write(b->to, "x", 1), 2);
        mp_loop_turn(loop, i % 2 ? 0 : 1000);
        assert_int_equal(a->hits, 1);
        pipe_freed(a);
    }
    mp_loop_unlock(loop);
    mp_loop_free(loop);
}

/* ---- leader and followers ---- */

enum { CALLERS = 32 };
typedef struct caller {
    mp_task answer; /* posted by the "server" */
    mp_timer timer;
    mp_waiter waiter;
    mp_blocking *blocking;
    bool by_timer;
} caller;

static struct mailbox {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    caller *waiting[CALLERS];
    size_t count;
    bool stop;
} box = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

static void answered(mp_task *task) { mp_waiter_wake(&OF(task, caller, answer)->waiter); }

static void timed(mp_timer *timer) {
    caller *c = OF(timer, caller, timer);
    mp_waiter_wake(&c->waiter);
}

static void *serve(void *arg) {
    mp_loop *loop = arg;
    pthread_mutex_lock(&box.lock);
    for (;;) {
        while (!box.count && !box.stop) pthread_cond_wait(&box.cond, &box.lock);
        if (!box.count) break;
        size_t i = dice((uint32_t)box.count);
        caller *c = box.waiting[i];
        box.waiting[i] = box.waiting[--box.count];
        pthread_mutex_unlock(&box.lock);
        if (dice(4) == 0) { /* at once, with the lock, as another lane's answer comes */
            mp_loop_lock(loop);
            mp_waiter_wake(&c->waiter);
            mp_loop_unlock(loop);
        } else {
            mp_loop_post(loop, &c->answer);
        }
        pthread_mutex_lock(&box.lock);
    }
    pthread_mutex_unlock(&box.lock);
    return NULL;
}

static atomic_int checks;
static int check(void *ctx) {
    (void)ctx;
    atomic_fetch_add(&checks, 1);
    return 0;
}

typedef struct crowd {
    mp_blocking *blocking;
    int rounds, (*check)(void *);
} crowd;

static void *call_often(void *arg) {
    crowd *shared = arg;
    mp_blocking *b = shared->blocking;
    mp_loop *loop = mp_blocking_loop(b);
    for (int i = 0; i < shared->rounds; i++) {
        caller c = {.answer = {.run = answered}, .timer = {.fire = timed}, .blocking = b, .by_timer = dice(20) == 0};
        mp_loop_lock(loop);
        mp_waiter_init(&c.waiter);
        mp_loop_touch(loop);
        if (c.by_timer) {
            mp_loop_timer_set(loop, &c.timer, mp_loop_now(loop) + dice(3));
        } else {
            pthread_mutex_lock(&box.lock);
            box.waiting[box.count++] = &c;
            pthread_cond_signal(&box.cond);
            pthread_mutex_unlock(&box.lock);
        }
        mp_blocking_submitted(b, false);
        assert_int_equal(mp_blocking_wait(b, &c.waiter, shared->check, NULL), MP_WAIT_OVER);
        mp_loop_unlock(loop);
        mp_waiter_destroy(&c.waiter);
        if (dice(8) == 0) sched_yield();
    }
    return NULL;
}

static void every_waiter_is_woken(void **state) {
    (void)state;
    for (int with_check = 0; with_check < 2; with_check++) {
        mp_blocking *b = mp_blocking_new();
        crowd shared = {.blocking = b, .rounds = slow_build() ? 150 : 400, .check = with_check ? check : NULL};
        pthread_t threads[CALLERS], server[2];
        box.stop = false;
        for (size_t i = 0; i < 2; i++) pthread_create(&server[i], NULL, serve, mp_blocking_loop(b));
        for (size_t i = 0; i < CALLERS; i++) pthread_create(&threads[i], NULL, call_often, &shared);
        for (size_t i = 0; i < CALLERS; i++) pthread_join(threads[i], NULL);
        pthread_mutex_lock(&box.lock);
        box.stop = true;
        pthread_cond_broadcast(&box.cond);
        pthread_mutex_unlock(&box.lock);
        for (size_t i = 0; i < 2; i++) pthread_join(server[i], NULL);
        mp_blocking_free(b);
    }
}

/* The leader's answer comes while another waits: that one leads on, and its own timer fires. */
typedef struct pair {
    caller c;
    int64_t delay, took;
} pair;

static void *wait_for_timer(void *arg) {
    pair *self = arg;
    mp_blocking *b = self->c.blocking;
    mp_loop *loop = mp_blocking_loop(b);
    mp_loop_lock(loop);
    mp_waiter_init(&self->c.waiter);
    int64_t began = mp_loop_touch(loop);
    mp_loop_timer_set(loop, &self->c.timer, began + self->delay);
    mp_blocking_submitted(b, false);
    mp_blocking_wait(b, &self->c.waiter, NULL, NULL);
    self->took = clock_ms() - began;
    mp_loop_unlock(loop);
    mp_waiter_destroy(&self->c.waiter);
    return NULL;
}

static void leadership_is_handed_over(void **state) {
    (void)state;
    mp_blocking *b = mp_blocking_new();
    pair p[4];
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) { /* the first leads and is done first, and so on */
        p[i] = (pair){.c = {.timer = {.fire = timed}, .blocking = b}, .delay = 20 * (int64_t)(i + 1)};
        pthread_create(&threads[i], NULL, wait_for_timer, &p[i]);
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_in_range(p[i].took, p[i].delay - 1, p[i].delay + 500);
    }
    mp_blocking_free(b);
}

/* The leader hands over to a follower whose own answer comes before it gets to lead: it passes the leadership on. */
typedef struct heir {
    pair p;
    mp_waiter *wakes; /* once its own wait is over, before it lets go of the lock */
    atomic_bool done;
} heir;

static void *wait_and_wake(void *arg) {
    heir *h = arg;
    mp_blocking *b = h->p.c.blocking;
    mp_loop *loop = mp_blocking_loop(b);
    mp_loop_lock(loop);
    mp_waiter_init(&h->p.c.waiter);
    int64_t began = mp_loop_touch(loop);
    mp_loop_timer_set(loop, &h->p.c.timer, began + h->p.delay);
    mp_blocking_submitted(b, false);
    mp_blocking_wait(b, &h->p.c.waiter, NULL, NULL);
    if (h->wakes) mp_waiter_wake(h->wakes);
    h->p.took = clock_ms() - began;
    mp_loop_timer_stop(loop, &h->p.c.timer);
    mp_loop_unlock(loop);
    mp_waiter_destroy(&h->p.c.waiter);
    atomic_store(&h->done, true);
    return NULL;
}

static void leadership_is_passed_on(void **state) {
    (void)state;
    mp_blocking *b = mp_blocking_new();
    heir h[3];
    pthread_t threads[3];
    const int64_t delays[3] = {100, 100000, 150};
    for (size_t i = 0; i < 3; i++) {
        h[i] = (heir){.p = {.c = {.timer = {.fire = timed}, .blocking = b}, .delay = delays[i]}};
        if (i == 0) h[0].wakes = &h[1].p.c.waiter;
        pthread_create(&threads[i], NULL, wait_and_wake, &h[i]);
        rest_ms(20); /* they come in this order */
    }
    for (int64_t until = clock_ms() + 2000; !atomic_load(&h[2].done) && clock_ms() < until;) rest_ms(1);
    bool led = atomic_load(&h[2].done);
    mp_loop_lock(mp_blocking_loop(b));
    if (!led) mp_waiter_wake(&h[2].p.c.waiter);
    mp_loop_unlock(mp_blocking_loop(b));
    for (size_t i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    mp_blocking_free(b);
    assert_true(led);
}

/* Duties that nobody waits for are the background thread's; without any there is no such thread. */
typedef struct duty {
    mp_timer timer;
    mp_loop *loop;
    atomic_int times;
} duty;

static void do_duty(mp_timer *timer) {
    duty *self = OF(timer, duty, timer);
    if (atomic_fetch_add(&self->times, 1) < 9) mp_loop_timer_set(self->loop, timer, mp_loop_now(self->loop) + 5);
}

static void duties_are_done_in_the_background(void **state) {
    (void)state;
    size_t threads = count_threads();
    mp_blocking *b = mp_blocking_new();
    mp_loop *loop = mp_blocking_loop(b);
    duty d = {.timer = {.fire = do_duty}, .loop = loop};
    mp_loop_lock(loop);
    mp_blocking_submitted(b, false);
    mp_loop_unlock(loop);
    assert_int_equal(count_threads(), threads);
    mp_loop_lock(loop);
    mp_loop_duty(loop, 1);
    mp_loop_timer_set(loop, &d.timer, mp_loop_touch(loop) + 5);
    mp_blocking_submitted(b, false);
    mp_loop_unlock(loop);
    for (int64_t until = clock_ms() + 5000; atomic_load(&d.times) < 5 && clock_ms() < until;) rest_ms(1);
    pair p = {.c = {.timer = {.fire = timed}, .blocking = b}, .delay = 10}; /* a caller comes in between */
    wait_for_timer(&p);
    assert_in_range(p.took, 9, 1000);
    for (int64_t until = clock_ms() + 5000; atomic_load(&d.times) < 10 && clock_ms() < until;) rest_ms(1);
    assert_int_equal(atomic_load(&d.times), 10);
    mp_loop_lock(loop);
    mp_loop_duty(loop, -1);
    mp_loop_unlock(loop);
    mp_blocking_free(b);
    assert_int_equal(count_threads(), threads);
}

/* The check is asked about every 100 ms, of the leader and of followers, with no lock held, and ends their wait. */
typedef struct impatient {
    mp_blocking *blocking;
    int asked;
    bool answered;
    int64_t took;
} impatient;

static int give_up(void *ctx) {
    impatient *self = ctx;
    mp_loop_lock(mp_blocking_loop(self->blocking)); /* deadlocks if it were held */
    mp_loop_unlock(mp_blocking_loop(self->blocking));
    return ++self->asked == 2;
}

static void *wait_impatiently(void *arg) {
    impatient *self = arg;
    mp_loop *loop = mp_blocking_loop(self->blocking);
    mp_waiter waiter;
    mp_loop_lock(loop);
    mp_waiter_init(&waiter);
    int64_t began = mp_loop_touch(loop);
    self->answered = mp_blocking_wait(self->blocking, &waiter, give_up, self) == MP_WAIT_OVER;
    self->took = clock_ms() - began;
    mp_loop_unlock(loop);
    mp_waiter_destroy(&waiter);
    return NULL;
}

static void a_wait_can_be_interrupted(void **state) {
    (void)state;
    mp_blocking *b = mp_blocking_new();
    impatient i[4];
    pthread_t threads[4];
    for (size_t k = 0; k < 4; k++) {
        i[k] = (impatient){.blocking = b};
        pthread_create(&threads[k], NULL, wait_impatiently, &i[k]);
    }
    for (size_t k = 0; k < 4; k++) {
        pthread_join(threads[k], NULL);
        assert_false(i[k].answered);
        assert_in_range(i[k].took, 150, 1000);
    }
    mp_blocking_free(b);
}

/* ---- the pool ---- */

typedef struct work {
    mp_job job;
    gate *began, *go;
    mp_pool *frees;
    atomic_int runs, refusals;
} work;

static void do_work(mp_job *job, bool refused) {
    work *w = OF(job, work, job);
    if (w->began) gate_open(w->began);
    if (w->go) gate_wait(w->go, 5000);
    if (w->frees) mp_pool_free(w->frees);
    atomic_fetch_add(refused ? &w->refusals : &w->runs, 1);
}

static void *free_pool(void *arg) {
    mp_pool_free(arg);
    return NULL;
}

static void a_pool_refuses_what_is_queued_when_it_ends(void **state) {
    (void)state;
    gate began, go;
    gate_init(&began);
    gate_init(&go);
    size_t threads = count_threads();
    mp_pool *pool = mp_pool_new(2);
    assert_int_equal(count_threads(), threads); /* started when there is work */
    work first[2] = {{.job = {.run = do_work}, .go = &go}, {.job = {.run = do_work}, .go = &go, .began = &began}};
    work queued[50];
    for (size_t i = 0; i < 2; i++) assert_true(mp_pool_submit(pool, &first[i].job));
    assert_true(gate_wait(&began, 5000));
    for (size_t i = 0; i < 50; i++) {
        queued[i] = (work){.job = {.run = do_work}};
        assert_true(mp_pool_submit(pool, &queued[i].job));
    }
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, free_pool, pool), 0);
    rest_ms(20);
    gate_open(&go);
    pthread_join(thread, NULL);
    for (size_t i = 0; i < 2; i++) assert_int_equal(atomic_load(&first[i].runs), 1);
    for (size_t i = 0; i < 50; i++) assert_int_equal(atomic_load(&queued[i].refusals), 1);
    assert_int_equal(count_threads(), threads);
    gate_destroy(&began);
    gate_destroy(&go);
}

static void a_job_that_frees_its_pool(void **state) {
    (void)state;
    size_t threads = count_threads();
    for (int i = 0; i < 50; i++) {
        mp_pool *pool = mp_pool_new(3);
        work others[6], last = {.job = {.run = do_work}, .frees = pool};
        for (size_t k = 0; k < 3; k++) {
            others[k] = (work){.job = {.run = do_work}};
            assert_true(mp_pool_submit(pool, &others[k].job));
        }
        assert_true(mp_pool_submit(pool, &last.job));
        for (int64_t until = clock_ms() + 5000; clock_ms() < until;) {
            int done = atomic_load(&last.runs);
            for (size_t k = 0; k < 3; k++) done += atomic_load(&others[k].runs) + atomic_load(&others[k].refusals);
            if (done == 4) break;
            rest_ms(1);
        }
        assert_int_equal(atomic_load(&last.runs), 1);
    }
    for (int64_t until = clock_ms() + 5000; count_threads() > threads && clock_ms() < until;) rest_ms(1);
    assert_int_equal(count_threads(), threads);
}

int main(void) {
    watchdog(100);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_in_order),
        cmocka_unit_test(timers_from_timers),
        cmocka_unit_test(every_task_runs_once),
        cmocka_unit_test(tasks_keep_their_order),
        cmocka_unit_test(a_watch_freed_while_the_driver_sleeps),
        cmocka_unit_test(a_watch_freed_by_another),
        cmocka_unit_test(every_waiter_is_woken),
        cmocka_unit_test(leadership_is_handed_over),
        cmocka_unit_test(leadership_is_passed_on),
        cmocka_unit_test(duties_are_done_in_the_background),
        cmocka_unit_test(a_wait_can_be_interrupted),
        cmocka_unit_test(a_pool_refuses_what_is_queued_when_it_ends),
        cmocka_unit_test(a_job_that_frees_its_pool),
    };
    return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
