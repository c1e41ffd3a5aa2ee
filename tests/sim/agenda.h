/* What is going to happen, by virtual time. Of two things at one time either may come first: the dice decide. */
#ifndef SIM_AGENDA_H
#define SIM_AGENDA_H

#include <stddef.h>
#include <stdint.h>
#include "dice.h"

typedef struct agenda_item {
    int64_t at;
    uint64_t order;
    void (*run)(void *owner, uint64_t arg);
    void *owner;
    uint64_t arg;
} agenda_item;

typedef struct agenda {
    dice *dice;
    agenda_item *items; /* a binary heap */
    size_t count, room;
} agenda;

void agenda_init(agenda *a, dice *d);
void agenda_free(agenda *a);
void agenda_at(agenda *a, int64_t at, void (*run)(void *owner, uint64_t arg), void *owner, uint64_t arg);
int64_t agenda_next(const agenda *a); /* INT64_MAX: nothing */
agenda_item agenda_take(agenda *a);

#endif
