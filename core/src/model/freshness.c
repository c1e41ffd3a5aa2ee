#include "model/freshness.h"

#define LN2 0.6931471805599453
#define LONGEST_DRAW 22.19 /* -ln(2^-32) and a bit */

/* -ln((draw + 1) / 2^32), to a few thousandths, without libm: halvings, and the series of -ln(1 - t) for what is left. */
static double minus_ln(uint32_t draw) {
    double u = ((double)draw + 1) / 4294967296.0, sum = 0;
    for (; u <= 0.5; u *= 2) sum += LN2;
    double t = 1 - u, power = t;
    for (int n = 1; n <= 8; n++, power *= t) sum += power / n;
    return sum;
}

/* What is loaded in no time is still loaded. */
static double reach(int64_t early_refresh, uint32_t load_ms) {
    return (load_ms ? load_ms : 1) * ((double)early_refresh / 100);
}

bool mp_surely_fresh(int64_t early_refresh, int64_t left, uint32_t load_ms) {
    return (double)left > reach(early_refresh, load_ms) * LONGEST_DRAW;
}

mp_use mp_use_of(const mp_options *o, bool absence, int64_t left, uint32_t load_ms, uint32_t draw) {
    if (left > 0) {
        if (absence || !o->early_refresh || mp_surely_fresh(o->early_refresh, left, load_ms)) return MP_USE_FRESH;
        return (double)left <= reach(o->early_refresh, load_ms) * minus_ln(draw) ? MP_USE_EARLY : MP_USE_FRESH;
    }
    if (absence || !o->allow_stale) return MP_USE_NONE;
    return -left < o->grace ? MP_USE_STALE : -left < o->stale_if_error ? MP_USE_SPARE : MP_USE_NONE;
}

int64_t mp_jittered(int64_t ttl, int64_t percent, uint32_t draw) {
    int64_t most = ttl / 100 * percent + ttl % 100 * percent / 100; /* without overflow */
    int64_t less = (int64_t)(((most >> 16) * draw >> 16) + ((most & 0xffff) * (int64_t)draw >> 32));
    return ttl - less > 0 || ttl <= 0 ? ttl - less : 1;
}
