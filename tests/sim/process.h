/* A process: a pond of its own with some queues, driven as a host's loop would. It may stand still, and it may die. */
#ifndef SIM_PROCESS_H
#define SIM_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <millpond/collection.h>
#include <millpond/millpond.h>
#include <millpond/write.h>
#include "store.h"

struct world;

enum { PROCESS_LANES = 3 };

typedef struct process {
    struct world *world;
    unsigned number;
    pond *pond;
    size_t lanes;
    pond_queue *queue[PROCESS_LANES];
    bool dead;
    bool touched; /* has something to do now */
    int64_t stands_until;
    pond_tags *tags[STORE_KEYS]; /* of the pages of each key */
    struct loading *loads;       /* taken, and not answered */
    struct storing *storings;
    struct job *jobs;            /* of its pool */
    struct mp_store *documents;  /* its way to the store of documents; NULL: it has none, */
    pond_collection *collection; /* and no documents */
} process;

/* Who waits for a request's events; `user` of the call. */
typedef struct request {
    void (*ended)(struct request *r, pond_event *event);
    void (*write)(struct request *r, pond_writing *writing); /* NULL: it is no writer's */
    size_t key;
    size_t lane;
} request;

void process_open(process *p, struct world *w, unsigned number);
void process_close(process *p);

/* When it wants a turn next; INT64_MAX: never. */
int64_t process_due(const process *p);
void process_turn(process *p);
void process_touch(process *p);
/* Runs `run(owner, arg)` in the process so much later: not before it moves again, and never if it is dead by then. */
void process_after(process *p, int64_t ms, void (*run)(void *owner, uint64_t arg), void *owner, uint64_t arg);
void process_stand(process *p, int64_t ms);
void process_die(process *p);
/* Whose turn it is; NULL: nobody's. */
process *process_here(void);

#endif
