/* A client of the histories, as tests/histories/client.py has it: tool_history NAME=VALUE... */
#define _GNU_SOURCE
#include "tool/tool.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PHASE_NS = 40000000 }; /* every third of them is one of writes, for all clients at the same time */
enum { THROUGH, ASIDE, WRITE };

static atomic_bool over;
static int log_file, log_number;
static char *all_keys;
static pond *p;
static pond_collection *collections[2];

/* One operation, of one lane. */
typedef struct doing {
    int path;
    const char *op, *id;
    long number;
    unsigned *seed;
    char doc[64]; /* what is to be written */
} doing;

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
    char line[200];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (write(log_file, line, (size_t)len) != len) abort();
}

static void pause_up_to(unsigned *seed, int us) { usleep((useconds_t)(rand_r(seed) % us)); }

/* ---- write: pond_fetch and pond_write, around the store ---- */

static void loader(pond_load *load, void *ctx) {
    const doing *self = ctx;
    pond_value *value = NULL;
    pond_error *err = NULL;
    int code = pond_store_get(p, "write", self->id, strlen(self->id), &value, &err);
    pause_up_to(self->seed, 3000); /* what is read grows old on its way into the cache */
    if (code != POND_OK) pond_load_fail(load, code, pond_error_message(err));
    else if (pond_value_state(value) == POND_ABSENT) pond_load_absent(load, 0);
    else {
        size_t len;
        const char *data = pond_value_data(value, &len);
        pond_load_value(load, data, len, POND_JSON, 0);
    }
    pond_value_free(value);
    pond_error_free(err);
}

static void writer(pond_writing *writing, void *ctx) {
    const doing *self = ctx;
    size_t len = strlen(self->doc), id_len = strlen(self->id);
    pond_error *err = NULL;
    if (self->number % 2 == 0 && len > 0) pond_writing_value(writing, 0, self->doc, len, POND_JSON, NULL);
    if (self->number % 2 == 0 && len == 0) pond_writing_absent(writing, 0, NULL);
    int code = len > 0 ? pond_store_put(p, "write", self->id, id_len, self->doc, len, &err)
                       : pond_store_delete(p, "write", self->id, id_len, NULL, &err);
    if (code == POND_OK) pond_write_done(writing);
    else pond_write_fail(writing, POND_UNKNOWN, code, pond_error_message(err));
    pond_error_free(err);
}

/* ---- one operation ---- */

static int run(doing *self, pond_value **out, pond_error **err) {
    size_t len = strlen(self->id);
    const char *op = self->op;
    if (self->path == WRITE) {
        if (strcmp(op, "get") == 0) return pond_fetch(p, self->id, len, NULL, loader, self, out, err);
        if (strcmp(op, "put") == 0) snprintf(self->doc, sizeof self->doc, "{\"v\":%ld}", self->number);
        return pond_write(p, &self->id, &len, 1, NULL, NULL, writer, self, err);
    }
    pond_collection *films = collections[self->path];
    if (strcmp(op, "get") == 0) return pond_collection_get(films, self->id, len, out, err);
    pond_change_kind kind = strcmp(op, "create") == 0    ? POND_CREATE
                            : strcmp(op, "replace") == 0 ? POND_REPLACE
                            : strcmp(op, "update") == 0  ? POND_UPDATE
                                                         : POND_DELETE;
    if (kind != POND_DELETE)
        snprintf(self->doc, sizeof self->doc, "{\"%c\":%ld}", kind == POND_UPDATE ? 'w' : 'v', self->number);
    return pond_collection_change(films, kind, self->id, len, kind == POND_DELETE ? NULL : self->doc, strlen(self->doc),
                                  NULL, NULL, out, err);
}

/* "document V" or "document V/W" of a document {"v":V,"w":W}. */
static void describe(char *to, size_t size, const pond_value *value) {
    if (!value) {
        snprintf(to, size, "done");
        return;
    }
    if (pond_value_state(value) == POND_ABSENT) {
        snprintf(to, size, "absent");
        return;
    }
    size_t len;
    char copy[200];
    const char *data = pond_value_data(value, &len);
    snprintf(copy, sizeof copy, "%.*s", (int)len, data);
    const char *v = strstr(copy, "\"v\":"), *w = strstr(copy, "\"w\":");
    int at = snprintf(to, size, "document %ld", v ? atol(v + 4) : -1);
    if (w) snprintf(to + at, size - (size_t)at, "/%ld", atol(w + 4));
}

static const char *word_of(int code) {
    switch (code) {
    case POND_EABSENT: return "absent";
    case POND_EDUPLICATE: return "duplicate";
    case POND_ECACHE:
    case POND_EOVERLOAD: return "failed";
    default: return "unknown";
    }
}

static void *lane(void *ctx) {
    static const char *const changes[] = {"create", "replace", "replace", "update", "update", "delete"};
    static const char *const puts_and_one[] = {"put", "put", "put", "remove"};
    long number = (long)(size_t)ctx;
    unsigned seed = (unsigned)(log_number * 31 + number);
    const char *keys[16];
    size_t count = 0;
    char *copy = strdup(all_keys), *rest = NULL;
    for (char *key = strtok_r(copy, ",", &rest); key && count < 16; key = strtok_r(NULL, ",", &rest))
        keys[count++] = key;
    for (long seq = 1; !atomic_load(&over); seq++) {
        const char *key = keys[(size_t)rand_r(&seed) % count];
        doing self = {
            key[0] == 't' ? THROUGH : key[0] == 'a' ? ASIDE : WRITE, "get", strchr(key, '/') + 1, 0, &seed, ""};
        self.number = log_number * 1000000L + number * 100000 + seq;
        int writes = monotonic_ns() / PHASE_NS % 3 == 0 ? 300 : 10;
        if (rand_r(&seed) % 1000 < writes)
            self.op = self.path == WRITE ? puts_and_one[rand_r(&seed) % 4] : changes[rand_r(&seed) % 6];
        pond_value *value = NULL;
        pond_error *err = NULL;
        char said[100];
        say("S %d.%ld.%ld %lld %s %s %ld\n", log_number, number, seq, (long long)monotonic_ns(), key, self.op,
            self.number);
        int code = run(&self, &value, &err);
        if (code == POND_OK) describe(said, sizeof said, value);
        else snprintf(said, sizeof said, "%s %s", word_of(code), pond_code_name(code));
        say("E %d.%ld.%ld %lld %s\n", log_number, number, seq, (long long)monotonic_ns(), said);
        pond_value_free(value);
        pond_error_free(err);
        pause_up_to(&seed, 2000);
    }
    free(copy);
    return NULL;
}

static void *until_stdin_ends(void *ctx) {
    char c;
    while (read(0, &c, 1) > 0) continue;
    atomic_store(&over, true);
    return ctx;
}

static void check(int code, pond_error *err) {
    if (code == POND_OK) return;
    fprintf(stderr, "%s\n", pond_error_message(err));
    exit(1);
}

int main(int argc, char **argv) {
    pond_error *err = NULL;
    pond_config *config = pond_config_new();
    pthread_t threads[16], watch;
    long lanes = 1;
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value) return 2;
        *value++ = '\0';
        if (strncmp(argv[i], "opt.", 4) == 0) check(pond_config_set(config, argv[i] + 4, value, &err), err);
        if (strcmp(argv[i], "cache") == 0) check(pond_config_set(config, "cache", value, &err), err);
        if (strcmp(argv[i], "log") == 0) log_file = open(value, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (strcmp(argv[i], "number") == 0) log_number = atoi(value);
        if (strcmp(argv[i], "lanes") == 0) lanes = atol(value) < 16 ? atol(value) : 16;
        if (strcmp(argv[i], "keys") == 0) all_keys = value;
    }
    check(pond_open(&p, config, &err), err);
    pond_config_free(config);
    for (int i = 0; i < 2; i++) {
        const char *how = i == THROUGH ? "through" : "aside", *const options[] = {"write", how};
        check(pond_collection_new(&collections[i], p, how, options, 1, &err), err);
    }
    pthread_create(&watch, NULL, until_stdin_ends, NULL);
    for (long i = 0; i < lanes; i++) pthread_create(&threads[i], NULL, lane, (void *)(size_t)i);
    for (long i = 0; i < lanes; i++) pthread_join(threads[i], NULL);
    say("C %llu %llu\n", (unsigned long long)pond_stat(p, NULL, "hits"),
        (unsigned long long)pond_stat(p, NULL, "loads"));
    for (int i = 0; i < 2; i++) pond_collection_free(collections[i]);
    pond_close(p, 2000);
    pond_free(p);
    return 0;
}
