/* By what the server knows a call that must not be applied twice, if it is sent again: the session of its line, a slot, and a number that grows with
 * each use of the slot. Changes that go as one call share it, and each is a part of it. A slot is free again when nobody waits for
 * any of them; what is left of the call on its way then has a number that is no longer the slot's. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cache/redis.h"

#define DAY_MS 86400000

struct mp_once {
    struct mp_once *all, *next; /* of the line; free */
    mp_line *line;
    uint16_t slot;
    unsigned refs;
    int64_t n, day; /* `day`: since 1970, when it was first sent: the sessions of each are kept apart */
};

static mp_once *made(mp_line *line) {
    mp_once *once = line->onces < UINT16_MAX ? malloc(sizeof *once) : NULL;
    if (!once) return NULL;
    *once = (mp_once){.all = line->once, .line = line, .slot = line->onces++};
    return line->once = once;
}

bool mp_once_take(mp_line *line, mp_behind *b) {
    b->again = b->once != NULL;
    if (b->again) return true;
    /* The last one given back is the next one taken: so no more are known to the server than were ever in use at once. */
    mp_once *once = line->once_free;
    if (once) line->once_free = once->next;
    else if (!(once = made(line))) return false;
    once->refs = 1;
    once->n++;
    once->day = mp_clock_wall_ms() / DAY_MS;
    b->once = once;
    b->part = 0;
    return true;
}

void mp_once_share(mp_behind *b, mp_once *with, uint8_t part) {
    b->once = with;
    b->part = part;
    b->again = false;
    with->refs++;
}

void mp_once_leave(mp_behind *b) {
    mp_once *once = b ? b->once : NULL;
    if (!once) return;
    b->once = NULL;
    if (--once->refs) return;
    once->next = once->line->once_free;
    once->line->once_free = once;
}

void mp_once_free(mp_line *line) {
    for (mp_once *once = line->once, *next; once; once = next) {
        next = once->all;
        free(once);
    }
}

int64_t mp_once_day(const mp_behind *b) { return b->once->day; }

void mp_once_args(mp_buf *out, const mp_behind *b) {
    const mp_once *once = b->once;
    unsigned char slot[MP_SESSION_LEN + 2], n[6];
    memcpy(slot, once->line->session, MP_SESSION_LEN);
    slot[MP_SESSION_LEN] = (unsigned char)(once->slot & 0xff);
    slot[MP_SESSION_LEN + 1] = (unsigned char)(once->slot >> 8);
    for (int i = 0; i < 6; i++) n[i] = (unsigned char)((uint64_t)once->n >> 8 * i);
    mp_command_arg(out, slot, sizeof slot);
    mp_command_arg(out, n, sizeof n);
}
