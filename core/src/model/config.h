/* Options: one table (options.def), parsed once into numbers. */
#ifndef MP_MODEL_CONFIG_H
#define MP_MODEL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <millpond/config.h>

enum mp_option_scope { MP_SCOPE_POND = 1, MP_SCOPE_POLICY = 2, MP_SCOPE_BOTH = 3, MP_SCOPE_COLLECTION = 4 };

/* options.def has, a row an option: OPT(field, type, scope, default, range, text) with type one of TEXT, DURATION, SIZE,
 * COUNT, CHOICE, SWITCH. TEXT fields are `char *` (owned, NULL = not given), all others `int64_t`: milliseconds, bytes, a
 * number, the index of the choice in its range ("store|error": 0 or 1), 0 or 1. */
typedef struct mp_options {
#define TEXT char *
#define DURATION int64_t
#define SIZE int64_t
#define COUNT int64_t
#define CHOICE int64_t
#define SWITCH int64_t
#define OPT(field, type, scope, standard, range, text) type field;
#include "model/options.def"
#undef OPT
#undef TEXT
#undef DURATION
#undef SIZE
#undef COUNT
#undef CHOICE
#undef SWITCH
} mp_options;

/* All defaults; false without memory. */
bool mp_options_init(mp_options *options);
bool mp_options_copy(mp_options *to, const mp_options *from);
void mp_options_free(mp_options *options);
/* Sets one by name if its scope has a bit of `scopes`. POND_EOPTION names the option, the value and what it takes (for an
 * unknown name: the nearest one), and changes nothing. */
int mp_options_set(mp_options *options, unsigned scopes, const char *name, const char *value, pond_error **err);

struct pond_config {
    mp_options options;
    char **texts; /* what pond_config_get answers, a row an option */
};

#endif
