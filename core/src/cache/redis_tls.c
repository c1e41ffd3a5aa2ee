/* The options of TLS, and the files that they name. */
#include "cache/redis_tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fork.h"
#include "cache/redis_tls_private.h"

#define PATH "%.300s" /* a file's name in a sentence */

const char *mp_tls_option(const mp_options *o) {
    return o->tls_ca            ? "tls_ca"
           : o->tls_cert        ? "tls_cert"
           : o->tls_key         ? "tls_key"
           : o->tls_server_name ? "tls_server_name"
           : !o->tls_verify     ? "tls_verify"
                                : NULL;
}

/* ---- the socket under a session ---- */

/* OpenSSL's own socket would raise SIGPIPE, and read as long as there is something. */

static int socket_write(BIO *bio, const char *data, int len) {
    mp_tls_session *s = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t n = send(s->fd, data, (size_t)len, MSG_NOSIGNAL);
    if (n >= 0) return (int)n;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) BIO_set_retry_write(bio);
    else s->failure = errno;
    return -1;
}

static int socket_read(BIO *bio, char *to, int room) {
    mp_tls_session *s = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t n = -1;
    errno = EAGAIN;
    if (s->takes > 0) {
        s->takes--;
        n = recv(s->fd, to, (size_t)room, 0);
    }
    if (n > 0) return (int)n;
    if (n == 0) s->ended = true;
    else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) BIO_set_retry_read(bio);
    else s->failure = errno;
    return (int)n;
}

static long socket_control(BIO *bio, int command, long number, void *data) {
    const mp_tls_session *s = BIO_get_data(bio);
    (void)number;
    (void)data;
    return command == BIO_CTRL_FLUSH ? 1 : command == BIO_CTRL_EOF && s->ended;
}

static BIO_METHOD *socket_method(void) {
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "millpond");
    if (method && BIO_meth_set_write(method, socket_write) && BIO_meth_set_read(method, socket_read) &&
        BIO_meth_set_ctrl(method, socket_control))
        return method;
    BIO_meth_free(method);
    return NULL;
}

static int no_memory(pond_error **err) {
    ERR_clear_error();
    return mp_fail(err, POND_ENOMEM, "no memory for TLS");
}

/* The queue's first error is the cause, its last the complaint. */
static bool memory_was_short(void) { return ERR_GET_REASON(ERR_peek_error()) == ERR_R_MALLOC_FAILURE; }

/* ---- files ---- */

/* Why OpenSSL could not use the file: that it cannot be read, or what it says itself. */
static int refuse_file(const char *option, const char *path, const char *what, pond_error **err) {
    if (memory_was_short()) return no_memory(err);
    int why = access(path, R_OK) == 0 ? 0 : errno;
    const char *reason = mp_tls_reason();
    return mp_fail(err, POND_EOPTION, "%s: " PATH "%s%s (%s)", option, path, why ? " cannot be read" : " ",
                   why ? "" : what, why ? strerror(why) : reason);
}

static int use_authorities(mp_tls *tls, pond_error **err) {
    struct stat s;
    if (!tls->ca) { /* those of the machine; it need not have any */
        if (SSL_CTX_set_default_verify_paths(tls->ctx) == 1) return POND_OK;
        return no_memory(err);
    }
    if (stat(tls->ca, &s) == 0 && S_ISDIR(s.st_mode)) {
        if (access(tls->ca, R_OK | X_OK) == 0 && SSL_CTX_load_verify_dir(tls->ctx, tls->ca) == 1) return POND_OK;
        return mp_fail(err, POND_EOPTION, "tls_ca: the folder " PATH " cannot be read (%s)", tls->ca, strerror(errno));
    }
    if (SSL_CTX_load_verify_file(tls->ctx, tls->ca) == 1) return POND_OK;
    return refuse_file("tls_ca", tls->ca, "has no certificate in PEM that can be used", err);
}

/* A passphrase is not asked for: a library has no terminal. */
static int no_passphrase(char *to, int room, int writes, void *was_asked) {
    (void)to;
    (void)room;
    (void)writes;
    *(bool *)was_asked = true;
    return -1;
}

static int use_certificate(mp_tls *tls, const char *key, pond_error **err) {
    bool encrypted = false;
    if (!tls->cert && !key) return POND_OK;
    if (!tls->cert) return mp_fail(err, POND_EOPTION, "tls_key: a key needs its certificate: set tls_cert too");
    SSL_CTX_set_default_passwd_cb(tls->ctx, no_passphrase);
    SSL_CTX_set_default_passwd_cb_userdata(tls->ctx, &encrypted);
    if (SSL_CTX_use_certificate_chain_file(tls->ctx, tls->cert) != 1)
        return refuse_file("tls_cert", tls->cert, "has no certificate in PEM that can be used", err);
    const char *file = key ? key : tls->cert, *option = key ? "tls_key" : "tls_cert";
    bool used = SSL_CTX_use_PrivateKey_file(tls->ctx, file, SSL_FILETYPE_PEM) == 1;
    SSL_CTX_set_default_passwd_cb_userdata(tls->ctx, NULL);
    if (used) return POND_OK;
    unsigned long e = ERR_peek_last_error();
    bool other = ERR_GET_LIB(e) == ERR_LIB_X509 &&
                 (ERR_GET_REASON(e) == X509_R_KEY_VALUES_MISMATCH || ERR_GET_REASON(e) == X509_R_KEY_TYPE_MISMATCH);
    if (other) {
        ERR_clear_error();
        return mp_fail(err, POND_EOPTION, "%s: the key in " PATH " does not belong to the certificate in " PATH, option,
                       file, tls->cert);
    }
    if (encrypted) {
        ERR_clear_error();
        return mp_fail(err, POND_EOPTION,
                       "%s: the key in " PATH
                       " is encrypted, and nobody is asked for its passphrase: write it in plain "
                       "(openssl pkey -in KEY -out FILE) to a file that only this program may read",
                       option, file);
    }
    return refuse_file(
        option, file,
        key ? "has no key in PEM that can be used" : "has no key in PEM beside its certificate: set tls_key", err);
}

/* ---- life ---- */

static char *copy(const char *text, bool *failed) {
    char *made = text ? strdup(text) : NULL;
    *failed = *failed || (text && !made);
    return made;
}

static int setup(mp_tls *tls, const mp_options *options, pond_error **err) {
    bool failed = false;
    tls->ca = copy(options->tls_ca, &failed);
    tls->cert = copy(options->tls_cert, &failed);
    tls->server_name = copy(options->tls_server_name, &failed);
    tls->verify = options->tls_verify;
    if (failed) return no_memory(err);
    if (tls->server_name && strlen(tls->server_name) > 255)
        return mp_fail(err, POND_EOPTION, "tls_server_name: the name is longer than 255 bytes");
    ERR_clear_error();
    /* OpenSSL stays up when the program ends: a thread of ours may still talk then. */
    if (OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL) == 1 && (tls->socket = socket_method()))
        tls->ctx = SSL_CTX_new(TLS_client_method());
    if (!tls->ctx && memory_was_short()) return no_memory(err);
    if (!tls->ctx || SSL_CTX_set_min_proto_version(tls->ctx, TLS1_2_VERSION) != 1)
        return mp_fail(err, POND_EOPTION, "cache: OpenSSL cannot be set up (%s): is its openssl.cnf right?",
                       mp_tls_reason());
    SSL_CTX_set_mode(tls->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(tls->ctx, SSL_OP_NO_RENEGOTIATION); /* so that a write never waits for a read */
    SSL_CTX_set_read_ahead(tls->ctx, 1);
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(tls->ctx),
                                X509_V_FLAG_PARTIAL_CHAIN); /* what tls_ca has is trusted */
    int code = tls->verify ? use_authorities(tls, err) : POND_OK;
    return code == POND_OK ? use_certificate(tls, options->tls_key, err) : code;
}

int mp_tls_new(mp_tls **out, const mp_options *options, pond_error **err) {
    mp_tls *tls = calloc(1, sizeof *tls);
    if (!tls) return no_memory(err);
    mp_unforked_begin(); /* OpenSSL has locks of the whole process, for its algorithms and its random numbers */
    int code = setup(tls, options, err);
    mp_unforked_end();
    if (code == POND_OK) *out = tls;
    else mp_tls_free(tls);
    return code;
}

void mp_tls_free(mp_tls *tls) {
    if (!tls) return;
    mp_unforked_begin();
    SSL_CTX_free(tls->ctx);
    BIO_meth_free(tls->socket);
    mp_unforked_end();
    free(tls->ca);
    free(tls->cert);
    free(tls->server_name);
    free(tls);
}
