/* Documents: what is refused with which words, and what the normal form of the rest is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/document.h"

/* A text with its length, so that it may hold a zero byte. */
#define T(text) text, sizeof(text) - 1

static const mp_document_name film = {"films", "7", 1};

static char *pack(const char *text, size_t len) {
    /* exactly as long as it is said to be, so that the sanitizer sees a read past the end */
    char *exact = malloc(len > 0 ? len : 1), *out = NULL;
    size_t out_len = 0;
    pond_error *err = NULL;
    assert_non_null(exact);
    memcpy(exact, text, len);
    int rc = mp_document_pack(&film, exact, len, &out, &out_len, &err);
    if (rc != POND_OK) print_error("%.80s: %s\n", text, pond_error_message(err));
    assert_int_equal(rc, POND_OK);
    assert_null(err);
    assert_int_equal(out_len, strlen(out));
    free(exact);
    return out;
}

static void refused(const char *text, size_t len, const char *says) {
    char *exact = malloc(len > 0 ? len : 1), *out = NULL;
    size_t out_len = 0;
    pond_error *err = NULL;
    assert_non_null(exact);
    memcpy(exact, text, len);
    int rc = mp_document_pack(&film, exact, len, &out, &out_len, &err);
    if (rc != POND_EVALUE) print_error("taken, or another code (%d): %.80s\n", rc, text);
    assert_int_equal(rc, POND_EVALUE);
    assert_int_equal(pond_error_code(err), POND_EVALUE);
    assert_int_equal(pond_error_retriable(err), 0);
    assert_null(out);
    if (strstr(pond_error_message(err), says) == NULL || strncmp(pond_error_message(err), "films \"7\": ", 11) != 0)
        fail_msg("'%s' was to say '%s'", pond_error_message(err), says);
    pond_error_free(err);
    free(exact);
}

static void the_normal_form(void **state) {
    static const struct row {
        const char *text;
        size_t len;
        const char *want;
    } rows[] = {
        {T("{}"), "{}"},
        {T(" \t\r\n{ \"b\" : [ 1 , 2 ] ,\"a\": null }\n"), "{\"b\":[1,2],\"a\":null}"},
        {T("{\"title\":\"Am\\u00e9lie\\/\\u0041\"}"), "{\"title\":\"Am\xc3\xa9lie/A\"}"},
        {T("{\"m\\u00e9\":1}"), "{\"m\xc3\xa9\":1}"},
        {T("{\"a\":\"\\ud83d\\ude00\"}"), "{\"a\":\"\xf0\x9f\x98\x80\"}"},
        {T("{\"a\":\"\\u0001\\u001f\\n\\u000a\\\"\\\\\\u007f\"}"), "{\"a\":\"\\u0001\\u001F\\n\\n\\\"\\\\\x7f\"}"},
        {T("{\"a\":true,\"b\":false}"), "{\"a\":true,\"b\":false}"},
        /* numbers: the value stays, in its shortest spelling */
        {T("{\"n\":[0,-1,10.0,1E2,0.10,-0.0]}"), "{\"n\":[0,-1,10.0,100.0,0.1,-0.0]}"},
        {T("{\"n\":9007199254740993}"), "{\"n\":9007199254740993}"},
        {T("{\"n\":9223372036854775807}"), "{\"n\":9223372036854775807}"},
        {T("{\"n\":-9223372036854775808}"), "{\"n\":-9223372036854775808}"},
        {T("{\"n\":9223372036854775808}"), "{\"n\":9223372036854776000.0}"},
        {T("{\"n\":18446744073709551615}"), "{\"n\":18446744073709552000.0}"},
        {T("{\"n\":[-9223372036854775809]}"), "{\"n\":[-9223372036854776000.0]}"},
        {T("{\"n\":123456789012345678901234567890}"), "{\"n\":1.2345678901234568e29}"},
        {T("{\"n\":[5e-324,1e-400,1.7976931348623157e308]}"), "{\"n\":[5e-324,0.0,1.7976931348623157e308]}"},
        /* the id is the row's key; it goes wherever it stands, but only at the top */
        {T("{\"id\":\"7\"}"), "{}"},
        {T("{\"a\":1,\"\\u0069d\":\"\\u0037\",\"b\":{\"id\":\"8\",\"_mpv\":1}}"),
         "{\"a\":1,\"b\":{\"id\":\"8\",\"_mpv\":1}}"},
        {T("{\"Id\":1,\"\":2,\"a.b\":3,\"$date\":4}"), "{\"Id\":1,\"\":2,\"a.b\":3,\"$date\":4}"},
        {T("{\"a\":{\"x\":1},\"b\":{\"x\":1},\"c\":[{\"x\":1},{\"x\":1}]}"),
         "{\"a\":{\"x\":1},\"b\":{\"x\":1},\"c\":[{\"x\":1},{\"x\":1}]}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *got = pack(rows[i].text, rows[i].len);
        assert_string_equal(got, rows[i].want);
        char *again = pack(got, strlen(got));
        assert_string_equal(again, got);
        free(again);
        free(got);
    }
}

static void what_is_refused(void **state) {
    static const struct row {
        const char *text;
        size_t len;
        const char *says;
    } rows[] = {
        {T(""), "empty"},
        {T(" "), "at byte"},
        {T("[]"), "this is a JSON array"},
        {T("[{\"a\":1}]"), "this is a JSON array"},
        {T("\"text\""), "this is a JSON string"},
        {T("12"), "this is a JSON uint"},
        {T("null"), "this is a JSON null"},
        {T("{\"a\":1}{}"), "at byte 7"},
        {T("{\"a\":1}\0"), "at byte 7"},
        {T("{\"a\":1,}"), "trailing comma"},
        {T("{'a':1}"), "at byte 1"},
        {T("{a:1}"), "at byte 1"},
        {T("{\"a\":1/*x*/}"), "at byte 6"},
        {T("\xef\xbb\xbf{}"), "at byte 0"},
        {T("{\"a\":NaN}"), "at byte 5"},
        {T("{\"a\":Infinity}"), "at byte 5"},
        {T("{\"a\":1e999}"), "infinity"},
        {T("{\"a\":[-1e999]}"), "infinity"},
        {T("{\"a\":01}"), "at byte"},
        {T("{\"a\":+1}"), "at byte 5"},
        {T("{\"a\":.5}"), "at byte 5"},
        {T("{\"a\":1.}"), "at byte"},
        {T("{\"a\":0x10}"), "at byte"},
        /* text that is not UTF-8: a stray byte, overlong, a surrogate, past U+10FFFF, cut short */
        {T("{\"a\":\"\xff\"}"), "UTF-8"},
        {T("{\"a\":\"\xc0\x80\"}"), "UTF-8"},
        {T("{\"a\":\"\xed\xa0\x80\"}"), "UTF-8"},
        {T("{\"a\":\"\xf4\x90\x80\x80\"}"), "UTF-8"},
        {T("{\"a\":\"\xe2\x82\"}"), "UTF-8"},
        {T("{\"\xff\":1}"), "UTF-8"},
        {T("{\"a\":\"\\ud800\"}"), "surrogate"},
        {T("{\"a\":\"\\ud800\\u0041\"}"), "surrogate"},
        {T("{\"a\":\"\\udc00\"}"), "surrogate"},
        {T("{\"a\":\"x\ny\"}"), "at byte"},
        {T("{\"a\":\"x\0y\"}"), "at byte"},
        {T("{\"a\":{\"b\":[1,\"x\\u0000y\"]}}"), "a.b[1] holds U+0000"},
        {T("{\"a\":[{\"\\u0000\":1}]}"), "a[0].\\x00 has a name with U+0000"},
        {T("{\"a\":1,\"b\":2,\"a\":3}"), "a is there twice"},
        {T("{\"a\":[{},{\"b\":{\"c\":1,\"\\u0063\":1}}]}"), "a[1].b.c is there twice"},
        {T("{\"id\":\"7\",\"id\":\"7\"}"), "id is there twice"},
        {T("{\"_mpv\":1}"), "_mpv"},
        {T("{\"a\":1,\"\\u005fmpv\":null}"), "_mpv"},
        {T("{\"id\":\"8\"}"), "\"id\" is not that string"},
        {T("{\"id\":7}"), "\"id\" is not that string"},
        {T("{\"id\":null}"), "\"id\" is not that string"},
        {T("{\"id\":\"\"}"), "\"id\" is not that string"},
        {T("{\"id\":\"77\"}"), "\"id\" is not that string"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) refused(rows[i].text, rows[i].len, rows[i].says);
    char *out = NULL;
    size_t len;
    assert_int_equal(mp_document_pack(&film, NULL, 0, &out, &len, NULL), POND_EVALUE);
}

static void every_cut_is_refused(void **state) {
    static const char whole[] =
        " {\"a\":[1,-2.5e3,true,null,\"\xc3\xa9\\u00e9\\n\",{\"b\":{}}],\"c\":\"\\ud83d\\ude00\"}";
    for (size_t len = 0; len < sizeof whole - 1; len++) refused(whole, len, "");
    free(pack(whole, sizeof whole - 1));
}

static void many_members(void **state) {
    enum { N = 5000 };
    char *text = malloc(N * 16), *at = text;
    assert_non_null(text);
    for (int n = 10; n <= N; n = n < 20 ? n + 1 : n * 5) { /* around the size where the way to compare changes */
        at = text + sprintf(text, "{");
        for (int i = 0; i < n; i++) at += sprintf(at, "%s\"k%d\":%d", i > 0 ? "," : "", (i * 7919) % 100003, i);
        sprintf(at, "}");
        char *got = pack(text, strlen(text));
        assert_string_equal(got, text);
        free(got);
        sprintf(at, ",\"k7919\":0}");
        refused(text, strlen(text), "k7919 is there twice");
    }
    free(text);
}

static char *nested(size_t depth, char open, char close, size_t *len) {
    char *text = malloc(2 * depth + 6);
    assert_non_null(text);
    memcpy(text, "{\"a\":", 5);
    memset(text + 5, open, depth);
    memset(text + 5 + depth, close, depth);
    text[5 + 2 * depth] = '}';
    *len = 6 + 2 * depth;
    return text;
}

static void deep_nesting(void **state) {
    size_t len;
    char *text = nested(MP_DOCUMENT_DEPTH - 1, '[', ']', &len), *got = pack(text, len);
    assert_memory_equal(got, text, len);
    free(got);
    free(text);
    text = nested(MP_DOCUMENT_DEPTH, '[', ']', &len);
    refused(text, len, "nested too deep");
    free(text);
    text = nested(1000000, '[', ']', &len);
    refused(text, len, "nested too deep");
    refused(text, 1000005, "at byte"); /* only the opening half */
    free(text);
    /* objects: a path that is longer than an error shows */
    enum { LEVELS = 200000 };
    text = malloc(LEVELS * 6 + 1);
    assert_non_null(text);
    for (size_t i = 0; i < LEVELS; i++) memcpy(text + i * 6, "{\"ab\":", 6);
    refused(text, LEVELS * 6, "at byte");
    free(text);
    char deep[3000], *at = deep;
    for (int i = 0; i < 200; i++) at += sprintf(at, "{\"member\":");
    at += sprintf(at, "1");
    for (int i = 0; i < 200; i++) *at++ = '}';
    refused(deep, (size_t)(at - deep), "member.member");
    refused(deep, (size_t)(at - deep), "... is nested too deep");
}

static void huge_texts(void **state) {
    enum { N = 1000000 };
    char *text = malloc(N + 64);
    assert_non_null(text);
    memcpy(text, "{\"a\":", 5);
    memset(text + 5, '9', N);
    text[N + 5] = '}';
    refused(text, N + 6, "infinity"); /* a number with a million digits */
    memcpy(text + 5, "0.", 2);
    char *got = pack(text, N + 6);
    assert_string_equal(got, "{\"a\":1.0}");
    free(got);
    text[5] = '"';
    memset(text + 6, 'x', N);
    memcpy(text + 6 + N, "\"}", 2);
    got = pack(text, N + 8);
    assert_memory_equal(got, text, N + 8);
    free(got);
    memset(text + 5, '"', N); /* not a string, but many */
    refused(text, N + 6, "at byte");
    free(text);
}

/* Whatever comes, it is refused with words or its normal form is its own normal form. */
static void mutated_documents(void **state) {
    static const char seed[] =
        "{\"a\":[1,-2.5e3,true,null,\"\xc3\xa9\\u00e9\\n\",{\"b\":{\"id\":0}}],\"c\":\"\\ud83d\\ude00\","
        "\"d\":9223372036854775808,\"id\":\"7\"}";
    static const char bytes[] = "{}[]\",:\\u0eE+-.19 \xff\xc3\xa9\xed\0ntf";
    uint32_t random = 1;
    int taken = 0, not_taken = 0;
    for (int round = 0; round < 30000; round++) {
        char text[sizeof seed + 8];
        size_t len = sizeof seed - 1;
        memcpy(text, seed, len);
        for (int change = 0; change < 1 + round % 3; change++) {
            random = random * 1664525u + 1013904223u;
            size_t at = (random >> 8) % len;
            char byte = bytes[(random >> 3) % (sizeof bytes - 1)];
            if (random >> 31) text[at] = byte;
            else {
                memmove(text + at, text + at + 1, len - at - 1);
                len--;
            }
        }
        char *exact = malloc(len), *out = NULL;
        size_t out_len = 0;
        pond_error *err = NULL;
        assert_non_null(exact);
        memcpy(exact, text, len);
        if (mp_document_pack(&film, exact, len, &out, &out_len, &err) == POND_OK) {
            char *again = pack(out, out_len);
            assert_string_equal(again, out);
            free(again);
            free(out);
            taken++;
        } else {
            assert_int_equal(pond_error_code(err), POND_EVALUE);
            assert_true(strlen(pond_error_message(err)) > 20);
            pond_error_free(err);
            not_taken++;
        }
        free(exact);
    }
    assert_true(taken > 300 && not_taken > 10000);
}

static void with_the_id_first(void **state) {
    static const struct row {
        const char *id, *text, *want;
    } rows[] = {
        {"7", "{}", "{\"id\":\"7\"}"},
        {"7", "{\"a\":1}", "{\"id\":\"7\",\"a\":1}"},
        {"a\"\\\n\xc3\xa9", "{\"a\":1}", "{\"id\":\"a\\\"\\\\\\n\xc3\xa9\",\"a\":1}"},
        /* what others wrote: blanks, spellings, and twins stay; an id or _mpv of its own goes */
        {"7", " \n{ }\n", "{\"id\":\"7\"}"},
        {"7", " \t{ \"a\" : 1.50 }\n", "{\"id\":\"7\", \"a\" : 1.50 }\n"},
        {"7", "{\"a\":123456789012345678901234567890,\"a\":1e999}",
         "{\"id\":\"7\",\"a\":123456789012345678901234567890,\"a\":1e999}"},
        {"7", "{\"id\":\"7\"}", "{\"id\":\"7\"}"},
        {"7", "{\"a\":1.50,\"id\":{\"x\":\"8\"},\"b\":{\"id\":9}}", "{\"id\":\"7\",\"a\":1.50,\"b\":{\"id\":9}}"},
        {"7", "{\"\\u0069d\":8, \"a\":18446744073709551616}", "{\"id\":\"7\",\"a\":18446744073709551616}"},
        {"7", "{\"_mpv\":8, \"id\":1, \"id\":2}", "{\"id\":\"7\"}"},
        {"7", "{\"b\":{\"id\":1,\"_mpv\":2}}", "{\"id\":\"7\",\"b\":{\"id\":1,\"_mpv\":2}}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const mp_document_name name = {"films", rows[i].id, strlen(rows[i].id)};
        pond_value *value = NULL;
        pond_error *err = NULL;
        size_t len, n = strlen(rows[i].text);
        char *exact = malloc(n);
        assert_non_null(exact);
        memcpy(exact, rows[i].text, n);
        assert_int_equal(mp_document_unpack(&name, exact, n, &value, &err), POND_OK);
        assert_null(err);
        assert_string_equal(pond_value_data(value, &len), rows[i].want);
        assert_int_equal(len, strlen(rows[i].want));
        assert_int_equal(pond_value_state(value), POND_VALUE);
        assert_int_equal(pond_value_codec(value), POND_JSON);
        pond_value_free(value);
        free(exact);
    }
}

static void what_is_no_document(void **state) {
    static const char *const texts[] = {"",
                                        "x",
                                        "[]",
                                        "7",
                                        "\"{}\"",
                                        "null",
                                        "{\"a\":1",
                                        "{\"a\":\"\xff\"}",
                                        "{\"a\":01}",
                                        "{}{}",
                                        "{\"a\":\"\\ud800\"}",
                                        "\xef\xbb\xbf{}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        pond_value *value = NULL;
        pond_error *err = NULL;
        assert_int_equal(mp_document_unpack(&film, texts[i], strlen(texts[i]), &value, &err), POND_ESTORE);
        assert_null(value);
        assert_int_equal(pond_error_code(err), POND_ESTORE);
        assert_int_equal(pond_error_retriable(err), 0);
        assert_non_null(strstr(pond_error_message(err), "films \"7\": what stands in the store is not a document"));
        pond_error_free(err);
        assert_int_equal(mp_document_unpack(&film, texts[i], strlen(texts[i]), &value, NULL), POND_ESTORE);
    }
    pond_value *value = NULL;
    assert_int_equal(mp_document_unpack(&film, NULL, 0, &value, NULL), POND_ESTORE);
}

static void long_names_are_shortened(void **state) {
    char id[509];
    memset(id, 'x', sizeof id);
    const mp_document_name name = {"films", id, sizeof id};
    char *out = NULL;
    size_t len;
    pond_error *err = NULL;
    assert_int_equal(mp_document_pack(&name, T("{"), &out, &len, &err), POND_EVALUE);
    assert_true(strlen(pond_error_message(err)) < 200);
    assert_non_null(strstr(pond_error_message(err), "xxx...\": "));
    pond_error_free(err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_normal_form),      cmocka_unit_test(what_is_refused),
        cmocka_unit_test(every_cut_is_refused), cmocka_unit_test(many_members),
        cmocka_unit_test(deep_nesting),         cmocka_unit_test(huge_texts),
        cmocka_unit_test(mutated_documents),    cmocka_unit_test(with_the_id_first),
        cmocka_unit_test(what_is_no_document),  cmocka_unit_test(long_names_are_shortened),
    };
    return cmocka_run_group_tests_name("document", tests, NULL, NULL);
}
