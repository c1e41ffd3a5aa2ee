/* The ledger of documents that are written behind: each key's states in the order in which Redis accepted them, and everything that is
 * told of them against that.
 *
 * A state names the change that made it ("op"), the one that made the document ("base"), and of each client the last patch since. So a change that
 * was lost, or applied twice, or to another document than the one that was there, shows in the next record. */
#ifndef SIM_LEDGER_H
#define SIM_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "judge.h"
#include "server.h"

enum { LEDGER_KEYS = 4, LEDGER_CLIENTS = 8, LEDGER_STATES = 256, LEDGER_OPS = 32, LEDGER_TEXT = 256 };

typedef struct ledger_state {
    int64_t version;
    bool absent;
    uint16_t op, base;              /* client * LEDGER_OPS + number; of an absence 0 */
    uint16_t patch[LEDGER_CLIENTS]; /* 0: none */
    uint32_t count;                 /* the sum of all increments since, each of which is by the number of its change */
} ledger_state;

typedef enum ledger_kind { LEDGER_PUT, LEDGER_CREATE, LEDGER_UPDATE, LEDGER_DELETE, LEDGER_INCREMENT } ledger_kind;

typedef struct ledger_op {
    ledger_kind kind;
    size_t key;
    unsigned accepted; /* how often */
    int64_t version;   /* of the last time */
    unsigned losses;   /* the ledger's, when it was accepted, or at the last one that it has outlived in the server */
    bool dropped;      /* an increment that had nothing to be added to, behind a loss */
    bool refused;      /* its caller was told that nothing was accepted */
} ledger_op;

/* What was due when a call began. */
typedef struct ledger_since {
    int64_t version;
    unsigned cuts;
} ledger_since;

/* Increments became a part of their document. */
typedef struct ledger_fold {
    int64_t version, of; /* of the record, and of the newest increment in it */
    ledger_state state;
} ledger_fold;

typedef struct ledger {
    judge *judge;
    unsigned losses; /* how often the server has lost a part of its history: what follows from that is nobody's fault */
    unsigned cuts
        [LEDGER_KEYS]; /* how often something was due no more: with a loss, or what was added to what the server alone took to be there */
    int64_t left[LEDGER_KEYS]; /* the least version that was due after one */
    ledger_state state[LEDGER_KEYS][LEDGER_STATES];
    size_t states[LEDGER_KEYS];
    ledger_state due[LEDGER_KEYS];    /* the newest that was accepted and not lost with the server */
    ledger_state stored[LEDGER_KEYS]; /* what the store has; version 0: nothing yet */
    int64_t
        stored_as[LEDGER_KEYS]; /* the version of the state that this is: a fold gives a state a version of its own */
    ledger_fold fold[LEDGER_KEYS][LEDGER_STATES];
    size_t folds[LEDGER_KEYS];
    ledger_op op[LEDGER_CLIENTS * LEDGER_OPS];
} ledger;

void ledger_begin(ledger *l, judge *j);
/* The text of a change. */
size_t ledger_text(char out[LEDGER_TEXT], ledger_kind kind, unsigned client, unsigned number);
/* One begins. `op`: client * LEDGER_OPS + number, which is not 0. */
void ledger_op_begins(ledger *l, unsigned op, ledger_kind kind, size_t key);
/* Redis has accepted a record or an increment, or increments became a part of their record, or were dropped. */
void ledger_accepted(ledger *l, const server_news *news);
/* What the caller is told. `text`: the document as it is then; NULL: it was deleted. `since`: ledger_now at its start. */
void ledger_op_done(ledger *l, unsigned op, const char *text, size_t len);
void ledger_op_refused(ledger *l, unsigned op, bool exists, bool absent, ledger_since since);

ledger_since ledger_now(const ledger *l, size_t key);
void ledger_read(ledger *l, size_t key, ledger_since since, const char *text, size_t len, bool at_rest);
/* The store has another document now; text NULL: none. */
void ledger_stored(ledger *l, size_t key, int64_t version, const char *text, size_t len);

/* A flush has ended that began when these were due. */
void ledger_flushed(ledger *l, const ledger_since *due, size_t keys);

/* The server comes back with an older memory, or none. Then ledger_survives for each record and all increments that wait there. */
void ledger_tail_lost(ledger *l);
void ledger_survives(ledger *l, const server_news *news);
/* Nothing happens any more. `waiting`: entries that are left in the backlog. */
void ledger_rests(ledger *l, size_t keys, size_t waiting);

#endif
