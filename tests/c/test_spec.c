/* The shared cases of tests/spec in C, on memory: and, where MILLPOND_TEST_REDIS names a server, on Redis. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "tool/spec_table.h"
#include "tool/tool.h"

static char folder[] = "/tmp/millpond-spec-XXXXXX";

/* What a test function is given: one case on one cache. */
typedef struct run {
    const spec_case *spec;
    const char *cache;
    char name[160], ns[32], store[64];
} run;

/* The text with @NS@ and @STORE@ filled in; malloc'ed. */
static char *filled(const run *self, const char *words) {
    text out = {0};
    text_add(&out, "", 0);
    while (*words) {
        if (strncmp(words, "@NS@", 4) == 0) {
            text_puts(&out, self->ns);
            words += 4;
        } else if (strncmp(words, "@STORE@", 7) == 0) {
            text_puts(&out, self->store);
            words += 7;
        } else {
            text_add(&out, words++, 1);
        }
    }
    return out.data;
}

static void check(const run *self, tool *tools, const spec_step *step) {
    char *line = filled(self, step->line), *reply = tool_run(tools, line);
    for (size_t i = 0; i < SPEC_PARTS && step->must[i]; i++) {
        char *part = filled(self, step->must[i]);
        if (!strstr(reply, part)) fail_msg("%.300s\n  answered %.600s\n  which lacks %.600s", line, reply, part);
        free(part);
    }
    for (size_t i = 0; i < SPEC_PARTS && step->must_not[i]; i++)
        if (strstr(reply, step->must_not[i])) fail_msg("%.300s\n  answered %.600s", line, reply);
    free(line);
    free(reply);
}

static void test_case(void **state) {
    const run *self = *state;
    static const spec_step witness = {
        "fetch key=witness load=json data={\"seen\":true}", {"\"ok\":true", "\"loaded\":true", NULL}, {NULL}};
    static const spec_step still = {
        "lookup key=witness", {"\"state\":\"value\",\"type\":\"json\",\"data\":{\"seen\":true}", NULL}, {NULL}};
    static const spec_step closed = {"close", {"\"ok\":true", NULL}, {NULL}};
    tool tools = {0};
    text open = {0};
    text_printf(&open, "open opt.cache=%s opt.namespace=%s %s", self->cache, self->ns, self->spec->options);
    const spec_step opened = {open.data, {"\"ok\":true", NULL}, {NULL}};
    check(self, &tools, &opened);
    if (self->spec->witness) check(self, &tools, &witness);
    for (const spec_step *step = self->spec->steps; step->line; step++) check(self, &tools, step);
    if (self->spec->witness) check(self, &tools, &still);
    check(self, &tools, &closed);
    tool_end(&tools);
    free(open.data);
}

int main(void) {
    const char *caches[] = {"memory:", getenv("MILLPOND_TEST_REDIS")};
    size_t cases = 0, count = 0;
    while (spec_cases[cases].name) cases++;
    run *runs = calloc(2 * cases, sizeof *runs);
    struct CMUnitTest *tests = calloc(2 * cases, sizeof *tests);
    if (!runs || !tests || !mkdtemp(folder)) return 2;
    for (size_t i = 0; i < 2 * cases; i++) {
        const spec_case *one = &spec_cases[i % cases];
        const char *cache = caches[i / cases];
        if (!cache || !(i < cases ? one->memory : one->redis)) continue;
        run *self = &runs[count];
        self->spec = one;
        self->cache = cache;
        snprintf(self->name, sizeof self->name, "%s (%s)", one->name, i < cases ? "memory" : "redis");
        snprintf(self->ns, sizeof self->ns, "spec-c-%d-%zu", getpid(), i);
        snprintf(self->store, sizeof self->store, "sqlite:%s/%zu.db", folder, i);
        tests[count++] = (struct CMUnitTest){self->name, test_case, NULL, NULL, self};
    }
    int failed = _cmocka_run_group_tests("shared cases", tests, count, NULL, NULL);
    char remove[96];
    snprintf(remove, sizeof remove, "rm -rf %s", folder);
    if (system(remove) != 0) failed++;
    free(runs);
    free(tests);
    return failed;
}
