#include "pattern/set.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "pattern/intent.h"
#include "pattern/pond.h"

enum { PART = 1024 }; /* keys at once: what a server does well within command_timeout */

typedef struct setting {
    mp_call call; /* ends with OK or an error */
    mp_intent *intent;
    mp_task part;
    size_t n, begun; /* keys, and those of the parts until now */
    const char **keys;
    size_t *lens;
    mp_written *written;
    char *names;
} setting;

static void begun(mp_intent *intent);

static setting *of_call(mp_call *call) { return MP_OF(call, setting, call); }

static void unhook(mp_call *call) {
    setting *s = of_call(call);
    mp_intent *intent = s->intent;
    mp_loop_unpost(call->lane->loop, &s->part);
    s->intent = NULL;
    if (!intent) return;
    bool beginning = intent->done == begun;
    intent->done = NULL;
    if (beginning) mp_intent_end(intent, NULL, false); /* else it ends by itself */
}

static void free_setting(setting *s) {
    for (size_t i = 0; s->written && i < s->n; i++) pond_value_free(s->written[i].value);
    free(s->keys);
    free(s->lens);
    free(s->written);
    free(s->names);
    free(s);
}

static void destroy(mp_call *call) {
    mp_call_clear(call);
    free_setting(of_call(call));
}

static const mp_call_vt vt = {.unhook = unhook, .destroy = destroy};

static void end(setting *s, pond_error *error) {
    mp_call_end(&s->call, error ? POND_EVENT_ERROR : POND_EVENT_OK, NULL, error);
}

static void part_done(mp_intent *intent) {
    setting *s = intent->owner;
    pond_error *error = intent->error;
    intent->error = NULL;
    s->intent = NULL;
    mp_intent_leave(intent);
    if (error || s->begun == s->n) end(s, error);
    else mp_loop_defer(s->call.lane->loop, &s->part);
}

static void begun(mp_intent *intent) {
    setting *s = intent->owner;
    if (intent->error) {
        pond_error *error = intent->error;
        intent->error = NULL;
        s->intent = NULL;
        intent->done = NULL;
        mp_intent_end(intent, NULL, false);
        end(s, error);
        return;
    }
    intent->done = part_done;
    mp_intent_end(intent, &s->written[s->begun - intent->keys], true);
}

static void start_part(setting *s) {
    size_t from = s->begun, n = s->n - from < PART ? s->n - from : PART;
    const pond_policy *policy = s->call.policy;
    s->intent = mp_intent_new(s->call.lane, policy, s->keys + from, s->lens + from, n, NULL, policy->options.intent);
    if (!s->intent) {
        end(s, mp_error_new(POND_ENOMEM, "no memory for a call"));
        return;
    }
    s->begun += n;
    s->intent->owner = s;
    s->intent->done = begun;
    mp_intent_begin(s->intent);
}

static void next_part(mp_task *task) { start_part(MP_OF(task, setting, part)); }

/* Keys and lengths, copied. */
static bool keep_keys(setting *s, const char *const *keys, const size_t *lens) {
    size_t room = 0;
    for (size_t i = 0; i < s->n; i++) room += lens[i];
    s->keys = calloc(s->n + 1, sizeof *s->keys);
    s->lens = calloc(s->n + 1, sizeof *s->lens);
    s->names = malloc(room + 1);
    if (!s->keys || !s->lens || !s->names) return false;
    char *at = s->names;
    for (size_t i = 0; i < s->n; i++) {
        s->keys[i] = memcpy(at, keys[i], lens[i]);
        s->lens[i] = lens[i];
        at += lens[i];
    }
    return true;
}

mp_call *mp_set_start(mp_lane *lane, const pond_policy *policy, const char *const *keys, const size_t *lens,
                      pond_value *const *values, size_t n, uint64_t user, mp_waiter *waiter) {
    if (!policy) policy = lane->pond->defaults;
    setting *s = calloc(1, sizeof *s);
    if (s) s->written = calloc(n + 1, sizeof *s->written);
    if (s) s->n = n;
    if (!s || !s->written || !keep_keys(s, keys, lens)) {
        if (s) free_setting(s);
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        bool absent = pond_value_state(values[i]) == POND_ABSENT;
        s->written[i] = (mp_written){.value = pond_value_ref(values[i]),
                                     .ttl_ms = absent ? policy->options.negative_ttl : policy->options.ttl};
    }
    mp_call_init(&s->call, &vt, lane, policy, user);
    s->call.waiter = waiter;
    s->part.run = next_part;
    if (n == 0) end(s, NULL);
    else start_part(s);
    return &s->call;
}
