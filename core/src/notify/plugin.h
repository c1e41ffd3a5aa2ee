/* What libmillpond-amqp.so exports: one function, linked with copies of its own of what it needs of the floors below, as a store's plugin
 * is (store/plugin.h), and of the very same version as who loads it. */
#ifndef MP_NOTIFY_PLUGIN_H
#define MP_NOTIFY_PLUGIN_H

#include "notify/notify.h"

#define MP_BROKER_PLUGIN millpond_broker_v0
#define MP_BROKER_PLUGIN_NAME "millpond_broker_v0"

typedef int mp_broker_plugin(const char *version, mp_broker **out, const char *address, pond_error **err);

#endif
