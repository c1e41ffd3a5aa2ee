#include "pattern/negative.h"

void mp_negative_init(mp_negative *n) {
    *n = (mp_negative){.half_began = 0};
    pthread_mutex_init(&n->lock, NULL);
}

bool mp_negative_take(mp_negative *n, int64_t now_ms, int64_t ttl_ms, int64_t max) {
    int64_t half = ttl_ms > 1 ? ttl_ms / 2 : 1;
    pthread_mutex_lock(&n->lock);
    int64_t age = now_ms - n->half_began;
    if (age >= half) {
        n->last_half = age < 2 * half ? n->now_half : 0;
        n->now_half = 0;
        n->half_began = now_ms;
    }
    /* Both halves together span at least what is alive, so the bound holds; it may refuse up to half a window early. */
    bool take = n->now_half + n->last_half < max;
    if (take) n->now_half++;
    pthread_mutex_unlock(&n->lock);
    return take;
}
