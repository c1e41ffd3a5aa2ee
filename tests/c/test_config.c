/* Options: the table, every type, the sentences of what is refused, and the public configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "model/config.h"

static pond_config *new_config(void) {
    pond_config *config = pond_config_new();
    assert_non_null(config);
    return config;
}

static void defaults_are_parsed(void **state) {
    (void)state;
    mp_options options;
    assert_true(mp_options_init(&options));
    assert_string_equal(options.cache, "memory:");
    assert_null(options.store);
    assert_null(options.password);
    assert_string_equal(options.namespace, "default");
    assert_int_equal(options.memory_max, 256 << 20);
    assert_int_equal(options.max_value, 16 << 20);
    assert_int_equal(options.ttl, 300000);
    assert_int_equal(options.negative_ttl, 30000);
    assert_int_equal(options.negative_max, 100000);
    assert_int_equal(options.lease, 3000);
    assert_int_equal(options.store_threads, 4);
    assert_int_equal(options.fence, 1);
    assert_int_equal(options.when_wait_ends, 0);
    assert_int_equal(options.when_cache_down, 0);
    mp_options_free(&options);
}

/* Whoever adds a row gets these checks with it. */
static void every_row_is_whole(void **state) {
    (void)state;
    static const char *const types[] = {"text", "duration", "size", "count", "choice", "switch"};
    static const char *const scopes[] = {"pond", "policy", "both", "collection"};
    pond_config *config = new_config();
    assert_true(pond_option_count() >= 20);
    for (size_t row = 0; row < pond_option_count(); row++) {
        const char *name = pond_option_name(row), *standard = pond_option_default(row);
        int known = 0;
        for (size_t i = 0; i < 6; i++) known += strcmp(pond_option_type(row), types[i]) == 0;
        for (size_t i = 0; i < 4; i++) known += strcmp(pond_option_scope(row), scopes[i]) == 0;
        assert_int_equal(known, 2);
        assert_in_range(strlen(name), 1, 31);
        assert_true(strlen(pond_option_text(row)) > 5);
        assert_non_null(pond_option_range(row));
        assert_string_equal(pond_config_get(config, name), standard);
        /* A default is a legal value, where the option may be given. */
        bool anywhere = strcmp(pond_option_scope(row), "collection") != 0;
        assert_int_equal(pond_config_set(config, name, standard, NULL), anywhere ? POND_OK : POND_EOPTION);
        for (size_t other = 0; other < row; other++) assert_string_not_equal(name, pond_option_name(other));
    }
    pond_config_free(config);
    size_t past = pond_option_count();
    assert_null(pond_option_name(past));
    assert_null(pond_option_type(past));
    assert_null(pond_option_scope(past));
    assert_null(pond_option_default(past));
    assert_null(pond_option_range(past));
    assert_null(pond_option_text(SIZE_MAX));
}

/* The ends of each row's range are inside it, and the numbers next to them are outside. */
static void every_range_is_kept(void **state) {
    (void)state;
    enum { EVERYWHERE = MP_SCOPE_BOTH | MP_SCOPE_COLLECTION };
    mp_options options;
    unsigned seen = 0;
    assert_true(mp_options_init(&options));
    for (size_t row = 0; row < pond_option_count(); row++) {
        const char *name = pond_option_name(row), *range = pond_option_range(row), *type = pond_option_type(row);
        char low[32] = {0};
        if (strcmp(type, "text") == 0) continue;
        seen++;
        assert_int_equal(mp_options_set(&options, EVERYWHERE, name, "", NULL), POND_EOPTION);
        assert_int_equal(mp_options_set(&options, EVERYWHERE, name, "x", NULL), POND_EOPTION);
        assert_int_equal(mp_options_set(&options, EVERYWHERE, name, "-1", NULL), POND_EOPTION);
        if (strcmp(type, "choice") == 0 || strcmp(type, "switch") == 0) {
            assert_int_equal(mp_options_set(&options, EVERYWHERE, name, range, NULL), POND_EOPTION);
            continue;
        }
        const char *high = strstr(range, "..");
        assert_non_null(high);
        memcpy(low, range, (size_t)(high - range));
        high += 2;
        assert_int_equal(mp_options_set(&options, EVERYWHERE, name, low, NULL), POND_OK);
        assert_int_equal(mp_options_set(&options, EVERYWHERE, name, high, NULL), POND_OK);
        char past[40] = "1"; /* ten times as much, plus a bit */
        strcat(past, high);
        assert_int_equal(mp_options_set(&options, EVERYWHERE, name, past, NULL), POND_EOPTION);
        if (low[0] != '0') assert_int_equal(mp_options_set(&options, EVERYWHERE, name, "0", NULL), POND_EOPTION);
    }
    assert_true(seen >= 14);
    mp_options_free(&options);
}

static void every_type_is_set(void **state) {
    (void)state;
    mp_options options;
    assert_true(mp_options_init(&options));
    static const char *const pairs[][2] = {{"cache", "redis://127.0.0.1:6379/0"},
                                           {"store", "sqlite:films.db"},
                                           {"namespace", "films"},
                                           {"ttl", "1.5s"},
                                           {"negative_ttl", "0"},
                                           {"memory_max", "64MiB"},
                                           {"store_threads", "64"},
                                           {"fence", "off"},
                                           {"when_cache_down", "error"},
                                           {"when_wait_ends", "load"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        assert_int_equal(mp_options_set(&options, MP_SCOPE_BOTH, pairs[i][0], pairs[i][1], NULL), POND_OK);
    assert_string_equal(options.cache, "redis://127.0.0.1:6379/0");
    assert_string_equal(options.store, "sqlite:films.db");
    assert_string_equal(options.namespace, "films");
    assert_int_equal(options.ttl, 1500);
    assert_int_equal(options.negative_ttl, 0);
    assert_int_equal(options.memory_max, 64 << 20);
    assert_int_equal(options.store_threads, 64);
    assert_int_equal(options.fence, 0);
    assert_int_equal(options.when_cache_down, 1);
    assert_int_equal(options.when_wait_ends, 1);
    assert_int_equal(mp_options_set(&options, MP_SCOPE_BOTH, "fence", "on", NULL), POND_OK);
    assert_int_equal(options.fence, 1);
    assert_int_equal(mp_options_set(&options, MP_SCOPE_BOTH, "store", "", NULL), POND_OK); /* not set any more */
    assert_null(options.store);
    mp_options_free(&options);
}

static void check_refused(unsigned scopes, const char *name, const char *value, const char *sentence) {
    mp_options options;
    pond_error *err = NULL;
    assert_true(mp_options_init(&options));
    mp_options before = options;
    assert_int_equal(mp_options_set(&options, scopes, name, value, &err), POND_EOPTION);
    assert_int_equal(pond_error_code(err), POND_EOPTION);
    assert_string_equal(pond_error_message(err), sentence);
    assert_memory_equal(&options, &before, sizeof options);
    pond_error_free(err);
    mp_options_free(&options);
}

static void refusals_name_the_option_the_value_and_what_it_takes(void **state) {
    (void)state;
    check_refused(MP_SCOPE_BOTH, "ttl", "10 parsecs",
                  "ttl: \"10 parsecs\" is not a duration: write 250ms, 30s, 5m, 1h, 1d or milliseconds");
    check_refused(MP_SCOPE_BOTH, "ttl", "0", "ttl: \"0\" is out of range: write 1ms..365d");
    check_refused(MP_SCOPE_BOTH, "ttl", "366d", "ttl: \"366d\" is out of range: write 1ms..365d");
    check_refused(MP_SCOPE_BOTH, "ttl", "99999999999999999999",
                  "ttl: \"99999999999999999999\" is out of range: write "
                  "1ms..365d");
    check_refused(MP_SCOPE_BOTH, "ttl", "0.5ms", "ttl: \"0.5ms\" is not a whole number of milliseconds");
    check_refused(MP_SCOPE_BOTH, "ttl", NULL, "ttl: it has no value (NULL): write 1ms..365d");
    check_refused(MP_SCOPE_BOTH, "max_value", "64MB",
                  "max_value: \"64MB\" is not a size: write 512KiB, 64MiB, 1GiB or bytes");
    check_refused(MP_SCOPE_BOTH, "max_value", "1GiB", "max_value: \"1GiB\" is out of range: write 1KiB..256MiB");
    check_refused(MP_SCOPE_BOTH, "max_value", "2000.1", "max_value: \"2000.1\" is not a whole number of bytes");
    check_refused(MP_SCOPE_BOTH, "store_threads", "four",
                  "store_threads: \"four\" is not a number: write decimal digits");
    check_refused(MP_SCOPE_BOTH, "store_threads", "0", "store_threads: \"0\" is out of range: write 1..64");
    check_refused(MP_SCOPE_BOTH, "when_cache_down", "panic",
                  "when_cache_down: \"panic\" is not one of its values: write store|error");
    check_refused(MP_SCOPE_BOTH, "when_cache_down", "stor",
                  "when_cache_down: \"stor\" is not one of its values: write store|error");
    check_refused(MP_SCOPE_BOTH, "fence", "yes", "fence: \"yes\" is not one of its values: write on|off");
    check_refused(MP_SCOPE_BOTH, "namespace", "a:b",
                  "namespace: \"a:b\" may not hold ':' at byte 1: leave out / ? { } : and "
                  "control characters");
    check_refused(MP_SCOPE_BOTH, "namespace", "", "namespace: it is empty: write 1 to 64 bytes");
    check_refused(MP_SCOPE_POLICY, "cache",
                  "memory:", "cache: it belongs to the pond: set it in the configuration that is opened");
    check_refused(MP_SCOPE_BOTH, NULL, "1", "an option has no name (NULL)");
}

static void texts_are_bounded_clean_and_never_repeated(void **state) {
    (void)state;
    char text[5000];
    memset(text, 'p', sizeof text - 1);
    text[4097] = 0;
    check_refused(MP_SCOPE_BOTH, "password", text, "password: the value has 4097 bytes: it has at most 4096");
    check_refused(MP_SCOPE_BOTH, "password", "secret\xff", "password: the value is not UTF-8 at byte 6");
    check_refused(MP_SCOPE_BOTH, "cache", "",
                  "cache: the value is empty: write memory:[name] | redis://[user:password@]host[:port][/database] | "
                  "rediss://... | "
                  "unix:/path[?db=n]");
    mp_options options;
    assert_true(mp_options_init(&options));
    text[4096] = 0;
    assert_int_equal(mp_options_set(&options, MP_SCOPE_BOTH, "password", text, NULL), POND_OK);
    assert_string_equal(options.password, text);
    mp_options_free(&options);
}

static void unknown_options_get_the_nearest_name(void **state) {
    (void)state;
    static const char *const pairs[][2] = {{"tttl", "ttl"},
                                           {"tll", "ttl"},
                                           {"TTL", "ttl"},
                                           {"negativ_ttl", "negative_ttl"},
                                           {"negative-ttl", "negative_ttl"},
                                           {"negativeTtl", "negative_ttl"},
                                           {"when_cach_donw", "when_cache_down"},
                                           {"name_space", "namespace"},
                                           {"lese", "lease"},
                                           {"cahce", "cache"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char sentence[200] = "unknown option \"";
        strcat(strcat(strcat(strcat(sentence, pairs[i][0]), "\": did you mean \""), pairs[i][1]), "\"?");
        check_refused(MP_SCOPE_BOTH, pairs[i][0], "1", sentence);
    }
}

static void unknown_options_near_to_none_get_the_list(void **state) {
    (void)state;
    mp_options options;
    assert_true(mp_options_init(&options));
    static const char *const names[] = {"zzzzzz", "", "a_name_that_is_longer_than_any_option_can_be_____",
                                        "\xff\n\"such things\""};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        pond_error *err = NULL;
        assert_int_equal(mp_options_set(&options, MP_SCOPE_BOTH, names[i], "1", &err), POND_EOPTION);
        const char *message = pond_error_message(err);
        if (names[i][0] == '\xff') assert_non_null(strstr(message, "option \"\\xff\\x0a\\\"such things\\\"\": "));
        assert_non_null(strstr(message, ": the options are cache, store, "));
        assert_non_null(strstr(message, ", when_cache_down"));
        pond_error_free(err);
    }
    /* a policy is told only of what a policy takes */
    pond_error *err = NULL;
    assert_int_equal(mp_options_set(&options, MP_SCOPE_POLICY, "zzzzzz", "1", &err), POND_EOPTION);
    assert_null(strstr(pond_error_message(err), "memory_max"));
    assert_non_null(strstr(pond_error_message(err), "options are namespace, ttl, "));
    pond_error_free(err);
    mp_options_free(&options);
}

static void copies_share_nothing(void **state) {
    (void)state;
    mp_options a, b;
    assert_true(mp_options_init(&a));
    assert_int_equal(mp_options_set(&a, MP_SCOPE_BOTH, "namespace", "films", NULL), POND_OK);
    assert_int_equal(mp_options_set(&a, MP_SCOPE_BOTH, "ttl", "7s", NULL), POND_OK);
    assert_true(mp_options_copy(&b, &a));
    mp_options_free(&a);
    assert_string_equal(b.namespace, "films");
    assert_string_equal(b.cache, "memory:");
    assert_null(b.store);
    assert_int_equal(b.ttl, 7000);
    mp_options_free(&b);
    mp_options_free(&b); /* once more does no harm */
}

static void config_answers_what_was_set(void **state) {
    (void)state;
    pond_config *config = new_config();
    pond_error *err = NULL;
    char value[] = "90s";
    assert_string_equal(pond_config_get(config, "ttl"), "5m");
    assert_int_equal(pond_config_set(config, "ttl", value, &err), POND_OK);
    value[0] = 'X';
    assert_string_equal(pond_config_get(config, "ttl"), "90s");
    assert_int_equal(config->options.ttl, 90000);
    assert_int_equal(pond_config_set(config, "ttl", "never", &err), POND_EOPTION);
    assert_non_null(err);
    pond_error_free(err);
    assert_string_equal(pond_config_get(config, "ttl"), "90s"); /* a refused value changes nothing */
    assert_int_equal(pond_config_set(config, "ttl", "2h", NULL), POND_OK);
    assert_string_equal(pond_config_get(config, "ttl"), "2h");
    assert_int_equal(pond_config_set(config, "ttl", NULL, NULL), POND_EOPTION);
    assert_int_equal(pond_config_set(config, NULL, "1", NULL), POND_EOPTION);
    assert_int_equal(pond_config_set(config, "ttll", "1", NULL), POND_EOPTION);
    assert_null(pond_config_get(config, "ttll"));
    assert_null(pond_config_get(config, NULL));
    assert_string_equal(pond_config_get(config, "store"), "");
    pond_config_free(config);
    pond_config_free(NULL);
}

/* An empty list of fields is one; a list that is not given is none. */
static void a_list_may_be_empty(void **state) {
    (void)state;
    mp_options options, copy;
    assert_true(mp_options_init(&options));
    assert_null(options.filterable);
    assert_int_equal(mp_options_set(&options, MP_SCOPE_COLLECTION, "filterable", "", NULL), POND_OK);
    assert_string_equal(options.filterable, "");
    assert_true(mp_options_copy(&copy, &options));
    assert_string_equal(copy.filterable, "");
    mp_options_free(&copy);
    mp_options_free(&options);
    check_refused(MP_SCOPE_BOTH, "filterable", "a",
                  "filterable: it belongs to a collection: give it where that is made");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_parsed),
        cmocka_unit_test(every_row_is_whole),
        cmocka_unit_test(every_range_is_kept),
        cmocka_unit_test(every_type_is_set),
        cmocka_unit_test(refusals_name_the_option_the_value_and_what_it_takes),
        cmocka_unit_test(texts_are_bounded_clean_and_never_repeated),
        cmocka_unit_test(unknown_options_get_the_nearest_name),
        cmocka_unit_test(unknown_options_near_to_none_get_the_list),
        cmocka_unit_test(copies_share_nothing),
        cmocka_unit_test(config_answers_what_was_set),
        cmocka_unit_test(a_list_may_be_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
