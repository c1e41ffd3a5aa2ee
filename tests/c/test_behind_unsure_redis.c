/* Redis loses a change while the store gets it, and nobody tells Redis of that: what was read from the store and cached in between goes all the same. */
#include "support/support.h"

#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "pattern/pond.h"
#include "support/redis.h"
#include "support/server.h"

static char folder[SHOP_FOLDER], address[SHOP_ADDRESS], ns[64];

static int set_up(void **state) {
    (void)state;
    shop_make(folder, address);
    snprintf(ns, sizeof ns, "%s", fresh("unsure"));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return shop_remove(folder);
}

static server *redis;
static pond_collection *reader;
static const mp_store_vt *real;
static enum { LATER, NOW, DONE } _Atomic when;
static bool answers; /* the store says that it has it, and Redis does not answer */

static bool reads(const char *text) {
    pond_value *value = NULL;
    bool is =
        pond_collection_get(reader, "1", 1, &value, NULL) == POND_OK && strcmp(pond_value_data(value, NULL), text) == 0;
    pond_value_free(value);
    return is;
}

static void comes_to_be_read(const char *text) {
    for (int64_t until = mp_clock_after(15000); !reads(text); usleep(20000))
        if (mp_clock_ms() > until) fail_msg("%s is not read", text);
}

/* What was accepted last is in the worker's hands when Redis loses it, and the old document is cached before the new one is stored. */
static mp_flushed late(mp_store *s, mp_flush *f, pond_error **err) {
    if (when != NOW || f->n == 0) return real->behind_flush(s, f, err);
    server_kill(redis, false);
    server_again(redis);
    comes_to_be_read("{\"id\":\"1\",\"n\":1}");
    assert_int_equal(real->behind_flush(s, f, err), MP_FLUSHED);
    if (answers) server_freeze(redis, true);
    when = DONE;
    if (answers) return MP_FLUSHED;
    mp_fail(err, POND_ESTORE, "its answer was lost");
    return MP_FLUSH_FAILED;
}

static void changes(pond_collection *c, const char *doc) {
    pond_error *err = NULL;
    if (pond_collection_change(c, POND_REPLACE, "1", 1, doc, strlen(doc), NULL, NULL, NULL, &err) != POND_OK)
        fail_msg("%s", pond_error_message(err));
}

static pond *made(const char *worker) {
    return pond_made(server_url(redis), "store", address, "namespace", ns, "worker", worker, "command_timeout", "300ms",
                     NULL);
}

static void is_not_told(void) {
    static const char *const options[] = {"write", "behind"};
    redis = server_start(NULL);
    pond *on = made("on"), *off = made("off");
    static mp_store_vt vt; /* for longer than the pond */
    vt = *(real = on->store->vt);
    vt.behind_flush = late;
    on->store->vt = &vt;
    pond_collection *c = films_made(on, options, 1);
    reader = films_made(off, options, 1);
    changes(c, "{\"n\":1}");
    assert_int_equal(pond_collection_flush(c, 10000, NULL), POND_OK);
    when = NOW;
    changes(c, "{\"n\":2}");
    for (int64_t until = mp_clock_after(20000); when != DONE; usleep(5000)) assert_true(mp_clock_ms() < until);
    if (answers) {
        usleep(1000000); /* longer than anything waits for an answer */
        server_freeze(redis, false);
    }
    comes_to_be_read("{\"id\":\"1\",\"n\":2}");
    when = LATER;
    pond_collection_free(c);
    pond_collection_free(reader);
    pond_free(on);
    pond_free(off);
    server_stop(redis);
}

static void by_a_worker_that_has_no_answer(void **state) {
    (void)state;
    answers = false;
    is_not_told();
}

static void by_a_worker_that_gets_none_from_redis(void **state) {
    (void)state;
    answers = true;
    is_not_told();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    watchdog(110);
    const struct CMUnitTest tests[] = {
        TEST(by_a_worker_that_has_no_answer),
        TEST(by_a_worker_that_gets_none_from_redis),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
