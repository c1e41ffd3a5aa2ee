#include "pattern/flight_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static void add(mp_flight *f, mp_node *to, mp_read *r) {
    r->flight = f;
    f->spared = f->spared || r->spare;
    mp_list_push(to, &r->flight_node);
}

/* Where it stands decides what it may share. */
static void board(mp_flight *f, mp_read *r) {
    bool asked_already = f->phase == MP_ASKING || f->phase == MP_FILLING || f->phase == MP_RELEASING;
    add(f, asked_already ? &f->mid : f->phase == MP_LOADING ? &f->late : &f->early, r);
}

static void run(mp_task *task);

/* A flight for `r`'s key, not yet listed or at home anywhere. */
static mp_flight *make(const mp_read *r) {
    mp_flight *f = calloc(1, sizeof *f + r->op.key.len + 1);
    if (f && r->tags && !(f->tagging = mp_tagging_new(r->tags, f, mp_flight_tags_answered))) {
        free(f);
        f = NULL;
    }
    if (!f) return NULL;
    memcpy(f->name, r->op.key.name, r->op.key.len);
    f->key = r->op.key;
    f->key.name = f->name;
    mp_list_init(&f->node);
    mp_list_init(&f->early);
    mp_list_init(&f->mid);
    mp_list_init(&f->late);
    f->task.run = run;
    f->timer.fire = mp_flight_time;
    f->deadline.fire = mp_flight_too_slow;
    f->policy = pond_policy_ref(r->call.policy);
    f->stands = true;
    return f;
}

void mp_flight_drop_load(mp_flight *f) {
    if (!f->load) return;
    f->load->flight = NULL; /* whoever still answers it is told nothing and changes nothing */
    f->load = NULL;
}

void mp_flight_release(mp_flight *f) {
    if (f->leased) mp_lane_release(f->home, &f->key, f->token, f->policy->options.command_timeout);
    f->leased = false;
}

/* Nothing at home refers to the flight any more. */
static void ground(mp_flight *f) {
    mp_loop *loop = f->home->loop;
    mp_loop_unpost(loop, &f->task);
    mp_loop_timer_stop(loop, &f->timer);
    mp_loop_timer_stop(loop, &f->deadline);
    if (f->asking) mp_lane_forget(f->home, &f->op);
    if (f->asking && f->tagging) mp_tagging_forget(f->tagging, &f->op);
    if (f->renewing) mp_lane_forget(f->home, &f->renew);
    f->asking = f->renewing = false;
    mp_flight_drop_load(f);
    if (f->phase == MP_LOADING) mp_loop_duty(loop, -1);
    if (f->phase == MP_WAITING) mp_loop_inflight(loop, -1);
    mp_list_remove(&f->node);
}

/* Grounded and unlisted. */
static void scrap(mp_flight *f) {
    pond_policy_free(f->policy);
    pond_value_free(f->value);
    pond_value_free(f->dirty);
    pond_error_free(f->error);
    mp_tagging_free(f->tagging);
    free(f);
}

/* ---- answers ---- */

/* Shard locked: to a read on another lane, by that lane's inbox. Nothing is left to do for it here. */
static void send(mp_read *r, pond_value *value, pond_error *error) {
    r->call.value = value ? pond_value_ref(value) : NULL;
    r->call.error = error ? pond_error_ref(error) : NULL;
    mp_loop_post(r->call.lane->loop, &r->deliver);
}

void mp_flight_hand_out(mp_flight *f, mp_node *from, mp_node *own, pond_value *value, pond_error *error) {
    mp_node *n;
    while ((n = mp_list_shift(from))) {
        mp_read *r = MP_OF(n, mp_read, flight_node);
        r->flight = NULL;
        if (error && !f->stands) r->spare_stands = false;
        if (r != f->loader && value) mp_count(r->call.policy->space->stats, MP_COUNT_waits);
        if (r->call.lane == f->home) mp_list_push(own, n);
        else send(r, value, error);
    }
}

void mp_flight_answer_own(mp_node *own, pond_value *value, pond_error *error) {
    mp_node *n;
    while ((n = mp_list_shift(own))) {
        mp_read *r = MP_OF(n, mp_read, flight_node);
        mp_call_retract(&r->call);
        r->loader = false;
        mp_read_answer(r, value ? pond_value_ref(value) : NULL, error ? pond_error_ref(error) : NULL);
    }
}

/* Shard locked: the flight starts over, for whoever is in `early`, at the first one's lane. */
static void restart(mp_flight *f) {
    mp_read *first = MP_OF(f->early.next, mp_read, flight_node);
    f->phase = MP_NEW;
    f->loader = NULL;
    f->load_began = f->held_at = 0;
    f->in_vain = 0;
    f->rejections = 0;
    f->leased = f->cache_down = f->held = f->firm = f->refresh = f->unfolded = false;
    f->stands = true;
    f->left = first->spare_left;
    pond_value_free(f->value);
    f->value = NULL;
    pond_value_free(f->dirty);
    f->dirty = NULL;
    pond_error_free(f->error);
    f->error = NULL;
    f->home = first->call.lane;
    mp_loop_post(f->home->loop, &f->task);
}

/* Shard locked: whoever is left waits for the next round; false: nobody is, and the flight is out of the table. */
static bool next_round(mp_shard *s, mp_flight *f) {
    mp_list_move(&f->early, &f->mid);
    mp_list_move(&f->early, &f->late);
    if (mp_list_empty(&f->early)) {
        mp_shard_unlist(s, f);
        return false;
    }
    restart(f);
    return true;
}

void mp_flight_finish(mp_flight *f, pond_value *value, pond_error *error, bool shared) {
    mp_shard *s = mp_shard_of(f->home, &f->key);
    mp_node own;
    mp_list_init(&own);
    ground(f);
    pthread_mutex_lock(&s->lock);
    bool failed = f->phase == MP_RELEASING; /* that was before who has come since */
    f->phase = MP_NEW;
    mp_flight_hand_out(f, &f->early, &own, value, error);
    if (error && !failed) mp_flight_hand_out(f, &f->mid, &own, NULL, error);
    if (shared) mp_flight_hand_out(f, &f->late, &own, value, error);
    bool over = !next_round(s, f);
    pthread_mutex_unlock(&s->lock);
    mp_flight_answer_own(&own, value, error);
    pond_value_free(value);
    pond_error_free(error);
    if (over) scrap(f);
}

void mp_flight_move_on(mp_flight *f) {
    mp_shard *s = mp_shard_of(f->home, &f->key);
    mp_flight_release(f);
    if (atomic_load(&f->home->pond->ending)) { /* whoever waits elsewhere would only begin what is about to be ended */
        mp_flight_finish(f, NULL, mp_error_new(POND_ECLOSED, "the pond is closed"), true);
        return;
    }
    ground(f);
    pthread_mutex_lock(&s->lock);
    f->phase = MP_NEW;
    bool over = !next_round(s, f);
    pthread_mutex_unlock(&s->lock);
    if (over) scrap(f);
}

bool mp_flight_wanted(mp_flight *f) {
    mp_shard *s = mp_shard_of(f->home, &f->key);
    pthread_mutex_lock(&s->lock);
    bool any = !mp_list_empty(&f->early) || !mp_list_empty(&f->mid) || !mp_list_empty(&f->late);
    pthread_mutex_unlock(&s->lock);
    return any;
}

/* On the home lane: the flight begins, or begins anew. */
static void run(mp_task *task) {
    mp_flight *f = MP_OF(task, mp_flight, task);
    mp_list_push(&f->home->flights, &f->node);
    mp_process_token(&f->home->pond->publisher, f->token);
    if (f->home->closed || atomic_load(&f->home->pond->ending)) mp_flight_move_on(f); /* no load starts any more */
    else if (f->cache_down) mp_flight_load(f);
    else mp_flight_ask(f);
}

/* ---- from the reads ---- */

static void out_of_memory(mp_read *r) { mp_read_answer(r, NULL, mp_error_new(POND_ENOMEM, "no memory for a load")); }

void mp_flight_join(mp_read *r, bool cache_down) {
    mp_lane *lane = r->call.lane;
    mp_shard *s = mp_shard_of(lane, &r->op.key);
    pthread_mutex_lock(&s->lock);
    mp_flight *f = mp_shard_find(s, &r->op.key, r->tags);
    if (f) {
        bool served =
            r->spare && r->spare_use != MP_USE_SPARE; /* somebody on another lane was faster: it need not wait */
        if (!served) board(f, r);
        pthread_mutex_unlock(&s->lock);
        if (served) mp_read_answer(r, NULL, NULL);
        return;
    }
    f = make(r);
    if (f) {
        f->home = lane;
        f->left = r->spare_left;
        f->cache_down = cache_down;
        f->op.rejected_len = r->op.rejected_len;
        memcpy(f->op.rejected, r->op.rejected, sizeof f->op.rejected);
        add(f, &f->early, r);
        mp_shard_list(s, f);
    }
    pthread_mutex_unlock(&s->lock);
    if (f) mp_loop_defer(lane->loop, &f->task); /* at the end of the turn: who joins until then is early */
    else out_of_memory(r);
}

/* Not one of another lane: its host may be busy elsewhere, and then a hit would wait for it. */
bool mp_flight_meet(mp_read *r) {
    mp_lane *lane = r->call.lane;
    mp_shard *s = mp_shard_of(lane, &r->op.key);
    if (!mp_shard_may_have(s, &r->op.key)) return false;
    pthread_mutex_lock(&s->lock);
    mp_flight *f = mp_shard_find(s, &r->op.key, r->tags);
    bool meets = f && f->home == lane && f->phase < MP_FILLING && (f->phase != MP_LOADING || f->firm);
    if (meets) board(f, r);
    pthread_mutex_unlock(&s->lock);
    return meets;
}

void mp_flight_alone(mp_read *r) {
    mp_flight *f = make(r);
    if (!f) {
        out_of_memory(r);
        return;
    }
    f->home = r->call.lane;
    f->cache_down = true;
    add(f, &f->early, r);
    mp_loop_defer(f->home->loop, &f->task);
}

bool mp_flight_leave(mp_read *r) {
    mp_lane *lane = r->call.lane;
    mp_shard *s = mp_shard_of(lane, &r->op.key);
    pthread_mutex_lock(&s->lock);
    mp_flight *f = r->flight;
    if (f) mp_list_remove(&r->flight_node);
    r->flight = NULL;
    bool waits_here = f && f->home == lane && f->phase == MP_WAITING;
    pthread_mutex_unlock(&s->lock);
    if (!f) return false;
    if (waits_here && !mp_flight_wanted(f)) mp_flight_move_on(f);
    if (r->loader) { /* so this is the flight's home */
        r->loader = false;
        f->loader = NULL;
        if (r->call.load) { /* not taken yet: somebody else shall load */
            mp_flight_drop_load(f);
            mp_call_retract(&r->call);
            mp_flight_move_on(f);
        }
    }
    return true;
}

pond_value *mp_flight_loaded_value(const mp_read *r) { /* whoever loads is at the flight's home */
    return r->loader && r->flight->value ? pond_value_ref(r->flight->value) : NULL;
}

bool mp_flight_asking(mp_read *r) {
    mp_shard *s = mp_shard_of(r->call.lane, &r->op.key);
    pthread_mutex_lock(&s->lock);
    bool asking = r->flight && (r->flight->phase == MP_NEW || (r->flight->phase == MP_ASKING && !r->flight->held));
    pthread_mutex_unlock(&s->lock);
    return asking;
}

void mp_flights_abandon(mp_lane *lane) {
    while (!mp_list_empty(&lane->flights)) {
        mp_flight *f = MP_OF(lane->flights.next, mp_flight, node);
        /* A lease that was asked for may be granted when nobody listens any more: its release goes out behind the question. */
        if (f->phase == MP_ASKING) f->leased = true;
        mp_flight_move_on(f);
    }
}
