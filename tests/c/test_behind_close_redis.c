/* Closing while a worker is at work, and cannot end: its store is locked, or Redis hangs. */
#include "support/support.h"

#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "pattern/behind/backlog.h"
#include "support/redis.h"
#include "support/server.h"

/* How long the store waits for its lock; how long a close may take that has 100 ms: half of it, or, where nothing is slow, what is promised. */
enum { LOCKED_MS = 3000, CLOSE_MS = 100, OVER_MS = 1500 };

static char folder[SHOP_FOLDER], address[SHOP_ADDRESS], ns[64];
static size_t others;

static int set_up(void **state) {
    (void)state;
    watchdog(110);
    shop_make(folder, address);
    snprintf(ns, sizeof ns, "%s", fresh("close"));
    others = count_threads();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return shop_remove(folder);
}

static pond *made(const char *url, const char *worker) {
    return pond_made(url, "store", address, "namespace", ns, "worker", worker, "store_timeout", "3s", "command_timeout",
                     "5s", NULL);
}

static pond_collection *films(pond *p) {
    const char *const options[] = {"write", "behind"};
    return films_made(p, options, 1);
}

static void replaces(pond_collection *c, const char *id) {
    pond_error *err = NULL;
    if (pond_collection_change(c, POND_REPLACE, id, strlen(id), "{}", 2, NULL, NULL, NULL, &err) != POND_OK)
        fail_msg("%s", pond_error_message(err));
}

static void replaced_and_stored(pond_collection *c, const char *id) {
    replaces(c, id);
    assert_int_equal(pond_collection_flush(c, 10000, NULL), POND_OK);
}

/* Somebody else's transaction. */
static sqlite3 *lock(void) {
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(address + strlen("sqlite:"), &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    return db;
}

static void unlock(sqlite3 *db) {
    assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static long long hints(redisContext *redis) {
    long long n = 0;
    for (int i = 0; i < MP_BACKLOG_SHARDS; i++) n += redis_number(redis, "EXISTS mp:t:{%s/films:%d}", ns, i);
    return n;
}

static long long waiting(redisContext *redis) {
    long long n = 0;
    for (int i = 0; i < MP_BACKLOG_SHARDS; i++) n += redis_number(redis, "LLEN mp:q:{%s/films:%d}", ns, i);
    return n;
}

/* A pond whose worker waits for the store. */
static pond *stuck(pond_collection **c, sqlite3 **db) {
    pond *p = made(redis_url(), "on");
    *c = films(p);
    replaced_and_stored(*c, "1"); /* its shards are owned */
    *db = lock();
    replaces(*c, "1"); /* of whose shard the epoch is known */
    rest_ms(300);      /* in the midst of a round, or in the next */
    return p;
}

static void closes(pond *p, int code) {
    int64_t began = clock_ms();
    assert_int_equal(pond_close(p, CLOSE_MS), code);
    assert_in_range(clock_ms() - began, 0, OVER_MS);
}

static void frees(pond *p) {
    int64_t began = clock_ms();
    pond_free(p);
    assert_in_range(clock_ms() - began, 0, OVER_MS);
}

/* The job ends in its own time, and the shards are free then: nobody waits for 10 s. */
static void given_back(redisContext *redis, int64_t within_ms) {
    for (int64_t until = clock_ms() + within_ms; hints(redis); rest_ms(10)) assert_true(clock_ms() < until);
}

/* ---- */

static void a_close_keeps_its_time(void **state) {
    (void)state;
    redisContext *redis = redis_open(redis_url());
    pond_collection *c;
    sqlite3 *db;
    pond *p = stuck(&c, &db);
    closes(p, POND_ETIMEOUT);
    pond_error *err = NULL;
    assert_int_equal(pond_collection_change(c, POND_REPLACE, "3", 1, "{}", 2, NULL, NULL, NULL, &err), POND_ECLOSED);
    pond_error_free(err);
    assert_true(hints(redis) > 0);
    pond_collection_free(c);
    frees(p);
    unlock(db);
    given_back(redis, 5000);
    await_threads(others);
    assert_int_equal(waiting(redis), 1); /* it could not be told of any more; the next one does it again */
    p = made(redis_url(), "on");
    c = films(p);
    int64_t began = clock_ms();
    assert_int_equal(pond_collection_flush(c, 10000, NULL), POND_OK);
    assert_true(clock_ms() - began < 5000);
    assert_int_equal(pond_close(p, 10000), POND_OK);
    pond_collection_free(c);
    pond_free(p);
    redisFree(redis);
}

/* Who closes again waits for what was left. */
static void a_second_close(void **state) {
    (void)state;
    redisContext *redis = redis_open(redis_url());
    pond_collection *c;
    sqlite3 *db;
    pond *p = stuck(&c, &db);
    closes(p, POND_ETIMEOUT);
    closes(p, POND_ETIMEOUT);
    unlock(db);
    assert_int_equal(pond_close(p, 20000), POND_OK);
    assert_int_equal(hints(redis), 0);
    closes(p, POND_OK);
    pond_collection_free(c);
    pond_free(p);
    await_threads(others);
    redisFree(redis);
}

static void a_pond_that_is_freed_without_a_close(void **state) {
    (void)state;
    redisContext *redis = redis_open(redis_url());
    pond_collection *c;
    sqlite3 *db;
    pond *p = stuck(&c, &db);
    pond_collection_free(c);
    frees(p);
    unlock(db);
    given_back(redis, 5000);
    await_threads(others);
    redisFree(redis);
}

/* A round that is as long as they are is waited for, also by a close that has no time. */
static void a_round_ends(void **state) {
    (void)state;
    redisContext *redis = redis_open(redis_url());
    for (int i = 0; i < 20; i++) {
        pond *p = made(redis_url(), "on");
        pond_collection *c = films(p);
        replaces(c, "1");
        rest_ms(dice(60));
        int code = pond_close(p, dice(2) ? 0 : 10000);
        assert_true(code == POND_OK || code == POND_ETIMEOUT);
        pond_collection_free(c);
        pond_free(p);
        given_back(redis, 2000);
    }
    await_threads(others);
    redisFree(redis);
}

static void a_redis_that_hangs(void **state) {
    (void)state;
    server *redis = server_start(NULL);
    for (int working = 0; working < 2; working++) {
        snprintf(ns, sizeof ns, "%s", fresh("close")); /* it could not be told of the end of the one before */
        pond *p = made(server_url(redis), "on");
        pond_collection *c = films(p);
        replaced_and_stored(c, "1");
        if (!working) rest_ms(100); /* between two rounds, as a rule */
        server_freeze(redis, true);
        if (working) rest_ms(1000); /* within one */
        int64_t began = clock_ms();
        pond_close(p, CLOSE_MS); /* of what it says either is right */
        assert_in_range(clock_ms() - began, 0, OVER_MS);
        pond_collection_free(c);
        frees(p);
        server_freeze(redis, false);
        await_threads(others);
    }
    server_stop(redis);
}

/* ---- the end of a process ---- */

/* In a child, whose exit code says whether it ended well, without a leak either. */
static void in_a_child(void (*act)(void)) {
    pid_t child = fork();
    if (child == 0) {
        act();
        exit(0);
    }
    int status = -1;
    for (int64_t until = clock_ms() + 20000; waitpid(child, &status, WNOHANG) == 0; rest_ms(10))
        assert_true(clock_ms() < until);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void ends_in_the_midst(void) {
    pond_collection *c;
    sqlite3 *db;
    pond *p = stuck(&c, &db);
    if (pond_close(p, CLOSE_MS) != POND_ETIMEOUT) _exit(2);
    pond_collection_free(c);
    pond_free(p);
    sqlite3_close(db);
}

static void a_process_that_ends_meanwhile(void **state) {
    (void)state;
    in_a_child(ends_in_the_midst);
}

static pond *inherited;

static void ends_what_it_inherited(void) {
    if (pond_close(inherited, CLOSE_MS) != POND_OK) _exit(2);
    pond_free(inherited);
    _exit(0); /* what the thread of the job had in its hands stands nowhere in this process, and looks leaked */
}

static void reads_the_counters_of_what_it_inherited(void) {
    pond_value *value = NULL;
    if (pond_stats(inherited, &value, NULL) != POND_OK) _exit(2);
    pond_value_free(value);
    ends_what_it_inherited();
}

static void a_child_of_who_left_a_job(void **state) {
    (void)state;
    pond_collection *c;
    sqlite3 *db;
    inherited = stuck(&c, &db);
    pond *p = inherited;
    closes(p, POND_ETIMEOUT);
    pond_collection_free(c);
    in_a_child(ends_what_it_inherited);
    in_a_child(reads_the_counters_of_what_it_inherited);
    unlock(db);
    frees(p);
    inherited = NULL;
    await_threads(others);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_process_that_ends_meanwhile), /* before there are threads */
        CASE(a_close_keeps_its_time),
        CASE(a_second_close),
        CASE(a_pond_that_is_freed_without_a_close),
        CASE(a_round_ends),
        CASE(a_redis_that_hangs),
        CASE(a_child_of_who_left_a_job),
    };
    return cmocka_run_group_tests_name("behind_close_redis", tests, NULL, NULL);
}
