/* The journal: what was accepted and is not in the store yet, in a SQLite file, where the cache is this process's memory. What Redis does in
 * scripts (cache/lua/wb_*.lua, whose headers say what each operation means) is done here in transactions, on the same terms.
 *
 * A file belongs to one process at a time, which all its ponds with the same cache share. So nothing of what only says how things stand is in the
 * file: which epoch is in force, the last number, whose a shard is. Each process that opens it is another history, as after a Redis that
 * lost its tail: it has a fence of its own, and takes its epochs from the store. That is right also where a power cut took the last transactions,
 * and where the file comes from a backup.
 *
 * A commit is written to the file and not waited for on the disk: who dies loses nothing, but a machine that does may lose the last ones, never one
 * without those behind it. mp_journal_sync is what waits. */
#ifndef MP_STORE_JOURNAL_H
#define MP_STORE_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>
#include "model/behind.h"
#include "model/key.h"

#define MP_JOURNAL_FENCE 8
#define MP_JOURNAL_OWNER 16

typedef struct mp_journal mp_journal;

/* Made if there is none. `cache` is what tells whose values it goes with: one journal, one cache; `over` is called with it when nobody in
 * this process has the journal open any more: other processes may have it then, so nothing that is cached counts. POND_EOPTION, and the file is left as it is: another
 * process has it open, or this one has with another cache; or it is no journal. */
int mp_journal_open(mp_journal **out, const char *path, void *cache, void (*over)(void *cache), int64_t timeout_ms,
                    pond_error **err);
/* Another use of it, that mp_journal_close ends. @threads any */
mp_journal *mp_journal_ref(mp_journal *j);
/* One use less; behind the last one another process may have the file. Takes NULL, and leaves alone what a child of a fork has inherited. */
void mp_journal_close(mp_journal *j);
/* MP_JOURNAL_FENCE bytes. */
const uint8_t *mp_journal_fence(const mp_journal *j);

/* All that was committed before stands on the disk. Blocks for as long as that takes. @threads any */
int mp_journal_sync(mp_journal *j, pond_error **err);
/* Now and then, by a thread that may wait for the disk: keeps the file's log short. @threads any */
void mp_journal_tidy(mp_journal *j);

/* One at a time: from enter to leave the caller is alone with the journal, and does to the cache what follows from it. Short. */
int mp_journal_enter(mp_journal *j, pond_error **err);
void mp_journal_leave(mp_journal *j);

/* ---- while entered; the key is the document's ---- */

/* What waits of it. The value is a new reference; NULL: there is no record. */
typedef struct mp_waiting {
    pond_value *value;
    int64_t version;
    bool old_fence, damaged;
    bool sums; /* increments wait */
} mp_waiting;

int mp_journal_find(mp_journal *j, const mp_key *key, mp_waiting *out, pond_error **err);
/* MP_ACCEPT: a document (an absence: it is deleted), or an increment (behind->member). `cached`: what the cache has of it, or NULL. *version: what it
 * got; 0: behind->verdict says why it was refused. */
int mp_journal_accept(mp_journal *j, const mp_key *key, mp_behind *behind, const pond_value *value,
                      const pond_value *cached, int64_t *version, pond_error **err);
/* MP_FOLD, read under `fence`. `value` NULL: the sums are dropped. *version: the document's; 0: they were dropped, or refused as behind->verdict says.
 * *last: no more wait. */
int mp_journal_fold(mp_journal *j, const mp_key *key, mp_behind *behind, const uint8_t *fence, const pond_value *value,
                    int64_t *version, bool *last, pond_error **err);

/* ---- likewise; the key is a shard's ---- */

/* Is it one of as many shards as its namespace has in this file? POND_EOPTION. */
int mp_journal_prepare(mp_journal *j, const mp_key *key, pond_error **err);
/* MP_EPOCH: behind->verdict. */
int mp_journal_epoch(mp_journal *j, const mp_key *key, mp_behind *behind, const uint8_t *fence, pond_error **err);
/* MP_OWN: *mine; if not, *left is how many ms another has it yet. */
int mp_journal_own(mp_journal *j, const mp_key *key, const uint8_t *owner, int64_t lease_ms, bool *mine, int64_t *left,
                   pond_error **err);
int mp_journal_take(mp_journal *j, const mp_key *key, mp_behind *behind, pond_error **err);
int mp_journal_sums(mp_journal *j, const mp_key *key, mp_behind *behind, pond_error **err);
int mp_journal_ack(mp_journal *j, const mp_key *key, mp_behind *behind, pond_error **err);
/* MP_DEAD: *moved; else a newer record came. */
int mp_journal_dead(mp_journal *j, const mp_key *key, mp_behind *behind, bool *moved, pond_error **err);
int mp_journal_dead_list(mp_journal *j, const mp_key *key, mp_behind *behind, pond_error **err);
/* MP_DEAD_RETRY: behind->verdict. `cached` as above. */
int mp_journal_dead_retry(mp_journal *j, const mp_key *key, mp_behind *behind, const pond_value *cached,
                          pond_error **err);
int mp_journal_dead_drop(mp_journal *j, const mp_key *key, mp_behind *behind, bool *was_there, pond_error **err);

#endif
