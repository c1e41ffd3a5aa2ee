/* Merge patches, as RFC 7386 has them, and what we add: values of Extended JSON are whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "model/json_patch.h"

static const mp_document_name name = {"films", "0042", 4};

static const char *patched(const char *document, const char *patch) {
    static char text[4000];
    char *out = NULL;
    size_t len = 0;
    pond_error *err = NULL;
    int code = mp_json_patch(&name, document, strlen(document), patch, strlen(patch), &out, &len, &err);
    if (code != POND_OK) fail_msg("%s", pond_error_message(err));
    assert_int_equal(strlen(out), len);
    snprintf(text, sizeof text, "%s", out);
    free(out);
    return text;
}

/* The examples of the RFC's appendix whose document and patch are objects. */
static void the_examples_of_the_rfc(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
        {"{\"title\":\"Goodbye!\",\"author\":{\"givenName\":\"John\",\"familyName\":\"Doe\"},\"tags\":[\"example\","
         "\"sample\"],"
         "\"content\":\"This will be unchanged\"}",
         "{\"title\":\"Hello!\",\"phoneNumber\":\"+01-123-456-7890\",\"author\":{\"familyName\":null},\"tags\":["
         "\"example\"]}",
         "{\"title\":\"Hello!\",\"author\":{\"givenName\":\"John\"},\"tags\":[\"example\"],\"content\":\"This will be "
         "unchanged\",\"phoneNumber\":\"+01-123-456-7890\"}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(patched(cases[i][0], cases[i][1]), cases[i][2]);
}

static void what_is_not_touched_stays_as_it_is_spelled(void **state) {
    (void)state;
    assert_string_equal(
        patched("{\"x\": 1.10, \"y\" : 12345678901234567890123, \"z\":-0.0}", "{\"x\":1.5e300,\"n\":0.1}"),
        "{\"x\":1.5e300,\"y\":12345678901234567890123,\"z\":-0.0,\"n\":0.1}");
    assert_string_equal(patched("{\"\":{\"\":1}}", "{\"\":{\"\":null,\"a\":{}}}"), "{\"\":{\"a\":{}}}");
}

static void values_of_extended_json_are_whole(void **state) {
    (void)state;
    const char *date = "{\"d\":{\"$date\":{\"$numberLong\":\"5\"}},\"o\":{\"$oid\":\"0123456789abcdef01234567\"}}";
    assert_string_equal(patched(date, "{\"d\":{\"$date\":{\"$numberLong\":\"6\"}}}"),
                        "{\"d\":{\"$date\":{\"$numberLong\":\"6\"}},\"o\":{\"$oid\":\"0123456789abcdef01234567\"}}");
    assert_string_equal(patched(date, "{\"d\":{\"$oid\":\"0123456789abcdef01234567\"},\"o\":{\"a\":1}}"),
                        "{\"d\":{\"$oid\":\"0123456789abcdef01234567\"},\"o\":{\"a\":1}}");
    assert_string_equal(patched("{\"a\":{\"b\":1}}", "{\"a\":{\"$date\":{\"$numberLong\":\"6\"}}}"),
                        "{\"a\":{\"$date\":{\"$numberLong\":\"6\"}}}");
}

static void many_members_are_found(void **state) {
    (void)state;
    enum { MANY = 3000 };
    char *document = malloc(MANY * 16), *patch = malloc(MANY * 16), *out = NULL;
    size_t d = 0, p = 0, len = 0;
    d += (size_t)sprintf(document, "{");
    p += (size_t)sprintf(patch, "{");
    for (int i = 0; i < MANY; i++) {
        d += (size_t)sprintf(document + d, "%s\"k%d\":%d", i ? "," : "", i, i);
        p += (size_t)sprintf(patch + p, "%s\"k%d\":%s", i ? "," : "", MANY - 1 - i, i % 2 ? "null" : "7");
    }
    sprintf(document + d, "}");
    sprintf(patch + p, "}");
    assert_int_equal(mp_json_patch(&name, document, strlen(document), patch, strlen(patch), &out, &len, NULL), POND_OK);
    char *at = out + 1;
    for (int i = 1; i < MANY; i += 2) {
        char want[24];
        int n = sprintf(want, "\"k%d\":7%s", i, i == MANY - 1 ? "}" : ",");
        assert_memory_equal(at, want, (size_t)n);
        at += n;
    }
    assert_int_equal(*at, 0);
    free(out);
    free(document);
    free(patch);
}

static void what_is_no_object_is_damaged(void **state) {
    (void)state;
    static const char *const wrong[] = {"[1]", "1", "", "{\"a\":", "null"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char *out = NULL;
        size_t len = 0;
        pond_error *err = NULL;
        assert_int_equal(mp_json_patch(&name, wrong[i], strlen(wrong[i]), "{}", 2, &out, &len, &err), POND_ESTORE);
        assert_false(pond_error_retriable(err));
        assert_non_null(strstr(pond_error_message(err), "films \"0042\""));
        assert_null(out);
        pond_error_free(err);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_of_the_rfc),
        cmocka_unit_test(what_is_not_touched_stays_as_it_is_spelled),
        cmocka_unit_test(values_of_extended_json_are_whole),
        cmocka_unit_test(many_members_are_found),
        cmocka_unit_test(what_is_no_object_is_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
