#include "model/query_private.h"

#include <inttypes.h>
#include <stdlib.h>

#include "model/fold.h"
#include "model/json_number.h"

/* The only value of a group that takes one. */
static int only_value(mp_query_build *b, const mp_query_group *g, const char *none, const mp_query_value **out) {
    char shown[MP_QUERY_SHOWN];
    if (g->values > 1)
        return MP_REFUSE(b, "duplicate", "%s: it is there %zu times, and takes one value",
                         mp_query_path_show(shown, g->path), g->values);
    if (g->values == 0)
        return mp_fail_reason(b->err, POND_EQUERY, none, "%s: the list is empty: write one value",
                              mp_query_path_show(shown, g->path));
    size_t i = 0;
    while (g->entries[i]->value.kind == MP_VALUE_NOTHING) i++;
    *out = &g->entries[i]->value;
    return POND_OK;
}

/* --- page, limit ------------------------------------------------------------------------------------------------ */

static int read_count(mp_query_build *b, const mp_query_group *g, int64_t most, int64_t *out) {
    char shown[MP_QUERY_SHOWN], text[MP_QUOTE_MAX];
    const mp_query_value *value = NULL;
    mp_number n;
    int rc = only_value(b, g, "bad_page", &value);
    if (rc != POND_OK) return rc;
    if (value->kind > MP_VALUE_NUMBER || mp_number_parse(value->text.data, value->text.len, &n) != MP_NUMBER_FINITE ||
        n.is_real || n.integer < 1 || n.integer > most)
        return MP_REFUSE(b, "bad_page", "%s: %s is not a whole number from 1 to %" PRId64,
                         mp_query_path_show(shown, g->path), mp_query_value_show(text, value), most);
    *out = n.integer;
    return POND_OK;
}

/* --- lists of names: sort, fields, search_in -------------------------------------------------------------------- */

static mp_slice trim(mp_slice text) {
    while (text.len > 0 && text.data[0] == ' ') text.data++, text.len--;
    while (text.len > 0 && text.data[text.len - 1] == ' ') text.len--;
    return text;
}

static int check_name(mp_query_build *b, const mp_query_group *g, mp_slice name, const mp_query_names *allowed) {
    char shown[MP_QUERY_SHOWN], quoted[MP_QUOTE_MAX];
    const char *reason, *fault = mp_query_name_fault(name, &reason);
    if (fault != NULL)
        return mp_fail_reason(b->err, POND_EQUERY, reason, "%s: the field %s %s", mp_query_path_show(shown, g->path),
                              mp_quote(quoted, name.data, name.len), fault);
    if (allowed != NULL && !mp_query_names_hold(allowed, mp_query_name_of(name)))
        return MP_REFUSE(b, "bad_field", "%s: this collection does not allow it with %s",
                         mp_query_path_show(shown, g->path), mp_quote(quoted, name.data, name.len));
    return POND_OK;
}

/* The items of all values, trimmed: names hold no comma, so they are always split there. An empty value is no items, but
 * an empty item among others is left for the check of names. */
static int split_items(mp_query_build *b, const mp_query_group *g, mp_slice **out, size_t *count) {
    char shown[MP_QUERY_SHOWN];
    size_t room = 0, n = 0;
    for (size_t i = 0; i < g->count; i++) {
        const mp_query_value *value = &g->entries[i]->value;
        if (value->kind == MP_VALUE_NOTHING) continue;
        if (value->kind != MP_VALUE_TEXT)
            return MP_REFUSE(b, "bad_value", "%s: it takes names of fields, as text",
                             mp_query_path_show(shown, g->path));
        room++;
        for (size_t k = 0; k < value->text.len; k++) room += value->text.data[k] == ',';
    }
    mp_slice *items = mp_arena_take(b->arena, room, sizeof *items);
    if (items == NULL) return mp_query_no_memory(b);
    for (size_t i = 0; i < g->count; i++) {
        mp_slice text = g->entries[i]->value.text;
        if (g->entries[i]->value.kind == MP_VALUE_NOTHING) continue;
        for (size_t from = 0, to; from <= text.len; from = to + 1) {
            const char *comma = text.len > from ? memchr(text.data + from, ',', text.len - from) : NULL;
            to = comma != NULL ? (size_t)(comma - text.data) : text.len;
            items[n++] = trim((mp_slice){text.data + from, to - from});
        }
    }
    if (n == 1 && items[0].len == 0) n = 0;
    *out = items;
    *count = n;
    return POND_OK;
}

static int refuse_many(mp_query_build *b, const mp_query_group *g, int most) {
    char shown[MP_QUERY_SHOWN];
    return MP_REFUSE(b, "too_long", "%s: it names more than %d fields", mp_query_path_show(shown, g->path), most);
}

static int read_sort(mp_query_build *b, const mp_query_group *g, mp_query *query) {
    mp_slice *items;
    size_t count, n = 0;
    bool ended = false; /* after `id` nothing can change the order */
    int rc = split_items(b, g, &items, &count);
    mp_query_sort *sort = mp_arena_take(b->arena, MP_QUERY_SORT_MAX + 1, sizeof *sort);
    if (rc == POND_OK && sort == NULL) rc = mp_query_no_memory(b);
    for (size_t i = 0; rc == POND_OK && i < count; i++) {
        bool descending = items[i].len > 0 && items[i].data[0] == '-', seen = ended;
        mp_slice name = {items[i].data + descending, items[i].len - descending};
        bool id = mp_slice_is(mp_query_name_of(name), MP_SLICE("id"));
        rc = check_name(b, g, name, id ? NULL : &b->bounds->sortable);
        for (size_t k = 0; k < n && !seen; k++) seen = mp_slice_is(sort[k].path.name, mp_query_name_of(name));
        if (rc != POND_OK || seen) continue;
        if (!id && n == MP_QUERY_SORT_MAX) return refuse_many(b, g, MP_QUERY_SORT_MAX);
        if (!mp_query_path_make(b, mp_query_name_of(name), &sort[n].path)) return mp_query_no_memory(b);
        sort[n++].descending = descending;
        ended = id;
    }
    if (n > 0) query->sort = sort;
    query->sort_count = n;
    return rc;
}

/* Checked, sorted and none twice. */
static int read_names(mp_query_build *b, const mp_query_group *g, const mp_query_names *allowed, mp_slice **names,
                      size_t *count) {
    int rc = split_items(b, g, names, count);
    for (size_t i = 0; rc == POND_OK && i < *count; i++) {
        rc = check_name(b, g, (*names)[i], allowed);
        (*names)[i] = mp_query_name_of((*names)[i]);
    }
    if (rc != POND_OK) return rc;
    *count = mp_query_names_sort(*names, *count);
    size_t counted = *count;
    for (size_t i = 0; i < *count; i++) counted -= mp_slice_is((*names)[i], MP_SLICE("id"));
    return counted > MP_QUERY_FIELDS_MAX ? refuse_many(b, g, MP_QUERY_FIELDS_MAX) : POND_OK;
}

static int make_paths(mp_query_build *b, const mp_slice *names, size_t count, const mp_query_path **out) {
    mp_query_path *paths = mp_arena_take(b->arena, count, sizeof *paths);
    for (size_t i = 0; paths != NULL && i < count; i++)
        if (!mp_query_path_make(b, names[i], &paths[i])) return mp_query_no_memory(b);
    *out = paths;
    return paths != NULL ? POND_OK : mp_query_no_memory(b);
}

/* Whether a field that `name` is a part of is in the list, too. */
static bool is_below(const mp_query_names *names, mp_slice name) {
    for (size_t i = 0; i < name.len; i++)
        if (name.data[i] == '.' && mp_query_names_hold(names, (mp_slice){name.data, i})) return true;
    return false;
}

static int read_fields(mp_query_build *b, const mp_query_group *g, mp_query *query) {
    mp_slice *names, kept[MP_QUERY_FIELDS_MAX + 1];
    size_t count, n = 0;
    int rc = read_names(b, g, NULL, &names, &count);
    if (rc != POND_OK || count == 0) return rc;
    mp_query_names all = {.names = names, .count = count};
    for (size_t i = 0; i < count; i++)
        if (!is_below(&all, names[i]) && !mp_slice_is(names[i], MP_SLICE("id"))) kept[n++] = names[i];
    kept[n++] = MP_SLICE("id");
    query->field_count = mp_query_names_sort(kept, n);
    return make_paths(b, kept, query->field_count, &query->fields);
}

/* --- search ----------------------------------------------------------------------------------------------------- */

static int search_text(mp_query_build *b, const mp_query_group *g, mp_slice *out) {
    char shown[MP_QUERY_SHOWN], spelled[MP_NUMBER_ROOM];
    const mp_query_value *value = NULL;
    mp_number n;
    int rc = only_value(b, g, "bad_value", &value);
    if (rc != POND_OK) return rc;
    if (value->kind > MP_VALUE_NUMBER)
        return MP_REFUSE(b, "bad_value", "%s: it takes a text", mp_query_path_show(shown, g->path));
    *out = value->text;
    if (value->kind == MP_VALUE_NUMBER) {
        if (mp_number_parse(value->text.data, value->text.len, &n) != MP_NUMBER_FINITE)
            return MP_REFUSE(b, "bad_number", "%s: the number is past the range of a double",
                             mp_query_path_show(shown, g->path));
        *out = mp_arena_copy(b->arena, spelled, mp_number_print(spelled, &n));
        if (out->data == NULL) return mp_query_no_memory(b);
    }
    if (out->len > MP_QUERY_SEARCH_MAX)
        return MP_REFUSE(b, "too_long", "%s: the text has %zu bytes: it has at most %d",
                         mp_query_path_show(shown, g->path), out->len, MP_QUERY_SEARCH_MAX);
    return POND_OK;
}

static int read_terms(mp_query_build *b, const mp_query_group *g, mp_query *query) {
    char shown[MP_QUERY_SHOWN], folded[MP_FOLD_ROOM(MP_QUERY_SEARCH_MAX)];
    mp_slice text = {0}, terms[MP_QUERY_SEARCH_MAX / 2 + 1];
    size_t count = 0, from = 0;
    int rc = search_text(b, g, &text);
    if (rc != POND_OK) return rc;
    /* No white space folds to anything else, nor anything else to white space, so the text may be folded first. */
    text = mp_arena_copy(b->arena, folded, mp_fold_text(folded, text.data, text.len));
    if (text.data == NULL) return mp_query_no_memory(b);
    for (size_t at = 0, next = 0; at <= text.len; at = next) {
        uint32_t code = at < text.len ? mp_fold_next(text.data, text.len, &next) : ' ';
        if (at == text.len) next = at + 1;
        if (!mp_fold_is_space(code)) continue;
        if (at > from) {
            terms[count] = mp_arena_copy(b->arena, text.data + from, at - from);
            if (terms[count++].data == NULL) return mp_query_no_memory(b);
        }
        from = next;
    }
    count = mp_query_names_sort(terms, count);
    if (count > MP_QUERY_TERMS_MAX)
        return MP_REFUSE(b, "too_long", "%s: it has %zu different words: it has at most %d",
                         mp_query_path_show(shown, g->path), count, MP_QUERY_TERMS_MAX);
    mp_slice *copy = mp_arena_take(b->arena, count, sizeof *copy);
    if (copy == NULL) return mp_query_no_memory(b);
    if (count > 0) memcpy(copy, terms, count * sizeof *copy);
    query->terms = count > 0 ? copy : NULL;
    query->term_count = count;
    return POND_OK;
}

/* Where to search; after the terms are known. */
static int read_search_in(mp_query_build *b, const mp_query_group *g, mp_query *query) {
    const mp_slice *names = b->bounds->search_fields.names;
    mp_slice *given;
    size_t count = b->bounds->search_fields.count, given_count = 0;
    if (g != NULL) {
        int rc = read_names(b, g, &b->bounds->searchable, &given, &given_count);
        if (rc != POND_OK) return rc;
    }
    if (given_count > 0) names = given, count = given_count;
    for (size_t i = 0; i < given_count; i++)
        if (mp_slice_is(given[i], MP_SLICE("id")))
            return MP_REFUSE(b, "bad_field", "search_in: the id cannot be searched: filter by it");
    if (query->term_count == 0) return POND_OK;
    if (count == 0)
        return MP_REFUSE(b, "bad_field", "search: this collection has no search_fields: name them with search_in");
    query->search_in_count = count;
    return make_paths(b, names, count, &query->search_in);
}

/* --- all of them ---------------------------------------------------------------------------------------------------- */

/* `id` is the last key of every order. */
static int end_sort(mp_query_build *b, mp_query *query) {
    if (query->sort_count > 0 && query->sort[query->sort_count - 1].path.is_id) return POND_OK;
    mp_query_sort *sort = (mp_query_sort *)query->sort; /* has room for one more */
    if (sort == NULL) sort = mp_arena_take(b->arena, 1, sizeof *sort);
    if (sort == NULL || !mp_query_path_make(b, MP_SLICE("id"), &sort[query->sort_count].path))
        return mp_query_no_memory(b);
    sort[query->sort_count++].descending = false;
    query->sort = sort;
    return POND_OK;
}

/* Reserved keys come once each, since `where` does not reach them: `groups` has at most one for each. */
int mp_query_reserved_read(mp_query_build *b, const mp_query_group *const groups[], mp_query *query) {
    int rc = POND_OK;
    query->page = 1;
    query->limit = b->bounds->default_limit;
    if (groups[MP_TARGET_PAGE] != NULL) rc = read_count(b, groups[MP_TARGET_PAGE], MP_QUERY_SKIP_MAX + 1, &query->page);
    if (rc == POND_OK && groups[MP_TARGET_LIMIT] != NULL)
        rc = read_count(b, groups[MP_TARGET_LIMIT], b->bounds->max_limit, &query->limit);
    if (rc == POND_OK && (query->page - 1) * query->limit > MP_QUERY_SKIP_MAX)
        rc = MP_REFUSE(b, "bad_page", "page: it begins after more than %d documents: ask for less of them by a filter",
                       MP_QUERY_SKIP_MAX);
    query->skip = (query->page - 1) * query->limit;
    if (rc == POND_OK && groups[MP_TARGET_SORT] != NULL) rc = read_sort(b, groups[MP_TARGET_SORT], query);
    if (rc == POND_OK && groups[MP_TARGET_FIELDS] != NULL) rc = read_fields(b, groups[MP_TARGET_FIELDS], query);
    if (rc == POND_OK && groups[MP_TARGET_SEARCH] != NULL) rc = read_terms(b, groups[MP_TARGET_SEARCH], query);
    if (rc == POND_OK) rc = read_search_in(b, groups[MP_TARGET_SEARCH_IN], query);
    return rc == POND_OK ? end_sort(b, query) : rc;
}
