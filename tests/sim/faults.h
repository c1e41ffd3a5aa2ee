/* The row's trouble, planned when a world begins. */
#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include <stdbool.h>

struct process;
struct world;

void faults_plan(struct world *w);
/* The process dies now, if it may. */
bool faults_kill(struct world *w, struct process *p);

#endif
