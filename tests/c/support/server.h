/* A redis-server of the test's own, on a socket in a folder of its own, so that it can be stopped and started again. */
#ifndef TEST_SUPPORT_SERVER_H
#define TEST_SUPPORT_SERVER_H

#include "support/redis.h"

typedef struct server server;

/* `options`: more arguments, NULL-terminated; they stay for every start. Fails the test if it does not come up. */
server *server_start(const char *const *options);
const char *server_url(const server *s); /* unix:/... */
redisContext *server_client(server *s);  /* connected anew after each start */
/* SIGKILL; `save`: after a SAVE, so that it comes back with what it has now. */
void server_kill(server *s, bool save);
void server_again(server *s);
void server_freeze(server *s, bool frozen); /* SIGSTOP, SIGCONT */
void server_stop(server *s);

#endif
