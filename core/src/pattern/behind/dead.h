/* Dead letters of a write-behind collection (millpond/dead.h): what the store would not have is listed, retried and dropped. */
#ifndef MP_PATTERN_BEHIND_DEAD_H
#define MP_PATTERN_BEHIND_DEAD_H

#include "pattern/collection.h"
#include <millpond/dead.h>

enum { MP_DEAD_MOST = 1000 };

/* The arguments are good, but for what only Redis knows. */
int mp_dead_check(const pond_collection *c, const char *letter, size_t len, pond_error **err);
/* Block, and hold no lock. `after` may be empty. */
int mp_dead_list(pond_collection *c, const char *after, size_t len, int64_t most, pond_value **out, pond_error **err);
/* *out: SHOW's. */
int mp_dead_act(pond_collection *c, pond_dead_act act, const char *letter, size_t len, pond_value **out,
                pond_error **err);

#endif
