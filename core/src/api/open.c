/* Opening and closing: the only file that knows every backend. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/error.h"
#include "pattern/load.h"
#include "pattern/pond.h"
#include "store/plugin.h"

static bool has_scheme(const char *url, const char *scheme) { return strncasecmp(url, scheme, strlen(scheme)) == 0; }

static int open_cache(pond *p, pond_error **err) {
    const char *url = p->options.cache;
    if (!url || has_scheme(url, "memory:")) return mp_memory_open(&p->cache, &p->options, err);
    if (has_scheme(url, "redis:") || has_scheme(url, "unix:")) return mp_redis_open(&p->cache, &p->options, err);
    int scheme = (int)strcspn(url, ":/?@");
    return mp_fail(err, POND_EURL, "cache: unknown scheme \"%.*s\": write memory:, redis://host:port/database or unix:/path",
                   scheme > 40 ? 40 : scheme, url);
}

static int open_store(pond *p, pond_error **err) {
    const char *url = p->options.store;
    if (!url || !*url) return POND_OK;
    if (has_scheme(url, "sqlite:")) return mp_sqlite_open(&p->store, &p->options, err);
    if (has_scheme(url, "mongodb:") || has_scheme(url, "mongodb+srv:"))
        return mp_mongodb_plugin_open(&p->store, &p->options, err);
    int scheme = (int)strcspn(url, ":/?@");
    return mp_fail(err, POND_EURL, "store: unknown scheme \"%.*s\": write sqlite:path or mongodb://host/database",
                   scheme > 40 ? 40 : scheme, url);
}

static void destroy(pond *p) {
    mp_lane *blocking = atomic_load(&p->blocking);
    if (blocking) {
        mp_lane_close(blocking, true);
        mp_lane_unlist(blocking);
        mp_lane_unref(blocking);
    }
    mp_pool_free(p->pool);
    if (p->store) p->store->vt->close(p->store);
    if (p->cache) p->cache->vt->close(p->cache);
    pond_policy_free(p->defaults);
    for (mp_space *space = p->spaces, *next; space; space = next) {
        next = space->next;
        pthread_mutex_destroy(&space->negative.lock);
        free(space);
    }
    mp_flights_free(p->flights);
    mp_stats_free(p->stats);
    mp_options_free(&p->options);
    pthread_cond_destroy(&p->drained);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

int pond_open(pond **out, const pond_config *config, pond_error **err) {
    if (!out) return mp_fail(err, POND_EMISUSE, "pond_open: out is NULL");
    pond *p = calloc(1, sizeof *p);
    if (!p) return mp_fail(err, POND_ENOMEM, "no memory for a pond");
    p->refs = 1;
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->drained, &attr);
    pthread_condattr_destroy(&attr);
    mp_list_init(&p->lanes);
    int code = POND_OK;
    bool options = config ? mp_options_copy(&p->options, &config->options) : mp_options_init(&p->options);
    p->stats = mp_stats_new();
    p->flights = mp_flights_new();
    if (!options || !p->stats || !p->flights) code = mp_fail(err, POND_ENOMEM, "no memory for a pond");
    if (code == POND_OK) code = mp_policy_make(&p->defaults, p, &p->options, 0, NULL, 0, err);
    if (code == POND_OK) code = open_cache(p, err);
    if (code == POND_OK) code = open_store(p, err);
    if (code != POND_OK) {
        destroy(p);
        return code;
    }
    *out = p;
    return POND_OK;
}

pond *pond_ref(pond *p) {
    if (p) atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void pond_free(pond *p) {
    if (p && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1) destroy(p);
}

void pond_set_interrupt(pond *p, int (*check)(void *ctx), void *ctx) {
    p->interrupt_ctx = ctx;
    p->interrupt = check;
}

/* Closes every lane; a lane may come or go meanwhile, so the list is walked anew each time. */
static size_t close_lanes(pond *p) {
    size_t ended = 0;
    for (;;) {
        mp_lane *open = NULL;
        pthread_mutex_lock(&p->lock);
        for (mp_node *n = p->lanes.next; n != &p->lanes && !open; n = n->next) {
            mp_lane *lane = MP_OF(n, mp_lane, node);
            if (!lane->closing) {
                lane->closing = true;
                mp_lane_ref(lane);
                open = lane;
            }
        }
        pthread_mutex_unlock(&p->lock);
        if (!open) return ended;
        ended += mp_lane_close(open, false);
        mp_lane_unref(open);
    }
}

int pond_close(pond *p, int64_t timeout_ms) {
    if (!p) return POND_OK;
    atomic_store(&p->closed, true);
    size_t own = mp_load_depth_here(p); /* calls of this thread that wait for the loader which closes */
    int64_t until = mp_clock_after(timeout_ms);
    struct timespec ts = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
    pthread_mutex_lock(&p->lock);
    while (atomic_load(&p->calls) > own && mp_clock_ms() < until) pthread_cond_timedwait(&p->drained, &p->lock, &ts);
    pthread_mutex_unlock(&p->lock);
    atomic_store(&p->ending, true);
    bool left = atomic_load(&p->calls) > own;
    return close_lanes(p) > own || left ? POND_ETIMEOUT : POND_OK;
}
