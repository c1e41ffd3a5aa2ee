#include "pattern/read.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "pattern/group.h"
#include "pattern/pond.h"
#include "pattern/share.h"
#include "pattern/source.h"

static void count_hit(pond *p, const pond_policy *policy, const pond_value *value) {
    mp_ns_stats *stats = (policy ? policy : p->defaults)->space->stats;
    mp_count(stats, pond_value_state(value) == POND_ABSENT ? MP_COUNT_negative_hits : MP_COUNT_hits);
}

static int64_t early_refresh(const pond *p, const pond_policy *policy) {
    return (policy ? policy : p->defaults)->options.early_refresh;
}

pond_value *mp_peek(pond *p, const pond_policy *policy, const mp_key *key) {
    if (!p->cache->vt->peek) return NULL;
    pond_value *value = p->cache->vt->peek(p->cache, p->shared, key, early_refresh(p, policy), mp_clock_ms());
    if (value) count_hit(p, policy, value);
    return value;
}

pond_value *mp_peek_under(pond *p, const pond_policy *policy, const mp_key *key, const pond_tags *tags) {
    if (!p->cache->vt->peek_tagged) return NULL;
    pond_value *value = p->cache->vt->peek_tagged(p->cache, p->shared, key, tags->keys, tags->n,
                                                  early_refresh(p, policy), mp_clock_ms());
    if (value) count_hit(p, policy, value);
    return value;
}

static mp_read *of_call(mp_call *call) { return MP_OF(call, mp_read, call); }

static void ask(mp_read *r);

static void count(const mp_read *r, mp_counter counter) { mp_count(r->call.policy->space->stats, counter); }

static void unhook(mp_call *call) {
    mp_read *r = of_call(call);
    mp_loop *loop = call->lane->loop;
    mp_loop_timer_stop(loop, &r->timer);
    if (r->state == MP_READ_ASKING || r->state == MP_READ_SHARING) {
        if (r->state == MP_READ_ASKING) {
            mp_lane_forget(call->lane, &r->op);
            if (r->tagging) mp_tagging_forget(r->tagging, &r->op);
        }
        mp_read *heir = mp_share_leave(r);
        if (heir && !call->lane->ending) ask(heir);
    } else if (r->state == MP_READ_FLYING && !mp_flight_leave(r)) {
        mp_loop_unpost(loop, &r->deliver); /* its answer was on its way here */
        pond_value_free(call->value);
        pond_error_free(call->error);
        call->value = NULL;
        call->error = NULL;
    }
    r->state = MP_READ_IDLE;
}

static void destroy(mp_call *call) {
    mp_read *r = of_call(call);
    mp_call_clear(call);
    mp_tagging_free(r->tagging);
    pond_tags_free(r->tags);
    pond_value_free(r->spare);
    free(r);
}

static const mp_call_vt vt = {.unhook = unhook, .destroy = destroy};

/* At `at`, or when the call's own time is over. */
static void set_timer(mp_read *r, int64_t at) {
    mp_loop_timer_set(r->call.lane->loop, &r->timer, at < r->deadline ? at : r->deadline);
}

void mp_read_loads(mp_read *r) {
    r->loader = true;
    if (r->deadline == INT64_MAX) mp_loop_timer_stop(r->call.lane->loop, &r->timer);
    else set_timer(r, r->deadline);
}

static void end_value(mp_read *r, pond_value *value) {
    mp_loop_timer_stop(r->call.lane->loop, &r->timer);
    r->state = MP_READ_IDLE;
    mp_call_end_value(&r->call, value);
}

static void end_error(mp_read *r, pond_error *error) {
    mp_loop_timer_stop(r->call.lane->loop, &r->timer);
    r->state = MP_READ_IDLE;
    mp_call_end(&r->call, POND_EVENT_ERROR, NULL, error);
}

/* ---- what it has found ---- */

static void serve_spare(mp_read *r) {
    pond_value *value = r->spare;
    bool early = r->spare_use == MP_USE_EARLY;
    r->spare = NULL;
    count(r, early ? MP_COUNT_hits : MP_COUNT_stale_hits);
    if (!early) value = mp_value_stale(value);
    if (value) end_value(r, value);
    else end_error(r, mp_error_new(POND_ENOMEM, "no memory for a stale value"));
}

/* It ends with something else: that is a miss. */
static void spare_missed(const mp_read *r) {
    if (r->spare) count(r, MP_COUNT_misses);
}

/* Neither what the caller itself wants to end with, nor a mistake in its program. */
static bool is_failure(const pond_error *error) {
    int code = pond_error_code(error);
    return code != POND_ECANCELED && code != POND_ECLOSED && code != POND_EDEADLOCK && code != POND_EINTERRUPTED &&
           code != POND_EMISUSE;
}

/* There is nothing better to end with. Takes over the error. */
static void fall_back(mp_read *r, pond_error *error) {
    if (!r->spare || !r->spare_stands || !is_failure(error)) {
        spare_missed(r);
        end_error(r, error);
        return;
    }
    pond_error_free(error);
    serve_spare(r);
}

static void fly(mp_read *r, bool cache_down);

/* A value was found: served if it is fresh, else put by. False: it cannot be used. Takes it over. */
static bool use(mp_read *r, pond_value *value) {
    const mp_options *o = &r->call.policy->options;
    bool absence = pond_value_state(value) == POND_ABSENT;
    mp_use use =
        r->op.soft ? mp_use_of(o, absence, r->op.left, r->op.load_ms, mp_random_below(UINT32_MAX)) : MP_USE_FRESH;
    if (use == MP_USE_NONE || (use == MP_USE_SPARE && r->lookup)) {
        pond_value_free(value);
        return false;
    }
    if (use == MP_USE_FRESH) {
        count(r, absence ? MP_COUNT_negative_hits : MP_COUNT_hits);
        end_value(r, value);
        return true;
    }
    r->spare = value;
    r->spare_left = r->op.left;
    r->spare_use = use;
    r->spare_stands = true;
    if (r->lookup || !mp_flight_due(r)) {
        serve_spare(r);
        return true;
    }
    fly(r, false);
    return true;
}

/* ---- deadlines ---- */

static void call_too_slow(mp_read *r) {
    pond_value *value = mp_flight_loaded_value(r); /* only the cache's word on it is missing */
    bool stands = mp_flight_spare_stands(r);
    if (!mp_flight_leave(r)) {
        pond_value_free(value);
    } else if (value) {
        spare_missed(r);
        end_value(r, value);
    } else {
        r->spare_stands = stands;
        count(r, MP_COUNT_timeouts);
        fall_back(r,
                  mp_error_new(POND_ETIMEOUT,
                               "the read of \"%.80s\" took longer than call_timeout (%lld ms): try again, or raise "
                               "call_timeout",
                               r->op.key.name + r->op.key.ns_len + 1, (long long)r->call.policy->options.call_timeout));
    }
}

static void waited_too_long(mp_timer *timer) {
    mp_read *r = MP_OF(timer, mp_read, timer);
    mp_lane *lane = r->call.lane;
    if (r->state != MP_READ_FLYING) return;
    if (mp_loop_now(lane->loop) >= r->deadline) {
        call_too_slow(r);
        return;
    }
    const mp_options *o = &r->call.policy->options;
    /* The cache is slow, nobody's load is waited for: the command's own deadline ends that. Unless the flight's home is a
     * queue whose host is busy elsewhere: then nobody looks at that deadline. */
    int64_t waited = mp_loop_now(lane->loop) - r->started;
    if (waited < o->wait_timeout + 2 * o->command_timeout && mp_flight_asking(r)) {
        set_timer(r, mp_loop_now(lane->loop) + 10);
        return;
    }
    bool stands = mp_flight_spare_stands(r);
    if (!mp_flight_leave(r)) return;
    r->spare_stands = stands;
    if (o->when_wait_ends == MP_WAIT_ENDS_LOAD && !stands) {
        mp_flight_alone(r);
        return;
    }
    count(r, MP_COUNT_timeouts);
    fall_back(r, mp_error_new(POND_ETIMEOUT,
                              "waited %lld ms (wait_timeout) for another caller's load of \"%.80s\": try again, raise "
                              "wait_timeout, or set when_wait_ends=load",
                              (long long)waited, r->op.key.name + r->op.key.ns_len + 1));
}

static void flies(mp_read *r) {
    r->state = MP_READ_FLYING;
    r->started = mp_loop_now(r->call.lane->loop);
    set_timer(r, r->started + r->call.policy->options.wait_timeout);
}

static void fly(mp_read *r, bool cache_down) {
    flies(r);
    mp_flight_join(r, cache_down);
}

static void heard(mp_read *r) {
    mp_op *op = &r->op;
    r->state = MP_READ_IDLE;
    if (op->reply == MP_HIT) {
        pond_value *value = op->value;
        op->value = NULL;
        if (op->version && value != mp_value_absent()) value->version = op->version; /* nobody else has it yet */
        if (use(r, value)) return;
        op->reply = MP_MISSED;
    }
    count(r, MP_COUNT_misses);
    if (op->damaged) count(r, MP_COUNT_damaged);
    if (op->reply == MP_MISSED) {
        if (r->lookup) end_value(r, mp_value_miss());
        else fly(r, false);
        return;
    }
    pond_error *error = op->error;
    op->error = NULL;
    count(r, MP_COUNT_cache_errors);
    if (r->lookup || !mp_policy_goes_on(r->call.policy, error)) {
        end_error(r, error);
    } else {
        pond_error_free(error);
        fly(r, true);
    }
}

static void asked(mp_op *op) {
    mp_read *r = MP_OF(op, mp_read, op);
    mp_node sharers, *n;
    mp_list_init(&sharers);
    mp_share_answered(r, &sharers);
    heard(r);
    while ((n = mp_list_shift(&sharers))) heard(MP_OF(n, mp_read, flight_node));
}

/* The key's own answer, one of several: those of its tags. */
static void asked_tagged(mp_op *op) { mp_tagging_one(MP_OF(op, mp_read, op)->tagging); }

/* A hit under other generations than those in force is none; op->rejected names it to who asks for the lease. */
static void all_asked(mp_tagging *t) {
    mp_read *r = t->owner;
    mp_op *op = &r->op;
    if (op->reply == MP_HIT && !mp_tagging_same(t)) {
        pond_value_free(op->value);
        op->value = NULL;
        op->reply = t->error ? MP_FAILED : MP_MISSED;
        op->error = t->error;
        t->error = NULL;
    }
    asked(op);
}

static void ask(mp_read *r) {
    mp_tagging *t = r->tagging;
    r->state = MP_READ_ASKING;
    r->op.kind = MP_GET;
    r->op.reply = MP_PENDING;
    r->op.done = asked;
    if (t) {
        r->op.done = asked_tagged;
        r->op.generations = t->found;
        r->op.ntags = t->tags->n;
        mp_tagging_begin(t, r->call.lane, MP_TAG_GET, 0, r->op.timeout_ms, 1);
    }
    mp_share_begin(r);
    mp_lane_submit(r->call.lane, &r->op);
    if (t) mp_tagging_send(t);
}

bool mp_read_undecided(mp_read *r) {
    return r->state == MP_READ_ASKING || r->state == MP_READ_SHARING ||
           (r->state == MP_READ_FLYING && mp_flight_asking(r));
}

void mp_read_answer(mp_read *r, pond_value *value, pond_error *error) {
    if (error) {
        fall_back(r, error);
    } else if (value) {
        spare_missed(r);
        end_value(r, value);
    } else {
        serve_spare(r);
    }
}

/* On the read's own lane: what a flight that is at home elsewhere has left here. */
static void deliver(mp_task *task) {
    mp_read *r = MP_OF(task, mp_read, deliver);
    pond_value *value = r->call.value;
    pond_error *error = r->call.error;
    r->call.value = NULL;
    r->call.error = NULL;
    mp_read_answer(r, value, error);
}

mp_read *mp_read_start(mp_lane *lane, const mp_ask *what, uint64_t user, mp_waiter *waiter, mp_group *group) {
    const mp_key *key = what->key;
    mp_read *r = malloc(sizeof *r + key->len + 1);
    if (!r) return NULL;
    memset(r, 0, sizeof *r);
    memcpy(r->name, key->name, key->len + 1);
    const pond_policy *policy = what->policy ? what->policy : lane->pond->defaults;
    bool soft = mp_asks_age(&policy->options);
    /* Where hits need no wait the caller has already looked, for what is fresh, and the lease operation looks again. */
    bool looked = lane->pond->cache->vt->peek && !what->lookup && !soft;
    if (what->tags && !looked && !(r->tagging = mp_tagging_new(what->tags, r, all_asked))) {
        free(r);
        return NULL;
    }
    r->tags = pond_tags_ref((pond_tags *)what->tags);
    mp_call_init(&r->call, &vt, lane, what->policy, user);
    r->call.waiter = waiter;
    r->call.source = mp_source_ref(what->source);
    r->call.group = group;
    if (group) mp_group_joined(group, &r->call);
    r->lookup = what->lookup;
    r->state = MP_READ_IDLE;
    mp_list_init(&r->flight_node);
    mp_list_init(&r->sharers);
    r->timer.fire = waited_too_long;
    r->deliver.run = deliver;
    r->op.key = *key;
    r->op.key.name = r->name;
    r->op.soft = soft;
    const mp_options *o = &r->call.policy->options;
    r->deadline = o->call_timeout ? mp_loop_now(lane->loop) + o->call_timeout : INT64_MAX;
    r->op.timeout_ms = o->call_timeout && o->call_timeout < o->command_timeout ? o->call_timeout : o->command_timeout;
    if (looked) {
        count(r, MP_COUNT_misses);
        fly(r, false);
    } else if (!what->lookup && !soft && mp_flight_meet(r)) { /* else there may be an old value for it all the same */
        count(r, MP_COUNT_misses);
        flies(r);
    } else if (!mp_share_join(r)) {
        ask(r);
    }
    return r;
}
