#include "pattern/group.h"

#include <stdlib.h>

#include "base/error.h"
#include "pattern/batch.h"
#include "pattern/load.h"
#include "pattern/pond.h"
#include "pattern/read.h"

static mp_group *of_call(mp_call *call) { return MP_OF(call, mp_group, call); }

static void stop_gathering(mp_group *g) {
    if (!g->gathering) return;
    g->gathering = false;
    mp_loop_unpost(g->call.lane->loop, &g->gather);
    mp_loop_timer_stop(g->call.lane->loop, &g->again);
}

/* It ends: nothing of it is left where somebody could find it. */
static void settle(mp_group *g) {
    stop_gathering(g);
    mp_loop_unpost(g->call.lane->loop, &g->part);
    if (g->offered) mp_batch_drop(g->offered);
    if (g->out) g->out->group = NULL;
    g->offered = g->out = NULL;
}

static void unhook(mp_call *call) {
    mp_group *g = of_call(call);
    settle(g);
    for (size_t i = 0; i < call->list_len; i++)
        if (g->reads[i]) {
            mp_call *read = g->reads[i];
            g->reads[i] = NULL;
            read->group = NULL;
            mp_call_abort(read, NULL, true);
        }
}

static void destroy(mp_call *call) {
    mp_group *g = of_call(call);
    mp_call_clear(call);
    pond_error_free(g->error);
    pond_tags_free(g->tags);
    free(g->keys);
    free(g->loads);
    free(g->reads);
    free(g);
}

static const mp_call_vt vt = {.unhook = unhook, .destroy = destroy};

static void one_ended(mp_group *g) {
    if (--g->open > 0) return;
    if (!g->error && g->begun < g->call.list_len) {
        mp_loop_defer(g->call.lane->loop, &g->part); /* not here, in the midst of a read's end */
        return;
    }
    pond_error *error = g->error;
    g->error = NULL;
    settle(g);
    mp_call_end(&g->call, error ? POND_EVENT_ERROR : POND_EVENT_LIST, NULL, error);
}

void mp_group_ended(mp_group *g, mp_call *read) {
    size_t i = (size_t)read->event.user; /* a read of a group is its place */
    g->reads[i] = NULL;
    g->call.list[i] = read->value;
    read->value = NULL;
    if (read->error && !g->error) {
        g->error = read->error;
        read->error = NULL;
    }
    read->vt->destroy(read);
    one_ended(g);
}

void mp_group_joined(mp_group *g, mp_call *read) { g->reads[read->event.user] = read; }

/* ---- loads ---- */

static size_t take_all(mp_group *g, pond_load **loads) {
    size_t n = 0;
    for (size_t i = g->first; i < g->begun; i++) {
        pond_load *load = g->reads[i] ? mp_call_take(g->reads[i]) : NULL;
        if (!load) continue;
        mp_load_unref(load); /* the event's reference: there is none */
        loads[n++] = load;
    }
    return n;
}

static bool undecided(const mp_group *g) {
    for (size_t i = g->first; i < g->begun; i++) {
        mp_call *read = g->reads[i];
        if (read && !read->load && mp_read_undecided(MP_OF(read, mp_read, call))) return true;
    }
    return false;
}

/* Nobody can be asked to load. */
static void fail_all(mp_group *g) {
    for (size_t i = g->first; i < g->begun; i++) {
        pond_load *load = g->reads[i] ? mp_call_take(g->reads[i]) : NULL;
        if (!load) continue;
        mp_load_unref(load);
        mp_load_fail_here(load, mp_error_new(POND_ENOMEM, "no memory for a load"));
    }
}

static void offer(mp_group *g) {
    mp_call *call = &g->call;
    if (!(g->offered = mp_batch_new(g))) {
        fail_all(g);
    } else if (call->waiter) {
        mp_waiter_wake(call->waiter);
    } else {
        mp_call_push_event(call->lane, &g->offered->event);
    }
}

static void gather(mp_group *g) {
    mp_lane *lane = g->call.lane;
    int64_t now = mp_loop_now(lane->loop);
    /* What the cache still has to say is worth waiting for as long as a command may take. Who waits for another's load is decided. */
    if (now - g->since < g->call.policy->options.command_timeout && undecided(g) &&
        mp_loop_timer_set(lane->loop, &g->again, now + 1))
        return;
    g->gathering = false;
    if (!g->call.source) {
        offer(g);
    } else if (g->call.waiter) {
        g->gathered = true;
        mp_waiter_wake(g->call.waiter);
    } else {
        size_t n = take_all(g, g->loads);
        if (n) mp_source_submit(lane, g->call.source, g->loads, n);
    }
}

static void gather_now(mp_task *task) { gather(MP_OF(task, mp_group, gather)); }
static void gather_again(mp_timer *timer) { gather(MP_OF(timer, mp_group, again)); }

void mp_group_offered(mp_group *g) {
    if (g->gathering || g->offered || g->out) return; /* what is offered but not taken grows until it is */
    g->gathering = true;
    g->since = mp_loop_now(g->call.lane->loop);
    mp_loop_defer(g->call.lane->loop, &g->gather);
}

size_t mp_group_take(mp_group *g) {
    if (!g->gathered) return 0;
    g->gathered = false;
    return take_all(g, g->loads);
}

pond_batch *mp_group_hand_over(mp_group *g) {
    pond_batch *batch = g->offered;
    if (!batch) return NULL;
    g->offered = NULL;
    batch->n = take_all(g, batch->loads);
    if (batch->n == 0) {
        mp_batch_drop(batch);
        return NULL;
    }
    g->out = batch;
    return batch;
}

void mp_group_answered(mp_group *g) {
    g->out = NULL;
    for (size_t i = g->first; i < g->begun; i++)
        if (g->reads[i] && g->reads[i]->load) {
            mp_group_offered(g);
            return;
        }
}

/* ---- the start ---- */

static void start_part(mp_group *g) {
    size_t end = g->call.list_len;
    if (end - g->begun > MP_GROUP_PART) end = g->begun + MP_GROUP_PART;
    g->first = g->begun;
    g->open = 1; /* this function's */
    while (g->begun < end) {
        size_t i = g->begun++;
        mp_lane *lane = g->call.lane;
        if ((g->call.list[i] = mp_peek_tagged(lane->pond, g->call.policy, &g->keys[i], g->tags))) continue;
        const mp_ask ask = {.policy = g->call.policy, .key = &g->keys[i], .tags = g->tags, .source = g->call.source};
        g->open++;
        if (mp_read_start(lane, &ask, i, NULL, g)) continue; /* it may have ended already */
        if (!g->error) g->error = mp_error_new(POND_ENOMEM, "no memory for a call");
        g->open--;
    }
    one_ended(g);
}

static void next_part(mp_task *task) { start_part(MP_OF(task, mp_group, part)); }

static mp_group *make(size_t n) {
    mp_group *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    g->reads = calloc(n + 1, sizeof *g->reads);
    g->loads = calloc(n + 1, sizeof *g->loads);
    g->call.list = calloc(n + 1, sizeof *g->call.list);
    if (g->reads && g->loads && g->call.list) return g;
    free(g->reads);
    free(g->loads);
    free(g->call.list);
    free(g);
    return NULL;
}

mp_group *mp_group_start(mp_lane *lane, const mp_many *what, uint64_t user, mp_waiter *waiter) {
    mp_group *g = make(what->n);
    if (!g) {
        free(what->keys);
        return NULL;
    }
    mp_call_init(&g->call, &vt, lane, what->policy, user);
    g->call.source = mp_source_ref(what->source);
    g->call.waiter = waiter;
    g->call.list_len = what->n;
    g->keys = what->keys;
    g->tags = pond_tags_ref((pond_tags *)what->tags);
    g->gather.run = gather_now;
    g->part.run = next_part;
    g->again.fire = gather_again;
    start_part(g);
    return g;
}

mp_key *mp_group_keys(const pond_policy *policy, const char *const *keys, const size_t *lens, size_t n) {
    size_t room = 0;
    for (size_t i = 0; i < n; i++) room += policy->ns_len + lens[i] + 2; /* the colon and the NUL */
    mp_key *out = malloc(n * sizeof *out + room + 1);
    char *name = (char *)(out + n);
    for (size_t i = 0; out && i < n; i++) {
        mp_policy_key(policy, &out[i], name, keys[i], lens[i]);
        name += out[i].len + 1;
    }
    return out;
}
