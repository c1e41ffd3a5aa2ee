/* The store behind sqlite: addresses, shared: locks, threads, fork() and kill. */
#include "sqlite_store.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "support/support.h"

static void another_program_writes(void **state) {
    fixture *f = *state;
    mp_store *hasty = opened(f->address, "20ms");
    sqlite3 *db = NULL;
    create(f->store, "films");
    put(f->store, "films", "1", "{\"a\":1}");
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE; UPDATE films SET doc = '{\"a\":2}'", NULL, NULL, NULL),
                     SQLITE_OK);
    put_fails(hasty, "films", "1", "{}", POND_ESTORE, 1, "store_timeout");
    assert_string_equal(get(hasty, "films", "1"), "{\"id\":\"1\",\"a\":1}"); /* readers do not wait */
    assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    assert_string_equal(get(hasty, "films", "1"), "{\"id\":\"1\",\"a\":2}");
    put(hasty, "films", "1", "{\"a\":3}");
    sqlite3_close(db);
    hasty->vt->close(hasty);
}

typedef struct taker {
    pthread_t thread;
    mp_sqlite_pool *pool;
    bool writes;
    int rc;
} taker;

static void *take_and_give(void *arg) {
    taker *t = arg;
    mp_sqlite_conn *conn;
    t->rc = mp_sqlite_take(t->pool, t->writes, &conn, NULL);
    if (t->rc == POND_OK) mp_sqlite_give(t->pool, conn);
    return NULL;
}

static void connections_are_bounded(void **state) {
    fixture *f = *state;
    mp_sqlite_pool *pool = NULL;
    mp_sqlite_conn *conn[2], *more = NULL;
    pond_error *err_of = NULL;
    ok(mp_sqlite_pool_open(&pool, f->path, 2, 20, e));
    ok(mp_sqlite_take(pool, true, &conn[0], e));
    int rc = mp_sqlite_take(pool, true, &more, &err_of);
    failed(rc, err_of, POND_ESTORE, 1, "another write of this process");
    ok(mp_sqlite_take(pool, false, &conn[1], e)); /* a reader is not held up */
    rc = mp_sqlite_take(pool, false, &more, (err_of = NULL, &err_of));
    failed(rc, err_of, POND_ESTORE, 1, "all connections were busy");
    mp_sqlite_give(pool, conn[0]);
    /* the writer's turn does not stay with who found no connection */
    ok(mp_sqlite_take(pool, false, &conn[0], e));
    rc = mp_sqlite_take(pool, true, &more, (err_of = NULL, &err_of));
    failed(rc, err_of, POND_ESTORE, 1, "all connections were busy");
    mp_sqlite_give(pool, conn[0]);
    ok(mp_sqlite_take(pool, true, &conn[0], e));
    mp_sqlite_give(pool, conn[0]);
    mp_sqlite_give(pool, conn[1]);
    mp_sqlite_pool_close(pool);
}

/* Each connection to :memory: would have a database of its own. */
static void memory_has_one_connection(void **state) {
    mp_sqlite_pool *pool = NULL;
    mp_sqlite_conn *conn = NULL, *more = NULL;
    pond_error *err = NULL;
    ok(mp_sqlite_pool_open(&pool, ":memory:", 8, 20, e));
    ok(mp_sqlite_take(pool, false, &conn, e));
    int rc = mp_sqlite_take(pool, false, &more, &err);
    failed(rc, err, POND_ESTORE, 1, "all connections were busy");
    mp_sqlite_give(pool, conn);
    mp_sqlite_pool_close(pool);
}

static void who_waits_is_woken(void **state) {
    fixture *f = *state;
    taker takers[6];
    mp_sqlite_conn *conn[2];
    mp_sqlite_pool *pool = NULL;
    ok(mp_sqlite_pool_open(&pool, f->path, 2, 60000, e)); /* longer than the test may take */
    ok(mp_sqlite_take(pool, true, &conn[0], e));
    ok(mp_sqlite_take(pool, false, &conn[1], e));
    for (int i = 0; i < 6; i++) {
        takers[i] = (taker){.pool = pool, .writes = i % 2 == 0, .rc = 1};
        assert_int_equal(pthread_create(&takers[i].thread, NULL, take_and_give, &takers[i]), 0);
    }
    mp_sqlite_give(pool, conn[1]);
    mp_sqlite_give(pool, conn[0]);
    for (int i = 0; i < 6; i++) {
        pthread_join(takers[i].thread, NULL);
        assert_int_equal(takers[i].rc, POND_OK);
    }
    mp_sqlite_pool_close(pool);
}

static void a_transaction_left_open(void **state) {
    fixture *f = *state;
    mp_sqlite_pool *pool = NULL;
    mp_sqlite_conn *conn = NULL;
    create(f->store, "films");
    ok(mp_sqlite_pool_open(&pool, f->path, 1, 1000, e));
    ok(mp_sqlite_take(pool, true, &conn, e));
    assert_int_equal(sqlite3_exec(conn->db, "BEGIN; INSERT INTO films VALUES('1', '{}', 0)", NULL, NULL, NULL),
                     SQLITE_OK);
    mp_sqlite_give(pool, conn);
    put(f->store, "films", "2", "{}"); /* its lock is gone, and so is what it wrote */
    assert_string_equal(get(f->store, "films", "1"), "absent");
    mp_sqlite_pool_close(pool);
}

typedef struct worker {
    pthread_t thread;
    mp_store *store;
    int number, wrong;
} worker;

static void *work(void *arg) {
    worker *w = arg;
    mp_store *s = w->store;
    for (int i = 0; i < 40; i++) {
        char id[16], doc[32], want[48];
        bool existed = false;
        int len = snprintf(id, sizeof id, "%d-%d", w->number, i % 10);
        int doc_len = snprintf(doc, sizeof doc, "{\"n\":%d}", i);
        snprintf(want, sizeof want, "{\"id\":\"%s\",\"n\":%d}", id, i);
        w->wrong += s->vt->put(s, "films", id, (size_t)len, doc, (size_t)doc_len, NULL) != POND_OK;
        w->wrong += !is(s, id, want);
        w->wrong += !is(s, "shared", "{\"id\":\"shared\",\"a\":1}");
        if (i % 4 != 0) continue;
        w->wrong += s->vt->remove(s, "films", id, (size_t)len, &existed, NULL) != POND_OK || !existed;
        w->wrong += !is(s, id, "absent");
    }
    return NULL;
}

static void from_many_threads(mp_store *s) {
    enum { N = 12 }; /* more than there are connections */
    worker workers[N];
    create(s, "films");
    put(s, "films", "shared", "{\"a\":1}");
    for (int i = 0; i < N; i++) {
        workers[i] = (worker){.store = s, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < N; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].wrong, 0);
    }
}

static void threads(void **state) {
    from_many_threads(((fixture *)*state)->store);
    mp_store *memory = opened("sqlite::memory:", "5s");
    from_many_threads(memory);
    memory->vt->close(memory);
}

typedef struct writer {
    pthread_t thread;
    mp_store *store;
    _Atomic int stop;
    int failures;
} writer;

/* First a, then b: at any moment, a is b or one more. */
static void *write_pairs(void *arg) {
    writer *w = arg;
    for (int i = 1; !w->stop; i++) {
        char doc[32];
        int len = snprintf(doc, sizeof doc, "{\"n\":%d}", i);
        w->failures += w->store->vt->put(w->store, "films", "a", 1, doc, (size_t)len, NULL) != POND_OK;
        w->failures += w->store->vt->put(w->store, "films", "b", 1, doc, (size_t)len, NULL) != POND_OK;
    }
    return NULL;
}

static void many_are_read_at_one_moment(void **state) {
    mp_store *s = ((fixture *)*state)->store;
    enum { N = 200 };
    const char *ids[N];
    size_t lens[N];
    pond_value *values[N];
    writer w = {.store = s};
    create(s, "films");
    put(s, "films", "a", "{\"n\":0}");
    put(s, "films", "b", "{\"n\":0}");
    for (int i = 0; i < N; i++) ids[i] = i == N - 1 ? "b" : i == 0 ? "a" : "none", lens[i] = strlen(ids[i]);
    assert_int_equal(pthread_create(&w.thread, NULL, write_pairs, &w), 0);
    int changes = 0, last = -1;
    for (int round = 0; round < 20000 && changes < 100; round++) {
        ok(s->vt->get_many(s, "films", ids, lens, N, values, e));
        int a = -1, b = -1;
        assert_int_equal(sscanf(pond_value_data(values[0], NULL), "{\"id\":\"a\",\"n\":%d}", &a), 1);
        assert_int_equal(sscanf(pond_value_data(values[N - 1], NULL), "{\"id\":\"b\",\"n\":%d}", &b), 1);
        for (int i = 0; i < N; i++) pond_value_free(values[i]);
        if (a < b || a > b + 1) fail_msg("a is %d when b is %d", a, b);
        changes += a != last;
        last = a;
    }
    w.stop = 1;
    pthread_join(w.thread, NULL);
    assert_int_equal(w.failures, 0);
    assert_true(changes >= 20); /* there was something to see */
}

/* Waits for a child; its exit status. */
static int status_of(pid_t child) {
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

/* One of several that open a new file at the same moment. */
static int newcomer(const char *address, int start, int number) {
    mp_store *s = NULL;
    pond_error *err = NULL;
    char id[16], c;
    snprintf(id, sizeof id, "%d", number);
    if (read(start, &c, 1) != 0) return 2; /* until the parent closes its end */
    bool fine = open_at(&s, address, "30s", "1MiB", &err) == POND_OK && s->vt->create(s, "films", &err) == POND_OK &&
                s->vt->put(s, "films", id, strlen(id), "{}", 2, &err) == POND_OK;
    if (!fine) print_error("%s\n", pond_error_message(err));
    else s->vt->close(s);
    pond_error_free(err);
    return fine ? 0 : 1;
}

static void a_new_file_by_many_processes(void **state) {
    fixture *f = *state;
    enum { N = 5, ROUNDS = 20 };
    char path[300], address[320];
    snprintf(path, sizeof path, "%s/moved.db", f->dir);
    snprintf(address, sizeof address, "sqlite:%s", path);
    for (int round = 0; round < ROUNDS; round++) {
        pid_t children[N];
        int start[2];
        assert_int_equal(pipe(start), 0);
        for (int i = 0; i < N; i++) {
            children[i] = fork();
            assert_true(children[i] >= 0);
            if (children[i] > 0) continue;
            close(start[1]);
            _exit(newcomer(address, start[0], i));
        }
        close(start[0]);
        close(start[1]);
        for (int i = 0; i < N; i++) assert_int_equal(status_of(children[i]), 0);
        mp_store *s = opened(address, "5s");
        for (int i = 0; i < N; i++) {
            char id[16];
            snprintf(id, sizeof id, "%d", i);
            assert_string_not_equal(get(s, "films", id), "absent");
        }
        s->vt->close(s); /* the last to close removes the log */
        assert_int_equal(unlink(path), 0);
    }
}

/* The child says, over a pipe, when it is time for the parent to go on, and the other way round. */
static void signal_on(int fd) {
    if (write(fd, "x", 1) != 1) abort();
}

static void wait_on(int fd) {
    char c;
    if (read(fd, &c, 1) != 1) abort();
}

static int child_life(mp_store *s, int from_parent, int to_parent) {
    if (!is(s, "1", "{\"id\":\"1\",\"by\":\"parent\"}")) return 1;
    if (!put_ok(s, "2", "{\"by\":\"child\"}")) return 2;
    signal_on(to_parent);
    wait_on(from_parent); /* the parent has written, and closed its store: its last connection */
    if (!is(s, "3", "{\"id\":\"3\",\"by\":\"parent\"}")) return 3;
    for (int i = 0; i < 50; i++)
        if (!put_ok(s, "4", "{\"by\":\"child\"}")) return 4;
    signal_on(to_parent);
    wait_on(from_parent); /* the parent has seen it through a new store, and closed that too */
    if (!put_ok(s, "5", "{\"by\":\"child\"}")) return 5;
    pid_t grandchild = fork(); /* and once more from here */
    if (grandchild == 0) _exit(is(s, "5", "{\"id\":\"5\",\"by\":\"child\"}") && put_ok(s, "6", "{}") ? 0 : 1);
    int status;
    if (waitpid(grandchild, &status, 0) != grandchild || !WIFEXITED(status) || WEXITSTATUS(status) != 0) return 6;
    if (!put_ok(s, "7", "{}")) return 7;
    s->vt->close(s);
    return 0;
}

static void a_forked_child_has_its_own_connections(void **state) {
    fixture *f = *state;
    int down[2], up[2];
    assert_int_equal(pipe(down), 0);
    assert_int_equal(pipe(up), 0);
    create(f->store, "films");
    assert_true(put_ok(f->store, "1", "{\"by\":\"parent\"}"));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(child_life(f->store, down[0], up[1]));
    wait_on(up[0]);
    assert_string_equal(get(f->store, "films", "2"), "{\"id\":\"2\",\"by\":\"child\"}");
    assert_true(put_ok(f->store, "3", "{\"by\":\"parent\"}"));
    f->store->vt->close(f->store);
    signal_on(down[1]);
    wait_on(up[0]);
    f->store = opened(f->address, "5s");
    assert_string_equal(get(f->store, "films", "4"), "{\"id\":\"4\",\"by\":\"child\"}");
    f->store->vt->close(f->store);
    f->store = NULL;
    signal_on(down[1]);
    assert_int_equal(status_of(child), 0);
    f->store = opened(f->address, "5s");
    for (int i = 1; i <= 7; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        assert_string_not_equal(get(f->store, "films", id), "absent");
    }
    assert_string_equal(sql(f, "PRAGMA integrity_check"), "ok");
    for (int i = 0; i < 2; i++) close(down[i]), close(up[i]);
}

/* Two stores on one file, and the child uses one of them: SQLite must not count the other's locks for the child's. */
static void a_child_of_two_stores(void **state) {
    fixture *f = *state;
    int down[2], up[2];
    assert_int_equal(pipe(down), 0);
    assert_int_equal(pipe(up), 0);
    mp_store *other = opened(f->address, "5s");
    create(f->store, "films");
    assert_true(put_ok(other, "1", "{}"));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(60);
        if (!put_ok(f->store, "2", "{}")) _exit(1);
        signal_on(up[1]);
        wait_on(down[0]); /* the parent has closed its last connection, which must not take the log along */
        if (!put_ok(f->store, "3", "{}")) _exit(2);
        _exit(put_ok(other, "4", "{}") ? 0 : 3);
    }
    wait_on(up[0]);
    other->vt->close(other);
    f->store->vt->close(f->store);
    f->store = NULL;
    char log[sizeof f->path + 8];
    snprintf(log, sizeof log, "%s-wal", f->path);
    assert_int_equal(access(log, F_OK), 0);
    signal_on(down[1]);
    assert_int_equal(status_of(child), 0);
    f->store = opened(f->address, "5s");
    assert_string_equal(sql(f, "SELECT count(*) FROM films"), "4");
    assert_string_equal(sql(f, "PRAGMA integrity_check"), "ok");
    for (int i = 0; i < 2; i++) close(down[i]), close(up[i]);
}

typedef struct busy {
    mp_sqlite_pool *pool;
    int64_t ms;
    atomic_bool began;
} busy;

static void *be_busy(void *arg) {
    busy *b = arg;
    mp_sqlite_conn *conn;
    if (mp_sqlite_take(b->pool, false, &conn, NULL) != POND_OK) return arg;
    atomic_store(&b->began, true);
    rest_ms(b->ms);
    mp_sqlite_give(b->pool, conn);
    return NULL;
}

/* A call under way holds a fork up for a moment; one that lasts does not, and then the child is told. */
static void a_fork_waits_for_calls(void **state) {
    fixture *f = *state;
    static const struct {
        int64_t call_ms;
        int status;
        int64_t least_ms, most_ms; /* that the fork takes; a slow machine may take its time */
    } cases[] = {{30, 0, 0, 5000}, {2000, 1, 90, 1500}};
    create(f->store, "films");
    for (size_t i = 0; i < 2; i++) {
        mp_sqlite_pool *pool = NULL;
        pthread_t thread;
        void *failed;
        ok(mp_sqlite_pool_open(&pool, f->path, 2, 1000, e));
        busy b = {.pool = pool, .ms = cases[i].call_ms};
        assert_int_equal(pthread_create(&thread, NULL, be_busy, &b), 0);
        while (!atomic_load(&b.began)) rest_ms(1);
        int64_t began = mp_clock_ms();
        pid_t child = fork();
        int64_t took = mp_clock_ms() - began;
        assert_true(child >= 0);
        if (child == 0) _exit(put_ok(f->store, "1", "{}") ? 0 : 1);
        assert_int_equal(status_of(child), cases[i].status);
        assert_in_range(took, cases[i].least_ms, cases[i].most_ms);
        assert_int_equal(pthread_join(thread, &failed), 0);
        assert_null(failed);
        mp_sqlite_pool_close(pool);
    }
}

static void a_child_that_only_closes(void **state) {
    fixture *f = *state;
    create(f->store, "films");
    assert_true(put_ok(f->store, "1", "{}"));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        f->store->vt->close(f->store);
        _exit(0);
    }
    assert_int_equal(status_of(child), 0);
    assert_true(put_ok(f->store, "2", "{}"));
    assert_string_not_equal(get(f->store, "films", "1"), "absent");
    assert_string_equal(sql(f, "SELECT count(*) FROM films"), "2");
}

static void a_child_that_cannot_be_served(void **state) {
    fixture *f = *state;
    mp_sqlite_pool *pool = NULL;
    mp_sqlite_conn *conn = NULL;
    mp_store *memory = opened("sqlite::memory:", "5s");
    create(memory, "films");
    ok(mp_sqlite_pool_open(&pool, f->path, 2, 1000, e));
    ok(mp_sqlite_take(pool, false, &conn, e)); /* a call is under way */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        pond_value *value = NULL;
        pond_error *err = NULL;
        mp_sqlite_conn *none = NULL;
        int wrong = 0;
        for (int i = 0; i < 2; i++) {
            wrong += mp_sqlite_take(pool, false, &none, &err) != POND_ESTORE || pond_error_retriable(err);
            wrong += strstr(pond_error_message(err), "under way") == NULL;
            pond_error_free(err);
            err = NULL;
            wrong += memory->vt->get(memory, "films", "1", 1, &value, &err) != POND_ESTORE || pond_error_retriable(err);
            wrong += strstr(pond_error_message(err), "fork") == NULL;
            pond_error_free(err);
            err = NULL;
        }
        mp_sqlite_pool_close(pool);
        memory->vt->close(memory);
        _exit(wrong);
    }
    assert_int_equal(status_of(child), 0);
    mp_sqlite_give(pool, conn);
    ok(mp_sqlite_take(pool, true, &conn, e)); /* the parent goes on */
    mp_sqlite_give(pool, conn);
    mp_sqlite_pool_close(pool);
    put(memory, "films", "1", "{}");
    memory->vt->close(memory);
}

/* What was acknowledged is there after the process was killed, and the file is whole. */
static void killed_in_mid_write(void **state) {
    fixture *f = *state;
    create(f->store, "films");
    f->store->vt->close(f->store);
    f->store = NULL;
    for (int round = 0; round < 5; round++) {
        int up[2];
        assert_int_equal(pipe(up), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            mp_store *s = opened(f->address, "5s");
            for (int i = 0;; i++) {
                char id[32];
                snprintf(id, sizeof id, "%d-%d", round, i);
                if (!put_ok(s, id, "{\"a\":1}")) _exit(1);
                if (write(up[1], &i, sizeof i) != sizeof i) _exit(2);
            }
        }
        int last = -1;
        for (int i = 0; i < 20 + round * 7; i++) assert_int_equal(read(up[0], &last, sizeof last), sizeof last);
        kill(child, SIGKILL);
        assert_int_equal(status_of(child), 1000 + SIGKILL);
        close(up[1]);
        for (int acked; read(up[0], &acked, sizeof acked) == sizeof acked;) last = acked;
        close(up[0]);
        f->store = opened(f->address, "5s");
        for (int i = 0; i <= last; i++) {
            char id[32];
            snprintf(id, sizeof id, "%d-%d", round, i);
            assert_string_not_equal(get(f->store, "films", id), "absent");
        }
        assert_string_equal(sql(f, "PRAGMA integrity_check"), "ok");
        f->store->vt->close(f->store);
        f->store = NULL;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_a_file(another_program_writes),
        in_a_file(connections_are_bounded),
        cmocka_unit_test(memory_has_one_connection),
        in_a_file(who_waits_is_woken),
        in_a_file(a_transaction_left_open),
        in_a_file(threads),
        in_a_file(many_are_read_at_one_moment),
        in_a_file(a_new_file_by_many_processes),
        in_a_file(a_forked_child_has_its_own_connections),
        in_a_file(a_child_of_two_stores),
        in_a_file(a_fork_waits_for_calls),
        in_a_file(a_child_that_only_closes),
        in_a_file(a_child_that_cannot_be_served),
        in_a_file(killed_in_mid_write),
    };
    return cmocka_run_group_tests_name("sqlite_pool", tests, NULL, NULL);
}
