/* The worker's book of documents that the store has refused: how often, and until when each of them rests. */
#ifndef MP_PATTERN_BEHIND_REFUSED_H
#define MP_PATTERN_BEHIND_REFUSED_H

#include "model/behind.h"
#include "pattern/behind/backlog.h"

/* Was it refused a short while ago? A newer version is another matter. */
bool mp_refused_rests(mp_backlog *b, const mp_behind_entry *e, int64_t now_ms);
/* Once more. True: it is tried again, after a pause. False: that is enough, or there is no room to count. */
bool mp_refused_again(mp_backlog *b, const mp_behind_entry *e);
/* The store has it now, or it waits no more. */
void mp_refused_over(mp_backlog *b, const mp_behind_entry *e);
void mp_refused_clear(mp_backlog *b);

#endif
