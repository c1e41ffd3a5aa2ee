#include "pattern/behind/accept.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "pattern/pond.h"

enum {
    FIRST_PAUSE_MS = 5,
    LAST_PAUSE_MS = 200,
    CONFIRM_MS = 50, /* it holds up others that are confirmed so long at most */
    FIRST_LOOK_MS = 1,
    LAST_LOOK_MS = 20,
    AT_ONCE = 3 /* times that something else was read is read again without a pause */
};

static void confirm(mp_accept *a);

static void done(mp_accept *a, mp_accepted how) { a->done(a, how); }

static void fail(mp_accept *a, pond_error *error) {
    a->error = error;
    done(a, MP_ACCEPT_FAILED);
}

/* ---- again, after a pause ---- */

static void submit(mp_accept *a) {
    a->flying = true;
    a->waits = false;
    memset(a->op.fence, 0, sizeof a->op.fence); /* it has not been sent under any */
    a->seen = atomic_load(&a->backlog->epochs);
    mp_lane_submit(a->lane, &a->op);
}

static void pause_over(mp_timer *timer) {
    mp_accept *a = MP_OF(timer, mp_accept, timer);
    if (a->unconfirmed) confirm(a);
    else if (a->waits) submit(a);
    else a->done(a, a->how);
}

/* False: the time is over. */
static bool pause(mp_accept *a) {
    int64_t now = mp_loop_now(a->lane->loop);
    a->pause_ms = a->pause_ms ? a->pause_ms * 2 : FIRST_PAUSE_MS;
    if (a->pause_ms > LAST_PAUSE_MS) a->pause_ms = LAST_PAUSE_MS;
    return now + a->pause_ms < a->until && mp_loop_timer_set(a->lane->loop, &a->timer, now + a->pause_ms);
}

static void full(mp_accept *a) {
    a->waits = a->options->backlog_full == MP_BACKLOG_WAIT && pause(a);
    if (a->waits) return;
    fail(a, mp_error_new(POND_EOVERLOAD,
                         "nothing was accepted: the backlog of %.64s is full (backlog_max %lld): is the store slow, or "
                         "no worker there? Try again later",
                         a->backlog->collection, (long long)a->options->backlog_max));
}

static void read_again(mp_accept *a) {
    if (a->tries++ < AT_ONCE) {
        done(a, MP_ACCEPT_READ);
        return;
    }
    a->how = MP_ACCEPT_READ;
    if (!pause(a))
        fail(a, mp_error_new_retriable(POND_ETIMEOUT, 1,
                                       "nothing was accepted: others change this document of %.64s all the time: try "
                                       "again, or raise write_timeout",
                                       a->backlog->collection));
}

/* ---- the answer ---- */

static void refused(mp_accept *a) {
    switch (a->behind.verdict) {
    case MP_STALE_FENCE:
        if (a->tries++ < 16) done(a, MP_ACCEPT_EPOCH);
        else
            fail(a, mp_error_new(POND_ECACHE, "nothing was accepted: the backlog of %.64s has another epoch each time",
                                 a->backlog->collection));
        return;
    case MP_FULL: full(a); return;
    case MP_CHANGED: read_again(a); return;
    case MP_EXISTS: done(a, MP_ACCEPT_EXISTS); return;
    case MP_ABSENT: done(a, MP_ACCEPT_NONE); return;
    case MP_FORGOTTEN:
        fail(a,
             mp_error_new_retriable(POND_ECACHE, 0,
                                    "the cache has lost a part of its history, and with it whether an increment of "
                                    "a document of %.64s was accepted: it may have counted, so it may count twice if "
                                    "it is repeated",
                                    a->backlog->collection));
        return;
    default:
        fail(a, mp_error_new(POND_EPROTOCOL, "the backlog of %.64s gave an answer that makes no sense here",
                             a->backlog->collection));
    }
}

/* ---- where it is, beside the server's memory ---- */

static void not_confirmed(mp_accept *a, int code, const char *why) {
    fail(a, mp_error_new_retriable(code, 0,
                                   "the change of a document of %.64s is accepted, but it is not confirmed that it is "
                                   "%s (ack): %s",
                                   a->backlog->collection,
                                   a->ack == MP_ON_DISK ? "on the disk" : "on as many replicas as it shall be", why));
}

static void look_again(mp_accept *a, bool busy, int64_t count) {
    char why[100];
    int64_t now = mp_loop_now(a->lane->loop);
    a->pause_ms = busy && a->pause_ms ? a->pause_ms * 2 : FIRST_LOOK_MS;
    if (a->pause_ms > LAST_LOOK_MS) a->pause_ms = LAST_LOOK_MS;
    a->unconfirmed = now + a->pause_ms < a->until && mp_loop_timer_set(a->lane->loop, &a->timer, now + a->pause_ms);
    if (a->unconfirmed) return;
    if (count < 0 || a->ack == MP_ON_DISK) snprintf(why, sizeof why, "not within write_timeout");
    else snprintf(why, sizeof why, "%lld of %d have it within write_timeout", (long long)count, a->ack);
    not_confirmed(a, POND_ETIMEOUT, why);
}

static int64_t wanted(const mp_accept *a) { return a->ack == MP_ON_DISK ? 1 : a->ack; }

static mp_confirmed *last_word(const mp_accept *a) {
    return a->ack == MP_ON_DISK ? &a->lane->on_disk : &a->lane->on_replicas;
}

/* Whoever has asked since this was accepted, on its connection, has asked for it, too. */
static bool is_confirmed(const mp_accept *a) {
    const mp_confirmed *said = last_word(a);
    return said->connection && said->connection == a->behind.connection && a->number <= said->until &&
           said->count >= wanted(a);
}

static void looked(mp_op *op) {
    mp_accept *a = MP_OF(op, mp_accept, confirm);
    pond_error *error = op->error;
    op->error = NULL;
    a->confirming = false;
    switch (op->reply) {
    case MP_DONE:
        *last_word(a) = (mp_confirmed){.connection = a->where.connection, .until = a->asked_until, .count = op->ms};
        if (op->ms >= wanted(a)) done(a, MP_ACCEPTED);
        else look_again(a, false, op->ms);
        break;
    case MP_BUSY: look_again(a, true, -1); break;
    case MP_REFUSED: not_confirmed(a, POND_ECACHE, "the connection was lost"); break;
    default: not_confirmed(a, POND_ECACHE, error ? pond_error_message(error) : "no memory");
    }
    pond_error_free(error);
}

static void confirm(mp_accept *a) {
    a->unconfirmed = false;
    if (is_confirmed(a)) {
        done(a, MP_ACCEPTED);
        return;
    }
    a->confirming = true;
    a->asked_until = a->lane->accepted;
    a->where = (mp_behind){.connection = a->behind.connection};
    a->confirm = (mp_op){.kind = MP_CONFIRM,
                         .key = a->op.key,
                         .behind = &a->where,
                         .ms = a->ack,
                         .lease_ms = CONFIRM_MS,
                         .timeout_ms = a->options->command_timeout + CONFIRM_MS,
                         .done = looked};
    mp_lane_submit(a->lane, &a->confirm);
}

pond_error *mp_accept_nothing(pond_error *why, const char *because) {
    int code = pond_error_code(why);
    if (code != POND_ESTORE && code != POND_ECACHE && code != POND_ETIMEOUT) return why;
    pond_error *out = mp_error_new_retriable(code, pond_error_retriable(why), "nothing was accepted: %s%s", because,
                                             pond_error_message(why));
    pond_error_free(why);
    return out;
}

/* A Redis is sent no change without the fence that it goes under. */
static bool was_sent(const mp_accept *a) {
    static const uint8_t none[MP_FENCE_LEN];
    return mp_backlog_embedded(a->backlog) || memcmp(a->op.fence, none, sizeof none) != 0;
}

static void answered(mp_op *op) {
    mp_accept *a = MP_OF(op, mp_accept, op);
    a->flying = false;
    switch (op->reply) {
    case MP_STORED:
        mp_count(a->backlog->policy->space->stats, MP_COUNT_accepted);
        mp_drain_accepted(a->backlog);
        a->pause_ms = 0;
        a->number = ++a->lane->accepted;
        if (a->ack) confirm(a);
        else done(a, MP_ACCEPTED);
        return;
    case MP_REFUSED: refused(a); return;
    default: {
        pond_error *error = op->error;
        op->error = NULL;
        if (!error) error = mp_error_new(POND_EPROTOCOL, "the cache gave an answer that makes no sense here");
        fail(a, was_sent(a) ? error : mp_accept_nothing(error, ""));
    }
    }
}

/* ---- its life ---- */

mp_accept *mp_accept_new(mp_lane *lane, const pond_collection *c, const char *id, size_t len) {
    mp_accept *a = calloc(1, sizeof *a + c->document->ns_len + 1 + 1 + len + 1);
    char name[MP_NAME_MAX + 1];
    if (!a) return NULL;
    a->lane = lane;
    a->backlog = c->behind;
    a->ack = atomic_load(&c->ack_at_once) ? 0 : c->ack;
    a->options = &c->document->options;
    a->timer.fire = pause_over;
    mp_collection_key(c, &a->op.key, name, id, len);
    a->op.key.name = memcpy(a->name, name, a->op.key.len + 1);
    a->until = mp_loop_now(lane->loop) + a->options->write_timeout;
    return a;
}

static void begin(mp_accept *a) {
    a->behind.confirmed = a->ack != 0;
    a->behind.most = mp_backlog_most(a->options->backlog_max);
    submit(a);
}

static void make(mp_accept *a, pond_value *value) {
    mp_key key = a->op.key;
    a->op = (mp_op){.kind = MP_ACCEPT,
                    .key = key,
                    .value = value,
                    .timeout_ms = a->options->command_timeout,
                    .behind = &a->behind,
                    .done = answered};
}

void mp_accept_send(mp_accept *a, mp_expect expect, int64_t version, pond_value *value) {
    bool absence = pond_value_state(value) == POND_ABSENT;
    make(a, value);
    mp_policy_times(a->backlog->policy, absence, absence ? a->options->negative_ttl : a->options->ttl, &a->op);
    a->behind = (mp_behind){.expect = expect, .expect_version = version};
    begin(a);
}

void mp_accept_increment(mp_accept *a, const char *member, size_t len, int64_t by) {
    make(a, NULL);
    a->behind = (mp_behind){.member = member, .member_len = len, .by = by};
    begin(a);
}

void mp_accept_leave(mp_accept *a) {
    mp_loop_timer_stop(a->lane->loop, &a->timer);
    if (a->flying) mp_lane_forget(a->lane, &a->op);
    if (a->confirming) mp_lane_forget(a->lane, &a->confirm);
    a->flying = a->waits = a->confirming = a->unconfirmed = false;
}

void mp_accept_free(mp_accept *a) {
    if (!a) return;
    pond_error_free(a->error);
    free(a);
}
