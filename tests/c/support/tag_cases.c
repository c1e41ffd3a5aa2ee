#include "support/tag_cases.h"

#include "support/support.h"

static const char *cache_url;
static pond *p;
static desk d;
static pond_tags *users, *admins, *both;
static char key[64];

static int set_up(void **state) {
    (void)state;
    p = pond_made(cache_url, "namespace", "tags", "load_timeout", "2s", NULL);
    desk_open(&d, p, 2);
    users = tags_made(p, "users");
    admins = tags_made(p, "admins");
    both = tags_made(p, "users admins");
    snprintf(key, sizeof key, "%s", fresh("k"));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    pond_tags_free(users);
    pond_tags_free(admins);
    pond_tags_free(both);
    desk_close(&d);
    assert_int_equal(pond_close(p, 2000), POND_OK);
    pond_free(p);
    return 0;
}

static uint64_t stat(const char *counter) { return pond_stat(p, "tags", counter); }

static void a_tagged_value_is_cached(void **state) {
    (void)state;
    uint64_t loads = stat("loads"), hits = stat("hits");
    assert_string_equal(fetch_tagged_text(p, key, both, "one"), "one");
    assert_string_equal(fetch_tagged_text(p, key, both, "two"), "one");
    assert_string_equal(lookup_tagged_text(p, key, both), "one");
    assert_int_equal(stat("loads") - loads, 1);
    assert_int_equal(stat("hits") - hits, 2);
    desk_fetch_tagged(&d, 0, key, both, 1);
    desk_value(&d, 0, 1, "one");
}

static void each_of_its_tags_drops_it(void **state) {
    (void)state;
    static const char *const names[] = {"users", "admins", "users admins"};
    for (size_t i = 0; i < 3; i++) {
        char text[16];
        snprintf(text, sizeof text, "%zu", i);
        assert_string_equal(fetch_tagged_text(p, key, both, text), text);
        invalidate_tags(p, "others");
        assert_string_equal(lookup_tagged_text(p, key, both), text);
        invalidate_tags(p, names[i]);
        assert_string_equal(lookup_tagged_text(p, key, both), "(miss)");
    }
}

static void an_absence_has_tags_too(void **state) {
    (void)state;
    assert_string_equal(fetch_tagged_text(p, key, users, NULL), "(absent)");
    assert_string_equal(fetch_tagged_text(p, key, users, "there"), "(absent)");
    invalidate_tags(p, "users");
    assert_string_equal(fetch_tagged_text(p, key, users, "there"), "there");
}

static void many_values_go_in_one_step(void **state) {
    (void)state;
    enum { MANY = 200 };
    char name[64];
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "%.40s-%d", key, i);
        assert_string_equal(fetch_tagged_text(p, name, users, "old"), "old");
    }
    uint64_t invalidations = stat("invalidations");
    invalidate_tags(p, "users");
    assert_int_equal(stat("invalidations") - invalidations, 1);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "%.40s-%d", key, i);
        assert_string_equal(fetch_tagged_text(p, name, users, "new"), "new");
    }
}

static void order_and_repetition_say_nothing(void **state) {
    (void)state;
    pond_tags *again = tags_made(p, "admins users admins users");
    assert_string_equal(fetch_tagged_text(p, key, both, "one"), "one");
    assert_string_equal(fetch_tagged_text(p, key, again, "two"), "one");
    pond_tags_free(again);
}

/* Who does not know its tags cannot know whether they stand. */
static void a_value_under_other_tags_is_a_miss(void **state) {
    (void)state;
    pond_tags *const sets[] = {users, admins, both, NULL};
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 4; k++) {
            if (i == k) continue;
            snprintf(key, sizeof key, "%s", fresh("k"));
            assert_string_equal(fetch_tagged_text(p, key, sets[i], "one"), "one");
            assert_string_equal(lookup_tagged_text(p, key, sets[k]), "(miss)");
            assert_string_equal(fetch_tagged_text(p, key, sets[k], "two"), "two");
            assert_string_equal(lookup_tagged_text(p, key, sets[k]), "two");
            assert_string_equal(lookup_tagged_text(p, key, sets[i]), "(miss)");
        }
}

/* Rule 6: who came after the invalidation of a tag may not get what was read before it, though the fill was accepted. */
static void late_callers_load_anew_after_an_invalidation(void **state) {
    (void)state;
    desk_fetch_tagged(&d, 0, key, both, 1);
    pond_load *load = desk_load(&d, 0, 1);
    desk_fetch_tagged(&d, 0, key, both, 2);
    desk_nothing(&d, 20);
    invalidate_tags(p, "admins");
    desk_fetch_tagged(&d, 1, key, both, 3);
    desk_nothing(&d, 20);
    answer_text(load, "old");
    desk_value(&d, 0, 1, "old");
    load = desk_load(&d, 0, 2);
    answer_text(load, "new");
    desk_value(&d, 0, 2, "new");
    desk_value(&d, 1, 3, "new");
    assert_string_equal(lookup_tagged_text(p, key, both), "new");
}

static void late_callers_share_what_still_stands(void **state) {
    (void)state;
    uint64_t loads = stat("loads");
    desk_fetch_tagged(&d, 0, key, both, 1);
    pond_load *load = desk_load(&d, 0, 1);
    desk_fetch_tagged(&d, 0, key, both, 2);
    desk_fetch_tagged(&d, 1, key, both, 3);
    desk_nothing(&d, 20);
    invalidate_tags(p, "others");
    answer_text(load, "one");
    desk_value(&d, 0, 1, "one");
    desk_value(&d, 0, 2, "one");
    desk_value(&d, 1, 3, "one");
    assert_int_equal(stat("loads") - loads, 1);
}

/* One key under two sets: what one load gives says nothing of the other's tags. */
static void other_tags_do_not_share_a_load(void **state) {
    (void)state;
    desk_fetch_tagged(&d, 0, key, users, 1);
    pond_load *load = desk_load(&d, 0, 1);
    desk_fetch_tagged(&d, 1, key, admins, 2);
    desk_nothing(&d, 20);
    answer_text(load, "for users");
    desk_value(&d, 0, 1, "for users");
    load = desk_load(&d, 1, 2);
    answer_text(load, "for admins");
    desk_value(&d, 1, 2, "for admins");
}

static void a_crowd_loads_once(void **state) {
    (void)state;
    uint64_t loads = stat("loads");
    for (uint64_t i = 0; i < 50; i++) desk_fetch_tagged(&d, i % 2, key, both, i);
    pond_event *event = NULL;
    for (size_t q = 0; !event; q = 1 - q) event = desk_event(&d, q, 10);
    pond_load *load = pond_event_load(event);
    pond_event_free(event);
    answer_text(load, "one");
    for (uint64_t i = 0; i < 50; i++) desk_value(&d, i % 2, i, "one");
    assert_int_equal(stat("loads") - loads, 1);
}

static void threads_and_queues_read_under_tags(void **state) {
    (void)state;
    pond_value *value = pond_peek_tagged(p, key, strlen(key), NULL, both);
    assert_null(value);
    assert_string_equal(fetch_tagged_text(p, key, both, "one"), "one");
    value = pond_peek_tagged(p, key, strlen(key), NULL, both); /* where hits need no wait */
    if (strncmp(cache_url, "memory:", 7) == 0) assert_non_null(value);
    pond_value_free(value);
    assert_null(pond_peek(p, key, strlen(key), NULL));
    const char *none = NULL;
    size_t zero = 0;
    assert_int_equal(pond_invalidate_tagged_start(p, d.queue[0], &none, &zero, 0, NULL, users, 7, NULL), POND_OK);
    desk_ok(&d, 0, 7);
    assert_int_equal(pond_lookup_tagged_start(p, d.queue[0], key, strlen(key), NULL, both, 8, NULL, NULL, NULL),
                     POND_OK);
    pond_event *event = desk_event(&d, 0, 5000);
    assert_int_equal(pond_event_kind(event), POND_EVENT_MISS);
    pond_event_free(event);
}

static void keys_and_tags_go_together(void **state) {
    (void)state;
    const char *keys[] = {key, "other"};
    const size_t lens[] = {strlen(key), 5};
    fetch_tagged_text(p, "page", users, "one");
    fetch_text(p, key, NULL, "one");
    fetch_text(p, "other", NULL, "one");
    assert_int_equal(pond_invalidate_tagged(p, keys, lens, 2, NULL, users, NULL), POND_OK);
    assert_string_equal(lookup_text(p, key, NULL), "(miss)");
    assert_string_equal(lookup_text(p, "other", NULL), "(miss)");
    assert_string_equal(lookup_tagged_text(p, "page", users), "(miss)");
    assert_int_equal(pond_invalidate_tagged(p, NULL, NULL, 0, NULL, NULL, NULL), POND_OK); /* nothing is fine */
}

static int made(const char *const *names, const size_t *lens, size_t n, char *message) {
    pond_tags *tags = NULL;
    pond_error *err = NULL;
    int code = pond_tags_new(&tags, p, NULL, names, lens, n, &err);
    snprintf(message, 200, "%s", code == POND_OK ? "" : pond_error_message(err));
    pond_error_free(err);
    if (code != POND_OK) assert_null(tags);
    pond_tags_free(tags);
    return code;
}

static void bad_tags_are_named(void **state) {
    (void)state;
    char message[200], long_tag[600], many[64][4];
    const char *names[65];
    size_t lens[65];
    memset(long_tag, 'x', sizeof long_tag);
    const char *one = "", *bad[] = {"users", "\xff"}, *huge = long_tag;
    size_t zero = 0, bad_lens[] = {5, 1}, huge_len = 513;
    assert_int_equal(made(&one, &zero, 1, message), POND_EKEY);
    assert_string_equal(message, "the tag is empty: a tag has 1 to 512 bytes");
    assert_int_equal(made(bad, bad_lens, 2, message), POND_EKEY);
    assert_non_null(strstr(message, "the tag \"\\xff\" is not UTF-8"));
    assert_int_equal(made(&huge, &huge_len, 1, message), POND_EKEY);
    assert_non_null(strstr(message, "513 bytes"));
    for (size_t i = 0; i < 65; i++) {
        snprintf(many[i % 64], sizeof many[0], "%zu", i % 16);
        names[i] = many[i % 64];
        lens[i] = strlen(names[i]);
    }
    assert_int_equal(made(names, lens, 64, message), POND_OK); /* sixteen different ones */
    assert_int_equal(made(names, lens, 65, message), POND_EOPTION);
    names[16] = "seventeenth";
    lens[16] = 11;
    assert_int_equal(made(names, lens, 17, message), POND_EOPTION);
    assert_non_null(strstr(message, "17 tags are given: a value has at most 16"));
    assert_int_equal(pond_tags_new(NULL, p, NULL, names, lens, 1, NULL), POND_EMISUSE);
    assert_int_equal(made(NULL, NULL, 0, message), POND_OK);
    pond_tags_free(NULL);
    assert_null(pond_tags_ref(NULL));
}

static void sixteen_tags_are_fine(void **state) {
    (void)state;
    pond_tags *all = tags_made(p, "a b c d e f g h i j k l m n o p");
    assert_string_equal(fetch_tagged_text(p, key, all, "one"), "one");
    assert_string_equal(fetch_tagged_text(p, key, all, "two"), "one");
    invalidate_tags(p, "p");
    assert_string_equal(fetch_tagged_text(p, key, all, "two"), "two");
    pond_tags_free(all);
}

int tag_cases(const char *url) {
    cache_url = url;
    watchdog(120);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_tagged_value_is_cached, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_of_its_tags_drops_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_absence_has_tags_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_values_go_in_one_step, set_up, tear_down),
        cmocka_unit_test_setup_teardown(order_and_repetition_say_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_value_under_other_tags_is_a_miss, set_up, tear_down),
        cmocka_unit_test_setup_teardown(late_callers_load_anew_after_an_invalidation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(late_callers_share_what_still_stands, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_tags_do_not_share_a_load, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_crowd_loads_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(threads_and_queues_read_under_tags, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_and_tags_go_together, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_tags_are_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sixteen_tags_are_fine, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("tags", tests, NULL, NULL);
}
