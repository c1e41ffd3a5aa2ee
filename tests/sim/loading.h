/* Loads: what a host does when it is asked to load. The question travels to the store, is answered there at one moment, and the
 * answer travels back. */
#ifndef SIM_LOADING_H
#define SIM_LOADING_H

#include <millpond/bulk.h>
#include "process.h"

void loading_begin(process *p, pond_load *load, size_t key);
void loading_begin_many(process *p, pond_batch *batch);
void loading_end_all(process *p); /* the world is over: gives the handles back */

#endif
