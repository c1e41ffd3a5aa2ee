#include "storing.h"

#include <stdio.h>
#include <stdlib.h>

#include "actors.h"
#include "faults.h"
#include "virtual/virtual.h"
#include "world.h"

typedef struct storing {
    struct storing *next;
    process *p;
    pond_writing *writing;
    writer *writer; /* NULL: nobody waits for it */
    size_t key;
    bool through, commits;
    pond_outcome outcome; /* what the host will say */
    uint32_t version;
    bool answered, arrived; /* gone when both */
} storing;

static void finish(storing *s) {
    if (!s->answered || !s->arrived) return;
    storing **at = &s->p->storings;
    while (*at != s) at = &(*at)->next;
    *at = s->next;
    free(s);
}

static void say(storing *s) {
    world *w = s->p->world;
    static const char *const words[] = {"", "is committed", "was refused", "has an unknown outcome"};
    trace_line(&w->trace, "p%u's write of k%zu %s", s->p->number, s->key, words[s->outcome]);
    char text[32];
    int len = snprintf(text, sizeof text, "k%zu:%u", s->key, s->version);
    if (s->outcome != POND_COMMITTED) {
        pond_write_fail(s->writing, s->outcome, 0, "the store said so");
    } else {
        bool absent = w->store.key[s->key].absent[s->version];
        if (s->through && absent) pond_writing_absent(s->writing, 0, NULL);
        else if (s->through) pond_writing_value(s->writing, 0, text, (size_t)len, POND_TEXT, NULL);
        pond_write_done(s->writing);
    }
}

static void answer(void *owner, uint64_t arg) {
    storing *s = owner;
    say(s);
    s->answered = true;
    finish(s);
}

static void at_store(void *owner, uint64_t arg) {
    storing *s = owner;
    world *w = s->p->world;
    if (s->commits) {
        s->version = world_commit(w, s->key);
        if (s->writer) s->writer->version = s->version;
        if (dice_chance(&w->dice, w->row->deadly_writes)) faults_kill(w, s->p);
    }
    if (!s->answered && s->outcome != POND_UNKNOWN) process_after(s->p, dice_between(&w->dice, 1, 20), answer, s, 0);
    s->arrived = true;
    finish(s);
}

void storing_begin(process *p, pond_writing *writing, writer *by) {
    world *w = p->world;
    storing *s = malloc(sizeof *s);
    if (!s) abort();
    *s = (storing){.next = p->storings,
                   .p = p,
                   .writing = writing,
                   .writer = by,
                   .key = by->request.key,
                   .commits = true,
                   .through = by->kind == WRITER_THROUGH,
                   .outcome = POND_COMMITTED};
    p->storings = s;
    if (!w->calm && dice_chance(&w->dice, w->row->refused_writes)) {
        s->outcome = POND_NOT_WRITTEN;
        s->commits = false;
    } else if (!w->calm && dice_chance(&w->dice, w->row->unknown_writes)) {
        s->outcome = POND_UNKNOWN;
        s->commits = dice_chance(&w->dice, 600);
    }
    int64_t way = dice_between(&w->dice, 1, dice_chance(&w->dice, w->row->slow_writes) ? 2 * w->intent : 20);
    if (w->setting->layer == LAYER_EARLY_END) {
        pond_write_done(writing);
        s->answered = true;
    }
    agenda_at(&w->agenda, virtual_now() + way, at_store, s, 0);
    /* A host that has lost the answer says so, before or after the commit comes. */
    if (s->outcome == POND_UNKNOWN) process_after(p, dice_between(&w->dice, 1, 60), answer, s, 0);
}

void storing_forget(writer *by) {
    for (storing *s = by->p->storings; s; s = s->next)
        if (s->writer == by) s->writer = NULL;
}

void storing_end_all(process *p) {
    for (storing *s; (s = p->storings);) {
        p->storings = s->next;
        if (!s->answered) pond_write_fail(s->writing, POND_UNKNOWN, 0, "the world is over");
        free(s);
    }
}
