/* Write-behind without a Redis: the cache is this process's memory, and what was accepted waits in a journal beside it (store/journal.h). This is
 * what makes the two one, on the terms of cache/cache.h. */
#ifndef MP_PATTERN_BEHIND_EMBEDDED_H
#define MP_PATTERN_BEHIND_EMBEDDED_H

#include "pattern/lane.h"

struct mp_journal;

/* Is it an operation on what is written behind with this pond's cache, a memory:? */
bool mp_embedded_has(const mp_lane *lane, const mp_op *op);
/* Lane's lock held; its link is open. As a link's submit. */
void mp_embedded_submit(mp_lane *lane, mp_op *op);
/* As a link's forget. */
void mp_embedded_forget(mp_lane *lane, mp_op *op);

/* *out: where the journal stands, to be freed. POND_EOPTION: nobody has said, and the store's address does not. */
int mp_embedded_path(char **out, const mp_options *options, pond_error **err);
/* All lanes are closed: another process may have the journal, once what still waits for the disk has ended. */
void mp_embedded_close(pond *p);
/* For operations on a lane that may come behind that: the journal that is open; NULL: none is, and there is nothing to be done in it. Then release. */
struct mp_journal *mp_embedded_hold(pond *p);
void mp_embedded_release(pond *p, struct mp_journal *held);
/* Now and then, by a thread that may wait for the disk; no lock held. */
void mp_embedded_tidy(pond *p);

#endif
