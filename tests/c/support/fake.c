#include "support/fake.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cache/redis_scripts.h"
#include "model/envelope.h"
#include "support/support.h"

enum { CONNECTIONS = 4096 };

struct fake {
    int listener, port;
    char url[64];
    void (*serve)(fake_conn *c);
    void *ctx;
    pthread_t thread;
    atomic_bool over;
    atomic_int made;
    pthread_t threads[CONNECTIONS];
};

const char fake_fence[9] = "\x01"
                           "FENCE7\xff";

static void *connection(void *arg) {
    fake_conn *c = arg;
    c->server->serve(c);
    close(c->fd);
    free(c);
    return NULL;
}

static void *listen_on(void *arg) {
    fake *f = arg;
    while (!atomic_load(&f->over)) {
        struct pollfd p = {.fd = f->listener, .events = POLLIN};
        if (poll(&p, 1, 20) != 1) continue;
        int fd = accept(f->listener, NULL, NULL);
        int number = atomic_load(&f->made), on = 1;
        fake_conn *c = fd >= 0 && number < CONNECTIONS ? calloc(1, sizeof *c) : NULL;
        if (!c) {
            if (fd >= 0) close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        *c = (fake_conn){.server = f, .ctx = f->ctx, .fd = fd, .number = number};
        if (pthread_create(&f->threads[number], NULL, connection, c) != 0) abort();
        atomic_fetch_add(&f->made, 1);
    }
    return NULL;
}

fake *fake_start(void (*serve)(fake_conn *c), void *ctx) {
    fake *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->serve = serve;
    f->ctx = ctx;
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    assert_int_equal(bind(f->listener, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(f->listener, 128), 0);
    assert_int_equal(getsockname(f->listener, (struct sockaddr *)&at, &size), 0);
    f->port = ntohs(at.sin_port);
    snprintf(f->url, sizeof f->url, "redis://127.0.0.1:%d/0", f->port);
    assert_int_equal(pthread_create(&f->thread, NULL, listen_on, f), 0);
    return f;
}

const char *fake_url(const fake *f) { return f->url; }
int fake_port(const fake *f) { return f->port; }
int fake_connections(const fake *f) { return atomic_load(&f->made); }

void fake_stop(fake *f) {
    atomic_store(&f->over, true);
    pthread_join(f->thread, NULL);
    for (int i = 0; i < atomic_load(&f->made); i++) pthread_join(f->threads[i], NULL);
    close(f->listener);
    free(f);
}

/* ---- a connection ---- */

bool fake_rest(fake_conn *c, int ms) {
    for (int64_t until = clock_ms() + ms; clock_ms() < until; rest_ms(1))
        if (atomic_load(&c->server->over)) return false;
    return !atomic_load(&c->server->over);
}

void fake_send(fake_conn *c, const char *data, size_t len) {
    while (len > 0 && !atomic_load(&c->server->over)) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);
        if (n <= 0) return;
        data += n;
        len -= (size_t)n;
    }
}

void fake_say(fake_conn *c, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fake_send(c, text, (size_t)len);
}

/* The length of the whole command at the front of `in`, or 0 if it is not all there; sets argc, argv (into `in`) and len. */
static size_t parse(fake_conn *c) {
    size_t at = 0;
    c->argc = 0;
    for (long left = -1; left != 0; left--) {
        char *end = memchr(c->in + at, '\n', c->have - at);
        if (!end) return 0;
        long n = strtol(c->in + at + 1, NULL, 10);
        at = (size_t)(end - c->in) + 1;
        if (left < 0) {
            left = n + 1;
            continue;
        }
        if (c->have < at + (size_t)n + 2 || c->argc == FAKE_ARGS) return 0;
        c->argv[c->argc] = c->in + at;
        c->len[c->argc++] = (size_t)n;
        at += (size_t)n + 2;
    }
    return at;
}

static fake_kind kind_of(fake_conn *c) {
    static const fake_kind of_script[MP_SCRIPTS] = {
        [MP_SCRIPT_fence] = FAKE_FENCE, [MP_SCRIPT_get] = FAKE_LEASE,       [MP_SCRIPT_fill] = FAKE_FILL,
        [MP_SCRIPT_renew] = FAKE_RENEW, [MP_SCRIPT_release] = FAKE_RELEASE, [MP_SCRIPT_end] = FAKE_END,
        [MP_SCRIPT_begin] = FAKE_BEGIN, [MP_SCRIPT_gen] = FAKE_TAG,         [MP_SCRIPT_inspect] = FAKE_INSPECT};
    c->evaluated = c->len[0] == 4;
    if (c->len[0] == 3 && memcmp(c->argv[0], "GET", 3) == 0) return FAKE_GET;
    if (c->len[0] == 5 && memcmp(c->argv[0], "HELLO", 5) == 0) return FAKE_HELLO;
    if (c->len[0] == 4 && memcmp(c->argv[0], "PTTL", 4) == 0) return FAKE_PTTL;
    if (c->argc > 1 && c->len[1] == 8 && memcmp(c->argv[1], "TRACKING", 8) == 0) return FAKE_TRACKING;
    for (size_t i = 0; i < MP_SCRIPTS && c->argc > 1; i++) {
        if (c->len[1] == 40 && memcmp(c->argv[1], mp_scripts[i].sha, 40) == 0) return of_script[i];
        if (c->len[1] == mp_scripts[i].len && memcmp(c->argv[1], mp_scripts[i].text, c->len[1]) == 0)
            return of_script[i];
    }
    return FAKE_OTHER;
}

bool fake_next(fake_conn *c) {
    size_t len = c->have ? parse(c) : 0;
    if (!len) return false;
    memcpy(c->command, c->in, len);
    for (int i = 0; i < c->argc; i++) c->argv[i] = c->command + (c->argv[i] - c->in);
    memmove(c->in, c->in + len, c->have -= len);
    c->kind = kind_of(c);
    return true;
}

bool fake_read(fake_conn *c) {
    for (;;) {
        if (fake_next(c)) return true;
        if (c->have == FAKE_ROOM) return false;
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        int ready = poll(&p, 1, 20);
        if (atomic_load(&c->server->over)) return false;
        if (ready != 1) continue;
        ssize_t n = recv(c->fd, c->in + c->have, FAKE_ROOM - c->have, 0);
        if (n <= 0) return false;
        c->have += (size_t)n;
    }
}

size_t fake_envelope(char *out, const char *text) {
    mp_envelope e = {.codec = POND_TEXT, .payload_len = (uint32_t)strlen(text), .payload = text};
    memcpy(e.fence, fake_fence, sizeof e.fence);
    size_t len = mp_envelope_size(e.payload_len, 0);
    size_t head = (size_t)sprintf(out, "$%zu\r\n", len);
    mp_envelope_write(out + head, &e);
    memcpy(out + head + len, "\r\n", 2);
    return head + len + 2;
}

size_t fake_answer(const fake_conn *c, char *out) {
    switch (c->kind) {
    case FAKE_GET: return (size_t)sprintf(out, "$-1\r\n");
    case FAKE_FENCE: {
        size_t n = (size_t)sprintf(out, "*4\r\n$8\r\n");
        memcpy(out + n, fake_fence, 8);
        return n + 8 + (size_t)sprintf(out + n + 8, "\r\n$4\r\nabcd\r\n$4\r\ndcba\r\n:0\r\n");
    }
    case FAKE_LEASE: return (size_t)sprintf(out, "*3\r\n:2\r\n$-1\r\n:3000\r\n");
    case FAKE_INSPECT: return (size_t)sprintf(out, "*6\r\n$-1\r\n:-2\r\n$-1\r\n:-2\r\n:0\r\n:-2\r\n");
    case FAKE_BEGIN:
    case FAKE_END: return (size_t)sprintf(out, ":0\r\n");
    case FAKE_TAG: {
        size_t n = (size_t)sprintf(out, "$24\r\n");
        memcpy(out + n, fake_fence, 8);
        return n + 8 + (size_t)sprintf(out + n + 8, "0123456789abcdef\r\n");
    }
    case FAKE_HELLO: return (size_t)sprintf(out, "%%1\r\n$5\r\nproto\r\n:3\r\n");
    case FAKE_PTTL: return (size_t)sprintf(out, ":-2\r\n");
    case FAKE_TRACKING:
    case FAKE_OTHER: return (size_t)sprintf(out, "+OK\r\n");
    default: return (size_t)sprintf(out, ":1\r\n");
    }
}

void fake_proper(fake_conn *c) {
    char out[256];
    fake_send(c, out, fake_answer(c, out));
}
