/* Virtual time and seeded randomness, in place of base/clock.c and base/random.c: a program that is linked with virtual.c has
 * these, for the linker takes the first definition and looks into the library's archive only for what is still missing. Time
 * stands still until the test moves it, so drive queues with timeout 0; loops and everything above them are the library's own.
 * A test whose name begins with "virtual" is linked so (tests/CMakeLists.txt). */
#ifndef TEST_VIRTUAL_H
#define TEST_VIRTUAL_H

#include <stdint.h>

/* Where both clocks begin. Beyond what a machine has been up, so that a timerfd, which the kernel runs by its own clock,
 * never fires by itself: a loop's descriptor is readable only by its sockets and by what was posted. */
#define VIRTUAL_START ((int64_t)1 << 40)

/* Both clocks at VIRTUAL_START, and every random byte from now on a function of `seed`. */
void virtual_begin(uint64_t seed);
int64_t virtual_now(void);
void virtual_move_to(int64_t ms); /* never back */
void virtual_pass(int64_t ms);

#endif
