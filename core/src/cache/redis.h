/* What the files of the redis cache share. A cache has nodes (one, until Cluster); a link has a line to each node. */
#ifndef MP_CACHE_REDIS_H
#define MP_CACHE_REDIS_H

#include "base/buf.h"
#include "model/behind.h"
#include "cache/cache.h"
#include "cache/redis_breaker.h"
#include "cache/redis_conn.h"
#include "cache/redis_fence.h"
#include "cache/redis_scripts.h"

typedef struct mp_node_entry { /* a row of the node table */
    mp_address address;
    mp_fence fence;
    mp_breaker breaker;
} mp_node_entry;

/* How waits for others' loads were last done. */
typedef enum mp_waits { MP_WAITS_NOT_YET, MP_WAITS_PUSHED, MP_WAITS_POLLED } mp_waits;

typedef struct mp_redis {
    mp_cache cache; /* first */
    bool fenced;    /* option fence */
    int64_t connect_timeout, command_timeout;
    size_t nodes;
    mp_node_entry *node;                    /* nodes of them */
    _Atomic uint32_t connections, connects; /* that stand, and that were made */
    struct mp_tls *tls;                     /* that their addresses name */
    pthread_mutex_t lock;
    char problem[640]; /* the last one, for describe; empty: none */
    _Atomic int waits; /* mp_waits */
} mp_redis;

typedef struct mp_line mp_line;
typedef struct mp_notify mp_notify;
typedef struct mp_once mp_once;
#define MP_SESSION_LEN 16

/* A command on a line; `op` NULL: its owner gave it up, or it is the line's own. */
typedef struct mp_request {
    mp_cmd cmd;
    mp_line *line;
    mp_op *op;
    bool confirms;            /* CONFIRM: nothing else runs on its connection until it ends */
    bool evaluated;           /* sent with the script's text, after a NOSCRIPT */
    uint8_t again;            /* how often the operation was asked before */
    int64_t pttl;             /* GET: what the command before it has answered */
    redisReply *odd;          /* the same, if it was no number; the request's */
    struct mp_request *timed; /* PTTL: the GET behind it; NULL: it was not sent */
    bool gathered;            /* a put that waits for the end of the turn, in the line's puts */
    bool held;                /* or, behind that, for an answer */
    int64_t after;            /* a put that was sent: how long after the call's deadline its own is */
    struct mp_request
        *together; /* a put: the next one of the same call, of which the first one's command stands for all */
    uint8_t fence[MP_FENCE_LEN];
    char *forgotten; /* LEASE or RELEASE whose owner went away: the name and the token to release it by */
    mp_key forgotten_key;
    uint8_t token[MP_TOKEN_LEN];
    struct mp_request *next_free;
} mp_request;

struct mp_line {
    mp_redis *redis;
    mp_node_entry *node;
    mp_loop *loop;
    mp_conn *conn;
    mp_notify *notify; /* made with the first MP_AWAIT */
    bool fence_asked;
    uint8_t fence[MP_FENCE_LEN];
    int64_t fence_sent; /* when the last check was sent */
    bool fence_doubted; /* a change was refused since that carried it */
    mp_node
        puts; /* requests that go out at the end of the turn, under this fence: while it is asked for, there are none */
    unsigned gathered; /* of them */
    unsigned calls;    /* of changes that are under way */
    mp_task send_puts;
    mp_timer held;                   /* the earliest deadline of those that wait for the answer to one of the calls */
    int64_t replaced;                /* when a connection was given up for what the server said */
    mp_node waiting;                 /* operations until the handshake is done */
    mp_node stranded, stranded_puts; /* those and `puts` of a connection that was lost: what it was sent comes first */
    mp_timer timer;                  /* the earliest of their deadlines */
    mp_request *free;
    unsigned free_count;
    mp_node doubts; /* leases that may stand for nobody: the word on them was lost with a connection */
    unsigned doubt_count;
    mp_buf scratch;
    uint8_t session[MP_SESSION_LEN]; /* by what the server knows the line */
    mp_once *once, *once_free;       /* all, and those that are free */
    uint16_t onces;
    uint64_t made;       /* how often it has connected: names the connection */
    unsigned confirming; /* CONFIRMs under way */
    bool patient;        /* the server lets it wait when it is well: the breaker has nothing to learn from it */
    bool stands;         /* the connection, and is counted */
    bool closing;
};

typedef struct mp_redis_link {
    mp_link link; /* first */
    mp_redis *redis;
    mp_line *
        patient; /* for changes that are confirmed (MP_CONFIRM), which would hold up what others ask; NULL: there was none yet */
    mp_line line[]; /* one a node */
} mp_redis_link;

/* The last problem, for describe; empty: none. @threads any */
void mp_redis_problem(mp_redis *redis, const char *text);

/* redis_line.c: connection, handshake and fence. */
bool mp_line_open(mp_line *line, mp_redis *redis, mp_node_entry *node, mp_loop *loop);
void mp_line_close(mp_line *line);
void mp_line_submit(mp_line *line, mp_op *op);
void mp_line_forget(mp_line *line, mp_op *op);
bool mp_line_unsent(const mp_line *line, const mp_op *op);
/* What becomes of a request, for those that are sent together. */
void mp_line_heard(mp_line *line, const mp_cmd *cmd);
/* Is this answer a reason to ask again on another connection? Then it was freed, and `cmd` will be done without one. */
bool mp_line_replaced(mp_line *line, const mp_op *op, mp_cmd *cmd, redisReply *reply);
/* With `cut`, `is_late` and `deadline` of its cmd. Takes over the reply, but for a put's. */
void mp_line_conclude(mp_request *request, redisReply *reply, pond_error *error);
void mp_line_late(mp_request *request);
void mp_line_unsendable(mp_request *request);

/* redis_puts.c: changes, without increments. */
bool mp_is_put(const mp_op *op);
void mp_puts_init(mp_line *line);
void mp_puts_add(mp_line *line, mp_request *request, int64_t deadline); /* it goes out at the end of the turn */
void mp_puts_send(mp_line *line);                                       /* or now */
void mp_puts_send_before(mp_line *line, const mp_op *op); /* if one is of its key: who asked first is served first */
void mp_put_forget(mp_request *request);                  /* one that was not sent */
/* The connection was lost, or the line closes: those that were not sent go out no more, and have ended then. */
void mp_puts_strand(mp_line *line);
void mp_puts_end(mp_line *line, pond_error *why);

/* redis_once.c: what is known if it is sent again. */
/* Its own, unless it has one, which is said in `again` then. False: there is none, without memory or as too many are under way. */
bool mp_once_take(mp_line *line, mp_behind *behind);
void mp_once_share(mp_behind *behind, mp_once *with, uint8_t part);
void mp_once_leave(mp_behind *behind); /* nobody waits for it; NULL, or one that has none: nothing happens */
void mp_once_free(mp_line *line);      /* nobody has one */
int64_t mp_once_day(const mp_behind *behind);
void mp_once_args(mp_buf *out, const mp_behind *behind); /* session and slot, and n */

/* redis_request.c. `op` NULL: the line's own. */
mp_request *mp_request_new(mp_line *line, mp_op *op);
void mp_request_free(mp_request *request);
void mp_requests_free(mp_line *line); /* those that are kept */
/* Sends what stands in the line's scratch; false: it was not, and the request is gone. The latter for the line's own commands. */
bool mp_request_send(mp_line *line, mp_request *request, int64_t timeout_ms, int64_t deadline);
bool mp_request_send_own(mp_line *line, mp_request *request);
/* Its owner goes away: a lease that it grants, or was to give back, is the line's to care for. */
void mp_request_forget(mp_request *request, const mp_key *key, const uint8_t *token);

/* redis_doubt.c */
void mp_doubt_remember(mp_line *line, const mp_key *key, const uint8_t *token);
void mp_doubts_end(mp_line *line); /* a connection stands, or the line closes */
void mp_lease_release(mp_line *line, const mp_key *key, const uint8_t *token);

/* redis_command.c: operations to RESP, replies to answers. */
void mp_command_encode(mp_buf *out, const mp_op *op, const uint8_t *fence, bool with_text);
void mp_command_pttl(mp_buf *out, const mp_key *key); /* of its value */
void mp_command_script(mp_buf *out, mp_script_id script, bool with_text, size_t nkeys, size_t nargs);
void mp_command_arg(mp_buf *out, const void *data, size_t len);
void mp_command_number(mp_buf *out, int64_t number);
void mp_command_envelope(mp_buf *out, const mp_op *op, const uint8_t *fence); /* of op->value */
/* The same of what waits for the store, in two: the script puts version and fence between them. */
void mp_command_record_head(mp_buf *out, const mp_op *op);
void mp_command_record_tail(mp_buf *out, const mp_op *op);
void mp_command_lease_args(mp_buf *out, const mp_op *op, const uint8_t *fence);
typedef enum mp_verdict {
    MP_ANSWERED,        /* op->reply is set */
    MP_AGAIN_REJECTING, /* LEASE: what stands there cannot be served: once more, op->rejected is set */
    MP_AGAIN_TIMED,     /* GET: it may be past its time: once more, with the time that is left */
} mp_verdict;
#define MP_PTTL_UNKNOWN INT64_MIN
/* Takes over the reply. `fence` is the one in force, `asked_under` the one that the command carried; `pttl`: GET: of the value, asked for
 * just before it. */
mp_verdict mp_command_decode(mp_op *op, redisReply *reply, const uint8_t *fence, const uint8_t *asked_under,
                             int64_t pttl);
/* redis_published.c: the two operations that are about no key. */
void mp_publish_encode(mp_buf *out, const mp_op *op, bool with_text);
void mp_published_encode(mp_buf *out, bool with_text);
mp_reply mp_published_decode(mp_op *op, const redisReply *reply); /* HIT, or FAILED with its error */
void mp_op_end(mp_op *op, mp_reply reply, pond_error *error);     /* calls done */
mp_reply mp_op_odd(mp_op *op); /* FAILED, with the error of an answer that is none of the protocol's */
int64_t mp_reply_integer(const redisReply *reply, size_t i); /* of an array; -1: that is no integer */

/* redis_behind.c, redis_behind_reply.c, redis_dead.c: the operations with `behind`, and what LEASE, END and INSPECT are of a write-behind key. */
void mp_behind_encode(mp_buf *out, const mp_op *op, const uint8_t *fence, bool with_text);
void mp_behind_lease_encode(mp_buf *out, const mp_op *op, const uint8_t *fence, bool with_text);
void mp_behind_end_encode(mp_buf *out, const mp_op *op, bool with_text);
void mp_behind_inspect_encode(mp_buf *out, const mp_op *op, bool with_text);
/* The call of wb_put.lua or wb_puts.lua of `count` requests: `first` and what is together with it. */
void mp_behind_encode_puts(mp_buf *out, const mp_request *first, size_t count, const uint8_t *fence);
mp_verdict mp_put_decode(mp_op *op, const redisReply *reply);                  /* of one of them: ANSWERED */
mp_reply mp_behind_decode(mp_op *op, redisReply *reply, const uint8_t *fence); /* takes values out of the reply */
mp_reply mp_behind_dirty(mp_op *op, redisReply *reply,
                         const uint8_t *fence); /* the same of a LEASE that found a record */
typedef enum mp_taken { MP_TAKEN, MP_TAKEN_ODD, MP_TAKEN_NO_MEMORY } mp_taken;
/* An entry out of so many elements of a reply, whose value may be taken out of it. */
typedef mp_taken mp_take_one(mp_behind_entry *entry, redisReply **of, const uint8_t *fence);
mp_take_one mp_behind_take; /* three: its id, the key, the record */
/* `n` of them, of `width` elements each: op->behind->entries. */
mp_reply mp_behind_take_all(mp_op *op, redisReply **from, size_t n, size_t width, mp_take_one *take,
                            const uint8_t *fence);
/* A hash of increments that wait, members and sums in turn. What cannot be read is `damaged`. */
mp_taken mp_behind_take_sums(mp_sums *out, const redisReply *hash);
mp_reply mp_behind_no_memory(mp_op *op, const char *what);
mp_reply mp_dead_list_decode(mp_op *op, redisReply *reply, const uint8_t *fence);
mp_reply mp_dead_retry_decode(mp_op *op, const redisReply *reply);

/* redis_error.c: error replies, by their names. */
typedef enum mp_remedy {
    MP_REMEDY_NONE,     /* the operation fails */
    MP_REMEDY_TEXT,     /* once more, with the script's text */
    MP_REMEDY_RECONNECT /* the server is not what it was: once more on a new connection, which begins with the fence */
} mp_remedy;
mp_remedy mp_remedy_of(const redisReply *reply);
/* The same as an error of ours, with advice. */
pond_error *mp_command_error(const redisReply *reply, const mp_address *address);

#endif
