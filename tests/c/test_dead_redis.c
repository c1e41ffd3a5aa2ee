/* Dead letters of a collection, by the public functions: lists, retries that never take the place of what is newer, and what is dropped. */
#include "support/support.h"

#include <sqlite3.h>
#include <unistd.h>

#include "base/clock.h"
#include "model/key.h"
#include "pattern/behind/backlog.h"
#include "support/redis.h"

static char folder[SHOP_FOLDER], address[SHOP_ADDRESS], ns[64], room[256];
static redisContext *redis;
static pond *off, *on;
static pond_collection *films, *worked; /* of these */
static sqlite3 *db;

static pond_collection *behind(pond *p, const char *backlog_max) {
    const char *const options[] = {"write", "behind", "backlog_max", backlog_max, "backlog_full", "fail"};
    return films_made(p, options, 3);
}

static pond *made(const char *worker) {
    return pond_made(redis_url(), "store", address, "namespace", ns, "worker", worker, "command_timeout", "5s", NULL);
}

static int set_up(void **state) {
    (void)state;
    shop_make(folder, address);
    snprintf(ns, sizeof ns, "%s", fresh("dead"));
    redis = redis_open(redis_url());
    off = made("off");
    films = behind(off, "1000000");
    on = NULL;
    assert_int_equal(sqlite3_open(address + strlen("sqlite:"), &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    return 0;
}

static void rest(void) {
    pond_collection_free(worked);
    pond_free(on);
    worked = NULL;
    on = NULL;
}

static int tear_down(void **state) {
    (void)state;
    rest();
    pond_collection_free(films);
    pond_free(off);
    sqlite3_close(db);
    redisFree(redis);
    return shop_remove(folder);
}

/* A worker, from now on. */
static void work(void) {
    on = made("on");
    worked = behind(on, "1000000");
}

static void sql(const char *statement) { assert_int_equal(sqlite3_exec(db, statement, NULL, NULL, NULL), SQLITE_OK); }

static long long number(const char *query) {
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_prepare_v2(db, query, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    long long n = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return n;
}

static void changes(pond_change_kind kind, const char *id, const char *doc) {
    pond_error *err = NULL;
    if (pond_collection_change(films, kind, id, strlen(id), doc, doc ? strlen(doc) : 0, NULL, NULL, NULL, &err) !=
        POND_OK)
        fail_msg("%s", pond_error_message(err));
}

static void flushes(void) {
    pond_error *err = NULL;
    if (pond_collection_flush(films, 20000, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
}

static void stored(const char *id, const char *text) {
    pond_value *value = NULL;
    assert_int_equal(pond_store_get(off, "films", id, strlen(id), &value, NULL), POND_OK);
    if (text) assert_string_equal(pond_value_data(value, NULL), text);
    else assert_int_equal(pond_value_state(value), POND_ABSENT);
    pond_value_free(value);
}

/* ---- letters ---- */

static int shard_of(const char *id) {
    char name[MP_NAME_MAX + 1], key[64];
    mp_key made_of;
    snprintf(key, sizeof key, "s%s", id);
    mp_key_make_behind(&made_of, name, "x", 1, key, strlen(key), MP_BACKLOG_SHARDS);
    return made_of.shard;
}

/* What a worker does after three tries: what was just accepted is a letter. Its id, which stands in `letter`. */
static const char *put_aside(const char *id, const char *at, char letter[48]) {
    int shard = shard_of(id);
    redisReply *r = redis_do(redis, "GET mp:b:{%s/films:%d}s%s", ns, shard, id);
    if (r->type == REDIS_REPLY_NIL) /* increments wait to be added to it */
        r = redis_do(redis, "HGET mp:d:{%s/films:%d} s%s", ns, shard, id);
    assert_int_equal(r->type, REDIS_REPLY_STRING);
    char record[512];
    size_t len = r->len;
    assert_true(len < sizeof record);
    memcpy(record, r->str, len);
    r = redis_do(redis, "XADD mp:x:{%s/films:%d} %s k s%s r %b e %s", ns, shard, at, id, record, len, "because");
    snprintf(letter, 48, "%s-%d", r->str, shard);
    redis_do(redis, "HDEL mp:d:{%s/films:%d} s%s", ns, shard, id);
    redis_do(redis, "DEL mp:b:{%s/films:%d}s%s mp:q:{%s/films:%d}", ns, shard, id, ns, shard);
    return letter;
}

static long long waiting(const char *id) { return redis_number(redis, "LLEN mp:q:{%s/films:%d}", ns, shard_of(id)); }

static int act(pond_dead_act what, const char *letter, const char *says) {
    pond_error *err = NULL;
    int code = pond_collection_dead_act(films, what, letter, strlen(letter), NULL, &err);
    if (says && (code == POND_OK || !strstr(pond_error_message(err), says)))
        fail_msg("%s: \"%s\" is not in \"%s\"", pond_code_name(code), says, code ? pond_error_message(err) : "");
    pond_error_free(err);
    return code;
}

/* Stands until the next call. */
static const char *list(const char *after, int64_t most) {
    static char text[16384];
    pond_value *value = NULL;
    pond_error *err = NULL;
    if (pond_collection_dead_list(films, after, after ? strlen(after) : 0, most, &value, &err) != POND_OK)
        fail_msg("%s", pond_error_message(err));
    snprintf(text, sizeof text, "%s", pond_value_data(value, NULL));
    pond_value_free(value);
    return text;
}

static const char *show(const char *letter) {
    static char text[1024];
    pond_value *value = NULL;
    pond_error *err = NULL;
    if (pond_collection_dead_act(films, POND_DEAD_SHOW, letter, strlen(letter), &value, &err) != POND_OK)
        fail_msg("%s", pond_error_message(err));
    snprintf(text, sizeof text, "%s", pond_value_data(value, NULL));
    pond_value_free(value);
    return text;
}

static int letters_in(const char *text) {
    int n = 0;
    for (; (text = strstr(text, "\"document_id\":")); n++) text++;
    return n;
}

static bool has(const char *text, const char *part) { return strstr(text, part) != NULL; }

/* ---- */

static void they_are_listed_oldest_first(void **state) {
    (void)state;
    enum { LETTERS = 40, AT_ONCE = 7 };
    char letter[LETTERS][48], id[16], next[64] = "", part[128];
    assert_string_equal(list(NULL, 10), "{\"letters\":[],\"total\":0,\"next\":null}");
    for (int i = 0; i < LETTERS; i++) {
        snprintf(id, sizeof id, "%d", i);
        changes(POND_REPLACE, id, "{}");
        /* Some in one millisecond, where the shards' numbers are what is left to go by. */
        snprintf(part, sizeof part, "17900000000%02d-%d", i / 8, i);
        put_aside(id, part, letter[i]);
    }
    for (int seen = 0; seen < LETTERS; seen += AT_ONCE) {
        const char *text = list(next, AT_ONCE), *at = text;
        int here = LETTERS - seen < AT_ONCE ? LETTERS - seen : AT_ONCE;
        assert_int_equal(letters_in(text), here);
        assert_true(has(text, "],\"total\":40,\"next\":"));
        for (int i = seen; i < seen + here; i++) {
            snprintf(part, sizeof part, "{\"id\":\"%.47s\",\"document_id\":\"%d\",\"version\":", letter[i], i);
            if (!(at = strstr(at, part))) fail_msg("%s is not in its place", letter[i]);
        }
        if (seen + here == LETTERS) assert_true(has(text, "\"next\":null}"));
        else assert_int_equal(sscanf(strstr(text, "\"next\""), "\"next\":\"%63[-0-9]\"}", next), 1);
    }
    /* Begun at any of them, which need not be there any more. */
    for (int i = 0; i < LETTERS; i += 3) {
        assert_int_equal(act(POND_DEAD_DROP, letter[i], NULL), POND_OK);
        const char *text = list(letter[i], 1);
        if (i + 1 == LETTERS) assert_int_equal(letters_in(text), 0);
        else assert_true(has(text, letter[i + 1]));
    }
    assert_true(has(list(NULL, 1000), "],\"total\":26,\"next\":null}"));
}

/* Of what is large a list has few; each shard gives one at least, so nothing is stuck. */
static void large_ones_are_listed_a_few_at_a_time(void **state) {
    (void)state;
    enum { LETTERS = 24, SIZE = 300000 };
    static char doc[SIZE + 32];
    char id[16], at[32], next[64] = "";
    int seen = 0, lists = 0;
    char *record;
    changes(POND_REPLACE, "0", "{}");
    int len = snprintf(doc, sizeof doc, "{\"id\":\"0\",\"t\":\"");
    memset(doc + len, 'x', SIZE);
    strcpy(doc + len + SIZE, "\"}");
    changes(POND_REPLACE, "0", doc);
    redisReply *r = redis_do(redis, "GET mp:b:{%s/films:%d}s0", ns, shard_of("0"));
    size_t size = r->len;
    assert_non_null(record = malloc(size));
    memcpy(record, r->str, size);
    for (int i = 0; i < LETTERS; i++) {
        snprintf(at, sizeof at, "179000000000%d-0", i % 10);
        snprintf(id, sizeof id, "s%d", i);
        redis_do(redis, "XADD mp:x:{%s/films:%d} %s k %s r %b e no", ns, i % 2, i < 2 ? "1790000000000-0" : "*", id,
                 record, size);
    }
    free(record);
    do {
        pond_value *value = NULL;
        size_t n;
        assert_int_equal(pond_collection_dead_list(films, next, strlen(next), 1000, &value, NULL), POND_OK);
        const char *text = pond_value_data(value, &n);
        assert_true(n < 5 * 1024 * 1024);
        int here = letters_in(text);
        assert_true(here > 0);
        seen += here;
        lists++;
        assert_true(has(text, "\"total\":24,"));
        next[0] = 0;
        sscanf(strstr(text, "\"next\":"), "\"next\":\"%63[-0-9]", next);
        pond_value_free(value);
    } while (next[0]);
    assert_int_equal(seen, LETTERS);
    assert_true(lists > 4);
}

/* As many as a list may have, all of one shard. */
static void the_longest_list(void **state) {
    (void)state;
    pond_value *value = NULL;
    pond_error *err = NULL;
    for (int i = 0; i < 1001; i++) redis_do(redis, "XADD mp:x:{%s/films:2} * k s%d r %s e no", ns, i, "");
    if (pond_collection_dead_list(films, NULL, 0, 1000, &value, &err) != POND_OK)
        fail_msg("%s", pond_error_message(err));
    const char *text = pond_value_data(value, NULL);
    assert_int_equal(letters_in(text), 1000);
    assert_true(has(text, "\"total\":1001,"));
    pond_value_free(value);
}

static void one_is_shown_and_dropped(void **state) {
    (void)state;
    char letter[48], other[48], expected[256];
    changes(POND_REPLACE, "1", "{\"n\":\"\\u00e9\"}");
    put_aside("1", "1790000000000-5", letter);
    changes(POND_DELETE, "1", NULL);
    put_aside("1", "1790000000001-0", other);
    snprintf(expected, sizeof expected, "{\"id\":\"%s\",\"document_id\":\"1\",\"version\":", letter);
    assert_memory_equal(show(letter), expected, strlen(expected));
    assert_true(
        has(show(letter), ",\"at_ms\":1790000000000,\"error\":\"because\",\"state\":\"document\",\"document\":{"));
    assert_true(has(show(other), ",\"state\":\"deleted\",\"document\":null}"));
    assert_int_equal(act(POND_DEAD_DROP, letter, NULL), POND_OK);
    for (pond_dead_act what = POND_DEAD_RETRY; what <= POND_DEAD_DROP; what++)
        assert_int_equal(act(what, letter, letter), POND_EABSENT);
    pond_value *value = NULL;
    assert_int_equal(pond_collection_dead_act(films, POND_DEAD_SHOW, letter, strlen(letter), &value, NULL),
                     POND_EABSENT);
    assert_null(value);
    assert_int_equal(act(POND_DEAD_DROP, other, NULL), POND_OK);
    assert_true(has(list(NULL, 1), "\"total\":0"));
}

static void bad_calls_are_told(void **state) {
    (void)state;
    static const char *const none[] = {"",
                                       "1",
                                       "1-2",
                                       "1-2-",
                                       "1-2-16",
                                       "1-2-3-4",
                                       "-2-3",
                                       "1--3",
                                       "01-2-3",
                                       "1-2-03",
                                       "99999999999999-0-0",
                                       "1-1000000000-0",
                                       "1-2-3 ",
                                       "a-b-c",
                                       "*",
                                       "1-2--3"};
    pond_value *value = NULL;
    pond_error *err = NULL;
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        if (act(POND_DEAD_DROP, none[i], "is not the id of a dead letter") != POND_EKEY) fail_msg("%s", none[i]);
    assert_int_equal(pond_collection_dead_list(films, "x", 1, 1, &value, &err), POND_EKEY);
    assert_true(has(pond_error_message(err), "films: \"x\""));
    pond_error_free(err);
    assert_int_equal(pond_collection_dead_list(films, NULL, 0, 0, &value, NULL), POND_EMISUSE);
    assert_int_equal(pond_collection_dead_list(films, NULL, 0, 1001, &value, NULL), POND_EMISUSE);
    assert_int_equal(pond_collection_dead_list(NULL, NULL, 0, 1, &value, NULL), POND_EMISUSE);
    assert_int_equal(pond_collection_dead_list(films, NULL, 0, 1, NULL, NULL), POND_EMISUSE);
    assert_int_equal(pond_collection_dead_act(films, POND_DEAD_SHOW, "1-2-3", 5, NULL, NULL), POND_EMISUSE);
    assert_int_equal(pond_collection_dead_act(films, 0, "1-2-3", 5, &value, NULL), POND_EMISUSE);
    assert_int_equal(pond_collection_dead_act(films, 4, "1-2-3", 5, &value, NULL), POND_EMISUSE);
    assert_int_equal(pond_collection_dead_act(films, POND_DEAD_DROP, NULL, 5, &value, NULL), POND_EKEY);
    pond_collection *through = NULL;
    assert_int_equal(pond_collection_new(&through, off, "books", NULL, 0, NULL), POND_OK);
    assert_int_equal(pond_collection_dead_list(through, NULL, 0, 1, &value, &err), POND_EMISUSE);
    assert_true(has(pond_error_message(err), "books is not written behind"));
    pond_error_free(err);
    pond_collection_free(through);
    assert_null(value);
}

static void a_retry_gets_to_the_store(void **state) {
    (void)state;
    char letter[48];
    changes(POND_REPLACE, "1", "{\"n\":1}");
    put_aside("1", "*", letter);
    films_read(films, "1", NULL);
    assert_int_equal(act(POND_DEAD_RETRY, letter, NULL), POND_OK);
    films_read(films, "1", "{\"id\":\"1\",\"n\":1}"); /* it is accepted */
    stored("1", NULL);
    assert_true(has(list(NULL, 1), "\"total\":0"));
    assert_int_equal(act(POND_DEAD_RETRY, letter, letter), POND_EABSENT);
    work();
    flushes();
    stored("1", "{\"id\":\"1\",\"n\":1}");
    films_read(films, "1", "{\"id\":\"1\",\"n\":1}");
    changes(POND_UPDATE, "1", "{\"m\":2}");
    flushes();
    stored("1", "{\"id\":\"1\",\"n\":1,\"m\":2}");
}

static void increments(const char *id, int64_t by) {
    pond_error *err = NULL;
    if (pond_collection_increment(films, id, strlen(id), "n", 1, by, &err) != POND_OK)
        fail_msg("%s", pond_error_message(err));
}

/* Increments are added to what was retried, and to what the store has if that is newer: each once. */
static void increments_of_what_was_retried(void **state) {
    (void)state;
    char letter[48];
    changes(POND_REPLACE, "1", "{\"n\":1}");
    put_aside("1", "*", letter);
    assert_int_equal(act(POND_DEAD_RETRY, letter, NULL), POND_OK);
    increments("1", 10);
    increments("1", 100);
    films_read(films, "1", "{\"id\":\"1\",\"n\":111}");
    increments("1", 1000);
    work();
    flushes();
    stored("1", "{\"id\":\"1\",\"n\":1111}");
    films_read(films, "1", "{\"id\":\"1\",\"n\":1111}");
    rest();

    /* Made before it was put aside, after the worker had looked: they went with it. */
    changes(POND_REPLACE, "1", "{\"n\":2}");
    increments("1", 20);
    increments("1", 200);
    int shard = shard_of("1");
    redisReply *r = redis_do(redis, "HGETALL mp:i:{%s/films:%d}s1", ns, shard);
    assert_int_equal(r->elements, 4);
    char sums[4][64];
    size_t lens[4];
    for (size_t i = 0; i < 4; i++) memcpy(sums[i], r->element[i]->str, lens[i] = r->element[i]->len);
    put_aside("1", "*", letter);
    char stream[48];
    memcpy(stream, letter, sizeof stream);
    *strrchr(stream, '-') = 0;
    r = redis_do(redis, "XRANGE mp:x:{%s/films:%d} %s %s", ns, shard, stream, stream);
    char record[512];
    size_t len = r->element[0]->element[1]->element[3]->len;
    memcpy(record, r->element[0]->element[1]->element[3]->str, len);
    redis_do(redis, "DEL mp:x:{%s/films:%d} mp:i:{%s/films:%d}s1", ns, shard, ns, shard);
    r = redis_do(redis, "XADD mp:x:{%s/films:%d} * k s1 r %b e no d%b %b d%b %b", ns, shard, record, len, sums[0],
                 lens[0], sums[1], lens[1], sums[2], lens[2], sums[3], lens[3]);
    snprintf(letter, sizeof letter, "%s-%d", r->str, shard);
    films_read(films, "1", "{\"id\":\"1\",\"n\":1111}");
    assert_int_equal(act(POND_DEAD_RETRY, letter, NULL), POND_OK);
    increments("1", 2000);
    films_read(films, "1", "{\"id\":\"1\",\"n\":2222}");
    work();
    flushes();
    stored("1", "{\"id\":\"1\",\"n\":2222}");
    films_read(films, "1", "{\"id\":\"1\",\"n\":2222}");
    assert_int_equal(waiting("1"), 0);
}

/* A deletion that the store would not have. */
static void a_deletion_is_retried(void **state) {
    (void)state;
    char letter[48];
    work();
    changes(POND_REPLACE, "1", "{\"n\":1}");
    flushes();
    rest();
    changes(POND_DELETE, "1", NULL);
    put_aside("1", "*", letter);
    films_read(films, "1", "{\"id\":\"1\",\"n\":1}");
    assert_int_equal(act(POND_DEAD_RETRY, letter, NULL), POND_OK);
    films_read(films, "1", NULL);
    work();
    flushes();
    stored("1", NULL);
}

static void a_retry_never_replaces_what_is_newer(void **state) {
    (void)state;
    char letter[48];
    changes(POND_REPLACE, "1", "{\"n\":1}");
    put_aside("1", "*", letter);
    changes(POND_REPLACE, "1", "{\"n\":2}");
    assert_int_equal(act(POND_DEAD_RETRY, letter, "was accepted since"), POND_EDUPLICATE);
    work();
    flushes();
    assert_int_equal(act(POND_DEAD_RETRY, letter, "is in the store"), POND_EDUPLICATE);
    changes(POND_DELETE, "1", NULL);
    flushes();
    assert_int_equal(act(POND_DEAD_RETRY, letter, "it was deleted since"), POND_EDUPLICATE);
    redis_do(redis, "DEL mp:b:{%s/films:%d}s1", ns, shard_of("1")); /* nor when Redis knows nothing of it */
    assert_int_equal(act(POND_DEAD_RETRY, letter, "it was deleted since"), POND_EDUPLICATE);
    assert_true(has(list(NULL, 1), "\"total\":1"));
    stored("1", NULL);
}

/* What comes between the look at the store and the script: the store's versions decide. The script alone, as if that look had been before. */
static void the_store_has_the_last_word(void **state) {
    (void)state;
    char letter[2][48], stream[64];
    for (int deleted = 0; deleted < 2; deleted++) {
        const char *id = deleted ? "gone" : "new";
        int shard = shard_of(id);
        changes(POND_REPLACE, id, "{\"n\":1}");
        put_aside(id, "*", letter[deleted]);
        memcpy(stream, letter[deleted], sizeof letter[deleted]);
        *strrchr(stream, '-') = 0;
        changes(deleted ? POND_DELETE : POND_REPLACE, id, deleted ? NULL : "{\"n\":2}");
        work();
        flushes();
        rest();
        redisReply *r = redis_do(redis, "XRANGE mp:x:{%s/films:%d} %s %s", ns, shard, stream, stream);
        redisReply *fields = r->element[0]->element[1];
        char record[512];
        size_t len = fields->element[3]->len;
        memcpy(record, fields->element[3]->str, len);
        memset(record + 16, 0, 8);
        redis_do(redis, "SET mp:b:{%s/films:%d}s%s %b", ns, shard, id, record, len);
        redis_do(redis, "RPUSH mp:q:{%s/films:%d} s%s", ns, shard, id);
        films_read(films, id, deleted ? NULL : "{\"id\":\"new\",\"n\":2}");
        work();
        flushes();
        rest();
        stored(id, deleted ? NULL : "{\"id\":\"new\",\"n\":2}");
        films_read(films, id, deleted ? NULL : "{\"id\":\"new\",\"n\":2}");
        assert_int_equal(waiting(id), 0);
    }
}

/* After seven days the store has forgotten what was deleted. */
static void an_old_one_is_not_retried_blindly(void **state) {
    (void)state;
    char letter[48], other[48];
    changes(POND_REPLACE, "1", "{\"n\":1}");
    put_aside("1", "1000000000000-0", letter);
    assert_int_equal(act(POND_DEAD_RETRY, letter, "more than seven days ago"), POND_EDUPLICATE);
    assert_true(has(show(letter), "\"document\":{\"id\":\"1\",\"n\":1}}"));
    /* Where the store has an older one of it, it was not. */
    work();
    changes(POND_REPLACE, "2", "{\"n\":1}");
    flushes();
    rest();
    changes(POND_REPLACE, "2", "{\"n\":2}");
    put_aside("2", "1000000000001-0", other);
    assert_int_equal(act(POND_DEAD_RETRY, other, NULL), POND_OK);
    work();
    flushes();
    stored("2", "{\"id\":\"2\",\"n\":2}");
}

/* The store's document cannot be read for a while: what waits to be added to it is put aside, can be seen, and counts once when it is retried. */
static void increments_alone(void **state) {
    (void)state;
    char letter[48];
    changes(POND_REPLACE, "1", "{\"n\":1}");
    work();
    flushes();
    redis_do(redis, "DEL mp:b:{%s/films:%d}s1", ns, shard_of("1")); /* it is the store's */
    sql("CREATE TABLE kept AS SELECT * FROM films");
    sql("PRAGMA ignore_check_constraints = 1");
    sql("UPDATE films SET doc = 'x'");
    assert_int_equal(pond_collection_increment(films, "1", 1, "n", 1, 3, NULL), POND_OK);
    assert_int_equal(pond_collection_increment(films, "1", 1, "m", 1, -2, NULL), POND_OK);
    flushes();
    const char *text = list(NULL, 10);
    assert_true(has(text, "\"increments\":{\"") && has(text, "\"state\":\"increments\",\"document\":null"));
    assert_true(has(text, "\"n\":3") && has(text, "\"m\":-2") && has(text, "\"total\":1"));
    assert_int_equal(sscanf(strstr(text, "\"id\":\"") + 6, "%40[0-9-]", letter), 1);
    assert_int_equal(act(POND_DEAD_RETRY, letter, NULL), POND_ESTORE); /* it cannot be read yet */
    sql("UPDATE films SET doc = (SELECT doc FROM kept)");
    assert_int_equal(act(POND_DEAD_RETRY, letter, NULL), POND_OK);
    assert_int_equal(act(POND_DEAD_RETRY, letter, "there is no dead letter"), POND_EABSENT);
    films_read(films, "1", "{\"id\":\"1\",\"n\":4,\"m\":-2}");
    flushes();
    stored("1", "{\"id\":\"1\",\"n\":4,\"m\":-2}");
    assert_int_equal(waiting("1"), 0);
}

/* As it is put aside. `version`: of the newest. */
static void put_increments_aside(const char *id, const char version[8], char letter[48]) {
    int shard = shard_of(id);
    redisReply *r = redis_do(redis, "XADD mp:x:{%s/films:%d} * k s%s r %b e why d %b%b dn 5", ns, shard, id, "",
                             (size_t)0, version, (size_t)8, version, (size_t)8);
    snprintf(letter, 48, "%s-%d", r->str, shard);
}

static void increments_do_not_overtake(void **state) {
    (void)state;
    char old[8] = {0, 0, 0, 0, 0, 1, 0, 0}, letter[48], others[48];
    put_increments_aside("1", old, letter);
    assert_int_equal(act(POND_DEAD_RETRY, letter, "nothing to be added to"), POND_EDUPLICATE);
    changes(POND_REPLACE, "1", "{\"n\":1}");
    work();
    flushes();
    rest(); /* nobody else wants the letters */
    assert_int_equal(act(POND_DEAD_RETRY, letter, "newer change"), POND_EDUPLICATE);
    /* Others have come since, which wait. */
    old[5] = 100;
    put_increments_aside("1", old, others);
    assert_int_equal(pond_collection_increment(films, "1", 1, "n", 1, 1, NULL), POND_OK);
    assert_int_equal(act(POND_DEAD_RETRY, others, "newer change of it was accepted"), POND_EDUPLICATE);
    work();
    flushes();
    stored("1", "{\"id\":\"1\",\"n\":2}");
    assert_int_equal(act(POND_DEAD_DROP, letter, NULL), POND_OK);
    assert_int_equal(act(POND_DEAD_DROP, others, NULL), POND_OK);
}

static void what_is_damaged_can_only_be_dropped(void **state) {
    (void)state;
    static const char *const records[] = {"", "MPx"};
    for (int i = 0; i < 2; i++) {
        redisReply *r = redis_do(redis, "XADD mp:x:{%s/films:3} * k s%d r %s e why", ns, i, records[i]);
        char letter[48];
        snprintf(letter, sizeof letter, "%s-3", r->str);
        assert_true(has(show(letter), "\"error\":\"why\",\"state\":\"damaged\",\"document\":null}"));
        assert_int_equal(act(POND_DEAD_RETRY, letter, "no document that can be read"), POND_EVALUE);
        assert_int_equal(act(POND_DEAD_DROP, letter, NULL), POND_OK);
    }
    redisReply *r = redis_do(redis, "XADD mp:x:{%s/films:3} * what this", ns); /* a stranger's */
    char letter[48];
    snprintf(letter, sizeof letter, "%s-3", r->str);
    assert_true(has(list(NULL, 10), letter));
    assert_int_equal(act(POND_DEAD_RETRY, letter, "no document that can be read"), POND_EVALUE);
    assert_int_equal(act(POND_DEAD_DROP, letter, NULL), POND_OK);
}

static void a_full_backlog_takes_none_back(void **state) {
    (void)state;
    enum { OF_A_SHARD = 16 / MP_BACKLOG_SHARDS }; /* of backlog_max */
    char letter[48], id[16];
    changes(POND_REPLACE, "0", "{}");
    put_aside("0", "*", letter);
    for (int other = 1, n = 0; n < OF_A_SHARD; other++) {
        snprintf(id, sizeof id, "%d", other);
        if (shard_of(id) != shard_of("0")) continue;
        changes(POND_REPLACE, id, "{}");
        n++;
    }
    pond_collection_free(films);
    films = behind(off, "16");
    pond *p = made("off");
    pond_collection *tight = behind(p, "16");
    pond_error *err = NULL;
    assert_int_equal(pond_collection_dead_act(tight, POND_DEAD_RETRY, letter, strlen(letter), NULL, &err),
                     POND_EOVERLOAD);
    assert_true(has(pond_error_message(err), "the backlog of films is full (backlog_max 16)"));
    assert_true(pond_error_retriable(err));
    pond_error_free(err);
    assert_true(has(show(letter), letter));
    pond_collection_free(tight);
    pond_free(p);
}

static void on_a_queue_as_well(void **state) {
    (void)state;
    char letter[48];
    desk d;
    desk_open(&d, off, 1);
    changes(POND_REPLACE, "1", "{\"n\":1}");
    put_aside("1", "*", letter);
    size_t len = strlen(letter);
    assert_int_equal(pond_collection_dead_list_start(films, d.queue[0], NULL, 0, 10, 1, NULL), POND_OK);
    pond_event *event = desk_event(&d, 0, 5000);
    assert_int_equal(pond_event_kind(event), POND_EVENT_VALUE);
    assert_true(has(pond_value_data(pond_event_value(event), NULL), letter));
    pond_event_free(event);
    static const pond_dead_act acts[] = {POND_DEAD_SHOW, POND_DEAD_RETRY, POND_DEAD_DROP};
    static const pond_event_type ends[] = {POND_EVENT_VALUE, POND_EVENT_OK, POND_EVENT_ERROR};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pond_collection_dead_act_start(films, d.queue[0], acts[i], letter, len, 2 + i, NULL), POND_OK);
        event = desk_event(&d, 0, 5000);
        assert_int_equal(pond_event_user(event), 2 + i);
        assert_int_equal(pond_event_kind(event), ends[i]);
        if (i == 2) assert_int_equal(pond_error_code(pond_event_error(event)), POND_EABSENT);
        pond_event_free(event);
    }
    assert_int_equal(pond_collection_dead_act_start(films, d.queue[0], POND_DEAD_DROP, "x", 1, 1, NULL), POND_EKEY);
    assert_int_equal(pond_collection_dead_list_start(films, d.queue[0], "x", 1, 1, 1, NULL), POND_EKEY);
    assert_int_equal(pond_collection_dead_list_start(films, NULL, NULL, 0, 1, 1, NULL), POND_EMISUSE);
    desk_close(&d);
}

/* ---- a batch with one that the store will not have ---- */

static void one_of_500_stops_no_other(void **state) {
    (void)state;
    enum { BATCH = 500 };
    char id[16], letter[48] = "";
    sql("CREATE TABLE log(what TEXT)");
    sql("CREATE TRIGGER fenced AFTER UPDATE ON millpond_fence BEGIN INSERT INTO log VALUES ('fence'); END");
    sql("CREATE TRIGGER added AFTER INSERT ON films BEGIN INSERT INTO log VALUES ('film'); END");
    sql("CREATE UNIQUE INDEX mails ON films(json_extract(doc, '$.mail'))");
    sql("INSERT INTO films(id, doc, ver) VALUES ('first', '{\"mail\":\"a@b.c\"}', 0)");
    sql("DELETE FROM log");
    for (int i = 0; i < BATCH; i++) {
        snprintf(id, sizeof id, "%d", i);
        snprintf(room, sizeof room, "{\"mail\":\"%s\"}", i == 250 ? "a@b.c" : id);
        changes(POND_REPLACE, id, room);
    }
    work();
    for (int64_t until = mp_clock_after(20000); number("SELECT count(*) FROM films") < BATCH; usleep(5000))
        assert_true(mp_clock_ms() < until);
    assert_int_equal(number("SELECT count(*) FROM films"), BATCH); /* and the first one */
    /* Each transaction writes its fences and then its rows; of those that were rolled back, which the one has before it is set aside, nothing
     * stands here. */
    long long transactions = number("SELECT count(*) FROM log a JOIN log b ON b.rowid = a.rowid + 1 WHERE a.what = "
                                    "'fence' AND b.what = 'film'");
    assert_in_range(transactions, 1, 2); /* and one that was rolled back: three */
    for (int64_t until = mp_clock_after(20000); !has(list(NULL, 10), "\"total\":1,"); usleep(20000))
        assert_true(mp_clock_ms() < until);
    const char *text = list(NULL, 10);
    assert_int_equal(sscanf(text, "{\"letters\":[{\"id\":\"%47[-0-9]", letter), 1);
    assert_true(has(text, "\"document_id\":\"250\""));
    assert_true(has(text, "UNIQUE constraint failed"));
    assert_true(has(text, "\"state\":\"document\",\"document\":{\"id\":\"250\",\"mail\":\"a@b.c\"}"));
    films_read(films, "250", NULL);
    /* Before the reason is gone it is refused again, and is a letter again. */
    assert_int_equal(act(POND_DEAD_RETRY, letter, NULL), POND_OK);
    for (int64_t until = mp_clock_after(20000); !has(list(NULL, 10), "\"total\":1,"); usleep(20000))
        assert_true(mp_clock_ms() < until);
    assert_false(has(list(NULL, 10), letter));
    assert_int_equal(sscanf(list(NULL, 10), "{\"letters\":[{\"id\":\"%47[-0-9]", letter), 1);
    sql("DROP INDEX mails");
    assert_int_equal(act(POND_DEAD_RETRY, letter, NULL), POND_OK);
    flushes();
    stored("250", "{\"id\":\"250\",\"mail\":\"a@b.c\"}");
    assert_true(has(list(NULL, 10), "\"total\":0,"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    watchdog(110);
    const struct CMUnitTest tests[] = {
        CASE(they_are_listed_oldest_first),
        CASE(large_ones_are_listed_a_few_at_a_time),
        CASE(the_longest_list),
        CASE(one_is_shown_and_dropped),
        CASE(bad_calls_are_told),
        CASE(a_retry_gets_to_the_store),
        CASE(increments_of_what_was_retried),
        CASE(a_deletion_is_retried),
        CASE(a_retry_never_replaces_what_is_newer),
        CASE(the_store_has_the_last_word),
        CASE(an_old_one_is_not_retried_blindly),
        CASE(increments_alone),
        CASE(increments_do_not_overtake),
        CASE(what_is_damaged_can_only_be_dropped),
        CASE(a_full_backlog_takes_none_back),
        CASE(on_a_queue_as_well),
        CASE(one_of_500_stops_no_other),
    };
    return cmocka_run_group_tests_name("dead_redis", tests, NULL, NULL);
}
