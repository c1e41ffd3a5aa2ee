#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "actors.h"
#include "faults.h"
#include "virtual/virtual.h"

#define LONGEST_MS 120000 /* of what a schedule does: it is over long before, or hangs */
#define MOST_STEPS 200000

int64_t world_delay(world *w) {
    if (w->calm) return 1;
    if (dice_chance(&w->dice, w->row->spikes)) return dice_between(&w->dice, 100, 700);
    return dice_between(&w->dice, 1, dice_chance(&w->dice, 500) ? 3 : 25);
}

uint32_t world_commit(world *w, size_t key) {
    uint32_t version = store_commit(&w->store, key, dice_chance(&w->dice, w->row->deletes));
    w->judge.counts.writes++;
    trace_line(&w->trace, "the store has k%zu:%u%s", key, version,
               w->store.key[key].absent[version] ? " (absent)" : "");
    return version;
}

/* ---- steps ---- */

static process *next_process(world *w, int64_t *at) {
    process *who = NULL;
    *at = INT64_MAX;
    for (size_t i = 0; i < w->processes; i++) {
        int64_t due = process_due(&w->process[i]);
        if (due < *at || (due == *at && due != INT64_MAX && dice_chance(&w->dice, 500))) {
            *at = due;
            who = &w->process[i];
        }
    }
    return who;
}

/* The next thing that happens, up to a time. False: nothing does. */
static bool step(world *w, int64_t until) {
    int64_t turn, thing = agenda_next(&w->agenda);
    process *who = next_process(w, &turn);
    int64_t at = turn < thing ? turn : thing;
    if (at > until) {
        virtual_move_to(until);
        return false;
    }
    virtual_move_to(at);
    if (who && (turn < thing || (turn == thing && dice_chance(&w->dice, 500)))) {
        process_turn(who);
    } else {
        agenda_item item = agenda_take(&w->agenda);
        item.run(item.owner, item.arg);
    }
    return true;
}

static bool over(const world *w) {
    for (size_t i = 0; i < w->reader_count; i++)
        if (!reader_over(w->readers[i])) return false;
    for (size_t i = 0; i < w->writer_count; i++)
        if (!writer_over(w->writers[i])) return false;
    for (size_t i = 0; i < w->client_count; i++)
        if (!client_over(w->clients[i])) return false;
    return true;
}

/* Until all who act have done what they were to do. */
static void run_actors(world *w) {
    int64_t end = virtual_now() + LONGEST_MS;
    for (unsigned steps = 0; !w->stumbled && !over(w); steps++) {
        if (steps < MOST_STEPS && step(w, end)) continue;
        w->stumbled = true;
        judge_broken(&w->judge, "a request has no end");
    }
}

static void run_for(world *w, int64_t ms) {
    int64_t end = virtual_now() + ms;
    for (unsigned steps = 0; steps < MOST_STEPS && step(w, end); steps++) continue;
}

/* ---- its life ---- */

static void begin(world *w, const sim_row *row, uint64_t seed, const world_setting *setting) {
    *w = (world){.row = row, .dice = dice_of(seed, row->name), .setting = setting, .network = setting->network};
    virtual_begin(dice_bits(&w->dice));
    agenda_init(&w->agenda, &w->dice);
    trace_begin(&w->trace, setting->shown);
    network_begin(w->network, w);
    w->server = server_new(&w->dice, setting->replaced, !setting->naive, dice_chance(&w->dice, 750));
    store_begin(&w->store, row->keys);
    judge_begin(&w->judge, &w->trace, &w->store, row->strict, row->unjudged);
    ledger_begin(&w->ledger, &w->judge);
    w->lease = dice_chance(&w->dice, 300) ? 3000 : dice_between(&w->dice, 40, 200);
    if (row->lease) w->lease = row->lease;
    w->intent = row->intent ? row->intent : 3000;
    trace_line(&w->trace, "row %s, seed %llu, lease %lld ms", row->name, (unsigned long long)seed, (long long)w->lease);
    for (unsigned i = 0; i < row->processes; i++) process_open(&w->process[w->processes++], w, i);
}

static void end(world *w) {
    w->ended = true;
    for (size_t i = 0; i < w->processes; i++) {
        w->process[i].dead = true;
        network_orphan(w->network, &w->process[i]);
    }
    while (w->agenda.count) { /* what still lies there gives its memory back, and does nothing to the dead */
        agenda_item item = agenda_take(&w->agenda);
        item.run(item.owner, item.arg);
    }
    for (size_t i = 0; i < w->processes; i++) process_close(&w->process[i]);
    for (size_t i = 0; i < w->reader_count; i++) free(w->readers[i]);
    for (size_t i = 0; i < w->writer_count; i++) free(w->writers[i]);
    for (size_t i = 0; i < w->client_count; i++) free(w->clients[i]);
    network_end(w->network);
    server_free(w->server);
    agenda_free(&w->agenda);
}

static process *any_process(world *w) { return &w->process[dice_below(&w->dice, (uint32_t)w->processes)]; }

/* The server's own clockwork. */
static void tick(void *owner, uint64_t arg) {
    world *w = owner;
    server_expire(w->server);
    network_tell(w->network);
    if (!w->ended) agenda_at(&w->agenda, virtual_now() + 100, tick, w, 0);
}

static void act(world *w) {
    const sim_row *row = w->row;
    for (unsigned i = 0; i < row->readers; i++)
        w->readers[w->reader_count++] = reader_start(any_process(w), i, row->reads);
    for (unsigned i = 0; i < row->writers + row->foreign; i++) {
        writer_kind kind = i >= row->writers ? WRITER_FOREIGN : row->through ? WRITER_THROUGH : WRITER_ASIDE;
        w->writers[w->writer_count++] = writer_start(any_process(w), kind, i, row->writes);
    }
    for (unsigned i = 0; i < row->clients; i++)
        w->clients[w->client_count++] = client_start(any_process(w), i, row->calls, false);
    faults_plan(w);
    tick(w, 0);
    run_actors(w);
}

/* What can pass, passes: messages, pauses, leases, intents. Then a process that lives on and one that is new read everything. */
static void come_to_rest(world *w) {
    w->calm = true;
    trace_line(&w->trace, "rest");
    run_for(w, 3 * w->lease + 2 * w->intent + 10000);
    for (size_t i = 0; i < w->processes; i++) {
        if (w->process[i].dead) continue;
        w->readers[w->reader_count++] = auditor_start(&w->process[i]);
        run_actors(w);
        break;
    }
    if (!w->row->memory && w->processes < WORLD_PROCESSES) {
        process_open(&w->process[w->processes], w, (unsigned)w->processes);
        w->readers[w->reader_count++] = auditor_start(&w->process[w->processes++]);
        run_actors(w);
    }
}

/* The worker of a process that has just come, or of one that has lived, takes all that waits to the store. */
static void come_to_rest_behind(world *w) {
    w->calm = true;
    trace_line(&w->trace, "rest");
    process *fresh = &w->process[w->processes];
    process_open(fresh, w, (unsigned)w->processes++);
    for (size_t i = 0; i < w->processes; i++)
        if (w->process[i].stands_until > virtual_now()) run_for(w, w->process[i].stands_until - virtual_now());
    for (int seconds = 0; seconds < 90 && (seconds < 3 || server_waiting(w->server)); seconds++) run_for(w, 1000);
    ledger_rests(&w->ledger, w->row->keys, server_waiting(w->server));
    for (size_t i = 0; i < w->processes; i++) {
        if (w->process[i].dead) continue;
        w->clients[w->client_count++] = client_start(&w->process[i], 0, 3 * w->row->keys, true);
        run_actors(w);
        break;
    }
    w->clients[w->client_count++] = client_start(fresh, 0, 3 * w->row->keys, true);
    run_actors(w);
}

world_result world_run(const sim_row *row, uint64_t seed, const world_setting *setting) {
    static world w; /* too large for a small stack */
    world_result result = {0};
    begin(&w, row, seed, setting);
    act(&w);
    if (!w.stumbled && row->clients) come_to_rest_behind(&w);
    else if (!w.stumbled) come_to_rest(&w);
    result.counts = w.judge.counts;
    result.hash = w.trace.hash;
    memcpy(result.first, w.judge.first, sizeof result.first);
    end(&w);
    return result;
}
