/* An intrusive doubly linked ring. A node that is in no list points to itself. */
#ifndef MP_BASE_LIST_H
#define MP_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct mp_node {
    struct mp_node *prev, *next;
} mp_node;

#define MP_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline void mp_list_init(mp_node *n) { n->prev = n->next = n; }
static inline bool mp_list_empty(const mp_node *n) { return n->next == n; }
static inline void mp_list_remove(mp_node *n) {
    n->prev->next = n->next;
    n->next->prev = n->prev;
    mp_list_init(n);
}
static inline void mp_list_push(mp_node *list, mp_node *n) { /* at the end */
    n->prev = list->prev;
    n->next = list;
    list->prev->next = n;
    list->prev = n;
}
static inline mp_node *mp_list_shift(mp_node *list) { /* the first, or NULL */
    mp_node *n = list->next;
    if (n == list) return NULL;
    mp_list_remove(n);
    return n;
}
static inline void mp_list_move(mp_node *to, mp_node *from) { /* all of `from` to the end of `to` */
    if (mp_list_empty(from)) return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    mp_list_init(from);
}

#endif
