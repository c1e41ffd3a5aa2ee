#include "pattern/behind/lag.h"

#include <stdlib.h>

static uint64_t place(const char *id) { return strtoull(id, NULL, 10); }

void mp_lag_look(mp_lag *lag, const mp_behind *head, int64_t now_ms) {
    if (!head->backlog) {
        *lag = (mp_lag){.since = now_ms};
        return;
    }
    if (!head->count) return;
    uint64_t newest = place(head->newest);
    if (!lag->since) lag->since = now_ms; /* how long it had waited before that nobody knows */
    if (lag->mark_at && newest >= lag->mark) {
        if (place(head->entries[0].id) <= lag->mark) return;
        lag->since = lag->mark_at;
    } /* else the queue is a new one: the server has lost it */
    lag->mark = newest;
    lag->mark_at = now_ms;
}
