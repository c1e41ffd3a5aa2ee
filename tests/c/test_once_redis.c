/* What is sent again is applied once, and gets its first answer; and what a server reads late, from a connection that is given up, is nothing any more.
 * The scripts are called as the cache calls them, for no client of ours sends these in this order at will. */
#include "behind_side.h"

#include "cache/redis_scripts.h"

enum { MOST = 10 };

static char fence[MP_FENCE_LEN];

typedef struct words {
    const char *word[64];
    size_t len[64];
    int count;
} words;

static void add(words *w, const void *word, size_t len) {
    w->word[w->count] = word;
    w->len[w->count++] = len;
}

static void text(words *w, const char *word) { add(w, word, strlen(word)); }

static redisReply *last; /* of the test, until the next one */

static redisReply *run(mp_script_id id, words *keys, words *args) {
    words all = {.count = 0};
    char count[8];
    snprintf(count, sizeof count, "%d", keys->count);
    text(&all, "EVAL");
    add(&all, mp_scripts[id].text, mp_scripts[id].len);
    text(&all, count);
    for (int i = 0; i < keys->count; i++) add(&all, keys->word[i], keys->len[i]);
    for (int i = 0; i < args->count; i++) add(&all, args->word[i], args->len[i]);
    if (last) freeReplyObject(last);
    last = redisCommandArgv(redis, all.count, all.word, all.len);
    assert_non_null(last);
    if (last->type == REDIS_REPLY_ERROR) fail_msg("%s", last->str);
    return last;
}

/* By which a call is known: a number of one slot. */
static void known(words *w, int n) {
    static char numbers[4][6];
    static unsigned next;
    char *at = numbers[next++ % 4];
    memset(at, 0, 6);
    at[0] = (char)n;
    add(w, "session-of-linesl", 18);
    add(w, at, 6);
}

static const char head[] = {'M', 'P', 1, (char)132, 0, 0, 0, 0};
static const char tail[24] = {0};

/* Of one version the low byte; what is below 0 is the answer of who is refused, and 0 of who is late. */
static int verdict(const redisReply *r) {
    if (r->type == REDIS_REPLY_STRING && r->len == 8) return (unsigned char)r->str[0];
    assert_int_equal(r->type, REDIS_REPLY_ARRAY);
    int code = (int)r->element[0]->integer;
    return code == 1 ? (unsigned char)r->element[1]->str[0] : code;
}

static int send_put(const char *key, int n, int part, bool again, const char *under) {
    char value[32], deltas[32], number[8];
    words keys = {.count = 0}, args = {.count = 0};
    snprintf(value, sizeof value, "mp:b:{b:0}%s", key);
    snprintf(deltas, sizeof deltas, "mp:i:{b:0}%s", key);
    snprintf(number, sizeof number, "%d", part);
    text(&keys, value);
    text(&keys, deltas);
    text(&keys, "mp:d:{b:0}");
    text(&keys, "mp:q:{b:0}");
    text(&keys, "mp:m:{b:0}");
    text(&keys, "mp:o:{b:0}:1");
    text(&args, key);
    add(&args, head, sizeof head);
    add(&args, tail, sizeof tail);
    add(&args, under, MP_FENCE_LEN);
    text(&args, "10");
    text(&args, "");
    known(&args, n);
    text(&args, number);
    text(&args, again ? "1" : "0");
    return verdict(run(MP_SCRIPT_wb_put, &keys, &args));
}

/* Of "sa", "sb" and "sc". */
static void send_puts(int n, int verdicts[3]) {
    words keys = {.count = 0}, args = {.count = 0};
    text(&keys, "mp:d:{b:0}");
    text(&keys, "mp:q:{b:0}");
    text(&keys, "mp:m:{b:0}");
    text(&keys, "mp:o:{b:0}:1");
    for (const char *const *name = (const char *const[]){"mp:b:{b:0}sa", "mp:b:{b:0}sb", "mp:b:{b:0}sc", "mp:i:{b:0}sa",
                                                         "mp:i:{b:0}sb", "mp:i:{b:0}sc", NULL};
         *name; name++)
        text(&keys, *name);
    add(&args, fence, sizeof fence);
    text(&args, "10");
    known(&args, n);
    text(&args, "sa");
    text(&args, "sb");
    text(&args, "sc");
    for (int i = 0; i < 3; i++) add(&args, head, sizeof head);
    for (int i = 0; i < 3; i++) add(&args, tail, sizeof tail);
    redisReply *r = run(MP_SCRIPT_wb_puts, &keys, &args);
    if (r->type == REDIS_REPLY_STRING) {
        assert_int_equal(r->len, 24);
        for (int i = 0; i < 3; i++) verdicts[i] = (unsigned char)r->str[8 * i];
        return;
    }
    assert_int_equal(r->elements, 3);
    for (int i = 0; i < 3; i++) verdicts[i] = verdict(r->element[i]);
}

static int send_increment(int n, bool again, bool other_fence) {
    words keys = {.count = 0}, args = {.count = 0};
    for (const char *const *name = (const char *const[]){"mp:b:{b:0}sa", "mp:i:{b:0}sa", "mp:d:{b:0}", "mp:q:{b:0}",
                                                         "mp:m:{b:0}", "mp:o:{b:0}:1", "mp:bl:{b:0}sa", NULL};
         *name; name++)
        text(&keys, *name);
    text(&args, "sa");
    text(&args, "n");
    text(&args, "1");
    add(&args, fence, sizeof fence);
    text(&args, "10");
    known(&args, n);
    text(&args, again ? "1" : "0");
    text(&args, other_fence ? "1" : "0");
    return verdict(run(MP_SCRIPT_wb_incr, &keys, &args));
}

static int begin(void **state) {
    set_up(state);
    redisReply *r = redis_do(redis, "HGET mp:m:{b:0} fence");
    assert_int_equal(r->len, sizeof fence);
    memcpy(fence, r->str, sizeof fence);
    return 0;
}

static int end(void **state) {
    if (last) freeReplyObject(last);
    last = NULL;
    return tear_down(state);
}

static int seq(void) { return atoi(redis_do(redis, "HGET mp:m:{b:0} seq")->str); }

static void one_alone(void **state) {
    (void)state;
    int first = send_put("sa", 1, 0, false, fence);
    assert_int_equal(first, 1);
    assert_int_equal(put(&us, "sa", "{}", NULL), MP_VERDICT_OK); /* somebody else goes on from there */
    assert_int_equal(send_put("sa", 1, 0, true, fence), first);
    assert_int_equal(send_put("sa", 1, 0, true, "other---"), first); /* the server came back with all of it */
    assert_int_equal(send_put("sa", 1, 0, false, fence), 0);         /* read late, from the connection that was lost */
    assert_int_equal(seq(), 2);
    assert_int_equal(send_put("sa", 2, 0, false, fence), 3);
    assert_int_equal(send_put("sa", 1, 0, true, fence), 0); /* nobody waits for that any more */
    assert_int_equal(seq(), 3);
    /* The answer was no: what is sent again is judged anew, and what comes late is nothing. */
    assert_int_equal(send_put("sa", 3, 0, true, "other---"), -1);
    assert_int_equal(send_put("sa", 3, 0, false, fence), 0);
    assert_int_equal(send_put("sa", 3, 0, true, fence), 4);
    assert_int_equal(send_put("sa", 3, 0, true, fence), 4);
    assert_int_equal(seq(), 4);
}

static void some_together(void **state) {
    (void)state;
    int v[3];
    send_puts(1, v);
    assert_true(v[0] == 1 && v[1] == 2 && v[2] == 3);
    for (int part = 2; part >= 0; part--) assert_int_equal(send_put("sx", 1, part, true, fence), part + 1);
    assert_int_equal(seq(), 3);
    send_puts(1, v); /* once more: it was read late */
    assert_true(v[0] == 0 && v[1] == 0 && v[2] == 0);
    assert_int_equal(seq(), 3);
    send_puts(2, v);
    assert_true(v[0] == 4 && v[2] == 6);
    assert_int_equal(send_put("sa", 1, 0, true, fence), 0);
}

/* They are sent again before the server reads the call itself, or after it has lost it; one at a time, and not all of them, as some have been given up. */
static void a_call_that_comes_late(void **state) {
    (void)state;
    int v[3];
    assert_int_equal(send_put("sc", 1, 2, true, fence), 1);
    send_puts(1, v);
    assert_true(v[0] == 0 && v[1] == 0 && v[2] == 0);
    assert_int_equal(seq(), 1);
    assert_int_equal(redis_number(redis, "LLEN mp:q:{b:0}"), 1);
    assert_int_equal(send_put("sa", 1, 0, true, fence), 2);
    assert_int_equal(send_put("sc", 1, 2, true, fence), 1);
    assert_int_equal(send_put("sa", 1, 0, true, fence), 2);
    assert_int_equal(seq(), 2);
    /* Refused, it has been sent again all the same. */
    assert_int_equal(send_put("sb", 2, 1, true, "other---"), -1);
    send_puts(2, v);
    assert_true(v[0] == 0 && v[1] == 0 && v[2] == 0);
    assert_int_equal(seq(), 2);
}

static void an_increment(void **state) {
    (void)state;
    assert_int_equal(put(&us, "sa", "{}", NULL), MP_VERDICT_OK);
    assert_int_equal(send_increment(1, false, false), 2);
    assert_int_equal(send_increment(1, true, false), 2);
    assert_int_equal(send_increment(1, true, true), 2); /* it is known, so it is not in doubt */
    assert_int_equal(send_increment(1, false, false), 0);
    assert_int_equal(send_increment(2, true, true), -5);
    assert_int_equal(send_increment(2, false, false), 0);
    assert_int_equal(send_increment(3, true, false), 3); /* the first one never came */
    assert_int_equal(send_increment(2, true, false), 0);
    assert_string_equal(redis_do(redis, "HGET mp:i:{b:0}sa n")->str, "2");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(one_alone),
        TEST(some_together),
        TEST(a_call_that_comes_late),
        TEST(an_increment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
