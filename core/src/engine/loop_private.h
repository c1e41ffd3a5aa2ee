/* What the drivers of a loop know of it, beyond loop.h. */
#ifndef MP_ENGINE_LOOP_PRIVATE_H
#define MP_ENGINE_LOOP_PRIVATE_H

#include <pthread.h>
#include "engine/loop.h"

pthread_mutex_t *mp_loop_mutex(mp_loop *loop);
int64_t mp_loop_next_timer(const mp_loop *loop); /* INT64_MAX if none */

#endif
