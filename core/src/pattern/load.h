/* Loads: what a host holds while its loader runs. Outlives the call, the flight and the queue. */
#ifndef MP_PATTERN_LOAD_H
#define MP_PATTERN_LOAD_H

#include "pattern/call.h"

struct pond_load {
    _Atomic uint32_t refs; /* the event, and the answer that is owed */
    pond_event event;
    mp_lane *lane;
    struct mp_flight *flight; /* lane's lock; NULL: nobody wants the answer any more */
    int64_t max_value;
    _Atomic bool answered;
    size_t ns_len;
    size_t len;
    char name[]; /* ns:key */
};

/* Refs 1, the answer's; the event takes another when it is offered. NULL without memory. */
pond_load *mp_load_new(mp_lane *lane, const mp_key *key, int64_t max_value);
void mp_load_unref(pond_load *load);

/* The answers of loads that the library does itself. No lock held; errors and values are taken over. */
void mp_load_fail_as(pond_load *load, pond_error *error);
/* Loads of one lane: its lock is taken a few times only, and what goes to the cache is sent together. */
void mp_loads_answer(pond_load *const *loads, pond_value **values, size_t n);
/* Lane's lock held: the load cannot even begin. Takes over the error; ends the handle. */
void mp_load_fail_here(pond_load *load, pond_error *error);

/* Is this thread inside a loader for that key (blocking calls only)? */
bool mp_load_runs_here(const pond *p, const mp_key *key);
/* How many loaders of this pond's run in this thread, one inside the other. */
size_t mp_load_depth_here(const pond *p);
/* Runs a loader in this thread, with no lock held, and sees to it that the load is answered. */
void mp_load_run(pond_load *load, pond_loader loader, void *ctx);

#endif
