#include "model/config.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/quote.h"
#include "base/utf8.h"
#include "model/duration.h"
#include "model/key.h"

enum { TEXT_MAX = 4096 };

enum kind { TEXT, DURATION, SIZE, COUNT, CHOICE, SWITCH };
static const char *const kind_names[] = {"text", "duration", "size", "count", "choice", "switch"};
static const char *const scope_names[] = {"", "pond", "policy", "both", "collection"};

typedef struct option {
    const char *name;
    enum kind kind;
    unsigned scope;
    const char *standard, *range, *text;
    size_t offset; /* of the field in mp_options */
} option;

static const option table[] = {
#define OPT(field, type, scope, standard, range, text)                                                                 \
    {#field, type, MP_SCOPE_##scope, standard, range, text, offsetof(mp_options, field)},
#include "model/options.def"
#undef OPT
};

enum { ROWS = sizeof table / sizeof table[0] };

static char **text_field(const mp_options *options, const option *opt) {
    return (char **)((char *)options + opt->offset);
}

static int64_t *number_field(mp_options *options, const option *opt) {
    return (int64_t *)((char *)options + opt->offset);
}

static const option *find(const char *name) {
    for (size_t i = 0; i < ROWS; i++)
        if (strcmp(table[i].name, name) == 0) return &table[i];
    return NULL;
}

/* --- an unknown name: the nearest one that there is --- */

enum { NAME_LONGEST = 32 }; /* a longer one is near to none */
#define OPT(field, type, scope, standard, range, text)                                                                 \
    _Static_assert(sizeof #field <= NAME_LONGEST + 1, "an option's name is too long");
#include "model/options.def"
#undef OPT

static char folded(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c == '-' ? '_' : c; }

/* Letters to add, drop, change or swap with the next to get from a to b (each at most NAME_LONGEST long). */
static unsigned distance(const char *a, const char *b) {
    unsigned rows[3][NAME_LONGEST + 1];
    size_t la = strlen(a), lb = strlen(b);
    unsigned *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= lb; j++) above[j] = (unsigned)j;
    for (size_t i = 1; i <= la; i++) {
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= lb; j++) {
            unsigned best = above[j - 1] + (folded(a[i - 1]) != folded(b[j - 1]));
            if (above[j] + 1 < best) best = above[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            if (i > 1 && j > 1 && folded(a[i - 1]) == folded(b[j - 2]) && folded(a[i - 2]) == folded(b[j - 1]) &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
        unsigned *free_row = before;
        before = above, above = row, row = free_row;
    }
    return above[lb];
}

static const char *nearest(const char *name, unsigned scopes) {
    const char *best = NULL;
    if (strlen(name) > NAME_LONGEST) return NULL;
    unsigned least = (unsigned)strlen(name) / 3 + 1; /* a third of the letters may be wrong */
    for (size_t i = 0; i < ROWS; i++) {
        if ((table[i].scope & scopes) == 0) continue;
        unsigned d = distance(name, table[i].name);
        if (d < least || (d == least && best == NULL)) best = table[i].name, least = d;
    }
    return best;
}

static int fail_unknown(const char *name, unsigned scopes, pond_error **err) {
    char shown[MP_QUOTE_MAX], list[ROWS * (NAME_LONGEST + 2) + 1], *to = list;
    mp_quote(shown, name, strlen(name));
    const char *near = nearest(name, scopes);
    if (near != NULL) return mp_fail(err, POND_EOPTION, "unknown option %s: did you mean \"%s\"?", shown, near);
    for (size_t i = 0; i < ROWS; i++) {
        if ((table[i].scope & scopes) == 0) continue;
        if (to != list) to = stpcpy(to, ", ");
        to = stpcpy(to, table[i].name);
    }
    *to = 0;
    return mp_fail(err, POND_EOPTION, "unknown option %s: the options are %s", shown, list);
}

/* --- values --- */

static mp_parse parse_number(enum kind kind, const char *text, int64_t *out) {
    return kind == DURATION ? mp_duration_parse(text, out)
           : kind == SIZE   ? mp_size_parse(text, out)
                            : mp_count_parse(text, out);
}

/* The place of `value` among "a|b|c", or -1. */
static int64_t choice_of(const char *range, const char *value) {
    size_t len = strlen(value);
    for (int64_t index = 0;; index++) {
        size_t n = strcspn(range, "|");
        if (n == len && memcmp(range, value, n) == 0) return index;
        if (range[n] == 0) return -1;
        range += n + 1;
    }
}

/* Whether `number` lies in "low..high", both written as the kind writes them. */
static bool in_range(const option *opt, int64_t number) {
    char low_text[24];
    const char *dots = strstr(opt->range, "..");
    size_t n = dots != NULL ? (size_t)(dots - opt->range) : sizeof low_text;
    int64_t low, high;
    if (n >= sizeof low_text) return false;
    memcpy(low_text, opt->range, n);
    low_text[n] = 0;
    return parse_number(opt->kind, low_text, &low) == MP_PARSE_OK &&
           parse_number(opt->kind, dots + 2, &high) == MP_PARSE_OK && number >= low && number <= high;
}

static int fail_number(const option *opt, const char *value, mp_parse what, pond_error **err) {
    static const char *const takes[] = {[DURATION] = "is not a duration: write 250ms, 30s, 5m, 1h, 1d or milliseconds",
                                        [SIZE] = "is not a size: write 512KiB, 64MiB, 1GiB or bytes",
                                        [COUNT] = "is not a number: write decimal digits"};
    char shown[MP_QUOTE_MAX];
    mp_quote(shown, value, strlen(value));
    if (what == MP_PARSE_SYNTAX) return mp_fail(err, POND_EOPTION, "%s: %s %s", opt->name, shown, takes[opt->kind]);
    if (what == MP_PARSE_INEXACT)
        return mp_fail(err, POND_EOPTION, "%s: %s is not a whole number of %s", opt->name, shown,
                       opt->kind == SIZE ? "bytes" : "milliseconds");
    return mp_fail(err, POND_EOPTION, "%s: %s is out of range: write %s", opt->name, shown, opt->range);
}

/* `*out` is the field's number. */
static int parse_value(const option *opt, const char *value, int64_t *out, pond_error **err) {
    char shown[MP_QUOTE_MAX];
    int64_t number = 0;
    if (opt->kind == CHOICE || opt->kind == SWITCH) {
        int64_t index = choice_of(opt->range, value);
        if (index < 0)
            return mp_fail(err, POND_EOPTION, "%s: %s is not one of its values: write %s", opt->name,
                           mp_quote(shown, value, strlen(value)), opt->range);
        *out = opt->kind == SWITCH ? index == 0 : index; /* a switch's range is "on|off" */
        return POND_OK;
    }
    mp_parse what = parse_number(opt->kind, value, &number);
    if (what == MP_PARSE_OK && !in_range(opt, number)) what = MP_PARSE_TOO_BIG;
    if (what != MP_PARSE_OK) return fail_number(opt, value, what, err);
    *out = number;
    return POND_OK;
}

/* A text may be a password, or an address that holds one: its value is not repeated in an error. */
static int check_text(const option *opt, const char *value, pond_error **err) {
    if (opt->offset == offsetof(mp_options, namespace)) return mp_ns_check(value, err);
    size_t len = strlen(value), at;
    if (len == 0 && opt->standard[0] != 0)
        return mp_fail(err, POND_EOPTION, "%s: the value is empty: write %s", opt->name, opt->range);
    if (len > TEXT_MAX)
        return mp_fail(err, POND_EOPTION, "%s: the value has %zu bytes: it has at most %d", opt->name, len, TEXT_MAX);
    if ((at = mp_utf8_check(value, len)) < len)
        return mp_fail(err, POND_EOPTION, "%s: the value is not UTF-8 at byte %zu", opt->name, at);
    return POND_OK;
}

static int set_text(mp_options *options, const option *opt, const char *value, pond_error **err) {
    char *copy = NULL, **field = text_field(options, opt);
    int rc = check_text(opt, value, err);
    if (rc != POND_OK) return rc;
    /* An empty list of fields allows none; one that is not given allows all. Elsewhere an empty text is none. */
    bool given = value[0] != 0 || opt->scope == MP_SCOPE_COLLECTION;
    if (given && (copy = strdup(value)) == NULL)
        return mp_fail(err, POND_ENOMEM, "no memory for the option %s", opt->name);
    free(*field);
    *field = copy;
    return POND_OK;
}

static int set_row(mp_options *options, const option *opt, const char *value, pond_error **err) {
    if (opt->kind == TEXT) return set_text(options, opt, value, err);
    return parse_value(opt, value, number_field(options, opt), err);
}

int mp_options_set(mp_options *options, unsigned scopes, const char *name, const char *value, pond_error **err) {
    if (name == NULL) return mp_fail(err, POND_EOPTION, "an option has no name (NULL)");
    const option *opt = find(name);
    if (opt == NULL) return fail_unknown(name, scopes, err);
    if ((opt->scope & scopes) == 0)
        return mp_fail(
            err, POND_EOPTION,
            opt->scope == MP_SCOPE_POND ? "%s: it belongs to the pond: set it in the configuration that is opened"
            : opt->scope == MP_SCOPE_COLLECTION ? "%s: it belongs to a collection: give it where that is made"
                                                : "%s: it belongs to a policy: set it there",
            name);
    if (value == NULL) return mp_fail(err, POND_EOPTION, "%s: it has no value (NULL): write %s", name, opt->range);
    return set_row(options, opt, value, err);
}

bool mp_options_init(mp_options *options) {
    memset(options, 0, sizeof *options);
    for (size_t i = 0; i < ROWS; i++) {
        if (table[i].kind == TEXT && table[i].standard[0] == 0) continue; /* not given */
        if (set_row(options, &table[i], table[i].standard, NULL) == POND_OK) continue;
        mp_options_free(options);
        return false;
    }
    return true;
}

bool mp_options_copy(mp_options *to, const mp_options *from) {
    *to = *from;
    bool whole = true;
    for (size_t i = 0; i < ROWS; i++) {
        if (table[i].kind != TEXT) continue;
        const char *text = *text_field(from, &table[i]);
        char *copy = text != NULL ? strdup(text) : NULL;
        whole = whole && (copy != NULL || text == NULL);
        *text_field(to, &table[i]) = copy; /* goes on after a failure, so that `to` shares nothing with `from` */
    }
    if (!whole) mp_options_free(to);
    return whole;
}

void mp_options_free(mp_options *options) {
    for (size_t i = 0; i < ROWS; i++) {
        if (table[i].kind != TEXT) continue;
        free(*text_field(options, &table[i]));
        *text_field(options, &table[i]) = NULL;
    }
}

/* --- the public configuration --- */

pond_config *pond_config_new(void) {
    pond_config *config = calloc(1, sizeof *config);
    if (config == NULL) return NULL;
    config->texts = calloc(ROWS, sizeof *config->texts); /* NULL: at its default */
    if (config->texts != NULL && mp_options_init(&config->options)) return config;
    free(config->texts);
    free(config);
    return NULL;
}

void pond_config_free(pond_config *config) {
    if (config == NULL) return;
    for (size_t i = 0; i < ROWS; i++) free(config->texts[i]);
    free(config->texts);
    mp_options_free(&config->options);
    free(config);
}

int pond_config_set(pond_config *config, const char *name, const char *value, pond_error **err) {
    if (config == NULL) return mp_fail(err, POND_EMISUSE, "pond_config_set: config is NULL");
    char *text = value != NULL ? strdup(value) : NULL;
    if (value != NULL && text == NULL) return mp_fail(err, POND_ENOMEM, "no memory for an option");
    int rc = mp_options_set(&config->options, MP_SCOPE_BOTH, name, value, err);
    if (rc != POND_OK) {
        free(text);
        return rc;
    }
    char **kept = &config->texts[find(name) - table];
    free(*kept);
    *kept = text;
    return POND_OK;
}

const char *pond_config_get(const pond_config *config, const char *name) {
    const option *opt = config != NULL && name != NULL ? find(name) : NULL;
    if (opt == NULL) return NULL;
    const char *text = config->texts[opt - table];
    return text != NULL ? text : opt->standard;
}

size_t pond_option_count(void) { return ROWS; }

const char *pond_option_name(size_t row) { return row < ROWS ? table[row].name : NULL; }

const char *pond_option_type(size_t row) { return row < ROWS ? kind_names[table[row].kind] : NULL; }

const char *pond_option_scope(size_t row) { return row < ROWS ? scope_names[table[row].scope] : NULL; }

const char *pond_option_default(size_t row) { return row < ROWS ? table[row].standard : NULL; }

const char *pond_option_range(size_t row) { return row < ROWS ? table[row].range : NULL; }

const char *pond_option_text(size_t row) { return row < ROWS ? table[row].text : NULL; }
