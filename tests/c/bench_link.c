/* The C client of the benchmark: hits through Redis with 64 calls in flight, by a pond queue or by hiredis by hand.
 *
 *   bench_link millpond|hiredis PORT DOCUMENTS
 *
 * DOCUMENTS holds one JSON document a line. Reads `run CONCURRENCY SECONDS` lines from stdin and answers each with one
 * JSON line, as the clients in tests/bench do. Both sides look at every byte count and at the first byte of
 * every document; neither decodes, since a C program has no one way to do so. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <hiredis/hiredis.h>
#include <millpond/millpond.h>

#include "bench_clock.h"

enum { MAX_DOCUMENTS = 4096, MAX_IN_FLIGHT = 1024, KEY_SIZE = 16 };

static struct {
    char keys[MAX_DOCUMENTS][KEY_SIZE];
    char *texts[MAX_DOCUMENTS];
    size_t lens[MAX_DOCUMENTS];
    size_t count;
} documents;

static void die(const char *what, const char *why) {
    fprintf(stderr, "bench_link: %s: %s\n", what, why);
    exit(1);
}

static void read_documents(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) die(path, "cannot be read");
    char *line = NULL;
    size_t size = 0;
    ssize_t got;
    while ((got = getline(&line, &size, file)) > 0 && documents.count < MAX_DOCUMENTS) {
        size_t len = (size_t)got - (line[got - 1] == '\n');
        size_t row = documents.count++;
        documents.texts[row] = strndup(line, len);
        documents.lens[row] = len;
        snprintf(documents.keys[row], KEY_SIZE, "film:%04zu", row);
        if (!documents.texts[row]) die(path, "no memory");
    }
    free(line);
    fclose(file);
    if (documents.count == 0) die(path, "holds no document");
}

static void check(const char *data, size_t len, size_t row) {
    if (len != documents.lens[row] || data[0] != '{') die(documents.keys[row], "the answer is not the document");
}

/* ---- the pond's queue ------------------------------------------------------------------------------------------- */

static pond *the_pond;
static pond_queue *the_queue;

static void pond_die(const char *what, pond_error *err) {
    die(what, err ? pond_error_message(err) : "no error was given");
}

static void start(size_t row, bool *answered) {
    pond_value *now = NULL;
    pond_error *err = NULL;
    if (pond_fetch_start(the_pond, the_queue, documents.keys[row], strlen(documents.keys[row]), NULL, row, &now, NULL,
                         &err))
        pond_die("pond_fetch_start", err);
    *answered = now != NULL;
    if (now) {
        size_t len;
        const char *data = pond_value_data(now, &len);
        check(data, len, row);
        pond_value_free(now);
    }
}

/* Takes what is there; final answers are counted, loads are answered. */
static size_t take(int64_t timeout_ms, bool may_load) {
    pond_event *events[256];
    size_t finished = 0;
    size_t got = pond_queue_poll(the_queue, events, 256, timeout_ms);
    for (size_t i = 0; i < got; i++) {
        size_t row = (size_t)pond_event_user(events[i]);
        size_t len;
        switch (pond_event_kind(events[i])) {
        case POND_EVENT_VALUE: {
            const char *data = pond_value_data(pond_event_value(events[i]), &len);
            check(data, len, row);
            finished++;
            break;
        }
        case POND_EVENT_LOAD:
            if (!may_load) die(documents.keys[row], "a miss, and the benchmark measures hits");
            if (pond_load_value(pond_event_load(events[i]), documents.texts[row], documents.lens[row], POND_JSON, 0))
                die(documents.keys[row], "the load was not accepted");
            break;
        case POND_EVENT_ERROR: pond_die(documents.keys[row], pond_event_error(events[i])); break;
        default: die(documents.keys[row], "an unexpected event");
        }
        pond_event_free(events[i]);
    }
    return finished;
}

static void pond_begin(const char *port) {
    pond_error *err = NULL;
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%s/0", port);
    pond_config *config = pond_config_new();
    if (!config || pond_config_set(config, "cache", url, &err) ||
        pond_config_set(config, "namespace", "bench-c", &err) || pond_config_set(config, "ttl", "1h", &err) ||
        pond_open(&the_pond, config, &err) || pond_queue_new(&the_queue, the_pond, &err))
        pond_die("open", err);
    pond_config_free(config);
    for (size_t row = 0; row < documents.count; row++) {
        bool answered;
        start(row, &answered);
        while (!answered) answered = take(-1, true) == 1;
    }
}

static size_t pond_round(size_t concurrency, double end) {
    size_t row = 0, in_flight = 0, finished = 0;
    bool answered, open = true;
    while (open || in_flight > 0) {
        while (open && in_flight < concurrency) {
            start(row, &answered);
            row = (row + 1) % documents.count;
            finished += answered;
            in_flight += !answered;
        }
        size_t got = take(-1, false);
        finished += got;
        in_flight -= got;
        open = open && seconds_now(CLOCK_MONOTONIC) < end;
    }
    return finished;
}

static void pond_end(void) {
    pond_queue_free(the_queue);
    pond_close(the_pond, 1000);
    pond_free(the_pond);
}

/* ---- hiredis by hand -------------------------------------------------------------------------------------------- */

static redisContext *context;

static void hiredis_begin(const char *port) {
    context = redisConnect("127.0.0.1", atoi(port));
    if (!context || context->err) die("connect", context ? context->errstr : "no memory");
    freeReplyObject(redisCommand(context, "SELECT 4"));
    for (size_t row = 0; row < documents.count; row++) {
        redisReply *reply =
            redisCommand(context, "SET %s %b EX 3600", documents.keys[row], documents.texts[row], documents.lens[row]);
        if (!reply || reply->type != REDIS_REPLY_STATUS) die("SET", "was refused");
        freeReplyObject(reply);
    }
}

/* The usual way: write a batch as deep as the concurrency, read its answers, write the next. */
static size_t hiredis_round(size_t concurrency, double end) {
    size_t row = 0, finished = 0;
    while (seconds_now(CLOCK_MONOTONIC) < end) {
        for (size_t i = 0; i < concurrency; i++) {
            const char *words[2] = {"GET", documents.keys[(row + i) % documents.count]};
            size_t lens[2] = {3, strlen(words[1])};
            redisAppendCommandArgv(context, 2, words, lens);
        }
        for (size_t i = 0; i < concurrency; i++) {
            redisReply *reply = NULL;
            if (redisGetReply(context, (void **)&reply) != REDIS_OK || reply->type != REDIS_REPLY_STRING)
                die("GET", context->err ? context->errstr : "no document");
            check(reply->str, reply->len, row);
            freeReplyObject(reply);
            row = (row + 1) % documents.count;
        }
        finished += concurrency;
    }
    return finished;
}

static void hiredis_end(void) { redisFree(context); }

int main(int argc, char **argv) {
    if (argc != 4) die("usage", "bench_link millpond|hiredis PORT DOCUMENTS");
    bool ours = strcmp(argv[1], "millpond") == 0;
    read_documents(argv[3]);
    (ours ? pond_begin : hiredis_begin)(argv[2]);
    printf("{\"ready\":true,\"version\":\"%s\"}\n", ours ? pond_version() : "by hand");
    fflush(stdout);
    size_t concurrency;
    double seconds;
    while (scanf(" run %zu %lf", &concurrency, &seconds) == 2) {
        if (concurrency < 1 || concurrency > MAX_IN_FLIGHT) die("run", "concurrency is 1..1024");
        double cpu = cpu_seconds(), begun = seconds_now(CLOCK_MONOTONIC);
        size_t ops = (ours ? pond_round : hiredis_round)(concurrency, begun + seconds);
        double took = seconds_now(CLOCK_MONOTONIC) - begun;
        printf("{\"ops\":%zu,\"seconds\":%.6f,\"cpu\":%.6f}\n", ops, took, cpu_seconds() - cpu);
        fflush(stdout);
    }
    (ours ? pond_end : hiredis_end)();
    for (size_t row = 0; row < documents.count; row++) free(documents.texts[row]);
    return 0;
}
