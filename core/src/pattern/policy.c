#include "pattern/policy.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/random.h"
#include "model/freshness.h"
#include "pattern/pond.h"

static mp_space *space_of(pond *p, const char *ns) {
    mp_ns_stats *stats = mp_stats_ns(p->stats, ns);
    if (!stats) return NULL;
    pthread_mutex_lock(&p->lock);
    mp_space *space = p->spaces;
    while (space && space->stats != stats) space = space->next;
    if (!space && (space = calloc(1, sizeof *space))) {
        space->stats = stats;
        mp_negative_init(&space->negative);
        space->next = p->spaces;
        p->spaces = space;
    }
    pthread_mutex_unlock(&p->lock);
    return space;
}

int mp_policy_make(pond_policy **out, pond *p, const mp_options *base, unsigned scopes, const char *const *options,
                   size_t n, pond_error **err) {
    pond_policy *policy = calloc(1, sizeof *policy);
    if (!policy || !mp_options_copy(&policy->options, base)) {
        free(policy);
        return mp_fail(err, POND_ENOMEM, "no memory for a policy");
    }
    policy->refs = 1;
    int code = POND_OK;
    for (size_t i = 0; i < n && code == POND_OK; i++)
        code = mp_options_set(&policy->options, scopes, options[2 * i], options[2 * i + 1], err);
    if (code == POND_OK && !(policy->space = space_of(p, policy->options.namespace)))
        code = mp_fail(err, POND_ENOMEM, "no memory for a policy");
    if (code != POND_OK) {
        pond_policy_free(policy);
        return code;
    }
    policy->ns_len = strlen(policy->options.namespace);
    *out = policy;
    return POND_OK;
}

int mp_policy_in(pond_policy **out, pond *p, const pond_policy *base, const char *ns, const char *row, int64_t ttl,
                 pond_error **err) {
    pond_policy *policy = NULL;
    int code = mp_policy_make(&policy, p, &base->options, 0, NULL, 0, err);
    if (code != POND_OK) return code;
    char *name = strdup(ns);
    mp_space *space = space_of(p, row);
    if (!name || !space) {
        free(name);
        pond_policy_free(policy);
        return mp_fail(err, POND_ENOMEM, "no memory for a policy");
    }
    free(policy->options.namespace);
    policy->options.namespace = name;
    policy->ns_len = strlen(name);
    policy->space = space;
    policy->options.ttl = ttl;
    *out = policy;
    return POND_OK;
}

void mp_policy_key(const pond_policy *policy, mp_key *key, char *out, const char *user_key, size_t len) {
    const char *ns = policy->options.namespace;
    if (policy->shards) mp_key_make_behind(key, out, ns, policy->ns_len, user_key, len, policy->shards);
    else mp_key_make(key, out, ns, policy->ns_len, user_key, len);
}

void mp_policy_times(const pond_policy *policy, bool absence, int64_t ttl, mp_op *op) {
    const mp_options *o = &policy->options;
    op->ttl_ms = o->jitter ? mp_jittered(ttl, o->jitter, mp_random_below(UINT32_MAX)) : ttl;
    op->keep_ms = mp_kept_past(o, absence);
    op->soft = op->keep_ms > 0 || (o->early_refresh && !absence);
}

bool mp_policy_goes_on(const pond_policy *policy, const pond_error *why) {
    return policy->options.when_cache_down == MP_CACHE_DOWN_STORE && pond_error_code(why) != POND_ECLOSED;
}

int pond_policy_new(pond_policy **out, pond *p, const pond_policy *base, const char *const *options, size_t n,
                    pond_error **err) {
    if (!out || !p || (n && !options))
        return mp_fail(err, POND_EMISUSE, "pond_policy_new: out, pond or options is NULL");
    int code = mp_pond_here(p, err);
    if (code != POND_OK) return code;
    return mp_policy_make(out, p, base ? &base->options : &p->options, MP_SCOPE_POLICY, options, n, err);
}

pond_policy *pond_policy_ref(pond_policy *policy) {
    if (policy) atomic_fetch_add_explicit(&policy->refs, 1, memory_order_relaxed);
    return policy;
}

void pond_policy_free(pond_policy *policy) {
    if (!policy || atomic_fetch_sub_explicit(&policy->refs, 1, memory_order_acq_rel) != 1) return;
    mp_options_free(&policy->options);
    free(policy);
}
