/* Replies: hiredis' own layout, so that it can handle them, in one allocation with the bytes and a pond_value over them.
 * A cached value then goes from the socket to the caller without another copy. */
#ifndef MP_CACHE_REDIS_REPLY_H
#define MP_CACHE_REDIS_REPLY_H

#include <hiredis/hiredis.h>
#include "model/value.h"

typedef struct mp_text {
    redisReply reply; /* first: hiredis sees a redisReply */
    pond_value value; /* used once mp_reply_value was called */
    char bytes[];
} mp_text;

/* How the reader makes them. */
extern redisReplyObjectFunctions mp_reply_functions;

void mp_reply_free(redisReply *reply);
/* Turns a text reply into a value over `len` bytes of it from `at`. The reply belongs to the value from then on. */
pond_value *mp_reply_value(redisReply *reply, pond_codec codec, const char *at, size_t len);

#endif
