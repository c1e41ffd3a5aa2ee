/* What libmillpond-mongodb.so exports. */
#include <string.h>

#include "base/error.h"
#include "store/mongodb.h"
#include "store/plugin.h"

__attribute__((visibility("default"))) mp_store_plugin MP_STORE_PLUGIN;

/* Options, values and errors go between the two as they lie in memory, so any other version may differ. */
int MP_STORE_PLUGIN(const char *version, mp_store **out, const mp_options *options, pond_error **err) {
    if (version != NULL && strcmp(version, POND_VERSION_TEXT) == 0) return mp_mongodb_open(out, options, err);
    if (err != NULL)
        *err =
            mp_error_new_retriable(POND_ESTORE, 0,
                                   "store: mongodb: the plugin libmillpond-mongodb.so is of version " POND_VERSION_TEXT
                                   ", but the library that loads it of version %.40s: install both of one version",
                                   version != NULL ? version : "?");
    return POND_ESTORE;
}
