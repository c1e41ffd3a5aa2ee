#include "cache/redis_address.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"

static int hex(char c) { return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10; }

/* A copy with percent escapes resolved. POND_EURL: `what` has a bad one, or a NUL. */
static int decode(char **out, const char *from, size_t len, const char *what, pond_error **err) {
    char *to = *out = malloc(len + 1);
    if (!to) return mp_fail(err, POND_ENOMEM, "no memory for an address");
    for (size_t i = 0; i < len; i++) {
        char c = from[i];
        if (c == '%') {
            if (i + 2 >= len || !isxdigit((unsigned char)from[i + 1]) || !isxdigit((unsigned char)from[i + 2])) c = 0;
            else c = (char)(hex(from[i + 1]) * 16 + hex(from[i + 2]));
            i += 2;
            if (!c) return mp_fail(err, POND_EURL, "cache: %s has a bad %% escape", what);
        }
        *to++ = c;
    }
    *to = 0;
    return POND_OK;
}

/* Digits only, at most `max`; -1 otherwise. */
static int number(const char *text, size_t len, int max) {
    int n = 0;
    if (len == 0 || len > 9) return -1;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)text[i])) return -1;
        n = n * 10 + (text[i] - '0');
    }
    return n <= max ? n : -1;
}

static int parse_unix(mp_address *a, const char *rest, pond_error **err) {
    if (strncmp(rest, "//", 2) == 0) rest += 2;
    const char *query = strchr(rest, '?');
    size_t len = query ? (size_t)(query - rest) : strlen(rest);
    if (rest[0] != '/' || len < 2)
        return mp_fail(err, POND_EURL, "cache: a unix: address needs an absolute path: unix:/run/redis.sock");
    if (len > 107) return mp_fail(err, POND_EURL, "cache: the path of a unix: address is longer than 107 bytes");
    int code = decode(&a->path, rest, len, "the path of the unix: address", err);
    if (code != POND_OK) return code;
    if (!query) return POND_OK;
    a->database = strncmp(query, "?db=", 4) == 0 ? number(query + 4, strlen(query + 4), 1000000) : -1;
    if (a->database < 0)
        return mp_fail(err, POND_EURL, "cache: after the path of a unix: address comes nothing or ?db=NUMBER");
    return POND_OK;
}

static int parse_user(mp_address *a, const char *text, size_t len, pond_error **err) {
    const char *colon = memchr(text, ':', len);
    size_t user = colon ? (size_t)(colon - text) : len;
    int code = POND_OK;
    if (user) code = decode(&a->username, text, user, "the user in the address (not shown here)", err);
    if (colon && code == POND_OK)
        code = decode(&a->password, colon + 1, len - user - 1, "the password in the address (not shown here)", err);
    if (code != POND_OK) return code;
    if (!colon && a->username) { /* redis://secret@host: a password alone is often written so, but means a user */
        return mp_fail(err, POND_EURL,
                       "cache: the address has a user but no password: write %s://user:password@host or "
                       "%s://:password@host",
                       a->secure ? "rediss" : "redis", a->secure ? "rediss" : "redis");
    }
    return POND_OK;
}

/* What stands in front of the path is not shown: if an "@" or a host is missing, it is the password. */
static int parse_tcp(mp_address *a, const char *rest, pond_error **err) {
    const char *scheme = a->secure ? "rediss" : "redis";
    if (strncmp(rest, "//", 2) != 0) return mp_fail(err, POND_EURL, "cache: write %s://host:port/database", scheme);
    rest += 2;
    size_t authority = strcspn(rest, "/?#");
    const char *tail = rest + authority, *at = NULL;
    if (strchr(tail, '@'))
        return mp_fail(err, POND_EURL,
                       "cache: there is an \"@\" behind the host: in a user or a password write %%2F for /, %%3F for "
                       "?, %%23 for #");
    for (size_t i = 0; i < authority; i++)
        if (rest[i] == '@') at = rest + i; /* the last: a password may hold one unescaped */
    if (at) {
        int code = parse_user(a, rest, (size_t)(at - rest), err);
        if (code != POND_OK) return code;
        authority -= (size_t)(at + 1 - rest);
        rest = at + 1;
    }
    const char *end = rest + authority, *host_end;
    if (authority && *rest == '[') {
        host_end = memchr(rest, ']', authority);
        if (!host_end) return mp_fail(err, POND_EURL, "cache: \"[\" without \"]\" in the address");
        rest++;
    } else {
        host_end = memchr(rest, ':', authority);
        if (!host_end) host_end = end;
    }
    size_t host_len = (size_t)(host_end - rest);
    if (host_len == 0 && *host_end != ']') {
        rest = "127.0.0.1";
        host_len = strlen(rest);
    }
    int code = decode(&a->host, rest, host_len, "the host in the address", err);
    if (code != POND_OK) return code;
    if (host_end < end && *host_end == ']') host_end++;
    if (!*a->host || strlen(a->host) > 255) return mp_fail(err, POND_EURL, "cache: the address has no usable host");
    a->port = 6379;
    if (host_end < end) {
        a->port = *host_end == ':' ? number(host_end + 1, (size_t)(end - host_end - 1), 65535) : -1;
        if (a->port < 1)
            return mp_fail(
                err, POND_EURL,
                "cache: the port in the address is not a number from 1 to 65535: write %s://user:password@host:port",
                scheme);
    }
    if (*tail == '/' && tail[1]) {
        size_t len = strcspn(tail + 1, "?#");
        a->database = number(tail + 1, len, 1000000);
        if (a->database < 0)
            return mp_fail(err, POND_EURL, "cache: the database \"%.*s\" is not a number: write %s://host:port/0",
                           len > 20 ? 20 : (int)len, tail + 1, scheme);
        tail += 1 + len;
    } else if (*tail == '/') {
        tail++;
    }
    size_t name = *tail == '?' ? strcspn(tail, "=") : 1; /* what follows it may be a secret */
    if (*tail)
        return mp_fail(err, POND_EURL, "cache: \"%.*s\" after the address is not known: set options by name",
                       name > 20 ? 20 : (int)name, tail);
    return POND_OK;
}

static bool replace(char **field, const char *with) {
    if (!with || !*with) return true;
    free(*field);
    return (*field = strdup(with)) != NULL;
}

int mp_address_parse(mp_address *a, const mp_options *options, pond_error **err) {
    *a = (mp_address){.port = 0};
    const char *url = options->cache, *colon = strchr(url, ':');
    a->secure = strncasecmp(url, "rediss:", 7) == 0;
    int code = strncasecmp(url, "unix:", 5) == 0 ? parse_unix(a, colon + 1, err) : parse_tcp(a, colon + 1, err);
    if (code == POND_OK) {
        char shown[400];
        if (a->path) snprintf(shown, sizeof shown, "unix:%s", a->path);
        else
            snprintf(shown, sizeof shown, strchr(a->host, ':') ? "%s://[%s]:%d" : "%s://%s:%d",
                     a->secure ? "rediss" : "redis", a->host, a->port);
        a->shown = strdup(shown);
        if (!a->shown || !replace(&a->username, options->username) || !replace(&a->password, options->password))
            code = mp_fail(err, POND_ENOMEM, "no memory for an address");
    }
    if (code != POND_OK) mp_address_free(a);
    return code;
}

void mp_address_free(mp_address *a) {
    free(a->host);
    free(a->path);
    free(a->username);
    free(a->password);
    free(a->shown);
    *a = (mp_address){.port = 0};
}
