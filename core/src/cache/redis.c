/* The redis cache: its address and node table, and the way of an operation to the line of its node. */
#include "cache/redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "cache/redis_notify.h"
#include "cache/redis_tls.h"

static bool goes_apart(const mp_op *op) {
    return op->kind == MP_CONFIRM || (op->kind == MP_ACCEPT && op->behind->confirmed);
}

static mp_line *line_of(mp_link *base, const mp_op *op) {
    mp_redis_link *link = (mp_redis_link *)base;
    return goes_apart(op) ? link->patient : &link->line[0]; /* one node until Cluster: its slot decides then */
}

/* With the first change that is to be confirmed. */
static bool open_patient(mp_redis_link *link) {
    const mp_line *like = &link->line[0];
    mp_line *line = link->patient ? NULL : malloc(sizeof *line);
    if (!line) return link->patient != NULL;
    if (!mp_line_open(line, link->redis, like->node, like->loop)) {
        free(line);
        return false;
    }
    line->patient = true;
    link->patient = line;
    return true;
}

void mp_redis_problem(mp_redis *redis, const char *text) {
    pthread_mutex_lock(&redis->lock);
    snprintf(redis->problem, sizeof redis->problem, "%s", text);
    pthread_mutex_unlock(&redis->lock);
}

static void link_close(mp_link *base) {
    mp_redis_link *link = (mp_redis_link *)base;
    for (size_t i = 0; i < link->redis->nodes; i++) mp_line_close(&link->line[i]);
    if (link->patient) mp_line_close(link->patient);
    free(link->patient);
    free(link);
}

static mp_link *link_open(mp_cache *cache, mp_loop *loop) {
    mp_redis *redis = (mp_redis *)cache;
    mp_redis_link *link = calloc(1, sizeof *link + redis->nodes * sizeof link->line[0]);
    if (!link) return NULL;
    link->link.vt = cache->vt;
    link->redis = redis;
    for (size_t i = 0; i < redis->nodes; i++) {
        if (mp_line_open(&link->line[i], redis, &redis->node[i], loop)) continue;
        while (i-- > 0) mp_line_close(&link->line[i]);
        free(link);
        return NULL;
    }
    return &link->link;
}

static void await(mp_line *line, mp_op *op) {
    if (!line->notify && !line->closing) line->notify = mp_notify_new(line->redis, line->node, line->loop);
    if (line->notify) mp_notify_submit(line->notify, op);
    else mp_op_end(op, MP_REFUSED, NULL);
}

/* Without a fence nobody notices that the server lost numbers that were given away, and they would be given again. */
static bool opens_in_vain(const mp_line *line, mp_op *op) {
    if (op->kind != MP_BEHIND_OPEN || line->redis->fenced) return false;
    mp_op_end(op, MP_FAILED,
              mp_error_new(POND_EOPTION, "write=behind needs fence=on: versions are of one history of the server"));
    return true;
}

static void submit(mp_link *link, mp_op *op) {
    if (goes_apart(op) && !open_patient((mp_redis_link *)link)) {
        mp_op_end(op, MP_FAILED, mp_error_new(POND_ENOMEM, "no memory for a connection"));
        return;
    }
    mp_line *line = line_of(link, op);
    if (op->kind == MP_AWAIT) await(line, op);
    else if (opens_in_vain(line, op)) return;
    else mp_line_submit(line, op);
}

static void forget(mp_link *link, mp_op *op) {
    mp_line *line = line_of(link, op);
    if (op->kind == MP_AWAIT) mp_notify_forget(line->notify, op);
    else if (line) mp_line_forget(line, op);
}

static bool unsent(mp_link *link, const mp_op *op) { return mp_line_unsent(line_of(link, op), op); }

static void describe(mp_cache *cache, mp_buf *json) {
    mp_redis *redis = (mp_redis *)cache;
    mp_buf_text(json, "\"redis\":{\"address\":");
    mp_buf_json(json, redis->node[0].address.shown, strlen(redis->node[0].address.shown));
    static const char *const waits[] = {
        [MP_WAITS_NOT_YET] = "null", [MP_WAITS_PUSHED] = "\"push\"", [MP_WAITS_POLLED] = "\"poll\""};
    mp_buf_printf(json, ",\"connections\":%u,\"connections_made\":%u,\"wait_mode\":%s,\"problem\":",
                  atomic_load(&redis->connections), atomic_load(&redis->connects), waits[atomic_load(&redis->waits)]);
    pthread_mutex_lock(&redis->lock);
    if (*redis->problem) mp_buf_json(json, redis->problem, strlen(redis->problem));
    else mp_buf_text(json, "null");
    pthread_mutex_unlock(&redis->lock);
    mp_buf_text(json, ",\"breaker\":");
    mp_breaker_describe(&redis->node[0].breaker, json);
    mp_buf_text(json, "}");
}

static void measure(mp_cache *cache, int64_t gauges[MP_GAUGES]) {
    mp_redis *redis = (mp_redis *)cache;
    gauges[MP_GAUGE_redis_connections] = atomic_load(&redis->connections);
    gauges[MP_GAUGE_redis_connects] = atomic_load(&redis->connects);
    mp_breaker_measure(&redis->node[0].breaker, gauges);
}

static void close_cache(mp_cache *cache) {
    mp_redis *redis = (mp_redis *)cache;
    for (size_t i = 0; i < redis->nodes; i++) {
        mp_address_free(&redis->node[i].address);
        mp_fence_destroy(&redis->node[i].fence);
        mp_breaker_destroy(&redis->node[i].breaker);
    }
    free(redis->node);
    mp_tls_free(redis->tls);
    pthread_mutex_destroy(&redis->lock);
    free(redis);
}

static int reopen(mp_cache **out, mp_cache *inherited, const mp_options *options, pond_error **err);

static const mp_cache_vt vt = {
    .scheme = "redis",
    .link_open = link_open,
    .link_close = link_close,
    .submit = submit,
    .forget = forget,
    .unsent = unsent,
    .describe = describe,
    .measure = measure,
    .close = close_cache,
    .reopen = reopen,
};

/* Who asks for TLS and writes redis:// must not find out by reading the wire. */
static int open_tls(mp_tls **out, const mp_address *address, const mp_options *options, pond_error **err) {
    const char *option = mp_tls_option(options);
    if (address->secure) return mp_tls_new(out, options, err);
    if (!option) return POND_OK;
    return mp_fail(err, POND_EOPTION,
                   "%s: it is for TLS, which the address %s does not ask for: write rediss://host:port", option,
                   address->shown);
}

/* Takes over the address. */
static mp_redis *make(mp_address *address, mp_tls *tls, const mp_options *options, pond_error **err) {
    mp_redis *redis = calloc(1, sizeof *redis);
    if (redis) redis->node = calloc(1, sizeof redis->node[0]);
    if (!redis || !redis->node) {
        free(redis);
        mp_address_free(address);
        mp_fail(err, POND_ENOMEM, "no memory for a cache");
        return NULL;
    }
    address->tls = redis->tls = tls;
    redis->cache.vt = &vt;
    redis->fenced = options->fence;
    redis->connect_timeout = options->connect_timeout;
    redis->command_timeout = options->command_timeout;
    redis->nodes = 1;
    redis->node[0].address = *address;
    mp_fence_init(&redis->node[0].fence);
    mp_breaker_init(&redis->node[0].breaker, options->breaker_failures, options->breaker_pause,
                    redis->connect_timeout + redis->command_timeout);
    pthread_mutex_init(&redis->lock, NULL);
    return redis;
}

int mp_redis_open(mp_cache **out, const mp_options *options, pond_error **err) {
    mp_address address;
    mp_tls *tls = NULL;
    int code = mp_address_parse(&address, options, err);
    if (code != POND_OK) return code;
    if ((code = open_tls(&tls, &address, options, err)) != POND_OK) {
        mp_address_free(&address);
        return code;
    }
    mp_redis *redis = make(&address, tls, options, err);
    if (!redis) {
        mp_tls_free(tls);
        return POND_ENOMEM;
    }
    *out = &redis->cache;
    return POND_OK;
}

/* What was read of certificates is taken over: the child may no longer be allowed to read the files. */
static int reopen(mp_cache **out, mp_cache *inherited, const mp_options *options, pond_error **err) {
    mp_address address;
    int code = mp_address_parse(&address, options, err);
    if (code != POND_OK) return code;
    mp_redis *redis = make(&address, ((mp_redis *)inherited)->tls, options, err);
    if (!redis) return POND_ENOMEM;
    *out = &redis->cache;
    return POND_OK;
}
