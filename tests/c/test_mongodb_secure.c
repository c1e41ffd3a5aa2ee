/* The mongodb: store on a server that wants TLS and a user.
 *
 * Who logs in computes a hash of 15,000 rounds, which nothing interrupts: tens of milliseconds, and many times that beside a sanitizer and
 * a crowd. So how long a call may take is measured, and what is held against it is the time in which it waited. */
#include "mongodb_store.h"

#include <inttypes.h>
#include <pthread.h>
#include <sys/socket.h>

#include "engine/resolve.h"
#include "store/mongodb_stream.h"
#include "support/heartbeat.h"
#include "support/relay.h"

enum { CLOSE_MS = 1000, SLACK_MS = 50 };

#define USER "mill:p%40nd%2F1%3F@"

static int server_port(void) {
    const char *url = getenv("MILLPOND_TEST_MONGODB"), *port = url != NULL ? strstr(url, "localhost:") : NULL;
    if (port == NULL) fail_msg("run this by tests/servers/mongodb_server.py --secure");
    return port != NULL ? atoi(port + 10) : 0;
}

/* With `user` ("name:password@") before the host, `host` in its place if it is not NULL, and more options. */
static void address(char *out, size_t size, const char *user, const char *host, const char *database,
                    const char *more) {
    snprintf(out, size, "mongodb://%s%s:%d/%s?replicaSet=rs%s", user, host != NULL ? host : "localhost", server_port(),
             database, more);
}

static const char *with_ca(const char *more) {
    static char text[400];
    snprintf(text, sizeof text, "&tls=true&tlsCAFile=%s%s", getenv("MILLPOND_TEST_MONGODB_CA"), more);
    return text;
}

static int64_t usual_ms; /* the longest of the calls that went well: connect, TLS, hash, answer */

static void works(const char *user, const char *more) {
    char at[700];
    int64_t start = mp_clock_ms();
    address(at, sizeof at, user, NULL, "secure", more);
    mp_store *s = opened(at, "5s");
    create(s, "films");
    put(s, "films", "1", "{\"a\":1}");
    assert_string_equal(get(s, "films", "1"), "{\"id\":\"1\",\"a\":1}");
    assert_true(removed(s, "films", "1"));
    if (mp_clock_ms() - start > usual_ms) usual_ms = mp_clock_ms() - start;
    s->vt->close(s);
}

static void fails(const char *user, const char *host, const char *more, int retriable, const char *says) {
    char at[700];
    pond_value *value = NULL;
    pond_error *err = NULL;
    address(at, sizeof at, user, host, "secure", more);
    /* What is refused is not tried until the time is over; what cannot be reached is. */
    char timeout[30];
    int64_t timeout_ms = retriable ? 800 : 800 + 4 * usual_ms;
    snprintf(timeout, sizeof timeout, "%" PRId64 "ms", timeout_ms);
    mp_store *s = opened(at, timeout);
    int64_t start = mp_clock_ms();
    int rc = s->vt->get(s, "films", "1", 1, &value, &err);
    int64_t end = mp_clock_ms(), took = end - start;
    assert_null(value);
    if (rc == POND_OK) fail_msg("%s worked", at);
    static const char *const secrets[] = {"p@nd", "p%40nd", "wrong"};
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++)
        if (strstr(pond_error_message(err), secrets[i]) != NULL) fail_msg("it tells: %s", pond_error_message(err));
    failed(rc, err, POND_ESTORE, retriable, says);
    if (retriable ? took - stalled_ms(start, end) > timeout_ms + SLACK_MS : took >= timeout_ms)
        fail_msg("%s: %d of %d ms", says, (int)took, (int)timeout_ms);
    s->vt->close(s);
}

static void tls_and_a_user(void **state) {
    works(USER, with_ca("&authSource=admin"));
    works(USER, with_ca("&authSource=admin&authMechanism=SCRAM-SHA-256"));
    works(USER, "&authSource=admin&tls=true&tlsInsecure=true");
    works(USER, "&authSource=admin&tls=true&tlsAllowInvalidCertificates=true");
}

static void the_wrong_password(void **state) {
    fails("mill:wrong@", NULL, with_ca("&authSource=admin"), 0, "uthentication");
    fails("nobody:wrong@", NULL, with_ca("&authSource=admin"), 0, "uthentication");
    fails("", NULL, with_ca(""), 0, "auth"); /* no user: the server refuses the command */
}

static void the_wrong_certificate(void **state) {
    fails(USER, NULL, "&authSource=admin&tls=true", 1, "certificate");       /* of an authority that nobody knows */
    fails(USER, "127.0.0.1", with_ca("&authSource=admin"), 1, "no primary"); /* the certificate is another host's */
    fails(USER, NULL, "&authSource=admin&tls=true&tlsCAFile=/no/such/file", 1, "films \"1\"");
    fails(USER, NULL, "&authSource=admin", 1, "no primary"); /* no TLS at all */
}

/* The watchers of libmongoc refuse such servers before one of our own connections is made: so these by themselves. */
static bool connects(const char *host, const char *more) {
    char at[700];
    bson_error_t why = {0};
    address(at, sizeof at, "", NULL, "secure", more);
    mongoc_uri_t *uri = mongoc_uri_new(at);
    mongoc_host_list_t where = {.family = AF_UNSPEC};
    where.port = mongoc_uri_get_hosts(uri)->port;
    snprintf(where.host, sizeof where.host, "%s", host);
    snprintf(where.host_and_port, sizeof where.host_and_port, "%s:%hu", host, where.port);
    mp_resolver *resolver = mp_resolver_new();
    mongoc_stream_t *stream = mp_mongodb_connect(uri, &where, resolver, &why);
    mp_resolver_free(resolver);
    assert_true((stream != NULL) == (why.code == 0));
    if (stream == NULL) assert_int_equal(why.domain, MONGOC_ERROR_STREAM);
    mongoc_stream_destroy(stream);
    mongoc_uri_destroy(uri);
    return stream != NULL;
}

static void our_own_connections(void **state) {
    mp_mongodb_init();
    assert_true(connects("localhost", with_ca("")));
    assert_false(connects("127.0.0.1", with_ca("")));
    assert_true(connects("127.0.0.1", with_ca("&tlsAllowInvalidHostnames=true")));
    assert_true(connects("127.0.0.1", with_ca("&tlsInsecure=true")));
    assert_false(connects("localhost", "&tls=true"));
    assert_false(connects("localhost", "&tls=true&tlsAllowInvalidHostnames=true"));
    assert_true(connects("localhost", "&tls=true&tlsAllowInvalidCertificates=true"));
    assert_false(connects("localhost", "&tls=true&tlsCAFile=/no/such/file"));
    assert_false(connects("no-such-host.invalid", with_ca("")));
    /* time that is over before it begins, and time that is just enough */
    mp_mongodb_wait_until(mp_clock_ms() - 1);
    assert_false(connects("localhost", with_ca("")));
    mp_mongodb_wait_until(mp_clock_ms() + 5000);
    assert_true(connects("localhost", with_ca("")));
    mp_mongodb_wait_until(0);
}

/* ---- connections that go silent in the middle ---- */

static relay *between;

/* For how long a thread of this process ran or wanted to, so far; 0 where the kernel does not say. */
static int64_t busy_ms(pid_t thread) {
    char path[60];
    int64_t ran = 0, queued = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/schedstat", (int)thread);
    FILE *f = fopen(path, "r");
    if (f == NULL) return 0;
    if (fscanf(f, "%" SCNd64 " %" SCNd64, &ran, &queued) != 2) ran = queued = 0;
    fclose(f);
    return (ran + queued) / 1000000;
}

typedef struct witness {
    pthread_t thread;
    pid_t whose;
    int64_t deadline, busy;
} witness;

static void *see(void *arg) {
    witness *w = arg;
    int64_t left = w->deadline - mp_clock_ms();
    if (left > 0) usleep((useconds_t)left * 1000);
    w->busy = busy_ms(w->whose);
    return NULL;
}

/* A call of a new store through the relay, whose first connection (the watcher's) is let through. How long it took. */
static int64_t call_through(int64_t timeout_ms, int *rc, pond_error **err) {
    char at[700], timeout[30];
    pond_value *value = NULL;
    snprintf(timeout, sizeof timeout, "%" PRId64 "ms", timeout_ms);
    snprintf(at, sizeof at, "mongodb://%slocalhost:%d/secure?directConnection=true&authSource=admin%s", USER,
             relay_port(between), with_ca(""));
    mp_store *s = opened(at, timeout);
    int64_t start = mp_clock_ms();
    *rc = s->vt->get(s, "films", "1", 1, &value, err);
    int64_t end = mp_clock_ms();
    s->vt->close(s);
    int64_t closed = mp_clock_ms();
    if (closed - end - stalled_ms(end, closed) > CLOSE_MS + SLACK_MS) fail_msg("%" PRId64 " ms to close", closed - end);
    pond_value_free(value);
    return end - start;
}

static int64_t latest;

static void fails_through(int64_t timeout_ms) {
    pond_error *err = NULL;
    int rc;
    witness w = {.whose = gettid(), .deadline = mp_clock_ms() + timeout_ms};
    assert_int_equal(pthread_create(&w.thread, NULL, see, &w), 0);
    int64_t late = call_through(timeout_ms, &rc, &err) - timeout_ms;
    pthread_join(w.thread, NULL);
    if (late > 0) { /* or it ended with the computing that it had begun before */
        int64_t waited = late - (busy_ms(w.whose) - w.busy) - stalled_ms(w.deadline, w.deadline + late);
        if (waited > SLACK_MS)
            fail_msg("%" PRId64 " ms past its deadline, %" PRId64 " of them waiting: %s", late, waited,
                     pond_error_message(err));
        if (late > latest) latest = late;
    }
    failed(rc, err, POND_ESTORE, 1, "films \"1\"");
}

/* Wherever the answers to a new connection stop, in the TLS handshake, the greeting, the authentication or the reply, the
 * call ends in its time. */
static void silence_half_way(void **state) {
    enum { STEPS = 16 };
    pond_error *err = NULL;
    int rc;
    long all = 0;
    between = relay_start(server_port());
    relay_mute(between, 1, -1);
    int64_t healthy = call_through(20000, &rc, &err), brief = healthy < 200 ? 300 : healthy + healthy / 2;
    assert_int_equal(rc, POND_OK);
    for (int i = 1; i < relay_connections(between); i++)
        if (relay_bytes(between, i) > all) all = relay_bytes(between, i);
    assert_true(all > 1000);
    for (int step = 0; step < STEPS; step++) {
        relay_mute(between, 1, all * step / STEPS);
        fails_through(brief);
    }
    relay_trickle(between, 1, 20); /* there is always something new, and never enough */
    fails_through(brief);
    relay_stop(between);
    print_message("a call that goes well: %d ms; %d times none in %d ms, the latest %d ms late\n", (int)healthy,
                  STEPS + 1, (int)brief, (int)latest);
}

int main(void) {
    heartbeat_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tls_and_a_user),        cmocka_unit_test(the_wrong_password),
        cmocka_unit_test(the_wrong_certificate), cmocka_unit_test(our_own_connections),
        cmocka_unit_test(silence_half_way),
    };
    return cmocka_run_group_tests_name("mongodb_secure", tests, NULL, NULL);
}
