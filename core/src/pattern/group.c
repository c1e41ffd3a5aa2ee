#include "pattern/group.h"

#include <stdlib.h>

#include "base/error.h"
#include "pattern/load.h"
#include "pattern/pond.h"
#include "pattern/read.h"

static void unhook(mp_call *call) {
    mp_group *g = MP_OF(call, mp_group, call);
    for (size_t i = 0; i < call->list_len; i++)
        if (g->reads[i]) {
            mp_call *read = g->reads[i];
            g->reads[i] = NULL;
            read->group = NULL;
            mp_call_abort(read, NULL, true);
        }
}

static void destroy(mp_call *call) {
    mp_group *g = MP_OF(call, mp_group, call);
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

void mp_group_offered(mp_group *g) { mp_waiter_wake(g->call.waiter); }

size_t mp_group_take(mp_group *g) {
    size_t n = 0;
    for (size_t i = 0; i < g->call.list_len; i++) {
        mp_call *read = g->reads[i];
        pond_load *load = read ? mp_call_take(read) : NULL;
        if (!load) continue;
        mp_load_unref(load); /* the event's */
        g->loads[n++] = load;
    }
    return n;
}

mp_group *mp_group_start(mp_lane *lane, const pond_policy *policy, const mp_key *keys, size_t n, mp_source *source,
                         uint64_t user, mp_waiter *waiter) {
    mp_group *g = calloc(1, sizeof *g);
    pond_value **list = calloc(n + 1, sizeof *list);
    if (g) {
        g->reads = calloc(n + 1, sizeof *g->reads);
        g->loads = calloc(n + 1, sizeof *g->loads);
    }
    if (!g || !list || !g->reads || !g->loads) {
        free(list);
        if (g) free(g->reads);
        if (g) free(g->loads);
        free(g);
        return NULL;
    }
    mp_call_init(&g->call, &vt, lane, policy, user);
    g->call.waiter = waiter;
    g->call.list = list;
    g->call.list_len = n;
    g->open = n + 1; /* one for this function */
    for (size_t i = 0; i < n; i++) {
        if (mp_read_start(lane, policy, &keys[i], false, i, NULL, source, g)) continue; /* it may have ended already */
        if (!g->error) g->error = mp_error_new(POND_ENOMEM, "no memory for a call");
        g->open--;
    }
    one_ended(g);
    return g;
}
