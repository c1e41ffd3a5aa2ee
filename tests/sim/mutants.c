#include "mutants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/redis_scripts.h"

#define MY_LEASE "if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end"
#define MY_LEASE_ONLY "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end"
#define DELETE "redis.call('DEL', KEYS[1])"
#define CUT "if redis.call('PTTL', KEYS[1]) > cut then redis.call('PEXPIRE', KEYS[1], cut) end"
#define STORE "redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])"

/* Only what is still within its time goes: bytes 33 to 36 say for how long past that a value is kept. */
#define DELETE_FRESH                                                                                                   \
    "local old = redis.call('GET', KEYS[1])\n"                                                                         \
    "local keep = old and #old >= 48 and string.byte(old, 33) + 256 * (string.byte(old, 34) + 256 * "                  \
    "(string.byte(old, 35) + 256 * string.byte(old, 36)))\n"                                                           \
    "if not keep or redis.call('PTTL', KEYS[1]) > keep then redis.call('DEL', KEYS[1]) end"

/* What the fill would store if the generation were read then. */
#define LATE_GENERATION                                                                                                \
    "local e = ARGV[2]\n"                                                                                              \
    "local g = string.byte(e, 41) == 1 and redis.call('GET', 'mp:g:{s:t' .. string.match(KEYS[1], 's:k(%d)') .. "      \
    "'}')\n"                                                                                                           \
    "if g then e = string.sub(e, 1, 48) .. string.sub(g, 1, 24) .. string.sub(e, 73) end\n"                            \
    "redis.call('SET', KEYS[1], e, 'PX', ARGV[3])"

/* As the record's own, one higher. */
#define FOLD_ABOVE "string.rep(struct.pack('<I5I3', call('HINCRBY', KEYS[5], 'seq', 1), tonumber(m[2])), 2))"

const mutant mutants[] = {
    /* Leases. */
    {"lease-kept", "an invalidation leaves the lease", "foreign",
     .edits = {{"end", "if KEYS[3] then redis.call('DEL', KEYS[3]) end", ""}}},
    {"value-kept", "an invalidation leaves the value", "foreign", .edits = {{"end", DELETE, ""}}},
    {"fill-unasked", "a fill does not look whether its lease stands", "foreign-all", .edits = {{"fill", MY_LEASE, ""}}},
    {"fill-any-lease", "a fill is content with anybody's lease", "foreign-all",
     .edits = {{"fill", MY_LEASE, "if not redis.call('GET', KEYS[3]) then return 0 end"}}},
    {"renew-revives", "a renewal makes a lost lease again", "foreign-all",
     .edits = {{"renew", MY_LEASE_ONLY, "redis.call('SET', KEYS[1], ARGV[1])"}}},
    {"release-any", "a release ends the lease of another", "aside-slow", .edits = {{"release", MY_LEASE_ONLY, ""}}},
    {"lease-shared", "two hold one lease", "aside-slow",
     .edits = {{"get", "if l and l ~= ARGV[1]", "if false and l ~= ARGV[1]"}}},
    {"share-refused", "who came during a load shares it though its fill was refused", "through-slow",
     .layer = LAYER_SHARE},
    {"share-refused-many", "the same, of those who load many", "many-slow", .layer = LAYER_SHARE},
    /* The fence. */
    {"fence-same", "the fence outlives the server's process", "restart",
     .edits = {{"fence", "if f[1] == run and f[3]", "if f[3]"}, {"fence", "if f[2] == id then", "if true then"}}},
    {"fence-present", "the envelope carries the fence of now, not of the lease", "restart-late", .layer = LAYER_FENCE},
    /* Intents. */
    {"end-early", "a write is ended before it is committed", "aside", .layer = LAYER_EARLY_END},
    {"begin-value-kept", "a write leaves the value until it is ended", "aside-crash", .edits = {{"begin", DELETE, ""}}},
    {"fill-under-intent", "leases and fills in spite of an intent", "aside-crash",
     .edits = {{"get", "then return {4, false, redis.call('PTTL', KEYS[2])} end", "then end"},
               {"fill", "if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end", ""}}},
    {"mark-begin", "the overlap mark is forgotten by the second writer", "through",
     .edits = {{"begin", "if others > 0 or (ARGV[3] == '1' and not mine) then", "if false then"}}},
    {"mark-end", "the overlap mark is forgotten by an invalidation", "mixed",
     .edits = {{"end", "if not mine then", "if false then"}}},
    {"mark-again", "the overlap mark is forgotten by a writer whose intent was lost", "past-intent",
     .edits = {{"begin", " or (ARGV[3] == '1' and not mine)", ""}}},
    {"end-together", "a value is stored though others write", "through",
     .edits = {{"end", "if mine and n == 1 and", "if mine and"}}},
    {"end-unheld", "a value is stored though the intent is lost", "evicted",
     .edits = {{"end", "if mine and n == 1 and", "if (mine and n == 1 or n == 0) and"}}},
    /* Values past their time. */
    {"stale-kept-end", "an invalidation leaves a value that is past its time", "grace-foreign",
     .edits = {{"end", DELETE, DELETE_FRESH}}},
    {"stale-kept-begin", "a write leaves a value that is past its time until it is ended", "grace-crash",
     .edits = {{"begin", DELETE, DELETE_FRESH}}},
    {"refresh-shared", "two refresh one value", "grace-slow",
     .edits = {{"get", "if l and l ~= ARGV[1] and (l ~= '-' or v) then",
                "if l and l ~= ARGV[1] and ARGV[4] ~= '1' then"}}},
    /* Tags. */
    {"tag-kept-begin", "a write leaves the tag until it is ended", "tags-crash",
     .edits = {{"begin", DELETE, "if KEYS[3] then " DELETE " end"}}},
    {"tag-kept-end", "the end of a write leaves the tag", "foreign-tags",
     .edits = {{"end", DELETE, "if KEYS[3] then " DELETE " end"}}},
    {"gen-undoubting", "a generation is made in spite of an intent", "tags-crash",
     .edits = {{"gen", "if ARGV[4] == '0' then return false end", "if ARGV[4] == '0' then ARGV[4] = ARGV[2] end"}}},
    {"gen-late", "the generation is read after the load", "tags-slow", .edits = {{"fill", STORE, LATE_GENERATION}}},
    {"cut-ignored", "a bounded tag is not cut", "bounded", .edits = {{"begin", CUT, ""}, {"end", CUT, ""}}},
    {"cut-lengthened", "a tag that was cut is lengthened", "bounded", .edits = {{"gen", "if #v == 24 and", "if"}}},
    /* What is written behind: a change, */
    {"accept-again", "a change that is sent again is accepted again", "behind-cut",
     .edits = {{"wb_put", "if #first == 8 and first ~= NONE then return {1, first} end", ""}}},
    {"accept-late", "a change is accepted though it was sent again meanwhile", "behind-full",
     .edits = {{"wb_put", "if had > n or (had == n and not again) then return {0} end", ""}}},
    {"accept-unmarked", "a change that is sent again and refused may still be accepted from the first time",
     "behind-full", .edits = {{"wb_put", "call('HSET', KEYS[6], ARGV[7], last) ", ""}}},
    {"accept-any-part", "a change of a call that is sent again gets the answer to the first one", "behind-burst",
     .edits = {{"wb_put", "7 + 8 * tonumber(ARGV[9])", "7"}}},
    {"accept-any-version", "an update does not look what it was computed from", "behind",
     .edits = {{"wb_put", "sub(cur, 9, 16) ~= ARGV[6] or ", ""}}},
    {"accept-over", "a create does not look whether there is one", "behind",
     .edits = {{"wb_put", "if flags % 2 == 0 then return {-4} end", ""}}},
    {"accept-any-fence", "numbers go on when the server has lost some", "behind-rollback",
     .edits = {{"wb_put", "if m[1] ~= ARGV[4] then", "if not m[1] then"}}},
    {"accept-mortal", "a record that waits has a time to live", "behind-evict",
     .edits = {{"wb_put", "call('SET', KEYS[1], ARGV[2] .. ver .. ARGV[4] .. ARGV[3])",
                "call('SET', KEYS[1], ARGV[2] .. ver .. ARGV[4] .. ARGV[3], 'PX', 600000)"}}},
    {"accept-increments-kept", "a change leaves the increments of what it replaces", "behind",
     .edits = {{"wb_put", "if deltas then call('DEL', KEYS[2]); ", "if deltas then "}}},
    {"accept-base-kept", "a change leaves what the increments were to be added to", "behind",
     .edits = {{"wb_put", "call('DEL', KEYS[2]); call('HDEL', KEYS[3], ARGV[1])", "call('DEL', KEYS[2])"}}},
    {"accept-unqueued", "a change of what is cached gets no entry", "behind",
     .edits = {{"wb_put", "local known = deltas or flags > 127", "local known = deltas or cur ~= ''"}}},
    /* some together, */
    {"together-late", "a call is accepted though its changes were sent again meanwhile", "behind-burst",
     .edits = {{"wb_puts", "local late = was and", "local late = false and"}}},
    {"together-unseen", "a change does not see what the one before it in the call has left", "behind-burst",
     .edits = {{"wb_puts", "record[key] or (here", "(here"}}},
    {"together-any-version", "an update in a call does not look what it was computed from", "behind-burst",
     .edits = {{"wb_puts", "sub(cur, 9, 16) ~= expect or ", ""}}},
    {"together-over", "a create in a call does not look whether there is one", "behind-burst",
     .edits = {{"wb_puts", "flags % 2 == 0 and {-4} or nil", "nil"}}},
    {"together-increments-kept", "a change in a call leaves the increments of what it replaces", "behind-burst",
     .edits = {{"wb_puts", "if #gone > 0 then call('DEL', unpack(gone)); ", "if #gone > 0 then "}}},
    {"together-base-kept", "a change in a call leaves what the increments were to be added to", "behind-burst",
     .edits = {{"wb_puts", "call('HDEL', KEYS[1], unpack(names)) end", "end"}}},
    {"together-full", "what a call has accepted does not count for the bound", "behind-full",
     .edits = {{"wb_puts", "room, fresh[#fresh + 1] = room - 1, key", "fresh[#fresh + 1] = key"}}},
    {"together-one-version", "all of a call have one version", "behind-burst",
     .edits = {{"wb_puts", "seq = seq + 1\n", "seq = tonumber(m[3] or 0) + 1\n"}}},
    {"together-swapped", "the answers of a call come in another order", "behind-full",
     .edits = {{"wb_puts", "  replies[i] = reply\n", "  replies[count + 1 - i] = reply\n"}}},
    {"together-unknown", "what a call has accepted is not remembered", "behind-burst",
     .edits = {{"wb_puts", "ARGV[4] .. vers)", "ARGV[4])"}}},
    /* an increment, */
    {"increment-again", "an increment that is sent again counts again", "behind-cut",
     .edits = {{"wb_incr", "if #last > 6 then return {1, sub(last, 7)} end", ""}}},
    {"increment-late", "an increment counts though it was sent again meanwhile", "behind-cut",
     .edits = {{"wb_incr", "if had > n or (had == n and not again) then return {0} end", ""}}},
    {"increment-unmarked", "an increment that is sent again and refused may still count from the first time",
     "behind-cut", .edits = {{"wb_incr", "call('HSET', KEYS[6], ARGV[6], last) ", ""}}},
    {"increment-cached", "it leaves the value that is cached", "behind",
     .edits = {{"wb_incr", "call('DEL', KEYS[1], KEYS[7]) ", "call('DEL', KEYS[7])"}}},
    {"increment-base-lost", "it takes away the record that it is to be added to", "behind",
     .edits = {{"wb_incr", "if dirty then call('HSET', KEYS[3], ARGV[1], call('GET', KEYS[1])) else",
                "if not dirty then"}}},
    {"increment-lease-kept", "it leaves the lease of who loads, and a fill does not look whether increments wait",
     "behind-slow",
     .edits = {{"wb_incr", "call('DEL', KEYS[1], KEYS[7]) ", "call('DEL', KEYS[1])"},
               {"wb_fill", "redis.call('EXISTS', KEYS[2]) == 1 or ", ""}}},
    {"increments-untold", "nobody is told that a shard has increments", "behind",
     .edits = {{"wb_incr", "call('HSET', KEYS[5], 'incr', 1)", ""}}},
    {"increments-baseless", "the record that increments are to be added to is not seen", "behind",
     .edits = {{"wb_sums", "then r = call('HGET', KEYS[1], ARGV[2 * i - 1])", "then r = false"}}},
    {"fold-any", "a fold does not look whether the increments and their base are still those that were read",
     "behind-slow",
     .edits = {{"wb_fold", "if not sums or sub(sums, 9, 16) ~= ARGV[5] then return {-3} end",
                "if not sums then return {-3} end"}}},
    {"fold-all", "a fold takes what came since it was read", "behind",
     .edits = {{"wb_fold", "local rest = sub(sums, 1, 8) ~= ARGV[6]", "local rest = false"}}},
    {"fold-twice", "a fold leaves what it has taken", "behind",
     .edits = {{"wb_fold", "else call('DEL', KEYS[2]) end", "end"}}},
    {"fold-above", "a fold has a version above what it leaves, which then counts as in the record", "behind",
     .edits = {{"wb_fold", "rest and ARGV[6] or ", ""}}},
    {"fold-above-all", "the same, and what it leaves has another one above that, if the server does not lose it",
     "behind-tail",
     .edits = {{"wb_fold", "rest and ARGV[6] or ", ""},
               {"wb_fold", "sub(sums, 1, 8) .. sub(sums, 1, 8))", FOLD_ABOVE}}},
    {"fold-base-kept", "a fold leaves what it has added the increments to", "behind",
     .edits = {{"wb_fold", "call('SET', KEYS[1], base); call('HDEL', KEYS[3], ARGV[1])",
                "call('SET', KEYS[1], base)"}}},
    /* who reads, */
    {"fill-dirty", "a fill does not look whether a change waits", "behind-slow",
     .edits = {{"wb_fill", " or (string.byte(redis.call('GETRANGE', KEYS[1], 3, 3)) or 0) > 127", ""}}},
    {"dirty-unseen", "a record of a history that was lost is taken for a value of it", "behind-restart",
     .edits = {{"wb_get", "if v and (string.byte(v, 4) or 0) > 127 then return {6, v, -1} end", ""}}},
    {"increments-unseen", "a lease is granted though increments wait", "behind",
     .edits = {{"wb_get", "if redis.call('EXISTS', KEYS[3]) == 1 then return {7, false, -1} end", ""}}},
    /* the worker, */
    {"take-any-record", "a worker flushes the record that it has taken, though a fold has made it older", "behind",
     .edits = {{"wb_sums", "if #d > 0 or (r and string.sub(r, 9, 16) or NONE) ~= ARGV[2 * i] then", "if #d > 0 then"}}},
    {"ack-lease-kept", "an ack leaves the lease of who began to load before", "behind-late",
     .edits = {{"wb_ack", "call('DEL', unpack(KEYS, 3 + 2 * n))", ""}}},
    {"ack-any-version", "an ack does not look which version was flushed", "behind",
     .edits = {{"wb_ack", "well = sub(r, 9, 16) == ver", "well = true"}}},
    {"ack-increments", "an ack does not look whether increments wait", "behind",
     .edits = {{"wb_ack", "elseif call('EXISTS', KEYS[2 + i]) == 1 or", "elseif"}}},
    {"ack-all", "what is to wait on leaves the queue with what was acked", "behind",
     .edits = {{"wb_ack", "call('RPUSH', KEYS[1], unpack(rest))", "call('LLEN', KEYS[1])"}}},
    {"ack-before", "what was taken and not acked leaves the queue with what was", "behind-poison",
     .edits = {{"wb_ack", "if not done[key] and not before[key]", "if done[key] == false and not before[key]"}}},
    {"ack-aside-untold", "nobody is told that what the store has refused goes behind others", "behind-poison",
     .edits = {{"wb_ack", "if aside > 0 then", "if false then"}}},
    {"take-twice", "a key that stands in the queue twice comes twice", "behind-burst",
     .edits = {{"wb_take", "if not seen[key] then", "do"}}},
    {"invalidated-dirty", "who has written past the library drops what waits", "behind",
     .edits = {{"wb_end", "if (string.byte(redis.call('GETRANGE', KEYS[1], 3, 3)) or 0) < 128 then", "do"}}},
    {"ack-uncounted", "what has left the queue is not counted", "behind",
     .edits = {{"wb_ack", "call('HSET', KEYS[2], 'head', head + #left)", ""}}},
    {"ack-immortal", "what was acked has no time to live", "behind",
     .edits = {{"wb_ack", "call('PEXPIRE', value, ms)", ""}}},
    {"ack-cached-kept", "an ack of what the server has lost leaves what was cached since", "behind-lost",
     .edits = {{"wb_ack", "elseif ver ~= NONE and r ~= '' and sub(r, 9, 16) ~= ver then call('DEL', value) end",
                "end"}}},
    /* the shard's numbers, */
    {"epoch-any-fence", "an epoch that another fence has is in force", "behind-evict",
     .edits = {{"wb_epoch", "if m[1] == ARGV[1] and", "if"}}},
    /* and the store. */
    {"flush-unfenced", "a flush does not look who owns its shards", "behind-still", .layer = LAYER_NO_FENCE},
    {"flush-any-version", "a flush replaces newer documents", "behind-rollback", .layer = LAYER_NO_VERSION},
    {"flush-past-tombs", "a flush of an old history brings back what was deleted since", "behind-rollback",
     .layer = LAYER_NO_TOMBS},
};

const size_t mutant_count = sizeof mutants / sizeof mutants[0];

static const mp_script *named(const char *name) {
    size_t len = strlen(name);
    for (size_t i = 0; i < MP_SCRIPTS; i++)
        if (strncmp(mp_scripts[i].text + 3, name, len) == 0 && mp_scripts[i].text[3 + len] == ':')
            return &mp_scripts[i];
    return NULL;
}

/* `text` with its only `from` replaced; NULL: there is none, or more. */
static char *edited(const char *text, const mutant_edit *e) {
    const char *at = strstr(text, e->from);
    if (!at || strstr(at + 1, e->from)) return NULL;
    size_t before = (size_t)(at - text), size = strlen(text) - strlen(e->from) + strlen(e->to) + 1;
    char *out = malloc(size);
    if (!out) abort();
    snprintf(out, size, "%.*s%s%s", (int)before, text, e->to, at + strlen(e->from));
    return out;
}

static server_scripts *already(server_scripts *list, const char *name) {
    while (list && strcmp(list->name, name) != 0) list = (server_scripts *)list->next;
    return list;
}

server_scripts *mutant_scripts(const mutant *m) {
    server_scripts *list = NULL;
    for (const mutant_edit *e = m->edits; e < m->edits + 3 && e->script; e++) {
        const mp_script *s = named(e->script);
        server_scripts *one = already(list, e->script);
        char *was = one ? (char *)one->text : s ? strndup(s->text, s->len) : NULL;
        char *now = was ? edited(was, e) : NULL;
        if (!now) {
            fprintf(stderr, "sim: mutant %s: its edit does not fit %s.lua: change it with the script\n", m->name,
                    e->script);
            exit(2);
        }
        free(was);
        if (!one) {
            one = calloc(1, sizeof *one);
            if (!one) abort();
            one->name = e->script;
            one->next = list;
            list = one;
        }
        one->text = now;
    }
    return list;
}

void mutant_free(server_scripts *list) {
    for (server_scripts *next; list; list = next) {
        next = (server_scripts *)list->next;
        free((char *)list->text);
        free(list);
    }
}
