/* Change events on a stream in Redis, directly and from the outbox. (RabbitMQ: tests/cross/test_events.py.) */
#include <unistd.h>

#include "support/redis.h"
#include "support/server.h"
#include "support/support.h"

static redisContext *redis;
static char folder[SHOP_FOLDER], address[SHOP_ADDRESS], stream[80];

static int set_up(void **state) {
    (void)state;
    shop_make(folder, address);
    snprintf(stream, sizeof stream, "stream:%s", fresh("e"));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return shop_remove(folder);
}

static pond_collection *films_of(pond *p, const char *const *options, size_t n) {
    pond_collection *c = NULL;
    pond_error *err = NULL;
    if (pond_collection_new(&c, p, "films", options, n, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
    assert_int_equal(pond_collection_prepare(c, NULL), POND_OK);
    return c;
}

static int change(pond_collection *c, pond_change_kind kind, const char *id, const char *doc) {
    return pond_collection_change(c, kind, id, strlen(id), doc, doc ? strlen(doc) : 0, NULL, NULL, NULL, NULL);
}

/* Waits until the stream has so many entries; the i-th event's text. */
static const char *event(redisContext *from, size_t n, size_t i) {
    const char *name = strchr(stream, ':') + 1;
    redisReply *r = NULL;
    for (int64_t until = clock_ms() + 8000; clock_ms() < until; rest_ms(5))
        if ((r = redis_do(from, "XRANGE %s - +", name))->elements >= n) break;
    if (r->elements != n) fail_msg("%zu events instead of %zu", r->elements, n);
    return r->element[i]->element[1]->element[1]->str;
}

static void holds(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("%s lacks %s", text, part);
}

static void every_change_is_told(void **state) {
    (void)state;
    pond *p = pond_made(redis_url(), "store", address, "namespace", fresh("told"), "events", stream, NULL);
    pond_collection *films = films_of(p, NULL, 0);
    assert_int_equal(change(films, POND_CREATE, "1", "{\"title\":\"Heat \\\"95\\\"\"}"), POND_OK);
    holds(event(redis, 1, 0), "{\"event\":\"created\",\"event_id\":\"");
    holds(event(redis, 1, 0),
          ",\"collection\":\"films\",\"id\":\"1\",\"document\":{\"id\":\"1\",\"title\":\"Heat \\\"95\\\"\"}}");
    assert_int_equal(change(films, POND_UPDATE, "1", "{\"year\":1995}"), POND_OK);
    holds(event(redis, 2, 1), "{\"event\":\"updated\"");
    holds(event(redis, 2, 1), "\"year\":1995}}");
    assert_int_equal(change(films, POND_REPLACE, "1", "{}"), POND_OK);
    assert_int_equal(change(films, POND_DELETE, "1", NULL), POND_OK);
    holds(event(redis, 4, 2), "{\"event\":\"updated\"");
    holds(event(redis, 4, 3), "{\"event\":\"deleted\"");
    holds(event(redis, 4, 3), "\"id\":\"1\",\"document\":null}");
    /* What was not changed is not told of. */
    assert_int_equal(change(films, POND_DELETE, "1", NULL), POND_EABSENT);
    assert_int_equal(change(films, POND_REPLACE, "1", "{"), POND_EVALUE);
    /* Nor what nobody wants to hear of. */
    const char *const silent[] = {"event_key", "off"};
    pond_collection *others = films_of(p, silent, 1);
    assert_int_equal(change(others, POND_CREATE, "2", "{}"), POND_OK);
    assert_int_equal(pond_close(p, 5000), POND_OK); /* it waits until all is told */
    event(redis, 4, 0);
    assert_int_equal(pond_stat(p, NULL, "events"), 4);
    assert_int_equal(pond_stat(p, NULL, "lost_events"), 0);
    pond_collection_free(films);
    pond_collection_free(others);
    pond_free(p);
}

static void what_cannot_be(void **state) {
    (void)state;
    static const struct {
        const char *cache, *events;
        int code;
    } rows[] = {{"memory:", "stream:x", POND_EOPTION},   {NULL, "stream:x?maxlen=0", POND_EURL},
                {NULL, "stream:x?maxlen=7x", POND_EURL}, {NULL, "stream:x?most=7", POND_EURL},
                {NULL, "kafka://host", POND_EURL},       {NULL, "amqps://u:secret@h/v", POND_EURL},
                {NULL, "stream:x?maxlen=10", POND_OK},   {"memory:", "", POND_OK}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        pond_config *config = pond_config_new();
        pond *p = NULL;
        pond_error *err = NULL;
        pond_config_set(config, "cache", rows[i].cache ? rows[i].cache : redis_url(), NULL);
        pond_config_set(config, "events", rows[i].events, NULL);
        int code = pond_open(&p, config, &err);
        if (code != rows[i].code) fail_msg("%s: %d %s", rows[i].events, code, pond_error_message(err));
        if (err) assert_null(strstr(pond_error_message(err), "secret"));
        pond_error_free(err);
        pond_free(p);
        pond_config_free(config);
    }
    pond *p = pond_made(redis_url(), "store", address, NULL);
    pond_collection *c = NULL;
    pond_error *err = NULL;
    const char *const outbox[] = {"outbox", "on"};
    assert_int_equal(pond_collection_new(&c, p, "films", outbox, 1, &err), POND_EOPTION);
    holds(pond_error_message(err), "events=");
    pond_error_free(err);
    char key[200];
    memset(key, 'k', sizeof key);
    key[sizeof key - 1] = 0;
    const char *const long_key[] = {"event_key", key};
    assert_int_equal(pond_collection_new(&c, p, "films", long_key, 1, NULL), POND_EOPTION);
    const char *const misspelt[] = {"event_key", "{collection}.{evnt}"};
    assert_int_equal(pond_collection_new(&c, p, "films", misspelt, 1, NULL), POND_EOPTION);
    pond_free(p);
}

static void a_stream_is_bounded(void **state) {
    (void)state;
    char bounded[120];
    snprintf(bounded, sizeof bounded, "%s?maxlen=100", stream);
    pond *p = pond_made(redis_url(), "store", address, "events", bounded, NULL);
    pond_collection *films = films_of(p, NULL, 0);
    assert_int_equal(change(films, POND_CREATE, "1", "{}"), POND_OK);
    for (int i = 0; i < 500; i++) assert_int_equal(change(films, POND_REPLACE, "1", "{}"), POND_OK);
    assert_int_equal(pond_close(p, 5000), POND_OK);
    assert_in_range(redis_number(redis, "XLEN %s", strchr(stream, ':') + 1), 100,
                    250); /* about: Redis drops whole nodes */
    assert_int_equal(pond_stat(p, NULL, "events"), 501);
    pond_collection_free(films);
    pond_free(p);
}

/* While Redis is away changes fail (strict), or go on (lenient); what is told of them waits. */
static void nothing_is_lost_by_the_outbox(void **state) {
    (void)state;
    static const char *const options[] = {"outbox", "on"};
    server *own = server_start(NULL);
    pond *p = pond_made(server_url(own), "store", address, "events", stream, "when_cache_down_write", "lenient",
                        "command_timeout", "200ms", "connect_timeout", "200ms", NULL);
    pond_collection *films = films_of(p, options, 1);
    assert_int_equal(change(films, POND_CREATE, "1", "{\"n\":0}"), POND_OK);
    redisContext *c = server_client(own);
    holds(event(c, 1, 0), "\"n\":0}}");
    server_kill(own, true);
    for (int i = 1; i <= 5; i++) {
        char doc[20];
        snprintf(doc, sizeof doc, "{\"n\":%d}", i);
        assert_int_equal(change(films, POND_REPLACE, "1", doc), POND_OK);
    }
    /* The process ends without having told of them; the next one does. */
    pond_collection_free(films);
    pond_close(p, 100);
    pond_free(p);
    server_again(own);
    p = pond_made(server_url(own), "store", address, "events", stream, NULL);
    films = films_of(p, options, 1);
    c = server_client(own);
    for (size_t i = 0; i <= 5; i++) {
        char part[20];
        snprintf(part, sizeof part, "\"n\":%zu}}", i);
        holds(event(c, 6, i), part);
    }
    /* Two processes: each event goes out once, in order. */
    pond *q = pond_made(server_url(own), "store", address, "events", stream, NULL);
    pond_collection *others = films_of(q, options, 1);
    for (int i = 6; i < 106; i++) {
        char doc[20];
        snprintf(doc, sizeof doc, "{\"n\":%d}", i);
        assert_int_equal(change(i % 2 ? films : others, POND_REPLACE, "1", doc), POND_OK);
    }
    for (size_t i = 0; i < 106; i++) {
        char part[20];
        snprintf(part, sizeof part, "\"n\":%zu}}", i);
        holds(event(c, 106, i), part);
    }
    pond_collection_free(others);
    pond_collection_free(films);
    pond_free(q);
    pond_free(p);
    server_stop(own);
}

/* Directly: what waits in memory is sent when Redis is back; what was in the midst of being sent is not sent again. */
static void directly_at_most_once(void **state) {
    (void)state;
    server *own = server_start(NULL);
    pond *p = pond_made(server_url(own), "store", address, "events", stream, "when_cache_down_write", "lenient",
                        "command_timeout", "200ms", "connect_timeout", "200ms", NULL);
    pond_collection *films = films_of(p, NULL, 0);
    assert_int_equal(change(films, POND_CREATE, "1", "{\"n\":0}"), POND_OK);
    await_stat(p, "default/films", "events", 1); /* else it may have arrived, and nobody know */
    server_kill(own, true);
    for (int i = 1; i <= 20; i++) {
        char doc[20];
        snprintf(doc, sizeof doc, "{\"n\":%d}", i);
        assert_int_equal(change(films, POND_REPLACE, "1", doc), POND_OK);
    }
    server_again(own);
    assert_int_equal(pond_close(p, 10000), POND_OK);
    uint64_t told = pond_stat(p, NULL, "events"), lost = pond_stat(p, NULL, "lost_events");
    assert_int_equal(told + lost, 21);
    assert_in_range(lost, 1, 20);
    redisContext *c = server_client(own);
    holds(event(c, told, told - 1), "\"n\":20}}"); /* the last was not tried in vain: it had to wait */
    pond_collection_free(films);
    pond_free(p);
    server_stop(own);
}

/* The pond goes while its worker waits for Redis, or in a pause: nobody is left behind, and what was not told is still in the outbox. */
static void a_pond_that_goes_in_the_midst(void **state) {
    (void)state;
    static const char *const outbox[] = {"outbox", "on"};
    for (int i = 0; i < 6; i++) {
        server *own = server_start(NULL);
        pond *p = pond_made(server_url(own), "store", address, "events", stream, "when_cache_down_write", "lenient",
                            "command_timeout", "300ms", "store_threads", i % 2 ? "1" : "4", NULL);
        size_t threads = count_threads();
        pond_collection *films = films_of(p, i % 3 == 2 ? outbox : NULL, i % 3 == 2);
        assert_int_equal(change(films, POND_CREATE, fresh("id"), "{}"), POND_OK);
        server_freeze(own, true);
        assert_int_equal(change(films, POND_CREATE, fresh("id"), "{}"), POND_OK);
        pond_collection_free(films);
        if (i % 3 == 1) pond_close(p, 20);
        pond_free(p);
        for (int64_t until = clock_ms() + 5000; count_threads() > threads; rest_ms(1)) assert_true(clock_ms() < until);
        server_freeze(own, false);
        server_stop(own);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    watchdog(110);
    redis = redis_open(redis_url());
    const struct CMUnitTest tests[] = {
        CASE(every_change_is_told),          CASE(what_cannot_be),        CASE(a_stream_is_bounded),
        CASE(nothing_is_lost_by_the_outbox), CASE(directly_at_most_once), CASE(a_pond_that_goes_in_the_midst),
    };
    int failed = cmocka_run_group_tests_name("events_redis", tests, NULL, NULL);
    redisFree(redis);
    return failed;
}
