#include "support/close_cases.h"

#include <poll.h>

#include "support/support.h"

static const char *cache_url;
static char key[64];
static size_t others; /* threads of the program's, before all this */

static int set_up(void **state) {
    (void)state;
    snprintf(key, sizeof key, "%s", fresh("k"));
    return 0;
}

static pond *made(void) { return pond_made(cache_url, "namespace", "close", NULL); }

static void an_idle_pond(void **state) {
    (void)state;
    pond *p = made();
    assert_int_equal(pond_close(p, 1000), POND_OK);
    assert_int_equal(pond_close(p, 1000), POND_OK);
    pond_free(p);
    p = made();
    fetch_text(p, key, NULL, "x");
    int64_t began = clock_ms();
    assert_int_equal(pond_close(p, INT64_MAX), POND_OK);
    assert_true(clock_ms() - began < 1000);
    fetcher f = {.p = p, .key = key, .script = {.value = "y"}};
    assert_int_equal(fetch(&f), POND_ECLOSED);
    assert_int_equal(atomic_load(&f.script.calls), 0);
    pond_queue *queue;
    assert_int_equal(pond_queue_new(&queue, p, NULL), POND_ECLOSED);
    const char *k = key;
    size_t len = strlen(k);
    assert_int_equal(pond_invalidate(p, &k, &len, 1, NULL, NULL), POND_ECLOSED);
    pond_value *value = NULL;
    assert_int_equal(pond_lookup(p, k, len, NULL, &value, NULL), POND_ECLOSED);
    assert_int_equal(pond_explain(p, k, len, NULL, &value, NULL), POND_ECLOSED);
    assert_null(pond_peek(p, k, len, NULL));
    assert_int_equal(pond_stats(p, &value, NULL), POND_OK); /* what was counted can still be read */
    pond_value_free(value);
    pond_free(p);
    pond_free(NULL);
    pond_close(NULL, 0);
}

/* Waits for what is under way, if it ends in time. */
static void a_load_that_ends_in_time(void **state) {
    (void)state;
    gate began, go;
    gate_init(&began);
    gate_init(&go);
    pond *p = made();
    fetcher f = {.p = p, .key = key, .script = {.value = "kept", .began = &began, .delay_ms = 50}};
    fetcher_start(&f);
    assert_true(gate_wait(&began, 5000));
    assert_int_equal(pond_close(p, 5000), POND_OK);
    fetcher_join(&f);
    assert_string_equal(f.text, "kept");
    pond_free(p);
    gate_destroy(&began);
    gate_destroy(&go);
}

/* Once: it is asked again wherever what is under way needs another moment to end. */
static int stop(void *ctx) { return atomic_fetch_add((atomic_int *)ctx, 1) == 0; }

/* A program that is told to stop while it closes: it may close again. */
static void an_interrupted_close(void **state) {
    (void)state;
    gate began, go;
    gate_init(&began);
    gate_init(&go);
    atomic_int asked = 0;
    pond *p = made();
    fetcher f = {.p = p, .key = key, .script = {.value = "kept", .began = &began, .go = &go}};
    fetcher_start(&f);
    assert_true(gate_wait(&began, 5000));
    pond_set_interrupt(p, stop, &asked);
    int64_t at = clock_ms();
    assert_int_equal(pond_close(p, 60000), POND_EINTERRUPTED);
    assert_in_range(clock_ms() - at, 50, 5000);
    assert_int_equal(atomic_load(&asked), 1);
    fetcher late = {.p = p, .key = key, .script = {.value = "no"}};
    assert_int_equal(fetch(&late), POND_ECLOSED);
    gate_open(&go);
    assert_int_equal(pond_close(p, 5000), POND_OK);
    fetcher_join(&f);
    assert_string_equal(f.text, "kept");
    pond_free(p);
    gate_destroy(&began);
    gate_destroy(&go);
}

typedef struct closer {
    pond *p;
    int64_t timeout_ms;
    int code;
    int64_t took_ms;
} closer;

static void *close_thread(void *arg) {
    closer *c = arg;
    int64_t began = clock_ms();
    c->code = pond_close(c->p, c->timeout_ms);
    c->took_ms = clock_ms() - began;
    return NULL;
}

/* Callers who wait (one of them leads) and one who loads: all end, and the loader's answer is heard by nobody. */
static void loads_and_waits_that_do_not_end(void **state) {
    (void)state;
    for (int round = 0; round < 30; round++) {
        gate began, go;
        gate_init(&began);
        gate_init(&go);
        pond *p = made();
        snprintf(key, sizeof key, "%s", fresh("k"));
        fetcher f[5];
        for (size_t i = 0; i < 5; i++) f[i] = (fetcher){.p = p, .key = key, .script = {.value = "x"}};
        f[0].script.began = &began;
        f[0].script.go = &go;
        fetcher_start(&f[0]);
        assert_true(gate_wait(&began, 5000));
        for (size_t i = 1; i < 5; i++) fetcher_start(&f[i]);
        if (round % 2) await_stat(p, NULL, "misses", 5);
        closer c[2] = {{.p = p, .timeout_ms = 20}, {.p = p, .timeout_ms = 20}};
        pthread_t threads[2];
        for (size_t i = 0; i < 2; i++) pthread_create(&threads[i], NULL, close_thread, &c[i]);
        for (size_t i = 1; i < 5; i++) {
            fetcher_join(&f[i]);
            assert_int_equal(f[i].code, POND_ECLOSED);
        }
        for (size_t i = 0; i < 2; i++) {
            pthread_join(threads[i], NULL);
            assert_in_range(c[i].took_ms, 0, 2000);
        }
        /* One has waited; the other may have come when all was over. */
        assert_true(c[0].took_ms >= 15 || c[1].took_ms >= 15);
        assert_true(c[0].code == POND_ETIMEOUT || c[1].code == POND_ETIMEOUT);
        gate_open(&go);
        fetcher_join(&f[0]);
        assert_int_equal(f[0].code, POND_ECLOSED);
        pond_free(p);
        gate_destroy(&began);
        gate_destroy(&go);
    }
}

static void close_inside(pond_load *load, void *ctx) {
    closer *c = ctx;
    close_thread(c);
    pond_load_value(load, "x", 1, POND_TEXT, 0);
}

static void from_a_loader(void **state) {
    (void)state;
    closer c = {.p = made(), .timeout_ms = 5000};
    pond_value *value = NULL;
    /* Nobody else is under way: it does not wait for itself. */
    assert_int_equal(pond_fetch(c.p, key, strlen(key), NULL, close_inside, &c, &value, NULL), POND_ECLOSED);
    assert_int_equal(c.code, POND_OK);
    assert_true(c.took_ms < 1000);
    pond_free(c.p);
    /* Another caller waits for that very load. */
    c = (closer){.p = made(), .timeout_ms = 100};
    gate began, go;
    gate_init(&began);
    gate_init(&go);
    fetcher other = {.p = c.p, .key = fresh("k"), .script = {.value = "x", .began = &began, .go = &go}};
    fetcher_start(&other);
    assert_true(gate_wait(&began, 5000));
    assert_int_equal(pond_fetch(c.p, key, strlen(key), NULL, close_inside, &c, &value, NULL), POND_ECLOSED);
    assert_int_equal(c.code, POND_ETIMEOUT);
    assert_in_range(c.took_ms, 90, 1000);
    gate_open(&go);
    fetcher_join(&other);
    assert_int_equal(other.code, POND_ECLOSED);
    pond_free(c.p);
    gate_destroy(&began);
    gate_destroy(&go);
}

/* Queues: every call gets its one event; the host learns of it by the descriptor. */
static void queues_with_everything_under_way(void **state) {
    (void)state;
    for (int round = 0; round < 20; round++) {
        desk d;
        pond *p = made();
        desk_open(&d, p, 2);
        const char *keys[3] = {fresh("a"), fresh("b"), fresh("c")};
        size_t lens[3];
        for (size_t i = 0; i < 3; i++) lens[i] = strlen(keys[i]);
        pond_load *loads[3];
        for (uint64_t i = 0; i < 3; i++) {
            desk_fetch(&d, 0, keys[i], NULL, i, NULL);
            loads[i] = desk_load(&d, 0, i);
        }
        for (uint64_t i = 0; i < 3; i++)
            desk_fetch(&d, 1, keys[i], NULL, 10 + i, NULL); /* waiting, on whatever state */
        assert_int_equal(pond_invalidate_start(p, d.queue[1], keys, lens, 3, NULL, 20, NULL), POND_OK);
        desk_drive(&d, round % 10);
        closer c = {.p = p, .timeout_ms = round % 3 ? 0 : 10};
        pthread_t thread;
        if (round % 2) {
            pthread_create(&thread, NULL, close_thread, &c);
        } else {
            close_thread(&c);
            assert_int_equal(c.code, POND_ETIMEOUT);
        }
        size_t final[2] = {0};
        for (int64_t until = clock_ms() + 5000; final[0] + final[1] < 7 && clock_ms() < until;) {
            for (size_t i = 0; i < 2; i++) {
                pond_event *event = desk_event(&d, i, 1);
                if (!event) continue;
                assert_int_not_equal(pond_event_kind(event), POND_EVENT_LOAD);
                if (pond_event_user(event) != 20 || pond_event_kind(event) == POND_EVENT_ERROR)
                    assert_int_equal(pond_error_code(pond_event_error(event)), POND_ECLOSED);
                final[i]++;
                pond_event_free(event);
            }
        }
        assert_int_equal(final[0], 3);
        assert_int_equal(final[1], 4);
        if (round % 2) pthread_join(thread, NULL);
        desk_nothing(&d, 2);
        for (size_t i = 0; i < 2; i++) assert_int_equal(pond_queue_pending(d.queue[i]), 0);
        for (size_t i = 0; i < 3; i++) assert_int_equal(pond_load_value(loads[i], "x", 1, POND_TEXT, 0), POND_OK);
        assert_int_equal(pond_fetch_start(p, d.queue[0], "x", 1, NULL, 0, NULL, NULL, NULL), POND_ECLOSED);
        if (round % 3) {
            desk_close(&d);
            pond_free(p);
        } else { /* in the other order: the queues hold the pond */
            pond_free(p);
            desk_close(&d);
        }
    }
}

/* A driver that sleeps in its poll for ever, and a leader that sleeps for its answer, while another thread closes. */
typedef struct sleeper {
    pond_queue *queue;
    pond_event *event;
    size_t got;
} sleeper;

static void *poll_for_ever(void *arg) {
    sleeper *s = arg;
    s->got = pond_queue_poll(s->queue, &s->event, 1, -1);
    return NULL;
}

static void whoever_sleeps_is_woken(void **state) {
    (void)state;
    for (int round = 0; round < 100; round++) {
        pond *p = made();
        desk d;
        desk_open(&d, p, 2);
        snprintf(key, sizeof key, "%s", fresh("k"));
        desk_fetch(&d, 0, key, NULL, 1, NULL);
        pond_load *load = desk_load(&d, 0, 1);
        desk_fetch(&d, 1, key, NULL, 2, NULL);
        sleeper s = {.queue = d.queue[1]};
        fetcher f = {.p = p, .key = key, .script = {.value = "x"}};
        pthread_t thread;
        pthread_create(&thread, NULL, poll_for_ever, &s);
        fetcher_start(&f);
        await_stat(p, NULL, "misses", 3);
        if (round % 2) rest_ms(1);
        assert_int_equal(pond_close(p, 0), POND_ETIMEOUT);
        pthread_join(thread, NULL);
        fetcher_join(&f);
        assert_int_equal(f.code, POND_ECLOSED);
        assert_int_equal(s.got, 1);
        assert_int_equal(pond_error_code(pond_event_error(s.event)), POND_ECLOSED);
        pond_event_free(s.event);
        pond_load_fail(load, 0, "too late");
        desk_close(&d);
        pond_free(p);
    }
}

/* Callers come and go while it closes: each gets its answer or POND_ECLOSED, exactly once. */
typedef struct visitor {
    pond *p;
    atomic_int closed, answered, other;
} visitor;

static void *visit(void *arg) {
    visitor *v = arg;
    for (bool closed = false; !closed;) {
        const char *texts[] = {"a", "b", "c", "d"};
        fetcher f = {.p = v->p, .key = texts[dice(4)], .script = {.value = "x"}};
        uint32_t what = dice(3);
        size_t len = 1;
        if (what == 0) {
            f.code = pond_invalidate(v->p, &f.key, &len, 1, NULL, NULL);
        } else if (what == 1) {
            pond_value *value = NULL;
            f.code = pond_lookup(v->p, f.key, len, NULL, &value, NULL);
            pond_value_free(value);
        } else {
            fetch(&f);
        }
        closed = f.code == POND_ECLOSED;
        atomic_fetch_add(closed ? &v->closed : f.code == POND_OK ? &v->answered : &v->other, 1);
    }
    return NULL;
}

static void callers_come_while_it_closes(void **state) {
    (void)state;
    for (int round = 0; round < (slow_build() ? 15 : 40); round++) {
        visitor v = {.p = made()};
        pthread_t threads[8];
        for (size_t i = 0; i < 8; i++) pthread_create(&threads[i], NULL, visit, &v);
        if (round % 4) rest_ms(dice(8));
        pond_close(v.p, round % 2 ? 0 : 1000);
        for (size_t i = 0; i < 8; i++) pthread_join(threads[i], NULL);
        assert_int_equal(atomic_load(&v.closed), 8);
        assert_int_equal(atomic_load(&v.other), 0);
        pond_free(v.p);
    }
}

static void nothing_is_left_behind(void **state) {
    (void)state;
    int cycles = slow_build() ? 200 : 1000;
    size_t fds = 0;
    for (int i = 0; i < cycles; i++) {
        if (i == 5) { /* what the first cycles set up for the process is there */
            await_threads(others);
            fds = count_fds();
        }
        pond *p = made();
        desk d;
        desk_open(&d, p, 1);
        if (i % 3 == 0) desk_fetch(&d, 0, key, NULL, 1, NULL);
        if (i % 7 == 0) desk_drive(&d, 1);
        if (i % 2) {
            fetcher f = {.p = p, .key = fresh("k"), .script = {.value = "x", .flags = POND_LOAD_UNCACHED}};
            assert_int_equal(fetch(&f), POND_OK);
        }
        if (i % 5 == 0) pond_close(p, 0);
        desk_close(&d);
        pond_free(p);
    }
    await_threads(others);
    assert_int_equal(count_fds(), fds);
}

int close_cases(const char *cache) {
    cache_url = cache;
    others = count_threads();
    watchdog(100);
#define CASE(name) cmocka_unit_test_setup(name, set_up)
    const struct CMUnitTest tests[] = {
        CASE(an_idle_pond),
        CASE(a_load_that_ends_in_time),
        CASE(an_interrupted_close),
        CASE(loads_and_waits_that_do_not_end),
        CASE(from_a_loader),
        CASE(queues_with_everything_under_way),
        CASE(whoever_sleeps_is_woken),
        CASE(callers_come_while_it_closes),
        CASE(nothing_is_left_behind),
    };
    return cmocka_run_group_tests_name("close", tests, NULL, NULL);
}
