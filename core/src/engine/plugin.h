/* Plugins: parts that live in a shared object of their own, so that only who uses them needs the libraries behind them. */
#ifndef MP_ENGINE_PLUGIN_H
#define MP_ENGINE_PLUGIN_H

#include <pthread.h>
#include <millpond/error.h>

typedef struct mp_plugin {
    const char *what;     /* for errors: "store: mongodb" */
    const char *file;     /* libmillpond-....so */
    const char *variable; /* an environment variable that may name the file */
    const char *symbol;
    const char *package; /* Debian's, for who has none */
    const char *needs;   /* "libmongoc-1.0, in Debian the package libmongoc-1.0-0" */
    void *found;
} mp_plugin;

/* The function that it exports: from the file that the variable names; else the one beside the object that this code is in; else the
 * one that the system's loader finds. NULL and POND_ESTORE, not retriable, which says what to install or to set. Once it was found it
 * stays loaded. @threads any */
void *mp_plugin_symbol(mp_plugin *plugin, pond_error **err);

#endif
