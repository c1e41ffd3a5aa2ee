/* Write-behind's side of a store (protocol.md, section 8; write-behind.md): a worker takes batches of documents there, each with a version.
 *
 * Two things make that safe, whatever worker was killed, stopped or cut off, and for how long. Each shard of a backlog has a fence: a
 * document that names its owner, and that every flush writes, in the same transaction, so that a flush of who is not the owner any more
 * cannot be committed. And an older version never replaces a newer one: a document keeps its version, one that was deleted leaves it
 * beside the collection for seven days. Versions are epoch << 40 | number; the epoch comes from the store. */
#ifndef MP_STORE_BEHIND_H
#define MP_STORE_BEHIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "model/value.h"

typedef struct mp_flush_row {
    const char *id; /* borrowed */
    size_t id_len;
    int64_t version;
    const pond_value *value; /* the document as a get gives it; the absence: it is deleted. Borrowed */
    bool
        verify; /* it was accepted in an older epoch than the shard's, or in a history of the server that was lost: it may have been deleted since */
    bool stale; /* out, of `verify`: it was, and was left out */
} mp_flush_row;

typedef struct mp_flush {
    const char *collection;
    const uint8_t *owner;      /* 16 bytes */
    const char *const *shards; /* whose rows these are: "ns/s3", the names of their fences */
    size_t nshards;
    mp_flush_row *rows; /* ids differ */
    size_t n;
    size_t poison; /* out: MP_FLUSH_POISON: its place among the rows */
} mp_flush;

typedef enum mp_flushed {
    MP_FLUSHED,
    /* Nothing was written: */
    MP_FLUSH_LOST,     /* somebody else owns one of the shards */
    MP_FLUSH_POISON,   /* *err: what is wrong with one of the rows, which will be so each time */
    MP_FLUSH_CONFLICT, /* others write the same documents now: at once again, with fewer */
    /* Perhaps nothing was: */
    MP_FLUSH_FAILED /* *err: the store cannot be reached, or cannot do it now. Own the shards anew before the next try: that ends what
                       may be under way */
} mp_flushed;

#endif
