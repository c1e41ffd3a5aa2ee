/* What the store needs of a database beside the documents: commands that make it, and what the server must be. */
#ifndef MP_STORE_MONGODB_SETUP_H
#define MP_STORE_MONGODB_SETUP_H

#include "store/mongodb_pool.h"

/* One command of a call that writes, with a majority; repeated only where nothing was done. `fine`: a code that is none of an error; 0: there
 * is none. `reply` is initialized, and stays so. */
int mp_mongodb_command(mp_mongodb_call *call, const bson_t *text, uint32_t fine, bson_t *reply);
/* Where they are missing. `expire_s`: MongoDB drops documents so long after the date in `field`; 0: never. */
int mp_mongodb_make_collection(mp_mongodb_call *call, const char *name);
int mp_mongodb_make_index(mp_mongodb_call *call, const char *collection, const char *field, int expire_s);
/* POND_EOPTION if the server cannot do what `what` needs. */
int mp_mongodb_has_transactions(mp_mongodb_call *call, const char *what);

#endif
