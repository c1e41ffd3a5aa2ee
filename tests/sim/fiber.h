/* Fibers: what would be threads of a process (a job on the pool that blocks), run by the simulator's one thread, one at a time, each until it
 * waits for something. */
#ifndef SIM_FIBER_H
#define SIM_FIBER_H

#include <stdbool.h>

typedef struct fiber fiber;

/* Does nothing until it is resumed. */
fiber *fiber_new(void (*run)(void *arg), void *arg);
/* Not in a fiber: runs it until it yields, or ends. True: it is over. */
bool fiber_resume(fiber *f);
void fiber_free(fiber *f); /* it never began, or is over */

bool fiber_is_here(void); /* the caller is one */
void fiber_yield(void);

#endif
