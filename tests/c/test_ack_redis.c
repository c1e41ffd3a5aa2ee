/* When a change counts that is written behind: when it is on replicas, or on the disk, too (the option ack). */
#include "support/support.h"

#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "model/envelope.h"
#include "pattern/behind/backlog.h"
#include "support/redis.h"
#include "support/server.h"

static char folder[SHOP_FOLDER], address[SHOP_ADDRESS], ns[64];
static redisContext *redis;
static server *replica;

static void replica_is_there(void) {
    for (int64_t until = mp_clock_after(20000); redis_number(redis, "WAIT 1 100") < 1; usleep(5000))
        assert_true(mp_clock_ms() < until);
}

static int set_up(void **state) {
    (void)state;
    shop_make(folder, address);
    snprintf(ns, sizeof ns, "%s", fresh("ack"));
    redis = redis_open(redis_url());
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    redisFree(redis);
    return shop_remove(folder);
}

static void replicate(void) {
    char port[8];
    redisReply *r = redis_do(redis, "CONFIG GET port");
    snprintf(port, sizeof port, "%s", r->element[1]->str);
    redis_do(redis, "CONFIG SET repl-diskless-sync-delay 0");
    replica = server_start((const char *const[]){"--replicaof", "127.0.0.1", port, NULL});
    replica_is_there();
}

static pond *made(void) {
    return pond_made(redis_url(), "store", address, "namespace", ns, "worker", "off", "command_timeout", "2s", NULL);
}

static pond_collection *behind(pond *p, const char *ack, const char *write_timeout) {
    const char *const options[] = {"write", "behind", "ack", ack, "write_timeout", write_timeout};
    return films_made(p, options, 3);
}

static int changes(pond_collection *c, const char *id, const char *doc, pond_error **err) {
    return pond_collection_change(c, POND_REPLACE, id, strlen(id), doc, strlen(doc), NULL, NULL, NULL, err);
}

static void well(int code, pond_error *err) {
    if (code != POND_OK) fail_msg("%s: %s", pond_code_name(code), pond_error_message(err));
}

/* In the backlog, as this server has it. */
static long long there(redisContext *in, const char *id) {
    long long n = 0;
    for (int i = 0; i < MP_BACKLOG_SHARDS; i++) {
        redisReply *flags = redis_do(in, "GETRANGE mp:b:{%s/films:%d}s%s 3 3", ns, i, id);
        bool dirty = flags->len == 1 && (unsigned char)flags->str[0] & MP_ENVELOPE_DIRTY;
        n += dirty || redis_number(in, "EXISTS mp:i:{%s/films:%d}s%s", ns, i, id);
    }
    return n;
}

static void a_replica_has_what_was_accepted(void **state) {
    (void)state;
    pond_error *err = NULL;
    char id[16];
    replicate();
    pond *p = made();
    pond_collection *c = behind(p, "replicas(1)", "5s");
    for (int i = 0; i < 200; i++) {
        snprintf(id, sizeof id, "%d", i);
        well(changes(c, id, "{}", &err), err);
        assert_int_equal(there(server_client(replica), id), 1);
    }
    well(pond_collection_increment(c, "0", 1, "n", 1, 2, &err), err);
    pond_collection_free(c);
    pond_free(p);
    server_stop(replica);
    replica = NULL;
}

/* What is confirmed waits on a connection of its own: nobody else waits with it. */
static void too_few_replicas(void **state) {
    (void)state;
    pond_error *err = NULL;
    pond_value *value = NULL;
    replicate();
    pond *p = made();
    pond_collection *c = behind(p, "replicas(2)", "2s"), *other = behind(p, "memory", "5s");
    assert_int_equal(changes(c, "1", "{\"n\":1}", &err), POND_ETIMEOUT);
    assert_non_null(strstr(pond_error_message(err), "is accepted, but it is not confirmed"));
    assert_non_null(strstr(pond_error_message(err), "1 of 2 have it within write_timeout"));
    assert_false(pond_error_retriable(err)); /* an increment would count twice */
    pond_error_free(err);
    err = NULL;
    well(pond_collection_get(c, "1", 1, &value, &err), err);
    assert_string_equal(pond_value_data(value, NULL), "{\"id\":\"1\",\"n\":1}"); /* it is accepted */
    pond_value_free(value);
    well(changes(other, "2", "{}", &err), err);
    pond_collection_free(c);

    c = behind(p, "replicas(1)", "2s");
    well(changes(c, "3", "{}", &err), err);
    server_freeze(replica, true);
    assert_int_equal(changes(c, "3", "{\"n\":2}", &err), POND_ETIMEOUT);
    assert_non_null(strstr(pond_error_message(err), "0 of 1 have it"));
    pond_error_free(err);
    err = NULL;
    server_freeze(replica, false);
    pond_collection_free(c);
    c = behind(p, "replicas(1)", "20s");
    well(changes(c, "3", "{\"n\":3}", &err), err);
    assert_int_equal(there(server_client(replica), "3"), 1);
    pond_collection_free(c);
    pond_collection_free(other);
    pond_free(p);
    server_stop(replica);
    replica = NULL;
}

/* ---- many at once ---- */

enum { WRITERS = 16, CHANGES = 20 };
typedef struct writer {
    pthread_t thread;
    pond_collection *c;
    int number, code;
    bool missed; /* what was confirmed was not on the replica */
} writer;

/* By a client of this thread's own. */
static long long on_replica(redisContext *in, const char *id) {
    long long n = 0;
    for (int i = 0; i < MP_BACKLOG_SHARDS; i++) {
        redisReply *r = redisCommand(in, "EXISTS mp:b:{%s/films:%d}s%s", ns, i, id);
        n += r && r->type == REDIS_REPLY_INTEGER ? r->integer : 0;
        freeReplyObject(r);
    }
    return n;
}

static void *write_some(void *arg) {
    writer *w = arg;
    char id[16];
    redisContext *in = w->code == POND_OK && replica ? redis_open(server_url(replica)) : NULL;
    for (int i = 0; i < CHANGES && w->code == POND_OK; i++) {
        snprintf(id, sizeof id, "%d-%d", w->number, i);
        w->code = changes(w->c, id, "{}", NULL);
        if (in && w->code == POND_OK && !on_replica(in, id)) w->missed = true;
    }
    if (in) redisFree(in);
    return NULL;
}

static void write_at_once(pond_collection *c, int code) {
    writer w[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        w[i] = (writer){.c = c, .number = i};
        assert_int_equal(pthread_create(&w[i].thread, NULL, write_some, &w[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(w[i].thread, NULL);
        assert_int_equal(w[i].code, code);
        assert_false(w[i].missed);
    }
}

static void many_at_once(void **state) {
    (void)state;
    pond_error *err = NULL;
    pond_value *value = NULL;
    replicate();
    pond *p = made();
    pond_collection *c = behind(p, "replicas(1)", "20s"), *hasty = behind(p, "replicas(1)", "300ms");
    long long waits = redis_calls(redis, "wait");
    write_at_once(c, POND_OK);
    assert_int_equal(there(server_client(replica), "15-19"), 1);
    waits = redis_calls(redis, "wait") - waits;
    print_message("%lld WAITs for %d changes by %d threads\n", waits, WRITERS * CHANGES, WRITERS);
    assert_true(waits < WRITERS * CHANGES); /* one is an answer for all that had been accepted before it was asked */

    /* While none of them can be confirmed, all end in their time, and what others ask is answered as ever. */
    server_freeze(replica, true);
    write_at_once(hasty, POND_ETIMEOUT);
    well(pond_collection_get(c, "0-0", 3, &value, &err), err);
    pond_value_free(value);
    well(pond_stats(p, &value, &err), err);
    assert_non_null(strstr(pond_value_data(value, NULL), "\"breaker\":{\"state\":\"closed\",\"opened\":0"));
    pond_value_free(value);
    server_freeze(replica, false);
    pond_collection_free(c);
    pond_collection_free(hasty);
    pond_free(p);
    server_stop(replica);
    replica = NULL;
}

/* On another connection the server would confirm everything. */
static void a_connection_that_is_lost(void **state) {
    (void)state;
    replicate();
    pond *p = made();
    pond_collection *c = behind(p, "replicas(1)", "20s");
    well(changes(c, "1", "{}", NULL), NULL);
    server_freeze(replica, true);
    writer w = {.c = c, .number = 7};
    assert_int_equal(pthread_create(&w.thread, NULL, write_some, &w), 0);
    for (int64_t until = mp_clock_after(10000); !there(redis, "7-0"); usleep(5000)) assert_true(mp_clock_ms() < until);
    redis_do(redis, "CLIENT KILL TYPE normal SKIPME yes");
    pthread_join(w.thread, NULL);
    assert_int_equal(w.code, POND_ECACHE);
    server_freeze(replica, false);
    pond_collection_free(c);
    pond_free(p);
    server_stop(replica);
    replica = NULL;
}

/* ---- the disk ---- */

static bool has_waitaof(redisContext *c) {
    redisReply *r = redis_do(c, "COMMAND INFO WAITAOF");
    return r->elements == 1 && r->element[0]->type == REDIS_REPLY_ARRAY;
}

static void has_loaded(redisContext *c) {
    for (bool loads = true; loads; usleep(5000)) {
        redisReply *r = redisCommand(c, "PING");
        assert_non_null(r);
        loads = r->type == REDIS_REPLY_ERROR;
        freeReplyObject(r);
    }
}

static void what_is_on_the_disk(void **state) {
    (void)state;
    static const char *const modes[] = {"always", "everysec"};
    for (int i = 0; i < 2; i++) {
        pond_error *err = NULL;
        server *s = server_start((const char *const[]){"--appendonly", "yes", "--appendfsync", modes[i], NULL});
        pond *p =
            pond_made(server_url(s), "store", address, "namespace", ns, "worker", "off", "command_timeout", "2s", NULL);
        const char *const options[] = {"write", "behind", "ack", "fsync", "write_timeout", "20s"};
        pond_collection *c = NULL;
        well(pond_collection_new(&c, p, "films", options, 3, &err), err);
        if (has_waitaof(server_client(s))) {
            well(pond_collection_prepare(c, &err), err);
            well(changes(c, "1", "{}", &err), err);
            write_at_once(c, POND_OK);
        } else if (i == 0) { /* an older one that answers behind its fsync */
            well(pond_collection_prepare(c, &err), err);
            well(changes(c, "1", "{}", &err), err);
            well(pond_collection_increment(c, "1", 1, "n", 1, 1, &err), err);
            server_kill(s, false);
            server_again(s);
            has_loaded(server_client(s));
            assert_int_equal(there(server_client(s), "1"), 1);
        } else {
            /* Also where nobody has prepared it. */
            for (int change = 0; change < 2; change++) {
                assert_int_equal(change ? changes(c, "1", "{}", &err) : pond_collection_prepare(c, &err), POND_EOPTION);
                assert_non_null(
                    strstr(pond_error_message(err), "ack=fsync: this server does not say what is on its disk"));
                assert_non_null(strstr(pond_error_message(err), "Redis 7.2"));
                pond_error_free(err);
                err = NULL;
            }
        }
        pond_collection_free(c);
        pond_free(p);
        server_stop(s);
    }
}

/* Without a file there is nothing to wait for. */
static void no_file(void **state) {
    (void)state;
    pond_error *err = NULL;
    pond *p = made();
    const char *const options[] = {"write", "behind", "ack", "fsync"};
    pond_collection *c = NULL;
    well(pond_collection_new(&c, p, "films", options, 2, &err), err);
    redis_do(redis, "CONFIG SET appendonly no");
    assert_int_equal(pond_collection_prepare(c, &err), POND_EOPTION);
    assert_non_null(strstr(pond_error_message(err), "appendonly yes"));
    pond_error_free(err);
    pond_collection_free(c);
    pond_free(p);
}

static void what_is_no_level(void **state) {
    (void)state;
    static const char *const none[] = {"",
                                       "disk",
                                       "replicas",
                                       "replicas()",
                                       "replicas(0)",
                                       "replicas(x)",
                                       "replicas(17)",
                                       "replicas(1",
                                       "replicas(1) ",
                                       "replicas(-1)",
                                       "replicas(99999999999999999999)"};
    pond *p = made();
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        const char *const options[] = {"write", "behind", "ack", none[i]};
        pond_collection *c = NULL;
        pond_error *err = NULL;
        assert_int_equal(pond_collection_new(&c, p, "films", options, 2, &err), POND_EOPTION);
        assert_non_null(strstr(pond_error_message(err), "ack"));
        pond_error_free(err);
    }
    const char *const through[] = {"ack", "replicas(1)"};
    pond_collection *c = NULL;
    pond_error *err = NULL;
    assert_int_equal(pond_collection_new(&c, p, "films", through, 1, &err), POND_EOPTION);
    assert_non_null(strstr(pond_error_message(err), "set write=behind, too"));
    pond_error_free(err);
    pond_free(p);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    watchdog(110);
    const struct CMUnitTest tests[] = {
        CASE(a_replica_has_what_was_accepted),
        CASE(too_few_replicas),
        CASE(many_at_once),
        CASE(a_connection_that_is_lost),
        CASE(what_is_on_the_disk),
        CASE(no_file),
        CASE(what_is_no_level),
    };
    return cmocka_run_group_tests_name("ack_redis", tests, NULL, NULL);
}
