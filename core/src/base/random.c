#include "base/random.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

/* A kernel or a sandbox without getrandom(2) still has the device. A token that is not random would break the promise
 * that no stranger's fill is accepted, so a process that can get no randomness at all ends here. */
static void from_device(char *out, size_t n) {
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (fd < 0) abort();
    while (n > 0) {
        ssize_t got = read(fd, out, n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) abort();
        out += got;
        n -= (size_t)got;
    }
    close(fd);
}

void mp_random_bytes(void *out, size_t n) {
    char *at = out;
    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            from_device(at, n);
            return;
        }
        at += got;
        n -= (size_t)got;
    }
}

static _Thread_local uint64_t state; /* 0: not seeded */

/* Children of one parent must not all draw the same jitter. */
static void after_fork(void) { state = 0; }

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, after_fork); }

static void seed(void) {
    do mp_random_bytes(&state, sizeof state);
    while (state == 0);
}

uint32_t mp_random_below(uint32_t bound) {
    if (state == 0) seed();
    /* splitmix64: one addition and a mixer; good enough to spread timers, and nothing else rests on it */
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (uint32_t)(((z >> 32) * bound) >> 32);
}
