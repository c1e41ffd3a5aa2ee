/* An increment whose answer was lost with the server that gave it: what its caller is told, and what was counted. */
#include "support/support.h"

#include <pthread.h>

#include "pattern/behind/backlog.h"
#include "support/redis.h"
#include "support/relay.h"
#include "support/server.h"

static char folder[SHOP_FOLDER], address[SHOP_ADDRESS], ns[64];

static int set_up(void **state) {
    (void)state;
    watchdog(110);
    shop_make(folder, address);
    snprintf(ns, sizeof ns, "%s", fresh("doubt"));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return shop_remove(folder);
}

static pond *made(const char *url, const char *worker) {
    return pond_made(url, "store", address, "namespace", ns, "worker", worker, "command_timeout", "20s", NULL);
}

static pond_collection *films(pond *p) {
    const char *const options[] = {"write", "behind"};
    return films_made(p, options, 1);
}

typedef struct increment {
    pthread_t thread;
    pond_collection *c;
    int code;
    bool retriable;
    char text[300];
} increment;

static void *count_one(void *arg) {
    increment *i = arg;
    pond_error *err = NULL;
    i->code = pond_collection_increment(i->c, "1", 1, "n", 1, 1, &err);
    i->retriable = err && pond_error_retriable(err);
    snprintf(i->text, sizeof i->text, "%s", err ? pond_error_message(err) : "");
    pond_error_free(err);
    return NULL;
}

static bool waits(redisContext *redis) {
    long long n = 0;
    for (int i = 0; i < MP_BACKLOG_SHARDS; i++) n += redis_number(redis, "EXISTS mp:i:{%s/films:%d}s1", ns, i);
    return n > 0;
}

typedef enum memory { NONE, OLD, ALL } memory; /* what the server comes back with */

/* The document is counted up by one who does not get the answer: the server dies, and comes back. `stored`: a worker has taken it to the
 * store before. Then the document has `n`, and one more. */
static void play(memory keeps, bool stored, int code, int n) {
    char url[64];
    server *redis = server_start(NULL);
    relay *between = relay_start_to(server_url(redis));
    pond *near = made(server_url(redis), "on");
    pond_collection *d = films(near);
    assert_int_equal(pond_collection_change(d, POND_REPLACE, "1", 1, "{\"n\":-1}", 8, NULL, NULL, NULL, NULL), POND_OK);
    assert_int_equal(pond_collection_increment(d, "1", 1, "n", 1, 1, NULL),
                     POND_OK); /* the server knows its script now */
    assert_int_equal(pond_collection_flush(d, 10000, NULL), POND_OK);
    pond_collection_free(d);
    assert_int_equal(pond_close(near, 10000), POND_OK);
    pond_free(near);
    if (keeps == OLD) redis_do(server_client(redis), "SAVE");

    snprintf(url, sizeof url, "redis://127.0.0.1:%d", relay_port(between));
    pond *far = made(url, "off");
    increment one = {.c = films(far)};
    films_read(one.c, "1", "{\"id\":\"1\",\"n\":0}");
    relay_hold(between);
    assert_int_equal(pthread_create(&one.thread, NULL, count_one, &one), 0);
    for (int64_t until = clock_ms() + 10000; !waits(server_client(redis)); rest_ms(2))
        assert_true(clock_ms() < until); /* it is accepted */
    if (stored) {
        near = made(server_url(redis), "on");
        d = films(near);
        assert_int_equal(pond_collection_flush(d, 10000, NULL), POND_OK);
        pond_collection_free(d);
        pond_free(near);
    }
    server_kill(redis, keeps == ALL);
    server_again(redis); /* before its client knows: it is to be found at the first try */
    relay_drop(between);
    pthread_join(one.thread, NULL);
    if (one.code != code) fail_msg("%d: %s", one.code, one.text);
    if (code != POND_OK) {
        if (!strstr(one.text, "it may have counted")) fail_msg("%s", one.text);
        assert_false(one.retriable);
    }

    char text[64];
    snprintf(text, sizeof text, "{\"id\":\"1\",\"n\":%d}", n);
    films_read(one.c, "1", text);
    count_one(&one); /* and it goes on as if nothing had been */
    if (one.code != POND_OK) fail_msg("%s", one.text);
    snprintf(text, sizeof text, "{\"id\":\"1\",\"n\":%d}", n + 1);
    films_read(one.c, "1", text);
    near = made(server_url(redis), "on");
    d = films(near);
    assert_int_equal(pond_collection_flush(d, 10000, NULL), POND_OK);
    pond_collection_free(d);
    pond_free(near);
    pond_value *value = NULL;
    assert_int_equal(pond_store_get(far, "films", "1", 1, &value, NULL), POND_OK);
    assert_string_equal(pond_value_data(value, NULL), text);
    pond_value_free(value);
    pond_collection_free(one.c);
    pond_free(far);
    relay_stop(between);
    server_stop(redis);
}

static void a_server_that_comes_back_empty(void **state) {
    (void)state;
    play(NONE, false, POND_ECACHE, 0);
}

static void a_server_that_comes_back_with_an_old_memory(void **state) {
    (void)state;
    play(OLD, false, POND_ECACHE, 0);
}

/* Why nobody may repeat it: it has counted. */
static void what_was_stored_before(void **state) {
    (void)state;
    play(NONE, true, POND_ECACHE, 1);
    snprintf(ns, sizeof ns, "%s", fresh("doubt"));
    shop_remove(folder);
    shop_make(folder, address);
    play(OLD, true, POND_ECACHE, 1);
}

/* Nothing is lost: its number is known, and it is not in doubt. */
static void a_server_that_comes_back_with_all(void **state) {
    (void)state;
    play(ALL, false, POND_OK, 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_server_that_comes_back_empty),
        CASE(a_server_that_comes_back_with_an_old_memory),
        CASE(what_was_stored_before),
        CASE(a_server_that_comes_back_with_all),
    };
    return cmocka_run_group_tests_name("behind_doubt_redis", tests, NULL, NULL);
}
