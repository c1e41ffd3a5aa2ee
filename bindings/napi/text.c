/* What comes in from JavaScript: strings, lists of strings, small numbers. And the tables that give pointers a number. */
#include <string.h>
#include "addon.h"

static bool wrong(napi_env napi, const char *what) {
    bool pending = false;
    if (napi_is_exception_pending(napi, &pending) == napi_ok && pending) return false;
    mpn_throw_code(napi, POND_EMISUSE, what);
    return false;
}

bool mpn_text_get(napi_env napi, napi_value value, mpn_text *text) {
    text->data = text->stack;
    if (napi_get_value_string_utf8(napi, value, text->stack, sizeof text->stack, &text->len) != napi_ok) {
        return wrong(napi, "a string was expected");
    }
    /* Shorter than the buffer by more than one character: it was not cut. */
    if (text->len < sizeof text->stack - 4) return true;
    size_t len = 0;
    if (napi_get_value_string_utf8(napi, value, NULL, 0, &len) != napi_ok) return wrong(napi, "a string was expected");
    char *data = malloc(len + 1);
    if (!data) {
        mpn_throw_code(napi, POND_ENOMEM, "no memory");
        return false;
    }
    if (napi_get_value_string_utf8(napi, value, data, len + 1, &text->len) != napi_ok) {
        free(data);
        return wrong(napi, "a string was expected");
    }
    text->data = data;
    return true;
}

void mpn_text_free(mpn_text *text) {
    if (text->data != text->stack) free(text->data);
}

bool mpn_texts_get(napi_env napi, napi_value array, mpn_texts *texts) {
    memset(texts, 0, sizeof *texts);
    uint32_t n = 0;
    if (napi_get_array_length(napi, array, &n) != napi_ok) return wrong(napi, "an array was expected");
    texts->data = calloc(n ? n : 1, sizeof *texts->data);
    texts->lens = calloc(n ? n : 1, sizeof *texts->lens);
    if (!texts->data || !texts->lens) {
        mpn_texts_free(texts);
        mpn_throw_code(napi, POND_ENOMEM, "no memory");
        return false;
    }
    for (; texts->n < n; texts->n++) {
        napi_handle_scope scope;
        napi_value row;
        size_t len = 0;
        if (napi_open_handle_scope(napi, &scope) != napi_ok) break;
        char *data = NULL;
        if (napi_get_element(napi, array, texts->n, &row) == napi_ok &&
            napi_get_value_string_utf8(napi, row, NULL, 0, &len) == napi_ok && (data = malloc(len + 1)) != NULL &&
            napi_get_value_string_utf8(napi, row, data, len + 1, &len) == napi_ok) {
            texts->data[texts->n] = data;
            texts->lens[texts->n] = len;
            data = NULL;
        }
        free(data);
        napi_close_handle_scope(napi, scope);
        if (!texts->data[texts->n]) break;
    }
    if (texts->n == n) return true;
    mpn_texts_free(texts);
    return wrong(napi, "an array of strings was expected");
}

void mpn_texts_free(mpn_texts *texts) {
    for (uint32_t i = 0; texts->data && i < texts->n; i++) free(texts->data[i]);
    free(texts->data);
    free(texts->lens);
    memset(texts, 0, sizeof *texts);
}

bool mpn_uint_get(napi_env napi, napi_value value, uint32_t *out) {
    return napi_get_value_uint32(napi, value, out) == napi_ok || wrong(napi, "a number was expected");
}

uint32_t mpn_table_add(mpn_table *table, void *row) {
    if (table->spares) {
        uint32_t place = table->spare[--table->spares];
        table->rows[place] = row;
        return place;
    }
    if (table->used == 0) table->used = 1; /* 0 is no place */
    if (table->used >= table->size) {
        uint32_t size = table->size ? table->size * 2 : 16;
        void **rows = realloc(table->rows, size * sizeof *rows);
        if (!rows) return 0;
        table->rows = rows;
        uint32_t *spare = realloc(table->spare, size * sizeof *spare);
        if (!spare) return 0;
        table->spare = spare;
        table->rows[0] = NULL;
        table->size = size;
    }
    table->rows[table->used] = row;
    return table->used++;
}

void *mpn_table_take(mpn_table *table, uint32_t place) {
    void *row = mpn_table_at(table, place);
    if (row) {
        table->rows[place] = NULL;
        table->spare[table->spares++] = place;
    }
    return row;
}

void mpn_table_free(mpn_table *table) {
    free(table->rows);
    free(table->spare);
    memset(table, 0, sizeof *table);
}
