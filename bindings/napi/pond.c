/* A pond of an environment: opened, called, ended. */
#include <string.h>
#include "addon.h"

mpn_pond *mpn_args(napi_env napi, napi_callback_info info, size_t n, napi_value *args) {
    mpn_pond *p = NULL;
    if (napi_get_cb_info(napi, info, &n, args, NULL, (void **)&p) != napi_ok) return NULL;
    if (p->core) return p;
    mpn_throw_code(napi, POND_ECLOSED, "the pond is closed");
    return NULL;
}

void mpn_pond_release(mpn_pond *p) {
    if (--p->refs) return;
    mpn_env *env = p->env;
    free(p);
    mpn_env_release(env);
}

void mpn_pond_end(mpn_pond *p) {
    if (!p->core) return;
    napi_env napi = p->env->napi;
    pond *core = p->core;
    pond_queue *queue = p->queue;
    p->core = NULL;
    p->queue = NULL;
    if (p->prev) p->prev->next = p->next;
    else p->env->ponds = p->next;
    if (p->next) p->next->prev = p->prev;
    mpn_drive_stop(p); /* before the descriptor goes */
    pond_queue_free(queue);
    mpn_loads_end(p);
    mpn_writings_end(p);
    mpn_checks_end(p);
    mpn_batches_end(p);
    mpn_tags_end(p);
    for (uint32_t i = 1; i < p->collections.used; i++) pond_collection_free(mpn_table_take(&p->collections, i));
    mpn_table_free(&p->collections);
    for (uint32_t i = 1; i < p->policies.used; i++) pond_policy_free(mpn_table_take(&p->policies, i));
    mpn_table_free(&p->policies);
    pond_free(core);
    napi_async_destroy(napi, p->context);
    napi_delete_reference(napi, p->deliver);
    napi_delete_reference(napi, p->meta_ref);
}

static void collected(napi_env napi, void *data, void *hint) {
    (void)napi;
    (void)hint;
    mpn_pond_end(data);
    mpn_pond_release(data);
}

/* The object with the methods, with `meta` and `deliver` on it. */
static napi_value object_new(mpn_pond *p, napi_value deliver) {
    napi_env napi = p->env->napi;
    napi_value object, buffer, meta, name;
    void *data = NULL;
    const size_t words = 2 * MPN_BATCH + 1;
    if (napi_create_object(napi, &object) != napi_ok ||
        napi_create_arraybuffer(napi, words * sizeof(uint32_t), &data, &buffer) != napi_ok ||
        napi_create_typedarray(napi, napi_uint32_array, words, buffer, 0, &meta) != napi_ok ||
        napi_set_named_property(napi, object, "meta", meta) != napi_ok ||
        napi_set_named_property(napi, object, "deliver", deliver) != napi_ok ||
        napi_create_string_latin1(napi, "millpond", NAPI_AUTO_LENGTH, &name) != napi_ok) {
        return NULL;
    }
    const struct {
        const napi_property_descriptor *rows;
        size_t n;
    } sets[] = {{mpn_call_methods, mpn_call_method_count},     {mpn_tag_methods, mpn_tag_method_count},
                {mpn_store_methods, mpn_store_method_count},   {mpn_collection_methods, mpn_collection_method_count},
                {mpn_load_methods, mpn_load_method_count},     {mpn_write_methods, mpn_write_method_count},
                {mpn_change_methods, mpn_change_method_count}, {mpn_bulk_methods, mpn_bulk_method_count}};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        for (size_t k = 0; k < sets[i].n; k++) {
            napi_property_descriptor method = sets[i].rows[k];
            method.data = p; /* so that a call need not unwrap anything */
            if (napi_define_properties(napi, object, 1, &method) != napi_ok) return NULL;
        }
    }
    if (napi_create_reference(napi, meta, 1, &p->meta_ref) != napi_ok) return NULL;
    if (napi_create_reference(napi, deliver, 0, &p->deliver) != napi_ok) goto no_deliver;
    if (napi_async_init(napi, NULL, name, &p->context) != napi_ok) goto no_context;
    p->meta = data;
    return object;
no_context:
    napi_delete_reference(napi, p->deliver);
no_deliver:
    napi_delete_reference(napi, p->meta_ref);
    return NULL;
}

/* Opens the core's pond and queue; false with an exception pending. */
static bool core_open(mpn_env *env, const mpn_texts *pairs, pond **core, pond_queue **queue) {
    pond_error *error = NULL;
    pond_config *config = pond_config_new();
    if (!config) {
        mpn_throw_code(env->napi, POND_ENOMEM, "no memory");
        return false;
    }
    int rc = POND_OK;
    for (uint32_t i = 0; rc == POND_OK && i + 1 < pairs->n; i += 2) {
        rc = pond_config_set(config, pairs->data[i], pairs->data[i + 1], &error);
    }
    if (rc == POND_OK) rc = pond_open(core, config, &error);
    pond_config_free(config);
    if (rc == POND_OK) {
        rc = pond_queue_new(queue, *core, &error);
        if (rc != POND_OK) pond_free(*core);
    }
    if (rc != POND_OK) mpn_throw(env, error);
    return rc == POND_OK;
}

/* open([name, value, name, value...], deliver) -> the object with the methods */
napi_value mpn_open(napi_env napi, napi_callback_info info) {
    size_t n = 2;
    napi_value args[2];
    mpn_env *env = NULL;
    mpn_texts pairs;
    if (napi_get_cb_info(napi, info, &n, args, NULL, (void **)&env) != napi_ok ||
        !mpn_texts_get(napi, args[0], &pairs)) {
        return NULL;
    }
    pond *core = NULL;
    pond_queue *queue = NULL;
    bool open = core_open(env, &pairs, &core, &queue);
    mpn_texts_free(&pairs);
    if (!open) return NULL;

    mpn_pond *p = calloc(1, sizeof *p);
    napi_value object = NULL;
    if (p) {
        p->env = env;
        p->queue = queue;
        p->refs = 1;
        env->refs++;
        object = object_new(p, args[1]);
        if (object && napi_wrap(napi, object, p, collected, NULL, NULL) != napi_ok) {
            napi_async_destroy(napi, p->context);
            napi_delete_reference(napi, p->deliver);
            napi_delete_reference(napi, p->meta_ref);
            object = NULL;
        }
    }
    if (!object) {
        pond_queue_free(queue);
        pond_free(core);
        if (p) mpn_pond_release(p);
        return mpn_throw_code(napi, POND_ENOMEM, "no memory");
    }
    p->core = core; /* from here on mpn_pond_end takes care of everything */
    p->next = env->ponds;
    if (p->next) p->next->prev = p;
    env->ponds = p;
    if (mpn_drive_start(p)) return object;
    mpn_pond_end(p);
    return NULL;
}
