#include "pattern/publish.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "pattern/pond.h"

#define ROWS_MAX 100 /* namespaces that are told apart: what is published is read whole */

static int64_t every(const mp_lane *lane) { return lane->pond->options.publish_stats; }

void mp_publisher_init(mp_publisher *publisher) {
    mp_random_bytes(publisher->id, sizeof publisher->id);
    publisher->opened = mp_clock_ms();
    atomic_init(&publisher->due, 0);
}

/* A child of fork() has its parent's random bytes, but is another process. */
static void name_process(const mp_publisher *publisher, uint8_t *out) {
    uint64_t name;
    memcpy(&name, publisher->id, sizeof name);
    name ^= (uint64_t)getpid();
    memcpy(out, &name, MP_PROCESS_LEN);
}

void mp_process_token(const mp_publisher *publisher, uint8_t token[MP_TOKEN_LEN]) {
    name_process(publisher, token);
    mp_random_bytes(token + MP_PROCESS_LEN, MP_TOKEN_LEN - MP_PROCESS_LEN);
}

static pond_value *row(const pond *p) {
    char host[256] = "";
    mp_buf json;
    gethostname(host, sizeof host - 1);
    mp_buf_init(&json);
    mp_buf_text(&json, "{\"host\":");
    mp_buf_json(&json, host, strlen(host));
    mp_buf_printf(&json, ",\"pid\":%ld,\"version\":\"%s\",\"up_ms\":%lld,\"every_ms\":%lld,\"calls\":%zu,",
                  (long)getpid(), pond_version(), (long long)(mp_clock_ms() - p->publisher.opened),
                  (long long)p->options.publish_stats, atomic_load(&p->calls));
    mp_stats_json(p->stats, ROWS_MAX, &json);
    mp_buf_text(&json, "}");
    if (!json.failed) return mp_value_adopt(POND_JSON, json.data, json.len);
    mp_buf_free(&json);
    return NULL;
}

static void published(mp_op *op) {
    pond_value_free(op->value);
    pond_error_free(op->error); /* the cache is down: stats() says so, and the next time may do better */
    op->value = NULL;
    op->error = NULL;
}

static void submit(mp_publication *pub, pond_value *value) {
    mp_lane *lane = pub->lane;
    pub->op = (mp_op){.kind = MP_PUBLISH,
                      .ttl_ms = every(lane) * MP_PUBLISH_MISSES,
                      .timeout_ms = lane->pond->options.command_timeout,
                      .value = value,
                      .done = published};
    memcpy(pub->op.token, lane->pond->publisher.id, MP_TOKEN_LEN);
    name_process(&lane->pond->publisher, pub->op.token);
    mp_lane_submit(lane, &pub->op);
}

static void fire(mp_timer *timer) {
    mp_publication *pub = MP_OF(timer, mp_publication, timer);
    mp_lane *lane = pub->lane;
    mp_publisher *publisher = &lane->pond->publisher;
    int64_t now = mp_loop_now(lane->loop), due = atomic_load(&publisher->due);
    if (now >= due && pub->op.reply != MP_PENDING &&
        atomic_compare_exchange_strong(&publisher->due, &due, now + every(lane))) {
        pond_value *value = row(lane->pond);
        if (value) submit(pub, value);
    }
    due = atomic_load(&publisher->due);
    mp_loop_timer_set(lane->loop, timer, due > now ? due : now + every(lane));
}

void mp_publish_start(mp_lane *lane) {
    /* A cache whose hits need no wait is this process's own: there is nobody else to see it. */
    if (every(lane) == 0 || lane->pond->cache->vt->peek) return;
    mp_publication *pub = &lane->publication;
    pub->lane = lane;
    pub->timer.fire = fire;
    pub->op.reply = MP_DONE;
    pub->on = mp_loop_timer_set(lane->loop, &pub->timer, mp_loop_now(lane->loop));
    if (pub->on) mp_loop_duty(lane->loop, 1);
}

void mp_publish_stop(mp_lane *lane) {
    mp_publication *pub = &lane->publication;
    if (!pub->on) return;
    pub->on = false;
    mp_loop_timer_stop(lane->loop, &pub->timer);
    mp_loop_duty(lane->loop, -1);
    if (pub->op.reply == MP_PENDING) {
        mp_lane_forget(lane, &pub->op);
        pond_value_free(pub->op.value);
    }
    if (atomic_load(&lane->pond->closed) && lane->link) submit(pub, NULL);
}
