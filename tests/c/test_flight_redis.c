/* Flights on Redis: the common cases, and those where the server is a step ahead of what this process has heard. */
#include "cache/cache.h"
#include "model/envelope.h"
#include "support/flight_cases.h"
#include "support/redis.h"
#include "support/support.h"

static redisContext *redis;
static pond *p, *other; /* the latter stands for another process */
static desk d;
static char key[64], name[96]; /* ns:key */

static uint64_t base_misses, base_loads;

static uint64_t stat(const char *counter) { return pond_stat(p, "wire", counter); }

static int set_up(void **state) {
    (void)state;
    p = pond_made(redis_url(), "namespace", "wire", NULL);
    other = pond_made(redis_url(), "namespace", "wire", NULL);
    desk_open(&d, p, 2);
    /* Everybody is connected, and the server has the scripts. */
    fetch_text(p, "warm", NULL, "x");
    fetch_text(other, "warm", NULL, "x");
    invalidate(other, "cold", NULL);
    for (size_t i = 0; i < 2; i++) {
        desk_fetch(&d, i, "warm", NULL, 0, NULL);
        desk_value(&d, i, 0, "x");
    }
    base_misses = stat("misses");
    base_loads = stat("loads");
    snprintf(key, sizeof key, "%s", fresh("k"));
    snprintf(name, sizeof name, "wire:%s", key);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    desk_close(&d);
    pond_free(p);
    pond_free(other);
    return 0;
}

static bool leased(void) { return redis_number(redis, "EXISTS mp:l:{%s}", name) == 1; }
static bool cached(void) { return redis_number(redis, "EXISTS mp:v:{%s}", name) == 1; }

static void await_scripts(long long more_than) {
    for (int64_t until = clock_ms() + 5000; redis_scripts_run(redis) <= more_than;) {
        assert_true(clock_ms() < until);
        rest_ms(1);
    }
}

/* A fetch on queue i that missed and has asked for the lease; nobody looks at the answer. */
static void ask(size_t i, uint64_t user) {
    uint64_t misses = stat("misses");
    desk_fetch(&d, i, key, NULL, user, NULL);
    while (stat("misses") == misses) pond_queue_poll(d.queue[i], NULL, 0, 0);
}

/* What the lease operation found may be older than who came while it was under way. */
static void a_found_value_is_not_for_who_came_after_the_question(void **state) {
    (void)state;
    long long gets = redis_calls(redis, "get");
    desk_fetch(&d, 0, key, NULL, 1, NULL);
    pond_queue_flush(d.queue[0]);
    while (redis_calls(redis, "get") == gets) rest_ms(1); /* it misses */
    assert_string_equal(fetch_text(other, key, NULL, "old"), "old");
    long long scripts = redis_scripts_run(redis);
    while (stat("misses") == base_misses)
        pond_queue_poll(d.queue[0], NULL, 0, 0); /* which is heard: asks for the lease */
    await_scripts(scripts);                      /* and finds "old" */
    invalidate(other, key, NULL);
    ask(1, 2); /* came after the invalidation has returned */
    desk_value(&d, 0, 1, "old");
    pond_load *load = desk_load(&d, 1, 2);
    answer_text(load, "new");
    desk_value(&d, 1, 2, "new");
}

/* The fill was accepted, but its answer not yet heard, when somebody invalidated: who came after that must not share it. */
static void a_fill_is_not_for_who_came_behind_it(void **state) {
    (void)state;
    ask(0, 1);
    pond_load *load = desk_load(&d, 0, 1);
    long long scripts = redis_scripts_run(redis);
    answer_text(load, "old"); /* sends the fill */
    await_scripts(scripts);
    assert_true(cached());
    invalidate(other, key, NULL);
    ask(1, 2);
    fetcher f = {.p = p, .key = key, .script = {.value = "new"}};
    fetcher_start(&f);
    await_stat(p, "wire", "misses", base_misses + 3);
    rest_ms(5);
    desk_value(&d, 0, 1, "old");
    for (int64_t until = clock_ms() + 5000; clock_ms() < until && d.count[1] == 0;) desk_drive(&d, 5);
    pond_event *event = desk_event(&d, 1, 0);
    assert_non_null(event);
    if (pond_event_kind(event) == POND_EVENT_LOAD) {
        answer_text(pond_event_load(event), "new");
        desk_value(&d, 1, 2, "new");
    } else {
        size_t len;
        assert_string_equal(pond_value_data(pond_event_value(event), &len), "new");
    }
    pond_event_free(event);
    fetcher_join(&f);
    assert_string_equal(f.text, "new");
}

static void a_lease_lost_in_mid_load(void **state) {
    (void)state;
    ask(0, 1);
    pond_load *load = desk_load(&d, 0, 1);
    assert_true(leased());
    redis_do(redis, "DEL mp:l:{%s}", name);
    ask(1, 2);
    desk_nothing(&d, 5);
    answer_text(load, "one");
    desk_value(&d, 0, 1, "one");
    load = desk_load(&d, 1, 2);
    assert_int_equal(stat("refused_fills"), 1);
    assert_false(cached());
    answer_text(load, "two");
    desk_value(&d, 1, 2, "two");
    assert_string_equal(lookup_text(other, key, NULL), "two");
}

static void a_holder_that_died(void **state) {
    (void)state;
    redis_do(redis, "SET mp:l:{%s} 0123456789abcdef PX 200", name);
    int64_t began = clock_ms();
    fetcher f = {.p = p, .key = key, .script = {.value = "heir"}};
    fetcher_start(&f);
    desk_fetch(&d, 0, key, NULL, 1, NULL);
    pond_event *event = desk_event(&d, 0, 5000);
    if (event && pond_event_kind(event) == POND_EVENT_LOAD) {
        answer_text(pond_event_load(event), "heir");
        pond_event_free(event);
        event = desk_event(&d, 0, 5000);
    }
    assert_non_null(event);
    assert_int_equal(pond_event_kind(event), POND_EVENT_VALUE);
    pond_event_free(event);
    fetcher_join(&f);
    assert_string_equal(f.text, "heir");
    assert_in_range(clock_ms() - began, 150, 500); /* its time and one poll */
    assert_int_equal(stat("loads"), base_loads + 1);
    assert_string_equal(lookup_text(other, key, NULL), "heir");
}

static void a_writer_under_way(void **state) {
    (void)state;
    const redisReply *t = redis_do(redis, "TIME");
    long long now = strtoll(t->element[0]->str, NULL, 10) * 1000;
    redis_do(redis, "ZADD mp:w:{%s} %lld writer", name, now + 20000);
    redis_do(redis, "PEXPIRE mp:w:{%s} 20000", name);
    int64_t began = clock_ms();
    ask(0, 1);
    pond_load *load = desk_load(&d, 0, 1);
    assert_true(clock_ms() - began < 500); /* nobody waits for a writer */
    assert_false(leased());
    ask(1, 2);
    desk_nothing(&d, 5);
    answer_text(load, "seen");
    desk_value(&d, 0, 1, "seen");
    load = desk_load(&d, 1, 2); /* came during the load: it is nobody's to share */
    answer_text(load, "seen too");
    desk_value(&d, 1, 2, "seen too");
    assert_false(cached());
    assert_int_equal(stat("unfilled_loads"), 2);
    /* The writer died: its intent ends by its deadline. */
    redis_do(redis, "ZADD mp:w:{%s} %lld writer", name, now - 1);
    assert_string_equal(fetch_text(p, key, NULL, "after"), "after");
    assert_true(cached());
}

/* A good envelope under the fence in force, with room to spoil it. */
static size_t good(char *out, const char *text) {
    const redisReply *r = redis_do(redis, "HGET mp:f fence");
    assert_int_equal(r->len, MP_FENCE_LEN);
    mp_envelope e = {.codec = POND_TEXT, .payload_len = (uint32_t)strlen(text), .payload = text};
    memcpy(e.fence, r->str, MP_FENCE_LEN);
    mp_envelope_write(out, &e);
    return mp_envelope_size(e.payload_len, 0);
}

static void damaged_values_are_replaced(void **state) {
    (void)state;
    enum { GOOD, NOISE, EMPTY, SHORT, LONG, CRC, FENCE, CODEC, MAGIC, TAGS, LENGTH, KINDS };
    for (int kind = GOOD; kind < KINDS; kind++) {
        char e[256], text[128];
        size_t len = good(e, "stored by hand");
        uint64_t damaged = stat("damaged");
        switch (kind) {
        case NOISE:
            for (size_t i = 0; i < sizeof e; i++) e[i] = (char)dice(256);
            len = sizeof e;
            break;
        case EMPTY: len = 0; break;
        case SHORT: len -= 3; break;
        case LONG: e[len++] = 'x'; break;
        case CRC: e[len - 1] ^= 1; break;
        case FENCE: e[16] ^= 1; break;
        case CODEC: e[41] = 77; break;
        case MAGIC: e[0] = 'X'; break;
        case TAGS: { /* what a later version may write */
            mp_envelope with;
            assert_int_equal(mp_envelope_read(e, len, &with), MP_ENVELOPE_OK);
            char out[256], tag[MP_TAG_SIZE] = "generation";
            with.ntags = 1;
            with.tags = tag;
            mp_envelope_write(out, &with);
            len = mp_envelope_size(with.payload_len, 1);
            memcpy(e, out, len);
            break;
        }
        case LENGTH: e[47] = 0x7f; break;
        default: break;
        }
        redis_do(redis, "SET mp:v:{%s} %b PX 60000", name, e, len);
        snprintf(text, sizeof text, "loaded %d", kind);
        if (kind == GOOD) {
            assert_string_equal(fetch_text(p, key, NULL, text), "stored by hand");
            continue;
        }
        assert_string_equal(lookup_text(p, key, NULL), "(miss)");
        if (kind % 2) {
            assert_string_equal(fetch_text(p, key, NULL, text), text);
        } else {
            ask(0, 1);
            answer_text(desk_load(&d, 0, 1), text);
            desk_value(&d, 0, 1, text);
        }
        assert_string_equal(lookup_text(other, key, NULL), text);
        if (kind != FENCE && kind != TAGS) assert_true(stat("damaged") > damaged);
    }
    /* Something of another type stands there: an error of the cache, but never of the caller. */
    redis_do(redis, "DEL mp:v:{%s}", name);
    redis_do(redis, "LPUSH mp:v:{%s} x", name);
    assert_string_equal(fetch_text(p, key, NULL, "from the store"), "from the store");
    invalidate(p, key, NULL);
    assert_string_equal(fetch_text(p, key, NULL, "mended"), "mended");
    assert_string_equal(lookup_text(p, key, NULL), "mended");
}

static void a_queue_freed_with_its_question_out(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        long long scripts = redis_scripts_run(redis);
        ask(0, 1);
        desk_free_queue(&d, 0);
        await_scripts(scripts);
        for (int64_t until = clock_ms() + 500; leased() && clock_ms() < until;) rest_ms(1);
        assert_false(leased());
        assert_int_equal(pond_queue_new(&d.queue[0], p, NULL), POND_OK);
    }
    /* and with the load out */
    ask(0, 1);
    pond_load *load = desk_load(&d, 0, 1);
    assert_true(leased());
    desk_free_queue(&d, 0);
    for (int64_t until = clock_ms() + 500; leased() && clock_ms() < until;) rest_ms(1);
    assert_false(leased());
    pond_load_fail(load, 0, "nobody hears it");
}

/* A host that is busy between its call and its flush has not used up the command's time. */
static void a_busy_host_loses_no_time(void **state) {
    (void)state;
    pond_policy *quick = policy_made(p, "command_timeout", "100ms", NULL);
    fetch_text(p, key, NULL, "one");
    uint64_t errors = stat("cache_errors");
    desk_free_queue(&d, 0); /* so that the first has to connect */
    assert_int_equal(pond_queue_new(&d.queue[0], p, NULL), POND_OK);
    for (uint64_t i = 0; i < 2; i++) {
        desk_fetch(&d, 0, key, quick, i, NULL);
        rest_ms(200);
        desk_value(&d, 0, i, "one");
    }
    for (uint64_t i = 0; i < 2; i++) { /* sent, answered, and then the host is busy */
        desk_fetch(&d, 0, key, quick, i, NULL);
        pond_queue_flush(d.queue[0]);
        rest_ms(200);
        desk_value(&d, 0, i, "one");
    }
    assert_int_equal(stat("cache_errors"), errors);
    pond_policy_free(quick);
}

int main(void) {
    int failed = flight_cases(redis_url());
    redis = redis_open(redis_url());
    if (!redis) return 2;
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_found_value_is_not_for_who_came_after_the_question),
        CASE(a_fill_is_not_for_who_came_behind_it),
        CASE(a_lease_lost_in_mid_load),
        CASE(a_holder_that_died),
        CASE(a_writer_under_way),
        CASE(damaged_values_are_replaced),
        CASE(a_queue_freed_with_its_question_out),
        CASE(a_busy_host_loses_no_time),
    };
    failed += cmocka_run_group_tests_name("flights on redis", tests, NULL, NULL);
    redisFree(redis);
    return failed;
}
