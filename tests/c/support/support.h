/* What the tests of the engine and of the patterns share: ponds, threads that fetch, queues watched by their descriptors. */
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <millpond/millpond.h>

int64_t clock_ms(void);
void rest_ms(int64_t ms);
/* A test that hangs must not hang the suite: the program ends with a word after so many seconds. */
void watchdog(unsigned seconds);
/* A number that differs from call to call, reproducible by MILLPOND_TEST_SEED. @threads any */
uint32_t dice(uint32_t below);
bool slow_build(void); /* under a sanitizer: fewer rounds do */
size_t count_fds(void);
size_t count_threads(void);
/* Until no more than these are left. A worker may be who frees a pond: that is gone, with its descriptors and what a
 * test lent it, only when the worker is. */
void await_threads(size_t most);

/* Opens a pond, or fails the test. After `cache` come pairs: name, value... and NULL. A rediss: cache trusts the test's authority. */
pond *pond_made(const char *cache, ...);
/* Its collection "films", with n options, a name and a value each, and prepared. */
pond_collection *films_made(pond *p, const char *const *options, size_t n);
/* What readers of a collection get; text NULL: that there is none. */
void films_read(pond_collection *c, const char *id, const char *text);
pond_policy *policy_made(pond *p, ...);
/* "name-<pid>-<n>": what nobody used before. Borrowed until this thread's sixteenth call from here. */
const char *fresh(const char *name);

/* A new folder, and the address of a database in it, "sqlite:FOLDER/shop.db"; and its end: what rmdir says. */
enum { SHOP_FOLDER = 64, SHOP_ADDRESS = 100 };
void shop_make(char folder[SHOP_FOLDER], char address[SHOP_ADDRESS]);
int shop_remove(const char *folder);

/* A door: closed until somebody opens it, then open for good. */
typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool open;
} gate;
void gate_init(gate *g);
void gate_open(gate *g);
bool gate_wait(gate *g, int64_t within_ms); /* false: still closed */
void gate_destroy(gate *g);

/* What a loader does: tells that it began, waits to be let go, answers. */
typedef struct script {
    const char *value; /* NULL: absent */
    int fail;          /* a code: fails instead */
    unsigned flags;
    int64_t delay_ms;
    gate *began, *go;
    atomic_int calls;
} script;
void run_script(pond_load *load, void *ctx);

/* A thread that makes one fetch. */
typedef struct fetcher {
    pond *p;
    const char *key;
    pond_policy *policy;
    script script;
    pthread_t thread;
    int code; /* what came of it */
    pond_state state;
    char text[128]; /* the value, or the error's message */
    int64_t took_ms;
} fetcher;
void fetcher_start(fetcher *f);
void fetcher_join(fetcher *f);
/* The same in this thread. */
int fetch(fetcher *f);
/* One fetch whose loader gives `value`: what came out, in a buffer that the next call uses anew. */
const char *fetch_text(pond *p, const char *key, pond_policy *policy, const char *value);
/* What the cache holds, without loading: the text, "(absent)" or "(miss)". */
const char *lookup_text(pond *p, const char *key, pond_policy *policy);
void invalidate(pond *p, const char *key, pond_policy *policy); /* or fails the test */
/* Waits until a counter has this value; fails the test after 5 s. */
void await_stat(pond *p, const char *ns, const char *counter, uint64_t value);

/* Some queues, driven only when their descriptors are readable, as a host's loop does. */
enum { DESK_QUEUES = 4 };
typedef struct desk {
    pond *p;
    size_t queues;
    pond_queue *queue[DESK_QUEUES];
    bool stopped[DESK_QUEUES]; /* its driver is busy with something else */
    pond_event *held[DESK_QUEUES][256];
    size_t count[DESK_QUEUES];
} desk;
void desk_open(desk *d, pond *p, size_t queues);
void desk_close(desk *d); /* frees queues and events, not the pond */
void desk_free_queue(desk *d, size_t i);
void desk_fetch(desk *d, size_t i, const char *key, pond_policy *policy, uint64_t user, pond_request **request);
void desk_fetch_tagged(desk *d, size_t i, const char *key, pond_tags *tags, uint64_t user);
/* Moves everything for so long. */
void desk_drive(desk *d, int64_t ms);
/* The next event of queue i; NULL if none comes. */
pond_event *desk_event(desk *d, size_t i, int64_t within_ms);
/* What must come next on queue i, within 5 s. */
pond_load *desk_load(desk *d, size_t i, uint64_t user);
void desk_value(desk *d, size_t i, uint64_t user, const char *text); /* NULL: the absence */
void desk_error(desk *d, size_t i, uint64_t user, int code);
void desk_ok(desk *d, size_t i, uint64_t user);
pond_writing *desk_write(desk *d, size_t i, uint64_t user);
void desk_nothing(desk *d, int64_t ms); /* on any queue */
void answer_text(pond_load *load, const char *text);
/* Tags of a pond's own namespace: "a b c", or fails the test. */
pond_tags *tags_made(pond *p, const char *names);
/* As fetch_text and lookup_text. */
const char *fetch_tagged_text(pond *p, const char *key, pond_tags *tags, const char *value);
const char *lookup_tagged_text(pond *p, const char *key, pond_tags *tags);
void invalidate_tags(pond *p, const char *names); /* or fails the test */

#endif
