/* TLS that is cut, changed, stalled or spoken oddly on its way. Whatever happens: every call ends within its deadlines, nothing wrong is
 * read, no signal is raised, and nothing is left over. */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/fake.h"
#include "support/redis.h"
#include "support/support.h"

static atomic_int pipes;
static void on_pipe(int number) {
    (void)number;
    atomic_fetch_add(&pipes, 1);
}

/* ---- a way with holes, in front of the server's TLS port ---- */

enum { UP, DOWN }; /* to the server, to us */

typedef struct road {
    long cut[2], stop[2], flip[2]; /* at this byte: hang up, pass nothing more, invert it; -1: never */
    size_t piece;                  /* at most so many bytes at once */
    bool reset;                    /* hangs up by RST */
    atomic_long passed[2];
} road;

static int dial(const char *url) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)atoi(strrchr(url, ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) abort();
    return fd;
}

/* False: this was the last of it. */
static bool pass(road *r, int way, int from, int to) {
    char piece[16384];
    long at = atomic_load(&r->passed[way]);
    ssize_t n = recv(from, piece, r->piece, 0);
    if (n <= 0) return false;
    long left = r->cut[way] >= 0 ? r->cut[way] - at : n;
    if (r->stop[way] >= 0 && r->stop[way] - at < left) left = r->stop[way] > at ? r->stop[way] - at : 0;
    if (left > n) left = n;
    if (r->flip[way] >= at && r->flip[way] < at + left) piece[r->flip[way] - at] ^= 0x55;
    atomic_fetch_add(&r->passed[way], left);
    return (left == 0 || send(to, piece, (size_t)left, MSG_NOSIGNAL) == left) &&
           (r->cut[way] < 0 || atomic_load(&r->passed[way]) < r->cut[way]);
}

static void serve_road(fake_conn *c) {
    road *r = c->ctx;
    int up = dial(redis_tls_url());
    bool goes_on = r->cut[UP] != 0 && r->cut[DOWN] != 0;
    while (goes_on && fake_rest(c, 0)) {
        struct pollfd p[2] = {{.fd = c->fd, .events = POLLIN}, {.fd = up, .events = POLLIN}};
        if (poll(p, 2, 20) <= 0) continue;
        if (p[0].revents) goes_on = pass(r, UP, c->fd, up);
        if (p[1].revents && goes_on) goes_on = pass(r, DOWN, up, c->fd);
    }
    struct linger at_once = {.l_onoff = 1};
    if (r->reset) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(up);
}

static const road open_road = {{-1, -1}, {-1, -1}, {-1, -1}, 16384, false, {0, 0}};

static const char *tls_url(const fake *f) {
    static char url[64];
    snprintf(url, sizeof url, "rediss://127.0.0.1:%d/0", fake_port(f));
    return url;
}

static char key[64], value[64];

/* One pond, one call: POND_OK with the right value, or an error that says something. How long it took. */
static int64_t ask(const char *url, const char *timeout, int *code) {
    pond *p = pond_made(url, "namespace", "tls", "connect_timeout", timeout, "command_timeout", timeout, NULL);
    pond_value *found = NULL;
    pond_error *err = NULL;
    size_t len = 0;
    int64_t began = clock_ms();
    *code = pond_lookup(p, key, strlen(key), NULL, &found, &err);
    int64_t took = clock_ms() - began;
    if (*code == POND_OK) {
        const char *data = pond_value_state(found) == POND_VALUE ? pond_value_data(found, &len) : "";
        if (len != strlen(value) || memcmp(data, value, len) != 0) fail_msg("a wrong value: %.*s", (int)len, data);
    } else if ((*code != POND_ECACHE && *code != POND_EPROTOCOL) || strlen(pond_error_message(err)) < 40) {
        fail_msg("%s: %s", pond_code_name(*code), pond_error_message(err));
    }
    pond_value_free(found);
    pond_error_free(err);
    pond_free(p);
    return took;
}

/* On a road with these holes. */
static int64_t ask_by(road r, const char *timeout, int *code) {
    static road shared;
    shared = r;
    fake *f = fake_start(serve_road, &shared);
    int64_t took = ask(tls_url(f), timeout, code);
    fake_stop(f);
    return took;
}

static long lengths[2]; /* of a whole conversation */

static void a_whole_road(void **state) {
    (void)state;
    int code;
    static road r;
    r = open_road;
    fake *f = fake_start(serve_road, &r);
    ask(tls_url(f), "10s", &code);
    fake_stop(f);
    assert_int_equal(code, POND_OK);
    for (int way = 0; way < 2; way++) lengths[way] = atomic_load(&r.passed[way]);
    printf("           %ld bytes up, %ld down\n", lengths[UP], lengths[DOWN]);
    assert_true(lengths[UP] > 400 && lengths[DOWN] > 800);
}

static void one_byte_at_a_time(void **state) {
    (void)state;
    int code;
    road r = open_road;
    r.piece = 1;
    ask_by(r, "20s", &code);
    assert_int_equal(code, POND_OK);
}

/* At every byte, in both directions, politely and by RST. */
static void a_cut_anywhere(void **state) {
    (void)state;
    long step = slow_build() ? 41 : 7, refused = 0;
    for (int way = 0; way < 2; way++)
        for (long at = (long)dice((uint32_t)step); at < lengths[way]; at += step) {
            int code;
            road r = open_road;
            r.cut[way] = at;
            r.reset = at / step % 2;
            if (ask_by(r, "10s", &code) > 5000)
                fail_msg("%s: a cut at byte %ld was not noticed", way == UP ? "up" : "down", at);
            refused += code != POND_OK;
        }
    assert_true(refused > 10);
}

/* Nothing that was changed on the way is believed. */
static void a_change_anywhere(void **state) {
    (void)state;
    long rounds = slow_build() ? 30 : 200, refused = 0;
    for (long i = 0; i < rounds; i++) {
        int code, way = i % 2;
        road r = open_road;
        r.flip[way] = (long)dice((uint32_t)lengths[way]);
        ask_by(r, "300ms", &code); /* a length that was changed lets the other side wait */
        refused += code != POND_OK;
    }
    assert_true(refused > rounds / 2);
}

static void a_stall_anywhere(void **state) {
    (void)state;
    for (int i = 0; i < (slow_build() ? 6 : 30); i++) {
        int code, way = i % 2;
        road r = open_road;
        r.stop[way] = i < 2 ? 0 : (long)dice((uint32_t)lengths[way]);
        int64_t took = ask_by(r, "100ms", &code);
        if (took > 2000) fail_msg("a stall at byte %ld took %lld ms", r.stop[way], (long long)took);
    }
}

/* ---- servers of another kind ---- */

static void serve_noise(fake_conn *c) {
    char noise[600];
    size_t len = 1 + dice(sizeof noise);
    for (size_t i = 0; i < len; i++) noise[i] = (char)dice(256);
    if (dice(2)) memcpy(noise, "\x16\x03\x03\x01\x00\x02", len < 6 ? len : 6); /* begins as an answer does */
    fake_send(c, noise, len);
    if (dice(2)) fake_rest(c, 50);
}

static void serve_flood(fake_conn *c) {
    static const char record[] = "\x16\x03\x03\x40\x00\x02\x00\xff\xff"; /* a message of 64 KiB and more begins */
    char zeros[4096] = {0};
    fake_send(c, record, sizeof record - 1);
    for (int i = 0; i < 4000 && fake_rest(c, 0); i++) fake_send(c, zeros, sizeof zeros);
}

static void serve_alerts(fake_conn *c) {
    for (int i = 0; i < 200 && fake_rest(c, 0); i++) fake_send(c, "\x15\x03\x03\x00\x02\x01\x5a", 7); /* warnings */
    fake_rest(c, 100);
}

static void serve_silence(fake_conn *c) { fake_rest(c, 60000); }
static void serve_an_end(fake_conn *c) { (void)c; }

static void strangers(void **state) {
    (void)state;
    static void (*const all[])(fake_conn * c) = {serve_noise, serve_flood, serve_alerts, serve_silence, serve_an_end};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (int n = 0; n < (all[i] == serve_noise ? 60 : 3); n++) {
            fake *f = fake_start(all[i], NULL);
            int code;
            int64_t took = ask(tls_url(f), "100ms", &code);
            assert_int_not_equal(code, POND_OK);
            assert_true(took < 2000);
            fake_stop(f);
        }
}

/* ---- a server that does what Redis does not: new keys, renegotiation, records of any size ---- */

typedef struct odd {
    int version;
    bool update, renegotiate;
    atomic_int done; /* how often it did so */
} odd;

static void give(SSL *ssl, const char *data, size_t len) {
    while (len > 0) { /* in pieces of its own */
        size_t piece = 1 + dice((uint32_t)(len < 900 ? len : 900));
        if (SSL_write(ssl, data, (int)piece) <= 0) return;
        data += piece;
        len -= piece;
    }
}

static void serve_oddly(fake_conn *c) {
    odd *o = c->ctx;
    char buffer[16384];
    ssize_t n;
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, NULL); /* the test's own OpenSSL raises it */
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(ctx, certificate("server.pem")) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, certificate("server.key"), SSL_FILETYPE_PEM) != 1)
        abort();
    SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY); /* one record a read: what follows may be a while in coming */
    SSL_CTX_set_max_proto_version(ctx, o->version);
    SSL_CTX_set_options(ctx, SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION);
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, c->fd);
    int up = dial(redis_url());
    bool goes_on = SSL_accept(ssl) == 1;
    while (goes_on && fake_rest(c, 0)) {
        struct pollfd p[2] = {{.fd = c->fd, .events = POLLIN}, {.fd = up, .events = POLLIN}};
        if (!SSL_pending(ssl) && poll(p, 2, 20) <= 0) continue;
        if (SSL_pending(ssl) || p[0].revents) {
            n = SSL_read(ssl, buffer, sizeof buffer);
            if (n <= 0) goes_on = SSL_get_error(ssl, (int)n) == SSL_ERROR_WANT_READ; /* no data: new keys, perhaps */
            else goes_on = send(up, buffer, (size_t)n, MSG_NOSIGNAL) == n;
        }
        if (goes_on && p[1].revents) {
            n = recv(up, buffer, sizeof buffer, 0);
            if (n > 0) give(ssl, buffer, (size_t)n);
            goes_on = n > 0;
            if (o->update && SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_do_handshake(ssl) == 1)
                atomic_fetch_add(&o->done, 1);
            if (o->renegotiate && dice(4) == 0 && SSL_renegotiate(ssl) == 1) {
                SSL_do_handshake(ssl);
                atomic_fetch_add(&o->done, 1);
            }
        }
    }
    if (dice(2)) SSL_shutdown(ssl);
    close(up);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    ERR_clear_error();
}

static void give_bytes(pond_load *load, void *ctx) {
    static char bytes[300000];
    const size_t *len = ctx;
    for (size_t i = 0; i < *len; i++) bytes[i] = (char)(i * 31 + *len);
    pond_load_value(load, bytes, *len, POND_BYTES, 0);
}

static bool same(pond_value *found, size_t wanted) {
    size_t len;
    const char *data = pond_value_data(found, &len);
    bool good = len == wanted;
    for (size_t i = 0; good && i < len; i++) good = data[i] == (char)(i * 31 + wanted);
    pond_value_free(found);
    return good;
}

/* Values that are many records each way. */
static void talk(odd *o, bool all_is_well) {
    fake *f = fake_start(serve_oddly, o);
    pond *p = pond_made(tls_url(f), "namespace", "odd", "command_timeout", "5s", NULL);
    for (int i = 0; i < (slow_build() ? 20 : 100); i++) {
        const char *name = fresh("odd");
        size_t len = 1 + dice(300000);
        pond_value *found = NULL;
        assert_int_equal(pond_fetch(p, name, strlen(name), NULL, give_bytes, &len, &found, NULL), POND_OK);
        assert_true(same(found, len));
        found = NULL;
        pond_error *err = NULL;
        int code = pond_lookup(p, name, strlen(name), NULL, &found, &err);
        if (code == POND_OK && pond_value_state(found) == POND_VALUE) assert_true(same(found, len));
        else if (all_is_well)
            fail_msg("round %d, %zu bytes: %s", i, len, code == POND_OK ? "a miss" : pond_error_message(err));
        pond_error_free(err);
    }
    if (all_is_well) assert_int_equal(pond_stat(p, NULL, "cache_errors"), 0);
    pond_free(p);
    fake_stop(f);
    assert_true(!(o->update || o->renegotiate) || atomic_load(&o->done) > 0);
}

static void records_of_any_size(void **state) {
    (void)state;
    talk(&(odd){.version = TLS1_3_VERSION}, true);
    talk(&(odd){.version = TLS1_2_VERSION}, true);
}

static void keys_that_change(void **state) {
    (void)state;
    talk(&(odd){.version = TLS1_3_VERSION, .update = true}, true);
}

/* It is not done, and who asks for it is told so. Whether the server goes on is its affair. */
static void a_renegotiation(void **state) {
    (void)state;
    talk(&(odd){.version = TLS1_2_VERSION, .renegotiate = true}, false);
}

static void an_old_version_is_not_spoken(void **state) {
    (void)state;
    odd o = {.version = TLS1_1_VERSION};
    fake *f = fake_start(serve_oddly, &o);
    int code;
    ask(tls_url(f), "1s", &code);
    assert_int_equal(code, POND_ECACHE);
    fake_stop(f);
}

/* A program that uses OpenSSL itself leaves its errors where ours would be. A long value is read in steps, most of which end in the
 * middle of a record. */
static void others_errors_are_not_ours(void **state) {
    (void)state;
    pond *p = pond_made(redis_tls_url(), "namespace", "tls", NULL);
    size_t len = 300000;
    pond_value *found = NULL;
    assert_int_equal(pond_fetch(p, "long", 4, NULL, give_bytes, &len, &found, NULL), POND_OK);
    pond_value_free(found);
    for (int i = 0; i < 20; i++) {
        ERR_raise(ERR_LIB_SSL, SSL_R_UNEXPECTED_MESSAGE);
        found = NULL;
        assert_int_equal(pond_lookup(p, "long", 4, NULL, &found, NULL), POND_OK);
        assert_true(same(found, len));
    }
    ERR_clear_error();
    assert_int_equal(pond_stats(p, &found, NULL), POND_OK);
    assert_non_null(strstr(pond_value_data(found, NULL), "\"connections_made\":1,"));
    pond_value_free(found);
    pond_free(p);
}

static size_t fds, threads;

static int begin(void **state) {
    (void)state;
    struct sigaction action = {.sa_handler = on_pipe};
    sigaction(SIGPIPE, &action, NULL);
    snprintf(key, sizeof key, "%s", fresh("tls"));
    snprintf(value, sizeof value, "the right value");
    pond *p = pond_made(redis_url(), "namespace", "tls", NULL);
    fetch_text(p, key, NULL, value);
    pond_free(p);
    fds = count_fds();
    threads = count_threads();
    return 0;
}

static int end(void **state) {
    (void)state;
    for (int64_t until = clock_ms() + 2000; count_threads() > threads && clock_ms() < until;) rest_ms(5);
    printf("           %zu descriptors, %zu threads, %d signals\n", count_fds(), count_threads(), atomic_load(&pipes));
    return count_fds() != fds || count_threads() != threads || atomic_load(&pipes) != 0;
}

int main(void) {
    watchdog(110);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_road),
        cmocka_unit_test(one_byte_at_a_time),
        cmocka_unit_test(a_cut_anywhere),
        cmocka_unit_test(a_change_anywhere),
        cmocka_unit_test(a_stall_anywhere),
        cmocka_unit_test(strangers),
        cmocka_unit_test(records_of_any_size),
        cmocka_unit_test(keys_that_change),
        cmocka_unit_test(a_renegotiation),
        cmocka_unit_test(an_old_version_is_not_spoken),
        cmocka_unit_test(others_errors_are_not_ours),
    };
    return cmocka_run_group_tests_name("TLS with faults", tests, begin, end);
}
