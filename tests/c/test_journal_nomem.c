/* The journal's operations under an allocator that fails, at each allocation in its turn: what fails has changed nothing, neither in the file nor in
 * what is counted beside it, readers see what the journal has, and the same operation is right when it comes again.
 *
 * This program replaces malloc and its kin. So do sanitizers: in their builds it is skipped. */
#include "support/scarce_scene.h"

#include "journal_stories.h"
#include "store/sqlite_journal.h"

#if REPLACED
/* The connection knows no statement that a story may want. */
static void forget_statements(void) {
    mp_journal *j = atomic_load(&behind_pond->journal);
    char sql[32];
    assert_int_equal(mp_journal_enter(j, NULL), POND_OK);
    for (int i = 0; i < MP_SQLITE_KEPT; i++) {
        snprintf(sql, sizeof sql, "SELECT %d", i);
        assert_int_equal(mp_jrun(j, NULL, sql, ""), POND_OK);
    }
    mp_journal_leave(j);
}

static bool anew,
    unspent; /* statements must be prepared, which are many allocations, so not each of them fails; the last was not reached */
static long times;

static void begin_scarcity(long n) {
    if (anew) forget_statements();
    atomic_store(&left, n);
    atomic_store(&armed, true);
}

static void end_scarcity(void) {
    atomic_store(&armed, false);
    unspent = atomic_load(&left) >= 0;
    times++;
}

static bool is_scarcity(const pond_error *why) { return !why || pond_error_code(why) == POND_ENOMEM; }

static bool next_allocation(long *n) {
    bool first = *n < 0;
    *n += anew && !first ? 1 + dice(7) : 1;
    return first || !unspent;
}

static void what_fails_has_not_happened(void **state) {
    (void)state;
    static const trouble scarcity = {begin_scarcity, end_scarcity, is_scarcity};
    watchdog(110);
    shop_make(folder, address);
    for (int i = 0; i < 4; i++) {
        long before = atomic_load(&blocks);
        stories_begin(1 + i);
        atomic_store(&all_that_follow, i % 2);
        anew = i > 1;
        times = 0;
        long failures = tell_all(&scarcity, next_allocation);
        stories_end();
        printf("           %ld allocations failed, %s; %ld operations failed\n", times,
               i % 2 ? "with all that follow" : "one at a time", failures);
        assert_true(failures > (anew ? 500 : 300));
        if (i) assert_int_equal(atomic_load(&blocks), before); /* the first time others make what they keep */
    }
    assert_int_equal(shop_remove(folder), 0);
}

/* ---- from the opening to the close ---- */

static int stored; /* the number that was accepted last */

/* Accepts two changes, reads, and lists; what went well is to be read until something newer goes well. */
static void life(void) {
    static const char *const options[] = {"write", "behind"};
    pond_error *err = NULL;
    pond_config *config = pond_config_new();
    pond *p = NULL;
    pond_collection *c = NULL;
    pond_value *value = NULL;
    int rc = config ? pond_config_set(config, "cache", "memory:", &err) : POND_OK;
    if (config && rc == POND_OK) rc = pond_config_set(config, "store", address, &err);
    if (config && rc == POND_OK) rc = pond_config_set(config, "worker", "off", &err);
    bool opened = config && well(rc, &err) && well(pond_open(&p, config, &err), &err);
    pond_config_free(config);
    if (opened && well(pond_collection_new(&c, p, "films", options, 1, &err), &err) &&
        well(pond_collection_prepare(c, &err), &err)) {
        char text[32];
        snprintf(text, sizeof text, "{\"n\":%d}", stored + 1);
        if (well(pond_collection_change(c, POND_REPLACE, "1", 1, text, strlen(text), NULL, NULL, NULL, &err), &err))
            stored++;
        if (well(pond_collection_increment(c, "1", 1, "n", 1, 1, &err), &err)) stored++;
        if (well(pond_collection_get(c, "1", 1, &value, &err), &err)) {
            char want[40];
            snprintf(want, sizeof want, "{\"id\":\"1\",\"n\":%d}", stored);
            if (stored) same(pond_value_data(value, NULL), want);
            pond_value_free(value);
        }
        value = NULL;
        if (well(pond_collection_dead_list(c, NULL, 0, 10, &value, &err), &err)) pond_value_free(value);
    }
    pond_collection_free(c);
    pond_free(p);
}

static void a_life(void **state) {
    (void)state;
    watchdog(110);
    shop_make(folder, address);
    stored = 0;
    until_nothing_fails(life, false, 5, 200);
    until_nothing_fails(life, true, 11, 200);
    assert_int_equal(shop_remove(folder), 0);
}
#else
static void what_fails_has_not_happened(void **state) {
    (void)state;
    skip();
}
static void a_life(void **state) {
    (void)state;
    skip();
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_fails_has_not_happened), cmocka_unit_test(a_life)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
