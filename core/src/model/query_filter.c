#include "model/query_private.h"

#include <stdlib.h>

static bool is_list(const mp_query_group *g) { return g->count > 1 || g->path->listed; }

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

static int read_values(mp_query_build *b, const mp_query_group *g, bool range, mp_query_draft *draft) {
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
static mp_query_word word_of(const mp_query_group *g, const mp_query_draft *draft) {
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

int mp_query_draft_make(mp_query_build *b, const mp_query_group *g, mp_query_draft *draft) {
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

static int make_condition(mp_query_build *b, const mp_query_draft *draft, mp_query_condition *out) {
    static const mp_query_op ops[] = {
        [MP_WORD_EQ] = MP_QUERY_ANY_OF,   [MP_WORD_IN] = MP_QUERY_ANY_OF, [MP_WORD_NE] = MP_QUERY_NONE_OF,
        [MP_WORD_NIN] = MP_QUERY_NONE_OF, [MP_WORD_GT] = MP_QUERY_GT,     [MP_WORD_GTE] = MP_QUERY_GTE,
        [MP_WORD_LT] = MP_QUERY_LT,       [MP_WORD_LTE] = MP_QUERY_LTE};
    size_t room = 0, n = 0, kept = 0;
    for (size_t i = 0; i < draft->count; i++) room += draft->operands[i].count;
    mp_query_reading *readings = mp_arena_take(b->arena, room, sizeof *readings);
    if (readings == NULL || !mp_query_path_make(b, draft->field, &out->path)) return mp_query_no_memory(b);
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

int mp_query_conditions_make(mp_query_build *b, mp_query_draft *drafts, size_t count, mp_query *query) {
    int rc = merge(b, drafts, &count);
    if (rc != POND_OK) return rc;
    mp_query_condition *conditions = mp_arena_take(b->arena, count, sizeof *conditions);
    if (conditions == NULL) return mp_query_no_memory(b);
    for (size_t i = 0; rc == POND_OK && i < count; i++) rc = make_condition(b, &drafts[i], &conditions[i]);
    query->conditions = conditions;
    query->condition_count = count;
    return rc;
}
