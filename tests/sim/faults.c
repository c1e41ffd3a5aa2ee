#include "faults.h"

#include "actors.h"
#include "virtual/virtual.h"
#include "world.h"

static process *someone(world *w) { return &w->process[dice_below(&w->dice, (uint32_t)w->processes)]; }

static void evict(void *owner, uint64_t prefix) {
    world *w = owner;
    if (w->calm) return;
    const char *name = server_evict(w->server, (const char *)(uintptr_t)prefix);
    if (name) trace_line(&w->trace, "evicted: %s", name);
    network_tell(w->network);
}

static void cut(void *owner, uint64_t arg) {
    world *w = owner;
    if (!w->calm) network_cut(w->network, someone(w), dice_chance(&w->dice, 500));
}

static void stand(void *owner, uint64_t arg) {
    world *w = owner;
    if (!w->calm) process_stand(someone(w), dice_between(&w->dice, 1, w->row->pause));
}

static bool may_die(const world *w, const process *p) {
    for (size_t i = 0; i < w->writer_count; i++)
        if (w->writers[i]->p == p && writer_exposed(w->writers[i])) return false;
    return !p->dead;
}

/* One is always left: somebody must be hurt by what the others leave behind. */
bool faults_kill(world *w, process *p) {
    size_t living = 0;
    for (size_t i = 0; i < w->processes; i++) living += !w->process[i].dead;
    if (w->calm || living < 2 || !may_die(w, p)) return false;
    w->judge.counts.crashes++;
    process_die(p);
    return true;
}

static void crash(void *owner, uint64_t arg) { faults_kill(owner, someone(owner)); }

static void save(void *owner, uint64_t arg) {
    world *w = owner;
    if (w->calm) return;
    server_save(w->server);
    trace_line(&w->trace, "the server saves");
}

/* What is due from now on is what the store has, and what waits for it. */
static void lose_tail(world *w) {
    server_news news = {0};
    ledger_tail_lost(&w->ledger);
    server_recall(w->server);
    while (server_accepted(w->server, &news)) ledger_survives(&w->ledger, &news);
}

static void come_back(void *owner, uint64_t arg) {
    world *w = owner;
    static const char *const how[] = {"empty", "with what was saved", "as a replica that was promoted"};
    w->network->refuses = false;
    server_restart(w->server, (server_return)arg);
    if (w->row->clients && !w->row->keeps) lose_tail(w);
    trace_line(&w->trace, "the server is back, %s", how[arg]);
}

static void restart(void *owner, uint64_t arg) {
    world *w = owner;
    if (w->calm || w->network->refuses) return;
    if (w->row->keeps) server_save(w->server);
    trace_line(&w->trace, "the server dies");
    network_cut_all(w->network);
    w->network->refuses = true;
    int64_t down = dice_chance(&w->dice, 500) ? 1 : dice_between(&w->dice, 1, 300);
    server_return how = w->row->keeps                ? SERVER_SAVED
                        : dice_chance(&w->dice, 200) ? SERVER_EMPTY
                        : dice_chance(&w->dice, 500) ? SERVER_SAVED
                                                     : SERVER_PROMOTED;
    agenda_at(&w->agenda, virtual_now() + down, come_back, w, how);
}

/* Its last moments are lost: what it had a short while before is what it comes back with. */
static void tail(void *owner, uint64_t arg) {
    world *w = owner;
    save(owner, arg);
    agenda_at(&w->agenda, virtual_now() + dice_between(&w->dice, 1, w->row->tail), restart, w, arg);
}

static void replid(void *owner, uint64_t arg) {
    world *w = owner;
    if (w->calm) return;
    server_new_replid(w->server);
    trace_line(&w->trace, "the server has another replication id");
}

static void flush(void *owner, uint64_t arg) {
    world *w = owner;
    if (w->calm) return;
    server_flush_scripts(w->server);
    trace_line(&w->trace, "the server forgets its scripts");
}

static void plan(world *w, unsigned most, void (*run)(void *owner, uint64_t arg), uint64_t arg) {
    for (unsigned n = most ? dice_below(&w->dice, most + 1) : 0; n > 0; n--)
        agenda_at(&w->agenda, virtual_now() + dice_between(&w->dice, 0, w->row->span), run, w, arg);
}

void faults_plan(world *w) {
    const sim_row *row = w->row;
    plan(w, row->evict_values, evict, (uintptr_t) "mp:v:");
    plan(w, row->evict_leases, evict, (uintptr_t) "mp:l:");
    plan(w, row->clients ? row->evict_values : 0, evict, (uintptr_t) "mp:b:");
    plan(w, row->clients ? row->evict_leases : 0, evict, (uintptr_t) "mp:bl:");
    plan(w, row->evict_hints, evict, (uintptr_t) "mp:t:");
    plan(w, row->evict_intents, evict, (uintptr_t) "mp:w:");
    plan(w, row->evict_intents, evict, (uintptr_t) "mp:gw:");
    plan(w, row->evict_tags, evict, (uintptr_t) "mp:g:");
    plan(w, row->evict_fence, evict, (uintptr_t) "mp:f");
    plan(w, row->cuts, cut, 0);
    plan(w, row->pauses, stand, 0);
    plan(w, row->crashes, crash, 0);
    plan(w, 2 * row->restarts, save, 0);
    plan(w, row->restarts, restart, 0);
    plan(w, row->tails, tail, 0);
    plan(w, row->replids, replid, 0);
    plan(w, row->flushes, flush, 0);
}
