/* The journal's operations on a disk that is full, or has room for so many bytes yet: what fails has changed nothing, and when there is room again
 * the same operation is right. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "journal_stories.h"

enum { PAGE = 4096, FRAME = PAGE + 24, PAGES = 12 /* that an operation may write */ };

static struct rlimit was;

/* Files may grow by so many halves of a page of the journal's log. */
static void fill_disk(long n) {
    char log[SHOP_FOLDER + 32];
    struct stat is = {0};
    struct rlimit tight = was;
    snprintf(log, sizeof log, "%s/shop.db.behind-wal", folder);
    if (stat(log, &is) != 0) is.st_size = 0;
    tight.rlim_cur = (rlim_t)(is.st_size + n * FRAME / 2);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
}

static void make_room(void) { assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0); }

static bool is_full(const pond_error *why) {
    return why && pond_error_code(why) == POND_ESTORE && pond_error_retriable(why) &&
           strstr(pond_error_message(why), "journal");
}

static bool next_size(long *n) { return ++*n <= 2 * PAGES; }

static void what_has_no_room_has_not_happened(void **state) {
    (void)state;
    static const trouble full = {fill_disk, make_room, is_full};
    watchdog(110);
    shop_make(folder, address);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    stories_begin(1);
    long failures = tell_all(&full, next_size);
    printf("           %ld operations failed\n", failures);
    assert_true(failures > 50);
    stories_end();
    assert_int_equal(shop_remove(folder), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_has_no_room_has_not_happened)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
