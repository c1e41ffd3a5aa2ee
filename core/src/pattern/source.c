#include "pattern/source.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "pattern/load.h"
#include "pattern/pond.h"

enum { JOB_MOST = 500 }; /* loads of one turn in one statement */

typedef struct mp_source_job {
    mp_job job;
    struct mp_source_job *next;
    mp_source *source;
    size_t n, room;
    pond_load **loads;
} mp_source_job;

mp_source *mp_source_ref(mp_source *source) {
    if (source) atomic_fetch_add_explicit(&source->refs, 1, memory_order_relaxed);
    return source;
}

void mp_source_unref(mp_source *source) {
    if (source && atomic_fetch_sub_explicit(&source->refs, 1, memory_order_acq_rel) == 1) source->destroy(source);
}

void mp_source_loader(pond_load *load, void *ctx) {
    mp_source *source = ctx;
    source->run(source, &load, 1);
}

static void job_free(mp_source_job *job) {
    mp_source_unref(job->source);
    free(job->loads);
    free(job);
}

static void work(mp_job *self, bool refused) {
    mp_source_job *job = MP_OF(self, mp_source_job, job);
    if (refused)
        for (size_t i = 0; i < job->n; i++) pond_load_fail(job->loads[i], POND_ECLOSED, "the pond is closed");
    else job->source->run(job->source, job->loads, job->n);
    job_free(job);
}

/* Takes the job over. */
static void start(mp_lane *lane, mp_source_job *job) {
    mp_pool *pool = mp_pond_pool(lane->pond);
    if (pool && mp_pool_submit(pool, &job->job)) return;
    for (size_t i = 0; i < job->n; i++)
        mp_load_fail_here(job->loads[i], mp_error_new(POND_ENOMEM, "no thread for a call to the store"));
    job_free(job);
}

static mp_source_job *job_for(mp_lane *lane, mp_source *source) {
    mp_source_job *job = lane->sourced;
    while (job && (job->source != source || job->n == JOB_MOST)) job = job->next;
    if (job || !(job = calloc(1, sizeof *job))) return job;
    job->job.run = work;
    job->source = mp_source_ref(source);
    job->next = lane->sourced;
    lane->sourced = job;
    mp_loop_defer(lane->loop, &lane->start_sourced);
    return job;
}

void mp_source_offered(mp_lane *lane, mp_source *source, pond_load *load) {
    mp_load_unref(load); /* the event's reference: the host never sees one */
    mp_source_job *job = job_for(lane, source);
    if (job && job->n == job->room) {
        size_t room = job->room ? job->room * 2 : 4;
        pond_load **loads = realloc(job->loads, room * sizeof *loads);
        if (loads) {
            job->loads = loads;
            job->room = room;
        }
    }
    if (job && job->n < job->room) job->loads[job->n++] = load;
    else mp_load_fail_here(load, mp_error_new(POND_ENOMEM, "no memory for a load"));
}

void mp_source_start(mp_task *task) {
    mp_lane *lane = MP_OF(task, mp_lane, start_sourced);
    mp_source_job *job = lane->sourced;
    lane->sourced = NULL;
    while (job) {
        mp_source_job *next = job->next;
        if (job->n) start(lane, job);
        else job_free(job); /* there was no memory for its only load */
        job = next;
    }
}

void mp_source_submit(mp_lane *lane, mp_source *source, pond_load *const *loads, size_t n) {
    mp_source_job *job = calloc(1, sizeof *job);
    pond_load **own = malloc(n * sizeof *own);
    if (!job || !own) {
        free(job);
        free(own);
        for (size_t i = 0; i < n; i++) mp_load_fail_here(loads[i], mp_error_new(POND_ENOMEM, "no memory for a load"));
        return;
    }
    memcpy(own, loads, n * sizeof *own);
    *job = (mp_source_job){.job.run = work, .source = mp_source_ref(source), .n = n, .room = n, .loads = own};
    start(lane, job);
}
