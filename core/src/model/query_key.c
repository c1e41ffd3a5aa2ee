#include "model/query_private.h"

#include "base/quote.h"

static const struct {
    const char *name;
    mp_query_target target;
} reserved[] = {{"page", MP_TARGET_PAGE},     {"limit", MP_TARGET_LIMIT},   {"sort", MP_TARGET_SORT},
                {"fields", MP_TARGET_FIELDS}, {"search", MP_TARGET_SEARCH}, {"search_in", MP_TARGET_SEARCH_IN}};

static const char *const operators[] = {
    [MP_GIVEN_EQ] = "eq", [MP_GIVEN_NE] = "ne",   [MP_GIVEN_GT] = "gt", [MP_GIVEN_GTE] = "gte",
    [MP_GIVEN_LT] = "lt", [MP_GIVEN_LTE] = "lte", [MP_GIVEN_IN] = "in"};

static const char *const types[] = {[MP_TYPE_STRING] = "string",
                                    [MP_TYPE_NUMBER] = "number",
                                    [MP_TYPE_BOOL] = "bool",
                                    [MP_TYPE_DATE] = "date",
                                    [MP_TYPE_OID] = "oid"};

#define COUNT(array) (sizeof array / sizeof array[0])

static bool is(mp_slice text, const char *word) { return mp_slice_is(text, (mp_slice){word, strlen(word)}); }

static mp_query_given given_of(mp_slice name) {
    for (size_t i = MP_GIVEN_EQ; i < COUNT(operators); i++)
        if (is(name, operators[i])) return (mp_query_given)i;
    return MP_GIVEN_NONE;
}

mp_query_type mp_query_type_of(mp_slice name) {
    for (size_t i = MP_TYPE_STRING; i < COUNT(types); i++)
        if (is(name, types[i])) return (mp_query_type)i;
    return MP_TYPE_NONE;
}

const char *mp_query_key_show(char out[MP_QUERY_SHOWN], const mp_slice *parts, size_t count) {
    char text[MP_QUOTE_SHOWN + 1]; /* one more than is shown, so that a longer key gets its dots */
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        mp_slice around[] = {MP_SLICE("["), parts[i], MP_SLICE("]")};
        for (size_t k = 0; k < 3; k++) {
            if (i == 0 && k != 1) continue;
            size_t more = around[k].len < sizeof text - n ? around[k].len : sizeof text - n;
            memcpy(text + n, around[k].data, more);
            n += more;
        }
    }
    return mp_quote(out, text, n);
}

const char *mp_query_path_show(char out[MP_QUERY_SHOWN], const mp_query_key_path *path) {
    mp_slice parts[MP_QUERY_KEY_PARTS];
    size_t n = 0;
    if (path->where) parts[n++] = MP_SLICE("where");
    for (size_t i = 0; i < COUNT(reserved); i++)
        if (reserved[i].target == path->target) parts[n++] = (mp_slice){reserved[i].name, strlen(reserved[i].name)};
    if (path->target == MP_TARGET_FILTER) parts[n++] = path->field;
    if (path->op != MP_GIVEN_NONE) parts[n++] = (mp_slice){operators[path->op], strlen(operators[path->op])};
    if (path->type != MP_TYPE_NONE) parts[n++] = (mp_slice){types[path->type], strlen(types[path->type])};
    return mp_query_key_show(out, parts, n);
}

int mp_query_key_split(mp_query_build *b, char *key, size_t len, mp_slice parts[MP_QUERY_KEY_PARTS], size_t *count) {
    char shown[MP_QUERY_SHOWN];
    size_t n = 0, at = 0;
    mp_slice whole = {key, len};
    for (; at < len && key[at] != '['; at++)
        if (key[at] == ']') goto wrong;
    parts[n++] = (mp_slice){key, at};
    for (size_t i = at; i < len; i = at) { /* looks only, so that an error can show the key */
        if (key[i] != '[') goto wrong;
        for (at = i + 1; at < len && key[at] != ']'; at++)
            if (key[at] == '[') goto wrong;
        if (at == len) goto wrong;
        if (n < MP_QUERY_KEY_PARTS) parts[n++] = (mp_slice){key + i + 1, at - i - 1};
        at++;
    }
    for (size_t i = 0; i < n; i++) ((char *)parts[i].data)[parts[i].len] = 0;
    *count = n;
    return POND_OK;
wrong:
    return MP_REFUSE(b, "bad_field", "%s: the brackets do not match: write field, field[op] or field[op][type]",
                     mp_query_key_show(shown, &whole, 1));
}

/* The number in a[7] as JavaScript spells it, or -1. */
static int index_of(mp_slice text) {
    int value = 0;
    if (text.len == 0 || text.len > 2 || (text.len > 1 && text.data[0] == '0')) return -1;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return -1;
        value = value * 10 + (text.data[i] - '0');
    }
    return value;
}

static bool numeric(mp_slice text) {
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] < '0' || text.data[i] > '9') return false;
    return true; /* "" too */
}

static int refuse_operator(mp_query_build *b, const mp_slice *parts, size_t count, mp_slice name) {
    char shown[MP_QUERY_SHOWN], quoted[MP_QUOTE_MAX], lower[4];
    mp_query_key_show(shown, parts, count);
    if (numeric(name))
        return MP_REFUSE(b, "bad_operator", "%s: %s is no operator; for a list write []", shown,
                         mp_quote(quoted, name.data, name.len));
    mp_slice bare = name.data[0] == '$' ? (mp_slice){name.data + 1, name.len - 1} : name;
    for (size_t i = 0; i < bare.len && bare.len < sizeof lower; i++)
        lower[i] = (char)(bare.data[i] | (bare.data[i] >= 'A' && bare.data[i] <= 'Z' ? 0x20 : 0));
    mp_query_given near = bare.len < sizeof lower ? given_of((mp_slice){lower, bare.len}) : MP_GIVEN_NONE;
    if (near != MP_GIVEN_NONE) return MP_REFUSE(b, "bad_operator", "%s: write [%s]", shown, operators[near]);
    return MP_REFUSE(b, "bad_operator", "%s: there is no operator %s: write one of eq ne gt gte lt lte in%s", shown,
                     mp_quote(quoted, name.data, name.len),
                     mp_query_type_of(name) != MP_TYPE_NONE ? ", and the type after it" : "");
}

/* What follows a field: the operator and the type. */
static int resolve_rest(mp_query_build *b, const mp_slice *parts, size_t count, size_t at, mp_query_key_path *out) {
    char shown[MP_QUERY_SHOWN];
    if (at < count) {
        out->op = given_of(parts[at]);
        if (out->op == MP_GIVEN_NONE) return refuse_operator(b, parts, count, parts[at]);
    }
    if (at + 2 < count) return refuse_operator(b, parts, count, parts[count - 1]);
    if (at + 1 < count) {
        out->type = mp_query_type_of(parts[at + 1]);
        if (out->type == MP_TYPE_NONE && numeric(parts[at + 1])) return refuse_operator(b, parts, count, parts[at + 1]);
        if (out->type == MP_TYPE_NONE)
            return MP_REFUSE(b, "bad_type", "%s: after the operator stands a type: string number bool date oid",
                             mp_query_key_show(shown, parts, count));
    }
    return POND_OK;
}

/* Takes the list mark from the end of the parts. */
static int take_list(mp_query_build *b, const mp_slice *parts, size_t *count, mp_query_key_path *out) {
    mp_slice mark = parts[*count - 1];
    char shown[MP_QUERY_SHOWN];
    if (!numeric(mark)) return POND_OK;
    out->index = index_of(mark);
    if (mark.len > 0 && (out->index < 0 || out->index > 20))
        return MP_REFUSE(b, "bad_operator", "%s: the places of a list are 0 to 20: write []",
                         mp_query_key_show(shown, parts, *count));
    out->listed = true;
    (*count)--;
    return POND_OK;
}

static int resolve_field(mp_query_build *b, const mp_slice *parts, size_t count, size_t at, mp_query_key_path *out) {
    char shown[MP_QUERY_SHOWN], quoted[MP_QUOTE_MAX];
    const char *reason, *fault = mp_query_name_fault(parts[at], &reason);
    if (fault != NULL)
        return mp_fail_reason(b->err, POND_EQUERY, reason, "%s: the field %s %s",
                              mp_query_key_show(shown, parts, count), mp_quote(quoted, parts[at].data, parts[at].len),
                              fault);
    out->field = mp_query_name_of(parts[at]);
    if (!mp_query_names_hold(&b->bounds->filterable, out->field))
        return MP_REFUSE(b, "bad_field", "%s: this collection does not filter by that field",
                         mp_query_key_show(shown, parts, count));
    return resolve_rest(b, parts, count, at + 1, out);
}

int mp_query_key_resolve(mp_query_build *b, const mp_slice *parts, size_t count, size_t spelled,
                         mp_query_key_path *out) {
    char shown[MP_QUERY_SHOWN];
    size_t at = 0;
    int rc = POND_OK;
    *out = (mp_query_key_path){.index = -1};
    if (is(parts[0], "where")) {
        out->where = true;
        if (++at == count)
            return MP_REFUSE(b, "bad_value",
                             "where: it takes fields: write where[field]=value, for a field named so where[where]");
    }
    for (size_t i = 0; i < COUNT(reserved) && !out->where; i++)
        if (is(parts[0], reserved[i].name)) out->target = reserved[i].target;
    if (spelled == count && count > at + 1) rc = take_list(b, parts, &count, out);
    if (rc != POND_OK) return rc;
    if (out->target == MP_TARGET_FILTER) return resolve_field(b, parts, count, at, out);
    if (count > 1)
        return MP_REFUSE(b, "bad_operator", "%s: %s takes no operator; for a field named so write where[%s]",
                         mp_query_key_show(shown, parts, count), parts[0].data, parts[0].data);
    return POND_OK;
}
