/* Waiting for the end of others' leases (protocol.md, section 7): a second connection of a line, on which the server tells when a
 * lease that was asked about on it is renewed, released, revoked, or over (CLIENT TRACKING).
 *
 * It decides nothing: a wait ends with "ask again", and what is asked then goes over the line, under its fence. So whatever is
 * told too early, twice or of an old wait is harmless, and after a doubt everybody asks again. */
#ifndef MP_CACHE_REDIS_NOTIFY_H
#define MP_CACHE_REDIS_NOTIFY_H

#include "cache/redis.h"

/* NULL without memory. Connects with the first wait. */
mp_notify *mp_notify_new(mp_redis *redis, mp_node_entry *node, mp_loop *loop);
/* Ends what waits with FAILED, POND_ECLOSED. */
void mp_notify_free(mp_notify *notify);
void mp_notify_submit(mp_notify *notify, mp_op *op); /* an MP_AWAIT */
void mp_notify_forget(mp_notify *notify, mp_op *op);
/* The line's own connection was lost: who waits asks again, and on a new connection, for the next may lead to another server. NULL
 * is fine. */
void mp_notify_distrust(mp_notify *notify, pond_error *why);

#endif
