#include "engine/pool.h"

#include <pthread.h>
#include <stdlib.h>

struct mp_pool {
    pthread_mutex_t lock;
    pthread_cond_t work;
    mp_job *first, **last;
    bool stop;
    bool orphan; /* freed by one of its own jobs: the last thread cleans up */
    size_t threads, started, idle, queued;
    pthread_t ids[];
};

mp_pool *mp_pool_new(size_t threads) {
    mp_pool *pool = calloc(1, sizeof *pool + threads * sizeof pool->ids[0]);
    if (!pool) return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pool->last = &pool->first;
    pool->threads = threads;
    return pool;
}

static void destroy(mp_pool *pool) {
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->work);
    free(pool);
}

static void *worker(void *arg) {
    mp_pool *pool = arg;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!pool->first && !pool->stop) {
            pool->idle++;
            pthread_cond_wait(&pool->work, &pool->lock);
            pool->idle--;
        }
        mp_job *job = pool->first;
        if (!job) break; /* stopping, and nothing is left */
        pool->first = job->next;
        if (!pool->first) pool->last = &pool->first;
        pool->queued--;
        bool refused = pool->stop;
        pthread_mutex_unlock(&pool->lock);
        job->run(job, refused);
        pthread_mutex_lock(&pool->lock);
    }
    bool last = pool->orphan;
    pthread_mutex_unlock(&pool->lock);
    if (last) destroy(pool);
    return NULL;
}

bool mp_pool_submit(mp_pool *pool, mp_job *job) {
    pthread_mutex_lock(&pool->lock);
    bool taken = !pool->stop;
    if (taken && pool->queued >= pool->idle && pool->started < pool->threads) {
        if (pthread_create(&pool->ids[pool->started], NULL, worker, pool) == 0) pool->started++;
        else taken = pool->started > 0;
    }
    if (taken) {
        job->next = NULL;
        *pool->last = job;
        pool->last = &job->next;
        pool->queued++;
        pthread_cond_signal(&pool->work);
    }
    pthread_mutex_unlock(&pool->lock);
    return taken;
}

bool mp_pool_waits(mp_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    bool waits = pool->first != NULL;
    pthread_mutex_unlock(&pool->lock);
    return waits;
}

bool mp_pool_withdraw(mp_pool *pool, mp_job *job) {
    pthread_mutex_lock(&pool->lock);
    mp_job **at = &pool->first;
    while (*at && *at != job) at = &(*at)->next;
    bool found = *at != NULL;
    if (found) {
        *at = job->next;
        if (!*at) pool->last = at;
        pool->queued--;
    }
    pthread_mutex_unlock(&pool->lock);
    return found;
}

void mp_pool_free(mp_pool *pool) {
    if (!pool) return;
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    bool own = false;
    for (size_t i = 0; i < pool->started; i++) {
        if (pthread_equal(pool->ids[i], pthread_self())) own = true;
        else pthread_join(pool->ids[i], NULL);
    }
    if (!own) {
        destroy(pool);
        return;
    }
    pthread_detach(pthread_self());
    pool->orphan = true; /* no other thread is left */
}
