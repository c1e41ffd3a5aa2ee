/* Changes of documents, which are the same on every store. Include it behind sqlite_store.h or mongodb_store.h. */
#ifndef CHANGE_CASES_H
#define CHANGE_CASES_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"

typedef struct outcome {
    mp_applied applied;
    int code;            /* of ready, or what apply said with it */
    char document[4000]; /* as ready showed it; "" if it did not */
    char message[400];
    int retriable;
} outcome;

static inline mp_change change_of(mp_change_kind kind, const char *id, const char *text) {
    return (mp_change){.kind = kind,
                       .collection = "films",
                       .id = id,
                       .id_len = strlen(id),
                       .text = text,
                       .len = text != NULL ? strlen(text) : 0};
}

static inline int make_ready(mp_store *s, mp_change *change, outcome *o) {
    pond_error *err = NULL;
    *o = (outcome){.applied = MP_NOT_APPLIED};
    o->code = s->vt->ready(s, change, &err);
    if (o->code != POND_OK) {
        snprintf(o->message, sizeof o->message, "%s", pond_error_message(err));
        o->retriable = pond_error_retriable(err);
        assert_null(change->document);
    } else if (change->document != NULL) {
        snprintf(o->document, sizeof o->document, "%s", pond_value_data(change->document, NULL));
    }
    pond_error_free(err);
    return o->code;
}

static inline void apply_it(mp_store *s, mp_change *change, outcome *o) {
    pond_error *err = NULL;
    o->applied = s->vt->apply(s, change, &err);
    bool wrong = o->applied == MP_NOT_APPLIED || o->applied == MP_IN_DOUBT;
    if (wrong != (err != NULL)) fail_msg("applied %d, error %s", o->applied, pond_error_message(err));
    if (err != NULL) {
        o->code = pond_error_code(err);
        o->retriable = pond_error_retriable(err);
        snprintf(o->message, sizeof o->message, "%s", pond_error_message(err));
    }
    pond_error_free(err);
}

static inline outcome changed(mp_store *s, mp_change_kind kind, const char *id, const char *text) {
    mp_change change = change_of(kind, id, text);
    outcome o;
    if (make_ready(s, &change, &o) == POND_OK &&
        (kind == MP_CHANGE_DELETE || change.document != NULL || kind != MP_CHANGE_UPDATE))
        apply_it(s, &change, &o);
    else if (o.code == POND_OK) o.applied = MP_THERE_IS_NONE;
    s->vt->discard(s, &change);
    assert_null(change.document);
    return o;
}

/* What it shows is what a get gives then. */
static inline void changes(mp_store *s, mp_change_kind kind, const char *id, const char *text) {
    outcome o = changed(s, kind, id, text);
    if (o.applied != MP_APPLIED) fail_msg("%s of %s: %d %s", text, id, o.applied, o.message);
    assert_string_equal(get(s, "films", id), kind == MP_CHANGE_DELETE ? "absent" : o.document);
}

static inline void stays(mp_store *s, mp_change_kind kind, const char *id, const char *text, mp_applied applied) {
    char before[4000];
    snprintf(before, sizeof before, "%.3999s", get(s, "films", id));
    outcome o = changed(s, kind, id, text);
    assert_int_equal(o.code, POND_OK);
    assert_int_equal(o.applied, applied);
    assert_string_equal(get(s, "films", id), before);
}

static void documents_are_changed(void **state) {
    mp_store *s = ((fixture *)*state)->store;
    create(s, "films");
    changes(s, MP_CHANGE_CREATE, "1", "{\"id\":\"1\",\"title\":\"Heat\",\"year\":1995}");
    assert_string_equal(get(s, "films", "1"), "{\"id\":\"1\",\"title\":\"Heat\",\"year\":1995}");
    stays(s, MP_CHANGE_CREATE, "1", "{\"title\":\"Ronin\"}", MP_THERE_IS_ONE);
    changes(s, MP_CHANGE_REPLACE, "1", "{\"title\":\"Heat\",\"cast\":{\"lead\":\"Pacino\",\"also\":\"De Niro\"}}");
    stays(s, MP_CHANGE_REPLACE, "2", "{\"title\":\"Ronin\"}", MP_THERE_IS_NONE);
    changes(s, MP_CHANGE_UPDATE, "1", "{\"rating\":8.5,\"cast\":{\"also\":null,\"more\":[1,null]}}");
    assert_string_equal(
        get(s, "films", "1"),
        "{\"id\":\"1\",\"title\":\"Heat\",\"cast\":{\"lead\":\"Pacino\",\"more\":[1,null]},\"rating\":8.5}");
    changes(s, MP_CHANGE_UPDATE, "1",
            "{\"id\":\"1\",\"cast\":{\"$date\":{\"$numberLong\":\"5\"}},\"x\":{\"y\":{\"z\":null}}}");
    changes(s, MP_CHANGE_UPDATE, "1", "{\"cast\":{\"$oid\":\"0123456789abcdef01234567\"}}");
    assert_string_equal(get(s, "films", "1"),
                        "{\"id\":\"1\",\"title\":\"Heat\",\"cast\":{\"$oid\":\"0123456789abcdef01234567\"},"
                        "\"rating\":8.5,\"x\":{\"y\":{}}}");
    changes(s, MP_CHANGE_UPDATE, "1", "{}");
    stays(s, MP_CHANGE_UPDATE, "2", "{\"rating\":1}", MP_THERE_IS_NONE);
    changes(s, MP_CHANGE_DELETE, "1", NULL);
    stays(s, MP_CHANGE_DELETE, "1", NULL, MP_THERE_IS_NONE);
    changes(s, MP_CHANGE_CREATE, "1", "{\"title\":\"again\"}");
}

static void what_cannot_be_stored_is_refused(void **state) {
    static const char *const wrong[] = {"",
                                        "[]",
                                        "{",
                                        "{\"id\":\"other\"}",
                                        "{\"_mpv\":1}",
                                        "{\"a\":1,\"a\":2}",
                                        "{\"a\":\"\\u0000\"}",
                                        "{\"a\":1e999}",
                                        "\xff"};
    mp_store *s = ((fixture *)*state)->store;
    create(s, "films");
    put(s, "films", "1", "{\"a\":1}");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        for (mp_change_kind kind = MP_CHANGE_CREATE; kind <= MP_CHANGE_UPDATE; kind++) {
            outcome o = changed(s, kind, "1", wrong[i]);
            if (o.code != POND_EVALUE) fail_msg("%s: %d %s", wrong[i], o.code, o.message);
            assert_string_equal(get(s, "films", "1"), "{\"id\":\"1\",\"a\":1}");
        }
}

/* What an update was computed from has gone meanwhile. */
static void an_update_that_was_overtaken_is_not_done(void **state) {
    mp_store *s = ((fixture *)*state)->store;
    outcome o;
    create(s, "films");
    put(s, "films", "1", "{\"a\":1,\"b\":1}");
    mp_change change = change_of(MP_CHANGE_UPDATE, "1", "{\"a\":2}");
    assert_int_equal(make_ready(s, &change, &o), POND_OK);
    assert_string_equal(o.document, "{\"id\":\"1\",\"a\":2,\"b\":1}");
    put(s, "films", "1", "{\"a\":1,\"b\":2}");
    apply_it(s, &change, &o);
    assert_int_equal(o.applied, MP_OVERTAKEN);
    s->vt->discard(s, &change);
    assert_string_equal(get(s, "films", "1"), "{\"id\":\"1\",\"a\":1,\"b\":2}");
    assert_int_equal(make_ready(s, &change, &o), POND_OK);
    apply_it(s, &change, &o);
    assert_int_equal(o.applied, MP_APPLIED);
    s->vt->discard(s, &change);
    assert_string_equal(get(s, "films", "1"), "{\"id\":\"1\",\"a\":2,\"b\":2}");
    assert_int_equal(make_ready(s, &change, &o), POND_OK);
    assert_int_equal(changed(s, MP_CHANGE_DELETE, "1", NULL).applied, MP_APPLIED);
    apply_it(s, &change, &o);
    assert_int_equal(o.applied, MP_OVERTAKEN);
    s->vt->discard(s, &change);
    assert_int_equal(make_ready(s, &change, &o), POND_OK);
    assert_null(change.document);
    s->vt->discard(s, &change);
}

/* The intents would not stand long enough. */
static void nothing_is_written_when_it_is_too_late(void **state) {
    static const mp_change_kind kinds[] = {MP_CHANGE_CREATE, MP_CHANGE_REPLACE, MP_CHANGE_UPDATE, MP_CHANGE_DELETE};
    mp_store *s = ((fixture *)*state)->store;
    _Atomic int64_t until = mp_clock_ms() - 1;
    create(s, "films");
    put(s, "films", "1", "{\"a\":1}");
    for (size_t i = 0; i < 4; i++) {
        outcome o;
        mp_change change = change_of(kinds[i], i == 0 ? "2" : "1", "{\"a\":2}");
        change.until = &until;
        assert_int_equal(make_ready(s, &change, &o), POND_OK);
        apply_it(s, &change, &o);
        assert_int_equal(o.applied, MP_NOT_APPLIED);
        assert_int_equal(o.code, POND_ESTORE);
        assert_int_equal(o.retriable, 1);
        assert_non_null(strstr(o.message, "nothing was written"));
        s->vt->discard(s, &change);
    }
    assert_string_equal(get(s, "films", "1"), "{\"id\":\"1\",\"a\":1}");
    assert_string_equal(get(s, "films", "2"), "absent");
}

typedef struct patcher {
    pthread_t thread;
    mp_store *store;
    int number, times, wrong;
} patcher;

static void *patch_again_and_again(void *arg) {
    patcher *p = arg;
    for (int i = 1; i <= p->times; i++) {
        char text[40];
        snprintf(text, sizeof text, "{\"n%d\":%d}", p->number, i);
        outcome o;
        do o = changed(p->store, MP_CHANGE_UPDATE, "1", text);
        while (o.applied == MP_OVERTAKEN);
        if (o.applied != MP_APPLIED) p->wrong++;
    }
    return NULL;
}

/* Each has a member of its own: none takes back another's. */
static void no_update_is_lost(void **state) {
    enum { PATCHERS = 4, TIMES = 25 };
    mp_store *s = ((fixture *)*state)->store;
    patcher p[PATCHERS];
    create(s, "films");
    put(s, "films", "1", "{\"n0\":0,\"n1\":0,\"n2\":0,\"n3\":0}");
    for (int i = 0; i < PATCHERS; i++) {
        p[i] = (patcher){.store = s, .number = i, .times = TIMES};
        assert_int_equal(pthread_create(&p[i].thread, NULL, patch_again_and_again, &p[i]), 0);
    }
    for (int i = 0; i < PATCHERS; i++) {
        pthread_join(p[i].thread, NULL);
        assert_int_equal(p[i].wrong, 0);
    }
    assert_string_equal(get(s, "films", "1"), "{\"id\":\"1\",\"n0\":25,\"n1\":25,\"n2\":25,\"n3\":25}");
}

#define CHANGE_CASES(T)                                                                                                \
    T(documents_are_changed), T(what_cannot_be_stored_is_refused), T(an_update_that_was_overtaken_is_not_done),        \
        T(nothing_is_written_when_it_is_too_late), T(no_update_is_lost)

#endif
