#include "store/mongodb_stream.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "engine/resolve.h"

enum { CONNECT_MS = 10000, BUFFER = 1024 };

static _Thread_local int64_t deadline;
static _Thread_local bool lost;

void mp_mongodb_wait_until(int64_t deadline_ms) { deadline = deadline_ms; }
bool mp_mongodb_connection_lost(void) { return lost; }

/* `timeout_ms`, or what is left if that is less; 0: nothing is left. Negative is for ever, to libmongoc as here. */
static int32_t cut(int32_t timeout_ms) {
    if (deadline == 0) return timeout_ms;
    int64_t left = deadline - mp_clock_ms();
    if (left <= 0) return 0;
    return timeout_ms >= 0 && timeout_ms < left ? timeout_ms : left < INT32_MAX ? (int32_t)left : INT32_MAX;
}

/* ---- the stream ---- */

typedef struct bounded {
    mongoc_stream_t base;
    mongoc_stream_t *inner;
    bool late; /* the last wait was cut off before it began */
} bounded;

enum { BOUNDED_TYPE = 77 }; /* libmongoc's own count from 1 */

static mongoc_stream_t *inner_of(mongoc_stream_t *stream) { return ((bounded *)stream)->inner; }

static void destroy(mongoc_stream_t *stream) {
    mongoc_stream_destroy(inner_of(stream));
    bson_free(stream);
}

static void failed(mongoc_stream_t *stream) {
    mongoc_stream_failed(inner_of(stream));
    bson_free(stream);
}

static int close_stream(mongoc_stream_t *stream) { return mongoc_stream_close(inner_of(stream)); }

static int flush(mongoc_stream_t *stream) { return mongoc_stream_flush(inner_of(stream)); }

static bool late(mongoc_stream_t *stream, int32_t *timeout_ms) {
    bounded *b = (bounded *)stream;
    bool waits = *timeout_ms != 0;
    *timeout_ms = cut(*timeout_ms);
    b->late = waits && *timeout_ms == 0;
    if (b->late) errno = ETIMEDOUT;
    return b->late;
}

static ssize_t write_all(mongoc_stream_t *stream, mongoc_iovec_t *iov, size_t n, int32_t timeout_ms) {
    ssize_t done = late(stream, &timeout_ms) ? -1 : mongoc_stream_writev(inner_of(stream), iov, n, timeout_ms);
    if (done <= 0) lost = true;
    return done;
}

static ssize_t read_some(mongoc_stream_t *stream, mongoc_iovec_t *iov, size_t n, size_t least, int32_t timeout_ms) {
    ssize_t done = late(stream, &timeout_ms) ? -1 : mongoc_stream_readv(inner_of(stream), iov, n, least, timeout_ms);
    if (done <= 0) lost = true;
    return done;
}

static int set_option(mongoc_stream_t *stream, int level, int name, void *value, mongoc_socklen_t len) {
    return mongoc_stream_setsockopt(inner_of(stream), level, name, value, len);
}

static bool is_closed(mongoc_stream_t *stream) { return mongoc_stream_check_closed(inner_of(stream)); }

static bool timed_out(mongoc_stream_t *stream) {
    return ((bounded *)stream)->late || mongoc_stream_timed_out(inner_of(stream));
}

static bool should_retry(mongoc_stream_t *stream) { return mongoc_stream_should_retry(inner_of(stream)); }

/* Right above the socket, for a TLS handshake is many reads with the same timeout each. No poll: libmongoc polls what is at
 * the bottom. */
static mongoc_stream_t *bound(mongoc_stream_t *inner) {
    bounded *b = bson_malloc0(sizeof *b);
    b->base = (mongoc_stream_t){
        .type = BOUNDED_TYPE,
        .destroy = destroy,
        .close = close_stream,
        .flush = flush,
        .writev = write_all,
        .readv = read_some,
        .setsockopt = set_option,
        .get_base_stream = inner_of,
        .check_closed = is_closed,
        .failed = failed,
        .timed_out = timed_out,
        .should_retry = should_retry,
    };
    b->inner = inner;
    return &b->base;
}

/* ---- connecting ---- */

static mongoc_socket_t *connect_to(int family, const struct sockaddr *address, socklen_t len, int32_t limit_ms) {
    int32_t ms = cut(limit_ms);
    mongoc_socket_t *socket = ms != 0 ? mongoc_socket_new(family, SOCK_STREAM, 0) : NULL;
    if (socket == NULL) return NULL;
    int64_t until = bson_get_monotonic_time() + (int64_t)ms * 1000;
    if (mongoc_socket_connect(socket, address, (mongoc_socklen_t)len, until) == 0) return socket;
    mongoc_socket_destroy(socket);
    return NULL;
}

static mongoc_socket_t *connect_unix(const mongoc_host_list_t *host, int32_t limit_ms) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(host->host) >= sizeof address.sun_path) return NULL;
    strcpy(address.sun_path, host->host);
    return connect_to(AF_UNIX, (struct sockaddr *)&address, sizeof address, limit_ms);
}

/* The addresses of a host share what time there is: the last one may have it all. */
static mongoc_socket_t *connect_tcp(const mongoc_host_list_t *host, int32_t limit_ms, mp_resolver *resolver,
                                    const char **unresolved) {
    mp_addresses found;
    if (!mp_resolve(resolver, host->host, host->port, host->family, mp_clock_ms() + cut(limit_ms), &found, unresolved))
        return NULL;
    *unresolved = NULL;
    mongoc_socket_t *socket = NULL;
    for (size_t i = 0; i < found.count && socket == NULL; i++) {
        const struct sockaddr *at = (const struct sockaddr *)&found.of[i].at;
        int32_t ms = cut(limit_ms);
        socket = connect_to(at->sa_family, at, found.of[i].len, i + 1 < found.count ? ms / 2 : ms);
    }
    return socket;
}

bool mp_mongodb_is_tls(const mongoc_uri_t *uri) {
    const char *how = mongoc_uri_get_auth_mechanism(uri);
    return mongoc_uri_get_tls(uri) || (how != NULL && strcasecmp(how, "MONGODB-X509") == 0);
}

#ifdef MONGOC_ENABLE_SSL
/* On top of `base`, which it owns whatever happens. */
static mongoc_stream_t *encrypt(mongoc_stream_t *base, const mongoc_uri_t *uri, const char *host, int32_t limit_ms,
                                bson_error_t *error) {
    mongoc_ssl_opt_t how = *mongoc_ssl_opt_get_default();
    bool insecure = mongoc_uri_get_option_as_bool(uri, MONGOC_URI_TLSINSECURE, false);
    how.pem_file = mongoc_uri_get_option_as_utf8(uri, MONGOC_URI_TLSCERTIFICATEKEYFILE, NULL);
    how.pem_pwd = mongoc_uri_get_option_as_utf8(uri, MONGOC_URI_TLSCERTIFICATEKEYFILEPASSWORD, NULL);
    how.ca_file = mongoc_uri_get_option_as_utf8(uri, MONGOC_URI_TLSCAFILE, NULL);
    how.weak_cert_validation = mongoc_uri_get_option_as_bool(uri, MONGOC_URI_TLSALLOWINVALIDCERTIFICATES, insecure);
    how.allow_invalid_hostname = mongoc_uri_get_option_as_bool(uri, MONGOC_URI_TLSALLOWINVALIDHOSTNAMES, insecure);
    mongoc_stream_t *tls = mongoc_stream_tls_new_with_hostname(base, host, &how, true);
    int32_t ms = cut(limit_ms);
    if (tls != NULL && ms != 0 && mongoc_stream_tls_handshake_block(tls, host, ms, error)) return tls;
    if (error->code == 0)
        bson_set_error(error, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_SOCKET, "%s %s",
                       tls != NULL ? "no time was left for the TLS handshake with"
                                   : "the files of certificates cannot be used for TLS with",
                       host);
    mongoc_stream_destroy(tls != NULL ? tls : base);
    return NULL;
}
#endif

mongoc_stream_t *mp_mongodb_connect(const mongoc_uri_t *uri, const mongoc_host_list_t *host, void *resolver,
                                    bson_error_t *error) {
    const char *unresolved = NULL;
    int32_t ms = mongoc_uri_get_option_as_int32(uri, MONGOC_URI_CONNECTTIMEOUTMS, CONNECT_MS);
    mongoc_socket_t *socket =
        host->family == AF_UNIX ? connect_unix(host, ms) : connect_tcp(host, ms, resolver, &unresolved);
    memset(error, 0, sizeof *error);
    lost = false;
    if (socket == NULL) {
        if (unresolved != NULL)
            bson_set_error(error, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_NAME_RESOLUTION, "%s has no address: %s",
                           host->host, unresolved);
        else
            bson_set_error(error, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_CONNECT, "%s cannot be connected to",
                           host->host_and_port);
        return NULL;
    }
    mongoc_stream_t *stream = bound(mongoc_stream_socket_new(socket));
#ifdef MONGOC_ENABLE_SSL
    if (mp_mongodb_is_tls(uri)) stream = encrypt(stream, uri, host->host, ms, error);
#endif
    return stream != NULL ? mongoc_stream_buffered_new(stream, BUFFER) : NULL;
}
