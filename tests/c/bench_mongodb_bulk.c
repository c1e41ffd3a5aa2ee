/* The floor under a worker of write=behind: a bare bulkWrite by libmongoc, unordered replaceOne upserts with driver defaults, w: majority, in
 * batches of 500. The documents are BSON before the clock runs.
 *
 *   bench_mongodb_bulk URI DATABASE DOCUMENTS COUNT
 *
 * DOCUMENTS holds one JSON document a line. Reads `run COLLECTION NUMBER` lines from stdin: writes COUNT documents with the member v: NUMBER, and
 * answers with one JSON line. */
#include <mongoc/mongoc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_clock.h"

enum { MAX_DOCUMENTS = 4096, BATCH = 500 };

static bson_t *films[MAX_DOCUMENTS];
static size_t film_count;

static void die(const char *what, const char *why) {
    fprintf(stderr, "bench_mongodb_bulk: Error: %s: %s\n", what, why);
    exit(1);
}

static void read_documents(const char *path) {
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t size = 0;
    bson_error_t error;
    if (!file) die(path, "cannot be read");
    while (getline(&line, &size, file) > 0 && film_count < MAX_DOCUMENTS)
        if (!(films[film_count++] = bson_new_from_json((const uint8_t *)line, -1, &error))) die(path, error.message);
    free(line);
    fclose(file);
    if (!film_count) die(path, "holds no document");
}

static bson_t *numbered(size_t at, int64_t number) {
    char id[32];
    bson_t *doc = bson_new();
    snprintf(id, sizeof id, "%08zu", at);
    BSON_APPEND_UTF8(doc, "_id", id);
    BSON_APPEND_INT64(doc, "v", number);
    bson_copy_to_excluding_noinit(films[at % film_count], doc, "id", "v", NULL);
    return doc;
}

static void write_batch(mongoc_collection_t *collection, bson_t **docs, size_t n) {
    bson_t options = BSON_INITIALIZER, upsert = BSON_INITIALIZER, concern, reply;
    bson_error_t error;
    BSON_APPEND_BOOL(&options, "ordered", false);
    BSON_APPEND_DOCUMENT_BEGIN(&options, "writeConcern", &concern);
    BSON_APPEND_UTF8(&concern, "w", "majority");
    bson_append_document_end(&options, &concern);
    BSON_APPEND_BOOL(&upsert, "upsert", true);
    mongoc_bulk_operation_t *bulk = mongoc_collection_create_bulk_operation_with_opts(collection, &options);
    for (size_t i = 0; i < n; i++) {
        bson_t filter = BSON_INITIALIZER;
        bson_iter_t id;
        if (bson_iter_init_find(&id, docs[i], "_id")) bson_append_iter(&filter, "_id", 3, &id);
        if (!mongoc_bulk_operation_replace_one_with_opts(bulk, &filter, docs[i], &upsert, &error))
            die("replaceOne", error.message);
        bson_destroy(&filter);
    }
    if (!mongoc_bulk_operation_execute(bulk, &reply, &error)) die("bulkWrite", error.message);
    bson_destroy(&reply);
    mongoc_bulk_operation_destroy(bulk);
    bson_destroy(&upsert);
    bson_destroy(&options);
}

int main(int argc, char **argv) {
    if (argc != 5) die("usage", "bench_mongodb_bulk URI DATABASE DOCUMENTS COUNT");
    read_documents(argv[3]);
    size_t count = strtoul(argv[4], NULL, 10);
    bson_t **docs = calloc(count, sizeof *docs);
    if (!docs || !count) die("COUNT", "is no number of documents");
    mongoc_init();
    mongoc_client_t *client = mongoc_client_new(argv[1]);
    if (!client) die(argv[1], "is no address");
    printf("{\"ready\":true,\"version\":\"%s\"}\n", mongoc_get_version());
    fflush(stdout);
    char name[64];
    long long number;
    while (scanf(" run %63s %lld", name, &number) == 2) {
        mongoc_collection_t *collection = mongoc_client_get_collection(client, argv[2], name);
        for (size_t i = 0; i < count; i++) docs[i] = numbered(i, number);
        double begun = seconds_now(CLOCK_MONOTONIC);
        for (size_t at = 0; at < count; at += BATCH)
            write_batch(collection, docs + at, count - at < BATCH ? count - at : BATCH);
        printf("{\"ops\":%zu,\"seconds\":%.6f}\n", count, seconds_now(CLOCK_MONOTONIC) - begun);
        fflush(stdout);
        for (size_t i = 0; i < count; i++) bson_destroy(docs[i]);
        mongoc_collection_destroy(collection);
    }
    mongoc_client_destroy(client);
    mongoc_cleanup();
    free(docs);
    for (size_t i = 0; i < film_count; i++) bson_destroy(films[i]);
    return 0;
}
