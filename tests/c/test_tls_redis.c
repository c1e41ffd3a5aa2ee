/* rediss://: whom the client believes, whom it refuses and in what words; and all else goes over TLS as it does without. */
#include <arpa/inet.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/close_cases.h"
#include "support/fetch_cases.h"
#include "support/fork_cases.h"
#include "support/lane_cases.h"
#include "support/redis.h"
#include "support/support.h"

static redisContext *server; /* without TLS */

static int as_it_was(void **state) {
    (void)state;
    redis_do(server, "CONFIG SET tls-cert-file %s tls-auth-clients no tls-protocols %s", certificate("server.pem"), "");
    redis_do(server, "ACL SETUSER default on nopass");
    return 0;
}

static void show(const char *name) { redis_do(server, "CONFIG SET tls-cert-file %s", certificate(name)); }

/* An address of the server's TLS port. Borrowed until the next call. */
static const char *at(const char *host) {
    static char url[128];
    snprintf(url, sizeof url, "rediss://%s:%d/0", host, atoi(strrchr(redis_tls_url(), ':') + 1));
    return url;
}

typedef struct option {
    const char *name, *value;
} option;

#define OPTIONS(...) ((const option[]){__VA_ARGS__, {NULL, NULL}})
#define OUR_CA                                                                                                         \
    { "tls_ca", certificate("ca.pem") }

/* Opens a pond and looks a key up: the code, and the sentence into `said`. */
static int look(char said[1024], const char *cache, const option *options) {
    pond_error *err = NULL;
    pond_config *config = pond_config_new();
    pond *p = NULL;
    pond_value *value = NULL;
    int code = pond_config_set(config, "cache", cache, &err);
    for (const option *o = options; code == POND_OK && o && o->name; o++)
        code = pond_config_set(config, o->name, o->value, &err);
    if (code == POND_OK) code = pond_open(&p, config, &err);
    if (code == POND_OK) code = pond_lookup(p, "key", 3, NULL, &value, &err);
    snprintf(said, 1024, "%s", pond_error_message(err));
    pond_value_free(value);
    pond_error_free(err);
    pond_config_free(config);
    pond_free(p);
    return code;
}

static void believed(const char *cache, const option *options) {
    char said[1024];
    if (look(said, cache, options) != POND_OK) fail_msg("%s: %s", cache, said);
}

static void refused(int code, const char *cache, const option *options, const char *words) {
    char said[1024];
    int got = look(said, cache, options);
    if (got != code || !strstr(said, words))
        fail_msg("%s: %s: \"%s\", and not: %s", cache, pond_code_name(got), said, words);
}

/* ---- the server's certificate ---- */

static void the_right_one_is_believed(void **state) {
    (void)state;
    believed(redis_tls_url(), OPTIONS(OUR_CA));
    believed(at("localhost"), OPTIONS(OUR_CA));
    believed(at("LocalHost"), OPTIONS(OUR_CA));
    believed(redis_tls_url(), OPTIONS(OUR_CA, {"tls_server_name", "localhost."}));
    believed(redis_tls_url(), OPTIONS(OUR_CA, {"tls_server_name", "::1"}));
    believed(redis_tls_url(), OPTIONS({"tls_ca", certificate("server.pem")})); /* nobody else's then */
    redis_do(server, "CONFIG SET tls-protocols %s", "TLSv1.2");
    believed(redis_tls_url(), OPTIONS(OUR_CA));
}

static void an_unknown_authority_is_refused(void **state) {
    (void)state;
    refused(POND_ECACHE, redis_tls_url(), NULL,
            "from no authority that this machine knows (self-signed certificate in cert");
    refused(POND_ECACHE, redis_tls_url(), OPTIONS({"tls_ca", certificate("other.pem")}),
            "tls_ca must have the one that signed");
    refused(POND_ECACHE, redis_tls_url(), OPTIONS({"tls_ca", certificate("other.pem")}), certificate("other.pem"));
    show("self.pem");
    refused(POND_ECACHE, redis_tls_url(), OPTIONS(OUR_CA), "(self-signed certificate)");
    believed(redis_tls_url(), OPTIONS({"tls_ca", certificate("self.pem")}));
}

static void another_name_is_refused(void **state) {
    (void)state;
    refused(POND_ECACHE, redis_tls_url(), OPTIONS(OUR_CA, {"tls_server_name", "cache.example"}),
            "its certificate is for localhost, 127.0.0.1, ::1, not for cache.example");
    refused(POND_ECACHE, redis_tls_url(), OPTIONS(OUR_CA, {"tls_server_name", "127.0.0.2"}), "not for 127.0.0.2");
    show("elsewhere.pem");
    refused(POND_ECACHE, at("localhost"), OPTIONS(OUR_CA),
            "its certificate is for cache.example, 192.0.2.1, not for localhost");
    refused(POND_ECACHE, at("127.0.0.1"), OPTIONS(OUR_CA), "set tls_server_name");
    believed(redis_tls_url(), OPTIONS(OUR_CA, {"tls_server_name", "cache.example"}));
    believed(redis_tls_url(), OPTIONS(OUR_CA, {"tls_server_name", "192.0.2.1"}));
    show("nameless.pem");
    refused(POND_ECACHE, at("localhost"), OPTIONS(OUR_CA), "names no host");
}

static void an_old_one_is_refused(void **state) {
    (void)state;
    show("expired.pem");
    refused(POND_ECACHE, redis_tls_url(), OPTIONS(OUR_CA), "its certificate expired (20");
}

static void without_a_check_anything_goes(void **state) {
    (void)state;
    static const char *const all[] = {"server.pem", "elsewhere.pem", "nameless.pem", "expired.pem", "self.pem"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        show(all[i]);
        believed(redis_tls_url(), OPTIONS({"tls_verify", "off"}));
    }
}

/* What is refused is asked for nothing: neither user nor password go out. */
static void nothing_is_said_to_a_stranger(void **state) {
    (void)state;
    show("expired.pem");
    long long before = redis_calls(server, "auth");
    refused(POND_ECACHE, redis_tls_url(), OPTIONS(OUR_CA, {"password", "hush"}), "expired");
    assert_int_equal(redis_calls(server, "auth"), before);
}

/* ---- the client's ---- */

static void a_client_shows_its_own(void **state) {
    (void)state;
    redis_do(server, "CONFIG SET tls-auth-clients yes");
    for (int old = 0; old < 2; old++) {
        if (old) redis_do(server, "CONFIG SET tls-protocols %s", "TLSv1.2");
        refused(POND_ECACHE, redis_tls_url(), OPTIONS(OUR_CA), "client certificate");
        refused(POND_ECACHE, redis_tls_url(), OPTIONS(OUR_CA), "set tls_cert and tls_key");
        believed(redis_tls_url(),
                 OPTIONS(OUR_CA, {"tls_cert", certificate("client.pem")}, {"tls_key", certificate("client.key")}));
        believed(redis_tls_url(), OPTIONS(OUR_CA, {"tls_cert", certificate("both.pem")}));
        const option *stranger =
            OPTIONS(OUR_CA, {"tls_cert", certificate("stranger.pem")}, {"tls_key", certificate("client.key")});
        refused(POND_ECACHE, redis_tls_url(), stranger, "it refused the client certificate in ");
        refused(POND_ECACHE, redis_tls_url(), stranger, "stranger.pem");
    }
}

/* ---- files and options ---- */

static void bad_files_are_refused_at_open(void **state) {
    (void)state;
    const char *cert = certificate("client.pem"), *key = certificate("client.key"), *there = redis_tls_url();
    char empty[64] = "/tmp/millpond-tls-XXXXXX";
    close(mkstemp(empty));
    refused(POND_EOPTION, there, OPTIONS({"tls_ca", "/no/such/ca.pem"}),
            "tls_ca: /no/such/ca.pem cannot be read (No such file");
    refused(POND_EOPTION, there, OPTIONS({"tls_ca", empty}), "has no certificate in PEM");
    refused(POND_EOPTION, there, OPTIONS({"tls_ca", key}), "has no certificate in PEM");
    refused(POND_EOPTION, there, OPTIONS(OUR_CA, {"tls_cert", "/no/such/cert.pem"}),
            "tls_cert: /no/such/cert.pem cannot be read");
    refused(POND_EOPTION, there, OPTIONS(OUR_CA, {"tls_cert", key}), "has no certificate in PEM");
    refused(POND_EOPTION, there, OPTIONS(OUR_CA, {"tls_cert", cert}),
            "no key in PEM beside its certificate: set tls_key");
    refused(POND_EOPTION, there, OPTIONS(OUR_CA, {"tls_key", key}),
            "tls_key: a key needs its certificate: set tls_cert");
    refused(POND_EOPTION, there, OPTIONS(OUR_CA, {"tls_cert", cert}, {"tls_key", "/no/such.key"}),
            "tls_key: /no/such.key cannot");
    refused(POND_EOPTION, there, OPTIONS(OUR_CA, {"tls_cert", cert}, {"tls_key", cert}), "has no key in PEM");
    refused(POND_EOPTION, there, OPTIONS(OUR_CA, {"tls_cert", cert}, {"tls_key", certificate("server.key")}),
            "does not belong to");
    refused(POND_EOPTION, there, OPTIONS(OUR_CA, {"tls_cert", cert}, {"tls_key", certificate("encrypted.key")}),
            "is encrypted");
    chmod(empty, 0);
    if (geteuid() != 0) refused(POND_EOPTION, there, OPTIONS({"tls_ca", empty}), "Permission denied");
    unlink(empty);
    char name[400];
    memset(name, 'a', sizeof name);
    name[300] = 0;
    refused(POND_EOPTION, there, OPTIONS(OUR_CA, {"tls_server_name", name}), "tls_server_name: the name is longer");
}

static void a_folder_of_authorities_will_do(void **state) {
    (void)state;
    char folder[64] = "/tmp/millpond-tls-XXXXXX", command[600];
    assert_non_null(mkdtemp(folder));
    refused(POND_ECACHE, redis_tls_url(), OPTIONS({"tls_ca", folder}), folder);
    snprintf(command, sizeof command, "cp %s %s/ca.pem && openssl rehash %s", certificate("ca.pem"), folder, folder);
    assert_int_equal(system(command), 0);
    believed(redis_tls_url(), OPTIONS({"tls_ca", folder}));
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

static void tls_is_not_asked_for_in_vain(void **state) {
    (void)state;
    static const option all[] = {
        {"tls_ca", "x"}, {"tls_cert", "x"}, {"tls_key", "x"}, {"tls_server_name", "x"}, {"tls_verify", "off"}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        refused(POND_EOPTION, redis_url(), OPTIONS(all[i]), all[i].name);
        refused(POND_EOPTION, redis_url(), OPTIONS(all[i]), "write rediss://");
        refused(POND_EOPTION, "unix:/run/no.sock", OPTIONS(all[i]), "write rediss://");
    }
    believed("memory:", OPTIONS(all[0]));
    believed(redis_url(), OPTIONS({"tls_verify", "on"}));
}

/* Each to the other's port. */
static void the_wrong_port_is_named(void **state) {
    (void)state;
    char url[128], said[1024];
    snprintf(url, sizeof url, "redis%s", redis_tls_url() + 6);
    refused(POND_ECACHE, url, NULL, "rediss://");
    snprintf(url, sizeof url, "rediss%s", redis_url() + 5);
    for (int i = 0; i < 5; i++) { /* Redis answers if a line feed happens to be in what we send */
        assert_int_equal(look(said, url, OPTIONS({"connect_timeout", "100ms"})), POND_ECACHE);
        assert_non_null(strstr(said, "is this its TLS port? Without TLS the address begins with redis://"));
    }
}

/* ---- what goes over it ---- */

static void give_bytes(pond_load *load, void *ctx) {
    const size_t *len = ctx;
    char *bytes = malloc(*len + 1);
    for (size_t i = 0; i < *len; i++) bytes[i] = (char)(i * 31 + i / 251);
    assert_int_equal(pond_load_value(load, bytes, *len, POND_BYTES, 0), POND_OK);
    free(bytes);
}

/* Around the sizes of TLS' records, of hiredis' buffer, and far past what a socket takes at once. */
static void values_of_all_sizes_pass(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 16383 - 48, 16384 - 60, 16384, 16385, 3 * 16384 - 48, 1 << 20, 13 << 20};
    for (int old = 0; old < 2; old++) {
        if (old) redis_do(server, "CONFIG SET tls-protocols %s", "TLSv1.2");
        pond *p = pond_made(redis_tls_url(), "namespace", "sizes", "command_timeout", "20s", NULL);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            const char *key = fresh("size");
            pond_value *first = NULL, *second = NULL;
            size_t len = sizes[i], one, two;
            assert_int_equal(pond_fetch(p, key, strlen(key), NULL, give_bytes, &len, &first, NULL), POND_OK);
            assert_int_equal(pond_lookup(p, key, strlen(key), NULL, &second, NULL), POND_OK);
            const char *a = pond_value_data(first, &one), *b = pond_value_data(second, &two);
            assert_int_equal(one, len);
            assert_int_equal(two, len);
            assert_memory_equal(a, b, len);
            pond_value_free(first);
            pond_value_free(second);
        }
        assert_int_equal(pond_stat(p, NULL, "cache_errors"), 0);
        assert_int_equal(pond_stat(p, NULL, "fills"), sizeof sizes / sizeof *sizes);
        pond_free(p);
    }
}

/* Many answers in one record, and many records in one read. */
static void a_thousand_at_once(void **state) {
    (void)state;
    pond *p = pond_made(redis_tls_url(), "namespace", "many", "command_timeout", "20s", NULL);
    desk d;
    desk_open(&d, p, 1);
    char keys[200][64];
    for (uint64_t i = 0; i < 200; i++) {
        snprintf(keys[i], sizeof keys[i], "%s", fresh("many"));
        char text[100];
        memset(text, 'a' + (int)(i % 26), sizeof text);
        text[i % 100] = 0;
        assert_string_equal(fetch_text(p, keys[i], NULL, text), text);
    }
    for (int round = 0; round < 5; round++) {
        for (uint64_t i = 0; i < 200; i++) desk_fetch(&d, 0, keys[i], NULL, i, NULL);
        for (uint64_t i = 0; i < 200; i++) {
            char text[100];
            memset(text, 'a' + (int)(i % 26), sizeof text);
            text[i % 100] = 0;
            desk_value(&d, 0, i, text);
        }
    }
    assert_int_equal(pond_stat(p, NULL, "loads"), 200);
    desk_close(&d);
    pond_free(p);
}

/* More is sent while the socket takes no more: what waits grows, and moves in memory. */
static void what_waits_may_move(void **state) {
    (void)state;
    pond *p = pond_made(redis_tls_url(), "namespace", "move", "command_timeout", "20s", "lease", "30s", NULL);
    desk d;
    char keys[8][64];
    size_t len = 4 << 20, found;
    desk_open(&d, p, 1);
    for (uint64_t i = 0; i < 8; i++) {
        snprintf(keys[i], sizeof keys[i], "%s", fresh("move"));
        desk_fetch(&d, 0, keys[i], NULL, i, NULL);
    }
    for (uint64_t i = 0; i < 8; i++) {
        give_bytes(desk_load(&d, 0, i), &len);
        pond_event *none[1];
        assert_int_equal(pond_queue_poll(d.queue[0], none, 0, 0), 0); /* sends, and waits for nothing */
    }
    for (uint64_t i = 0; i < 8; i++) {
        pond_event *event = desk_event(&d, 0, 20000);
        assert_int_equal(pond_event_kind(event), POND_EVENT_VALUE);
        pond_value_data(pond_event_value(event), &found);
        assert_int_equal(found, len);
        pond_event_free(event);
    }
    assert_int_equal(pond_stat(p, NULL, "fills"), 8);
    assert_int_equal(pond_stat(p, NULL, "cache_errors"), 0);
    desk_close(&d);
    pond_free(p);
}

static void a_server_that_closes_is_asked_again(void **state) {
    (void)state;
    pond *p =
        pond_made(redis_tls_url(), "namespace", "again", "command_timeout", "10s", "connect_timeout", "10s", NULL);
    const char *key = fresh("k");
    assert_string_equal(fetch_text(p, key, NULL, "x"), "x");
    for (int i = 0; i < 20; i++) {
        redis_do(server, "CLIENT KILL TYPE normal SKIPME yes");
        assert_string_equal(lookup_text(p, key, NULL), "x");
    }
    assert_int_equal(pond_stat(p, NULL, "cache_errors"), 0);
    pond_free(p);
}

/* A worker that has given up its rights may not read the key again. */
static void a_child_connects_without_the_files(void **state) {
    (void)state;
    char file[64] = "/tmp/millpond-tls-XXXXXX", command[600];
    close(mkstemp(file));
    snprintf(command, sizeof command, "cp %s %s", certificate("both.pem"), file);
    assert_int_equal(system(command), 0);
    redis_do(server, "CONFIG SET tls-auth-clients yes");
    const char *key = fresh("k");
    pond *p = pond_made(redis_tls_url(), "namespace", "child", "tls_ca", certificate("ca.pem"), "tls_cert", file, NULL);
    assert_string_equal(fetch_text(p, key, NULL, "x"), "x");
    unlink(file);
    pid_t child = fork();
    if (child == 0) {
        pond_value *value = NULL;
        int code = pond_lookup(p, key, strlen(key), NULL, &value, NULL);
        int wrong = code != POND_OK || pond_value_state(value) != POND_VALUE;
        pond_value_free(value);
        pond_free(p);
        _exit(wrong);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_string_equal(lookup_text(p, key, NULL), "x");
    pond_free(p);
}

static int begin(void **state) {
    (void)state;
    server = redis_open(redis_url());
    return server ? as_it_was(NULL) : -1;
}

#define TEST(name) cmocka_unit_test_teardown(name, as_it_was)

int main(void) {
    watchdog(110);
    signal(SIGPIPE, SIG_DFL); /* which would end us */
    const struct CMUnitTest tests[] = {
        TEST(the_right_one_is_believed),
        TEST(an_unknown_authority_is_refused),
        TEST(another_name_is_refused),
        TEST(an_old_one_is_refused),
        TEST(without_a_check_anything_goes),
        TEST(nothing_is_said_to_a_stranger),
        TEST(a_client_shows_its_own),
        TEST(bad_files_are_refused_at_open),
        TEST(a_folder_of_authorities_will_do),
        TEST(tls_is_not_asked_for_in_vain),
        TEST(the_wrong_port_is_named),
        TEST(values_of_all_sizes_pass),
        TEST(a_thousand_at_once),
        TEST(what_waits_may_move),
        TEST(a_server_that_closes_is_asked_again),
        TEST(a_child_connects_without_the_files),
    };
    int failed = cmocka_run_group_tests_name("TLS", tests, begin, NULL);
    redisFree(server);
    failed += fork_cases(redis_tls_url(), true);
    return failed + fetch_cases(redis_tls_url()) + lane_cases(redis_tls_url()) + close_cases(redis_tls_url());
}
