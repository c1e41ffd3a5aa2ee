/* Two processes on one embedded store, each with a memory: cache of its own: what one changes the other sees. */
#include "shared_acts.h"

#include <fcntl.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char folder[64];
static other a, b;

static int set_up(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/millpond-shared-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/s.db", folder);
    atomic_store(outside, 0);
    other_start(&a, act);
    other_start(&b, act);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[96];
    if (a.pid) other_end(&a);
    if (b.pid) other_end(&b);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static bool there(const char *suffix) {
    char name[160];
    struct stat st;
    snprintf(name, sizeof name, "%s%s", path, suffix);
    return stat(name, &st) == 0;
}

#define says(o, want, ...)                                                                                             \
    do {                                                                                                               \
        const char *said_ = other_ask(o, __VA_ARGS__);                                                                 \
        if (strcmp(said_, want) != 0) fail_msg("%s:%d: '%s', not '%s'", __FILE__, __LINE__, said_, want);              \
    } while (0)

static void both_open(void) {
    says(&a, "ok", "open");
    says(&b, "ok", "open");
    says(&a, "yes", "common");
    says(&b, "yes", "common");
}

static int loads(other *o, const char *ns) { return atoi(other_ask(o, "loads %s", ns)); }

/* ---- what one changes the other sees, and no more than that ---- */

static void documents_and_pages(void **state) {
    (void)state;
    both_open();
    says(&a, "{\"id\":\"1\",\"n\":1}", "create 1 {\"n\":1}");
    says(&a, "{\"id\":\"2\",\"n\":1}", "create 2 {\"n\":1}");
    says(&b, "{\"id\":\"1\",\"n\":1}", "get 1");
    says(&b, "{\"id\":\"2\",\"n\":1}", "get 2");
    says(&b, "(absent)", "get 3");
    assert_non_null(strstr(other_ask(&b, "find n=1&limit=1"), "\"total\":2"));
    says(&a, "{\"id\":\"1\",\"n\":2}", "update 1 {\"n\":2}");
    says(&b, "{\"id\":\"1\",\"n\":2}", "get 1");
    assert_non_null(strstr(other_ask(&b, "find n=1&limit=1"), "\"total\":1"));
    says(&a, "{\"id\":\"3\"}", "create 3 {}");
    says(&b, "{\"id\":\"3\"}", "get 3");
    says(&b, "ok", "delete 1");
    says(&a, "(absent)", "get 1");
    says(&a, "{\"id\":\"1\",\"n\":9}", "create 1 {\"n\":9}");
    says(&b, "{\"id\":\"1\",\"n\":9}", "get 1");
}

/* A commit of ours costs the others no more than its own keys. */
static void all_else_stays_cached(void **state) {
    (void)state;
    both_open();
    for (int i = 0; i < 20; i++) other_ask(&a, "create %d {\"n\":0}", i);
    for (int i = 0; i < 20; i++) other_ask(&b, "get %d", i);
    int before = loads(&b, "n/films");
    for (int i = 0; i < 10; i++) says(&a, "{\"id\":\"7\",\"n\":1}", "replace 7 {\"n\":1}");
    for (int i = 0; i < 20; i++) other_ask(&b, "get %d", i);
    int again = loads(&b, "n/films") - before;
    if (again < 1 || again > 3) fail_msg("%d documents were loaded again: 1 was changed", again); /* few share a slot */
    before = loads(&b, "n/films");
    says(&a, "ok", "sql UPDATE films SET doc = json_set(doc, '$.n', 5)"); /* a stranger's makes all of it old */
    for (int i = 0; i < 20; i++) assert_non_null(strstr(other_ask(&b, "get %d", i), "\"n\":5"));
    assert_int_equal(loads(&b, "n/films") - before, 20);
    for (int i = 0; i < 20; i++) assert_non_null(strstr(other_ask(&a, "get %d", i), "\"n\":5"));
}

/* Loaders may read what they like: here the database knows nothing of it. */
static void keys_and_tags_without_a_commit(void **state) {
    (void)state;
    both_open();
    says(&b, "0", "fetch k");
    says(&b, "0", "fetch_tagged page");
    atomic_store(outside, 1);
    says(&b, "0", "fetch k"); /* nobody has said anything */
    says(&a, "ok", "invalidate k");
    says(&b, "1", "fetch k");
    says(&b, "0", "fetch_tagged page");
    says(&a, "ok", "invalidate_tag");
    says(&b, "1", "fetch_tagged page");
    says(&a, "1", "fetch k");
    says(&a, "ok", "write k 2"); /* the key, and the tag */
    says(&b, "2", "fetch k");
    says(&b, "2", "fetch_tagged page");
    says(&a, "ok", "write k 3 through");
    int before = loads(&a, "n");
    says(&a, "3", "fetch k"); /* it is alone: its value stays */
    assert_int_equal(loads(&a, "n"), before);
    says(&b, "3", "fetch k");
    says(&b, "ok", "write k 4 through");
    says(&a, "4", "fetch k");
}

/* Of 1,000 keys some share a slot: they are no strangers to each other. What others had is gone. */
static void many_values_at_once(void **state) {
    (void)state;
    both_open();
    for (int i = 0; i < 3; i++) {
        other *writer = i % 2 ? &b : &a, *reader = i % 2 ? &a : &b;
        char value[2] = {(char)('p' + i), 0};
        says(writer, "ok", "set_many 1000 %s", value);
        says(writer, "1000", "count_hits 1000 %s", value);
        says(reader, "0", "count_hits 1000 %c", 'p' + i - 1);
    }
}

/* Pages that may lag do so where they are changed; others see it at once, which is allowed. */
static void bounded_pages(void **state) {
    (void)state;
    says(&a, "ok", "open_bounded");
    says(&b, "ok", "open_bounded");
    says(&a, "{\"id\":\"1\"}", "create 1 {}");
    rest_ms(2100); /* what was cut is over */
    assert_non_null(strstr(other_ask(&a, "find limit=1"), "\"total\":1"));
    assert_non_null(strstr(other_ask(&b, "find limit=1"), "\"total\":1"));
    says(&a, "{\"id\":\"2\"}", "create 2 {}");
    int64_t now = clock_ms();
    const char *page = other_ask(&a, "find limit=1");
    if (clock_ms() - now < 1000) assert_non_null(strstr(page, "\"total\":1"));
    assert_non_null(strstr(other_ask(&b, "find limit=1"), "\"total\":2"));
    rest_ms(2100);
    assert_non_null(strstr(other_ask(&a, "find limit=1"), "\"total\":2"));
}

static void many_rounds(void **state) {
    (void)state;
    int rounds = slow_build() ? 300 : 2000, strangers = 0;
    other *both[] = {&a, &b};
    both_open();
    other_ask(&a, "create 1 {\"n\":0}");
    for (int i = 1; i <= rounds; i++) {
        char want[64], page[32];
        other *writer = both[dice(2)], *reader = writer == &a ? &b : &a;
        snprintf(want, sizeof want, "{\"id\":\"1\",\"n\":%d}", i);
        snprintf(page, sizeof page, "\"n\":%d}", i);
        switch (dice(4)) {
        case 0:
            says(writer, "ok", "sql UPDATE films SET doc = '%s'", want);
            strangers++;
            break;
        case 1: says(writer, want, "replace 1 {\"n\":%d}", i); break;
        default: says(writer, want, "update 1 {\"n\":%d}", i); break;
        }
        says(reader, want, "get 1");
        if (dice(4) == 0) assert_non_null(strstr(other_ask(reader, "find"), page));
        if (dice(4) == 0) says(writer, want, "get 1");
    }
    assert_true(strangers > 0);
}

/* Both change one document at once: no update is lost, and each sees them all. */
static void both_at_once(void **state) {
    (void)state;
    int rounds = slow_build() ? 50 : 300;
    both_open();
    other_ask(&a, "create 1 {\"a\":0,\"b\":0}");
    for (int i = 1; i <= rounds; i++) {
        char want[64];
        snprintf(want, sizeof want, "{\"id\":\"1\",\"a\":%d,\"b\":%d}", i, i);
        other_tell(&a, "update 1 {\"a\":%d}", i);
        other_tell(&b, "update 1 {\"b\":%d}", i);
        other_answer(&a);
        other_answer(&b);
        says(&a, want, "get 1");
        says(&b, want, "get 1");
    }
}

/* Three read what one of them changes. */
static void nothing_goes_back(void **state) {
    (void)state;
    int last = slow_build() ? 200 : 1000;
    other c;
    other_start(&c, act);
    both_open();
    says(&c, "ok", "open");
    other_ask(&a, "create 1 {\"n\":0}");
    other_tell(&b, "watch %d", last);
    other_tell(&c, "watch %d", last);
    other_ask(&a, "climb %d", last);
    other *readers[] = {&b, &c};
    for (int i = 0; i < 2; i++)
        if (atoi(other_answer(readers[i])) < 1 || strchr(readers[i]->answer, 'a')) fail_msg("%s", readers[i]->answer);
    other_end(&c);
}

static void a_stranger_before_a_commit_of_ours(void **state) {
    (void)state;
    both_open();
    other_ask(&a, "create 1 {\"n\":0}");
    other_ask(&a, "create 2 {\"n\":0}");
    says(&b, "{\"id\":\"1\",\"n\":0}", "get 1");
    says(&a, "ok",
         "commit_beside UPDATE films SET ver = 1 WHERE id = 2;"
         "UPDATE films SET doc = '{\"id\":\"1\",\"n\":1}' WHERE id = 1");
    says(&b, "{\"id\":\"1\",\"n\":1}", "get 1");
}

/* ---- deaths ---- */

static void killed_between_commit_and_telling(void **state) {
    (void)state;
    both_open();
    other_ask(&a, "create 1 {\"n\":0}");
    says(&b, "{\"id\":\"1\",\"n\":0}", "get 1");
    says(&b, "{\"id\":\"1\",\"n\":0}", "get 1");
    other_tell(&a, "die_untold UPDATE films SET doc = '{\"id\":\"1\",\"n\":1}'");
    other_killed(&a, SIGKILL, 1);
    says(&b, "{\"id\":\"1\",\"n\":1}", "get 1");
    int before = loads(&b, "n/films");
    says(&b, "{\"id\":\"1\",\"n\":1}", "get 1"); /* and it is cached again */
    assert_int_equal(loads(&b, "n/films"), before);
}

/* Nobody waits for it: what is read meanwhile is loaded, and not cached. */
static void stopped_between_commit_and_telling(void **state) {
    (void)state;
    both_open();
    other_ask(&a, "create 1 {\"n\":0}");
    says(&b, "{\"id\":\"1\",\"n\":0}", "get 1");
    other_tell(&a, "stop_untold UPDATE films SET doc = '{\"id\":\"1\",\"n\":1}'");
    int status;
    assert_int_equal(waitpid(a.pid, &status, WUNTRACED), a.pid);
    assert_true(WIFSTOPPED(status));
    int before = loads(&b, "n/films");
    for (int i = 0; i < 3; i++) says(&b, "{\"id\":\"1\",\"n\":1}", "get 1");
    assert_int_equal(loads(&b, "n/films") - before, 3);
    kill(a.pid, SIGCONT);
    assert_string_equal(other_answer(&a), "ok");
    for (int i = 0; i < 3; i++) says(&b, "{\"id\":\"1\",\"n\":1}", "get 1");
    assert_int_equal(loads(&b, "n/films") - before, 4);
}

/* It has written elsewhere, and not come to say so: nothing is cached there until its intent is over. */
static void killed_in_a_write(void **state) {
    (void)state;
    both_open();
    says(&b, "0", "fetch k");
    other_tell(&a, "write k 1 die");
    other_killed(&a, SIGKILL, 1);
    says(&b, "1", "fetch k");
    atomic_store(outside, 2);
    says(&b, "2", "fetch k"); /* not cached */
    int64_t until = clock_ms() + 3000 + 1000;
    do rest_ms(200);
    while (clock_ms() < until && strcmp(other_ask(&b, "peek k"), "(miss)") == 0 && other_ask(&b, "fetch k"));
    says(&b, "2", "peek k");
}

static void killed_while_it_may_commit(void **state) {
    (void)state;
    both_open();
    other_ask(&a, "create 1 {\"n\":0}");
    for (int i = 0; i < 5; i++) {
        says(&b, "{\"id\":\"1\",\"n\":0}", "get 1");
        other_tell(&a, "update 1 {\"m\":%d}", i);
        rest_ms(dice(3));
        other_killed(&a, SIGKILL, 0);
        other_start(&a, act);
        says(&a, "ok", "open");
        says(&a, "yes", "common");
        char now[OTHER_LINE];
        snprintf(now, sizeof now, "%s", other_ask(&a, "get 1"));
        says(&b, now, "get 1");
        says(&a, "{\"id\":\"1\",\"n\":0}", "replace 1 {\"n\":0}");
    }
}

static void the_last_one_leaves_nothing(void **state) {
    (void)state;
    both_open();
    assert_true(there("-pond"));
    other_end(&a);
    assert_true(there("-pond"));
    other_end(&b);
    assert_false(there("-pond"));
    assert_false(there("-wal"));
}

static void segments(int *n) {
    struct shm_info info;
    shmctl(0, SHM_INFO, (struct shmid_ds *)&info);
    *n = info.used_ids;
}

/* What killed processes leave is a file, which the next to come makes anew; the memory goes with them. */
static void all_are_killed(void **state) {
    (void)state;
    both_open();
    other_ask(&a, "create 1 {\"n\":0}");
    says(&b, "{\"id\":\"1\",\"n\":0}", "get 1");
    int with, without;
    segments(&with);
    other_killed(&a, SIGKILL, 0);
    other_killed(&b, SIGKILL, 0);
    segments(&without);
    assert_true(without < with || with == 0);
    assert_true(there("-pond"));
    other_start(&a, act);
    other_start(&b, act);
    both_open();
    says(&a, "{\"id\":\"1\",\"n\":1}", "update 1 {\"n\":1}");
    says(&b, "{\"id\":\"1\",\"n\":1}", "get 1");
}

/* ---- forks ---- */

static void a_child_goes_on(void **state) {
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* as in support/fork_cases.c */
#endif
    both_open();
    other_ask(&a, "create 1 {\"n\":0}");
    says(&b, "{\"id\":\"1\",\"n\":0}", "get 1");
    says(&a, "ok", "fork");
    says(&a, "{\"id\":\"1\",\"n\":0}", "get 1"); /* the child, with its own cache */
    says(&a, "yes", "common");
    says(&b, "{\"id\":\"1\",\"n\":1}", "update 1 {\"n\":1}");
    says(&a, "{\"id\":\"1\",\"n\":1}", "get 1");
    says(&a, "{\"id\":\"1\",\"n\":2}", "update 1 {\"n\":2}");
    says(&b, "{\"id\":\"1\",\"n\":2}", "get 1");
    says(&b, "ok", "sql UPDATE films SET doc = '{\"id\":\"1\",\"n\":3}'");
    says(&a, "{\"id\":\"1\",\"n\":3}", "get 1");
    says(&a, "0", "fetch k");
    atomic_store(outside, 1);
    says(&b, "ok", "invalidate k");
    says(&a, "1", "fetch k");
}

/* ---- where it cannot be shared ---- */

static void hear_commits_only(void) {
    other_ask(&a, "create 1 {\"n\":0}");
    says(&b, "{\"id\":\"1\",\"n\":0}", "get 1");
    says(&a, "{\"id\":\"1\",\"n\":1}", "update 1 {\"n\":1}");
    says(&b, "{\"id\":\"1\",\"n\":1}", "get 1");
    says(&b, "{\"id\":\"1\",\"n\":2}", "update 1 {\"n\":2}");
    says(&a, "{\"id\":\"1\",\"n\":2}", "get 1");
    says(&a, "ok", "sql UPDATE films SET doc = '{\"id\":\"1\",\"n\":3}'");
    says(&b, "{\"id\":\"1\",\"n\":3}", "get 1");
    int before = loads(&b, "n/films");
    says(&b, "{\"id\":\"1\",\"n\":3}", "get 1");
    assert_int_equal(loads(&b, "n/films"), before);
    for (int i = 0; i < 5; i++) other_ask(&b, "update 1 {\"n\":4}"); /* its own it knows */
    says(&b, "{\"id\":\"1\",\"n\":4}", "get 1");
    assert_int_equal(loads(&b, "n/films"), before);
}

static void a_folder_is_in_the_way(void **state) {
    (void)state;
    char name[160];
    snprintf(name, sizeof name, "%s-pond", path);
    assert_int_equal(mkdir(name, 0700), 0);
    says(&a, "ok", "open");
    says(&b, "ok", "open");
    says(&a, "no", "common");
    hear_commits_only();
    assert_int_equal(rmdir(name), 0);
    rest_ms(120);
    other_ask(&a, "get 1");
    other_ask(&b, "get 1"); /* they look, and find each other */
    says(&a, "yes", "common");
    says(&b, "yes", "common");
}

static void put_file(const void *bytes, size_t len) {
    char name[160];
    snprintf(name, sizeof name, "%s-pond", path);
    unlink(name);
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    fclose(f);
}

static void a_file_of_somebody_elses(void **state) {
    (void)state;
    char text[64] = "my own notes", name[160];
    put_file(text, strlen(text));
    says(&a, "ok", "open");
    says(&b, "ok", "open");
    says(&a, "no", "common");
    hear_commits_only();
    snprintf(name, sizeof name, "%s-pond", path);
    FILE *f = fopen(name, "r");
    memset(text, 0, sizeof text);
    assert_int_equal(fread(text, 1, sizeof text, f), strlen("my own notes"));
    fclose(f);
    assert_string_equal(text, "my own notes");
}

/* Whatever stands in the file, nothing may crash: as little as what was cut off, or written over, while it is used. */
static void a_file_that_is_spoiled(void **state) {
    (void)state;
    char junk[200], name[160];
    snprintf(name, sizeof name, "%s-pond", path);
    memset(junk, 0x41, sizeof junk);
    memcpy(junk, "Millpond", 8);
    put_file(junk, sizeof junk); /* a dead process's, it seems */
    both_open();
    other_ask(&a, "create 1 {\"n\":0}");
    assert_int_equal(truncate(name, 0), 0);
    for (int i = 0; i < 3; i++) {
        says(&a, "{\"id\":\"1\",\"n\":1}", "update 1 {\"n\":1}");
        says(&b, "{\"id\":\"1\",\"n\":1}", "get 1");
        int fd = open(name, O_WRONLY);
        assert_int_equal(write(fd, junk, sizeof junk), sizeof junk);
        close(fd);
        rest_ms(110);
    }
    other_killed(&b, SIGKILL, 0);
    other_start(&b, act); /* cannot join now */
    says(&b, "ok", "open");
    says(&b, "no", "common");
    says(&b, "{\"id\":\"1\",\"n\":2}", "update 1 {\"n\":2}");
    says(&a, "{\"id\":\"1\",\"n\":2}", "get 1");
    says(&a, "{\"id\":\"1\",\"n\":3}", "update 1 {\"n\":3}");
    says(&b, "{\"id\":\"1\",\"n\":3}", "get 1");
}

/* Within a tenth of a second they meet in a new one; commits are seen all the time. */
static void a_file_that_is_removed(void **state) {
    (void)state;
    char name[160];
    snprintf(name, sizeof name, "%s-pond", path);
    both_open();
    other_ask(&a, "create 1 {\"n\":0}");
    for (int i = 1; i <= 5; i++) {
        char want[64];
        says(&b, i % 2 ? "0" : "1", "fetch k");
        assert_int_equal(unlink(name), 0);
        snprintf(want, sizeof want, "{\"id\":\"1\",\"n\":%d}", i);
        says(&a, want, "update 1 {\"n\":%d}", i);
        says(&b, want, "get 1");
        rest_ms(120);
        says(&a, want, "get 1");
        says(&b, want, "get 1");
        assert_true(there("-pond"));
        other_ask(&b, "fetch k");
        atomic_store(outside, i % 2);
        says(&a, "ok", "invalidate k");
        says(&b, i % 2 ? "1" : "0", "fetch k");
    }
}

/* ---- other databases ---- */

static void a_database_that_is_replaced(void **state) {
    (void)state;
    char name[160], moved[170];
    both_open();
    other_ask(&a, "create 1 {\"n\":0}");
    says(&b, "{\"id\":\"1\",\"n\":0}", "get 1");
    snprintf(name, sizeof name, "%s", path);
    snprintf(moved, sizeof moved, "%s.moved", path);
    assert_int_equal(rename(name, moved), 0);
    other_end(&a);
    rest_ms(120);
    assert_non_null(
        strstr(other_ask(&b, "get 1"), "removed or replaced")); /* no old value, but the store's word on it */
}

/* Where the file is not in WAL mode, as it may only be read, commits are asked for. */
static void commits_that_are_asked_for(void **state) {
    (void)state;
    other_end(&b);
    sql("PRAGMA journal_mode=DELETE; CREATE TABLE films(id TEXT PRIMARY KEY NOT NULL, doc TEXT NOT NULL, ver INTEGER "
        "NOT "
        "NULL); INSERT INTO films VALUES ('1', '{\"n\":0}', 0)");
    mp_sqlite_commits *c = NULL;
    pond_error *err = NULL;
    assert_true(mp_sqlite_enter());
    must(mp_sqlite_commits_open(&c, path, 1000, &err), err, "commits");
    mp_sqlite_leave();
    mp_shared *s = mp_sqlite_commits_shared(c);
    uint64_t stamp = mp_shared_stamp(s, "k", 1, 1000);
    assert_true(stamp > 1);
    assert_int_equal(mp_shared_stamp(s, "k", 1, 1001), stamp);
    sql("UPDATE films SET doc = '{\"n\":1}'");
    uint64_t later = mp_shared_stamp(s, "k", 1, 1002);
    assert_int_not_equal(later, stamp);
    assert_int_equal(mp_shared_stamp(s, "k", 1, 1003), later);
    mp_shared_invalidate(s, "k", 1, 0);
    assert_int_not_equal(mp_shared_stamp(s, "k", 1, 1004), later);
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(mp_shared_stamp(s, "k", 1, 1005), 0); /* it cannot be known: and a hit does not wait */
    sqlite3_close(db);
    assert_true(mp_shared_stamp(s, "k", 1, 1006) > 1);
    assert_true(mp_sqlite_enter());
    mp_sqlite_commits_close(c);
    mp_sqlite_leave();
}

#define two(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        two(documents_and_pages),
        two(all_else_stays_cached),
        two(keys_and_tags_without_a_commit),
        two(many_values_at_once),
        two(bounded_pages),
        two(many_rounds),
        two(both_at_once),
        two(nothing_goes_back),
        two(a_stranger_before_a_commit_of_ours),
        two(killed_between_commit_and_telling),
        two(stopped_between_commit_and_telling),
        two(killed_in_a_write),
        two(killed_while_it_may_commit),
        two(the_last_one_leaves_nothing),
        two(all_are_killed),
        two(a_child_goes_on),
        two(a_folder_is_in_the_way),
        two(a_file_of_somebody_elses),
        two(a_file_that_is_spoiled),
        two(a_file_that_is_removed),
        two(a_database_that_is_replaced),
        two(commits_that_are_asked_for),
    };
    watchdog(110);
    outside = mmap(NULL, sizeof *outside, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(outside != MAP_FAILED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
