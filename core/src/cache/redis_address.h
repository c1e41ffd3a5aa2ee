/* Where a Redis is and who asks: parsed from redis://[user:password@]host[:port][/database], the same with rediss:// for TLS, or
 * unix:/path[?db=n]. */
#ifndef MP_CACHE_REDIS_ADDRESS_H
#define MP_CACHE_REDIS_ADDRESS_H

#include <stdbool.h>
#include "model/config.h"

typedef struct mp_address {
    char *host, *path; /* one of them */
    int port;
    char *username, *password; /* may be NULL */
    int database;
    char *shown;              /* for errors: without user and password */
    bool secure;              /* rediss:// */
    const struct mp_tls *tls; /* how to; the cache's; NULL: not secure */
} mp_address;

/* options->username and ->password win over the address. POND_EURL names the part that cannot be used. */
int mp_address_parse(mp_address *out, const mp_options *options, pond_error **err);
void mp_address_free(mp_address *address);

#endif
