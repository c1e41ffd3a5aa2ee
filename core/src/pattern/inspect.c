#include "pattern/inspect.h"

#include <stdlib.h>
#include <string.h>

#include "pattern/pond.h"

typedef struct inspection {
    mp_call call;
    mp_op op;
    char name[];
} inspection;

static void unhook(mp_call *call) {
    inspection *in = MP_OF(call, inspection, call);
    if (in->op.reply == MP_PENDING) mp_lane_forget(call->lane, &in->op);
}

static void destroy(mp_call *call) {
    mp_call_clear(call);
    free(MP_OF(call, inspection, call));
}

static const mp_call_vt vt = {.unhook = unhook, .destroy = destroy};

static void inspected(mp_op *op) {
    inspection *in = MP_OF(op, inspection, op);
    if (op->reply == MP_HIT) mp_call_end(&in->call, POND_EVENT_VALUE, op->value, NULL);
    else mp_call_end(&in->call, POND_EVENT_ERROR, NULL, op->error);
}

mp_call *mp_inspect_start(mp_lane *lane, const pond_policy *policy, const mp_key *key, uint64_t user,
                          mp_waiter *waiter) {
    inspection *in = calloc(1, sizeof *in + (key ? key->len : 0) + 1);
    if (!in) return NULL;
    mp_call_init(&in->call, &vt, lane, policy, user);
    in->call.waiter = waiter;
    in->op.kind = key ? MP_INSPECT : MP_PUBLISHED;
    if (key) {
        memcpy(in->name, key->name, key->len);
        in->op.key = *key;
    }
    in->op.key.name = in->name;
    in->op.timeout_ms = in->call.policy->options.command_timeout;
    in->op.done = inspected;
    mp_lane_submit(lane, &in->op);
    return &in->call;
}
