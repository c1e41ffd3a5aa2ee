/* The Lua scripts of the protocol (cache/lua), embedded. Each header comment there is the contract. */
#ifndef MP_CACHE_REDIS_SCRIPTS_H
#define MP_CACHE_REDIS_SCRIPTS_H

#include <stddef.h>

typedef enum mp_script_id {
    MP_SCRIPT_fence,
    MP_SCRIPT_get,
    MP_SCRIPT_fill,
    MP_SCRIPT_renew,
    MP_SCRIPT_release,
    MP_SCRIPT_begin,
    MP_SCRIPT_end,
    MP_SCRIPT_gen,
    MP_SCRIPT_inspect,
    MP_SCRIPT_publish,
    MP_SCRIPT_published,
    MP_SCRIPT_wb_put,
    MP_SCRIPT_wb_puts,
    MP_SCRIPT_wb_incr,
    MP_SCRIPT_wb_sums,
    MP_SCRIPT_wb_fold,
    MP_SCRIPT_wb_get,
    MP_SCRIPT_wb_fill,
    MP_SCRIPT_wb_end,
    MP_SCRIPT_wb_take,
    MP_SCRIPT_wb_ack,
    MP_SCRIPT_wb_dead,
    MP_SCRIPT_wb_dead_list,
    MP_SCRIPT_wb_dead_retry,
    MP_SCRIPT_wb_epoch,
    MP_SCRIPT_wb_own,
    MP_SCRIPT_wb_open,
    MP_SCRIPT_wb_inspect,
    MP_SCRIPTS
} mp_script_id;

typedef struct mp_script {
    const char *sha; /* 40 hex digits */
    const char *text;
    size_t len;
} mp_script;

extern const mp_script mp_scripts[MP_SCRIPTS];

#endif
