/* The interface of a broker: where change events go that leave the cache and the store. */
#ifndef MP_NOTIFY_NOTIFY_H
#define MP_NOTIFY_NOTIFY_H

#include <stddef.h>
#include <stdint.h>
#include <millpond/error.h>

/* One event. Texts are NUL-terminated. */
typedef struct mp_notice {
    const char *key; /* what it is routed by */
    const char *id;  /* nobody else's: 32 hexadecimal digits */
    const char *text;
    size_t len;
} mp_notice;

typedef struct mp_broker mp_broker;

typedef struct mp_broker_vt {
    /* Publishes in order; one call at a time, in whatever thread; ends by `until` (CLOCK_MONOTONIC ms). *confirmed: so many, the first, the
     * broker is known to keep. *tried: so many may have reached it. POND_OK: all are confirmed. POND_ESTORE otherwise. */
    int (*publish)(mp_broker *broker, const mp_notice *notices, size_t n, int64_t until, size_t *tried,
                   size_t *confirmed, pond_error **err);
    /* In the child of a fork: the connection is the parent's. */
    void (*forget)(mp_broker *broker);
    void (*close)(mp_broker *broker);
} mp_broker_vt;

struct mp_broker {
    const mp_broker_vt *vt;
};

/* amqp://[user:password@]host[:port][/vhost]?exchange=NAME, by libmillpond-amqp.so, found as the store's plugin is (environment variable:
 * MILLPOND_AMQP_PLUGIN). Connects with the first event. POND_EURL: the address cannot be used, and its password is never shown;
 * POND_ESTORE, not retriable: there is no such plugin. */
int mp_amqp_plugin_open(mp_broker **out, const char *address, pond_error **err);

#endif
