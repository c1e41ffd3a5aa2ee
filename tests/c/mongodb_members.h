/* The members of a replica set of three, stopped, killed and made to give way: what tests/servers/mongodb_server.py --members 3
 * --revive 1 has started. */
#ifndef MONGODB_MEMBERS_H
#define MONGODB_MEMBERS_H

#include "mongodb_store.h"

#include <dirent.h>
#include <signal.h>

#include "support/support.h"

typedef struct member {
    int port, pid;
} member;

static inline int members(member out[3]) {
    FILE *file = fopen(getenv("MILLPOND_TEST_MONGODB_MEMBERS"), "r");
    int n = 0;
    assert_non_null(file);
    while (n < 3 && fscanf(file, "%d %d", &out[n].port, &out[n].pid) == 2) n++;
    fclose(file);
    return n;
}

static inline bson_t *hello(int port, bson_t *reply) {
    char address[100];
    bson_error_t why;
    bson_t ask = BSON_INITIALIZER;
    snprintf(address, sizeof address,
             "mongodb://127.0.0.1:%d/?directConnection=true&serverSelectionTimeoutMS=300&socketTimeoutMS=300", port);
    mongoc_client_t *client = mongoc_client_new(address);
    bson_append_int32(&ask, "hello", -1, 1);
    bool well = mongoc_client_command_simple(client, "admin", &ask, NULL, reply, &why);
    mongoc_client_destroy(client);
    bson_destroy(&ask);
    return well ? reply : NULL;
}

/* The primary that answers, of those that are not stopped. */
static inline member primary(void) {
    for (int64_t end = clock_ms() + 30000; clock_ms() < end; rest_ms(50)) {
        member all[3];
        int n = members(all);
        for (int i = 0; i < n; i++) {
            bson_t reply;
            bson_iter_t iter;
            bool is = hello(all[i].port, &reply) != NULL && bson_iter_init_find(&iter, &reply, "isWritablePrimary") &&
                      bson_iter_bool(&iter);
            bson_destroy(&reply);
            if (is) return all[i];
        }
    }
    fail_msg("there is no primary");
    return (member){0, 0};
}

/* Whether a thread of the process still runs: a stop comes to one after the other. */
static inline bool runs(int pid) {
    char path[300];
    bool any = false;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    for (struct dirent *one; tasks != NULL && !any && (one = readdir(tasks)) != NULL;) {
        char state = 'T';
        snprintf(path, sizeof path, "/proc/%d/task/%.20s/stat", pid, one->d_name);
        FILE *file = one->d_name[0] != '.' ? fopen(path, "r") : NULL;
        if (file == NULL) continue;
        if (fscanf(file, "%*d (%*[^)]) %c", &state) == 1) any = state != 'T';
        fclose(file);
    }
    if (tasks != NULL) closedir(tasks);
    return any;
}

static inline void stop(int pid) {
    kill(pid, SIGSTOP);
    while (runs(pid)) rest_ms(1);
}

static inline void signal_all(int number) {
    member all[3];
    int n = members(all);
    for (int i = 0; i < n; i++) {
        if (number == SIGSTOP) stop(all[i].pid);
        else kill(all[i].pid, number);
    }
}

static inline void step_down(void) {
    char address[100];
    bson_error_t why;
    bson_t command = BSON_INITIALIZER, reply;
    snprintf(address, sizeof address, "mongodb://127.0.0.1:%d/?directConnection=true", primary().port);
    mongoc_client_t *client = mongoc_client_new(address);
    bson_append_int32(&command, "replSetStepDown", -1, 12);
    bson_append_int32(&command, "secondaryCatchUpPeriodSecs", -1, 10);
    if (!mongoc_client_command_simple(client, "admin", &command, NULL, &reply, &why)) fail_msg("%s", why.message);
    mongoc_client_destroy(client);
    bson_destroy(&reply);
    bson_destroy(&command);
}

/* All three are there, and one is the primary. */
static inline void wait_until_whole(void) {
    for (int64_t end = clock_ms() + 60000; clock_ms() < end; rest_ms(50)) {
        member all[3];
        int n = members(all), good = 0;
        for (int i = 0; i < n; i++) {
            bson_t reply;
            bson_iter_t iter;
            good +=
                hello(all[i].port, &reply) != NULL && bson_iter_init(&iter, &reply) &&
                (bson_iter_find_case(&iter, "isWritablePrimary") &&
                 (bson_iter_bool(&iter) || (bson_iter_init_find(&iter, &reply, "secondary") && bson_iter_bool(&iter))));
            bson_destroy(&reply);
        }
        if (good == 3) {
            primary();
            return;
        }
    }
    fail_msg("the members do not come back");
}

/* The term of the primary: how many elections there have been. */
static inline long term(void) {
    bson_t reply;
    bson_iter_t iter;
    bson_oid_t id = {{0}};
    if (hello(primary().port, &reply) != NULL && bson_iter_init_find(&iter, &reply, "electionId"))
        bson_oid_copy(bson_iter_oid(&iter), &id);
    bson_destroy(&reply);
    return (long)id.bytes[8] << 24 | id.bytes[9] << 16 | id.bytes[10] << 8 | id.bytes[11];
}

/* A primary without a majority finds that out. */
static inline void wait_until_no_primary(int port) {
    for (int64_t end = clock_ms() + 30000; clock_ms() < end; rest_ms(50)) {
        bson_t reply;
        bson_iter_t iter;
        bool is = hello(port, &reply) == NULL ||
                  (bson_iter_init_find(&iter, &reply, "isWritablePrimary") && bson_iter_bool(&iter));
        bson_destroy(&reply);
        if (!is) return;
    }
    fail_msg("the primary does not give up");
}

#endif
