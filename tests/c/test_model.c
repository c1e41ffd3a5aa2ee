/* model/: values, keys, names in Redis, durations and sizes, CRC-32C, envelopes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/hash.h"
#include "model/crc32c.h"
#include "model/duration.h"
#include "model/envelope.h"
#include "model/key.h"
#include "model/keyname.h"
#include "model/value.h"

/* --- values --- */

static void value_holds_a_copy_with_a_nul(void **state) {
    (void)state;
    char text[] = "{\"a\":1}";
    size_t len = 99;
    pond_value *value = mp_value_new(POND_VALUE, POND_JSON, text, 7);
    text[0] = 'X';
    assert_int_equal(pond_value_state(value), POND_VALUE);
    assert_int_equal(pond_value_codec(value), POND_JSON);
    assert_memory_equal(pond_value_data(value, &len), "{\"a\":1}", 8);
    assert_int_equal(len, 7);
    assert_ptr_equal(pond_value_ref(value), value);
    pond_value_free(value);
    assert_memory_equal(pond_value_data(value, NULL), "{\"a\":1}", 8);
    pond_value_free(value);

    value = mp_value_new(POND_VALUE, POND_BYTES, NULL, 0);
    assert_string_equal(pond_value_data(value, &len), "");
    assert_int_equal(len, 0);
    pond_value_free(value);
    assert_null(mp_value_new(POND_VALUE, POND_BYTES, "", (size_t)UINT32_MAX));
}

static void value_adopts_a_text(void **state) {
    (void)state;
    size_t len;
    pond_value *value = mp_value_adopt(POND_TEXT, strdup("abc"), 3);
    assert_int_equal(pond_value_state(value), POND_VALUE);
    assert_string_equal(pond_value_data(value, &len), "abc");
    assert_int_equal(len, 3);
    pond_value_free(value);
    assert_null(mp_value_adopt(POND_TEXT, NULL, 0)); /* an mp_buf that failed has no text */
}

static void values_without_payload_are_static(void **state) {
    (void)state;
    pond_value *values[] = {mp_value_absent(), mp_value_miss(), NULL};
    pond_state states[] = {POND_ABSENT, POND_MISS, POND_MISS};
    for (int i = 0; i < 3; i++) {
        size_t len = 99;
        for (int n = 0; n < 5; n++) pond_value_free(values[i]); /* costs nothing, ends nothing */
        assert_ptr_equal(pond_value_ref(values[i]), values[i]);
        assert_int_equal(pond_value_state(values[i]), states[i]);
        assert_int_equal(pond_value_codec(values[i]), POND_NONE);
        assert_string_equal(pond_value_data(values[i], &len), "");
        assert_int_equal(len, 0);
    }
}

static int freed;
static void count_free(pond_value *self) {
    freed++;
    assert_int_equal(self->len, 3);
}

static void value_is_freed_by_who_made_it(void **state) {
    (void)state;
    pond_value own = {.refs = 1, .state = POND_VALUE, .codec = POND_TEXT, .len = 3, .data = "abc", .free = count_free};
    freed = 0;
    pond_value_free(pond_value_ref(&own));
    assert_int_equal(freed, 0);
    pond_value_free(&own);
    assert_int_equal(freed, 1);
}

/* --- keys --- */

static void check_key(const char *key, size_t len, const char *sentence) {
    pond_error *err = NULL;
    assert_int_equal(mp_key_check(key, len, &err), sentence != NULL ? POND_EKEY : POND_OK);
    if (sentence != NULL) {
        assert_int_equal(pond_error_code(err), POND_EKEY);
        assert_string_equal(pond_error_message(err), sentence);
        assert_int_equal(mp_key_check(key, len, NULL), POND_EKEY);
    } else {
        assert_null(err);
    }
    pond_error_free(err);
}

static void key_check_names_what_is_wrong(void **state) {
    (void)state;
    char text[600];
    memset(text, 'k', sizeof text);
    check_key("a", 1, NULL);
    check_key("user:42 {x} / ? \x01\x7f", 18, NULL); /* only namespaces are restricted */
    check_key("\xf0\x9f\x98\x80\xc3\xa4", 6, NULL);
    check_key(text, 512, NULL);
    check_key(text, 0, "the key is empty: a key has 1 to 512 bytes");
    check_key(NULL, 0, "the key is empty: a key has 1 to 512 bytes");
    check_key(NULL, 5, "the key is empty: a key has 1 to 512 bytes");
    check_key(
        text, 513,
        "the key \"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk...\" has 513 bytes: a key has at most 512, so "
        "hash its long part");
    check_key("user:\xff", 6, "the key \"user:\\xff\" is not UTF-8 at byte 5: write binary parts in hex or base64");
    check_key("12345678\xc3", 9,
              "the key \"12345678\\xc3\" is not UTF-8 at byte 8: write binary parts in hex or base64");
    check_key("a\0b", 3, "the key \"a\\x00b\" holds U+0000 at byte 1: leave it out");
    check_key("\xc3\xa4\0", 3, "the key \"\xc3\xa4\\x00\" holds U+0000 at byte 2: leave it out");
}

static void key_check_sees_a_bad_byte_at_any_place(void **state) {
    (void)state;
    char text[40];
    for (size_t len = 1; len <= sizeof text; len++) {
        for (size_t bad = 0; bad < len; bad++) {
            for (int c = 1; c < 0x80; c += 0x3f) { /* 1, 0x40, 0x7f pass */
                memset(text, 0x01, sizeof text);
                text[bad] = (char)c;
                assert_int_equal(mp_key_check(text, len, NULL), POND_OK);
            }
            text[bad] = 0;
            assert_int_equal(mp_key_check(text, len, NULL), POND_EKEY);
            text[bad] = '\x80';
            assert_int_equal(mp_key_check(text, len, NULL), POND_EKEY);
        }
    }
}

static void check_ns(const char *ns, const char *sentence) {
    pond_error *err = NULL;
    assert_int_equal(mp_ns_check(ns, &err), sentence != NULL ? POND_EOPTION : POND_OK);
    if (sentence != NULL) assert_string_equal(pond_error_message(err), sentence);
    pond_error_free(err);
}

static void namespace_check_names_what_is_wrong(void **state) {
    (void)state;
    char text[80] = {0};
    memset(text, 'n', 64);
    check_ns("default", NULL);
    check_ns("a b.c-d_\xc3\xa4\xc2\xa0", NULL);
    check_ns(text, NULL);
    text[64] = 'n';
    check_ns(text,
             "namespace: \"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn...\" has 65 bytes: it has at most 64");
    check_ns("", "namespace: it is empty: write 1 to 64 bytes");
    check_ns(NULL, "namespace: it is empty: write 1 to 64 bytes");
    check_ns("a\xff", "namespace: \"a\\xff\" is not UTF-8 at byte 1");
    for (const char *c = "/?{}:"; *c != 0; c++) {
        char ns[] = {'a', 'b', *c, 0}, sentence[160];
        snprintf(sentence, sizeof sentence,
                 "namespace: \"ab%c\" may not hold '%c' at byte 2: leave out / ? { } : and control characters", *c, *c);
        check_ns(ns, sentence);
    }
    check_ns("a\n", "namespace: \"a\\x0a\" may not hold a control character at byte 1: leave out / ? { } : and control "
                    "characters");
    assert_int_equal(mp_ns_check("\x7f", NULL), POND_EOPTION);
    assert_int_equal(mp_ns_check("a\xc2\x85", NULL), POND_EOPTION); /* C1, U+0085 */
}

static void key_make_joins_namespace_and_key(void **state) {
    (void)state;
    char out[MP_NAME_MAX + 1], other_out[MP_NAME_MAX + 1], ns[MP_NS_MAX], user[MP_KEY_MAX];
    mp_key key, other;
    mp_key_make(&key, out, "films", 5, "user:42", 7);
    assert_string_equal(key.name, "films:user:42");
    assert_ptr_equal(key.name, out);
    assert_int_equal(key.len, 13);
    assert_int_equal(key.ns_len, 5);
    assert_true(key.hash == mp_hash("films:user:42", 13));
    mp_key_make(&other, other_out, "film", 4, "s:user:42", 9);
    assert_true(other.hash != key.hash);

    memset(ns, 'n', sizeof ns);
    memset(user, 'k', sizeof user);
    mp_key_make(&key, out, ns, sizeof ns, user, sizeof user);
    assert_int_equal(key.len, MP_NAME_MAX);
    assert_int_equal(out[MP_NAME_MAX], 0);

    char name[MP_KEYNAME_MAX];
    mp_key_make_behind(&key, out, ns, sizeof ns, user, sizeof user, 255);
    key.shard = 254;
    assert_int_equal(mp_keyname(name, MP_PART_LEASE, &key), MP_KEYNAME_MAX - 1); /* the longest fits exactly */
    assert_int_equal(strlen(name), MP_KEYNAME_MAX - 1);
}

static void keynames_are_those_of_the_protocol(void **state) {
    (void)state;
    char out[MP_NAME_MAX + 1], name[MP_KEYNAME_MAX];
    mp_key key;
    mp_key_make(&key, out, "default", 7, "a}b", 3);
    assert_int_equal(mp_keyname(name, MP_PART_VALUE, &key), 18);
    assert_string_equal(name, "mp:v:{default:a}b}");
    mp_keyname(name, MP_PART_LEASE, &key);
    assert_string_equal(name, "mp:l:{default:a}b}");
    mp_keyname(name, MP_PART_INTENT, &key);
    assert_string_equal(name, "mp:w:{default:a}b}");
    mp_keyname(name, MP_PART_TAG, &key);
    assert_string_equal(name, "mp:g:{default:a}b}");
    assert_int_equal(mp_keyname_tag_intent(name, &key), 19);
    assert_string_equal(name, "mp:gw:{default:a}b}");
}

/* The numbers are the whole CRC16, of which CLUSTER KEYSLOT is the lower 14 bits. */
static void keys_written_behind_live_in_shards(void **state) {
    (void)state;
    char out[MP_NAME_MAX + 1], name[MP_KEYNAME_MAX];
    mp_key key;
    mp_key_make_behind(&key, out, "shop/items", 10, "123456789", 9, 16);
    assert_string_equal(key.name, "shop/items:123456789");
    assert_true(key.hash == mp_hash("shop/items:123456789", 20));
    assert_int_equal(key.shards, 16);
    assert_int_equal(key.shard, 0x31c3 % 16);
    assert_int_equal(mp_keyname(name, MP_PART_VALUE, &key), strlen("mp:b:{shop/items:3}123456789"));
    assert_string_equal(name, "mp:b:{shop/items:3}123456789");
    assert_int_equal(mp_keyname(name, MP_PART_LEASE, &key), strlen("mp:bl:{shop/items:3}123456789"));
    assert_string_equal(name, "mp:bl:{shop/items:3}123456789");
    assert_int_equal(mp_keyname(name, MP_PART_INTENT, &key), strlen("mp:i:{shop/items:3}123456789"));
    assert_string_equal(name, "mp:i:{shop/items:3}123456789");
    mp_key_make_behind(&key, out, "n", 1, "s\xc3\xa9}", 4, 255);
    assert_int_equal(key.shard, 0xaed2 % 255);

    mp_key_make_shard(&key, out, "shop/items", 10, 255, 104);
    static const struct {
        mp_shard_part part;
        const char *name;
    } of[] = {{MP_SHARD_QUEUE, "mp:q:{shop/items:104}"},
              {MP_SHARD_BASE, "mp:d:{shop/items:104}"},
              {MP_SHARD_META, "mp:m:{shop/items:104}"},
              {MP_SHARD_DEAD, "mp:x:{shop/items:104}"},
              {MP_SHARD_OWNER, "mp:t:{shop/items:104}"}};
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++) {
        assert_int_equal(mp_keyname_shard(name, of[i].part, &key), strlen(of[i].name));
        assert_string_equal(name, of[i].name);
    }
    assert_int_equal(mp_keyname_sessions(name, &key, 20783), strlen("mp:o:{shop/items:104}:20783"));
    assert_string_equal(name, "mp:o:{shop/items:104}:20783");
    key.shard = 10;
    mp_keyname_shard(name, MP_SHARD_META, &key);
    assert_string_equal(name, "mp:m:{shop/items:10}");
    mp_key_make(&key, out, "n", 1, "k", 1);
    assert_int_equal(key.shards, 0);
}

/* --- durations, sizes, counts --- */

typedef struct number_case {
    const char *text;
    mp_parse what;
    int64_t number;
} number_case;

static void check_numbers(const number_case *cases, mp_parse (*parse)(const char *, int64_t *)) {
    for (; cases->text != NULL; cases++) {
        int64_t number = -77;
        mp_parse what = parse(cases->text, &number);
        if (what != cases->what || number != (what == MP_PARSE_OK ? cases->number : -77))
            fail_msg("\"%s\": %d, %lld", cases->text, (int)what, (long long)number);
    }
}

static void durations_are_exact(void **state) {
    (void)state;
    static const number_case cases[] = {{"0", 0, 0},
                                        {"0ms", 0, 0},
                                        {"250ms", 0, 250},
                                        {"250", 0, 250},
                                        {"30s", 0, 30000},
                                        {"5m", 0, 300000},
                                        {"1h", 0, 3600000},
                                        {"1d", 0, 86400000},
                                        {"007s", 0, 7000},
                                        {"1.5s", 0, 1500},
                                        {"0.001s", 0, 1},
                                        {"1.25000000000000000000m", 0, 75000},
                                        {"0.000000625d", 0, 54},
                                        {"2.0ms", 0, 2},
                                        {"9223372036854775807", 0, INT64_MAX},
                                        {"9223372036854775808", MP_PARSE_TOO_BIG, 0},
                                        {"99999999999999999999999999s", MP_PARSE_TOO_BIG, 0},
                                        {"9223372036854775.807s", 0, INT64_MAX},
                                        {"9223372036854775.808s", MP_PARSE_TOO_BIG, 0},
                                        {"9223372036854776s", MP_PARSE_TOO_BIG, 0},
                                        {"106751991168d", MP_PARSE_TOO_BIG, 0},
                                        {"0.0001s", MP_PARSE_INEXACT, 0},
                                        {"1.5", MP_PARSE_INEXACT, 0},
                                        {"1.5ms", MP_PARSE_INEXACT, 0},
                                        {"1.00000000000000000001d", MP_PARSE_INEXACT, 0},
                                        {"", MP_PARSE_SYNTAX, 0},
                                        {"10 parsecs", MP_PARSE_SYNTAX, 0},
                                        {"10 s", MP_PARSE_SYNTAX, 0},
                                        {" 10s", MP_PARSE_SYNTAX, 0},
                                        {"10s ", MP_PARSE_SYNTAX, 0},
                                        {"10S", MP_PARSE_SYNTAX, 0},
                                        {"-1s", MP_PARSE_SYNTAX, 0},
                                        {"+1s", MP_PARSE_SYNTAX, 0},
                                        {".5s", MP_PARSE_SYNTAX, 0},
                                        {"5.s", MP_PARSE_SYNTAX, 0},
                                        {"1,5s", MP_PARSE_SYNTAX, 0},
                                        {"1e3", MP_PARSE_SYNTAX, 0},
                                        {"0x10", MP_PARSE_SYNTAX, 0},
                                        {"1.5.5s", MP_PARSE_SYNTAX, 0},
                                        {"1h30m", MP_PARSE_SYNTAX, 0},
                                        {"s", MP_PARSE_SYNTAX, 0},
                                        {NULL, 0, 0}};
    check_numbers(cases, mp_duration_parse);
    int64_t number;
    assert_int_equal(mp_duration_parse(NULL, &number), MP_PARSE_SYNTAX);
}

static void sizes_and_counts_are_exact(void **state) {
    (void)state;
    static const number_case sizes[] = {{"0", 0, 0},
                                        {"4096", 0, 4096},
                                        {"512KiB", 0, 512 << 10},
                                        {"64MiB", 0, 64 << 20},
                                        {"1GiB", 0, 1 << 30},
                                        {"1.5GiB", 0, 3LL << 29},
                                        {"1TiB", 0, 1LL << 40},
                                        {"0.001953125TiB", 0, 1LL << 31},
                                        {"8388607TiB", 0, 8388607LL << 40},
                                        {"8388608TiB", MP_PARSE_TOO_BIG, 0},
                                        {"0.1KiB", MP_PARSE_INEXACT, 0},
                                        {"64MB", MP_PARSE_SYNTAX, 0},
                                        {"64M", MP_PARSE_SYNTAX, 0},
                                        {"64mib", MP_PARSE_SYNTAX, 0},
                                        {"30s", MP_PARSE_SYNTAX, 0},
                                        {NULL, 0, 0}};
    static const number_case counts[] = {{"0", 0, 0},
                                         {"100000", 0, 100000},
                                         {"1.0", MP_PARSE_SYNTAX, 0},
                                         {"1KiB", MP_PARSE_SYNTAX, 0},
                                         {"-1", MP_PARSE_SYNTAX, 0},
                                         {"99999999999999999999", MP_PARSE_TOO_BIG, 0},
                                         {NULL, 0, 0}};
    check_numbers(sizes, mp_size_parse);
    check_numbers(counts, mp_count_parse);
}

/* --- CRC-32C --- */

static uint32_t crc_by_bits(const unsigned char *at, size_t len) {
    uint32_t crc = 0xffffffffu;
    for (; len > 0; len--) {
        crc ^= *at++;
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static void crc_agrees_with_the_standard_vectors(void **state) {
    (void)state;
    unsigned char zeros[32] = {0}, ones[32];
    memset(ones, 0xff, sizeof ones);
    uint32_t (*const ways[])(const void *, size_t) = {mp_crc32c, mp_crc32c_portable};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ways[i]("123456789", 9), 0xe3069283u);
        assert_int_equal(ways[i](zeros, 32), 0x8a9136aau); /* RFC 3720, B.4 */
        assert_int_equal(ways[i](ones, 32), 0x62a8ab43u);
        assert_int_equal(ways[i]("", 0), 0);
        assert_int_equal(ways[i](NULL, 0), 0);
    }
}

static void crc_agrees_with_itself_at_every_length(void **state) {
    (void)state;
    enum { LEN = 8000 }; /* past two full blocks of three lanes, and all rests */
    unsigned char *text = malloc(LEN + 8);
    assert_non_null(text);
    uint32_t seed = 1;
    for (size_t i = 0; i < LEN + 8; i++) text[i] = (unsigned char)((seed = seed * 1103515245u + 12345u) >> 16);
    for (size_t len = 0; len <= LEN; len += len < 700 ? 1 : 61) {
        size_t shift = len % 8; /* any alignment */
        uint32_t expected = crc_by_bits(text + shift, len);
        assert_int_equal(mp_crc32c(text + shift, len), expected);
        assert_int_equal(mp_crc32c_portable(text + shift, len), expected);
    }
    free(text);
}

/* --- envelopes --- */

static void envelope_has_the_published_bytes(void **state) {
    (void)state;
    static const char expected[] = "MP\x01\x04"
                                   "\x83\x92\x06\xe3"                 /* crc32c("123456789") */
                                   "\x08\x07\x06\x05\x04\x03\x02\x01" /* version */
                                   "FENCE\0\xff!"
                                   "\x88\x77\x66\x55\x44\x33\x22\x11" /* created */
                                   "\x40\x30\x20\x10"                 /* grace */
                                   "\xd0\xc0\xb0\xa0"                 /* load */
                                   "\x02\x03\0\0"                     /* two tags, text */
                                   "\x09\0\0\0"
                                   "aaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbb"
                                   "123456789";
    mp_envelope in = {.flags = MP_ENVELOPE_SRCVER,
                      .codec = POND_TEXT,
                      .ntags = 2,
                      .version = 0x0102030405060708,
                      .created_ms = 0x1122334455667788u,
                      .grace_ms = 0x10203040,
                      .load_ms = 0xa0b0c0d0u,
                      .tags = "aaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbb",
                      .payload = "123456789",
                      .payload_len = 9};
    memcpy(in.fence, "FENCE\0\xff!", 8);
    char bytes[200];
    size_t size = mp_envelope_size(9, 2);
    assert_int_equal(size, 105);
    memset(bytes, 'Z', sizeof bytes);
    mp_envelope_write(bytes, &in);
    assert_memory_equal(bytes, expected, size);
    assert_int_equal(bytes[size], 'Z');

    /* The head in two pieces, by who puts a version between them. */
    char head[MP_ENVELOPE_HEAD + 1];
    memset(head, 'Z', sizeof head);
    mp_envelope_write_first(head, &in);
    assert_memory_equal(head, expected, 8);
    assert_int_equal(head[8], 'Z');
    mp_envelope_write_rest(head, &in);
    assert_memory_equal(head, expected, MP_ENVELOPE_HEAD);
    assert_int_equal(head[MP_ENVELOPE_HEAD], 'Z');

    mp_envelope out;
    assert_int_equal(mp_envelope_read(bytes, size, &out), MP_ENVELOPE_OK);
    assert_int_equal(out.flags, in.flags);
    assert_int_equal(out.codec, in.codec);
    assert_int_equal(out.ntags, 2);
    assert_true(out.version == in.version);
    assert_true(out.created_ms == in.created_ms);
    assert_int_equal(out.grace_ms, in.grace_ms);
    assert_int_equal(out.load_ms, in.load_ms);
    assert_memory_equal(out.fence, in.fence, 8);
    assert_memory_equal(out.tags, in.tags, 48);
    assert_int_equal(out.payload_len, 9);
    assert_memory_equal(out.payload, "123456789", 9);
    assert_ptr_equal(out.payload, bytes + 96);
}

static size_t write_plain(char *out, const char *payload) {
    mp_envelope in = {.codec = POND_JSON, .payload = payload, .payload_len = (uint32_t)strlen(payload)};
    mp_envelope_write(out, &in);
    return mp_envelope_size(in.payload_len, 0);
}

static void envelope_of_an_absence_has_no_payload(void **state) {
    (void)state;
    mp_envelope in = {.flags = MP_ENVELOPE_NEGATIVE}, out;
    char bytes[MP_ENVELOPE_HEAD];
    assert_int_equal(mp_envelope_size(0, 0), sizeof bytes);
    mp_envelope_write(bytes, &in);
    assert_int_equal(mp_envelope_read(bytes, sizeof bytes, &out), MP_ENVELOPE_OK);
    assert_int_equal(out.flags, MP_ENVELOPE_NEGATIVE);
    assert_int_equal(out.payload_len, 0);

    char empty[MP_ENVELOPE_HEAD]; /* an empty value is a value */
    in = (mp_envelope){.codec = POND_BYTES};
    mp_envelope_write(empty, &in);
    assert_int_equal(mp_envelope_read(empty, sizeof empty, &out), MP_ENVELOPE_OK);
    assert_int_equal(out.flags, 0);
    assert_int_equal(out.codec, POND_BYTES);
}

static void check_with(size_t at, unsigned char byte, mp_envelope_state expected) {
    char bytes[100];
    size_t size = write_plain(bytes, "{\"a\":1}");
    bytes[at] = (char)byte;
    mp_envelope out = {.codec = 77};
    assert_int_equal(mp_envelope_read(bytes, size, &out), expected);
    if (expected != MP_ENVELOPE_OK) assert_int_equal(out.codec, 77); /* untouched */
}

static void envelope_read_says_what_is_wrong(void **state) {
    (void)state;
    check_with(0, 'M', MP_ENVELOPE_OK);
    check_with(0, 'm', MP_ENVELOPE_MAGIC);
    check_with(1, 'Q', MP_ENVELOPE_MAGIC);
    check_with(2, 0, MP_ENVELOPE_FORMAT);
    check_with(2, 2, MP_ENVELOPE_FORMAT);
    check_with(42, 1, MP_ENVELOPE_FORMAT);
    check_with(43, 1, MP_ENVELOPE_FORMAT);
    check_with(3, MP_ENVELOPE_NEGATIVE, MP_ENVELOPE_UNKNOWN); /* an absence with a payload */
    check_with(3, MP_ENVELOPE_COMPRESSED, MP_ENVELOPE_UNSUPPORTED);
    check_with(3, MP_ENVELOPE_SRCVER, MP_ENVELOPE_OK);
    check_with(3, 8, MP_ENVELOPE_UNKNOWN);
    check_with(3, 0x40, MP_ENVELOPE_UNKNOWN);
    check_with(3, MP_ENVELOPE_DIRTY, MP_ENVELOPE_OK);
    check_with(3, MP_ENVELOPE_DIRTY | MP_ENVELOPE_NEGATIVE, MP_ENVELOPE_UNKNOWN);
    check_with(41, POND_NONE, MP_ENVELOPE_UNKNOWN);
    check_with(41, POND_EJSON, MP_ENVELOPE_OK);
    check_with(41, POND_EJSON + 1, MP_ENVELOPE_UNKNOWN);
    check_with(41, 255, MP_ENVELOPE_UNKNOWN);
    check_with(40, 1, MP_ENVELOPE_LENGTH);
    check_with(40, 255, MP_ENVELOPE_LENGTH);
    check_with(44, 6, MP_ENVELOPE_LENGTH);
    check_with(44, 8, MP_ENVELOPE_LENGTH);
    check_with(47, 255, MP_ENVELOPE_LENGTH);
    check_with(4, 0, MP_ENVELOPE_CRC);
    for (size_t at = 48; at < 55; at++) check_with(at, '~', MP_ENVELOPE_CRC);

    mp_envelope absence = {.flags = MP_ENVELOPE_NEGATIVE, .codec = POND_JSON}, out;
    char bytes[MP_ENVELOPE_HEAD];
    mp_envelope_write(bytes, &absence);
    assert_int_equal(mp_envelope_read(bytes, sizeof bytes, &out), MP_ENVELOPE_UNKNOWN);
}

/* Each cut is a block of exactly its size, so that the sanitizer sees a read past it. */
static void envelope_read_stays_inside_any_cut(void **state) {
    (void)state;
    char whole[300];
    mp_envelope in = {.codec = POND_JSON, .ntags = 3, .payload = "[1,2,3]", .payload_len = 7}, out;
    char tags[3 * MP_TAG_SIZE] = {0};
    in.tags = tags;
    mp_envelope_write(whole, &in);
    size_t size = mp_envelope_size(7, 3);
    for (size_t len = 0; len <= size + 1; len++) {
        char *cut = malloc(len > 0 ? len : 1);
        assert_non_null(cut);
        memcpy(cut, whole, len);
        mp_envelope_state expected = len == 1                 ? MP_ENVELOPE_MAGIC
                                     : len < MP_ENVELOPE_HEAD ? MP_ENVELOPE_SHORT
                                     : len == size            ? MP_ENVELOPE_OK
                                                              : MP_ENVELOPE_LENGTH;
        assert_int_equal(mp_envelope_read(cut, len, &out), expected);
        free(cut);
    }
}

static void envelope_read_survives_any_bytes(void **state) {
    (void)state;
    uint64_t seed = 42;
    unsigned readable = 0;
    for (int round = 0; round < 200000; round++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t len = (seed >> 33) % 120;
        char *bytes = malloc(len > 0 ? len : 1);
        assert_non_null(bytes);
        char whole[128];
        write_plain(whole, "{\"title\":\"Alien\",\"year\":1979,\"x\":\"0123456789abcdefghijklm\"}");
        memcpy(bytes, whole, len);
        for (int n = 0; n < 3 && len > 0; n++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            bytes[(seed >> 40) % len] = (char)(seed >> 32);
        }
        mp_envelope out;
        if (mp_envelope_read(bytes, len, &out) == MP_ENVELOPE_OK) {
            readable++;
            assert_ptr_equal(out.payload + out.payload_len, bytes + len);
        }
        free(bytes);
    }
    assert_in_range(readable, 1, 20000); /* some changes only touch times and fence; most are seen */
}

static void envelope_states_have_texts(void **state) {
    (void)state;
    for (int i = MP_ENVELOPE_OK; i <= MP_ENVELOPE_CRC; i++) {
        const char *text = mp_envelope_text((mp_envelope_state)i);
        assert_non_null(text);
        assert_string_not_equal(text, "unknown");
    }
    assert_string_equal(mp_envelope_text((mp_envelope_state)99), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(value_holds_a_copy_with_a_nul),
        cmocka_unit_test(value_adopts_a_text),
        cmocka_unit_test(values_without_payload_are_static),
        cmocka_unit_test(value_is_freed_by_who_made_it),
        cmocka_unit_test(key_check_names_what_is_wrong),
        cmocka_unit_test(key_check_sees_a_bad_byte_at_any_place),
        cmocka_unit_test(namespace_check_names_what_is_wrong),
        cmocka_unit_test(key_make_joins_namespace_and_key),
        cmocka_unit_test(keynames_are_those_of_the_protocol),
        cmocka_unit_test(keys_written_behind_live_in_shards),
        cmocka_unit_test(durations_are_exact),
        cmocka_unit_test(sizes_and_counts_are_exact),
        cmocka_unit_test(crc_agrees_with_the_standard_vectors),
        cmocka_unit_test(crc_agrees_with_itself_at_every_length),
        cmocka_unit_test(envelope_has_the_published_bytes),
        cmocka_unit_test(envelope_of_an_absence_has_no_payload),
        cmocka_unit_test(envelope_read_says_what_is_wrong),
        cmocka_unit_test(envelope_read_stays_inside_any_cut),
        cmocka_unit_test(envelope_read_survives_any_bytes),
        cmocka_unit_test(envelope_states_have_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
