/* A relay on a port of loopback between a client and a real server, for what happens to connections half-way. */
#ifndef TEST_SUPPORT_RELAY_H
#define TEST_SUPPORT_RELAY_H

#include <stdbool.h>
#include <stddef.h>

typedef struct relay relay;

relay *relay_start(int server_port);
relay *relay_start_to(const char *url); /* unix:PATH */
int relay_port(const relay *r);
/* For connections made from now on, but for the first `spared` of them: after so many bytes from the server nothing more comes
 * through, though the connection stands. Negative: everything does. */
void relay_mute(relay *r, int spared, long bytes);
/* The same, but each byte from the server comes so long after the one before. 0: at once. */
void relay_trickle(relay *r, int spared, int ms);
/* On the connections that stand nothing more comes through from the server, and relay_drop ends them with what was held. New ones are not touched. */
void relay_hold(relay *r);
void relay_drop(relay *r);
/* Ends all connections before it returns, and new ones at once, until it is called with false. */
void relay_cut(relay *r, bool cut);
/* What came from the server on connection `n` since the last of these two, counted from 0; 0 if there was none. */
long relay_bytes(relay *r, int n);
int relay_connections(relay *r);
void relay_stop(relay *r);

#endif
