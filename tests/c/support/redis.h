/* A plain client of the Redis under test, to look behind the library's back. */
#ifndef TEST_SUPPORT_REDIS_H
#define TEST_SUPPORT_REDIS_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>

const char *redis_url(void);     /* MILLPOND_TEST_REDIS; ends the program if there is none */
const char *redis_tls_url(void); /* the same server's rediss://... */
/* The path of a file of tests/servers/certificates.py. Borrowed until this thread's eighth call from here. */
const char *certificate(const char *name);
/* Connects to redis://host:port/db or unix:path; NULL if nobody answers. */
redisContext *redis_open(const char *url);
/* One command: its reply, freed by the next call. Fails the test on an error. */
redisReply *redis_do(redisContext *c, const char *format, ...);
long long redis_number(redisContext *c, const char *format, ...);
/* How often the server has run a command, by anybody, from scripts too; and how many scripts. */
long long redis_calls(redisContext *c, const char *command);
long long redis_scripts_run(redisContext *c);
/* How often it has read from any connection: once for everything that was sent together. */
long long redis_reads(redisContext *c);

#endif
