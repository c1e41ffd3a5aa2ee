/* The rows: what is simulated. One row is one kind of program under one kind of trouble. */
#ifndef SIM_ROWS_H
#define SIM_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sim_row {
    const char *name, *text;
    /* The program. */
    unsigned processes, lanes; /* queues of each process; readers and writers are spread over all */
    unsigned readers, reads;   /* reads of each */
    unsigned writers, foreign; /* with an intent, and without (actors.h) */
    unsigned writes;           /* of each */
    bool through;              /* what was written is cached; else it is deleted there */
    unsigned clients,
        calls; /* of documents that are written behind (then there are no readers and writers), and calls of each */
    unsigned workers; /* the first so many processes take them to the store */
    int64_t
        burst; /* their calls begin together, at the multiples of so many ms; all keys are of one shard. 0: not so */
    unsigned backlog;    /* backlog_max; 0: the default */
    unsigned batch;      /* documents that a worker takes to the store at once; 0: as many as there are */
    unsigned increments; /* of 1000 changes, beside those of all kinds that the others are */
    unsigned keys;
    unsigned pages;   /* values beside that of the key which are made of it, and have its tag */
    int64_t bound;    /* of the tags; 0: strict */
    unsigned deletes; /* of 1000 writes: make the document absent */
    bool memory;      /* cache=memory:, so one process */
    bool lenient;     /* when_cache_down_write */
    int64_t ttl;      /* 0: longer than a schedule */
    int64_t grace;    /* and stale_if_error: past the ttl */
    unsigned early;   /* early_refresh */
    unsigned many;    /* of 1000 reads: of all keys at once */
    int64_t intent;   /* how long one stands; 0: 3 s */
    int64_t lease;    /* 0: short mostly, and long */
    /* The trouble: how often at most in a schedule, at any time of `span` ms. */
    int64_t span;
    unsigned evict_values, evict_leases, evict_intents, evict_tags, evict_fence, evict_hints;
    bool keeps; /* the server comes back with all that it had */
    unsigned cuts, restarts, replids, flushes, pauses, crashes;
    unsigned tails; /* restarts that lose what was accepted in the last moments, which are `tail` ms at most */
    int64_t tail;
    int64_t pause; /* the longest */
    /* And of 1000 of each: */
    unsigned slow_loads, failed_loads;
    unsigned late_loads;  /* of documents: their answers take longer than a change needs to get to the store */
    unsigned poison;      /* flushes of which the store will not have one document, for now */
    unsigned slow_writes; /* at the store for up to twice the intent's time */
    unsigned refused_writes, unknown_writes;
    unsigned deadly_writes; /* the process dies between commit and answer */
    unsigned cancels;       /* calls that are given up */
    unsigned spikes;        /* messages that are late by more than command_timeout */
    unsigned
        overtaken; /* times that something is sent: the connection is cut, and it is read behind what is sent in its place */
    /* What it must show. */
    bool strict;   /* reads never go backwards, either */
    bool unjudged; /* what is read before the rest is not promised to be anything */
} sim_row;

extern const sim_row sim_rows[];
extern const size_t sim_row_count;

const sim_row *sim_row_named(const char *name);
/* Reads may fail there: the network is not always to be had. */
bool sim_row_fails(const sim_row *row);

#endif
