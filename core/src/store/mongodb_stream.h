/* Connections whose every wait ends with the call that it belongs to.
 *
 * libmongoc has one timeout for a connection's reads and writes, the same for all calls, and a call makes several: to
 * connect, to greet and authenticate, to send, to read a reply's head and its body. So the thread that makes a call says
 * until when it may take, and the streams that libmongoc is given here cut each of their waits to that. The one wait that
 * is not: a TLS certificate that names an OCSP responder, from a server that does not staple its answer. libmongoc asks the
 * responder itself, up to 5 s. And what is no wait: a login computes a hash of 15,000 rounds to its end, 20 to 60 ms of a
 * processor (tests/c/test_mongodb_secure.c). */
#ifndef MP_STORE_MONGODB_STREAM_H
#define MP_STORE_MONGODB_STREAM_H

#include <stdint.h>

#include <mongoc/mongoc.h>

/* Until when this thread's calls may wait, by mp_clock_ms(); 0: as long as libmongoc likes. */
void mp_mongodb_wait_until(int64_t deadline_ms);
/* For mongoc_client_set_stream_initiator, once a client, with an mp_resolver. What it makes belongs to libmongoc. */
mongoc_stream_t *mp_mongodb_connect(const mongoc_uri_t *uri, const mongoc_host_list_t *host, void *resolver,
                                    bson_error_t *error);
/* Whether a read or write of this thread's failed since it last connected: libmongoc calls every failure between the greeting
 * and the end of authentication one of authentication. */
bool mp_mongodb_connection_lost(void);
/* Whether the address asks for TLS: by an option, or because its way of authentication is a certificate. */
bool mp_mongodb_is_tls(const mongoc_uri_t *uri);

#endif
