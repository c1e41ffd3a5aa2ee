/* Configuration by string keys. The list of options is one table in the core; pond_option_* let a program or a
 * binding walk it. Durations are written "250ms", "30s", "5m", "1h", "1d" or as plain milliseconds; sizes "64MiB",
 * "1GiB", "512KiB" or plain bytes. */
#ifndef MILLPOND_CONFIG_H
#define MILLPOND_CONFIG_H

#include <stddef.h>
#include <millpond/error.h>

POND_BEGIN_DECLS

typedef struct pond_config pond_config;

/* A configuration with every option at its default; NULL only if there is no memory. @threads one at a time */
POND_API pond_config *pond_config_new(void);
POND_API void pond_config_free(pond_config *config);
/* Sets one option; `value` is copied. POND_EOPTION names the option and what it takes, and changes nothing. */
POND_API int pond_config_set(pond_config *config, const char *name, const char *value, pond_error **err);
/* The option's value as text, borrowed until the next set; NULL if the name is unknown. */
POND_API const char *pond_config_get(const pond_config *config, const char *name);

/* The option table: pond_option_count() rows, each borrowed and static. */
POND_API size_t pond_option_count(void);
POND_API const char *pond_option_name(size_t row);
/* "text", "duration", "size", "count", "choice" or "switch". */
POND_API const char *pond_option_type(size_t row);
/* "pond" (set at open), "policy" (set per call or namespace), "both", or "collection". */
POND_API const char *pond_option_scope(size_t row);
POND_API const char *pond_option_default(size_t row);
/* The allowed values or range, as text: "1ms..365d", "store|error". */
POND_API const char *pond_option_range(size_t row);
POND_API const char *pond_option_text(size_t row);

POND_END_DECLS

#endif
