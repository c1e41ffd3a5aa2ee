#include "cli/cli.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char help[] =
    "usage: millpond COMMAND [OPTION...]\n"
    "\n"
    "  millpond inspect KEY...   what the cache knows of keys, and who loads them\n"
    "  millpond stats            what the processes count that share the cache: those that were\n"
    "                            opened with publish_stats\n"
    "  millpond worker NAME...   takes to the store what was accepted for these collections\n"
    "                            (write=behind), until it is ended; wants -o store=...\n"
    "  millpond dead list NAME [LETTER]     what the store refused of a collection (write=behind),\n"
    "                                       oldest first, 100 of them, behind this one\n"
    "  millpond dead show NAME LETTER...    with the whole document\n"
    "  millpond dead retry NAME LETTER...   it waits for the store again, unless it has a newer one\n"
    "  millpond dead drop NAME LETTER...    forgets it; all of these want -o store=...\n"
    "\n"
    "  -c, --cache URL           redis[s]://[user:password@]host[:port][/database] or unix:/path;\n"
    "                            worker and dead: or memory:, for what waits in a journal;\n"
    "                            better in the environment, as MILLPOND_CACHE: others can see\n"
    "                            what stands in a command line\n"
    "  -n, --namespace NAME      of keys and collections (default: default); stats: only this one\n"
    "  -o, --option NAME=VALUE   an option of the library, such as command_timeout=2s\n"
    "  -e, --every TIME          stats: again after each TIME (2s, 500ms, 1m), until it is stopped;\n"
    "                            worker: how often it says how far it is (default: 10s)\n"
    "  -a, --all                 dead: list, retry or drop all that there are\n"
    "  -j, --json                one JSON object a line\n"
    "  -h, --help                this text\n"
    "  -V, --version             the version\n"
    "\n"
    "It ends with 0; with 1 if something failed, with 2 if the command line is wrong.\n";

static const struct {
    const char *name;
    int (*run)(cli *c);
    bool idle;   /* it takes nothing to the store: it ends too soon to own a shard */
    bool shared; /* it looks at what is in the cache, which has to be one that others use, too */
} verbs[] = {{"inspect", cli_inspect, true, true},
             {"stats", cli_stats, true, true},
             {"worker", cli_worker, false, false},
             {"dead", cli_dead, true, false}};

int cli_usage(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("millpond: ", stderr);
    vfprintf(stderr, format, args);
    fputs(" (millpond --help)\n", stderr);
    va_end(args);
    return CLI_USAGE;
}

int cli_failed(pond_error *error) {
    fprintf(stderr, "millpond: %s\n", error ? pond_error_message(error) : "no memory");
    pond_error_free(error);
    return CLI_FAILED;
}

/* `ps` shows command lines to everybody: what may hold a password is wiped from ours as soon as it was read. */
static void wipe(char *value) { memset(value, 'x', strlen(value)); }

/* "500ms", "2s", "1m", "1h" or milliseconds, as the library reads them; -1: none of these. */
static int64_t milliseconds(const char *text) {
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    char *end;
    if (*text < '0' || *text > '9') return -1;
    long long number = strtoll(text, &end, 10);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strcmp(end, units[i].unit) == 0 && number <= 3600000) return number * units[i].ms;
    return -1;
}

static int set(pond_config *config, const char *name, const char *value) {
    pond_error *error = NULL;
    if (pond_config_set(config, name, value, &error) == POND_OK) return CLI_DONE;
    cli_failed(error);
    return CLI_USAGE;
}

/* name=value */
static int set_option(pond_config *config, char *pair) {
    char *equals = strchr(pair, '=');
    if (!equals) return cli_usage("--option: write NAME=VALUE");
    *equals = 0;
    if (strcmp(pair, "cache") == 0 || strcmp(pair, "namespace") == 0)
        return cli_usage("--option %s=...: write --%s instead", pair, pair);
    int how = set(config, pair, equals + 1);
    wipe(equals + 1);
    return how;
}

static bool in_memory(const char *url) { return !*url || strncasecmp(url, "memory:", 7) == 0; }

static const struct option longs[] = {{"cache", required_argument, NULL, 'c'},
                                      {"namespace", required_argument, NULL, 'n'},
                                      {"option", required_argument, NULL, 'o'},
                                      {"every", required_argument, NULL, 'e'},
                                      {"json", no_argument, NULL, 'j'},
                                      {"help", no_argument, NULL, 'h'},
                                      {"all", no_argument, NULL, 'a'},
                                      {"version", no_argument, NULL, 'V'},
                                      {NULL, 0, NULL, 0}};

/* What getopt cannot read. Only the option's name is repeated: what stands behind it may be a password. */
static int wrong_option(const char *word) {
    if (optopt && strchr("cnoe", optopt)) return cli_usage("-%c needs a value", optopt);
    if (optopt) return cli_usage("there is no option -%c", optopt);
    return cli_usage("there is no option %.*s", (int)strcspn(word, "="), word);
}

/* Reads the options into `c` and `config`; *end: the program ends with what it returns. */
static int read_options(cli *c, pond_config *config, int argc, char **argv, bool *end) {
    bool cache = false;
    int how = CLI_DONE, letter;
    opterr = 0;
    *end = true;
    while (how == CLI_DONE && (letter = getopt_long(argc, argv, ":c:n:o:e:ajhV", longs, NULL)) != -1) {
        switch (letter) {
        case 'c':
            cache = true;
            how = set(config, "cache", optarg);
            wipe(optarg);
            break;
        case 'n':
            c->namespace = optarg;
            how = set(config, "namespace", optarg);
            break;
        case 'o': how = set_option(config, optarg); break;
        case 'e':
            c->every_ms = milliseconds(optarg);
            if (c->every_ms < 1) how = cli_usage("--every: \"%s\" is not a time: write 500ms, 2s or 1m", optarg);
            break;
        case 'a': c->all = true; break;
        case 'j': c->json = true; break;
        case 'h': fputs(help, stdout); return CLI_DONE;
        case 'V': printf("millpond %s\n", pond_version()); return CLI_DONE;
        default: how = wrong_option(argv[optind - 1]);
        }
    }
    if (how != CLI_DONE) return how;
    char *url = getenv("MILLPOND_CACHE");
    if (!cache && url && *url) how = set(config, "cache", url);
    else if (!cache && optind < argc)
        how =
            cli_usage("no cache: give --cache redis://host:port/database (memory: for what waits in a journal), or set "
                      "MILLPOND_CACHE");
    *end = how != CLI_DONE;
    return how;
}

static int run(cli *c, pond_config *config, int argc, char **argv) {
    bool end;
    int how = read_options(c, config, argc, argv, &end);
    if (end) return how;
    if (optind == argc) return cli_usage("say what to do: inspect, stats, worker or dead");
    const char *verb = argv[optind];
    c->words = argv + optind + 1;
    c->count = argc - optind - 1;
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verbs[i].name, verb) != 0) continue;
        pond_error *error = NULL;
        if (verbs[i].shared && in_memory(pond_config_get(config, "cache")))
            return cli_usage(
                "a memory: cache lives inside of a program: only a cache of its own can be looked at from here");
        if (verbs[i].idle && (how = set(config, "worker", "off")) != CLI_DONE) return how;
        int code = pond_open(&c->pond, config, &error);
        if (code != POND_OK) {
            cli_failed(error);
            return code == POND_EURL || code == POND_EOPTION ? CLI_USAGE : CLI_FAILED;
        }
        return verbs[i].run(c);
    }
    return cli_usage("there is no command \"%.40s\": they are inspect, stats, worker and dead", verb);
}

int main(int argc, char **argv) {
    cli c = {0};
    pond_config *config = cli_memory(pond_config_new());
    int how = run(&c, config, argc, argv);
    pond_config_free(config);
    pond_close(c.pond, 0);
    pond_free(c.pond);
    if (fflush(stdout) != 0 || ferror(stdout)) return how ? how : CLI_FAILED;
    return how;
}
