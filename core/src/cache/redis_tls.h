/* TLS to a Redis: what the options say, read and checked once, and the session of one connection. Behind this stands OpenSSL.
 *
 * hiredis has an ssl.c, which is not used: it writes by write(), which raises SIGPIPE where the other side has closed; of a
 * certificate that is refused it knows no more than that; and what it has decrypted and not handed out, epoll does not see. */
#ifndef MP_CACHE_REDIS_TLS_H
#define MP_CACHE_REDIS_TLS_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include "model/config.h"

/* What all connections of a cache share. It never changes: any thread may use it. */
typedef struct mp_tls mp_tls;
/* Reads the files, which are not read again. POND_EOPTION names the option and the file that cannot be used. */
int mp_tls_new(mp_tls **out, const mp_options *options, pond_error **err);
void mp_tls_free(mp_tls *tls);
/* The first option that was given and has a meaning for rediss:// only; NULL: none was. */
const char *mp_tls_option(const mp_options *options);

/* One connection's. */
typedef struct mp_tls_session mp_tls_session;
/* On a connected socket that does not block. `host`: whom the server's certificate must name, unless tls_server_name says.
 * NULL: no memory. To free it sends nothing: the child of a fork() may do it while the parent talks on. */
mp_tls_session *mp_tls_session_new(const mp_tls *tls, const char *host, int fd);
void mp_tls_session_free(mp_tls_session *session);

typedef enum mp_tls_step { MP_TLS_DONE, MP_TLS_WAITS, MP_TLS_FAILED } mp_tls_step;
mp_tls_step mp_tls_handshake(mp_tls_session *session);
/* What waits, waits until the socket can be written; if not, until it can be read. */
bool mp_tls_wants_write(const mp_tls_session *session);
/* More has come than was read so far, of which the kernel knows nothing: read again. It ends: only a read that finds false
 * here takes more from the socket. */
bool mp_tls_has_more(const mp_tls_session *session);
/* What went wrong: the end of a sentence that begins with the address. */
const char *mp_tls_problem(const mp_tls_session *session);

/* For redisContextFuncs: the context's privctx is the session. */
ssize_t mp_tls_read(redisContext *ctx, char *buf, size_t cap);
ssize_t mp_tls_write(redisContext *ctx);

#endif
