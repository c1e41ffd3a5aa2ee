/* Dead letters under an allocator that fails: the n-th allocation of a list, a look and a retry, for every n. What was to be retried is then a
 * letter or waits for the store, and never both or neither.
 *
 * This program replaces malloc and its kin. So do sanitizers: in their builds it is skipped. */
#include "pattern/behind/backlog.h"
#include "support/redis.h"
#include "support/scarce_malloc.h"
#include "support/support.h"

#if REPLACED
static char folder[SHOP_FOLDER], address[SHOP_ADDRESS], ns[64], letter[48];
static redisContext *redis;
static pond_collection *films;
static int shard;
static long went_well, failed;

static bool allowed(int code, pond_error **err) {
    bool well = code == POND_OK;
    if (!well && code != POND_ENOMEM && code != POND_ECACHE && code != POND_ESTORE && code != POND_EOVERLOAD &&
        code != POND_EPROTOCOL && code != POND_EABSENT && code != POND_ETIMEOUT && code != POND_ECLOSED) {
        atomic_store(&armed, false);
        fail_msg("%s: %s", pond_code_name(code), pond_error_message(*err));
    }
    pond_error_free(*err);
    *err = NULL;
    went_well += well;
    failed += !well;
    return well;
}

static void scene(void) {
    pond_value *value = NULL;
    pond_error *err = NULL;
    size_t len = strlen(letter);
    if (allowed(pond_collection_dead_list(films, NULL, 0, 10, &value, &err), &err) &&
        !strstr(pond_value_data(value, NULL), letter)) {
        atomic_store(&armed, false);
        fail_msg("%s is not in %s", letter, pond_value_data(value, NULL));
    }
    pond_value_free(value);
    value = NULL;
    allowed(pond_collection_dead_act(films, POND_DEAD_SHOW, letter, len, &value, &err), &err);
    pond_value_free(value);
    allowed(pond_collection_dead_act(films, POND_DEAD_RETRY, letter, len, NULL, &err), &err);
    allowed(pond_collection_dead_act(films, POND_DEAD_DROP, "1-0-0", 5, NULL, &err), &err);
}

static long long letters(void) { return redis_number(redis, "XLEN mp:x:{%s/films:%d}", ns, shard); }
static long long waiting(void) { return redis_number(redis, "LLEN mp:q:{%s/films:%d}", ns, shard); }

/* A letter again, if it is none. */
static void put_aside(void) {
    assert_int_equal(letters() + waiting(), 1);
    bool is_letter = letters();
    redisReply *r = redis_do(redis, "GET mp:b:{%s/films:%d}s1", ns, shard);
    assert_int_equal(r->type, is_letter ? REDIS_REPLY_NIL : REDIS_REPLY_STRING);
    if (is_letter) return;
    char record[256];
    size_t len = r->len;
    assert_true(len < sizeof record);
    memcpy(record, r->str, len);
    r = redis_do(redis, "XADD mp:x:{%s/films:%d} * k s1 r %b e why", ns, shard, record, len);
    snprintf(letter, sizeof letter, "%s-%d", r->str, shard);
    redis_do(redis, "DEL mp:b:{%s/films:%d}s1 mp:q:{%s/films:%d}", ns, shard, ns, shard);
}

static void begin(pond **p) {
    const char *const options[] = {"write", "behind"};
    *p = pond_made(redis_url(), "store", address, "namespace", ns, "worker", "off", "command_timeout", "5s",
                   "breaker_failures", "0", NULL);
    assert_int_equal(pond_collection_new(&films, *p, "films", options, 1, NULL), POND_OK);
    assert_int_equal(pond_collection_prepare(films, NULL), POND_OK);
    assert_int_equal(pond_collection_change(films, POND_REPLACE, "1", 1, "{\"n\":1}", 7, NULL, NULL, NULL, NULL),
                     POND_OK);
    for (shard = 0; shard < MP_BACKLOG_SHARDS && !waiting(); shard++) continue;
}

static void a_letter_is_in_one_place(void **state) {
    (void)state;
    pond *p;
    watchdog(110);
    redis = redis_open(redis_url());
    shop_make(folder, address);
    snprintf(ns, sizeof ns, "%s", fresh("nomem"));
    begin(&p);
    for (int follow = 0; follow < 2; follow++) {
        atomic_store(&all_that_follow, follow);
        went_well = failed = 0;
        long n = 0, before = 0;
        for (long unspent = -1; unspent <= 0; n++) {
            put_aside();
            pond_value *value = NULL; /* the connection stands again */
            for (int64_t until = clock_ms() + 5000;
                 pond_collection_dead_list(films, NULL, 0, 1, &value, NULL) != POND_OK; rest_ms(1))
                assert_true(clock_ms() < until);
            pond_value_free(value);
            atomic_store(&left, n);
            atomic_store(&armed, true);
            scene();
            atomic_store(&armed, false);
            unspent = atomic_load(&left);
        }
        printf("           %ld allocations failed, %s; %ld calls went well, %ld failed\n", n,
               follow ? "with all that follow" : "one at a time", went_well, failed);
        assert_true(n > 30 && failed > 30 && went_well > 30);
        for (int i = 0; i < 20; i++) { /* what is kept for the next ones is kept once */
            put_aside();
            scene();
            if (i == 9) before = atomic_load(&blocks);
        }
        assert_int_equal(atomic_load(&blocks), before);
    }
    pond_collection_free(films);
    pond_free(p);
    redisFree(redis);
    shop_remove(folder);
}
#else
static void a_letter_is_in_one_place(void **state) {
    (void)state;
    skip();
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_letter_is_in_one_place)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
