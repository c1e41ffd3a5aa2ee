/* base/: errors, UTF-8, buffers, quoting, hash, random. */
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/quote.h"
#include "base/random.h"
#include "base/utf8.h"

static void error_carries_code_sentence_and_retriable(void **state) {
    (void)state;
    pond_error *error = NULL;
    assert_int_equal(mp_fail(&error, POND_ETIMEOUT, "key %s: %d ms have passed", "a", 500), POND_ETIMEOUT);
    assert_int_equal(pond_error_code(error), POND_ETIMEOUT);
    assert_string_equal(pond_error_message(error), "key a: 500 ms have passed");
    assert_int_equal(pond_error_retriable(error), 1);
    pond_error_free(error);

    error = mp_error_new(POND_EKEY, "no");
    assert_int_equal(pond_error_retriable(error), 0);
    pond_error_free(error);

    error = mp_error_new_retriable(POND_EKEY, 7, "later");
    assert_int_equal(pond_error_retriable(error), 1);
    pond_error_free(error);

    assert_int_equal(mp_fail(NULL, POND_ECACHE, "nobody asked"), POND_ECACHE);
}

static void error_of_null_is_no_error(void **state) {
    (void)state;
    assert_int_equal(pond_error_code(NULL), POND_OK);
    assert_string_equal(pond_error_message(NULL), "");
    assert_int_equal(pond_error_retriable(NULL), 0);
    assert_null(pond_error_ref(NULL));
    assert_null(pond_error_attachment(NULL, NULL));
    pond_error_free(NULL);
}

static int released;
static void count_release(void *object) {
    released++;
    assert_ptr_equal(object, &released);
}

static void error_releases_its_attachment_with_the_last_reference(void **state) {
    (void)state;
    static const int owner, stranger;
    released = 0;
    pond_error *error = mp_error_with(POND_ELOADER, "it broke", &owner, &released, count_release);
    assert_ptr_equal(pond_error_attachment(error, &owner), &released);
    assert_null(pond_error_attachment(error, &stranger));
    assert_ptr_equal(pond_error_ref(error), error);
    pond_error_free(error);
    assert_int_equal(released, 0);
    assert_string_equal(pond_error_message(error), "it broke");
    pond_error_free(error);
    assert_int_equal(released, 1);

    error = mp_error_with(POND_ELOADER, NULL, NULL, NULL, NULL);
    assert_string_equal(pond_error_message(error), "the loader failed");
    pond_error_free(error);
}

static void error_messages_are_utf8_whatever_they_quote(void **state) {
    (void)state;
    pond_error *error = mp_error_new(POND_ECACHE, "the server said %s", "\xff\xc3\xa4\x80!\xe2\x82");
    assert_string_equal(pond_error_message(error), "the server said ?\xc3\xa4?!??");
    pond_error_free(error);
    error = mp_error_with(POND_ELOADER, "\x80", NULL, NULL, NULL);
    assert_string_equal(pond_error_message(error), "?");
    pond_error_free(error);
}

/* A format that cannot be printed takes the same way as an allocation that fails. */
static void error_that_cannot_be_made_is_a_static_one(void **state) {
    (void)state;
    pond_error *error = NULL;
    assert_int_equal(mp_fail(&error, POND_ESTORE, "%ls", L"\x4e00"), POND_ESTORE);
    assert_int_equal(pond_error_code(error), POND_ESTORE);
    assert_int_equal(pond_error_retriable(error), 1);
    assert_non_null(strstr(pond_error_message(error), "(no memory for details)"));
    assert_ptr_equal(pond_error_ref(error), error);
    for (int i = 0; i < 3; i++) pond_error_free(error); /* as often as one likes */
    assert_int_equal(pond_error_code(error), POND_ESTORE);

    error = mp_error_new(12345, "%ls", L"\x4e00"); /* not one of ours */
    assert_int_equal(pond_error_code(error), POND_ENOMEM);
}

static void codes_have_names_and_texts(void **state) {
    (void)state;
#define X(name, number, retriable, text)                                                                               \
    assert_string_equal(pond_code_name(number), "POND_E" #name);                                                       \
    assert_string_equal(pond_code_text(POND_E##name), text);
    POND_ERROR_MAP(X)
#undef X
    assert_string_equal(pond_code_name(POND_OK), "POND_OK");
    assert_string_equal(pond_code_text(POND_OK), "no error");
    assert_string_equal(pond_code_name(1), "POND_E?");
    assert_string_equal(pond_code_name(-1000), "POND_E?");
    assert_string_equal(pond_code_text(-1000), "an unknown error");
}

static void *ref_and_free(void *arg) {
    for (int i = 0; i < 10000; i++) pond_error_free(pond_error_ref(arg));
    return NULL;
}

static void error_references_are_counted_across_threads(void **state) {
    (void)state;
    pthread_t threads[4];
    released = 0;
    pond_error *error = mp_error_with(POND_ELOADER, "x", &released, &released, count_release);
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, ref_and_free, error), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    assert_int_equal(released, 0);
    pond_error_free(error);
    assert_int_equal(released, 1);
}

/* --- UTF-8 --- */

/* A second opinion, slow and by the book: decode, then judge the number. */
static size_t check_by_decoding(const unsigned char *text, size_t len) {
    size_t at = 0;
    while (at < len) {
        static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        unsigned char first = text[at];
        size_t n = first < 0x80             ? 1
                   : (first & 0xe0) == 0xc0 ? 2
                   : (first & 0xf0) == 0xe0 ? 3
                   : (first & 0xf8) == 0xf0 ? 4
                                            : 0;
        if (n == 0 || at + n > len) return at;
        uint32_t code = n == 1 ? first : first & (0xffu >> (n + 1));
        for (size_t i = 1; i < n; i++) {
            if ((text[at + i] & 0xc0) != 0x80) return at;
            code = code << 6 | (text[at + i] & 0x3f);
        }
        if (code < least[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return at;
        at += n;
    }
    return len;
}

static void utf8_agrees_with_decoding_on_every_short_text(void **state) {
    (void)state;
    /* every class of byte that the rules tell apart, in every combination of four, after 0..9 ASCII bytes */
    static const unsigned char classes[] = {0x00, 'a',  0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                            0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
                                            0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff};
    const size_t n = sizeof classes;
    for (size_t i = 0; i < n * n * n * n; i++) {
        size_t pad = i % 10;
        unsigned char text[16] = "aaaaaaaaaa";
        text[pad] = classes[i % n];
        text[pad + 1] = classes[i / n % n];
        text[pad + 2] = classes[i / n / n % n];
        text[pad + 3] = classes[i / n / n / n];
        for (size_t len = pad; len <= pad + 4; len++) {
            size_t found = mp_utf8_check((char *)text, len), expected = check_by_decoding(text, len);
            if (found != expected) fail_msg("case %zu, %zu bytes: %zu, expected %zu", i, len, found, expected);
        }
    }
}

static void utf8_finds_the_offset_in_long_text(void **state) {
    (void)state;
    char text[100];
    for (size_t bad = 0; bad < sizeof text; bad++) {
        memset(text, 'x', sizeof text);
        assert_int_equal(mp_utf8_check(text, sizeof text), sizeof text);
        text[bad] = '\xff';
        assert_int_equal(mp_utf8_check(text, sizeof text), bad);
    }
    assert_int_equal(mp_utf8_check("", 0), 0);
}

/* --- buffers --- */

static void buf_grows_and_stays_terminated(void **state) {
    (void)state;
    mp_buf buf;
    mp_buf_init(&buf);
    for (int i = 0; i < 1000; i++) {
        mp_buf_text(&buf, "ab");
        mp_buf_printf(&buf, "%03d", i);
        assert_int_equal(buf.len, 5 * (size_t)(i + 1));
        assert_int_equal(buf.data[buf.len], 0);
    }
    assert_memory_equal(buf.data + 4995, "ab999", 6);
    assert_false(buf.failed);
    mp_buf_reset(&buf);
    assert_int_equal(buf.len, 0);
    mp_buf_add(&buf, NULL, 0);
    assert_string_equal(buf.data, "");
    mp_buf_free(&buf);
    assert_null(buf.data);
    mp_buf_add(&buf, "", 0); /* an empty append to an empty buffer also makes a text */
    assert_string_equal(buf.data, "");
    mp_buf_free(&buf);
}

static void buf_that_has_failed_changes_nothing_more(void **state) {
    (void)state;
    mp_buf buf;
    mp_buf_init(&buf);
    mp_buf_text(&buf, "kept");
    assert_false(mp_buf_reserve(&buf, SIZE_MAX - 2));
    assert_true(buf.failed);
    mp_buf_text(&buf, "x");
    mp_buf_printf(&buf, "%d", 1);
    mp_buf_json(&buf, "x", 1);
    assert_string_equal(buf.data, "kept");
    assert_int_equal(buf.len, 4);
    mp_buf_reset(&buf);
    mp_buf_text(&buf, "again");
    assert_string_equal(buf.data, "again");
    mp_buf_free(&buf);
}

static void buf_writes_json_strings(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t len;
        const char *json;
    } cases[] = {{"", 0, "\"\""},
                 {"plain", 5, "\"plain\""},
                 {"a\"b\\c", 5, "\"a\\\"b\\\\c\""},
                 {"\n\r\t\b\x1f\0", 6, "\"\\n\\r\\t\\u0008\\u001f\\u0000\""},
                 {"\x7f\xc3\xa4\xf0\x9f\x98\x80", 7, "\"\x7f\xc3\xa4\xf0\x9f\x98\x80\""},
                 {"\xffz\xc3", 3, "\"\xef\xbf\xbdz\xef\xbf\xbd\""}};
    mp_buf buf;
    mp_buf_init(&buf);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mp_buf_reset(&buf);
        mp_buf_json(&buf, cases[i].text, cases[i].len);
        assert_string_equal(buf.data, cases[i].json);
    }
    mp_buf_free(&buf);
}

/* --- quoting --- */

static void quote_escapes_and_shortens(void **state) {
    (void)state;
    char out[MP_QUOTE_MAX], text[200];
    assert_string_equal(mp_quote(out, "", 0), "\"\"");
    assert_string_equal(mp_quote(out, "a\"\\\n\x7f\0z", 7), "\"a\\\"\\\\\\x0a\\x7f\\x00z\"");
    assert_string_equal(mp_quote(out, "\xc3\xa4\xffz\xe2\x82", 6), "\"\xc3\xa4\\xffz\\xe2\\x82\"");

    memset(text, 0xff, sizeof text); /* the longest that there can be */
    mp_quote(out, text, sizeof text);
    assert_int_equal(strlen(out), MP_QUOTE_MAX - 1);

    for (size_t lead = 0; lead < 4; lead++) { /* never half a character at the cut */
        memset(text, 'k', lead);
        for (size_t at = lead; at + 4 <= sizeof text; at += 4) memcpy(text + at, "\xf0\x9f\x98\x80", 4);
        mp_quote(out, text, 180);
        assert_int_equal(mp_utf8_check(out, strlen(out)), strlen(out));
        assert_null(strchr(out, '\\'));
        assert_non_null(strstr(out, "...\""));
    }
    memset(text, 'k', sizeof text);
    mp_quote(out, text, MP_QUOTE_SHOWN);
    assert_null(strstr(out, "..."));
}

/* --- hash, random, clock --- */

static void hash_depends_on_every_byte_and_the_length(void **state) {
    (void)state;
    char text[600];
    memset(text, 'h', sizeof text);
    for (size_t len = 0; len < sizeof text; len++) {
        uint64_t whole = mp_hash(text, len);
        assert_true(whole == mp_hash(text, len));
        assert_true(whole != mp_hash(text, len + (len < sizeof text - 1 ? 1 : -1)));
        if (len == 0) continue;
        text[len / 2] ^= 1;
        assert_true(whole != mp_hash(text, len));
        text[len / 2] ^= 1;
    }
}

/* What a forked child says. */
static uint32_t ask_child(uint32_t (*what)(void)) {
    int ends[2];
    uint32_t answer = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        answer = what();
        _exit(write(ends[1], &answer, sizeof answer) == sizeof answer ? 0 : 1);
    }
    assert_int_equal(read(ends[0], &answer, sizeof answer), sizeof answer);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    close(ends[0]);
    close(ends[1]);
    return answer;
}

static uint32_t draw(void) { return mp_random_below(UINT32_MAX); }
static uint32_t hash_of_a(void) { return (uint32_t)mp_hash("a", 1); }

static void children_keep_the_hash_and_draw_their_own_jitter(void **state) {
    (void)state;
    assert_true(ask_child(hash_of_a) == hash_of_a()); /* tables that a child inherits stay usable */
    draw();
    uint32_t a[2], b[2]; /* two draws each: equal by chance once in 2^64 */
    for (int i = 0; i < 2; i++) a[i] = ask_child(draw), b[i] = ask_child(draw);
    assert_true(a[0] != b[0] || a[1] != b[1]);
}

static void random_below_stays_below_and_reaches_all(void **state) {
    (void)state;
    unsigned seen[10] = {0};
    for (int i = 0; i < 10000; i++) seen[mp_random_below(10)]++; /* 1000 each; 700 is 10 standard deviations away */
    for (int i = 0; i < 10; i++) assert_in_range(seen[i], 700, 1300);
    assert_int_equal(mp_random_below(1), 0);
}

static void random_bytes_fill_what_was_asked(void **state) {
    (void)state;
    unsigned char a[64] = {0}, b[64] = {0}, zero[64] = {0};
    mp_random_bytes(a, 32);
    mp_random_bytes(b, 32);
    assert_memory_not_equal(a, b, 32);
    assert_memory_equal(a + 32, zero, 32);
    assert_memory_not_equal(a + 24, zero, 8);
    unsigned char many[1000] = {0}; /* more than the kernel gives without a break */
    mp_random_bytes(many, sizeof many);
    assert_memory_not_equal(many + sizeof many - 8, zero, 8);
}

static void clocks_count_milliseconds(void **state) {
    (void)state;
    int64_t first = mp_clock_ms();
    while (mp_clock_ms() == first) {}
    assert_in_range(mp_clock_ms() - first, 1, 10000);
    assert_true(mp_clock_wall_ms() > 1577836800000); /* 2020 */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_carries_code_sentence_and_retriable),
        cmocka_unit_test(error_of_null_is_no_error),
        cmocka_unit_test(error_releases_its_attachment_with_the_last_reference),
        cmocka_unit_test(error_messages_are_utf8_whatever_they_quote),
        cmocka_unit_test(error_that_cannot_be_made_is_a_static_one),
        cmocka_unit_test(codes_have_names_and_texts),
        cmocka_unit_test(error_references_are_counted_across_threads),
        cmocka_unit_test(utf8_agrees_with_decoding_on_every_short_text),
        cmocka_unit_test(utf8_finds_the_offset_in_long_text),
        cmocka_unit_test(buf_grows_and_stays_terminated),
        cmocka_unit_test(buf_that_has_failed_changes_nothing_more),
        cmocka_unit_test(buf_writes_json_strings),
        cmocka_unit_test(quote_escapes_and_shortens),
        cmocka_unit_test(hash_depends_on_every_byte_and_the_length),
        cmocka_unit_test(children_keep_the_hash_and_draw_their_own_jitter),
        cmocka_unit_test(random_below_stays_below_and_reaches_all),
        cmocka_unit_test(random_bytes_fill_what_was_asked),
        cmocka_unit_test(clocks_count_milliseconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
