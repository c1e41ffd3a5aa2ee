/* A scripted server that lives in the test's own thread and knows no clock: it moves when it is told to, so that with virtual time
 * everything happens at a moment that the test names. What it hears and says are a fake_conn's. */
#ifndef TEST_SUPPORT_PEER_H
#define TEST_SUPPORT_PEER_H

#include <stdint.h>
#include "support/fake.h"

typedef struct peer peer;

typedef enum peer_act {
    PEER_ANSWER,      /* as an empty Redis would */
    PEER_SAY,         /* `text` */
    PEER_CLOSE,       /* hang up */
    PEER_HALF_CLOSE,  /* in the middle of the answer */
    PEER_SILENT,      /* nothing any more, on this connection */
    PEER_HALF_SILENT, /* half the answer, and nothing any more */
} peer_act;

typedef struct peer_reply {
    peer_act act;
    int64_t after_ms; /* not before; what comes later waits for it */
    const char *text;
} peer_reply;

/* `says` is asked about every command that comes. */
peer *peer_new(peer_reply (*says)(const fake_conn *c, void *ctx), void *ctx);
void peer_free(peer *p);
const char *peer_url(const peer *p);
/* Accepts, reads, answers what is due; true if there was anything to do. A stopped one does nothing of it. */
bool peer_turn(peer *p, int64_t now_ms);
int64_t peer_next(const peer *p); /* when the next answer is due; INT64_MAX: none is */
void peer_stop(peer *p, bool stopped);
void peer_refuse(peer *p, bool refuses); /* nobody listens, and whoever was connected is cut */
int peer_connections(const peer *p);     /* accepted so far */
/* On the connection of that number, which must be open: says what nobody asked for, now; or hangs up. */
void peer_push(peer *p, int number, const char *text);
void peer_cut(peer *p, int number);

#endif
