/* The outbox in MongoDB: an event is there if, and only if, its change is; in order for each document; and one delivers at a time. */
#include "mongodb_store.h"

#include <pthread.h>

static mp_change change_of(mp_change_kind kind, const char *id, const char *text) {
    return (mp_change){
        .kind = kind, .collection = "films", .id = id, .id_len = strlen(id), .text = text, .len = strlen(text)};
}

static const uint8_t anna[16] = "anna, who tells", bert[16] = "bert, who tells";

static mp_store *with_outbox(void **state) {
    mp_store *s = ((fixture *)*state)->store;
    create(s, "films");
    ok(s->vt->outbox_prepare(s, e));
    ok(s->vt->outbox_prepare(s, e));
    return s;
}

/* A change with an event of this text. */
static mp_applied told(mp_store *s, mp_change_kind kind, const char *id, const char *doc, const char *event_id,
                       const char *text) {
    const mp_event_text event = {.id = event_id, .key = "films.changed", .text = text, .len = strlen(text)};
    mp_change change = change_of(kind, id, doc);
    pond_error *err = NULL;
    ok(s->vt->ready(s, &change, e));
    change.event = &event;
    bool none = kind == MP_CHANGE_UPDATE && !change.document;
    mp_applied applied = none ? MP_THERE_IS_NONE : s->vt->apply(s, &change, &err);
    if (err) fail_msg("%s", pond_error_message(err));
    s->vt->discard(s, &change);
    return applied;
}

/* What is in the outbox, as its owner has it: the texts, with a space behind each; NULL: it is somebody else's. */
static const char *taken(mp_store *s, const uint8_t *owner, int64_t hold_ms, mp_outbox *box) {
    static char texts[4096];
    size_t n = 0;
    memset(box, 0, sizeof *box);
    ok(s->vt->outbox_take(s, owner, hold_ms, box, e));
    texts[0] = 0;
    for (size_t i = 0; i < box->n; i++) n += (size_t)snprintf(texts + n, sizeof texts - n, "%s ", box->rows[i].text);
    return box->n || box->mine ? texts : NULL;
}

static void an_event_comes_with_its_change(void **state) {
    mp_store *s = with_outbox(state);
    mp_outbox box;
    assert_null(taken(s, anna, 1000, &box)); /* there is nothing to claim it for */
    assert_int_equal(told(s, MP_CHANGE_CREATE, "1", "{\"a\":1}", "e1", "created"), MP_APPLIED);
    assert_int_equal(told(s, MP_CHANGE_CREATE, "1", "{\"a\":2}", "e2", "never"), MP_THERE_IS_ONE);
    assert_int_equal(told(s, MP_CHANGE_UPDATE, "1", "{\"b\":1}", "e3", "updated"), MP_APPLIED);
    assert_int_equal(told(s, MP_CHANGE_REPLACE, "2", "{}", "e4", "never"), MP_THERE_IS_NONE);
    assert_int_equal(told(s, MP_CHANGE_UPDATE, "2", "{}", "e5", "never"), MP_THERE_IS_NONE);
    assert_int_equal(told(s, MP_CHANGE_DELETE, "2", "", "e6", "never"), MP_THERE_IS_NONE);
    assert_int_equal(told(s, MP_CHANGE_REPLACE, "1", "{\"c\":1}", "e7", "replaced"), MP_APPLIED);
    assert_int_equal(told(s, MP_CHANGE_DELETE, "1", "", "e8", "deleted"), MP_APPLIED);
    assert_string_equal(get(s, "films", "1"), "absent");
    assert_string_equal(taken(s, anna, 1000, &box), "created updated replaced deleted ");
    assert_string_equal(box.rows[0].id, "e1");
    assert_string_equal(box.rows[0].key, "films.changed");
    ok(s->vt->outbox_drop(s, anna, &box, 2, e));
    mp_outbox_clear(&box);
    assert_string_equal(taken(s, anna, 1000, &box), "replaced deleted ");
    ok(s->vt->outbox_drop(s, anna, &box, 2, e));
    mp_outbox_clear(&box);
    assert_null(taken(s, anna, 1000, &box));
}

static void one_delivers_at_a_time(void **state) {
    mp_store *s = with_outbox(state);
    mp_outbox box;
    told(s, MP_CHANGE_CREATE, "1", "{}", "e1", "one");
    assert_string_equal(taken(s, anna, 20000, &box), "one ");
    mp_outbox_clear(&box);
    assert_null(taken(s, bert, 20000, &box));
    assert_string_equal(taken(s, anna, 20000, &box), "one "); /* it is hers, again */
    ok(s->vt->outbox_drop(s, anna, NULL, 0, e));              /* and now nobody's */
    mp_outbox_clear(&box);
    assert_string_equal(taken(s, bert, 300, &box), "one ");
    mp_outbox_clear(&box);
    assert_null(taken(s, anna, 300, &box));
    usleep(400000); /* he says nothing any more */
    assert_string_equal(taken(s, anna, 20000, &box), "one ");
    ok(s->vt->outbox_drop(s, anna, &box, 1, e)); /* it is empty: others may go on */
    mp_outbox_clear(&box);
    told(s, MP_CHANGE_DELETE, "1", "", "e2", "two");
    assert_string_equal(taken(s, bert, 300, &box), "two ");
    mp_outbox_clear(&box);
}

/* ---- many writers of one document ---- */

enum { WRITERS = 4, WRITES = 20 };

typedef struct writer {
    pthread_t thread;
    mp_store *store;
    int number;
} writer;

static int writes_in(const char *document) {
    int n = 0;
    for (const char *at = document; (at = strstr(at, "\"k")); at++) n++;
    return n;
}

/* Each write adds a member of its own, so their number says which write it is. The event names it, and is made before it is sure: of who was
 * overtaken the document would have one member more. */
static void *write_on(void *arg) {
    writer *w = arg;
    for (int i = 0; i < WRITES;) {
        char doc[40], id[16], text[16];
        pond_value *now = NULL;
        if (w->store->vt->get(w->store, "films", "1", 1, &now, NULL) != POND_OK) return "get";
        int n = writes_in(pond_value_data(now, NULL)) + 1;
        pond_value_free(now);
        snprintf(id, sizeof id, "%d-%d", w->number, i);
        snprintf(doc, sizeof doc, "{\"k%s\":1}", id);
        snprintf(text, sizeof text, "%d", n);
        mp_change change = change_of(MP_CHANGE_UPDATE, "1", doc);
        const mp_event_text event = {.id = id, .key = "k", .text = text, .len = strlen(text)};
        if (w->store->vt->ready(w->store, &change, NULL) != POND_OK) return "ready";
        change.event = &event;
        bool still = writes_in(pond_value_data(change.document, NULL)) == n;
        mp_applied applied = still ? w->store->vt->apply(w->store, &change, NULL) : MP_OVERTAKEN;
        w->store->vt->discard(w->store, &change);
        if (applied == MP_APPLIED) i++;
        else if (applied != MP_OVERTAKEN) return "apply";
    }
    return NULL;
}

static void events_of_a_document_are_in_order(void **state) {
    mp_store *s = with_outbox(state);
    mp_outbox box;
    writer w[WRITERS];
    void *wrong[WRITERS];
    put(s, "films", "1", "{}");
    for (int i = 0; i < WRITERS; i++) {
        w[i] = (writer){.store = s, .number = i};
        assert_int_equal(pthread_create(&w[i].thread, NULL, write_on, &w[i]), 0);
    }
    int last = 0, seen = 0;
    bool over = false;
    for (int64_t until = mp_clock_ms() + 60000; !over; usleep(2000)) { /* delivered meanwhile */
        memset(&box, 0, sizeof box);
        ok(s->vt->outbox_take(s, anna, 20000, &box, e));
        for (size_t i = 0; i < box.n; i++, seen++) {
            assert_true(atoi(box.rows[i].text) >=
                        last); /* an update that was overtaken between get and ready repeats a number */
            last = atoi(box.rows[i].text);
        }
        if (box.n) ok(s->vt->outbox_drop(s, anna, &box, box.n, e));
        mp_outbox_clear(&box);
        over = seen == WRITERS * WRITES;
        assert_true(mp_clock_ms() < until);
    }
    for (int i = 0; i < WRITERS; i++) pthread_join(w[i].thread, &wrong[i]);
    for (int i = 0; i < WRITERS; i++)
        if (wrong[i]) fail_msg("%s", (const char *)wrong[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {in_a_database(an_event_comes_with_its_change),
                                       in_a_database(one_delivers_at_a_time),
                                       in_a_database(events_of_a_document_are_in_order)};
    return cmocka_run_group_tests_name("mongodb_outbox", tests, NULL, NULL);
}
