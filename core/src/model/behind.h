/* What an operation on a backlog asks and answers, wherever that stands: in Redis (MP_ACCEPT and those that follow it in cache/cache.h), or in a
 * file (store/journal.h). */
#ifndef MP_MODEL_BEHIND_H
#define MP_MODEL_BEHIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "model/json_increment.h"
#include "model/key.h"
#include "model/value.h"

#define MP_BEHIND_ID_MAX                                                                                               \
    40 /* an entry's id, its place in the queue; of a dead letter "ms-seq". What is longer is no id */
#define MP_BEHIND_SUMS 100  /* members of a document whose increments wait: of others only when those are folded */
#define MP_BEHIND_MOST 1000 /* entries of one answer, whatever is asked for */

/* What an ACCEPT relies on. */
typedef enum mp_expect {
    MP_EXPECT_ANY,     /* nothing */
    MP_EXPECT_VERSION, /* the document is the one of `expect_version` */
    MP_EXPECT_ABSENT   /* there is no document */
} mp_expect;

/* Why an ACCEPT, an EPOCH or a DEAD_RETRY was REFUSED. */
typedef enum mp_behind_verdict {
    MP_VERDICT_OK,
    MP_STALE_FENCE, /* the shard has no epoch under the fence in force (it is new, or the server lost a part of its history), or its numbers
                       are used up: take an epoch from the store, EPOCH, and accept again. EPOCH: the store must give a higher one */
    MP_FULL,    /* `most` entries wait in the shard */
    MP_CHANGED, /* another version than expected, or it is not known here, or increments wait that must be folded first: read, and try again.
                   FOLD: what was read is not so any more. DEAD_RETRY: a newer one is known */
    MP_EXISTS,  /* a document, where none was expected */
    MP_OLD_NUMBER, /* a number below the slot's last one; nothing was accepted. Only a bug asks so */
    MP_NO_LETTER,  /* there is none of this id, key and version */
    MP_ABSENT,     /* an increment: there is no document */
    MP_FORGOTTEN   /* an increment that was sent before: the server has lost whether it was accepted */
} mp_behind_verdict;

/* One entry of a shard's queue: a key that has something to flush, or a dead letter. */
typedef struct mp_behind_entry {
    char id[MP_BEHIND_ID_MAX]; /* NUL-terminated */
    char *key;                 /* the user's key, NUL-terminated */
    size_t key_len;
    int64_t version; /* of the record; 0: there is none. Of a damaged one: what stands in its place */
    pond_value *
        value; /* the document, or the absence of who deletes it. NULL: there is no record (flushed before: only ack it), or
                          it is damaged */
    bool old_fence; /* accepted in a history of the server that was lost since: perhaps others know of a newer one */
    bool damaged;   /* the record cannot be read */
    bool large;     /* it has a record that is over `bytes_most` alone, and which did not come */
    struct mp_sums *
        increments; /* DEAD_LIST: those that were put aside with it; NULL: none. `version` is theirs if there is nothing else */
    char *why; /* DEAD_LIST: what the store had against it, NUL-terminated; NULL else */
    size_t why_len;
    int acked;     /* ACK, out: 1; 0: a newer record came, and waits in an entry of its own */
    bool unfolded; /* its increments are not in `value` yet: it is left as it is. The caller's own */
} mp_behind_entry;

/* The increments of a key that wait, and the record that they are to be added to. Of an entry whose record is still the one that was taken, and that
 * none wait for, all is 0. */
typedef struct mp_sums {
    int64_t first, newest; /* versions of the first and the newest increment; 0: none wait */
    mp_sum *sum;
    size_t n;
    pond_value *
        value; /* as that of an entry, with `version` and `old_fence`; NULL: there is no record, the store has the document */
    int64_t version;
    bool old_fence, damaged; /* `damaged`: the record, or what waits, cannot be read */
} mp_sums;

typedef struct mp_behind {
    /* ACCEPT, in. */
    mp_expect expect;
    int64_t expect_version;
    int64_t day;  /* FORGET, in: today, since 1970 */
    int64_t most; /* in: ACCEPT, DEAD_RETRY: entries that may wait in the shard; TAKE, DEAD_LIST: most entries */
    /* in: TAKE, DEAD_LIST: of their records; 0: no bound. The first entry comes, whatever it has; TAKE: as `large`, if that is over it */
    int64_t bytes_most;
    char after[MP_BEHIND_ID_MAX]; /* in: TAKE, DEAD_LIST: the id to begin behind; "": from the oldest on */
    /* TAKE, DEAD_LIST: out, the owner's (mp_behind_clear), none when it is sent. In, borrowed: ACK: any; DEAD, DEAD_DROP, DEAD_RETRY: one. */
    mp_behind_entry *entries;
    size_t count;
    /* out: TAKE: the id of the entry that came last, and behind a '-' that of the last one that went behind others though the store does not have
     * it, if there is one; "": there is none */
    char newest[MP_BEHIND_ID_MAX];
    int64_t backlog;           /* out: TAKE: entries of the shard; DEAD_LIST: dead letters of the shard */
    bool more;                 /* out: DEAD_LIST: others follow those that came */
    int64_t epoch;             /* EPOCH: in, and out: the one in force. ACCEPT, TAKE: out: the shard's; 0: none yet */
    mp_behind_verdict verdict; /* out: ACCEPT, EPOCH, DEAD_RETRY, FOLD */
    /* ACCEPT, in, borrowed: an increment of this member instead of a value; NULL: none. */
    const char *member;
    size_t member_len;
    int64_t by;
    bool increments; /* TAKE, out: there may be some that wait */
    mp_sums *sums;   /* SUMS: out, one for each entry, the owner's (mp_sums_clear, free). FOLD: in, borrowed: one */
    /* ACCEPT, in: a CONFIRM will follow, so it goes by the connection of those; out: which connection that was. CONFIRM, in: that one; 0: any. */
    bool confirmed;
    uint64_t connection;
    /* ACCEPT, DEAD_RETRY: by what the cache knows it if it is sent again. The cache's own; NULL when it is submitted, and when it has ended. */
    struct mp_once *once;
    uint8_t part;
    bool again;
    const char *error; /* in: DEAD: why, in words */
    size_t error_len;
} mp_behind;

/* The key that an entry of the shard `of` names, in `name` (MP_NAME_MAX + 1 bytes). Of one that no client makes, what nothing stands under. */
mp_key mp_behind_entry_key(char *name, const mp_key *of, const mp_behind_entry *entry);
/* Frees the entries with their keys and values, and forgets them. */
void mp_behind_clear(mp_behind *behind);
/* Frees what it holds, and forgets it. */
void mp_sums_clear(mp_sums *sums);

#endif
