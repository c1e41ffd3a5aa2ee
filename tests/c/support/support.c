#include "support/redis.h"
#include "support/support.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

/* ---- time, threads, descriptors ---- */

int64_t clock_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void rest_ms(int64_t ms) {
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&t, &t) != 0) continue;
}

static void hung(int number) {
    static const char words[] = "\nwatchdog: the test hangs\n";
    ssize_t n = write(STDERR_FILENO, words, sizeof words - 1);
    (void)n;
    (void)number;
    abort();
}

void watchdog(unsigned seconds) {
    signal(SIGALRM, hung);
    alarm(seconds);
}

uint32_t dice(uint32_t below) {
    static _Atomic uint64_t state;
    if (atomic_load(&state) == 0) {
        uint64_t none = 0;
        const char *seed = getenv("MILLPOND_TEST_SEED");
        atomic_compare_exchange_strong(&state, &none, seed ? strtoull(seed, NULL, 10) | 1 : 20240601);
    }
    uint64_t x = atomic_fetch_add(&state, 0x9e3779b97f4a7c15u); /* splitmix64 */
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((x ^ (x >> 31)) % below);
}

void shop_make(char folder[SHOP_FOLDER], char address[SHOP_ADDRESS]) {
    snprintf(folder, SHOP_FOLDER, "/tmp/pond-shop-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(address, SHOP_ADDRESS, "sqlite:%s/shop.db", folder);
}

int shop_remove(const char *folder) {
    static const char *const ends[] = {"", "-wal", "-shm"}, *const files[] = {"", ".behind"};
    for (size_t i = 0; i < 6; i++) {
        char path[SHOP_ADDRESS + 16];
        snprintf(path, sizeof path, "%s/shop.db%s%s", folder, files[i / 3], ends[i % 3]);
        unlink(path);
    }
    return rmdir(folder);
}

bool slow_build(void) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#else
    return false;
#endif
}

static size_t entries(const char *folder) {
    size_t n = 0;
    DIR *dir = opendir(folder);
    while (dir && readdir(dir)) n++;
    if (dir) closedir(dir);
    return n;
}

size_t count_fds(void) { return entries("/proc/self/fd"); }

#ifdef __SANITIZE_THREAD__
static void *nothing(void *arg) { return arg; }
#endif

size_t count_threads(void) {
#ifdef __SANITIZE_THREAD__ /* with the first thread comes one of its own, which stays */
    static bool begun;
    pthread_t first;
    if (!begun && pthread_create(&first, NULL, nothing, NULL) == 0) pthread_join(first, NULL);
    begun = true;
#endif
    return entries("/proc/self/task");
}

void await_threads(size_t most) {
    for (int64_t until = clock_ms() + 5000; count_threads() > most; rest_ms(1)) assert_true(clock_ms() < until);
}

/* ---- ponds ---- */

pond *pond_made(const char *cache, ...) {
    pond_error *err = NULL;
    pond_config *config = pond_config_new();
    assert_non_null(config);
    int code = pond_config_set(config, "cache", cache, &err);
    if (code == POND_OK && strncmp(cache, "rediss:", 7) == 0)
        code = pond_config_set(config, "tls_ca", certificate("ca.pem"), &err);
    va_list pairs;
    va_start(pairs, cache);
    for (const char *name; code == POND_OK && (name = va_arg(pairs, const char *));)
        code = pond_config_set(config, name, va_arg(pairs, const char *), &err);
    va_end(pairs);
    pond *p = NULL;
    if (code == POND_OK) code = pond_open(&p, config, &err);
    if (code != POND_OK) fail_msg("%s", pond_error_message(err));
    pond_config_free(config);
    return p;
}

pond_collection *films_made(pond *p, const char *const *options, size_t n) {
    pond_collection *c = NULL;
    pond_error *err = NULL;
    if (pond_collection_new(&c, p, "films", options, n, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
    if (pond_collection_prepare(c, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
    return c;
}

void films_read(pond_collection *c, const char *id, const char *text) {
    pond_value *value = NULL;
    pond_error *err = NULL;
    if (pond_collection_get(c, id, strlen(id), &value, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
    if (text) assert_string_equal(pond_value_data(value, NULL), text);
    else assert_int_equal(pond_value_state(value), POND_ABSENT);
    pond_value_free(value);
}

pond_policy *policy_made(pond *p, ...) {
    const char *options[32];
    size_t n = 0;
    va_list pairs;
    va_start(pairs, p);
    for (const char *word; n < 32 && (word = va_arg(pairs, const char *));) options[n++] = word;
    va_end(pairs);
    pond_policy *policy = NULL;
    pond_error *err = NULL;
    if (pond_policy_new(&policy, p, NULL, options, n / 2, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
    return policy;
}

const char *fresh(const char *name) {
    static _Atomic unsigned count;
    static _Thread_local char texts[16][64];
    unsigned n = atomic_fetch_add(&count, 1);
    char *text = texts[n % 16];
    snprintf(text, sizeof texts[0], "%.40s-%d-%u", name, getpid(), n);
    return text;
}

/* ---- gates and loaders ---- */

void gate_init(gate *g) {
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->cond, &attr);
    pthread_condattr_destroy(&attr);
    g->open = false;
}

void gate_open(gate *g) {
    pthread_mutex_lock(&g->lock);
    g->open = true;
    pthread_cond_broadcast(&g->cond);
    pthread_mutex_unlock(&g->lock);
}

bool gate_wait(gate *g, int64_t within_ms) {
    int64_t until = clock_ms() + within_ms;
    struct timespec ts = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
    pthread_mutex_lock(&g->lock);
    while (!g->open && clock_ms() < until) pthread_cond_timedwait(&g->cond, &g->lock, &ts);
    bool open = g->open;
    pthread_mutex_unlock(&g->lock);
    return open;
}

void gate_destroy(gate *g) {
    pthread_cond_destroy(&g->cond);
    pthread_mutex_destroy(&g->lock);
}

void run_script(pond_load *load, void *ctx) {
    script *s = ctx;
    atomic_fetch_add(&s->calls, 1);
    if (s->began) gate_open(s->began);
    if (s->go) gate_wait(s->go, 10000);
    if (s->delay_ms) rest_ms(s->delay_ms);
    if (s->fail) pond_load_fail(load, s->fail, s->value);
    else if (!s->value) pond_load_absent(load, s->flags);
    else pond_load_value(load, s->value, strlen(s->value), POND_TEXT, s->flags);
}

/* ---- fetches ---- */

static void show(const pond_value *value, char *out, size_t room) {
    size_t len = 0;
    const char *data = pond_value_state(value) == POND_VALUE ? pond_value_data(value, &len) : NULL;
    if (data) snprintf(out, room, "%.*s", (int)len, data);
    else snprintf(out, room, "%s", pond_value_state(value) == POND_ABSENT ? "(absent)" : "(miss)");
}

int fetch(fetcher *f) {
    int64_t began = clock_ms();
    pond_value *value = NULL;
    pond_error *err = NULL;
    f->code = pond_fetch(f->p, f->key, strlen(f->key), f->policy, run_script, &f->script, &value, &err);
    f->took_ms = clock_ms() - began;
    if (f->code == POND_OK) {
        f->state = pond_value_state(value);
        show(value, f->text, sizeof f->text);
    } else {
        snprintf(f->text, sizeof f->text, "%s", pond_error_message(err));
    }
    pond_value_free(value);
    pond_error_free(err);
    return f->code;
}

static void *fetch_thread(void *arg) {
    fetch(arg);
    return NULL;
}

void fetcher_start(fetcher *f) { assert_int_equal(pthread_create(&f->thread, NULL, fetch_thread, f), 0); }
void fetcher_join(fetcher *f) { assert_int_equal(pthread_join(f->thread, NULL), 0); }

static _Thread_local char shown[128];

const char *fetch_text(pond *p, const char *key, pond_policy *policy, const char *value) {
    fetcher f = {.p = p, .key = key, .policy = policy, .script = {.value = value}};
    if (fetch(&f) != POND_OK) fail_msg("fetch of %s: %s", key, f.text);
    memcpy(shown, f.text, sizeof shown);
    return shown;
}

const char *lookup_text(pond *p, const char *key, pond_policy *policy) {
    pond_value *value = NULL;
    pond_error *err = NULL;
    if (pond_lookup(p, key, strlen(key), policy, &value, &err) != POND_OK)
        fail_msg("lookup of %s: %s", key, pond_error_message(err));
    show(value, shown, sizeof shown);
    pond_value_free(value);
    return shown;
}

void invalidate(pond *p, const char *key, pond_policy *policy) {
    size_t len = strlen(key);
    pond_error *err = NULL;
    if (pond_invalidate(p, &key, &len, 1, policy, &err) != POND_OK) fail_msg("invalidate: %s", pond_error_message(err));
}

void await_stat(pond *p, const char *ns, const char *counter, uint64_t value) {
    for (int64_t until = clock_ms() + 5000; pond_stat(p, ns, counter) < value;) {
        if (clock_ms() > until) break;
        rest_ms(1);
    }
    if (pond_stat(p, ns, counter) != value)
        fail_msg("%s is %llu, not %llu", counter, (unsigned long long)pond_stat(p, ns, counter),
                 (unsigned long long)value);
}

/* ---- queues ---- */

void desk_open(desk *d, pond *p, size_t queues) {
    memset(d, 0, sizeof *d);
    d->p = p;
    d->queues = queues;
    for (size_t i = 0; i < queues; i++) assert_int_equal(pond_queue_new(&d->queue[i], p, NULL), POND_OK);
}

void desk_free_queue(desk *d, size_t i) {
    pond_queue_free(d->queue[i]);
    d->queue[i] = NULL;
}

void desk_close(desk *d) {
    for (size_t i = 0; i < d->queues; i++) {
        pond_queue_free(d->queue[i]);
        for (size_t k = 0; k < d->count[i]; k++) {
            pond_load *load = pond_event_load(d->held[i][k]);
            pond_writing *writing = pond_event_writing(d->held[i][k]);
            pond_event_free(d->held[i][k]);
            if (load) pond_load_fail(load, 0, "the desk is closed"); /* an answer is owed */
            if (writing) pond_write_fail(writing, POND_NOT_WRITTEN, 0, "the desk is closed");
        }
    }
}

void desk_fetch(desk *d, size_t i, const char *key, pond_policy *policy, uint64_t user, pond_request **request) {
    pond_error *err = NULL;
    if (pond_fetch_start(d->p, d->queue[i], key, strlen(key), policy, user, NULL, request, &err) != POND_OK)
        fail_msg("fetch_start: %s", pond_error_message(err));
}

void desk_fetch_tagged(desk *d, size_t i, const char *key, pond_tags *tags, uint64_t user) {
    pond_error *err = NULL;
    if (pond_fetch_tagged_start(d->p, d->queue[i], key, strlen(key), NULL, tags, user, NULL, NULL, &err) != POND_OK)
        fail_msg("fetch_tagged_start: %s", pond_error_message(err));
}

/* One turn of the host's loop. */
static void turn(desk *d, int64_t wait_ms) {
    struct pollfd fds[DESK_QUEUES];
    size_t which[DESK_QUEUES], n = 0;
    for (size_t i = 0; i < d->queues; i++) {
        if (!d->queue[i] || d->stopped[i]) continue;
        pond_queue_flush(d->queue[i]);
        fds[n] = (struct pollfd){.fd = pond_queue_fd(d->queue[i]), .events = POLLIN};
        which[n++] = i;
    }
    if (poll(fds, (nfds_t)n, (int)wait_ms) <= 0) return;
    for (size_t k = 0; k < n; k++) {
        size_t i = which[k], got;
        if (!fds[k].revents) continue;
        do {
            size_t room = 256 - d->count[i];
            assert_true(room > 0);
            got = pond_queue_poll(d->queue[i], d->held[i] + d->count[i], room > 8 ? 8 : room, 0);
            d->count[i] += got;
        } while (got == 8);
    }
}

void desk_drive(desk *d, int64_t ms) {
    for (int64_t until = clock_ms() + ms, now; (now = clock_ms()) < until;) turn(d, until - now);
}

pond_event *desk_event(desk *d, size_t i, int64_t within_ms) {
    int64_t until = clock_ms() + within_ms;
    while (d->count[i] == 0) {
        int64_t now = clock_ms();
        if (now >= until) return NULL;
        turn(d, until - now);
    }
    pond_event *event = d->held[i][0];
    memmove(d->held[i], d->held[i] + 1, --d->count[i] * sizeof event);
    return event;
}

static const char *kinds[] = {"?", "VALUE", "ABSENT", "MISS", "OK", "ERROR", "LOAD", "LIST", "WRITE"};

static pond_event *expect(desk *d, size_t i, uint64_t user, pond_event_type kind) {
    pond_event *event = desk_event(d, i, 5000);
    if (!event)
        fail_msg("no event on queue %zu, but %s for %llu was to come", i, kinds[kind], (unsigned long long)user);
    if (pond_event_kind(event) != kind || pond_event_user(event) != user)
        fail_msg("queue %zu gave %s for %llu (%s), but %s for %llu was to come", i, kinds[pond_event_kind(event)],
                 (unsigned long long)pond_event_user(event), pond_error_message(pond_event_error(event)), kinds[kind],
                 (unsigned long long)user);
    return event;
}

pond_load *desk_load(desk *d, size_t i, uint64_t user) {
    pond_event *event = expect(d, i, user, POND_EVENT_LOAD);
    pond_load *load = pond_event_load(event);
    assert_non_null(load);
    pond_event_free(event);
    return load;
}

void desk_value(desk *d, size_t i, uint64_t user, const char *text) {
    pond_event *event = expect(d, i, user, text ? POND_EVENT_VALUE : POND_EVENT_ABSENT);
    if (text) {
        char got[128];
        show(pond_event_value(event), got, sizeof got);
        assert_string_equal(got, text);
    }
    pond_event_free(event);
}

void desk_error(desk *d, size_t i, uint64_t user, int code) {
    pond_event *event = expect(d, i, user, POND_EVENT_ERROR);
    if (pond_error_code(pond_event_error(event)) != code)
        fail_msg("%s: %s", pond_code_name(pond_error_code(pond_event_error(event))),
                 pond_error_message(pond_event_error(event)));
    pond_event_free(event);
}

pond_writing *desk_write(desk *d, size_t i, uint64_t user) {
    pond_event *event = expect(d, i, user, POND_EVENT_WRITE);
    pond_writing *writing = pond_event_writing(event);
    assert_non_null(writing);
    pond_event_free(event);
    return writing;
}

void desk_ok(desk *d, size_t i, uint64_t user) { pond_event_free(expect(d, i, user, POND_EVENT_OK)); }

void desk_nothing(desk *d, int64_t ms) {
    desk_drive(d, ms);
    for (size_t i = 0; i < d->queues; i++)
        if (d->count[i])
            fail_msg("queue %zu gave %s for %llu", i, kinds[pond_event_kind(d->held[i][0])],
                     (unsigned long long)pond_event_user(d->held[i][0]));
}

void answer_text(pond_load *load, const char *text) {
    if (text) assert_int_equal(pond_load_value(load, text, strlen(text), POND_TEXT, 0), POND_OK);
    else assert_int_equal(pond_load_absent(load, 0), POND_OK);
}

/* ---- tags ---- */

pond_tags *tags_made(pond *p, const char *names) {
    const char *tags[64];
    size_t lens[64], n = 0;
    while (*names) {
        lens[n] = strcspn(names, " ");
        tags[n] = names;
        names += lens[n] + (names[lens[n]] == ' ');
        n++;
    }
    pond_tags *made = NULL;
    pond_error *err = NULL;
    if (pond_tags_new(&made, p, NULL, tags, lens, n, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
    return made;
}

const char *fetch_tagged_text(pond *p, const char *key, pond_tags *tags, const char *value) {
    pond_value *got = NULL;
    pond_error *err = NULL;
    script s = {.value = value};
    if (pond_fetch_tagged(p, key, strlen(key), NULL, tags, run_script, &s, &got, &err) != POND_OK)
        fail_msg("fetch of %s: %s", key, pond_error_message(err));
    show(got, shown, sizeof shown);
    pond_value_free(got);
    return shown;
}

const char *lookup_tagged_text(pond *p, const char *key, pond_tags *tags) {
    pond_value *value = NULL;
    pond_error *err = NULL;
    if (pond_lookup_tagged(p, key, strlen(key), NULL, tags, &value, &err) != POND_OK)
        fail_msg("lookup of %s: %s", key, pond_error_message(err));
    show(value, shown, sizeof shown);
    pond_value_free(value);
    return shown;
}

void invalidate_tags(pond *p, const char *names) {
    pond_tags *tags = tags_made(p, names);
    pond_error *err = NULL;
    if (pond_invalidate_tagged(p, NULL, NULL, 0, NULL, tags, &err) != POND_OK)
        fail_msg("invalidate: %s", pond_error_message(err));
    pond_tags_free(tags);
}
