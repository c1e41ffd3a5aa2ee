#include "model/json_number.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yyjson.h>

static bool digit(char c) { return c >= '0' && c <= '9'; }

static const char *digits(const char *at) {
    while (digit(*at)) at++;
    return at;
}

/* The end of a number at `text` by JSON's grammar, or NULL; *whole: it has neither fraction nor exponent. */
static const char *grammar(const char *text, bool *whole) {
    const char *at = text + (*text == '-'), *from = at;
    at = digits(from);
    if (at == from || (*from == '0' && at - from > 1)) return NULL;
    *whole = true;
    if (*at == '.') {
        *whole = false;
        from = ++at;
        if ((at = digits(from)) == from) return NULL;
    }
    if (*at == 'e' || *at == 'E') {
        *whole = false;
        at++;
        if (*at == '+' || *at == '-') at++;
        from = at;
        if ((at = digits(from)) == from) return NULL;
    }
    return at;
}

/* False if it does not fit. */
static bool exact(const char *text, const char *end, int64_t *out) {
    bool negative = *text == '-';
    uint64_t value = 0, most = (uint64_t)INT64_MAX + negative;
    for (const char *at = text + negative; at < end; at++) {
        unsigned d = (unsigned)(*at - '0');
        if (value > (most - d) / 10) return false;
        value = value * 10 + d;
    }
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

mp_number_kind mp_number_parse(const char *text, size_t len, mp_number *out) {
    bool whole;
    if (len == 0 || !(digit(*text) || *text == '-')) return MP_NUMBER_NONE;
    const char *end = grammar(text, &whole);
    if (end != text + len) return MP_NUMBER_NONE;
    *out = (mp_number){0};
    if (whole && exact(text, end, &out->integer)) return MP_NUMBER_FINITE;
    /* Not strtod: it follows the host's locale. */
    yyjson_val value;
    if (yyjson_read_number(text, &value, 0, NULL, NULL) == NULL) return MP_NUMBER_INFINITE;
    double real = yyjson_get_num(&value);
    if (real >= -0x1p63 && real < 0x1p63 && real == (double)(int64_t)real) out->integer = (int64_t)real;
    else {
        out->is_real = true;
        out->real = real;
    }
    return MP_NUMBER_FINITE;
}

/* The shortest digits that make the double (without zeros around them), and the place of the point: 0.DIGITS * 10^n. */
static size_t shortest(double real, char *out, int *n) {
    char pool[512];
    yyjson_alc alc;
    yyjson_mut_val value = {0};
    size_t len = 0, count = 0, zeros = 0;
    yyjson_alc_pool_init(&alc, pool, sizeof pool); /* on the stack, so this cannot fail */
    yyjson_mut_set_real(&value, real);
    const char *text = yyjson_mut_val_write_opts(&value, 0, &alc, &len, NULL), *at = text;
    bool point = false;
    *n = 0;
    for (; digit(*at) || *at == '.'; at++) {
        if (*at == '.') point = true;
        else if (*at == '0' && count == 0) *n -= point; /* a leading zero */
        else {
            *n += !point;
            zeros = *at == '0' ? zeros + 1 : 0;
            out[count++] = *at;
        }
    }
    if (*at == 'e' || *at == 'E') *n += atoi(at + 1);
    return count - zeros;
}

size_t mp_number_print(char out[MP_NUMBER_ROOM], const mp_number *number) {
    char text[MP_NUMBER_ROOM], *to = out;
    int n;
    if (!number->is_real) return (size_t)snprintf(out, MP_NUMBER_ROOM, "%" PRId64, number->integer);
    if (number->real < 0) *to++ = '-';
    int k = (int)shortest(number->real < 0 ? -number->real : number->real, text, &n); /* at most 17 */
    if (k <= n && n <= 21) to += sprintf(to, "%.*s%.*s", k, text, n - k, "000000000000000000000");
    else if (n > 0 && n <= 21) to += sprintf(to, "%.*s.%.*s", n, text, k - n, text + n);
    else if (n > -6 && n <= 0) to += sprintf(to, "0.%.*s%.*s", -n, "000000", k, text);
    else if (k == 1) to += sprintf(to, "%ce%+d", text[0], n - 1);
    else to += sprintf(to, "%c.%.*se%+d", text[0], k - 1, text + 1, n - 1);
    return (size_t)(to - out);
}
