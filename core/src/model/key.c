#include "model/key.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/quote.h"
#include "base/utf8.h"

/* Whether all bytes are ASCII without NUL, which almost every key is; eight at a time. */
static bool plain(const char *text, size_t len) {
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t word, bad = 0;
    while (len >= sizeof word) {
        memcpy(&word, text, sizeof word);
        bad |= (word | (word - ones)) & tops; /* a zero byte borrows, so its top bit comes up */
        text += sizeof word;
        len -= sizeof word;
    }
    for (; len > 0; text++, len--) bad |= (unsigned char)(*text - 1) >= 0x7f;
    return bad == 0;
}

static int explain(const char *what, const char *name, size_t len, pond_error **err) {
    char shown[MP_QUOTE_MAX];
    if (name == NULL || len == 0)
        return mp_fail(err, POND_EKEY, "the %s is empty: a %s has 1 to %d bytes", what, what, MP_KEY_MAX);
    mp_quote(shown, name, len);
    if (len > MP_KEY_MAX)
        return mp_fail(err, POND_EKEY, "the %s %s has %zu bytes: a %s has at most %d, so hash its long part", what,
                       shown, len, what, MP_KEY_MAX);
    size_t at = mp_utf8_check(name, len);
    if (at < len)
        return mp_fail(err, POND_EKEY, "the %s %s is not UTF-8 at byte %zu: write binary parts in hex or base64", what,
                       shown, at);
    const char *zero = memchr(name, 0, len);
    if (zero != NULL)
        return mp_fail(err, POND_EKEY, "the %s %s holds U+0000 at byte %zu: leave it out", what, shown,
                       (size_t)(zero - name));
    return POND_OK;
}

int mp_key_check(const char *key, size_t len, pond_error **err) {
    if (key != NULL && len - 1 < MP_KEY_MAX && plain(key, len)) return POND_OK;
    return explain("key", key, len, err);
}

int mp_tag_check(const char *tag, size_t len, pond_error **err) { return explain("tag", tag, len, err); }

/* Offset of the first byte that a namespace may not hold, or `len`. C1 controls are C2 80..9F. */
static size_t ns_forbidden(const char *ns, size_t len) {
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)ns[i];
        if (c < 0x20 || c == 0x7f || memchr("/?{}:", c, 5) != NULL) return i;
        if (c == 0xc2 && i + 1 < len && (unsigned char)ns[i + 1] < 0xa0) return i;
    }
    return len;
}

int mp_ns_check(const char *ns, pond_error **err) {
    char shown[MP_QUOTE_MAX];
    size_t len = ns != NULL ? strlen(ns) : 0, at;
    if (len == 0) return mp_fail(err, POND_EOPTION, "namespace: it is empty: write 1 to %d bytes", MP_NS_MAX);
    mp_quote(shown, ns, len);
    if (len > MP_NS_MAX)
        return mp_fail(err, POND_EOPTION, "namespace: %s has %zu bytes: it has at most %d", shown, len, MP_NS_MAX);
    if ((at = mp_utf8_check(ns, len)) < len)
        return mp_fail(err, POND_EOPTION, "namespace: %s is not UTF-8 at byte %zu", shown, at);
    if ((at = ns_forbidden(ns, len)) < len)
        return mp_fail(
            err, POND_EOPTION,
            "namespace: %s may not hold %s at byte %zu: leave out / ? { } : and control "
            "characters",
            shown, memchr("/?{}:", ns[at], 5) != NULL ? (char[]){'\'', ns[at], '\'', 0} : "a control character", at);
    return POND_OK;
}

void mp_key_make(mp_key *key, char *out, const char *ns, size_t ns_len, const char *user_key, size_t len) {
    assert(ns_len <= MP_NS_MAX && len <= MP_KEY_MAX);
    memcpy(out, ns, ns_len);
    out[ns_len] = ':';
    memcpy(out + ns_len + 1, user_key, len);
    key->name = out;
    key->ns_len = (uint16_t)ns_len;
    key->shards = key->shard = 0;
    key->len = (uint32_t)(ns_len + 1 + len);
    out[key->len] = 0;
    key->hash = mp_hash(out, key->len);
}

/* CRC-16 as Redis Cluster has it (XMODEM: polynomial 1021, begun with 0), half a byte at a time. */
static uint16_t crc16(const char *data, size_t len) {
    static const uint16_t of[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
                                    0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
    unsigned crc = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned byte = (unsigned char)data[i];
        crc = (crc << 4 ^ of[(crc >> 12 ^ byte >> 4) & 15]) & 0xffff;
        crc = (crc << 4 ^ of[(crc >> 12 ^ byte) & 15]) & 0xffff;
    }
    return (uint16_t)crc;
}

void mp_key_make_behind(mp_key *key, char *out, const char *ns, size_t ns_len, const char *user_key, size_t len,
                        uint8_t shards) {
    assert(shards > 0);
    mp_key_make(key, out, ns, ns_len, user_key, len);
    key->shards = shards;
    key->shard = (uint8_t)(crc16(user_key, len) % shards);
}

void mp_key_make_shard(mp_key *key, char *out, const char *ns, size_t ns_len, uint8_t shards, uint8_t shard) {
    assert(shard < shards);
    mp_key_make(key, out, ns, ns_len, "", 0);
    key->shards = shards;
    key->shard = shard;
}
