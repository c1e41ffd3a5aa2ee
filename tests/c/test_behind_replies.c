/* Answers of the write-behind scripts that no server gives: of another form, or changed at random. Each is an answer or an error, nothing is
 * read beyond its end, and nothing is left over. */
#include "support/support.h"

#include "cache/redis.h"
#include "cache/redis_reply.h"
#include "model/envelope.h"

enum { ROUNDS = 200000 };

static const uint8_t fence[MP_FENCE_LEN] = "fence--1";

static void nothing(mp_op *op) { (void)op; }

static redisReply *parsed(const char *resp, size_t len) {
    redisReader *reader = redisReaderCreateWithFunctions(&mp_reply_functions);
    void *reply = NULL;
    assert_non_null(reader);
    redisReaderFeed(reader, resp, len);
    if (redisReaderGetReply(reader, &reply) != REDIS_OK) reply = NULL;
    redisReaderFree(reader);
    return reply;
}

/* What it came to. What an answer holds is looked at, and freed. */
static mp_reply decoded(mp_op_kind kind, bool behind_key, redisReply *r, size_t entries) {
    char name[MP_NAME_MAX + 1];
    mp_behind_entry given[2] = {{.id = "1-1"}, {.id = "1-2"}};
    mp_sums sums = {0};
    mp_behind behind = {.count = entries, .entries = entries ? given : NULL, .sums = kind == MP_FOLD ? &sums : NULL};
    mp_op op = {.kind = kind, .lease_ms = 1, .done = nothing, .behind = kind >= MP_ACCEPT ? &behind : NULL};
    if (behind_key) mp_key_make_behind(&op.key, name, "n", 1, "k", 1, 16);
    else mp_key_make_shard(&op.key, name, "n", 1, 16, 0);
    mp_verdict verdict = mp_command_decode(&op, r, fence, fence, MP_PTTL_UNKNOWN);
    if (verdict != MP_ANSWERED) {
        assert_null(op.value);
        return MP_PENDING;
    }
    assert_int_not_equal(op.reply, MP_PENDING);
    assert_true((op.reply == MP_FAILED) == (op.error != NULL));
    if (kind == MP_TAKE || kind == MP_DEAD_LIST) {
        assert_true(op.reply == MP_DONE || !behind.entries);
        for (size_t i = 0; i < behind.count; i++) {
            mp_behind_entry *e = &behind.entries[i];
            assert_int_equal(e->key[e->key_len], 0);
            assert_true(strlen(e->id) > 0 && !(e->value && e->damaged));
            if (e->value && e->value->state == POND_VALUE) assert_int_equal(e->value->data[e->value->len], 0);
        }
        mp_behind_clear(&behind);
    }
    for (size_t i = 0; kind == MP_SUMS && behind.sums && i < entries; i++) {
        for (size_t k = 0; k < behind.sums[i].n; k++)
            assert_int_equal(behind.sums[i].sum[k].member[behind.sums[i].sum[k].len], 0);
        mp_sums_clear(&behind.sums[i]);
    }
    if (kind == MP_SUMS) free(behind.sums);
    pond_value_free(op.value);
    pond_error_free(op.error);
    return op.reply;
}

static mp_reply answer(mp_op_kind kind, const char *resp) {
    redisReply *r = parsed(resp, strlen(resp));
    assert_non_null(r);
    return decoded(kind, kind < MP_EPOCH, r, kind == MP_ACK || kind == MP_SUMS ? 2 : 0);
}

static void answers_of_another_form_are_errors(void **state) {
    (void)state;
    static const mp_op_kind kinds[] = {MP_ACCEPT, MP_EPOCH,     MP_OWN,         MP_TAKE,      MP_ACK,
                                       MP_DEAD,   MP_DEAD_LIST, MP_DEAD_RETRY,  MP_DEAD_DROP, MP_FORGET,
                                       MP_SUMS,   MP_FOLD,      MP_BEHIND_OPEN, MP_LEASE,     MP_INSPECT};
    static const char *const odd[] = {"$-1\r\n", "+OK\r\n", "*0\r\n", "*-1\r\n", "$1\r\nx\r\n", "*1\r\n$1\r\nx\r\n"};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) assert_int_equal(answer(kinds[k], odd[i]), MP_FAILED);
    static const struct {
        mp_op_kind kind;
        const char *resp;
    } more[] = {
        {MP_ACCEPT, "*1\r\n:1\r\n"},
        {MP_ACCEPT, "*2\r\n:1\r\n$7\r\n1234567\r\n"},
        {MP_ACCEPT, "*2\r\n:1\r\n:5\r\n"},
        {MP_ACCEPT, "*1\r\n:2\r\n"},
        {MP_ACCEPT, "*1\r\n:-5\r\n"},
        {MP_ACCEPT, "*1\r\n$-1\r\n"},
        {MP_TAKE, "*1\r\n:0\r\n"},
        {MP_TAKE, "*4\r\n:-1\r\n:0\r\n$3\r\n1-1\r\n:0\r\n"},
        {MP_TAKE, "*4\r\n:0\r\n$1\r\nx\r\n$3\r\n1-1\r\n:0\r\n"},
        {MP_TAKE, "*4\r\n:0\r\n:1\r\n$1\r\nx\r\n:0\r\n"},
        {MP_TAKE, "*6\r\n:1\r\n:1\r\n$3\r\n1-1\r\n:0\r\n$3\r\n1-1\r\n$1\r\nk\r\n"},
        {MP_TAKE, "*7\r\n:1\r\n:1\r\n$3\r\n1-1\r\n:0\r\n$3\r\n1+1\r\n$1\r\nk\r\n$-1\r\n"},
        {MP_TAKE, "*7\r\n:1\r\n:1\r\n$3\r\n1-1\r\n:0\r\n$0\r\n\r\n$1\r\nk\r\n$-1\r\n"},
        {MP_TAKE,
         "*7\r\n:1\r\n:1\r\n$3\r\n1-1\r\n:0\r\n$40\r\n1234567890123456789-12345678901234567890\r\n$1\r\nk\r\n$-1\r\n"},
        {MP_TAKE, "*7\r\n:1\r\n:1\r\n$3\r\n1-1\r\n:0\r\n$3\r\n1-1\r\n:1\r\n$-1\r\n"},
        {MP_TAKE, "*7\r\n:1\r\n:1\r\n$3\r\n1-1\r\n:0\r\n$3\r\n1-1\r\n$1\r\nk\r\n:0\r\n"},
        {MP_TAKE, "*10\r\n:1\r\n:1\r\n$3\r\n1-1\r\n:0\r\n$3\r\n1-1\r\n$1\r\nk\r\n$-1\r\n$1\r\nx\r\n$1\r\nk\r\n$-1\r\n"},
        {MP_SUMS, "*1\r\n*-1\r\n"},
        {MP_SUMS, "*2\r\n*-1\r\n:1\r\n"},
        {MP_SUMS, "*2\r\n*-1\r\n*1\r\n$-1\r\n"},
        {MP_SUMS, "*2\r\n*-1\r\n*2\r\n$-1\r\n$1\r\nx\r\n"},
        {MP_SUMS, "*2\r\n*-1\r\n*2\r\n:1\r\n*0\r\n"},
        {MP_SUMS, "*2\r\n*-1\r\n*2\r\n$-1\r\n*1\r\n$1\r\nn\r\n"},
        {MP_SUMS, "*2\r\n*-1\r\n*2\r\n$-1\r\n*2\r\n$1\r\nn\r\n:1\r\n"},
        {MP_FOLD, "*2\r\n:1\r\n$8\r\n12345678\r\n"},
        {MP_FOLD, "*2\r\n:2\r\n$0\r\n\r\n"},
        {MP_FOLD, "*1\r\n:1\r\n"},
        {MP_ACK, "$1\r\n1\r\n"},
        {MP_ACK, "$3\r\n111\r\n"},
        {MP_DEAD_LIST, "*2\r\n:1\r\n$1\r\nx\r\n"},
        {MP_DEAD_LIST, "*2\r\n:1\r\n:1\r\n"},
        {MP_DEAD_LIST, "*2\r\n:-1\r\n:0\r\n"},
        {MP_DEAD_LIST, "*7\r\n:1\r\n:0\r\n$1\r\nx\r\n$1\r\nk\r\n$0\r\n\r\n$1\r\ne\r\n*0\r\n"},
        {MP_DEAD_LIST, "*7\r\n:1\r\n:0\r\n$3\r\n1-1\r\n$1\r\nk\r\n$-1\r\n$1\r\ne\r\n*0\r\n"},
        {MP_DEAD_LIST, "*7\r\n:1\r\n:0\r\n$3\r\n1-1\r\n$1\r\nk\r\n$0\r\n\r\n:1\r\n*0\r\n"},
        {MP_DEAD_LIST, "*7\r\n:1\r\n:0\r\n$3\r\n1-1\r\n$1\r\nk\r\n$0\r\n\r\n$1\r\ne\r\n:1\r\n"},
        {MP_DEAD_LIST, "*7\r\n:1\r\n:0\r\n$3\r\n1-1\r\n$1\r\nk\r\n$0\r\n\r\n$1\r\ne\r\n*1\r\n$1\r\nn\r\n"},
        {MP_CONFIRM, "*2\r\n:1\r\n:0\r\n"},
        {MP_CONFIRM, ":-1\r\n"},
        {MP_DEAD_RETRY, ":2\r\n"},
        {MP_DEAD_RETRY, ":-1\r\n"},
        {MP_BEHIND_OPEN, "*3\r\n:16\r\n$1\r\nx\r\n$1\r\n0\r\n"},
        {MP_LEASE, "*3\r\n:6\r\n$-1\r\n:1\r\n"},
        {MP_LEASE, "*4\r\n:6\r\n$-1\r\n:1\r\n*0\r\n"}};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++)
        assert_int_equal(answer(more[i].kind, more[i].resp), MP_FAILED);
    /* And those that are right are none. */
    assert_int_equal(answer(MP_ACCEPT, "*2\r\n:1\r\n$8\r\n12345678\r\n"), MP_STORED);
    assert_int_equal(answer(MP_TAKE, "*7\r\n:1\r\n:1\r\n$3\r\n1-1\r\n:0\r\n$3\r\n1-1\r\n$1\r\nk\r\n$-1\r\n"), MP_DONE);
    assert_int_equal(answer(MP_ACK, "$2\r\n10\r\n"), MP_DONE);
    assert_int_equal(answer(MP_SUMS, "*2\r\n*-1\r\n*2\r\n$-1\r\n*4\r\n$0\r\n\r\n$16\r\n1234567812345678\r\n"
                                     "$1\r\nn\r\n$2\r\n-3\r\n"),
                     MP_DONE);
    assert_int_equal(answer(MP_FOLD, "*2\r\n:1\r\n$0\r\n\r\n"), MP_DONE);
    assert_int_equal(answer(MP_FOLD, "*1\r\n:-3\r\n"), MP_REFUSED);
    assert_int_equal(answer(MP_BEHIND_OPEN, "*3\r\n$2\r\n16\r\n$0\r\n\r\n$0\r\n\r\n"), MP_DONE);
    assert_int_equal(answer(MP_DEAD_LIST, "*7\r\n:1\r\n:1\r\n$3\r\n1-1\r\n$1\r\nk\r\n$0\r\n\r\n$1\r\ne\r\n*0\r\n"),
                     MP_DONE);
    assert_int_equal(answer(MP_DEAD_RETRY, ":1\r\n"), MP_STORED);
    assert_int_equal(answer(MP_CONFIRM, ":2\r\n"), MP_DONE);
}

static size_t add_text(char *out, const char *text, size_t len) {
    size_t n = (size_t)sprintf(out, "$%zu\r\n", len);
    memcpy(out + n, text, len);
    memcpy(out + n + len, "\r\n", 2);
    return n + len + 2;
}

/* An answer with two records, a third of an absence; for TAKE, DEAD_LIST, or LEASE. */
static size_t with_records(char *out, mp_op_kind kind) {
    char record[256];
    size_t n = 0;
    static const char doc[] = "{\"id\":\"a\"}";
    mp_envelope e = {.flags = MP_ENVELOPE_SRCVER, .codec = POND_JSON, .payload = doc, .payload_len = sizeof doc - 1};
    memcpy(e.fence, fence, sizeof e.fence);
    if (kind == MP_LEASE) n += (size_t)sprintf(out, "*3\r\n:6\r\n");
    if (kind == MP_TAKE) n += (size_t)sprintf(out, "*13\r\n:3\r\n:1\r\n$3\r\n1-1\r\n:0\r\n");
    if (kind == MP_DEAD_LIST) n += (size_t)sprintf(out, "*17\r\n:3\r\n:0\r\n");
    for (int i = 0; i < (kind == MP_LEASE ? 1 : 3); i++) {
        if (kind != MP_LEASE) n += add_text(out + n, "1099511627776-0", 15);
        if (kind != MP_LEASE) n += add_text(out + n, "sabc", 4);
        if (i == 2) e = (mp_envelope){.flags = MP_ENVELOPE_SRCVER | MP_ENVELOPE_NEGATIVE};
        mp_envelope_write(record, &e);
        n += add_text(out + n, record, mp_envelope_size(e.payload_len, 0));
        if (kind == MP_DEAD_LIST)
            n += add_text(out + n, "why", 3) + (size_t)sprintf(out + n + 9, "*2\r\n$1\r\nn\r\n$1\r\n7\r\n");
    }
    if (kind == MP_LEASE) n += (size_t)sprintf(out + n, ":1000\r\n");
    return n;
}

static void changed_bytes_do_no_harm(void **state) {
    (void)state;
    static const mp_op_kind kinds[] = {MP_TAKE, MP_DEAD_LIST, MP_LEASE};
    static const mp_reply well[] = {MP_DONE, MP_DONE, MP_HIT};
    char resp[2048];
    unsigned good = 0, bad = 0, none = 0;
    for (int i = 0; i < (slow_build() ? ROUNDS / 10 : ROUNDS); i++) {
        size_t k = dice(3), len = with_records(resp, kinds[k]);
        if (i < 30) assert_int_equal(decoded(kinds[k], kinds[k] == MP_LEASE, parsed(resp, len), 0), well[k]);
        for (uint32_t times = 1 + dice(3); times > 0; times--) {
            static const char likely[] = "$*:-+0123456789\r\n";
            resp[dice((uint32_t)len)] = dice(2) ? likely[dice(sizeof likely - 1)] : (char)dice(256);
        }
        /* A copy of just that size, so that a checker of memory sees what is read behind it. */
        char *copy = malloc(len);
        memcpy(copy, resp, len);
        redisReply *r = parsed(copy, len);
        free(copy);
        if (!r) {
            none++;
            continue;
        }
        mp_reply reply = decoded(kinds[k], kinds[k] == MP_LEASE, r, 0);
        good += reply == well[k];
        bad += reply == MP_FAILED;
    }
    assert_true(good > 1000 && bad > 300 && none > 300);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(answers_of_another_form_are_errors),
                                       cmocka_unit_test(changed_bytes_do_no_harm)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
