/* Preloaded into a real redis-server: its wall clock is the number of milliseconds that the file SIM_CLOCK holds, so that it
 * can be compared with the simulated one to the millisecond. The monotonic clock, which runs its timers, is left alone. */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const _Atomic int64_t *shared(void) {
    static const _Atomic int64_t *at;
    if (at) return at;
    int fd = open(getenv("SIM_CLOCK"), O_RDONLY | O_CLOEXEC);
    void *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *at, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) _exit(70);
    close(fd);
    return at = map;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int64_t ms = atomic_load(shared());
    (void)zone;
    *now = (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    return 0;
}

time_t time(time_t *out) {
    time_t now = (time_t)(atomic_load(shared()) / 1000);
    if (out) *out = now;
    return now;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (clock != CLOCK_REALTIME) return (int)syscall(SYS_clock_gettime, clock, now);
    int64_t ms = atomic_load(shared());
    *now = (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    return 0;
}
