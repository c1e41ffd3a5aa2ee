#include "store/mongodb_pool.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/quote.h"
#include "engine/resolve.h"
#include "model/query.h"
#include "store/mongodb_error.h"
#include "store/mongodb_stream.h"
#include "store/mongodb_uri.h"

/* libmongoc's waits end up to a millisecond early. */
enum { FAREWELL_MS = 500, CLOSE_MS = 1000, EARLY_MS = 2 };

struct mp_mongodb_client {
    mp_mongodb_client *next;
    mongoc_client_t *client;
};

/* What belongs to one process. */
typedef struct crew {
    pid_t pid;
    mp_resolver *resolver;
    pthread_mutex_t lock;
    pthread_cond_t returned;
    mongoc_client_pool_t *clients; /* NULL until it is needed */
    mp_mongodb_client *idle;       /* the last one used is first: its connection is warm */
    unsigned lent, most;
    mongoc_uri_t *making; /* with which a thread makes `clients` */
    bson_error_t why;     /* they could not be made the last time */
    bool closed, dismissed;
    unsigned refs;            /* the pool's, and one for a thread that makes or destroys `clients` */
    _Atomic uint32_t elected; /* how often a server became the primary, as far as we were told */
    _Atomic uint32_t settled; /* the election whose primary is known to show all that was ever acknowledged */
} crew;

struct mp_mongodb_pool {
    mongoc_uri_t *uri;
    unsigned most;
    int64_t timeout_ms;
    _Atomic(crew *) crew;
};

/* ---- the crew ---- */

static crew *crew_new(unsigned most) {
    crew *c = calloc(1, sizeof *c);
    if (c != NULL) c->resolver = mp_resolver_new();
    if (c == NULL || c->resolver == NULL) {
        free(c);
        return NULL;
    }
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->returned, &monotonic);
    pthread_condattr_destroy(&monotonic);
    c->pid = getpid();
    c->most = most;
    c->refs = 1;
    return c;
}

/* Lock held; gives it up. */
static void crew_unref(crew *c) {
    bool last = --c->refs == 0;
    pthread_mutex_unlock(&c->lock);
    if (!last) return;
    pthread_cond_destroy(&c->returned);
    pthread_mutex_destroy(&c->lock);
    mp_resolver_free(c->resolver);
    free(c);
}

/* This process's crew; NULL without memory. A parent's is left where it is. */
static crew *crew_of(mp_mongodb_pool *pool) {
    crew *c = atomic_load(&pool->crew);
    if (c->pid == getpid()) return c;
    crew *mine = crew_new(pool->most);
    if (mine == NULL || atomic_compare_exchange_strong(&pool->crew, &c, mine)) return mine;
    pthread_mutex_lock(&mine->lock); /* another thread of this process was first */
    crew_unref(mine);
    return c;
}

int mp_mongodb_pool_open(mp_mongodb_pool **out, const char *address, unsigned clients, int64_t timeout_ms,
                         pond_error **err) {
    mongoc_uri_t *uri = NULL;
    int rc = mp_mongodb_uri(&uri, address, timeout_ms, err);
    if (rc != POND_OK) return rc;
    if (clients == 0) clients = 1;
    mp_mongodb_pool *pool = calloc(1, sizeof *pool);
    crew *c = pool != NULL ? crew_new(clients) : NULL;
    if (c == NULL) {
        mongoc_uri_destroy(uri);
        free(pool);
        return mp_fail(err, POND_ENOMEM, "store: no memory");
    }
    pool->uri = uri;
    pool->most = clients;
    pool->timeout_ms = timeout_ms;
    atomic_init(&pool->crew, c);
    *out = pool;
    return POND_OK;
}

static bool wait_for(crew *c, int64_t deadline_ms) {
    struct timespec until = {.tv_sec = deadline_ms / 1000, .tv_nsec = deadline_ms % 1000 * 1000000};
    return pthread_cond_timedwait(&c->returned, &c->lock, &until) == 0;
}

/* Nobody uses `clients` any more. Takes a reference over. */
static void *dismiss(void *arg) {
    crew *c = arg;
    /* The servers are told that the sessions end, if they listen. */
    mp_mongodb_wait_until(mp_clock_ms() + FAREWELL_MS);
    for (mp_mongodb_client *slot; (slot = c->idle) != NULL;) {
        c->idle = slot->next;
        mongoc_client_pool_push(c->clients, slot->client);
        free(slot);
    }
    mongoc_client_pool_destroy(c->clients);
    mp_mongodb_wait_until(0);
    pthread_mutex_lock(&c->lock);
    c->dismissed = true;
    pthread_cond_broadcast(&c->returned);
    crew_unref(c);
    return NULL;
}

/* libmongoc waits for its watchers, and those for servers and name servers: who closes does not, beyond a moment. Lock held, and
 * given up. */
static void close_clients(crew *c) {
    pthread_t thread;
    c->refs++;
    if (pthread_create(&thread, NULL, dismiss, c) == 0) {
        pthread_detach(thread);
        int64_t until = mp_clock_ms() + CLOSE_MS;
        while (!c->dismissed && wait_for(c, until)) {}
    } else {
        pthread_mutex_unlock(&c->lock);
        dismiss(c);
        pthread_mutex_lock(&c->lock);
    }
    crew_unref(c);
}

void mp_mongodb_pool_close(mp_mongodb_pool *pool) {
    if (pool == NULL) return;
    crew *c = atomic_load(&pool->crew);
    if (c->pid == getpid()) {
        pthread_mutex_lock(&c->lock);
        c->closed = true;
        if (c->clients != NULL) close_clients(c);
        else crew_unref(c); /* who makes them sees it */
    }
    mongoc_uri_destroy(pool->uri);
    free(pool);
}

/* ---- lending ---- */

static bool is_primary(const mongoc_server_description_t *server) {
    return strcmp(mongoc_server_description_type(server), "RSPrimary") == 0;
}

static void server_changed(const mongoc_apm_server_changed_t *event) {
    crew *c = mongoc_apm_server_changed_get_context(event);
    if (is_primary(mongoc_apm_server_changed_get_new_description(event)) &&
        !is_primary(mongoc_apm_server_changed_get_previous_description(event)))
        atomic_fetch_add(&c->elected, 1);
}

static mongoc_client_pool_t *new_clients(const mongoc_uri_t *uri, crew *c, bson_error_t *why) {
    mongoc_client_pool_t *clients = mongoc_client_pool_new_with_error(uri, why);
    if (clients == NULL) return NULL;
    mongoc_apm_callbacks_t *callbacks = mongoc_apm_callbacks_new();
    mongoc_apm_set_server_changed_cb(callbacks, server_changed);
    mongoc_client_pool_set_apm_callbacks(clients, callbacks, c);
    mongoc_apm_callbacks_destroy(callbacks);
    mongoc_client_pool_set_error_api(clients, MONGOC_ERROR_API_VERSION_2);
    mongoc_client_pool_max_size(clients, c->most);
    return clients;
}

/* The pool of libmongoc. Of a mongodb+srv: address it asks the name servers for the hosts, which may take them longer than a
 * call has. */
static void *make_clients(void *arg) {
    crew *c = arg;
    bson_error_t why = {0};
    mongoc_client_pool_t *clients = new_clients(c->making, c, &why);
    pthread_mutex_lock(&c->lock);
    mongoc_uri_destroy(c->making);
    c->making = NULL;
    c->clients = clients;
    c->why = why;
    pthread_cond_broadcast(&c->returned);
    if (!c->closed || clients == NULL) {
        crew_unref(c);
        return NULL;
    }
    pthread_mutex_unlock(&c->lock);
    return dismiss(c);
}

/* Lock held. */
static bool start_to_make(const mp_mongodb_pool *pool, crew *c) {
    pthread_t thread;
    c->making = mongoc_uri_copy(pool->uri);
    if (pthread_create(&thread, NULL, make_clients, c) == 0) {
        pthread_detach(thread);
        c->refs++;
        return true;
    }
    mongoc_uri_destroy(c->making);
    c->making = NULL;
    return false;
}

/* Waits for `clients`; lock held. Who comes while they are being made waits for the same. */
static int await_clients(mp_mongodb_call *call, crew *c) {
    if (c->making == NULL && !start_to_make(call->pool, c))
        return mp_mongodb_fail(call, POND_ENOMEM, 1, "no thread to look up the address of MongoDB");
    while (c->making != NULL && wait_for(c, call->deadline)) {}
    if (c->making != NULL)
        return mp_mongodb_fail(call, POND_ESTORE, 1,
                               "the address of MongoDB was not looked up within store_timeout (%lld ms)",
                               (long long)call->pool->timeout_ms);
    if (c->clients != NULL) return POND_OK;
    return mp_mongodb_fail(call, POND_ESTORE, 1, "the address of MongoDB cannot be looked up: %s", c->why.message);
}

/* A client that nobody has had; lock held. */
static int hire(mp_mongodb_call *call, crew *c) {
    mp_mongodb_client *slot = calloc(1, sizeof *slot);
    if (slot != NULL) slot->client = mongoc_client_pool_try_pop(c->clients);
    if (slot == NULL || slot->client == NULL) {
        free(slot);
        return mp_mongodb_fail(call, POND_ENOMEM, 1, "no memory for a connection");
    }
    mongoc_client_set_stream_initiator(slot->client, mp_mongodb_connect, c->resolver);
    call->slot = slot;
    return POND_OK;
}

static int lend(mp_mongodb_call *call, crew *c) {
    int rc = c->clients != NULL ? POND_OK : await_clients(call, c);
    if (rc != POND_OK) return rc;
    while (c->lent >= c->most)
        if (!wait_for(c, call->deadline) && c->lent >= c->most)
            return mp_mongodb_fail(call, POND_ESTORE, 1,
                                   "all connections were busy for longer than store_timeout (%lld ms)",
                                   (long long)call->pool->timeout_ms);
    if (c->idle == NULL) rc = hire(call, c);
    else {
        call->slot = c->idle;
        c->idle = call->slot->next;
    }
    if (rc == POND_OK) c->lent++;
    return rc;
}

/* A new primary has everything that was acknowledged, but its majority reads do not show it until something of its own
 * term is on most members: for a moment they are older than what others were already told (seen: for a second after a
 * step-down). One linearizable read ends only when that has come, so it goes before the first read from each new primary. */
static bool read_linearizable(const mp_mongodb_call *call, bson_t *reply, bson_error_t *error) {
    bson_t command = BSON_INITIALIZER, part;
    BSON_APPEND_UTF8(&command, "find", call->collection);
    BSON_APPEND_DOCUMENT_BEGIN(&command, "filter", &part);
    BSON_APPEND_INT32(&part, "_id", 0);
    bson_append_document_end(&command, &part);
    BSON_APPEND_INT32(&command, "limit", 1);
    BSON_APPEND_BOOL(&command, "singleBatch", true);
    BSON_APPEND_DOCUMENT_BEGIN(&command, "readConcern", &part);
    BSON_APPEND_UTF8(&part, "level", "linearizable");
    bson_append_document_end(&command, &part);
    BSON_APPEND_INT64(&command, "maxTimeMS", mp_mongodb_left_ms(call));
    bool well =
        mongoc_client_command_with_opts(call->client, mp_mongodb_database(call), &command, NULL, NULL, reply, error);
    bson_destroy(&command);
    return well;
}

static int try_again(mp_mongodb_call *call, const bson_error_t *error, const bson_t *reply);

static int settle(mp_mongodb_call *call) {
    crew *c = call->crew;
    for (int rc = POND_OK; rc == POND_OK;) {
        bson_error_t error = {0};
        mongoc_server_description_t *server = mongoc_client_select_server(call->client, true, NULL, &error);
        if (server == NULL) {
            rc = try_again(call, &error, NULL);
            if (rc != POND_OK) return rc;
            continue;
        }
        uint32_t elected = call->settled = atomic_load(&c->elected);
        bool settled = !is_primary(server) || elected == atomic_load(&c->settled);
        mongoc_server_description_destroy(server);
        if (settled) return POND_OK;
        bson_t reply;
        if (read_linearizable(call, &reply, &error)) {
            /* Elected anew meanwhile: who has answered? */
            if (atomic_load(&c->elected) == elected) atomic_store(&c->settled, elected);
        } else {
            rc = try_again(call, &error, &reply);
        }
        bson_destroy(&reply);
        if (rc != POND_OK) return rc;
    }
    return POND_OK;
}

int mp_mongodb_begin(mp_mongodb_call *call) {
    crew *c = crew_of(call->pool);
    call->slot = NULL;
    call->documents = NULL;
    call->tries = 0;
    call->deadline = mp_clock_ms() + call->pool->timeout_ms;
    if (c == NULL) return mp_mongodb_fail(call, POND_ENOMEM, 1, "no memory for connections");
    pthread_mutex_lock(&c->lock);
    int rc = lend(call, c);
    pthread_mutex_unlock(&c->lock);
    if (rc != POND_OK) return rc;
    call->crew = c;
    call->client = call->slot->client;
    call->documents = mongoc_client_get_collection(call->client, mp_mongodb_database(call), call->collection);
    mp_mongodb_wait_until(call->deadline);
    if (call->writes || (rc = settle(call)) == POND_OK) return POND_OK;
    mp_mongodb_end(call);
    return rc;
}

void mp_mongodb_end(mp_mongodb_call *call) {
    if (call->slot == NULL) return;
    crew *c = call->crew;
    mp_mongodb_wait_until(0);
    mongoc_collection_destroy(call->documents);
    pthread_mutex_lock(&c->lock);
    call->slot->next = c->idle;
    c->idle = call->slot;
    c->lent--;
    pthread_cond_signal(&c->returned);
    pthread_mutex_unlock(&c->lock);
    call->slot = NULL;
}

void mp_mongodb_rest(const mp_mongodb_call *call) {
    (void)call;
    mp_mongodb_wait_until(0);
}

void mp_mongodb_resume(mp_mongodb_call *call) {
    call->tries = 0;
    call->deadline = mp_clock_ms() + call->pool->timeout_ms;
    mp_mongodb_wait_until(call->deadline);
}

const char *mp_mongodb_database(const mp_mongodb_call *call) { return mongoc_uri_get_database(call->pool->uri); }

int64_t mp_mongodb_left_ms(const mp_mongodb_call *call) {
    int64_t left = call->deadline - mp_clock_ms(), margin = left / 10 < 100 ? left / 10 : 100;
    return left - margin > 1 ? left - margin : 1;
}

mongoc_write_concern_t *mp_mongodb_majority(const mp_mongodb_call *call) {
    mongoc_write_concern_t *majority = mongoc_write_concern_new();
    mongoc_write_concern_set_wmajority(majority, (int32_t)mp_mongodb_left_ms(call));
    return majority;
}

void mp_mongodb_majority_append(const mp_mongodb_call *call, bson_t *options) {
    mongoc_write_concern_t *majority = mp_mongodb_majority(call);
    mongoc_write_concern_append(majority, options);
    mongoc_write_concern_destroy(majority);
}

/* ---- what failed ---- */

int mp_mongodb_fail(const mp_mongodb_call *call, int code, int retriable, const char *format, ...) {
    char shown[MP_QUOTE_MAX] = "", what[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (call->id != NULL) mp_quote(shown, call->id, call->id_len);
    if (call->err != NULL)
        *call->err = mp_error_new_retriable(code, retriable, "%.64s%s%s: %s", call->collection,
                                            call->id != NULL ? " " : "", shown, what);
    return code;
}

int mp_mongodb_sort_arrays(const mp_mongodb_call *call) {
    return mp_fail_reason(
        call->err, POND_EQUERY, MP_QUERY_SORT_ARRAYS,
        "sort: two of the fields hold arrays in one document (%.64s), which has no order: sort by one of them",
        call->collection);
}

static void pause_ms(int64_t ms) {
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static int try_again(mp_mongodb_call *call, const bson_error_t *error, const bson_t *reply) {
    mp_mongodb_problem p = mp_mongodb_problem_of(error, reply);
    int64_t now = mp_clock_ms(), pause = (int64_t)1 << (call->tries < 6 ? call->tries : 6);
    int64_t needs = p.no_server ? mp_mongodb_look_ms(call->pool->timeout_ms) : pause;
    bool in_time = now + needs < call->deadline;
    call->tries++;
    if (in_time && p.retriable && !p.out_of_time && (!call->writes || p.untouched)) {
        pause_ms(p.no_server ? 1 : pause);
        return POND_OK;
    }
    long long limit = (long long)call->pool->timeout_ms;
    if (p.sort_arrays) return mp_mongodb_sort_arrays(call);
    if (p.no_server)
        return mp_mongodb_fail(call, POND_ESTORE, 1,
                               "no primary of MongoDB was found within store_timeout (%lld ms): %s", limit,
                               error->message);
    if (p.out_of_time || (p.network && now + EARLY_MS >= call->deadline))
        return mp_mongodb_fail(call, POND_ESTORE, 1, "MongoDB did not answer within store_timeout (%lld ms): %s", limit,
                               error->message);
    return mp_mongodb_fail(call, POND_ESTORE, p.retriable, "%s (MongoDB's code %u)", error->message, error->code);
}

/* libmongoc tells of an election before it sends anything to who was elected. */
int mp_mongodb_confirm(mp_mongodb_call *call, bool *well) {
    crew *c = call->crew;
    if (call->writes || atomic_load(&c->elected) == call->settled) return POND_OK;
    *well = false;
    return settle(call);
}

int mp_mongodb_again(mp_mongodb_call *call, const bson_error_t *error, const bson_t *reply) {
    int rc = try_again(call, error, reply);
    return rc == POND_OK && !call->writes ? settle(call) : rc;
}
