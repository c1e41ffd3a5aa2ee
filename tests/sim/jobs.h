/* Jobs: what the library gives to its pool of threads, in fibers. This takes the place of engine/pool.c and engine/blocking.c when the
 * simulator is linked (as ../c/virtual does it with the clock), and of pthread_mutex_lock and the waits for conditions (the linker's
 * --wrap): what would block a thread parks a fiber, and the process's other fibers and its queues go on. */
#ifndef SIM_JOBS_H
#define SIM_JOBS_H

#include <stdbool.h>
#include <stdint.h>

struct process;
typedef struct job job;

job *job_here(void); /* whose fiber runs */
/* Parks the fiber that runs, until job_wake. True: the world is over, and nothing that it waits for will come. */
bool job_park(void);
/* In so many ms; not before its process moves again, and never if that is dead by then. */
void job_wake(job *j, int64_t ms);
/* The world is over: all fibers of the process run to their ends. Its blocking lane is closed. */
void jobs_end_all(struct process *p);

#endif
