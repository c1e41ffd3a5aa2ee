#include "cache/redis_fence.h"

#include <stdio.h>
#include <string.h>

#include "base/random.h"

#define EVIDENCE_MS 2000

void mp_fence_init(mp_fence *f) {
    memset(f, 0, sizeof *f);
    pthread_mutex_init(&f->lock, NULL);
}

void mp_fence_destroy(mp_fence *f) { pthread_mutex_destroy(&f->lock); }

void mp_fence_ask(mp_fence *f, int64_t now_ms, mp_fence_args *out) {
    mp_random_bytes(out->next, MP_FENCE_LEN);
    pthread_mutex_lock(&f->lock);
    bool fresh = f->known && now_ms - f->seen <= EVIDENCE_MS;
    snprintf(out->run, sizeof out->run, "%s", fresh ? f->run : "");
    snprintf(out->replid, sizeof out->replid, "%s", fresh ? f->replid : "");
    out->left_len = f->left_count * MP_FENCE_LEN;
    memcpy(out->left, f->left, out->left_len);
    pthread_mutex_unlock(&f->lock);
}

void mp_fence_learn(mp_fence *f, const uint8_t now[MP_FENCE_LEN], const char *run, const char *replid,
                    int64_t sent_ms) {
    pthread_mutex_lock(&f->lock);
    if (f->known && memcmp(f->now, now, MP_FENCE_LEN) != 0) {
        memcpy(f->left[f->left_next], f->now, MP_FENCE_LEN);
        f->left_next = (f->left_next + 1) % MP_FENCES_LEFT;
        if (f->left_count < MP_FENCES_LEFT) f->left_count++;
    }
    memcpy(f->now, now, MP_FENCE_LEN);
    f->known = true;
    if (sent_ms >= f->seen) {
        snprintf(f->run, sizeof f->run, "%s", run);
        snprintf(f->replid, sizeof f->replid, "%s", replid);
        f->seen = sent_ms;
    }
    pthread_mutex_unlock(&f->lock);
}
