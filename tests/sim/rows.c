#include "rows.h"

#include <string.h>

#define USE .readers = 6, .reads = 4, .writes = 3, .keys = 2, .deletes = 200, .span = 500
#define MANY .processes = 3, .lanes = 2, USE
#define ONE .processes = 1, .lanes = 3, .memory = true, USE
#define ASIDE MANY, .writers = 2
#define THROUGH MANY, .writers = 2, .through = true
#define TAGS MANY, .writers = 2, .pages = 2
#define MANY_KEYS                                                                                                      \
    .processes = 3, .lanes = 2, .readers = 6, .reads = 4, .writes = 3, .keys = 4, .many = 600, .deletes = 200,         \
    .span = 500, .writers = 2
#define FOREIGN MANY, .foreign = 2

/* Values that are past their time before they are asked for again, mostly. */
#define OLD                                                                                                            \
    .readers = 6, .reads = 8, .writes = 3, .keys = 2, .deletes = 200, .span = 500, .ttl = 40, .grace = 600000,         \
    .early = 100
#define GRACE .processes = 3, .lanes = 2, OLD

#define CRASH .crashes = 1, .deadly_writes = 150, .pauses = 2, .pause = 300, .evict_leases = 2
#define CUT .cuts = 4, .spikes = 15, .pauses = 3, .pause = 300
#define EVICT .evict_values = 4, .evict_leases = 4, .evict_tags = 4, .evict_fence = 1
#define SLOW .slow_loads = 300, .failed_loads = 100, .cancels = 150, .pauses = 3, .pause = 300
#define RESTART .restarts = 3, .replids = 1, .flushes = 1
#define ALL                                                                                                            \
    .evict_values = 2, .evict_leases = 2, .evict_tags = 2, .cuts = 2, .spikes = 8, .pauses = 3, .pause = 300,          \
    .crashes = 1, .replids = 1, .flushes = 1, .slow_loads = 150, .failed_loads = 50, .cancels = 80,                    \
    .refused_writes = 80, .unknown_writes = 80

#define BEHIND .processes = 3, .lanes = 2, .clients = 5, .calls = 8, .workers = 2, .keys = 2, .span = 600
#define BEHIND_LONG .processes = 3, .lanes = 2, .clients = 5, .calls = 12, .workers = 3, .keys = 2, .span = 900

#define BURST .processes = 2, .lanes = 1, .clients = 8, .calls = 10, .workers = 1, .keys = 3, .span = 600, .burst = 45
/* All in one shard, so that there is more than a batch. */
#define BATCHES                                                                                                        \
    .processes = 3, .lanes = 1, .clients = 8, .calls = 10, .workers = 2, .keys = 4, .span = 600, .burst = 45, .batch = 1

const sim_row sim_rows[] = {
    /* Writers with intents: linearizable, whoever dies. */
    {"aside", "the value is deleted by a write", ASIDE, .strict = true},
    {"aside-crash", "processes die", ASIDE, CRASH, .strict = true},
    {"aside-evict", "values, leases and the fence are evicted", ASIDE, EVICT, .strict = true},
    {"aside-cut", "connections are cut, answers come late, hosts stand still", ASIDE, CUT, .strict = true},
    {"aside-slow", "loads outlast their lease or fail, calls are given up", ASIDE, SLOW, .strict = true},
    {"aside-unknown", "the store refuses writes, or nobody knows what came of them", ASIDE, .refused_writes = 250,
     .unknown_writes = 250, .strict = true},
    {"aside-all", "all of that", ASIDE, ALL, .strict = true},
    {"through", "the value is replaced by a write", THROUGH, .strict = true},
    {"through-crash", "processes die", THROUGH, CRASH, .strict = true},
    {"through-evict", "values, leases and the fence are evicted", THROUGH, EVICT, .strict = true},
    {"through-cut", "connections are cut, answers come late, hosts stand still", THROUGH, CUT, .strict = true},
    {"through-slow", "loads outlast their lease or fail, calls are given up", THROUGH, SLOW, .strict = true},
    {"through-all", "all of that, and refused and unknown writes", THROUGH, ALL, .strict = true},
    {"tags", "values that are made of the written one, under its tag", TAGS, .strict = true},
    {"tags-crash", "processes die", TAGS, CRASH, .strict = true},
    {"tags-evict", "values, leases, generations and the fence are evicted", TAGS, EVICT, .strict = true},
    {"tags-slow", "loads outlast their lease or fail, calls are given up", TAGS, SLOW, .strict = true},
    {"tags-all", "all of that, through", TAGS, .through = true, ALL, .strict = true},
    {"memory", "the cache in the process's own memory", ONE, .writers = 2, .through = true, .pages = 1, SLOW,
     .strict = true},
    /* Readers that ask for all keys at once, beside some that ask for one. */
    {"many", "and writers that replace", MANY_KEYS, .through = true, .strict = true},
    {"many-crash", "processes die", MANY_KEYS, CRASH, .strict = true},
    {"many-slow", "loads outlast their lease or fail, calls are given up", MANY_KEYS, .through = true, SLOW,
     .strict = true},
    {"many-all", "all kinds of trouble", MANY_KEYS, .through = true, ALL, .strict = true},
    {"many-memory", "in the process's own memory", .processes = 1, .lanes = 3, .memory = true, .readers = 6, .reads = 4,
     .writes = 3, .keys = 4, .many = 600, .deletes = 200, .span = 500, .writers = 2, SLOW, .strict = true},
    {"many-grace", "values past their time are loaded with those that are missing", GRACE, .many = 600, .writers = 2,
     SLOW, .strict = true},
    /* Pages that may lag: never by more than the bound, also when the writer dies. */
    {"bounded", "values under a tag lag by 100 ms at most", TAGS, .bound = 100},
    {"bounded-crash", "processes die", TAGS, .bound = 100, CRASH},
    {"bounded-slow", "loads outlast their lease or fail, calls are given up", TAGS, .bound = 100, SLOW},
    /* Values past their time are served while they are loaded anew, and where that fails: old, and never older than a write. */
    {"grace", "the value is deleted by a write", GRACE, .writers = 2, .strict = true},
    {"grace-through", "it is replaced", GRACE, .writers = 2, .through = true, EVICT, .strict = true},
    {"grace-crash", "processes die", GRACE, .writers = 2, CRASH, .strict = true},
    {"grace-slow", "loads outlast their lease or fail, calls are given up", GRACE, .writers = 2, SLOW, .strict = true},
    {"grace-tags", "values under a tag", GRACE, .writers = 2, .pages = 2, SLOW, .strict = true},
    {"grace-all", "all kinds of trouble, through, with tags", GRACE, .writers = 2, .through = true, .pages = 1, ALL,
     .strict = true},
    {"grace-memory", "in the process's own memory", .processes = 1, .lanes = 3, .memory = true, OLD, .writers = 2,
     .through = true, .pages = 1, SLOW, .strict = true},
    {"grace-foreign", "writers that only invalidate", GRACE, .foreign = 2, .pages = 1, SLOW},
    {"grace-restart", "the server's memory is lost, or old", GRACE, .writers = 2, RESTART, .failed_loads = 100},
    /* Where intents are missing: never older than an acknowledgement, and right at rest. */
    {"foreign", "writers that only invalidate", FOREIGN},
    {"foreign-tags", "the same, with tags", FOREIGN, .pages = 2, SLOW},
    {"foreign-all", "the same in all kinds of trouble", FOREIGN, ALL},
    {"mixed", "writers through the cache beside some that only invalidate", THROUGH, .foreign = 2, .evict_leases = 2},
    {"evicted", "intents are evicted", THROUGH, .evict_intents = 6, .evict_values = 2},
    {"past-intent", "writers take longer than their intents stand", THROUGH, .intent = 300, .slow_writes = 300,
     .pauses = 4, .pause = 900},
    {"worst", "those three together", THROUGH, .foreign = 1, .evict_intents = 4, .intent = 300, .slow_writes = 200,
     .pauses = 3, .pause = 700},
    /* The server's memory is lost, or old. */
    {"restart", "it comes back empty, with what it had saved, or promoted", THROUGH, RESTART},
    {"restart-late", "the same, while loads are under way", .processes = 3, .lanes = 1, .readers = 6, .reads = 3,
     .foreign = 1, .writes = 2, .keys = 1, .span = 350, .lease = 3000, .restarts = 2, .slow_loads = 800},
    {"restart-foreign", "the same for writers that only invalidate", FOREIGN, RESTART, .pages = 1, .slow_loads = 200},
    {"lenient", "writes while the cache is away: only what is read at rest is promised", THROUGH, .lenient = true,
     .cuts = 6, .restarts = 2, .spikes = 30, .unjudged = true},
    /* Documents that are written behind: what Redis has accepted is what is read, and gets to the store. */
    {"behind", "two workers, nobody in their way", BEHIND},
    {"behind-crash", "processes die, also with a batch in their hands", BEHIND, .crashes = 2, .deadly_writes = 100},
    {"behind-evict", "values, leases, the fence and the workers' hints are evicted", BEHIND, EVICT, .evict_hints = 10},
    {"behind-expire", "values end while they wait for the store", BEHIND, .ttl = 40},
    {"behind-cut", "connections are cut, answers come late, hosts stand still", BEHIND, CUT, .overtaken = 10},
    {"behind-slow", "the store is slow, fails, or does not say what came of a flush; calls are given up", BEHIND,
     .slow_loads = 200, .failed_loads = 100, .unknown_writes = 150, .cancels = 100},
    {"behind-late", "loads take longer than changes need to get to the store", BEHIND, .lease = 3000, .late_loads = 400,
     .evict_values = 4},
    {"behind-still", "workers stand still in the midst of a flush, longer than they own their shards", BEHIND_LONG,
     .slow_writes = 150, .unknown_writes = 100, .pauses = 2, .pause = 15000, .evict_hints = 10},
    {"behind-restart", "the server comes back with all that it had", BEHIND, .restarts = 3, .keeps = true, .cuts = 2},
    {"behind-rollback", "the server comes back empty, or with what it had saved", BEHIND, .restarts = 2,
     .unknown_writes = 50, .slow_loads = 100},
    {"behind-lost", "it comes back in the midst of a flush, without what is flushed", .processes = 3, .lanes = 2,
     .clients = 4, .calls = 6, .workers = 1, .keys = 3, .span = 500, .restarts = 2, .slow_writes = 400,
     .unknown_writes = 300},
    {"behind-tail", "the server loses its last moments; nearly all changes are increments", .processes = 3, .lanes = 2,
     .clients = 8, .calls = 20, .workers = 3, .keys = 1, .span = 1000, .increments = 900, .tails = 4, .tail = 100},
    {"behind-burst", "changes of one shard that begin together, and connections are cut", BURST, .cuts = 3,
     .overtaken = 20},
    {"behind-full", "the same, with room for one entry", BURST, .backlog = 4, .overtaken = 20, .slow_loads = 100},
    {"behind-poison", "the store refuses some documents, and others are stored meanwhile", BURST, .poison = 300,
     .failed_loads = 20},
    {"behind-batches", "one document at once: the next is taken while the store has it, and the last one goes", BATCHES,
     .cuts = 2, .spikes = 8, .overtaken = 5},
    {"behind-batches-slow", "the same; the store is slow, fails, or does not say what came of a flush; processes die",
     BATCHES, .slow_loads = 200, .failed_loads = 50, .unknown_writes = 100, .deadly_writes = 30, .crashes = 1,
     .cancels = 50},
    {"behind-batches-still", "the same; workers stand still, longer than they own their shards", BATCHES,
     .slow_writes = 100, .unknown_writes = 50, .pauses = 2, .pause = 15000, .evict_hints = 10},
    {"behind-all",       "all of that, but the server forgets nothing",
     BEHIND_LONG,        .ttl = 300,
     .crashes = 1,       .deadly_writes = 30,
     .evict_values = 2,  .evict_leases = 2,
     .evict_hints = 4,   .evict_fence = 1,
     .cuts = 2,          .spikes = 8,
     .overtaken = 5,     .pauses = 2,
     .pause = 12000,     .restarts = 1,
     .keeps = true,      .replids = 1,
     .flushes = 1,       .slow_loads = 100,
     .failed_loads = 30, .unknown_writes = 60,
     .slow_writes = 40,  .cancels = 40},
};

const size_t sim_row_count = sizeof sim_rows / sizeof sim_rows[0];

const sim_row *sim_row_named(const char *name) {
    for (size_t i = 0; i < sim_row_count; i++)
        if (strcmp(sim_rows[i].name, name) == 0) return &sim_rows[i];
    return NULL;
}

bool sim_row_fails(const sim_row *row) {
    return row->cuts || row->overtaken || row->spikes || row->restarts || row->tails || row->pauses ||
           row->slow_loads || row->late_loads || row->failed_loads || row->refused_writes || row->unknown_writes;
}
