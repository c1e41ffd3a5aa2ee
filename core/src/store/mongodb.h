/* The store behind mongodb:// and mongodb+srv:// addresses. It lives in a shared object of its own
 * (libmillpond-mongodb.so, see store/plugin.h), so that nobody without MongoDB needs libmongoc.
 *
 * A collection is one of the address's database. What a document's id may be is said in store/mongodb_id.h, what
 * documents look like in store/mongodb_json.h.
 *   - Reads are from the primary with read concern majority, writes have write concern majority. Strings are always
 *     compared byte by byte, also in collections that were made with a collation.
 *   - Before the first read from a new primary, and again should one come while a read is under way, a linearizable read
 *     waits until it shows all that was acknowledged before it was elected.
 *   - Nothing is asked of a server at open. Every call ends within store_timeout, whatever the servers and the name servers
 *     do: waits for a name, for a connection, for an election, and for answers are all cut to it, and the server is told how
 *     long it may work. (But see store/mongodb_stream.h for certificates that name an OCSP responder.) A close takes a second
 *     at most; what libmongoc still waits for then ends by itself.
 *   - Reads are tried again within that time after elections and lost connections; a write only if it is sure that nothing was
 *     done, or once where MongoDB itself sees to it that it is done once (retryWrites).
 *   - Errors are POND_ESTORE: retriable for the network, elections and timeouts, and not for what will be refused again.
 *     After a retriable error of a write it is not known whether it was done.
 *   - libmongoc ends the process when it finds no memory. */
#ifndef MP_STORE_MONGODB_H
#define MP_STORE_MONGODB_H

#include "store/store.h"

int mp_mongodb_open(mp_store **out, const mp_options *options, pond_error **err);

#endif
