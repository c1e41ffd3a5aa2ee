/* The calls: fetch, lookup, invalidate, explain, statistics, policies. Each start call takes the number (`user`) under
 * which lib/core.cjs waits for its event. */
#include <string.h>
#include "addon.h"

napi_value mpn_started(mpn_pond *p, int rc, pond_value *now, pond_error *error) {
    if (rc != POND_OK) return mpn_throw(p->env, error);
    if (!now) {
        mpn_drive_began(p);
        return NULL;
    }
    p->meta[2 * MPN_BATCH] = mpn_value_kind(now);
    napi_value out = mpn_value_js(p->env->napi, now);
    pond_value_free(now);
    return out ? out : mpn_throw_code(p->env->napi, POND_EVALUE, "the value is too large for a JavaScript string");
}

typedef int (*start_fn)(pond *, pond_queue *, const char *, size_t, const pond_policy *, uint64_t, pond_value **,
                        pond_request **, pond_error **);

static inline napi_value start(napi_env napi, napi_callback_info info, start_fn call) {
    napi_value args[3];
    mpn_text key;
    uint32_t policy = 0, user = 0;
    mpn_pond *p = mpn_args(napi, info, 3, args);
    if (!p || !mpn_text_get(napi, args[0], &key)) return NULL;
    napi_get_value_uint32(napi, args[1], &policy);
    napi_get_value_uint32(napi, args[2], &user);
    pond_value *now = NULL;
    pond_error *error = NULL;
    int rc = call(p->core, p->queue, key.data, key.len, mpn_table_at(&p->policies, policy), user, &now, NULL, &error);
    mpn_text_free(&key);
    return mpn_started(p, rc, now, error);
}

/* fetch(key, policy, user), lookup(key, policy, user) */
static napi_value fetch(napi_env napi, napi_callback_info info) { return start(napi, info, pond_fetch_start); }
static napi_value lookup(napi_env napi, napi_callback_info info) { return start(napi, info, pond_lookup_start); }

/* explain(key, policy, user) */
static napi_value explain(napi_env napi, napi_callback_info info) {
    napi_value args[3];
    mpn_text key;
    uint32_t policy = 0, user = 0;
    mpn_pond *p = mpn_args(napi, info, 3, args);
    if (!p || !mpn_uint_get(napi, args[1], &policy) || !mpn_uint_get(napi, args[2], &user) ||
        !mpn_text_get(napi, args[0], &key)) {
        return NULL;
    }
    pond_error *error = NULL;
    int rc = pond_explain_start(p->core, p->queue, key.data, key.len, mpn_table_at(&p->policies, policy), user, &error);
    mpn_text_free(&key);
    return mpn_started(p, rc, NULL, error);
}

/* processes(user) */
static napi_value processes(napi_env napi, napi_callback_info info) {
    napi_value args[1];
    uint32_t user = 0;
    mpn_pond *p = mpn_args(napi, info, 1, args);
    if (!p || !mpn_uint_get(napi, args[0], &user)) return NULL;
    pond_error *error = NULL;
    int rc = pond_processes_start(p->core, p->queue, user, &error);
    return mpn_started(p, rc, NULL, error);
}

/* invalidate(keys, policy, user) */
static napi_value invalidate(napi_env napi, napi_callback_info info) {
    napi_value args[3];
    mpn_texts keys;
    uint32_t policy = 0, user = 0;
    mpn_pond *p = mpn_args(napi, info, 3, args);
    if (!p || !mpn_uint_get(napi, args[1], &policy) || !mpn_uint_get(napi, args[2], &user) ||
        !mpn_texts_get(napi, args[0], &keys)) {
        return NULL;
    }
    pond_error *error = NULL;
    int rc = pond_invalidate_start(p->core, p->queue, (const char *const *)keys.data, keys.lens, keys.n,
                                   mpn_table_at(&p->policies, policy), user, &error);
    mpn_texts_free(&keys);
    return mpn_started(p, rc, NULL, error);
}

static napi_value text_of(napi_env napi, napi_callback_info info, int (*call)(pond *, pond_value **, pond_error **)) {
    mpn_pond *p = mpn_args(napi, info, 0, NULL);
    if (!p) return NULL;
    pond_value *value = NULL;
    pond_error *error = NULL;
    if (call(p->core, &value, &error) != POND_OK) return mpn_throw(p->env, error);
    napi_value out = mpn_value_js(napi, value);
    pond_value_free(value);
    return out;
}

/* stats() -> JSON text; metrics() -> text */
static napi_value stats(napi_env napi, napi_callback_info info) { return text_of(napi, info, pond_stats); }
static napi_value metrics(napi_env napi, napi_callback_info info) { return text_of(napi, info, pond_metrics); }

/* stat(counter, namespace or null) */
static napi_value stat_(napi_env napi, napi_callback_info info) {
    napi_value args[2], out = NULL;
    mpn_text counter, ns;
    napi_valuetype type = napi_undefined;
    mpn_pond *p = mpn_args(napi, info, 2, args);
    if (!p || napi_typeof(napi, args[1], &type) != napi_ok || !mpn_text_get(napi, args[0], &counter)) return NULL;
    bool named = type == napi_string;
    if (!named || mpn_text_get(napi, args[1], &ns)) {
        uint64_t count = pond_stat(p->core, named ? ns.data : NULL, counter.data);
        if (named) mpn_text_free(&ns);
        napi_create_double(napi, (double)count, &out);
    }
    mpn_text_free(&counter);
    return out;
}

/* policy(base, [name, value, name, value...]) -> its number */
static napi_value policy(napi_env napi, napi_callback_info info) {
    napi_value args[2], out = NULL;
    uint32_t base = 0;
    mpn_texts pairs;
    mpn_pond *p = mpn_args(napi, info, 2, args);
    if (!p || !mpn_uint_get(napi, args[0], &base) || !mpn_texts_get(napi, args[1], &pairs)) return NULL;
    pond_policy *made = NULL;
    pond_error *error = NULL;
    int rc = pond_policy_new(&made, p->core, mpn_table_at(&p->policies, base), (const char *const *)pairs.data,
                             pairs.n / 2, &error);
    mpn_texts_free(&pairs);
    if (rc != POND_OK) return mpn_throw(p->env, error);
    uint32_t place = mpn_table_add(&p->policies, made);
    if (!place) {
        pond_policy_free(made);
        return mpn_throw_code(napi, POND_ENOMEM, "no memory");
    }
    napi_create_uint32(napi, place, &out);
    return out;
}

/* freePolicy(number): nothing of JavaScript's uses it any more (the core keeps what is under way) */
static napi_value free_policy(napi_env napi, napi_callback_info info) {
    napi_value args[1];
    size_t n = 1;
    uint32_t place = 0;
    mpn_pond *p = NULL;
    if (napi_get_cb_info(napi, info, &n, args, NULL, (void **)&p) != napi_ok) return NULL;
    if (mpn_uint_get(napi, args[0], &place)) pond_policy_free(mpn_table_take(&p->policies, place));
    return NULL;
}

/* closeStart(): nothing new begins; stats() tells what is still under way */
static napi_value close_start(napi_env napi, napi_callback_info info) {
    size_t n = 0;
    mpn_pond *p = NULL;
    if (napi_get_cb_info(napi, info, &n, NULL, NULL, (void **)&p) == napi_ok && p->core) pond_close_start(p->core);
    return NULL;
}

/* close(): ends what is left, delivers that, and lets go of everything. Says whether something had to be ended. */
static napi_value close_(napi_env napi, napi_callback_info info) {
    size_t n = 0;
    napi_value out = NULL;
    mpn_pond *p = NULL;
    if (napi_get_cb_info(napi, info, &n, NULL, NULL, (void **)&p) != napi_ok) return NULL;
    bool ended = false;
    if (p->core) {
        p->refs++;
        ended = pond_close(p->core, 0) == POND_ETIMEOUT;
        mpn_drive_drain(p);
        mpn_pond_end(p);
        mpn_pond_release(p);
    }
    napi_get_boolean(napi, ended, &out);
    return out;
}

#define METHOD(name, function)                                                                                         \
    { name, NULL, function, NULL, NULL, NULL, napi_default, NULL }
const napi_property_descriptor mpn_call_methods[] = {
    METHOD("fetch", fetch),
    METHOD("lookup", lookup),
    METHOD("invalidate", invalidate),
    METHOD("explain", explain),
    METHOD("stats", stats),
    METHOD("stat", stat_),
    METHOD("processes", processes),
    METHOD("metrics", metrics),
    METHOD("policy", policy),
    METHOD("freePolicy", free_policy),
    METHOD("closeStart", close_start),
    METHOD("close", close_),
};
const size_t mpn_call_method_count = sizeof mpn_call_methods / sizeof *mpn_call_methods;
