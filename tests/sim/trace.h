/* What happens, in words for people and as one hash: two runs of one seed have the same. */
#ifndef SIM_TRACE_H
#define SIM_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct trace {
    bool shown;
    uint64_t hash;
} trace;

void trace_begin(trace *t, bool shown);
/* One line, with the time before it. Formatted only if it is shown, so what only people need may be left to `shown`. */
__attribute__((format(printf, 2, 3))) void trace_line(const trace *t, const char *format, ...);
/* Into the hash, with the time. */
void trace_mark(trace *t, const char *what, const void *data, size_t len);

#endif
