#include "store/mongodb_id.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { OID_DIGITS = 24, INTEGER_DIGITS = 20 };

static bool spells_integer(const char *text, size_t len, int64_t *out) {
    size_t sign = len > 0 && text[0] == '-', at = sign;
    uint64_t n = 0, most = (uint64_t)INT64_MAX + sign;
    if (len == sign || len > INTEGER_DIGITS || (text[sign] == '0' && len > 1)) return false;
    for (; at < len; at++) {
        if (text[at] < '0' || text[at] > '9') return false;
        unsigned digit = (unsigned)(text[at] - '0');
        if (n > (most - digit) / 10) return false;
        n = n * 10 + digit;
    }
    *out = (int64_t)(sign ? 0 - n : n);
    return true;
}

static bool spells_oid(const char *text, size_t len, bson_oid_t *out) {
    char digits[OID_DIGITS + 1];
    if (len != OID_DIGITS) return false;
    for (size_t i = 0; i < len; i++)
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f'))) return false;
    memcpy(digits, text, len);
    digits[len] = 0;
    bson_oid_init_from_string(out, digits);
    return true;
}

mp_mongodb_id mp_mongodb_id_read(const char *text, size_t len) {
    mp_mongodb_id id = {.text = text, .len = len, .also = MP_ID_STRING};
    if (spells_integer(text, len, &id.integer)) id.also = MP_ID_INTEGER;
    else if (spells_oid(text, len, &id.oid)) id.also = MP_ID_OID;
    return id;
}

bool mp_mongodb_id_append(bson_t *to, const char *key, const mp_mongodb_id *id, mp_mongodb_kind as) {
    switch (as) {
    case MP_ID_INTEGER: return bson_append_int64(to, key, -1, id->integer);
    case MP_ID_OID: return bson_append_oid(to, key, -1, &id->oid);
    default: return bson_append_utf8(to, key, -1, id->text, (int)id->len);
    }
}

bool mp_mongodb_id_append_all(bson_t *array, uint32_t *at, const mp_mongodb_id *id) {
    char room[16];
    const char *key;
    bson_uint32_to_string((*at)++, &key, room, sizeof room);
    if (!mp_mongodb_id_append(array, key, id, MP_ID_STRING)) return false;
    if (id->also == MP_ID_STRING) return true;
    bson_uint32_to_string((*at)++, &key, room, sizeof room);
    return mp_mongodb_id_append(array, key, id, id->also);
}

bool mp_mongodb_is_whole(double x) {
    return x >= -9223372036854775808.0 && x < 9223372036854775808.0 && x == (double)(int64_t)x;
}

const char *mp_mongodb_id_text(const bson_iter_t *iter, char room[MP_MONGODB_ID_ROOM], size_t *len,
                               mp_mongodb_kind *kind) {
    int64_t integer;
    uint32_t size;
    *kind = MP_ID_OTHER;
    switch (bson_iter_type(iter)) {
    case BSON_TYPE_UTF8:
        *kind = MP_ID_STRING;
        room = (char *)bson_iter_utf8(iter, &size);
        *len = size;
        return room;
    case BSON_TYPE_OID:
        *kind = MP_ID_OID;
        bson_oid_to_string(bson_iter_oid(iter), room);
        *len = OID_DIGITS;
        return room;
    case BSON_TYPE_INT32: integer = bson_iter_int32(iter); break;
    case BSON_TYPE_INT64: integer = bson_iter_int64(iter); break;
    case BSON_TYPE_DOUBLE: /* to MongoDB the same id as the integer */
        if (!mp_mongodb_is_whole(bson_iter_double(iter))) return NULL;
        integer = (int64_t)bson_iter_double(iter);
        break;
    default: return NULL;
    }
    *kind = MP_ID_INTEGER;
    *len = (size_t)snprintf(room, MP_MONGODB_ID_ROOM, "%" PRId64, integer);
    return room;
}
