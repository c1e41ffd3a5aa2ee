#include "support/bulk_cases.h"

#include "support/support.h"

enum { MOST = 5000 };

static const char *cache_url;
static pond *p;
static desk d;
static char names[MOST][48];
static const char *keys[MOST];
static size_t lens[MOST];
static pond_value *out[MOST];

static uint64_t stat(const char *counter) { return pond_stat(p, "bulk", counter); }

/* keys[0..n-1], which nobody used before. */
static void new_keys(size_t n) {
    const char *base = fresh("many");
    for (size_t i = 0; i < n; i++) {
        lens[i] = (size_t)snprintf(names[i], sizeof names[i], "%.30s:%zu", base, i);
        keys[i] = names[i];
    }
}

static int set_up(void **state) {
    (void)state;
    p = pond_made(cache_url, "namespace", "bulk", "command_timeout", "10s", NULL);
    desk_open(&d, p, 2);
    new_keys(16);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    desk_close(&d);
    assert_int_equal(pond_close(p, 2000), POND_OK);
    pond_free(p);
    return 0;
}

/* What a loader of many does: the value of a key is the key, with a mark. */
typedef struct plan {
    char mark;
    const char *leave_out; /* a key of which it says nothing */
    const char *bad;       /* one whose value is no UTF-8 */
    const char *inside;    /* one that it fetches itself */
    int fail;
    bool says_nothing;
    unsigned flags;
    gate *began, *go;
    atomic_int calls, asked;
    int inside_code;
    size_t reports, done, stop_at; /* of a progress */
} plan;

static void never(pond_load *load, void *ctx) {
    (void)ctx;
    pond_load_fail(load, POND_EMISUSE, "this must not be called");
}

static void run_plan(pond_batch *batch, void *ctx) {
    plan *self = ctx;
    size_t n = pond_batch_count(batch);
    atomic_fetch_add(&self->calls, 1);
    atomic_fetch_add(&self->asked, (int)n);
    if (self->began) gate_open(self->began);
    if (self->go) gate_wait(self->go, 5000);
    if (self->inside) {
        pond_value *value = NULL;
        self->inside_code = pond_fetch(p, self->inside, strlen(self->inside), NULL, never, NULL, &value, NULL);
        pond_value_free(value);
        plan none = {0};
        size_t len = strlen(self->inside);
        if (pond_fetch_many(p, &self->inside, &len, 1, NULL, NULL, run_plan, &none, &value, NULL) != POND_EDEADLOCK)
            self->inside_code = POND_OK;
    }
    for (size_t i = 0; i < n; i++) {
        size_t len;
        char text[64];
        const char *key = pond_batch_key(batch, i, &len);
        if (self->leave_out && strcmp(key, self->leave_out) == 0) continue;
        bool bad = self->bad && strcmp(key, self->bad) == 0;
        int size = snprintf(text, sizeof text, "%s%c", key, bad ? '\xff' : self->mark);
        assert_int_equal(pond_batch_value(batch, i, text, (size_t)size, POND_TEXT, self->flags),
                         bad ? POND_EVALUE : POND_OK);
    }
    assert_int_equal(pond_batch_value(batch, n, "", 0, POND_TEXT, 0), POND_EMISUSE);
    if (self->says_nothing) return;
    if (self->fail) assert_int_equal(pond_batch_fail(batch, self->fail, "the store is away"), POND_OK);
    else assert_int_equal(pond_batch_done(batch), POND_OK);
    assert_int_equal(pond_batch_done(batch), POND_EMISUSE);
    assert_int_equal(pond_batch_count(batch), 0);
}

static int many(size_t n, pond_policy *policy, pond_tags *tags, plan *self) {
    pond_error *err = NULL;
    if (!self->mark) self->mark = '1';
    memset(out, 0, n * sizeof *out);
    int code = pond_fetch_many(p, keys, lens, n, policy, tags, run_plan, self, out, &err);
    assert_int_equal(code, err ? pond_error_code(err) : POND_OK);
    pond_error_free(err);
    return code;
}

/* out[i] is keys[i] with that mark (0: the absence), and is freed. */
static void expect_one(size_t i, char mark) {
    size_t len;
    assert_int_equal(pond_value_state(out[i]), mark ? POND_VALUE : POND_ABSENT);
    if (mark) {
        const char *text = pond_value_data(out[i], &len);
        assert_int_equal(len, lens[i] + 1);
        assert_memory_equal(text, keys[i], lens[i]);
        assert_int_equal(text[len - 1], mark);
    }
    pond_value_free(out[i]);
}

static void expect_all(size_t n, char mark) {
    for (size_t i = 0; i < n; i++) expect_one(i, mark);
}

static void the_missing_are_loaded_together(void **state) {
    (void)state;
    uint64_t hits = stat("hits"), loads = stat("loads"), fills = stat("fills");
    for (size_t i = 0; i < 8; i++) {
        char text[64];
        snprintf(text, sizeof text, "%s0", keys[i]);
        fetch_text(p, keys[i], NULL, text);
    }
    plan once = {0};
    assert_int_equal(many(10, NULL, NULL, &once), POND_OK);
    for (size_t i = 0; i < 10; i++) expect_one(i, i < 8 ? '0' : '1');
    assert_int_equal(once.calls, 1);
    assert_int_equal(once.asked, 2);
    plan hit = {.mark = '2'};
    assert_int_equal(many(10, NULL, NULL, &hit), POND_OK);
    for (size_t i = 0; i < 10; i++) expect_one(i, i < 8 ? '0' : '1');
    assert_int_equal(hit.calls, 0);
    assert_int_equal(stat("hits") - hits, 18);
    assert_int_equal(stat("loads") - loads, 10);
    assert_int_equal(stat("fills") - fills, 10);
}

static void what_the_loader_leaves_out_is_absent(void **state) {
    (void)state;
    plan partly = {.leave_out = keys[1]};
    assert_int_equal(many(3, NULL, NULL, &partly), POND_OK);
    expect_one(0, '1');
    expect_one(1, 0);
    expect_one(2, '1');
    assert_string_equal(lookup_text(p, keys[1], NULL), "(absent)");
    plan again = {.mark = '2'};
    assert_int_equal(many(3, NULL, NULL, &again), POND_OK);
    expect_one(0, '1');
    expect_one(1, 0);
    expect_one(2, '1');
    assert_int_equal(again.calls, 0);
}

static void a_key_may_be_there_twice(void **state) {
    (void)state;
    keys[1] = keys[3] = keys[0];
    lens[1] = lens[3] = lens[0];
    plan once = {0};
    assert_int_equal(many(5, NULL, NULL, &once), POND_OK);
    expect_all(5, '1');
    assert_int_equal(once.calls, 1);
    assert_int_equal(once.asked, 3);
}

static void none_and_bad_ones(void **state) {
    (void)state;
    plan unused = {0};
    assert_int_equal(many(0, NULL, NULL, &unused), POND_OK);
    assert_int_equal(pond_fetch_many(p, NULL, NULL, 0, NULL, NULL, run_plan, &unused, NULL, NULL), POND_OK);
    lens[2] = 0;
    assert_int_equal(many(4, NULL, NULL, &unused), POND_EKEY);
    assert_int_equal(pond_fetch_many(p, keys, lens, 2, NULL, NULL, NULL, NULL, out, NULL), POND_EMISUSE);
    assert_int_equal(pond_fetch_many(p, keys, lens, 2, NULL, NULL, run_plan, &unused, NULL, NULL), POND_EMISUSE);
    assert_int_equal(pond_fetch_many(p, NULL, lens, 2, NULL, NULL, run_plan, &unused, out, NULL), POND_EMISUSE);
    assert_int_equal(unused.calls, 0);
    assert_string_equal(lookup_text(p, keys[0], NULL), "(miss)");
}

static void a_loader_that_fails(void **state) {
    (void)state;
    fetch_text(p, keys[0], NULL, "there");
    plan fails = {.fail = POND_ESTORE};
    assert_int_equal(many(4, NULL, NULL, &fails), POND_ESTORE);
    assert_string_equal(lookup_text(p, keys[0], NULL), "there");
    assert_string_equal(lookup_text(p, keys[1], NULL), "(miss)");
    plan silent = {.says_nothing = true};
    assert_int_equal(many(4, NULL, NULL, &silent), POND_EMISUSE);
    assert_string_equal(lookup_text(p, keys[1], NULL), "(miss)");
    plan bad = {.bad = keys[2]};
    assert_int_equal(many(4, NULL, NULL, &bad), POND_EVALUE);
    assert_string_equal(lookup_text(p, keys[2], NULL), "(miss)");
    plan given_up = {.fail = POND_ECANCELED};
    assert_int_equal(many(8, NULL, NULL, &given_up), POND_ECANCELED);
    plan works = {.mark = '2'};
    assert_int_equal(many(3, NULL, NULL, &works), POND_OK);
    pond_value_free(out[0]);
    pond_value_free(out[1]);
    expect_one(2, '2');
    assert_int_equal(works.asked, lookup_text(p, keys[1], NULL)[lens[1]] == '1' ? 1 : 2);
}

static void what_is_not_to_be_cached(void **state) {
    (void)state;
    plan uncached = {.flags = POND_LOAD_UNCACHED};
    assert_int_equal(many(4, NULL, NULL, &uncached), POND_OK);
    expect_all(4, '1');
    for (size_t i = 0; i < 4; i++) assert_string_equal(lookup_text(p, keys[i], NULL), "(miss)");
}

static void with_tags(void **state) {
    (void)state;
    pond_tags *tags = tags_made(p, "one two");
    plan first = {0}, hit = {0}, again = {.mark = '2'};
    assert_int_equal(many(5, NULL, tags, &first), POND_OK);
    expect_all(5, '1');
    assert_int_equal(many(5, NULL, tags, &hit), POND_OK);
    expect_all(5, '1');
    assert_int_equal(hit.calls, 0);
    invalidate_tags(p, "two");
    assert_int_equal(many(5, NULL, tags, &again), POND_OK);
    expect_all(5, '2');
    assert_int_equal(again.calls, 1);
    assert_int_equal(again.asked, 5);
    assert_string_equal(lookup_text(p, keys[0], NULL), "(miss)");
    pond_tags_free(tags);
}

static void a_long_list_is_done_in_parts(void **state) {
    (void)state;
    new_keys(MOST);
    plan first = {0}, hit = {0}, after = {.mark = '2'};
    assert_int_equal(many(MOST, NULL, NULL, &first), POND_OK);
    expect_all(MOST, '1');
    assert_int_equal(first.calls, 3);
    assert_int_equal(first.asked, MOST);
    assert_int_equal(many(MOST, NULL, NULL, &hit), POND_OK);
    expect_all(MOST, '1');
    assert_int_equal(hit.calls, 0);
    assert_int_equal(pond_invalidate(p, keys, lens, MOST, NULL, NULL), POND_OK);
    assert_int_equal(many(MOST, NULL, NULL, &after), POND_OK);
    expect_all(MOST, '2');
    assert_int_equal(after.asked, MOST);
}

/* ---- beside others ---- */

typedef struct crowd {
    pthread_t thread;
    plan plan;
    size_t from, n;
    pond_value *out[16];
    int code;
} crowd;

static void *fetch_part(void *ctx) {
    crowd *self = ctx;
    self->code = pond_fetch_many(p, keys + self->from, lens + self->from, self->n, NULL, NULL, run_plan, &self->plan,
                                 self->out, NULL);
    return NULL;
}

/* What another caller loads is not loaded again; what this one leads does not wait for it. */
static void what_others_load_is_waited_for(void **state) {
    (void)state;
    desk_fetch(&d, 0, keys[1], NULL, 1, NULL);
    pond_load *load = desk_load(&d, 0, 1);
    gate began;
    gate_init(&began);
    crowd one = {.plan = {.mark = '1', .began = &began}, .n = 4};
    pthread_create(&one.thread, NULL, fetch_part, &one);
    assert_true(gate_wait(&began, 5000));
    char text[64];
    snprintf(text, sizeof text, "%s9", keys[1]);
    rest_ms(20);
    answer_text(load, text);
    desk_value(&d, 0, 1, text);
    pthread_join(one.thread, NULL);
    assert_int_equal(one.code, POND_OK);
    assert_int_equal(one.plan.calls, 1);
    assert_int_equal(one.plan.asked, 3);
    for (size_t i = 0; i < 4; i++) {
        out[i] = one.out[i];
        expect_one(i, i == 1 ? '9' : '1');
    }
    gate_destroy(&began);
}

/* If that comes to nothing, the loader is called once more. */
static void what_others_give_up_is_loaded(void **state) {
    (void)state;
    desk_fetch(&d, 0, keys[1], NULL, 1, NULL);
    pond_load *load = desk_load(&d, 0, 1);
    gate began;
    gate_init(&began);
    crowd one = {.plan = {.mark = '1', .began = &began}, .n = 4};
    pthread_create(&one.thread, NULL, fetch_part, &one);
    assert_true(gate_wait(&began, 5000));
    pond_load_fail(load, POND_ECANCELED, "given up");
    desk_error(&d, 0, 1, POND_ECANCELED);
    pthread_join(one.thread, NULL);
    assert_int_equal(one.code, POND_OK);
    assert_int_equal(one.plan.calls, 2);
    assert_int_equal(one.plan.asked, 4);
    memcpy(out, one.out, sizeof one.out);
    expect_all(4, '1');
    gate_destroy(&began);
}

static void one_load_a_key_however_many_ask(void **state) {
    (void)state;
    enum { THREADS = 6 };
    crowd all[THREADS];
    gate go;
    gate_init(&go);
    memset(all, 0, sizeof all);
    uint64_t loads = stat("loads");
    int asked = 0;
    for (size_t i = 0; i < THREADS; i++) {
        all[i].plan = (plan){.mark = '1', .go = &go};
        all[i].from = i;
        all[i].n = 10;
        pthread_create(&all[i].thread, NULL, fetch_part, &all[i]);
    }
    rest_ms(50);
    gate_open(&go);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(all[i].thread, NULL);
        assert_int_equal(all[i].code, POND_OK);
        for (size_t k = 0; k < 10; k++) {
            out[i + k] = all[i].out[k];
            expect_one(i + k, '1');
        }
        asked += all[i].plan.asked;
    }
    assert_int_equal(asked, 10 + THREADS - 1);
    assert_int_equal(stat("loads") - loads, 10 + THREADS - 1);
    gate_destroy(&go);
}

static void a_loader_that_asks_for_its_own_key(void **state) {
    (void)state;
    plan self = {.inside = keys[2]};
    assert_int_equal(many(4, NULL, NULL, &self), POND_OK);
    expect_all(4, '1');
    assert_int_equal(self.inside_code, POND_EDEADLOCK);
}

/* Past load_timeout nobody wants what is loaded any more; past call_timeout this call does not, and others may have it. */
static void a_load_that_takes_too_long(void **state) {
    (void)state;
    static const char *const options[] = {"load_timeout", "call_timeout"};
    for (int i = 0; i < 2; i++) {
        pond_policy *policy = policy_made(p, options[i], "50ms", NULL);
        plan late = {.mark = '1'};
        new_keys(3);
        assert_int_equal(pond_fetch_many_start(p, d.queue[0], keys, lens, 3, policy, NULL, 7, NULL, NULL), POND_OK);
        pond_event *event = desk_event(&d, 0, 5000);
        assert_int_equal(pond_event_kind(event), POND_EVENT_BATCH);
        desk_error(&d, 0, 7, POND_ETIMEOUT);
        run_plan(pond_event_batch(event), &late);
        pond_event_free(event);
        desk_nothing(&d, 10);
        assert_int_equal(strcmp(lookup_text(p, keys[0], NULL), "(miss)") == 0, i == 0);
        pond_policy_free(policy);
    }
}

/* ---- queues ---- */

static pond_batch *batch_of(size_t queue, uint64_t user, size_t n, pond_event **event) {
    *event = desk_event(&d, queue, 5000);
    assert_non_null(*event);
    assert_int_equal(pond_event_kind(*event), POND_EVENT_BATCH);
    assert_int_equal(pond_event_user(*event), user);
    assert_null(pond_event_load(*event));
    pond_batch *batch = pond_event_batch(*event);
    assert_int_equal(pond_batch_count(batch), n);
    return batch;
}

static void answer_batch(pond_batch *batch) {
    plan answer = {.mark = '1'};
    run_plan(batch, &answer);
}

static void expect_list(size_t queue, uint64_t user, size_t n, char mark) {
    pond_event *event = desk_event(&d, queue, 5000);
    assert_non_null(event);
    assert_int_equal(pond_event_kind(event), POND_EVENT_LIST);
    assert_int_equal(pond_event_user(event), user);
    assert_null(pond_event_batch(event));
    assert_int_equal(pond_event_count(event), n);
    for (size_t i = 0; i < n; i++) {
        out[i] = pond_value_ref(pond_event_value_at(event, i));
        expect_one(i, mark);
    }
    pond_event_free(event);
}

static int start(size_t queue, size_t n, uint64_t user, pond_request **request) {
    return pond_fetch_many_start(p, d.queue[queue], keys, lens, n, NULL, NULL, user, request, NULL);
}

static void a_queue_is_asked_for_all_at_once(void **state) {
    (void)state;
    pond_event *event;
    assert_int_equal(start(0, 6, 1, NULL), POND_OK);
    answer_batch(batch_of(0, 1, 6, &event));
    pond_event_free(event);
    expect_list(0, 1, 6, '1');
    assert_int_equal(start(0, 6, 2, NULL), POND_OK);
    expect_list(0, 2, 6, '1');
    assert_int_equal(start(0, 0, 3, NULL), POND_OK);
    expect_list(0, 3, 0, '1');
    lens[1] = 0;
    assert_int_equal(start(0, 6, 4, NULL), POND_EKEY);
    desk_nothing(&d, 10);
}

static void queues_wait_for_one_another(void **state) {
    (void)state;
    pond_event *first, *second;
    assert_int_equal(start(0, 6, 1, NULL), POND_OK);
    pond_batch *batch = batch_of(0, 1, 6, &first);
    assert_int_equal(start(1, 8, 2, NULL), POND_OK);
    pond_batch *rest = batch_of(1, 2, 2, &second);
    answer_batch(batch);
    answer_batch(rest);
    pond_event_free(first);
    pond_event_free(second);
    expect_list(0, 1, 6, '1');
    expect_list(1, 2, 8, '1');
}

static void a_request_that_is_cancelled(void **state) {
    (void)state;
    pond_event *first, *second;
    pond_request *request;
    /* Before the host has taken its batch: others load. */
    assert_int_equal(start(0, 4, 1, &request), POND_OK);
    d.stopped[0] = true;
    assert_int_equal(start(1, 4, 2, NULL), POND_OK);
    desk_drive(&d, 20);
    pond_request_cancel(request);
    d.stopped[0] = false;
    answer_batch(batch_of(1, 2, 4, &second));
    pond_event_free(second);
    expect_list(1, 2, 4, '1');
    desk_nothing(&d, 10);
    /* While it loads: who else waits gets that. */
    new_keys(16);
    assert_int_equal(start(0, 4, 3, &request), POND_OK);
    pond_batch *batch = batch_of(0, 3, 4, &first);
    assert_int_equal(start(1, 4, 4, NULL), POND_OK);
    desk_nothing(&d, 10);
    pond_request_cancel(request);
    answer_batch(batch);
    pond_event_free(first);
    expect_list(1, 4, 4, '1');
    desk_nothing(&d, 10);
    /* A batch that is given up: its own call ends, others load. */
    new_keys(16);
    assert_int_equal(start(0, 4, 5, NULL), POND_OK);
    batch = batch_of(0, 5, 4, &first);
    assert_int_equal(start(1, 4, 6, NULL), POND_OK);
    desk_nothing(&d, 10);
    assert_int_equal(pond_batch_fail(batch, POND_ECANCELED, "given up"), POND_OK);
    pond_event_free(first);
    desk_error(&d, 0, 5, POND_ECANCELED);
    answer_batch(batch_of(1, 6, 4, &second));
    pond_event_free(second);
    expect_list(1, 6, 4, '1');
}

static void a_queue_that_goes(void **state) {
    (void)state;
    pond_event *event;
    assert_int_equal(start(0, 4, 1, NULL), POND_OK);
    pond_batch *batch = batch_of(0, 1, 4, &event);
    assert_int_equal(start(1, 4, 2, NULL), POND_OK);
    desk_drive(&d, 10);
    desk_free_queue(&d, 0);
    answer_batch(batch); /* too late, and harmless */
    pond_event_free(event);
    answer_batch(batch_of(1, 2, 4, &event));
    pond_event_free(event);
    expect_list(1, 2, 4, '1');
    assert_int_equal(start(1, 4, 3, NULL), POND_OK); /* under way when the pond is closed */
}

static void *answer_elsewhere(void *ctx) {
    answer_batch(ctx);
    return NULL;
}

static void a_long_list_on_a_queue_answered_by_another_thread(void **state) {
    (void)state;
    enum { N = 4200 };
    new_keys(N);
    assert_int_equal(start(0, N, 1, NULL), POND_OK);
    for (size_t left = N; left > 0;) {
        size_t n = left < 2048 ? left : 2048;
        pond_event *event;
        pthread_t thread;
        pthread_create(&thread, NULL, answer_elsewhere, batch_of(0, 1, n, &event));
        desk_drive(&d, 1);
        pthread_join(thread, NULL);
        pond_event_free(event);
        left -= n;
    }
    expect_list(0, 1, N, '1');
}

/* ---- set_many ---- */

static const void *data[MOST];
static size_t data_lens[MOST];
static pond_codec codecs[MOST];

static int set(size_t n, const char *text) {
    for (size_t i = 0; i < n; i++) {
        data[i] = text;
        data_lens[i] = text ? strlen(text) : 0;
        codecs[i] = POND_TEXT;
    }
    return pond_set_many(p, keys, lens, data, data_lens, codecs, n, NULL, NULL);
}

static void values_are_set(void **state) {
    (void)state;
    uint64_t written = stat("written_values");
    assert_int_equal(set(0, "x"), POND_OK);
    assert_int_equal(set(5, "one"), POND_OK);
    for (size_t i = 0; i < 5; i++) assert_string_equal(fetch_text(p, keys[i], NULL, "loaded"), "one");
    assert_int_equal(set(5, "two"), POND_OK);
    for (size_t i = 0; i < 5; i++) assert_string_equal(lookup_text(p, keys[i], NULL), "two");
    assert_int_equal(set(2, NULL), POND_OK);
    assert_string_equal(lookup_text(p, keys[1], NULL), "(absent)");
    assert_string_equal(lookup_text(p, keys[2], NULL), "two");
    assert_int_equal(stat("written_values") - written, 12);
    for (size_t i = 0; i < 3; i++) data[i] = "three", data_lens[i] = 5;
    assert_int_equal(pond_set_many_start(p, d.queue[0], keys, lens, data, data_lens, codecs, 3, NULL, 9, NULL, NULL),
                     POND_OK);
    desk_ok(&d, 0, 9);
    assert_string_equal(lookup_text(p, keys[2], NULL), "three");
}

/* Its intents do not stay behind. */
static void a_set_that_is_cancelled(void **state) {
    (void)state;
    pond_request *request;
    for (size_t i = 0; i < 2; i++) data[i] = "set", data_lens[i] = 3, codecs[i] = POND_TEXT;
    for (int turns = 0; turns < 3; turns++) {
        new_keys(2);
        assert_int_equal(
            pond_set_many_start(p, d.queue[0], keys, lens, data, data_lens, codecs, 2, NULL, 9, &request, NULL),
            POND_OK);
        if (turns > 0) pond_queue_flush(d.queue[0]);
        if (turns > 1) rest_ms(20); /* the answers lie there */
        pond_request_cancel(request);
        desk_nothing(&d, 20);
        fetch_text(p, keys[0], NULL, "loaded");
        assert_string_not_equal(lookup_text(p, keys[0], NULL), "(miss)");
    }
}

static void bad_values_set_nothing(void **state) {
    (void)state;
    assert_int_equal(set(2, "\xff"), POND_EVALUE);
    lens[1] = 0;
    assert_int_equal(set(2, "good"), POND_EKEY);
    assert_string_equal(lookup_text(p, keys[0], NULL), "(miss)");
    assert_int_equal(pond_set_many(p, keys, lens, NULL, data_lens, codecs, 1, NULL, NULL), POND_EMISUSE);
    codecs[0] = (pond_codec)77;
    assert_int_equal(pond_set_many(p, keys, lens, data, data_lens, codecs, 1, NULL, NULL), POND_EVALUE);
}

static void a_key_that_is_set_twice_is_wrong_for_nobody(void **state) {
    (void)state;
    keys[1] = keys[0];
    lens[1] = lens[0];
    data[0] = "one", data[1] = "two", data_lens[0] = data_lens[1] = 3, codecs[0] = codecs[1] = POND_TEXT;
    assert_int_equal(pond_set_many(p, keys, lens, data, data_lens, codecs, 2, NULL, NULL), POND_OK);
    const char *after = lookup_text(p, keys[0], NULL);
    assert_true(strcmp(after, "two") == 0 || strcmp(after, "(miss)") == 0);
}

static void what_is_loaded_beside_a_set_is_not_cached(void **state) {
    (void)state;
    desk_fetch(&d, 0, keys[0], NULL, 1, NULL);
    pond_load *load = desk_load(&d, 0, 1);
    assert_int_equal(set(1, "set"), POND_OK);
    answer_text(load, "loaded before");
    desk_value(&d, 0, 1, "loaded before");
    assert_string_equal(lookup_text(p, keys[0], NULL), "set");
}

static void a_long_list_is_set_in_parts(void **state) {
    (void)state;
    new_keys(MOST);
    assert_int_equal(set(MOST, "set"), POND_OK);
    for (size_t i = 0; i < MOST; i += 97) assert_string_equal(lookup_text(p, keys[i], NULL), "set");
    assert_string_equal(lookup_text(p, keys[MOST - 1], NULL), "set");
}

/* ---- warm ---- */

static int note(void *ctx, size_t done, size_t n) {
    plan *self = ctx;
    assert_true(done > self->done && done <= n);
    self->reports++;
    self->done = done;
    return self->stop_at && done >= self->stop_at;
}

static int warm(size_t n, size_t batch, plan *self) {
    if (!self->mark) self->mark = '1';
    return pond_warm(p, keys, lens, n, NULL, NULL, batch, run_plan, self, note, NULL);
}

static void the_cache_is_warmed(void **state) {
    (void)state;
    new_keys(1000);
    for (size_t i = 0; i < 1000; i += 10) fetch_text(p, keys[i], NULL, "there");
    plan first = {0}, hit = {0};
    assert_int_equal(warm(1000, 300, &first), POND_OK);
    assert_int_equal(first.calls, 4);
    assert_int_equal(first.asked, 900);
    assert_int_equal(first.reports, 4);
    assert_int_equal(first.done, 1000);
    assert_int_equal(warm(1000, 0, &hit), POND_OK);
    assert_int_equal(hit.calls, 0);
    assert_string_equal(lookup_text(p, keys[10], NULL), "there");
    assert_int_equal(lookup_text(p, keys[999], NULL)[lens[999]], '1');
}

static void a_warming_that_is_stopped(void **state) {
    (void)state;
    new_keys(100);
    plan stopped = {.stop_at = 50}, fails = {.fail = POND_ESTORE};
    assert_int_equal(warm(100, 25, &stopped), POND_ECANCELED);
    assert_int_equal(stopped.asked, 50);
    assert_int_equal(warm(100, 25, &fails), POND_ESTORE);
    assert_int_equal(fails.calls, 1);
    assert_int_equal(pond_warm(p, keys, lens, 1, NULL, NULL, 0, NULL, NULL, NULL, NULL), POND_EMISUSE);
    lens[99] = 0;
    assert_int_equal(warm(100, 25, &fails), POND_EKEY);
    assert_int_equal(fails.calls, 1);
}

int bulk_cases(const char *url) {
    cache_url = url;
    watchdog(120);
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(the_missing_are_loaded_together),
        CASE(what_the_loader_leaves_out_is_absent),
        CASE(a_key_may_be_there_twice),
        CASE(none_and_bad_ones),
        CASE(a_loader_that_fails),
        CASE(what_is_not_to_be_cached),
        CASE(with_tags),
        CASE(a_long_list_is_done_in_parts),
        CASE(what_others_load_is_waited_for),
        CASE(what_others_give_up_is_loaded),
        CASE(one_load_a_key_however_many_ask),
        CASE(a_loader_that_asks_for_its_own_key),
        CASE(a_load_that_takes_too_long),
        CASE(a_queue_is_asked_for_all_at_once),
        CASE(queues_wait_for_one_another),
        CASE(a_request_that_is_cancelled),
        CASE(a_queue_that_goes),
        CASE(a_long_list_on_a_queue_answered_by_another_thread),
        CASE(values_are_set),
        CASE(a_set_that_is_cancelled),
        CASE(bad_values_set_nothing),
        CASE(a_key_that_is_set_twice_is_wrong_for_nobody),
        CASE(what_is_loaded_beside_a_set_is_not_cached),
        CASE(a_long_list_is_set_in_parts),
        CASE(the_cache_is_warmed),
        CASE(a_warming_that_is_stopped),
    };
    return cmocka_run_group_tests_name(url, tests, NULL, NULL);
}
