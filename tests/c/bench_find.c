/* What a query on SQLite costs, beside the same by hand: bench_find [--json] [--count N] examples/demo/data/movies.json
 *
 * N films (100,000; the file's, over and over) in a database of its own under $TMPDIR. "page" and "total" are the store's two calls. By hand: what a
 * programmer would write with json_extract, in C, with statements that stay prepared; each document of the page is
 * read, nothing is made of it. Microseconds, the best of some runs: of at least 3, and as many as fit into 0.2 s. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sqlite3.h>

#include "model/match.h"
#include "store/store.h"

enum { FILMS = 3201, LINE = 4096 };

static mp_store *store;
static sqlite3 *db;
static mp_query_bounds *bounds;
static bool as_json;
static int wrong;

static void die(const char *what, const char *why) {
    fprintf(stderr, "bench_find: %s: %s\n", what, why ? why : "?");
    exit(1);
}

static void check(int code, const char *what, pond_error *err) {
    if (code != POND_OK) die(what, pond_error_message(err));
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void run(const char *sql) {
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) die(sql, sqlite3_errmsg(db));
}

/* One film a line, as the file has them. */
static void fill(const char *path, size_t count) {
    static char lines[FILMS][LINE];
    size_t n = 0;
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) die(path ? path : "the path of movies.json", "cannot be read");
    while (n < FILMS && fgets(lines[n], LINE, file)) {
        char *begin = strchr(lines[n], '{'), *end = strrchr(lines[n], '}');
        if (!begin || !end) continue;
        end[1] = 0;
        memmove(lines[n++], begin, strlen(begin) + 1);
    }
    fclose(file);
    sqlite3_stmt *insert;
    run("BEGIN");
    sqlite3_prepare_v2(db, "INSERT INTO films(id, doc, ver) VALUES (?1, json(?2), 0)", -1, &insert, NULL);
    for (size_t i = 0; i < count; i++) {
        char id[24];
        snprintf(id, sizeof id, "%06zu", i);
        sqlite3_bind_text(insert, 1, id, -1, SQLITE_STATIC);
        sqlite3_bind_text(insert, 2, lines[i % n], -1, SQLITE_STATIC);
        if (sqlite3_step(insert) != SQLITE_DONE) die("insert", sqlite3_errmsg(db));
        sqlite3_reset(insert);
    }
    sqlite3_finalize(insert);
    run("COMMIT");
}

/* ---- the store ---- */

typedef struct cost {
    double page, total;
    int64_t count;
} cost;

#define BEST(best, call)                                                                                               \
    for (double began_ = now(), from_; rounds_ < 3 || (now() - began_ < 2e5 && rounds_ < 2000); rounds_++) {           \
        from_ = now();                                                                                                 \
        call;                                                                                                          \
        double took_ = now() - from_;                                                                                  \
        if (rounds_ == 0 || took_ < best) best = took_;                                                                \
    }

static void one_page(const mp_query *q, mp_buf *out) {
    pond_error *err = NULL;
    size_t unused;
    mp_buf_reset(out);
    check(store->vt->find(store, "films", q, out, &unused, &err), "find", err);
}

static cost by_store(const char *text) {
    cost c = {0};
    pond_error *err = NULL;
    mp_query *q = NULL;
    mp_buf out;
    mp_buf_init(&out);
    check(mp_query_parse_text(&q, bounds, text, strlen(text), &err), text, err);
    {
        int rounds_ = 0;
        BEST(c.page, one_page(q, &out))
    }
    {
        int rounds_ = 0;
        BEST(c.total, check(store->vt->count(store, "films", q, &c.count, &err), "count", err))
    }
    mp_buf_free(&out);
    mp_query_free(q);
    return c;
}

static const char *plan_of(const char *text) {
    static char name[200];
    pond_error *err = NULL;
    mp_query *q = NULL;
    mp_buf out;
    mp_buf_init(&out);
    check(mp_query_parse_text(&q, bounds, text, strlen(text), &err), text, err);
    check(store->vt->plan(store, "films", q, &out, &err), "plan", err);
    const char *from = out.data + strlen("\"index\":");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(from, ","), from);
    mp_buf_free(&out);
    mp_query_free(q);
    return name;
}

/* ---- by hand ---- */

static int64_t step_all(sqlite3_stmt *s) {
    int64_t last = 0;
    int rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        last = sqlite3_column_int64(s, 0);
        for (int i = 0; i < sqlite3_column_count(s); i++) sqlite3_column_text(s, i);
    }
    if (rc != SQLITE_DONE) die("by hand", sqlite3_errmsg(db));
    sqlite3_reset(s);
    return last;
}

/* `where` is a condition or "1"; `order` ends with id. */
static cost by_hand(const char *where, const char *order, int limit, int skip) {
    char sql[2000];
    sqlite3_stmt *s;
    cost c = {0};
    snprintf(sql, sizeof sql, "SELECT id, doc FROM films WHERE %s ORDER BY %s LIMIT %d OFFSET %d", where, order, limit,
             skip);
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK) die(sql, sqlite3_errmsg(db));
    {
        int rounds_ = 0;
        BEST(c.page, step_all(s))
    }
    sqlite3_finalize(s);
    snprintf(sql, sizeof sql, "SELECT count(*) FROM films WHERE %s", where);
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK) die(sql, sqlite3_errmsg(db));
    {
        int rounds_ = 0;
        BEST(c.total, c.count = step_all(s))
    }
    sqlite3_finalize(s);
    return c;
}

/* ---- the rows ---- */

#define J(field) "json_extract(doc,'$.\"" field "\"')"

static const struct row {
    const char *name, *query, *where, *order;
    int limit, skip;
    bool same; /* by hand it means the same, so the totals must be equal */
} rows[] = {
    {"eq, few", "Title=Pulp+Fiction", J("Title") "='Pulp Fiction'", "+id", 20, 0, true},
    {"eq number, many", "Running+Time+min=100", J("Running Time min") "=100", "+id", 20, 0, true},
    {"eq text, many", "Major+Genre=Drama", J("Major Genre") "='Drama'", "+id", 20, 0, true},
    {"eq null", "Major+Genre=null", J("Major Genre") " IS NULL", "+id", 20, 0, true},
    {"range 1 %", "IMDB+Votes[gte]=300000", J("IMDB Votes") ">=300000", "+id", 20, 0, true},
    {"range 30 %, sort on it", "IMDB+Rating[gte]=7&sort=-IMDB+Rating", J("IMDB Rating") ">=7",
     J("IMDB Rating") " DESC, id", 20, 0, true},
    {"eq and range, sort", "Major+Genre=Drama&IMDB+Rating[gte]=7&sort=-IMDB+Rating",
     J("Major Genre") "='Drama' AND " J("IMDB Rating") ">=7", J("IMDB Rating") " DESC, id", 20, 0, true},
    {"date text range, sort", "Release+Date[gte]=2000-01-01&sort=Release+Date", J("Release Date") ">='2000-01-01'",
     J("Release Date") ", id", 20, 0, true},
    {"sort, page 1", "sort=-IMDB+Rating", "1", J("IMDB Rating") " DESC, id", 20, 0, true},
    {"sort, page 1000", "sort=-IMDB+Rating&page=1000", "1", J("IMDB Rating") " DESC, id", 20, 19980, true},
    {"sort by two", "sort=-IMDB+Rating,Title", "1", J("IMDB Rating") " DESC, " J("Title") ", id", 20, 0, true},
    {"in", "MPAA+Rating[in]=G,PG&sort=-IMDB+Rating", J("MPAA Rating") " IN ('G','PG')", J("IMDB Rating") " DESC, id",
     20, 0, true},
    {"ne", "MPAA+Rating[ne]=R", J("MPAA Rating") " IS NOT 'R'", "id", 20, 0, true},
    {"search", "search=love&search_in=Title", J("Title") " LIKE '%love%'", "id", 20, 0, true},
    {"nothing found", "Title[eq]=none&Director=none", J("Title") "='none' AND " J("Director") "='none'", "id", 20, 0,
     true},
    {"by id", "id[gte]=050000", "id>='050000'", "id", 20, 0, true},
    {"100 a page", "IMDB+Rating[gte]=7&sort=-IMDB+Rating&limit=100", J("IMDB Rating") ">=7",
     J("IMDB Rating") " DESC, id", 100, 0, true},
};

static void measure(const char *kind) {
    if (!as_json)
        printf("\n%-24s %9s %9s %9s | %9s %9s %9s | %5s  index\n", kind, "page", "total", "sum", "page", "total",
               "by hand", "ratio");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *r = &rows[i];
        cost ours = by_store(r->query), hand = by_hand(r->where, r->order, r->limit, r->skip);
        double sum = ours.page + ours.total, theirs = hand.page + hand.total;
        if (r->same && ours.count != hand.count) {
            fprintf(stderr, "%s: %lld documents, by hand %lld\n", r->name, (long long)ours.count,
                    (long long)hand.count);
            wrong = 1;
        }
        if (as_json)
            printf(
                "{\"case\":\"%s: %s\",\"page_us\":%.1f,\"total_us\":%.1f,\"hand_page_us\":%.1f,\"hand_total_us\":%.1f,"
                "\"total\":%lld}\n",
                kind, r->name, ours.page, ours.total, hand.page, hand.total, (long long)ours.count);
        else
            printf("%-24s %9.1f %9.1f %9.1f | %9.1f %9.1f %9.1f | %5.2f  %s\n", r->name, ours.page, ours.total, sum,
                   hand.page, hand.total, theirs, sum / theirs, plan_of(r->query));
        fflush(stdout);
    }
}

static void index_field(const char *name, const char *field) {
    char text[300], sql[400];
    mp_query *q = NULL;
    pond_error *err = NULL;
    snprintf(text, sizeof text, "{\"sort\":\"%s\"}", field);
    check(mp_query_parse_json(&q, bounds, text, strlen(text), &err), text, err);
    double began = now();
    check(store->vt->index(store, "films", &q->sort[0], &err), "index", err);
    if (!as_json) printf("index on %s: %.0f ms\n", field, (now() - began) / 1e3);
    snprintf(sql, sizeof sql, "CREATE INDEX hand_%s ON films(json_extract(doc,'$.\"%s\"'), id)", name, field);
    run(sql);
    mp_query_free(q);
}

int main(int argc, char **argv) {
    static const char *const fields[] = {"Title",       "Running Time min", "Major Genre", "IMDB Votes",
                                         "IMDB Rating", "Release Date",     "MPAA Rating"};
    const char *films = NULL;
    size_t count = 100000;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) as_json = true;
        else if (strcmp(argv[i], "--count") == 0 && i + 1 < argc) count = strtoul(argv[++i], NULL, 10);
        else films = argv[i];
    }
    const char *tmp = getenv("TMPDIR");
    char folder[200], path[260], address[300];
    snprintf(folder, sizeof folder, "%.150s/pond-find-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(folder)) die(folder, "cannot be made");
    snprintf(path, sizeof path, "%s/films.db", folder);
    snprintf(address, sizeof address, "sqlite:%s", path);
    pond_error *err = NULL;
    mp_options options;
    if (!mp_options_init(&options)) die("options", "no memory");
    check(mp_options_set(&options, MP_SCOPE_POND, "store", address, &err), address, err);
    check(mp_sqlite_open(&store, &options, &err), address, err);
    check(store->vt->create(store, "films", &err), "create", err);
    check(mp_query_bounds_new(&bounds, &(mp_query_options){.max_limit = "1000"}, &err), "bounds", err);
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) die(path, sqlite3_errmsg(db));
    fill(films, count);
    if (!as_json) printf("%zu films, SQLite %s; microseconds\n", count, sqlite3_libversion());
    measure("scan");
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        char name[8];
        snprintf(name, sizeof name, "%zu", i);
        index_field(name, fields[i]);
    }
    measure("index");
    run("ANALYZE");
    measure("index, after ANALYZE");
    sqlite3_close(db);
    store->vt->close(store);
    mp_query_bounds_free(bounds);
    mp_options_free(&options);
    static const char *const files[] = {"films.db", "films.db-wal", "films.db-shm"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
    return wrong;
}
