/* Where there is a value although somebody wants it loaded: it is past its time, or near it.
 *
 * Each read brings the value that its own question found (read.h), so what it is given in the end was in the cache after its call had
 * begun; an invalidation since then takes it away: the cache is asked for the lease in a way that tells of the value that stands there,
 * and after a load that failed the lease's own fate tells whether it still does. */
#include "pattern/flight_private.h"

#include <string.h>

#include "base/error.h"
#include "pattern/source.h"

static mp_node *list_of(mp_flight *f, int i) { return i == 0 ? &f->early : i == 1 ? &f->mid : &f->late; }

bool mp_flight_spares(const mp_flight *f) {
    for (int i = 0; i < 3 && f->spared; i++) {
        const mp_node *list = list_of((mp_flight *)f, i);
        for (const mp_node *n = list->next; n != list; n = n->next)
            if (MP_OF(n, mp_read, flight_node)->spare_stands) return true;
    }
    return false;
}

void mp_flight_serve(mp_flight *f, bool failed) {
    mp_shard *s = mp_shard_of(f->home, &f->key);
    mp_node served, own;
    mp_list_init(&served);
    mp_list_init(&own);
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < 3; i++) {
        mp_node *list = list_of(f, i);
        for (mp_node *n = list->next, *next; n != list; n = next) {
            next = n->next;
            const mp_read *r = MP_OF(n, mp_read, flight_node);
            if (!r->spare_stands || (r->spare_use == MP_USE_SPARE && !failed)) continue;
            mp_list_remove(n);
            mp_list_push(&served, n);
        }
    }
    mp_flight_hand_out(f, &served, &own, NULL, NULL);
    pthread_mutex_unlock(&s->lock);
    mp_flight_answer_own(&own, NULL, NULL);
}

void mp_flight_lost(mp_flight *f) {
    mp_shard *s = mp_shard_of(f->home, &f->key);
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < 3; i++) {
        const mp_node *list = list_of(f, i);
        for (const mp_node *n = list->next; n != list; n = n->next)
            MP_OF(n, mp_read, flight_node)->spare_stands = false;
    }
    pthread_mutex_unlock(&s->lock);
}

bool mp_flight_renews(mp_flight *f, mp_op *op) {
    pond_value *value = op->value;
    op->value = NULL;
    if (!value) mp_flight_lost(f);
    if (value && op->left > 0 && op->left > f->left) {
        mp_flight_release(f);
        mp_flight_finish(f, value, NULL, false);
        return false;
    }
    pond_value_free(value);
    return true;
}

void mp_flight_rests(mp_flight *f, int64_t ms, bool failed) {
    const mp_options *o = &f->policy->options;
    mp_shard *s = mp_shard_of(f->home, &f->key);
    pthread_mutex_lock(&s->lock);
    mp_rest_heard(&s->rests, f->key.hash, ms < 0 ? o->lease : ms, failed, o->refresh_backoff,
                  mp_loop_now(f->home->loop));
    pthread_mutex_unlock(&s->lock);
}

/* A thread that blocks has nobody to load behind it, unless the library does; and who loads many loads them together. */
bool mp_flight_behind(mp_flight *f, mp_read *r, pond_load *load) {
    if (!r->spare_stands || r->spare_use == MP_USE_SPARE) return false;
    if (!r->call.source && (r->call.waiter || r->call.group)) return false;
    mp_lane *lane = f->home;
    mp_shard *s = mp_shard_of(lane, &f->key);
    pthread_mutex_lock(&s->lock);
    mp_list_remove(&r->flight_node);
    r->flight = NULL;
    pthread_mutex_unlock(&s->lock);
    r->loader = false;
    f->loader = NULL;
    atomic_fetch_add_explicit(&load->refs, 1, memory_order_relaxed);
    mp_source *source = mp_source_ref(r->call.source);
    if (!source) r->call.event.load = load;
    mp_read_answer(r, NULL, NULL);
    if (source) mp_source_offered(lane, source, load);
    mp_source_unref(source);
    return true;
}

static void backed_off(mp_op *op) {
    mp_flight *f = MP_OF(op, mp_flight, op);
    pond_error *error = f->error;
    f->asking = false;
    f->error = NULL;
    if (op->reply == MP_FAILED) mp_flight_count(f, MP_COUNT_cache_errors);
    if (op->reply == MP_REFUSED) f->stands = false;
    pond_error_free(op->error);
    op->error = NULL;
    mp_flight_finish(f, NULL, error, f->error_shared);
}

void mp_flight_back_off(mp_flight *f, pond_error *error, bool shared) {
    mp_loop *loop = f->home->loop;
    const mp_options *o = &f->policy->options;
    mp_shard *s = mp_shard_of(f->home, &f->key);
    mp_flight_drop_load(f);
    mp_loop_timer_stop(loop, &f->timer);
    mp_loop_timer_stop(loop, &f->deadline);
    if (f->renewing) mp_lane_forget(f->home, &f->renew);
    f->renewing = f->leased = false;
    mp_loop_duty(loop, -1);
    pthread_mutex_lock(&s->lock);
    f->phase = MP_RELEASING;
    int64_t pause = mp_rest_failed(&s->rests, f->key.hash, o->refresh_backoff, mp_loop_now(loop));
    pthread_mutex_unlock(&s->lock);
    f->error = error;
    f->error_shared = shared;
    f->asking = true;
    f->op = (mp_op){
        .kind = MP_RELEASE, .key = f->key, .lease_ms = pause, .timeout_ms = o->command_timeout, .done = backed_off};
    memcpy(f->op.token, f->token, MP_TOKEN_LEN);
    mp_lane_submit(f->home, &f->op);
}

bool mp_flight_due(mp_read *r) {
    mp_lane *lane = r->call.lane;
    mp_shard *s = mp_shard_of(lane, &r->op.key);
    bool spare = r->spare_use == MP_USE_SPARE, failed;
    pthread_mutex_lock(&s->lock);
    bool rests = mp_rest_stands(&s->rests, r->op.key.hash, mp_loop_now(lane->loop), &failed);
    bool flies = mp_shard_find(s, &r->op.key, r->tags);
    pthread_mutex_unlock(&s->lock);
    return spare ? !failed : !rests && !flies;
}

bool mp_flight_spare_stands(mp_read *r) {
    mp_shard *s = mp_shard_of(r->call.lane, &r->op.key);
    pthread_mutex_lock(&s->lock);
    const mp_flight *f = r->flight;
    bool stands = f && r->spare_stands && (f->phase < MP_LOADING || (f->phase == MP_LOADING && f->firm));
    pthread_mutex_unlock(&s->lock);
    return stands;
}
