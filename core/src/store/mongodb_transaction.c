#include "store/mongodb_transaction.h"

#include "base/error.h"

bool mp_mongodb_transaction_begin(mp_mongodb_call *call, mongoc_client_session_t *session) {
    bson_error_t error = {0};
    mongoc_transaction_opt_t *options = mongoc_transaction_opts_new();
    mongoc_write_concern_t *majority = mp_mongodb_majority(call);
    mongoc_transaction_opts_set_write_concern(options, majority);
    mongoc_transaction_opts_set_max_commit_time_ms(options, mp_mongodb_left_ms(call));
    bool well = mongoc_client_session_start_transaction(session, options, &error);
    mongoc_write_concern_destroy(majority);
    mongoc_transaction_opts_destroy(options);
    if (!well) mp_mongodb_fail(call, POND_ESTORE, 1, "%s", error.message);
    return well;
}

void mp_mongodb_transaction_options(const mongoc_client_session_t *session, bson_t *options) {
    bson_error_t error;
    mongoc_client_session_append(session, options, &error);
}

bool mp_mongodb_transaction_commit(mp_mongodb_call *call, mongoc_client_session_t *session, bson_error_t *error,
                                   bson_t *reply) {
    for (int tries = 0;; tries++) {
        if (mongoc_client_session_commit_transaction(session, reply, error)) return true;
        if (tries == 3 || mp_mongodb_left_ms(call) <= 1 ||
            !mongoc_error_has_label(reply, "UnknownTransactionCommitResult"))
            return false;
        bson_destroy(reply);
    }
}
