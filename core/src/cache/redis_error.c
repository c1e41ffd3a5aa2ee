/* What an error reply means, and what is done about it, by its first word. */
#include <string.h>

#include "base/error.h"
#include "cache/redis.h"

static const struct {
    const char *name;
    mp_remedy remedy;
    int retriable;
    const char *advice;
} known[] = {
    {"NOSCRIPT", MP_REMEDY_TEXT, 1, "the cache forgets scripts as they come: try again"},
    {"READONLY", MP_REMEDY_RECONNECT, 1, "the cache is a replica: connect to its master"},
    {"MASTERDOWN", MP_REMEDY_RECONNECT, 1, "the cache is a replica without its master: connect to the master"},
    {"LOADING", MP_REMEDY_RECONNECT, 1, "the cache is still loading its data: try again"},
    {"OOM", MP_REMEDY_NONE, 1, "the cache is full: raise its maxmemory, or set a maxmemory-policy that evicts"},
    {"MISCONF", MP_REMEDY_NONE, 1, "the cache cannot save to its disk and refuses writes: look at its log"},
    {"NOREPLICAS", MP_REMEDY_NONE, 1,
     "the cache has too few replicas and refuses writes: see its min-replicas-to-write"},
    {"BUSY", MP_REMEDY_NONE, 1, "the cache is busy with somebody's script: try again"},
    {"UNKILLABLE", MP_REMEDY_NONE, 1, "the cache is busy with somebody's script: try again"},
    {"ERR max number of clients reached", MP_REMEDY_NONE, 1, "the cache has too many clients: raise its maxclients"},
    {"NOAUTH", MP_REMEDY_NONE, 0, "the cache wants a password: set username and password"},
    {"WRONGPASS", MP_REMEDY_NONE, 0, "the cache refused user or password: check username and password"},
    {"NOPERM", MP_REMEDY_NONE, 0, "the cache's user lacks a permission: grant the command and the keys mp:*"},
    {"DENIED", MP_REMEDY_NONE, 0,
     "the cache is in protected mode: give it a password, or bind it to a private address"},
    {"MOVED", MP_REMEDY_NONE, 0, "the cache is a Redis Cluster, which this version does not speak: use one server"},
    {"ASK", MP_REMEDY_NONE, 0, "the cache is a Redis Cluster, which this version does not speak: use one server"},
    {"CLUSTERDOWN", MP_REMEDY_NONE, 0,
     "the cache is a Redis Cluster, which this version does not speak: use one server"},
    {"CROSSSLOT", MP_REMEDY_NONE, 0, "the cache is a Redis Cluster, which this version does not speak: use one server"},
    {"WRONGTYPE", MP_REMEDY_NONE, 0, "something else writes keys that begin with mp: into the cache"},
    /* How NOPERM is said of what a script calls, by Redis 7.0, and by Redis 7.2 and Valkey; in the middle of a sentence, so last. */
    {"The user executing the script", MP_REMEDY_NONE, 0,
     "the cache's user lacks a permission: grant the commands of the scripts, and the keys mp:*"},
    {"ACL failure in script", MP_REMEDY_NONE, 0,
     "the cache's user lacks a permission: grant the commands of the scripts, and the keys mp:*"},
};
enum { KNOWN = sizeof known / sizeof known[0], IN_THE_MIDDLE = 2 };

/* KNOWN: none of them. */
static size_t which(const redisReply *r) {
    for (size_t i = 0; i < KNOWN - IN_THE_MIDDLE; i++) {
        size_t n = strlen(known[i].name);
        if (r->len >= n && memcmp(r->str, known[i].name, n) == 0 && (r->len == n || r->str[n] == ' ')) return i;
    }
    size_t i = KNOWN - IN_THE_MIDDLE;
    while (i < KNOWN && !strstr(r->str, known[i].name)) i++;
    return i;
}

mp_remedy mp_remedy_of(const redisReply *r) {
    size_t i = which(r);
    return i < KNOWN ? known[i].remedy : MP_REMEDY_NONE;
}

/* How much of the server's sentence may be shown. Of a command that it does not know, as AUTH may be, it repeats the arguments. */
static int harmless(const redisReply *r, const mp_address *address) {
    size_t len = r->len > 200 ? 200 : r->len;
    const char *const ends[] = {", with args", address->password};
    for (size_t i = 0; i < 2; i++) {
        const char *at = ends[i] && *ends[i] ? strstr(r->str, ends[i]) : NULL;
        if (at && (size_t)(at - r->str) < len) len = (size_t)(at - r->str);
    }
    return (int)len;
}

pond_error *mp_command_error(const redisReply *r, const mp_address *address) {
    size_t i = which(r);
    int len = harmless(r, address);
    if (i == KNOWN) return mp_error_new(POND_ECACHE, "cache %s: %.*s", address->shown, len, r->str);
    return mp_error_new_retriable(POND_ECACHE, known[i].retriable, "cache %s: %s (%.*s)", address->shown,
                                  known[i].advice, len, r->str);
}
