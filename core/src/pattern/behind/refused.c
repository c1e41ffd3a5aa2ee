#include "pattern/behind/refused.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"

enum {
    ATTEMPTS = 3, /* until what the store refuses is a dead letter */
    FIRST_AGAIN_MS = 1000,
    GONE_MS =
        5000 /* what is so long overdue to be tried again waits no more, as a rule: another worker has stored it */
};

static mp_refusal *find(mp_backlog *b, const mp_behind_entry *e) {
    for (size_t i = 0; i < b->refusals; i++)
        if (b->refused[i].len == e->key_len && memcmp(b->refused[i].key, e->key, e->key_len) == 0)
            return &b->refused[i];
    return NULL;
}

static void forget(mp_backlog *b, mp_refusal *of) {
    free(of->key);
    *of = b->refused[--b->refusals];
}

bool mp_refused_rests(mp_backlog *b, const mp_behind_entry *e, int64_t now_ms) {
    mp_refusal *of = find(b, e);
    if (of && of->version != e->version) {
        forget(b, of);
        of = NULL;
    }
    return of && of->again_at > now_ms;
}

/* Room for one more, though others are in the way: those that nobody waits for any more. If one of them does after all, its tries are counted
 * anew. */
static bool room_for_one(mp_backlog *b) {
    int64_t now = mp_clock_ms();
    if (b->refusals < MP_REFUSALS) return true;
    for (size_t i = b->refusals; i-- > 0;)
        if (now - b->refused[i].again_at > GONE_MS) forget(b, &b->refused[i]);
    return b->refusals < MP_REFUSALS;
}

static mp_refusal *note(mp_backlog *b, const mp_behind_entry *e) {
    char *key = room_for_one(b) ? malloc(e->key_len + 1) : NULL;
    if (!key) return NULL;
    memcpy(key, e->key, e->key_len);
    mp_refusal *of = &b->refused[b->refusals++];
    *of = (mp_refusal){.key = key, .len = e->key_len, .version = e->version};
    return of;
}

bool mp_refused_again(mp_backlog *b, const mp_behind_entry *e) {
    mp_refusal *of = find(b, e);
    if (!of) of = note(b, e);
    if (!of || ++of->times >= ATTEMPTS) return false;
    of->again_at = mp_clock_ms() + mp_random_pause((int64_t)FIRST_AGAIN_MS << (of->times - 1));
    return true;
}

void mp_refused_over(mp_backlog *b, const mp_behind_entry *e) {
    mp_refusal *of = b->refusals ? find(b, e) : NULL;
    if (of) forget(b, of);
}

void mp_refused_clear(mp_backlog *b) {
    while (b->refusals) free(b->refused[--b->refusals].key);
}
