/* How long what waits has waited, by looks at the head of a queue. */
#include "pattern/behind/lag.h"
#include "support/support.h"

static mp_lag lag;

static int set_up(void **state) {
    (void)state;
    lag = (mp_lag){0};
    return 0;
}

/* The queue has these places, the oldest and the newest; none, where the newest is below. */
static void look(long oldest, long newest, int64_t now) {
    mp_behind_entry first = {0};
    mp_behind head = {.backlog = newest - oldest + 1, .count = newest >= oldest, .entries = &first};
    if (head.count) snprintf(first.id, sizeof first.id, "%ld", oldest);
    if (head.count) snprintf(head.newest, sizeof head.newest, "%ld-7", newest);
    mp_lag_look(&lag, &head, now);
}

static void what_is_seen_empty_has_nothing_older(void **state) {
    (void)state;
    look(0, -1, 100);
    assert_int_equal(lag.since, 100);
    look(0, -1, 200);
    assert_int_equal(lag.since, 200);
    look(0, 3, 300); /* came since */
    assert_int_equal(lag.since, 200);
    look(2, 9, 400); /* 2 and 3 are still there */
    assert_int_equal(lag.since, 200);
    look(4, 9, 500); /* what was there at 300 is gone */
    assert_int_equal(lag.since, 300);
    look(9, 20, 600);
    assert_int_equal(lag.since, 300);
    look(10, 20, 700); /* the mark was set at 500, when 9 was the newest */
    assert_int_equal(lag.since, 500);
    look(21, 20, 800);
    assert_int_equal(lag.since, 800);
}

static void who_comes_late_counts_from_then(void **state) {
    (void)state;
    look(1000, 5000, 100);
    assert_int_equal(lag.since, 100);
    look(1000, 6000, 90000);
    assert_int_equal(lag.since, 100);
    look(5001, 6000, 91000);
    assert_int_equal(lag.since, 100);
    look(6001, 6002, 92000);
    assert_int_equal(lag.since, 91000);
}

static void a_queue_that_was_lost_begins_anew(void **state) {
    (void)state;
    look(1000, 5000, 100);
    look(0, 2, 200); /* nobody says that what waits came after the other */
    assert_int_equal(lag.since, 100);
    look(3, 4, 300);
    assert_int_equal(lag.since, 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_seen_empty_has_nothing_older, set_up),
        cmocka_unit_test_setup(who_comes_late_counts_from_then, set_up),
        cmocka_unit_test_setup(a_queue_that_was_lost_begins_anew, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
