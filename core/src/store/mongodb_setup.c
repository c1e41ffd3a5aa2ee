#include "store/mongodb_setup.h"

#include "base/error.h"

enum { EXISTS = 48 };

int mp_mongodb_command(mp_mongodb_call *call, const bson_t *text, uint32_t fine, bson_t *reply) {
    int rc = POND_OK;
    for (bool well = false; rc == POND_OK && !well;) {
        bson_t options = BSON_INITIALIZER;
        bson_error_t error = {0};
        bson_destroy(reply);
        mp_mongodb_majority_append(call, &options);
        well = mongoc_client_write_command_with_opts(call->client, mp_mongodb_database(call), text, &options, reply,
                                                     &error) ||
               (fine && error.code == fine);
        if (!well) rc = mp_mongodb_again(call, &error, reply);
        bson_destroy(&options);
    }
    return rc;
}

int mp_mongodb_make_collection(mp_mongodb_call *call, const char *name) {
    bson_t text = BSON_INITIALIZER, reply = BSON_INITIALIZER;
    BSON_APPEND_UTF8(&text, "create", name);
    int rc = mp_mongodb_command(call, &text, EXISTS, &reply);
    bson_destroy(&reply);
    bson_destroy(&text);
    return rc;
}

int mp_mongodb_make_index(mp_mongodb_call *call, const char *collection, const char *field, int expire_s) {
    bson_t text = BSON_INITIALIZER, reply = BSON_INITIALIZER, indexes, index, key;
    BSON_APPEND_UTF8(&text, "createIndexes", collection);
    BSON_APPEND_ARRAY_BEGIN(&text, "indexes", &indexes);
    BSON_APPEND_DOCUMENT_BEGIN(&indexes, "0", &index);
    BSON_APPEND_DOCUMENT_BEGIN(&index, "key", &key);
    BSON_APPEND_INT32(&key, field, 1);
    bson_append_document_end(&index, &key);
    BSON_APPEND_UTF8(&index, "name", field);
    if (expire_s) BSON_APPEND_INT32(&index, "expireAfterSeconds", expire_s);
    bson_append_document_end(&indexes, &index);
    bson_append_array_end(&text, &indexes);
    int rc = mp_mongodb_command(call, &text, 0, &reply);
    bson_destroy(&reply);
    bson_destroy(&text);
    return rc;
}

/* Transactions want a replica set; and what a sharded cluster needs was never tried. */
int mp_mongodb_has_transactions(mp_mongodb_call *call, const char *what) {
    bson_t text = BSON_INITIALIZER, reply = BSON_INITIALIZER;
    bson_iter_t iter;
    int rc = POND_OK;
    BSON_APPEND_INT32(&text, "hello", 1);
    for (bool well = false; rc == POND_OK && !well;) {
        bson_error_t error = {0};
        bson_destroy(&reply);
        well = mongoc_client_command_with_opts(call->client, "admin", &text, NULL, NULL, &reply, &error);
        if (!well) rc = mp_mongodb_again(call, &error, &reply);
    }
    if (rc == POND_OK && bson_iter_init_find(&iter, &reply, "msg"))
        rc = mp_mongodb_fail(call, POND_EOPTION, 0, "%s does not know sharded clusters (mongos): leave it off", what);
    else if (rc == POND_OK && !bson_iter_init_find(&iter, &reply, "setName"))
        rc = mp_mongodb_fail(
            call, POND_EOPTION, 0,
            "%s needs transactions, which a standalone MongoDB has not: start it as a one-member replica "
            "set (mongod --replSet rs0, then once rs.initiate())",
            what);
    bson_destroy(&reply);
    bson_destroy(&text);
    return rc;
}
