/* Write-behind collections from end to end: what is accepted, read, and taken to the store; workers that come and go. */
#include "backlog_ops.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

#include "support/server.h"

static void what_is_accepted_is_read_and_stored(void **state) {
    (void)state;
    pond *p = made("on");
    pond_collection *c = behind(p, NULL, NULL);
    changes(c, POND_CREATE, "1", "{\"n\":1}");
    films_read(c, "1", "{\"id\":\"1\",\"n\":1}");
    refuses(c, POND_CREATE, "1", "{\"n\":2}", POND_EDUPLICATE);
    changes(c, POND_UPDATE, "1", "{\"m\":[2]}");
    films_read(c, "1", "{\"id\":\"1\",\"n\":1,\"m\":[2]}");
    gets_stored(p, "1", "{\"id\":\"1\",\"n\":1,\"m\":[2]}");
    changes(c, POND_REPLACE, "1", "{\"k\":3}");
    films_read(c, "1", "{\"id\":\"1\",\"k\":3}");
    changes(c, POND_DELETE, "1", NULL);
    films_read(c, "1", NULL);
    refuses(c, POND_UPDATE, "1", "{\"k\":4}", POND_EABSENT);
    gets_stored(p, "1", NULL);
    changes(c, POND_CREATE, "1", "{\"n\":5}");
    assert_int_equal(pond_close(p, 10000), POND_OK); /* it is stored before that returns */
    pond *q = made("off");
    assert_true(stored_is(q, "1", "{\"id\":\"1\",\"n\":5}"));
    pond_collection_free(c);
    pond_free(p);
    pond_free(q);
}

static void pages_show_what_was_stored(void **state) {
    (void)state;
    pond *p = made("on");
    pond_collection *c = behind(p, NULL, NULL);
    pond_value *page = NULL;
    assert_int_equal(pond_collection_find(c, POND_QUERY_TEXT, "n=1", 3, &page, NULL), POND_OK);
    assert_non_null(strstr(pond_value_data(page, NULL), "\"total\":0"));
    pond_value_free(page);
    changes(c, POND_REPLACE, "1", "{\"n\":1}");
    for (int64_t until = mp_clock_after(10000);; usleep(5000)) {
        assert_int_equal(pond_collection_find(c, POND_QUERY_TEXT, "n=1", 3, &page, NULL), POND_OK);
        bool shows = strstr(pond_value_data(page, NULL), "\"total\":1") != NULL;
        pond_value_free(page);
        if (shows) break;
        assert_true(mp_clock_ms() < until);
    }
    pond_collection_free(c);
    pond_free(p);
}

static void a_hot_key_costs_the_store_little(void **state) {
    (void)state;
    enum { TIMES = 2000 };
    pond *p = made("on");
    pond_collection *c = behind(p, NULL, NULL);
    char doc[40], text[60];
    for (int i = 1; i <= TIMES; i++) {
        snprintf(doc, sizeof doc, "{\"n\":%d}", i);
        changes(c, POND_REPLACE, "hot", doc);
    }
    snprintf(text, sizeof text, "{\"id\":\"hot\",\"n\":%d}", TIMES);
    films_read(c, "hot", text);
    gets_stored(p, "hot", text);
    assert_int_equal(counted(p, "accepted"), TIMES);
    assert_true(counted(p, "flushed") <= TIMES / 10);
    pond_collection_free(c);
    pond_free(p);
}

/* Behind a flush the store has what was accepted before it, also of a key that is written all the time. */
static atomic_bool enough;
static atomic_int written; /* the last one that was acknowledged */

static void *write_on(void *arg) {
    for (int i = 0; !atomic_load(&enough); i++) {
        char doc[40];
        snprintf(doc, sizeof doc, "{\"n\":%d}", i);
        changes(arg, POND_REPLACE, "hot", doc);
        atomic_store(&written, i);
    }
    return NULL;
}

static void a_flush_waits_for_what_was_accepted(void **state) {
    (void)state;
    pond *p = made("on"), *q = made("off");
    pond_collection *c = behind(p, NULL, NULL), *d = behind(q, NULL, NULL);
    pthread_t thread;
    char id[16], text[40];
    atomic_store(&enough, false);
    assert_int_equal(pthread_create(&thread, NULL, write_on, c), 0);
    for (int i = 0; i < 20; i++) {
        snprintf(id, sizeof id, "%d", i);
        snprintf(text, sizeof text, "{\"id\":\"%d\",\"n\":1}", i);
        changes(d, POND_REPLACE, id, "{\"n\":1}");
        assert_int_equal(pond_collection_flush(d, 10000, NULL), POND_OK);
        assert_true(stored_is(q, id, text));
    }
    atomic_store(&enough, true);
    pthread_join(thread, NULL);
    pond_collection_free(c);
    pond_free(p); /* nobody takes it to the store any more */
    changes(d, POND_REPLACE, "1", "{}");
    pond_error *err = NULL;
    assert_int_equal(pond_collection_flush(d, 200, &err), POND_ETIMEOUT);
    assert_true(pond_error_retriable(err));
    pond_error_free(err);
    pond_collection_free(d);
    pond_free(q);
}

/* Also what was written while a worker had an older version of it in its hands. */
static void a_flush_waits_for_the_newest_version(void **state) {
    (void)state;
    pond *p = made("on"), *q = made("off");
    pond_collection *c = behind(p, NULL, NULL), *d = behind(q, NULL, NULL);
    pthread_t thread;
    atomic_store(&enough, false);
    atomic_store(&written, 0);
    changes(c, POND_REPLACE, "hot", "{\"n\":0}");
    assert_int_equal(pthread_create(&thread, NULL, write_on, c), 0);
    for (int i = 0; i < 30; i++) {
        pond_value *value = NULL;
        int due = atomic_load(&written), n = -1;
        assert_int_equal(pond_collection_flush(d, 10000, NULL), POND_OK);
        assert_int_equal(pond_store_get(q, "films", "hot", 3, &value, NULL), POND_OK);
        assert_int_equal(sscanf(pond_value_data(value, NULL), "{\"id\":\"hot\",\"n\":%d}", &n), 1);
        pond_value_free(value);
        assert_in_range(n, due, INT_MAX);
    }
    atomic_store(&enough, true);
    pthread_join(thread, NULL);
    pond_collection_free(c);
    pond_collection_free(d);
    pond_free(p);
    pond_free(q);
}

static long long told(redisContext *redis, const char *section, const char *name) {
    redisReply *r = redis_do(redis, "INFO %s", section);
    const char *at = strstr(r->str, name);
    assert_non_null(at);
    return atoll(at + strlen(name) + 1);
}

/* A server that evicts takes what the store has, and nothing of what waits: until it does. */
static void what_waits_is_not_evicted(void **state) {
    (void)state;
    enum { MANY = 200, SIZE = 4000 };
    server *redis = server_start((const char *const[]){"--maxmemory-policy", "volatile-lru", NULL});
    redisContext *client = server_client(redis);
    pond *off = pond_made(server_url(redis), "store", address, "namespace", ns, "worker", "off", NULL);
    pond *on = pond_made(server_url(redis), "store", address, "namespace", ns, "worker", "on", NULL);
    pond_collection *c = behind(off, NULL, NULL);
    char doc[SIZE + 1], id[16], text[SIZE + 40];
    memset(doc, 'x', SIZE);
    memcpy(doc, "{\"n\":\"", 6);
    memcpy(doc + SIZE - 2, "\"}", 3);
    for (int i = 0; i < MANY; i++) { /* of these some are in the store and some are not, and one is incremented */
        snprintf(id, sizeof id, "%d", i);
        changes(c, POND_REPLACE, id, doc);
        if (i != MANY / 2) continue;
        pond_collection *d = behind(on, NULL, NULL);
        assert_int_equal(pond_collection_flush(d, 20000, NULL), POND_OK);
        pond_collection_free(d);
        pond_free(on);
    }
    snprintf(id, sizeof id, "%d", MANY - 1);
    assert_int_equal(pond_collection_increment(c, id, strlen(id), "m", 1, 1, NULL), POND_OK);
    redis_do(client, "CONFIG SET maxmemory %lld", told(client, "memory", "used_memory") - MANY / 4 * SIZE);
    assert_in_range(told(client, "stats", "evicted_keys"), MANY / 8, MANY / 2 + 1 + 16);
    assert_int_equal(waiting(client), MANY - MANY / 2 - 1);
    for (int i = 0; i < MANY; i++) {
        snprintf(id, sizeof id, "%d", i);
        snprintf(text, sizeof text, "{\"id\":\"%d\",%.*s%s}", i, SIZE - 2, doc + 1, i == MANY - 1 ? ",\"m\":1" : "");
        films_read(c, id, text);
    }
    assert_true(stored_is(off, "199", NULL));
    on = pond_made(server_url(redis), "store", address, "namespace", ns, "worker", "on", NULL);
    pond_collection *d = behind(on, NULL, NULL);
    assert_int_equal(pond_collection_flush(d, 20000, NULL), POND_OK);
    assert_true(stored_is(off, id, text));
    pond_collection_free(c);
    pond_collection_free(d);
    pond_free(on);
    pond_free(off);
    server_stop(redis);
}

static void another_process_takes_over(void **state) {
    (void)state;
    enum { DOCUMENTS = 1200 };
    redisContext *redis = redis_open(redis_url());
    pond *p = made("off"), *q;
    pond_collection *c = behind(p, NULL, NULL), *d;
    char id[16];
    for (int i = 0; i < DOCUMENTS; i++) {
        snprintf(id, sizeof id, "%d", i);
        changes(c, POND_REPLACE, id, "{\"n\":1}");
    }
    assert_int_equal(waiting(redis), DOCUMENTS);
    q = made("on");
    d = behind(q, NULL, NULL);
    for (int64_t until = mp_clock_after(10000); waiting(redis); usleep(5000)) assert_true(mp_clock_ms() < until);
    for (int i = 0; i < DOCUMENTS; i += 7) {
        snprintf(id, sizeof id, "%d", i);
        char text[40];
        snprintf(text, sizeof text, "{\"id\":\"%d\",\"n\":1}", i);
        assert_true(stored_is(p, id, text));
    }
    pond_collection_free(d);
    pond_free(q); /* it gives the shards back: the next has them at once */
    q = made("on");
    d = behind(q, NULL, NULL);
    int64_t began = mp_clock_ms();
    changes(c, POND_REPLACE, "0", "{\"n\":2}");
    gets_stored(p, "0", "{\"id\":\"0\",\"n\":2}");
    assert_true(mp_clock_ms() - began < 5000);
    pond_collection_free(c);
    pond_collection_free(d);
    pond_free(p);
    pond_free(q);
    redisFree(redis);
}

/* Once it was prepared, nothing that is replaced or deleted wants the store. */
static void the_store_may_be_away(void **state) {
    (void)state;
    pond *p = pond_made(redis_url(), "store", address, "namespace", ns, "store_timeout", "300ms", NULL);
    pond_collection *c = behind(p, NULL, NULL);
    char id[16];
    assert_int_equal(pond_collection_prepare(c, NULL), POND_OK);
    sqlite3 *db = shop_open();
    sql_on(db, "BEGIN IMMEDIATE");
    for (int i = 0; i < 40; i++) { /* in every shard */
        snprintf(id, sizeof id, "%d", i);
        changes(c, i % 2 ? POND_REPLACE : POND_DELETE, id, i % 2 ? "{}" : NULL);
    }
    sql_on(db, "ROLLBACK");
    sqlite3_close(db);
    assert_int_equal(pond_collection_flush(c, 10000, NULL), POND_OK);
    assert_true(stored_is(p, "39", "{\"id\":\"39\"}"));
    pond_collection_free(c);
    pond_free(p);
}

static void a_redis_that_lost_its_memory(void **state) {
    (void)state;
    server *redis = server_start(NULL);
    pond *p = pond_made(server_url(redis), "store", address, "namespace", ns, NULL);
    pond_collection *c = behind(p, NULL, NULL);
    changes(c, POND_REPLACE, "1", "{\"n\":1}");
    gets_stored(p, "1", "{\"id\":\"1\",\"n\":1}");
    server_kill(redis, false);
    server_again(redis);
    for (int64_t until = mp_clock_after(10000); change_as(c, POND_UPDATE, "1", "{\"m\":2}", NULL) != POND_OK;
         usleep(20000))
        assert_true(mp_clock_ms() < until);
    films_read(c, "1", "{\"id\":\"1\",\"n\":1,\"m\":2}");
    gets_stored(p, "1", "{\"id\":\"1\",\"n\":1,\"m\":2}"); /* its version is above the one of before */
    pond_collection_free(c);
    pond_free(p);
    server_stop(redis);
}

static void an_old_memory_does_not_win(void **state) {
    (void)state;
    server *redis = server_start(NULL);
    pond *off = pond_made(server_url(redis), "store", address, "namespace", ns, "worker", "off", NULL);
    pond_collection *c = behind(off, NULL, NULL);
    changes(c, POND_REPLACE, "1", "{\"n\":1}");
    changes(c, POND_REPLACE, "2", "{\"n\":1}");
    redis_do(server_client(redis), "SAVE"); /* with both in the backlog */
    changes(c, POND_REPLACE, "1", "{\"n\":2}");
    pond *on = pond_made(server_url(redis), "store", address, "namespace", ns, NULL);
    pond_collection *d = behind(on, NULL, NULL);
    gets_stored(off, "1", "{\"id\":\"1\",\"n\":2}");
    gets_stored(off, "2", "{\"id\":\"2\",\"n\":1}");
    pond_collection_free(d);
    pond_free(on);
    server_kill(redis, false);
    server_again(redis);
    for (int64_t until = mp_clock_after(10000);; usleep(20000)) {
        pond_value *value = NULL;
        int code = pond_collection_get(c, "1", 1, &value, NULL);
        bool right = code == POND_OK && strcmp(pond_value_data(value, NULL), "{\"id\":\"1\",\"n\":2}") == 0;
        if (code == POND_OK) assert_true(right);
        pond_value_free(value);
        if (right) break;
        assert_true(mp_clock_ms() < until);
    }
    films_read(c, "2", "{\"id\":\"2\",\"n\":1}");
    on = pond_made(server_url(redis), "store", address, "namespace", ns, NULL);
    d = behind(on, NULL, NULL);
    changes(d, POND_REPLACE, "3", "{}");
    gets_stored(off, "3", "{\"id\":\"3\"}");
    assert_int_equal(pond_close(on, 10000), POND_OK);
    assert_true(stored_is(off, "1", "{\"id\":\"1\",\"n\":2}"));
    films_read(c, "1", "{\"id\":\"1\",\"n\":2}");
    pond_collection_free(c);
    pond_collection_free(d);
    pond_free(on);
    pond_free(off);
    server_stop(redis);
}

static long long newest_epoch(redisContext *redis) {
    long long newest = 0;
    for (int i = 0; i < MP_BACKLOG_SHARDS; i++) {
        redisReply *r = redis_do(redis, "HGET mp:m:{%s/films:%d} epoch", ns, i);
        if (r->type == REDIS_REPLY_STRING && atoll(r->str) > newest) newest = atoll(r->str);
    }
    return newest;
}

/* Connections look at the fence once a second. Until then one of them may still go by the old one, and must not take the shard back to it. */
static void two_fences_do_not_take_epochs_in_turn(void **state) {
    (void)state;
    redisContext *redis = redis_open(redis_url());
    pond *p = made("off");
    pond_collection *c = behind(p, NULL, NULL);
    changes(c, POND_REPLACE, "1", "{\"n\":1}");
    redis_do(redis, "DEL mp:f");
    pond *q = made("off"); /* its handshake makes a new fence */
    pond_collection *d = behind(q, NULL, NULL);
    for (int i = 0; i < 20; i++) {
        changes(d, POND_REPLACE, "1", "{\"n\":2}");
        changes(c, POND_REPLACE, "1", "{\"n\":3}");
    }
    assert_in_range(newest_epoch(redis), 2, 4);
    pond_collection_free(c);
    pond_collection_free(d);
    pond_free(p);
    pond_free(q);
    redisFree(redis);
}

static void a_full_backlog(void **state) {
    (void)state;
    pond *p = made("off");
    const char *const options[] = {"write", "behind", "backlog_max", "16", "backlog_full", "fail"};
    pond_collection *c = NULL;
    assert_int_equal(pond_collection_new(&c, p, "films", options, 3, NULL), POND_OK);
    assert_int_equal(pond_collection_prepare(c, NULL), POND_OK);
    char id[16];
    int full = 0;
    for (int i = 0; i < 200; i++) {
        pond_error *err = NULL;
        snprintf(id, sizeof id, "%d", i);
        int code = change_as(c, POND_REPLACE, id, "{}", &err);
        if (code == POND_EOVERLOAD) {
            assert_non_null(strstr(pond_error_message(err), "backlog_max"));
            full++;
        } else {
            assert_int_equal(code, POND_OK);
            changes(c, POND_REPLACE, id, "{\"again\":1}"); /* what waits already takes no more room */
        }
        pond_error_free(err);
    }
    assert_int_equal(full, 200 - 16);
    pond_collection_free(c);
    pond_free(p);
}

static void writers_wait_for_room(void **state) {
    (void)state;
    pond *p = made("on");
    pond_collection *c = behind(p, "backlog_max", "16");
    char id[16];
    for (int i = 0; i < 300; i++) {
        snprintf(id, sizeof id, "%d", i);
        changes(c, POND_REPLACE, id, "{\"n\":1}");
    }
    assert_int_equal(pond_close(p, 10000), POND_OK);
    pond *q = made("off");
    assert_true(stored_is(q, "299", "{\"id\":\"299\",\"n\":1}"));
    pond_collection_free(c);
    pond_free(p);
    pond_free(q);
}

/* A Redis that is full accepts nothing more. What waits in it gets to the store all the same, and makes room: also by a worker that comes only
 * then, and beside what the store will not have. */
static void a_full_redis_is_emptied(void **state) {
    (void)state;
    server *redis = server_start((const char *const[]){"--maxmemory-policy", "noeviction", NULL});
    pond *off = pond_made(server_url(redis), "store", address, "namespace", ns, "worker", "off", NULL);
    pond_collection *c = behind(off, "search_consistency", "bounded(10s)");
    pond_value *page = NULL; /* it is told of what is stored, in the way that takes room */
    assert_int_equal(pond_collection_find(c, POND_QUERY_TEXT, "n=1", 3, &page, NULL), POND_OK);
    pond_value_free(page);
    sql("CREATE TRIGGER picky BEFORE INSERT ON films WHEN new.id = 'bad' BEGIN SELECT RAISE(ABORT, 'we do not want "
        "it'); END");
    char id[16];
    for (int i = 0; i < 20; i++) {
        snprintf(id, sizeof id, "%d", i);
        changes(c, POND_REPLACE, i == 0 ? "bad" : id, "{\"n\":1}");
    }
    redis_do(server_client(redis), "CONFIG SET maxmemory 1");
    refuses(c, POND_REPLACE, "20", "{}", POND_ECACHE);
    pond *on = pond_made(server_url(redis), "store", address, "namespace", ns, NULL);
    pond_collection *d = behind(on, "search_consistency", "bounded(10s)");
    for (int64_t until = mp_clock_after(15000); waiting(server_client(redis)); usleep(20000))
        assert_true(mp_clock_ms() < until);
    assert_true(stored_is(off, "19", "{\"id\":\"19\",\"n\":1}"));
    long long dead = 0;
    for (int i = 0; i < MP_BACKLOG_SHARDS; i++)
        dead += redis_number(server_client(redis), "XLEN mp:x:{%s/films:%d}", ns, i);
    assert_int_equal(dead, 1);
    pond_collection_free(c);
    pond_collection_free(d);
    pond_free(on);
    pond_free(off);
    server_stop(redis);
}

/* Documents that are large come one by one: all shards' together are more than what comes within command_timeout. */
static void large_documents(void **state) {
    (void)state;
    enum { SIZE = 8 << 20 };
    int many = slow_build() ? 6 : 20;
    redisContext *redis = redis_open(redis_url());
    pond *off = made("off");
    pond_collection *c = behind(off, NULL, NULL);
    char *doc = malloc(SIZE + 1), id[16];
    memset(doc, 'x', SIZE);
    memcpy(doc, "{\"n\":\"", 6);
    memcpy(doc + SIZE - 2, "\"}", 3);
    for (int i = 0; i < many; i++) {
        snprintf(id, sizeof id, "%d", i);
        changes(c, POND_REPLACE, id, doc);
    }
    free(doc);
    pond *on = pond_made(redis_url(), "store", address, "namespace", ns, NULL);
    pond_collection *d = behind(on, NULL, NULL);
    assert_int_equal(pond_collection_flush(d, 60000, NULL), POND_OK);
    assert_int_equal(waiting(redis), 0);
    pond_collection_free(c);
    pond_collection_free(d);
    pond_free(on);
    pond_free(off);
    redisFree(redis);
}

/* Said as long as it is so, not only until the first batch is stored. */
static void that_redis_forgets_is_said(void **state) {
    (void)state;
    for (int keeps = 0; keeps < 2; keeps++) {
        server *redis = server_start((const char *const[]){"--appendonly", keeps ? "yes" : "no", NULL});
        pond *p = pond_made(server_url(redis), "store", address, "namespace", ns, NULL);
        pond_collection *c = behind(p, NULL, NULL);
        pond_value *stats = NULL;
        changes(c, POND_REPLACE, "1", "{}");
        gets_stored(p, "1", "{\"id\":\"1\"}");
        assert_int_equal(pond_close(p, 10000), POND_OK);
        assert_int_equal(pond_stats(p, &stats, NULL), POND_OK);
        bool said = strstr(pond_value_data(stats, NULL), "no append-only file") != NULL;
        assert_int_equal(said, !keeps);
        pond_value_free(stats);
        pond_collection_free(c);
        pond_free(p);
        server_stop(redis);
    }
}

static size_t drained(pond_queue *queue) {
    pond_event *events[64];
    size_t n = pond_queue_poll(queue, events, 64, 1000);
    for (size_t i = 0; i < n; i++) {
        assert_true(pond_event_kind(events[i]) != POND_EVENT_ERROR);
        pond_event_free(events[i]);
    }
    return n;
}

/* The threads for calls to the store are few, and there may be one: what is asked for while much waits does not come behind all of that. */
static void a_worker_leaves_its_thread_to_others(void **state) {
    (void)state;
    enum { DOCUMENTS = 12000, AT_ONCE = 500 };
    redisContext *redis = redis_open(redis_url());
    pond *off = made("off");
    pond_collection *c = behind(off, NULL, NULL);
    pond_queue *queue = NULL;
    char id[16];
    assert_int_equal(pond_queue_new(&queue, off, NULL), POND_OK);
    for (size_t sent = 0, open = 0; sent < DOCUMENTS || open; open -= drained(queue))
        for (; sent < DOCUMENTS && open < AT_ONCE; sent++, open++) {
            int len = snprintf(id, sizeof id, "%zu", sent);
            assert_int_equal(
                pond_collection_change_start(c, queue, POND_REPLACE, id, (size_t)len, "{\"n\":1}", 7, 0, 0, NULL, NULL),
                POND_OK);
        }
    pond_queue_free(queue);
    pond *on = pond_made(redis_url(), "store", address, "namespace", ns, "store_threads", "1", NULL);
    pond_collection *d = behind(on, NULL, NULL);
    assert_int_equal(pond_queue_new(&queue, on, NULL), POND_OK);
    while (waiting(redis) == DOCUMENTS) usleep(1000); /* it works */
    assert_int_equal(pond_collection_get_start(d, queue, "none", 4, 1, NULL, NULL, NULL), POND_OK);
    while (!drained(queue)) {}
    assert_true(waiting(redis) > 0);
    assert_int_equal(pond_collection_flush(d, 60000, NULL), POND_OK);
    pond_queue_free(queue);
    pond_collection_free(c);
    pond_collection_free(d);
    pond_free(on);
    pond_free(off);
    redisFree(redis);
}

static int64_t number_in_store(const char *query) {
    sqlite3 *db;
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_open(address + strlen("sqlite:"), &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    assert_int_equal(sqlite3_prepare_v2(db, query, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return number;
}

/* Two that do not know of each other: a Redis of its own for each, and one store. */
static void two_redis_and_one_store(void **state) {
    (void)state;
    enum { MS = 1000 };
    pond *p[2];
    pond_collection *c[2];
    for (int i = 0; i < 2; i++) {
        char url[200];
        snprintf(url, sizeof url, "%.*s%d", (int)strlen(redis_url()) - 1, redis_url(), 14 + i); /* instead of the 0 */
        p[i] = pond_made(url, "store", address, "namespace", ns, NULL);
        c[i] = behind(p[i], NULL, NULL);
    }
    int64_t rounds = 0;
    for (int64_t until = mp_clock_after(MS); mp_clock_ms() < until; rounds++)
        for (int i = 0; i < 2; i++) {
            char id[16];
            snprintf(id, sizeof id, "%d", (int)(rounds % 50));
            changes(c[i], POND_REPLACE, id, "{\"n\":1}");
        }
    int64_t taken = number_in_store("SELECT max(term) FROM millpond_fence");
    print_message("a shard changed hands %lld times in %d ms\n", (long long)taken, MS);
    assert_in_range(taken, 2, 2 * MS / 25); /* a pause of 25 to 50 ms each, whoever it is */
    for (int i = 0; i < 2; i++) assert_int_equal(pond_collection_flush(c[i], 30000, NULL), POND_OK);
    for (int i = 0; i < 2; i++) {
        pond_collection_free(c[i]);
        pond_free(p[i]);
    }
}

/* There was nothing to make a timer with when the worker wanted to pause. */
static void a_worker_that_cannot_be_woken(void **state) {
    (void)state;
    struct rlimit limit, none;
    const char *const options[] = {"write", "behind"};
    pond *p = made("on"), *off = made("off");
    pond_collection *c = NULL, *d = behind(off, NULL, NULL);
    changes(d, POND_REPLACE, "1", "{\"n\":1}");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    int lowest = dup(0);
    close(lowest);
    none.rlim_cur = (rlim_t)lowest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int code = pond_collection_new(&c, p, "films", options, 1, NULL);
    usleep(200000); /* the first round fails */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(code, POND_OK);
    gets_stored(off, "1", "{\"id\":\"1\",\"n\":1}");
    assert_int_equal(pond_close(p, 10000), POND_OK);
    pond_collection_free(c);
    pond_collection_free(d);
    pond_free(p);
    pond_free(off);
}

/* ---- many at once ---- */

enum { UPDATERS = 4, UPDATES = 50 };

typedef struct updater {
    pthread_t thread;
    pond_collection *c;
    int number;
} updater;

static void *update_again_and_again(void *arg) {
    updater *u = arg;
    for (int i = 0; i < UPDATES; i++) {
        char patch[40];
        snprintf(patch, sizeof patch, "{\"f%d_%d\":1}", u->number, i);
        changes(u->c, POND_UPDATE, "all", patch);
    }
    return NULL;
}

static void no_update_is_lost(void **state) {
    (void)state;
    pond *ponds[2] = {made("on"), made("on")};
    pond_collection *c[2] = {behind(ponds[0], NULL, NULL), behind(ponds[1], NULL, NULL)};
    updater u[UPDATERS];
    changes(c[0], POND_CREATE, "all", "{}");
    for (int i = 0; i < UPDATERS; i++) {
        u[i] = (updater){.c = c[i % 2], .number = i};
        assert_int_equal(pthread_create(&u[i].thread, NULL, update_again_and_again, &u[i]), 0);
    }
    for (int i = 0; i < UPDATERS; i++) pthread_join(u[i].thread, NULL);
    pond_value *value = NULL;
    assert_int_equal(pond_collection_get(c[1], "all", 3, &value, NULL), POND_OK);
    for (int i = 0; i < UPDATERS * UPDATES; i++) {
        char member[40];
        snprintf(member, sizeof member, "\"f%d_%d\":1", i / UPDATES, i % UPDATES);
        if (!strstr(pond_value_data(value, NULL), member)) fail_msg("%s is lost", member);
    }
    gets_stored(ponds[0], "all", pond_value_data(value, NULL));
    pond_value_free(value);
    for (int i = 0; i < 2; i++) {
        pond_collection_free(c[i]);
        pond_free(ponds[i]);
    }
}

static void where_it_cannot_be(void **state) {
    (void)state;
    const char *const options[] = {"write", "behind"};
    pond_collection *c = NULL;
    pond_error *err = NULL;
    pond *p = pond_made("memory:", "store", "sqlite::memory:", NULL); /* nothing that a journal could stand beside */
    assert_int_equal(pond_collection_new(&c, p, "films", options, 1, &err), POND_EOPTION);
    assert_non_null(strstr(pond_error_message(err), "redis://"));
    pond_error_free(err);
    pond_free(p);
    server *redis = server_start((const char *const[]){"--maxmemory-policy", "allkeys-lru", NULL});
    p = pond_made(server_url(redis), "store", address, NULL);
    assert_int_equal(pond_collection_new(&c, p, "films", options, 1, NULL), POND_OK);
    assert_int_equal(pond_collection_prepare(c, &err), POND_EOPTION);
    assert_non_null(strstr(pond_error_message(err), "allkeys-lru"));
    pond_error_free(err);
    pond_collection_free(c);
    pond_free(p);
    server_stop(redis);
}

/* It was begun by a version that has other shards: its keys would be looked for where they are not. */
static void one_with_other_shards(void **state) {
    (void)state;
    redisContext *redis = redis_open(redis_url());
    redis_do(redis, "HSET mp:m:{%s/films:0} shards 16", ns);
    pond *p = made("on");
    const char *const options[] = {"write", "behind"};
    pond_collection *c = NULL;
    pond_error *err = NULL;
    char said[256];
    snprintf(said, sizeof said,
             "%s/films has 16 shards in this cache, and this version uses 4: use the version that began with it, or "
             "another namespace",
             ns);
    assert_int_equal(pond_collection_new(&c, p, "films", options, 1, NULL), POND_OK);
    assert_int_equal(pond_collection_prepare(c, &err), POND_EOPTION);
    assert_non_null(strstr(pond_error_message(err), said));
    pond_error_free(err);
    assert_int_equal(change_as(c, POND_REPLACE, "1", "{}", &err), POND_EOPTION);
    assert_non_null(strstr(pond_error_message(err), said));
    pond_error_free(err);
    assert_int_equal(redis_number(redis, "HLEN mp:m:{%s/films:0}", ns), 1); /* and it stays as it is */
    assert_int_equal(waiting(redis), 0);
    pond_collection_free(c);
    pond_free(p);
    redisFree(redis);
}

int main(void) {
    watchdog(110);
    const struct CMUnitTest tests[] = {
        CASE(what_is_accepted_is_read_and_stored),
        CASE(pages_show_what_was_stored),
        CASE(a_hot_key_costs_the_store_little),
        CASE(a_flush_waits_for_what_was_accepted),
        CASE(a_flush_waits_for_the_newest_version),
        CASE(what_waits_is_not_evicted),
        CASE(another_process_takes_over),
        CASE(the_store_may_be_away),
        CASE(a_redis_that_lost_its_memory),
        CASE(an_old_memory_does_not_win),
        CASE(two_fences_do_not_take_epochs_in_turn),
        CASE(a_full_backlog),
        CASE(writers_wait_for_room),
        CASE(a_full_redis_is_emptied),
        CASE(large_documents),
        CASE(that_redis_forgets_is_said),
        CASE(a_worker_leaves_its_thread_to_others),
        CASE(two_redis_and_one_store),
        CASE(a_worker_that_cannot_be_woken),
        CASE(no_update_is_lost),
        CASE(where_it_cannot_be),
        CASE(one_with_other_shards),
    };
    return cmocka_run_group_tests_name("backlog_redis", tests, NULL, NULL);
}
