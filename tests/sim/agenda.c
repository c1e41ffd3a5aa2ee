#include "agenda.h"

#include <stdlib.h>

void agenda_init(agenda *a, dice *d) { *a = (agenda){.dice = d}; }

void agenda_free(agenda *a) { free(a->items); }

static bool before(const agenda_item *x, const agenda_item *y) {
    return x->at != y->at ? x->at < y->at : x->order < y->order;
}

void agenda_at(agenda *a, int64_t at, void (*run)(void *owner, uint64_t arg), void *owner, uint64_t arg) {
    if (a->count == a->room) {
        a->room = a->room ? 2 * a->room : 64;
        a->items = realloc(a->items, a->room * sizeof a->items[0]);
        if (!a->items) abort();
    }
    agenda_item item = {.at = at, .order = dice_bits(a->dice), .run = run, .owner = owner, .arg = arg};
    size_t i = a->count++;
    for (; i > 0 && before(&item, &a->items[(i - 1) / 2]); i = (i - 1) / 2) a->items[i] = a->items[(i - 1) / 2];
    a->items[i] = item;
}

int64_t agenda_next(const agenda *a) { return a->count ? a->items[0].at : INT64_MAX; }

agenda_item agenda_take(agenda *a) {
    agenda_item first = a->items[0], last = a->items[--a->count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < a->count; i = child) {
        if (child + 1 < a->count && before(&a->items[child + 1], &a->items[child])) child++;
        if (!before(&a->items[child], &last)) break;
        a->items[i] = a->items[child];
    }
    a->items[i] = last;
    return first;
}
