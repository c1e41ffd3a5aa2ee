/* A store in front of a pond's own: it counts what it is asked, and holds or fails calls when told to. */
#ifndef TEST_SHADOW_H
#define TEST_SHADOW_H

#include "store/store.h"
#include "support/support.h"

enum { SHADOW_IDS = 2000 };

typedef struct shadow {
    mp_store base; /* first */
    mp_store *inner;
    atomic_int gets, get_manys, finds, counts, plans; /* statements that began */
    atomic_int readies, applies;
    atomic_int documents;                         /* asked for by get and get_many */
    atomic_int read[SHADOW_IDS];                  /* how often, of documents whose id is a number */
    gate *_Atomic began, *_Atomic go;             /* statements (of any kind but plans) tell and wait */
    gate *_Atomic count_began, *_Atomic count_go; /* counts alone */
    atomic_int fail_get, fail_find, fail_count;   /* a code: the next calls fail with it */
    _Atomic int64_t delay_ms;
    void (*_Atomic before_apply)(void);           /* once */
    gate *_Atomic apply_began, *_Atomic apply_go; /* applies alone */
    atomic_int doubt;                             /* the next apply is done, and said to be in doubt */
} shadow;

/* Puts itself before the store of an open pond that nobody uses yet; pond_free frees it. */
shadow *shadow_of(pond *p);

#endif
