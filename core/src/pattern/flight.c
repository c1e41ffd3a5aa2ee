#include "pattern/flight.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/random.h"
#include "pattern/load.h"
#include "pattern/pond.h"
#include "pattern/read.h"

#define SHARDS 16
#define BUCKETS 64      /* per shard: flights are few, they live as long as a load */
#define POLL_FIRST_MS 5 /* where the cache cannot tell that a lease has ended */
#define POLL_LAST_MS 160
#define LATE_MAX_MS 8 /* behind the end of a lease, so that not all who wait for it come at one moment */

typedef enum phase {
    NEW,     /* its task is queued */
    ASKING,  /* the lease operation is under way */
    WAITING, /* another process loads: ask again when its lease ends or is renewed */
    LOADING,
    FILLING
} phase;

struct mp_flight {
    mp_flight *next; /* in its bucket */
    mp_node node;    /* home->flights */
    bool listed;     /* in the table: others may join */

    /* Guarded by the shard. `early` may share whatever this flight gives; `mid` joined while an operation was under way that may
     * have been done before they came: of the lease they share the load, which starts later, but not a value that was
     * found; of the fill they share nothing, for an invalidation may have come between it and them. `late` joined
     * during the load: they share it only if the fill, which came after them, was accepted. */
    phase phase;
    mp_node early, mid, late;
    bool held; /* somebody else loads, as far as was heard */
    bool firm; /* LOADING under a lease that stands, as far as was heard: nobody else can have filled */

    /* The home lane's. */
    mp_lane *home;
    mp_task task;
    mp_op op, renew;
    mp_timer timer, deadline;
    uint8_t token[MP_TOKEN_LEN], fence[MP_FENCE_LEN];
    bool leased, asking, renewing; /* `asking`: `op` is under way */
    bool cache_down;               /* load without a lease */
    int64_t held_at;               /* when somebody else was last found to load, */
    unsigned in_vain;              /* how often so, shortly one after the other */
    int64_t load_began;
    mp_read *loader;
    pond_load *load;
    pond_policy *policy; /* of who loads */
    pond_value *value;   /* being filled */
    mp_tagging *tagging; /* NULL: no tags */
    unsigned rejections; /* values found under other generations, one after the other */
    bool tags_stand;     /* after the fill: they are as they were before the load */

    mp_key key;
    char name[];
};

typedef struct shard {
    pthread_mutex_t lock;
    _Atomic uint64_t taken; /* a bit a bucket that is not empty: who has no flight to meet needs no lock to see it */
    mp_flight *buckets[BUCKETS];
} shard;
_Static_assert(BUCKETS == 64, "a bit a bucket");

struct mp_flights {
    shard shards[SHARDS];
};

mp_flights *mp_flights_new(void) {
    mp_flights *flights = calloc(1, sizeof *flights);
    for (size_t i = 0; flights && i < SHARDS; i++) pthread_mutex_init(&flights->shards[i].lock, NULL);
    return flights;
}

void mp_flights_free(mp_flights *flights) {
    if (!flights) return;
    for (size_t i = 0; i < SHARDS; i++) pthread_mutex_destroy(&flights->shards[i].lock);
    free(flights);
}

static shard *shard_of(const mp_lane *lane, const mp_key *key) {
    return &lane->pond->flights->shards[key->hash % SHARDS];
}
static size_t place_of(const mp_key *key) { return key->hash / SHARDS % BUCKETS; }
static mp_flight **bucket_of(shard *s, const mp_key *key) { return &s->buckets[place_of(key)]; }
static uint64_t bit_of(const mp_key *key) { return UINT64_C(1) << place_of(key); }

static void count(const mp_flight *f, mp_counter counter) { mp_count(f->policy->space->stats, counter); }

/* ---- the table (shard locked) ---- */

static bool is_named(const mp_flight *f, const mp_key *key) {
    return f->key.hash == key->hash && f->key.len == key->len && memcmp(f->name, key->name, key->len) == 0;
}

static bool is_of(const mp_flight *f, const mp_key *key, const pond_tags *tags) {
    return is_named(f, key) && mp_tags_same(f->tagging ? f->tagging->tags : NULL, tags);
}

/* Of a key under other tags there is another flight: what this one gives says nothing of those. */
static mp_flight *find(shard *s, const mp_key *key, const pond_tags *tags) {
    mp_flight *f = *bucket_of(s, key);
    while (f && !is_of(f, key, tags)) f = f->next;
    return f;
}

static void list(shard *s, mp_flight *f) {
    mp_flight **bucket = bucket_of(s, &f->key);
    f->next = *bucket;
    *bucket = f;
    f->listed = true;
    atomic_fetch_or_explicit(&s->taken, bit_of(&f->key), memory_order_relaxed);
}

static void unlist(shard *s, mp_flight *f) {
    if (!f->listed) return;
    mp_flight **at = bucket_of(s, &f->key);
    while (*at != f) at = &(*at)->next;
    *at = f->next;
    f->listed = false;
    if (!*bucket_of(s, &f->key)) atomic_fetch_and_explicit(&s->taken, ~bit_of(&f->key), memory_order_relaxed);
}

static void add(mp_flight *f, mp_node *to, mp_read *r) {
    r->flight = f;
    mp_list_push(to, &r->flight_node);
}

/* Where it stands decides what it may share. */
static void board(mp_flight *f, mp_read *r) {
    bool asked_already = f->phase == ASKING || f->phase == FILLING;
    add(f, asked_already ? &f->mid : f->phase == LOADING ? &f->late : &f->early, r);
}

static void run(mp_task *task);
static void poll_or_renew(mp_timer *timer);
static void load_too_slow(mp_timer *timer);
static void tags_answered(mp_tagging *tagging);

/* A flight for `r`'s key, not yet listed or at home anywhere. */
static mp_flight *make(const mp_read *r) {
    mp_flight *f = calloc(1, sizeof *f + r->op.key.len + 1);
    if (f && r->tags && !(f->tagging = mp_tagging_new(r->tags, f, tags_answered))) {
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
    f->timer.fire = poll_or_renew;
    f->deadline.fire = load_too_slow;
    f->policy = pond_policy_ref(r->call.policy);
    return f;
}

static void drop_load(mp_flight *f) {
    if (!f->load) return;
    f->load->flight = NULL; /* whoever still answers it is told nothing and changes nothing */
    f->load = NULL;
}

static void release(mp_flight *f) {
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
    drop_load(f);
    if (f->phase == LOADING) mp_loop_duty(loop, -1);
    if (f->phase == WAITING) mp_loop_inflight(loop, -1);
    mp_list_remove(&f->node);
}

/* Grounded and unlisted. */
static void scrap(mp_flight *f) {
    pond_policy_free(f->policy);
    pond_value_free(f->value);
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

/* Shard locked: empties `from`; reads of the home lane go to `own` and are answered when the shard is unlocked. */
static void hand_out(mp_flight *f, mp_node *from, mp_node *own, pond_value *value, pond_error *error) {
    mp_node *n;
    while ((n = mp_list_shift(from))) {
        mp_read *r = MP_OF(n, mp_read, flight_node);
        r->flight = NULL;
        if (r != f->loader && value) mp_count(r->call.policy->space->stats, MP_COUNT_waits);
        if (r->call.lane == f->home) mp_list_push(own, n);
        else send(r, value, error);
    }
}

static void answer_own(mp_node *own, pond_value *value, pond_error *error) {
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
    f->phase = NEW;
    f->loader = NULL;
    f->load_began = f->held_at = 0;
    f->in_vain = 0;
    f->rejections = 0;
    f->leased = f->cache_down = f->held = f->firm = false;
    pond_value_free(f->value);
    f->value = NULL;
    f->home = first->call.lane;
    mp_loop_post(f->home->loop, &f->task);
}

/* Shard locked: whoever is left waits for the next round; false: nobody is, and the flight is out of the table. */
static bool next_round(shard *s, mp_flight *f) {
    mp_list_move(&f->early, &f->mid);
    mp_list_move(&f->early, &f->late);
    if (mp_list_empty(&f->early)) {
        unlist(s, f);
        return false;
    }
    restart(f);
    return true;
}

/* Ends this round. `shared`: the late ones may have the answer too; else they are the early ones of the next round.
 * Takes over value and error. The flight may be gone afterwards. */
static void finish(mp_flight *f, pond_value *value, pond_error *error, bool shared) {
    shard *s = shard_of(f->home, &f->key);
    mp_node own;
    mp_list_init(&own);
    ground(f);
    pthread_mutex_lock(&s->lock);
    f->phase = NEW;
    hand_out(f, &f->early, &own, value, error);
    if (error) hand_out(f, &f->mid, &own, NULL, error);
    if (shared) hand_out(f, &f->late, &own, value, error);
    bool over = !next_round(s, f);
    pthread_mutex_unlock(&s->lock);
    answer_own(&own, value, error);
    pond_value_free(value);
    pond_error_free(error);
    if (over) scrap(f);
}

/* ---- the load ---- */

/* The first read of the home lane, to load; NULL: none. Shard locked. */
static mp_read *choose(mp_flight *f) {
    for (mp_node *n = f->early.next; n != &f->early; n = n->next) {
        mp_read *r = MP_OF(n, mp_read, flight_node);
        if (r->call.lane == f->home) return r;
    }
    return NULL;
}

/* Who was to load has gone before it took the load, or there never was one at home: somebody else, perhaps elsewhere. */
static void move_on(mp_flight *f) {
    shard *s = shard_of(f->home, &f->key);
    release(f);
    if (atomic_load(&f->home->pond->ending)) { /* whoever waits elsewhere would only begin what is about to be ended */
        finish(f, NULL, mp_error_new(POND_ECLOSED, "the pond is closed"), true);
        return;
    }
    ground(f);
    pthread_mutex_lock(&s->lock);
    f->phase = NEW;
    bool over = !next_round(s, f);
    pthread_mutex_unlock(&s->lock);
    if (over) scrap(f);
}

static void start_load(mp_flight *f) {
    mp_loop *loop = f->home->loop;
    shard *s = shard_of(f->home, &f->key);
    pthread_mutex_lock(&s->lock);
    mp_list_move(&f->early, &f->mid);
    f->phase = LOADING; /* from here on joiners are late */
    f->firm = f->leased;
    mp_read *r = choose(f);
    pthread_mutex_unlock(&s->lock);
    mp_loop_duty(loop, 1);
    if (!r) {
        move_on(f);
        return;
    }
    pond_policy_free(f->policy);
    f->policy = pond_policy_ref(r->call.policy);
    const mp_options *o = &f->policy->options;
    pond_load *load = mp_load_new(f->home, &f->key, f->home->pond->options.max_value);
    if (!load) {
        release(f);
        finish(f, NULL, mp_error_new(POND_ENOMEM, "no memory for a load"), true);
        return;
    }
    f->loader = r;
    f->load = load;
    load->flight = f;
    mp_read_loads(r);
    f->load_began = mp_loop_now(loop);
    count(f, MP_COUNT_loads);
    if (!f->leased) count(f, MP_COUNT_unfilled_loads);
    mp_loop_timer_set(loop, &f->deadline, f->load_began + o->load_timeout);
    if (f->leased) mp_loop_timer_set(loop, &f->timer, f->load_began + o->lease / 3);
    mp_call_offer(&r->call, load);
}

static int64_t load_ended(mp_flight *f) {
    int64_t took = mp_loop_now(f->home->loop) - f->load_began;
    mp_count_load(f->policy->space->stats, took);
    return took;
}

/* There is no answer from the store. The one way out of a load that failed: who has an old value to fall back on would do it here.
 * `shared`: the error is not older than who asked late. */
static void load_failed(mp_flight *f, pond_error *error, bool shared) {
    count(f, MP_COUNT_load_errors);
    load_ended(f);
    release(f);
    finish(f, NULL, error, shared);
}

static void load_too_slow(mp_timer *timer) {
    mp_flight *f = MP_OF(timer, mp_flight, deadline);
    load_failed(
        f,
        mp_error_new(
            POND_ETIMEOUT,
            "the load of \"%.80s\" took longer than load_timeout (%lld ms): make it faster, or raise load_timeout",
            f->name + f->key.ns_len + 1, (long long)f->policy->options.load_timeout),
        false);
}

static void filled(mp_op *op) {
    mp_flight *f = MP_OF(op, mp_flight, op);
    f->asking = false;
    bool stored = op->reply == MP_STORED;
    if (stored) count(f, MP_COUNT_fills);
    else if (op->reply == MP_REFUSED) count(f, MP_COUNT_refused_fills);
    else {
        count(f, MP_COUNT_cache_errors);
        f->leased = true; /* perhaps still: nobody shall wait for its end */
        release(f);
    }
    pond_error_free(op->error);
    op->error = NULL;
    pond_value *value = f->value;
    f->value = NULL;
    finish(f, value, NULL, stored && f->tags_stand);
}

static void one_answered(mp_op *op) { mp_tagging_one(MP_OF(op, mp_flight, op)->tagging); }

/* The value goes with the generations that were in force before the load. Who came during the load may share it only if they still
 * are: so they are asked for behind the fill. */
static void fill_tags(mp_flight *f, mp_op *op, bool late) {
    mp_tagging *t = f->tagging;
    op->ntags = t->tags->n;
    op->generations = t->found;
    memcpy(t->found, t->now, (size_t)t->tags->n * MP_TAG_SIZE);
    if (!late) return;
    op->done = one_answered;
    mp_tagging_begin(t, f->home, MP_TAG_GET, 0, op->timeout_ms, 1);
}

/* The loader gave the load up without an answer (a task was cancelled, a program interrupted): its own call gets the error,
 * who else waits goes on with another loader. */
static void gave_up(mp_flight *f, pond_error *error) {
    shard *s = shard_of(f->home, &f->key);
    mp_read *r = f->loader;
    if (r) {
        pthread_mutex_lock(&s->lock);
        mp_list_remove(&r->flight_node);
        r->flight = NULL;
        pthread_mutex_unlock(&s->lock);
        r->loader = false;
        f->loader = NULL;
    }
    move_on(f);
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
        release(f);
        finish(f, value, NULL, false);
        return;
    }
    if (!f->leased) {
        finish(f, value, NULL, false);
        return;
    }
    f->leased = false;
    if (f->renewing) mp_lane_forget(f->home, &f->renew);
    f->renewing = false;
    mp_loop_duty(loop, -1);
    shard *s = shard_of(f->home, &f->key);
    pthread_mutex_lock(&s->lock);
    f->phase = FILLING;
    bool late = !mp_list_empty(&f->late);
    pthread_mutex_unlock(&s->lock);
    f->value = value;
    f->asking = true;
    mp_op *op = &f->op;
    *op = (mp_op){.kind = MP_FILL,
                  .key = f->key,
                  .ttl_ms = ttl,
                  .timeout_ms = o->command_timeout,
                  .value = value,
                  .done = filled};
    op->load_ms = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
    memcpy(op->token, f->token, MP_TOKEN_LEN);
    memcpy(op->fence, f->fence, MP_FENCE_LEN);
    f->tags_stand = true;
    mp_tagging *t = f->tagging;
    if (t) fill_tags(f, op, late);
    mp_lane_submit(f->home, op);
    if (t && late) mp_tagging_send(t);
}

/* ---- the lease ---- */

static void ask(mp_flight *f);

/* Does anybody still wait for what the flight brings? */
static bool wanted(mp_flight *f) {
    shard *s = shard_of(f->home, &f->key);
    pthread_mutex_lock(&s->lock);
    bool any = !mp_list_empty(&f->early) || !mp_list_empty(&f->mid) || !mp_list_empty(&f->late);
    pthread_mutex_unlock(&s->lock);
    return any;
}

static void ask_again(mp_flight *f) {
    mp_loop_timer_stop(f->home->loop, &f->timer);
    if (f->asking) mp_lane_forget(f->home, &f->op);
    f->asking = false;
    if (wanted(f)) ask(f);
    else move_on(f);
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
    if (op->reply != MP_DONE) at = now + pause / 2 + (int64_t)mp_random_below((uint32_t)(pause / 2) + 1);
    if (at <= now) ask_again(f);
    else if (at < f->timer.at) mp_loop_timer_set(f->home->loop, &f->timer, at);
}

/* Until the cache tells that the lease has ended, and at the latest when its time is over. */
static void wait_and_ask_again(mp_flight *f, int64_t lease_ms) {
    mp_loop *loop = f->home->loop;
    shard *s = shard_of(f->home, &f->key);
    int64_t now = mp_loop_now(loop);
    pthread_mutex_lock(&s->lock);
    mp_list_move(&f->early, &f->mid);
    f->phase = WAITING;
    f->held = true;
    pthread_mutex_unlock(&s->lock);
    mp_loop_inflight(loop, 1); /* somebody must drive for it */
    f->in_vain = now - f->held_at <= 2 * POLL_LAST_MS ? f->in_vain + (f->in_vain < 8) : 0;
    f->held_at = now;
    if (lease_ms < 0) lease_ms = f->policy->options.lease;
    if (!mp_loop_timer_set(loop, &f->timer, now + lease_ms + 1 + (int64_t)mp_random_below(LATE_MAX_MS))) {
        finish(f, NULL, mp_error_new(POND_ENOMEM, "no memory for a timer"), true);
        return;
    }
    f->asking = true;
    f->op.kind = MP_AWAIT; /* and all else as it was asked for */
    f->op.done = told;
    mp_lane_submit(f->home, &f->op);
}

static void asked(mp_op *op) {
    mp_flight *f = MP_OF(op, mp_flight, op);
    f->asking = false;
    switch (op->reply) {
    case MP_HIT: {
        pond_value *value = op->value;
        op->value = NULL;
        finish(f, value, NULL, false);
        return;
    }
    case MP_LEASED:
        f->leased = true;
        memcpy(f->fence, op->fence, MP_FENCE_LEN);
        start_load(f);
        return;
    case MP_BUSY: wait_and_ask_again(f, op->ms); return;
    case MP_INDOUBT: start_load(f); return;
    default: break;
    }
    pond_error *error = op->error;
    op->error = NULL;
    count(f, MP_COUNT_cache_errors);
    if (!mp_policy_goes_on(f->policy, error)) {
        finish(f, NULL,
               error ? error : mp_error_new(POND_EPROTOCOL, "the cache gave an answer that makes no sense here"), true);
    } else {
        pond_error_free(error);
        start_load(f);
    }
}

/* A generation lives longer than what is loaded under it, and loads lengthen it: while it is used it stays. */
static int64_t tag_ttl(const mp_options *o) {
    return 2 * ((o->ttl > o->negative_ttl ? o->ttl : o->negative_ttl) + o->load_timeout);
}

static void ask(mp_flight *f) {
    shard *s = shard_of(f->home, &f->key);
    if (f->phase == WAITING) mp_loop_inflight(f->home->loop, -1);
    pthread_mutex_lock(&s->lock);
    f->phase = ASKING; /* from here on joiners are in the middle */
    pthread_mutex_unlock(&s->lock);
    f->asking = true;
    const mp_options *o = &f->policy->options;
    mp_op *op = &f->op;
    uint8_t rejected[sizeof op->rejected], rejected_len = op->rejected_len;
    memcpy(rejected, op->rejected, sizeof rejected);
    *op =
        (mp_op){.kind = MP_LEASE, .key = f->key, .lease_ms = o->lease, .timeout_ms = o->command_timeout, .done = asked};
    op->rejected_len = rejected_len;
    memcpy(op->rejected, rejected, sizeof rejected);
    memcpy(op->token, f->token, MP_TOKEN_LEN);
    mp_tagging *t = f->tagging;
    if (t) {
        op->done = one_answered;
        op->ntags = t->tags->n;
        op->generations = t->found;
        mp_tagging_begin(t, f->home, MP_TAG_MAKE, tag_ttl(o), o->command_timeout, 1);
    }
    mp_lane_submit(f->home, op);
    if (t) mp_tagging_send(t);
}

/* What the lease operation has answered, in the light of the tags. True: it is to be asked again, past the value that it found. */
static bool judge(mp_flight *f) {
    mp_tagging *t = f->tagging;
    mp_op *op = &f->op;
    bool hit = op->reply == MP_HIT, leased = op->reply == MP_LEASED;
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

static void tags_answered(mp_tagging *t) {
    mp_flight *f = t->owner;
    bool again = false;
    if (f->phase == FILLING) f->tags_stand = mp_tagging_same(t);
    else again = judge(f);
    pond_error_free(t->error);
    t->error = NULL;
    if (f->phase == FILLING) filled(&f->op);
    else if (again) ask(f);
    else asked(&f->op);
}

/* On the home lane: the flight begins, or begins anew. */
static void run(mp_task *task) {
    mp_flight *f = MP_OF(task, mp_flight, task);
    mp_list_push(&f->home->flights, &f->node);
    mp_random_bytes(f->token, MP_TOKEN_LEN);
    if (f->home->closed || atomic_load(&f->home->pond->ending)) move_on(f); /* no load starts any more */
    else if (f->cache_down) start_load(f);
    else ask(f);
}

static void renewed(mp_op *op) {
    mp_flight *f = MP_OF(op, mp_flight, renew);
    f->renewing = false;
    pond_error_free(op->error);
    op->error = NULL;
    if (op->reply == MP_STORED) return;
    /* Lost, perhaps: go on, the fill will be refused. But somebody else may have filled meanwhile. */
    shard *s = shard_of(f->home, &f->key);
    pthread_mutex_lock(&s->lock);
    f->firm = false;
    pthread_mutex_unlock(&s->lock);
}

static void poll_or_renew(mp_timer *timer) {
    mp_flight *f = MP_OF(timer, mp_flight, timer);
    if (f->phase == WAITING) {
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

/* ---- from the reads ---- */

static void out_of_memory(mp_read *r) { mp_read_answer(r, NULL, mp_error_new(POND_ENOMEM, "no memory for a load")); }

void mp_flight_join(mp_read *r, bool cache_down) {
    mp_lane *lane = r->call.lane;
    shard *s = shard_of(lane, &r->op.key);
    pthread_mutex_lock(&s->lock);
    mp_flight *f = find(s, &r->op.key, r->tags);
    if (f) {
        board(f, r);
        pthread_mutex_unlock(&s->lock);
        return;
    }
    f = make(r);
    if (f) {
        f->home = lane;
        f->cache_down = cache_down;
        f->op.rejected_len = r->op.rejected_len;
        memcpy(f->op.rejected, r->op.rejected, sizeof f->op.rejected);
        add(f, &f->early, r);
        list(s, f);
    }
    pthread_mutex_unlock(&s->lock);
    if (f) mp_loop_defer(lane->loop, &f->task); /* at the end of the turn: who joins until then is early */
    else out_of_memory(r);
}

/* Not one of another lane: its host may be busy elsewhere, and then a hit would wait for it. */
bool mp_flight_meet(mp_read *r) {
    mp_lane *lane = r->call.lane;
    shard *s = shard_of(lane, &r->op.key);
    if (!(atomic_load_explicit(&s->taken, memory_order_relaxed) & bit_of(&r->op.key))) return false;
    pthread_mutex_lock(&s->lock);
    mp_flight *f = find(s, &r->op.key, r->tags);
    bool meets = f && f->home == lane && f->phase != FILLING && (f->phase != LOADING || f->firm);
    if (meets) board(f, r);
    pthread_mutex_unlock(&s->lock);
    return meets;
}

void mp_flights_doubt(const mp_lane *lane, const mp_key *key) {
    shard *s = shard_of(lane, key);
    if (!(atomic_load_explicit(&s->taken, memory_order_relaxed) & bit_of(key))) return;
    pthread_mutex_lock(&s->lock);
    for (mp_flight *f = *bucket_of(s, key); f; f = f->next)
        if (is_named(f, key)) f->firm = false;
    pthread_mutex_unlock(&s->lock);
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
    shard *s = shard_of(lane, &r->op.key);
    pthread_mutex_lock(&s->lock);
    mp_flight *f = r->flight;
    if (f) mp_list_remove(&r->flight_node);
    r->flight = NULL;
    bool waits_here = f && f->home == lane && f->phase == WAITING;
    pthread_mutex_unlock(&s->lock);
    if (!f) return false;
    if (waits_here && !wanted(f)) move_on(f);
    if (r->loader) { /* so this is the flight's home */
        r->loader = false;
        f->loader = NULL;
        if (r->call.load) { /* not taken yet: somebody else shall load */
            drop_load(f);
            mp_call_retract(&r->call);
            move_on(f);
        }
    }
    return true;
}

pond_value *mp_flight_loaded_value(const mp_read *r) { /* whoever loads is at the flight's home */
    return r->loader && r->flight->value ? pond_value_ref(r->flight->value) : NULL;
}

bool mp_flight_asking(mp_read *r) {
    shard *s = shard_of(r->call.lane, &r->op.key);
    pthread_mutex_lock(&s->lock);
    bool asking = r->flight && (r->flight->phase == NEW || (r->flight->phase == ASKING && !r->flight->held));
    pthread_mutex_unlock(&s->lock);
    return asking;
}

void mp_flights_abandon(mp_lane *lane) {
    while (!mp_list_empty(&lane->flights)) {
        mp_flight *f = MP_OF(lane->flights.next, mp_flight, node);
        /* A lease that was asked for may be granted when nobody listens any more: its release goes out behind the question. */
        if (f->phase == ASKING) f->leased = true;
        move_on(f);
    }
}
