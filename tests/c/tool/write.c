/* The command `write`: a writer that says what the words of the line say. */
#include <string.h>
#include "tool/tool.h"

static void writer(pond_writing *writing, void *ctx) {
    const command *line = ctx;
    static const char *const codecs[] = {[POND_JSON] = "json", [POND_BYTES] = "bytes", [POND_TEXT] = "text"};
    const char *keys[MAX_WORDS], *sets[MAX_WORDS], *kinds[MAX_WORDS], *data[MAX_WORDS];
    size_t key_lens[MAX_WORDS], set_lens[MAX_WORDS], kind_lens[MAX_WORDS], lens[MAX_WORDS];
    size_t n = command_all(line, "key", keys, key_lens), count = command_all(line, "set", sets, set_lens);
    command_all(line, "kind", kinds, kind_lens);
    command_all(line, "data", data, lens);
    for (size_t i = 0; i < count; i++) {
        size_t at = 0;
        int codec = POND_JSON; /* null */
        while (at < n && strcmp(keys[at], sets[i]) != 0) at++;
        for (int one = POND_JSON; one <= POND_TEXT; one++)
            if (strcmp(codecs[one], kinds[i]) == 0) codec = one;
        if (strcmp(kinds[i], "absent") == 0) pond_writing_absent(writing, at, NULL);
        else if (strcmp(kinds[i], "null") == 0) pond_writing_value(writing, at, "null", 4, POND_JSON, NULL);
        else pond_writing_value(writing, at, data[i], lens[i], (pond_codec)codec, NULL);
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
