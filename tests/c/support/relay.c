#include "support/relay.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/support.h"

enum { CONNECTIONS = 1000 };

typedef struct pair {
    relay *owner;
    pthread_t thread;
    int client, server;
    long most; /* from the server; negative: all */
    int pause_ms, age;
    atomic_long passed;
} pair;

struct relay {
    struct sockaddr_un server; /* or a sockaddr_in, which is smaller */
    socklen_t server_len;
    int listener, port;
    pthread_t thread;
    atomic_bool stop, cut;
    atomic_int age, held; /* how often all were dropped; of which age nothing comes through */
    atomic_int open;
    pthread_mutex_t lock;
    pair *pairs[CONNECTIONS];
    int count, first; /* `first`: since the last change */
    int spared, pause_ms;
    long most;
};

static int dial(const struct sockaddr_un *at, socklen_t len) {
    int fd = socket(at->sun_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)at, len) == 0) return fd;
    close(fd);
    return -1;
}

static bool pass(int from, int to, char *buffer, size_t most, ssize_t *n) {
    *n = recv(from, buffer, most, 0);
    for (ssize_t sent = 0, m; sent < *n; sent += m)
        if ((m = send(to, buffer + sent, (size_t)(*n - sent), MSG_NOSIGNAL)) <= 0) return false;
    return *n > 0;
}

static void *carry(void *arg) {
    pair *l = arg;
    char buffer[16384];
    for (bool open = l->server >= 0; open && !atomic_load(&l->owner->stop) && !atomic_load(&l->owner->cut);) {
        long left = l->most < 0 ? (long)sizeof buffer : l->most - atomic_load(&l->passed);
        if (atomic_load(&l->owner->age) != l->age) break;
        if (atomic_load(&l->owner->held) == l->age) left = 0;
        size_t most = l->pause_ms ? 1 : left < (long)sizeof buffer ? (size_t)left : sizeof buffer;
        struct pollfd fds[2] = {{.fd = l->client, .events = POLLIN},
                                {.fd = l->server, .events = left > 0 ? POLLIN : 0}};
        if (poll(fds, 2, 20) <= 0) continue;
        ssize_t n = 0;
        if (fds[0].revents) open = pass(l->client, l->server, buffer, sizeof buffer, &n);
        if (open && left > 0 && fds[1].revents) {
            open = pass(l->server, l->client, buffer, most, &n);
            if (n > 0) atomic_fetch_add(&l->passed, n);
            rest_ms(l->pause_ms);
        }
    }
    close(l->client);
    if (l->server >= 0) close(l->server);
    atomic_fetch_sub(&l->owner->open, 1);
    return NULL;
}

static void take(relay *r, int client) {
    pair *l = calloc(1, sizeof *l);
    assert_non_null(l);
    pthread_mutex_lock(&r->lock);
    bool spared = r->count - r->first < r->spared;
    *l = (pair){.owner = r, .client = client, .server = dial(&r->server, r->server_len)};
    l->most = spared ? -1 : r->most;
    l->age = atomic_load(&r->age);
    l->pause_ms = spared ? 0 : r->pause_ms;
    assert_true(r->count < CONNECTIONS);
    r->pairs[r->count++] = l;
    atomic_fetch_add(&r->open, 1);
    pthread_mutex_unlock(&r->lock);
    assert_int_equal(pthread_create(&l->thread, NULL, carry, l), 0);
}

static void *serve(void *arg) {
    relay *r = arg;
    while (!atomic_load(&r->stop)) {
        struct pollfd fd = {.fd = r->listener, .events = POLLIN};
        int client = poll(&fd, 1, 20) > 0 ? accept4(r->listener, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (client >= 0 && atomic_load(&r->cut)) close(client);
        else if (client >= 0) take(r, client);
    }
    return NULL;
}

static relay *start(const void *server, size_t server_len) {
    relay *r = calloc(1, sizeof *r);
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof at;
    assert_non_null(r);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    pthread_mutex_init(&r->lock, NULL);
    memcpy(&r->server, server, server_len);
    r->server_len = (socklen_t)server_len;
    r->most = -1;
    atomic_init(&r->held, -1);
    r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(r->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(r->listener, 100), 0);
    assert_int_equal(getsockname(r->listener, (struct sockaddr *)&at, &len), 0);
    r->port = ntohs(at.sin_port);
    assert_int_equal(pthread_create(&r->thread, NULL, serve, r), 0);
    return r;
}

relay *relay_start(int server_port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)server_port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return start(&at, sizeof at);
}

relay *relay_start_to(const char *url) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", url + strlen("unix:"));
    return start(&at, sizeof at);
}

int relay_port(const relay *r) { return r->port; }

static void change(relay *r, int spared, long most, int pause_ms) {
    pthread_mutex_lock(&r->lock);
    r->spared = spared;
    r->most = most;
    r->pause_ms = pause_ms;
    r->first = r->count;
    pthread_mutex_unlock(&r->lock);
}

void relay_mute(relay *r, int spared, long bytes) { change(r, spared, bytes, 0); }
void relay_trickle(relay *r, int spared, int ms) { change(r, spared, -1, ms); }

void relay_hold(relay *r) { atomic_store(&r->held, atomic_load(&r->age)); }
void relay_drop(relay *r) { atomic_fetch_add(&r->age, 1); }

void relay_cut(relay *r, bool cut) {
    atomic_store(&r->cut, cut);
    while (cut && atomic_load(&r->open) > 0) rest_ms(1);
}

int relay_connections(relay *r) {
    pthread_mutex_lock(&r->lock);
    int n = r->count - r->first;
    pthread_mutex_unlock(&r->lock);
    return n;
}

long relay_bytes(relay *r, int n) {
    pthread_mutex_lock(&r->lock);
    long bytes = r->first + n < r->count ? atomic_load(&r->pairs[r->first + n]->passed) : 0;
    pthread_mutex_unlock(&r->lock);
    return bytes;
}

void relay_stop(relay *r) {
    atomic_store(&r->stop, true);
    pthread_join(r->thread, NULL);
    close(r->listener);
    for (int i = 0; i < r->count; i++) {
        pthread_join(r->pairs[i]->thread, NULL);
        free(r->pairs[i]);
    }
    pthread_mutex_destroy(&r->lock);
    free(r);
}
