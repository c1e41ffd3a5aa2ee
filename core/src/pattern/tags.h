/* Tags: names of what values depend on, compiled once and used by many calls; and their part in one read or load.
 *
 * A tag has a generation in the cache, and a value carries those of its tags: it is served only while they are the same. Whoever
 * changes what a tag stands for takes its generation away, and all that was loaded under it is out of reach, in one step. */
#ifndef MP_PATTERN_TAGS_H
#define MP_PATTERN_TAGS_H

#include "pattern/lane.h"
#include <millpond/tags.h>

struct pond_tags {
    _Atomic uint32_t refs;
    uint8_t n;        /* 1..MP_TAGS_MAX */
    int64_t bound_ms; /* how old a value may be (bounded consistency); 0: strict */
    mp_key keys[];    /* in order of their names, each once; then the names */
};

/* `ns` and the tags were checked. *out is NULL if there are none. */
int mp_tags_make(pond_tags **out, const char *ns, size_t ns_len, int64_t bound_ms, const char *const *tags,
                 const size_t *lens, size_t n, pond_error **err);
bool mp_tags_same(const pond_tags *a, const pond_tags *b); /* NULL: none */

/* The tags' part in one read or load: an operation for each of them, which go with those of the key. */
typedef struct mp_tag_op {
    mp_op op;
    struct mp_tagging *owner;
} mp_tag_op;

typedef struct mp_tagging {
    pond_tags *tags; /* a reference */
    mp_lane *lane;
    size_t open; /* under way, the key's own operations among them */
    void (*done)(struct mp_tagging *self);
    void *owner;
    /* Out, when `done` is called. */
    bool doubt;        /* a tag has no generation */
    pond_error *error; /* of the first operation that failed; the owner's */
    uint8_t *found;    /* tags->n generations: what a value carries; the owner's to fill and compare */
    uint8_t *now;      /* what is in force */
    mp_tag_op ops[];
} mp_tagging;

/* NULL without memory. */
mp_tagging *mp_tagging_new(const pond_tags *tags, void *owner, void (*done)(mp_tagging *self));
/* Lane's lock held. To ask for all generations (MP_TAG_GET, or MP_TAG_MAKE with a ttl): begin, then the owner submits `more`
 * operations of its own, each of which calls mp_tagging_one when it has ended, then send. `done` is called when all have ended, which
 * may be in send. */
void mp_tagging_begin(mp_tagging *t, mp_lane *lane, mp_op_kind kind, int64_t ttl_ms, int64_t timeout_ms, size_t more);
void mp_tagging_send(mp_tagging *t);
void mp_tagging_one(mp_tagging *t);
bool mp_tagging_same(const mp_tagging *t); /* all are there, and those that were found */
/* Lane's lock held: `done` will not be called any more. `own`, the key's operation, was forgotten or has ended: what it has brought
 * goes, too. */
void mp_tagging_forget(mp_tagging *t, mp_op *own);
void mp_tagging_free(mp_tagging *t); /* nothing is under way */

#endif
