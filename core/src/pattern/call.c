#include "pattern/call.h"

#include <stdlib.h>

#include "pattern/group.h"
#include "pattern/load.h"
#include "pattern/pond.h"
#include "pattern/source.h"

void mp_call_init(mp_call *call, const mp_call_vt *vt, mp_lane *lane, const pond_policy *policy, uint64_t user) {
    call->vt = vt;
    call->lane = lane;
    call->policy = pond_policy_ref((pond_policy *)(policy ? policy : lane->pond->defaults));
    call->event.user = user;
    call->event.call = call;
    mp_list_init(&call->event.node);
    mp_list_push(&lane->calls, &call->node);
    lane->pending++;
    atomic_fetch_add(&lane->pond->calls, 1);
}

void mp_call_push_event(mp_lane *lane, pond_event *event) {
    /* A host that is not polling must learn of it by its descriptor; one that sleeps in its poll, when another thread
     * brings the event, must be woken. */
    if ((!lane->polling || mp_loop_asleep(lane->loop)) && mp_list_empty(&lane->events))
        mp_loop_post(lane->loop, &lane->wake);
    mp_list_push(&lane->events, &event->node);
}

void mp_call_end(mp_call *call, pond_event_type kind, pond_value *value, pond_error *error) {
    mp_lane *lane = call->lane;
    call->ended = true;
    call->value = value;
    call->error = error;
    call->event.kind = kind;
    mp_list_remove(&call->node);
    mp_pond_call_ended(lane->pond);
    if (call->group) {
        lane->pending--;
        mp_group_ended(call->group, call);
    } else if (call->canceled) {
        lane->pending--;
        call->vt->destroy(call);
    } else if (call->waiter) {
        lane->pending--;
        mp_waiter_wake(call->waiter);
    } else {
        mp_call_push_event(lane, &call->event);
    }
}

void mp_call_end_value(mp_call *call, pond_value *value) {
    pond_state state = pond_value_state(value);
    mp_call_end(call,
                state == POND_VALUE    ? POND_EVENT_VALUE
                : state == POND_ABSENT ? POND_EVENT_ABSENT
                                       : POND_EVENT_MISS,
                value, NULL);
}

void mp_call_abort(mp_call *call, pond_error *error, bool silently) {
    if (silently) call->canceled = true;
    call->vt->unhook(call);
    mp_call_end(call, POND_EVENT_ERROR, NULL, error);
}

void mp_call_offer(mp_call *call, pond_load *load) {
    call->load = load;
    atomic_fetch_add_explicit(&load->refs, 1, memory_order_relaxed);
    load->event = (pond_event){.kind = POND_EVENT_LOAD, .user = call->event.user, .call = call, .load = load};
    mp_list_init(&load->event.node);
    if (call->group) mp_group_offered(call->group);
    else if (call->source && !call->waiter) mp_source_offered(call->lane, call->source, mp_call_take(call));
    else if (call->waiter) mp_waiter_wake(call->waiter);
    else mp_call_push_event(call->lane, &load->event);
}

void mp_call_retract(mp_call *call) {
    pond_load *load = call->load;
    if (!load) return;
    call->load = NULL;
    mp_list_remove(&load->event.node);
    mp_load_unref(load); /* the event's */
    mp_load_unref(load); /* the answer's, which nobody will give */
}

pond_load *mp_call_take(mp_call *call) {
    pond_load *load = call->load;
    call->load = NULL;
    return load;
}

void mp_call_clear(mp_call *call) {
    pond_value_free(call->value);
    for (size_t i = 0; i < call->list_len; i++) pond_value_free(call->list[i]);
    free(call->list);
    pond_error_free(call->error);
    pond_policy_free(call->policy);
    mp_source_unref(call->source);
}

mp_waited mp_call_wait(mp_call *call) {
    mp_lane *lane = call->lane;
    mp_waiter *waiter = call->waiter;
    int (*interrupt)(void *) = call->quiet ? NULL : lane->pond->interrupt;
    mp_waited how = mp_blocking_wait(lane->blocking, waiter, interrupt, lane->pond->interrupt_ctx);
    if (how == MP_WAIT_OVER) waiter->ready = false;
    if (how != MP_WAIT_STOPPED) return how;
    mp_call_abort(call, NULL, true);
    mp_lane_kick(lane, false);
    return how;
}
