#include "store/mongodb_uri.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"

enum { WARNING_MAX = 256, CONNECT_MS = 10000 };

/* What libmongoc complained about while this thread parsed an address. */
static _Thread_local char *warning;

static void hear(mongoc_log_level_t level, const char *domain, const char *message, void *ctx) {
    if (warning != NULL && level <= MONGOC_LOG_LEVEL_WARNING && warning[0] == 0)
        snprintf(warning, WARNING_MAX, "%s", message);
}

static void init(void) {
    mongoc_log_set_handler(hear, NULL);
    mongoc_init(); /* and never mongoc_cleanup: others in this process may use the same library */
}

void mp_mongodb_init(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init);
}

/* Short, for it cannot be cut: libmongoc looks up to four times in one attempt at a write (before and after it has tried a
 * connection, and the same when it tries again), also when the call's time is over. */
int32_t mp_mongodb_look_ms(int64_t timeout_ms) {
    int64_t part = timeout_ms / 50;
    return part < 1 ? 1 : part > 20 ? 20 : (int32_t)part;
}

/* libmongoc's own text may quote what it could not read, and of an address with a badly written password that may be
 * the password. */
static int unreadable(const char *address, const char *why, pond_error **err) {
    if (strchr(address, '@') != NULL)
        return mp_fail(err, POND_EURL,
                       "store: the mongodb: address cannot be read: write "
                       "mongodb://user:password@host:port/database?option=value, and in the user and the password each "
                       "of : / ? # [ ] @ %% as %% and two hex digits");
    return mp_fail(err, POND_EURL, "store: the mongodb: address cannot be used: %s", why);
}

static int refuse(const char *option, const char *why, pond_error **err) {
    return mp_fail(err, POND_EURL, "store: the option %s of the mongodb: address cannot be used: %s", option, why);
}

static bool is_set(const mongoc_uri_t *uri, const char *option) {
    return mongoc_uri_get_option_as_bool(uri, option, false);
}

static int check(const mongoc_uri_t *uri, pond_error **err) {
    static const char always[] = "reads and writes are always majority, on the primary: leave it out";
    const char *database = mongoc_uri_get_database(uri);
    if (database == NULL || *database == 0)
        return mp_fail(err, POND_EURL,
                       "store: the mongodb: address names no database: write mongodb://host:port/database");
    const bson_t *options = mongoc_uri_get_options(uri);
    const mongoc_write_concern_t *writes = mongoc_uri_get_write_concern(uri);
    if ((bson_has_field(options, MONGOC_URI_W) || bson_has_field(options, MONGOC_URI_SAFE)) &&
        !mongoc_write_concern_get_wmajority(writes))
        return refuse("w", always, err);
    if (!mongoc_uri_get_option_as_bool(uri, MONGOC_URI_JOURNAL, true)) return refuse("journal", always, err);
    const char *level = mongoc_read_concern_get_level(mongoc_uri_get_read_concern(uri));
    if (level != NULL && strcmp(level, "majority") != 0) return refuse("readConcernLevel", always, err);
    if (mongoc_read_prefs_get_mode(mongoc_uri_get_read_prefs_t(uri)) != MONGOC_READ_PRIMARY)
        return refuse("readPreference", always, err);
    if (is_set(uri, MONGOC_URI_TLSDISABLEOCSPENDPOINTCHECK) ||
        is_set(uri, MONGOC_URI_TLSDISABLECERTIFICATEREVOCATIONCHECK))
        return refuse("tlsDisable...", "revoked certificates are looked for: leave it out, or write tlsInsecure=true",
                      err);
    return POND_OK;
}

static void complete(mongoc_uri_t *uri, int64_t timeout_ms) {
    int32_t all = timeout_ms < INT32_MAX ? (int32_t)timeout_ms : INT32_MAX;
    int32_t connect = mongoc_uri_get_option_as_int32(uri, MONGOC_URI_CONNECTTIMEOUTMS, CONNECT_MS);
    mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, mp_mongodb_look_ms(timeout_ms));
    mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, all);
    mongoc_uri_set_option_as_int32(uri, MONGOC_URI_CONNECTTIMEOUTMS, connect > 0 && connect < all ? connect : all);
    /* A read is tried again here, as long as there is time and not just once. A write is only by libmongoc, which knows
     * how to have it done once. */
    mongoc_uri_set_option_as_bool(uri, MONGOC_URI_RETRYREADS, false);
    if (mongoc_uri_get_appname(uri) == NULL) mongoc_uri_set_appname(uri, "millpond");

    mongoc_read_concern_t *reads = mongoc_read_concern_new();
    mongoc_write_concern_t *writes = mongoc_write_concern_new();
    mongoc_read_concern_set_level(reads, MONGOC_READ_CONCERN_LEVEL_MAJORITY);
    mongoc_write_concern_set_wmajority(writes, all);
    mongoc_uri_set_read_concern(uri, reads);
    mongoc_uri_set_write_concern(uri, writes);
    mongoc_read_concern_destroy(reads);
    mongoc_write_concern_destroy(writes);
}

int mp_mongodb_uri(mongoc_uri_t **out, const char *address, int64_t timeout_ms, pond_error **err) {
    char said[WARNING_MAX] = "";
    bson_error_t why = {0};
    mp_mongodb_init();
    warning = said;
    mongoc_uri_t *uri = mongoc_uri_new_with_error(address, &why);
    warning = NULL;
    if (uri == NULL || said[0] != 0) {
        if (uri != NULL) mongoc_uri_destroy(uri);
        return unreadable(address, uri == NULL ? why.message : said, err);
    }
    int rc = check(uri, err);
    if (rc != POND_OK) {
        mongoc_uri_destroy(uri);
        return rc;
    }
    complete(uri, timeout_ms);
    *out = uri;
    return POND_OK;
}
