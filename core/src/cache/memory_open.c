/* The memory: caches of the process by name, so that all its ponds, threads and environments share them. */
#include "cache/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/list.h"
#include "base/quote.h"

#define SCHEME "memory:"
#define NAME_LONGEST 64

typedef struct named {
    mp_node link;
    mp_cache *cache;
    int64_t max;
    unsigned refs;
    char name[NAME_LONGEST + 1];
} named;

static struct {
    pthread_mutex_t lock;
    mp_node caches;
} registry = {PTHREAD_MUTEX_INITIALIZER, {&registry.caches, &registry.caches}};

/* A child of fork() has copies of the caches, perhaps with a lock held by a thread that it has not. It forgets them, so
 * that what it opens is new; closing an inherited one does nothing. */

static void before_fork(void) { pthread_mutex_lock(&registry.lock); }
static void after_fork(void) { pthread_mutex_unlock(&registry.lock); }
static void after_fork_in_child(void) {
    mp_list_init(&registry.caches);
    pthread_mutex_unlock(&registry.lock);
}

__attribute__((constructor)) static void watch_forks(void) {
    pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

static named *named_of(mp_node *node) { return MP_OF(node, named, link); }

static named *find(const char *name) {
    for (mp_node *n = registry.caches.next; n != &registry.caches; n = n->next)
        if (strcmp(named_of(n)->name, name) == 0) return named_of(n);
    return NULL;
}

static bool in_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '-';
}

/* Where the name starts, or NULL. */
static const char *parse(const char *address, pond_error **err) {
    char shown[MP_QUOTE_MAX];
    size_t prefix = strlen(SCHEME);
    if (strncmp(address, SCHEME, prefix) != 0) {
        mp_fail(err, POND_EURL, "cache: %s is not a " SCHEME " address: write " SCHEME " or " SCHEME "name",
                mp_quote(shown, address, strlen(address)));
        return NULL;
    }
    const char *name = address + prefix;
    size_t len = 0;
    while (in_name(name[len])) len++;
    if (name[len]) {
        mp_fail(err, POND_EURL,
                "cache: the name %s in a " SCHEME " address holds other than letters, digits, _ . and -",
                mp_quote(shown, name, strlen(name)));
        return NULL;
    }
    if (len > NAME_LONGEST) {
        mp_fail(err, POND_EURL, "cache: the name %s in a " SCHEME " address has %zu characters: it has at most %d",
                mp_quote(shown, name, len), len, NAME_LONGEST);
        return NULL;
    }
    return name;
}

static named *add(const char *name, int64_t max) {
    named *new = calloc(1, sizeof *new);
    if (!new) return NULL;
    new->cache = mp_memory_new(max);
    if (!new->cache) {
        free(new);
        return NULL;
    }
    new->max = max;
    memcpy(new->name, name, strlen(name));
    mp_list_push(&registry.caches, &new->link);
    return new;
}

/* The registry is locked. */
static int get(mp_cache **out, const char *name, int64_t max, pond_error **err) {
    named *n = find(name);
    if (!n) n = add(name, max);
    if (!n) return mp_fail(err, POND_ENOMEM, "no memory for a " SCHEME " cache");
    if (n->max != max)
        return mp_fail(err, POND_EOPTION,
                       "memory_max: %lld bytes are asked for, but this process has the cache \"" SCHEME
                       "%s\" open with "
                       "%lld: open it with the same memory_max, or under another name",
                       (long long)max, name, (long long)n->max);
    n->refs++;
    *out = n->cache;
    return POND_OK;
}

int mp_memory_open(mp_cache **out, const mp_options *options, pond_error **err) {
    const char *name = parse(options->cache ? options->cache : SCHEME, err);
    if (!name) return POND_EURL;
    pthread_mutex_lock(&registry.lock);
    int code = get(out, name, options->memory_max, err);
    pthread_mutex_unlock(&registry.lock);
    return code;
}

/* By its name: all ponds of the child share it again. It begins empty. */
int mp_memory_reopen(mp_cache **out, mp_cache *inherited, const mp_options *options, pond_error **err) {
    (void)inherited;
    return mp_memory_open(out, options, err);
}

void mp_memory_close(mp_cache *cache) {
    named *last = NULL;
    pthread_mutex_lock(&registry.lock);
    for (mp_node *n = registry.caches.next; n != &registry.caches; n = n->next) {
        named *known = named_of(n);
        if (known->cache != cache) continue;
        if (--known->refs == 0) {
            mp_list_remove(n);
            last = known;
        }
        break;
    }
    pthread_mutex_unlock(&registry.lock);
    if (!last) return;
    mp_memory_free(last->cache);
    free(last);
}
