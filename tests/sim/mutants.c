#include "mutants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/redis_scripts.h"

const mutant mutants[] = {
    {"lease-kept", "an invalidation leaves the lease", "aside",
     .edits = {{"end", "if KEYS[3] then redis.call('DEL', KEYS[3]) end", ""}}},
    {"value-kept", "an invalidation leaves the value", "aside", .edits = {{"end", "redis.call('DEL', KEYS[1])", ""}}},
    {"fill-unasked", "a fill does not look whether its lease stands", "aside-slow",
     .edits = {{"fill", "if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end", ""}}},
    {"fill-any-lease", "a fill is content with anybody's lease", "aside-slow",
     .edits = {{"fill", "if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end",
                "if not redis.call('GET', KEYS[3]) then return 0 end"}}},
    {"renew-revives", "a renewal makes a lost lease again", "aside-slow",
     .edits = {{"renew", "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end",
                "redis.call('SET', KEYS[1], ARGV[1])"}}},
    {"release-any", "a release ends the lease of another", "aside-slow",
     .edits = {{"release", "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end", ""}}},
    {"lease-shared", "two hold one lease", "aside-slow",
     .edits = {{"get", "if l and l ~= ARGV[1]", "if false and l ~= ARGV[1]"}}},
    {"fence-same", "the fence outlives the server's process", "aside-restart",
     .edits = {{"fence", "if f[1] == run and f[3]", "if f[3]"}, {"fence", "if f[2] == id then", "if true then"}}},
    {"share-refused", "who came during a load shares it though its fill was refused", "aside-late",
     .layer = LAYER_SHARE},
    {"fence-present", "the envelope carries the fence of now, not of the lease", "aside-late", .layer = LAYER_FENCE},
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
