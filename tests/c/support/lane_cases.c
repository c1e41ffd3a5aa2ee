/* Queues in threads of their own and blocking callers fetch the same few keys, while writers invalidate them, calls are
 * cancelled, loads are answered by other threads and queues are freed in the middle. Every call must end exactly once, and
 * no answer may be older than an invalidation that had returned before its call began. */
#include "support/lane_cases.h"

#include <sched.h>

#include "support/support.h"

enum { KEYS = 3, QUEUES = 4, CALLERS = 8, WRITERS = KEYS, ANSWERERS = 2, SLOTS = 16, WAITING = 256 };

static const char *cache_url;

typedef struct given {
    pond_load *load;
    long long version;
} given;

typedef struct world {
    pond *p;
    pond_policy *policy;
    char keys[KEYS][64];
    atomic_llong version[KEYS], acknowledged[KEYS];
    atomic_bool stop;
    int rounds;
    /* what went wrong */
    atomic_int stale, twice, lost, errors;
    atomic_llong answers, cancels, freed;
    /* loads for the answering threads */
    pthread_mutex_t lock;
    given loads[WAITING];
    size_t count;
    bool no_more;
} world;

static size_t key_of(const world *w, const pond_load *load) {
    size_t len;
    const char *key = pond_load_key(load, &len);
    for (size_t k = 0; k < KEYS; k++)
        if (strlen(w->keys[k]) == len && memcmp(w->keys[k], key, len) == 0) return k;
    abort();
}

static void answer(pond_load *load, long long version) {
    char text[32];
    int len = snprintf(text, sizeof text, "%lld", version);
    uint32_t how = dice(40);
    if (how == 0) pond_load_fail(load, 0, "now and then");
    else pond_load_value(load, text, (size_t)len, POND_TEXT, how < 4 ? POND_LOAD_UNCACHED : 0);
}

static void check_value(world *w, const pond_value *value, long long before) {
    size_t len;
    if (strtoll(pond_value_data(value, &len), NULL, 10) < before) atomic_fetch_add(&w->stale, 1);
    atomic_fetch_add(&w->answers, 1);
}

/* ---- threads that block ---- */

static void load_version(pond_load *load, void *ctx) {
    world *w = ctx;
    long long version = atomic_load(&w->version[key_of(w, load)]);
    if (dice(4) == 0) sched_yield();
    if (dice(50) == 0) rest_ms(1);
    answer(load, version);
}

static void *caller(void *arg) {
    world *w = arg;
    while (!atomic_load(&w->stop)) {
        size_t k = dice(KEYS);
        long long before = atomic_load(&w->acknowledged[k]);
        pond_value *value = NULL;
        int code = pond_fetch(w->p, w->keys[k], strlen(w->keys[k]), w->policy, load_version, w, &value, NULL);
        if (code == POND_OK) check_value(w, value, before);
        else if (code != POND_ELOADER) atomic_fetch_add(&w->errors, 1);
        pond_value_free(value);
    }
    return NULL;
}

typedef struct writer {
    world *w;
    size_t k;
} writer;

static void *write_versions(void *arg) {
    world *w = ((writer *)arg)->w;
    size_t k = ((writer *)arg)->k, len = strlen(w->keys[k]);
    const char *key = w->keys[k];
    while (!atomic_load(&w->stop)) {
        long long version = atomic_fetch_add(&w->version[k], 1) + 1;
        if (pond_invalidate(w->p, &key, &len, 1, w->policy, NULL) == POND_OK)
            atomic_store(&w->acknowledged[k], version);
        else atomic_fetch_add(&w->errors, 1);
        if (dice(2)) rest_ms(dice(3));
    }
    return NULL;
}

static void *answerer(void *arg) {
    world *w = arg;
    for (bool over = false; !over;) {
        given one = {0};
        pthread_mutex_lock(&w->lock);
        if (w->count) {
            size_t i = dice((uint32_t)w->count);
            one = w->loads[i];
            w->loads[i] = w->loads[--w->count];
        }
        over = !one.load && w->no_more;
        pthread_mutex_unlock(&w->lock);
        if (one.load) answer(one.load, one.version);
        else rest_ms(1);
    }
    return NULL;
}

/* ---- queues ---- */

typedef struct slot {
    bool open;
    uint64_t user;
    pond_request *request;
    long long before;
    size_t k;
} slot;

static void take_load(world *w, pond_load *load) {
    given one = {.load = load, .version = atomic_load(&w->version[key_of(w, load)])};
    bool passed_on = false;
    if (dice(2)) {
        pthread_mutex_lock(&w->lock);
        if (w->count < WAITING) {
            w->loads[w->count++] = one;
            passed_on = true;
        }
        pthread_mutex_unlock(&w->lock);
    }
    if (!passed_on) answer(one.load, one.version);
}

static void take(world *w, slot *slots, pond_event *event) {
    uint64_t user = pond_event_user(event);
    slot *s = &slots[user % SLOTS];
    if (pond_event_kind(event) == POND_EVENT_LOAD) {
        pond_load *load = pond_event_load(event);
        pond_event_free(event);
        take_load(w, load);
        return;
    }
    if (!s->open || s->user != user) atomic_fetch_add(&w->twice, 1);
    s->open = false;
    if (pond_event_kind(event) == POND_EVENT_VALUE) check_value(w, pond_event_value(event), s->before);
    else if (pond_error_code(pond_event_error(event)) != POND_ELOADER) atomic_fetch_add(&w->errors, 1);
    pond_event_free(event);
}

static void start(world *w, pond_queue *queue, slot *s, uint64_t user) {
    *s = (slot){.user = user, .k = dice(KEYS)};
    s->before = atomic_load(&w->acknowledged[s->k]);
    pond_value *now = NULL;
    int code = pond_fetch_start(w->p, queue, w->keys[s->k], strlen(w->keys[s->k]), w->policy, user,
                                dice(2) ? &now : NULL, &s->request, NULL);
    if (code != POND_OK) atomic_fetch_add(&w->errors, 1);
    else if (now) check_value(w, now, s->before);
    else s->open = true;
    pond_value_free(now);
}

static void *host(void *arg) {
    world *w = arg;
    slot slots[SLOTS] = {{0}};
    pond_queue *queue = NULL;
    pond_event *events[8];
    uint64_t generation = 0;
    if (pond_queue_new(&queue, w->p, NULL) != POND_OK) abort();
    for (int round = 0; round < w->rounds; round++) {
        for (uint32_t n = dice(4); n > 0; n--) {
            uint64_t i = dice(SLOTS);
            if (!slots[i].open) start(w, queue, &slots[i], ++generation * SLOTS + i);
        }
        slot *victim = &slots[dice(SLOTS)];
        if (victim->open && dice(6) == 0) {
            pond_request_cancel(victim->request);
            victim->open = false;
            atomic_fetch_add(&w->cancels, 1);
        }
        size_t n = pond_queue_poll(queue, events, 8, dice(3) == 0 ? 1 : 0);
        for (size_t i = 0; i < n; i++) take(w, slots, events[i]);
        if (dice(200) == 0) {
            pond_queue_free(queue);
            for (size_t i = 0; i < SLOTS; i++) slots[i].open = false;
            if (pond_queue_new(&queue, w->p, NULL) != POND_OK) abort();
            atomic_fetch_add(&w->freed, 1);
        }
    }
    for (int64_t until = clock_ms() + 5000; pond_queue_pending(queue) && clock_ms() < until;) {
        size_t n = pond_queue_poll(queue, events, 8, 20);
        for (size_t i = 0; i < n; i++) take(w, slots, events[i]);
    }
    for (size_t i = 0; i < SLOTS; i++)
        if (slots[i].open) atomic_fetch_add(&w->lost, 1);
    pond_queue_free(queue);
    return NULL;
}

static void everybody_at_once(void **state) {
    (void)state;
    static world w;
    memset(&w, 0, sizeof w);
    pthread_mutex_init(&w.lock, NULL);
    w.p = pond_made(cache_url, "namespace", "lanes", NULL);
    w.policy = policy_made(w.p, "ttl", "40ms", "load_timeout", "3s", NULL);
    w.rounds = slow_build() ? 2000 : 8000;
    for (size_t k = 0; k < KEYS; k++) snprintf(w.keys[k], sizeof w.keys[k], "%s", fresh("hot"));
    pthread_t hosts[QUEUES], callers[CALLERS], writers[WRITERS], answerers[ANSWERERS];
    writer by[WRITERS];
    for (size_t i = 0; i < ANSWERERS; i++) pthread_create(&answerers[i], NULL, answerer, &w);
    for (size_t i = 0; i < CALLERS; i++) pthread_create(&callers[i], NULL, caller, &w);
    for (size_t i = 0; i < WRITERS; i++) {
        by[i] = (writer){.w = &w, .k = i};
        pthread_create(&writers[i], NULL, write_versions, &by[i]);
    }
    for (size_t i = 0; i < QUEUES; i++) pthread_create(&hosts[i], NULL, host, &w);
    for (size_t i = 0; i < QUEUES; i++) pthread_join(hosts[i], NULL);
    atomic_store(&w.stop, true);
    for (size_t i = 0; i < CALLERS; i++) pthread_join(callers[i], NULL);
    for (size_t i = 0; i < WRITERS; i++) pthread_join(writers[i], NULL);
    pthread_mutex_lock(&w.lock);
    w.no_more = true;
    pthread_mutex_unlock(&w.lock);
    for (size_t i = 0; i < ANSWERERS; i++) pthread_join(answerers[i], NULL);
    printf("           %lld answers, %lld cancelled, %lld queues freed, %llu loads, %llu refused fills\n",
           (long long)atomic_load(&w.answers), (long long)atomic_load(&w.cancels), (long long)atomic_load(&w.freed),
           (unsigned long long)pond_stat(w.p, NULL, "loads"),
           (unsigned long long)pond_stat(w.p, NULL, "refused_fills"));
    assert_int_equal(atomic_load(&w.stale), 0);
    assert_int_equal(atomic_load(&w.twice), 0);
    assert_int_equal(atomic_load(&w.lost), 0);
    assert_int_equal(atomic_load(&w.errors), 0);
    assert_true(atomic_load(&w.answers) > w.rounds / 4 && pond_stat(w.p, NULL, "refused_fills") > 0);
    pond_policy_free(w.policy);
    assert_int_equal(pond_close(w.p, 2000), POND_OK);
    pond_free(w.p);
    pthread_mutex_destroy(&w.lock);
}

/* The same key from everywhere in the same instant, cold each time: one load, and every call answered. */
static void one_cold_key_from_all_lanes(void **state) {
    (void)state;
    pond *p = pond_made(cache_url, "namespace", "lanes", NULL);
    desk d;
    desk_open(&d, p, 4);
    for (int round = 0; round < (slow_build() ? 30 : 100); round++) {
        char key[64];
        snprintf(key, sizeof key, "%s", fresh("cold"));
        fetcher f[4];
        uint64_t loads = pond_stat(p, NULL, "loads");
        size_t open = 0;
        for (size_t i = 0; i < 4; i++) {
            desk_fetch(&d, i, key, NULL, i, NULL);
            open++;
            f[i] = (fetcher){.p = p, .key = key, .script = {.value = "one"}};
            fetcher_start(&f[i]);
        }
        for (int64_t until = clock_ms() + 5000; open && clock_ms() < until; desk_drive(&d, 1)) {
            for (size_t i = 0; i < 4; i++) {
                pond_event *event = desk_event(&d, i, 0);
                if (!event) continue;
                if (pond_event_kind(event) == POND_EVENT_LOAD) answer_text(pond_event_load(event), "one");
                else if (pond_event_kind(event) == POND_EVENT_VALUE) open--;
                pond_event_free(event);
            }
        }
        assert_int_equal(open, 0);
        for (size_t i = 0; i < 4; i++) {
            fetcher_join(&f[i]);
            assert_string_equal(f[i].text, "one");
        }
        assert_int_equal(pond_stat(p, NULL, "loads") - loads, 1);
    }
    desk_close(&d);
    pond_free(p);
}

int lane_cases(const char *cache) {
    cache_url = cache;
    watchdog(110);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_at_once),
        cmocka_unit_test(one_cold_key_from_all_lanes),
    };
    return cmocka_run_group_tests_name("lanes", tests, NULL, NULL);
}
