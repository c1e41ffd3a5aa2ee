/* A scripted server that speaks, or misspeaks, RESP on a port of loopback: a thread for each connection runs the test's script. */
#ifndef TEST_SUPPORT_FAKE_H
#define TEST_SUPPORT_FAKE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct fake fake;

enum { FAKE_ARGS = 512, FAKE_ROOM = 1 << 16 };

typedef enum fake_kind {
    FAKE_GET,
    FAKE_FENCE,
    FAKE_LEASE,
    FAKE_FILL,
    FAKE_RENEW,
    FAKE_RELEASE,
    FAKE_BEGIN,
    FAKE_END,
    FAKE_TAG,
    FAKE_INSPECT,
    FAKE_HELLO,
    FAKE_TRACKING,
    FAKE_PTTL,
    FAKE_OTHER
} fake_kind;

typedef struct fake_conn {
    fake *server;
    void *ctx;
    int fd;
    int number; /* of the connection, from 0 */
    /* the command that was read last */
    int argc;
    const char *argv[FAKE_ARGS];
    size_t len[FAKE_ARGS];
    fake_kind kind;
    bool evaluated; /* by EVAL, with the text */
    /* */
    char in[FAKE_ROOM], command[FAKE_ROOM];
    size_t have;
} fake_conn;

/* `serve` returns when it wants to close the connection. */
fake *fake_start(void (*serve)(fake_conn *c), void *ctx);
const char *fake_url(const fake *f);
int fake_port(const fake *f);
int fake_connections(const fake *f); /* so far */
void fake_stop(fake *f);

bool fake_read(fake_conn *c); /* the next command; false: the other side has gone, or the test is over */
/* The same of what has been received, without looking for more; false: no whole command is there. */
bool fake_next(fake_conn *c);
bool fake_rest(fake_conn *c, int ms); /* false: the test is over */
void fake_send(fake_conn *c, const char *data, size_t len);
void fake_say(fake_conn *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What an empty Redis would answer, into `out` of FAKE_ROOM bytes; returns its length. */
size_t fake_answer(const fake_conn *c, char *out);
void fake_proper(fake_conn *c); /* and sends it */
/* An envelope as a reply to GET, under the fence that fake_answer gives. */
size_t fake_envelope(char *out, const char *text);
extern const char fake_fence[9];

#endif
