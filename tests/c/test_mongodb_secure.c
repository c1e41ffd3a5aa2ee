/* The mongodb: store on a server that wants TLS and a user. */
#include "mongodb_store.h"

#include <sys/socket.h>

#include "store/mongodb_stream.h"

#define USER "mill:p%40nd%2F1%3F@"

/* With `user` ("name:password@") before the host, `host` in its place if it is not NULL, and more options. */
static void address(char *out, size_t size, const char *user, const char *host, const char *database,
                    const char *more) {
    const char *url = getenv("MILLPOND_TEST_MONGODB"), *port = url != NULL ? strstr(url, "localhost:") : NULL;
    if (port == NULL) fail_msg("run this by tests/servers/mongodb_server.py --secure");
    else
        snprintf(out, size, "mongodb://%s%s:%d/%s?replicaSet=rs%s", user, host != NULL ? host : "localhost",
                 atoi(port + 10), database, more);
}

static const char *with_ca(const char *more) {
    static char text[400];
    snprintf(text, sizeof text, "&tls=true&tlsCAFile=%s%s", getenv("MILLPOND_TEST_MONGODB_CA"), more);
    return text;
}

static void works(const char *user, const char *more) {
    char at[700];
    address(at, sizeof at, user, NULL, "secure", more);
    mp_store *s = opened(at, "5s");
    create(s, "films");
    put(s, "films", "1", "{\"a\":1}");
    assert_string_equal(get(s, "films", "1"), "{\"id\":\"1\",\"a\":1}");
    assert_true(removed(s, "films", "1"));
    s->vt->close(s);
}

static void fails(const char *user, const char *host, const char *more, int retriable, const char *says) {
    char at[700];
    pond_value *value = NULL;
    pond_error *err = NULL;
    address(at, sizeof at, user, host, "secure", more);
    mp_store *s = opened(at, "800ms");
    int64_t start = mp_clock_ms();
    int rc = s->vt->get(s, "films", "1", 1, &value, &err);
    int64_t took = mp_clock_ms() - start;
    assert_null(value);
    if (rc == POND_OK) fail_msg("%s worked", at);
    static const char *const secrets[] = {"p@nd", "p%40nd", "wrong"};
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++)
        if (strstr(pond_error_message(err), secrets[i]) != NULL) fail_msg("it tells: %s", pond_error_message(err));
    failed(rc, err, POND_ESTORE, retriable, says);
    if (took > 1200 || (!retriable && took > 700)) fail_msg("%s: %d ms", says, (int)took);
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
    mongoc_stream_t *stream = mp_mongodb_connect(uri, &where, NULL, &why);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tls_and_a_user),
        cmocka_unit_test(the_wrong_password),
        cmocka_unit_test(the_wrong_certificate),
        cmocka_unit_test(our_own_connections),
    };
    return cmocka_run_group_tests_name("mongodb_secure", tests, NULL, NULL);
}
