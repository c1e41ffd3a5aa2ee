#include "engine/plugin.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

static void refuse(const mp_plugin *plugin, pond_error **err, const char *what, const char *why) {
    if (err == NULL) return;
    *err = mp_error_new_retriable(POND_ESTORE, 0, "%s: the plugin %s %s%s%s", plugin->what, plugin->file, what,
                                  *why != 0 ? ": " : "", why);
}

static void none(const mp_plugin *plugin, pond_error **err) {
    if (err == NULL) return;
    *err = mp_error_new_retriable(POND_ESTORE, 0,
                                  "%s: the plugin %s was not found: install it beside this library or where the loader "
                                  "looks (Debian: %s), or name the file in %s",
                                  plugin->what, plugin->file, plugin->package, plugin->variable);
}

/* The path of the plugin in the folder of the object that this code is in; NULL if there is none. The caller frees it. */
static char *beside(const char *file) {
    Dl_info info;
    if (dladdr((const void *)(uintptr_t)&mp_plugin_symbol, &info) == 0 || info.dli_fname == NULL) return NULL;
    const char *slash = strrchr(info.dli_fname, '/');
    if (slash == NULL) return NULL;
    size_t folder = (size_t)(slash + 1 - info.dli_fname), len = strlen(file) + 1;
    char *path = malloc(folder + len);
    if (path == NULL) return NULL;
    memcpy(path, info.dli_fname, folder);
    memcpy(path + folder, file, len);
    if (access(path, F_OK) == 0) return path;
    free(path);
    return NULL;
}

static void *load(const char *path) { return dlopen(path, RTLD_NOW | RTLD_LOCAL); }

static void find(mp_plugin *plugin, pond_error **err) {
    const char *named = secure_getenv(plugin->variable), *why = NULL;
    char *here = NULL;
    void *object;
    bool is_named = named != NULL && *named != 0;
    if (is_named) object = load(named);
    else if ((here = beside(plugin->file)) != NULL) object = load(here);
    else object = load(plugin->file);
    if (object == NULL) {
        why = dlerror();
        if (why == NULL) why = "";
        /* Not found at all, or found and unusable: the loader's text alone can tell. */
        bool absent = !is_named && here == NULL && strncmp(why, plugin->file, strlen(plugin->file)) == 0 &&
                      strstr(why, "No such file") != NULL;
        char needs[160] = "cannot be loaded (it needs ";
        strncat(needs, plugin->needs, sizeof needs - strlen(needs) - 2);
        strcat(needs, ")");
        if (absent) none(plugin, err);
        else refuse(plugin, err, needs, why);
    } else {
        plugin->found = dlsym(object, plugin->symbol);
        if (plugin->found == NULL) refuse(plugin, err, "is something else", is_named ? named : plugin->file);
    }
    free(here);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void unlocked_in_child(void) { pthread_mutex_init(&lock, NULL); }
__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, unlocked_in_child); }

void *mp_plugin_symbol(mp_plugin *plugin, pond_error **err) {
    pthread_mutex_lock(&lock);
    if (plugin->found == NULL) find(plugin, err);
    void *found = plugin->found;
    pthread_mutex_unlock(&lock);
    return found;
}
