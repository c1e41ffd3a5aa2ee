/* Many threads at once: `crowd` (one cold key), `sweep` (many keys, several rounds), `storm` (a load for a while). Loads are
 * counted by what their loaders write, not by the library's own statistics. */
#define _GNU_SOURCE
#include "tool/tool.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CODES = 32 };

/* What all threads of one command share. */
typedef struct crowd {
    pond *pond;
    pond_policy *policy;
    const command *line;
    const char *key;
    size_t key_len;
    int log;          /* the file that counts the loads, -1 = none */
    int64_t delay_ms; /* of the loader */
    int64_t at_ms;    /* wall clock of the start, 0 = now */
    int64_t end_ns;   /* storm: when to stop */
    int64_t late_ns;  /* storm: errors after this are counted apart */
    int64_t keys;     /* storm */
    bool absent;      /* sweep: what its loader answers */
    pthread_barrier_t barrier;
    long long *each; /* of `callers`, when they were answered; NULL: nobody asks */
    atomic_llong answers, loads, wrong, absences, late_errors, last_ns, longest_ns;
    atomic_llong errors[CODES];
    _Atomic(char *) first_error;
} crowd;

static void log_line(const crowd *self, const char *what) {
    char line[64];
    if (self->log < 0) return;
    int len = snprintf(line, sizeof line, "%s %d %lld\n", what, getpid(), (long long)monotonic_ns());
    if (write(self->log, line, (size_t)len) != len) abort();
}

static void raise_to(atomic_llong *to, long long value) {
    long long seen = atomic_load(to);
    while (seen < value && !atomic_compare_exchange_weak(to, &seen, value)) continue;
}

static void wait_until(int64_t at_ms) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    sleep_ms(at_ms - ((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000));
}

static void count_error(crowd *self, int code, pond_error *err) {
    char *none = NULL, *words = strdup(err ? pond_error_message(err) : "no error was given");
    atomic_fetch_add(&self->errors[-code < CODES ? -code : 0], 1);
    if (monotonic_ns() > self->late_ns) atomic_fetch_add(&self->late_errors, 1);
    if (!atomic_compare_exchange_strong(&self->first_error, &none, words)) free(words);
    pond_error_free(err);
}

static void count_answer(crowd *self, int64_t began) {
    int64_t now = monotonic_ns();
    long long i = atomic_fetch_add(&self->answers, 1);
    if (self->each) self->each[i] = now;
    raise_to(&self->last_ns, now);
    raise_to(&self->longest_ns, now - began);
}

/* ---- crowd ------------------------------------------------------------------------------------------------------ */

static const char crowd_value[] = "{\"crowd\":true}";

static void crowd_loader(pond_load *load, void *ctx) {
    crowd *self = ctx;
    atomic_fetch_add(&self->loads, 1);
    log_line(self, "start");
    sleep_ms(self->delay_ms);
    log_line(self, "end");
    pond_load_value(load, crowd_value, sizeof crowd_value - 1, POND_JSON, 0);
}

static void *crowd_thread(void *ctx) {
    crowd *self = ctx;
    pond_value *value = NULL;
    pond_error *err = NULL;
    wait_until(self->at_ms);
    pthread_barrier_wait(&self->barrier);
    int64_t began = monotonic_ns();
    int code = pond_fetch(self->pond, self->key, self->key_len, self->policy, crowd_loader, self, &value, &err);
    count_answer(self, began);
    if (code != POND_OK) {
        count_error(self, code, err);
        return NULL;
    }
    size_t len;
    const char *data = pond_value_data(value, &len);
    if (len != sizeof crowd_value - 1 || memcmp(data, crowd_value, len) != 0) atomic_fetch_add(&self->wrong, 1);
    pond_value_free(value);
    return NULL;
}

/* ---- storm ------------------------------------------------------------------------------------------------------ */

typedef struct storm_load {
    crowd *crowd;
    char value[32];
} storm_load;

static void storm_loader(pond_load *load, void *ctx) {
    storm_load *self = ctx;
    atomic_fetch_add(&self->crowd->loads, 1);
    pond_load_value(load, self->value, strlen(self->value), POND_JSON, 0);
}

static void *storm_thread(void *ctx) {
    crowd *self = ctx;
    storm_load loader = {.crowd = self};
    char key[32];
    pthread_barrier_wait(&self->barrier);
    for (long long i = 0; monotonic_ns() < self->end_ns; i++) {
        int key_len = snprintf(key, sizeof key, "storm:%lld", i % (long long)self->keys);
        snprintf(loader.value, sizeof loader.value, "{\"n\":%lld}", i % (long long)self->keys);
        pond_value *value = NULL;
        pond_error *err = NULL;
        int64_t began = monotonic_ns();
        int code = pond_fetch(self->pond, key, (size_t)key_len, self->policy, storm_loader, &loader, &value, &err);
        count_answer(self, began);
        if (code != POND_OK) {
            count_error(self, code, err);
            sleep_ms(1);
            continue;
        }
        size_t len;
        const char *data = pond_value_data(value, &len);
        if (len != strlen(loader.value) || memcmp(data, loader.value, len) != 0) atomic_fetch_add(&self->wrong, 1);
        pond_value_free(value);
    }
    return NULL;
}

/* ---- sweep ------------------------------------------------------------------------------------------------------ */

static void sweep_loader(pond_load *load, void *ctx) {
    crowd *self = ctx;
    atomic_fetch_add(&self->loads, 1);
    log_line(self, "start");
    if (self->absent) pond_load_absent(load, 0);
    else pond_load_value(load, crowd_value, sizeof crowd_value - 1, POND_JSON, 0);
}

static void sweep(crowd *self, int64_t ids, int64_t rounds) {
    text key = {0};
    for (int64_t i = 0; i < ids * rounds; i++) {
        key.len = 0;
        text_add(&key, self->key, self->key_len);
        text_printf(&key, "%lld", (long long)(i % ids));
        pond_value *value = NULL;
        pond_error *err = NULL;
        int64_t began = monotonic_ns();
        int code = pond_fetch(self->pond, key.data, key.len, self->policy, sweep_loader, self, &value, &err);
        count_answer(self, began);
        if (code != POND_OK) {
            count_error(self, code, err);
            continue;
        }
        if (pond_value_state(value) == POND_ABSENT) atomic_fetch_add(&self->absences, 1);
        pond_value_free(value);
    }
    free(key.data);
}

/* ---- all three -------------------------------------------------------------------------------------------------- */

static void run_threads(crowd *self, void *(*body)(void *), size_t count) {
    pthread_t *threads = calloc(count, sizeof *threads);
    if (!threads || pthread_barrier_init(&self->barrier, NULL, (unsigned)count)) abort();
    for (size_t i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, body, self)) abort();
    for (size_t i = 0; i < count; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&self->barrier);
    free(threads);
}

static void report(const crowd *self, int64_t began, text *out) {
    text_printf(out,
                "{\"ok\":true,\"answers\":%lld,\"loads\":%lld,\"wrong\":%lld,\"absent\":%lld,\"late_errors\":%lld,",
                atomic_load(&self->answers), atomic_load(&self->loads), atomic_load(&self->wrong),
                atomic_load(&self->absences), atomic_load(&self->late_errors));
    text_printf(out, "\"last_ns\":%lld,\"longest_ms\":%.3f,\"took_ms\":%.3f,\"answered_ns\":[",
                atomic_load(&self->last_ns), (double)atomic_load(&self->longest_ns) / 1e6,
                (double)(monotonic_ns() - began) / 1e6);
    const char *comma = "";
    for (long long i = 0; self->each && i < atomic_load(&self->answers); i++) {
        text_printf(out, "%s%lld", comma, self->each[i]);
        comma = ",";
    }
    text_puts(out, "],\"errors\":{");
    comma = "";
    for (int i = 0; i < CODES; i++) {
        if (atomic_load(&self->errors[i]) == 0) continue;
        text_printf(out, "%s\"%s\":%lld", comma, pond_code_name(-i), atomic_load(&self->errors[i]));
        comma = ",";
    }
    const char *first = atomic_load(&self->first_error);
    text_puts(out, "},\"first_error\":");
    text_json(out, first ? first : "", first ? strlen(first) : 0);
    text_puts(out, "}");
}

bool tool_crowd(tool *tools, const command *line, text *out) {
    const char *log = command_text(line, "log", NULL);
    const word *key = command_word(line, "key");
    pond_error *err = NULL;
    crowd self = {.pond = tool_pond(tools, line), .line = line, .log = -1, .late_ns = INT64_MAX};
    self.key = key ? key->value : "";
    self.key_len = key ? key->len : 0;
    self.delay_ms = command_number(line, "delay", 0);
    self.at_ms = command_number(line, "at", 0);
    self.keys = command_number(line, "keys", 100);
    self.absent = strcmp(command_text(line, "load", "json"), "absent") == 0;
    if (tool_policy(self.pond, line, &self.policy, &err)) abort();
    if (log && (self.log = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)) < 0) abort();
    int64_t began = monotonic_ns();
    self.end_ns = began + command_number(line, "ms", 1000) * 1000000;
    bool known = true;
    if (strcmp(line->verb, "crowd") == 0) {
        size_t callers = (size_t)command_number(line, "callers", 1);
        if (strcmp(command_text(line, "each", "no"), "yes") == 0) self.each = calloc(callers, sizeof *self.each);
        run_threads(&self, crowd_thread, callers);
    } else if (strcmp(line->verb, "storm") == 0) {
        self.late_ns = self.end_ns - command_number(line, "calm", 1000) * 1000000;
        run_threads(&self, storm_thread, (size_t)command_number(line, "callers", 1));
    } else if (strcmp(line->verb, "sweep") == 0) {
        sweep(&self, command_number(line, "ids", 1), command_number(line, "rounds", 1));
    } else {
        known = false;
    }
    if (known) report(&self, began, out);
    free(self.each);
    free(atomic_load(&self.first_error));
    pond_policy_free(self.policy);
    if (self.log >= 0) close(self.log);
    return known;
}
