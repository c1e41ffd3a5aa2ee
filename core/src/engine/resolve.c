#include "engine/resolve.h"

#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* One name that is being looked up. Its thread and each who waits have a reference; the resolver's lock guards all but `host`,
 * `port` and `family`, which do not change. */
typedef struct lookup {
    struct lookup *next; /* while it is listed */
    mp_resolver *resolver;
    unsigned refs;
    bool done;
    int code; /* getaddrinfo's */
    mp_addresses found;
    int family;
    char port[8];
    char host[];
} lookup;

struct mp_resolver {
    pthread_mutex_t lock;
    pthread_cond_t answered;
    lookup *under_way;
    unsigned refs; /* the owner's, and one for each thread */
};

mp_resolver *mp_resolver_new(void) {
    mp_resolver *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->answered, &monotonic);
    pthread_condattr_destroy(&monotonic);
    r->refs = 1;
    return r;
}

/* Lock held; gives it up. */
static void unref(mp_resolver *r) {
    bool last = --r->refs == 0;
    pthread_mutex_unlock(&r->lock);
    if (!last) return;
    pthread_cond_destroy(&r->answered);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

void mp_resolver_free(mp_resolver *r) {
    if (!r) return;
    pthread_mutex_lock(&r->lock);
    unref(r);
}

static int ask(const char *host, const char *port, int family, int flags, mp_addresses *out) {
    struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = flags}, *found = NULL;
    int code = getaddrinfo(host, port, &hints, &found);
    out->count = 0;
    for (struct addrinfo *one = code == 0 ? found : NULL; one && out->count < MP_ADDRESSES; one = one->ai_next) {
        if (one->ai_addrlen > sizeof out->of[0].at) continue;
        out->of[out->count].len = one->ai_addrlen;
        memcpy(&out->of[out->count++].at, one->ai_addr, one->ai_addrlen);
    }
    if (code == 0) freeaddrinfo(found);
    return code;
}

/* Lock held. */
static void drop(lookup *l) {
    if (--l->refs == 0) free(l);
}

static void *look_up(void *arg) {
    lookup *l = arg;
    mp_resolver *r = l->resolver;
    mp_addresses found;
    int code = ask(l->host, l->port, l->family, 0, &found);
    pthread_mutex_lock(&r->lock);
    l->found = found;
    l->code = code;
    l->done = true;
    lookup **at = &r->under_way;
    while (*at != l) at = &(*at)->next;
    *at = l->next;
    drop(l);
    pthread_cond_broadcast(&r->answered);
    unref(r);
    return NULL;
}

/* Lock held; it is listed, and its thread runs. NULL without memory or a thread. */
static lookup *begin(mp_resolver *r, const char *host, const char *port, int family) {
    size_t len = strlen(host) + 1;
    lookup *l = calloc(1, sizeof *l + len);
    if (!l) return NULL;
    l->resolver = r;
    l->family = family;
    memcpy(l->host, host, len);
    memcpy(l->port, port, sizeof l->port);
    pthread_t thread;
    if (pthread_create(&thread, NULL, look_up, l) != 0) {
        free(l);
        return NULL;
    }
    pthread_detach(thread);
    l->refs = 1;
    l->next = r->under_way;
    r->under_way = l;
    r->refs++;
    return l;
}

static const char *words(int code) { return code == EAI_SYSTEM ? "the system's resolver failed" : gai_strerror(code); }

/* Lock held. */
static bool wait_for(mp_resolver *r, lookup *l, int64_t deadline_ms) {
    struct timespec until = {.tv_sec = deadline_ms / 1000, .tv_nsec = deadline_ms % 1000 * 1000000};
    while (!l->done && pthread_cond_timedwait(&r->answered, &r->lock, &until) == 0) {}
    return l->done;
}

bool mp_resolve(mp_resolver *r, const char *host, uint16_t port_number, int family, int64_t deadline_ms,
                mp_addresses *out, const char **why) {
    char port[8] = "";
    snprintf(port, sizeof port, "%u", (unsigned)port_number);
    if (ask(host, port, family, AI_NUMERICHOST | AI_NUMERICSERV, out) == 0) return true;
    pthread_mutex_lock(&r->lock);
    lookup *l = r->under_way;
    while (l && (l->family != family || strcmp(l->port, port) != 0 || strcmp(l->host, host) != 0)) l = l->next;
    if (!l) l = begin(r, host, port, family);
    int code = EAI_MEMORY;
    *why = words(code);
    if (l) {
        l->refs++;
        if (wait_for(r, l, deadline_ms)) {
            code = l->code;
            *out = l->found;
            *why = words(code);
        } else {
            code = EAI_AGAIN;
            *why = "the name was not looked up in time";
        }
        drop(l);
    }
    pthread_mutex_unlock(&r->lock);
    return code == 0 && out->count > 0;
}
