/* fork(): the child of a process that uses a pond uses it as well, with what it makes itself; the parent goes on and notices
 * nothing. */
#include "support/fork_cases.h"

#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/support.h"

static const char *cache_url;
static bool one_cache;
static char key[64], folder[64], store_url[96];

static int set_up(void **state) {
    (void)state;
    snprintf(key, sizeof key, "%s", fresh("k"));
    snprintf(folder, sizeof folder, "/tmp/millpond-fork-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(store_url, sizeof store_url, "sqlite:%s/s.db", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

/* Deadlines that a busy machine keeps: what is not cached in time would be loaded again. */
#define PATIENT "command_timeout", "20s", "connect_timeout", "20s"

static pond *made(void) { return pond_made(cache_url, "namespace", "fork", "store", store_url, PATIENT, NULL); }

/* ---- the child: no cmocka there ---- */

#define NEED(what)                                                                                                     \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            fprintf(stderr, "%s:%d: in the child: %s\n", __FILE__, __LINE__, #what);                                   \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

#ifdef __SANITIZE_ADDRESS__
/* The state of a thread of ours, as proc(5) has it. */
static char state_of(const char *thread) {
    char path[64], line[512] = "";
    snprintf(path, sizeof path, "/proc/self/task/%.20s/stat", thread);
    FILE *file = fopen(path, "r");
    if (!file) return 'S'; /* it has ended */
    char *end = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    fclose(file);
    return end && end[1] == ' ' ? end[2] : '?';
}

/* Until all other threads sleep. ASan's allocator has locks that a fork does not take: one that a thread holds just then, which starts or
 * ends, is held in the child for ever. */
static void let_others_sleep(void) {
    char self[24];
    snprintf(self, sizeof self, "%d", (int)gettid());
    for (int64_t until = clock_ms() + 5000; clock_ms() < until; rest_ms(1)) {
        DIR *threads = opendir("/proc/self/task");
        bool asleep = threads;
        for (struct dirent *one; threads && (one = readdir(threads));)
            if (one->d_name[0] != '.' && strcmp(one->d_name, self) != 0) asleep &= state_of(one->d_name) == 'S';
        if (threads) closedir(threads);
        if (asleep) return;
    }
}
#else
static void let_others_sleep(void) {}
#endif

/* 0 in the child, which ends with a word if it hangs: an alarm is not inherited. */
static pid_t fork_off(void) {
    let_others_sleep();
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) watchdog(30);
    return child;
}

static int status_of(pid_t child) {
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static bool is_text(const pond_value *value, const char *text) {
    size_t len;
    const char *data = pond_value_data(value, &len);
    return len == strlen(text) && memcmp(data, text, len) == 0;
}

static void say(pond_load *load, void *ctx) {
    const char *text = ctx;
    pond_load_value(load, text, strlen(text), POND_TEXT, 0);
}

static int child_fetch(pond *p, const char *k, const char *loads, const char *expected) {
    pond_value *value = NULL;
    pond_error *err = NULL;
    int code = pond_fetch(p, k, strlen(k), NULL, say, (void *)loads, &value, &err);
    if (code == POND_OK) NEED(is_text(value, expected));
    else if (code != POND_ECLOSED) fprintf(stderr, "in the child: %s\n", pond_error_message(err));
    pond_value_free(value);
    pond_error_free(err);
    return code;
}

/* A whole life with a queue of its own. */
static void queue_life(pond *p, const char *k, const char *text) {
    pond_queue *queue = NULL;
    pond_event *event = NULL;
    NEED(pond_queue_new(&queue, p, NULL) == POND_OK);
    NEED(pond_fetch_start(p, queue, k, strlen(k), NULL, 7, NULL, NULL, NULL) == POND_OK);
    NEED(pond_queue_poll(queue, &event, 1, 10000) == 1);
    if (pond_event_kind(event) == POND_EVENT_LOAD) {
        pond_load_value(pond_event_load(event), text, strlen(text), POND_TEXT, 0);
        pond_event_free(event);
        NEED(pond_queue_poll(queue, &event, 1, 10000) == 1);
    }
    NEED(pond_event_kind(event) == POND_EVENT_VALUE && pond_event_user(event) == 7);
    pond_event_free(event);
    NEED(pond_store_get_start(p, queue, "films", "1", 1, 8, NULL) == POND_OK);
    NEED(pond_queue_poll(queue, &event, 1, 10000) == 1);
    NEED(pond_event_kind(event) == POND_EVENT_VALUE);
    pond_event_free(event);
    pond_queue_free(queue);
}

static void whole_life(pond *p, const char *k, const char *text) {
    const char *keys[] = {k};
    const size_t lens[] = {strlen(k)};
    pond_value *value = NULL;
    char own[160];
    static int lives;
    snprintf(own, sizeof own, "%.90s-%d-%d", k, getpid(), lives++);
    /* While others write to the database a load may not be cached: then it is loaded once more. */
    for (int tries = 0; pond_value_state(value) != POND_VALUE; tries++) {
        pond_value_free(value);
        NEED(tries < 1000);
        NEED(child_fetch(p, own, text, text) == POND_OK);
        NEED(pond_lookup(p, own, strlen(own), NULL, &value, NULL) == POND_OK);
    }
    NEED(is_text(value, text));
    pond_value_free(value);
    value = NULL;
    NEED(pond_invalidate(p, keys, lens, 1, NULL, NULL) == POND_OK);
    NEED(pond_lookup(p, k, strlen(k), NULL, &value, NULL) == POND_OK);
    pond_value_free(value);
    NEED(pond_store_get(p, "films", "1", 1, &value, NULL) == POND_OK && pond_value_state(value) == POND_VALUE);
    pond_value_free(value);
    pond_policy *policy = NULL;
    const char *options[] = {"namespace", own, "ttl", "1m"};
    NEED(pond_policy_new(&policy, p, NULL, options, 2, NULL) == POND_OK);
    pond_policy_free(policy);
    queue_life(p, own, text);
    NEED(pond_stats(p, &value, NULL) == POND_OK);
    pond_value_free(value);
    NEED(pond_stat(p, NULL, "loads") > 0);
    NEED(pond_close(p, 10000) == POND_OK);
    NEED(child_fetch(p, own, "x", "x") == POND_ECLOSED);
    pond_free(p);
}

/* ---- the cases ---- */

static void make_films(pond *p) {
    assert_int_equal(pond_store_create(p, "films", NULL), POND_OK);
    assert_int_equal(pond_store_put(p, "films", "1", 1, "{}", 2, NULL), POND_OK);
}

static void a_child_has_its_own(void **state) {
    (void)state;
    pond *p = made();
    make_films(p);
    desk d;
    desk_open(&d, p, 1);
    assert_string_equal(fetch_text(p, key, NULL, "parent"), "parent");
    desk_fetch(&d, 0, key, NULL, 1, NULL);
    desk_value(&d, 0, 1, "parent");
    uint64_t hits = pond_stat(p, NULL, "hits");
    pid_t child = fork_off();
    if (child == 0) {
        NEED(pond_stat(p, NULL, "loads") == 0); /* its own counters */
        NEED(child_fetch(p, key, "child", one_cache ? "parent" : "child") == POND_OK);
        pond_error *err = NULL;
        pond_event *events[1];
        NEED(pond_queue_fd(d.queue[0]) == -1);
        NEED(pond_queue_pending(d.queue[0]) == 0);
        pond_queue_flush(d.queue[0]);
        NEED(pond_queue_poll(d.queue[0], events, 1, 1000) == 0);
        NEED(pond_fetch_start(p, d.queue[0], key, strlen(key), NULL, 1, NULL, NULL, &err) == POND_EMISUSE);
        NEED(strstr(pond_error_message(err), "fork"));
        pond_error_free(err);
        pond_queue_free(d.queue[0]);
        pid_t grandchild = fork_off();
        if (grandchild == 0) {
            whole_life(p, key, "grandchild");
            _exit(0);
        }
        NEED(status_of(grandchild) == 0);
        whole_life(p, key, "child");
        _exit(0);
    }
    for (int i = 0; i < 200; i++) fetch_text(p, key, NULL, "parent"); /* the child invalidates it meanwhile */
    assert_int_equal(status_of(child), 0);
    assert_string_equal(fetch_text(p, key, NULL, "parent"), "parent");
    assert_true(pond_stat(p, NULL, "hits") > hits);
    desk_fetch(&d, 0, key, NULL, 2, NULL);
    desk_value(&d, 0, 2, "parent");
    desk_close(&d);
    pond_free(p);
}

static void a_child_that_only_ends(void **state) {
    (void)state;
    for (int how = 0; how < 3; how++) {
        pond *p = made();
        make_films(p);
        desk d;
        desk_open(&d, p, 1);
        assert_string_equal(fetch_text(p, key, NULL, "x"), "x");
        pid_t child = fork_off();
        if (child == 0) {
            if (how > 0) NEED(pond_close(p, 10000) == POND_OK);
            if (how > 1) pond_queue_free(d.queue[0]);
            pond_free(p);
            _exit(0);
        }
        assert_int_equal(status_of(child), 0);
        assert_string_equal(fetch_text(p, key, NULL, "y"), "x");
        desk_fetch(&d, 0, key, NULL, 1, NULL);
        desk_value(&d, 0, 1, "x");
        assert_int_equal(pond_store_put(p, "films", "2", 1, "{}", 2, NULL), POND_OK);
        desk_close(&d);
        pond_free(p);
    }
}

typedef struct forker {
    pid_t child;
    bool done;
    gate *go; /* opened by the parent when it has forked */
} forker;

static void fork_in_loader(pond_load *load, void *ctx) {
    forker *f = ctx;
    f->child = fork_off();
    if (f->child == 0) {
        NEED(pond_load_value(load, "child", 5, POND_TEXT, 0) == POND_ECLOSED);
        return;
    }
    pond_load_value(load, "parent", 6, POND_TEXT, 0);
}

/* The child returns through the loader: it is told that the call is not its own, and can make others. */
static void a_loader_that_forks(void **state) {
    (void)state;
    pond *p = made();
    make_films(p);
    forker f = {.child = -1};
    pond_value *value = NULL;
    pond_error *err = NULL;
    int code = pond_fetch(p, key, strlen(key), NULL, fork_in_loader, &f, &value, &err);
    if (f.child == 0) {
        NEED(code == POND_ECLOSED && strstr(pond_error_message(err), "fork"));
        whole_life(p, key, "child");
        _exit(0);
    }
    assert_int_equal(code, POND_OK);
    assert_true(is_text(value, "parent"));
    pond_value_free(value);
    assert_int_equal(status_of(f.child), 0);
    pond_free(p);
}

static void fork_in_bulk_loader(pond_batch *batch, void *ctx) {
    forker *f = ctx;
    f->child = fork_off();
    const char *text = f->child == 0 ? "child" : "parent";
    for (size_t i = 0; i < pond_batch_count(batch); i++) pond_batch_value(batch, i, text, strlen(text), POND_TEXT, 0);
    NEED(pond_batch_done(batch) == (f->child == 0 ? POND_ECLOSED : POND_OK));
}

static void a_loader_of_many_that_forks(void **state) {
    (void)state;
    pond *p = made();
    make_films(p);
    forker f = {.child = -1};
    const char *keys[] = {key, "another"};
    const size_t lens[] = {strlen(key), 7};
    pond_value *values[2];
    pond_error *err = NULL;
    int code = pond_fetch_many(p, keys, lens, 2, NULL, NULL, fork_in_bulk_loader, &f, values, &err);
    if (f.child == 0) {
        NEED(code == POND_ECLOSED && strstr(pond_error_message(err), "fork"));
        whole_life(p, key, "child");
        _exit(0);
    }
    assert_int_equal(code, POND_OK);
    for (size_t i = 0; i < 2; i++) {
        assert_true(is_text(values[i], "parent"));
        pond_value_free(values[i]);
    }
    assert_int_equal(status_of(f.child), 0);
    pond_free(p);
}

static int fork_once(void *ctx) {
    forker *f = ctx;
    if (f->done) return 0;
    f->done = true;
    f->child = fork_off();
    if (f->child > 0 && f->go) gate_open(f->go);
    return 0;
}

/* The same for who forks while it waits, as a signal handler may. */
static void a_wait_that_forks(void **state) {
    (void)state;
    gate began, go;
    gate_init(&began);
    gate_init(&go);
    pond *p = made();
    make_films(p);
    forker f = {.child = -1, .done = true, .go = &go};
    pond_set_interrupt(p, fork_once, &f);
    fetcher loads = {.p = p, .key = key, .script = {.value = "parent", .began = &began, .go = &go}};
    fetcher_start(&loads);
    assert_true(gate_wait(&began, 5000));
    f.done = false;
    pond_value *value = NULL;
    pond_error *err = NULL;
    int code = pond_fetch(p, key, strlen(key), NULL, say, "not asked", &value, &err);
    if (f.child == 0) {
        NEED(code == POND_ECLOSED && strstr(pond_error_message(err), "fork"));
        whole_life(p, "its own", "child"); /* an invalidation of the parent's key may reach it before its fill does */
        _exit(0);
    }
    assert_int_equal(code, POND_OK);
    assert_true(is_text(value, "parent"));
    pond_value_free(value);
    fetcher_join(&loads);
    assert_int_equal(status_of(f.child), 0);
    pond_free(p);
    gate_destroy(&began);
    gate_destroy(&go);
}

static void a_close_that_forks(void **state) {
    (void)state;
    gate began, go;
    gate_init(&began);
    gate_init(&go);
    pond *p = made();
    forker f = {.child = -1, .done = true, .go = &go};
    pond_set_interrupt(p, fork_once, &f);
    fetcher loads = {.p = p, .key = key, .script = {.value = "parent", .began = &began, .go = &go}};
    fetcher_start(&loads);
    assert_true(gate_wait(&began, 5000));
    f.done = false;
    int code = pond_close(p, 10000);
    if (f.child == 0) {
        NEED(code == POND_OK); /* nothing is under way in the child */
        pond_free(p);
        _exit(0);
    }
    assert_int_equal(code, POND_OK);
    fetcher_join(&loads);
    assert_string_equal(loads.text, "parent");
    assert_int_equal(status_of(f.child), 0);
    pond_free(p);
    gate_destroy(&began);
    gate_destroy(&go);
}

/* Another thread loads, on a short lease that is renewed for it; and a queue was asked to. */
static void loads_under_way(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* the thread that renews allocates: see forks_in_the_middle_of_everything */
#endif
    char other[80];
    snprintf(other, sizeof other, "%s", fresh("other"));
    gate began, go;
    gate_init(&began);
    gate_init(&go);
    pond *p = pond_made(cache_url, "namespace", "fork", "store", store_url, "lease", "300ms", PATIENT, NULL);
    make_films(p);
    desk d;
    desk_open(&d, p, 1);
    fetcher f = {.p = p, .key = key, .script = {.value = "parent", .began = &began, .go = &go}};
    fetcher_start(&f);
    assert_true(gate_wait(&began, 5000));
    desk_fetch(&d, 0, other, NULL, 1, NULL);
    pond_load *load = desk_load(&d, 0, 1);
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork_off();
    if (child == 0) {
        NEED(write(pipes[1], "x", 1) == 1);
        NEED(pond_load_value(load, "child", 5, POND_TEXT, 0) == POND_ECLOSED);
        NEED(child_fetch(p, key, "child", one_cache ? "parent" : "child") == POND_OK);
        NEED(child_fetch(p, other, "child", one_cache ? "parent" : "child") == POND_OK);
        NEED(pond_stat(p, NULL, "loads") == (one_cache ? 0 : 2));
        whole_life(p, key, "child");
        _exit(0);
    }
    char c;
    assert_int_equal(read(pipes[0], &c, 1), 1);
    desk_drive(&d, 600); /* two leases long: the child must not get it, nor disturb its renewal */
    gate_open(&go);
    answer_text(load, "parent");
    desk_value(&d, 0, 1, "parent");
    fetcher_join(&f);
    assert_string_equal(f.text, "parent");
    desk_drive(&d, 50);
    assert_int_equal(status_of(child), 0);
    assert_int_equal(pond_stat(p, NULL, "loads"), 2);
    desk_close(&d);
    pond_free(p);
    close(pipes[0]);
    close(pipes[1]);
    gate_destroy(&began);
    gate_destroy(&go);
}

/* What a child opens and closes itself leaves nothing behind. */
static void a_child_leaks_nothing_of_its_own(void **state) {
    (void)state;
    pond *p = made();
    make_films(p);
    assert_string_equal(fetch_text(p, key, NULL, "x"), "x");
    pid_t child = fork_off();
    if (child == 0) {
        whole_life(p, key, "child");
        size_t fds = count_fds(), threads = count_threads();
        for (int i = 0; i < 20; i++) {
            whole_life(made(), key, "own");
        }
        NEED(count_fds() == fds);
        for (int i = 0; i < 5000 && count_threads() != threads; i++) rest_ms(1);
        NEED(count_threads() == threads);
        _exit(0);
    }
    assert_int_equal(status_of(child), 0);
    pond_free(p);
}

/* ---- many threads ---- */

typedef struct noise {
    pond *p;
    atomic_bool stop;
    atomic_int calls, errors;
} noise;

static void *make_noise(void *arg) {
    noise *n = arg;
    while (!atomic_load(&n->stop)) {
        char k[80], doc[] = "{\"n\":0}";
        snprintf(k, sizeof k, "%.60s-%u", key, dice(20));
        const char *keys[] = {k};
        const size_t lens[] = {strlen(k)};
        const char *options[] = {"namespace", k};
        pond_value *value = NULL;
        pond_policy *policy = NULL;
        int code = POND_OK;
        switch (dice(7)) {
        case 0: code = pond_invalidate(n->p, keys, lens, 1, NULL, NULL); break;
        case 1: code = pond_policy_new(&policy, n->p, NULL, options, 1, NULL); break;
        case 2: code = pond_stats(n->p, &value, NULL); break;
        case 3: code = pond_store_get(n->p, "films", "1", 1, &value, NULL); break;
        case 4: code = pond_store_put(n->p, "films", "2", 1, doc, strlen(doc), NULL); break;
        default: code = pond_fetch(n->p, k, strlen(k), NULL, say, "noise", &value, NULL);
        }
        pond_value_free(value);
        pond_policy_free(policy);
        if (code != POND_OK) atomic_fetch_add(&n->errors, 1);
        atomic_fetch_add(&n->calls, 1);
    }
    return NULL;
}

static void *open_and_close(void *arg) {
    noise *n = arg;
    while (!atomic_load(&n->stop)) {
        pond *p = made();
        pond_value *value = NULL;
        if (pond_fetch(p, key, strlen(key), NULL, say, "x", &value, NULL) != POND_OK) atomic_fetch_add(&n->errors, 1);
        pond_value_free(value);
        pond_free(p);
    }
    return NULL;
}

/* The locks are held by others in the moment of the fork, as often as not. */
static void forks_in_the_middle_of_everything(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* its allocator has locks of its own, which the child may find held */
#endif
    enum { THREADS = 6 };
    pond *p = made();
    make_films(p);
    desk d;
    desk_open(&d, p, 1);
    noise n = {.p = p};
    pthread_t threads[THREADS + 1];
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, make_noise, &n), 0);
    assert_int_equal(pthread_create(&threads[THREADS], NULL, open_and_close, &n), 0);
    int rounds = slow_build() ? 15 : 150, wrong = 0;
    for (int i = 0; i < rounds; i++) {
        char k[80];
        snprintf(k, sizeof k, "%.60s-%u", key, dice(20));
        desk_fetch(&d, 0, k, NULL, (uint64_t)i, NULL);
        pond_queue_flush(d.queue[0]); /* its answer is under way, too */
        pid_t child = fork_off();
        if (child == 0) {
            whole_life(p, k, "child");
            pond_queue_free(d.queue[0]);
            _exit(0);
        }
        pond_event *event = desk_event(&d, 0, 5000);
        if (event && pond_event_kind(event) == POND_EVENT_LOAD) {
            answer_text(pond_event_load(event), "noise");
            pond_event_free(event);
            event = desk_event(&d, 0, 5000);
        }
        if (!event || pond_event_kind(event) != POND_EVENT_VALUE) wrong++;
        pond_event_free(event);
        if (status_of(child) != 0) wrong++;
    }
    atomic_store(&n.stop, true);
    for (int i = 0; i <= THREADS; i++) pthread_join(threads[i], NULL);
    print_message("%d forks beside %d calls of other threads\n", rounds, atomic_load(&n.calls));
    assert_int_equal(wrong, 0);
    assert_int_equal(atomic_load(&n.errors), 0);
    assert_true(atomic_load(&n.calls) > rounds);
    desk_close(&d);
    pond_free(p);
}

int fork_cases(const char *url, bool shared) {
#ifdef __SANITIZE_THREAD__
    puts("skipped: a child's threads get the ids of the parent's, and TSan ends it (\"dup thread with used id\")");
    return 0;
#endif
    cache_url = url;
    one_cache = shared;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_child_has_its_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_child_that_only_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_loader_that_forks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_loader_of_many_that_forks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_wait_that_forks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_close_that_forks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(loads_under_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_child_leaks_nothing_of_its_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(forks_in_the_middle_of_everything, set_up, tear_down),
    };
    watchdog(100);
    return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
