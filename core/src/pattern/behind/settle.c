#include "pattern/behind/settle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "model/behind.h"
#include "pattern/pond.h"
#include "pattern/behind/shards.h"

enum { FIRST_PAUSE_MS = 10, LAST_PAUSE_MS = 100 };

/* Each shard is asked for its oldest entry. What waits there has its place by the time when it came; what was written again while the store got
 * it goes to the end. So a shard is done when its oldest entry came after the one that was its newest at first; and, as what went to the end
 * meanwhile may have been written before this call, once more after the one that is its newest then. Whoever takes that to the store has looked
 * at it since. What the store has refused for now goes to the end as well, each time that others get there before it: that is waited for wherever
 * it goes. */
typedef struct settling settling;
typedef struct asked {
    mp_op op;
    mp_behind behind;
    settling *of;
    bool done, knows, anew; /* `knows`: what the newest one was; `anew`: for the second time */
    char until[MP_BEHIND_ID_MAX];
    char name[MP_NAME_MAX + 1];
} asked;

struct settling {
    mp_call call;
    mp_backlog *backlog;
    mp_timer timer;
    int64_t until, pause_ms, left;
    size_t open;
    pond_error *error;
    asked shard[MP_BACKLOG_SHARDS];
};

static settling *of_call(mp_call *call) { return MP_OF(call, settling, call); }

static void unhook(mp_call *call) {
    settling *s = of_call(call);
    mp_loop_timer_stop(call->lane->loop, &s->timer);
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++)
        if (!s->shard[i].done && s->shard[i].op.reply == MP_PENDING) mp_lane_forget(call->lane, &s->shard[i].op);
}

static void destroy(mp_call *call) {
    settling *s = of_call(call);
    mp_call_clear(call);
    pond_error_free(s->error);
    free(s);
}

static const mp_call_vt vt = {.unhook = unhook, .destroy = destroy};

/* Places; what follows that of the newest one behind a '-' does not count. */
static bool is_later(const char *a, const char *b) { return strtoull(a, NULL, 10) > strtoull(b, NULL, 10); }

/* Its oldest entry is behind what was waited for. Is there more to wait for? */
static bool goes_on(asked *a, const mp_behind *b) {
    const char *aside = strchr(b->newest, '-');
    bool refused = aside && is_later(aside + 1, a->until);
    if (a->anew && !refused) return false;
    memcpy(a->until, b->newest, sizeof a->until);
    a->anew = true;
    return true;
}

static void end(settling *s, pond_error *error) {
    mp_call_end(&s->call, error ? POND_EVENT_ERROR : POND_EVENT_OK, NULL, error);
}

static void all_answered(settling *s) {
    mp_loop *loop = s->call.lane->loop;
    int64_t now = mp_loop_now(loop);
    bool over = true;
    pond_error *error = s->error;
    s->error = NULL;
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++) over = over && s->shard[i].done;
    if (over) {
        pond_error_free(error);
        end(s, NULL);
        return;
    }
    s->pause_ms = s->pause_ms * 2 > LAST_PAUSE_MS ? LAST_PAUSE_MS : s->pause_ms * 2;
    if (now + s->pause_ms < s->until && mp_loop_timer_set(loop, &s->timer, now + s->pause_ms)) {
        pond_error_free(error); /* the cache may come back in time */
        return;
    }
    if (!error)
        error = mp_error_new_retriable(POND_ETIMEOUT, 1,
                                       "%.64s: not all that was accepted got to the store in time (%lld wait): see "
                                       "stats() for what keeps the worker",
                                       s->backlog->collection, (long long)s->left);
    end(s, error);
}

static void answered(mp_op *op) {
    asked *a = MP_OF(op, asked, op);
    settling *s = a->of;
    if (op->reply == MP_DONE) {
        const mp_behind *b = &a->behind;
        if (!a->knows) memcpy(a->until, b->newest, sizeof a->until);
        a->knows = true;
        a->done = b->count == 0 || (is_later(b->entries[0].id, a->until) && !goes_on(a, b));
        s->left += b->backlog;
    } else if (s->error) {
        pond_error_free(op->error);
    } else {
        s->error = op->error;
    }
    mp_behind_clear(&a->behind);
    if (--s->open == 0) all_answered(s);
}

static void ask(settling *s) {
    mp_lane *lane = s->call.lane;
    s->left = 0;
    s->open = 1;
    for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++) {
        asked *a = &s->shard[i];
        if (a->done) continue;
        a->behind = (mp_behind){.most = 1, .bytes_most = 1};
        mp_key key = a->op.key;
        a->op = (mp_op){.kind = MP_TAKE,
                        .key = key,
                        .behind = &a->behind,
                        .timeout_ms = s->backlog->policy->options.command_timeout,
                        .done = answered};
        s->open++;
        mp_lane_submit(lane, &a->op);
    }
    if (--s->open == 0) all_answered(s);
}

static void ask_again(mp_timer *timer) { ask(MP_OF(timer, settling, timer)); }

mp_call *mp_settle_start(mp_lane *lane, mp_backlog *backlog, int64_t timeout_ms, uint64_t user, mp_waiter *waiter) {
    settling *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    mp_call_init(&s->call, &vt, lane, backlog ? backlog->policy : NULL, user);
    s->call.waiter = waiter;
    if (!backlog) {
        for (size_t i = 0; i < MP_BACKLOG_SHARDS; i++) s->shard[i].done = true;
        end(s, NULL);
        return &s->call;
    }
    s->backlog = backlog;
    s->timer.fire = ask_again;
    s->pause_ms = FIRST_PAUSE_MS / 2;
    s->until = timeout_ms < INT64_MAX - mp_loop_now(lane->loop) ? mp_loop_now(lane->loop) + timeout_ms : INT64_MAX;
    for (uint8_t i = 0; i < MP_BACKLOG_SHARDS; i++) {
        asked *a = &s->shard[i];
        a->of = s;
        mp_shard_key(backlog, &a->op.key, a->name, i);
    }
    ask(s);
    return &s->call;
}
