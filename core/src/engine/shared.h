/* What processes that share an embedded store tell each other: which of the things that they have cached are no longer true.
 *
 * In memory that they have in common (engine/region.h) there is a slot for every so many keys, by their hash. It has a generation,
 * which goes up when such a key is invalidated or written, wherever; and it says who is writing now, so that nobody caches what a write
 * is about to change. A write that is never ended, as its process died, ends by its time.
 *
 * Commits are seen besides: the store shows a few words that are others after each. `known` are the words of the last commit that
 * is accounted for. A commit of this library's is, for those who make it tell of its keys by their slots; one of anybody else's
 * (a shell, a program's own connection, a process that died before it could account for its own) begins another era.
 *
 * Era and generation are a stamp. What is cached keeps the one that was in force before it was loaded, and counts as long as
 * its key's stamp is still the same: a few loads from memory, no system call, no lock.
 *
 * Where there is no memory in common the process has it for itself: then commits of others are seen, all of them as anybody's,
 * but not what others invalidate without one. */
#ifndef MP_ENGINE_SHARED_H
#define MP_ENGINE_SHARED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mp_shared mp_shared;

enum { MP_COMMIT_WORDS = 3 };

/* How the store shows commits. */
typedef struct mp_commits {
    const _Atomic uint64_t
        *words; /* no state of them ever comes again; the first 32 bits are a count of commits. NULL: */
    bool (*ask)(void *ctx,
                uint64_t *version); /* another after each, for this process; false: not known. One thread at a time */
    bool (*gone)(void *ctx);        /* the store stands no more where it was opened, or cannot be used */
    void *ctx;
} mp_commits;

/* The file is `database` and "-pond". NULL without memory. A child of fork() opens its own. */
mp_shared *mp_shared_open(const char *database, const mp_commits *commits);
/* Nobody uses it any more. Takes NULL. */
void mp_shared_close(mp_shared *s);
/* In the child of a fork, at once, of what it has inherited. */
void mp_shared_forked(mp_shared *s);
/* From now on no stamp is known. @threads any */
void mp_shared_lose(mp_shared *s);
/* Others can be told, and heard. */
bool mp_shared_in_common(const mp_shared *s);

/* The stamp of a key, never 1; 0: it cannot be known now, so nothing counts. @threads any, as for all that follow */
uint64_t mp_shared_stamp(mp_shared *s, const char *key, size_t len, int64_t now_ms);
/* For how long somebody may still be writing there; 0: nobody is. To be asked after the stamp: who finds a writer's generation
 * finds the writer, too. */
int64_t mp_shared_written_ms(const mp_shared *s, const char *key, size_t len, int64_t now_ms);
/* What is cached under the key counts no more, anywhere, unless it has the stamp that is returned: that is not 0 if `own` was the
 * key's until now. */
uint64_t mp_shared_invalidate(mp_shared *s, const char *key, size_t len, uint64_t own);
/* The same, and until `until_ms` nothing is cached there unless the write has ended before. `again`: this write had begun, and goes on;
 * then what it has told stands. `*mark`: for its end, never 1; another one when it goes on says that somebody came between. */
uint64_t mp_shared_begin(mp_shared *s, const char *key, size_t len, uint64_t own, bool again, int64_t until_ms,
                         int64_t now_ms, uint64_t *mark);
/* A write that was to take until `until_ms` at most has ended. The stamp that what it has written may have; 0 if another process came
 * between, or is still writing. Who writes other keys of this process does not count. */
uint64_t mp_shared_end(mp_shared *s, const char *key, size_t len, uint64_t mark, int64_t until_ms, int64_t now_ms);

/* Around what commits through this library; the same thread does all three. At most `wait_ms` are waited for another process
 * that commits, which makes the commit nobody's if they are not enough. */
void *mp_shared_commits(mp_shared *s, int64_t wait_ms);
/* Right after each commit, as that is visible to others already. */
void mp_shared_committed(mp_shared *s, void *turn);
void mp_shared_commits_over(mp_shared *s, void *turn);

#endif
