#include "model/query_private.h"

#include <inttypes.h>

void mp_query_write_string(mp_buf *to, mp_slice text) {
    size_t from = 0;
    mp_buf_add(to, "\"", 1);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        mp_buf_add(to, text.data + from, i - from);
        if (c < 0x20) mp_buf_printf(to, "\\u%04x", c);
        else mp_buf_add(to, c == '"' ? "\\\"" : "\\\\", 2);
        from = i + 1;
    }
    mp_buf_add(to, text.data + from, text.len - from);
    mp_buf_add(to, "\"", 1);
}

/* A comma before every member or element but the first. */
static void next(mp_buf *to, bool *first) {
    if (!*first) mp_buf_add(to, ",", 1);
    *first = false;
}

static void write_member(mp_buf *to, bool *first, const char *name) {
    next(to, first);
    mp_buf_add(to, "\"", 1);
    mp_buf_text(to, name);
    mp_buf_add(to, "\":", 2);
}

static void write_operands(mp_buf *to, const mp_query_draft *draft) {
    bool first = true, list = draft->word == MP_WORD_IN || draft->word == MP_WORD_NIN;
    if (list) mp_buf_add(to, "[", 1);
    for (size_t i = 0; i < draft->count; i++) {
        next(to, &first);
        mp_buf_add(to, draft->operands[i].canonical.data, draft->operands[i].canonical.len);
    }
    if (list) mp_buf_add(to, "]", 1);
}

static void write_filter(mp_buf *to, const mp_query_draft *drafts, size_t count) {
    static const char *const words[] = {
        [MP_WORD_EQ] = "eq", [MP_WORD_GT] = "gt",   [MP_WORD_GTE] = "gte", [MP_WORD_IN] = "in",
        [MP_WORD_LT] = "lt", [MP_WORD_LTE] = "lte", [MP_WORD_NE] = "ne",   [MP_WORD_NIN] = "nin"};
    bool first = true;
    mp_buf_add(to, "{", 1);
    for (size_t i = 0; i < count;) {
        mp_slice field = drafts[i].field;
        bool inner = true;
        next(to, &first);
        mp_query_write_string(to, field);
        mp_buf_add(to, ":{", 2);
        for (; i < count && mp_slice_is(drafts[i].field, field); i++) {
            write_member(to, &inner, words[drafts[i].word]);
            write_operands(to, &drafts[i]);
        }
        mp_buf_add(to, "}", 1);
    }
    mp_buf_add(to, "}", 1);
}

static void write_paths(mp_buf *to, const mp_query_path *paths, size_t count) {
    bool first = true;
    mp_buf_add(to, "[", 1);
    for (size_t i = 0; i < count; i++) {
        next(to, &first);
        mp_query_write_string(to, paths[i].name);
    }
    mp_buf_add(to, "]", 1);
}

static void write_search(mp_buf *to, const mp_query *query) {
    bool first = true;
    mp_buf_text(to, "{\"in\":");
    write_paths(to, query->search_in, query->search_in_count);
    mp_buf_text(to, ",\"terms\":[");
    for (size_t i = 0; i < query->term_count; i++) {
        next(to, &first);
        mp_query_write_string(to, query->terms[i]);
    }
    mp_buf_text(to, "]}");
}

static void write_sort(mp_buf *to, const mp_query *query) {
    bool first = true;
    mp_buf_add(to, "[", 1);
    for (size_t i = 0; i < query->sort_count; i++) {
        next(to, &first);
        /* A name holds nothing that JSON escapes. */
        mp_buf_text(to, query->sort[i].descending ? "\"-" : "\"");
        mp_buf_add(to, query->sort[i].path.name.data, query->sort[i].path.name.len);
        mp_buf_add(to, "\"", 1);
    }
    mp_buf_add(to, "]", 1);
}

void mp_query_write(mp_buf *to, const mp_query *query, const mp_query_draft *drafts, bool total) {
    bool first = true;
    mp_buf_text(to, "q1{");
    if (query->field_count > 0 && !total) {
        write_member(to, &first, "fields");
        write_paths(to, query->fields, query->field_count);
    }
    if (query->condition_count > 0) {
        write_member(to, &first, "filter");
        write_filter(to, drafts, query->condition_count);
    }
    if (!total) {
        write_member(to, &first, "limit");
        mp_buf_printf(to, "%" PRId64, query->limit);
        write_member(to, &first, "page");
        mp_buf_printf(to, "%" PRId64, query->page);
    }
    if (query->term_count > 0) {
        write_member(to, &first, "search");
        write_search(to, query);
    }
    if (!total) {
        write_member(to, &first, "sort");
        write_sort(to, query);
    }
    mp_buf_add(to, "}", 1);
}
