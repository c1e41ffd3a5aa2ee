#include "notify/plugin.h"

#include "engine/plugin.h"

int mp_amqp_plugin_open(mp_broker **out, const char *address, pond_error **err) {
    static mp_plugin plugin = {.what = "events: amqp",
                               .file = "libmillpond-amqp.so",
                               .variable = "MILLPOND_AMQP_PLUGIN",
                               .symbol = MP_BROKER_PLUGIN_NAME,
                               .package = "libmillpond0-amqp",
                               .needs = "librabbitmq, in Debian the package librabbitmq4"};
    mp_broker_plugin *open = (mp_broker_plugin *)(uintptr_t)mp_plugin_symbol(&plugin, err);
    return open ? open(POND_VERSION_TEXT, out, address, err) : POND_ESTORE;
}
