/* Queries of strangers: the bounds, hostile texts in bounded time, and that neither order nor spelling changes the key. */
#include <time.h>

#include "query_support.h"

/* --- bounds ----------------------------------------------------------------------------------------------------- */

/* `count` times the piece, with its number for the #. */
static char *repeated(const char *head, const char *piece, size_t count, const char *tail) {
    mp_buf buf;
    mp_buf_init(&buf);
    mp_buf_text(&buf, head);
    for (size_t i = 0; i < count; i++) {
        const char *mark = strchr(piece, '#');
        if (mark == NULL) mp_buf_text(&buf, piece);
        else {
            mp_buf_add(&buf, piece, (size_t)(mark - piece));
            mp_buf_printf(&buf, "%zu", i);
            mp_buf_text(&buf, mark + 1);
        }
    }
    mp_buf_text(&buf, tail);
    assert_false(buf.failed);
    return buf.data;
}

static void at_most(const char *head, const char *piece, size_t most, const char *tail, const char *reason) {
    char *fits = repeated(head, piece, most, tail), *over = repeated(head, piece, most + 1, tail);
    mp_query *query = taken(fits);
    is_stable(plain(), query);
    mp_query_free(query);
    refused(over, reason, "at most");
    free(fits);
    free(over);
}

static void bounds_are_held(void **state) {
    at_most("a=", "x", 1024, "", "too_long");
    at_most("{\"a\":\"", "x", 1024, "\"}", "too_long");
    at_most("{\"a\":[1,\"", "x", 1024, "\"]}", "too_long");
    at_most("", "a", 255, "=1", "too_long");
    at_most("", "f#[gt]=1&", 32, "", "too_long");
    at_most("{\"z\":1", ",\"f#\":1", 31, "}", "too_long");
    at_most("", "a=#&", 100, "", "too_long");
    at_most("a[in]=#", ",x#", 99, "", "too_long");
    at_most("{\"a\":{\"in\":[0", ",#", 99, "]}}", "too_long");
    at_most("search=", "x", 256, "", "too_long");
    at_most("search=", "w#+", 16, "", "too_long");
    char *fits = repeated("sort=s", ",s#", 7, ",id"), *over = repeated("sort=s", ",s#", 8, "");
    mp_query *query = taken(fits);
    is_stable(plain(), query);
    mp_query_free(query);
    refused(over, "too_long", "more than 8 fields");
    free(fits);
    free(over);
    fits = repeated("fields=id,s", ",s#", 63, ""), over = repeated("fields=s", ",s#", 64, "");
    query = taken(fits);
    assert_int_equal(query->field_count, 65);
    is_stable(plain(), query);
    mp_query_free(query);
    refused(over, "too_long", "more than 64 fields");
    free(fits);
    free(over);
    /* the text: 8,192 bytes, of an object its names and values */
    fits = repeated("a=1", "&", 8189, ""), over = repeated("a=1", "&", 8190, "");
    same(fits, "a=1");
    refused(over, "too_long", "8193 bytes: it has at most 8192");
    free(fits);
    free(over);
    fits = repeated("{\"a\":[1",
                    ",\"\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9#\"", 99, "]}");
    over =
        repeated("{\"a\":[1", ",\"\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9#\"", 99, "]}");
    same(fits, over); /* however it is spelled */
    free(fits);
    free(over);
    over = repeated("{\"a\":[1",
                    ",\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"", 99,
                    "]}");
    refused(over, "too_long", "more than 8192 bytes");
    free(over);
    over = repeated("{\"a\":1", " ", 65536, "}");
    refused(over, "too_long", "at most 65536");
    free(over);
}

/* --- strangers -------------------------------------------------------------------------------------------------- */

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* what it costs; on a busy machine it may take longer */
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Refused or taken, but soon: the best of three. */
static void is_quick(char *text, const char *reason) {
    int64_t best = INT64_MAX;
    for (int i = 0; i < 3; i++) {
        int64_t start = now_us();
        if (reason != NULL) refused(text, reason, "");
        else mp_query_free(taken(text));
        int64_t took = now_us() - start;
        if (took < best) best = took;
    }
    if (best > 100000) fail_msg("%.60s...: %" PRId64 " us", text, best);
    free(text);
}

static void strangers(void **state) {
    is_quick(repeated("", "a#=1&", 10000, ""), "too_long");
    is_quick(repeated("{\"z\":1", ",\"a#\":1", 10000, "}"), "too_long");
    is_quick(repeated("", "a#=&", 1000, ""), "too_long"); /* 1,000 fields */
    is_quick(repeated("", "a&", 4096, ""), "too_long");   /* 4,096 values of one */
    is_quick(repeated("a[in]=", ",", 8000, ""), "too_long");
    is_quick(repeated("sort=", ",a", 4000, ""), "bad_field");
    is_quick(repeated("fields=a", ",b#", 1500, ""), "too_long");
    is_quick(repeated("fields=a", ",b.c.d.e.f.g", 600, ""), NULL);
    is_quick(repeated("sort=a", ",a", 4000, ""), NULL);
    is_quick(repeated("a", "[b]", 2000, "=1"), "bad_operator");
    is_quick(repeated("a", "[", 8000, "=1"), "bad_field");
    is_quick(repeated("a", ".b", 4000, "=1"), "too_long");
    is_quick(repeated("a=", "%41", 1024, ""), NULL);
    is_quick(repeated("a=", "%", 8000, ""), "bad_encoding");
    is_quick(repeated("a=", "9", 400, ""), NULL);
    is_quick(repeated("a[gt]=", "9", 400, ""), "bad_number");
    is_quick(repeated("a[gt]=0.", "9", 400, ""), NULL);
    is_quick(repeated("{\"a\":", "9", 400, "}"), "bad_number");
    is_quick(repeated("{\"a\":0.", "0", 400, "1e400}"), NULL);
    is_quick(repeated("a[gt]=1e", "9", 1000, ""), "bad_number");
    is_quick(repeated("a[gt]=1e-", "9", 1000, ""), NULL);
    is_quick(repeated("{\"a\":", "{\"eq\":", 1000, "1"), "bad_value"); /* not closed */
    char *open = repeated("", "[", 1000, "");
    char *deep = repeated("{\"a\":", "[", 1000, "");
    char *closed = malloc(strlen(deep) + 1002);
    assert_non_null(closed);
    memcpy(closed, deep, strlen(deep) + 1);
    memset(closed + strlen(deep), ']', 1000);
    memcpy(closed + strlen(deep) + 1000, "}", 2);
    is_quick(closed, "bad_value");
    free(deep);
    is_quick(open, "bad_value");
    mp_buf nested;
    mp_buf_init(&nested);
    for (int i = 0; i < 1000; i++) mp_buf_text(&nested, "{\"a\":");
    mp_buf_text(&nested, "1");
    for (int i = 0; i < 1000; i++) mp_buf_text(&nested, "}");
    is_quick(nested.data, "bad_operator");
    mp_buf_init(&nested);
    for (int i = 0; i < 9000; i++) mp_buf_text(&nested, "{\"where\":");
    is_quick(nested.data, "too_long");
    mp_buf_init(&nested);
    for (int i = 0; i < 1000; i++) mp_buf_text(&nested, "{\"where\":");
    mp_buf_text(&nested, "1");
    for (int i = 0; i < 1000; i++) mp_buf_text(&nested, "}");
    is_quick(nested.data, "bad_operator");
    /* what other languages would run is only text */
    is_filter("a=.*&b=%24where&c=%7B%22%24gt%22%3A%22%22%7D&d='%3BDROP+TABLE+t%3B--",
              "\"a\":{\"eq\":\".*\"},\"b\":{\"eq\":\"$where\"},\"c\":{\"eq\":\"{\\\"$gt\\\":\\\"\\\"}\"},\"d\":{\"eq\":"
              "\"';DROP TABLE t;--\"}");
}

/* --- order and spelling ------------------------------------------------------------------------------------------ */

/* A value as text, and typed in JSON if it has a type of its own (else NULL). */
static const struct value {
    const char *text, *json;
    bool ordered; /* the typed one may stand in a range */
} values[] = {
    {"10", "10", true},
    {"10", "1e1", true},
    {"-2.5", "-25e-1", true},
    {"0", "-0.0", true},
    {"1e+21", "1e21", true},
    {"true", "true", false},
    {"null", "null", false},
    {"false", "false", false},
    {"10.0", NULL, true},
    {"01234", NULL, true},
    {"shoes", NULL, true},
    {"", NULL, true},
    {" x ", NULL, true},
    {"a&b=c%d+e", NULL, true},
    {"\"q\\", NULL, true},
    {"Z\xc3\xbcrich\n", NULL, true},
    {"2020-01-01", NULL, true},
    {"507f1f77bcf86cd799439011", NULL, true},
    {"\xf0\x9f\x98\x80", NULL, true},
    {"9007199254740993", "9007199254740993", true},
};
static const char *const names[] = {"price",
                                    "a.b",
                                    "Gr\xc3\xb6\xc3\x9f"
                                    "e",
                                    "limit",
                                    "where",
                                    "US Gross",
                                    "id",
                                    "o'b;--"};
static const char *const ops[] = {"eq", "ne", "gt", "gte", "lt", "lte"};

enum {
    VALUES = sizeof values / sizeof values[0],
    NAMES = sizeof names / sizeof names[0],
    OPS = 6,
    CONDITIONS = 6,
    LIST = 4
};

typedef struct question {
    struct {
        size_t name, op, values[LIST], count;
    } conditions[CONDITIONS];
    size_t count;
    const char *sort, *page, *search, *fields;
} question;

static uint32_t seed = 1;

static uint32_t dice(uint32_t below) { /* xorshift */
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed % below;
}

static void shuffle(size_t *order, size_t count) {
    for (size_t i = 0; i < count; i++) order[i] = i;
    for (size_t i = count; i > 1; i--) {
        size_t k = dice((uint32_t)i), t = order[i - 1];
        order[i - 1] = order[k];
        order[k] = t;
    }
}

static void make_question(question *q) {
    bool used[NAMES][OPS] = {{false}};
    q->count = 0;
    for (size_t i = dice(CONDITIONS + 1); i > 0; i--) {
        size_t name = dice(NAMES), op = dice(OPS), n = op < 2 ? 1 + dice(LIST) : 1;
        if (used[name][op]) continue;
        used[name][op] = true;
        q->conditions[q->count].name = name;
        q->conditions[q->count].op = op;
        q->conditions[q->count].count = n;
        for (size_t k = 0; k < n; k++) q->conditions[q->count].values[k] = dice(VALUES);
        q->count++;
    }
    q->sort = (const char *const[]){NULL, "-price,a.b", "id", "limit,-where"}[dice(4)];
    q->page = (const char *const[]){NULL, "1", "2", "17"}[dice(4)];
    q->search = (const char *const[]){NULL, "red shoes",
                                      "stra\xc3\x9f"
                                      "e",
                                      "k (x)"}[dice(4)];
    q->fields = (const char *const[]){NULL, "price,a,a.b", "id", "US Gross,where"}[dice(4)];
}

static void add_escaped(mp_buf *to, const char *text) {
    for (; *text != 0; text++) {
        unsigned char c = (unsigned char)*text;
        bool must = c < 0x20 || strchr("&=%+#[]", c) != NULL;
        if (c == ' ' && dice(2) == 0) mp_buf_text(to, "+");
        else if (must || dice(6) == 0) mp_buf_printf(to, dice(2) == 0 ? "%%%02x" : "%%%02X", c);
        else mp_buf_add(to, text, 1);
    }
}

static void add_mark(mp_buf *to, bool escape, const char *text) {
    bool raw = !escape || dice(2) == 0;
    mp_buf_printf(to, "%s%s%s", raw ? "[" : "%5B", text, raw ? "]" : "%5d");
}

/* where[field][op], one of the ways to write it; lists get one or the other mark. */
static void add_key(mp_buf *to, bool escape, const char *name, const char *op, const char *list) {
    bool where = strcmp(name, "limit") == 0 || strcmp(name, "where") == 0 || dice(3) == 0;
    if (where) mp_buf_text(to, "where");
    const char *shown = strcmp(name, "id") == 0 && dice(2) == 0 ? "_id" : name;
    mp_buf escaped;
    mp_buf_init(&escaped);
    mp_buf_text(&escaped, "");
    if (escape) add_escaped(&escaped, shown);
    else mp_buf_text(&escaped, shown);
    if (where) add_mark(to, escape, escaped.data);
    else mp_buf_text(to, escaped.data);
    mp_buf_free(&escaped);
    if (strcmp(op, "eq") != 0 || list[0] == 'i' || dice(2) == 0) add_mark(to, escape, list[0] == 'i' ? "in" : op);
}

/* Each condition's list is one repeated parameter, so its key is made once. */
static void write_text(mp_buf *to, const question *q) {
    size_t order[CONDITIONS + 5], list[LIST];
    shuffle(order, q->count + 5);
    for (size_t i = 0; i < q->count + 5; i++) {
        const char *const reserved[] = {"sort", "page", "search", "fields", "limit"};
        const char *const given[] = {q->sort, q->page, q->search, q->fields, "20"};
        if (dice(8) == 0) mp_buf_text(to, "&");
        if (order[i] >= q->count) {
            size_t r = order[i] - q->count;
            if (given[r] == NULL) continue;
            mp_buf_printf(to, "&%s=", reserved[r]);
            add_escaped(to, given[r]);
            continue;
        }
        size_t c = order[i], n = q->conditions[c].count;
        mp_buf key;
        mp_buf_init(&key);
        add_key(&key, true, names[q->conditions[c].name], ops[q->conditions[c].op], "");
        uint32_t mark = dice(n > 1 || q->conditions[c].op < 2 ? 3 : 1);
        shuffle(list, n);
        for (size_t k = 0; k < n; k++) {
            mp_buf_printf(to, "&%s", key.data);
            if (mark == 1) mp_buf_text(to, "[]");
            if (mark == 2) mp_buf_printf(to, "[%zu]", 2 * k);
            mp_buf_text(to, "=");
            add_escaped(to, values[q->conditions[c].values[list[k]]].text);
        }
        mp_buf_free(&key);
    }
}

static void add_value(mp_buf *to, const struct value *value, bool range) {
    if (value->json != NULL && (!range || value->ordered) && dice(2) == 0) mp_buf_text(to, value->json);
    else mp_buf_json(to, value->text, strlen(value->text));
}

/* Nested or flat; the members of one field may come apart, since a key may be there twice. */
static void write_object(mp_buf *to, const question *q) {
    size_t order[CONDITIONS + 4], list[LIST];
    const char *comma = "";
    shuffle(order, q->count + 4);
    mp_buf_text(to, "{");
    for (size_t i = 0; i < q->count + 4; i++) {
        const char *const reserved[] = {"sort", "page", "search", "fields"}, *const given[] = {q->sort, q->page,
                                                                                               q->search, q->fields};
        if (order[i] >= q->count) {
            size_t r = order[i] - q->count;
            if (given[r] == NULL) continue;
            bool number = r == 1 && dice(2) == 0;
            mp_buf_printf(to, number ? "%s\"%s\": %s" : "%s\"%s\":\"%s\"", comma, reserved[r], given[r]);
            comma = ",";
            continue;
        }
        size_t c = order[i], n = q->conditions[c].count, op = q->conditions[c].op;
        const char *name = names[q->conditions[c].name];
        bool flat = dice(2) == 0, bare = false;
        mp_buf_text(to, comma);
        comma = ",";
        if (flat) {
            mp_buf key;
            mp_buf_init(&key);
            add_key(&key, false, name, ops[op], op == 0 && dice(2) == 0 && n > 1 ? "in" : "");
            mp_buf_json(to, key.data, key.len);
            mp_buf_free(&key);
            mp_buf_text(to, ":");
        } else {
            mp_buf_text(to, "\"where\":{");
            mp_buf_json(to, name, strlen(name));
            bare = op == 0 && dice(2) == 0;
            mp_buf_printf(to, bare ? ":" : ":{\"%s\":", op == 0 && dice(2) == 0 && n > 1 ? "in" : ops[op]);
        }
        shuffle(list, n);
        bool brackets = n > 1 || dice(2) == 0;
        if (brackets) mp_buf_text(to, "[");
        for (size_t k = 0; k < n; k++) {
            mp_buf_text(to, k > 0 ? ", " : "");
            add_value(to, &values[q->conditions[c].values[list[k]]], op >= 2);
        }
        if (brackets) mp_buf_text(to, "]");
        if (!flat) mp_buf_text(to, bare ? "}" : "}}");
    }
    mp_buf_text(to, "}");
}

static void order_and_spelling_do_not_matter(void **state) {
    size_t longest = 0;
    for (int i = 0; i < 5000; i++) {
        question q;
        char *first = NULL, *first_text = NULL;
        make_question(&q);
        for (int way = 0; way < 4; way++) {
            mp_buf text;
            mp_query *query;
            pond_error *err;
            size_t len;
            mp_buf_init(&text);
            if (way < 2) write_text(&text, &q);
            else write_object(&text, &q);
            if (parse(&query, plain(), way >= 2, text.data != NULL ? text.data : "", text.len, &err) != POND_OK)
                fail_msg("%d: %s: %s", i, text.data, pond_error_message(err));
            const char *canonical = mp_query_canonical(query, &len);
            if (first == NULL) {
                first = strdup(canonical);
                first_text = strdup(text.data != NULL ? text.data : "");
                is_stable(plain(), query);
            }
            if (strcmp(first, canonical) != 0)
                fail_msg("%d:\n%s\n%s\n%s\n%s", i, first_text, text.data, first, canonical);
            if (len > longest) longest = len;
            mp_query_free(query);
            mp_buf_free(&text);
        }
        free(first);
        free(first_text);
    }
    assert_true(longest > 400); /* they were not all empty */
}

/* Any bytes: refused with a reason that is one of the list, or taken, and then stable. */
static void any_bytes(void **state) {
    static const char *const pieces[] = {
        "a",     "b.c",  "[",    "]",      "[gte]", "[in]",       "[eq]", "[string]", "[date]",  "=",
        "&",     ",",    "%",    "%5B",    "%00",   "\xff",       "\"",   "{",        "}",       ":",
        "where", "sort", "page", "search", "1",     "-",          "1e5",  "null",     "\\u00e9", "\xc3\xa9",
        "$",     ".",    " ",    "+",      "id",    "2020-01-01", "[]",   "[3]"};
    size_t took = 0;
    for (int i = 0; i < 30000; i++) {
        mp_buf text;
        mp_buf_init(&text);
        if (i % 2 == 1) mp_buf_text(&text, "{\"");
        for (uint32_t k = dice(14); k > 0; k--) mp_buf_text(&text, pieces[dice(sizeof pieces / sizeof pieces[0])]);
        if (i % 2 == 1) mp_buf_text(&text, dice(2) == 0 ? "\":1}" : "\":[\"x\",true]}");
        mp_query *query;
        pond_error *err;
        if (parse(&query, plain(), i % 2 == 1, text.data != NULL ? text.data : "", text.len, &err) == POND_OK) {
            took++;
            is_stable(plain(), query);
            mp_query_free(query);
        } else {
            assert_int_equal(pond_error_code(err), POND_EQUERY);
            assert_non_null(strstr(
                " bad_field bad_operator bad_type bad_value bad_number bad_page bad_encoding duplicate too_long ",
                pond_error_reason(err)));
            pond_error_free(err);
        }
        mp_buf_free(&text);
    }
    assert_true(took > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_are_held),
        cmocka_unit_test(strangers),
        cmocka_unit_test(order_and_spelling_do_not_matter),
        cmocka_unit_test(any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
