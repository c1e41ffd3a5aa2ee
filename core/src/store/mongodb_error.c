#include "store/mongodb_error.h"

#include <string.h>

#include "store/mongodb_stream.h"

/* The server's codes. Those of the specification of retryable reads and writes, and those that its documentation calls
 * transient: locks, plans and cursors that were killed, chunks that moved, a majority that is not there yet. */
enum {
    BAD_VALUE = 2,
    MAX_TIME_EXPIRED = 50,
    EXCEEDED_TIME_LIMIT = 262,
    NOT_WRITABLE_PRIMARY = 10107,
    NOT_MASTER = 10058,
    NOT_PRIMARY_NO_SECONDARY_OK = 13435,
    DUPLICATE_KEY = 11000
};

static const uint32_t transient[] = {
    6 /* HostUnreachable */,
    7 /* HostNotFound */,
    24 /* LockTimeout */,
    43 /* CursorNotFound */,
    46 /* LockBusy */,
    MAX_TIME_EXPIRED,
    63 /* StaleShardVersion */,
    64 /* WriteConcernFailed: no majority confirmed in time */,
    89 /* NetworkTimeout */,
    91 /* ShutdownInProgress */,
    100 /* UnsatisfiableWriteConcern: members are missing */,
    112 /* WriteConflict */,
    133 /* FailedToSatisfyReadPreference */,
    134 /* ReadConcernMajorityNotAvailableYet */,
    150 /* StaleEpoch */,
    175 /* QueryPlanKilled */,
    189 /* PrimarySteppedDown */,
    202 /* NetworkInterfaceExceededTimeLimit */,
    234 /* RetryChangeStream */,
    237 /* CursorKilled */,
    246 /* SnapshotUnavailable */,
    EXCEEDED_TIME_LIMIT,
    276 /* IndexBuildAborted */,
    290 /* TransactionExceededLifetimeLimitSeconds */,
    9001 /* SocketException */,
    NOT_MASTER,
    NOT_WRITABLE_PRIMARY,
    11600 /* InterruptedAtShutdown */,
    11601 /* Interrupted */,
    11602 /* InterruptedDueToReplStateChange */,
    13388 /* StaleConfig */,
    NOT_PRIMARY_NO_SECONDARY_OK,
    13436 /* NotPrimaryOrSecondary */,
};

static bool is_transient(uint32_t code) {
    for (size_t i = 0; i < sizeof transient / sizeof transient[0]; i++)
        if (transient[i] == code) return true;
    return false;
}

static bool has_label(const bson_t *reply, const char *label) {
    return reply != NULL && mongoc_error_has_label(reply, label);
}

mp_mongodb_problem mp_mongodb_problem_of(const bson_error_t *error, const bson_t *reply) {
    mp_mongodb_problem p = {0};
    switch (error->domain) {
    case MONGOC_ERROR_STREAM: p.network = p.retriable = true; break;
    case MONGOC_ERROR_SERVER_SELECTION:
        p.no_server = p.retriable = p.untouched = error->code != MONGOC_ERROR_SERVER_SELECTION_BAD_WIRE_VERSION;
        break;
    case MONGOC_ERROR_PROTOCOL: p.network = p.retriable = error->code == MONGOC_ERROR_PROTOCOL_INVALID_REPLY; break;
    case MONGOC_ERROR_CURSOR: /* a server went away between two batches */
    case MONGOC_ERROR_WRITE_CONCERN:
    case MONGOC_ERROR_SERVER:
    case MONGOC_ERROR_QUERY:
        p.retriable = is_transient(error->code) || has_label(reply, "RetryableWriteError");
        p.untouched = error->code == NOT_WRITABLE_PRIMARY || error->code == NOT_MASTER ||
                      error->code == NOT_PRIMARY_NO_SECONDARY_OK;
        p.out_of_time = error->code == MAX_TIME_EXPIRED || error->code == EXCEEDED_TIME_LIMIT;
        p.sort_arrays = error->code == BAD_VALUE && strstr(error->message, "parallel arrays") != NULL;
        p.duplicate = error->code == DUPLICATE_KEY;
        break;
    case MONGOC_ERROR_CLIENT:
        p.network = p.retriable = error->code == MONGOC_ERROR_CLIENT_AUTHENTICATE && mp_mongodb_connection_lost();
        break;
    default: break; /* what cannot be sent: no better the next time */
    }
    return p;
}
