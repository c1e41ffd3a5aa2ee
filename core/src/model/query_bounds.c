#include "model/query_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/quote.h"
#include "base/utf8.h"

mp_slice mp_query_name_of(mp_slice name) { return mp_slice_is(name, MP_SLICE("_id")) ? MP_SLICE("id") : name; }

static const char *part_fault(mp_slice part, bool first) {
    bool digits = true;
    if (part.len == 0) return "has an empty part: write names with one dot between them";
    if (part.data[0] == '$') return "has a part that begins with $, which no stored field does";
    for (size_t i = 0; i < part.len; i++) digits = digits && part.data[i] >= '0' && part.data[i] <= '9';
    if (digits && !first) return "has a part that is a number: elements of lists are not named by their place";
    return NULL;
}

const char *mp_query_name_fault(mp_slice name, const char **reason) {
    *reason = "bad_field";
    if (name.len == 0) return "is empty: name a field";
    if (name.len > MP_QUERY_NAME_MAX) {
        *reason = "too_long";
        return "is too long: a field's name has at most 255 bytes";
    }
    if (name.data[0] == '-') return "begins with -, which only sort takes";
    if (name.data[0] == ' ' || name.data[name.len - 1] == ' ') return "has a space before or after it: leave it out";
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        if (c < 0x20 || c == 0x7f) return "holds a control character: leave it out";
        if (memchr("\"\\[],", c, 5) != NULL) return "holds one of \" \\ [ ] , which no name does";
    }
    size_t parts = 0, from = 0;
    mp_slice head = {0};
    for (size_t i = 0; i <= name.len; i++) {
        if (i < name.len && name.data[i] != '.') continue;
        mp_slice part = {name.data + from, i - from};
        const char *fault = part_fault(part, parts == 0);
        if (fault != NULL) return fault;
        if (parts++ == 0) head = part;
        from = i + 1;
    }
    if (parts > MP_QUERY_PARTS_MAX) {
        *reason = "too_long";
        return "is nested too deep: a name has at most 8 parts";
    }
    if (mp_slice_is(head, MP_SLICE("_mpv"))) return "is the library's own";
    if (parts > 1 && mp_slice_is(mp_query_name_of(head), MP_SLICE("id"))) return "does not exist: the id has no parts";
    return NULL;
}

static int by_bytes(const void *a, const void *b) { return mp_slice_order(*(const mp_slice *)a, *(const mp_slice *)b); }

size_t mp_query_names_sort(mp_slice *names, size_t count) {
    size_t kept = 0;
    if (count > 1) qsort(names, count, sizeof *names, by_bytes);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || !mp_slice_is(names[kept - 1], names[i])) names[kept++] = names[i];
    return kept;
}

bool mp_query_names_hold(const mp_query_names *names, mp_slice name) {
    return names->all ||
           (names->count > 0 && bsearch(&name, names->names, names->count, sizeof name, by_bytes) != NULL);
}

/* --- compiling -------------------------------------------------------------------------------------------------- */

static int no_memory(pond_error **err) { return mp_fail(err, POND_ENOMEM, "no memory for what queries may ask"); }

static mp_slice trim(mp_slice text) {
    while (text.len > 0 && text.data[0] == ' ') text.data++, text.len--;
    while (text.len > 0 && text.data[text.len - 1] == ' ') text.len--;
    return text;
}

static int read_names(mp_query_bounds *b, const char *option, const char *text, mp_query_names *out, pond_error **err) {
    char shown[MP_QUOTE_MAX];
    const char *reason;
    *out = (mp_query_names){.all = text == NULL || strcmp(text, "*") == 0};
    if (out->all || trim((mp_slice){text, strlen(text)}).len == 0) return POND_OK;
    size_t len = strlen(text), count = 1, from = 0, n = 0;
    if (mp_utf8_check(text, len) < len) return mp_fail(err, POND_EOPTION, "%s: the names are not UTF-8", option);
    for (size_t i = 0; i < len; i++) count += text[i] == ',';
    mp_slice *names = mp_arena_take(&b->arena, count, sizeof *names);
    if (names == NULL) return no_memory(err);
    for (size_t i = 0; i <= len; i++) {
        if (i < len && text[i] != ',') continue;
        mp_slice name = trim((mp_slice){text + from, i - from});
        const char *fault = mp_query_name_fault(name, &reason);
        if (fault != NULL)
            return mp_fail(err, POND_EOPTION, "%s: the field %s %s", option, mp_quote(shown, name.data, name.len),
                           fault);
        name = mp_query_name_of(name);
        names[n++] = mp_arena_copy(&b->arena, name.data, name.len);
        from = i + 1;
    }
    if (b->arena.failed) return no_memory(err);
    out->names = names;
    out->count = mp_query_names_sort(names, n);
    return POND_OK;
}

static int read_count(const char *option, const char *text, int64_t standard, int64_t most, int64_t *out,
                      pond_error **err) {
    char shown[MP_QUOTE_MAX];
    *out = standard;
    if (text == NULL) return POND_OK;
    int64_t value = 0;
    size_t len = strlen(text);
    for (size_t i = 0; i < len && value >= 0; i++)
        value = text[i] >= '0' && text[i] <= '9' && i < 9 ? value * 10 + (text[i] - '0') : -1;
    if (len == 0 || value < 1 || value > most)
        return mp_fail(err, POND_EOPTION, "%s: %s is not a number from 1 to %" PRId64, option,
                       mp_quote(shown, text, len), most);
    *out = value;
    return POND_OK;
}

static int check_search(mp_query_bounds *b, const mp_query_options *options, pond_error **err) {
    char shown[MP_QUOTE_MAX];
    const mp_slice id = MP_SLICE("id");
    mp_query_names *fields = &b->search_fields;
    if (options->search_fields == NULL) *fields = b->searchable.all ? (mp_query_names){0} : b->searchable;
    if (fields->all)
        return mp_fail(err, POND_EOPTION, "search_fields: name the fields: there is no search in all of them");
    if ((!b->searchable.all && mp_query_names_hold(&b->searchable, id)) || mp_query_names_hold(fields, id))
        return mp_fail(err, POND_EOPTION, "searchable, search_fields: the id cannot be searched: leave it out");
    if (fields->count > MP_QUERY_FIELDS_MAX)
        return mp_fail(err, POND_EOPTION, "search_fields: there are %zu: a search looks at %d at most", fields->count,
                       MP_QUERY_FIELDS_MAX);
    for (size_t i = 0; i < fields->count; i++)
        if (!mp_query_names_hold(&b->searchable, fields->names[i]))
            return mp_fail(err, POND_EOPTION, "search_fields: %s is not in searchable",
                           mp_quote(shown, fields->names[i].data, fields->names[i].len));
    return POND_OK;
}

int mp_query_bounds_new(mp_query_bounds **out, const mp_query_options *options, pond_error **err) {
    mp_query_bounds *b = calloc(1, sizeof *b);
    if (b == NULL) return no_memory(err);
    int rc = read_names(b, "filterable", options->filterable, &b->filterable, err);
    if (rc == POND_OK) rc = read_names(b, "sortable", options->sortable, &b->sortable, err);
    if (rc == POND_OK) rc = read_names(b, "searchable", options->searchable, &b->searchable, err);
    if (rc == POND_OK) rc = read_names(b, "search_fields", options->search_fields, &b->search_fields, err);
    if (rc == POND_OK) rc = check_search(b, options, err);
    if (rc == POND_OK) rc = read_count("max_limit", options->max_limit, 100, MP_QUERY_LIMIT_MAX, &b->max_limit, err);
    int64_t standard = b->max_limit < 20 ? b->max_limit : 20;
    if (rc == POND_OK)
        rc = read_count("default_limit", options->default_limit, standard, b->max_limit, &b->default_limit, err);
    if (rc != POND_OK) mp_query_bounds_free(b);
    else *out = b;
    return rc;
}

void mp_query_bounds_free(mp_query_bounds *bounds) {
    if (bounds == NULL) return;
    mp_arena_free(&bounds->arena);
    free(bounds);
}
