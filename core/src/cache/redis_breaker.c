#include "cache/redis_breaker.h"

#include <string.h>

#include "base/error.h"
#include "base/random.h"

#define PAUSE_FIRST_MS 20

void mp_breaker_init(mp_breaker *b, int64_t limit, int64_t pause_max, int64_t probe_max) {
    memset(b, 0, sizeof *b);
    b->limit = limit;
    b->pause_max = pause_max;
    b->probe_max = probe_max;
    pthread_mutex_init(&b->lock, NULL);
}

void mp_breaker_destroy(mp_breaker *b) {
    pond_error_free(b->why);
    pthread_mutex_destroy(&b->lock);
}

bool mp_breaker_close(mp_breaker *b) {
    pthread_mutex_lock(&b->lock);
    bool was_open = atomic_load(&b->open);
    atomic_store(&b->failures, 0);
    atomic_store(&b->open, false);
    b->probing = false;
    b->failed_probes = 0;
    pthread_mutex_unlock(&b->lock);
    return was_open;
}

/* Lock held. Longer from probe to probe, and jittered: the programs that lost a server together do not come back together. */
static void rest(mp_breaker *b, int64_t now_ms) {
    int64_t pause = b->pause_max;
    if (b->failed_probes < 16 && pause > (int64_t)PAUSE_FIRST_MS << b->failed_probes)
        pause = (int64_t)PAUSE_FIRST_MS << b->failed_probes;
    b->probing = false;
    b->probe_at = now_ms + mp_random_pause(pause);
}

/* Lock held. */
static void probe_failed(mp_breaker *b, int64_t now_ms) {
    if (!b->probing) return; /* a straggler from before it opened */
    b->failed_probes++;
    rest(b, now_ms);
}

pond_error *mp_breaker_late(mp_breaker *b, int64_t now_ms, const char *address) {
    pthread_mutex_lock(&b->lock);
    uint32_t failures = atomic_load(&b->failures);
    if (failures < UINT32_MAX) failures++;
    atomic_store(&b->failures, failures);
    bool opens = !atomic_load(&b->open) && b->limit && failures >= b->limit;
    if (opens) {
        atomic_store(&b->open, true);
        b->opened++;
        pond_error_free(b->why);
        b->why = mp_error_new(POND_ECACHE,
                              "cache %s: it let %u deadlines in a row pass, so nobody waits for it until it answers "
                              "again (breaker_failures, breaker_pause)",
                              address, failures);
        rest(b, now_ms);
    } else {
        probe_failed(b, now_ms);
    }
    pond_error *why = opens ? pond_error_ref(b->why) : NULL;
    pthread_mutex_unlock(&b->lock);
    return why;
}

void mp_breaker_lost(mp_breaker *b, int64_t now_ms) {
    if (mp_breaker_closed(b)) return;
    pthread_mutex_lock(&b->lock);
    probe_failed(b, now_ms);
    pthread_mutex_unlock(&b->lock);
}

pond_error *mp_breaker_refuse(mp_breaker *b, int64_t now_ms, bool *probe) {
    pthread_mutex_lock(&b->lock);
    *probe = atomic_load(&b->open) && now_ms >= b->probe_at;
    if (*probe) {
        b->probing = true;
        b->probe_at = now_ms + b->probe_max;
    }
    b->skipped++;
    pond_error *why = pond_error_ref(b->why);
    pthread_mutex_unlock(&b->lock);
    return why;
}

void mp_breaker_describe(mp_breaker *b, mp_buf *json) {
    pthread_mutex_lock(&b->lock);
    const char *state = mp_breaker_closed(b) ? "closed" : b->probing ? "half-open" : "open";
    mp_buf_printf(json, "{\"state\":\"%s\",\"opened\":%llu,\"skipped\":%llu}", state, (unsigned long long)b->opened,
                  (unsigned long long)b->skipped);
    pthread_mutex_unlock(&b->lock);
}

void mp_breaker_measure(mp_breaker *b, int64_t gauges[MP_GAUGES]) {
    pthread_mutex_lock(&b->lock);
    gauges[MP_GAUGE_redis_breaker_open] = !mp_breaker_closed(b);
    gauges[MP_GAUGE_redis_breaker_openings] = (int64_t)b->opened;
    gauges[MP_GAUGE_redis_breaker_skips] = (int64_t)b->skipped;
    pthread_mutex_unlock(&b->lock);
}
