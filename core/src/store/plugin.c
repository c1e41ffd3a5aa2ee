#include "store/plugin.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <millpond/pond.h>

#include "base/error.h"

static const char file_name[] = "libmillpond-mongodb.so";
static const char variable[] = "MILLPOND_MONGODB_PLUGIN";

static int refuse(pond_error **err, const char *what, const char *why) {
    if (err != NULL)
        *err = mp_error_new_retriable(POND_ESTORE, 0, "store: mongodb: %s%s%s", what, *why != 0 ? ": " : "", why);
    return POND_ESTORE;
}

static int none(pond_error **err) {
    return refuse(err,
                  "the plugin libmillpond-mongodb.so was not found: install it beside this library or where the loader "
                  "looks (Debian: libmillpond0-mongodb), or name the file in MILLPOND_MONGODB_PLUGIN",
                  "");
}

/* The path of the plugin in the folder of the object that this code is in; NULL if there is none. The caller frees it. */
static char *beside(void) {
    Dl_info info;
    /* A function that is exported where we are a shared library, and anywhere else an address like others. */
    if (dladdr((const void *)(uintptr_t)&pond_open, &info) == 0 || info.dli_fname == NULL) return NULL;
    const char *slash = strrchr(info.dli_fname, '/');
    if (slash == NULL) return NULL;
    size_t folder = (size_t)(slash + 1 - info.dli_fname);
    char *path = malloc(folder + sizeof file_name);
    if (path == NULL) return NULL;
    memcpy(path, info.dli_fname, folder);
    memcpy(path + folder, file_name, sizeof file_name);
    if (access(path, F_OK) == 0) return path;
    free(path);
    return NULL;
}

static void *load(const char *path) { return dlopen(path, RTLD_NOW | RTLD_LOCAL); }

static int find(mp_store_plugin **out, pond_error **err) {
    const char *named = secure_getenv(variable);
    char *here = NULL;
    void *object;
    if (named != NULL && *named != 0) object = load(named);
    else if ((here = beside()) != NULL) object = load(here);
    else {
        object = load(file_name);
        /* Not found at all, or found and unusable: the loader's text alone can tell. */
        const char *why = object == NULL ? dlerror() : NULL;
        if (why != NULL && strncmp(why, file_name, sizeof file_name - 1) == 0 && strstr(why, "No such file") != NULL)
            return none(err);
        if (why != NULL) return refuse(err, "the plugin libmillpond-mongodb.so cannot be loaded", why);
    }
    int rc = POND_OK;
    if (object == NULL) {
        const char *why = dlerror();
        rc = refuse(err, "the plugin cannot be loaded (it needs libmongoc-1.0, in Debian the package libmongoc-1.0-0)",
                    why != NULL ? why : "");
    } else {
        *out = (mp_store_plugin *)(uintptr_t)dlsym(object, MP_STORE_PLUGIN_NAME);
        if (*out == NULL)
            rc = refuse(err, "this is no store's plugin", named != NULL && *named != 0 ? named : file_name);
    }
    free(here);
    return rc;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void unlocked_in_child(void) { pthread_mutex_init(&lock, NULL); }
__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, unlocked_in_child); }

int mp_mongodb_plugin_open(mp_store **out, const mp_options *options, pond_error **err) {
    static mp_store_plugin *plugin;
    pthread_mutex_lock(&lock);
    int rc = plugin != NULL ? POND_OK : find(&plugin, err);
    mp_store_plugin *open = plugin;
    pthread_mutex_unlock(&lock);
    return rc == POND_OK ? open(POND_VERSION_TEXT, out, options, err) : rc;
}
