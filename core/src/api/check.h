/* What every public call checks before anything happens. */
#ifndef MP_API_CHECK_H
#define MP_API_CHECK_H

#include "model/key.h"
#include "pattern/pond.h"
#include "pattern/read.h"

int mp_closed(pond_error **err);
int mp_no_memory(pond_error **err);
int mp_open_check(pond *p, pond_error **err);
/* The pond is open and the key is good; makes its name. */
int mp_call_check(pond *p, const char *key, size_t len, const pond_policy *policy, char name[MP_NAME_MAX + 1],
                  mp_key *out, pond_error **err);
int mp_keys_check(pond *p, const char *const *keys, const size_t *lens, size_t n, pond_error **err);
/* There is a store, and collection and ids are good. */
int mp_store_check(pond *p, const char *collection, const char *const *ids, const size_t *lens, size_t n,
                   pond_error **err);

#endif
