/* The journal's log does not grow for ever: beside a worker that drains it, and where one document is written over and over and nobody drains.
 * MILLPOND_LOG=n: so many times as much. */
#include <sys/stat.h>

#include "support/support.h"

/* It begins anew at 60 MiB, or when a worker's round ends: on a busy machine some more comes meanwhile. */
enum { ACCEPTS = 20000, MOST = 120 << 20 };

static char folder[SHOP_FOLDER], address[SHOP_ADDRESS];

static int set_up(void **state) {
    (void)state;
    watchdog(getenv("MILLPOND_LOG") ? 3600 : 110);
    shop_make(folder, address);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return shop_remove(folder);
}

static int64_t log_bytes(void) {
    char path[SHOP_ADDRESS];
    struct stat st;
    snprintf(path, sizeof path, "%s/shop.db.behind-wal", folder);
    return stat(path, &st) == 0 ? st.st_size : 0;
}

static void writes(const char *worker, unsigned keys) {
    const char *const options[] = {"write", "behind"}, *given = getenv("MILLPOND_LOG");
    pond *p = pond_made("memory:", "store", address, "worker", worker, NULL);
    pond_collection *c = NULL;
    pond_error *err = NULL;
    int64_t most = 0;
    int n = ACCEPTS * (given ? atoi(given) : 1) / (slow_build() ? 10 : 1);
    assert_int_equal(pond_collection_new(&c, p, "films", options, 1, NULL), POND_OK);
    assert_int_equal(pond_collection_prepare(c, NULL), POND_OK);
    for (int i = 0; i < n; i++) {
        char id[16], doc[400];
        snprintf(id, sizeof id, "%u", (unsigned)i % keys);
        snprintf(doc, sizeof doc, "{\"n\":%d,\"text\":\"%0280d\"}", i, i);
        if (pond_collection_change(c, POND_REPLACE, id, strlen(id), doc, strlen(doc), NULL, NULL, NULL, &err) !=
            POND_OK)
            fail_msg("%s", pond_error_message(err));
        if (i % 200) continue;
        int64_t is = log_bytes();
        if (is > most) most = is;
    }
    printf("%d accepts, %u keys, worker %s: the log had %lld KiB at most\n", n, keys, worker, (long long)most >> 10);
    assert_true(most < MOST);
    pond_collection_free(c);
    assert_int_equal(pond_close(p, 60000), POND_OK); /* no worker is at its files any more */
    pond_free(p);
}

static void beside_a_worker(void **state) {
    (void)state;
    writes("on", 50000);
}

static void of_one_document_without_a_worker(void **state) {
    (void)state;
    writes("off", 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {TEST(beside_a_worker), TEST(of_one_document_without_a_worker)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
