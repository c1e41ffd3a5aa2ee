/* The Prometheus text: what it looks like, what it leaves out, and that it is bounded. python/tests/test_metrics.py has it read by
 * Prometheus' own parser. */
#include "observe/metrics.h"
#include "support/support.h"

static mp_stats *stats;
static mp_buf text;
static int64_t gauges[MP_GAUGES];

static int set_up(void **state) {
    (void)state;
    stats = mp_stats_new();
    mp_buf_init(&text);
    mp_gauges_init(gauges);
    return stats ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    mp_stats_free(stats);
    mp_buf_free(&text);
    return 0;
}

static void write_text(void) {
    mp_buf_reset(&text);
    mp_metrics_text(stats, gauges, "1.2.3", "memory", &text);
    assert_false(text.failed);
}

static size_t lines_with(const char *part) {
    size_t n = 0;
    for (const char *at = text.data; (at = strstr(at, part)); at += strlen(part)) n++;
    return n;
}

static void has(const char *line) {
    if (lines_with(line) != 1) fail_msg("%zu times \"%s\" in\n%s", lines_with(line), line, text.data);
}

static void rows_have_labels(void **state) {
    (void)state;
    static const char *const rows[] = {"shop", "a\\b\"c", "shop/films", "shop/films?", "shop/films?total"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mp_ns_stats *row = mp_stats_ns(stats, rows[i]);
        for (size_t n = 0; n <= i; n++) mp_count(row, MP_COUNT_hits);
    }
    write_text();
    has("# TYPE millpond_hits_total counter\n");
    has("\nmillpond_hits_total{namespace=\"shop\"} 1\n");
    has("\nmillpond_hits_total{namespace=\"a\\\\b\\\"c\"} 2\n");
    has("\nmillpond_hits_total{namespace=\"shop\",collection=\"films\",part=\"documents\"} 3\n");
    has("\nmillpond_hits_total{namespace=\"shop\",collection=\"films\",part=\"pages\"} 4\n");
    has("\nmillpond_hits_total{namespace=\"shop\",collection=\"films\",part=\"totals\"} 5\n");
    has("\nmillpond_info{version=\"1.2.3\",cache=\"memory\"} 1\n");
    assert_int_equal(lines_with("# HELP"), MP_COUNTERS + 2);
    assert_int_equal(lines_with("# TYPE"), MP_COUNTERS + 2);
}

static void what_is_unknown_is_left_out(void **state) {
    (void)state;
    write_text();
    assert_int_equal(lines_with("memory_bytes"), 0);
    assert_int_equal(lines_with("millpond_hits_total{"), 0);
    gauges[MP_GAUGE_memory_bytes] = 0;
    gauges[MP_GAUGE_memory_evictions] = 7;
    write_text();
    has("# TYPE millpond_memory_bytes gauge\nmillpond_memory_bytes 0\n");
    has("# TYPE millpond_memory_evictions_total counter\nmillpond_memory_evictions_total 7\n");
}

static void loads_stand_in_buckets(void **state) {
    (void)state;
    mp_ns_stats *row = mp_stats_ns(stats, "n");
    static const int64_t took[] = {-5, 0, 1, 2, 3, 1000, 1001, 30000, 30001, 99999};
    for (size_t i = 0; i < sizeof took / sizeof took[0]; i++) mp_count_load(row, took[i]);
    write_text();
    has("# TYPE millpond_load_seconds histogram\n");
    has("\nmillpond_load_seconds_bucket{namespace=\"n\",le=\"0.001\"} 3\n");
    has("\nmillpond_load_seconds_bucket{namespace=\"n\",le=\"0.002\"} 4\n");
    has("\nmillpond_load_seconds_bucket{namespace=\"n\",le=\"0.005\"} 5\n");
    has("\nmillpond_load_seconds_bucket{namespace=\"n\",le=\"0.5\"} 5\n");
    has("\nmillpond_load_seconds_bucket{namespace=\"n\",le=\"1\"} 6\n");
    has("\nmillpond_load_seconds_bucket{namespace=\"n\",le=\"2.5\"} 7\n");
    has("\nmillpond_load_seconds_bucket{namespace=\"n\",le=\"30\"} 8\n");
    has("\nmillpond_load_seconds_bucket{namespace=\"n\",le=\"+Inf\"} 10\n");
    has("\nmillpond_load_seconds_sum{namespace=\"n\"} 162.007\n");
    has("\nmillpond_load_seconds_count{namespace=\"n\"} 10\n");
}

static void what_is_written_behind_has_gauges(void **state) {
    (void)state;
    mp_behind_row rows[] = {{"shop/views", {4, 17, 1234}}, {"shop/a\"b", {0, 0, 0}}};
    mp_metrics_behind(rows, 0, &text);
    assert_int_equal(text.len, 0);
    mp_metrics_behind(rows, 2, &text);
    has("# TYPE millpond_behind_shards gauge\nmillpond_behind_shards{namespace=\"shop\",collection=\"views\"} 4\n");
    has("\nmillpond_behind_backlog{namespace=\"shop\",collection=\"views\"} 17\n");
    has("\nmillpond_behind_backlog{namespace=\"shop\",collection=\"a\\\"b\"} 0\n");
    has("\nmillpond_behind_lag_seconds{namespace=\"shop\",collection=\"views\"} 1.234\n");
    assert_int_equal(lines_with("# HELP"), MP_BEHIND_GAUGES);
}

/* Namespaces may come from anywhere; what a scraper must read is bounded, and no sum ever falls. */
static void rows_are_bounded(void **state) {
    (void)state;
    char name[32];
    for (int i = 0; i < MP_METRICS_ROWS + 500; i++) {
        snprintf(name, sizeof name, "ns%d", i);
        mp_ns_stats *row = mp_stats_ns(stats, name);
        assert_non_null(row);
        mp_count(row, MP_COUNT_hits);
        mp_count_load(row, 3);
        if (i == MP_METRICS_ROWS - 1) {
            write_text();
            assert_int_equal(lines_with("?others"), 0);
        }
    }
    write_text();
    assert_int_equal(lines_with("\nmillpond_hits_total{"), MP_METRICS_ROWS + 1);
    has("\nmillpond_hits_total{namespace=\"ns0\"} 1\n");
    has("\nmillpond_hits_total{namespace=\"ns999\"} 1\n");
    assert_int_equal(lines_with("\"ns1000\""), 0);
    has("\nmillpond_hits_total{namespace=\"?others\"} 500\n");
    has("\nmillpond_load_seconds_sum{namespace=\"?others\"} 1.500\n");
    assert_true(text.len < 4u << 20);
}

static atomic_bool over;
static void *add_rows(void *arg) {
    (void)arg;
    char name[32];
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, "busy%d", i);
        mp_ns_stats *row = mp_stats_ns(stats, name);
        mp_count(row, MP_COUNT_loads);
        mp_count_load(row, i);
    }
    atomic_store(&over, true);
    return NULL;
}

static void rows_may_come_meanwhile(void **state) {
    (void)state;
    pthread_t thread;
    atomic_store(&over, false);
    assert_int_equal(pthread_create(&thread, NULL, add_rows, NULL), 0);
    while (!atomic_load(&over)) write_text();
    pthread_join(thread, NULL);
    write_text();
    has("\nmillpond_loads_total{namespace=\"?others\"} 1000\n");
}

/* The whole way, from a pond. */
static void a_pond_has_metrics(void **state) {
    (void)state;
    pond *p = pond_made("memory:metrics", "namespace", "whole", "memory_max", "1MiB", NULL);
    pond_value *value = NULL;
    pond_error *err = NULL;
    size_t len;
    fetcher f = {.p = p, .key = "k", .script = {.value = "one", .delay_ms = 20}};
    assert_int_equal(fetch(&f), POND_OK);
    assert_int_equal(pond_metrics(p, &value, &err), POND_OK);
    assert_int_equal(pond_value_codec(value), POND_TEXT);
    mp_buf_text(&text, pond_value_data(value, &len));
    assert_int_equal(text.len, len);
    has("\nmillpond_memory_entries 1\n");
    has("\nmillpond_memory_max_bytes 1048576\n");
    has("\nmillpond_calls 0\n");
    has("\nmillpond_loads_total{namespace=\"whole\"} 1\n");
    has("\nmillpond_load_seconds_bucket{namespace=\"whole\",le=\"0.01\"} 0\n");
    has("\nmillpond_load_seconds_count{namespace=\"whole\"} 1\n");
    assert_int_equal(lines_with("redis"), 0);
    pond_value_free(value);
    assert_int_equal(pond_metrics(NULL, &value, &err), POND_EMISUSE);
    pond_error_free(err);
    pond_free(p);
}

int main(void) {
    watchdog(100);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_have_labels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_unknown_is_left_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(loads_stand_in_buckets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_written_behind_has_gauges, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_may_come_meanwhile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_pond_has_metrics, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
