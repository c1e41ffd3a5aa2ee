/* The environment's event loop drives the pond's queue: its descriptor is watched, what a turn has written is sent before
 * the loop sleeps, and what is finished goes to JavaScript in one call per batch. */
#include "addon.h"

static void freed(uv_handle_t *handle) {
    mpn_env *env = uv_handle_get_data(handle);
    free(handle);
    env->closing--;
    if (env->ending && env->closing == 0) {
        napi_async_cleanup_hook_handle hook = env->hook;
        mpn_env_release(env);
        napi_remove_async_cleanup_hook(hook); /* the environment may be gone after this */
        return;
    }
    mpn_env_release(env);
}

static void close_handle(mpn_env *env, void *handle) {
    uv_handle_set_data(handle, env);
    env->refs++;
    env->closing++;
    uv_close(handle, freed);
}

static void flush(mpn_pond *p) {
    if (!p->dirty) return;
    p->dirty = false;
    uv_prepare_stop(p->prepare);
    pond_queue_flush(p->queue);
}

static void on_prepare(uv_prepare_t *handle) { flush(uv_handle_get_data((uv_handle_t *)handle)); }

static void on_ready(uv_poll_t *handle, int status, int events) {
    (void)status; /* an error of the descriptor is the queue's to find */
    (void)events;
    mpn_drive_drain(uv_handle_get_data((uv_handle_t *)handle));
}

bool mpn_drive_start(mpn_pond *p) {
    mpn_env *env = p->env;
    const char *why = "no memory";
    uv_poll_t *watch = malloc(uv_handle_size(MPN_UV_POLL));
    uv_prepare_t *prepare = malloc(uv_handle_size(MPN_UV_PREPARE));
    if (watch && prepare) {
        int rc = uv_poll_init(env->loop, watch, pond_queue_fd(p->queue));
        if (rc == 0) {
            uv_prepare_init(env->loop, prepare);
            p->poll = watch;
            p->prepare = prepare;
            uv_handle_set_data((uv_handle_t *)watch, p);
            uv_handle_set_data((uv_handle_t *)prepare, p);
            uv_poll_start(watch, MPN_UV_READABLE, on_ready);
            uv_unref((uv_handle_t *)watch); /* an idle pond keeps no process alive */
            uv_unref((uv_handle_t *)prepare);
            return true;
        }
        why = uv_strerror(rc);
    }
    free(watch);
    free(prepare);
    mpn_throw_code(env->napi, POND_ENOMEM, why);
    return false;
}

void mpn_drive_stop(mpn_pond *p) {
    if (!p->poll) return;
    close_handle(p->env, p->poll);
    close_handle(p->env, p->prepare);
    p->poll = NULL;
    p->prepare = NULL;
    p->dirty = p->held = false;
}

void mpn_drive_began(mpn_pond *p) {
    if (!p->dirty) {
        p->dirty = true;
        uv_prepare_start(p->prepare, on_prepare);
    }
    if (!p->held) {
        p->held = true;
        uv_ref((uv_handle_t *)p->poll);
        napi_reference_ref(p->env->napi, p->deliver, NULL);
    }
}

/* What is text and not JSON stands in an array of its own. */
static napi_value row_js(napi_env napi, const pond_value *value) {
    napi_value out, text = mpn_value_js(napi, value);
    if (!text || pond_value_codec(value) != POND_TEXT) return text;
    return napi_create_array_with_length(napi, 1, &out) == napi_ok && napi_set_element(napi, out, 0, text) == napi_ok
               ? out
               : NULL;
}

/* Arrays of strings (and buffers) and nulls, for get_many and fetch_many. */
static napi_value list_js(napi_env napi, const pond_event *event) {
    napi_value out, row;
    size_t n = pond_event_count(event);
    if (napi_create_array_with_length(napi, n, &out) != napi_ok) return NULL;
    for (size_t i = 0; i < n; i++) {
        row = row_js(napi, pond_event_value_at(event, i));
        if (!row || napi_set_element(napi, out, (uint32_t)i, row) != napi_ok) return NULL;
    }
    return out;
}

static void clear_exception(napi_env napi) {
    bool pending = false;
    napi_value exception;
    if (napi_is_exception_pending(napi, &pending) == napi_ok && pending) {
        napi_get_and_clear_last_exception(napi, &exception);
    }
}

/* [value, the number of its load]; NULL where there is no such value: then nobody loads. */
static napi_value with_load(mpn_pond *p, napi_value value, pond_load *load) {
    napi_env napi = p->env->napi;
    napi_value pair = NULL, number = NULL;
    if (!value || napi_create_array_with_length(napi, 2, &pair) != napi_ok ||
        napi_create_uint32(napi, mpn_load_add(p, load), &number) != napi_ok) {
        pond_load_fail(load, POND_ECANCELED, "the value is too large for a JavaScript string");
        return NULL;
    }
    napi_set_element(napi, pair, 0, value);
    napi_set_element(napi, pair, 1, number);
    return pair;
}

static napi_value event_js(mpn_pond *p, pond_event *event, uint32_t *kind) {
    napi_env napi = p->env->napi;
    napi_value out = NULL;
    uint32_t load;
    switch (pond_event_kind(event)) {
    case POND_EVENT_VALUE:
        *kind = mpn_value_kind(pond_event_value(event)) | (pond_value_stale(pond_event_value(event)) ? MPN_STALE : 0);
        out = mpn_value_js(napi, pond_event_value(event));
        if (!pond_event_load(event)) return out;
        *kind |= MPN_BEHIND;
        return with_load(p, out, pond_event_load(event));
    case POND_EVENT_ABSENT: *kind = MPN_ABSENT; break;
    case POND_EVENT_MISS: *kind = MPN_MISS; break;
    case POND_EVENT_OK: *kind = MPN_OK; break;
    case POND_EVENT_ERROR: *kind = MPN_ERROR; return mpn_error_js(p->env, pond_event_error(event));
    case POND_EVENT_LOAD:
        *kind = MPN_LOAD;
        load = mpn_load_add(p, pond_event_load(event));
        napi_create_uint32(napi, load, &out);
        return out;
    case POND_EVENT_WRITE:
        *kind = MPN_WRITE;
        napi_create_uint32(napi, mpn_writing_add(p, pond_event_writing(event)), &out);
        return out;
    case POND_EVENT_CHECK:
        *kind = MPN_CHECK;
        if ((out = mpn_check_js(p, pond_event_check(event)))) return out;
        clear_exception(napi); /* the core has been told */
        break;
    case POND_EVENT_BATCH:
        *kind = MPN_MANY;
        if ((out = mpn_batch_js(p, pond_event_batch(event)))) return out;
        clear_exception(napi); /* the core has been told */
        break;
    case POND_EVENT_LIST: *kind = MPN_LIST; return list_js(napi, event);
    }
    napi_get_undefined(napi, &out);
    return out;
}

/* One call: deliver(n, value, value...), with (user, kind) of each in the shared array. */
static void deliver(mpn_pond *p, pond_event **events, size_t n) {
    napi_env napi = p->env->napi;
    napi_handle_scope scope;
    napi_value args[1 + MPN_BATCH], function = NULL, undefined, last = NULL;
    if (napi_open_handle_scope(napi, &scope) != napi_ok) return;
    napi_get_undefined(napi, &undefined);
    pond_value *shared = NULL; /* waiters of one load come together and get one string */
    for (size_t i = 0; i < n; i++) {
        pond_value *value = pond_event_value(events[i]);
        uint32_t kind = MPN_ERROR;
        napi_value out;
        bool alone = pond_event_load(events[i]) || pond_value_stale(value);
        if (value && value == shared && !alone) {
            kind = mpn_value_kind(value);
            out = last;
        } else {
            out = event_js(p, events[i], &kind);
        }
        if (!out) { /* no string that long: the only way to fail, but for a JavaScript that has ended */
            clear_exception(napi);
            out = undefined;
            kind = MPN_ERROR;
        } else if (value && kind != MPN_BYTES && !alone) {
            shared = value;
            last = out;
        }
        p->meta[2 * i] = (uint32_t)pond_event_user(events[i]);
        p->meta[2 * i + 1] = kind;
        args[1 + i] = out;
    }
    napi_create_uint32(napi, (uint32_t)n, &args[0]);
    if (napi_get_reference_value(napi, p->deliver, &function) == napi_ok && function) {
        napi_make_callback(napi, p->context, function, function, n + 1, args, NULL);
    }
    clear_exception(napi); /* `deliver` catches its own: this is a JavaScript that was ended in the middle */
    napi_close_handle_scope(napi, scope);
}

void mpn_drive_drain(mpn_pond *p) {
    pond_event *events[MPN_BATCH];
    p->refs++; /* what is delivered may close the pond */
    while (p->queue) {
        size_t n = pond_queue_poll(p->queue, events, MPN_BATCH, 0);
        if (n) deliver(p, events, n);
        for (size_t i = 0; i < n; i++) pond_event_free(events[i]);
        if (p->queue) flush(p); /* what the answered code asked next goes out at once */
        if (n < MPN_BATCH) break;
    }
    if (p->held && pond_queue_pending(p->queue) == 0) {
        p->held = false;
        uv_unref((uv_handle_t *)p->poll);
        napi_reference_unref(p->env->napi, p->deliver, NULL);
    }
    mpn_mailbox_drain(p->env->mailbox, p->env->napi);
    mpn_pond_release(p);
}
