/* The row's trouble, planned when a world begins. */
#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

struct world;

void faults_plan(struct world *w);

#endif
