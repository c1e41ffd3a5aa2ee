#include "model/json_increment.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <yyjson.h>

#include "base/error.h"
#include "base/quote.h"
#include "base/utf8.h"
#include "model/json_number.h"

static bool is_in(int64_t n) { return n >= -MP_INCREMENT_MOST && n <= MP_INCREMENT_MOST; }

static bool is(const char *member, size_t len, const char *name) {
    return len == strlen(name) && memcmp(member, name, len) == 0;
}

static const char *wrong_with(const char *member, size_t len) {
    if (!member || len == 0) return "an increment needs the name of a member";
    if (len > MP_MEMBER_MAX) return "the name of a member that is incremented has at most 255 bytes";
    if (mp_utf8_check(member, len) < len || memchr(member, 0, len)) return "a member's name is UTF-8, without U+0000";
    if (memchr(member, '.', len)) return "a member of the document itself can be incremented, and no dotted path";
    if (member[0] == '$') return "a member's name does not begin with $";
    if (is(member, len, "id") || is(member, len, "_id") || is(member, len, "_mpv"))
        return "\"id\", \"_id\" and \"_mpv\" are no counters";
    return NULL;
}

int mp_increment_check(const char *collection, const char *member, size_t len, int64_t by, pond_error **err) {
    char shown[MP_QUOTE_MAX];
    const char *wrong = wrong_with(member, len);
    if (wrong)
        return mp_fail(err, POND_EVALUE, "%.64s: increment of %s: %s", collection,
                       mp_quote(shown, member ? member : "", member ? len : 0), wrong);
    if (!is_in(by))
        return mp_fail(err, POND_EVALUE, "%.64s: increment of %s by %lld: it may be up to 2^53 - 1 either way",
                       collection, mp_quote(shown, member, len), (long long)by);
    return POND_OK;
}

/* What the number is, if it is whole and counted exactly. Its text may be spelled in any way: 5, 5.0, 5e0. */
static bool read_whole(yyjson_mut_val *number, int64_t *out) {
    mp_number n;
    if (!yyjson_mut_is_raw(number)) return false;
    const char *text = yyjson_mut_get_raw(number);
    if (mp_number_parse(text, yyjson_mut_get_len(number), &n) != MP_NUMBER_FINITE || n.is_real) return false;
    *out = n.integer;
    return is_in(n.integer);
}

typedef enum added { ADDED, DROPPED, NO_MEMORY } added;

static added add(yyjson_mut_doc *doc, yyjson_mut_val *root, const mp_sum *sum) {
    int64_t was = 0;
    yyjson_mut_val *member = yyjson_mut_obj_getn(root, sum->member, sum->len);
    if (member && (!read_whole(member, &was) || !is_in(was + sum->by))) return DROPPED;
    if (member) return yyjson_mut_set_sint(member, was + sum->by) ? ADDED : NO_MEMORY;
    yyjson_mut_val *key = yyjson_mut_strncpy(doc, sum->member, sum->len), *value = yyjson_mut_sint(doc, sum->by);
    return key && value && yyjson_mut_obj_add(root, key, value) ? ADDED : NO_MEMORY;
}

static int no_memory(pond_error **err) { return mp_fail(err, POND_ENOMEM, "no memory for an increment"); }

static int add_all(yyjson_mut_doc *doc, mp_sum *sums, size_t n, pond_codec codec, pond_value **out, size_t *dropped,
                   pond_error **err) {
    yyjson_mut_val *root = yyjson_mut_doc_get_root(doc);
    for (size_t i = 0; i < n; i++) {
        added how = add(doc, root, &sums[i]);
        if (how == NO_MEMORY) return no_memory(err);
        sums[i].dropped = how == DROPPED;
        *dropped += sums[i].dropped;
    }
    if (*dropped == n) return POND_OK;
    size_t len = 0;
    char *text = yyjson_mut_write(doc, 0, &len);
    *out = mp_value_adopt(codec, text, len); /* takes NULL */
    return *out ? POND_OK : no_memory(err);
}

int mp_increment(const pond_value *document, mp_sum *sums, size_t n, pond_value **out, size_t *dropped,
                 pond_error **err) {
    size_t len;
    const char *text = pond_value_data(document, &len);
    yyjson_read_err why;
    *out = NULL;
    *dropped = 0;
    /* Other numbers than those stay as they are spelled. */
    yyjson_doc *read = yyjson_read_opts((char *)text, len, YYJSON_READ_NUMBER_AS_RAW, NULL, &why);
    if (!read && why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) return no_memory(err);
    if (!read || !yyjson_is_obj(yyjson_doc_get_root(read))) {
        yyjson_doc_free(read);
        if (err)
            *err =
                mp_error_new_retriable(POND_ESTORE, 0, "what is to be incremented is not a document: no JSON object");
        return POND_ESTORE;
    }
    yyjson_mut_doc *doc = yyjson_doc_mut_copy(read, NULL);
    yyjson_doc_free(read);
    if (!doc) return no_memory(err);
    int code = add_all(doc, sums, n, pond_value_codec(document), out, dropped, err);
    yyjson_mut_doc_free(doc);
    return code;
}
