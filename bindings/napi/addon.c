/* The module: one mpn_env for each environment that loads it, ended by an asynchronous clean-up hook, because libuv's
 * handles must have closed before the environment's loop goes (a Worker that is terminated aborts otherwise). */
#include <string.h>
#include "addon.h"

void mpn_env_release(mpn_env *env) {
    if (--env->refs == 0) free(env);
}

static void unload(napi_async_cleanup_hook_handle hook, void *data) {
    mpn_env *env = data;
    env->ending = true;
    while (env->ponds) mpn_pond_end(env->ponds);
    mpn_mailbox_end(env->mailbox);
    env->mailbox = NULL;
    if (env->closing == 0) napi_remove_async_cleanup_hook(hook);
}

static void instance_gone(napi_env napi, void *data, void *hint) {
    (void)napi;
    (void)hint;
    mpn_env_release(data);
}

static bool uv_fits(void) {
    const char *watch = uv_handle_type_name(MPN_UV_POLL), *prepare = uv_handle_type_name(MPN_UV_PREPARE);
    return watch && prepare && strcmp(watch, "poll") == 0 && strcmp(prepare, "prepare") == 0;
}

static mpn_env *env_new(napi_env napi) {
    mpn_env *env = calloc(1, sizeof *env);
    if (!env) return NULL;
    env->napi = napi;
    env->refs = 1;
    env->mailbox = mpn_mailbox_new();
    if (!env->mailbox || napi_get_uv_event_loop(napi, &env->loop) != napi_ok) {
        if (env->mailbox) mpn_mailbox_end(env->mailbox);
        free(env);
        return NULL;
    }
    return env;
}

NAPI_MODULE_INIT() {
    if (!uv_fits()) return mpn_throw_code(env, POND_EMISUSE, "this program's libuv is not one that the addon knows");
    mpn_env *mine = env_new(env);
    if (!mine) return mpn_throw_code(env, POND_ENOMEM, "no memory");
    if (napi_set_instance_data(env, mine, instance_gone, NULL) != napi_ok ||
        napi_add_async_cleanup_hook(env, unload, mine, &mine->hook) != napi_ok) {
        return mpn_throw_code(env, POND_EMISUSE, "the addon could not be set up in this environment");
    }
    const napi_property_descriptor open = {"open", NULL, mpn_open, NULL, NULL, NULL, napi_default, mine};
    napi_value version;
    if (napi_define_properties(env, exports, 1, &open) != napi_ok ||
        napi_create_string_latin1(env, pond_version(), NAPI_AUTO_LENGTH, &version) != napi_ok ||
        napi_set_named_property(env, exports, "version", version) != napi_ok) {
        return NULL;
    }
    return exports;
}
