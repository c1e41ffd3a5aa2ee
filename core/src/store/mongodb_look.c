#include "store/mongodb_look.h"

#include <string.h>

#include "store/mongodb_find.h"

int mp_mongodb_look(mp_mongodb_call *call, const mp_mongodb_id *id, mp_mongodb_kind *kind, bson_t *whole) {
    int rc = POND_OK;
    for (bool well = false; rc == POND_OK && !well;) {
        bson_t filter = BSON_INITIALIZER, options = BSON_INITIALIZER, operators, values, fields;
        bson_error_t error = {0};
        uint32_t at = 0;
        const bson_t *doc, *said = NULL;
        bson_append_document_begin(&filter, "_id", -1, &operators);
        bson_append_array_begin(&operators, "$in", -1, &values);
        mp_mongodb_id_append_all(&values, &at, id);
        bson_append_array_end(&operators, &values);
        bson_append_document_end(&filter, &operators);
        mp_mongodb_options(call, &options);
        if (whole == NULL) {
            bson_append_document_begin(&options, "projection", -1, &fields);
            bson_append_int32(&fields, "_id", -1, 1);
            bson_append_document_end(&options, &fields);
        }
        *kind = MP_ID_OTHER;
        mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(call->documents, &filter, &options, NULL);
        while (mongoc_cursor_next(cursor, &doc)) {
            bson_iter_t iter;
            mp_mongodb_kind this = MP_ID_OTHER;
            size_t len = 0;
            char room[MP_MONGODB_ID_ROOM];
            const char *text =
                bson_iter_init_find(&iter, doc, "_id") ? mp_mongodb_id_text(&iter, room, &len, &this) : NULL;
            /* A collation has an idea of equal of its own. */
            if (text == NULL || len != call->id_len || memcmp(text, call->id, len) != 0 || this >= *kind) continue;
            *kind = this;
            if (whole == NULL) continue;
            bson_destroy(whole);
            bson_copy_to(doc, whole);
        }
        well = !mongoc_cursor_error_document(cursor, &error, &said);
        rc = well ? mp_mongodb_confirm(call, &well) : mp_mongodb_again(call, &error, said);
        mongoc_cursor_destroy(cursor);
        bson_destroy(&options);
        bson_destroy(&filter);
    }
    return rc;
}
