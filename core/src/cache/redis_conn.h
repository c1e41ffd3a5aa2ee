/* One connection to one Redis node, driven by one loop: connect, TLS, handshake, pipeline, deadlines, reconnect with backoff.
 * It knows commands and replies, and nothing of what they mean. */
#ifndef MP_CACHE_REDIS_CONN_H
#define MP_CACHE_REDIS_CONN_H

#include <hiredis/hiredis.h>
#include "base/list.h"
#include "cache/redis_address.h"
#include "engine/loop.h"

typedef struct mp_conn mp_conn;

/* One command under way. The owner embeds it. */
typedef struct mp_cmd {
    mp_node node;
    int64_t sent, deadline, timeout;
    /* Once. `reply` is the callee's (mp_reply_free), or NULL, and then `error` says why (borrowed). */
    void (*done)(struct mp_cmd *cmd, redisReply *reply, pond_error *error);
    /* The deadline passed; `done` will still be called, when the reply or the connection's end comes. What stands for several may set the deadline of
     * the next, and be late no more: then it is called again. */
    void (*late)(struct mp_cmd *cmd);
    bool is_late; /* or given up with its connection, on which nothing was heard in time */
    bool unsent;  /* it waits to be written */
    bool
        cut; /* done without a reply: the server closed a connection that stood, which says nothing of whether it is there */
} mp_cmd;

typedef struct mp_conn_events {
    void *owner;
    /* The connection stands: send the handshake with mp_conn_send and answer mp_conn_ready or mp_conn_drop later. */
    void (*connected)(void *owner);
    /* It does not stand any more; its commands are ended next. `waited`: connect_timeout passed. */
    void (*lost)(void *owner, pond_error *why, bool waited);
    /* And have been. */
    void (*left)(void *owner, pond_error *why, bool waited);
    /* The server said something that nobody asked for (RESP3); borrowed. NULL: it is of no interest. */
    void (*pushed)(void *owner, const redisReply *push);
} mp_conn_events;

/* To `address`, in the way that it names. */
mp_conn *mp_conn_new(mp_loop *loop, const mp_address *address, int64_t connect_timeout, mp_conn_events events);
void mp_conn_free(mp_conn *conn); /* commands under way are ended with an error */

/* In MP_CONN_SECURING TLS is negotiated; the handshake is the owner's. */
typedef enum mp_conn_state {
    MP_CONN_DOWN,
    MP_CONN_CONNECTING,
    MP_CONN_SECURING,
    MP_CONN_HANDSHAKE,
    MP_CONN_READY
} mp_conn_state;
mp_conn_state mp_conn_state_of(const mp_conn *conn);
/* Connects if it is down and the backoff has passed. Returns the error that stands in the way, borrowed, or NULL. */
pond_error *mp_conn_up(mp_conn *conn);
void mp_conn_retry(mp_conn *conn); /* the same, whatever the backoff says */
void mp_conn_ready(mp_conn *conn); /* the handshake is done */
/* Closes it; `why` is taken over. The next mp_conn_up waits for the backoff, unless the connection had stood. */
void mp_conn_drop(mp_conn *conn, pond_error *why);
/* As it does itself where a command had its whole time, from `since` on, and not a byte came: a new connection may be better. */
void mp_conn_drop_silent(mp_conn *conn, int64_t since);
bool mp_conn_doomed(const mp_conn *conn); /* it will be closed as soon as that can be */
/* The answer to `cmd` says that this is no connection to go on with: it is closed as if the server had cut it, before it answered
 * `cmd`, which was the last to be answered. */
void mp_conn_replace(mp_conn *conn, mp_cmd *cmd, pond_error *why);
/* Queues one command, already in RESP. `late` comes at the deadline; the connection is given up if after timeout_ms nothing was
 * heard on it. False: no memory or too much waits; nothing was queued. */
bool mp_conn_send(mp_conn *conn, mp_cmd *cmd, const char *resp, size_t len, int64_t timeout_ms, int64_t deadline);

#endif
