/* Bulk: many keys in one call, blocking and on queues. */
#include <millpond/bulk.h>

#include <stdio.h>
#include <stdlib.h>

#include "api/check.h"
#include "api/start.h"
#include "base/error.h"
#include "pattern/batch.h"
#include "pattern/load.h"
#include "pattern/set.h"
#include "pattern/wait.h"

enum { WARM_AT_ONCE = 500 };

/* ---- fetch_many ---- */

/* Checks the keys and makes their names, which belong to many->keys. */
static int check(pond *p, const char *const *keys, const size_t *lens, size_t n, mp_many *many, pond_error **err) {
    int code = mp_keys_check(p, keys, lens, n, err);
    if (code != POND_OK) return code;
    if (!many->policy) many->policy = p->defaults;
    many->n = n;
    many->keys = mp_group_keys(many->policy, keys, lens, n);
    if (!many->keys) return mp_no_memory(err);
    for (size_t i = 0; i < n; i++) {
        if (!mp_load_runs_here(p, &many->keys[i])) continue;
        free(many->keys);
        return mp_fail(err, POND_EDEADLOCK,
                       "the loader of \"%.*s\" asks for the key that it is loading: load it from the store",
                       lens[i] > 80 ? 80 : (int)lens[i], keys[i]);
    }
    return POND_OK;
}

int pond_fetch_many(pond *p, const char *const *keys, const size_t *lens, size_t n, const pond_policy *policy,
                    const pond_tags *tags, pond_bulk_loader loader, void *ctx, pond_value **out, pond_error **err) {
    if (!loader || (!out && n)) return mp_fail(err, POND_EMISUSE, "pond_fetch_many: loader or out is NULL");
    mp_many many = {.policy = policy, .tags = tags};
    int code = check(p, keys, lens, n, &many, err);
    return code == POND_OK ? mp_wait_many(p, &many, loader, ctx, out, err) : code;
}

int pond_fetch_many_start(pond *p, pond_queue *queue, const char *const *keys, const size_t *lens, size_t n,
                          const pond_policy *policy, const pond_tags *tags, uint64_t user, pond_request **request,
                          pond_error **err) {
    mp_many many = {.policy = policy, .tags = tags};
    int code = check(p, keys, lens, n, &many, err);
    return code == POND_OK ? mp_queue_many(p, queue, &many, user, request, err) : code;
}

/* ---- warm ---- */

int pond_warm(pond *p, const char *const *keys, const size_t *lens, size_t n, const pond_policy *policy,
              const pond_tags *tags, size_t batch, pond_bulk_loader loader, void *ctx,
              int (*progress)(void *ctx, size_t done, size_t n), pond_error **err) {
    if (!loader) return mp_fail(err, POND_EMISUSE, "pond_warm: loader is NULL");
    int code = mp_keys_check(p, keys, lens, n, err);
    if (batch == 0) batch = WARM_AT_ONCE;
    for (size_t from = 0, part; code == POND_OK && from < n; from += part) {
        mp_many many = {.policy = policy, .tags = tags};
        part = n - from < batch ? n - from : batch;
        code = check(p, keys + from, lens + from, part, &many, err);
        if (code == POND_OK) code = mp_wait_many(p, &many, loader, ctx, NULL, err);
        if (code == POND_OK && progress && progress(ctx, from + part, n))
            code = mp_fail(err, POND_ECANCELED, "the warming was stopped after %zu of %zu keys", from + part, n);
    }
    return code;
}

/* ---- set_many ---- */

static void free_values(pond_value **values, size_t n) {
    for (size_t i = 0; values && i < n; i++) pond_value_free(values[i]);
    free(values);
}

static int make_value(pond *p, const char *key, size_t len, const void *data, size_t data_len, pond_codec codec,
                      pond_value **out, pond_error **err) {
    char what[88];
    snprintf(what, sizeof what, "\"%.*s\"", len > 80 ? 80 : (int)len, key);
    pond_error *error = data ? mp_value_check(what, data, data_len, codec, p->options.max_value) : NULL;
    if (!error) *out = data ? mp_value_new(POND_VALUE, codec, data, data_len) : mp_value_absent();
    if (!error && !*out) error = mp_error_new(POND_ENOMEM, "no memory for a value of %zu bytes", data_len);
    int code = error ? pond_error_code(error) : POND_OK;
    if (err) *err = error;
    else pond_error_free(error);
    return code;
}

static int check_set(pond *p, const char *const *keys, const size_t *lens, const void *const *data,
                     const size_t *data_lens, const pond_codec *codecs, size_t n, pond_value ***out, pond_error **err) {
    int code = mp_keys_check(p, keys, lens, n, err);
    if (code == POND_OK && n && (!data || !data_lens || !codecs))
        code = mp_fail(err, POND_EMISUSE, "pond_set_many: data, data_lens or codecs is NULL");
    if (code != POND_OK) return code;
    pond_value **values = calloc(n + 1, sizeof *values);
    if (!values) return mp_no_memory(err);
    for (size_t i = 0; code == POND_OK && i < n; i++)
        code = make_value(p, keys[i], lens[i], data[i], data_lens[i], codecs[i], &values[i], err);
    if (code == POND_OK) *out = values;
    else free_values(values, n);
    return code;
}

int pond_set_many(pond *p, const char *const *keys, const size_t *lens, const void *const *data,
                  const size_t *data_lens, const pond_codec *codecs, size_t n, const pond_policy *policy,
                  pond_error **err) {
    pond_value **values;
    int code = check_set(p, keys, lens, data, data_lens, codecs, n, &values, err);
    if (code != POND_OK) return code;
    code = mp_wait_set(p, policy, keys, lens, values, n, err);
    free_values(values, n);
    return code;
}

int pond_set_many_start(pond *p, pond_queue *queue, const char *const *keys, const size_t *lens,
                        const void *const *data, const size_t *data_lens, const pond_codec *codecs, size_t n,
                        const pond_policy *policy, uint64_t user, pond_request **request, pond_error **err) {
    pond_value **values;
    int code = check_set(p, keys, lens, data, data_lens, codecs, n, &values, err);
    if (code != POND_OK) return code;
    code = mp_queue_enter(p, queue, err);
    if (code == POND_OK) {
        mp_call *call = mp_set_start(queue->lane, policy, keys, lens, values, n, user, NULL);
        if (request) *request = call;
        code = mp_queue_leave(queue, call, err);
    }
    free_values(values, n);
    return code;
}
