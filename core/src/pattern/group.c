#include "pattern/group.h"

#include <stdlib.h>

#include "base/error.h"
#include "pattern/load.h"
#include "pattern/pond.h"
#include "pattern/read.h"

enum { GATHER_MS = 20 };

static mp_group *of_call(mp_call *call) { return MP_OF(call, mp_group, call); }

static void stop_gathering(mp_group *g) {
    if (!g->gathering) return;
    g->gathering = false;
    mp_loop_unpost(g->call.lane->loop, &g->gather);
    mp_loop_timer_stop(g->call.lane->loop, &g->again);
}

static void unhook(mp_call *call) {
    mp_group *g = of_call(call);
    stop_gathering(g);
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
    free(g->loads);
    free(g->reads);
    free(g);
}

static const mp_call_vt vt = {.unhook = unhook, .destroy = destroy};

static void one_ended(mp_group *g) {
    if (--g->open > 0) return;
    pond_error *error = g->error;
    g->error = NULL;
    stop_gathering(g);
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

static size_t take_all(mp_group *g) {
    size_t n = 0;
    for (size_t i = 0; i < g->call.list_len; i++) {
        pond_load *load = g->reads[i] ? mp_call_take(g->reads[i]) : NULL;
        if (!load) continue;
        mp_load_unref(load); /* the event's reference: there is none */
        g->loads[n++] = load;
    }
    return n;
}

static bool undecided(const mp_group *g) {
    for (size_t i = 0; i < g->call.list_len; i++) {
        mp_call *read = g->reads[i];
        if (read && !read->load && mp_read_undecided(MP_OF(read, mp_read, call))) return true;
    }
    return false;
}

static void gather(mp_group *g) {
    mp_lane *lane = g->call.lane;
    if (mp_loop_now(lane->loop) - g->since < GATHER_MS && undecided(g) &&
        mp_loop_timer_set(lane->loop, &g->again, mp_loop_now(lane->loop) + 1))
        return;
    g->gathering = false;
    if (g->call.waiter) {
        g->gathered = true;
        mp_waiter_wake(g->call.waiter);
        return;
    }
    size_t n = take_all(g);
    if (n) mp_source_submit(lane, g->call.source, g->loads, n);
}

static void gather_now(mp_task *task) { gather(MP_OF(task, mp_group, gather)); }
static void gather_again(mp_timer *timer) { gather(MP_OF(timer, mp_group, again)); }

void mp_group_offered(mp_group *g) {
    if (g->gathering) return;
    g->gathering = true;
    g->since = mp_loop_now(g->call.lane->loop);
    mp_loop_defer(g->call.lane->loop, &g->gather);
}

size_t mp_group_take(mp_group *g) {
    if (!g->gathered) return 0;
    g->gathered = false;
    return take_all(g);
}

/* ---- the start ---- */

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

mp_group *mp_group_start(mp_lane *lane, const pond_policy *policy, const mp_key *keys, size_t n, mp_source *source,
                         uint64_t user, mp_waiter *waiter) {
    mp_group *g = make(n);
    if (!g) return NULL;
    mp_call_init(&g->call, &vt, lane, policy, user);
    g->call.source = mp_source_ref(source);
    g->call.waiter = waiter;
    g->call.list_len = n;
    g->gather.run = gather_now;
    g->again.fire = gather_again;
    g->open = n + 1; /* one for this function */
    for (size_t i = 0; i < n; i++) {
        if ((g->call.list[i] = mp_peek(lane->pond, policy, &keys[i]))) {
            g->open--;
            continue;
        }
        const mp_ask ask = {.policy = policy, .key = &keys[i], .source = source};
        if (mp_read_start(lane, &ask, i, NULL, g)) continue; /* it may have ended already */
        if (!g->error) g->error = mp_error_new(POND_ENOMEM, "no memory for a call");
        g->open--;
    }
    one_ended(g);
    return g;
}
