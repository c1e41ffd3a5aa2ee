/* A queue under virtual time: what takes minutes takes none. */
#include "support/support.h"
#include "virtual/virtual.h"

static void drive(pond_queue *queue, pond_event **event) {
    for (int i = 0; i < 4 && !*event; i++) pond_queue_poll(queue, event, 1, 0);
}

static pond_queue *queue_made(pond *p) {
    pond_queue *queue;
    assert_int_equal(pond_queue_new(&queue, p, NULL), POND_OK);
    return queue;
}

/* A load that is never answered ends at load_timeout, not before. */
static void deadlines_pass_when_time_is_moved(void **state) {
    virtual_begin(1);
    pond *p = pond_made("memory:virtual-deadline", "load_timeout", "1h", "wait_timeout", "1h", NULL);
    pond_queue *queue = queue_made(p);
    pond_event *event = NULL;
    assert_int_equal(pond_fetch_start(p, queue, "k", 1, NULL, 7, NULL, NULL, NULL), POND_OK);
    drive(queue, &event);
    pond_load *load = pond_event_load(event);
    assert_non_null(load);
    pond_event_free(event);
    event = NULL;
    virtual_pass(3600 * 1000 - 1);
    drive(queue, &event);
    assert_null(event);
    virtual_pass(1);
    drive(queue, &event);
    assert_non_null(event);
    assert_int_equal(pond_error_code(pond_event_error(event)), POND_ETIMEOUT);
    pond_event_free(event);
    pond_load_absent(load, 0);
    pond_queue_free(queue);
    pond_free(p);
}

/* A value is served up to its TTL and not beyond. */
static void values_age_when_time_is_moved(void **state) {
    virtual_begin(1);
    pond *p = pond_made("memory:virtual-age", "ttl", "30d", "jitter", "0", NULL);
    pond_queue *queue = queue_made(p);
    pond_event *event = NULL;
    assert_int_equal(pond_fetch_start(p, queue, "k", 1, NULL, 7, NULL, NULL, NULL), POND_OK);
    drive(queue, &event);
    answer_text(pond_event_load(event), "old");
    pond_event_free(event);
    event = NULL;
    drive(queue, &event);
    pond_event_free(event);
    virtual_pass(30 * 86400000LL - 1);
    pond_value *value = pond_peek(p, "k", 1, NULL);
    assert_non_null(value);
    pond_value_free(value);
    virtual_pass(1);
    assert_null(pond_peek(p, "k", 1, NULL));
    pond_queue_free(queue);
    pond_free(p);
}

int main(void) {
    watchdog(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deadlines_pass_when_time_is_moved),
        cmocka_unit_test(values_age_when_time_is_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
