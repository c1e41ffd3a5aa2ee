/* Rounds of the worker under an allocator that fails, at each allocation in its turn: parcels behind one another, increments that are folded, what is
 * deleted, what is damaged. Whatever fails, what is not in the store waits, what was stored is what was accepted, and the rounds behind that take
 * all of it there.
 *
 * This program replaces malloc and its kin. So do sanitizers: in their builds it is skipped. */
#include "support/scarce_malloc.h"

#include "pattern/behind/backlog.h"
#include "pattern/pond.h"
#include "support/redis.h"
#include "support/support.h"

#if REPLACED
enum { DOCUMENTS = 12, BATCH = 4, DELETED = 3, DAMAGED = 5, COUNTED = 7 };

static char folder[SHOP_FOLDER], address[SHOP_ADDRESS], ns[64];
static redisContext *redis; /* NULL: there is a journal */
static pond *p;
static pond_collection *films;
static long failed, rounds;

static const char *id_of(int i) {
    static char id[8];
    snprintf(id, sizeof id, "d%d", i);
    return id;
}

static void must(int code, pond_error *err) {
    if (code != POND_OK) fail_msg("%s", pond_error_message(err));
}

static void damages(int i) {
    const char *id = id_of(i);
    for (int shard = 0; redis && shard < MP_BACKLOG_SHARDS; shard++) {
        if (redis_number(redis, "EXISTS mp:b:{%s/films:%d}s%s", ns, shard, id))
            redis_do(redis, "SETRANGE mp:b:{%s/films:%d}s%s 30 damaged", ns, shard, id);
    }
}

static void writes_all(int number) {
    char text[32];
    pond_error *err = NULL;
    snprintf(text, sizeof text, "{\"n\":%d}", number);
    for (int i = 0; i < DOCUMENTS; i++) {
        const char *id = id_of(i);
        must(pond_collection_change(films, POND_REPLACE, id, strlen(id), text, strlen(text), NULL, NULL, NULL, &err),
             err);
    }
    const char *id = id_of(DELETED);
    must(pond_collection_change(films, POND_DELETE, id, strlen(id), NULL, 0, NULL, NULL, NULL, &err), err);
    id = id_of(COUNTED);
    for (int i = 0; i < 2; i++) must(pond_collection_increment(films, id, strlen(id), "m", 1, 3, &err), err);
    damages(DAMAGED);
}

/* Rounds until there is nothing; what was not in the store before is now. */
static void drains(void) {
    pond_error *err = NULL;
    for (int empty = 0; empty < 2;) {
        mp_round how = mp_flush_round(p->backlogs, &err);
        if (how == MP_ROUND_FAILED) fail_msg("%s", pond_error_message(err));
        empty += how == MP_ROUND_EMPTY;
    }
}

/* `stored`: in the store, else to whoever asks for it. */
static void is_there(int i, int number, bool stored) {
    const char *id = id_of(i);
    char want[64];
    pond_value *value = NULL;
    pond_error *err = NULL;
    if (i == DAMAGED && redis) return; /* a dead letter, and what was there before */
    if (stored) must(pond_store_get(p, "films", id, strlen(id), &value, &err), err);
    else must(pond_collection_get(films, id, strlen(id), &value, &err), err);
    snprintf(want, sizeof want, i == COUNTED ? "{\"id\":\"%s\",\"n\":%d,\"m\":6}" : "{\"id\":\"%s\",\"n\":%d}", id,
             number);
    if (i == DELETED) assert_int_equal(pond_value_state(value), POND_ABSENT);
    else assert_string_equal(pond_value_data(value, NULL), want);
    pond_value_free(value);
}

static void all_are_there(int number, bool stored) {
    for (int i = 0; i < DOCUMENTS; i++) is_there(i, number, stored);
}

static void drops_letters(void) {
    for (int shard = 0; redis && shard < MP_BACKLOG_SHARDS; shard++)
        redis_do(redis, "DEL mp:x:{%s/films:%d}", ns, shard);
}

/* One round in which allocations fail. */
static void scene(long n) {
    pond_error *err = NULL;
    atomic_store(&left, n);
    atomic_store(&armed, true);
    mp_round how = mp_flush_round(p->backlogs, &err);
    atomic_store(&armed, false);
    failed += how == MP_ROUND_FAILED;
    rounds++;
    pond_error_free(err);
}

static void opens(const char *cache) {
    const char *const options[] = {"write", "behind"};
    p = pond_made(cache, "store", address, "namespace", ns, "worker", "off", "command_timeout", "5s",
                  "breaker_failures", "0", NULL);
    films = films_made(p, options, 1);
    p->backlogs->batch = p->backlogs->batch_most = BATCH;
}

static void rounds_without_memory(const char *cache) {
    watchdog(110);
    shop_make(folder, address);
    snprintf(ns, sizeof ns, "%s", fresh("nomem"));
    opens(cache);
    for (int i = 0; i < 3; i++) {
        writes_all(i);
        drains();
    }
    drops_letters();
    int number = 10;
    for (int follow = 0; follow < 2; follow++) {
        atomic_store(&all_that_follow, follow);
        failed = rounds = 0;
        for (long n = 0, unspent = -1; unspent <= 0; n += 1 + dice(slow_build() ? 20 : 4)) {
            pond_error *err = NULL;
            writes_all(++number);
            scene(n);
            unspent = atomic_load(&left);
            pond_value *value = NULL; /* the connection stands again */
            for (int64_t until = clock_ms() + 5000;
                 pond_collection_dead_list(films, NULL, 0, 1, &value, &err) != POND_OK; rest_ms(1)) {
                if (clock_ms() > until) fail_msg("%s", pond_error_message(err));
                pond_error_free(err);
                err = NULL;
            }
            pond_value_free(value);
            if (dice(2)) all_are_there(number, false); /* which folds what was counted */
            drains();
            all_are_there(number, true);
            all_are_there(number, false);
            for (int shard = 0; redis && shard < MP_BACKLOG_SHARDS; shard++)
                assert_int_equal(redis_number(redis, "LLEN mp:q:{%s/films:%d}", ns, shard), 0);
        }
        printf("           %ld rounds, %s; %ld failed\n", rounds, follow ? "with all that follow" : "one at a time",
               failed);
        assert_true(rounds > 40 && failed > 30);
        drops_letters();
        long before = 0;
        for (int i = 0; i < 20; i++) { /* what is kept for the next ones is kept once */
            writes_all(++number);
            drains();
            if (i == 9) before = atomic_load(&blocks);
        }
        assert_in_range(atomic_load(&blocks), 0, before + 2);
        drops_letters();
    }
    pond_collection_free(films);
    pond_free(p);
    shop_remove(folder);
}

static void in_redis(void **state) {
    (void)state;
    redis = redis_open(redis_url());
    rounds_without_memory(redis_url());
    redisFree(redis);
    redis = NULL;
}

static void in_a_journal(void **state) {
    (void)state;
    rounds_without_memory("memory:");
}
#else
static void in_redis(void **state) {
    (void)state;
    skip();
}
static void in_a_journal(void **state) {
    (void)state;
    skip();
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(in_redis), cmocka_unit_test(in_a_journal)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
