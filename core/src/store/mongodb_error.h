/* What an error of MongoDB or libmongoc means for whoever made the call. */
#ifndef MP_STORE_MONGODB_ERROR_H
#define MP_STORE_MONGODB_ERROR_H

#include <stdbool.h>

#include <mongoc/mongoc.h>

typedef struct mp_mongodb_problem {
    bool retriable;   /* the same call may succeed later: the network, an election, a timeout, a lock */
    bool untouched;   /* nothing can have been done: no server was there, or it said that it is not the primary */
    bool no_server;   /* none was found in the time of one look */
    bool network;     /* the connection was lost, or nothing came */
    bool out_of_time; /* the server gave up when its time was over */
    bool sort_arrays; /* two fields to sort by are arrays */
    bool duplicate;   /* a key is there already */
} mp_mongodb_problem;

/* The error is of version 2 of libmongoc's error API, and the last one of this thread. `reply` may be NULL. */
mp_mongodb_problem mp_mongodb_problem_of(const bson_error_t *error, const bson_t *reply);

#endif
