#include "pattern/behind/tally.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "pattern/pond.h"
#include "pattern/behind/shards.h"
#include "pattern/wait.h"

enum { TRIES = 8 };

/* One key, on its way. */
typedef struct tally {
    mp_behind_entry entry;  /* its key, borrowed */
    mp_behind_entry *taken; /* the worker's; NULL: a reader's */
    uint8_t shard;
    mp_op_kind next; /* MP_SUMS or MP_FOLD */
    bool over;
    mp_sums sums;
    uint8_t fence[MP_FENCE_LEN]; /* under which they were read */
    uint32_t seen;
    pond_value *base, *whole; /* without and with the increments; `whole` NULL: they are dropped */
    int64_t base_version, whole_version;
    size_t dropped;  /* increments that have nothing to be added to */
    bool partly;     /* some of them are in `base` already, and nobody knows which */
    pond_error *bad; /* there is no cure for it */
    mp_behind behind;
    char name[MP_NAME_MAX + 1];
} tally;

static void forget(tally *t) {
    mp_sums_clear(&t->sums);
    pond_value_free(t->base);
    pond_value_free(t->whole);
    t->base = t->whole = NULL;
    t->base_version = t->whole_version = 0;
    t->dropped = 0;
    t->partly = false;
}

/* ---- what it comes to ---- */

/* The store's document counts some of them, but not all: the cache came back with what it had before the fold that made it. Its record, if it has
 * one, is what they all were added to. */
static void go_back(tally *t) {
    const mp_sums *s = &t->sums;
    t->partly = !s->value || s->version >= s->first;
    if (t->partly) return;
    pond_value_free(t->base);
    t->base = pond_value_ref(s->value);
    t->base_version = s->version;
}

static int add_up(const mp_backlog *b, tally *t, pond_error **err) {
    const mp_sums *s = &t->sums;
    int code = POND_OK;
    if (s->value && !s->old_fence) {
        t->base = pond_value_ref(s->value);
        t->base_version = s->version;
    } else {
        code = mp_backlog_read(b, t->entry.key + 1, t->entry.key_len - 1, s->value, s->version, &t->base,
                               &t->base_version, err);
    }
    if (code != POND_OK || !s->newest || t->base_version >= s->newest) return code; /* it counts them already */
    if (t->base_version >= s->first) go_back(t);
    if (t->partly || pond_value_state(t->base) == POND_ABSENT) t->dropped = s->n;
    else code = mp_increment(t->base, s->sum, s->n, &t->whole, &t->dropped, err);
    return code;
}

/* Can the store be read, of a document that hardly anybody has? If not, it is not for the one that could not be read just now. */
static bool store_is_well(const mp_backlog *b) {
    pond_value *value = NULL;
    int64_t version = 0;
    bool well = mp_backlog_read(b, "-", 1, NULL, 0, &value, &version, NULL) == POND_OK;
    pond_value_free(value);
    return well;
}

/* The sums were read: what follows from them. False: nobody can go on. */
static int look(mp_backlog *b, tally *t, pond_error **err) {
    pond_error *why = NULL;
    if (t->taken && !t->sums.newest && !t->sums.damaged) { /* others were faster, and this is what they made */
        t->over = true;
        return POND_OK;
    }
    int code = t->sums.damaged
                   ? mp_fail(&why, POND_EPROTOCOL, "what stands in the backlog is damaged, or its increments are")
                   : add_up(b, t, &why);
    t->next = MP_FOLD;
    t->over = code == POND_OK && !t->sums.newest;
    if (code == POND_OK) return code;
    if (code == POND_ENOMEM || (pond_error_retriable(why) && !t->sums.damaged) ||
        (code == POND_ESTORE && !store_is_well(b))) {
        if (err) *err = why;
        else pond_error_free(why);
        return code;
    }
    t->bad = why ? why : mp_error_new(code, "it cannot be read");
    t->over = true;
    return POND_OK;
}

/* ---- to the cache and back ---- */

static void encode(const mp_backlog *b, tally *t, mp_errand *errand) {
    mp_op *op = &errand->op;
    t->seen = atomic_load(&b->epochs);
    t->behind = (mp_behind){0};
    *errand =
        (mp_errand){.op = {.kind = t->next, .behind = &t->behind, .timeout_ms = b->policy->options.command_timeout}};
    if (t->next == MP_SUMS) {
        t->behind.entries = &t->entry;
        t->behind.count = 1;
        mp_shard_key(b, &op->key, t->name, t->shard);
        return;
    }
    t->behind.sums = &t->sums;
    mp_policy_key(b->policy, &op->key, t->name, t->entry.key, t->entry.key_len);
    op->value = t->whole;
    memcpy(op->fence, t->fence, MP_FENCE_LEN);
    if (t->whole) mp_policy_times(b->policy, false, b->policy->options.ttl, op);
}

static void again(tally *t) {
    forget(t);
    t->next = MP_SUMS;
}

/* Each was accepted, so it is said which they were. */
static void report(mp_backlog *b, const tally *t) {
    bool absent = pond_value_state(t->base) == POND_ABSENT;
    const char *why = t->partly ? "the cache has lost how much of it the document counts already"
                      : absent  ? "no such document"
                                : "the field is no integer, or would leave 2^53 - 1";
    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < t->sums.n; i++) {
        const mp_sum *sum = &t->sums.sum[i];
        if (!t->partly && !absent && !sum->dropped) continue;
        mp_count(b->policy->space->stats, MP_COUNT_dropped_increments);
        mp_dropped_note(&b->dropped, t->entry.key + 1, t->entry.key_len - 1, sum, why);
    }
    pthread_mutex_unlock(&b->lock);
}

static int folded(mp_backlog *b, tally *t, const mp_op *op, pond_error **err) {
    if (op->reply == MP_REFUSED) {
        bool stale = t->behind.verdict == MP_STALE_FENCE;
        /* A reader has what it needs if both were read in one moment: it was so then. */
        t->over = !t->taken && t->sums.value && !t->sums.old_fence;
        if (!t->over) again(t);
        return stale ? mp_backlog_epoch(b, t->seen, err) : POND_OK;
    }
    t->whole_version = op->version;
    t->over = true;
    if (t->dropped) report(b, t);
    return POND_OK;
}

static int answered(mp_backlog *b, tally *t, mp_errand *errand, pond_error **err) {
    const mp_op *op = &errand->op;
    int code = mp_errand_code(errand, err);
    if (code != POND_OK) return code;
    if (t->next == MP_FOLD) return folded(b, t, op, err);
    t->sums = t->behind.sums[0];
    memcpy(t->fence, op->fence, MP_FENCE_LEN);
    free(t->behind.sums);
    return look(b, t, err);
}

/* The pond was closed meanwhile. */
static void forget_answer(tally *t, mp_errand *errand) {
    mp_errand_code(errand, NULL);
    if (t->next != MP_SUMS || !t->behind.sums) return;
    mp_sums_clear(&t->behind.sums[0]);
    free(t->behind.sums);
}

/* One question for each that is not over. */
static int step(mp_backlog *b, tally *all, size_t n, bool *over, pond_error **err) {
    mp_errand *errands = calloc(n, sizeof *errands);
    size_t *of = calloc(n, sizeof *of), asked = 0;
    int code = errands && of ? POND_OK : mp_fail(err, POND_ENOMEM, "no memory for increments");
    for (size_t i = 0; code == POND_OK && i < n; i++) {
        if (all[i].over) continue;
        encode(b, &all[i], &errands[asked]);
        of[asked++] = i;
    }
    *over = asked == 0;
    if (code == POND_OK && asked) code = mp_wait_errands(b->pond, errands, asked, err);
    bool waited = code == POND_OK;
    for (size_t i = 0; i < asked; i++) { /* all of them, for what they hold */
        tally *t = &all[of[i]];
        if (!waited) {
            forget_answer(t, &errands[i]);
            continue;
        }
        int one = answered(b, t, &errands[i], code == POND_OK ? err : NULL);
        if (code == POND_OK) code = one;
    }
    free(errands);
    free(of);
    return code;
}

static int fold(mp_backlog *b, tally *all, size_t n, pond_error **err) {
    bool over = n == 0;
    int code = POND_OK;
    for (int i = 0; i < 2 * TRIES && !over && code == POND_OK; i++) code = step(b, all, n, &over, err);
    return code;
}

/* ---- a reader ---- */

int mp_tally_read(mp_backlog *b, uint8_t shard, const char *key, size_t len, pond_value **out, pond_error **err) {
    tally *t = calloc(1, sizeof *t);
    if (!t) return mp_fail(err, POND_ENOMEM, "no memory for increments");
    t->entry.key = (char *)key;
    t->entry.key_len = len;
    t->shard = shard;
    t->next = MP_SUMS;
    int code = fold(b, t, 1, err);
    if (code == POND_OK && t->bad) {
        code = pond_error_code(t->bad);
        if (err) *err = pond_error_ref(t->bad);
    } else if (code == POND_OK && !t->over) {
        code =
            mp_fail(err, POND_ECACHE, "%.64s: others increment this document all the time: try again", b->collection);
    } else if (code == POND_OK) {
        pond_value *from = t->whole ? t->whole : t->base;
        *out = pond_value_ref(from);
        /* What could not be folded is right, but stands nowhere, so no change can expect it. */
        int64_t is = !t->whole ? t->base_version : t->whole_version ? t->whole_version : MP_VERSION_NOWHERE;
        if (*out != mp_value_absent() && (*out)->version != is)
            (*out)->version = is; /* a fold has said so to who has it, too */
    }
    forget(t);
    pond_error_free(t->bad);
    free(t);
    return code;
}

/* ---- the worker ---- */

static bool is_news(const mp_sums *s) { return s->newest || s->damaged || s->value; }

/* Which of the entries have increments that wait, or have become others since they were taken. */
static int find(mp_backlog *b, mp_behind taken[MP_BACKLOG_SHARDS], tally **all, size_t *n, pond_error **err) {
    mp_shards *s = calloc(1, sizeof *s);
    size_t some = 0;
    if (!s) return mp_fail(err, POND_ENOMEM, "no memory for increments");
    s->backlog = b;
    for (uint8_t i = 0; i < MP_BACKLOG_SHARDS; i++) {
        if (!taken[i].increments || !taken[i].count) continue;
        mp_behind *behind = mp_shards_add(s, MP_SUMS, i)->behind;
        behind->entries = taken[i].entries;
        behind->count = taken[i].count;
    }
    int code = mp_shards_send(s, err);
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; s->behind[i].sums && k < s->behind[i].count; k++) some += is_news(&s->behind[i].sums[k]);
    if (code == POND_OK && some && !(*all = calloc(some, sizeof **all)))
        code = mp_fail(err, POND_ENOMEM, "no memory for increments");
    for (size_t i = 0; i < s->n; i++) {
        for (size_t k = 0; s->behind[i].sums && k < s->behind[i].count; k++) {
            mp_behind_entry *e = &taken[s->shard[i]].entries[k];
            mp_sums *sums = &s->behind[i].sums[k];
            if (code != POND_OK || !is_news(sums) || e->damaged) {
                mp_sums_clear(sums);
                continue;
            }
            tally *t = &(*all)[(*n)++];
            *t = (tally){.taken = e, .shard = s->shard[i], .sums = *sums, .next = MP_FOLD};
            t->entry.key = e->key;
            t->entry.key_len = e->key_len;
            memcpy(t->fence, s->errand[i].op.fence, MP_FENCE_LEN);
        }
        free(s->behind[i].sums);
    }
    free(s);
    return code;
}

/* What the worker has in its hands is now what the fold has made. */
static void give(tally *t, mp_untold *bad, size_t *nbad) {
    mp_behind_entry *e = t->taken;
    if (t->bad) {
        if (t->sums.version) e->version = t->sums.version;
        e->unfolded = true;
        bad[(*nbad)++] = (mp_untold){t->shard, e, t->bad};
        t->bad = NULL;
    } else if (!t->over) {
        e->unfolded = true;
    } else if (t->whole) {
        pond_value_free(e->value);
        e->value = pond_value_ref(t->whole);
        e->version = t->whole_version;
        e->old_fence = false;
    } else { /* dropped, or others were faster: the record, if there is one, is as it was read */
        pond_value_free(e->value);
        e->value = t->sums.value ? pond_value_ref(t->sums.value) : NULL;
        e->version = t->sums.value ? t->sums.version : 0;
        e->old_fence = t->sums.old_fence;
    }
}

int mp_tally_taken(mp_backlog *b, mp_behind taken[MP_BACKLOG_SHARDS], mp_untold **bad, size_t *nbad, pond_error **err) {
    tally *all = NULL;
    size_t n = 0;
    *bad = NULL;
    *nbad = 0;
    int code = find(b, taken, &all, &n, err);
    for (size_t i = 0; i < n && code == POND_OK; i++) code = look(b, &all[i], err);
    if (code == POND_OK) code = fold(b, all, n, err);
    if (code == POND_OK && n && !(*bad = calloc(n, sizeof **bad)))
        code = mp_fail(err, POND_ENOMEM, "no memory for increments");
    for (size_t i = 0; i < n; i++) {
        if (code == POND_OK) give(&all[i], *bad, nbad);
        pond_error_free(all[i].bad);
        forget(&all[i]);
    }
    free(all);
    return code;
}
