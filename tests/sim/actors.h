/* Who uses the ponds: readers, one read after the other; writers, one write after the other; and the auditor. */
#ifndef SIM_ACTORS_H
#define SIM_ACTORS_H

#include "judge.h"
#include "process.h"

typedef struct reader {
    request request;
    process *p;
    unsigned number, left;
    judge_floor floor;
    bool reading, audits;
    pond_request *handle;
    uint64_t reads; /* begun */
    uint64_t loads_before;
} reader;

/* A writer that the library knows nothing of: it commits to the store, invalidates until that was acknowledged, and only then
 * acknowledges its write. If it dies between the two the cache is stale until the TTL: that is the limit of this way to write, so
 * processes do not die then. */
typedef struct writer {
    request request;
    process *p;
    unsigned number, left;
    uint32_t version;
} writer;

reader *reader_start(process *p, unsigned number, unsigned reads);
/* At rest: every key three times, the last time from the cache. */
reader *auditor_start(process *p);
bool reader_over(const reader *r);

writer *writer_start(process *p, unsigned number, unsigned writes);
bool writer_over(const writer *w);
bool writer_exposed(const writer *w);

#endif
