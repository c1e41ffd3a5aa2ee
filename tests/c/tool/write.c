/* The command `write`: a writer that says what the words of the line say. */
#include <string.h>
#include "tool/tool.h"

static void writer(pond_writing *writing, void *ctx) {
    const command *line = ctx;
    const char *keys[MAX_WORDS];
    size_t key_lens[MAX_WORDS], n = command_all(line, "key", keys, key_lens);
    sets said;
    command_sets(line, &said);
    for (size_t i = 0; i < said.n; i++) {
        size_t at = 0;
        while (at < n && strcmp(keys[at], said.keys[i]) != 0) at++;
        if (!said.data[i]) pond_writing_absent(writing, at, NULL);
        else pond_writing_value(writing, at, said.data[i], said.lens[i], said.codecs[i], NULL);
    }
    const word *fail = command_word(line, "fail");
    if (!fail) pond_write_done(writing);
    else
        pond_write_fail(writing, command_word(line, "sure") ? POND_NOT_WRITTEN : POND_UNKNOWN, POND_ELOADER,
                        fail->value);
}

int tool_write(pond *p, const command *line, const pond_policy *policy, const pond_tags *tags, pond_error **err) {
    const char *keys[MAX_WORDS];
    size_t lens[MAX_WORDS], n = command_all(line, "key", keys, lens);
    return pond_write(p, keys, lens, n, policy, tags, writer, (void *)line, err);
}
