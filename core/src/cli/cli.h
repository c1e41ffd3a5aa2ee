/* The `millpond` command: what its verbs share. It stands on the public headers alone, as any program does. */
#ifndef MP_CLI_CLI_H
#define MP_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <millpond/millpond.h>

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 }; /* how the program ends */

typedef struct cli {
    const char *namespace; /* NULL: not given */
    bool json, all;
    int64_t every_ms; /* 0: once */
    char **words;     /* after the verb */
    int count;
    pond *pond;
} cli;

int cli_dead(cli *c);
int cli_inspect(cli *c);
int cli_stats(cli *c);
int cli_worker(cli *c);

/* A sentence on stderr; returns CLI_USAGE. */
int cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What the library says, on stderr; frees it and returns CLI_FAILED. */
int cli_failed(pond_error *error);

/* ---- show.c: numbers for people. Each writes into `to` (CLI_SHOWN bytes) and returns it. ---- */

#define CLI_SHOWN 32
const char *cli_time(char *to, int64_t ms);   /* "4 m 12 s" */
const char *cli_size(char *to, double bytes); /* "1.2 KiB" */
const char *cli_count(char *to, uint64_t n);  /* "1 284 003" */
/* Text from elsewhere: control characters, which could steer a terminal, are shown as "?". */
void cli_text(const char *text);

/* A table: cells are added row by row, left to right; columns are as wide as they must be, and all but the first stand right. */
typedef struct cli_table {
    size_t columns, count, room;
    char **cells;
} cli_table;
void cli_table_init(cli_table *table, size_t columns);
void cli_cell(cli_table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void cli_table_print(cli_table *table); /* and frees it */
/* Or the program ends with a word. */
void *cli_memory(void *block);

#endif
