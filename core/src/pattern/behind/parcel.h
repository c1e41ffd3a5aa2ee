/* A parcel: so much of what waits in a backlog as goes to the store at once. Taken out of the shards, sorted, and acknowledged here; what the store
 * does with it is flush.c's.
 *
 * Taking and acknowledging have two halves each, so that the store has one parcel while the next one is on its way, and the last one goes. */
#ifndef MP_PATTERN_BEHIND_PARCEL_H
#define MP_PATTERN_BEHIND_PARCEL_H

#include "model/behind.h"
#include "pattern/behind/backlog.h"
#include "pattern/behind/shards.h"

/* Where in each shard what was taken last ends. Zero: nowhere yet. */
typedef struct mp_parcel_place {
    char id[MP_BACKLOG_SHARDS][MP_BEHIND_ID_MAX];
    int64_t left[MP_BACKLOG_SHARDS]; /* behind it, as far as is known */
} mp_parcel_place;

typedef struct mp_parcel {
    mp_backlog *b;
    mp_shards to;                       /* what is asked of the shards; it has nothing else to do while it is sent */
    mp_behind taken[MP_BACKLOG_SHARDS]; /* by shard */
    size_t count;                       /* of their entries */
    bool more;                          /* others wait behind them */
    bool passed;                        /* large ones were left where they are */
    bool untold; /* its rows stand in the store, or may, and Redis has not said that it was told of that */
    /* Those of them that go to the store. */
    mp_flush_row *rows;
    mp_behind_entry **entry; /* of each row */
    uint8_t *of;             /* its shard */
    size_t n;
} mp_parcel;

void mp_parcel_init(mp_parcel *p, mp_backlog *b);
/* Adds an operation on the shard to `to`, by the worker. */
mp_op *mp_parcel_ask(mp_parcel *p, mp_op_kind kind, uint8_t shard);

/* The oldest of the owned shards; blocks. */
int mp_parcel_take(mp_parcel *p, mp_parcel_place *at, pond_error **err);
/* What follows; `before` is in the shards still. A large document does not come so (`passed`). */
int mp_parcel_take_begin(mp_parcel *p, const mp_parcel_place *at, pond_error **err);
int mp_parcel_take_end(mp_parcel *p, mp_parcel_place *at, const mp_parcel *before, pond_error **err);

/* Which of them go to the store now. */
int mp_parcel_sort(mp_parcel *p, pond_error **err);
void mp_parcel_drop(mp_parcel *p, size_t row);

/* Those that are rows stand in the store: they wait no more, and what was left of others that had been there before goes, too. */
int mp_parcel_ack(mp_parcel *p, pond_error **err);
int mp_parcel_ack_begin(mp_parcel *p, pond_error **err);
int mp_parcel_ack_end(mp_parcel *p, pond_error **err);

/* Waits for what was begun. Empty then. */
void mp_parcel_clear(mp_parcel *p);

#endif
