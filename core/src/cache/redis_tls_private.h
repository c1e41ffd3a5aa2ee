/* What the files of redis_tls share. */
#ifndef MP_CACHE_REDIS_TLS_PRIVATE_H
#define MP_CACHE_REDIS_TLS_PRIVATE_H

#include <openssl/ssl.h>
#include "cache/redis_tls.h"

struct mp_tls {
    SSL_CTX *ctx;
    BIO_METHOD *socket;
    char *ca, *cert, *server_name; /* as the options have them; NULL: not given */
    bool verify;
};

struct mp_tls_session {
    const mp_tls *tls;
    SSL *ssl;
    int fd;
    const char *name;    /* whom the certificate must name; borrowed */
    unsigned takes;      /* how often the socket may be read before the caller is asked again */
    int failure;         /* errno of the socket; 0: none */
    bool ended;          /* the other side has closed */
    bool secured, heard; /* the handshake is done; something was read behind it */
    bool more, read_waits, write_waits;
    char problem[512]; /* empty: none */
};

/* redis_tls_error.c */
/* Of a step that gave `result`: what went wrong, into session->problem. The first counts. */
void mp_tls_explain(mp_tls_session *session, int result);
/* The certificate that is being checked is refused: the same. */
void mp_tls_refused(mp_tls_session *session, X509_STORE_CTX *store);
/* OpenSSL's last word, and its queue of errors is empty then. Static. */
const char *mp_tls_reason(void);

#endif
