#include "model/query.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "model/fold.h"
#include "model/json_number.h"
#include "model/query_private.h"
#include "model/sha256.h"

/* A query and what only this file and its canonical text know of it. */
typedef struct whole {
    mp_query query; /* first: the two are one pointer */
    mp_arena arena;
    mp_slice canonical, total;
} whole;

/* Entries of one group, in the order in which they came. */
typedef struct group {
    mp_query_entry **entries;
    size_t count;  /* at least one */
    size_t values; /* of those, not counting the mark of an empty list */
    const mp_query_key_path *path;
} group;

int mp_query_no_memory(mp_query_build *b) { return mp_fail(b->err, POND_ENOMEM, "no memory for a query"); }

int mp_query_add(mp_query_build *b, const mp_query_key_path *path, mp_query_type own_type, mp_query_value value) {
    mp_query_entry *entry = mp_arena_take(b->arena, 1, sizeof *entry);
    if (entry == NULL) return mp_query_no_memory(b);
    *entry = (mp_query_entry){.order = b->count++, .path = *path, .own_type = own_type, .value = value};
    *b->last = entry;
    b->last = &entry->next;
    return POND_OK;
}

/* --- groups ----------------------------------------------------------------------------------------------------- */

static int path_order(const mp_query_key_path *a, const mp_query_key_path *b) {
    if (a->target != b->target) return a->target < b->target ? -1 : 1;
    if (a->where != b->where) return a->where ? 1 : -1;
    int way = mp_slice_order(a->field, b->field);
    if (way != 0) return way;
    if (a->op != b->op) return a->op < b->op ? -1 : 1;
    return (a->type > b->type) - (a->type < b->type);
}

static int by_path(const void *x, const void *y) {
    const mp_query_entry *a = *(mp_query_entry *const *)x, *b = *(mp_query_entry *const *)y;
    int way = path_order(&a->path, &b->path);
    return way != 0 ? way : (a->order > b->order) - (a->order < b->order);
}

static bool is_list(const group *g) { return g->count > 1 || g->path->listed; }

static int check_group(mp_query_build *b, group *g) {
    char shown[MP_QUERY_SHOWN];
    int last = -1;
    g->values = 0;
    for (size_t i = 0; i < g->count; i++) {
        const mp_query_entry *entry = g->entries[i];
        g->values += entry->value.kind != MP_VALUE_NOTHING;
        if (entry->path.index < 0) continue;
        if (entry->path.index <= last)
            return MP_REFUSE(b, "bad_operator", "%s: the places of a list must rise: write []",
                             mp_query_path_show(shown, g->path));
        last = entry->path.index;
    }
    return POND_OK;
}

/* The only value of a group that takes one. */
static int only_value(mp_query_build *b, const group *g, const char *none, const mp_query_value **out) {
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

/* --- conditions ------------------------------------------------------------------------------------------------- */

static int by_canonical(const void *a, const void *b) {
    return mp_slice_order(((const mp_query_operand *)a)->canonical, ((const mp_query_operand *)b)->canonical);
}

/* Splits the plain string under `in` at commas, each piece an operand. */
static int read_pieces(mp_query_build *b, const mp_query_entry *entry, mp_query_draft *draft) {
    mp_slice text = entry->value.text;
    size_t from = 0, room = 1;
    for (size_t i = 0; i < text.len; i++) room += text.data[i] == ',';
    draft->operands = mp_arena_take(b->arena, room <= MP_QUERY_VALUES_MAX ? room : 0, sizeof *draft->operands);
    if (draft->operands == NULL) return mp_query_no_memory(b);
    draft->count = room;
    for (size_t i = 0, n = 0; i <= text.len && room <= MP_QUERY_VALUES_MAX; i++) {
        if (i < text.len && text.data[i] != ',') continue;
        mp_query_value piece = {.kind = MP_VALUE_TEXT, .text = mp_arena_copy(b->arena, text.data + from, i - from)};
        if (piece.text.data == NULL) return mp_query_no_memory(b);
        int rc = mp_query_operand_read(b, &entry->path, entry->own_type, &piece, false, &draft->operands[n++]);
        if (rc != POND_OK) return rc;
        from = i + 1;
    }
    return POND_OK;
}

static int read_values(mp_query_build *b, const group *g, bool range, mp_query_draft *draft) {
    draft->count = g->values;
    draft->operands =
        mp_arena_take(b->arena, g->values <= MP_QUERY_VALUES_MAX ? g->values : 0, sizeof *draft->operands);
    if (draft->operands == NULL) return mp_query_no_memory(b);
    for (size_t i = 0, n = 0; i < g->count && g->values <= MP_QUERY_VALUES_MAX; i++) {
        const mp_query_entry *entry = g->entries[i];
        if (entry->value.kind == MP_VALUE_NOTHING) continue;
        int rc = mp_query_operand_read(b, &entry->path, entry->own_type, &entry->value, range, &draft->operands[n++]);
        if (rc != POND_OK) return rc;
    }
    return POND_OK;
}

/* How the canonical text names what was asked. */
static mp_query_word word_of(const group *g, const mp_query_draft *draft) {
    bool list = draft->count != 1;
    switch (g->path->op) {
    case MP_GIVEN_NE: return list ? MP_WORD_NIN : MP_WORD_NE;
    case MP_GIVEN_GT: return MP_WORD_GT;
    case MP_GIVEN_GTE: return MP_WORD_GTE;
    case MP_GIVEN_LT: return MP_WORD_LT;
    case MP_GIVEN_LTE: return MP_WORD_LTE;
    default: return list ? MP_WORD_IN : MP_WORD_EQ; /* none, eq, in */
    }
}

static int make_draft(mp_query_build *b, const group *g, mp_query_draft *draft) {
    char shown[MP_QUERY_SHOWN];
    bool range = g->path->op >= MP_GIVEN_GT && g->path->op <= MP_GIVEN_LTE;
    const mp_query_entry *first = g->entries[0];
    *draft = (mp_query_draft){.field = g->path->field, .path = g->path};
    bool split = g->path->op == MP_GIVEN_IN && !is_list(g) && first->value.kind == MP_VALUE_TEXT;
    int rc = split ? read_pieces(b, first, draft) : read_values(b, g, range, draft);
    if (rc != POND_OK) return rc;
    if (draft->count > MP_QUERY_VALUES_MAX)
        return MP_REFUSE(b, "too_long", "%s: the list has %zu values: it has at most %d",
                         mp_query_path_show(shown, g->path), draft->count, MP_QUERY_VALUES_MAX);
    size_t kept = 0;
    if (draft->count > 1) qsort(draft->operands, draft->count, sizeof *draft->operands, by_canonical);
    for (size_t i = 0; i < draft->count; i++)
        if (kept == 0 || by_canonical(&draft->operands[kept - 1], &draft->operands[i]) != 0)
            draft->operands[kept++] = draft->operands[i];
    draft->count = kept;
    if (range && kept == 0)
        return MP_REFUSE(b, "bad_value", "%s: the list is empty: write one value", mp_query_path_show(shown, g->path));
    if (range && kept > 1)
        return MP_REFUSE(b, "duplicate", "%s: it has %zu different values, and takes one",
                         mp_query_path_show(shown, g->path), kept);
    draft->word = word_of(g, draft);
    return POND_OK;
}

static int by_field(const void *x, const void *y) {
    const mp_query_draft *a = x, *b = y;
    int way = mp_slice_order(a->field, b->field);
    return way != 0 ? way : (a->word > b->word) - (a->word < b->word);
}

static bool same_operands(const mp_query_draft *a, const mp_query_draft *b) {
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++)
        if (by_canonical(&a->operands[i], &b->operands[i]) != 0) return false;
    return true;
}

/* Sorts the drafts; what asks the same twice stays once, what asks two things at once is refused. */
static int merge(mp_query_build *b, mp_query_draft *drafts, size_t *count) {
    char shown[MP_QUERY_SHOWN], other[MP_QUERY_SHOWN];
    size_t kept = 0;
    if (*count > 1) qsort(drafts, *count, sizeof *drafts, by_field);
    for (size_t i = 0; i < *count; i++) {
        mp_query_draft *before = kept > 0 ? &drafts[kept - 1] : NULL;
        if (before == NULL || by_field(before, &drafts[i]) != 0) drafts[kept++] = drafts[i];
        else if (!same_operands(before, &drafts[i]))
            return MP_REFUSE(b, "duplicate",
                             "%s and %s: the same field and operator with different values: leave one out",
                             mp_query_path_show(shown, before->path), mp_query_path_show(other, drafts[i].path));
    }
    if (kept > MP_QUERY_CONDITIONS_MAX)
        return MP_REFUSE(b, "too_long", "the query has %zu conditions: it has at most %d", kept,
                         MP_QUERY_CONDITIONS_MAX);
    *count = kept;
    return POND_OK;
}

static int reading_order(const mp_query_reading *a, const mp_query_reading *b) {
    if (a->rank != b->rank) return a->rank < b->rank ? -1 : 1;
    if (a->is_real != b->is_real) return a->is_real ? 1 : -1;
    if (a->integer != b->integer) return a->integer < b->integer ? -1 : 1;
    if (a->real != b->real) return a->real < b->real ? -1 : 1;
    return mp_slice_order(a->text, b->text);
}

static int by_reading(const void *a, const void *b) { return reading_order(a, b); }

static bool make_path(mp_query_build *b, mp_slice name, mp_query_path *out) {
    size_t count = 1, from = 0, n = 0;
    for (size_t i = 0; i < name.len; i++) count += name.data[i] == '.';
    mp_slice whole_name = mp_arena_copy(b->arena, name.data, name.len);
    char *parts_text = (char *)mp_arena_copy(b->arena, name.data, name.len).data;
    mp_slice *parts = mp_arena_take(b->arena, count, sizeof *parts);
    if (parts == NULL) return false;
    for (size_t i = 0; i <= name.len; i++) {
        if (i < name.len && name.data[i] != '.') continue;
        parts_text[i] = 0;
        parts[n++] = (mp_slice){parts_text + from, i - from};
        from = i + 1;
    }
    *out = (mp_query_path){whole_name, parts, count, mp_slice_is(name, MP_SLICE("id"))};
    return true;
}

static int make_condition(mp_query_build *b, const mp_query_draft *draft, mp_query_condition *out) {
    static const mp_query_op ops[] = {
        [MP_WORD_EQ] = MP_QUERY_ANY_OF,   [MP_WORD_IN] = MP_QUERY_ANY_OF, [MP_WORD_NE] = MP_QUERY_NONE_OF,
        [MP_WORD_NIN] = MP_QUERY_NONE_OF, [MP_WORD_GT] = MP_QUERY_GT,     [MP_WORD_GTE] = MP_QUERY_GTE,
        [MP_WORD_LT] = MP_QUERY_LT,       [MP_WORD_LTE] = MP_QUERY_LTE};
    size_t room = 0, n = 0, kept = 0;
    for (size_t i = 0; i < draft->count; i++) room += draft->operands[i].count;
    mp_query_reading *readings = mp_arena_take(b->arena, room, sizeof *readings);
    if (readings == NULL || !make_path(b, draft->field, &out->path)) return mp_query_no_memory(b);
    for (size_t i = 0; i < draft->count; i++)
        for (size_t k = 0; k < draft->operands[i].count; k++) readings[n++] = draft->operands[i].readings[k];
    if (n > 1) qsort(readings, n, sizeof *readings, by_reading);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || reading_order(&readings[kept - 1], &readings[i]) != 0) readings[kept++] = readings[i];
    out->op = ops[draft->word];
    out->readings = readings;
    out->reading_count = kept;
    return POND_OK;
}

/* --- page, limit ------------------------------------------------------------------------------------------------ */

static int read_count(mp_query_build *b, const group *g, int64_t most, int64_t *out) {
    char shown[MP_QUERY_SHOWN], text[MP_QUOTE_MAX];
    const mp_query_value *value = NULL;
    mp_number n;
    int rc = only_value(b, g, "bad_page", &value);
    if (rc != POND_OK) return rc;
    mp_slice given = value->kind <= MP_VALUE_NUMBER ? value->text : MP_SLICE("that");
    if (value->kind > MP_VALUE_NUMBER || mp_number_parse(given.data, given.len, &n) != MP_NUMBER_FINITE || n.is_real ||
        n.integer < 1 || n.integer > most)
        return MP_REFUSE(b, "bad_page", "%s: %s is not a whole number from 1 to %" PRId64,
                         mp_query_path_show(shown, g->path), mp_quote(text, given.data, given.len), most);
    *out = n.integer;
    return POND_OK;
}

/* --- lists of names: sort, fields, search_in -------------------------------------------------------------------- */

static mp_slice trim(mp_slice text) {
    while (text.len > 0 && text.data[0] == ' ') text.data++, text.len--;
    while (text.len > 0 && text.data[text.len - 1] == ' ') text.len--;
    return text;
}

static int check_name(mp_query_build *b, const group *g, mp_slice name, const mp_query_names *allowed) {
    char shown[MP_QUERY_SHOWN], quoted[MP_QUOTE_MAX];
    const char *reason, *fault = mp_query_name_fault(name, &reason);
    mp_query_path_show(shown, g->path);
    if (fault != NULL)
        return mp_fail_reason(b->err, POND_EQUERY, reason, "%s: the field %s %s", shown,
                              mp_quote(quoted, name.data, name.len), fault);
    if (allowed != NULL && !mp_query_names_hold(allowed, mp_query_name_of(name)))
        return MP_REFUSE(b, "bad_field", "%s: this collection does not allow it with %s", shown,
                         mp_quote(quoted, name.data, name.len));
    return POND_OK;
}

/* The items of all values, trimmed: names hold no comma, so they are always split there. An empty value is no items, but
 * an empty item among others is left for the check of names. */
static int split_items(mp_query_build *b, const group *g, mp_slice **out, size_t *count) {
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

static int refuse_many(mp_query_build *b, const group *g, int most) {
    char shown[MP_QUERY_SHOWN];
    return MP_REFUSE(b, "too_long", "%s: it names more than %d fields", mp_query_path_show(shown, g->path), most);
}

static int read_sort(mp_query_build *b, const group *g, mp_query *query) {
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
        if (!make_path(b, mp_query_name_of(name), &sort[n].path)) return mp_query_no_memory(b);
        sort[n++].descending = descending;
        ended = id;
    }
    if (n > 0) query->sort = sort;
    query->sort_count = n;
    return rc;
}

/* Checked, sorted and none twice. */
static int read_names(mp_query_build *b, const group *g, const mp_query_names *allowed, mp_slice **names,
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
        if (!make_path(b, names[i], &paths[i])) return mp_query_no_memory(b);
    *out = paths;
    return paths != NULL ? POND_OK : mp_query_no_memory(b);
}

/* Whether a field that `name` is a part of is in the list, too. */
static bool is_below(const mp_query_names *names, mp_slice name) {
    for (size_t i = 0; i < name.len; i++)
        if (name.data[i] == '.' && mp_query_names_hold(names, (mp_slice){name.data, i})) return true;
    return false;
}

static int read_fields(mp_query_build *b, const group *g, mp_query *query) {
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

static int search_text(mp_query_build *b, const group *g, mp_slice *out) {
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

static int read_terms(mp_query_build *b, const group *g, mp_query *query) {
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
static int read_search_in(mp_query_build *b, const group *g, mp_query *query) {
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

/* --- the whole -------------------------------------------------------------------------------------------------- */

/* Reserved keys come once each, since `where` does not reach them: `groups` has at most one for each. */
static int read_reserved(mp_query_build *b, const group *const groups[], mp_query *query) {
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
    return rc == POND_OK ? read_search_in(b, groups[MP_TARGET_SEARCH_IN], query) : rc;
}

/* `id` is the last key of every order. */
static int end_sort(mp_query_build *b, mp_query *query) {
    if (query->sort_count > 0 && query->sort[query->sort_count - 1].path.is_id) return POND_OK;
    mp_query_sort *sort = (mp_query_sort *)query->sort; /* has room for one more */
    if (sort == NULL) sort = mp_arena_take(b->arena, 1, sizeof *sort);
    if (sort == NULL || !make_path(b, MP_SLICE("id"), &sort[query->sort_count].path)) return mp_query_no_memory(b);
    sort[query->sort_count++].descending = false;
    query->sort = sort;
    return POND_OK;
}

static int make_conditions(mp_query_build *b, mp_query_draft *drafts, size_t count, mp_query *query) {
    int rc = merge(b, drafts, &count);
    if (rc != POND_OK) return rc;
    mp_query_condition *conditions = mp_arena_take(b->arena, count, sizeof *conditions);
    if (conditions == NULL) return mp_query_no_memory(b);
    for (size_t i = 0; rc == POND_OK && i < count; i++) rc = make_condition(b, &drafts[i], &conditions[i]);
    query->conditions = conditions;
    query->condition_count = count;
    return rc;
}

static int finish(mp_query_build *b, const mp_query_draft *drafts, whole *out) {
    for (int total = 0; total < 2; total++) {
        mp_buf_reset(&b->scratch);
        mp_query_write(&b->scratch, &out->query, drafts, total);
        if (b->scratch.failed) return mp_query_no_memory(b);
        *(total ? &out->total : &out->canonical) = mp_arena_copy(b->arena, b->scratch.data, b->scratch.len);
    }
    return b->arena->failed ? mp_query_no_memory(b) : POND_OK;
}

static int build(mp_query_build *b, whole *out) {
    const group *by_target[MP_TARGET_SEARCH_IN + 1] = {NULL};
    size_t n = 0, count = 0, filters = 0;
    mp_query_entry **entries = mp_arena_take(b->arena, b->count, sizeof *entries);
    group *groups = mp_arena_take(b->arena, b->count, sizeof *groups);
    if (groups == NULL) return mp_query_no_memory(b);
    for (mp_query_entry *entry = b->entries; entry != NULL; entry = entry->next) entries[n++] = entry;
    if (n > 1) qsort(entries, n, sizeof *entries, by_path);
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && path_order(&entries[from]->path, &entries[to]->path) == 0;) to++;
        groups[count] = (group){entries + from, to - from, 0, &entries[from]->path};
        int rc = check_group(b, &groups[count]);
        if (rc != POND_OK) return rc;
        mp_query_target target = groups[count].path->target;
        if (target == MP_TARGET_FILTER) filters++; /* they stand first */
        else by_target[target] = &groups[count];
        count++;
    }
    mp_query_draft *drafts = mp_arena_take(b->arena, filters, sizeof *drafts);
    if (drafts == NULL) return mp_query_no_memory(b);
    int rc = POND_OK;
    for (size_t i = 0; rc == POND_OK && i < filters; i++) rc = make_draft(b, &groups[i], &drafts[i]);
    if (rc == POND_OK) rc = make_conditions(b, drafts, filters, &out->query);
    if (rc == POND_OK) rc = read_reserved(b, by_target, &out->query);
    if (rc == POND_OK) rc = end_sort(b, &out->query);
    return rc == POND_OK ? finish(b, drafts, out) : rc;
}

static int parse(mp_query **out, const mp_query_bounds *bounds, int (*read)(mp_query_build *, const char *, size_t),
                 const char *text, size_t len, pond_error **err) {
    whole *made = calloc(1, sizeof *made);
    if (made == NULL) return mp_fail(err, POND_ENOMEM, "no memory for a query");
    mp_query_build b = {.bounds = bounds, .err = err, .arena = &made->arena};
    b.last = &b.entries;
    mp_buf_init(&b.scratch);
    int rc = read(&b, text, len);
    if (rc == POND_OK) rc = build(&b, made);
    mp_buf_free(&b.scratch);
    if (rc != POND_OK) mp_query_free(&made->query);
    else *out = &made->query;
    return rc;
}

int mp_query_parse_text(mp_query **out, const mp_query_bounds *bounds, const char *text, size_t len, pond_error **err) {
    return parse(out, bounds, mp_query_read_text, text, len, err);
}

int mp_query_parse_json(mp_query **out, const mp_query_bounds *bounds, const char *text, size_t len, pond_error **err) {
    return parse(out, bounds, mp_query_read_json, text, len, err);
}

void mp_query_free(mp_query *query) {
    if (query == NULL) return;
    whole *it = (whole *)query;
    mp_arena_free(&it->arena);
    free(it);
}

static const char *text_of(mp_slice text, size_t *len) {
    if (len != NULL) *len = text.len;
    return text.data;
}

const char *mp_query_canonical(const mp_query *query, size_t *len) {
    return text_of(((const whole *)query)->canonical, len);
}

const char *mp_query_total_canonical(const mp_query *query, size_t *len) {
    return text_of(((const whole *)query)->total, len);
}

void mp_query_key(const mp_query *query, char out[MP_QUERY_KEY_LEN + 1]) {
    mp_slice text = ((const whole *)query)->canonical;
    mp_sha256_hex(out, text.data, text.len);
}

void mp_query_total_key(const mp_query *query, char out[MP_QUERY_KEY_LEN + 1]) {
    mp_slice text = ((const whole *)query)->total;
    mp_sha256_hex(out, text.data, text.len);
}
