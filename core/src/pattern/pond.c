#include "pattern/pond.h"

#include "base/error.h"

mp_lane *mp_pond_blocking_lane(pond *p, pond_error **err) {
    mp_lane *lane = atomic_load_explicit(&p->blocking, memory_order_acquire);
    if (lane) return lane;
    mp_lane *fresh = mp_lane_new(p, true, err);
    if (!fresh || atomic_compare_exchange_strong(&p->blocking, &lane, fresh)) return fresh;
    mp_lane_unlist(fresh); /* another thread was first */
    mp_lane_unref(fresh);
    return lane;
}

mp_pool *mp_pond_pool(pond *p) {
    pthread_mutex_lock(&p->lock);
    if (!p->pool) p->pool = mp_pool_new((size_t)p->options.store_threads);
    mp_pool *pool = p->pool;
    pthread_mutex_unlock(&p->lock);
    return pool;
}
