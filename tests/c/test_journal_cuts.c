/* The journal, cut at every write: whoever accepts, counts, folds, drains and buries dies there, or the power does, and another process goes on with
 * the files. Whatever was acknowledged is in the store in the end, counted once, and none that is newer makes room for what is older.
 *
 * A line of numbers says how often it was not so. MILLPOND_CUTS=n: so many times as much. */
#include "cuts_disk.h"

#include "base/clock.h"
#include "pattern/behind/backlog.h"
#include "pattern/collection.h"
#include "pattern/behind/embedded.h"
#include "pattern/pond.h"
#include "pattern/behind/shards.h"
#include "store/sqlite_journal.h"

enum { KEYS = 7, COUNTERS = 2, LETTER = 6 /* whose changes are buried, and tried again */, OPS = 70, MOST = 400 };

/* Operation i of a key makes it state i: {"n":i}, or no document. Counters are at i after i. */
typedef struct op {
    size_t key;
    int state;
    bool deletes;
} op;

static op ops[MOST];
static size_t nops;
static int states[KEYS];  /* made so far */
static int deleted[KEYS]; /* by which operation; 0: by none */
static bool durable;      /* ack=fsync */

static struct { unsigned cuts, lost, regressed, resurrected, increments_wrong, left_dirty, holes, unopened; } count;

static const char *key_name(size_t k) {
    static const char *const names[KEYS] = {"x", "y", "a", "b", "c", "d", "z"};
    return names[k];
}

/* ---- a process ---- */

static pond *p;
static pond_collection *films;

static bool begins(const char *folder) {
    char address[SHOP_ADDRESS];
    const char *const options[] = {"write", "behind", "ack", durable ? "fsync" : "memory"};
    snprintf(address, sizeof address, "sqlite:%s/shop.db", folder);
    p = pond_made("memory:", "store", address, "worker", "off", "namespace", "cuts", NULL);
    if (pond_collection_new(&films, p, "films", options, 2, NULL) != POND_OK) fail();
    pond_error *err = NULL;
    if (pond_collection_prepare(films, &err) == POND_OK) return true;
    fprintf(stderr, "not opened: %s\n", pond_error_message(err));
    pond_error_free(err);
    return false;
}

static void ends(void) {
    pond_collection_free(films);
    pond_free(p);
}

/* What the worker does, in this thread: until nothing waits. */
static bool drain(unsigned rounds) {
    for (unsigned i = 0; i < rounds; i++) {
        pond_error *err = NULL;
        mp_round how =
            mp_backlog_open(films->behind, &err) == POND_OK ? mp_flush_round(films->behind, &err) : MP_ROUND_FAILED;
        if (how == MP_ROUND_FAILED) fprintf(stderr, "round: %s\n", err ? pond_error_message(err) : "");
        pond_error_free(err);
        if (how == MP_ROUND_EMPTY) return true;
    }
    return false;
}

static int state_in(const char *text) {
    const char *at = text ? strstr(text, "\"n\":") : NULL;
    return at ? atoi(at + 4) : 0;
}

/* 0: there is none. */
static int state_in_store(size_t k) {
    pond_value *value = NULL;
    pond_error *err = NULL;
    if (pond_store_get(p, "films", key_name(k), 1, &value, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
    int state = pond_value_state(value) == POND_VALUE ? state_in(pond_value_data(value, NULL)) : 0;
    pond_value_free(value);
    return state;
}

/* ---- what it does ---- */

static void changes(size_t k) {
    char text[32];
    pond_error *err = NULL;
    op *o = &ops[nops];
    *o = (op){.key = k, .state = ++states[k]};
    o->deletes = k >= COUNTERS && k != LETTER && o->state > 2 && !deleted[k] && dice(3) == 0;
    if (o->deletes) deleted[k] = o->state;
    snprintf(text, sizeof text, "{\"n\":%d}", o->state);
    disk_tell(DISK_MARK, (int)(2 * nops), 0, NULL, 0);
    int rc = k < COUNTERS ? pond_collection_increment(films, key_name(k), 1, "n", 1, 1, &err)
                          : pond_collection_change(films, o->deletes ? POND_DELETE : POND_REPLACE, key_name(k), 1,
                                                   o->deletes ? NULL : text, o->deletes ? 0 : strlen(text), NULL, NULL,
                                                   NULL, &err);
    if (rc != POND_OK) fail_msg("%s", pond_error_message(err));
    disk_tell(DISK_MARK, (int)(2 * nops + 1), 0, NULL, 0);
    nops++;
}

static void read_one(size_t k) { /* of a counter: folds */
    pond_value *value = NULL;
    assert_int_equal(pond_collection_get(films, key_name(k), 1, &value, NULL), POND_OK);
    pond_value_free(value);
}

/* As if the store had refused it. */
static void buries(void) {
    mp_shards *s = calloc(2, sizeof *s);
    s[0].backlog = s[1].backlog = films->behind;
    for (uint8_t i = 0; i < MP_BACKLOG_SHARDS; i++) mp_shards_add(&s[0], MP_TAKE, i)->behind->most = 100;
    assert_int_equal(mp_shards_send(&s[0], NULL), POND_OK);
    for (uint8_t i = 0; i < MP_BACKLOG_SHARDS; i++) {
        mp_behind *taken = &s[0].behind[i];
        for (size_t n = 0; n < taken->count; n++) {
            if (strcmp(taken->entries[n].key, "sz") != 0) continue;
            mp_behind *b = mp_shards_add(&s[1], MP_DEAD, i)->behind;
            b->entries = &taken->entries[n];
            b->count = 1;
            b->error = "why";
            b->error_len = 3;
            assert_int_equal(mp_shards_send(&s[1], NULL), POND_OK);
        }
        mp_behind_clear(taken);
    }
    free(s);
}

/* The newest letter's state, and its id. 0: there is none. */
static int newest_letter(char id[64]) {
    pond_value *list = NULL;
    int state = 0;
    assert_int_equal(pond_collection_dead_list(films, NULL, 0, 1000, &list, NULL), POND_OK);
    for (const char *at = pond_value_data(list, NULL); at && (at = strstr(at, "{\"id\":\"")); at++) {
        int is = state_in(at);
        if (is < state) continue;
        state = is;
        if (id) sscanf(at, "{\"id\":\"%63[^\"]", id);
    }
    pond_value_free(list);
    return state;
}

static void retries(void) {
    char id[64] = "";
    if (newest_letter(id) == states[LETTER])
        pond_collection_dead_act(films, POND_DEAD_RETRY, id, strlen(id), NULL, NULL);
}

static void works(const char *folder) {
    char text[] = "{\"n\":0}";
    assert_true(begins(folder));
    for (size_t k = 0; k < COUNTERS; k++)
        assert_int_equal(
            pond_collection_change(films, POND_REPLACE, key_name(k), 1, text, strlen(text), NULL, NULL, NULL, NULL),
            POND_OK);
    drain(5);
    for (int i = 0; i < OPS && nops < MOST; i++) {
        uint32_t what = dice(12);
        if (what < 7) changes(dice(KEYS));
        else if (what == 7) read_one(dice(KEYS));
        else if (what == 8) drain(1);
        else if (what == 9) buries();
        else if (what == 10) retries();
        else if (dice(3) == 0) {
            mp_journal *j = atomic_load(&p->journal); /* as if much had been written */
            atomic_store(&j->written, INT64_C(1) << 40);
            mp_embedded_tidy(p);
        }
    }
}

/* ---- and what is left of it ---- */

/* State `is` of key k is among those that it may have: what was acknowledged, or begun behind that. */
static void judge(size_t k, int is, int was, const int acked[KEYS], const int begun[KEYS]) {
    if (!is && deleted[k] && begun[k] >= deleted[k]) is = deleted[k];
    if (is < acked[k] || is > begun[k]) {
        if (k < COUNTERS) count.increments_wrong++;
        else if (acked[k] == deleted[k]) count.resurrected++;
        else count.lost++;
    }
    if (is < was) count.regressed++;
}

/* Is there a moment in which all that came before had been accepted, and nothing behind it? What the store had already does not count. */
static void no_holes(const int is[KEYS], const int was[KEYS], size_t begun) {
    int at[KEYS] = {0};
    size_t least = 0, most = begun;
    for (size_t i = 0; i < begun; i++) {
        size_t k = ops[i].key;
        at[k]++;
        int state = is[k] || !deleted[k] ? is[k] : deleted[k];
        if (at[k] == state && is[k] > was[k]) least = least > i + 1 ? least : i + 1;
        if (at[k] == state + 1 && (is[k] || !deleted[k])) most = most < i ? most : i;
    }
    count.holes += least > most;
}

static void look(const disk_image now[DISK_FILES], size_t n, const char *folder, bool all_acked_count) {
    int acked[KEYS] = {0}, begun[KEYS] = {0}, was[KEYS], is[KEYS];
    size_t nbegun = 0;
    for (size_t i = 0; i < n; i++) {
        if (disk.events[i].kind != DISK_MARK) continue;
        const op *o = &ops[disk.events[i].file / 2];
        begun[o->key] = o->state;
        nbegun = (size_t)disk.events[i].file / 2 + 1;
        if (disk.events[i].file % 2 && all_acked_count) acked[o->key] = o->state;
    }
    images_write(now, folder);
    count.cuts++;
    if (!begins(folder)) {
        count.unopened++;
        ends();
        return;
    }
    for (size_t k = 0; k < KEYS; k++) was[k] = state_in_store(k);
    if (!drain(20)) count.left_dirty++;
    int letter = newest_letter(NULL);
    for (size_t k = 0; k < KEYS; k++) {
        is[k] = state_in_store(k);
        if (k == LETTER && letter > is[k]) is[k] = letter;
        judge(k, is[k], was[k], acked, begun);
    }
    no_holes(is, was, nbegun);
    ends();
}

static void forgets(void) {
    disk_forget();
    nops = 0;
    memset(states, 0, sizeof states);
    memset(deleted, 0, sizeof deleted);
    memset(&count, 0, sizeof count);
}

static bool is_a_cut(size_t i) { return disk.events[i].kind != DISK_MARK; }

static void cut_everywhere(bool power, unsigned every) {
    char folder[SHOP_FOLDER], other[SHOP_FOLDER], address[SHOP_ADDRESS];
    disk_image base[DISK_FILES], now[DISK_FILES] = {0};
    forgets();
    shop_make(folder, address);
    shop_make(other, address);
    assert_true(begins(folder)); /* the store's tables are there, and no journal yet */
    ends();
    images_read(base, folder);
    for (int i = 3; i < DISK_FILES; i++) {
        char path[128];
        disk_path(path, folder, i);
        unlink(path);
        free(base[i].bytes);
        base[i] = (disk_image){0};
    }
    disk_begin(folder);
    works(folder);
    disk_end();
    ends();
    for (int i = 0; i < DISK_FILES; i++) image_copy(&now[i], &base[i]);
    for (size_t i = 0, had = 0; i < disk.n; i++) {
        if (!is_a_cut(i) || dice(every)) continue;
        if (power) {
            for (int f = 0; f < DISK_FILES; f++) image_copy(&now[f], &base[f]);
            disk_cut(now, i);
        } else {
            disk_killed(now, had, i);
            had = i;
        }
        look(now, i, other, !power || durable);
    }
    images_free(base);
    images_free(now);
    shop_remove(folder);
    shop_remove(other);
    printf("{\"power\":%d,\"fsync\":%d,\"writes\":%zu,\"cuts\":%u,\"lost\":%u,\"regressed\":%u,\"resurrected\":%u,"
           "\"increments_wrong\":%u,"
           "\"left_dirty\":%u,\"holes\":%u,\"unopened\":%u}\n",
           power, durable, disk.n, count.cuts, count.lost, count.regressed, count.resurrected, count.increments_wrong,
           count.left_dirty, count.holes, count.unopened);
}

static int64_t times(void) {
    const char *given = getenv("MILLPOND_CUTS");
    return given && atoi(given) > 0 ? atoi(given) : 1;
}

static void all_well(bool power) {
    unsigned often = slow_build() ? 12 : 1;
    for (int64_t i = times(); i > 0; i--) {
        cut_everywhere(power, often);
        assert_true(count.cuts > 20);
        assert_int_equal(count.lost + count.regressed + count.resurrected + count.increments_wrong + count.left_dirty +
                             count.holes + count.unopened,
                         0);
    }
}

static void who_dies_loses_nothing(void **state) {
    (void)state;
    durable = false;
    all_well(false);
}

static void a_power_cut_takes_the_last_ones(void **state) {
    (void)state;
    durable = false;
    all_well(true);
}

static void a_power_cut_takes_nothing_that_is_on_the_disk(void **state) {
    (void)state;
    durable = true;
    all_well(true);
}

/* Controls: what this test has to find, it finds. */
static void without_the_wait_for_the_disk_it_would(void **state) {
    (void)state;
    durable = true;
    disk.deaf = true;
    cut_everywhere(true, slow_build() ? 12 : 4);
    disk.deaf = false;
    assert_true(count.lost + count.resurrected + count.increments_wrong > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_dies_loses_nothing),
        cmocka_unit_test(a_power_cut_takes_the_last_ones),
        cmocka_unit_test(a_power_cut_takes_nothing_that_is_on_the_disk),
        cmocka_unit_test(without_the_wait_for_the_disk_it_would),
    };
    watchdog(getenv("MILLPOND_CUTS") ? 3600 : 115);
    disk_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
