/* Files that are no journal, cannot be one, or hold what no journal writes: an error that names the file, which stays as it is; and what is damaged
 * becomes a dead letter. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/support.h"

#include "base/clock.h"

static char folder[SHOP_FOLDER], address[SHOP_ADDRESS], journal[SHOP_ADDRESS];

static int set_up(void **state) {
    (void)state;
    watchdog(110);
    shop_make(folder, address);
    snprintf(journal, sizeof journal, "%s/shop.db.behind", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return shop_remove(folder);
}

static pond_collection *films_of(pond *p) {
    pond_collection *c = NULL;
    const char *const options[] = {"write", "behind"};
    pond_error *err = NULL;
    if (pond_collection_new(&c, p, "films", options, 1, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
    return c;
}

static int puts_to(pond_collection *c, const char *id, const char *doc, pond_error **err) {
    return pond_collection_change(c, POND_REPLACE, id, strlen(id), doc, strlen(doc), NULL, NULL, NULL, err);
}

/* Nothing can be accepted, and the error names the file `at`, and says `what`. */
static void refused(const char *path, const char *what) {
    pond_error *err = NULL;
    pond *p = pond_made("memory:", "store", address, "journal", path, "worker", "off", NULL);
    pond_collection *c = films_of(p);
    int rc = pond_collection_prepare(c, &err);
    if (rc == POND_OK) rc = puts_to(c, "1", "{}", &err);
    assert_int_not_equal(rc, POND_OK);
    if (!strstr(pond_error_message(err), path) || !strstr(pond_error_message(err), what))
        fail_msg("%s: %s", path, pond_error_message(err));
    pond_error_free(err);
    pond_collection_free(c);
    pond_free(p);
}

static size_t read_all(const char *path, char *to, size_t room) {
    int fd = open(path, O_RDONLY);
    if (fd < 0) return 0;
    ssize_t len = read(fd, to, room);
    close(fd);
    return len > 0 ? (size_t)len : 0;
}

static void write_all(const char *path, const void *bytes, size_t len) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    close(fd);
}

static int64_t sql(const char *path, const char *text) {
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    const char *rest = text;
    int64_t number = 0;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    while (*rest) {
        if (sqlite3_prepare_v2(db, rest, -1, &statement, &rest) != SQLITE_OK)
            fail_msg("%s: %s", text, sqlite3_errmsg(db));
        while (sqlite3_step(statement) == SQLITE_ROW) number = sqlite3_column_int64(statement, 0);
        if (sqlite3_finalize(statement) != SQLITE_OK) fail_msg("%s: %s", text, sqlite3_errmsg(db));
    }
    sqlite3_close(db);
    return number;
}

static void stays(const char *path, const char *what) {
    static char before[1 << 16], after[1 << 16];
    size_t was = read_all(path, before, sizeof before);
    refused(path, what);
    assert_int_equal(read_all(path, after, sizeof after), was);
    assert_memory_equal(before, after, was);
}

static void what_is_no_journal(void **state) {
    (void)state;
    char garbage[9000];
    for (size_t i = 0; i < sizeof garbage; i++) garbage[i] = (char)dice(256);
    write_all(journal, garbage, sizeof garbage);
    stays(journal, "not a database");
    unlink(journal);
    sql(journal, "CREATE TABLE t(a)"); /* somebody else's, and not in WAL mode */
    stays(journal, "another kind");
    unlink(journal);
    sql(journal, "PRAGMA application_id = 7");
    stays(journal, "another kind");
    unlink(journal);
    char path[SHOP_ADDRESS + 16];
    snprintf(path, sizeof path, "%s/none/j.db", folder);
    refused(path, "the journal of write=behind: sqlite: cannot make or open ");
    refused(path, "folder");
    refused(folder, "folder");
}

/* What is written behind must not wait in the file that it waits for. */
static void the_store_is_no_journal(void **state) {
    (void)state;
    const char *const options[] = {"write", "behind"}, *path = address + strlen("sqlite:");
    pond *p = pond_made("memory:", "store", address, "journal", path, NULL);
    pond_collection *c = NULL;
    pond_error *err = NULL;
    assert_int_equal(pond_collection_new(&c, p, "films", options, 1, &err), POND_EOPTION);
    assert_non_null(strstr(pond_error_message(err), path));
    assert_non_null(strstr(pond_error_message(err), "the store itself"));
    pond_error_free(err);
    pond_free(p);
}

static void a_file_that_was_cut_off(void **state) {
    (void)state;
    pond *p = pond_made("memory:", "store", address, "worker", "off", NULL);
    pond_collection *c = films_of(p);
    assert_int_equal(pond_collection_prepare(c, NULL), POND_OK);
    assert_int_equal(puts_to(c, "1", "{}", NULL), POND_OK);
    pond_collection_free(c);
    pond_free(p);
    assert_int_equal(truncate(journal, 5000), 0);
    stays(journal, "malformed");
}

static void what_may_only_be_read(void **state) {
    (void)state;
    sql(journal, "PRAGMA application_id = 1836083761");
    assert_int_equal(chmod(journal, 0400), 0);
    if (access(journal, W_OK) == 0) skip(); /* root may */
    stays(journal, "ermission denied");
}

/* Nothing more fits on the disk: what was accepted stands, and when there is room again it goes on. */
static void a_full_disk(void **state) {
    (void)state;
    pond *p = pond_made("memory:", "store", address, "worker", "off", NULL);
    pond_collection *c = films_of(p);
    pond_error *err = NULL;
    static char large[100000];
    struct rlimit was, tight;
    assert_int_equal(pond_collection_prepare(c, NULL), POND_OK);
    assert_int_equal(puts_to(c, "1", "{\"n\":1}", NULL), POND_OK);
    memset(large, 'x', sizeof large - 1);
    memcpy(large, "{\"n\":\"", 6);
    memcpy(large + sizeof large - 3, "\"}", 2);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    tight = was;
    tight.rlim_cur = 90000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    int rc = puts_to(c, "1", large, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_not_equal(rc, POND_OK);
    assert_true(pond_error_retriable(err));
    if (!strstr(pond_error_message(err), "journal")) fail_msg("%s", pond_error_message(err));
    pond_error_free(err);
    films_read(c, "1", "{\"id\":\"1\",\"n\":1}");
    assert_int_equal(puts_to(c, "2", "{\"n\":3}", NULL), POND_OK);
    pond_collection_free(c);
    pond_free(p);
    p = pond_made("memory:", "store", address, NULL);
    c = films_of(p);
    assert_int_equal(pond_collection_prepare(c, NULL), POND_OK);
    films_read(c, "1", "{\"id\":\"1\",\"n\":1}");
    assert_int_equal(pond_collection_flush(c, 10000, &err), POND_OK);
    films_read(c, "2", "{\"id\":\"2\",\"n\":3}");
    pond_collection_free(c);
    pond_free(p);
}

/* In the place of libc's. */
static atomic_bool broken;
int fdatasync(int fd) {
    if (!atomic_load(&broken)) return fsync(fd);
    errno = EIO;
    return -1;
}

/* The system says once that it could not write something, and then forgets it: a later success is about less. */
static void a_disk_that_fails_once(void **state) {
    (void)state;
    const char *const options[] = {"write", "behind", "ack", "fsync"};
    pond *p = pond_made("memory:", "store", address, "worker", "off", NULL);
    pond_collection *c = NULL;
    pond_error *err = NULL;
    assert_int_equal(pond_collection_new(&c, p, "films", options, 2, NULL), POND_OK);
    assert_int_equal(pond_collection_prepare(c, NULL), POND_OK);
    assert_int_equal(puts_to(c, "1", "{\"n\":1}", NULL), POND_OK);
    atomic_store(&broken, true);
    assert_int_not_equal(puts_to(c, "1", "{\"n\":2}", &err), POND_OK);
    atomic_store(&broken, false);
    assert_non_null(strstr(pond_error_message(err), "journal"));
    pond_error_free(err);
    assert_int_not_equal(puts_to(c, "1", "{\"n\":3}", NULL), POND_OK);
    pond_collection_free(c);
    pond_free(p);
    p = pond_made("memory:", "store", address, "worker", "off", NULL);
    assert_int_equal(pond_collection_new(&c, p, "films", options, 2, NULL), POND_OK);
    assert_int_equal(puts_to(c, "1", "{\"n\":4}", NULL), POND_OK);
    films_read(c, "1", "{\"id\":\"1\",\"n\":4}");
    pond_collection_free(c);
    pond_free(p);
}

/* The next round has a shop of its own. */
static void begins_anew(pond *p, pond_collection *c) {
    pond_close(p, 20000); /* a round that is under way has the files open yet */
    pond_collection_free(c);
    pond_free(p);
    shop_remove(folder);
    mkdir(folder, 0700);
}

/* Rows that no journal writes. */
static void damaged_rows(void **state) {
    (void)state;
    static const char *const damage[] = {
        "UPDATE waiting SET state = 9 WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET state = 'x' WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET codec = 77 WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET codec = -1 WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET fence = x'010203' WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET fence = NULL WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET version = -5 WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET version = 0 WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET version = 9223372036854775807 WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET value = NULL WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET value = 'text' WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET place = -3 WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET place = 0 WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET place = 9223372036854775807 WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET key = zeroblob(10000) WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET key = x'' WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET key = x'73' WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET key = 'text' WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET state = NULL WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET first = 9 WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET first = 9, newest = 9 WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET first = -9, newest = -9 WHERE key = CAST('s1' AS BLOB)",
        "UPDATE waiting SET key = zeroblob(10000) WHERE key = CAST('s2' AS BLOB);"
        "UPDATE sums SET key = zeroblob(10000)",
        "UPDATE waiting SET key = x'' WHERE key = CAST('s2' AS BLOB); UPDATE sums SET key = x''",
        "UPDATE waiting SET state = 1, codec = 99 WHERE key = CAST('s2' AS BLOB)",
        "UPDATE sums SET by = 9223372036854775807",
        "UPDATE sums SET by = 'text'",
        "UPDATE sums SET member = x''",
        "UPDATE sums SET member = x'ff'",
        "UPDATE sums SET member = zeroblob(10000)",
        "DELETE FROM sums",
        "UPDATE waiting SET newest = 9223372036854775807 WHERE key = CAST('s2' AS BLOB)",
    };
    for (size_t i = 0; i < sizeof damage / sizeof damage[0]; i++) {
        pond *p = pond_made("memory:", "store", address, "worker", "off", NULL);
        pond_collection *c = films_of(p);
        pond_error *err = NULL;
        assert_int_equal(pond_collection_prepare(c, NULL), POND_OK);
        assert_int_equal(puts_to(c, "1", "{\"n\":1}", NULL), POND_OK);
        assert_int_equal(pond_collection_increment(c, "2", 1, "n", 1, 1, NULL), POND_OK);
        assert_int_equal(puts_to(c, "3", "{\"n\":3}", NULL), POND_OK);
        pond_collection_free(c);
        pond_free(p);
        sql(journal, damage[i]);
        p = pond_made("memory:", "store", address, NULL);
        c = films_of(p);
        int rc = pond_collection_prepare(c, &err);
        if (rc == POND_OK) {
            pond_value *value = NULL;
            if (pond_collection_get(c, "1", 1, &value, NULL) == POND_OK) pond_value_free(value);
            if (pond_collection_get(c, "2", 1, &value, NULL) == POND_OK) pond_value_free(value);
            rc = pond_collection_flush(c, 1500, &err);
        }
        if (rc == POND_OK) {
            if (sql(journal, "SELECT count(*) FROM waiting") != 0) fail_msg("%s: something waits", damage[i]);
            pond_value *value = NULL;
            films_read(c, "3", "{\"id\":\"3\",\"n\":3}");
            if (pond_collection_dead_list(c, NULL, 0, 100, &value, &err) != POND_OK)
                fail_msg("%s: %s", damage[i], pond_error_message(err));
            pond_value_free(value);
        } else if (!strstr(pond_error_message(err), journal)) {
            fail_msg("%s: %s", damage[i], pond_error_message(err));
        }
        pond_error_free(err);
        begins_anew(p, c);
    }
}

/* The same of dead letters: a list of them has an answer, and so has whatever is done with each; none stays that can neither be retried nor dropped. */
static void damaged_letters(void **state) {
    (void)state;
    static const char *const damage[] = {
        "UPDATE dead SET state = 9",
        "UPDATE dead SET state = 'x'",
        "UPDATE dead SET codec = 77",
        "UPDATE dead SET version = -5",
        "UPDATE dead SET version = 9223372036854775807",
        "UPDATE dead SET value = NULL",
        "UPDATE dead SET value = 'text'",
        "UPDATE dead SET value = x'ff'",
        "UPDATE dead SET state = NULL",
        "UPDATE dead SET key = x''",
        "UPDATE dead SET key = x'73'",
        "UPDATE dead SET key = 'text'",
        "UPDATE dead SET key = zeroblob(10000)",
        "UPDATE dead SET key = 7",
        "UPDATE dead SET why = zeroblob(100000)",
        "UPDATE dead SET why = 7",
        "UPDATE dead SET why = x'c3'",
        "UPDATE dead SET first = 0, newest = 0",
        "UPDATE dead SET first = -9, newest = -9",
        "UPDATE dead SET first = 9, newest = 3",
        "UPDATE dead SET newest = 9223372036854775807",
        "UPDATE dead SET ms = 0, n = n - 1",
        "UPDATE dead SET ms = -7",
        "UPDATE dead SET n = -n",
        "UPDATE dead SET n = 9223372036854775807 - n",
        "UPDATE dead SET ms = 9223372036854775807 - n",
        "UPDATE dead_sums SET by = 9223372036854775807",
        "UPDATE dead_sums SET by = 'text'",
        "UPDATE dead_sums SET by = x'00'",
        "UPDATE dead_sums SET member = x''",
        "UPDATE dead_sums SET member = x'ff'",
        "UPDATE dead_sums SET member = 7",
        "UPDATE dead_sums SET member = zeroblob(10000)",
        "DELETE FROM dead_sums",
        "INSERT INTO dead_sums SELECT ms, n, x'00', 1 FROM dead",
    };
    for (size_t i = 0; i < sizeof damage / sizeof damage[0]; i++) {
        pond *p = pond_made("memory:", "store", address, "worker", "off", NULL);
        pond_collection *c = films_of(p);
        pond_error *err = NULL;
        pond_value *value = NULL;
        if (pond_collection_prepare(c, &err) != POND_OK) fail_msg("%s: %s", damage[i], pond_error_message(err));
        assert_int_equal(puts_to(c, "1", "{\"n\":1}", NULL), POND_OK);
        assert_int_equal(pond_collection_increment(c, "2", 1, "n", 1, 1, NULL), POND_OK);
        assert_int_equal(puts_to(c, "3", "{\"n\":3}", NULL), POND_OK);
        assert_int_equal(pond_collection_increment(c, "3", 1, "n", 1, 4, NULL), POND_OK);
        pond_collection_free(c);
        pond_free(p);
        sql(journal,
            "INSERT INTO dead SELECT 1790000000000, place, shard, key, version, first, newest, CAST('why' AS "
            "BLOB), state, codec, value FROM waiting; INSERT INTO dead_sums SELECT 1790000000000, place, member, "
            "by FROM sums JOIN waiting USING (shard, key); DELETE FROM sums; DELETE FROM waiting");
        assert_int_equal(sql(journal, "SELECT count(*) FROM dead"), 3);
        sql(journal, damage[i]);
        p = pond_made("memory:", "store", address, NULL);
        c = films_of(p);
        int rc = pond_collection_prepare(c, &err);
        if (rc == POND_OK) rc = pond_collection_dead_list(c, NULL, 0, 100, &value, &err);
        if (rc == POND_OK) {
            char letter[64];
            if (strstr(damage[i], "dead_sums SET by") && !strstr(pond_value_data(value, NULL), "\"damaged\""))
                fail_msg("%s: %s", damage[i], pond_value_data(value, NULL));
            for (const char *at = pond_value_data(value, NULL); (at = strstr(at, "\"id\":\"")); at += 6) {
                pond_value *shown = NULL;
                assert_int_equal(sscanf(at + 6, "%60[0-9-]", letter), 1);
                if (strcmp(letter, "1") == 0) continue; /* a document's */
                pond_collection_dead_act(c, POND_DEAD_SHOW, letter, strlen(letter), &shown, NULL);
                pond_value_free(shown);
                pond_collection_dead_act(c, POND_DEAD_RETRY, letter, strlen(letter), NULL, NULL);
                pond_collection_dead_act(c, POND_DEAD_DROP, letter, strlen(letter), NULL, NULL);
            }
            pond_value_free(value);
            if (pond_collection_flush(c, 5000, &err) != POND_OK) fail_msg("%s: %s", damage[i], pond_error_message(err));
            if (sql(journal, "SELECT count(*) FROM waiting") != 0) fail_msg("%s: something waits", damage[i]);
            if (sql(journal, "SELECT count(*) FROM dead") != 0) fail_msg("%s: letters are left", damage[i]);
        } else if (!strstr(pond_error_message(err), journal)) {
            fail_msg("%s: %s", damage[i], pond_error_message(err));
        }
        pond_error_free(err);
        begins_anew(p, c);
    }
}

/* By a version that has other shards. */
static void what_others_have_begun(void **state) {
    (void)state;
    pond *p = pond_made("memory:", "store", address, "worker", "off", NULL);
    pond_collection *c = films_of(p);
    assert_int_equal(pond_collection_prepare(c, NULL), POND_OK);
    assert_int_equal(puts_to(c, "1", "{}", NULL), POND_OK);
    pond_collection_free(c);
    pond_free(p);
    assert_int_equal(sql(journal, "SELECT shards FROM space"), 4);
    sql(journal, "UPDATE space SET shards = 16");
    refused(journal, "films has 16 shards in the journal");
    assert_int_equal(sql(journal, "SELECT count(*) FROM waiting"), 1);
    sql(journal, "UPDATE space SET shards = 4");
    p = pond_made("memory:", "store", address, "worker", "off", NULL);
    c = films_of(p);
    films_read(c, "1", "{\"id\":\"1\"}");
    pond_collection_free(c);
    pond_free(p);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(what_is_no_journal),
        TEST(the_store_is_no_journal),
        TEST(a_file_that_was_cut_off),
        TEST(what_may_only_be_read),
        TEST(a_full_disk),
        TEST(a_disk_that_fails_once),
        TEST(damaged_rows),
        TEST(damaged_letters),
        TEST(what_others_have_begun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
