/* What the store will not have: tried again, then a dead letter; what it will not have now, but later; and what holds up nobody else. */
#include "backlog_ops.h"

#include <pthread.h>
#include <stdatomic.h>

static void a_dead_letter(void **state) {
    (void)state;
    redisContext *redis = redis_open(redis_url());
    pond *p = made("on");
    pond_collection *c = behind(p, NULL, NULL);
    sql("CREATE TRIGGER picky BEFORE INSERT ON films WHEN new.id = 'bad' BEGIN SELECT RAISE(ABORT, 'we do not want "
        "it'); END");
    char id[16];
    for (int i = 0; i < 100; i++) {
        snprintf(id, sizeof id, "%d", i);
        changes(c, POND_REPLACE, i == 50 ? "bad" : id, "{\"n\":1}");
    }
    gets_stored(p, "99", "{\"id\":\"99\",\"n\":1}");
    films_read(c, "bad", "{\"id\":\"bad\",\"n\":1}"); /* it is tried some times */
    for (int64_t until = mp_clock_after(20000); waiting(redis); usleep(20000)) assert_true(mp_clock_ms() < until);
    films_read(c, "bad", NULL); /* what the store has */
    long long dead = 0;
    for (int i = 0; i < MP_BACKLOG_SHARDS; i++) dead += redis_number(redis, "XLEN mp:x:{%s/films:%d}", ns, i);
    assert_int_equal(dead, 1);
    assert_int_equal(counted(p, "dead_letters"), 1);
    pond_collection_free(c);
    pond_free(p);
    redisFree(redis);
}

/* What a trigger makes of one document fails, and not by its refusal: that stops no other. A table that is gone is no document's fault. */
static void a_trigger_that_fails_on_one(void **state) {
    (void)state;
    redisContext *redis = redis_open(redis_url());
    pond *p = made("on");
    pond_collection *c = behind(p, NULL, NULL);
    sql("CREATE TRIGGER picky BEFORE INSERT ON films WHEN new.id = 'bad' BEGIN SELECT json_extract('{', '$'); END");
    changes(c, POND_REPLACE, "bad", "{}");
    changes(c, POND_REPLACE, "good", "{}");
    gets_stored(p, "good", "{\"id\":\"good\"}");
    for (int64_t until = mp_clock_after(20000); waiting(redis); usleep(20000)) assert_true(mp_clock_ms() < until);
    assert_int_equal(counted(p, "dead_letters"), 1);
    sql("ALTER TABLE films RENAME TO gone");
    changes(c, POND_REPLACE, "later", "{}");
    usleep(4500000); /* tried some times */
    sql("ALTER TABLE gone RENAME TO films");
    assert_int_equal(pond_collection_flush(c, 20000, NULL), POND_OK);
    assert_int_equal(counted(p, "dead_letters"), 1);
    pond_collection_free(c);
    pond_free(p);
    redisFree(redis);
}

/* Nor of what is incremented, for which the store is read first. */
static void a_table_that_is_gone_for_a_while(void **state) {
    (void)state;
    pond *p = made("on");
    pond_collection *c = behind(p, NULL, NULL);
    changes(c, POND_REPLACE, "1", "{\"n\":1}");
    assert_int_equal(pond_collection_flush(c, 20000, NULL), POND_OK);
    sql("ALTER TABLE films RENAME TO gone");
    assert_int_equal(pond_collection_increment(c, "1", 1, "n", 1, 1, NULL), POND_OK);
    usleep(1500000);
    sql("ALTER TABLE gone RENAME TO films");
    assert_int_equal(pond_collection_flush(c, 20000, NULL), POND_OK);
    assert_true(stored_is(p, "1", "{\"id\":\"1\",\"n\":2}"));
    sql("PRAGMA ignore_check_constraints = 1; UPDATE films SET doc = 'x'");
    assert_int_equal(pond_collection_increment(c, "1", 1, "n", 1, 1, NULL),
                     POND_OK); /* what is damaged holds up nobody */
    changes(c, POND_REPLACE, "2", "{}");
    assert_int_equal(pond_collection_flush(c, 20000, NULL), POND_OK);
    assert_int_equal(counted(p, "dead_letters"), 1);
    pond_collection_free(c);
    pond_free(p);
}

/* A store that refuses many for a while, and then has them: twice, so that what was forgiven takes no room any more. */
static void what_is_refused_once_is_stored_later(void **state) {
    (void)state;
    enum { MANY = 200 };
    pond *p = made("on");
    pond_collection *c = behind(p, NULL, NULL);
    for (int wave = 0; wave < 2; wave++) {
        sql("CREATE TRIGGER picky BEFORE INSERT ON films BEGIN SELECT RAISE(ABORT, 'not now'); END");
        char id[16];
        for (int i = 0; i < MANY; i++) {
            snprintf(id, sizeof id, "%d-%d", wave, i);
            changes(c, POND_REPLACE, id, "{}");
        }
        usleep(400000); /* each was refused by now */
        sql("DROP TRIGGER picky");
        assert_int_equal(pond_collection_flush(c, 20000, NULL), POND_OK);
    }
    assert_int_equal(counted(p, "dead_letters"), 0);
    assert_true(stored_is(p, "0-0", "{\"id\":\"0-0\"}"));
    assert_true(stored_is(p, "1-199", "{\"id\":\"1-199\"}"));
    pond_collection_free(c);
    pond_free(p);
}

/* What the store will not have now is put behind what others write meanwhile, again and again: a flush waits for it all the same. */
static atomic_bool enough;

static void *write_all_over(void *arg) {
    for (int i = 0; !atomic_load(&enough); i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", i % 40); /* in every shard */
        changes(arg, POND_REPLACE, id, "{}");
    }
    return NULL;
}

static void a_flush_waits_for_what_is_refused(void **state) {
    (void)state;
    pond *p = made("on"), *q = made("off");
    pond_collection *c = behind(p, NULL, NULL), *d = behind(q, NULL, NULL);
    pthread_t thread;
    sql("CREATE TRIGGER picky BEFORE INSERT ON films WHEN new.id = 'bad' BEGIN SELECT RAISE(ABORT, 'not now'); END");
    atomic_store(&enough, false);
    assert_int_equal(pthread_create(&thread, NULL, write_all_over, c), 0);
    changes(c, POND_REPLACE, "bad", "{}");
    usleep(300000); /* it was refused by now, and is not tried again for a while */
    assert_int_equal(pond_collection_flush(d, 500, NULL), POND_ETIMEOUT);
    sql("DROP TRIGGER picky");
    assert_int_equal(pond_collection_flush(d, 10000, NULL), POND_OK);
    assert_true(stored_is(q, "bad", "{\"id\":\"bad\"}"));
    atomic_store(&enough, true);
    pthread_join(thread, NULL);
    pond_collection_free(c);
    pond_collection_free(d);
    pond_free(p);
    pond_free(q);
}

/* What was refused here, and stored by another worker since, takes no room for ever: what is refused later is tried again, too. */
static void what_others_have_stored_since_is_forgotten(void **state) {
    (void)state;
    enum { MANY = 256, LONG_AGO_MS = 8000 }; /* as many as a worker remembers */
    redisContext *redis = redis_open(redis_url());
    pond *off = made("off");
    pond_collection *c = behind(off, NULL, NULL);
    char id[16];
    for (int i = 0; i < MANY; i++) {
        snprintf(id, sizeof id, "%d", i);
        changes(c, POND_REPLACE, id, "{}");
    }
    sql("CREATE TRIGGER picky BEFORE INSERT ON films BEGIN SELECT RAISE(ABORT, 'not now'); END");
    pond *on = made("on");
    pond_collection *d = behind(on, NULL, NULL);
    usleep(450000); /* each was refused by now */
    for (int i = 0; i < MP_BACKLOG_SHARDS; i++) {
        redis_do(redis, "DEL mp:q:{%s/films:%d}", ns, i);
        for (int k = 0; k < MANY; k++) redis_do(redis, "DEL mp:b:{%s/films:%d}s%d", ns, i, k);
    }
    usleep(LONG_AGO_MS * 1000);
    changes(d, POND_REPLACE, "later", "{}");
    usleep(400000);
    sql("DROP TRIGGER picky");
    assert_int_equal(pond_collection_flush(d, 20000, NULL), POND_OK);
    assert_int_equal(counted(on, "dead_letters"), 0);
    assert_true(stored_is(on, "later", "{\"id\":\"later\"}"));
    pond_collection_free(c);
    pond_collection_free(d);
    pond_free(on);
    pond_free(off);
    redisFree(redis);
}

int main(void) {
    watchdog(110);
    const struct CMUnitTest tests[] = {
        CASE(a_dead_letter),
        CASE(a_trigger_that_fails_on_one),
        CASE(a_table_that_is_gone_for_a_while),
        CASE(what_is_refused_once_is_stored_later),
        CASE(a_flush_waits_for_what_is_refused),
        CASE(what_others_have_stored_since_is_forgotten),
    };
    return cmocka_run_group_tests_name("refused_redis", tests, NULL, NULL);
}
