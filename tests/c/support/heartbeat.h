/* How long this machine stood still. On each of its processors a thread that wants to wake every millisecond notes by how
 * much it was late: a virtual machine may lose one of them for half a second while the other goes on. */
#ifndef TEST_SUPPORT_HEARTBEAT_H
#define TEST_SUPPORT_HEARTBEAT_H

#include <stdint.h>

/* Once a program; it beats until the program ends. */
void heartbeat_start(void);
/* For how much of the time from `from` to `to`, by clock_ms and not in the future, a processor stood still. @threads any */
int64_t stalled_ms(int64_t from, int64_t to);

#endif
