/* What went wrong in TLS, said so that it can be mended. What comes from the other side is cut short and made plain. */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cache/redis_tls_private.h"

#define NAMES_SHOWN 4

const char *mp_tls_reason(void) {
    unsigned long e = ERR_peek_last_error();
    const char *text = e ? ERR_reason_error_string(e) : NULL;
    ERR_clear_error();
    return text ? text : "no reason was given";
}

static void say(mp_tls_session *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(mp_tls_session *s, const char *format, ...) {
    if (*s->problem) return;
    va_list args;
    va_start(args, format);
    vsnprintf(s->problem, sizeof s->problem, format, args);
    va_end(args);
}

/* ---- certificates ---- */

static void plain(char *to, size_t room, const void *data, size_t len) {
    const unsigned char *from = data;
    size_t n = 0;
    for (; n < len && n + 1 < room; n++) to[n] = (char)(from[n] > 0x20 && from[n] < 0x7f ? from[n] : '?');
    to[n] = 0;
}

/* "a.example, 10.0.0.1, ..."; empty: it names nobody. */
static void list_names(char *to, size_t room, X509 *cert) {
    GENERAL_NAMES *names = cert ? X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL) : NULL;
    int shown = 0;
    size_t at = 0;
    *to = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && shown <= NAMES_SHOWN; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        char one[65] = "";
        if (name->type == GEN_DNS) {
            plain(one, sizeof one, ASN1_STRING_get0_data(name->d.dNSName), (size_t)ASN1_STRING_length(name->d.dNSName));
        } else if (name->type == GEN_IPADD) {
            int len = ASN1_STRING_length(name->d.iPAddress);
            if (len == 4 || len == 16)
                inet_ntop(len == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(name->d.iPAddress), one, sizeof one);
        }
        if (!*one) continue;
        int n = snprintf(to + at, room - at, "%s%s", at ? ", " : "", shown++ < NAMES_SHOWN ? one : "...");
        if (n < 0 || (size_t)n >= room - at) break;
        at += (size_t)n;
    }
    GENERAL_NAMES_free(names);
}

static void date(char *to, size_t room, const ASN1_TIME *time) {
    struct tm t;
    if (!time || ASN1_TIME_to_tm(time, &t) != 1 || strftime(to, room, "%Y-%m-%d %H:%M UTC", &t) == 0)
        snprintf(to, room, "an unreadable date");
}

static const char *whose(X509_STORE_CTX *store) {
    return X509_STORE_CTX_get_error_depth(store) == 0 ? "its certificate"
                                                      : "the certificate of the authority behind its own";
}

static void refuse_name(mp_tls_session *s, X509 *cert) {
    char names[4 * 64 + 32], wanted[65];
    list_names(names, sizeof names, cert);
    plain(wanted, sizeof wanted, s->name, strlen(s->name));
    if (!*names) say(s, "its certificate names no host (it has no subjectAltName): have one issued for %s", wanted);
    else
        say(s, "its certificate is for %s, not for %s: write such a name in the address, or set tls_server_name to it",
            names, wanted);
}

void mp_tls_refused(mp_tls_session *s, X509_STORE_CTX *store) {
    X509 *cert = X509_STORE_CTX_get_current_cert(store);
    int e = X509_STORE_CTX_get_error(store);
    const char *text = X509_verify_cert_error_string(e);
    char when[32];
    switch (e) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH: refuse_name(s, cert); break;
    case X509_V_ERR_CERT_HAS_EXPIRED:
        date(when, sizeof when, cert ? X509_get0_notAfter(cert) : NULL);
        say(s, "%s expired (%s): have it renewed, or set this machine's clock right", whose(store), when);
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        date(when, sizeof when, cert ? X509_get0_notBefore(cert) : NULL);
        say(s, "%s is not valid yet (from %s on): set this machine's clock right", whose(store), when);
        break;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_UNTRUSTED:
        if (s->tls->ca)
            say(s, "its certificate comes from no authority in %.200s (%s): tls_ca must have the one that signed it",
                s->tls->ca, text);
        else
            say(s,
                "its certificate comes from no authority that this machine knows (%s): name the authority's file by "
                "tls_ca",
                text);
        break;
    default: say(s, "%s is refused (%s)", whose(store), text); break;
    }
}

/* ---- the connection ---- */

/* What the server thought of us: it says so by an alert, in TLS 1.3 only behind the handshake. */
static void explain_alert(mp_tls_session *s, int alert, const char *text) {
    switch (alert) {
    case SSL_AD_HANDSHAKE_FAILURE: /* what TLS 1.2 has for a certificate that is missing, among others */
        if (s->tls->cert) say(s, "it refused the handshake (%s)", text);
        else
            say(s, "it refused the handshake (%s): does it want a client certificate? Then set tls_cert and tls_key",
                text);
        break;
    case TLS13_AD_CERTIFICATE_REQUIRED: say(s, "it wants a client certificate: set tls_cert and tls_key"); break;
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
        if (s->tls->cert) say(s, "it refused the client certificate in %.200s (%s)", s->tls->cert, text);
        else say(s, "it refused the handshake (%s)", text);
        break;
    case SSL_AD_PROTOCOL_VERSION:
        say(s, "it speaks no TLS that is safe: let it speak TLS 1.2 or 1.3 (%s)", text);
        break;
    default: say(s, "it ended the TLS connection (%s)", text); break;
    }
}

static void explain_own(mp_tls_session *s, unsigned long e) {
    const char *text = ERR_reason_error_string(e);
    int reason = ERR_GET_REASON(e);
    if (!text) text = "no reason was given";
    if (reason == ERR_R_MALLOC_FAILURE) say(s, "no memory for TLS");
    else if (ERR_GET_LIB(e) == ERR_LIB_SSL && reason == SSL_R_UNSUPPORTED_PROTOCOL)
        say(s, "it speaks no TLS that is safe: let it speak TLS 1.2 or 1.3 (%s)", text);
    else if (!s->secured)
        say(s, "it did not speak TLS (%s): is this its TLS port? Without TLS the address begins with redis://", text);
    else say(s, "what it sent is not TLS (%s)", text);
}

void mp_tls_explain(mp_tls_session *s, int result) {
    unsigned long e = ERR_peek_last_error();
    int reason = ERR_GET_LIB(e) == ERR_LIB_SSL ? ERR_GET_REASON(e) : 0;
    if (s->failure && !s->heard && s->secured) {
        /* A server that closed with something of ours unread has said why, in front of that. */
        char byte;
        s->takes = 1;
        ERR_clear_error();
        if (SSL_read(s->ssl, &byte, 1) <= 0) e = ERR_peek_last_error();
        reason = ERR_GET_LIB(e) == ERR_LIB_SSL ? ERR_GET_REASON(e) : 0;
    }
    if (reason > SSL_AD_REASON_OFFSET) explain_alert(s, reason - SSL_AD_REASON_OFFSET, ERR_reason_error_string(e));
    else if (s->failure) say(s, "%s", strerror(s->failure));
    else if (s->ended && s->secured) say(s, "Server closed the connection");
    else if (s->ended) say(s, "it closed the connection in the TLS handshake: is this its TLS port?");
    else if (result == SSL_ERROR_ZERO_RETURN) say(s, "Server closed the connection");
    else explain_own(s, e);
    ERR_clear_error();
}
