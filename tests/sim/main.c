/* ./run sim: see README.md. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mutants.h"
#include "naive.h"
#include "world.h"

typedef struct command {
    const char *mode;
    const char *row, *mutant; /* NULL: all */
    uint64_t first, seeds;
    bool json, shown, twice, rows, mutants;
} command;

static const char usage[] =
    "./run sim [--mode strict|behind|naive] [--row NAME] [--seeds N | --seed N] [--trace] [--json]\n"
    "./run sim --mutants[=NAME] [--row NAME] [--seeds N]\n"
    "./run sim --rows        lists the rows\n"
    "./run sim --cross-check [ROUNDS]\n"
    "--twice runs each schedule twice and compares their traces.\n"
    "Exit status 0: nothing wrong was found (strict), the textbook was caught (naive), every mutant was caught.\n";

static void add(sim_counts *sum, const sim_counts *one) {
    sum->schedules += one->schedules;
    sum->reads += one->reads;
    sum->writes += one->writes;
    sum->crashes += one->crashes;
    sum->violations += one->violations;
    sum->stale_after_ack += one->stale_after_ack;
    sum->went_backwards += one->went_backwards;
    sum->stale_at_rest += one->stale_at_rest;
    sum->broken += one->broken;
    sum->lost += one->lost;
    sum->left_dirty += one->left_dirty;
    sum->regressed += one->regressed;
    sum->resurrected += one->resurrected;
    sum->stale += one->stale;
    sum->loads += one->loads;
    sum->errors += one->errors;
}

typedef unsigned long long number;

static void print_json(const sim_counts *c, bool behind) {
    printf("{\"schedules\": %llu, \"reads\": %llu, \"writes\": %llu, \"crashes\": %llu, \"violations\": %llu, "
           "\"stale_after_ack\": %llu, \"went_backwards\": %llu, \"stale_at_rest\": %llu",
           (number)c->schedules, (number)c->reads, (number)c->writes, (number)c->crashes, (number)c->violations,
           (number)c->stale_after_ack, (number)c->went_backwards, (number)c->stale_at_rest);
    if (behind)
        printf(", \"lost\": %llu, \"left_dirty\": %llu, \"regressed\": %llu, \"resurrected\": %llu", (number)c->lost,
               (number)c->left_dirty, (number)c->regressed, (number)c->resurrected);
    puts("}");
}

static void print_head(void) {
    fprintf(stderr, "%-16s %9s %8s %7s %8s %7s %8s %7s %10s %9s %9s %7s\n", "row", "schedules", "reads", "old", "loads",
            "errors", "writes", "crashes", "violations", "after ack", "backwards", "at rest");
}

static void print_row(const char *name, const sim_counts *c) {
    fprintf(stderr, "%-16s %9llu %8llu %7llu %8llu %7llu %8llu %7llu %10llu %9llu %9llu %7llu\n", name,
            (number)c->schedules, (number)c->reads, (number)c->stale, (number)c->loads, (number)c->errors,
            (number)c->writes, (number)c->crashes, (number)c->violations, (number)c->stale_after_ack,
            (number)c->went_backwards, (number)c->stale_at_rest);
}

/* By its name; else all of the mode. */
static bool chosen(const command *c, const sim_row *row) {
    if (c->row) return strcmp(c->row, row->name) == 0;
    return c->mutants || (strcmp(c->mode, "behind") == 0) == (row->clients > 0);
}

/* ---- strict, naive ---- */

static sim_counts run_row(const command *c, const sim_row *row, const world_setting *setting) {
    sim_counts sum = {0};
    unsigned told = 0;
    for (uint64_t seed = c->first; seed < c->first + c->seeds; seed++) {
        world_result result = world_run(row, seed, setting);
        if (setting->shown) printf("trace %016llx\n", (number)result.hash);
        if (c->twice && world_run(row, seed, setting).hash != result.hash) {
            result.counts.violations++;
            snprintf(result.first, sizeof result.first, "a second run of it went another way");
        }
        if (*result.first && told++ < 3) fprintf(stderr, "  seed %llu: %s\n", (number)seed, result.first);
        add(&sum, &result.counts);
    }
    return sum;
}

static int run_rows(const command *c, const world_setting *setting) {
    sim_counts sum = {0};
    print_head();
    for (size_t i = 0; i < sim_row_count; i++) {
        if (!chosen(c, &sim_rows[i])) continue;
        sim_counts one = run_row(c, &sim_rows[i], setting);
        print_row(sim_rows[i].name, &one);
        add(&sum, &one);
    }
    if (c->json) print_json(&sum, strcmp(c->mode, "behind") == 0);
    return (sum.violations > 0) == setting->naive ? 0 : 1;
}

/* ---- mutants ---- */

/* Looks for it in one row. */
static bool caught_in(const sim_row *row, const command *c, const world_setting *setting, const char *name) {
    for (uint64_t seed = c->first; seed < c->first + c->seeds; seed++) {
        world_result result = world_run(row, seed, setting);
        if (!result.counts.violations) continue;
        printf("caught  %-18s by row %s, seed %llu: %s\n", name, row->name, (number)seed, result.first);
        return true;
    }
    return false;
}

static bool caught(const command *c, const mutant *m, network *net) {
    server_scripts *scripts = mutant_scripts(m);
    world_setting setting = {.network = net, .replaced = scripts, .layer = m->layer};
    const sim_row *first = sim_row_named(m->row);
    bool behind = first && first->clients;
    bool found = first && chosen(c, first) && caught_in(first, c, &setting, m->name);
    for (size_t i = 0; !found && i < sim_row_count; i++) {
        const sim_row *row = &sim_rows[i];
        if (row != first && chosen(c, row) && !row->memory && (row->clients > 0) == behind)
            found = caught_in(row, c, &setting, m->name);
    }
    if (!found) printf("MISSED  %-18s %s\n", m->name, m->text);
    mutant_free(scripts);
    return found;
}

static int run_mutants(const command *c, network *net) {
    size_t found = 0;
    size_t wanted = 0;
    for (size_t i = 0; i < mutant_count; i++) {
        if (c->mutant && strcmp(c->mutant, mutants[i].name) != 0) continue;
        wanted++;
        found += caught(c, &mutants[i], net);
        fflush(stdout);
    }
    printf("%zu of %zu mutants caught\n", found, wanted);
    return wanted && found == wanted ? 0 : 1;
}

/* ---- */

static bool parse(command *c, int argc, char **argv) {
    static const struct option options[] = {
        {"mode", 1, 0, 'm'},  {"row", 1, 0, 'r'},  {"rows", 0, 0, 'R'},    {"seed", 1, 0, 's'},  {"seeds", 1, 0, 'n'},
        {"trace", 0, 0, 't'}, {"json", 0, 0, 'j'}, {"mutants", 2, 0, 'M'}, {"twice", 0, 0, '2'}, {0}};
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (o) {
        case 'm': c->mode = optarg; break;
        case 'r': c->row = optarg; break;
        case 'R': c->rows = true; break;
        case 's':
            c->first = strtoull(optarg, NULL, 10);
            c->seeds = 1;
            break;
        case 'n': c->seeds = strtoull(optarg, NULL, 10); break;
        case 't': c->shown = true; break;
        case 'j': c->json = true; break;
        case '2': c->twice = true; break;
        case 'M':
            c->mutants = true;
            c->mutant = optarg;
            break;
        default: return false;
        }
    }
    if (c->row && !sim_row_named(c->row)) {
        fprintf(stderr, "sim: there is no row '%s': --rows lists them\n", c->row);
        return false;
    }
    return optind == argc &&
           (strcmp(c->mode, "strict") == 0 || strcmp(c->mode, "behind") == 0 || strcmp(c->mode, "naive") == 0);
}

int main(int argc, char **argv) {
    command c = {.mode = "strict", .first = 1, .seeds = UINT64_MAX};
    if (!parse(&c, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    if (c.seeds == UINT64_MAX) c.seeds = c.mutants ? 1000 : 100; /* a mutant is looked for until it is caught */
    if (c.rows) {
        for (size_t i = 0; i < sim_row_count; i++) printf("%-16s %s\n", sim_rows[i].name, sim_rows[i].text);
        return 0;
    }
    network net;
    network_open(&net);
    world_setting setting = {.network = &net, .shown = c.shown, .naive = strcmp(c.mode, "naive") == 0};
    if (setting.naive) setting.replaced = naive_scripts();
    int status = c.mutants ? run_mutants(&c, &net) : run_rows(&c, &setting);
    network_close(&net);
    return status;
}
