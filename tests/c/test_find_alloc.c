/* Queries and collections under an allocator that fails: the n-th allocation of a whole scene, for many an n, alone and
 * with all that follow. What is answered is right, or it is the error of having no memory; nothing leaks, nothing stays broken.
 *
 * This program replaces malloc and its kin. So do sanitizers: in their builds it is skipped. */
#include "support/scarce_scene.h"

#include <unistd.h>

#include "model/query.h"
#include "store/store.h"
#include <millpond/collection.h>

#if REPLACED
static char folder[SHOP_FOLDER], address[SHOP_ADDRESS];
/* ---- the store ---- */

static const struct row {
    const char *query, *data;
    int64_t total;
} rows[] = {
    {"n=2&sort=-n", "[{\"id\":\"c\",\"n\":\"2\",\"s\":\"x\"},{\"id\":\"b\",\"n\":2,\"s\":\"Blue\",\"l\":[3,1]}]", 2},
    {"n[gte]=1&sort=n&fields=n", "[{\"id\":\"a\",\"n\":1},{\"id\":\"b\",\"n\":2}]", 2},
    {"sort=-n,s&fields=id", "[{\"id\":\"c\"},{\"id\":\"b\"},{\"id\":\"a\"}]", 3},
    {"sort=-l&fields=l", "[{\"id\":\"b\",\"l\":[3,1]},{\"id\":\"a\"},{\"id\":\"c\"}]", 3},
    {"search=e&search_in=s&s[ne]=x",
     "[{\"id\":\"a\",\"n\":1,\"s\":\"red\"},{\"id\":\"b\",\"n\":2,\"s\":\"Blue\",\"l\":[3,1]}]", 2},
    {"id[in]=a,c&n[in]=1,2,3,x,null", "[{\"id\":\"a\",\"n\":1,\"s\":\"red\"},{\"id\":\"c\",\"n\":\"2\",\"s\":\"x\"}]",
     2},
};

static void ask_store(mp_store *s, const mp_query_bounds *bounds, const struct row *row) {
    pond_error *err = NULL;
    mp_query *q = NULL;
    mp_buf out;
    size_t count;
    int64_t total = 0;
    mp_buf_init(&out);
    if (well(mp_query_parse_text(&q, bounds, row->query, strlen(row->query), &err), &err)) {
        if (well(s->vt->find(s, "films", q, &out, &count, &err), &err)) same(out.data, row->data);
        if (well(s->vt->count(s, "films", q, &total, &err), &err)) assert_int_equal(total, row->total);
        mp_buf_reset(&out);
        if (well(s->vt->plan(s, "films", q, &out, &err), &err))
            assert_non_null(strstr(out.data, "\"statement\":\"SELECT"));
        if (q->sort_count > 1) well(s->vt->index(s, "films", &q->sort[0], &err), &err);
    }
    mp_query_free(q);
    mp_buf_free(&out);
}

static void store_scene(void) {
    mp_options options;
    mp_store *s = NULL;
    mp_query_bounds *bounds = NULL;
    pond_error *err = NULL;
    if (!mp_options_init(&options)) return;
    if (well(mp_options_set(&options, MP_SCOPE_POND, "store", address, &err), &err) &&
        well(mp_query_bounds_new(&bounds, &(mp_query_options){.search_fields = "s"}, &err), &err) &&
        well(mp_sqlite_open(&s, &options, &err), &err)) {
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) ask_store(s, bounds, &rows[i]);
        s->vt->close(s);
    }
    mp_query_bounds_free(bounds);
    mp_options_free(&options);
}

/* ---- collections ---- */

static const char page[] = "{\"data\":[{\"id\":\"a\",\"n\":1}],\"total\":3,\"page\":1,\"pages\":3,\"limit\":1}";
static const char *const ids[] = {"a", "none", "b", "a"};
static const size_t lens[] = {1, 4, 1, 1};

static void check_many(pond_value *const *values) {
    for (size_t i = 0; i < 4; i++)
        if (pond_value_state(values[i]) != (i == 1 ? POND_ABSENT : POND_VALUE))
            fail_msg("the answer %zu is another's", i);
    same(pond_value_data(values[0], NULL), "{\"id\":\"a\",\"n\":1,\"s\":\"red\"}");
}

static void blocking_calls(pond_collection *c) {
    pond_error *err = NULL;
    pond_value *value = NULL, *values[4];
    for (int i = 0; i < 2; i++) { /* missing, and (if there was memory to keep it) cached */
        if (well(pond_collection_get_many(c, ids, lens, 4, values, &err), &err)) {
            check_many(values);
            for (size_t k = 0; k < 4; k++) pond_value_free(values[k]);
        }
        if (well(pond_collection_get(c, "c", 1, &value, &err), &err)) {
            same(pond_value_data(value, NULL), "{\"id\":\"c\",\"n\":\"2\",\"s\":\"x\"}");
            pond_value_free(value);
        }
        if (well(pond_collection_find(c, POND_QUERY_TEXT, "limit=1&fields=n", 16, &value, &err), &err)) {
            same(pond_value_data(value, NULL), page);
            pond_value_free(value);
        }
    }
    if (well(pond_collection_explain(c, POND_QUERY_TEXT, "n=1", 3, &value, &err), &err)) {
        assert_non_null(strstr(pond_value_data(value, NULL), "\"canonical\":\"q1{"));
        pond_value_free(value);
    }
    well(pond_collection_invalidate(c, ids, lens, 4, &err), &err);
}

static void queue_calls(pond *p, pond_collection *c) {
    pond_queue *queue = NULL;
    pond_error *err = NULL;
    pond_value *now = NULL;
    size_t open = 0;
    if (!well(pond_queue_new(&queue, p, &err), &err)) return;
    open += well(pond_collection_get_many_start(c, queue, ids, lens, 4, 1, &err), &err);
    open += well(pond_collection_find_start(c, queue, POND_QUERY_TEXT, "limit=1&fields=n", 16, 2, &now, NULL, &err),
                 &err) &&
            !now;
    pond_value_free(now);
    open += well(pond_collection_get_start(c, queue, "b", 1, 3, NULL, NULL, &err), &err);
    open += well(pond_collection_explain_start(c, queue, POND_QUERY_TEXT, "n=1", 3, 4, &err), &err);
    open += well(pond_collection_invalidate_start(c, queue, ids, lens, 4, 5, &err), &err);
    open += well(pond_collection_prepare_start(c, queue, 6, &err), &err);
    for (; open; open--) {
        pond_event *event = NULL;
        if (!pond_queue_poll(queue, &event, 1, 5000)) fail_msg("a call on the queue never ends");
        if (pond_event_kind(event) == POND_EVENT_ERROR) {
            pond_error *why = pond_error_ref(pond_event_error(event));
            if (why) well(pond_error_code(why), &why);
        } else if (pond_event_user(event) == 1) {
            pond_value *values[4];
            for (size_t i = 0; i < 4; i++) values[i] = pond_event_value_at(event, i);
            check_many(values);
        } else if (pond_event_user(event) == 2) same(pond_value_data(pond_event_value(event), NULL), page);
        pond_event_free(event);
    }
    pond_queue_free(queue);
}

static void collection_scene(void) {
    static const char *const options[] = {"filterable", "n,s", "indexes", "n,-s", "search_fields", "s", "ttl", "1m"};
    pond_error *err = NULL;
    pond *p = NULL;
    pond_collection *c = NULL;
    pond_config *config = pond_config_new();
    if (!config) return;
    if (well(pond_config_set(config, "store", address, &err), &err) &&
        well(pond_config_set(config, "store_threads", "1", &err), &err) &&
        well(pond_config_set(config, "lease", "20ms", &err), &err) && well(pond_open(&p, config, &err), &err)) {
        if (well(pond_collection_new(&c, p, "films", options, 4, &err), &err)) {
            well(pond_collection_prepare(c, &err), &err);
            blocking_calls(c);
            queue_calls(p, c);
            /* Memory is back, and so is everything else. */
            atomic_store(&armed, false);
            blocking_calls(c);
            pond_collection_free(c);
        }
        pond_free(p);
    }
    pond_config_free(config);
}

/* ---- the loop ---- */

static void fill(void) {
    pond *p = pond_made("memory:", "store", address, NULL);
    static const char *const docs[][2] = {{"a", "{\"n\":1,\"s\":\"red\"}"},
                                          {"b", "{\"n\":2,\"s\":\"Blue\",\"l\":[3,1]}"},
                                          {"c", "{\"n\":\"2\",\"s\":\"x\"}"}};
    assert_int_equal(pond_store_create(p, "films", NULL), POND_OK);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pond_store_put(p, "films", docs[i][0], 1, docs[i][1], strlen(docs[i][1]), NULL), POND_OK);
    pond_free(p);
}

static int set_up(void **state) {
    (void)state;
    shop_make(folder, address);
    fill();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return shop_remove(folder);
}

static void queries_of_the_store(void **state) {
    (void)state;
    until_nothing_fails(store_scene, false, 9, 500);
    until_nothing_fails(store_scene, true, 21, 500);
}

static void calls_of_a_collection(void **state) {
    (void)state;
    until_nothing_fails(collection_scene, false, 9, 500);
    until_nothing_fails(collection_scene, true, 21, 500);
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
        cmocka_unit_test_setup_teardown(queries_of_the_store, set_up, tear_down),
        cmocka_unit_test_setup_teardown(calls_of_a_collection, set_up, tear_down),
#else
        cmocka_unit_test(skipped),
#endif
    };
#if REPLACED
    (void)skipped;
#endif
    return cmocka_run_group_tests_name("find_alloc", tests, NULL, NULL);
}
