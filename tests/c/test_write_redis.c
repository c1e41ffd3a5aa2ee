/* Writes on Redis: the common cases, what stands there while somebody writes, and caches that go away. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/fake.h"
#include "support/redis.h"
#include "support/relay.h"
#include "support/server.h"
#include "support/support.h"
#include "support/write_cases.h"

static redisContext *redis;
static relay *line;
static char relay_url[64];
static char key[64];

static int set_up(void **state) {
    (void)state;
    int port = 0;
    assert_int_equal(sscanf(redis_url(), "redis://%*[^:]:%d", &port), 1);
    line = relay_start(port);
    snprintf(relay_url, sizeof relay_url, "redis://127.0.0.1:%d/0", relay_port(line));
    snprintf(key, sizeof key, "%s", fresh("k"));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    relay_stop(line);
    return 0;
}

typedef struct plan {
    void (*inside)(void);
    const char *value;
    int calls;
} plan;

static void write_now(pond_writing *writing, void *ctx) {
    plan *w = ctx;
    w->calls++;
    if (w->inside) w->inside();
    if (w->value)
        assert_int_equal(pond_writing_value(writing, 0, w->value, strlen(w->value), POND_TEXT, NULL), POND_OK);
    pond_write_done(writing);
}

static int write_key(pond *p, plan *w, pond_tags *tags, char *message) {
    const char *keys[] = {key};
    const size_t lens[] = {strlen(key)};
    pond_error *err = NULL;
    int code = pond_write(p, keys, lens, 1, NULL, tags, write_now, w, &err);
    if (message) snprintf(message, 300, "%s", err ? pond_error_message(err) : "");
    if (message && err) assert_true(pond_error_retriable(err));
    pond_error_free(err);
    return code;
}

/* ---- what stands there ---- */

static void looks_at_the_keys(void) {
    assert_int_equal(redis_number(redis, "ZCARD mp:w:{keys:%s}", key), 1);
    assert_in_range(redis_number(redis, "PTTL mp:w:{keys:%s}", key), 9000, 10000);
    assert_int_equal(redis_number(redis, "ZCARD mp:gw:{keys:a}"), 1);
    assert_int_equal(redis_number(redis, "ZCARD mp:gw:{keys:b}"), 1);
    redisReply *r = redis_do(redis, "ZRANGE mp:w:{keys:%s} 0 -1", key);
    assert_int_equal(r->element[0]->len, 16);
    char token[16];
    memcpy(token, r->element[0]->str, sizeof token);
    r = redis_do(redis, "ZRANGE mp:gw:{keys:a} 0 -1");
    assert_memory_equal(r->element[0]->str, token, sizeof token);
    assert_int_equal(redis_number(redis, "EXISTS mp:v:{keys:%s} mp:g:{keys:a}", key), 0);
}

static void intents_are_those_of_the_protocol(void **state) {
    (void)state;
    pond *p = pond_made(redis_url(), "namespace", "keys", "command_timeout", "5s", "ttl", "20s", NULL);
    pond_tags *tags = tags_made(p, "a b");
    plan w = {.inside = looks_at_the_keys, .value = "new"};
    fetch_text(p, key, NULL, "old");
    assert_int_equal(write_key(p, &w, tags, NULL), POND_OK);
    assert_int_equal(redis_number(redis, "EXISTS mp:w:{keys:%s} mp:gw:{keys:a} mp:gw:{keys:b}", key), 0);
    assert_in_range(redis_number(redis, "PTTL mp:v:{keys:%s}", key), 18000, 20000);
    assert_string_equal(lookup_text(p, key, NULL), "new");
    pond_tags_free(tags);
    pond_free(p);
}

static long long reads_then;
static void counts_reads(void) { reads_then = redis_reads(redis); }

static void a_write_is_two_round_trips(void **state) {
    (void)state;
    pond *p = pond_made(redis_url(), "namespace", "trips", "command_timeout", "5s", NULL);
    pond_tags *tags = tags_made(p, "a b c");
    plan w = {.inside = counts_reads, .value = "new"};
    write_key(p, &w, tags, NULL); /* connected, fenced, scripts known */
    long long before = redis_reads(redis);
    assert_int_equal(write_key(p, &w, tags, NULL), POND_OK);
    assert_int_equal(reads_then - before, 2); /* and our own question */
    assert_int_equal(redis_reads(redis) - reads_then, 2);
    pond_tags_free(tags);
    pond_free(p);
}

/* ---- what the server forgets ---- */

static void evicts(void) { redis_do(redis, "DEL mp:w:{evict:%s}", key); }
static void forgets_scripts(void) { redis_do(redis, "SCRIPT FLUSH"); }

static void an_evicted_intent_refuses_the_value(void **state) {
    (void)state;
    pond *p = pond_made(redis_url(), "namespace", "evict", "command_timeout", "5s", NULL);
    plan w = {.inside = evicts, .value = "new"};
    assert_int_equal(write_key(p, &w, NULL, NULL), POND_OK);
    assert_string_equal(lookup_text(p, key, NULL), "(miss)");
    assert_int_equal(pond_stat(p, "evict", "refused_values"), 1);
    w.inside = forgets_scripts;
    assert_int_equal(write_key(p, &w, NULL, NULL), POND_OK);
    assert_string_equal(lookup_text(p, key, NULL), "new");
    pond_free(p);
}

static server *own;
static void restarts(void) {
    server_kill(own, true); /* it comes back with what it had, but it is another history */
    server_again(own);
}

static void a_value_of_another_history_is_refused(void **state) {
    (void)state;
    own = server_start(NULL);
    pond *p = pond_made(server_url(own), "namespace", "fence", "connect_timeout", "5s", "command_timeout", "5s", NULL);
    plan w = {.inside = restarts, .value = "new"};
    assert_int_equal(write_key(p, &w, NULL, NULL), POND_OK);
    assert_string_equal(lookup_text(p, key, NULL), "(miss)");
    fetch_text(p, key, NULL, "loaded");
    assert_string_equal(lookup_text(p, key, NULL), "loaded");
    pond_free(p);
    server_stop(own);
}

/* ---- the cache goes away ---- */

static void cuts(void) { relay_cut(line, true); }

static void a_strict_write_fails_first(void **state) {
    (void)state;
    pond *p = pond_made(relay_url, "namespace", "strict", "command_timeout", "200ms", NULL);
    plan w = {0};
    char message[300];
    assert_int_equal(write_key(p, &w, NULL, NULL), POND_OK);
    relay_cut(line, true);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(write_key(p, &w, NULL, message), POND_ECACHE);
        assert_non_null(strstr(message, "nothing was written"));
    }
    assert_int_equal(w.calls, 1);
    assert_int_equal(pond_stat(p, "strict", "write_errors"), 3);
    assert_int_equal(pond_stat(p, "strict", "failed_ends"), 0); /* nothing to repeat */
    relay_cut(line, false);
    for (int64_t until = clock_ms() + 5000; write_key(p, &w, NULL, NULL) != POND_OK && clock_ms() < until;) rest_ms(10);
    assert_int_equal(w.calls, 2);
    pond_free(p);
}

/* Written without the cache, which is told as soon as it can be reached. */
static void a_lenient_write_invalidates_later(void **state) {
    (void)state;
    pond *p = pond_made(relay_url, "namespace", "lenient", "command_timeout", "200ms", "when_cache_down_write",
                        "lenient", NULL);
    pond *other = pond_made(redis_url(), "namespace", "lenient", NULL);
    pond_tags *tags = tags_made(p, "pages");
    plan w = {.value = "new"};
    fetch_text(p, key, NULL, "old");
    fetch_tagged_text(other, "page", tags, "old page");
    relay_cut(line, true);
    assert_int_equal(write_key(p, &w, tags, NULL), POND_OK);
    assert_int_equal(w.calls, 1);
    assert_int_equal(pond_stat(p, "lenient", "failed_ends"), 2);
    assert_int_equal(pond_stat(p, "lenient", "writes"), 1);
    assert_string_equal(lookup_text(other, key, NULL), "old"); /* who reaches the cache gets what is there */
    relay_cut(line, false);
    await_stat(p, "lenient", "delivered_ends", 2);
    assert_string_equal(lookup_text(other, key, NULL), "(miss)");
    assert_string_equal(lookup_tagged_text(other, "page", tags), "(miss)");
    pond_tags_free(tags);
    assert_int_equal(pond_close(p, 1000), POND_OK);
    pond_free(p);
    pond_free(other);
}

/* The same on a queue, whose host does nothing but drive it. */
static void a_queue_delivers_by_itself(void **state) {
    (void)state;
    pond *p = pond_made(relay_url, "namespace", "desk", "command_timeout", "200ms", NULL);
    pond *other = pond_made(redis_url(), "namespace", "desk", "intent", "10s", NULL);
    desk d;
    desk_open(&d, p, 1);
    const char *keys[] = {key};
    const size_t lens[] = {strlen(key)};
    assert_int_equal(pond_write_start(p, d.queue[0], keys, lens, 1, NULL, NULL, 1, NULL, NULL), POND_OK);
    pond_writing *writing = desk_write(&d, 0, 1);
    relay_cut(line, true);
    desk_drive(&d, 50);
    pond_write_done(writing);
    desk_ok(&d, 0, 1); /* it is in the store; the intent stands, so nothing old is cached */
    fetch_text(other, key, NULL, "x");
    assert_string_equal(lookup_text(other, key, NULL), "(miss)");
    assert_int_equal(pond_queue_pending(d.queue[0]), 0);
    relay_cut(line, false);
    for (int64_t until = clock_ms() + 5000; pond_stat(p, "desk", "delivered_ends") < 1 && clock_ms() < until;)
        desk_drive(&d, 10);
    assert_int_equal(pond_stat(p, "desk", "delivered_ends"), 1);
    fetch_text(other, key, NULL, "x");
    assert_string_equal(lookup_text(other, key, NULL), "x");
    desk_close(&d);
    assert_int_equal(pond_close(p, 1000), POND_OK);
    pond_free(p);
    pond_free(other);
}

static void *restores(void *arg) {
    (void)arg;
    rest_ms(300);
    relay_cut(line, false);
    return NULL;
}

/* A host that waits in pond_close does not drive its queue: another lane delivers. */
static void a_close_waits_for_what_is_overdue(void **state) {
    (void)state;
    for (int queued = 0; queued < 2; queued++) {
        pond *p = pond_made(relay_url, "namespace", "drain", "command_timeout", "200ms", NULL);
        desk d;
        desk_open(&d, p, 1);
        const char *keys[] = {key};
        const size_t lens[] = {strlen(key)};
        plan w = {.inside = cuts};
        if (queued) {
            assert_int_equal(pond_write_start(p, d.queue[0], keys, lens, 1, NULL, NULL, 1, NULL, NULL), POND_OK);
            pond_writing *writing = desk_write(&d, 0, 1);
            cuts();
            pond_write_done(writing);
            desk_ok(&d, 0, 1);
        } else {
            assert_int_equal(write_key(p, &w, NULL, NULL), POND_OK);
        }
        assert_int_equal(pond_stat(p, "drain", "failed_ends"), 1);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, restores, NULL), 0);
        assert_int_equal(pond_close(p, 5000), POND_OK);
        pthread_join(thread, NULL);
        assert_int_equal(pond_stat(p, "drain", "delivered_ends"), 1);
        assert_int_equal(redis_number(redis, "EXISTS mp:w:{drain:%s}", key), 0);
        desk_close(&d);
        pond_free(p);
    }
}

static void a_close_does_not_wait_for_ever(void **state) {
    (void)state;
    pond *p = pond_made(relay_url, "namespace", "lost", "command_timeout", "200ms", NULL);
    plan w = {.inside = cuts};
    assert_int_equal(write_key(p, &w, NULL, NULL), POND_OK);
    int64_t began = clock_ms();
    assert_int_equal(pond_close(p, 300), POND_ETIMEOUT);
    assert_in_range(clock_ms() - began, 250, 3000);
    assert_int_equal(pond_stat(p, "lost", "lost_ends"), 1);
    assert_int_equal(pond_close(p, 5000), POND_OK); /* and once it is given up, no more */
    assert_in_range(clock_ms() - began, 250, 4000);
    pond_free(p);
    relay_cut(line, false);
}

/* ---- a writer that dies ---- */

static void dies(void) { _exit(7); }

static void a_dead_writer_keeps_readers_off_for_its_intent(void **state) {
    (void)state;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        pond *p = pond_made(redis_url(), "namespace", "dies", "intent", "800ms", NULL);
        fetch_text(p, key, NULL, "old");
        plan w = {.inside = dies};
        write_key(p, &w, NULL, NULL);
        _exit(1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 7);
    pond *p = pond_made(redis_url(), "namespace", "dies", "command_timeout", "5s", NULL);
    int64_t began = clock_ms();
    while (clock_ms() - began < 5000) {
        assert_string_equal(fetch_text(p, key, NULL, "new"), "new"); /* the store's, never the old one */
        if (strcmp(lookup_text(p, key, NULL), "new") == 0) break;
        rest_ms(5);
    }
    assert_in_range(clock_ms() - began, 400, 4000);
    pond_free(p);
}

/* ---- a connection that is closed in the middle ---- */

static struct {
    atomic_int begins;
    _Atomic char again[2];
} seen; /* each connection has a thread of its own */

static void forgets_the_first_begin(fake_conn *c) {
    while (fake_read(c)) {
        if (c->kind == FAKE_BEGIN && seen.begins < 2) {
            seen.again[seen.begins] = *c->argv[3 + 3 + 2];      /* behind EVALSHA sha 3, the keys, token, intent_ms */
            if (atomic_fetch_add(&seen.begins, 1) == 0) return; /* closed without an answer: perhaps it was done */
        }
        fake_proper(c);
    }
}

static void a_begin_whose_answer_was_lost_is_repeated_as_such(void **state) {
    (void)state;
    fake *f = fake_start(forgets_the_first_begin, NULL);
    pond *p = pond_made(fake_url(f), "namespace", "again", "command_timeout", "5s", NULL);
    plan w = {0};
    assert_int_equal(write_key(p, &w, NULL, NULL), POND_OK);
    assert_int_equal(seen.begins, 2);
    assert_int_equal(seen.again[0], '0');
    assert_int_equal(seen.again[1], '1');
    pond_free(p);
    fake_stop(f);
}

int main(void) {
    int failed = write_cases(redis_url());
    redis = redis_open(redis_url());
    if (!redis) return 2;
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(intents_are_those_of_the_protocol),
        T(a_write_is_two_round_trips),
        T(an_evicted_intent_refuses_the_value),
        T(a_value_of_another_history_is_refused),
        T(a_strict_write_fails_first),
        T(a_lenient_write_invalidates_later),
        T(a_queue_delivers_by_itself),
        T(a_close_waits_for_what_is_overdue),
        T(a_close_does_not_wait_for_ever),
        T(a_dead_writer_keeps_readers_off_for_its_intent),
        T(a_begin_whose_answer_was_lost_is_repeated_as_such),
    };
#undef T
    failed += cmocka_run_group_tests_name("writes on redis", tests, NULL, NULL);
    redisFree(redis);
    return failed;
}
