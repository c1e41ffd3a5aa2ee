#include "store/store_check.h"

#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/quote.h"
#include "base/utf8.h"

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
static const char others[] = "0123456789.-";

int mp_collection_check(const char *collection, pond_error **err) {
    static const char *const reserved[] = {"sqlite_", "millpond_"};
    char shown[MP_QUOTE_MAX];
    size_t len = collection != NULL ? strlen(collection) : 0;
    if (len == 0)
        return mp_fail(err, POND_EOPTION, "collection: the name is empty: write 1 to %d letters", MP_COLLECTION_MAX);
    mp_quote(shown, collection, len);
    if (len > MP_COLLECTION_MAX)
        return mp_fail(err, POND_EOPTION, "collection: the name %s has %zu bytes: it has at most %d", shown, len,
                       MP_COLLECTION_MAX);
    size_t good = strspn(collection, letters);
    while (good > 0 && good < len && strchr(others, collection[good]) != NULL) {
        good++;
        good += strspn(collection + good, letters);
    }
    if (good < len)
        return mp_fail(err, POND_EOPTION,
                       "collection: the name %s cannot be used because of its byte %zu: a letter or _ begins it, and "
                       "letters, digits and _ . - follow",
                       shown, good);
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        if (strncasecmp(collection, reserved[i], strlen(reserved[i])) == 0)
            return mp_fail(err, POND_EOPTION, "collection: the name %s is reserved, as all that begin with %s are",
                           shown, reserved[i]);
    return POND_OK;
}

int mp_id_check(const char *collection, const char *id, size_t len, pond_error **err) {
    char shown[MP_QUOTE_MAX];
    if (id == NULL || len == 0)
        return mp_fail(err, POND_EKEY, "%.64s: the id is empty: an id has 1 to %d bytes", collection, MP_ID_MAX);
    mp_quote(shown, id, len);
    if (len > MP_ID_MAX)
        return mp_fail(err, POND_EKEY, "%.64s: the id %s has %zu bytes: an id has at most %d", collection, shown, len,
                       MP_ID_MAX);
    size_t at = mp_utf8_check(id, len);
    if (at < len)
        return mp_fail(err, POND_EKEY, "%.64s: the id %s is not UTF-8 at byte %zu: write binary ids in hex or base64",
                       collection, shown, at);
    const char *zero = memchr(id, 0, len);
    if (zero != NULL)
        return mp_fail(err, POND_EKEY, "%.64s: the id %s holds U+0000 at byte %zu: leave it out", collection, shown,
                       (size_t)(zero - id));
    return POND_OK;
}
