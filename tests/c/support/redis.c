#include "support/redis.h"
#include "support/support.h"

static const char *from_environment(const char *name, const char *how) {
    const char *value = getenv(name);
    if (value) return value;
    fprintf(stderr, "%s is not set: run the test with tests/servers/redis_server.py%s\n", name, how);
    exit(2);
}

const char *redis_url(void) { return from_environment("MILLPOND_TEST_REDIS", ""); }
const char *redis_tls_url(void) { return from_environment("MILLPOND_TEST_REDIS_TLS", " --tls"); }

const char *certificate(const char *name) {
    static _Thread_local char paths[8][300];
    static _Thread_local unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", from_environment("MILLPOND_TEST_CERTIFICATES", " --tls"), name);
    return path;
}

redisContext *redis_open(const char *url) {
    struct timeval limit = {.tv_sec = 5};
    char host[64] = "";
    int port = 0;
    redisContext *c = NULL;
    if (strncmp(url, "unix:", 5) == 0) c = redisConnectUnixWithTimeout(url + 5, limit);
    else if (sscanf(url, "redis://%63[^:]:%d", host, &port) == 2) c = redisConnectWithTimeout(host, port, limit);
    if (c && c->err) {
        redisFree(c);
        c = NULL;
    }
    if (c) redisSetTimeout(c, limit);
    return c;
}

static redisReply *vdo(redisContext *c, const char *format, va_list args) {
    static redisReply *last;
    if (last) freeReplyObject(last);
    last = redisvCommand(c, format, args);
    if (!last) fail_msg("%s: %s", format, c->errstr);
    if (last->type == REDIS_REPLY_ERROR) fail_msg("%s: %s", format, last->str);
    return last;
}

redisReply *redis_do(redisContext *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    redisReply *r = vdo(c, format, args);
    va_end(args);
    return r;
}

long long redis_number(redisContext *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    redisReply *r = vdo(c, format, args);
    va_end(args);
    assert_int_equal(r->type, REDIS_REPLY_INTEGER);
    return r->integer;
}

long long redis_calls(redisContext *c, const char *command) {
    char head[64];
    snprintf(head, sizeof head, "cmdstat_%s:calls=", command);
    const redisReply *r = redis_do(c, "INFO commandstats");
    const char *at = strstr(r->str, head);
    return at ? strtoll(at + strlen(head), NULL, 10) : 0;
}

long long redis_scripts_run(redisContext *c) { return redis_calls(c, "eval") + redis_calls(c, "evalsha"); }

long long redis_reads(redisContext *c) {
    static const char head[] = "total_reads_processed:";
    const char *at = strstr(redis_do(c, "INFO stats")->str, head);
    assert_non_null(at);
    return strtoll(at + sizeof head - 1, NULL, 10);
}
