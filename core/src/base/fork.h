/* fork(): a child has its parent's memory, but none of its threads. So a lock that it inherits may be held for ever, what
 * such a lock guards may be half changed, and descriptors (sockets, TLS, epoll) are still the parent's to use and to end.
 *
 * What belongs to one process therefore remembers the generation in which it was made. A child finds out by comparing two
 * numbers that what it has is its parent's; it leaves that where it is, neither used nor closed, and makes its own. What
 * it keeps (immutable, or counted by atomics) is given new locks. A child never waits for a lock that it inherited. */
#ifndef MP_BASE_FORK_H
#define MP_BASE_FORK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

extern _Atomic uint32_t mp_forks;

/* How many forks lie between the process that loaded the library and this one. Costs a load: no system call. */
static inline uint32_t mp_generation(void) { return atomic_load_explicit(&mp_forks, memory_order_relaxed); }

/* Around calls into a library whose own locks a child would find held for ever: a fork waits for the end of them, at most 100 ms. Short
 * and without blocking, in between; may be nested. @threads any */
void mp_unforked_begin(void);
void mp_unforked_end(void);

/* What is left aside for good stays reachable, so that a leak checker does not take it for a leak. @threads any */
void mp_leave_aside(void *inherited);

#endif
