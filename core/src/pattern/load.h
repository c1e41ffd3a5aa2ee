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
    pond_value *dirty; /* accepted in a history of Redis that was lost; NULL: there is none */
    int64_t dirty_version;
    bool unfolded; /* increments wait, which are to be folded first */
    _Atomic bool answered;
    size_t ns_len;
    size_t len;
    char name[]; /* ns:key */
};

/* Refs 1, the answer's; the event takes another when it is offered. NULL without memory. */
pond_load *mp_load_new(mp_lane *lane, const mp_key *key, int64_t max_value);
void mp_load_unref(pond_load *load);

/* What is wrong with a value that a caller gives (POND_EVALUE), or NULL. `what`: whose value it is called. */
pond_error *mp_value_check(const char *what, const void *data, size_t len, pond_codec codec, int64_t max);

/* The answers of loads that the library does itself. No lock held; errors and values are taken over. */
void mp_load_fail_as(pond_load *load, pond_error *error);
/* Loads of one lane: its lock is taken a few times only, and what goes to the cache is sent together. */
void mp_loads_answer(pond_load *const *loads, pond_value **values, size_t n);
/* The same of checked values and, where there is one, an error instead. */
void mp_loads_settle(pond_load *const *loads, pond_value **values, pond_error **errors, const unsigned *flags,
                     size_t n);
/* What is wrong with a value as this load's answer, or NULL. */
pond_error *mp_load_check(const pond_load *load, const void *data, size_t len, pond_codec codec);
/* Lane's lock held: the load cannot even begin. Takes over the error; ends the handle. */
void mp_load_fail_here(pond_load *load, pond_error *error);

/* Is this thread inside a loader for that key (blocking calls only)? */
bool mp_load_runs_here(const pond *p, const mp_key *key);
/* Code of a caller's that runs in this thread, inside a call of the pond's: a loader, or (load NULL) a writer. A loader of many has
 * `loads`. */
typedef struct mp_frame {
    struct mp_frame *outer;
    const pond *p;
    const pond_load *load;
    pond_load *const *loads;
    size_t n;
} mp_frame;
void mp_frame_enter(mp_frame *frame, const pond *p, const pond_load *load);
void mp_frame_leave(mp_frame *frame);
/* How many of this pond's there are in this thread, one inside the other. */
size_t mp_frames_here(const pond *p);
/* Runs a loader in this thread, with no lock held, and sees to it that the load is answered. */
void mp_load_run(pond_load *load, pond_loader loader, void *ctx);

#endif
