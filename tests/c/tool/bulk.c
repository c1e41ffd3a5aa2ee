/* The commands of many keys: fetch_many, warm, set_many, and bulk, which makes up its keys. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tool/tool.h"

typedef struct many {
    const command *line;
    text asked; /* what each call was asked for, as JSON */
} many;

static void comma(text *to) {
    if (to->len > 0) text_puts(to, ",");
}

/* What the line's loader of many has. */
static void load(pond_batch *batch, void *ctx) {
    many *self = ctx;
    sets has;
    command_sets(self->line, &has);
    comma(&self->asked);
    text_puts(&self->asked, "[");
    for (size_t i = 0; i < pond_batch_count(batch); i++) {
        size_t len;
        const char *key = pond_batch_key(batch, i, &len);
        if (i > 0) text_puts(&self->asked, ",");
        text_json(&self->asked, key, len);
        for (size_t k = 0; k < has.n; k++) {
            if (strcmp(has.keys[k], key) != 0) continue;
            if (!has.data[k]) pond_batch_absent(batch, i, 0);
            else pond_batch_value(batch, i, has.data[k], has.lens[k], has.codecs[k], 0);
        }
    }
    text_puts(&self->asked, "]");
    const word *fail = command_word(self->line, "fail");
    if (fail) pond_batch_fail(batch, 0, fail->value);
    else pond_batch_done(batch);
}

/* JSON stands as it is, all else is looked up by its key. */
static void add_value(text *to, const pond_value *value) {
    size_t len;
    const char *data = pond_value_data(value, &len);
    bool json = pond_value_state(value) == POND_VALUE && pond_value_codec(value) == POND_JSON;
    if (json) text_add(to, data, len);
    else text_puts(to, "null");
}

static int fetch_many(pond *p, const command *line, const pond_policy *policy, const pond_tags *tags, text *out,
                      pond_error **err) {
    const char *keys[MAX_WORDS];
    size_t lens[MAX_WORDS], n = command_all(line, "key", keys, lens);
    bool warm = strcmp(line->verb, "warm") == 0;
    pond_value *values[MAX_WORDS];
    many self = {.line = line};
    text_add(&self.asked, "", 0);
    int code = warm ? pond_warm(p, keys, lens, n, policy, tags, (size_t)command_number(line, "batch", 0), load, &self,
                                NULL, err)
                    : pond_fetch_many(p, keys, lens, n, policy, tags, load, &self, values, err);
    if (code == POND_OK) text_puts(out, "{\"ok\":true,");
    if (code == POND_OK && !warm) {
        text_puts(out, "\"list\":[");
        for (size_t i = 0; i < n; i++) {
            if (i > 0) text_puts(out, ",");
            add_value(out, values[i]);
            pond_value_free(values[i]);
        }
        text_puts(out, "],");
    }
    if (code == POND_OK) text_printf(out, "\"asked\":[%s]}", self.asked.data);
    free(self.asked.data);
    return code;
}

static void load_numbers(pond_batch *batch, void *ctx) {
    text *asked = ctx;
    comma(asked);
    text_printf(asked, "%zu", pond_batch_count(batch));
    for (size_t i = 0; i < pond_batch_count(batch); i++) {
        char value[80];
        int len = snprintf(value, sizeof value, "{\"of\":\"%s\"}", pond_batch_key(batch, i, NULL));
        pond_batch_value(batch, i, value, (size_t)len, POND_JSON, 0);
    }
    pond_batch_done(batch);
}

static int bulk(pond *p, const command *line, const pond_policy *policy, text *out, pond_error **err) {
    enum { NAME = 64 };
    size_t n = (size_t)command_number(line, "ids", 1), wrong = 0;
    char(*names)[NAME] = calloc(n, sizeof *names);
    const char **keys = calloc(n, sizeof *keys);
    size_t *lens = calloc(n, sizeof *lens);
    pond_value **values = calloc(n, sizeof *values);
    text asked = {0};
    text_add(&asked, "", 0);
    if (!names || !keys || !lens || !values) abort();
    for (size_t i = 0; i < n; i++) {
        lens[i] = (size_t)snprintf(names[i], NAME, "%.40s%zu", command_text(line, "key", ""), i);
        keys[i] = names[i];
    }
    int code = pond_fetch_many(p, keys, lens, n, policy, NULL, load_numbers, &asked, values, err);
    for (size_t i = 0; code == POND_OK && i < n; i++) {
        char wanted[80];
        snprintf(wanted, sizeof wanted, "{\"of\":\"%s\"}", names[i]);
        wrong += strcmp(pond_value_data(values[i], NULL), wanted) != 0;
        pond_value_free(values[i]);
    }
    if (code == POND_OK)
        text_printf(out, "{\"ok\":true,\"values\":%zu,\"wrong\":%zu,\"asked\":[%s]}", n, wrong, asked.data);
    free(asked.data);
    free(names);
    free(keys);
    free(lens);
    free(values);
    return code;
}

int tool_bulk(pond *p, const command *line, const pond_policy *policy, const pond_tags *tags, text *out,
              pond_error **err) {
    if (strcmp(line->verb, "bulk") == 0) return bulk(p, line, policy, out, err);
    if (strcmp(line->verb, "set_many") != 0) return fetch_many(p, line, policy, tags, out, err);
    sets values;
    command_sets(line, &values);
    return pond_set_many(p, values.keys, values.key_lens, values.data, values.lens, values.codecs, values.n, policy,
                         err);
}
