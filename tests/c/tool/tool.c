#define _GNU_SOURCE
#include "tool/tool.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A longer payload is answered by its length and checksum. */
enum { SHOWN = 4096 };

int64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void sleep_ms(int64_t ms) {
    if (ms <= 0) return;
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0) continue;
}

static void *memory(void *block) {
    if (!block) {
        fputs("no memory\n", stderr);
        abort();
    }
    return block;
}

void text_add(text *to, const char *data, size_t len) {
    if (to->len + len + 1 > to->size) {
        to->size = (to->len + len + 1) * 2;
        to->data = memory(realloc(to->data, to->size));
    }
    if (len > 0) memcpy(to->data + to->len, data, len);
    to->len += len;
    to->data[to->len] = 0;
}

void text_puts(text *to, const char *words) { text_add(to, words, strlen(words)); }

void text_printf(text *to, const char *format, ...) {
    char *words = NULL;
    va_list list;
    va_start(list, format);
    int len = vasprintf(&words, format, list);
    va_end(list);
    if (len < 0) abort();
    text_add(to, words, (size_t)len);
    free(words);
}

void text_json(text *to, const char *data, size_t len) {
    text_puts(to, "\"");
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)data[i];
        if (c == '"' || c == '\\') text_printf(to, "\\%c", c);
        else if (c < 0x20) text_printf(to, "\\u%04x", c);
        else text_add(to, data + i, 1);
    }
    text_puts(to, "\"");
}

/* ---- command lines ---------------------------------------------------------------------------------------------- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Decodes %XX in place; the text only gets shorter. */
static size_t percent_decode(char *words) {
    char *to = words;
    for (const char *from = words; *from; from++) {
        int high = *from == '%' ? hex_digit(from[1]) : -1;
        int low = high >= 0 ? hex_digit(from[2]) : -1;
        if (low >= 0) {
            *to++ = (char)(high << 4 | low);
            from += 2;
        } else {
            *to++ = *from;
        }
    }
    *to = 0;
    return (size_t)(to - words);
}

/* Points into `line`, which is changed. */
static void command_parse(command *out, char *line) {
    char *rest = NULL;
    memset(out, 0, sizeof *out);
    out->verb = strtok_r(line, " \n", &rest);
    if (!out->verb) out->verb = "";
    char *one;
    while (out->count < MAX_WORDS && (one = strtok_r(NULL, " \n", &rest))) {
        word *at = &out->words[out->count++];
        char *value = strchr(one, '=');
        at->name = one;
        at->value = "";
        if (value) {
            *value++ = 0;
            at->len = percent_decode(value);
            at->value = value;
        }
    }
}

const word *command_word(const command *line, const char *name) {
    for (size_t i = 0; i < line->count; i++)
        if (strcmp(line->words[i].name, name) == 0) return &line->words[i];
    return NULL;
}

const char *command_text(const command *line, const char *name, const char *otherwise) {
    const word *found = command_word(line, name);
    return found ? found->value : otherwise;
}

size_t command_all(const command *line, const char *name, const char **values, size_t *lens) {
    size_t count = 0;
    for (size_t i = 0; i < line->count; i++) {
        if (strcmp(line->words[i].name, name) != 0) continue;
        values[count] = line->words[i].value;
        lens[count++] = line->words[i].len;
    }
    return count;
}

void command_sets(const command *line, sets *out) {
    static const char *const codecs[] = {[POND_JSON] = "json", [POND_BYTES] = "bytes", [POND_TEXT] = "text"};
    const char *kinds[MAX_WORDS], *data[MAX_WORDS];
    size_t kind_lens[MAX_WORDS];
    out->n = command_all(line, "set", out->keys, out->key_lens);
    command_all(line, "kind", kinds, kind_lens);
    command_all(line, "data", data, out->lens);
    for (size_t i = 0; i < out->n; i++) {
        bool null = strcmp(kinds[i], "null") == 0;
        out->data[i] = strcmp(kinds[i], "absent") == 0 ? NULL : null ? "null" : data[i];
        if (null) out->lens[i] = 4;
        out->codecs[i] = POND_JSON;
        for (int codec = POND_JSON; codec <= POND_TEXT; codec++)
            if (strcmp(codecs[codec], kinds[i]) == 0) out->codecs[i] = (pond_codec)codec;
    }
}

int64_t command_number(const command *line, const char *name, int64_t otherwise) {
    const word *found = command_word(line, name);
    return found ? strtoll(found->value, NULL, 10) : otherwise;
}

/* ---- answers of loaders ----------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int codec;
    const char *data;
} specials[] = {
    {"text-not-utf8", POND_TEXT, "abc\xff"},
    {"json-not-utf8", POND_JSON, "\"abc\xff\""},
    {"codec-99", 99, "{}"},
};

static void answer_special(answer *out, const char *name) {
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
        if (strcmp(specials[i].name, name) != 0) continue;
        out->codec = (pond_codec)specials[i].codec;
        out->len = strlen(specials[i].data);
        out->data = memory(strdup(specials[i].data));
        return;
    }
    fprintf(stderr, "no special value %s in C\n", name);
    abort();
}

static const struct {
    const char *kind;
    pond_codec codec;
} codecs[] = {{"json", POND_JSON}, {"text", POND_TEXT}, {"bytes", POND_BYTES}};

void answer_make(answer *out, const command *line) {
    const char *kind = command_text(line, "load", "never");
    const word *data = command_word(line, "data");
    memset(out, 0, sizeof *out);
    out->delay_ms = command_number(line, "delay", 0);
    out->flags = strcmp(command_text(line, "cache", "yes"), "no") == 0 ? POND_LOAD_UNCACHED : 0;
    out->kind = ANSWER_VALUE;
    if (strcmp(kind, "special") == 0) {
        answer_special(out, data ? data->value : "");
        return;
    }
    if (strcmp(kind, "absent") == 0) out->kind = ANSWER_ABSENT;
    if (strcmp(kind, "fail") == 0) out->kind = ANSWER_FAIL;
    if (strcmp(kind, "never") == 0) out->kind = ANSWER_NEVER;
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++)
        if (strcmp(codecs[i].kind, kind) == 0) out->codec = codecs[i].codec;
    if (strcmp(kind, "null") == 0) out->codec = POND_JSON;
    text all = {0};
    text_add(&all, "", 0);
    for (int64_t times = command_number(line, "times", 1); times > 0 && data; times--)
        text_add(&all, data->value, data->len);
    if (strcmp(kind, "null") == 0) text_puts(&all, "null");
    out->data = all.data;
    out->len = all.len;
}

void answer_loader(pond_load *load, void *ctx) {
    answer *self = ctx;
    self->called = true;
    sleep_ms(self->delay_ms);
    switch (self->kind) {
    case ANSWER_VALUE: pond_load_value(load, self->data, self->len, self->codec, self->flags); break;
    case ANSWER_ABSENT: pond_load_absent(load, self->flags); break;
    case ANSWER_FAIL: pond_load_fail(load, 0, self->data); break;
    case ANSWER_NEVER: pond_load_fail(load, POND_EMISUSE, "this loader must not be called"); break;
    }
}

/* ---- answers of the tool ---------------------------------------------------------------------------------------- */

void tool_error(text *out, int code, pond_error *err) {
    const char *message = err ? pond_error_message(err) : "";
    text_printf(out, "{\"ok\":false,\"code\":\"%s\",\"retriable\":%s,\"message\":",
                pond_code_name(err ? pond_error_code(err) : code), err && pond_error_retriable(err) ? "true" : "false");
    text_json(out, message, strlen(message));
    text_puts(out, "}");
    if (err && pond_error_code(err) != code) {
        fprintf(stderr, "the call answered %s, its error says %s\n", pond_code_name(code),
                pond_code_name(pond_error_code(err)));
        abort();
    }
    pond_error_free(err);
}

static uint32_t adler32(const char *data, size_t len) {
    uint32_t a = 1, b = 0;
    for (size_t i = 0; i < len; i++) {
        a = (a + (unsigned char)data[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

/* "state":..., and of a value "type" and "data" (or "len" and "adler"). */
void tool_value(text *out, const pond_value *value) {
    static const char *const states[] = {"miss", "value", "absent"};
    pond_state state = pond_value_state(value);
    text_printf(out, "\"state\":\"%s\"", states[state]);
    if (state != POND_VALUE) return;
    if (pond_value_stale(value)) text_puts(out, ",\"stale\":true");
    size_t len;
    const char *data = pond_value_data(value, &len);
    pond_codec codec = pond_value_codec(value);
    text_printf(out, ",\"type\":\"%s\"", codec == POND_BYTES ? "bytes" : codec == POND_TEXT ? "text" : "json");
    if (len > SHOWN) {
        text_printf(out, ",\"len\":%zu,\"adler\":%u", len, adler32(data, len));
        return;
    }
    text_puts(out, ",\"data\":");
    if (codec == POND_BYTES) {
        text_puts(out, "\"");
        for (size_t i = 0; i < len; i++) text_printf(out, "%02x", (unsigned char)data[i]);
        text_puts(out, "\"");
    } else if (codec == POND_TEXT) {
        text_json(out, data, len);
    } else {
        text_add(out, data, len);
    }
}

/* ---- the commands ----------------------------------------------------------------------------------------------- */

pond *tool_pond(tool *self, const command *line) {
    const char *name = command_text(line, "pond", "p");
    for (size_t i = 0; i < sizeof self->ponds / sizeof *self->ponds; i++)
        if (self->ponds[i].pond && strcmp(self->ponds[i].name, name) == 0) return self->ponds[i].pond;
    return NULL;
}

/* Words "PREFIX.option=value" as pairs; returns how many. */
static size_t options_of(const command *line, const char *prefix, const char **pairs) {
    size_t count = 0, len = strlen(prefix);
    for (size_t i = 0; i < line->count; i++) {
        if (strncmp(line->words[i].name, prefix, len) != 0) continue;
        pairs[2 * count] = line->words[i].name + len;
        pairs[2 * count + 1] = line->words[i].value;
        count++;
    }
    return count;
}

int tool_policy(pond *p, const command *line, pond_policy **out, pond_error **err) {
    const char *pairs[2 * MAX_WORDS];
    size_t count = options_of(line, "with.", pairs);
    *out = NULL;
    return count > 0 ? pond_policy_new(out, p, NULL, pairs, count, err) : POND_OK;
}

int tool_tags(pond *p, const command *line, const pond_policy *policy, pond_tags **out, pond_error **err) {
    const char *tags[MAX_WORDS];
    size_t lens[MAX_WORDS], count = command_all(line, "tag", tags, lens);
    return pond_tags_new(out, p, policy, tags, lens, count, err);
}

static int run_open(tool *self, const command *line, pond_error **err) {
    const char *pairs[2 * MAX_WORDS];
    size_t count = options_of(line, "opt.", pairs), place = 0;
    while (self->ponds[place].pond && place + 1 < sizeof self->ponds / sizeof *self->ponds) place++;
    pond_config *config = memory(pond_config_new());
    int code = POND_OK;
    for (size_t i = 0; i < count && code == POND_OK; i++)
        code = pond_config_set(config, pairs[2 * i], pairs[2 * i + 1], err);
    if (code == POND_OK) code = pond_open(&self->ponds[place].pond, config, err);
    pond_config_free(config);
    if (code != POND_OK) self->ponds[place].pond = NULL;
    snprintf(self->ponds[place].name, sizeof self->ponds[place].name, "%s", command_text(line, "pond", "p"));
    return code;
}

static int run_close(tool *self, const command *line) {
    pond *p = tool_pond(self, line);
    int code = pond_close(p, command_number(line, "timeout", 2000));
    for (size_t i = 0; i < sizeof self->ponds / sizeof *self->ponds; i++)
        if (self->ponds[i].pond == p) self->ponds[i].pond = NULL;
    pond_free(p);
    return code;
}

static int run_fetch(pond *p, const command *line, const pond_policy *policy, const pond_tags *tags, text *out,
                     pond_error **err) {
    const word *key = command_word(line, "key");
    answer loader;
    pond_value *value = NULL;
    answer_make(&loader, line);
    int code = pond_fetch_tagged(p, key->value, key->len, policy, tags, answer_loader, &loader, &value, err);
    free(loader.data);
    if (code != POND_OK) return code;
    text_puts(out, "{\"ok\":true,");
    tool_value(out, value);
    text_printf(out, ",\"loaded\":%s}", loader.called ? "true" : "false");
    pond_value_free(value);
    return POND_OK;
}

static int run_invalidate(pond *p, const command *line, const pond_policy *policy, const pond_tags *tags,
                          pond_error **err) {
    const char *keys[MAX_WORDS];
    size_t lens[MAX_WORDS], count = command_all(line, "key", keys, lens);
    return pond_invalidate_tagged(p, keys, lens, count, policy, tags, err);
}

/* JSON without the spaces between its tokens. */
static void text_compact(text *to, const char *json, size_t len) {
    bool quoted = false;
    for (size_t i = 0; i < len; i++) {
        if (!quoted && json[i] == ' ') continue;
        if (json[i] == '"') quoted = !quoted;
        if (quoted && json[i] == '\\' && i + 1 < len) text_add(to, json + i++, 1);
        text_add(to, json + i, 1);
    }
}

static int answer_with(int code, pond_value *value, const char *wrap, text *out) {
    if (code != POND_OK) return code;
    text_puts(out, "{\"ok\":true,");
    if (wrap) {
        size_t len;
        const char *data = pond_value_data(value, &len);
        text_printf(out, "\"%s\":", wrap);
        text_compact(out, data, len);
    } else {
        tool_value(out, value);
    }
    text_puts(out, "}");
    pond_value_free(value);
    return POND_OK;
}

static int run_get_many(pond *p, const command *line, text *out, pond_error **err) {
    const char *ids[MAX_WORDS];
    size_t lens[MAX_WORDS], count = command_all(line, "id", ids, lens);
    pond_value *values[MAX_WORDS] = {0};
    int code = pond_store_get_many(p, command_text(line, "collection", ""), ids, lens, count, values, err);
    if (code != POND_OK) return code;
    text_puts(out, "{\"ok\":true,\"list\":[");
    for (size_t i = 0; i < count; i++) {
        size_t len;
        const char *data = pond_value_data(values[i], &len);
        if (i > 0) text_puts(out, ",");
        if (pond_value_state(values[i]) == POND_VALUE) text_add(out, data, len);
        else text_puts(out, "null");
        pond_value_free(values[i]);
    }
    text_puts(out, "]}");
    return POND_OK;
}

static int run_store(pond *p, const command *line, text *out, pond_error **err) {
    const word none = {"", "", 0}, *id = command_word(line, "id"), *doc = command_word(line, "doc");
    const char *collection = command_text(line, "collection", ""), *verb = line->verb;
    pond_value *value = NULL;
    int existed = 0, code;
    if (!id) id = &none;
    if (!doc) doc = &none;
    if (strcmp(verb, "create") == 0) return pond_store_create(p, collection, err);
    if (strcmp(verb, "put") == 0) return pond_store_put(p, collection, id->value, id->len, doc->value, doc->len, err);
    if (strcmp(verb, "get_many") == 0) return run_get_many(p, line, out, err);
    if (strcmp(verb, "get") == 0) {
        code = pond_store_get(p, collection, id->value, id->len, &value, err);
        return answer_with(code, value, NULL, out);
    }
    code = pond_store_delete(p, collection, id->value, id->len, &existed, err);
    if (code == POND_OK) text_printf(out, "{\"ok\":true,\"existed\":%s}", existed ? "true" : "false");
    return code;
}

/* The samples of one namespace, by their names. */
static int run_metrics(pond *p, const command *line, text *out, pond_error **err) {
    char labels[100];
    pond_value *value = NULL;
    size_t len;
    int code = pond_metrics(p, &value, err);
    if (code != POND_OK) return code;
    snprintf(labels, sizeof labels, "{namespace=\"%s\"} ", command_text(line, "namespace", ""));
    text_puts(out, "{\"ok\":true,\"info\":{");
    const char *from = pond_value_data(value, &len), *comma = "";
    for (const char *end; (end = strchr(from, '\n')); from = end + 1) {
        const char *at = strstr(from, labels);
        if (!at || at > end) continue;
        const char *number = at + strlen(labels);
        text_printf(out, "%s\"%.*s\":%.*s", comma, (int)(at - from), from, (int)(end - number), number);
        comma = ",";
    }
    text_puts(out, "}}");
    pond_value_free(value);
    return POND_OK;
}

static bool is(const command *line, const char *verb) { return strcmp(line->verb, verb) == 0; }

static int run_key(pond *p, const command *line, text *out, pond_error **err) {
    const word *key = command_word(line, "key");
    pond_policy *policy = NULL;
    pond_tags *tags = NULL;
    pond_value *value = NULL;
    int code = tool_policy(p, line, &policy, err);
    if (code == POND_OK) code = tool_tags(p, line, policy, &tags, err);
    if (code == POND_OK && is(line, "fetch")) {
        code = run_fetch(p, line, policy, tags, out, err);
    } else if (code == POND_OK && is(line, "lookup")) {
        code = pond_lookup_tagged(p, key->value, key->len, policy, tags, &value, err);
        code = answer_with(code, value, NULL, out);
    } else if (code == POND_OK && is(line, "explain")) {
        code = pond_explain(p, key->value, key->len, policy, &value, err);
        code = answer_with(code, value, "info", out);
    } else if (code == POND_OK && is(line, "write")) {
        code = tool_write(p, line, policy, tags, err);
    } else if (code == POND_OK && !is(line, "invalidate")) {
        code = tool_bulk(p, line, policy, tags, out, err);
    } else if (code == POND_OK) {
        code = run_invalidate(p, line, policy, tags, err);
    }
    pond_tags_free(tags);
    pond_policy_free(policy);
    return code;
}

static int run(tool *self, const command *line, text *out, pond_error **err) {
    if (is(line, "open")) return run_open(self, line, err);
    if (is(line, "sleep")) {
        sleep_ms(command_number(line, "ms", 0));
        return POND_OK;
    }
    pond *p = tool_pond(self, line);
    if (!p) return POND_EMISUSE; /* there is no such pond */
    if (is(line, "close")) return run_close(self, line);
    if (is(line, "stat")) {
        text_printf(
            out, "{\"ok\":true,\"count\":%llu}",
            (unsigned long long)pond_stat(p, command_text(line, "namespace", NULL), command_text(line, "counter", "")));
        return POND_OK;
    }
    if (is(line, "stats")) {
        pond_value *value = NULL;
        int code = pond_stats(p, &value, err);
        return answer_with(code, value, "info", out);
    }
    if (is(line, "metrics")) return run_metrics(p, line, out, err);
    if (is(line, "fetch") || is(line, "lookup") || is(line, "explain") || is(line, "invalidate") || is(line, "write") ||
        is(line, "fetch_many") || is(line, "warm") || is(line, "set_many") || is(line, "bulk"))
        return run_key(p, line, out, err);
    if (is(line, "create") || is(line, "put") || is(line, "get") || is(line, "get_many") || is(line, "delete"))
        return run_store(p, line, out, err);
    if (is(line, "change") || is(line, "increment") || is(line, "document") || is(line, "page") || is(line, "dead")) {
        pond_value *value = NULL;
        int code = tool_document(p, line, &value, err);
        if (code == POND_OK && !value) text_puts(out, "{\"ok\":true,\"state\":\"absent\"}"); /* it was deleted */
        else code = answer_with(code, value, NULL, out);
        return code;
    }
    if (tool_crowd(self, line, out)) return POND_OK;
    fprintf(stderr, "no command %s\n", line->verb);
    abort();
}

char *tool_run(tool *self, const char *line) {
    command parsed;
    text out = {0};
    pond_error *err = NULL;
    char *copy = memory(strdup(line));
    command_parse(&parsed, copy);
    int code = run(self, &parsed, &out, &err);
    if (code != POND_OK) {
        out.len = 0;
        tool_error(&out, code, err);
    } else if (out.len == 0) {
        text_puts(&out, "{\"ok\":true}");
    }
    free(copy);
    return out.data;
}

void tool_end(tool *self) {
    for (size_t i = 0; i < sizeof self->ponds / sizeof *self->ponds; i++) {
        if (!self->ponds[i].pond) continue;
        pond_close(self->ponds[i].pond, 2000);
        pond_free(self->ponds[i].pond);
        self->ponds[i].pond = NULL;
    }
}
