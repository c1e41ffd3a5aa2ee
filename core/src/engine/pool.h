/* Worker threads for calls that block (stores), started when there is work. */
#ifndef MP_ENGINE_POOL_H
#define MP_ENGINE_POOL_H

#include <stdbool.h>
#include <stddef.h>

typedef struct mp_pool mp_pool;

typedef struct mp_job {
    struct mp_job *next;
    void (*run)(struct mp_job *self, bool refused); /* on a worker; refused: the pool is closing, do not work */
} mp_job;

mp_pool *mp_pool_new(size_t threads);
/* False if no thread could be started at all: the job was not taken. @threads any */
bool mp_pool_submit(mp_pool *pool, mp_job *job);
/* Is there a job that no thread has begun yet? */
bool mp_pool_waits(mp_pool *pool);
/* Takes back a job that nobody has begun. False: it is not in the queue. */
bool mp_pool_withdraw(mp_pool *pool, mp_job *job);
/* Ends running jobs by waiting for them, queued ones with `refused`. A job may call it. */
void mp_pool_free(mp_pool *pool);

#endif
