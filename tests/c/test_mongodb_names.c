/* The mongodb: store when names are not looked up: the system's resolver does not know of our deadlines. Here it is told to
 * hang: this program has a getaddrinfo and a res_nsearch of its own, which libmongoc finds as well. */
#define _GNU_SOURCE
#include "mongodb_store.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <netdb.h>
#include <resolv.h>
#include <stdatomic.h>

#include "engine/resolve.h"
#include "support/heartbeat.h"
#include "support/support.h"

enum { BRIEF_MS = 300, CLOSE_MS = 1000, SLACK_MS = 50 };

/* ---- the resolver ---- */

static gate hang; /* whoever asks for *.slow, and is not spared, waits for it */
static atomic_int spared, asked, came_back;

static void pass(void) {
    if (atomic_fetch_sub(&spared, 1) > 0) return;
    atomic_fetch_add(&asked, 1);
    gate_wait(&hang, 30000);
    atomic_fetch_add(&came_back, 1);
}

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **out) {
    static int (*_Atomic real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    if (!real)
        real = (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))(uintptr_t)dlsym(
            RTLD_NEXT, "getaddrinfo");
    bool numeric = hints && (hints->ai_flags & AI_NUMERICHOST), slow = host && strstr(host, ".slow");
    if (slow && numeric) return EAI_NONAME;
    if (slow) pass();
    return real(slow ? "127.0.0.1" : host, port, hints, out);
}

#undef res_nsearch
int res_nsearch(res_state state, const char *name, int class, int type, unsigned char *answer, int len) {
    (void)state, (void)name, (void)class, (void)type, (void)answer, (void)len;
    pass();
    h_errno = HOST_NOT_FOUND;
    return -1;
}

static size_t threads;

static int begin(void **state) {
    (void)state;
    if (threads == 0) gate_init(&hang);
    pthread_mutex_lock(&hang.lock); /* whoever came through it before has gone, but nothing says so to a sanitizer */
    hang.open = false;
    pthread_mutex_unlock(&hang.lock);
    threads = count_threads();
    atomic_store(&spared, 0);
    atomic_store(&asked, 0);
    atomic_store(&came_back, 0);
    return 0;
}

/* Threads that were left behind go. */
static int end(void **state) {
    (void)state;
    gate_open(&hang);
    for (int64_t until = clock_ms() + 5000; count_threads() > threads; rest_ms(1)) assert_true(clock_ms() < until);
    return 0;
}

/* ---- calls ---- */

static void in_time(int64_t from, int64_t limit_ms, const char *what) {
    int64_t to = clock_ms(), deadline = from + limit_ms;
    if (to > deadline && to - deadline - stalled_ms(deadline, to) > SLACK_MS)
        fail_msg("%s: %" PRId64 " ms", what, to - from);
}

static void times_out(mp_store *s, const char *says) {
    pond_value *value = NULL;
    pond_error *err = NULL;
    int64_t start = clock_ms();
    int rc = s->vt->get(s, "films", "1", 1, &value, &err);
    in_time(start, BRIEF_MS, "get");
    failed(rc, err, POND_ESTORE, 1, says);
}

static void closes(mp_store *s) {
    int64_t start = clock_ms();
    s->vt->close(s);
    in_time(start, CLOSE_MS, "close");
}

static void *call(void *store) {
    times_out(store, "films");
    return NULL;
}

static mp_store *store_at(const char *format, const char *timeout) {
    const char *url = getenv("MILLPOND_TEST_MONGODB"), *port = url ? strstr(url, "127.0.0.1:") : NULL;
    char at[200];
    assert_non_null(port);
    snprintf(at, sizeof at, format, atoi(port + 10));
    return opened(at, timeout);
}

/* The watcher knows the address, and a new connection does not get it. */
static void a_connection_without_an_address(void **state) {
    (void)state;
    enum { CALLERS = 5 };
    pthread_t callers[CALLERS];
    mp_store *s = store_at("mongodb://pond.slow:%d/names?directConnection=true", "300ms");
    atomic_store(&spared, 1);
    times_out(s, "the name was not looked up in time");
    for (int i = 0; i < CALLERS; i++) assert_int_equal(pthread_create(&callers[i], NULL, call, s), 0);
    for (int i = 0; i < CALLERS; i++) pthread_join(callers[i], NULL);
    assert_true(atomic_load(&asked) <=
                2); /* all wait for the same; and the watcher asks anew when it has lost its connection */
    gate_open(&hang);
    for (int64_t until = clock_ms() + 10000;; rest_ms(20)) { /* when the answer comes, it serves */
        pond_value *value = NULL;
        pond_error *err = NULL;
        int rc = s->vt->get(s, "films", "1", 1, &value, &err);
        pond_value_free(value);
        if (rc == POND_OK) break;
        if (clock_ms() > until) fail_msg("%s", pond_error_message(err));
        pond_error_free(err);
    }
    closes(s);
}

static void a_watcher_without_an_address(void **state) {
    (void)state;
    mp_store *s = store_at("mongodb://pond.slow:%d/names?directConnection=true", "300ms");
    times_out(s, "no primary");
    closes(s);
    assert_int_equal(atomic_load(&came_back), 0);
}

static void a_seed_list_that_does_not_come(void **state) {
    (void)state;
    mp_store *s = opened("mongodb+srv://cluster.example.slow/names?tls=false", "300ms");
    times_out(s, "was not looked up within store_timeout");
    times_out(s, "was not looked up within store_timeout");
    assert_int_equal(atomic_load(&asked), 1);
    closes(s);
    assert_int_equal(atomic_load(&came_back), 0);
}

static void a_seed_list_that_is_not_there(void **state) {
    (void)state;
    gate_open(&hang);
    mp_store *s = opened("mongodb+srv://cluster.example.slow/names?tls=false", "5s");
    get_fails(s, "films", "1", POND_ESTORE, 1, "cannot be looked up");
    get_fails(s, "films", "1", POND_ESTORE, 1, "cannot be looked up");
    assert_true(atomic_load(&asked) >= 2); /* each call asks anew */
    closes(s);
}

/* ---- the resolver by itself ---- */

static void addresses(void **state) {
    (void)state;
    mp_addresses found;
    const char *why = NULL;
    mp_resolver *r = mp_resolver_new();
    assert_true(mp_resolve(r, "127.0.0.1", 80, AF_UNSPEC, 0, &found, &why)); /* needs no time */
    assert_int_equal(found.count, 1);
    assert_true(mp_resolve(r, "::1", 80, AF_UNSPEC, 0, &found, &why));
    assert_int_equal(((struct sockaddr_in6 *)&found.of[0].at)->sin6_port, htons(80));
    assert_false(mp_resolve(r, "::1", 80, AF_INET, clock_ms() + 5000, &found, &why));
    assert_true(mp_resolve(r, "localhost", 80, AF_UNSPEC, clock_ms() + 5000, &found, &why));
    assert_true(found.count >= 1);
    int64_t start = clock_ms();
    assert_false(mp_resolve(r, "one.slow", 80, AF_INET, start + 100, &found, &why));
    assert_string_equal(why, "the name was not looked up in time");
    in_time(start, 100, "mp_resolve");
    assert_false(mp_resolve(r, "one.slow", 80, AF_INET, 0, &found, &why));
    assert_int_equal(atomic_load(&asked), 1);
    assert_false(mp_resolve(r, "one.slow", 81, AF_INET, clock_ms() + 10, &found, &why)); /* another question */
    assert_int_equal(atomic_load(&asked), 2);
    gate_open(&hang);
    assert_true(mp_resolve(r, "one.slow", 80, AF_INET, clock_ms() + 5000, &found, &why));
    assert_int_equal(found.count, 1);
    mp_resolver_free(r);
    mp_resolver_free(NULL);
}

static void a_resolver_that_goes_first(void **state) {
    (void)state;
    mp_addresses found;
    const char *why = NULL;
    mp_resolver *r = mp_resolver_new();
    assert_false(mp_resolve(r, "two.slow", 80, AF_INET, clock_ms() + 10, &found, &why));
    mp_resolver_free(r);
    assert_int_equal(atomic_load(&came_back), 0);
}

#define T(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void) {
    watchdog(100);
    heartbeat_start();
    const struct CMUnitTest tests[] = {
        T(addresses),
        T(a_resolver_that_goes_first),
        T(a_connection_without_an_address),
        T(a_watcher_without_an_address),
        T(a_seed_list_that_does_not_come),
        T(a_seed_list_that_is_not_there),
    };
    return cmocka_run_group_tests_name("mongodb_names", tests, NULL, NULL);
}
