#include "pattern/rest.h"

#include "base/random.h"

enum { DOUBLINGS = 5 };

static mp_rest *place(mp_rests *rests, uint64_t hash) { return &rests->of[(hash >> 16) % MP_RESTS]; }

/* Its own from now on. */
static mp_rest *of_key(mp_rests *rests, uint64_t hash) {
    mp_rest *r = place(rests, hash);
    if (r->hash != hash) *r = (mp_rest){.hash = hash};
    return r;
}

bool mp_rest_stands(const mp_rests *rests, uint64_t hash, int64_t now_ms, bool *failed) {
    const mp_rest *r = place((mp_rests *)rests, hash);
    bool stands = r->hash == hash && now_ms < r->until;
    if (failed) *failed = stands && r->failures > 0;
    return stands;
}

void mp_rest_heard(mp_rests *rests, uint64_t hash, int64_t ms, bool failed, int64_t first_ms, int64_t now_ms) {
    mp_rest *r = of_key(rests, hash);
    r->until = now_ms + ms;
    if (!failed) {
        r->failures = 0;
        return;
    }
    /* Another process's failures count: its pause says how many there were. */
    if (r->failures == 0) r->failures = 1;
    while (r->failures <= DOUBLINGS && first_ms << (r->failures - 1) < ms) r->failures++;
}

int64_t mp_rest_failed(mp_rests *rests, uint64_t hash, int64_t first_ms, int64_t now_ms) {
    mp_rest *r = of_key(rests, hash);
    int64_t pause = first_ms << (r->failures < DOUBLINGS ? r->failures : DOUBLINGS);
    if (r->failures <= DOUBLINGS) r->failures++;
    pause = mp_random_pause(pause);
    r->until = now_ms + pause;
    return pause;
}

void mp_rest_over(mp_rests *rests, uint64_t hash) {
    mp_rest *r = place(rests, hash);
    if (r->hash == hash) *r = (mp_rest){0};
}
