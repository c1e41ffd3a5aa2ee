/* millpond stats: what the processes count that publish it, each for itself and by namespace. */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <yyjson.h>

/* What is shown of a row of counters. */
enum { HITS, ABSENCES, MISSES, WAITS, LOADS, FAILED, REFUSED, TIMEOUTS, ERRORS, COUNTS };
static const char *const names[COUNTS] = {"hits",        "negative_hits", "misses",   "waits",       "loads",
                                          "load_errors", "refused_fills", "timeouts", "cache_errors"};

typedef struct row {
    char process[33], label[160]; /* label: the process as people call it, or a namespace */
    bool whole;                   /* all of a process: its total */
    int64_t up_ms, age_ms;
    uint64_t counts[COUNTS];
    double reads_s, loads_s; /* since it was seen before, or else since it began */
    double hit_rate;
} row;

typedef struct snapshot {
    row *rows;
    size_t count, room;
} snapshot;

static row *add(snapshot *s, const char *process, bool whole, const char *label) {
    if (s->count == s->room) {
        s->room = s->room ? s->room * 2 : 64;
        s->rows = cli_memory(realloc(s->rows, s->room * sizeof *s->rows));
    }
    row *r = &s->rows[s->count++];
    memset(r, 0, sizeof *r);
    snprintf(r->process, sizeof r->process, "%s", process);
    snprintf(r->label, sizeof r->label, "%s", label);
    r->whole = whole;
    return r;
}

static void add_counts(row *r, yyjson_val *counters) {
    for (size_t i = 0; i < COUNTS; i++) r->counts[i] += yyjson_get_uint(yyjson_obj_get(counters, names[i]));
}

static uint64_t reads(const row *r) { return r->counts[HITS] + r->counts[ABSENCES] + r->counts[MISSES]; }

/* By process, its total first, then by label. */
static int in_order(const void *a, const void *b) {
    const row *one = a, *other = b;
    int by = strcmp(one->process, other->process);
    if (by == 0) by = other->whole - one->whole;
    return by ? by : strcmp(one->label, other->label);
}

/* How fast it goes: since the same row was seen before, if it was; else since its process began. */
static void find_rates(row *r, const snapshot *before) {
    static const row nothing;
    const row *then = before->count ? bsearch(r, before->rows, before->count, sizeof *r, in_order) : NULL;
    if (!then || then->up_ms > r->up_ms || reads(then) > reads(r)) then = &nothing;
    if (then->up_ms == r->up_ms && r->up_ms) { /* it has not published since */
        r->reads_s = then->reads_s;
        r->loads_s = then->loads_s;
        r->hit_rate = then->hit_rate;
        return;
    }
    double seconds = (double)(r->up_ms - then->up_ms) / 1000;
    uint64_t all = reads(r) - reads(then), missed = r->counts[MISSES] - then->counts[MISSES];
    r->reads_s = seconds > 0 ? (double)all / seconds : 0;
    r->loads_s = seconds > 0 ? (double)(r->counts[LOADS] - then->counts[LOADS]) / seconds : 0;
    r->hit_rate = all ? 1 - (double)missed / (double)all : 0;
}

/* Is it `namespace`, or one of its collections? NULL: any. */
static bool wanted(const char *label, const char *namespace) {
    size_t len = namespace ? strlen(namespace) : 0;
    return !namespace || (strncmp(label, namespace, len) == 0 && (label[len] == 0 || label[len] == '/'));
}

static void take_process(snapshot *s, yyjson_val *process, const char *namespace) {
    const char *id = yyjson_get_str(yyjson_obj_get(process, "process")),
               *host = yyjson_get_str(yyjson_obj_get(process, "host"));
    char label[160];
    yyjson_val *name, *counters;
    size_t i, n;
    snprintf(label, sizeof label, "%.100s %" PRId64, host ? host : "?",
             yyjson_get_sint(yyjson_obj_get(process, "pid")));
    int64_t up = yyjson_get_sint(yyjson_obj_get(process, "up_ms")),
            every = yyjson_get_sint(yyjson_obj_get(process, "every_ms"));
    int64_t age = 3 * every - yyjson_get_sint(yyjson_obj_get(process, "left_ms"));
    size_t total = s->count;
    bool any = false;
    add(s, id ? id : "", true, label);
    yyjson_obj_foreach(yyjson_obj_get(process, "namespaces"), i, n, name, counters) {
        if (!wanted(yyjson_get_str(name), namespace)) continue;
        row *r = add(s, id ? id : "", false, yyjson_get_str(name));
        r->up_ms = up;
        add_counts(r, counters);
        add_counts(&s->rows[total], counters);
        any = true;
    }
    s->rows[total].up_ms = up;
    s->rows[total].age_ms = age > 0 ? age : 0;
    if (!any && namespace) s->count = total; /* it has nothing to do with it */
}

static void sum(row *to, const row *r) {
    for (size_t i = 0; i < COUNTS; i++) to->counts[i] += r->counts[i];
    double all = to->reads_s + r->reads_s, even = (double)(reads(to));
    /* Weighed by how fast each goes; where nothing goes at all, by what was read. */
    if (all > 0) to->hit_rate = (to->hit_rate * to->reads_s + r->hit_rate * r->reads_s) / all;
    else if (even > 0) to->hit_rate = 1 - (double)to->counts[MISSES] / even;
    to->reads_s = all;
    to->loads_s += r->loads_s;
}

static int by_label(const void *a, const void *b) { return strcmp(((const row *)a)->label, ((const row *)b)->label); }

/* The rows of one kind: the processes, or the namespaces summed over them. */
static snapshot select_rows(const snapshot *s, bool whole) {
    snapshot out = {0};
    for (size_t i = 0; i < s->count; i++)
        if (s->rows[i].whole == whole) *add(&out, "", whole, "") = s->rows[i];
    if (out.count) qsort(out.rows, out.count, sizeof *out.rows, by_label);
    if (whole) return out;
    size_t kept = 0;
    for (size_t i = 0; i < out.count; i++) {
        if (kept && strcmp(out.rows[kept - 1].label, out.rows[i].label) == 0) sum(&out.rows[kept - 1], &out.rows[i]);
        else out.rows[kept++] = out.rows[i];
    }
    out.count = kept;
    return out;
}

/* ---- for people ---- */

static void print_cells(cli_table *table, const row *r) {
    char text[CLI_SHOWN];
    static const int shown[] = {MISSES, WAITS, LOADS, FAILED, REFUSED, TIMEOUTS, ERRORS};
    cli_cell(table, "%s", cli_count(text, reads(r)));
    cli_cell(table, r->reads_s < 10 ? "%.1f" : "%.0f", r->reads_s);
    cli_cell(table, "%.1f %%", r->hit_rate * 100);
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        cli_cell(table, "%s", cli_count(text, r->counts[shown[i]]));
        if (shown[i] == LOADS) cli_cell(table, r->loads_s < 10 ? "%.1f" : "%.0f", r->loads_s);
    }
}

static void print_table(const snapshot *s, const char *first, bool processes) {
    static const char *const heads[] = {"reads",   "reads/s", "hit rate", "misses",   "waits", "loads",
                                        "loads/s", "failed",  "refused",  "timeouts", "errors"};
    enum { HEADS = sizeof heads / sizeof heads[0] };
    char text[CLI_SHOWN];
    cli_table table;
    row total = {.label = "together"};
    cli_table_init(&table, processes ? HEADS + 3 : HEADS + 1);
    cli_cell(&table, "%s", first);
    if (processes) cli_cell(&table, "up");
    if (processes) cli_cell(&table, "seen");
    for (size_t i = 0; i < HEADS; i++) cli_cell(&table, "%s", heads[i]);
    for (size_t i = 0; i < s->count + (s->count > 1); i++) {
        const row *r = i < s->count ? &s->rows[i] : &total;
        cli_cell(&table, "%s", r->label);
        if (processes) cli_cell(&table, "%s", r == &total ? "" : cli_time(text, r->up_ms));
        if (processes) cli_cell(&table, "%s", r == &total ? "" : cli_time(text, r->age_ms));
        print_cells(&table, r);
        if (r != &total) sum(&total, r);
    }
    cli_table_print(&table);
}

/* ---- for programs ---- */

static yyjson_mut_val *add_counts_json(yyjson_mut_doc *doc, yyjson_mut_val *object, const row *r) {
    for (size_t i = 0; i < COUNTS; i++) yyjson_mut_obj_add_uint(doc, object, names[i], r->counts[i]);
    yyjson_mut_obj_add_real(doc, object, "reads_per_second", r->reads_s);
    yyjson_mut_obj_add_real(doc, object, "loads_per_second", r->loads_s);
    yyjson_mut_obj_add_real(doc, object, "hit_rate", r->hit_rate);
    return object;
}

static void print_json(const snapshot *processes, const snapshot *namespaces) {
    yyjson_mut_doc *doc = cli_memory(yyjson_mut_doc_new(NULL));
    yyjson_mut_val *root = yyjson_mut_obj(doc), *list = yyjson_mut_arr(doc), *spaces = yyjson_mut_obj(doc);
    row total = {0};
    yyjson_mut_doc_set_root(doc, root);
    for (size_t i = 0; i < processes->count; i++) {
        const row *r = &processes->rows[i];
        yyjson_mut_val *object = yyjson_mut_obj(doc);
        yyjson_mut_obj_add_str(doc, object, "process", r->label);
        yyjson_mut_obj_add_str(doc, object, "id", r->process);
        yyjson_mut_obj_add_int(doc, object, "up_ms", r->up_ms);
        yyjson_mut_obj_add_int(doc, object, "age_ms", r->age_ms);
        yyjson_mut_arr_append(list, add_counts_json(doc, object, r));
        sum(&total, r);
    }
    for (size_t i = 0; i < namespaces->count; i++)
        yyjson_mut_obj_add_val(doc, spaces, namespaces->rows[i].label,
                               add_counts_json(doc, yyjson_mut_obj(doc), &namespaces->rows[i]));
    yyjson_mut_obj_add_val(doc, root, "processes", list);
    yyjson_mut_obj_add_val(doc, root, "namespaces", spaces);
    yyjson_mut_obj_add_val(doc, root, "total", add_counts_json(doc, yyjson_mut_obj(doc), &total));
    char *line = cli_memory(yyjson_mut_write(doc, 0, NULL));
    puts(line);
    free(line);
    yyjson_mut_doc_free(doc);
}

static void print(const cli *c, const snapshot *s) {
    snapshot processes = select_rows(s, true), namespaces = select_rows(s, false);
    if (c->json) {
        print_json(&processes, &namespaces);
    } else if (processes.count == 0) {
        printf("no process publishes its statistics here%s%s: open ponds with publish_stats=10s, and wait that long\n",
               c->namespace ? " for the namespace " : "", c->namespace ? c->namespace : "");
    } else {
        print_table(&processes, "process", true);
        putchar('\n');
        print_table(&namespaces, "namespace", false);
    }
    fflush(stdout);
    free(processes.rows);
    free(namespaces.rows);
}

static int take(const cli *c, snapshot *now, const snapshot *before) {
    pond_value *value = NULL;
    pond_error *error = NULL;
    size_t len, i, n;
    if (pond_processes(c->pond, &value, &error) != POND_OK) return cli_failed(error);
    const char *data = pond_value_data(value, &len);
    yyjson_doc *doc = cli_memory(yyjson_read(data, len, 0));
    yyjson_val *process;
    yyjson_arr_foreach(yyjson_doc_get_root(doc), i, n, process) take_process(now, process, c->namespace);
    yyjson_doc_free(doc);
    pond_value_free(value);
    for (i = 0; i < now->count; i++) find_rates(&now->rows[i], before);
    if (now->count) qsort(now->rows, now->count, sizeof *now->rows, in_order);
    return CLI_DONE;
}

int cli_stats(cli *c) {
    snapshot before = {0};
    if (c->count) return cli_usage("stats: \"%.40s\" is too much", c->words[0]);
    for (bool screen = c->every_ms && !c->json && isatty(STDOUT_FILENO);;) {
        snapshot now = {0};
        int how = take(c, &now, &before);
        free(before.rows);
        before = now;
        if (how == CLI_DONE && screen) fputs("\033[H\033[2J", stdout);
        if (how == CLI_DONE) print(c, &now);
        if (ferror(stdout) || c->every_ms == 0) { /* nobody reads it any more */
            free(now.rows);
            return how;
        }
        struct timespec pause = {.tv_sec = c->every_ms / 1000, .tv_nsec = c->every_ms % 1000 * 1000000};
        nanosleep(&pause, NULL);
        if (!c->json && !screen) putchar('\n');
    }
}
