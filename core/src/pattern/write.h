/* Writes by the caller: intents on keys and tags, the host's write in between (pond_write). */
#ifndef MP_PATTERN_WRITE_H
#define MP_PATTERN_WRITE_H

#include "pattern/call.h"
#include "pattern/intent.h"
#include <millpond/write.h>

typedef struct mp_write {
    mp_call call;         /* ends with OK or an error */
    mp_intent *intent;    /* not while the host has the handle: then that has it */
    pond_writing *handle; /* until it is answered */
    bool begun, offered, taken;
    pond_error *error;         /* what it ends with when the cache has been told */
    struct pond_check *change; /* the library writes (pattern/change.h); a reference */
} mp_write;

/* Lane's lock held; keys and tags were checked, and there is one at least. NULL without memory. */
mp_write *mp_write_new(mp_lane *lane, const pond_policy *policy, const char *const *keys, const size_t *lens, size_t n,
                       const pond_tags *tags, uint64_t user, mp_waiter *waiter);
/* Tells the cache; then the host is asked to write. */
void mp_write_begin(mp_write *write);
/* Instead of that: it ends with this error, which is taken over. */
void mp_write_refuse(mp_write *write, pond_error *error);
/* Instead of that: it was accepted by a backlog (pattern/behind/accept.h). */
void mp_write_accepted(mp_write *write);
/* Lock held: the host takes the handle, if it was offered: from now on an answer is owed. */
pond_writing *mp_write_take(mp_call *call);
void mp_writing_unref(pond_writing *writing);
/* Runs a writer in this thread, with no lock held, and sees to it that the write is answered. */
void mp_writing_run(pond_writing *writing, pond_writer writer, void *ctx);
/* For writes that the library does. What the first key's value is to be, for so long: a reference is taken. */
void mp_writing_put(pond_writing *writing, pond_value *value, int64_t ttl_ms);
/* A commit may begin until then (CLOCK_MONOTONIC ms). Stays valid until the answer. */
const _Atomic int64_t *mp_writing_until(const pond_writing *writing);
/* The answer; takes over the error (NULL: committed), ends the handle. `here`: with the lane's lock held. */
void mp_writing_answer(pond_writing *writing, pond_outcome outcome, pond_error *error);
void mp_writing_answer_here(pond_writing *writing, pond_outcome outcome, pond_error *error);
/* The error that it was answered with, for who finds its call ended by a close; NULL: it was committed. */
pond_error *mp_writing_left(pond_writing *writing);

#endif
