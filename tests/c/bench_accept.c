/* Puts from C, as tests/bench/accept_client.py has them: an acceptance by write=behind, beside SET and XADD by hand.
 *
 *   bench_accept millpond|hiredis PORT FOLDER DOCUMENTS
 *
 * DOCUMENTS holds one JSON document a line. Reads `run CONCURRENCY SECONDS` lines from stdin, and answers each with one JSON line. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <hiredis/hiredis.h>
#include <millpond/millpond.h>

#include "bench_clock.h"

enum { MAX_DOCUMENTS = 4096, MAX_IN_FLIGHT = 1024, KEY_SIZE = 32 };

static struct {
    char *texts[MAX_DOCUMENTS];
    size_t lens[MAX_DOCUMENTS], count, next;
} films;

static void die(const char *what, const char *why) {
    fprintf(stderr, "bench_accept: Error: %s: %s\n", what, why);
    exit(1);
}

/* Less their first member, which is the id: each is put under many. */
static void read_documents(const char *path) {
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t size = 0;
    ssize_t got;
    if (!file) die(path, "cannot be read");
    while ((got = getline(&line, &size, file)) > 0 && films.count < MAX_DOCUMENTS) {
        char *rest = strchr(line, ',');
        if (line[got - 1] == '\n') line[got - 1] = 0;
        if (!rest) die(path, "a document has one member");
        *rest = '{';
        films.lens[films.count] = strlen(rest);
        films.texts[films.count++] = strdup(rest);
    }
    free(line);
    fclose(file);
    if (!films.count) die(path, "holds no document");
}

/* ---- the pond's queue ---- */

static pond *the_pond;
static pond_collection *docs;
static pond_queue *queue;

static void pond_check_code(int code, pond_error *err) {
    if (code != POND_OK) die("millpond", err ? pond_error_message(err) : pond_code_name(code));
}

static void pond_begin(const char *port, const char *folder) {
    static const char *const options[] = {"write", "behind", "backlog_max", "100000000"};
    char cache[64], store[512];
    pond_error *err = NULL;
    pond_config *config = pond_config_new();
    snprintf(cache, sizeof cache, "redis://127.0.0.1:%s/0", port);
    snprintf(store, sizeof store, "sqlite:%s/accept-c.db", folder);
    pond_check_code(pond_config_set(config, "cache", cache, &err), err);
    pond_check_code(pond_config_set(config, "store", store, &err), err);
    pond_check_code(pond_config_set(config, "namespace", "accept-c", &err), err);
    pond_check_code(pond_config_set(config, "worker", "off", &err), err);
    pond_check_code(pond_config_set(config, "command_timeout", "30s", &err), err);
    pond_check_code(pond_open(&the_pond, config, &err), err);
    pond_config_free(config);
    pond_check_code(pond_collection_new(&docs, the_pond, "films", options, 2, &err), err);
    pond_check_code(pond_collection_prepare(docs, &err), err);
    pond_check_code(pond_queue_new(&queue, the_pond, &err), err);
}

static void pond_put(void) {
    char id[KEY_SIZE];
    pond_error *err = NULL;
    size_t row = films.next % films.count;
    int len = snprintf(id, sizeof id, "%08zu", films.next++);
    pond_check_code(pond_collection_change_start(docs, queue, POND_REPLACE, id, (size_t)len, films.texts[row],
                                                 films.lens[row], 0, 0, NULL, &err),
                    err);
}

static size_t pond_round(size_t concurrency, double end) {
    pond_event *events[256];
    size_t in_flight = 0, finished = 0;
    bool open = true;
    while (open || in_flight) {
        for (; open && in_flight < concurrency; in_flight++) pond_put();
        size_t got = pond_queue_poll(queue, events, 256, -1);
        for (size_t i = 0; i < got; i++) {
            if (pond_event_kind(events[i]) != POND_EVENT_VALUE) die("put", "was not accepted");
            pond_event_free(events[i]);
        }
        in_flight -= got;
        finished += got;
        open = open && seconds_now(CLOCK_MONOTONIC) < end;
    }
    return finished;
}

static void pond_end(void) {
    pond_queue_free(queue);
    pond_collection_free(docs);
    pond_close(the_pond, 1000);
    pond_free(the_pond);
}

/* ---- hiredis by hand ---- */

static redisContext *context;

static void hiredis_begin(const char *port, const char *folder) {
    (void)folder;
    context = redisConnect("127.0.0.1", atoi(port));
    if (!context || context->err) die("connect", context ? context->errstr : "no memory");
    freeReplyObject(redisCommand(context, "SELECT 4"));
}

static void hiredis_put(void) {
    char key[KEY_SIZE], id[KEY_SIZE];
    size_t row = films.next % films.count;
    int len = snprintf(id, sizeof id, "%08zu", films.next++), key_len = snprintf(key, sizeof key, "film:%s", id);
    const char *set[] = {"SET", key, films.texts[row]}, *add[] = {"XADD", "films", "*", "k", id};
    const size_t set_lens[] = {3, (size_t)key_len, films.lens[row]}, add_lens[] = {4, 5, 1, 1, (size_t)len};
    redisAppendCommandArgv(context, 3, set, set_lens);
    redisAppendCommandArgv(context, 5, add, add_lens);
}

static size_t hiredis_round(size_t concurrency, double end) {
    size_t finished = 0;
    while (seconds_now(CLOCK_MONOTONIC) < end) {
        for (size_t i = 0; i < concurrency; i++) hiredis_put();
        for (size_t i = 0; i < 2 * concurrency; i++) {
            redisReply *reply = NULL;
            if (redisGetReply(context, (void **)&reply) != REDIS_OK || reply->type == REDIS_REPLY_ERROR)
                die("put", context->err ? context->errstr : "was refused");
            freeReplyObject(reply);
        }
        finished += concurrency;
    }
    return finished;
}

static void hiredis_end(void) { redisFree(context); }

int main(int argc, char **argv) {
    if (argc != 5) die("usage", "bench_accept millpond|hiredis PORT FOLDER DOCUMENTS");
    bool ours = strcmp(argv[1], "millpond") == 0;
    read_documents(argv[4]);
    (ours ? pond_begin : hiredis_begin)(argv[2], argv[3]);
    printf("{\"ready\":true,\"version\":\"%s\"}\n", ours ? pond_version() : "by hand");
    fflush(stdout);
    size_t concurrency;
    double seconds;
    while (scanf(" run %zu %lf", &concurrency, &seconds) == 2) {
        if (concurrency < 1 || concurrency > MAX_IN_FLIGHT) die("run", "concurrency is 1..1024");
        double cpu = cpu_seconds(), begun = seconds_now(CLOCK_MONOTONIC);
        size_t ops = (ours ? pond_round : hiredis_round)(concurrency, begun + seconds);
        printf("{\"ops\":%zu,\"seconds\":%.6f,\"cpu\":%.6f}\n", ops, seconds_now(CLOCK_MONOTONIC) - begun,
               cpu_seconds() - cpu);
        fflush(stdout);
    }
    (ours ? pond_end : hiredis_end)();
    for (size_t row = 0; row < films.count; row++) free(films.texts[row]);
    return 0;
}
