/* Numbers as queries know them: a whole number within int64, exact, or the nearest double; and one spelling of each. */
#ifndef MP_MODEL_JSON_NUMBER_H
#define MP_MODEL_JSON_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mp_number {
    bool is_real;
    int64_t integer;
    double real; /* never a whole number within int64, never -0 */
} mp_number;

typedef enum mp_number_kind {
    MP_NUMBER_NONE, /* not a number by JSON's grammar: 01234, +5, .5, 1., 0x1, "" */
    MP_NUMBER_FINITE,
    MP_NUMBER_INFINITE /* one, but past the range of a double */
} mp_number_kind;

/* text[len] must be NUL. Only without fraction and exponent is a text taken exactly; otherwise as a double is. */
mp_number_kind mp_number_parse(const char *text, size_t len, mp_number *out);

/* Decimal digits, or what ECMAScript's Number-to-String says of the double: 0.000001, 1.5e-7, 1e+21. NUL-terminated;
 * returns the length. */
enum { MP_NUMBER_ROOM = 32 };
size_t mp_number_print(char out[MP_NUMBER_ROOM], const mp_number *number);

#endif
