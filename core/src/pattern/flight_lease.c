#include "pattern/flight_private.h"

#include <string.h>

#include "base/error.h"
#include "base/random.h"
#include "model/freshness.h"

#define POLL_FIRST_MS 5 /* where the cache cannot tell that a lease has ended */
#define POLL_LAST_MS 160

/* ---- waiting for somebody else's ---- */

static void ask_again(mp_flight *f) {
    if (mp_flight_wanted(f)) mp_flight_ask(f);
    else mp_flight_move_on(f);
}

static void told(mp_op *op) {
    mp_flight *f = MP_OF(op, mp_flight, op);
    int64_t now = mp_loop_now(f->home->loop), pause = POLL_FIRST_MS << f->in_vain;
    f->asking = false;
    pond_error_free(op->error);
    op->error = NULL;
    if (pause > POLL_LAST_MS) pause = POLL_LAST_MS;
    /* A cache that tells too much must not be asked all the time. */
    int64_t at = f->in_vain ? f->held_at + pause / 2 : now;
    if (op->reply != MP_DONE) at = now + mp_random_pause(pause);
    if (op->reply != MP_DONE && f->lease_ends < at) at = f->lease_ends;
    if (at <= now) ask_again(f);
    else if (!mp_loop_timer_set(f->home->loop, &f->timer, at))
        mp_flight_finish(f, NULL, mp_error_new(POND_ENOMEM, "no memory for a timer"), true);
}

static void wait_and_ask_again(mp_flight *f, int64_t lease_ms) {
    mp_loop *loop = f->home->loop;
    mp_shard *s = mp_shard_of(f->home, &f->key);
    int64_t now = mp_loop_now(loop);
    pthread_mutex_lock(&s->lock);
    mp_list_move(&f->early, &f->mid);
    f->phase = MP_WAITING;
    f->held = true;
    pthread_mutex_unlock(&s->lock);
    mp_loop_inflight(loop, 1); /* somebody must drive for it */
    f->in_vain = now - f->held_at <= 2 * POLL_LAST_MS ? f->in_vain + (f->in_vain < 8) : 0;
    f->held_at = now;
    f->asking = true;
    f->op.kind = MP_AWAIT; /* and all else as it was asked for */
    f->op.ms = lease_ms < 0 ? f->policy->options.lease : lease_ms;
    f->op.done = told;
    f->lease_ends = now + f->op.ms + 1;
    mp_lane_submit(f->home, &f->op);
}

/* ---- asking ---- */

/* Somebody else refreshes, or has failed to: whoever can be served with what is there is. */
static void found_meanwhile(mp_flight *f, mp_op *op, bool failed) {
    if (op->value) {
        mp_flight_rests(f, op->ms, failed);
        mp_flight_serve(f, failed);
    } else {
        mp_flight_lost(f);
    }
    pond_value_free(op->value);
    op->value = NULL;
}

static void asked(mp_op *op) {
    mp_flight *f = MP_OF(op, mp_flight, op);
    f->asking = false;
    switch (op->reply) {
    case MP_HIT: {
        pond_value *value = op->value;
        op->value = NULL;
        if (op->version && value != mp_value_absent()) value->version = op->version;
        mp_flight_finish(f, value, NULL, false);
        return;
    }
    case MP_LEASED:
        f->leased = true;
        memcpy(f->fence, op->fence, MP_FENCE_LEN);
        if (!f->refresh || mp_flight_renews(f, op)) mp_flight_load(f);
        return;
    case MP_BUSY:
        if (f->refresh) found_meanwhile(f, op, false);
        if (mp_flight_wanted(f)) wait_and_ask_again(f, op->ms);
        else mp_flight_move_on(f);
        return;
    case MP_RESTING:
        found_meanwhile(f, op, true);
        mp_flight_move_on(f); /* who is not served has nothing to wait for */
        return;
    case MP_DIRTY:
        pond_value_free(f->dirty);
        f->dirty = op->value;
        f->dirty_version = op->version;
        op->value = NULL;
        mp_flight_load(f);
        return;
    case MP_UNFOLDED:
        f->unfolded = true;
        mp_flight_load(f);
        return;
    case MP_INDOUBT:
        if (f->refresh) mp_flight_lost(f);
        mp_flight_load(f);
        return;
    default: break;
    }
    pond_error *error = op->error;
    op->error = NULL;
    mp_flight_count(f, MP_COUNT_cache_errors);
    if (f->refresh) mp_flight_serve(f, false);
    if (f->refresh && !mp_flight_wanted(f)) {
        pond_error_free(error);
        mp_flight_move_on(f);
    } else if (!mp_policy_goes_on(f->policy, error)) {
        mp_flight_finish(
            f, NULL, error ? error : mp_error_new(POND_EPROTOCOL, "the cache gave an answer that makes no sense here"),
            true);
    } else {
        pond_error_free(error);
        mp_flight_load(f);
    }
}

/* A generation lives longer than what is loaded under it, and loads lengthen it: while it is used it stays. */
static int64_t tag_ttl(const mp_options *o) {
    return 2 * ((o->ttl > o->negative_ttl ? o->ttl : o->negative_ttl) + mp_kept_past(o, false) + o->load_timeout);
}

void mp_flight_ask(mp_flight *f) {
    mp_shard *s = mp_shard_of(f->home, &f->key);
    if (f->phase == MP_WAITING) mp_loop_inflight(f->home->loop, -1);
    pthread_mutex_lock(&s->lock);
    f->phase = MP_ASKING; /* from here on joiners are in the middle */
    f->refresh = mp_flight_spares(f);
    pthread_mutex_unlock(&s->lock);
    f->asking = true;
    const mp_options *o = &f->policy->options;
    mp_op *op = &f->op;
    uint8_t rejected[sizeof op->rejected], rejected_len = op->rejected_len;
    memcpy(rejected, op->rejected, sizeof rejected);
    *op =
        (mp_op){.kind = MP_LEASE, .key = f->key, .lease_ms = o->lease, .timeout_ms = o->command_timeout, .done = asked};
    op->refresh = f->refresh;
    op->rejected_len = rejected_len;
    memcpy(op->rejected, rejected, sizeof rejected);
    memcpy(op->token, f->token, MP_TOKEN_LEN);
    mp_tagging *t = f->tagging;
    if (t) {
        op->done = mp_flight_one_answered;
        op->ntags = t->tags->n;
        op->generations = t->found;
        mp_tagging_begin(t, f->home, MP_TAG_MAKE, tag_ttl(o), o->command_timeout, 1);
    }
    mp_lane_submit(f->home, op);
    if (t) mp_tagging_send(t);
}

void mp_flight_one_answered(mp_op *op) { mp_tagging_one(MP_OF(op, mp_flight, op)->tagging); }

/* What the lease operation has answered, in the light of the tags. True: it is to be asked again, past the value that it found. */
static bool judge(mp_flight *f) {
    mp_tagging *t = f->tagging;
    mp_op *op = &f->op;
    bool hit = op->reply == MP_HIT, leased = op->reply == MP_LEASED;
    if (op->refresh && op->value && !mp_tagging_same(t)) { /* it is out of reach */
        pond_value_free(op->value);
        op->value = NULL;
    }
    if ((!hit && !leased) || (leased && !t->doubt) || (hit && mp_tagging_same(t))) return false;
    pond_value_free(op->value);
    op->value = NULL;
    if (!t->doubt && f->rejections++ == 0) return true;
    /* Somebody writes under a tag (or it cannot be asked for): nothing can be filled, so nobody shall wait for it. */
    if (leased) mp_lane_release(f->home, &f->key, f->token, op->timeout_ms);
    op->reply = t->error ? MP_FAILED : MP_INDOUBT;
    op->error = t->error;
    t->error = NULL;
    return false;
}

void mp_flight_tags_answered(mp_tagging *t) {
    mp_flight *f = t->owner;
    bool again = false;
    if (f->phase == MP_FILLING) f->tags_stand = mp_tagging_same(t);
    else again = judge(f);
    pond_error_free(t->error);
    t->error = NULL;
    if (f->phase == MP_FILLING) mp_flight_filled(&f->op);
    else if (again) mp_flight_ask(f);
    else asked(&f->op);
}

/* ---- renewing ---- */

static void renewed(mp_op *op) {
    mp_flight *f = MP_OF(op, mp_flight, renew);
    f->renewing = false;
    pond_error_free(op->error);
    op->error = NULL;
    if (op->reply == MP_STORED) return;
    /* Lost, perhaps: go on, the fill will be refused. But somebody else may have filled meanwhile. */
    mp_shard *s = mp_shard_of(f->home, &f->key);
    pthread_mutex_lock(&s->lock);
    f->firm = false;
    pthread_mutex_unlock(&s->lock);
}

void mp_flight_time(mp_timer *timer) {
    mp_flight *f = MP_OF(timer, mp_flight, timer);
    if (f->phase == MP_WAITING) {
        ask_again(f);
        return;
    }
    const mp_options *o = &f->policy->options;
    mp_loop_timer_set(f->home->loop, timer, mp_loop_now(f->home->loop) + o->lease / 3);
    if (f->renewing) return;
    f->renewing = true;
    f->renew = (mp_op){
        .kind = MP_RENEW, .key = f->key, .lease_ms = o->lease, .timeout_ms = o->command_timeout, .done = renewed};
    memcpy(f->renew.token, f->token, MP_TOKEN_LEN);
    mp_lane_submit(f->home, &f->renew);
}
