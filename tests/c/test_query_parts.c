/* What queries are made of: numbers and their spelling, instants, case folding, SHA-256. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "model/fold.h"
#include "model/instant.h"
#include "model/json_number.h"
#include "model/sha256.h"

static uint64_t state64;

static uint64_t random64(void) { /* SplitMix64, as number_digest.mjs has it */
    uint64_t z = state64 += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* --- numbers ---------------------------------------------------------------------------------------------------- */

static size_t count;

/* Spells the number, reads it again, and adds it to the text. */
static void add_number(mp_buf *to, double real) {
    char text[MP_NUMBER_ROOM];
    mp_number n = {.is_real = true, .real = real}, again;
    if (!isfinite(real) || (fabs(real) < 0x1p63 && real == (double)(int64_t)real)) return;
    size_t len = mp_number_print(text, &n);
    assert_int_equal(len, strlen(text));
    assert_int_equal(mp_number_parse(text, len, &again), MP_NUMBER_FINITE);
    if (!again.is_real || memcmp(&again.real, &real, sizeof real) != 0)
        fail_msg("%s is %.17g and not %.17g", text, again.real, real);
    mp_buf_printf(to, "%s\n", text);
    count++;
}

static void numbers_are_spelled_as_javascript_does(void **state) {
    char digest[MP_SHA256_HEX + 1], text[64];
    mp_buf all;
    mp_buf_init(&all);
    state64 = 0;
    count = 0;
    for (int i = 0; i < 40000; i++) {
        uint64_t bits = random64();
        double real;
        memcpy(&real, &bits, sizeof real);
        add_number(&all, real);
    }
    for (int exponent = -324; exponent <= 308; exponent++)
        for (int i = 0; i < 16; i++) {
            snprintf(text, sizeof text, "%" PRIu64 "e%d", random64() % 100000, exponent);
            add_number(&all, strtod(text, NULL));
        }
    assert_false(all.failed);
    assert_int_equal(count, 49546);
    mp_sha256_hex(digest, all.data, all.len);
    assert_string_equal(
        digest, "5aa305189cc713062da17dcc8abf0c05121c5efe2a3ebdb5c9ee10318ae03e69"); /* node number_digest.mjs */
    mp_buf_free(&all);
}

static void spellings(void **state) {
    static const struct row {
        double real;
        const char *text;
    } rows[] = {{0.1, "0.1"},
                {0.000001, "0.000001"},
                {1e-7, "1e-7"},
                {1.5e-7, "1.5e-7"},
                {123456.789, "123456.789"},
                {5e-324, "5e-324"},
                {1e21, "1e+21"},
                {1.5e21, "1.5e+21"},
                {0x1p63, "9223372036854776000"},
                {-0.5, "-0.5"},
                {123456789012345678901.0, "123456789012345680000"},
                {1.7976931348623157e308, "1.7976931348623157e+308"},
                {-1e-10, "-1e-10"},
                {4.35, "4.35"},
                {1e100, "1e+100"},
                {2.2250738585072014e-308, "2.2250738585072014e-308"}};
    char text[MP_NUMBER_ROOM];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mp_number_print(text, &(mp_number){.is_real = true, .real = rows[i].real});
        assert_string_equal(text, rows[i].text);
    }
    mp_number_print(text, &(mp_number){.integer = INT64_MIN});
    assert_string_equal(text, "-9223372036854775808");
    mp_number_print(text, &(mp_number){.integer = 0});
    assert_string_equal(text, "0");
}

static void what_a_number_is(void **state) {
    static const char *const none[] = {"",     "-",        "+1",        "01",    "-01", "00",  ".5",    "1.",
                                       "1.e5", "1e",       "1e+",       "1e5.0", "0x1", "1 ",  " 1",    "1a",
                                       "NaN",  "Infinity", "-Infinity", "1,0",   "--1", "1-1", "1_000", "\xd9\xa1"};
    static const char *const infinite[] = {"1e999", "-1e309", "1.8e308", "1e99999999999999999999"};
    mp_number n;
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        if (mp_number_parse(none[i], strlen(none[i]), &n) != MP_NUMBER_NONE) fail_msg("'%s' is a number", none[i]);
    for (size_t i = 0; i < sizeof infinite / sizeof infinite[0]; i++)
        assert_int_equal(mp_number_parse(infinite[i], strlen(infinite[i]), &n), MP_NUMBER_INFINITE);
    assert_int_equal(mp_number_parse("1e-99999999999999999999", 23, &n), MP_NUMBER_FINITE);
    assert_true(!n.is_real && n.integer == 0);
    assert_int_equal(mp_number_parse("-9223372036854775808", 20, &n), MP_NUMBER_FINITE);
    assert_true(!n.is_real && n.integer == INT64_MIN);
    assert_int_equal(mp_number_parse("-0.0", 4, &n), MP_NUMBER_FINITE);
    assert_true(!n.is_real && n.integer == 0);
}

/* Decimals of up to 60 digits, and ones that lie half way between two doubles, become the nearest as strtod has it. */
static void decimals_become_the_nearest_double(void **state) {
    char text[1200];
    mp_number n;
    state64 = 7;
    for (int i = 0; i < 40000; i++) {
        size_t len = 0;
        if (i % 4 == 0) { /* exactly between a double and its neighbour, or just beside it */
            uint64_t bits = (random64() & 0x000fffffffffffffu) | (uint64_t)(1023 - 60 + random64() % 120) << 52;
            double low, high;
            memcpy(&low, &bits, sizeof low);
            bits++;
            memcpy(&high, &bits, sizeof high);
            len = (size_t)snprintf(text, sizeof text, "%.120Lf%s", ((long double)low + (long double)high) / 2,
                                   i % 8 == 0 ? "" : "1");
        } else {
            for (uint64_t k = 1 + random64() % 60; k > 0; k--) {
                uint64_t digit = len == 0 ? 1 + random64() % 9 : random64() % 10;
                text[len++] = (char)('0' + digit);
            }
            len += (size_t)snprintf(text + len, sizeof text - len, ".%" PRIu64 "e%d", random64() % 1000000,
                                    (int)(random64() % 660) - 380);
        }
        double want = strtod(text, NULL);
        mp_number_kind kind = mp_number_parse(text, len, &n);
        if (isinf(want)) {
            assert_int_equal(kind, MP_NUMBER_INFINITE);
            continue;
        }
        assert_int_equal(kind, MP_NUMBER_FINITE);
        double got = n.is_real ? n.real : (double)n.integer;
        if (got != want) fail_msg("%s: %.17g instead of %.17g", text, got, want);
    }
}

/* --- instants --------------------------------------------------------------------------------------------------- */

static void instants(void **state) {
    static const struct row {
        const char *text;
        int64_t ms;
    } good[] = {{"1970-01-01", 0},
                {"2020-01-01", 1577836800000},
                {"2000-02-29", 951782400000},
                {"0000-01-01", -62167219200000},
                {"9999-12-31T23:59:59.999Z", 253402300799999},
                {"2020-01-01T01:00:00.000+01:00", 1577836800000},
                {"2019-12-31T23:30-00:30", 1577836800000},
                {"2020-01-01t00:00:00z", 1577836800000},
                {"1970-01-01T00:00:00.5Z", 500},
                {"1970-01-01T00:00:00.05Z", 50},
                {"1969-12-31T23:59:59.999Z", -1}};
    static const char *const bad[] = {"",
                                      "2020",
                                      "2020-01",
                                      "2020-1-01",
                                      "2020-02-30",
                                      "2021-02-29",
                                      "1900-02-29",
                                      "2020-13-01",
                                      "2020-00-01",
                                      "2020-01-00",
                                      "2020-01-32",
                                      "20200101",
                                      "2020/01/01",
                                      "2020-01-01T",
                                      "2020-01-01T12",
                                      "2020-01-01T12:00",
                                      "2020-01-01 12:00Z",
                                      "2020-01-01T24:00Z",
                                      "2020-01-01T12:60Z",
                                      "2020-01-01T12:00:60Z",
                                      "2020-01-01T12:00:00.Z",
                                      "2020-01-01T12:00:00.1234Z",
                                      "2020-01-01T12:00.5Z",
                                      "2020-01-01T12:00+1:00",
                                      "2020-01-01T12:00+24:00",
                                      "2020-01-01T12:00+0100",
                                      "2020-01-01T12:00ZZ",
                                      "2020-01-01Z",
                                      "+2020-01-01",
                                      "-020-01-01",
                                      "2020-01-01x"};
    int64_t ms;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (!mp_instant_parse(good[i].text, strlen(good[i].text), &ms)) fail_msg("%s: refused", good[i].text);
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (mp_instant_parse(bad[i], strlen(bad[i]), &ms)) fail_msg("%s: taken", bad[i]);
    /* every day follows the one before it */
    int64_t last = -62167219200000 - 86400000, days = 0;
    for (int year = 0; year < 10000; year++)
        for (int month = 1; month <= 12; month++)
            for (int day = 1; day <= 31; day++) {
                char text[16];
                snprintf(text, sizeof text, "%04d-%02d-%02d", year, month, day);
                if (!mp_instant_parse(text, 10, &ms)) continue;
                assert_true(ms == last + 86400000);
                last = ms;
                days++;
            }
    assert_int_equal(days, 3652425);
}

/* --- case folding ----------------------------------------------------------------------------------------------- */

static void the_table(void **state) {
    size_t entries = 0, members = 0;
    for (uint32_t code = 0; code < 0x110000; code++) {
        uint32_t to = mp_fold(code), variants[MP_FOLD_VARIANTS_MAX];
        entries += to != code;
        assert_int_equal(mp_fold(to), to);
        if (code >= 0x20000 && code < 0x10fff0) continue; /* nothing folds there: the loop over the runs is slow */
        size_t n = mp_fold_variants(code, variants);
        bool there = false;
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(mp_fold(variants[i]), to);
            assert_true(i == 0 || variants[i - 1] < variants[i]);
            there = there || variants[i] == code;
        }
        assert_true(there);
        if (to == code && n > 1) members += n - 1; /* counted once a class */
    }
    assert_int_equal(entries, 1454);
    assert_int_equal(members, 1454); /* so no class lacks one */
    assert_int_equal(mp_fold(0x1e9e), 0xdf);
    assert_int_equal(mp_fold(0xdf), 0xdf);
    assert_int_equal(mp_fold(0x130), 0x130);
    assert_int_equal(mp_fold(0x1c90), 0x10d0);
    assert_int_equal(mp_fold(0x1c80), 0x432);
    uint32_t k[MP_FOLD_VARIANTS_MAX];
    assert_int_equal(mp_fold_variants('K', k), 3);
    assert_true(k[0] == 'K' && k[1] == 'k' && k[2] == 0x212a);
}

static void code_points(void **state) {
    for (uint32_t code = 0; code < 0x110000; code++) {
        char text[4], folded[MP_FOLD_ROOM(4)];
        if (code >= 0xd800 && code < 0xe000) continue;
        size_t n = mp_fold_put(text, code), at = 0;
        assert_int_equal(mp_fold_next(text, n, &at), code);
        assert_int_equal(at, n);
        size_t m = mp_fold_text(folded, text, n);
        assert_true(m <= MP_FOLD_ROOM(n));
        at = 0;
        assert_int_equal(mp_fold_next(folded, m, &at), mp_fold(code));
    }
    /* what is not UTF-8 is passed through, byte by byte */
    const char *broken = "A\xff\xc0\x80\xed\xa0\x80\xf5\xe2\x82\xc3";
    char out[MP_FOLD_ROOM(16)];
    size_t len = strlen(broken);
    assert_int_equal(mp_fold_text(out, broken, len), len);
    assert_memory_equal(out, "a\xff\xc0\x80\xed\xa0\x80\xf5\xe2\x82\xc3", len);
}

static bool has(const char *text, const char *term) { return mp_fold_has(text, strlen(text), term, strlen(term)); }

static void finding(void **state) {
    assert_true(has("The RED Shoes", "red"));
    assert_true(has("anything", ""));
    assert_true(has("STRA\xe1\xba\x9e"
                    "E",
                    "stra\xc3\x9f"
                    "e"));
    assert_false(has("Stra\xc3\x9f"
                     "e",
                     "strasse"));
    assert_true(has("\xe2\x84\xaa"
                    "elvin",
                    "kelvin"));
    assert_true(has("\xce\xa3\xce\xaf\xcf\x83\xcf\x85\xcf\x86\xce\xbf\xcf\x82",
                    "\xcf\x83\xce\xaf\xcf\x83\xcf\x85\xcf\x86\xce\xbf\xcf\x83"));
    assert_false(has("re", "red"));
    assert_false(has("", "a"));
    assert_false(has("istanbul", "\xc4\xb0"));
    assert_true(has("\xc4\xb0stanbul", "\xc4\xb0"));
    assert_false(has("\xe9\xc3", "\xc3\xa9"));
    /* against the plain way, over few letters, so that terms overlap themselves */
    state64 = 3;
    size_t found = 0;
    for (int i = 0; i < 20000; i++) {
        char text[40], folded[MP_FOLD_ROOM(40) + 1], term[8];
        size_t n = random64() % 30, m = 1 + random64() % 6;
        for (size_t k = 0; k < n; k++) text[k] = "abAB"[random64() % 4];
        for (size_t k = 0; k < m; k++) term[k] = "ab"[random64() % 2];
        term[m] = 0;
        folded[mp_fold_text(folded, text, n)] = 0;
        bool want = strstr(folded, term) != NULL;
        assert_int_equal(mp_fold_has(text, n, term, m), want);
        found += want;
    }
    assert_true(found > 1000 && found < 19000);
}

static void spaces(void **state) {
    size_t n = 0;
    for (uint32_t code = 0; code < 0x110000; code++) n += mp_fold_is_space(code);
    assert_int_equal(n, 25);
    assert_true(mp_fold_is_space(0x3000) && mp_fold_is_space(0x85) && !mp_fold_is_space(0x200b) &&
                !mp_fold_is_space(0xfeff));
}

/* --- SHA-256 ---------------------------------------------------------------------------------------------------- */

static void sha256(void **state) {
    static const struct row {
        const char *text, *hex;
    } rows[] = {{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
                {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
                {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                 "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
                {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopq"
                 "rstnopqrstu",
                 "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"}};
    char hex[MP_SHA256_HEX + 1];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mp_sha256_hex(hex, rows[i].text, strlen(rows[i].text));
        assert_string_equal(hex, rows[i].hex);
    }
    char *million = malloc(1000000);
    assert_non_null(million);
    memset(million, 'a', 1000000);
    mp_sha256_hex(hex, million, 1000000);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(million);
    /* every length of the last block: the sum of the sums of 0 to 299 times x, made with hashlib */
    mp_buf all;
    mp_buf_init(&all);
    char x[300];
    memset(x, 'x', sizeof x);
    for (size_t n = 0; n < sizeof x; n++) {
        mp_sha256_hex(hex, x, n);
        mp_buf_text(&all, hex);
    }
    mp_sha256_hex(hex, all.data, all.len);
    assert_string_equal(hex, "3d495ac8356e73941898cd69a28db2416d82a39572f771b3306e99afe7e013e0");
    mp_buf_free(&all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_spelled_as_javascript_does),
        cmocka_unit_test(spellings),
        cmocka_unit_test(what_a_number_is),
        cmocka_unit_test(decimals_become_the_nearest_double),
        cmocka_unit_test(instants),
        cmocka_unit_test(the_table),
        cmocka_unit_test(code_points),
        cmocka_unit_test(finding),
        cmocka_unit_test(spaces),
        cmocka_unit_test(sha256),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
