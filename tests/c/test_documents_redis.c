/* Changes of documents on Redis: the common cases, a cache that cannot be reached, and two writers of one document.
 *
 * DOCUMENT_ROUNDS: how often those two meet (500). */
#include "support/document_cases.h"

#include <unistd.h>

#include "support/redis.h"
#include "support/server.h"
#include "support/shadow.h"

static char folder[SHOP_FOLDER], address[SHOP_ADDRESS];

static int set_up(void **state) {
    (void)state;
    shop_make(folder, address);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return shop_remove(folder);
}

static pond_collection *collection_made(pond *p, const char *how) {
    const char *const options[] = {"write", how};
    pond_collection *c = NULL;
    pond_error *err = NULL;
    if (pond_collection_new(&c, p, "films", options, 1, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
    assert_int_equal(pond_collection_prepare(c, NULL), POND_OK);
    return c;
}

static int change(pond_collection *c, pond_change_kind kind, const char *doc, pond_error **err) {
    return pond_collection_change(c, kind, "1", 1, doc, strlen(doc), NULL, NULL, NULL, err);
}

static void shows(pond *p, pond_collection *c, const char *text) {
    pond_value *cached = NULL, *stored = NULL;
    assert_int_equal(pond_collection_get(c, "1", 1, &cached, NULL), POND_OK);
    assert_int_equal(pond_store_get(p, "films", "1", 1, &stored, NULL), POND_OK);
    assert_string_equal(pond_value_data(cached, NULL), pond_value_data(stored, NULL));
    if (text) assert_string_equal(pond_value_data(cached, NULL), text);
    pond_value_free(cached);
    pond_value_free(stored);
}

static void a_cache_that_is_down(void **state) {
    (void)state;
    server *redis = server_start(NULL);
    pond *strict = pond_made(server_url(redis), "store", address, "connect_timeout", "200ms", NULL);
    pond *lenient = pond_made(server_url(redis), "store", address, "connect_timeout", "200ms", "when_cache_down_write",
                              "lenient", NULL);
    pond_collection *a = collection_made(strict, "through"), *b = collection_made(lenient, "through");
    pond_error *err = NULL;
    assert_int_equal(change(a, POND_CREATE, "{\"n\":1}", NULL), POND_OK);
    shows(lenient, b, "{\"id\":\"1\",\"n\":1}");
    server_kill(redis, true);
    assert_int_equal(change(a, POND_REPLACE, "{\"n\":2}", &err), POND_ECACHE);
    assert_non_null(strstr(pond_error_message(err), "nothing was written"));
    assert_true(pond_error_retriable(err));
    pond_error_free(err);
    shows(strict, a, "{\"id\":\"1\",\"n\":1}");
    assert_int_equal(change(b, POND_REPLACE, "{\"n\":3}", NULL), POND_OK);
    server_again(redis);                                  /* with the old document in it */
    assert_int_equal(pond_close(lenient, 5000), POND_OK); /* it waits until the cache has been told */
    shows(strict, a, "{\"id\":\"1\",\"n\":3}");
    pond_collection_free(a);
    pond_collection_free(b);
    pond_free(strict);
    pond_free(lenient);
    server_stop(redis);
}

/* ---- two writers of one document ---- */

typedef struct writer {
    pthread_t thread;
    pthread_barrier_t *meet;
    pond *p;
    pond_collection *films;
    int number, rounds, wrong;
    const char *why;
} writer;

static void *write_again_and_again(void *arg) {
    writer *w = arg;
    for (int i = 1; i <= w->rounds; i++) {
        char doc[40];
        snprintf(doc, sizeof doc, w->number ? "{\"b\":%d}" : "{\"a\":%d}", i);
        pthread_barrier_wait(w->meet);
        if (change(w->films, dice(3) ? POND_UPDATE : POND_REPLACE, doc, NULL) != POND_OK) w->wrong++;
        pthread_barrier_wait(w->meet); /* both are at rest: the cache shows what the store has */
        if (w->number == 0) continue;
        pond_value *cached = NULL, *stored = NULL;
        pond_collection_get(w->films, "1", 1, &cached, NULL);
        pond_store_get(w->p, "films", "1", 1, &stored, NULL);
        if (!cached || !stored || strcmp(pond_value_data(cached, NULL), pond_value_data(stored, NULL)) != 0) w->wrong++;
        pond_value_free(cached);
        pond_value_free(stored);
    }
    return NULL;
}

static void meet(const char *first, const char *second) {
    const char *given = getenv("DOCUMENT_ROUNDS"), *how[] = {first, second};
    pthread_barrier_t barrier;
    writer w[2];
    const char *ns = fresh("meet");
    pthread_barrier_init(&barrier, NULL, 2);
    for (int i = 0; i < 2; i++) {
        pond *p = pond_made(redis_url(), "store", address, "namespace", ns, "command_timeout", "5s", NULL);
        w[i] = (writer){.meet = &barrier, .p = p, .films = collection_made(p, how[i]), .number = i};
        w[i].rounds = given ? atoi(given) : slow_build() ? 100 : 500;
    }
    change(w[0].films, POND_CREATE, "{}", NULL);
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&w[i].thread, NULL, write_again_and_again, &w[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(w[i].thread, NULL);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(w[i].wrong, 0);
        shows(w[i].p, w[i].films, NULL);
        pond_collection_free(w[i].films);
        pond_free(w[i].p);
    }
    pthread_barrier_destroy(&barrier);
}

static void two_writers_through(void **state) {
    (void)state;
    meet("through", "through");
}

static void two_writers_aside(void **state) {
    (void)state;
    meet("aside", "aside");
}

static void one_writer_of_each_kind(void **state) {
    (void)state;
    meet("through", "aside");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    watchdog(getenv("DOCUMENT_ROUNDS") ? 3600 : 110);
    const struct CMUnitTest tests[] = {
        CASE(a_cache_that_is_down),
        CASE(two_writers_through),
        CASE(two_writers_aside),
        CASE(one_writer_of_each_kind),
    };
    int failed = document_cases(redis_url());
    return failed + cmocka_run_group_tests_name("documents_redis", tests, NULL, NULL);
}
