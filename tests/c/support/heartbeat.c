#define _GNU_SOURCE
#include "support/heartbeat.h"

#include <sched.h>

#include "support/support.h"

enum { HEARTS = 64, BEATS = 1 << 12, EVERY_MS = 1, LATE_MS = 5 };

typedef struct span {
    int64_t from, to;
} span;

static struct heart {
    pthread_mutex_t lock;
    int cpu;
    int64_t due;      /* of the next beat */
    span late[BEATS]; /* the last that were late */
    size_t count;
} hearts[HEARTS];
static size_t beating;

static void *beat(void *arg) {
    struct heart *h = arg;
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET(h->cpu, &own);
    sched_setaffinity(0, sizeof own, &own);
    for (;;) {
        rest_ms(EVERY_MS);
        pthread_mutex_lock(&h->lock);
        int64_t now = clock_ms();
        if (now - h->due >= LATE_MS) h->late[h->count++ % BEATS] = (span){h->due, now};
        h->due = now + EVERY_MS;
        pthread_mutex_unlock(&h->lock);
    }
    return NULL;
}

void heartbeat_start(void) {
    cpu_set_t all;
    CPU_ZERO(&all);
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    for (int cpu = 0; cpu < CPU_SETSIZE && beating < HEARTS; cpu++) {
        if (!CPU_ISSET(cpu, &all)) continue;
        struct heart *h = &hearts[beating++];
        pthread_t thread;
        pthread_mutex_init(&h->lock, NULL);
        h->cpu = cpu;
        h->due = clock_ms() + EVERY_MS;
        assert_int_equal(pthread_create(&thread, NULL, beat, h), 0);
        pthread_detach(thread);
    }
}

static void mark(bool *still, int64_t from, int64_t to, span late) {
    for (int64_t at = late.from > from ? late.from : from; at < to && at < late.to; at++) still[at - from] = true;
}

int64_t stalled_ms(int64_t from, int64_t to) {
    if (to <= from) return 0;
    int64_t sum = 0;
    bool *still = calloc((size_t)(to - from), sizeof *still);
    assert_non_null(still);
    for (struct heart *h = hearts; h < hearts + beating; h++) {
        pthread_mutex_lock(&h->lock);
        for (size_t i = 0; i < h->count && i < BEATS; i++) mark(still, from, to, h->late[i]);
        int64_t now = clock_ms(); /* it may be late this very moment */
        if (now - h->due >= LATE_MS) mark(still, from, to, (span){h->due, now});
        pthread_mutex_unlock(&h->lock);
    }
    for (int64_t i = 0; i < to - from; i++) sum += still[i];
    free(still);
    return sum;
}
