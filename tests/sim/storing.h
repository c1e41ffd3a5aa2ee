/* Writes: what a host does when it is asked to write. The write travels to the store, is committed there or not, and what came of it
 * travels back; if the answer is lost nobody can say. */
#ifndef SIM_STORING_H
#define SIM_STORING_H

#include <millpond/write.h>
#include "process.h"

struct writer;

/* The writer gets the version that is committed, as long as it waits for this write. */
void storing_begin(process *p, pond_writing *writing, struct writer *writer);
void storing_forget(struct writer *writer); /* it does not wait any more */
void storing_end_all(process *p);           /* the world is over: gives the handles back */

#endif
