/* Opening: the only file that knows every backend. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "pattern/pond.h"
#include "store/plugin.h"

static bool has_scheme(const char *url, const char *scheme) { return strncasecmp(url, scheme, strlen(scheme)) == 0; }

/* An address of no kind that is known. Where an "@" follows no "://", what stands in front of its colon may be a user or a password. */
static int unknown(const char *what, const char *url, const char *write, pond_error **err) {
    int scheme = (int)strcspn(url, ":/?@");
    if (url[scheme] != ':' || (strchr(url, '@') && strncmp(url + scheme, "://", 3) != 0))
        return mp_fail(err, POND_EURL, "%s: the address has no scheme: write %s", what, write);
    return mp_fail(err, POND_EURL, "%s: unknown scheme \"%.*s\": write %s", what, scheme > 40 ? 40 : scheme, url,
                   write);
}

static int open_cache(pond *p, pond_error **err) {
    const char *url = p->options.cache;
    if (!url || has_scheme(url, "memory:")) return mp_memory_open(&p->cache, &p->options, err);
    if (has_scheme(url, "redis:") || has_scheme(url, "rediss:") || has_scheme(url, "unix:"))
        return mp_redis_open(&p->cache, &p->options, err);
    return unknown("cache", url, "memory:, redis://host:port/database, rediss://host:port/database or unix:/path", err);
}

static int open_store(pond *p, pond_error **err) {
    const char *url = p->options.store;
    if (!url || !*url) return POND_OK;
    if (has_scheme(url, "sqlite:")) {
        int code = mp_sqlite_open(&p->store, &p->options, err);
        bool alone = p->cache->vt->peek != NULL; /* others do not see this cache */
        return code == POND_OK && alone ? p->store->vt->share(p->store, &p->shared, err) : code;
    }
    if (has_scheme(url, "mongodb:") || has_scheme(url, "mongodb+srv:"))
        return mp_mongodb_plugin_open(&p->store, &p->options, err);
    return unknown("store", url, "sqlite:path or mongodb://host/database", err);
}

int pond_open(pond **out, const pond_config *config, pond_error **err) {
    if (!out) return mp_fail(err, POND_EMISUSE, "pond_open: out is NULL");
    pond *p = mp_pond_new();
    if (!p) return mp_fail(err, POND_ENOMEM, "no memory for a pond");
    int code = POND_OK;
    bool options = config ? mp_options_copy(&p->options, &config->options) : mp_options_init(&p->options);
    p->stats = mp_stats_new();
    p->flights = mp_flights_new();
    if (!options || !p->stats || !p->flights) code = mp_fail(err, POND_ENOMEM, "no memory for a pond");
    if (code == POND_OK) code = mp_policy_make(&p->defaults, p, &p->options, 0, NULL, 0, err);
    if (code == POND_OK) code = open_cache(p, err);
    if (code == POND_OK) code = open_store(p, err);
    if (code == POND_OK) code = mp_notifier_open(&p->notifier, p, !p->cache->vt->peek, err);
    if (code != POND_OK) {
        pond_free(p);
        return code;
    }
    *out = p;
    return POND_OK;
}

void pond_set_interrupt(pond *p, int (*check)(void *ctx), void *ctx) {
    p->interrupt_ctx = ctx;
    p->interrupt = check;
}
