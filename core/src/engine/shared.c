#include "engine/shared.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"
#include "base/random.h"
#include "engine/region.h"

enum {
    LAYOUT = 1,
    SLOTS = 1 << 15,
    LOOK_MS = 100, /* how often it is looked whether file and store are still there */
    JOIN_MS = 1000,
    SETTLE_TRIES = 50,
    CLOCKS_MS = 1000 /* a write that ends so shortly before its time leaves the rest of it to the time */
};

/* The upper 16 bits of a slot's writers: how many; the others: until when, in ms of the machine's clock. */
#define UNTIL ((UINT64_C(1) << 48) - 1)
#define ONE_WRITER (UINT64_C(1) << 48)

/* The memory in common. Whatever it holds, nothing in it can lead astray: no pointers, no lengths. */
typedef struct map {
    uint64_t seed;                           /* of the hash that names slots */
    _Atomic uint32_t era;                    /* random at first, so that another memory's stamps do not count */
    _Atomic uint64_t known[MP_COMMIT_WORDS]; /* see shared.h */
    _Alignas(64) _Atomic uint32_t generations[SLOTS];
    _Atomic uint64_t writers[SLOTS];
} map;

/* What of a slot is this process's own doing. */
typedef struct mine {
    uint32_t changes, writers;
    int64_t until; /* of its writers */
} mine;

struct mp_shared {
    char *path, *database;
    mp_commits commits;
    mp_region_form form;
    mp_region *_Atomic now;
    pthread_mutex_t lock; /* beside the region's, which does not keep threads of one process apart */
    _Atomic int64_t looked_ms;
    _Atomic bool lost;
    uint64_t version;         /* where commits are asked for: the last answer, under the lock, */
    _Atomic uint32_t own_era; /* and how often it was another */
    pthread_mutex_t own_lock; /* of what follows; the last to be taken */
    mine *own;                /* SLOTS */
};

static map *map_of(const mp_shared *s) { return atomic_load_explicit(&s->now, memory_order_acquire)->at; }

static void start(void *at) {
    map *m = at;
    uint32_t era;
    mp_random_bytes(&era, sizeof era);
    mp_random_bytes(&m->seed, sizeof m->seed);
    atomic_store(&m->era, era);
}

/* ---- commits ---- */

static bool is_known(const map *m, const _Atomic uint64_t *words) {
    for (int i = 0; i < MP_COMMIT_WORDS; i++)
        if (atomic_load_explicit(&words[i], memory_order_acquire) !=
            atomic_load_explicit(&m->known[i], memory_order_acquire))
            return false;
    return true;
}

static uint32_t count_of(uint64_t word) {
    uint32_t count;
    memcpy(&count, &word, sizeof count);
    return count;
}

/* Both locks held. What was read once is what becomes known: a commit that comes meanwhile, or is half to be seen, is not, for its
 * words are others. The era goes up first: who finds the words known finds it gone up. `own`: one commit was made that tells of its keys by
 * their slots, so it is accounted for unless there was another. */
static void reckon(map *m, const _Atomic uint64_t *words, bool own) {
    uint64_t now[MP_COMMIT_WORDS];
    bool same = true;
    for (int i = 0; i < MP_COMMIT_WORDS; i++) {
        now[i] = atomic_load(&words[i]);
        same = same && now[i] == atomic_load(&m->known[i]);
    }
    if (same) return;
    if (!own || count_of(now[0]) - count_of(atomic_load(&m->known[0])) != 1) atomic_fetch_add(&m->era, 1);
    for (int i = 0; i < MP_COMMIT_WORDS; i++) atomic_store(&m->known[i], now[i]);
}

static mp_region *try_turn(mp_shared *s) {
    if (pthread_mutex_trylock(&s->lock) != 0) return NULL;
    mp_region *r = atomic_load(&s->now);
    if (mp_region_try_lock(r)) return r;
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void end_turn(mp_shared *s, const mp_region *r) {
    mp_region_unlock(r);
    pthread_mutex_unlock(&s->lock);
}

/* Words that are not known: a commit that is just being accounted for, or nobody's. False: who has the turn does not come to it (it
 * may be stopped), and nobody waits for that. */
static bool settle(mp_shared *s, const map *m) {
    for (int tries = 0; tries < SETTLE_TRIES; tries++) {
        mp_region *r = try_turn(s);
        if (r) {
            reckon(r->at, s->commits.words, false);
            end_turn(s, r);
        } else {
            sched_yield();
        }
        if (is_known(m, s->commits.words)) return true;
    }
    return false;
}

static bool ask(mp_shared *s) {
    uint64_t version = 0;
    pthread_mutex_lock(&s->lock);
    bool known = s->commits.ask && s->commits.ask(s->commits.ctx, &version);
    if (known && version != s->version) {
        atomic_fetch_add(&s->own_era, 1);
        s->version = version;
    }
    pthread_mutex_unlock(&s->lock);
    return known;
}

void *mp_shared_commits(mp_shared *s, int64_t wait_ms) {
    const struct timespec pause = {.tv_nsec = 1000000};
    mp_region *r = NULL;
    if (!s->commits.words) return NULL;
    while (!(r = try_turn(s)) && wait_ms-- > 0) nanosleep(&pause, NULL);
    if (r) reckon(r->at, s->commits.words, false);
    return r;
}

void mp_shared_committed(mp_shared *s, void *turn) {
    mp_region *r = turn;
    if (r) reckon(r->at, s->commits.words, true);
}

void mp_shared_commits_over(mp_shared *s, void *turn) {
    if (turn) end_turn(s, turn);
}

/* ---- stamps ---- */

static size_t slot_of(const map *m, const char *key, size_t len) { return mp_hash_with(key, len, m->seed) % SLOTS; }

/* A file that somebody has removed is not that of who comes after; and who could not join may be able to now. */
static void look(mp_shared *s) {
    if (pthread_mutex_trylock(&s->lock) != 0) return;
    mp_region *r = atomic_load(&s->now), *fresh = NULL;
    if (s->commits.gone(s->commits.ctx)) {
        mp_shared_lose(s);
        mp_region_withdraw(r); /* what stands there now is others' */
    } else if (mp_region_apart(r, &s->form)) {
        fresh = mp_region_join(&s->form, 0);
    }
    if (fresh) {
        fresh->older = r; /* somebody may be looking at it just now */
        pthread_mutex_lock(&s->own_lock);
        memset(s->own, 0, SLOTS * sizeof *s->own);
        atomic_store(&s->now, fresh);
        pthread_mutex_unlock(&s->own_lock);
    }
    pthread_mutex_unlock(&s->lock);
}

static void look_now_and_then(mp_shared *s, int64_t now_ms) {
    int64_t looked = atomic_load_explicit(&s->looked_ms, memory_order_relaxed);
    if (now_ms - looked >= LOOK_MS && atomic_compare_exchange_strong(&s->looked_ms, &looked, now_ms)) look(s);
}

static uint64_t stamp_of(const mp_shared *s, const map *m, uint32_t generation) {
    uint32_t era =
        atomic_load_explicit(&m->era, memory_order_acquire) + atomic_load_explicit(&s->own_era, memory_order_acquire);
    return (uint64_t)(era | 1u << 31) << 32 | generation;
}

uint64_t mp_shared_stamp(mp_shared *s, const char *key, size_t len, int64_t now_ms) {
    look_now_and_then(s, now_ms);
    if (atomic_load_explicit(&s->lost, memory_order_relaxed)) return 0;
    const map *m = map_of(s);
    if (s->commits.words ? !is_known(m, s->commits.words) && !settle(s, m) : !ask(s)) return 0;
    return stamp_of(s, m, atomic_load_explicit(&m->generations[slot_of(m, key, len)], memory_order_acquire));
}

int64_t mp_shared_written_ms(const mp_shared *s, const char *key, size_t len, int64_t now_ms) {
    const map *m = map_of(s);
    uint64_t writers = atomic_load(&m->writers[slot_of(m, key, len)]);
    int64_t until = (int64_t)(writers & UNTIL);
    return writers >= ONE_WRITER && until > now_ms ? until - now_ms : 0;
}

/* own_lock held, for all of these. */

/* The next generation. Its stamp if `own` was that of the one before, and nobody came between. */
static uint64_t go_on(mp_shared *s, map *m, size_t slot, uint64_t own) {
    uint32_t generation = (uint32_t)own;
    s->own[slot].changes++;
    if (own != 0 && stamp_of(s, m, generation) == own &&
        atomic_compare_exchange_strong(&m->generations[slot], &generation, generation + 1))
        return (own & ~UINT64_C(0xffffffff)) | (uint32_t)(generation + 1);
    atomic_fetch_add(&m->generations[slot], 1);
    return 0;
}

/* Era, and how many changes of the slot were others' as of this generation. */
static uint64_t mark_of(const mp_shared *s, const map *m, size_t slot, uint32_t generation) {
    return stamp_of(s, m, generation - s->own[slot].changes);
}

static uint64_t add_writer(mp_shared *s, map *m, size_t slot, uint64_t own, bool again, int64_t until_ms,
                           int64_t now_ms, uint64_t *mark) {
    mine *here = &s->own[slot];
    uint64_t was = atomic_load(&m->writers[slot]), shall,
             until = until_ms > (int64_t)UNTIL ? UNTIL : (uint64_t)until_ms;
    bool over, counts;
    do {
        over = (int64_t)(was & UNTIL) <= now_ms; /* whoever they were */
        uint64_t writers = over ? 0 : was & ~UNTIL;
        counts = (!again || writers == 0) && writers <= UINT64_MAX - 2 * ONE_WRITER;
        shall = (counts ? writers + ONE_WRITER : writers) | (over || (was & UNTIL) < until ? until : was & UNTIL);
    } while (!atomic_compare_exchange_weak(&m->writers[slot], &was, shall));
    if (over || here->until - now_ms < CLOCKS_MS) here->writers = 0;
    here->writers += counts;
    if (here->until < until_ms) here->until = until_ms;
    /* After the writer. A write that had not been over for others has nothing new to say. */
    uint64_t stamp = again && !over ? own : go_on(s, m, slot, own);
    *mark = mark_of(s, m, slot, atomic_load(&m->generations[slot]));
    return stamp;
}

/* Where the writer has stood all the time nothing is cached under its generation but what writers have brought, so that can stay. The
 * generation is looked at before the writers: who comes now makes it old. */
static uint64_t remove_writer(mp_shared *s, map *m, size_t slot, uint64_t mark, int64_t until_ms, int64_t now_ms) {
    mine *here = &s->own[slot];
    if (until_ms - now_ms < CLOCKS_MS || here->until - now_ms < CLOCKS_MS || here->writers == 0) {
        go_on(s, m, slot, 0); /* it may have been over for others */
        return 0;
    }
    uint32_t generation = atomic_load(&m->generations[slot]);
    bool alone = mark_of(s, m, slot, generation) == mark;
    uint64_t stamp = stamp_of(s, m, generation), was = atomic_load(&m->writers[slot]), shall;
    do shall = was >= 2 * ONE_WRITER ? was - ONE_WRITER : 0;
    while (!atomic_compare_exchange_weak(&m->writers[slot], &was, shall));
    here->writers--;
    return alone && shall / ONE_WRITER == here->writers ? stamp : 0;
}

uint64_t mp_shared_invalidate(mp_shared *s, const char *key, size_t len, uint64_t own) {
    pthread_mutex_lock(&s->own_lock);
    map *m = map_of(s);
    uint64_t stamp = go_on(s, m, slot_of(m, key, len), own);
    pthread_mutex_unlock(&s->own_lock);
    return stamp;
}

uint64_t mp_shared_begin(mp_shared *s, const char *key, size_t len, uint64_t own, bool again, int64_t until_ms,
                         int64_t now_ms, uint64_t *mark) {
    pthread_mutex_lock(&s->own_lock);
    map *m = map_of(s);
    uint64_t stamp = add_writer(s, m, slot_of(m, key, len), own, again, until_ms, now_ms, mark);
    pthread_mutex_unlock(&s->own_lock);
    return stamp;
}

uint64_t mp_shared_end(mp_shared *s, const char *key, size_t len, uint64_t mark, int64_t until_ms, int64_t now_ms) {
    pthread_mutex_lock(&s->own_lock);
    map *m = map_of(s);
    uint64_t stamp = remove_writer(s, m, slot_of(m, key, len), mark, until_ms, now_ms);
    pthread_mutex_unlock(&s->own_lock);
    return stamp;
}

/* ---- the whole ---- */

bool mp_shared_in_common(const mp_shared *s) { return atomic_load(&s->now)->fd >= 0; }
void mp_shared_lose(mp_shared *s) { atomic_store(&s->lost, true); }

void mp_shared_forked(mp_shared *s) {
    for (mp_region *r = atomic_load(&s->now); r; r = r->older) mp_region_withdraw(r);
}

static bool open_region(mp_shared *s) {
    s->form = (mp_region_form){
        .path = s->path, .database = s->database, .layout = LAYOUT, .size = sizeof(map), .start = start};
    mp_region *r = mp_region_join(&s->form, JOIN_MS);
    if (!r) r = mp_region_alone(&s->form);
    atomic_store(&s->now, r);
    return r != NULL;
}

mp_shared *mp_shared_open(const char *database, const mp_commits *commits) {
    mp_shared *s = calloc(1, sizeof *s);
    size_t len = strlen(database);
    if (!s) return NULL;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->own_lock, NULL);
    s->own = calloc(SLOTS, sizeof *s->own);
    s->commits = *commits;
    s->database = strdup(database);
    s->path = malloc(len + sizeof "-pond");
    if (s->path) snprintf(s->path, len + sizeof "-pond", "%s-pond", database);
    if (s->own && s->path && s->database && open_region(s)) return s;
    mp_shared_close(s);
    return NULL;
}

void mp_shared_close(mp_shared *s) {
    if (!s) return;
    for (mp_region *r = atomic_load(&s->now), *older; r; r = older) {
        older = r->older;
        mp_region_leave(r, &s->form);
    }
    pthread_mutex_destroy(&s->own_lock);
    pthread_mutex_destroy(&s->lock);
    free(s->own);
    free(s->database);
    free(s->path);
    free(s);
}
