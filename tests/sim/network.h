/* The network between processes and server, and what the server does with what arrives. The library connects to a real socket
 * (unix:) whose other end is here: its connection, parser, handshake and fence are the released ones. What it sends lies in a
 * queue until its time has come, and so does what the server answers. One connection keeps the order; of two, either may be first. */
#ifndef SIM_NETWORK_H
#define SIM_NETWORK_H

#include "base/buf.h"
#include "server.h"

struct world;
struct process;

typedef struct message {
    struct message *next;
    size_t len; /* 0: the connection's end */
    char data[];
} message;

typedef struct messages {
    message *first, **last;
    int64_t at; /* when the last of them is due */
} messages;

typedef struct network_conn {
    struct network_conn *next;
    struct network *network;
    struct process *process;
    unsigned number;
    int fd;          /* -1: the process has closed it, or it was cut */
    bool ended;      /* nothing that lies in to_server will be read: the server is another one */
    int64_t held;    /* nothing of it is read before */
    mp_buf received; /* from the socket: a command that is not yet whole */
    messages to_server, to_client;
} network_conn;

typedef struct network {
    struct world *world;
    char folder[32], path[64], url[72];
    int listening;
    network_conn *conns;
    unsigned made;
    bool refuses; /* the server is down */
} network;

/* One socket serves all worlds of a program, one after the other. */
void network_open(network *n);
void network_close(network *n);

void network_begin(network *n, struct world *w);
void network_end(network *n);
/* Takes what a process has sent. After each turn of it. */
void network_collect(network *n, struct process *p);
/* Sends what the server has to tell unasked. After each thing that may have changed keys. */
void network_tell(network *n);
/* Cuts a connection of the process: what is under way is lost, or (`late`) reaches the server all the same, later. */
void network_cut(network *n, struct process *p, bool late);
/* The server has died: every connection with it. */
void network_cut_all(network *n);
/* The process has died: nobody reads; what it has sent still arrives. */
void network_orphan(network *n, struct process *p);

#endif
