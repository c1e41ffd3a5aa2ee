#include "pattern/share.h"

#include <string.h>

#include "pattern/pond.h"

/* The place in the lane of whoever asks for such a key; another key may push it out, which costs a command. */
static mp_read **place(const mp_read *r) { return &r->call.lane->askers[r->op.key.hash % MP_LANE_ASKERS]; }

static bool same_question(const mp_read *a, const mp_read *b) {
    const mp_key *k = &a->op.key, *l = &b->op.key;
    return k->hash == l->hash && k->len == l->len && memcmp(k->name, l->name, k->len) == 0 &&
           a->op.timeout_ms == b->op.timeout_ms && a->op.soft == b->op.soft && mp_tags_same(a->tags, b->tags);
}

bool mp_share_join(mp_read *r) {
    mp_lane *lane = r->call.lane;
    mp_read *asker = *place(r);
    if (!asker || !same_question(asker, r) || !lane->link->vt->unsent(lane->link, &asker->op)) return false;
    r->state = MP_READ_SHARING;
    r->started = mp_loop_now(lane->loop);
    mp_list_push(&asker->sharers, &r->flight_node);
    return true;
}

void mp_share_begin(mp_read *r) {
    if (r->call.lane->pond->cache->vt->peek) return; /* its answers do not wait */
    *place(r) = r;
}

static void end(mp_read *r) {
    if (*place(r) == r) *place(r) = NULL;
}

void mp_share_answered(mp_read *r, mp_node *sharers) {
    end(r);
    mp_list_move(sharers, &r->sharers);
    for (mp_node *n = sharers->next; n != sharers; n = n->next) {
        mp_op *op = &MP_OF(n, mp_read, flight_node)->op;
        op->reply = r->op.reply;
        op->damaged = r->op.damaged;
        op->left = r->op.left;
        op->load_ms = r->op.load_ms;
        op->rejected_len = r->op.rejected_len;
        memcpy(op->rejected, r->op.rejected, op->rejected_len);
        op->value = r->op.value ? pond_value_ref(r->op.value) : NULL;
        op->error = r->op.error ? pond_error_ref(r->op.error) : NULL;
    }
}

mp_read *mp_share_leave(mp_read *r) {
    if (r->state == MP_READ_SHARING) {
        mp_list_remove(&r->flight_node);
        while (mp_list_shift(&r->sharers)) continue; /* an heir that never asked: its lane ends, and so do they */
        pond_value_free(r->op.value);                /* its answer may have come */
        pond_error_free(r->op.error);
    } else {
        end(r);
    }
    mp_node *n = mp_list_shift(&r->sharers);
    if (!n) return NULL;
    mp_read *heir = MP_OF(n, mp_read, flight_node);
    mp_list_move(&heir->sharers, &r->sharers);
    int64_t left = heir->started + heir->op.timeout_ms - mp_loop_now(heir->call.lane->loop);
    heir->op.timeout_ms = left > 1 ? left : 1; /* the rest has passed with the question that it shared */
    return heir;
}
