#include "base/clock.h"

#include <time.h>

static int64_t read_ms(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t mp_clock_ms(void) { return read_ms(CLOCK_MONOTONIC); }

int64_t mp_clock_after(int64_t ms) {
    int64_t now = mp_clock_ms();
    return ms > INT64_MAX - now ? INT64_MAX : now + (ms > 0 ? ms : 0);
}

int64_t mp_clock_wall_ms(void) { return read_ms(CLOCK_REALTIME); }
