#include "network.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "virtual/virtual.h"
#include "world.h"

static void must(bool well, const char *what) {
    if (well) return;
    fprintf(stderr, "sim: %s: %s\n", what, strerror(errno));
    abort();
}

void network_open(network *n) {
    *n = (network){.listening = -1};
    snprintf(n->folder, sizeof n->folder, "/tmp/millpond-sim-XXXXXX");
    must(mkdtemp(n->folder) != NULL, n->folder);
    snprintf(n->path, sizeof n->path, "%s/redis", n->folder);
    snprintf(n->url, sizeof n->url, "unix:%s", n->path);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", n->path);
    n->listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    must(n->listening >= 0 && bind(n->listening, (struct sockaddr *)&at, sizeof at) == 0 &&
             listen(n->listening, 64) == 0,
         n->path);
}

void network_close(network *n) {
    close(n->listening);
    unlink(n->path);
    rmdir(n->folder);
}

static void messages_init(messages *m) { *m = (messages){.last = &m->first}; }

static message *shift(messages *m) {
    message *one = m->first;
    if (one && !(m->first = one->next)) m->last = &m->first;
    return one;
}

static void drop_all(messages *m) {
    for (message *one; (one = shift(m));) free(one);
}

void network_begin(network *n, world *w) {
    n->world = w;
    n->made = 0;
    n->refuses = false;
}

static void close_fd(network_conn *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

void network_end(network *n) {
    for (network_conn *c; (c = n->conns);) {
        n->conns = c->next;
        close_fd(c);
        drop_all(&c->to_server);
        drop_all(&c->to_client);
        mp_buf_free(&c->received);
        free(c);
    }
    for (int fd; (fd = accept4(n->listening, NULL, NULL, SOCK_CLOEXEC)) >= 0;) close(fd); /* made while closing */
}

/* ---- under way ---- */

static void arrive_server(void *owner, uint64_t arg);
static void arrive_client(void *owner, uint64_t arg);

static void send_on(network_conn *c, messages *m, const char *data, size_t len) {
    world *w = c->network->world;
    message *one = malloc(sizeof *one + len);
    if (!one) abort();
    one->next = NULL;
    one->len = len;
    memcpy(one->data, data, len);
    *m->last = one;
    m->last = &one->next;
    int64_t at = virtual_now() + world_delay(w);
    if (at > m->at) m->at = at;
    agenda_at(&w->agenda, m->at, m == &c->to_server ? arrive_server : arrive_client, c, 0);
}

/* The oldest of the queue: however ties are broken, a connection keeps its order. */
static void arrive_client(void *owner, uint64_t arg) {
    network_conn *c = owner;
    message *one = shift(&c->to_client);
    if (!one) return;
    if (c->fd >= 0 && one->len) {
        ssize_t n = send(c->fd, one->data, one->len, MSG_NOSIGNAL);
        must(n == (ssize_t)one->len || errno == EPIPE || errno == ECONNRESET, "send");
    } else if (c->fd >= 0) {
        close_fd(c);
        trace_line(&c->network->world->trace, "p%u c%u is closed by the server", c->process->number, c->number);
    }
    free(one);
    process_touch(c->process);
}

void network_tell(network *n) {
    mp_buf text;
    unsigned to;
    mp_buf_init(&text);
    while (server_push(n->world->server, &to, &text)) {
        trace_line(&n->world->trace, "c%u is told of a change", to);
        for (network_conn *c = n->conns; c; c = c->next)
            if (c->number == to) send_on(c, &c->to_client, text.data, text.len);
        mp_buf_reset(&text);
    }
    mp_buf_free(&text);
}

/* What the server has accepted counts from this moment on. */
static void note_accepted(network *n) {
    server_news news = {0};
    while (n->world->row->clients && server_accepted(n->world->server, &news))
        ledger_accepted(&n->world->ledger, &news);
}

static void arrive_server(void *owner, uint64_t arg) {
    network_conn *c = owner;
    world *w = c->network->world;
    if (virtual_now() < c->held && !w->ended) {
        agenda_at(&w->agenda, c->held, arrive_server, c, 0);
        return;
    }
    message *one = shift(&c->to_server);
    if (!one) return;
    if (one->len && !c->ended) {
        mp_buf reply, words;
        mp_buf_init(&reply);
        mp_buf_init(&words);
        const char *broken = server_execute(w->server, c->number, one->data, &reply, w->trace.shown ? &words : NULL);
        trace_mark(&w->trace, "command", one->data, one->len);
        trace_mark(&w->trace, "reply", reply.data, reply.len);
        trace_line(&w->trace, "p%u c%u %s", c->process->number, c->number, words.data);
        if (broken) judge_broken(&w->judge, broken);
        note_accepted(c->network);
        send_on(c, &c->to_client, reply.data, reply.len);
        network_tell(c->network);
        mp_buf_free(&reply);
        mp_buf_free(&words);
    }
    free(one);
}

static void cut(network_conn *c, bool late) {
    drop_all(&c->to_client);
    if (!late) drop_all(&c->to_server);
    close_fd(c);
    process_touch(c->process);
}

/* ---- from the processes ---- */

/* The length of the command that `at` begins with; 0: it is not whole. */
static size_t command_length(const char *at, size_t len) {
    const char *end = at + len, *line = memchr(at, '\n', len);
    if (!line) return 0;
    long parts = strtol(at + 1, NULL, 10);
    const char *next = line + 1;
    for (; parts > 0; parts--) {
        line = memchr(next, '\n', (size_t)(end - next));
        if (!line) return 0;
        long size = strtol(next + 1, NULL, 10);
        if (end - line - 1 < size + 2) return 0;
        next = line + 1 + size + 2;
    }
    return (size_t)(next - at);
}

static void take_commands(network_conn *c) {
    size_t from = 0, len;
    while (from < c->received.len && (len = command_length(c->received.data + from, c->received.len - from))) {
        send_on(c, &c->to_server, c->received.data + from, len);
        from += len;
    }
    memmove(c->received.data, c->received.data + from, c->received.len - from);
    c->received.len -= from;
}

/* The process loses the connection, and what it sends again on another one is read before what is under way on this one. */
static void may_be_overtaken(network_conn *c) {
    world *w = c->network->world;
    if (w->calm || !dice_chance(&w->dice, w->row->overtaken)) return;
    c->held = virtual_now() + dice_between(&w->dice, 50, 500);
    trace_line(&w->trace, "p%u c%u is cut; what is under way is read later", c->process->number, c->number);
    cut(c, true);
}

static void receive(network_conn *c) {
    char bytes[16384];
    ssize_t n;
    while ((n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) mp_buf_add(&c->received, bytes, (size_t)n);
    bool open = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK), some = c->received.len > 0;
    if (some) take_commands(c);
    if (open && some) may_be_overtaken(c);
    if (open) return;
    close_fd(c);
    trace_line(&c->network->world->trace, "p%u c%u closed", c->process->number, c->number);
}

static void accept_all(network *n, process *p) {
    for (int fd; (fd = accept4(n->listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0;) {
        if (n->refuses) {
            close(fd);
            process_touch(p);
            continue;
        }
        network_conn *c = calloc(1, sizeof *c);
        if (!c) abort();
        *c = (network_conn){.next = n->conns, .network = n, .process = p, .number = n->made++, .fd = fd};
        mp_buf_init(&c->received);
        messages_init(&c->to_server);
        messages_init(&c->to_client);
        n->conns = c;
        trace_line(&n->world->trace, "p%u c%u connected", p->number, c->number);
    }
}

void network_collect(network *n, process *p) {
    accept_all(n, p);
    for (network_conn *c = n->conns; c; c = c->next)
        if (c->process == p && c->fd >= 0) receive(c);
}

/* ---- faults ---- */

void network_cut(network *n, process *p, bool late) {
    size_t open = 0;
    for (network_conn *c = n->conns; c; c = c->next) open += c->process == p && c->fd >= 0;
    if (!open) return;
    size_t which = dice_below(&n->world->dice, (uint32_t)open);
    for (network_conn *c = n->conns; c; c = c->next) {
        if (c->process != p || c->fd < 0 || which-- > 0) continue;
        trace_line(&n->world->trace, "p%u c%u is cut%s", p->number, c->number,
                   late ? "; what is under way still arrives" : "");
        cut(c, late);
        return;
    }
}

/* What the server has answered may still arrive before the end does. */
void network_cut_all(network *n) {
    for (network_conn *c = n->conns; c; c = c->next) {
        if (c->ended) continue;
        c->ended = true;
        drop_all(&c->to_server);
        if (c->fd < 0) continue;
        if (dice_chance(&n->world->dice, 500)) send_on(c, &c->to_client, "", 0);
        else cut(c, false);
    }
}

void network_orphan(network *n, process *p) {
    for (network_conn *c = n->conns; c; c = c->next)
        if (c->process == p) close_fd(c);
}
