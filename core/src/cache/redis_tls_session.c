/* One connection's TLS: handshake, read, write. Every step ends at once; what is not finished waits for the socket. */
#include <arpa/inet.h>
#include <errno.h>
#include <hiredis/sds.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fork.h"
#include "cache/redis_tls_private.h"

#define TAKES_HANDSHAKE 64 /* of what the socket has: a flood of it waits for the loop's next turn */

static int judge(int good, X509_STORE_CTX *store) {
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    if (!good) mp_tls_refused(SSL_get_app_data(ssl), store);
    return good;
}

/* Whom the certificate must name, and what the server is told of that: an address is not told, the dot of a full name is not
 * part of it, and neither is the interface behind an address. */
static bool set_name(mp_tls_session *s) {
    unsigned char address[sizeof(struct in6_addr)];
    char name[256];
    size_t len = strlen(s->name);
    if (len >= sizeof name) return false;
    memcpy(name, s->name, len + 1);
    if (strchr(name, ':')) name[strcspn(name, "%")] = 0;
    else if (len > 1 && name[len - 1] == '.') name[len - 1] = 0;
    if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(s->ssl), name) == 1;
    SSL_set_hostflags(s->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return SSL_set1_host(s->ssl, name) == 1 && SSL_set_tlsext_host_name(s->ssl, name) == 1;
}

mp_tls_session *mp_tls_session_new(const mp_tls *tls, const char *host, int fd) {
    mp_tls_session *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->tls = tls;
    s->fd = fd;
    s->name = tls->server_name ? tls->server_name : host;
    ERR_clear_error();
    mp_unforked_begin();
    s->ssl = SSL_new(tls->ctx);
    mp_unforked_end();
    BIO *bio = s->ssl ? BIO_new(tls->socket) : NULL;
    if (bio) {
        BIO_set_data(bio, s);
        BIO_set_init(bio, 1);
        SSL_set_bio(s->ssl, bio, bio);
        SSL_set_app_data(s->ssl, s);
        SSL_set_connect_state(s->ssl);
        SSL_set_verify(s->ssl, tls->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, judge);
    }
    if (bio && set_name(s)) return s;
    mp_tls_session_free(s);
    ERR_clear_error();
    return NULL;
}

void mp_tls_session_free(mp_tls_session *s) {
    if (!s) return;
    mp_unforked_begin();
    SSL_free(s->ssl);
    mp_unforked_end();
    free(s);
}

bool mp_tls_wants_write(const mp_tls_session *s) { return s->write_waits || s->read_waits; }
bool mp_tls_has_more(const mp_tls_session *s) { return s->more; }
const char *mp_tls_problem(const mp_tls_session *s) { return s->problem; }

/* The queue of errors is the thread's, and the program may have left some of its own there. */
static void begin(mp_tls_session *s, unsigned takes) {
    s->takes = takes;
    ERR_clear_error();
}

/* Of a step without success: MP_TLS_WAITS, and then `writes` says for what. */
static mp_tls_step unfinished(mp_tls_session *s, int result, bool *writes) {
    int e = SSL_get_error(s->ssl, result);
    *writes = e == SSL_ERROR_WANT_WRITE;
    if (*writes || e == SSL_ERROR_WANT_READ) return MP_TLS_WAITS;
    mp_tls_explain(s, e);
    return MP_TLS_FAILED;
}

mp_tls_step mp_tls_handshake(mp_tls_session *s) {
    begin(s, TAKES_HANDSHAKE);
    s->write_waits = false;
    mp_unforked_begin();
    int result = SSL_do_handshake(s->ssl);
    mp_unforked_end();
    if (result != 1) return unfinished(s, result, &s->write_waits);
    s->secured = true;
    s->more = SSL_has_pending(s->ssl);
    return MP_TLS_DONE;
}

static ssize_t fail(redisContext *ctx) {
    ctx->err = REDIS_ERR_OTHER; /* mp_tls_problem tells more than there is room for here */
    return -1;
}

ssize_t mp_tls_read(redisContext *ctx, char *buf, size_t cap) {
    mp_tls_session *s = ctx->privctx;
    begin(s, s->more ? 0 : 1);
    s->read_waits = false;
    int n = SSL_read(s->ssl, buf, cap > INT_MAX ? INT_MAX : (int)cap);
    s->more = n > 0 && SSL_has_pending(s->ssl);
    if (n > 0) {
        s->heard = true;
        return n;
    }
    return unfinished(s, n, &s->read_waits) == MP_TLS_WAITS ? 0 : fail(ctx);
}

ssize_t mp_tls_write(redisContext *ctx) {
    mp_tls_session *s = ctx->privctx;
    size_t len = sdslen(ctx->obuf), at = 0;
    int n = 1;
    begin(s, 0);
    s->write_waits = false;
    for (; at < len; at += (size_t)n) { /* a record each */
        n = SSL_write(s->ssl, ctx->obuf + at, len - at > INT_MAX ? INT_MAX : (int)(len - at));
        if (n <= 0) break;
    }
    if (at == len || unfinished(s, n, &s->write_waits) == MP_TLS_WAITS) return (ssize_t)at;
    return fail(ctx);
}
