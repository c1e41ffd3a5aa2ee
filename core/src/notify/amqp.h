/* The broker behind amqp: addresses, with librabbitmq. */
#ifndef MP_NOTIFY_AMQP_H
#define MP_NOTIFY_AMQP_H

#include "notify/notify.h"

int mp_amqp_open(mp_broker **out, const char *address, pond_error **err);

#endif
