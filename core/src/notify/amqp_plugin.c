/* What libmillpond-amqp.so exports. */
#include <string.h>

#include "base/error.h"
#include "notify/amqp.h"
#include "notify/plugin.h"

__attribute__((visibility("default"))) mp_broker_plugin MP_BROKER_PLUGIN;

/* What goes between the two lies in memory as each was compiled, so any other version may differ. */
int MP_BROKER_PLUGIN(const char *version, mp_broker **out, const char *address, pond_error **err) {
    if (version != NULL && strcmp(version, POND_VERSION_TEXT) == 0) return mp_amqp_open(out, address, err);
    if (err != NULL)
        *err = mp_error_new_retriable(POND_ESTORE, 0,
                                      "events: amqp: the plugin libmillpond-amqp.so is of version " POND_VERSION_TEXT
                                      ", but the library that loads it of version %.40s: install both of one version",
                                      version != NULL ? version : "?");
    return POND_ESTORE;
}
