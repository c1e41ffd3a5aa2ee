/* A journal that ponds, threads and forks of a process share, and other processes do not. */
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/support.h"

#include "base/clock.h"

enum { THREADS = 8, EACH = 150 };

static char folder[SHOP_FOLDER], address[SHOP_ADDRESS];

static int set_up(void **state) {
    (void)state;
    watchdog(110);
    shop_make(folder, address);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[SHOP_FOLDER + 8]; /* who ended without a word leaves more than shop_remove knows */
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static pond *made(const char *cache, const char *worker) {
    return pond_made(cache, "store", address, "worker", worker, NULL);
}

static pond_collection *films_of(pond *p) {
    pond_collection *c = NULL;
    const char *const options[] = {"write", "behind"};
    return pond_collection_new(&c, p, "films", options, 1, NULL) == POND_OK ? c : NULL;
}

static int puts_to(pond_collection *c, const char *id, int n, pond_error **err) {
    char doc[32];
    snprintf(doc, sizeof doc, "{\"n\":%d}", n);
    return pond_collection_change(c, POND_REPLACE, id, strlen(id), doc, strlen(doc), NULL, NULL, NULL, err);
}

/* -1: an error; 0: there is none. */
static int n_of(pond_collection *c, const char *id) {
    pond_value *value = NULL;
    if (pond_collection_get(c, id, strlen(id), &value, NULL) != POND_OK) return -1;
    const char *at = pond_value_state(value) == POND_VALUE ? strstr(pond_value_data(value, NULL), "\"n\":") : NULL;
    int n = at ? atoi(at + 4) : 0;
    pond_value_free(value);
    return n;
}

static void two_ponds_have_one(void **state) {
    (void)state;
    pond *p = made("memory:both", "off"), *q = made("memory:both", "on");
    pond_collection *c = films_of(p), *d = films_of(q);
    pond_error *err = NULL;
    assert_int_equal(pond_collection_prepare(c, NULL), POND_OK);
    for (int i = 1; i <= 200; i++) {
        assert_int_equal(puts_to(i % 2 ? c : d, "1", i, NULL), POND_OK);
        assert_int_equal(n_of(i % 2 ? d : c, "1"), i);
        assert_int_equal(pond_collection_increment(i % 2 ? c : d, "1", 1, "n", 1, 1000, NULL), POND_OK);
        assert_int_equal(n_of(i % 2 ? d : c, "1"), i + 1000);
    }
    pond *other = made("memory:apart", "off");
    pond_collection *e = films_of(other);
    assert_int_equal(pond_collection_prepare(e, &err), POND_EOPTION);
    assert_non_null(strstr(pond_error_message(err), "shop.db.behind"));
    assert_non_null(strstr(pond_error_message(err), "with another cache"));
    pond_error_free(err);
    pond_collection_free(e);
    pond_free(other);
    pond_collection_free(c);
    pond_free(p);
    assert_int_equal(n_of(d, "1"), 1200);
    assert_int_equal(puts_to(d, "1", 7, NULL), POND_OK); /* who is left goes on */
    assert_int_equal(pond_collection_flush(d, 20000, NULL), POND_OK);
    pond_collection_free(d);
    pond_free(q);
}

/* ---- threads ---- */

typedef struct one {
    pond_collection *c;
    char id[8];
    pthread_t thread;
    const char *wrong;
} one;

/* A document of its own, that nobody else writes: each read gives what it wrote last, or more of what all count. */
static void *goes_on(void *arg) {
    one *o = arg;
    int each = slow_build() ? EACH / 3 : EACH;
    for (int i = 1; i <= each && !o->wrong; i++) {
        if (puts_to(o->c, o->id, i, NULL) != POND_OK) o->wrong = "put";
        else if (n_of(o->c, o->id) != i) o->wrong = "its own is older";
        int before = n_of(o->c, "all");
        if (pond_collection_increment(o->c, "all", 3, "n", 1, 1, NULL) != POND_OK) o->wrong = "count";
        else if (n_of(o->c, "all") <= before) o->wrong = "what was counted is not there";
        if (i % 25 == 0 && pond_collection_flush(o->c, 30000, NULL) != POND_OK) o->wrong = "flush";
    }
    return NULL;
}

static void threads_see_what_they_wrote(void **state) {
    (void)state;
    pond *p = made("memory:", "on");
    pond_collection *c = films_of(p);
    one of[THREADS];
    int each = slow_build() ? EACH / 3 : EACH;
    assert_int_equal(pond_collection_prepare(c, NULL), POND_OK);
    assert_int_equal(puts_to(c, "all", 0, NULL), POND_OK);
    for (int i = 0; i < THREADS; i++) {
        of[i] = (one){.c = c};
        snprintf(of[i].id, sizeof of[i].id, "t%d", i);
        assert_int_equal(pthread_create(&of[i].thread, NULL, goes_on, &of[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(of[i].thread, NULL);
        if (of[i].wrong) fail_msg("%s: %s", of[i].id, of[i].wrong);
    }
    assert_int_equal(n_of(c, "all"), THREADS * each);
    assert_int_equal(pond_collection_flush(c, 20000, NULL), POND_OK);
    pond_collection_free(c);
    pond_free(p);
    p = made("memory:", "off");
    c = films_of(p);
    assert_int_equal(n_of(c, "all"), THREADS * each);
    for (int i = 0; i < THREADS; i++) assert_int_equal(n_of(c, of[i].id), each);
    pond_collection_free(c);
    pond_free(p);
}

/* ---- forks; no cmocka in a child ---- */

static int status_of(pid_t child) {
    int status = -1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* As long as the parent has it, the child is told so; and its end takes nothing from the parent. */
static void a_child_leaves_it_to_its_parent(void **state) {
    (void)state;
    pond *p = made("memory:", "off");
    pond_collection *c = films_of(p);
    assert_int_equal(pond_collection_prepare(c, NULL), POND_OK);
    assert_int_equal(puts_to(c, "1", 1, NULL), POND_OK);
    for (int i = 0; i < 2; i++) {
        pid_t child = fork();
        if (child == 0) {
            pond_error *err = NULL;
            if (puts_to(c, "1", 99, &err) == POND_OK) _exit(2);
            if (!strstr(pond_error_message(err), "is open in another process")) {
                fprintf(stderr, "in the child: %s\n", pond_error_message(err));
                _exit(3);
            }
            pond_error_free(err);
            if (i) {
                pond_collection_free(c);
                pond_free(p);
            }
            _exit(0);
        }
        assert_int_equal(status_of(child), 0);
        assert_int_equal(puts_to(c, "1", 2 + i, NULL), POND_OK);
        assert_int_equal(n_of(c, "1"), 2 + i);
        child = fork(); /* a process of its own is told the same, whatever the first child has closed */
        if (child == 0) {
            pond *q = NULL;
            pond_collection *d = NULL;
            q = made("memory:own", "off");
            d = films_of(q);
            _exit(d && pond_collection_prepare(d, NULL) == POND_EOPTION ? 0 : 4);
        }
        assert_int_equal(status_of(child), 0);
    }
    pond_collection_free(c);
    pond_free(p);
}

/* daemon(): the parent opens all, forks and leaves. */
static void a_child_goes_on_when_its_parent_is_gone(void **state) {
    (void)state;
    pid_t parent = fork();
    if (parent == 0) {
        pond *p = made("memory:", "on");
        pond_collection *c = films_of(p);
        int gone[2];
        if (pond_collection_prepare(c, NULL) != POND_OK || puts_to(c, "1", 1, NULL) != POND_OK || pipe(gone)) _exit(2);
        pid_t child = fork();
        if (child > 0) _exit(0);
        close(gone[1]);
        char byte;
        while (read(gone[0], &byte, 1) > 0) continue; /* its end of the pipe goes with it */
        char done[SHOP_ADDRESS];
        pond_error *err = NULL;
        int rc = POND_EOPTION;
        for (int i = 0; i < 500 && rc != POND_OK; i++) {
            rc = puts_to(c, "2", 2, &err);
            if (rc != POND_OK) rest_ms(10);
        }
        bool well =
            rc == POND_OK && n_of(c, "1") == 1 && n_of(c, "2") == 2 && pond_collection_flush(c, 20000, &err) == POND_OK;
        if (!well) fprintf(stderr, "in the child: %s\n", err ? pond_error_message(err) : "it reads something else");
        snprintf(done, sizeof done, "%s/%s", folder, well ? "well" : "wrong");
        mkdir(done, 0700);
        _exit(0);
    }
    assert_int_equal(status_of(parent), 0);
    char well[SHOP_ADDRESS], wrong[SHOP_ADDRESS];
    snprintf(well, sizeof well, "%s/well", folder);
    snprintf(wrong, sizeof wrong, "%s/wrong", folder);
    bool is_well = false, is_wrong = false;
    for (int64_t until = mp_clock_after(30000); !is_well && !is_wrong && mp_clock_ms() < until; rest_ms(20)) {
        is_well = rmdir(well) == 0;
        is_wrong = rmdir(wrong) == 0;
    }
    assert_true(is_well);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(two_ponds_have_one),
        TEST(a_child_leaves_it_to_its_parent),
        TEST(a_child_goes_on_when_its_parent_is_gone),
        TEST(threads_see_what_they_wrote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
