/* Who uses the ponds: readers, one read after the other; writers, one write after the other; and the auditor. */
#ifndef SIM_ACTORS_H
#define SIM_ACTORS_H

#include "judge.h"
#include "ledger.h"
#include "process.h"

typedef struct reader {
    request request;
    process *p;
    unsigned number, left;
    unsigned page;                         /* 0: the key's own value */
    judge_floor floor, floors[STORE_KEYS]; /* the latter of a read of all keys */
    bool reading, audits, many;
    pond_request *handle;
    uint64_t reads; /* begun */
    uint64_t loads_before;
} reader;

/* How a writer goes about it. A foreign one knows nothing of intents: it commits to the store, invalidates until that was
 * acknowledged, and only then acknowledges its write. */
typedef enum writer_kind { WRITER_FOREIGN, WRITER_ASIDE, WRITER_THROUGH } writer_kind;

typedef struct writer {
    request request;
    process *p;
    writer_kind kind;
    unsigned number, left;
    bool writing;
    uint32_t version; /* that it has committed; 0: none yet */
    uint64_t writes;  /* begun */
    pond_request *handle;
} writer;

/* Of documents that are written behind: reads and changes them. */
typedef struct client {
    request request;
    process *p;
    unsigned number, left;
    bool calling, changes, flushes, invalidates, audits;
    ledger_since since;                 /* the call's begin */
    ledger_since accepted[LEDGER_KEYS]; /* of a flush: what was due of each key then */
    unsigned op, ops;                   /* ledger.h: of this change; changes begun */
    pond_request *handle;
    uint64_t calls; /* begun */
} client;

/* `audits`: at rest, and only reads, each key in turn. */
client *client_start(process *p, unsigned number, unsigned calls, bool audits);
bool client_over(const client *c);

reader *reader_start(process *p, unsigned number, unsigned reads);
/* At rest: every key three times, the last time from the cache. */
reader *auditor_start(process *p);
bool reader_over(const reader *r);

writer *writer_start(process *p, writer_kind kind, unsigned number, unsigned writes);
bool writer_over(const writer *w);
/* If its process died now the cache might be stale until the TTL, and the protocol says so: a foreign writer between commit and
 * invalidation; any whose intent may be lost as well. Processes do not die then. */
bool writer_exposed(const writer *w);

#endif
