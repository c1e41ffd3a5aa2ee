#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *cli_memory(void *block) {
    if (block) return block;
    fputs("millpond: no memory\n", stderr);
    exit(CLI_FAILED);
}

const char *cli_time(char *to, int64_t ms) {
    static const struct {
        int64_t ms;
        const char *name, *below;
        int64_t below_ms;
    } units[] = {{86400000, "d", "h", 3600000}, {3600000, "h", "m", 60000}, {60000, "m", "s", 1000}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (ms < units[i].ms) continue;
        snprintf(to, CLI_SHOWN, "%lld %s %lld %s", (long long)(ms / units[i].ms), units[i].name,
                 (long long)(ms % units[i].ms / units[i].below_ms), units[i].below);
        return to;
    }
    if (ms >= 1000) snprintf(to, CLI_SHOWN, "%lld.%lld s", (long long)(ms / 1000), (long long)(ms % 1000 / 100));
    else snprintf(to, CLI_SHOWN, "%lld ms", (long long)ms);
    return to;
}

const char *cli_size(char *to, double bytes) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB"};
    size_t i = 0;
    for (; bytes >= 1024 && i < 3; i++) bytes /= 1024;
    snprintf(to, CLI_SHOWN, i ? "%.1f %s" : "%.0f %s", bytes, units[i]);
    return to;
}

const char *cli_count(char *to, uint64_t n) {
    char digits[CLI_SHOWN], *out = to;
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0) *out++ = ' ';
        *out++ = digits[i];
    }
    *out = 0;
    return to;
}

/* A character of UTF-8 that begins with this byte takes one column, its other bytes none. */
static bool begins(char c) { return ((unsigned char)c & 0xc0) != 0x80; }

static void put(FILE *out, const char *text) {
    for (; *text; text++) fputc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, out);
}

void cli_text(const char *text) { put(stdout, text); }

void cli_table_init(cli_table *table, size_t columns) { *table = (cli_table){.columns = columns}; }

void cli_cell(cli_table *table, const char *format, ...) {
    va_list args;
    char *text = NULL;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) text = NULL;
    va_end(args);
    if (table->count == table->room) {
        table->room = table->room ? table->room * 2 : 64;
        table->cells = cli_memory(realloc(table->cells, table->room * sizeof *table->cells));
    }
    table->cells[table->count++] = cli_memory(text);
}

static size_t width(const char *text) {
    size_t n = 0;
    for (; *text; text++) n += begins(*text);
    return n;
}

void cli_table_print(cli_table *table) {
    size_t columns = table->columns, *widths = cli_memory(calloc(columns, sizeof *widths));
    for (size_t i = 0; i < table->count; i++)
        if (width(table->cells[i]) > widths[i % columns]) widths[i % columns] = width(table->cells[i]);
    for (size_t i = 0; i < table->count; i++) {
        const char *text = table->cells[i];
        size_t column = i % columns, pad = widths[column] - width(text);
        if (column) printf("  %*s", (int)pad, "");
        cli_text(text);
        if (!column) printf("%*s", (int)pad, "");
        if (column + 1 == columns) putchar('\n');
        free(table->cells[i]);
    }
    free(table->cells);
    free(widths);
}
