/* The store of documents that are written behind, as store/behind.h wants it: fences, epochs, versions and the tombstones of what was deleted. It
 * fails now and then, or does not say what came of a flush, and a flush may stand still in its midst. */
#ifndef SIM_DOCUMENTS_H
#define SIM_DOCUMENTS_H

#include "ledger.h"
#include "store/store.h"

struct process;

enum { DOCUMENTS_SHARDS = 4 };

typedef struct documents_fence {
    uint8_t owner[16];
    uint64_t written; /* how often: by who took it over, and by each flush */
} documents_fence;

typedef struct document {
    bool there;
    int64_t version, tomb; /* 0: none */
    char text[LEDGER_TEXT];
    size_t len;
    int64_t poison;   /* the version of it that the store refuses */
    unsigned refused; /* how often it has */
} document;

/* All processes' */
typedef struct documents {
    int64_t epoch;
    documents_fence fence[DOCUMENTS_SHARDS];
    document document[LEDGER_KEYS];
} documents;

/* A process's way there. Its calls are made in jobs. */
mp_store *documents_store(struct process *p);

#endif
