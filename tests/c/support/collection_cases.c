#include "support/collection_cases.h"

#include <unistd.h>

#include "base/buf.h"
#include "pattern/collection.h"
#include "pattern/wait.h"
#include "support/shadow.h"
#include <millpond/collection.h>

/* ---- the fixture: a pond, its store behind a shadow, a collection of some documents ---- */

static const char *cache_url;
static char folder[SHOP_FOLDER], address[SHOP_ADDRESS], name[64]; /* of the namespace, new in each test */
static pond *p;
static shadow *s;
static pond_collection *films;
static desk d;
static size_t threads; /* before the test */

enum { FILMS = 10 };

static void ok(int code, pond_error *err, const char *what) {
    if (code != POND_OK) fail_msg("%s: %s", what, pond_error_message(err));
}

static void put(const char *id, const char *doc) {
    pond_error *err = NULL;
    ok(pond_store_put(p, "films", id, strlen(id), doc, strlen(doc), &err), err, "put");
}

static pond_collection *collection_made(pond *of, const char *const *options, size_t n) {
    pond_collection *c = NULL;
    pond_error *err = NULL;
    ok(pond_collection_new(&c, of, "films", options, n, &err), err, "pond_collection_new");
    return c;
}

static int set_up(void **state) {
    (void)state;
    threads = count_threads();
    shop_make(folder, address);
    snprintf(name, sizeof name, "%s", fresh("c"));
    p = pond_made(cache_url, "store", address, "namespace", name, "lease", "2s", "store_threads", "4", NULL);
    s = shadow_of(p);
    films = collection_made(p, NULL, 0);
    ok(pond_collection_prepare(films, NULL), NULL, "prepare");
    desk_open(&d, p, 3);
    for (int i = 0; i < FILMS; i++) {
        char id[8], doc[100];
        snprintf(id, sizeof id, "%d", i);
        snprintf(doc, sizeof doc, "{\"n\":%d,\"title\":\"film %d\",\"even\":%s}", i, i, i % 2 == 0 ? "true" : "false");
        put(id, doc);
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    desk_close(&d);
    pond_collection_free(films);
    int code = pond_close(p, 5000);
    assert_true(code == POND_OK || code == POND_ETIMEOUT);
    pond_free(p);
    await_threads(threads);
    return shop_remove(folder);
}

static uint64_t documents_stat(const char *counter) {
    char row[100];
    snprintf(row, sizeof row, "%s/films", name);
    return pond_stat(p, row, counter);
}

static uint64_t pages_stat(const char *counter) {
    char row[100];
    snprintf(row, sizeof row, "%s/films?", name);
    return pond_stat(p, row, counter);
}

static void counted(const char *what, int is, int want) {
    if (is != want) fail_msg("%s: %d statements instead of %d", what, is, want);
}

/* ---- calls ---- */

static const char *shown(pond_value *value) {
    static char texts[4][2000];
    static unsigned n;
    char *text = texts[n++ % 4];
    snprintf(text, sizeof texts[0], "%s",
             pond_value_state(value) == POND_VALUE ? pond_value_data(value, NULL) : "(absent)");
    pond_value_free(value);
    return text;
}

static const char *get_of(pond_collection *c, const char *id) {
    pond_value *value = NULL;
    pond_error *err = NULL;
    ok(pond_collection_get(c, id, strlen(id), &value, &err), err, id);
    return shown(value);
}

static const char *find_of(pond_collection *c, const char *query) {
    pond_value *value = NULL;
    pond_error *err = NULL;
    bool object = *query == '{';
    ok(pond_collection_find(c, object ? POND_QUERY_OBJECT : POND_QUERY_TEXT, query, strlen(query), &value, &err), err,
       query);
    assert_int_equal(pond_value_codec(value), POND_EJSON);
    return shown(value);
}

static int find_code(pond_collection *c, const char *query, pond_error **err) {
    pond_value *value = NULL;
    int code = pond_collection_find(c, POND_QUERY_TEXT, query, strlen(query), &value, err);
    pond_value_free(value);
    return code;
}

static void find_start(pond_collection *c, size_t queue, const char *query, uint64_t user, pond_value **now,
                       pond_request **request) {
    pond_error *err = NULL;
    ok(pond_collection_find_start(c, d.queue[queue], POND_QUERY_TEXT, query, strlen(query), user, now, request, &err),
       err, query);
}

/* "total/page/pages/limit". */
static const char *numbers(const char *page) {
    static char text[80];
    int total, number, pages, limit;
    const char *at = strstr(page, ",\"total\":");
    assert_non_null(at);
    assert_int_equal(
        sscanf(at, ",\"total\":%d,\"page\":%d,\"pages\":%d,\"limit\":%d}", &total, &number, &pages, &limit), 4);
    snprintf(text, sizeof text, "%d/%d/%d/%d", total, number, pages, limit);
    return text;
}

typedef struct ids {
    size_t n;
    char texts[200][8];
    const char *list[200];
    size_t lens[200];
} ids;

static void ids_add(ids *to, int id) {
    snprintf(to->texts[to->n], sizeof to->texts[0], "%d", id);
    to->list[to->n] = to->texts[to->n];
    to->lens[to->n] = strlen(to->texts[to->n]);
    to->n++;
}

static pond_event *list_event(size_t queue, uint64_t user) {
    pond_event *event = desk_event(&d, queue, 5000);
    assert_non_null(event);
    if (pond_event_kind(event) != POND_EVENT_LIST || pond_event_user(event) != user)
        fail_msg("kind %d: %s", pond_event_kind(event), pond_error_message(pond_event_error(event)));
    return event;
}

/* ---- documents ---- */

static void a_document_is_loaded_once(void **state) {
    (void)state;
    assert_string_equal(get_of(films, "1"), "{\"id\":\"1\",\"n\":1,\"title\":\"film 1\",\"even\":false}");
    assert_string_equal(get_of(films, "1"), "{\"id\":\"1\",\"n\":1,\"title\":\"film 1\",\"even\":false}");
    assert_string_equal(get_of(films, "none"), "(absent)");
    assert_string_equal(get_of(films, "none"), "(absent)");
    counted("get", s->gets, 2);
    assert_int_equal(documents_stat("hits"), 1);
    assert_int_equal(documents_stat("negative_hits"), 1);
    assert_int_equal(documents_stat("loads"), 2);
    /* On a queue as well. */
    pond_value *now = NULL;
    pond_error *err = NULL;
    ok(pond_collection_get_start(films, d.queue[0], "2", 1, 7, &now, NULL, &err), err, "get_start");
    assert_null(now);
    desk_value(&d, 0, 7, "{\"id\":\"2\",\"n\":2,\"title\":\"film 2\",\"even\":true}");
    ok(pond_collection_get_start(films, d.queue[0], "gone", 4, 8, NULL, NULL, &err), err, "get_start");
    desk_value(&d, 0, 8, NULL);
    counted("get", s->gets, 4);
    pond_value *value = NULL;
    ok(pond_collection_get(films, "2", 1, &value, &err), err, "get");
    assert_int_equal(pond_value_codec(value), POND_EJSON); /* it may hold dates */
    pond_value_free(value);
    counted("get", s->gets, 4);
}

static void invalidation_drops_documents(void **state) {
    (void)state;
    static const char *const list[] = {"1", "2"};
    static const size_t lens[] = {1, 1};
    pond_error *err = NULL;
    get_of(films, "1");
    get_of(films, "2");
    get_of(films, "3");
    put("1", "{\"n\":100}");
    assert_string_equal(get_of(films, "1"),
                        "{\"id\":\"1\",\"n\":1,\"title\":\"film 1\",\"even\":false}"); /* as cached */
    ok(pond_collection_invalidate(films, list, lens, 2, &err), err, "invalidate");
    assert_string_equal(get_of(films, "1"), "{\"id\":\"1\",\"n\":100}");
    counted("get", s->gets, 4);
    put("2", "{\"n\":200}");
    ok(pond_collection_invalidate_start(films, d.queue[0], list, lens, 2, 5, &err), err, "invalidate_start");
    desk_ok(&d, 0, 5);
    assert_string_equal(get_of(films, "2"), "{\"id\":\"2\",\"n\":200}");
    ok(pond_collection_invalidate(films, NULL, NULL, 0, &err), err, "invalidate nothing");
    ok(pond_collection_invalidate_start(films, d.queue[0], NULL, NULL, 0, 6, &err), err, "invalidate nothing");
    desk_ok(&d, 0, 6);
    get_of(films, "3");
    counted("get", s->gets, 5);
}

/* For who writes past the library: the pages go with the documents, or alone. */
static void invalidation_drops_pages(void **state) {
    (void)state;
    static const char *const list[] = {"1"};
    static const size_t lens[] = {1};
    pond_error *err = NULL;
    char before[4000];
    snprintf(before, sizeof before, "%s", find_of(films, "limit=2"));
    find_of(films, "title=film%201");
    put("1", "{\"n\":100,\"title\":\"other\"}");
    assert_string_equal(find_of(films, "limit=2"), before);
    ok(pond_collection_invalidate(films, list, lens, 1, &err), err, "invalidate");
    assert_string_not_equal(find_of(films, "limit=2"), before);
    assert_non_null(strstr(find_of(films, "title=film%201"), "\"total\":0"));
    put("1", "{\"n\":100,\"title\":\"film 1\"}");
    ok(pond_collection_invalidate_start(films, d.queue[0], NULL, NULL, 0, 6, &err), err, "invalidate all pages");
    desk_ok(&d, 0, 6);
    assert_non_null(strstr(find_of(films, "title=film%201"), "\"total\":1"));
}

/* Somebody invalidates all the time: pages stay in use for so long. */
static void bounded_pages_are_so_old_at_most(void **state) {
    (void)state;
    static const char *const bounded[] = {"search_consistency", "bounded(400ms)"};
    pond_collection *loose = collection_made(p, bounded, 1);
    const char *query = "title=film%201";
    pond_error *err = NULL;
    assert_non_null(strstr(find_of(loose, query), "\"total\":1"));
    int64_t changed = clock_ms(), seen = 0;
    put("1", "{\"n\":100,\"title\":\"other\"}");
    int finds = s->finds;
    do {
        ok(pond_collection_invalidate(loose, NULL, NULL, 0, &err), err, "invalidate");
        if (strstr(find_of(loose, query), "\"total\":0")) seen = clock_ms();
        rest_ms(5);
    } while (!seen && clock_ms() - changed < 5000);
    assert_in_range(seen - changed, 300, 1500);
    assert_in_range(s->finds - finds, 1, 2);
    pond_collection_free(loose);
}

static void what_is_missing_is_one_statement(void **state) {
    (void)state;
    ids want = {0};
    pond_value *values[200];
    pond_error *err = NULL;
    get_of(films, "0");
    get_of(films, "77"); /* absent, and known to be */
    for (int i = 0; i < 12; i++) ids_add(&want, i);
    ids_add(&want, 3); /* asked twice */
    ids_add(&want, 77);
    ok(pond_collection_get_many(films, want.list, want.lens, want.n, values, &err), err, "get_many");
    for (size_t i = 0; i < want.n; i++) {
        char begins[24];
        snprintf(begins, sizeof begins, "{\"id\":\"%s\",", want.texts[i]);
        bool there = i < FILMS || i == 12;
        assert_int_equal(strncmp(shown(values[i]), there ? begins : "(absent)", there ? strlen(begins) : 8), 0);
    }
    counted("get_many", s->get_manys, 1);
    counted("get", s->gets, 2);
    assert_int_equal(s->documents, 2 + 11);
    /* All hits: none. */
    ok(pond_collection_get_many(films, want.list, want.lens, want.n, values, &err), err, "get_many");
    for (size_t i = 0; i < want.n; i++) pond_value_free(values[i]);
    counted("get_many", s->get_manys, 1);
    assert_int_equal(documents_stat("hits"), 1 + 11);
    ok(pond_collection_get_many_start(films, d.queue[0], want.list, want.lens, want.n, 9, &err), err, "get_many_start");
    pond_event *event = list_event(0, 9);
    assert_int_equal(pond_event_count(event), want.n);
    assert_int_equal(pond_value_state(pond_event_value_at(event, 11)), POND_ABSENT);
    assert_string_equal(shown(pond_value_ref(pond_event_value_at(event, 12))), get_of(films, "3"));
    pond_event_free(event);
    counted("get_many", s->get_manys, 1);
    /* One miss: a get. */
    ids_add(&want, 99);
    ok(pond_collection_get_many(films, want.list, want.lens, want.n, values, &err), err, "get_many");
    for (size_t i = 0; i < want.n; i++) pond_value_free(values[i]);
    counted("get", s->gets, 3);
    counted("get_many", s->get_manys, 1);
    /* None at all. */
    ok(pond_collection_get_many(films, NULL, NULL, 0, NULL, &err), err, "get_many");
    ok(pond_collection_get_many_start(films, d.queue[0], NULL, NULL, 0, 10, &err), err, "get_many_start");
    event = list_event(0, 10);
    assert_int_equal(pond_event_count(event), 0);
    pond_event_free(event);
}

/* The most in which a cache that answers piecemeal may have the store asked: one for every 20 ms of its answers (pattern/group.c), and
 * two for the first and the last. Never one each. */
static int statements_in(int64_t ms) { return 2 + (int)(ms / 20); }

static void a_thousand_are_one_statement_too(void **state) {
    (void)state;
    enum { MANY = 1500 };
    static char texts[MANY][8];
    static const char *list[MANY];
    static size_t lens[MANY];
    static pond_value *values[MANY];
    static const char *const calm[] = {"command_timeout", "20s", "lease", "1m"}; /* it is the number that counts */
    pond_collection *patient = collection_made(p, calm, 2);
    pond_error *err = NULL;
    for (int i = 0; i < MANY; i++) {
        lens[i] = (size_t)snprintf(texts[i], sizeof texts[i], "%d", i);
        list[i] = texts[i];
    }
    int64_t began = clock_ms();
    ok(pond_collection_get_many(patient, list, lens, 1000, values, &err), err, "get_many");
    int most = statements_in(clock_ms() - began);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(pond_value_state(values[i]), i < FILMS ? POND_VALUE : POND_ABSENT);
        pond_value_free(values[i]);
    }
    int statements = s->get_manys;
    if (statements > most) fail_msg("%d statements instead of %d", statements, most);
    began = clock_ms();
    ok(pond_collection_get_many_start(patient, d.queue[0], list, lens, MANY, 1, &err), err, "get_many_start");
    pond_event *event = list_event(0, 1);
    most = statements_in(clock_ms() - began);
    assert_int_equal(pond_event_count(event), MANY);
    pond_event_free(event);
    assert_int_equal(s->documents, MANY);
    if (s->get_manys > statements + most) fail_msg("%d statements instead of %d", s->get_manys - statements, most);
    pond_collection_free(patient);
}

/* ---- crowds ---- */

typedef struct asker {
    pthread_t thread;
    ids want;
    bool page;
    int code;
    bool well;
} asker;

static void *ask(void *arg) {
    asker *a = arg;
    pond_value *values[200] = {NULL};
    if (a->page) {
        a->code = pond_collection_find(films, POND_QUERY_TEXT, "even=true&limit=2", 17, &values[0], NULL);
        a->well = values[0] && strstr(pond_value_data(values[0], NULL), "\"total\":5,\"page\":1") != NULL;
        pond_value_free(values[0]);
        return NULL;
    }
    a->code = pond_collection_get_many(films, a->want.list, a->want.lens, a->want.n, values, NULL);
    a->well = a->code == POND_OK;
    for (size_t i = 0; i < a->want.n; i++) {
        char begins[24];
        snprintf(begins, sizeof begins, "{\"id\":\"%s\",", a->want.texts[i]);
        bool there = strtol(a->want.texts[i], NULL, 10) < FILMS;
        a->well &= there ? values[i] && strncmp(pond_value_data(values[i], NULL), begins, strlen(begins)) == 0
                         : pond_value_state(values[i]) == POND_ABSENT;
        pond_value_free(values[i]);
    }
    return NULL;
}

static void overlapping_sets_load_each_id_once(void **state) {
    (void)state;
    enum { THREADS = 12, SETS = 12, EACH = 40, IDS = 100 };
    static asker askers[THREADS];
    s->delay_ms = 20;
    for (size_t i = 0; i < THREADS; i++) {
        askers[i] = (asker){0};
        for (size_t k = 0; k < EACH; k++) ids_add(&askers[i].want, (int)dice(IDS));
        assert_int_equal(pthread_create(&askers[i].thread, NULL, ask, &askers[i]), 0);
    }
    static ids sets[SETS];
    pond_error *err = NULL;
    for (size_t i = 0; i < SETS; i++) {
        sets[i].n = 0;
        for (size_t k = 0; k < EACH; k++) ids_add(&sets[i], (int)dice(IDS));
        ok(pond_collection_get_many_start(films, d.queue[i % 3], sets[i].list, sets[i].lens, EACH, i, &err), err,
           "start");
    }
    for (size_t queue = 0; queue < 3; queue++)
        for (size_t i = 0; i < SETS / 3; i++) {
            pond_event *event = desk_event(&d, queue, 10000);
            assert_non_null(event);
            assert_int_equal(pond_event_kind(event), POND_EVENT_LIST);
            const ids *set = &sets[pond_event_user(event)];
            for (size_t k = 0; k < EACH; k++) {
                bool there = strtol(set->texts[k], NULL, 10) < FILMS;
                assert_int_equal(pond_value_state(pond_event_value_at(event, k)), there ? POND_VALUE : POND_ABSENT);
            }
            pond_event_free(event);
        }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(askers[i].thread, NULL);
        if (!askers[i].well) fail_msg("thread %zu: %s", i, pond_code_name(askers[i].code));
    }
    for (int i = 0; i < IDS; i++)
        if (s->read[i] > 1) fail_msg("%d was loaded %d times", i, s->read[i]);
    assert_in_range(s->gets + s->get_manys, 1, THREADS + SETS);
}

static void one_load_a_page_however_many_ask(void **state) {
    (void)state;
    enum { THREADS = 16, EACH = 20 };
    static asker askers[THREADS];
    s->delay_ms = 50;
    for (size_t i = 0; i < THREADS; i++) {
        askers[i] = (asker){.page = true};
        assert_int_equal(pthread_create(&askers[i].thread, NULL, ask, &askers[i]), 0);
    }
    for (size_t queue = 0; queue < 3; queue++)
        for (uint64_t i = 0; i < EACH; i++)
            find_start(films, queue, "limit=2&even=true", i, NULL, NULL); /* spelled otherwise */
    for (size_t queue = 0; queue < 3; queue++)
        for (uint64_t i = 0; i < EACH; i++) {
            pond_event *event = desk_event(&d, queue, 10000);
            assert_non_null(event);
            assert_int_equal(pond_event_kind(event), POND_EVENT_VALUE);
            assert_string_equal(numbers(pond_value_data(pond_event_value(event), NULL)), "5/1/3/2");
            pond_event_free(event);
        }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(askers[i].thread, NULL);
        if (!askers[i].well) fail_msg("thread %zu: %s", i, pond_code_name(askers[i].code));
    }
    counted("find", s->finds, 1);
    counted("count", s->counts, 1);
    assert_int_equal(pages_stat("loads"), 1);
}

/* ---- pages and totals ---- */

static void a_page_is_what_the_query_asks(void **state) {
    (void)state;
    assert_string_equal(
        find_of(films, "?even=true&sort=-n&limit=2&page=2&fields=n"),
        "{\"data\":[{\"id\":\"4\",\"n\":4},{\"id\":\"2\",\"n\":2}],\"total\":5,\"page\":2,\"pages\":3,\"limit\":2}");
    assert_string_equal(
        find_of(films, "{\"even\":true,\"sort\":[\"-n\"],\"limit\":2,\"page\":2,\"fields\":[\"n\"]}"),
        "{\"data\":[{\"id\":\"4\",\"n\":4},{\"id\":\"2\",\"n\":2}],\"total\":5,\"page\":2,\"pages\":3,\"limit\":2}");
    counted("find", s->finds, 1); /* one question, one key */
    assert_int_equal(pages_stat("hits"), 1);
    assert_int_equal(pages_stat("misses"), 1);
    assert_string_equal(numbers(find_of(films, "")), "10/1/1/20");
    pond_value *now = NULL;
    find_start(films, 0, "n[gte]=8&fields=id", 3, &now, NULL);
    assert_null(now);
    desk_value(&d, 0, 3, "{\"data\":[{\"id\":\"8\"},{\"id\":\"9\"}],\"total\":2,\"page\":1,\"pages\":1,\"limit\":20}");
    counted("find", s->finds, 3);
    find_start(films, 0, "n[gte]=8.0&fields=id", 4, &now, NULL);
    if (now) assert_string_equal(numbers(shown(now)), "2/1/1/20"); /* memory: answers at once */
    else
        desk_value(&d, 0, 4,
                   "{\"data\":[{\"id\":\"8\"},{\"id\":\"9\"}],\"total\":2,\"page\":1,\"pages\":1,\"limit\":20}");
    counted("find", s->finds, 3);
}

static void pages_of_a_query_share_its_total(void **state) {
    (void)state;
    assert_string_equal(numbers(find_of(films, "limit=3")), "10/1/4/3");
    assert_string_equal(numbers(find_of(films, "limit=3&page=2")), "10/2/4/3");
    assert_string_equal(numbers(find_of(films, "limit=4&sort=-n&fields=n")), "10/1/3/4"); /* of one question */
    counted("count", s->counts, 1);
    /* A page that is not full knows the total; and so does an empty first one. */
    assert_string_equal(numbers(find_of(films, "limit=3&page=4")), "10/4/4/3");
    assert_string_equal(numbers(find_of(films, "even=true")), "5/1/1/20");
    assert_string_equal(numbers(find_of(films, "n=77")), "0/1/0/20");
    counted("count", s->counts, 1);
    /* Past the end: no document, the true total. */
    assert_string_equal(find_of(films, "limit=3&page=9"),
                        "{\"data\":[],\"total\":10,\"page\":9,\"pages\":4,\"limit\":3}");
    counted("count", s->counts, 1);
    assert_string_equal(numbers(find_of(films, "even=false&page=3")), "5/3/1/20");
    counted("count", s->counts, 2);
    char row[100];
    snprintf(row, sizeof row, "%s/films?total", name);
    assert_int_equal(pond_stat(p, row, "loads"), 2);
    assert_int_equal(pond_stat(p, row, "hits"), 3);
}

static void a_total_is_never_less_than_what_is_shown(void **state) {
    (void)state;
    assert_string_equal(numbers(find_of(films, "even=true&limit=2")), "5/1/3/2");
    counted("count", s->counts, 1);
    for (int i = 20; i < 26; i++) {
        char id[8];
        snprintf(id, sizeof id, "%d", i);
        put(id, "{\"even\":true}");
    }
    assert_string_equal(numbers(find_of(films, "even=true&limit=2&page=2")), "5/2/3/2"); /* not known to be wrong */
    counted("count", s->counts, 1);
    assert_string_equal(numbers(find_of(films, "even=true&limit=2&page=3")), "11/3/6/2"); /* six, of five? */
    counted("count", s->counts, 2);
    assert_string_equal(numbers(find_of(films, "even=true&limit=2&page=4")), "11/4/6/2");
    counted("count", s->counts, 2);
    for (int i = 20; i < 26; i++) {
        char id[8];
        size_t len = (size_t)snprintf(id, sizeof id, "%d", i);
        assert_int_equal(pond_store_delete(p, "films", id, len, NULL, NULL), POND_OK);
    }
    assert_string_equal(numbers(find_of(films, "even=true&limit=2&page=5")), "5/5/3/2"); /* nothing, of eleven? */
    counted("count", s->counts, 3);
}

static void empty_pages_are_not_kept(void **state) {
    (void)state;
    assert_string_equal(find_of(films, "n=50"), "{\"data\":[],\"total\":0,\"page\":1,\"pages\":0,\"limit\":20}");
    assert_string_equal(find_of(films, "n=50&page=2"), "{\"data\":[],\"total\":0,\"page\":2,\"pages\":0,\"limit\":20}");
    put("50", "{\"n\":50}");
    assert_string_equal(numbers(find_of(films, "n=50")), "1/1/1/20");
    assert_string_equal(numbers(find_of(films, "n=50&page=2")), "1/2/1/20");
    counted("find", s->finds, 4);
    const char *const options[] = {"cache_empty", "on"};
    pond_collection *all = collection_made(p, options, 1);
    assert_string_equal(numbers(find_of(all, "n=60")), "0/1/0/20");
    assert_string_equal(numbers(find_of(all, "n=60&page=2")), "0/2/0/20");
    put("60", "{\"n\":60}");
    assert_string_equal(numbers(find_of(all, "n=60")), "0/1/0/20");
    assert_string_equal(numbers(find_of(all, "n=60&page=2")), "0/2/0/20");
    counted("find", s->finds, 6);
    pond_collection_free(all);
}

/* ---- options ---- */

static int64_t ttl_of(const pond_policy *policy, const mp_key *key) {
    pond_value *value = NULL;
    pond_error *err = NULL;
    ok(mp_wait_inspect(p, policy, key, false, &value, &err), err, "inspect");
    const char *text = shown(value), *at = strstr(text, "\"ttl_ms\":");
    if (!at) fail_msg("%s", text);
    return strtoll(at + strlen("\"ttl_ms\":"), NULL, 10);
}

static int64_t ttl_of_page(pond_collection *c, const char *query) {
    mp_find *find = NULL;
    mp_key key;
    char room[MP_NAME_MAX + 1];
    find_of(c, query);
    ok(mp_find_new(&find, c, POND_QUERY_TEXT, query, strlen(query), NULL), NULL, query);
    mp_find_key(find, &key, room);
    int64_t ttl = ttl_of(mp_find_policy(find), &key);
    mp_source_unref(&find->source);
    return ttl;
}

static int64_t ttl_of_document(pond_collection *c, const char *id) {
    mp_key key;
    char room[MP_NAME_MAX + 1];
    get_of(c, id);
    mp_collection_key(c, &key, room, id, strlen(id));
    return ttl_of(c->document, &key);
}

static void near(int64_t ms, int64_t want) {
    if (ms > want + want / 10 || ms < want - want / 10 - 5000)
        fail_msg("%lld ms, not %lld", (long long)ms, (long long)want);
}

static void each_kind_has_its_time(void **state) {
    (void)state;
    near(ttl_of_document(films, "1"), 3600000);
    near(ttl_of_document(films, "none"), 30000);
    near(ttl_of_page(films, "n=1"), 600000);
    near(ttl_of_page(films, "search=film&search_in=title"), 3600000);
    const char *const options[] = {"ttl",  "100s",       "negative_ttl", "200s",      "find_ttl",
                                   "300s", "search_ttl", "400s",         "namespace", "other"};
    pond_collection *c = collection_made(p, options, 5);
    near(ttl_of_document(c, "2"), 100000);
    near(ttl_of_document(c, "gone"), 200000);
    near(ttl_of_page(c, "n=2"), 300000);
    near(ttl_of_page(c, "n=2&search=film&search_in=title"), 400000);
    pond_collection_free(c);
}

static void refused(const char *option, const char *value, int code, const char *says) {
    const char *const options[] = {option, value};
    pond_collection *c = NULL;
    pond_error *err = NULL;
    int got = pond_collection_new(&c, p, "films", options, 1, &err);
    if (got != code || strstr(pond_error_message(err), says) == NULL)
        fail_msg("%s=%s: %d %s", option, value, got, pond_error_message(err));
    assert_null(c);
    pond_error_free(err);
}

static void bad_options_open_nothing(void **state) {
    (void)state;
    pond_collection *c = NULL;
    pond_error *err = NULL;
    refused("filterable", "a,,b", POND_EOPTION, "filterable");
    refused("sortable", "$a", POND_EOPTION, "sortable");
    refused("searchable", "id", POND_EOPTION, "the id cannot be searched");
    refused("search_fields", "*", POND_EOPTION, "search_fields");
    refused("default_limit", "0", POND_EOPTION, "default_limit");
    refused("max_limit", "1000000", POND_EOPTION, "max_limit");
    refused("max_limit", "", POND_EOPTION, "max_limit");
    refused("search_consistency", "eventual", POND_EOPTION, "strict, or bounded(1s)");
    refused("search_consistency", "", POND_EOPTION, "search_consistency");
    refused("search_consistency", "bounded", POND_EOPTION, "search_consistency");
    refused("search_consistency", "bounded()", POND_EOPTION, "search_consistency");
    refused("search_consistency", "bounded(2h)", POND_EOPTION, "1ms to 1h");
    refused("search_consistency", "bounded(0s)", POND_EOPTION, "search_consistency");
    refused("indexes", "a..b", POND_EOPTION, "indexes");
    refused("indexes", "_mpv", POND_EOPTION, "indexes");
    refused("find_ttl", "0", POND_EOPTION, "find_ttl");
    refused("cache_empty", "maybe", POND_EOPTION, "cache_empty");
    refused("find_tl", "1s", POND_EOPTION, "did you mean \"find_ttl\"?");
    refused("store", "sqlite:x", POND_EOPTION, "it belongs to the pond");
    refused("namespace", "0123456789012345678901234567890123456789012345678901234567890", POND_EOPTION,
            "they may be 63");
    refused("namespace", "a/b", POND_EOPTION, "namespace");
    assert_int_equal(pond_collection_new(&c, p, "a/b", NULL, 0, &err), POND_EOPTION);
    pond_error_free(err);
    err = NULL;
    assert_int_equal(pond_collection_new(NULL, p, "films", NULL, 0, NULL), POND_EMISUSE);
    assert_int_equal(pond_collection_new(&c, p, "films", NULL, 1, NULL), POND_EMISUSE);
    assert_int_equal(pond_collection_new(&c, NULL, "films", NULL, 0, NULL), POND_EMISUSE);
    pond *storeless = pond_made("memory:", NULL);
    assert_int_equal(pond_collection_new(&c, storeless, "films", NULL, 0, &err), POND_EOPTION);
    assert_non_null(strstr(pond_error_message(err), "no store"));
    pond_error_free(err);
    pond_free(storeless);
    assert_null(c);
    pond_collection_free(NULL);
    assert_null(pond_collection_ref(NULL));
}

static void bounds_hold(void **state) {
    (void)state;
    static const char *const options[] = {"filterable", "n,even",        "sortable", "n",         "searchable",
                                          "title",      "default_limit", "2",        "max_limit", "3"};
    static const struct row {
        const char *query, *reason;
    } rows[] = {
        {"title=x", "bad_field"},         {"sort=title", "bad_field"},      {"search=x&search_in=even", "bad_field"},
        {"limit=4", "bad_page"},          {"n[$gt]=1", "bad_operator"},     {"n=%zz", "bad_encoding"},
        {"page=0", "bad_page"},           {"n[gt]=1&n[gt]=2", "duplicate"}, {"n[gt]=1e999", "bad_number"},
        {"limit=1000000000", "bad_page"},
    };
    pond_collection *c = collection_made(p, options, 5);
    assert_string_equal(numbers(find_of(c, "even=true&sort=-n&search=FILM")), "5/1/3/2");
    int finds = s->finds;
    uint64_t misses = pages_stat("misses");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        pond_error *err = NULL;
        assert_int_equal(find_code(c, rows[i].query, &err), POND_EQUERY);
        if (strcmp(pond_error_reason(err), rows[i].reason) != 0)
            fail_msg("%s: %s", rows[i].query, pond_error_message(err));
        pond_error_free(err);
        err = NULL;
        assert_int_equal(pond_collection_find_start(c, d.queue[0], POND_QUERY_TEXT, rows[i].query,
                                                    strlen(rows[i].query), 1, NULL, NULL, &err),
                         POND_EQUERY);
        pond_error_free(err);
    }
    assert_int_equal(s->finds, finds); /* nobody was asked */
    assert_int_equal(pages_stat("misses"), misses);
    pond_collection_free(c);
    /* An empty list allows nothing; a star, everything. */
    static const char *const none[] = {"filterable", "", "sortable", "", "searchable", ""};
    c = collection_made(p, none, 3);
    pond_error *err = NULL;
    assert_int_equal(find_code(c, "n=1", &err), POND_EQUERY);
    pond_error_free(err);
    err = NULL;
    assert_int_equal(find_code(c, "sort=n", &err), POND_EQUERY);
    pond_error_free(err);
    assert_string_equal(numbers(find_of(c, "sort=-id")), "10/1/1/20");
    pond_collection_free(c);
    static const char *const all[] = {"filterable", "*", "sortable", "*", "searchable", "*"};
    c = collection_made(p, all, 3);
    assert_string_equal(numbers(find_of(c, "title=film 1&sort=x")), "1/1/1/20");
    pond_collection_free(c);
}

static void misuse_is_said(void **state) {
    (void)state;
    pond_value *value = NULL;
    pond_error *err = NULL;
    assert_int_equal(pond_collection_get(films, "1", 1, NULL, NULL), POND_EMISUSE);
    assert_int_equal(pond_collection_get(NULL, "1", 1, &value, NULL), POND_EMISUSE);
    assert_int_equal(pond_collection_get(films, "", 0, &value, &err), POND_EKEY);
    pond_error_free(err);
    err = NULL;
    assert_int_equal(pond_collection_get(films, "a\0b", 3, &value, &err), POND_EKEY);
    pond_error_free(err);
    assert_int_equal(pond_collection_get_many(films, NULL, NULL, 1, &value, NULL), POND_EMISUSE);
    assert_int_equal(pond_collection_find(films, POND_QUERY_TEXT, "", 0, NULL, NULL), POND_EMISUSE);
    assert_int_equal(pond_collection_find(films, POND_QUERY_TEXT, NULL, 1, &value, NULL), POND_EMISUSE);
    assert_int_equal(pond_collection_find(films, (pond_query_form)7, "", 0, &value, NULL), POND_EMISUSE);
    assert_int_equal(pond_collection_explain(films, POND_QUERY_TEXT, "", 0, NULL, NULL), POND_EMISUSE);
    assert_int_equal(pond_collection_find_start(films, NULL, POND_QUERY_TEXT, "", 0, 1, NULL, NULL, NULL),
                     POND_EMISUSE);
    assert_int_equal(pond_collection_get_many_start(films, NULL, NULL, NULL, 0, 1, NULL), POND_EMISUSE);
    assert_int_equal(pond_collection_invalidate_start(films, NULL, NULL, NULL, 0, 1, NULL), POND_EMISUSE);
    assert_int_equal(pond_collection_find(films, POND_QUERY_TEXT, NULL, 0, &value, NULL),
                     POND_OK); /* the query that asks nothing */
    pond_value_free(value);
    assert_null(strstr(get_of(films, "a b"), "id"));
    char longest[510];
    memset(longest, 'x', sizeof longest);
    assert_int_equal(pond_collection_get(films, longest, 509, &value, NULL), POND_OK);
    pond_value_free(value);
    assert_int_equal(pond_collection_get(films, longest, 510, &value, NULL), POND_EKEY);
}

/* ---- explain and prepare ---- */

/* White space aside. */
static bool has(const char *json, const char *part) {
    char text[4000];
    size_t n = 0;
    for (; *json && n < sizeof text - 1; json++)
        if (*json != ' ') text[n++] = *json;
    text[n] = 0;
    return strstr(text, part) != NULL;
}

static void explain_tells_the_whole(void **state) {
    (void)state;
    const char *const options[] = {"indexes", "n,-title", "search_fields", "title"};
    pond_collection *c = collection_made(p, options, 2);
    pond_value *value = NULL;
    pond_error *err = NULL;
    ok(pond_collection_explain(c, POND_QUERY_TEXT, "n=1.0", 5, &value, &err), err, "explain");
    const char *text = shown(value);
    assert_non_null(
        strstr(text, "{\"canonical\":\"q1{\\\"filter\\\":{\\\"n\\\":{\\\"eq\\\":\\\"1.0\\\"}},\\\"limit\\\":20,"));
    assert_non_null(strstr(text, "\"index\":null"));
    assert_true(has(text, "\"cached\":{\"state\":\"miss\""));
    assert_non_null(strstr(text, "\"namespace\":\""));
    assert_non_null(strstr(text, "\"key\":\""));
    assert_non_null(strstr(text, "\"total_key\":\""));
    ok(pond_collection_prepare(c, &err), err, "prepare");
    ok(pond_collection_prepare_start(c, d.queue[0], 4, &err), err, "prepare_start"); /* again is no harm */
    desk_ok(&d, 0, 4);
    find_of(c, "n=1.0");
    ok(pond_collection_explain_start(c, d.queue[0], POND_QUERY_TEXT, "n=1.0", 5, 5, &err), err, "explain_start");
    pond_event *event = desk_event(&d, 0, 5000);
    assert_non_null(event);
    assert_int_equal(pond_event_kind(event), POND_EVENT_VALUE);
    text = shown(pond_value_ref(pond_event_value(event)));
    pond_event_free(event);
    assert_non_null(strstr(text, "\"index\":\"mp:films:n\""));
    assert_true(has(text, "\"cached\":{\"state\":\"value\""));
    assert_non_null(strstr(text, "\"statement\":\"SELECT id FROM \\\"films\\\""));
    ok(pond_collection_explain(c, POND_QUERY_OBJECT, "{\"sort\":\"-title\"}", 17, &value, &err), err, "explain");
    assert_non_null(strstr(shown(value), "\"index\":\"mp:films:-title\""));
    counted("find", s->finds, 1); /* to explain is not to ask */
    assert_int_equal(pond_collection_explain(c, POND_QUERY_TEXT, "n[x]=1", 6, &value, NULL), POND_EQUERY);
    assert_int_equal(pond_collection_explain_start(c, d.queue[0], POND_QUERY_TEXT, "n[x]=1", 6, 1, NULL), POND_EQUERY);
    pond_collection_free(c);
}

/* The store holds its statements until `go`. */
static gate began, go;

static void hold(void) {
    gate_init(&began);
    gate_init(&go);
    s->began = &began;
    s->go = &go;
}

static void let_go(void) {
    gate_open(&go);
    s->began = s->go = NULL;
}

/* ---- errors ---- */

/* What is on the queues must be driven. */
static void await_misses(uint64_t least) {
    for (int64_t until = clock_ms() + 5000; pond_stat(p, NULL, "misses") < least;) {
        assert_true(clock_ms() < until);
        desk_drive(&d, 5);
    }
    desk_drive(&d, 20);
}

static void errors_reach_all_and_are_not_kept(void **state) {
    (void)state;
    pond_error *err = NULL;
    pond_value *value = NULL, *values[3];
    ids want = {0};
    hold();
    s->fail_find = POND_ESTORE;
    for (uint64_t i = 0; i < 3; i++) find_start(films, i, "n=1", i, NULL, NULL);
    for (int64_t until = clock_ms() + 5000; s->finds == 0;) {
        assert_true(clock_ms() < until);
        desk_drive(&d, 5);
    }
    for (uint64_t i = 0; i < 3; i++) find_start(films, i, "n=1", i + 10, NULL, NULL); /* late */
    await_misses(6);
    let_go();
    for (uint64_t i = 0; i < 3; i++) {
        desk_error(&d, i, i, POND_ESTORE);
        desk_error(&d, i, i + 10, POND_ESTORE);
    }
    counted("find", s->finds, 1);
    assert_int_equal(find_code(films, "n=1", &err), POND_ESTORE);
    assert_true(pond_error_retriable(err));
    assert_string_equal(pond_error_message(err), "the store was told to fail");
    pond_error_free(err);
    err = NULL;
    s->fail_find = 0;
    s->fail_count = POND_ESTORE;
    assert_int_equal(find_code(films, "limit=2", &err), POND_ESTORE);
    pond_error_free(err);
    err = NULL;
    assert_string_equal(numbers(find_of(films, "n=1")), "1/1/1/20"); /* needs no count */
    s->fail_count = 0;
    assert_string_equal(numbers(find_of(films, "limit=2")), "10/1/5/2");
    s->fail_get = POND_ESTORE;
    assert_int_equal(pond_collection_get(films, "1", 1, &value, &err), POND_ESTORE);
    pond_error_free(err);
    err = NULL;
    for (int i = 0; i < 3; i++) ids_add(&want, i);
    assert_int_equal(pond_collection_get_many(films, want.list, want.lens, 3, values, &err), POND_ESTORE);
    pond_error_free(err);
    err = NULL;
    ok(pond_collection_get_many_start(films, d.queue[0], want.list, want.lens, 3, 5, &err), err, "start");
    desk_error(&d, 0, 5, POND_ESTORE);
    s->fail_get = 0;
    assert_non_null(strstr(get_of(films, "1"), "film 1"));
    ok(pond_collection_get_many(films, want.list, want.lens, 3, values, &err), err, "get_many");
    for (int i = 0; i < 3; i++) pond_value_free(values[i]);
    /* What has no order is an error of the query, from the store. */
    put("lists", "{\"x\":[1],\"y\":[1]}");
    assert_int_equal(find_code(films, "sort=x,y", &err), POND_EQUERY);
    assert_string_equal(pond_error_reason(err), "sort_arrays");
    pond_error_free(err);
}

static void what_is_too_large_says_so(void **state) {
    (void)state;
    pond *small = pond_made(cache_url, "store", address, "namespace", name, "max_value", "1KiB", NULL);
    pond_collection *c = collection_made(small, NULL, 0);
    pond_error *err = NULL;
    mp_buf doc;
    mp_buf_init(&doc);
    mp_buf_text(&doc, "{\"text\":\"");
    for (int i = 0; i < 2000; i++) mp_buf_text(&doc, "x");
    mp_buf_text(&doc, "\"}");
    put("large", doc.data);
    mp_buf_free(&doc);
    pond_value *value = NULL;
    assert_int_equal(find_code(c, "id=large", &err), POND_EVALUE);
    assert_non_null(strstr(pond_error_message(err), "ask for fewer documents or fields"));
    pond_error_free(err);
    err = NULL;
    assert_string_equal(numbers(find_of(c, "id=large&fields=id")), "1/1/1/20");
    assert_int_equal(pond_collection_get(c, "large", 5, &value, &err), POND_EVALUE);
    pond_error_free(err);
    pond_collection_free(c);
    pond_free(small);
}

/* ---- ends in the middle ---- */

typedef struct blocked {
    pthread_t thread;
    pond_collection *c;
    const char *query; /* NULL: get_many */
    int code;
    char text[300];
    int64_t took_ms;
} blocked;

static _Thread_local bool interrupted;

static int check_interrupt(void *ctx) {
    (void)ctx;
    return interrupted;
}

static void *block(void *arg) {
    blocked *b = arg;
    static const char *const list[] = {"1", "2", "3"};
    static const size_t lens[] = {1, 1, 1};
    pond_value *values[3] = {NULL};
    pond_error *err = NULL;
    int64_t from = clock_ms();
    interrupted = b->text[0] == '!';
    if (b->query) b->code = pond_collection_find(b->c, POND_QUERY_TEXT, b->query, strlen(b->query), values, &err);
    else b->code = pond_collection_get_many(b->c, list, lens, 3, values, &err);
    snprintf(b->text, sizeof b->text, "%s", err ? pond_error_message(err) : pond_value_data(values[0], NULL));
    b->took_ms = clock_ms() - from;
    for (int i = 0; i < 3; i++) pond_value_free(values[i]);
    pond_error_free(err);
    return NULL;
}

static void block_start(blocked *b) { assert_int_equal(pthread_create(&b->thread, NULL, block, b), 0); }
static void block_join(blocked *b, int code) {
    pthread_join(b->thread, NULL);
    if (b->code != code) fail_msg("%s: %s", b->query ? b->query : "get_many", b->text);
}

static void await(atomic_int *count, int least) {
    for (int64_t until = clock_ms() + 5000; *count < least; rest_ms(1)) assert_true(clock_ms() < until);
}

static void start_some(pond_request *requests[2]) {
    static const char *const list[] = {"4", "5", "6"};
    static const size_t lens[] = {1, 1, 1};
    pond_error *err = NULL;
    ok(pond_collection_get_start(films, d.queue[0], "7", 1, 1, NULL, &requests[0], &err), err, "get_start");
    ok(pond_collection_get_many_start(films, d.queue[0], list, lens, 3, 2, &err), err, "get_many_start");
    find_start(films, 0, "limit=3", 3, NULL, &requests[1]);
    for (int64_t until = clock_ms() + 5000; s->gets + s->get_manys + s->finds < 3;) {
        assert_true(clock_ms() < until);
        desk_drive(&d, 5);
    }
}

typedef struct closer {
    pthread_t thread;
    int code;
} closer;

static void *close_it(void *arg) {
    ((closer *)arg)->code = pond_close(p, 10000);
    return NULL;
}

/* All that a page needs belongs to it: its total is still asked for, though the pond takes nothing new. */
static void a_close_waits_for_what_is_under_way(void **state) {
    (void)state;
    pond_request *requests[2];
    blocked many = {.c = films}, page = {.c = films, .query = "limit=2"};
    closer c;
    hold();
    block_start(&many);
    block_start(&page);
    await(&s->finds, 1);
    await(&s->get_manys, 1);
    start_some(requests);
    assert_int_equal(pthread_create(&c.thread, NULL, close_it, &c), 0);
    for (pond_value *value = NULL; pond_lookup(p, "x", 1, NULL, &value, NULL) == POND_OK; rest_ms(1))
        pond_value_free(value);
    assert_int_equal(find_code(films, "n=1", NULL), POND_ECLOSED);
    let_go();
    desk_drive(&d, 20);
    block_join(&many, POND_OK);
    block_join(&page, POND_OK);
    size_t got = 0;
    for (pond_event *event; got < 3 && (event = desk_event(&d, 0, 5000)); got++) {
        if (pond_event_kind(event) == POND_EVENT_ERROR) fail_msg("%s", pond_error_message(pond_event_error(event)));
        pond_event_free(event);
    }
    assert_int_equal(got, 3);
    pthread_join(c.thread, NULL);
    assert_int_equal(c.code, POND_OK);
    counted("count", s->counts, 1);
}

static void a_close_ends_what_takes_too_long(void **state) {
    (void)state;
    pond_request *requests[2];
    blocked many = {.c = films}, page = {.c = films, .query = "limit=2"}, waits = {.c = films, .query = "limit=2"};
    hold();
    block_start(&many);
    block_start(&page);
    await(&s->finds, 1);
    await(&s->get_manys, 1);
    block_start(&waits);
    await_stat(p, NULL, "misses", 5);
    start_some(requests);
    assert_int_equal(pond_close(p, 30), POND_ETIMEOUT);
    block_join(&waits, POND_ECLOSED); /* at once; who is in the store comes when the store lets them */
    for (int i = 0; i < 3; i++) {
        pond_event *event = desk_event(&d, 0, 5000);
        assert_non_null(event);
        assert_int_equal(pond_event_kind(event), POND_EVENT_ERROR);
        assert_int_equal(pond_error_code(pond_event_error(event)), POND_ECLOSED);
        pond_event_free(event);
    }
    let_go();
    block_join(&many, POND_ECLOSED);
    block_join(&page, POND_ECLOSED);
}

static void who_cancels_leaves_the_others_their_load(void **state) {
    (void)state;
    pond_request *requests[2];
    blocked page = {.c = films, .query = "limit=3"};
    hold();
    start_some(requests);
    find_start(films, 1, "limit=3", 9, NULL, NULL);
    block_start(&page);
    await_misses(7);
    pond_request_cancel(requests[0]);
    pond_request_cancel(requests[1]);
    let_go();
    pond_event_free(list_event(0, 2));
    pond_event *event = desk_event(&d, 1, 5000);
    assert_non_null(event);
    assert_int_equal(pond_event_kind(event), POND_EVENT_VALUE);
    pond_event_free(event);
    block_join(&page, POND_OK);
    desk_nothing(&d, 20);
    counted("find", s->finds, 1);
    for (size_t i = 0; i < 3; i++) assert_int_equal(pond_queue_pending(d.queue[i]), 0);
    assert_non_null(strstr(get_of(films, "7"), "film 7")); /* which was cached all the same */
    counted("get", s->gets, 1);
}

static void a_queue_that_goes_leaves_its_loads_to_others(void **state) {
    (void)state;
    pond_request *requests[2];
    blocked page = {.c = films, .query = "limit=3"};
    hold();
    start_some(requests);
    find_start(films, 1, "limit=3", 9, NULL, NULL);
    block_start(&page);
    await_misses(7);
    desk_free_queue(&d, 0);
    for (int64_t until = clock_ms() + 5000; s->finds < 2;) { /* it begins again elsewhere */
        assert_true(clock_ms() < until);
        desk_drive(&d, 5);
    }
    let_go();
    pond_event *event = desk_event(&d, 1, 5000);
    assert_non_null(event);
    assert_int_equal(pond_event_kind(event), POND_EVENT_VALUE);
    pond_event_free(event);
    block_join(&page, POND_OK);
    counted("find", s->finds, 2);
}

/* The last reference may be a worker's. */
static void everything_goes_while_a_worker_loads(void **state) {
    (void)state;
    size_t before = count_threads();
    pond *mine = pond_made(cache_url, "store", address, "namespace", name, NULL);
    shadow *shade = shadow_of(mine);
    pond_collection *c = collection_made(mine, NULL, 0);
    pond_queue *queue = NULL;
    pond_error *err = NULL;
    gate_init(&began);
    gate_init(&go);
    shade->began = &began;
    shade->go = &go;
    ok(pond_queue_new(&queue, mine, &err), err, "queue");
    ok(pond_collection_find_start(c, queue, POND_QUERY_TEXT, "limit=2", 7, 1, NULL, NULL, &err), err, "find_start");
    for (int64_t until = clock_ms() + 5000; shade->finds < 1;) {
        assert_true(clock_ms() < until);
        pond_queue_poll(queue, NULL, 0, 5);
    }
    pond_queue_free(queue);
    pond_collection_free(c);
    pond_free(mine);
    gate_open(&go);
    await_threads(before);
}

static void an_interrupt_ends_one_wait_alone(void **state) {
    (void)state;
    blocked page = {.c = films, .query = "limit=2"}, waits = {.c = films, .query = "limit=2", .text = "!"},
            second = {.c = films, .query = "limit=2&page=2", .text = "!"};
    pond_set_interrupt(p, check_interrupt, NULL);
    s->delay_ms = 0;
    hold();
    block_start(&page);
    await(&s->finds, 1);
    block_start(&waits);
    block_join(&waits, POND_EINTERRUPTED);
    assert_true(waits.took_ms < 2000);
    /* The second page's load waits for the total that the first one's loads: it is not one caller's wait. */
    let_go();
    block_join(&page, POND_OK);
    pond_set_interrupt(p, check_interrupt, NULL);
    hold();
    page.query = "limit=2&n[gte]=0";
    second.query = "limit=2&n[gte]=0&page=2";
    gate_open(&go);
    gate counting, counted_gate;
    gate_init(&counting);
    gate_init(&counted_gate);
    s->fail_count = 0;
    s->count_began = &counting;
    s->count_go = &counted_gate;
    block_start(&page);
    assert_true(gate_wait(&counting, 5000));
    block_start(&second);
    await(&s->finds, 3);
    rest_ms(250); /* longer than interrupts are looked for */
    gate_open(&counted_gate);
    block_join(&page, POND_OK);
    block_join(&second, POND_OK);
    assert_string_equal(numbers(second.text), "10/2/5/2");
    counted("count", s->counts, 2);
    pond_set_interrupt(p, NULL, NULL);
}

static void a_wait_has_an_end(void **state) {
    (void)state;
    const char *const options[] = {"wait_timeout", "50ms"};
    pond_collection *c = collection_made(p, options, 1);
    blocked page = {.c = c, .query = "limit=2"}, waits = {.c = c, .query = "limit=2"},
            second = {.c = c, .query = "limit=2&page=2"};
    gate counting, counted_gate;
    gate_init(&counting);
    gate_init(&counted_gate);
    s->count_began = &counting;
    s->count_go = &counted_gate;
    block_start(&page);
    assert_true(gate_wait(&counting, 5000));
    block_start(&waits);
    block_start(&second);
    block_join(&waits, POND_ETIMEOUT);
    rest_ms(100);
    gate_open(&counted_gate);
    block_join(&page, POND_OK);
    block_join(&second, POND_OK); /* the total's time is the load's */
    pond_collection_free(c);
}

int collection_cases(const char *cache) {
    cache_url = cache;
#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_document_is_loaded_once),
        T(invalidation_drops_documents),
        T(invalidation_drops_pages),
        T(bounded_pages_are_so_old_at_most),
        T(what_is_missing_is_one_statement),
        T(a_thousand_are_one_statement_too),
        T(overlapping_sets_load_each_id_once),
        T(one_load_a_page_however_many_ask),
        T(a_page_is_what_the_query_asks),
        T(pages_of_a_query_share_its_total),
        T(a_total_is_never_less_than_what_is_shown),
        T(empty_pages_are_not_kept),
        T(each_kind_has_its_time),
        T(bad_options_open_nothing),
        T(bounds_hold),
        T(misuse_is_said),
        T(explain_tells_the_whole),
        T(errors_reach_all_and_are_not_kept),
        T(what_is_too_large_says_so),
        T(a_close_waits_for_what_is_under_way),
        T(a_close_ends_what_takes_too_long),
        T(who_cancels_leaves_the_others_their_load),
        T(a_queue_that_goes_leaves_its_loads_to_others),
        T(everything_goes_while_a_worker_loads),
        T(an_interrupt_ends_one_wait_alone),
        T(a_wait_has_an_end),
    };
    return cmocka_run_group_tests_name("collection", tests, NULL, NULL);
}
