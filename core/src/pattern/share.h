/* One question for many reads: a GET that has not left yet answers whoever asks for the same key until it does. None of them can be
 * given anything older than its call. */
#ifndef MP_PATTERN_SHARE_H
#define MP_PATTERN_SHARE_H

#include "pattern/read.h"

/* All with the lane's lock held. True: the read has joined another's question, and hears its answer with it. */
bool mp_share_join(mp_read *read);
/* The read asks by itself, so others may join it. */
void mp_share_begin(mp_read *read);
/* The read's question has been answered: those who share it, with the same answer in their own `op`, in `sharers`. */
void mp_share_answered(mp_read *read, mp_node *sharers);
/* The read takes no part any more. If others relied on its question, the first of them, which must ask now, in the
 * time that it has left; else NULL. */
mp_read *mp_share_leave(mp_read *read);

#endif
