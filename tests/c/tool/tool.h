/* One command line in, one line of JSON out, over the public headers only. tests/cross/README.md has the commands; the Python
 * and Node tools there speak the same ones. */
#ifndef TEST_TOOL_H
#define TEST_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <millpond/millpond.h>

/* A growing text; a test program that has no memory left just ends. */
typedef struct text {
    char *data;
    size_t len, size;
} text;

void text_add(text *to, const char *data, size_t len);
void text_puts(text *to, const char *words);
__attribute__((format(printf, 2, 3))) void text_printf(text *to, const char *format, ...);
/* As a JSON string, in quotes. */
void text_json(text *to, const char *data, size_t len);

/* `name=value` words of a command line, decoded. */
enum { MAX_WORDS = 128 };
typedef struct word {
    const char *name;
    const char *value; /* NUL-terminated beside its length */
    size_t len;
} word;
typedef struct command {
    const char *verb;
    word words[MAX_WORDS];
    size_t count;
} command;

const word *command_word(const command *line, const char *name); /* NULL if it is not there */
const char *command_text(const command *line, const char *name, const char *otherwise);
int64_t command_number(const command *line, const char *name, int64_t otherwise);

/* What a loader is to answer; made from the words of a command. */
typedef struct answer {
    enum { ANSWER_VALUE, ANSWER_ABSENT, ANSWER_FAIL, ANSWER_NEVER } kind;
    pond_codec codec;
    char *data; /* owned */
    size_t len;
    unsigned flags;
    int64_t delay_ms;
    bool called; /* out */
} answer;

void answer_make(answer *out, const command *line);
void answer_loader(pond_load *load, void *ctx); /* ctx: answer * */

typedef struct tool tool;
struct tool {
    struct {
        char name[32];
        pond *pond;
    } ponds[16];
};

/* The pond that the line names ("pond=", "p" if it does not), or NULL. */
pond *tool_pond(tool *self, const command *line);
/* The policy that the line's "with." words make; NULL with POND_OK if there are none. */
int tool_policy(pond *p, const command *line, pond_policy **out, pond_error **err);
/* The error as the tool's answer; frees it. */
void tool_error(text *out, int code, pond_error *err);
void tool_value(text *out, const pond_value *value);

/* The words of that name, as keys are handed over; how many. */
size_t command_all(const command *line, const char *name, const char **values, size_t *lens);
/* The words set=, kind= and data=, as values are handed over; `data` is NULL of an absence. Borrowed from the line. */
typedef struct sets {
    size_t n;
    const char *keys[MAX_WORDS];
    const void *data[MAX_WORDS];
    size_t key_lens[MAX_WORDS], lens[MAX_WORDS];
    pond_codec codecs[MAX_WORDS];
} sets;
void command_sets(const command *line, sets *out);
/* The tags of the line's "tag" words; NULL with POND_OK if there are none. */
int tool_tags(pond *p, const command *line, const pond_policy *policy, pond_tags **out, pond_error **err);

/* Runs one line; the answer is malloc'ed and has no newline. */
char *tool_run(tool *self, const char *line);
/* Closes what is open. */
void tool_end(tool *self);

/* write.c: write. */
int tool_write(pond *p, const command *line, const pond_policy *policy, const pond_tags *tags, pond_error **err);

/* document.c: change, document, page. The last two answer with a value. */
int tool_document(pond *p, const command *line, pond_value **value, pond_error **err);

/* bulk.c: fetch_many, warm, set_many, bulk. */
int tool_bulk(pond *p, const command *line, const pond_policy *policy, const pond_tags *tags, text *out,
              pond_error **err);

/* crowd.c: the commands that need many threads. False: the verb is not one of its own. */
bool tool_crowd(tool *self, const command *line, text *out);

int64_t monotonic_ns(void);
void sleep_ms(int64_t ms);

#endif
