/* What each counter counts: a short story for every row of counters.def, and the whole row of statistics that it leaves behind. */
#include "observe/stats.h"
#include "support/redis.h"
#include "support/server.h"
#include "support/support.h"

#define NOWHERE "unix:/nobody/listens/here.sock"

static redisContext *redis;

typedef struct scene {
    pond *p;
    const char *ns, *key;
} scene;

static void hit(const scene *s) { fetch_text(s->p, s->key, NULL, "other"); }

static void negative_hit(const scene *s) {
    fetcher f = {.p = s->p, .key = s->key, .script = {.value = "other"}};
    assert_int_equal(fetch(&f), POND_OK);
    assert_int_equal(f.state, POND_ABSENT);
}

static void miss(const scene *s) { assert_string_equal(lookup_text(s->p, s->key, NULL), "(miss)"); }

static void load(const scene *s) { fetch_text(s->p, s->key, NULL, "one"); }

static void load_uncached(const scene *s) {
    fetcher f = {.p = s->p, .key = s->key, .script = {.value = "one", .flags = POND_LOAD_UNCACHED}};
    assert_int_equal(fetch(&f), POND_OK);
}

static void load_fails(const scene *s) {
    fetcher f = {.p = s->p, .key = s->key, .script = {.fail = POND_ELOADER}};
    assert_int_equal(fetch(&f), POND_ELOADER);
}

/* A caller whose loader is stopped in the middle, for what happens meanwhile. */
typedef struct slow {
    fetcher f;
    gate began, go;
} slow;

static void slow_start(slow *l, const scene *s) {
    gate_init(&l->began);
    gate_init(&l->go);
    l->f = (fetcher){.p = s->p, .key = s->key, .script = {.value = "one", .began = &l->began, .go = &l->go}};
    fetcher_start(&l->f);
    assert_true(gate_wait(&l->began, 5000));
}

static void slow_end(slow *l) {
    gate_open(&l->go);
    fetcher_join(&l->f);
    assert_int_equal(l->f.code, POND_OK);
    gate_destroy(&l->began);
    gate_destroy(&l->go);
}

static void load_shared(const scene *s) {
    slow l;
    fetcher other = {.p = s->p, .key = s->key, .script = {.value = "two"}};
    slow_start(&l, s);
    fetcher_start(&other);
    await_stat(s->p, s->ns, "misses", 2);
    slow_end(&l);
    fetcher_join(&other);
    assert_string_equal(other.text, "one");
}

static void load_overtaken(const scene *s) {
    slow l;
    slow_start(&l, s);
    invalidate(s->p, s->key, NULL);
    slow_end(&l);
}

static void wait_too_long(const scene *s) {
    slow l;
    pond_policy *brief = policy_made(s->p, "wait_timeout", "30ms", NULL);
    fetcher other = {.p = s->p, .key = s->key, .policy = brief, .script = {.value = "two"}};
    slow_start(&l, s);
    assert_int_equal(fetch(&other), POND_ETIMEOUT);
    slow_end(&l);
    pond_policy_free(brief);
}

/* What was cached is past its ttl, or near its end and took very long to load: so early that no draw says otherwise. */
static void fetch_aged(const scene *s, bool early, script what) {
    pond_policy *soft = policy_made(s->p, "grace", early ? "0" : "1h", "early_refresh", early ? "1000" : "0", NULL);
    fetcher first = {.p = s->p, .key = s->key, .policy = soft, .script = {.value = "one"}};
    fetcher then = {.p = s->p, .key = s->key, .policy = soft, .script = what};
    assert_int_equal(fetch(&first), POND_OK);
    if (early) redis_do(redis, "SETRANGE mp:v:{%s:%s} 36 %b", s->ns, s->key, "\xff\xff\xff\xff", (size_t)4);
    else redis_do(redis, "PEXPIRE mp:v:{%s:%s} 1800000", s->ns, s->key);
    assert_int_equal(fetch(&then), POND_OK);
    assert_string_equal(then.text, what.fail ? "one" : what.value);
    pond_policy_free(soft);
}

static void refresh(const scene *s) { fetch_aged(s, false, (script){.value = "two"}); }
static void refresh_early(const scene *s) { fetch_aged(s, true, (script){.value = "two"}); }
static void refresh_fails(const scene *s) { fetch_aged(s, false, (script){.fail = POND_ELOADER}); }

static void write_garbage(const scene *s) {
    redis_do(redis, "SET mp:v:{%s:%s} garbage PX 60000", s->ns, s->key);
    miss(s);
}

static void drop_two(const scene *s) {
    const char *keys[] = {s->key, "another"};
    const size_t lens[] = {strlen(s->key), 7};
    assert_int_equal(pond_invalidate(s->p, keys, lens, 2, NULL, NULL), POND_OK);
}

static void lookup_fails(const scene *s) {
    pond_value *value = NULL;
    assert_int_equal(pond_lookup(s->p, s->key, strlen(s->key), NULL, &value, NULL), POND_ECACHE);
}

/* ---- writers ---- */

static const scene *writing_in; /* for what they do inside */

static void write_with(const scene *s, pond_policy *policy, pond_writer writer, int code) {
    const size_t len = strlen(s->key);
    writing_in = s;
    assert_int_equal(pond_write(s->p, &s->key, &len, 1, policy, NULL, writer, NULL, NULL), code);
}

static void give_value(pond_writing *writing, void *ctx) {
    (void)ctx;
    assert_int_equal(pond_writing_value(writing, 0, "new", 3, POND_TEXT, NULL), POND_OK);
    pond_write_done(writing);
}

static void write_and_cache(const scene *s) { write_with(s, NULL, give_value, POND_OK); }

static void invalidate_first(pond_writing *writing, void *ctx) {
    invalidate(writing_in->p, writing_in->key, NULL);
    give_value(writing, ctx);
}

static void write_not_alone(const scene *s) { write_with(s, NULL, invalidate_first, POND_OK); }

static void say_no(pond_writing *writing, void *ctx) {
    (void)ctx;
    pond_write_fail(writing, POND_NOT_WRITTEN, POND_EVALUE, "no");
}

static void write_in_vain(const scene *s) { write_with(s, NULL, say_no, POND_EVALUE); }

static void until_renewed(pond_writing *writing, void *ctx) {
    (void)ctx;
    await_stat(writing_in->p, writing_in->ns, "renewed_intents", 1);
    pond_write_done(writing);
}

static void write_slowly(const scene *s) {
    pond_policy *brief = policy_made(s->p, "intent", "2s", NULL);
    write_with(s, brief, until_renewed, POND_OK);
    pond_policy_free(brief);
}

static void pause_server(pond_writing *writing, void *ctx) {
    (void)ctx;
    redis_do(redis, "CLIENT PAUSE 700 WRITE");
    pond_write_done(writing);
}

static void write_and_tell_later(const scene *s) {
    write_with(s, NULL, pause_server, POND_OK);
    await_stat(s->p, s->ns, "delivered_ends", 1);
}

static void write_and_tell_never(const scene *s) {
    pond_policy *lenient = policy_made(s->p, "when_cache_down_write", "lenient", NULL);
    write_with(s, lenient, give_value, POND_OK);
    assert_int_equal(pond_close(s->p, 0), POND_ETIMEOUT);
    pond_policy_free(lenient);
}

#define ROW(...) .row = {__VA_ARGS__}
#define N(counter) [MP_COUNT_##counter]
static const struct story {
    const char *name;
    const char *cache; /* NULL: Redis */
    const char *first; /* what is cached before the story begins; "" is an absence */
    void (*run)(const scene *s);
    uint64_t row[MP_COUNTERS]; /* what is not named is 0 */
} stories[] = {
    {"a refresh", .run = refresh, ROW(N(misses) = 2, N(loads) = 2, N(refreshes) = 1, N(fills) = 2)},
    {"a refresh before its time", .run = refresh_early,
     ROW(N(misses) = 2, N(loads) = 2, N(refreshes) = 1, N(early_refreshes) = 1, N(fills) = 2)},
    {"a refresh that fails", .run = refresh_fails,
     ROW(N(stale_hits) = 1, N(misses) = 1, N(loads) = 2, N(refreshes) = 1, N(load_errors) = 1, N(failed_refreshes) = 1,
         N(fills) = 1)},
    {"a hit", .first = "one", .run = hit, ROW(N(hits) = 1)},
    {"an absence that is cached", .first = "", .run = negative_hit, ROW(N(negative_hits) = 1)},
    {"a lookup that finds nothing", .run = miss, ROW(N(misses) = 1)},
    {"a load", .run = load, ROW(N(misses) = 1, N(loads) = 1, N(fills) = 1)},
    {"a load that is not to be cached", .run = load_uncached, ROW(N(misses) = 1, N(loads) = 1)},
    {"a load that fails", .run = load_fails, ROW(N(misses) = 1, N(loads) = 1, N(load_errors) = 1)},
    {"a load for two", .run = load_shared, ROW(N(misses) = 2, N(loads) = 1, N(fills) = 1, N(waits) = 1)},
    {"a load that an invalidation overtakes", .run = load_overtaken,
     ROW(N(misses) = 1, N(loads) = 1, N(invalidations) = 1, N(refused_fills) = 1)},
    {"a wait that is too long", .run = wait_too_long, ROW(N(misses) = 2, N(loads) = 1, N(fills) = 1, N(timeouts) = 1)},
    {"two keys dropped", .first = "one", .run = drop_two, ROW(N(invalidations) = 2)},
    {"something undecodable", .run = write_garbage, ROW(N(misses) = 1, N(damaged) = 1)},
    {"a load without a cache", .cache = NOWHERE, .run = load,
     ROW(N(misses) = 1, N(loads) = 1, N(unfilled_loads) = 1, N(cache_errors) = 1)},
    {"a write whose value is cached", .first = "old", .run = write_and_cache,
     ROW(N(writes) = 1, N(written_values) = 1)},
    {"a write that was not alone", .run = write_not_alone,
     ROW(N(writes) = 1, N(refused_values) = 1, N(invalidations) = 1)},
    {"a write that failed", .run = write_in_vain, ROW(N(write_errors) = 1)},
    {"a write that takes long", .run = write_slowly, ROW(N(writes) = 1, N(renewed_intents) = 1)},
    {"a write that is told late", .run = write_and_tell_later,
     ROW(N(writes) = 1, N(cache_errors) = 1, N(failed_ends) = 1, N(delivered_ends) = 1)},
    {"a write that is never told", .cache = NOWHERE, .run = write_and_tell_never,
     ROW(N(writes) = 1, N(cache_errors) = 2, N(failed_ends) = 1, N(lost_ends) = 1)},
    {"a lookup without a cache", .cache = NOWHERE, .run = lookup_fails, ROW(N(misses) = 1, N(cache_errors) = 1)},
};
enum { STORIES = sizeof stories / sizeof stories[0] };

static const char *const names[] = {
#define COUNTER(name, text) #name,
#include "observe/counters.def"
#undef COUNTER
};

static void put_first(const char *ns, const char *key, const char *value) {
    pond *p = pond_made(redis_url(), "namespace", ns, NULL);
    fetcher f = {.p = p, .key = key, .script = {.value = *value ? value : NULL}};
    assert_int_equal(fetch(&f), POND_OK);
    pond_free(p);
}

static void play(void **state) {
    const struct story *story = *state;
    char ns[64], key[64];
    snprintf(ns, sizeof ns, "%s", fresh("ns"));
    snprintf(key, sizeof key, "%s", fresh("k"));
    if (story->first) put_first(ns, key, story->first);
    pond *p = pond_made(story->cache ? story->cache : redis_url(), "namespace", ns, NULL);
    story->run(&(scene){.p = p, .ns = ns, .key = key});
    for (size_t i = 0; i < MP_COUNTERS; i++)
        if (pond_stat(p, ns, names[i]) != story->row[i])
            fail_msg("%s: %s is %llu, not %llu", story->name, names[i], (unsigned long long)pond_stat(p, ns, names[i]),
                     (unsigned long long)story->row[i]);
    pond_free(p);
}

static void every_counter_has_its_story(void **state) {
    (void)state;
    for (size_t i = 0; i < MP_COUNTERS; i++) {
        /* By test_events_redis.c, test_backlog_redis.c and test_increments_redis.c: they need a store. */
        bool told = i == MP_COUNT_events || i == MP_COUNT_lost_events || i == MP_COUNT_accepted ||
                    i == MP_COUNT_flushed || i == MP_COUNT_dead_letters || i == MP_COUNT_dropped_increments;
        for (size_t k = 0; k < STORIES; k++) told = told || stories[k].row[i] > 0;
        if (!told) fail_msg("no story in this file makes %s move: add one", names[i]);
    }
}

static long gauge(pond *p, const char *name) {
    pond_value *value = NULL;
    size_t len;
    char line[64];
    assert_int_equal(pond_metrics(p, &value, NULL), POND_OK);
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(pond_value_data(value, &len), line);
    assert_non_null(at);
    long number = strtol(at + strlen(line), NULL, 10);
    pond_value_free(value);
    return number;
}

static void connections_are_counted(void **state) {
    (void)state;
    pond *p = pond_made(redis_url(), "namespace", fresh("ns"), NULL);
    desk d;
    assert_int_equal(gauge(p, "millpond_redis_connections"), 0);
    fetch_text(p, "a", NULL, "one");
    assert_int_equal(gauge(p, "millpond_redis_connections"), 1);
    desk_open(&d, p, 1);
    desk_fetch(&d, 0, "a", NULL, 1, NULL);
    desk_value(&d, 0, 1, "one");
    assert_int_equal(gauge(p, "millpond_redis_connections"), 2);
    desk_close(&d);
    assert_int_equal(gauge(p, "millpond_redis_connections"), 1);
    redis_do(redis, "CLIENT KILL TYPE normal SKIPME yes");
    fetch_text(p, "a", NULL, "one");
    assert_int_equal(gauge(p, "millpond_redis_connections"), 1);
    assert_int_equal(gauge(p, "millpond_redis_connects_total"), 3);
    pond_free(p);
}

static void the_breaker_is_told_of(void **state) {
    (void)state;
    server *frozen = server_start(NULL);
    pond *p = pond_made(server_url(frozen), "namespace", fresh("ns"), "command_timeout", "500ms", "breaker_failures",
                        "1", "breaker_pause", "10m", NULL);
    const scene s = {.p = p, .ns = "ns", .key = "k"};
    miss(&s);
    assert_int_equal(gauge(p, "millpond_redis_breaker_open"), 0);
    server_freeze(frozen, true);
    lookup_fails(&s);
    assert_int_equal(gauge(p, "millpond_redis_breaker_open"), 1);
    assert_int_equal(gauge(p, "millpond_redis_breaker_openings_total"), 1);
    lookup_fails(&s);
    assert_true(gauge(p, "millpond_redis_breaker_skips_total") > 0);
    server_freeze(frozen, false);
    pond_free(p);
    server_stop(frozen);
}

int main(void) {
    struct CMUnitTest tests[STORIES + 3] = {
        cmocka_unit_test(every_counter_has_its_story),
        cmocka_unit_test(connections_are_counted),
        cmocka_unit_test(the_breaker_is_told_of),
    };
    watchdog(100);
    redis = redis_open(redis_url());
    if (!redis) return 2;
    for (size_t i = 0; i < STORIES; i++)
        tests[i + 3] = (struct CMUnitTest){stories[i].name, play, NULL, NULL, (void *)&stories[i]};
    int failed = _cmocka_run_group_tests("counters", tests, STORIES + 3, NULL, NULL);
    redisFree(redis);
    return failed;
}
