/* The rows: what is simulated. One row is one kind of program under one kind of trouble. */
#ifndef SIM_ROWS_H
#define SIM_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sim_row {
    const char *name, *text;
    /* The program. */
    unsigned processes, lanes; /* queues of each process; `readers` and `writers` are spread over all */
    unsigned readers, reads;   /* reads of each */
    unsigned writers, writes;
    unsigned keys;
    unsigned deletes; /* of 1000 writes: make the document absent */
    bool memory;      /* cache=memory:, so one process */
    /* The trouble: how often at most in a schedule, at any time of `span` ms. */
    int64_t span;
    unsigned evict_values, evict_leases, evict_intents, evict_fence;
    unsigned cuts, restarts, replids, flushes, pauses, crashes;
    unsigned slow_loads; /* of 1000: longer than the lease */
    unsigned failed_loads;
    unsigned cancels; /* of 1000 reads: given up by their caller */
    unsigned spikes;  /* of 1000 messages: late by more than command_timeout */
    /* What it must show. */
    bool strict; /* reads never go backwards, either */
} sim_row;

extern const sim_row sim_rows[];
extern const size_t sim_row_count;

const sim_row *sim_row_named(const char *name);
/* Reads may fail there: the network is not always to be had. */
bool sim_row_fails(const sim_row *row);

#endif
