/* One pond with one queue against one scripted server, all in this thread and under virtual time: nothing happens but when the
 * test says so, and the test knows to the millisecond when it does. For tests whose name begins with "virtual". */
#ifndef TEST_SUPPORT_WORLD_H
#define TEST_SUPPORT_WORLD_H

#include "support/peer.h"
#include "support/support.h"
#include "virtual/virtual.h"

/* What the server says to the commands of one kind, counted from 0: to those in [from, to). */
typedef struct world_rule {
    fake_kind kind;
    int from, to; /* to 0: for good */
    peer_reply reply;
} world_rule;

enum { WORLD_RULES = 4 };

extern struct world {
    peer *server;
    pond *p;
    pond_queue *queue;
    int64_t began;
} world;

/* `rules`: WORLD_RULES of them, or NULL; what none speaks of is answered as by an empty Redis, at once. `url` NULL: the
 * server's. `options`: names and values, and NULL. */
void world_open(const world_rule *rules, const char *url, const char *const *options);
void world_rules(const world_rule *rules); /* others, counted anew */
int world_seen(fake_kind kind);            /* how many commands of this kind came since */
void world_close(void);
int64_t world_now(void); /* since it began */

typedef enum world_call { WORLD_FETCH, WORLD_LOOKUP, WORLD_EXPLAIN, WORLD_INVALIDATE } world_call;
void world_start(world_call call);               /* of the key "k" */
void world_start_key(world_call call, char key); /* of a key of one letter */

/* The next event, and when it came; NULL: none until `ms`, which is now. */
pond_event *world_event(int64_t ms, int64_t *at);
void world_pass_to(int64_t ms); /* without an event */
/* The next event must come exactly then, and be that: "a load", "a value", "a miss", "ok", or an error's name. */
pond_event *world_expect(const char *name, int64_t at, const char *wanted);

#endif
