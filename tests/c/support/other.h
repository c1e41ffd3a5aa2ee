/* Another process that does as it is told: a line in, a line out. It is forked, so that what the test has prepared is there, and
 * should be before the test has threads. */
#ifndef TEST_SUPPORT_OTHER_H
#define TEST_SUPPORT_OTHER_H

#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

enum { OTHER_LINE = 4096 };

typedef struct other {
    pid_t pid; /* 0: none */
    FILE *to, *from;
    char answer[OTHER_LINE];
} other;

/* `act` is called in the other process with each line; at the end it is called with NULL, and the process exits. */
void other_start(other *o, void (*act)(const char *line, char answer[OTHER_LINE]));
/* Borrowed until the next one. Fails the test if there is none. */
const char *other_ask(other *o, const char *format, ...) __attribute__((format(printf, 2, 3)));
void other_tell(other *o, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *other_answer(other *o);
/* It must end well. Does nothing where there is none. */
void other_end(other *o);
/* It must have been killed by `signal`, or is now. */
void other_killed(other *o, int signal, int already);

/* In the other process: its child goes on in its place, and it waits for that. */
void other_fork(void);

#endif
