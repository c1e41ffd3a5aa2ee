/* Stores that live in a shared object of their own, so that only who uses them needs the libraries behind them.
 *
 * Such an object exports one function, of the type and the name below. It is linked with copies of its own of what it
 * needs of the floors below, so it needs no symbol of whoever loads it, be that a shared library, a static one, a Python
 * or a Node module; in return it must be of the very same version, and says so if it is not. What is loaded stays until
 * the process ends, for values and errors that it made may be around. */
#ifndef MP_STORE_PLUGIN_H
#define MP_STORE_PLUGIN_H

#include "store/store.h"

#define MP_STORE_PLUGIN millpond_store_v0
#define MP_STORE_PLUGIN_NAME "millpond_store_v0"

typedef int mp_store_plugin(const char *version, mp_store **out, const mp_options *options, pond_error **err);

/* Opens options->store, a mongodb: address, by libmillpond-mongodb.so: the file that the environment variable
 * MILLPOND_MONGODB_PLUGIN names; else the one beside the object that this code is in; else the one that the system's
 * loader finds. POND_ESTORE, not retriable, says what to install or to set if there is none, or if it cannot be used. */
int mp_mongodb_plugin_open(mp_store **out, const mp_options *options, pond_error **err);

#endif
