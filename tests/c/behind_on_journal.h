/* A journal, to the random tests of what is written behind. */
#ifndef BEHIND_ON_JOURNAL_H
#define BEHIND_ON_JOURNAL_H

#include "journal_side.h"

enum {
    REMOTE = 0,   /* there is no round trip */
    VERSIONED = 0 /* in memory all absences are one */
};

static side us;

static void begin(void) {
    shop_make(folder, address);
    journal_open(&us);
}

static void end(void) {
    journal_close(&us);
    assert_int_equal(shop_remove(folder), 0);
}

/* Another process opens it. */
static void lose_history(void) {
    journal_close(&us);
    journal_open(&us);
}

/* As a cache without room does it. Whoever loads meanwhile has loaded in vain. */
static void drop_value(const char *key) {
    act a;
    act_make(&a, MP_END, key, 200);
    assert_int_equal(act_run(&us, &a), MP_DONE);
}
static inline void drop_lease(const char *key) { drop_value(key); }
static inline void drop_caches(void) {}

static inline long long entries(void) { return journal_number("SELECT count(*) FROM waiting", NULL); }
static inline bool has_record(const char *key) {
    return journal_number("SELECT count(*) FROM waiting WHERE key = ?1 AND state IS NOT NULL", key);
}
static inline bool has_sums(const char *key) {
    int64_t n = journal_number("SELECT count(*) FROM waiting WHERE key = ?1 AND first <> 0", key);
    if (!n) assert_int_equal(journal_number("SELECT count(*) FROM sums WHERE key = ?1", key), 0);
    return n;
}
static inline bool has_value(const char *key) {
    const char *text;
    return get(&us, key, &text, NULL) == MP_HIT;
}

#endif
