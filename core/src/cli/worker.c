/* millpond worker: a process that does nothing but take to the store what others have accepted (write=behind), and says how far it is. */
#include "cli/cli.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <yyjson.h>

enum { EVERY_MS = 10000, CLOSE_MS = 30000 };

typedef struct worker {
    cli *c;
    pond_collection **collections;
} worker;

static int open_collections(worker *w) {
    static const char *const options[] = {"write", "behind", "event_key", "off"};
    for (int i = 0; i < w->c->count; i++) {
        pond_error *error = NULL;
        int code = pond_collection_new(&w->collections[i], w->c->pond, w->c->words[i], options, 2, &error);
        if (code != POND_OK) {
            cli_failed(error);
            return code == POND_EOPTION ? CLI_USAGE : CLI_FAILED;
        }
        if (pond_collection_prepare(w->collections[i], &error) == POND_OK) continue;
        bool later = pond_error_retriable(error) != 0; /* what cannot be reached now is waited for, as later on */
        cli_failed(error);
        if (!later) return CLI_FAILED;
    }
    return CLI_DONE;
}

static void print_one(const worker *w, const char *name, yyjson_val *of) {
    char shown[4][CLI_SHOWN];
    uint64_t stored = pond_stat(w->c->pond, name, "flushed"), dead = pond_stat(w->c->pond, name, "dead_letters");
    uint64_t waiting = yyjson_get_uint(yyjson_obj_get(of, "backlog"));
    int64_t lag_ms = yyjson_get_sint(yyjson_obj_get(of, "lag_ms"));
    const char *problem = yyjson_get_str(yyjson_obj_get(of, "problem"));
    cli_text(name);
    printf(": %s wait", cli_count(shown[0], waiting));
    if (lag_ms) printf(", for up to %s", cli_time(shown[3], lag_ms));
    printf(", %s stored, %s refused; this worker has %d of 4 shards", cli_count(shown[1], stored),
           cli_count(shown[2], dead), (int)yyjson_get_int(yyjson_obj_get(of, "shards")));
    if (problem) {
        fputs("; ", stdout);
        cli_text(problem);
    }
    putchar('\n');
}

static void print_json(const worker *w, yyjson_val *behind) {
    yyjson_mut_doc *doc = cli_memory(yyjson_mut_doc_new(NULL));
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_val *name, *of;
    size_t i, n;
    yyjson_mut_doc_set_root(doc, root);
    yyjson_obj_foreach(behind, i, n, name, of) {
        yyjson_mut_val *one = cli_memory(yyjson_val_mut_copy(doc, of));
        yyjson_mut_obj_add_uint(doc, one, "flushed", pond_stat(w->c->pond, yyjson_get_str(name), "flushed"));
        yyjson_mut_obj_add_uint(doc, one, "dead_letters", pond_stat(w->c->pond, yyjson_get_str(name), "dead_letters"));
        yyjson_mut_obj_add_val(doc, root, yyjson_get_str(name), one);
    }
    char *line = cli_memory(yyjson_mut_write(doc, 0, NULL));
    puts(line);
    free(line);
    yyjson_mut_doc_free(doc);
}

static int print(const worker *w) {
    pond_value *value = NULL;
    pond_error *error = NULL;
    size_t len, i, n;
    yyjson_val *name, *of;
    if (pond_stats(w->c->pond, &value, &error) != POND_OK) return cli_failed(error);
    const char *data = pond_value_data(value, &len);
    yyjson_doc *doc = cli_memory(yyjson_read(data, len, 0));
    yyjson_val *behind = yyjson_obj_get(yyjson_doc_get_root(doc), "behind");
    if (w->c->json) print_json(w, behind);
    else yyjson_obj_foreach(behind, i, n, name, of) print_one(w, yyjson_get_str(name), of);
    fflush(stdout);
    yyjson_doc_free(doc);
    pond_value_free(value);
    return CLI_DONE;
}

/* Until somebody ends it. */
static int work(const worker *w, const sigset_t *ends) {
    int64_t every = w->c->every_ms ? w->c->every_ms : EVERY_MS;
    const struct timespec pause = {.tv_sec = every / 1000, .tv_nsec = every % 1000 * 1000000};
    int how = CLI_DONE;
    while (how == CLI_DONE && !ferror(stdout)) {
        if (sigtimedwait(ends, NULL, &pause) > 0) break;
        how = print(w);
    }
    if (how == CLI_DONE) how = print(w);
    pond_close(w->c->pond, CLOSE_MS); /* what it has begun is finished; the rest is for others */
    return how;
}

int cli_worker(cli *c) {
    sigset_t ends;
    worker w = {.c = c};
    if (!c->count)
        return cli_usage("worker: name the collections, as in: millpond worker -o store=sqlite:shop.db films");
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &ends, NULL); /* also in the threads to come */
    w.collections = cli_memory(calloc((size_t)c->count, sizeof *w.collections));
    int how = open_collections(&w);
    if (how == CLI_DONE && !c->json) printf("working; ^C ends it\n");
    fflush(stdout);
    if (how == CLI_DONE) how = work(&w, &ends);
    for (int i = 0; i < c->count; i++) pond_collection_free(w.collections[i]);
    free(w.collections);
    return how;
}
