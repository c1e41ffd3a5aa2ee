#include "support/document_cases.h"

#include <unistd.h>

#include "pattern/pond.h"
#include "support/shadow.h"

/* ---- the fixture: a pond, its store behind a shadow, two collections of the same documents, one document ---- */

static const char *cache_url;
static char folder[SHOP_FOLDER], address[SHOP_ADDRESS], name[64];
static pond *p;
static shadow *s;
static pond_collection *films, *aside;
static desk d;

static const char heat[] = "{\"id\":\"1\",\"title\":\"Heat\",\"year\":1995}";

static pond_collection *collection_made(const char *how) {
    const char *const options[] = {"write", how};
    pond_collection *c = NULL;
    pond_error *err = NULL;
    if (pond_collection_new(&c, p, "films", options, 1, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
    return c;
}

static int set_up(void **state) {
    (void)state;
    shop_make(folder, address);
    snprintf(name, sizeof name, "%s", fresh("d"));
    p = pond_made(cache_url, "store", address, "namespace", name, "command_timeout", "5s", NULL);
    s = shadow_of(p);
    films = collection_made("through");
    aside = collection_made("aside");
    assert_int_equal(pond_collection_prepare(films, NULL), POND_OK);
    assert_int_equal(pond_store_put(p, "films", "1", 1, heat, sizeof heat - 1, NULL), POND_OK);
    desk_open(&d, p, 2);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    desk_close(&d);
    pond_collection_free(films);
    pond_collection_free(aside);
    assert_int_equal(pond_close(p, 5000), POND_OK);
    pond_free(p);
    /* A worker may be the last to let go of the pond, and of the files. */
    for (int64_t until = clock_ms() + 5000; shop_remove(folder) != 0; rest_ms(1)) assert_true(clock_ms() < until);
    return 0;
}

static uint64_t stat(const char *counter) {
    char row[100];
    snprintf(row, sizeof row, "%s/films", name);
    return pond_stat(p, row, counter);
}

/* ---- looking ---- */

static const char *shown(pond_value *value) {
    static char texts[4][400];
    static unsigned n;
    char *text = texts[n++ % 4];
    snprintf(text, sizeof texts[0], "%s",
             pond_value_state(value) == POND_VALUE ? pond_value_data(value, NULL) : "(absent)");
    pond_value_free(value);
    return text;
}

static const char *get(const char *id) {
    pond_value *value = NULL;
    assert_int_equal(pond_collection_get(films, id, strlen(id), &value, NULL), POND_OK);
    return shown(value);
}

static const char *stored(const char *id) {
    pond_value *value = NULL;
    assert_int_equal(pond_store_get(p, "films", id, strlen(id), &value, NULL), POND_OK);
    return shown(value);
}

/* A get that the cache answers, or not. */
static void is_cached(const char *id, const char *text, bool cached) {
    int gets = s->gets;
    assert_string_equal(get(id), text);
    assert_int_equal(s->gets - gets, cached ? 0 : 1);
    assert_string_equal(stored(id), text);
}

static const char *page(void) {
    pond_value *value = NULL;
    assert_int_equal(pond_collection_find(films, POND_QUERY_TEXT, "sort=title", 10, &value, NULL), POND_OK);
    return shown(value);
}

/* ---- changing ---- */

typedef struct judge {
    const char *reject; /* a message */
    bool silent;
    int calls;
    char seen[400];
    void (*inside)(void);
} judge;

static void judge_it(pond_check *check, void *ctx) {
    judge *j = ctx;
    j->calls++;
    snprintf(j->seen, sizeof j->seen, "%s", pond_value_data(pond_check_document(check), NULL));
    if (j->inside) j->inside();
    if (j->silent) return;
    if (j->reject) assert_int_equal(pond_check_fail(check, j->reject), POND_OK);
    else assert_int_equal(pond_check_pass(check), POND_OK);
}

typedef struct answer {
    int code;
    char text[400]; /* the document, or the error's message */
} answer;

static answer change_checked(pond_collection *c, pond_change_kind kind, const char *id, const char *doc, judge *j) {
    answer a = {0};
    pond_value *value = NULL;
    pond_error *err = NULL;
    a.code = pond_collection_change(c, kind, id, id ? strlen(id) : 0, doc, doc ? strlen(doc) : 0, j ? judge_it : NULL,
                                    j, &value, &err);
    assert_int_equal(a.code, err ? pond_error_code(err) : POND_OK);
    snprintf(a.text, sizeof a.text, "%s", err ? pond_error_message(err) : value ? pond_value_data(value, NULL) : "");
    if (err) assert_null(value);
    pond_value_free(value);
    pond_error_free(err);
    return a;
}

static answer change_of(pond_collection *c, pond_change_kind kind, const char *id, const char *doc) {
    return change_checked(c, kind, id, doc, NULL);
}

static void changes(pond_collection *c, pond_change_kind kind, const char *id, const char *doc, const char *result) {
    answer a = change_of(c, kind, id, doc);
    if (a.code != POND_OK || strcmp(a.text, result) != 0) fail_msg("%s of %s: %d %s", doc, id, a.code, a.text);
}

static void fails(pond_change_kind kind, const char *id, const char *doc, int code, const char *word) {
    answer a = change_of(films, kind, id, doc);
    if (a.code != code || !strstr(a.text, word)) fail_msg("%s of %s: %d %s", doc, id, a.code, a.text);
}

static void start(size_t queue, pond_change_kind kind, const char *id, const char *doc, bool checked, uint64_t user,
                  pond_request **request) {
    pond_error *err = NULL;
    if (pond_collection_change_start(films, d.queue[queue], kind, id, strlen(id), doc, doc ? strlen(doc) : 0, checked,
                                     user, request, &err) != POND_OK)
        fail_msg("%s", pond_error_message(err));
}

static pond_check *desk_check(size_t queue, uint64_t user) {
    pond_event *event = desk_event(&d, queue, 5000);
    assert_non_null(event);
    assert_int_equal(pond_event_kind(event), POND_EVENT_CHECK);
    assert_int_equal(pond_event_user(event), user);
    assert_null(pond_event_value(event));
    pond_check *check = pond_event_check(event);
    assert_non_null(check);
    pond_event_free(event);
    return check;
}

static void drive_until(gate *open) {
    for (int64_t until = clock_ms() + 5000; !gate_wait(open, 0); desk_drive(&d, 1)) assert_true(clock_ms() < until);
}

/* ---- the cases ---- */

static void the_new_document_is_cached(void **state) {
    (void)state;
    assert_string_equal(get("1"), heat);
    changes(films, POND_REPLACE, "1", "{\"title\":\"Heat\",\"year\":1996}",
            "{\"id\":\"1\",\"title\":\"Heat\",\"year\":1996}");
    is_cached("1", "{\"id\":\"1\",\"title\":\"Heat\",\"year\":1996}", true);
    changes(films, POND_UPDATE, "1", "{\"year\":null,\"rating\":8.3}",
            "{\"id\":\"1\",\"title\":\"Heat\",\"rating\":8.3}");
    is_cached("1", "{\"id\":\"1\",\"title\":\"Heat\",\"rating\":8.3}", true);
    changes(films, POND_CREATE, "2", "{\"title\":\"Ronin\"}", "{\"id\":\"2\",\"title\":\"Ronin\"}");
    is_cached("2", "{\"id\":\"2\",\"title\":\"Ronin\"}", true);
    changes(films, POND_DELETE, "1", NULL, "");
    is_cached("1", "(absent)", true);
    changes(films, POND_CREATE, "1", "{\"title\":\"again\"}", "{\"id\":\"1\",\"title\":\"again\"}");
    is_cached("1", "{\"id\":\"1\",\"title\":\"again\"}", true);
    assert_int_equal(stat("writes"), 5);
    assert_int_equal(stat("written_values"), 5);
    assert_int_equal(stat("write_errors"), 0);
}

static void aside_drops_the_old_one(void **state) {
    (void)state;
    assert_string_equal(get("1"), heat);
    changes(aside, POND_UPDATE, "1", "{\"year\":1996}", "{\"id\":\"1\",\"title\":\"Heat\",\"year\":1996}");
    is_cached("1", "{\"id\":\"1\",\"title\":\"Heat\",\"year\":1996}", false);
    changes(aside, POND_DELETE, "1", NULL, "");
    is_cached("1", "(absent)", false);
    changes(aside, POND_CREATE, "1", "{\"a\":1}", "{\"id\":\"1\",\"a\":1}");
    is_cached("1", "{\"id\":\"1\",\"a\":1}", false);
    changes(aside, POND_REPLACE, "1", "{\"a\":2}", "{\"id\":\"1\",\"a\":2}");
    is_cached("1", "{\"id\":\"1\",\"a\":2}", false);
    assert_int_equal(stat("written_values"), 0);
}

static void pages_go_with_every_change(void **state) {
    (void)state;
    assert_non_null(strstr(page(), "\"total\":1"));
    changes(films, POND_CREATE, "2", "{\"title\":\"Ronin\"}", "{\"id\":\"2\",\"title\":\"Ronin\"}");
    assert_non_null(strstr(page(), "\"total\":2"));
    changes(films, POND_UPDATE, "2", "{\"title\":\"Casino\"}", "{\"id\":\"2\",\"title\":\"Casino\"}");
    assert_non_null(strstr(page(), "Casino"));
    changes(aside, POND_REPLACE, "2", "{\"title\":\"Sonatine\"}", "{\"id\":\"2\",\"title\":\"Sonatine\"}");
    assert_non_null(strstr(page(), "Sonatine"));
    changes(films, POND_DELETE, "2", NULL, "");
    assert_non_null(strstr(page(), "\"total\":1"));
    int finds = s->finds;
    page();
    assert_int_equal(s->finds, finds);
}

static void what_is_not_there_and_what_is(void **state) {
    (void)state;
    page();
    fails(POND_REPLACE, "9", "{\"a\":1}", POND_EABSENT, "films \"9\"");
    fails(POND_UPDATE, "9", "{\"a\":1}", POND_EABSENT, "films \"9\"");
    fails(POND_DELETE, "9", NULL, POND_EABSENT, "films \"9\"");
    fails(POND_CREATE, "1", "{\"a\":1}", POND_EDUPLICATE, "films \"1\"");
    assert_string_equal(stored("9"), "(absent)");
    assert_string_equal(stored("1"), heat);
    assert_string_equal(get("1"), heat);
    assert_int_equal(stat("write_errors"), 4);
    assert_int_equal(stat("writes"), 0);
}

static void bad_input_changes_nothing(void **state) {
    (void)state;
    int applies = s->applies;
    assert_string_equal(get("1"), heat);
    page();
    fails(POND_REPLACE, "1", "[1]", POND_EVALUE, "films");
    fails(POND_REPLACE, "1", "{", POND_EVALUE, "films");
    fails(POND_UPDATE, "1", "{\"id\":\"2\"}", POND_EVALUE, "id");
    fails(POND_UPDATE, "", "{}", POND_EKEY, "id");
    fails(POND_CREATE, NULL, "{\"id\":7}", POND_EVALUE, "id");
    fails(POND_CREATE, NULL, "{\"id\":\"\"}", POND_EKEY, "id");
    fails(POND_CREATE, NULL, "nonsense", POND_EVALUE, "JSON");
    fails(POND_REPLACE, "1", NULL, POND_EMISUSE, "NULL");
    fails((pond_change_kind)0, "1", "{}", POND_EMISUSE, "POND_UPDATE");
    fails((pond_change_kind)5, "1", "{}", POND_EMISUSE, "POND_UPDATE");
    assert_int_equal(pond_collection_change(NULL, POND_DELETE, "1", 1, NULL, 0, NULL, NULL, NULL, NULL), POND_EMISUSE);
    assert_int_equal(pond_collection_change_start(films, NULL, POND_DELETE, "1", 1, NULL, 0, 0, 1, NULL, NULL),
                     POND_EMISUSE);
    const char *const options[] = {"write", "sideways"};
    pond_collection *c = NULL;
    assert_int_equal(pond_collection_new(&c, p, "films", options, 1, NULL), POND_EOPTION);
    int finds = s->finds;
    page(); /* it is there still */
    is_cached("1", heat, true);
    assert_int_equal(s->finds, finds);
    assert_int_equal(s->applies, applies);
}

static void ids_are_the_documents_own_or_made(void **state) {
    (void)state;
    changes(films, POND_CREATE, NULL, "{\"a\":1,\"id\":\"x y\"}", "{\"id\":\"x y\",\"a\":1}");
    is_cached("x y", "{\"id\":\"x y\",\"a\":1}", true);
    fails(POND_CREATE, "other", "{\"id\":\"x y\"}", POND_EVALUE, "id");
    char ids[2][25] = {0};
    for (int i = 0; i < 2; i++) {
        answer a = change_of(films, POND_CREATE, NULL, "{\"title\":\"Tenet\"}");
        assert_int_equal(a.code, POND_OK);
        assert_int_equal(sscanf(a.text, "{\"id\":\"%24[0-9a-f]\",\"title\":\"Tenet\"}", ids[i]), 1);
        assert_int_equal(strlen(ids[i]), 24);
        is_cached(ids[i], a.text, true);
    }
    assert_string_not_equal(ids[0], ids[1]);
}

static void a_checker_judges_the_whole_document(void **state) {
    (void)state;
    judge pass = {0}, reject = {.reject = "a year is missing"}, silent = {.silent = true};
    assert_string_equal(get("1"), heat);
    page();
    answer a = change_checked(films, POND_UPDATE, "1", "{\"year\":null}", &reject);
    assert_int_equal(a.code, POND_EINVALID);
    assert_string_equal(a.text, "a year is missing");
    assert_string_equal(reject.seen, "{\"id\":\"1\",\"title\":\"Heat\"}");
    assert_int_equal(change_checked(films, POND_CREATE, "2", "{}", &reject).code, POND_EINVALID);
    assert_int_equal(change_checked(films, POND_REPLACE, "1", "{}", &reject).code, POND_EINVALID);
    a = change_checked(films, POND_UPDATE, "1", "{\"year\":1}", &silent);
    assert_int_equal(a.code, POND_EINVALID);
    assert_non_null(strstr(a.text, "without an answer"));
    assert_int_equal(reject.calls, 3);
    /* Neither store nor cache was touched. */
    int finds = s->finds;
    assert_int_equal(s->applies, 0);
    page();
    assert_int_equal(s->finds, finds);
    is_cached("1", heat, true);
    a = change_checked(films, POND_UPDATE, "1", "{\"year\":1996}", &pass);
    assert_int_equal(a.code, POND_OK);
    assert_string_equal(pass.seen, a.text);
    assert_int_equal(change_checked(films, POND_DELETE, "1", NULL, &pass).code, POND_OK);
    assert_int_equal(pass.calls, 1);
}

static void changes_it_first(void) {
    changes(aside, POND_UPDATE, "1", "{\"other\":true}",
            "{\"id\":\"1\",\"title\":\"Heat\",\"year\":1995,\"other\":true}");
}

static void deletes_it_first(void) { changes(aside, POND_DELETE, "1", NULL, ""); }

static void what_was_overtaken_is_computed_and_judged_anew(void **state) {
    (void)state;
    static const char both[] = "{\"id\":\"1\",\"title\":\"Heat\",\"year\":1996,\"other\":true}";
    judge pass = {0};
    s->before_apply = changes_it_first;
    answer a = change_checked(films, POND_UPDATE, "1", "{\"year\":1996}", &pass);
    assert_int_equal(a.code, POND_OK);
    assert_string_equal(a.text, both);
    assert_int_equal(pass.calls, 2);
    assert_string_equal(pass.seen, both);
    is_cached("1", both, false); /* there were two writers */
    assert_int_equal(change_of(films, POND_REPLACE, "1", heat).code, POND_OK);
    s->before_apply = changes_it_first;
    changes(films, POND_UPDATE, "1", "{\"year\":1996}", both);
    s->before_apply = deletes_it_first;
    fails(POND_UPDATE, "1", "{\"year\":1997}", POND_EABSENT, "films \"1\"");
    is_cached("1", "(absent)", false);
    /* The second judgement may be another. */
    judge reject = {.reject = "no"};
    assert_int_equal(change_of(films, POND_CREATE, "1", heat).code, POND_OK);
    s->before_apply = changes_it_first;
    start(0, POND_UPDATE, "1", "{\"year\":1996}", true, 1, NULL);
    assert_int_equal(pond_check_pass(desk_check(0, 1)), POND_OK);
    assert_int_equal(pond_check_fail(desk_check(0, 1), reject.reject), POND_OK);
    desk_error(&d, 0, 1, POND_EINVALID);
    assert_non_null(strstr(stored("1"), "1995"));
    is_cached("1", "{\"id\":\"1\",\"title\":\"Heat\",\"year\":1995,\"other\":true}", false);
}

static void outcomes_in_doubt_are_not_cached_over(void **state) {
    (void)state;
    assert_string_equal(get("1"), heat);
    s->doubt = 1;
    fails(POND_REPLACE, "1", "{\"a\":1}", POND_ESTORE, "in doubt");
    is_cached("1", "{\"id\":\"1\",\"a\":1}", false);
    is_cached("1", "{\"id\":\"1\",\"a\":1}", false); /* its intent stands */
}

/* ---- many at once ---- */

enum { PATCHERS = 4, TIMES = 40 };

static void *patch(void *arg) {
    int me = (int)(intptr_t)arg;
    for (int i = 1; i <= TIMES; i++) {
        char doc[40];
        snprintf(doc, sizeof doc, "{\"n%d\":%d}", me, i);
        answer a = change_of(me % 2 ? aside : films, POND_UPDATE, "1", doc);
        if (a.code != POND_OK) return strdup(a.text);
    }
    return NULL;
}

static void no_update_is_lost(void **state) {
    (void)state;
    pthread_t threads[PATCHERS];
    char now[400], last[400] = "";
    assert_int_equal(change_of(films, POND_REPLACE, "1", "{\"n0\":0,\"n1\":0,\"n2\":0,\"n3\":0}").code, POND_OK);
    for (int i = 0; i < PATCHERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, patch, (void *)(intptr_t)i), 0);
    for (int i = 0; i < 200; i++) { /* and what is seen does not go back */
        int a[4], b[4];
        static const char format[] = "{\"id\":\"1\",\"n0\":%d,\"n1\":%d,\"n2\":%d,\"n3\":%d}";
        snprintf(now, sizeof now, "%s", get("1"));
        assert_int_equal(sscanf(now, format, &a[0], &a[1], &a[2], &a[3]), 4);
        if (*last && sscanf(last, format, &b[0], &b[1], &b[2], &b[3]) == 4)
            for (int k = 0; k < 4; k++)
                if (a[k] < b[k]) fail_msg("%s after %s", now, last);
        snprintf(last, sizeof last, "%s", now);
    }
    for (int i = 0; i < PATCHERS; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        if (wrong) fail_msg("%s", (char *)wrong);
    }
    assert_string_equal(get("1"), "{\"id\":\"1\",\"n0\":40,\"n1\":40,\"n2\":40,\"n3\":40}");
    assert_string_equal(get("1"), stored("1"));
}

/* ---- on queues ---- */

static void queues_do_the_same(void **state) {
    (void)state;
    assert_string_equal(get("1"), heat);
    page();
    start(0, POND_UPDATE, "1", "{\"year\":1996}", false, 1, NULL);
    desk_value(&d, 0, 1, "{\"id\":\"1\",\"title\":\"Heat\",\"year\":1996}");
    is_cached("1", "{\"id\":\"1\",\"title\":\"Heat\",\"year\":1996}", true);
    assert_non_null(strstr(page(), "1996"));
    start(1, POND_CREATE, "1", "{}", false, 2, NULL);
    desk_error(&d, 1, 2, POND_EDUPLICATE);
    start(0, POND_UPDATE, "9", "{}", true, 3, NULL);
    desk_error(&d, 0, 3, POND_EABSENT);
    start(0, POND_REPLACE, "1", "{", true, 4, NULL);
    desk_error(&d, 0, 4, POND_EVALUE);
    start(0, POND_CREATE, "2", "{\"a\":1}", true, 5, NULL);
    pond_check *check = desk_check(0, 5);
    assert_string_equal(pond_value_data(pond_check_document(check), NULL), "{\"id\":\"2\",\"a\":1}");
    assert_int_equal(pond_check_pass(check), POND_OK);
    desk_value(&d, 0, 5, "{\"id\":\"2\",\"a\":1}");
    start(0, POND_REPLACE, "2", "{\"a\":2}", true, 6, NULL);
    assert_int_equal(pond_check_fail(desk_check(0, 6), "no"), POND_OK);
    desk_error(&d, 0, 6, POND_EINVALID);
    is_cached("2", "{\"id\":\"2\",\"a\":1}", true);
    start(0, POND_DELETE, "2", NULL, true, 7, NULL);
    desk_ok(&d, 0, 7);
    is_cached("2", "(absent)", true);
    desk_nothing(&d, 5);
}

static int released;
static void release(void *object) {
    assert_ptr_equal(object, &released);
    released++;
}

static void a_rejection_carries_the_hosts_object(void **state) {
    (void)state;
    released = 0;
    start(0, POND_UPDATE, "1", "{\"a\":1}", true, 1, NULL);
    assert_int_equal(pond_check_fail_with(desk_check(0, 1), "mine", &d, &released, release), POND_OK);
    pond_event *event = desk_event(&d, 0, 5000);
    assert_int_equal(pond_event_kind(event), POND_EVENT_ERROR);
    assert_ptr_equal(pond_error_attachment(pond_event_error(event), &d), &released);
    assert_int_equal(released, 0);
    pond_event_free(event);
    assert_int_equal(released, 1);
}

/* Cancelled, or its queue freed, at each step: before the store is written to nothing happens, afterwards all of it does. */
static void who_does_not_wait_any_more(void **state) {
    (void)state;
    pond_request *request;
    gate began, go;
    /* While it is judged. */
    start(0, POND_UPDATE, "1", "{\"a\":1}", true, 1, &request);
    pond_check *check = desk_check(0, 1);
    pond_request_cancel(request);
    assert_int_equal(pond_check_pass(check), POND_OK);
    desk_nothing(&d, 20);
    is_cached("1", heat, false);
    /* Before the event is taken. */
    start(0, POND_UPDATE, "1", "{\"a\":1}", true, 2, &request);
    for (int64_t until = clock_ms() + 5000; s->readies < 2 && clock_ms() < until;) rest_ms(1);
    rest_ms(20); /* it has been offered, to a host that does not look */
    pond_request_cancel(request);
    desk_nothing(&d, 20);
    /* While the store writes. */
    gate_init(&began);
    gate_init(&go);
    s->apply_began = &began;
    s->apply_go = &go;
    start(0, POND_UPDATE, "1", "{\"a\":1}", false, 3, &request);
    drive_until(&began);
    pond_request_cancel(request);
    gate_open(&go);
    for (int64_t until = clock_ms() + 5000; stat("writes") < 1 && clock_ms() < until;) desk_drive(&d, 1);
    desk_nothing(&d, 20);
    is_cached("1", "{\"id\":\"1\",\"title\":\"Heat\",\"year\":1995,\"a\":1}", true);
    gate_destroy(&began);
    gate_destroy(&go);
    /* The queue goes with everything on it. */
    gate_init(&began);
    gate_init(&go);
    start(1, POND_UPDATE, "1", "{\"a\":2}", false, 4, NULL);
    start(1, POND_UPDATE, "1", "{\"b\":2}", true, 5, NULL);
    check = desk_check(1, 5);
    drive_until(&began);
    desk_free_queue(&d, 1);
    assert_int_equal(pond_check_pass(check), POND_OK);
    gate_open(&go);
    for (int64_t until = clock_ms() + 5000; stat("writes") < 2 && clock_ms() < until;) rest_ms(1);
    s->apply_began = s->apply_go = NULL;
    for (int64_t until = clock_ms() + 5000; clock_ms() < until && !strstr(get("1"), "\"a\":2");) rest_ms(1);
    assert_string_equal(get("1"), "{\"id\":\"1\",\"title\":\"Heat\",\"year\":1995,\"a\":2}");
    assert_string_equal(get("1"), stored("1"));
    gate_destroy(&began);
    gate_destroy(&go);
}

static void *update_it(void *arg) {
    *(answer *)arg = change_of(films, POND_UPDATE, "1", "{\"a\":1}");
    return NULL;
}

static void *close_it(void *arg) {
    *(int *)arg = pond_close(p, 5000);
    return NULL;
}

/* Who waits for a change while the pond closes hears what came of it. */
static void a_close_does_not_hide_the_outcome(void **state) {
    (void)state;
    pthread_t updater, closer;
    gate began, go;
    answer a = {0};
    int closed = 1;
    gate_init(&began);
    gate_init(&go);
    s->apply_began = &began;
    s->apply_go = &go;
    assert_int_equal(pthread_create(&updater, NULL, update_it, &a), 0);
    assert_true(gate_wait(&began, 5000));
    assert_int_equal(pthread_create(&closer, NULL, close_it, &closed), 0);
    rest_ms(20);
    gate_open(&go);
    pthread_join(updater, NULL);
    pthread_join(closer, NULL);
    assert_int_equal(a.code, POND_OK);
    assert_string_equal(a.text, "{\"id\":\"1\",\"title\":\"Heat\",\"year\":1995,\"a\":1}");
    assert_int_equal(closed, POND_OK);
    assert_int_equal(change_of(films, POND_DELETE, "1", NULL).code, POND_ECLOSED);
    gate_destroy(&began);
    gate_destroy(&go);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int document_cases(const char *cache) {
    cache_url = cache;
    const struct CMUnitTest tests[] = {
        CASE(the_new_document_is_cached),
        CASE(aside_drops_the_old_one),
        CASE(pages_go_with_every_change),
        CASE(what_is_not_there_and_what_is),
        CASE(bad_input_changes_nothing),
        CASE(ids_are_the_documents_own_or_made),
        CASE(a_checker_judges_the_whole_document),
        CASE(what_was_overtaken_is_computed_and_judged_anew),
        CASE(outcomes_in_doubt_are_not_cached_over),
        CASE(no_update_is_lost),
        CASE(queues_do_the_same),
        CASE(a_rejection_carries_the_hosts_object),
        CASE(who_does_not_wait_any_more),
        CASE(a_close_does_not_hide_the_outcome),
    };
    return cmocka_run_group_tests_name("documents", tests, NULL, NULL);
}
