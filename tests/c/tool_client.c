/* The C side of the cross-language tests: commands on stdin, JSON lines on stdout; see tests/cross/README.md. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include "tool/tool.h"

int main(void) {
    static tool self;
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, stdin) > 0) {
        char *reply = tool_run(&self, line);
        puts(reply);
        fflush(stdout);
        free(reply);
    }
    free(line);
    tool_end(&self);
    return 0;
}
