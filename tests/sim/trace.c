#include "trace.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "virtual/virtual.h"

void trace_begin(trace *t, bool shown) { *t = (trace){.shown = shown, .hash = 0xcbf29ce484222325u}; }

void trace_line(const trace *t, const char *format, ...) {
    if (!t->shown) return;
    va_list args;
    va_start(args, format);
    printf("%8lld  ", (long long)(virtual_now() - VIRTUAL_START));
    vprintf(format, args);
    putchar('\n');
    va_end(args);
}

static void add(trace *t, const void *data, size_t len) { /* FNV-1a */
    const unsigned char *at = data;
    for (size_t i = 0; i < len; i++) t->hash = (t->hash ^ at[i]) * 0x100000001b3u;
}

void trace_mark(trace *t, const char *what, const void *data, size_t len) {
    int64_t now = virtual_now();
    add(t, &now, sizeof now);
    add(t, what, strlen(what) + 1);
    add(t, data, len);
}
