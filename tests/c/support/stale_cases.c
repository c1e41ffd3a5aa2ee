#include "support/stale_cases.h"

#include <unistd.h>

#include "support/shadow.h"
#include "support/support.h"
#include <millpond/bulk.h>
#include <millpond/collection.h>

#define BRIEF "60ms" /* a ttl that is over after */
#define LATER 100    /* so many ms */

static const char *cache_url;
static char address[100], folder[64], name[64];

static pond *opened(void) {
    return pond_made(cache_url, "store", address, "namespace", name, "grace", "1h", "stale_if_error", "1h", NULL);
}

static int set_up(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/pond-stale-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(address, sizeof address, "sqlite:%s/shop.db", folder);
    snprintf(name, sizeof name, "%s", fresh("stale"));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

/* A value that is past its time now. */
static void put_old(pond *p, const char *key, const char *text) {
    pond_policy *brief = policy_made(p, "ttl", BRIEF, NULL);
    assert_string_equal(fetch_text(p, key, brief, text), text);
    pond_policy_free(brief);
    rest_ms(LATER);
}

/* ---- threads ---- */

/* One of them loads, in its own thread; the others have the old value while it does. */
static void one_thread_loads_and_the_others_go_on(void **state) {
    (void)state;
    enum { OTHERS = 12 };
    pond *p = opened();
    gate began, go;
    fetcher first = {.p = p, .key = "k", .script = {.value = "two", .began = &began, .go = &go}}, others[OTHERS];
    gate_init(&began);
    gate_init(&go);
    put_old(p, "k", "one");
    fetcher_start(&first);
    assert_true(gate_wait(&began, 5000));
    for (int i = 0; i < OTHERS; i++) {
        others[i] = (fetcher){.p = p, .key = "k", .script = {.value = "never"}};
        fetcher_start(&others[i]);
    }
    for (int i = 0; i < OTHERS; i++) {
        fetcher_join(&others[i]);
        assert_string_equal(others[i].text, "one");
        assert_int_equal(others[i].script.calls, 0);
    }
    gate_open(&go);
    fetcher_join(&first);
    assert_string_equal(first.text, "two");
    assert_string_equal(fetch_text(p, "k", NULL, "never"), "two");
    assert_int_equal(pond_stat(p, name, "stale_hits"), OTHERS);
    assert_int_equal(pond_stat(p, name, "refreshes"), 1);
    gate_destroy(&began);
    gate_destroy(&go);
    pond_free(p);
}

/* Threads that find it stale at the same moment: one of all in all processes, here ponds. */
static void a_crowd_loads_once(void **state) {
    (void)state;
    enum { PONDS = 3, EACH = 8 };
    pond *ponds[PONDS];
    fetcher f[PONDS][EACH];
    int loads = 0, two = 0;
    for (int i = 0; i < PONDS; i++) ponds[i] = opened();
    put_old(ponds[0], "k", "one");
    for (int i = 0; i < PONDS; i++)
        for (int k = 0; k < EACH; k++) {
            f[i][k] = (fetcher){.p = ponds[i], .key = "k", .script = {.value = "two", .delay_ms = 300}};
            fetcher_start(&f[i][k]);
        }
    for (int i = 0; i < PONDS; i++)
        for (int k = 0; k < EACH; k++) {
            fetcher_join(&f[i][k]);
            assert_int_equal(f[i][k].code, POND_OK);
            loads += f[i][k].script.calls;
            two += strcmp(f[i][k].text, "two") == 0;
        }
    assert_int_equal(loads, 1);
    assert_true(two >= 1); /* who loaded; and, where threads start late, who came after it */
    for (int i = 0; i < PONDS; i++) pond_free(ponds[i]);
}

static void a_thread_whose_load_fails_has_the_old_value(void **state) {
    (void)state;
    pond *p = opened();
    fetcher f = {.p = p, .key = "k", .script = {.fail = POND_ELOADER}};
    put_old(p, "k", "one");
    assert_int_equal(fetch(&f), POND_OK);
    assert_string_equal(f.text, "one");
    assert_int_equal(f.script.calls, 1);
    assert_int_equal(fetch(&f), POND_OK);
    assert_int_equal(f.script.calls, 1); /* it is left alone for a while */
    invalidate(p, "k", NULL);
    assert_int_equal(fetch(&f), POND_ELOADER);
    pond_free(p);
}

/* The invalidation comes while the thread loads. */
static void nobody_falls_back_on_what_was_invalidated(void **state) {
    (void)state;
    pond *p = opened(), *other = opened();
    gate began, go;
    fetcher f = {.p = p, .key = "k", .script = {.fail = POND_ELOADER, .began = &began, .go = &go}};
    gate_init(&began);
    gate_init(&go);
    put_old(p, "k", "one");
    fetcher_start(&f);
    assert_true(gate_wait(&began, 5000));
    invalidate(other, "k", NULL);
    gate_open(&go);
    fetcher_join(&f);
    assert_int_equal(f.code, POND_ELOADER);
    gate_destroy(&began);
    gate_destroy(&go);
    pond_free(p);
    pond_free(other);
}

/* ---- many ---- */

typedef struct bulk {
    const char *gives; /* NULL: it fails */
    char keys[16];     /* out: what it was asked for */
} bulk;

static void load_many(pond_batch *batch, void *ctx) {
    bulk *b = ctx;
    for (size_t i = 0; i < pond_batch_count(batch); i++) {
        size_t len;
        strncat(b->keys, pond_batch_key(batch, i, &len), 1);
        if (b->gives) pond_batch_value(batch, i, b->gives, strlen(b->gives), POND_TEXT, 0);
    }
    if (b->gives) pond_batch_done(batch);
    else pond_batch_fail(batch, POND_ELOADER, "the store is away");
}

/* Of three keys: their values as text, those that are stale with a star. */
static const char *fetch_three(pond *p, bulk *b) {
    static char text[64];
    const char *const keys[] = {"a", "b", "c"};
    const size_t lens[] = {1, 1, 1};
    pond_value *out[3] = {NULL, NULL, NULL};
    pond_error *err = NULL;
    b->keys[0] = text[0] = 0;
    if (pond_fetch_many(p, keys, lens, 3, NULL, NULL, load_many, b, out, &err) != POND_OK) {
        snprintf(text, sizeof text, "%s", pond_code_name(pond_error_code(err)));
        pond_error_free(err);
        return text;
    }
    for (int i = 0; i < 3; i++) {
        strcat(strcat(text, pond_value_data(out[i], NULL)), pond_value_stale(out[i]) ? "* " : " ");
        pond_value_free(out[i]);
    }
    return text;
}

/* What is stale is loaded with what is missing; where that fails, it is what there is. */
static void many_are_loaded_together(void **state) {
    (void)state;
    pond *p = opened();
    bulk fails = {.gives = NULL}, gives = {.gives = "new"};
    fetch_text(p, "a", NULL, "fresh");
    put_old(p, "b", "old");
    assert_string_equal(fetch_three(p, &fails), "POND_ELOADER"); /* there is nothing to fall back on for c */
    assert_string_equal(fails.keys, "bc");
    fetch_text(p, "c", NULL, "fresh");
    assert_string_equal(fetch_three(p, &fails), "fresh old* fresh ");
    assert_string_equal(fails.keys, ""); /* it has just failed */
    invalidate(p, "c", NULL);
    put_old(p, "c", "old");
    assert_string_equal(fetch_three(p, &gives), "fresh old* new ");
    assert_string_equal(gives.keys, "c");
    invalidate(p, "b", NULL);
    assert_string_equal(fetch_three(p, &gives), "fresh new new ");
    assert_string_equal(gives.keys, "b");
    pond_free(p);
}

/* ---- the library's own loads ---- */

static gate began, go;

typedef struct shop {
    pond *p;
    shadow *s;
    pond_collection *films;
} shop;

static void change(const shop *of, const char *doc) {
    pond_error *err = NULL;
    if (pond_store_put(of->p, "films", "1", 1, doc, strlen(doc), &err) != POND_OK)
        fail_msg("%s", pond_error_message(err));
}

static void shop_open(shop *of) {
    static const char *const options[] = {"ttl", BRIEF, "find_ttl", BRIEF};
    of->p = opened();
    of->s = shadow_of(of->p);
    assert_int_equal(pond_collection_new(&of->films, of->p, "films", options, 2, NULL), POND_OK);
    assert_int_equal(pond_collection_prepare(of->films, NULL), POND_OK);
    change(of, "{\"n\":1}");
    gate_init(&began);
    gate_init(&go);
}

static void shop_close(const shop *of) {
    pond_collection_free(of->films);
    pond_free(of->p);
    gate_destroy(&began);
    gate_destroy(&go);
}

static bool holds(pond_value *value, const char *part, bool stale) {
    bool yes = strstr(pond_value_data(value, NULL), part) && pond_value_stale(value) == stale;
    pond_value_free(value);
    return yes;
}

static bool film_is(const shop *of, const char *part, bool stale) {
    pond_value *value = NULL;
    pond_error *err = NULL;
    if (pond_collection_get(of->films, "1", 1, &value, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
    return holds(value, part, stale);
}

static bool page_is(const shop *of, const char *part, bool stale) {
    pond_value *value = NULL;
    pond_error *err = NULL;
    if (pond_collection_find(of->films, POND_QUERY_TEXT, "", 0, &value, &err) != POND_OK)
        fail_msg("%s", pond_error_message(err));
    return holds(value, part, stale);
}

static bool list_is(const shop *of, const char *part, bool stale) {
    const char *const ids[] = {"1"};
    const size_t lens[] = {1};
    pond_value *value = NULL;
    pond_error *err = NULL;
    if (pond_collection_get_many(of->films, ids, lens, 1, &value, &err) != POND_OK)
        fail_msg("%s", pond_error_message(err));
    return holds(value, part, stale);
}

/* What loads here is a worker: nobody waits for the store, not even in a thread. */
static void loads_behind(bool (*is)(const shop *of, const char *part, bool stale)) {
    shop of;
    shop_open(&of);
    assert_true(is(&of, "\"n\":1", false));
    change(&of, "{\"n\":2}");
    rest_ms(LATER);
    of.s->began = &began;
    of.s->go = &go;
    for (int i = 0; i < 5; i++) assert_true(is(&of, "\"n\":1", true));
    assert_true(gate_wait(&began, 5000));
    assert_true(is(&of, "\"n\":1", true));
    of.s->began = of.s->go = NULL;
    gate_open(&go);
    for (int64_t until = clock_ms() + 5000; !is(&of, "\"n\":2", false) && !is(&of, "\"n\":2", true); rest_ms(1))
        assert_true(clock_ms() < until);
    shop_close(&of);
}

static void documents_are_loaded_behind(void **state) {
    (void)state;
    loads_behind(film_is);
}

static void lists_are_loaded_behind(void **state) {
    (void)state;
    loads_behind(list_is);
}

static void pages_are_loaded_behind(void **state) {
    (void)state;
    loads_behind(page_is);
}

static void a_store_that_fails_leaves_the_old_document(void **state) {
    (void)state;
    shop of;
    shop_open(&of);
    assert_true(film_is(&of, "\"n\":1", false));
    assert_true(page_is(&of, "\"n\":1", false));
    rest_ms(LATER);
    of.s->fail_get = of.s->fail_find = POND_ESTORE;
    for (int i = 0; i < 5; i++) {
        assert_true(film_is(&of, "\"n\":1", true));
        assert_true(page_is(&of, "\"n\":1", true));
    }
    char ns[100];
    snprintf(ns, sizeof ns, "%s/films", name);
    await_stat(of.p, ns, "failed_refreshes", 1);
    shop_close(&of);
}

int stale_cases(const char *url) {
    cache_url = url;
    watchdog(120);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_thread_loads_and_the_others_go_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_crowd_loads_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_thread_whose_load_fails_has_the_old_value, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_falls_back_on_what_was_invalidated, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_are_loaded_together, set_up, tear_down),
        cmocka_unit_test_setup_teardown(documents_are_loaded_behind, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_are_loaded_behind, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pages_are_loaded_behind, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_store_that_fails_leaves_the_old_document, set_up, tear_down),
    };
    return cmocka_run_group_tests_name(url, tests, NULL, NULL);
}
