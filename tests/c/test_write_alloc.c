/* Writes and changes of documents under an allocator that fails: the n-th allocation of a whole scene, for every n, alone and with all
 * that follow. A call goes well, or says that there is no memory; afterwards the cache shows what the store has, and nothing leaks.
 *
 * This program replaces malloc and its kin. So do sanitizers: in their builds it is skipped. */
#include "support/scarce_scene.h"

#include <unistd.h>

#if REPLACED
static char folder[SHOP_FOLDER], address[SHOP_ADDRESS];

/* ---- writes of the caller's own ---- */

static const char *const keys[] = {"a", "b"};
static const size_t lens[] = {1, 1};

static void write_now(pond_writing *writing, void *ctx) {
    pond_error *err = NULL;
    (void)ctx;
    well(pond_writing_value(writing, 0, "new", 3, POND_TEXT, &err), &err);
    well(pond_writing_absent(writing, 1, &err), &err);
    pond_write_done(writing);
}

static void load_now(pond_load *load, void *ctx) {
    (void)ctx;
    pond_load_value(load, "old", 3, POND_TEXT, 0);
}

static void take_all(pond_queue *queue, size_t open);

static void write_scene(void) {
    pond_error *err = NULL;
    pond *p = NULL;
    pond_tags *tags = NULL;
    pond_value *value = NULL;
    pond_queue *queue = NULL;
    pond_config *config = pond_config_new();
    static const char *const names[] = {"users", "films"};
    static const size_t name_lens[] = {5, 5};
    if (!config) return;
    if (well(pond_open(&p, config, &err), &err) &&
        well(pond_tags_new(&tags, p, NULL, names, name_lens, 2, &err), &err)) {
        if (well(pond_fetch_tagged(p, "a", 1, NULL, tags, load_now, NULL, &value, &err), &err)) pond_value_free(value);
        well(pond_write(p, keys, lens, 2, NULL, tags, write_now, NULL, &err), &err);
        well(pond_invalidate_tagged(p, keys, lens, 2, NULL, tags, &err), &err);
        if (well(pond_queue_new(&queue, p, &err), &err)) {
            take_all(queue, well(pond_write_start(p, queue, keys, lens, 2, NULL, tags, 1, NULL, &err), &err));
            pond_queue_free(queue);
        }
        atomic_store(&armed, false);
        if (pond_write(p, keys, lens, 2, NULL, tags, write_now, NULL, NULL) != POND_OK) fail_msg("it does not recover");
        if (pond_lookup(p, "a", 1, NULL, &value, NULL) != POND_OK) fail_msg("it does not recover");
        same(pond_value_data(value, NULL), "new");
        pond_value_free(value);
    }
    pond_tags_free(tags);
    pond_free(p);
    pond_config_free(config);
}

/* ---- changes of documents ---- */

static void pass(pond_check *check, void *ctx) {
    (void)ctx;
    pond_check_pass(check);
}

/* Another may have failed before it; and SQLite's json_valid() says no where it has no memory. */
static bool excused(const pond_error *err) {
    int code = err ? pond_error_code(err) : POND_OK;
    return code == POND_EABSENT || code == POND_EDUPLICATE ||
           (code == POND_ESTORE && strstr(pond_error_message(err), "json_valid(doc)"));
}

static bool change(pond_collection *c, pond_change_kind kind, const char *doc, pond_checker checker) {
    pond_error *err = NULL;
    pond_value *value = NULL;
    int code = pond_collection_change(c, kind, "1", 1, doc, doc ? strlen(doc) : 0, checker, NULL, &value, &err);
    if (excused(err)) {
        pond_error_free(err);
        return false;
    }
    if (!well(code, &err)) return false;
    if (value)
        same(pond_value_data(value, NULL),
             kind == POND_UPDATE ? "{\"id\":\"1\",\"a\":1,\"b\":2}" : "{\"id\":\"1\",\"a\":1}");
    pond_value_free(value);
    return true;
}

static void take_all(pond_queue *queue, size_t open) {
    while (open) {
        pond_event *event = NULL;
        if (!pond_queue_poll(queue, &event, 1, 5000)) fail_msg("a call on the queue never ends");
        pond_event_type kind = pond_event_kind(event);
        if (kind == POND_EVENT_CHECK) pond_check_pass(pond_event_check(event));
        else if (kind == POND_EVENT_WRITE) write_now(pond_event_writing(event), NULL);
        else open--;
        if (kind == POND_EVENT_ERROR) {
            pond_error *why = pond_error_ref(pond_event_error(event));
            if (excused(why)) pond_error_free(why);
            else if (why) well(pond_error_code(why), &why);
        }
        pond_event_free(event);
    }
}

static void changes(pond *p, pond_collection *c) {
    pond_error *err = NULL;
    pond_queue *queue = NULL;
    change(c, POND_CREATE, "{\"a\":1}", NULL);
    change(c, POND_REPLACE, "{\"a\":1}", pass);
    if (change(c, POND_REPLACE, "{\"a\":1}", NULL)) change(c, POND_UPDATE, "{\"b\":2}", pass);
    change(c, POND_DELETE, NULL, NULL);
    if (!well(pond_queue_new(&queue, p, &err), &err)) return;
    for (int checked = 0; checked < 2; checked++) {
        static const struct {
            pond_change_kind kind;
            const char *doc;
        } rows[] = {{POND_CREATE, "{\"a\":1}"}, {POND_UPDATE, "{\"b\":2}"}, {POND_DELETE, ""}};
        for (size_t i = 0; i < 3; i++)
            take_all(queue, well(pond_collection_change_start(c, queue, rows[i].kind, "1", 1, rows[i].doc,
                                                              strlen(rows[i].doc), checked, 1, NULL, &err),
                                 &err));
    }
    pond_queue_free(queue);
}

static void shows_what_is_stored(pond *p, pond_collection *c) {
    pond_value *cached = NULL, *stored = NULL;
    if (pond_collection_get(c, "1", 1, &cached, NULL) != POND_OK ||
        pond_store_get(p, "films", "1", 1, &stored, NULL) != POND_OK)
        fail_msg("it does not recover");
    if (pond_value_state(cached) != pond_value_state(stored)) fail_msg("the cache shows what is not in the store");
    if (pond_value_state(cached) == POND_VALUE) same(pond_value_data(cached, NULL), pond_value_data(stored, NULL));
    pond_value_free(cached);
    pond_value_free(stored);
}

static void change_scene(void) {
    static const char *const options[] = {"write", "through"};
    pond_error *err = NULL;
    pond *p = NULL;
    pond_collection *c = NULL;
    pond_config *config = pond_config_new();
    if (!config) return;
    if (well(pond_config_set(config, "store", address, &err), &err) &&
        well(pond_config_set(config, "store_threads", "1", &err), &err) &&
        well(pond_config_set(config, "intent", "50ms", &err), &err) && well(pond_open(&p, config, &err), &err)) {
        if (well(pond_collection_new(&c, p, "films", options, 1, &err), &err)) {
            changes(p, c);
            atomic_store(&armed, false); /* memory is back, and so is everything else */
            shows_what_is_stored(p, c);
            pond_collection_free(c);
        }
        pond_free(p);
    }
    pond_config_free(config);
}

/* ---- the loop ---- */

static int set_up(void **state) {
    (void)state;
    shop_make(folder, address);
    pond *p = pond_made("memory:", "store", address, NULL);
    assert_int_equal(pond_store_create(p, "films", NULL), POND_OK);
    pond_free(p);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return shop_remove(folder);
}

static void writes(void **state) {
    (void)state;
    until_nothing_fails(write_scene, false, 1, 50);
    until_nothing_fails(write_scene, true, 1, 50);
}

static void changes_of_documents(void **state) {
    (void)state;
    until_nothing_fails(change_scene, false, 3, 200);
    until_nothing_fails(change_scene, true, 5, 200);
}
#endif

static void skipped(void **state) {
    (void)state;
    skip();
}

int main(void) {
    watchdog(110);
    const struct CMUnitTest tests[] = {
#if REPLACED
        cmocka_unit_test(writes),
        cmocka_unit_test_setup_teardown(changes_of_documents, set_up, tear_down),
#else
        cmocka_unit_test(skipped),
#endif
    };
#if REPLACED
    (void)skipped;
#endif
    return cmocka_run_group_tests_name("write_alloc", tests, NULL, NULL);
}
