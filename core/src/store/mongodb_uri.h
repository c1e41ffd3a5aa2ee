/* The address of a MongoDB store: what it may ask for, and what this library adds. */
#ifndef MP_STORE_MONGODB_URI_H
#define MP_STORE_MONGODB_URI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mongoc/mongoc.h>

#include <millpond/error.h>

/* libmongoc, ready for use by this process. Its messages are silenced for the whole process (they would come on standard
 * output and error at every lost connection): what matters of them is in our errors. */
void mp_mongodb_init(void);

/* How long libmongoc may look for a server at once; a call looks again while it has time. */
int32_t mp_mongodb_look_ms(int64_t timeout_ms);

/* Parses and checks the address; no host is asked. What it must have: a database. What it may not: an option that
 * libmongoc does not know, or one that takes away what a cache relies on (reads from the primary, majority read and
 * write concern). Adds those, the timeouts and the name of the program. POND_EURL, which never quotes a password. */
int mp_mongodb_uri(mongoc_uri_t **out, const char *address, int64_t timeout_ms, pond_error **err);

#endif
