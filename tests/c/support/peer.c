#include "support/peer.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/support.h"

enum { CONNECTIONS = 32, ANSWERS = 1024, ANSWER = 512 };

typedef struct answer {
    int64_t due; /* INT64_MAX: never */
    size_t len;
    bool close; /* behind it */
    char text[ANSWER];
} answer;

typedef struct connection {
    fake_conn c;
    bool open;
    size_t first, count; /* a ring */
    answer answers[ANSWERS];
} connection;

struct peer {
    int listener, made;
    bool stopped;
    char folder[32], url[128];
    struct sockaddr_un at;
    peer_reply (*says)(const fake_conn *c, void *ctx);
    void *ctx;
    connection *connections[CONNECTIONS];
};

static void listen_again(peer *p) {
    p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(p->listener, (struct sockaddr *)&p->at, sizeof p->at), 0);
    assert_int_equal(listen(p->listener, 128), 0);
}

peer *peer_new(peer_reply (*says)(const fake_conn *c, void *ctx), void *ctx) {
    peer *p = calloc(1, sizeof *p);
    assert_non_null(p);
    snprintf(p->folder, sizeof p->folder, "/tmp/pond-peer-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    p->at.sun_family = AF_UNIX;
    snprintf(p->at.sun_path, sizeof p->at.sun_path, "%s/redis", p->folder);
    snprintf(p->url, sizeof p->url, "unix:%s", p->at.sun_path);
    p->says = says;
    p->ctx = ctx;
    listen_again(p);
    return p;
}

const char *peer_url(const peer *p) { return p->url; }
int peer_connections(const peer *p) { return p->made; }
void peer_stop(peer *p, bool stopped) { p->stopped = stopped; }

int64_t peer_next(const peer *p) {
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < CONNECTIONS && !p->stopped; i++) {
        const connection *c = p->connections[i];
        if (c && c->open && c->count && c->answers[c->first].due < next) next = c->answers[c->first].due;
    }
    return next;
}

static void hang_up(connection *c) {
    if (c->open) close(c->c.fd);
    c->open = false;
    c->count = 0;
}

void peer_refuse(peer *p, bool refuses) {
    if (refuses == (p->listener < 0)) return;
    if (refuses) {
        close(p->listener);
        unlink(p->at.sun_path);
        p->listener = -1;
        for (size_t i = 0; i < CONNECTIONS; i++)
            if (p->connections[i]) hang_up(p->connections[i]);
    } else {
        listen_again(p);
    }
}

void peer_free(peer *p) {
    peer_refuse(p, true);
    for (size_t i = 0; i < CONNECTIONS; i++) free(p->connections[i]);
    rmdir(p->folder);
    free(p);
}

static connection *numbered(peer *p, int number) {
    for (size_t i = 0; i < CONNECTIONS; i++) {
        connection *c = p->connections[i];
        if (c && c->open && c->c.number == number) return c;
    }
    fail_msg("connection %d is not open", number);
    return NULL;
}

void peer_push(peer *p, int number, const char *text) {
    size_t len = strlen(text);
    assert_int_equal(send(numbered(p, number)->c.fd, text, len, MSG_NOSIGNAL), (ssize_t)len);
}

void peer_cut(peer *p, int number) { hang_up(numbered(p, number)); }

static bool welcome(peer *p) {
    int fd = p->listener < 0 ? -1 : accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return false;
    for (size_t i = 0; i < CONNECTIONS; i++) {
        connection *c = p->connections[i];
        if (c && c->open) continue;
        if (!c) c = p->connections[i] = malloc(sizeof *c);
        assert_non_null(c);
        memset(c, 0, offsetof(connection, answers));
        c->c.fd = fd;
        c->c.number = p->made++;
        c->open = true;
        return true;
    }
    fail_msg("too many connections at once");
    return false;
}

static void plan(peer *p, connection *c, int64_t now_ms) {
    peer_reply r = p->says(&c->c, p->ctx);
    assert_true(c->count < ANSWERS);
    answer *a = &c->answers[(c->first + c->count++) % ANSWERS];
    *a = (answer){.due = now_ms + r.after_ms, .close = r.act == PEER_CLOSE || r.act == PEER_HALF_CLOSE};
    if (r.act == PEER_SAY) a->len = (size_t)snprintf(a->text, sizeof a->text, "%s", r.text);
    else if (r.act != PEER_CLOSE) a->len = fake_answer(&c->c, a->text);
    if (r.act == PEER_HALF_CLOSE || r.act == PEER_HALF_SILENT) a->len /= 2;
    if (r.act == PEER_SILENT) a->due = INT64_MAX;
    if (r.act == PEER_HALF_SILENT) {
        assert_true(c->count < ANSWERS);
        c->answers[(c->first + c->count++) % ANSWERS] = (answer){.due = INT64_MAX};
    }
}

static bool serve(peer *p, connection *c, int64_t now_ms) {
    bool moved = false;
    ssize_t n = recv(c->c.fd, c->c.in + c->c.have, FAKE_ROOM - c->c.have, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        hang_up(c);
        return true;
    }
    if (n > 0) {
        c->c.have += (size_t)n;
        moved = true;
    }
    while (fake_next(&c->c)) plan(p, c, now_ms);
    while (c->count && c->answers[c->first].due <= now_ms) {
        answer *a = &c->answers[c->first];
        moved = true;
        if (a->len && send(c->c.fd, a->text, a->len, MSG_NOSIGNAL) != (ssize_t)a->len) a->close = true;
        c->first = (c->first + 1) % ANSWERS;
        c->count--;
        if (a->close) hang_up(c);
    }
    return moved;
}

bool peer_turn(peer *p, int64_t now_ms) {
    if (p->stopped) return false;
    bool moved = false;
    while (welcome(p)) moved = true;
    for (size_t i = 0; i < CONNECTIONS; i++) {
        connection *c = p->connections[i];
        if (c && c->open) moved = serve(p, c, now_ms) || moved;
    }
    return moved;
}
