/* A world: one schedule of one row, wholly determined by its seed. One thread, virtual time: at each step either the next thing on
 * the agenda happens or a process whose timer is due takes its turn. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "agenda.h"
#include "dice.h"
#include "documents.h"
#include "judge.h"
#include "layer.h"
#include "ledger.h"
#include "network.h"
#include "process.h"
#include "rows.h"
#include "server.h"
#include "store.h"
#include "trace.h"

enum { WORLD_PROCESSES = 8, WORLD_ACTORS = 16 };

typedef struct world_setting {
    network *network;
    const server_scripts *replaced;
    bool naive; /* those are the textbook's */
    layer_kind layer;
    bool shown;
} world_setting;

typedef struct world {
    const sim_row *row;
    const world_setting *setting;
    dice dice;
    agenda agenda;
    trace trace;
    network *network;
    server *server;
    store store;
    judge judge;
    ledger ledger;
    documents documents;
    process process[WORLD_PROCESSES];
    size_t processes;
    struct reader *readers[WORLD_ACTORS + 2];
    struct writer *writers[WORLD_ACTORS];
    struct client *clients[WORLD_ACTORS + 2];
    size_t reader_count, writer_count, client_count;
    bool calm;             /* no trouble any more */
    bool stumbled;         /* it did not come to its end */
    bool ended;            /* nothing happens any more */
    int64_t lease, intent; /* the processes' options */
} world;

typedef struct world_result {
    sim_counts counts;
    uint64_t hash;
    char first[160]; /* what was wrong first; empty: nothing */
} world_result;

world_result world_run(const sim_row *row, uint64_t seed, const world_setting *setting);

/* ---- for its parts ---- */
int64_t world_delay(world *w); /* how long a message takes */
uint32_t world_commit(world *w, size_t key);

#endif
