/* The judge: every read's value against the store's history.
 *
 * A key's versions are ordered by their commits, so the history of a key is linearizable if no read gives a version older than
 * one that was acknowledged, or seen by another read, before it began, nor one that was not yet committed when it ended. */
#ifndef SIM_JUDGE_H
#define SIM_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "store.h"
#include "trace.h"

typedef struct sim_counts {
    uint64_t schedules, reads, writes, crashes;
    uint64_t violations;      /* whatever the row forbids: the three below as far as it does, and `broken` */
    uint64_t stale_after_ack; /* older than a write that was acknowledged before the read began */
    uint64_t went_backwards;  /* older than what another read had given before this one began */
    uint64_t stale_at_rest;   /* when all is quiet the cache serves something else than the store */
    uint64_t broken; /* rules that are no matter of age: a value of another key, a lease taken away, no answer... */
    /* Of documents that are written behind: */
    uint64_t lost;        /* a change that was accepted is missing in what came after it, or in the store at rest */
    uint64_t left_dirty;  /* entries that wait in the backlog at rest */
    uint64_t regressed;   /* the store, or the backlog, has an older version than before */
    uint64_t resurrected; /* a document that was deleted since */
    uint64_t stale, loads, errors; /* not judged: how the row behaves */
} sim_counts;

typedef struct judge {
    trace *trace;
    const store *store;
    bool strict;   /* going backwards is a violation */
    bool unjudged; /* nothing is, but what is read at rest */
    sim_counts counts;
    uint32_t acked[STORE_KEYS], seen[STORE_KEYS];
    char first[160]; /* what was wrong first */
} judge;

/* What a read must not fall behind, taken when it begins. */
typedef struct judge_floor {
    uint32_t acked, seen;
} judge_floor;

void judge_begin(judge *j, trace *t, const store *s, bool strict, bool unjudged);
/* `bound`: what was committed so long ago, whatever was acknowledged or seen since; 0: what was. */
judge_floor judge_floor_of(const judge *j, size_t key, int64_t bound);
/* The read's value as text ("k3:17"), or NULL: absent. `at_rest`: nothing else happens any more. */
void judge_read(judge *j, size_t key, judge_floor floor, const char *text, size_t len, bool at_rest);
void judge_acked(judge *j, size_t key, uint32_t version);
void judge_broken(judge *j, const char *what);
void judge_counted(judge *j, uint64_t *count, const char *what); /* one of j->counts */

#endif
