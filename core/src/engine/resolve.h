/* Host names and their addresses. The system's resolver blocks for as long as it likes, so it is asked in a thread of its own:
 * who waits for it leaves when its time is over, and who asks for the same name meanwhile waits for the same answer.
 *
 * A resolver belongs to one process: after fork() a child makes its own. */
#ifndef MP_ENGINE_RESOLVE_H
#define MP_ENGINE_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

typedef struct mp_resolver mp_resolver;

enum { MP_ADDRESSES = 16 }; /* of one host; what it has beyond them is left out */

typedef struct mp_addresses {
    size_t count;
    struct mp_address {
        socklen_t len;
        struct sockaddr_storage at;
    } of[MP_ADDRESSES];
} mp_addresses;

mp_resolver *mp_resolver_new(void); /* NULL without memory */
/* Nobody waits any more. Does not wait for the system: what is still being looked up is forgotten when it comes. */
void mp_resolver_free(mp_resolver *resolver);

/* `family`: AF_UNSPEC, or one alone. A numeric address is only spelled out, with no thread. False: `*why` says what was wrong;
 * it stays as it is. @threads any */
bool mp_resolve(mp_resolver *resolver, const char *host, uint16_t port, int family, int64_t deadline_ms,
                mp_addresses *out, const char **why);

#endif
