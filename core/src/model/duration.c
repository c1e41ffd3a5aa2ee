#include "model/duration.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct unit {
    const char *name;
    int64_t size;
} unit;

static const unit durations[] = {
    {"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 60 * 60 * 1000}, {"d", 24 * 60 * 60 * 1000}, {NULL, 0}};
static const unit sizes[] = {{"", 1},
                             {"KiB", (int64_t)1 << 10},
                             {"MiB", (int64_t)1 << 20},
                             {"GiB", (int64_t)1 << 30},
                             {"TiB", (int64_t)1 << 40},
                             {NULL, 0}};
static const unit counts[] = {{"", 1}, {NULL, 0}};

enum { FRACTION_DIGITS = 9 }; /* any more must be zeros: no unit's size can be divided so finely */

static bool digit(char c) { return c >= '0' && c <= '9'; }

/* digits [ "." digits ] unit, and nothing else: no sign, no space, no locale. */
static mp_parse parse(const char *text, const unit *units, int64_t *out) {
    int64_t whole = 0, fraction = 0, scale = 1;
    bool big = false, fine = false;
    if (text == NULL || !digit(*text)) return MP_PARSE_SYNTAX;
    for (; digit(*text); text++)
        big |= __builtin_mul_overflow(whole, 10, &whole) || __builtin_add_overflow(whole, *text - '0', &whole);
    if (*text == '.') {
        if (!digit(*++text)) return MP_PARSE_SYNTAX;
        for (int n = 1; digit(*text); text++, n++) {
            if (n > FRACTION_DIGITS) {
                fine |= *text != '0';
                continue;
            }
            fraction = fraction * 10 + (*text - '0');
            scale *= 10;
        }
    }
    while (units->name != NULL && strcmp(units->name, text) != 0) units++;
    if (units->name == NULL) return MP_PARSE_SYNTAX;
    if (big || __builtin_mul_overflow(whole, units->size, &whole)) return MP_PARSE_TOO_BIG;
    for (; fraction % 2 == 0 && scale % 2 == 0; scale /= 2) fraction /= 2;
    for (; fraction % 5 == 0 && scale % 5 == 0; scale /= 5) fraction /= 5;
    if (fine || units->size % scale != 0) return MP_PARSE_INEXACT;
    if (__builtin_add_overflow(whole, units->size / scale * fraction, &whole)) return MP_PARSE_TOO_BIG;
    *out = whole;
    return MP_PARSE_OK;
}

mp_parse mp_duration_parse(const char *text, int64_t *ms) { return parse(text, durations, ms); }

mp_parse mp_size_parse(const char *text, int64_t *bytes) { return parse(text, sizes, bytes); }

mp_parse mp_count_parse(const char *text, int64_t *count) {
    if (text != NULL && strchr(text, '.') != NULL) return MP_PARSE_SYNTAX;
    return parse(text, counts, count);
}
