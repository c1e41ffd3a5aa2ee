/* Publishing (option publish_stats): what a pond has counted goes to the cache from time to time, where others find it. Each lane has
 * a timer; of all of a pond's lanes the first whose timer fires when it is due does it. */
#ifndef MP_PATTERN_PUBLISH_H
#define MP_PATTERN_PUBLISH_H

#include <stdatomic.h>
#include "cache/cache.h"

#define MP_PROCESS_LEN 8    /* bytes that name a process among those that use a cache */
#define MP_PUBLISH_MISSES 3 /* a process that did not publish so often in a row is taken to have ended */

typedef struct mp_publisher { /* of a pond */
    uint8_t id[MP_TOKEN_LEN];
    int64_t opened;
    _Atomic int64_t due;
} mp_publisher;

typedef struct mp_publication { /* of a lane */
    struct mp_lane *lane;
    bool on;
    mp_timer timer;
    mp_op op;
} mp_publication;

void mp_publisher_init(mp_publisher *publisher);
/* A token that nobody else makes: it begins with the process, so that who looks at a lease can tell whose it is (`millpond inspect`),
 * and the other eight bytes are random. @threads any */
void mp_process_token(const mp_publisher *publisher, uint8_t token[MP_TOKEN_LEN]);
/* Lane's lock held, or nobody else knows it yet. Nothing happens unless the option says so. */
void mp_publish_start(struct mp_lane *lane);
/* Lane's lock held: no more on this lane. If the whole pond ends, others are told. */
void mp_publish_stop(struct mp_lane *lane);

#endif
