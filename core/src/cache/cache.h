/* The interface of a cache: operations on one key each, asynchronous, with the leases that make fills safe and the intents that
 * make writes so. Tags are keys, too: each has a generation, and what is stored names the generations that it was loaded under.
 * A cache belongs to a pond (a memory: cache to the process); a link is the part of it that one loop drives. */
#ifndef MP_CACHE_CACHE_H
#define MP_CACHE_CACHE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "engine/loop.h"
#include "engine/shared.h"
#include "model/config.h"
#include "model/envelope.h"
#include "model/key.h"
#include "model/value.h"
#include "observe/metrics.h"

#define MP_TOKEN_LEN 16
#define MP_TAGS_MAX 16 /* of one value */
#define MP_FENCE_LEN 8
#define MP_AT_ONCE (-2) /* CONFIRM: 1 if this server answers only when its file is on the disk; else 0 */
#define MP_ON_DISK (-1) /* CONFIRM: in the append-only file of the server itself */
#define MP_LEASE_MAX_MS (10 * 60 * 1000) /* as the option lease has it: what claims to be longer is no lease's time */

typedef struct mp_cache mp_cache;
typedef struct mp_link mp_link;
typedef struct mp_op mp_op;

typedef enum mp_op_kind {
    MP_GET, /* -> HIT value | MISS (value = NULL; `damaged` if something undecodable stands there). `soft`: also one past its time */
    MP_LEASE, /* get, or be granted the lease: -> HIT value | LEASED fence | BUSY ms | INDOUBT ms. `refresh`: also where there
                    is a value, past its time or not, which then comes with LEASED and BUSY; or RESTING ms. Of a write-behind key (which has
                    no tags) also, instead of LEASED or BUSY: HIT, what was accepted and waits for the store, which is cached again for
                    ttl_ms; or DIRTY, or UNFOLDED */
    MP_FILL,    /* token, fence, value, ttl_ms -> STORED | REFUSED */
    MP_RENEW,   /* token, lease_ms -> STORED | REFUSED */
    MP_RELEASE, /* token, lease_ms (a back-off from refreshing; 0: none) -> DONE | REFUSED (it was not the token's) */
    MP_AWAIT, /* after a BUSY, `ms` as it was answered: -> DONE, when the lease may have ended or gone to somebody else: ask again
                    (too early, now and then). REFUSED: the cache cannot tell now, ask again after a while */
    MP_BEGIN, /* somebody writes: token, lease_ms (how long that stands), `again`, cut_ms -> DONE fence */
    MP_END, /* and has written: token, cut_ms, perhaps fence, value, ttl_ms -> STORED (the value) | DONE. Without a value
                    and with a fresh token it is an invalidation */
    MP_TAG_GET,  /* -> HIT, the tag's generation | MISS */
    MP_TAG_MAKE, /* the same, made if it is missing: token (random), ttl_ms, cut_ms -> HIT | INDOUBT (somebody writes) */
    MP_INSPECT,  /* -> HIT value = JSON object */
    MP_PUBLISH,  /* token (who), value (a JSON object), ttl_ms; without a value: no more -> DONE. The key is nobody's */
    MP_PUBLISHED, /* -> HIT value = JSON array of what others have published. The key is nobody's */
    MP_ADD, /* value (a text), ms (most entries, about): to the end of the stream that the key's bare name names -> DONE. Not repeated: after
                    a failure it may have been added */
    /* Of a write-behind namespace, with `behind` (behind.h). The key of all but ACCEPT and FOLD is a shard's (mp_key_make_shard). */
    MP_ACCEPT, /* value (borrowed; an absence deletes), ttl_ms, keep_ms; or an increment, behind->member -> STORED version | REFUSED, behind->verdict says why */
    MP_EPOCH, /* -> DONE, the epoch is in force | REFUSED: the store must give a higher one. With behind->epoch 0 it only asks: DONE, one is
                    in force | REFUSED fence. An epoch comes with the fence of such a question, which was answered before the store was asked
                    for it: in a later history of the server it is refused, for the store may have given higher ones in between */
    MP_OWN, /* who may try to be the shard's worker: token, lease_ms -> STORED (mine, and renewed) | REFUSED (`ms`: so long yet). lease_ms
                    0: no more -> DONE | REFUSED (it was not the token's) */
    MP_TAKE, /* what waits in the shard, oldest first -> DONE, entries, backlog, epoch. It stays there until it is acked */
    MP_ACK, /* the store has these versions, or newer ones -> DONE, acked of each entry */
    MP_DEAD, /* the store will not have it: to the dead letters, and out of the cache -> STORED | REFUSED (a newer record came) */
    MP_DEAD_LIST, /* dead letters, oldest first -> DONE, entries, backlog, more */
    MP_DEAD_RETRY, /* it waits for the store again, with the version that it had -> STORED | REFUSED, behind->verdict says why */
    MP_DEAD_DROP, /* -> DONE | REFUSED (there is none of this id) */
    MP_FORGET,    /* the sessions of `day` - 2 and the seven days before it -> DONE */
    MP_SUMS, /* which increments of these keys wait: entries (borrowed; their keys and versions) -> DONE fence, sums of each */
    MP_FOLD, /* fence and sums as MP_SUMS gave them, value (borrowed): the document with them; NULL: they are dropped. ttl_ms, keep_ms -> STORED
                version | DONE (dropped) | REFUSED, behind->verdict says why */
    MP_CONFIRM, /* that what was accepted on a connection is safe, too: ms (on so many replicas; MP_ON_DISK), lease_ms (it waits so long at most) -> DONE,
                   ms = on how many it is | BUSY (another one waits: ask again after a while) | REFUSED (that connection was lost) */
    MP_BEHIND_OPEN /* the key is shard 0's -> DONE, ms = 1 if the server writes an append-only file, 0 if not, -1 unknown | FAILED, POND_EOPTION if
                    it must not be used so */
} mp_op_kind;

typedef enum mp_reply {
    MP_PENDING = 0,
    MP_HIT,
    MP_MISSED,
    MP_LEASED,
    MP_BUSY,    /* someone loads; `ms` = what is left of the lease, < 0: unknown */
    MP_RESTING, /* a load failed a short while ago; `ms` = until somebody may refresh again. There is a value */
    MP_INDOUBT, /* someone writes; `ms` = what is left of the intents */
    MP_DIRTY, /* LEASE of a write-behind key: a record of `version`, `value`, waits for the store, from a history of the server that was lost:
                    the newer one of it and what the store has is the value */
    MP_UNFOLDED, /* LEASE of a write-behind key: increments wait: SUMS, then FOLD */
    MP_STORED,
    MP_REFUSED,
    MP_DONE,
    MP_FAILED /* `error` says why: POND_ECACHE, POND_ETIMEOUT, POND_ECLOSED, POND_EPROTOCOL, POND_ENOMEM, POND_EOVERLOAD */
} mp_reply;

/* One operation. The owner sets the upper part, keeps it and what it points to alive until `done` was called, and takes
 * over `value` and `error` then. All but LEASE and TAG_MAKE may be repeated with the same token, whether or not they were done before: a
 * TAG_MAKE that is repeated gets a new one. */
struct mp_op {
    mp_op_kind kind;
    mp_key key; /* of TAG_GET and TAG_MAKE a tag */
    uint8_t token[MP_TOKEN_LEN];
    uint8_t
        fence[MP_FENCE_LEN]; /* in: FILL, END, EPOCH, FOLD; out: LEASE, BEGIN, EPOCH, SUMS; ACCEPT: the link's own */
    int64_t lease_ms, ttl_ms;
    int64_t keep_ms;  /* FILL, END: how long the value is kept past ttl_ms */
    int64_t left;     /* out: GET if `soft`, LEASE if `refresh`: of the value: ms until its time is over; < 0: since */
    int64_t cut_ms;   /* BEGIN and END of a tag, TAG_MAKE: 0, or how long pages may lag (bounded consistency) */
    uint32_t load_ms; /* FILL, END: how long the load took; out, with `left` */
    /* Of a document that is written behind, else 0. FILL: in; GET, LEASE: out, with the value; ACCEPT: out. */
    int64_t version;
    struct mp_behind *behind; /* borrowed; NULL but for ACCEPT and those that follow it */
    int64_t timeout_ms;       /* of the command */
    /* What a value carries, MP_TAG_SIZE bytes a tag in the order of its tags. GET, LEASE: room for as many as the reader knows of (a
     * value with another number of them cannot be served: it is a miss), out: those of the value. FILL, END: in.
     * TAG_GET, TAG_MAKE: room for one, out. */
    uint8_t *generations;
    uint8_t ntags;
    bool tag;     /* BEGIN, END: the key is a tag */
    bool again;   /* BEGIN: not for the first time with this token */
    bool refresh; /* LEASE */
    bool soft;    /* GET; FILL, END: some reader will ask how old the value is */
    /* In: LEASE: the first bytes of a value that cannot be served and counts as absent. Out: GET, LEASE: those of what cannot be
     * decoded, and of every value with tags, for it may have to be rejected. */
    uint8_t rejected_len;
    uint8_t rejected[64];
    bool damaged; /* out: GET: because it cannot be decoded */
    /* In: FILL, END, PUBLISH, ADD, ACCEPT (borrowed). Out: HIT, DIRTY, and LEASED and BUSY of a refresh (the owner's). */
    pond_value *value;
    void (*done)(mp_op *op); /* on the loop's driver, exactly once, perhaps before submit returns */
    mp_shared *shared; /* in: what a cache of this process alone hears others by, or NULL; mp_lane_submit sets it */

    mp_reply reply;
    int64_t ms;                 /* in: AWAIT, ADD */
    pond_error *error;          /* out: FAILED (the owner's) */
    bool resent, parked, timed; /* the link's own, as is: */
    void *link_private;         /* the link's own */
};

typedef struct mp_cache_vt {
    const char *scheme;
    /* The value or absence of `key` if the answer needs no wait and it is fresh, whatever a draw for an early refresh (the option, or 0)
     * may say; a new reference, else NULL. NULL where every answer waits. `shared` as in mp_op. @threads any */
    pond_value *(*peek)(mp_cache *cache, mp_shared *shared, const mp_key *key, int64_t early_refresh, int64_t now_ms);
    /* The same of a value with these tags, if their generations are still its own. NULL where peek is. */
    pond_value *(*peek_tagged)(mp_cache *cache, mp_shared *shared, const mp_key *key, const mp_key *tags, uint8_t ntags,
                               int64_t early_refresh, int64_t now_ms);
    /* NULL without memory. @threads the loop's */
    mp_link *(*link_open)(mp_cache *cache, mp_loop *loop);
    /* Ends what is pending with FAILED, POND_ECLOSED. @threads the loop's */
    void (*link_close)(mp_link *link);
    /* @threads the loop's */
    void (*submit)(mp_link *link, mp_op *op);
    /* The owner gives `op` up: its `done` is not called any more, and the owner may free it. A lease that is granted to it
     * later is released. @threads the loop's */
    void (*forget)(mp_link *link, mp_op *op);
    /* Is the operation still here, with most of its time left? Then whoever asks the same now may share its answer, which cannot be
     * older than now. NULL where none waits. @threads the loop's */
    bool (*unsent)(mp_link *link, const mp_op *op);
    /* Appends `"name": {...}` members about the cache as a whole to a JSON object (connections, bytes...).
     * @threads any */
    void (*describe)(mp_cache *cache, mp_buf *json);
    /* The gauges that it knows; the others stay as they are. @threads any */
    void (*measure)(mp_cache *cache, int64_t gauges[MP_GAUGES]);
    /* All that is cached goes. NULL where others have it in common. @threads any */
    void (*clear)(mp_cache *cache);
    /* No link is open any more. @threads any */
    void (*close)(mp_cache *cache);
    /* In the child of a fork: a cache of this process's own in the place of `inherited`, which is left where it is; what is
     * immutable in it may be shared. */
    int (*reopen)(mp_cache **out, mp_cache *inherited, const mp_options *options, pond_error **err);
} mp_cache_vt;

struct mp_cache {
    const mp_cache_vt *vt;
};
struct mp_link {
    const mp_cache_vt *vt;
};

/* By scheme; `options->cache` was chosen by api/open.c. POND_EURL names the part of the address that cannot be used, and
 * never shows a password. */
int mp_memory_open(mp_cache **out, const mp_options *options, pond_error **err);
int mp_redis_open(mp_cache **out, const mp_options *options, pond_error **err);

#endif
