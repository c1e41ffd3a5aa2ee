#include "pattern/flight_private.h"

#include <string.h>

#include "base/error.h"

/* The first read of the home lane, to load; NULL: none. Shard locked. */
static mp_read *choose(mp_flight *f) {
    for (mp_node *n = f->early.next; n != &f->early; n = n->next) {
        mp_read *r = MP_OF(n, mp_read, flight_node);
        if (r->call.lane == f->home) return r;
    }
    return NULL;
}

void mp_flight_load(mp_flight *f) {
    mp_loop *loop = f->home->loop;
    mp_shard *s = mp_shard_of(f->home, &f->key);
    pthread_mutex_lock(&s->lock);
    /* Where writes are accepted in the cache the store is behind it: what a load gives is as new as the lease, for which the backlog was
     * looked into, and not as the load's begin. */
    mp_list_move(f->key.shards ? &f->late : &f->early, &f->mid);
    f->phase = MP_LOADING; /* from here on joiners are late */
    f->firm = f->leased;
    mp_read *r = choose(f);
    pthread_mutex_unlock(&s->lock);
    mp_loop_duty(loop, 1);
    if (!r) {
        mp_flight_move_on(f);
        return;
    }
    pond_policy_free(f->policy);
    f->policy = pond_policy_ref(r->call.policy);
    const mp_options *o = &f->policy->options;
    pond_load *load = mp_load_new(f->home, &f->key, f->home->pond->options.max_value);
    if (!load) {
        mp_flight_release(f);
        mp_flight_finish(f, NULL, mp_error_new(POND_ENOMEM, "no memory for a load"), true);
        return;
    }
    f->loader = r;
    f->load = load;
    load->flight = f;
    load->dirty = f->dirty;
    load->dirty_version = f->dirty_version;
    f->dirty = NULL;
    load->unfolded = f->unfolded;
    f->unfolded = false;
    mp_read_loads(r);
    f->load_began = mp_loop_now(loop);
    mp_flight_count(f, MP_COUNT_loads);
    if (!f->leased) mp_flight_count(f, MP_COUNT_unfilled_loads);
    else if (f->refresh) mp_flight_count(f, MP_COUNT_refreshes);
    if (f->leased && f->refresh && f->left > 0) mp_flight_count(f, MP_COUNT_early_refreshes);
    mp_loop_timer_set(loop, &f->deadline, f->load_began + o->load_timeout);
    if (f->leased) mp_loop_timer_set(loop, &f->timer, f->load_began + o->lease / 3);
    if (!mp_flight_behind(f, r, load)) mp_call_offer(&r->call, load);
}

static int64_t load_ended(mp_flight *f) {
    int64_t took = mp_loop_now(f->home->loop) - f->load_began;
    mp_count_load(f->policy->space->stats, took);
    return took;
}

/* There is no answer from the store: who has found an old value falls back on it. `shared`: the error is not older than who asked late. */
static void load_failed(mp_flight *f, pond_error *error, bool shared) {
    mp_shard *s = mp_shard_of(f->home, &f->key);
    mp_flight_count(f, MP_COUNT_load_errors);
    load_ended(f);
    pthread_mutex_lock(&s->lock);
    bool served = f->leased && (f->refresh || mp_flight_spares(f));
    pthread_mutex_unlock(&s->lock);
    if (served) {
        mp_flight_count(f, MP_COUNT_failed_refreshes);
        mp_flight_back_off(f, error, shared);
        return;
    }
    mp_flight_release(f);
    mp_flight_finish(f, NULL, error, shared);
}

void mp_flight_too_slow(mp_timer *timer) {
    mp_flight *f = MP_OF(timer, mp_flight, deadline);
    load_failed(
        f,
        mp_error_new(
            POND_ETIMEOUT,
            "the load of \"%.80s\" took longer than load_timeout (%lld ms): make it faster, or raise load_timeout",
            f->name + f->key.ns_len + 1, (long long)f->policy->options.load_timeout),
        false);
}

void mp_flight_filled(mp_op *op) {
    mp_flight *f = MP_OF(op, mp_flight, op);
    f->asking = false;
    bool stored = op->reply == MP_STORED;
    if (stored) mp_flight_count(f, MP_COUNT_fills);
    else if (op->reply == MP_REFUSED) mp_flight_count(f, MP_COUNT_refused_fills);
    else {
        mp_flight_count(f, MP_COUNT_cache_errors);
        f->leased = true; /* perhaps still: nobody shall wait for its end */
        mp_flight_release(f);
    }
    pond_error_free(op->error);
    op->error = NULL;
    pond_value *value = f->value;
    f->value = NULL;
    mp_flight_finish(f, value, NULL, stored && f->tags_stand);
}

/* The value goes with the generations that were in force before the load. Who came during the load may share it only if they still
 * are: so they are asked for behind the fill. */
static void fill_tags(mp_flight *f, mp_op *op, bool late) {
    mp_tagging *t = f->tagging;
    op->ntags = t->tags->n;
    op->generations = t->found;
    memcpy(t->found, t->now, (size_t)t->tags->n * MP_TAG_SIZE);
    if (!late) return;
    op->done = mp_flight_one_answered;
    mp_tagging_begin(t, f->home, MP_TAG_GET, 0, op->timeout_ms, 1);
}

/* The loader gave the load up without an answer (a task was cancelled, a program interrupted): its own call gets the error,
 * who else waits goes on with another loader. */
static void gave_up(mp_flight *f, pond_error *error) {
    mp_shard *s = mp_shard_of(f->home, &f->key);
    mp_read *r = f->loader;
    if (r) {
        pthread_mutex_lock(&s->lock);
        mp_list_remove(&r->flight_node);
        r->flight = NULL;
        pthread_mutex_unlock(&s->lock);
        r->loader = false;
        f->loader = NULL;
    }
    mp_flight_move_on(f);
    if (r) mp_read_answer(r, NULL, error);
    else pond_error_free(error);
}

void mp_flight_loaded(mp_flight *f, pond_value *value, pond_error *error, bool uncached) {
    mp_loop *loop = f->home->loop;
    const mp_options *o = &f->policy->options;
    f->load = NULL;
    mp_loop_timer_stop(loop, &f->timer);
    mp_loop_timer_stop(loop, &f->deadline);
    if (error && pond_error_code(error) == POND_ECANCELED) {
        gave_up(f, error);
        return;
    }
    if (error) {
        load_failed(f, error, true); /* an error is never older than who asked */
        return;
    }
    int64_t took = load_ended(f);
    bool negative = pond_value_state(value) == POND_ABSENT;
    int64_t ttl = negative ? o->negative_ttl : o->ttl;
    if (uncached || ttl <= 0 ||
        (f->leased && negative &&
         !mp_negative_take(&f->policy->space->negative, mp_loop_now(loop), ttl, o->negative_max))) {
        mp_flight_release(f);
        mp_flight_finish(f, value, NULL, false);
        return;
    }
    if (!f->leased) {
        mp_flight_finish(f, value, NULL, false);
        return;
    }
    f->leased = false;
    if (f->renewing) mp_lane_forget(f->home, &f->renew);
    f->renewing = false;
    mp_loop_duty(loop, -1);
    mp_shard *s = mp_shard_of(f->home, &f->key);
    pthread_mutex_lock(&s->lock);
    f->phase = MP_FILLING;
    if (f->refresh) mp_rest_over(&s->rests, f->key.hash);
    bool late = !mp_list_empty(&f->late);
    pthread_mutex_unlock(&s->lock);
    f->value = value;
    f->asking = true;
    mp_op *op = &f->op;
    *op = (mp_op){
        .kind = MP_FILL, .key = f->key, .timeout_ms = o->command_timeout, .value = value, .done = mp_flight_filled};
    mp_policy_times(f->policy, negative, ttl, op);
    op->version = value->version;
    op->load_ms = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
    memcpy(op->token, f->token, MP_TOKEN_LEN);
    memcpy(op->fence, f->fence, MP_FENCE_LEN);
    f->tags_stand = true;
    mp_tagging *t = f->tagging;
    if (t) fill_tags(f, op, late);
    mp_lane_submit(f->home, op);
    if (t && late) mp_tagging_send(t);
}
