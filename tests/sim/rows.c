#include "rows.h"

#include <string.h>

#define USE .readers = 6, .reads = 4, .writers = 2, .writes = 3, .keys = 2, .deletes = 200, .span = 500
#define MANY .processes = 3, .lanes = 2, USE
#define ONE .processes = 1, .lanes = 3, .memory = true, USE

/* ASIDE: cache-aside, and writers that commit and then invalidate (no intent): never older than an acknowledgement. */
const sim_row sim_rows[] = {
    {"aside", "cache-aside, no trouble", MANY},
    {"aside-evict", "values, leases and the fence are evicted", MANY, .evict_values = 4, .evict_leases = 4,
     .evict_fence = 1},
    {"aside-cut", "connections are cut, answers come late, hosts stand still", MANY, .cuts = 4, .spikes = 15,
     .pauses = 3},
    {"aside-crash", "processes die", MANY, .crashes = 2, .pauses = 2, .evict_leases = 2},
    {"aside-restart", "the server comes back empty, with what it had saved, or promoted", MANY, .restarts = 3,
     .replids = 1, .flushes = 1},
    {"aside-late", "the same, while loads are under way", MANY, .restarts = 3, .slow_loads = 500},
    {"aside-slow", "loads that outlast their lease, loads that fail, reads that are given up", MANY, .slow_loads = 300,
     .failed_loads = 100, .cancels = 150, .pauses = 3},
    {"aside-all", "all of that together", MANY, .evict_values = 2, .evict_leases = 2, .evict_fence = 1, .cuts = 2,
     .spikes = 8, .pauses = 3, .crashes = 1, .restarts = 1, .replids = 1, .flushes = 1, .slow_loads = 150,
     .failed_loads = 50, .cancels = 80},
    {"aside-memory", "the cache in the process's own memory", ONE, .slow_loads = 300, .failed_loads = 100,
     .cancels = 150, .pauses = 3},
};

const size_t sim_row_count = sizeof sim_rows / sizeof sim_rows[0];

const sim_row *sim_row_named(const char *name) {
    for (size_t i = 0; i < sim_row_count; i++)
        if (strcmp(sim_rows[i].name, name) == 0) return &sim_rows[i];
    return NULL;
}

bool sim_row_fails(const sim_row *row) {
    return row->cuts || row->spikes || row->restarts || row->pauses || row->slow_loads || row->failed_loads;
}
