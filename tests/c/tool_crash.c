/* A client of the crash campaign, as tests/crash/client.py has it: tool_crash NAME=VALUE... */
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

enum { LANES_MOST = 16, CLOSE_MS = 30000 };

static const char *const ops[] = {"replace", "replace", "replace", "update", "create", "delete"};
static atomic_bool over;
static int log_file = -1, number, own_keys, shared_keys, counters;
static pond *p;
static pond_collection *docs;

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
    char line[200];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (write(log_file, line, (size_t)len) != len) abort();
}

static int change(const char *op, const char *id, long value) {
    char doc[40];
    if (strcmp(op, "increment") == 0) return pond_collection_increment(docs, id, strlen(id), "n", 1, 1, NULL);
    pond_value *left = NULL;
    pond_change_kind kind = strcmp(op, "create") == 0    ? POND_CREATE
                            : strcmp(op, "replace") == 0 ? POND_REPLACE
                            : strcmp(op, "update") == 0  ? POND_UPDATE
                                                         : POND_DELETE;
    int len = snprintf(doc, sizeof doc, "{\"v\":%ld}", value);
    int code = pond_collection_change(docs, kind, id, strlen(id), kind == POND_DELETE ? NULL : doc,
                                      kind == POND_DELETE ? 0 : (size_t)len, NULL, NULL, &left, NULL);
    pond_value_free(left);
    return code;
}

static void *lane(void *ctx) {
    long of = (long)(size_t)ctx;
    unsigned seed = (unsigned)(number * 31 + of);
    for (long seq = 1; !atomic_load(&over); seq++) {
        char id[60], name[40];
        const char *op = ops[(size_t)rand_r(&seed) % (sizeof ops / sizeof ops[0])];
        long value = number * 1000000L + of * 100000 + seq;
        if (rand_r(&seed) % 10 < 6) snprintf(id, sizeof id, "own.%d.%ld.%d", number, of, rand_r(&seed) % own_keys);
        else snprintf(id, sizeof id, "shared.%d", rand_r(&seed) % shared_keys);
        if (rand_r(&seed) % 10 < 2) {
            op = "increment";
            snprintf(id, sizeof id, "counter.%d", rand_r(&seed) % counters);
        }
        snprintf(name, sizeof name, "%d.%ld.%ld", number, of, seq);
        say("S %s %lld %s %s %ld\n", name, (long long)monotonic_ns(), id, op, value);
        int code = change(op, id, value);
        bool refused = code == POND_EABSENT || code == POND_EDUPLICATE;
        say("E %s %lld %s %s\n", name, (long long)monotonic_ns(),
            code == POND_OK ? "done"
            : refused       ? "refused"
                            : "unknown",
            pond_code_name(code));
        usleep(code == POND_OK ? (useconds_t)(rand_r(&seed) % 4000) : 20000);
    }
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
    static const char *const options[] = {"write", "behind"};
    pond_error *err = NULL;
    pond_config *config = pond_config_new();
    pthread_t threads[LANES_MOST], watch;
    long lanes = 1;
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value) return 2;
        *value++ = '\0';
        if (strncmp(argv[i], "opt.", 4) == 0) check(pond_config_set(config, argv[i] + 4, value, &err), err);
        if (strcmp(argv[i], "cache") == 0) check(pond_config_set(config, "cache", value, &err), err);
        if (strcmp(argv[i], "log") == 0) log_file = open(value, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (strcmp(argv[i], "number") == 0) number = atoi(value);
        if (strcmp(argv[i], "own") == 0) own_keys = atoi(value);
        if (strcmp(argv[i], "shared") == 0) shared_keys = atoi(value);
        if (strcmp(argv[i], "counters") == 0) counters = atoi(value);
        if (strcmp(argv[i], "lanes") == 0) lanes = atol(value) < LANES_MOST ? atol(value) : LANES_MOST;
    }
    check(pond_open(&p, config, &err), err);
    pond_config_free(config);
    check(pond_collection_new(&docs, p, "docs", options, 1, &err), err);
    while (pond_collection_prepare(docs, NULL) != POND_OK) usleep(100000);
    pthread_create(&watch, NULL, until_stdin_ends, NULL);
    say("R\n");
    for (long i = 0; i < lanes; i++) pthread_create(&threads[i], NULL, lane, (void *)(size_t)i);
    for (long i = 0; i < lanes; i++) pthread_join(threads[i], NULL);
    if (!lanes) pthread_join(watch, NULL);
    say("X\n");
    int code = pond_close(p, CLOSE_MS);
    pond_collection_free(docs);
    pond_free(p);
    return code == POND_OK ? 0 : 1;
}
