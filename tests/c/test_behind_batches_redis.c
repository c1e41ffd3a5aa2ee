/* A worker with more before it than a batch: it takes the next one while the store has this one, and acknowledges the last one then. The store is
 * locked in the midst of that, so that one batch is there and another one in its hands. */
#include "support/support.h"

#include <sqlite3.h>
#include <unistd.h>

#include "support/redis.h"

enum { DOCUMENTS = 6000, AGAIN = 200 };

static char folder[SHOP_FOLDER], address[SHOP_ADDRESS], ns[64];
static size_t others;
static redisContext *redis;

static int set_up(void **state) {
    (void)state;
    watchdog(110);
    shop_make(folder, address);
    snprintf(ns, sizeof ns, "%s", fresh("batches"));
    others = count_threads();
    redis = redis_open(redis_url());
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    redisFree(redis);
    return shop_remove(folder);
}

/* ---- a pond whose worker is in the midst of it ---- */

typedef struct side {
    pond *p;
    pond_collection *films;
} side;

static side opened(const char *worker) {
    const char *const options[] = {"write", "behind"};
    side s = {.p = pond_made(redis_url(), "store", address, "namespace", ns, "worker", worker, "store_timeout", "20s",
                             "command_timeout", "5s", NULL)};
    s.films = films_made(s.p, options, 1);
    return s;
}

static void freed(side *s) {
    pond_collection_free(s->films);
    pond_free(s->p);
}

static void closed(side *s) {
    assert_int_equal(pond_close(s->p, 30000), POND_OK);
    freed(s);
}

static void writes(side *s, int id, int number) {
    char name[16], text[32];
    pond_error *err = NULL;
    snprintf(name, sizeof name, "%d", id);
    snprintf(text, sizeof text, "{\"n\":%d}", number);
    if (pond_collection_change(s->films, POND_REPLACE, name, strlen(name), text, strlen(text), NULL, NULL, NULL,
                               &err) != POND_OK)
        fail_msg("%s", pond_error_message(err));
}

static int64_t in_store(int number) {
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    assert_int_equal(sqlite3_open(address + strlen("sqlite:"), &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    assert_int_equal(
        sqlite3_prepare_v2(db, "SELECT count(*) FROM films WHERE json_extract(doc, '$.n') = ?", -1, &s, NULL),
        SQLITE_OK);
    sqlite3_bind_int(s, 1, number);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return n;
}

static long long waiting(void) {
    long long n = 0;
    for (int i = 0; i < 16; i++) n += redis_number(redis, "LLEN mp:q:{%s/films:%d}", ns, i);
    return n;
}

/* Between two transactions of the worker there is not much time. */
static int at_once(void *ctx, int times) {
    (void)ctx;
    (void)times;
    usleep(100);
    return 1;
}

static sqlite3 *lock(void) {
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(address + strlen("sqlite:"), &db), SQLITE_OK);
    sqlite3_busy_handler(db, at_once, NULL);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    return db;
}

static void unlock(sqlite3 *db) {
    assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* Documents wait, all with n = 1, and the store is locked when the worker has begun with them. */
static side stuck(side *writer, sqlite3 **db) {
    *writer = opened("off");
    for (int i = 0; i < DOCUMENTS; i++) writes(writer, i, 1);
    side worker = opened("on");
    for (int64_t until = clock_ms() + 20000; waiting() == DOCUMENTS; rest_ms(1)) assert_true(clock_ms() < until);
    *db = lock();
    rest_ms(300);
    assert_true(waiting() > 0);
    return worker;
}

static void all_is_there(int again) {
    assert_int_equal(in_store(1), DOCUMENTS - again);
    assert_int_equal(in_store(2), again);
    assert_int_equal(waiting(), 0);
}

static void settles(side *s) {
    pond_error *err = NULL;
    if (pond_collection_flush(s->films, 60000, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
}

/* ---- */

/* What was stored before goes while the store does not answer; nothing goes that is not stored. */
static void what_goes_is_stored(void **state) {
    (void)state;
    side writer, worker;
    sqlite3 *db;
    worker = stuck(&writer, &db);
    assert_int_equal(waiting(), DOCUMENTS - in_store(1));
    unlock(db);
    settles(&writer);
    all_is_there(0);
    closed(&worker);
    closed(&writer);
    await_threads(others);
}

/* Of what the worker has in its hands, too: it is stored again, as it is now. */
static void what_is_written_meanwhile(void **state) {
    (void)state;
    side writer, worker;
    sqlite3 *db;
    worker = stuck(&writer, &db);
    for (int i = 0; i < AGAIN; i++) writes(&writer, i * (DOCUMENTS / AGAIN), 2);
    unlock(db);
    settles(&writer);
    all_is_there(AGAIN);
    closed(&worker);
    closed(&writer);
    await_threads(others);
}

static void connections_are_cut(void **state) {
    (void)state;
    side writer, worker;
    sqlite3 *db;
    worker = stuck(&writer, &db);
    for (int i = 0; i < 5; i++) {
        redis_do(redis, "CLIENT KILL TYPE normal SKIPME yes");
        rest_ms(20);
    }
    unlock(db);
    for (int i = 0; i < 5; i++) {
        redis_do(redis, "CLIENT KILL TYPE normal SKIPME yes");
        rest_ms(3);
    }
    settles(&writer);
    all_is_there(0);
    closed(&worker);
    closed(&writer);
    await_threads(others);
}

/* The round ends with the batch that is in the store; the next worker goes on. */
static void a_close_in_the_midst(void **state) {
    (void)state;
    side writer, worker;
    sqlite3 *db;
    worker = stuck(&writer, &db);
    assert_int_equal(pond_close(worker.p, 100), POND_ETIMEOUT);
    freed(&worker);
    unlock(db);
    closed(&writer);
    await_threads(others);
    assert_true(waiting() > 0);
    side other = opened("on");
    settles(&other);
    all_is_there(0);
    closed(&other);
    await_threads(others);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(what_goes_is_stored),
        CASE(what_is_written_meanwhile),
        CASE(connections_are_cut),
        CASE(a_close_in_the_midst),
    };
    return cmocka_run_group_tests_name("behind_batches_redis", tests, NULL, NULL);
}
