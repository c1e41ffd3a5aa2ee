#include "store/plugin.h"

#include <stdint.h>

#include "engine/plugin.h"

int mp_mongodb_plugin_open(mp_store **out, const mp_options *options, pond_error **err) {
    static mp_plugin plugin = {.what = "store: mongodb",
                               .file = "libmillpond-mongodb.so",
                               .variable = "MILLPOND_MONGODB_PLUGIN",
                               .symbol = MP_STORE_PLUGIN_NAME,
                               .package = "libmillpond0-mongodb",
                               .needs = "libmongoc-1.0, in Debian the package libmongoc-1.0-0"};
    mp_store_plugin *open = (mp_store_plugin *)(uintptr_t)mp_plugin_symbol(&plugin, err);
    return open ? open(POND_VERSION_TEXT, out, options, err) : POND_ESTORE;
}
