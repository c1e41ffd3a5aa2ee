/* The simulated Redis against a real one that has the same clock: random commands, random calls of the scripts, random pauses; every
 * reply must be the same, byte by byte (of errors the first word), and so must everything that is stored at the end of a round.
 *
 *     cross_check ROUNDS SOCKET CLOCK      SOCKET of a redis-server with clock.so and SIM_CLOCK=CLOCK
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cache/redis_scripts.h"
#include "server.h"
#include "virtual/virtual.h"

enum { STEPS = 300 };

static int real;
static FILE *real_in;
static _Atomic int64_t *real_clock;
static unsigned long commands, scripts;

static void must(bool well, const char *what) {
    if (well) return;
    perror(what);
    exit(2);
}

static void pass(int64_t ms) {
    virtual_pass(ms);
    atomic_store(real_clock, virtual_now());
}

/* ---- commands, as a client sends them ---- */

static mp_buf command;
static size_t words;

static void begin(void) {
    mp_buf_reset(&command);
    words = 0;
}

static void bytes(const void *data, size_t len) {
    mp_buf_printf(&command, "$%zu\r\n", len);
    mp_buf_add(&command, data, len);
    mp_buf_add(&command, "\r\n", 2);
    words++;
}
static void word(const char *text) { bytes(text, strlen(text)); }
static void number(int64_t n) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)n);
    word(text);
}

/* ---- the two servers ---- */

static void read_line(mp_buf *out) {
    int c;
    do {
        c = fgetc(real_in);
        must(c != EOF, "the real server went away");
        mp_buf_add(out, &(char){(char)c}, 1);
    } while (c != '\n');
}

static void read_reply(mp_buf *out) {
    size_t at = out->len;
    read_line(out);
    long n = strtol(out->data + at + 1, NULL, 10);
    if (out->data[at] == '*')
        for (long i = 0; i < n; i++) read_reply(out);
    if (out->data[at] != '$' || n < 0) return;
    must(mp_buf_reserve(out, (size_t)n + 2) && fread(out->data + out->len, 1, (size_t)n + 2, real_in) == (size_t)n + 2,
         "the real server went away");
    out->len += (size_t)n + 2;
}

static void ask_real(mp_buf *reply) {
    char head[16];
    int len = snprintf(head, sizeof head, "*%zu\r\n", words);
    must(write(real, head, (size_t)len) == len && write(real, command.data, command.len) == (ssize_t)command.len,
         "write");
    read_reply(reply);
}

static void ask_simulated(server *s, mp_buf *reply, mp_buf *shown) {
    mp_buf whole;
    mp_buf_init(&whole);
    mp_buf_printf(&whole, "*%zu\r\n", words);
    mp_buf_add(&whole, command.data, command.len);
    server_execute(s, 0, whole.data, reply, shown);
    mp_buf_free(&whole);
}

/* Of an error only the first word is the protocol's. */
static bool same(const mp_buf *a, const mp_buf *b) {
    if (a->data[0] == '-' && b->data[0] == '-')
        return strcspn(a->data, " \r") == strcspn(b->data, " \r") &&
               strncmp(a->data, b->data, strcspn(a->data, " \r")) == 0;
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static bool compare(server *s) {
    mp_buf one, other, shown;
    mp_buf_init(&one);
    mp_buf_init(&other);
    mp_buf_init(&shown);
    ask_real(&one);
    ask_simulated(s, &other, &shown);
    commands++;
    bool well = same(&one, &other);
    if (!well)
        printf("DIFFER: %s\nreal:      %.*s\nsimulated: %.*s\n", shown.data, (int)one.len, one.data, (int)other.len,
               other.data);
    mp_buf_free(&one);
    mp_buf_free(&other);
    mp_buf_free(&shown);
    return well;
}

/* ---- what is asked ---- */

static const char *pick(dice *d, const char *const *from, size_t n) { return from[dice_below(d, (uint32_t)n)]; }
#define PICK(d, ...)                                                                                                   \
    pick(d, (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static const char *key(dice *d) {
    return PICK(d, "mp:v:{n:a}", "mp:w:{n:a}", "mp:l:{n:a}", "mp:g:{n:t}", "mp:gw:{n:t}", "mp:f", "a", "b",
                "mp:b:{n:0}a", "mp:bl:{n:0}a", "mp:d:{n:0}", "mp:q:{n:0}", "mp:m:{n:0}", "mp:x:{n:0}", "mp:t:{n:0}");
}
/* Mostly one of the type that the command is for. */
static const char *text_key(dice *d) {
    return dice_chance(d, 100) ? key(d) : PICK(d, "mp:v:{n:a}", "mp:l:{n:a}", "mp:g:{n:t}", "a");
}
static const char *set_key(dice *d) { return dice_chance(d, 100) ? key(d) : PICK(d, "mp:w:{n:a}", "mp:gw:{n:t}", "b"); }
static const char *hash_key(dice *d) {
    return dice_chance(d, 100) ? key(d) : PICK(d, "mp:f", "mp:d:{n:0}", "mp:m:{n:0}");
}
static const char *list_key(dice *d) { return dice_chance(d, 100) ? key(d) : PICK(d, "mp:q:{n:0}", "l"); }
static const char *stream_key(dice *d) { return dice_chance(d, 100) ? key(d) : "mp:x:{n:0}"; }

static server *simulated;

/* What the simulated server answers, so that a command can name what stands there. */
static void look_up(mp_buf *reply, const char *const *asked, size_t n) {
    mp_buf was = command, shown;
    size_t had = words;
    mp_buf_init(&command);
    mp_buf_init(&shown);
    mp_buf_init(reply);
    begin();
    for (size_t i = 0; i < n; i++) word(asked[i]);
    ask_simulated(simulated, reply, &shown);
    mp_buf_free(&command);
    mp_buf_free(&shown);
    command = was;
    words = had;
}

/* The bytes of such an answer, NULL: it has none. */
static const char *found(const mp_buf *reply) {
    const char *at = reply->data[0] == '$' && reply->data[1] != '-' ? strchr(reply->data, '\n') : NULL;
    return at && at[1] != '\r' ? at + 1 : NULL;
}

/* Mostly that of an entry of the dead letters. */
static void entry_id(dice *d) {
    mp_buf reply;
    char id[32] = "1-1";
    look_up(&reply, (const char *const[]){"XRANGE", "mp:x:{n:0}", "-", "+", "COUNT", "3"}, 6);
    const char *at = strstr(reply.data, "\r\n*2\r\n$");
    for (uint32_t skip = dice_below(d, 3); at && skip > 0 && strstr(at + 1, "\r\n*2\r\n$1"); skip--)
        at = strstr(at + 1, "\r\n*2\r\n$1");
    if (at && (at = strchr(at, '$')) && (at = strchr(at, '\n')))
        snprintf(id, sizeof id, "%.*s", (int)strcspn(at + 1, "\r"), at + 1);
    mp_buf_free(&reply);
    word(dice_chance(d, 50) ? PICK(d, "1-1", "x", "7") : id);
}

/* Mostly that of an entry of the queue. */
static void place(dice *d) {
    mp_buf reply;
    look_up(&reply, (const char *const[]){"HGET", "mp:m:{n:0}", "head"}, 3);
    const char *head = found(&reply);
    number((head ? strtol(head, NULL, 10) : 0) + dice_between(d, dice_chance(d, 100) ? -2 : 0, 3));
    mp_buf_free(&reply);
}

static char buried[8]; /* a version that was to be a dead letter */

/* Mostly that of the record: the value, or what increments are to be added to. */
static void record_version(dice *d, const char *user_key) {
    mp_buf value, base;
    char name[32], version[8] = {0};
    snprintf(name, sizeof name, "mp:b:{n:0}%s", user_key);
    look_up(&value, (const char *const[]){"GETRANGE", name, "8", "15"}, 4);
    look_up(&base, (const char *const[]){"HGET", "mp:d:{n:0}", user_key}, 3);
    const char *here = found(&value), *there = found(&base);
    bool known = dice_chance(d, 800);
    if (known && here && value.len >= 8 + 6) memcpy(version, here, sizeof version);
    else if (known && there && base.len >= 16 + 6) memcpy(version, there + 8, sizeof version);
    mp_buf_free(&value);
    mp_buf_free(&base);
    bytes(version, 8);
}

/* Of increments that wait: of the newest (0), or of the first (8). */
static void sums_version(dice *d, const char *user_key, size_t from) {
    mp_buf reply;
    char name[32], version[8] = {0};
    snprintf(name, sizeof name, "mp:i:{n:0}%s", user_key);
    look_up(&reply, (const char *const[]){"HGET", name, ""}, 3);
    const char *at = reply.data[0] == '$' ? strchr(reply.data, '\n') : NULL;
    if (at && reply.len - (size_t)(at - reply.data) > 17 && dice_chance(d, 900)) memcpy(version, at + 1 + from, 8);
    mp_buf_free(&reply);
    bytes(version, 8);
}

static const char *token(dice *d) { return PICK(d, "token-1", "token-2", "token-3", "-", "!"); }
static int64_t some_ms(dice *d) { return dice_between(d, dice_chance(d, 50) ? -1 : 1, 12); }

static void plain(dice *d) {
    static const char *const scores[] = {"1", "2", "2.5", "1099511627780", "-inf", "inf", "x"};
    static const char *const ends[] = {"0", "1", "3", "-1", "-2", "-40", "70", "x"};
    switch (dice_below(d, 38)) {
    case 0: word("TIME"); break;
    case 1: word("DEL"), word(key(d)), word(key(d)); break;
    case 2: word("EXISTS"), word(key(d)), word(key(d)); break;
    case 3: word("TYPE"), word(key(d)); break;
    case 4: word("PTTL"), word(key(d)); break;
    case 5: word("PEXPIRE"), word(key(d)), number(some_ms(d)); break;
    case 6: word("GET"), word(text_key(d)); break;
    case 7: word("SET"), word(text_key(d)), word(token(d)); break;
    case 8: word("SET"), word(text_key(d)), word(token(d)), word("PX"), number(some_ms(d)); break;
    case 9: word("SET"), word(text_key(d)), word(token(d)), word("NX"), word("PX"), number(some_ms(d)); break;
    case 10: word("STRLEN"), word(text_key(d)); break;
    case 11: word("APPEND"), word(text_key(d)), word("c"); break;
    case 12: word("HSET"), word(hash_key(d)), word("f"), word(token(d)), word("g"), word("2"); break;
    case 13: word("HMGET"), word(hash_key(d)), word("f"), word("g"), word("h"); break;
    case 14: word("HGET"), word(hash_key(d)), word("f"); break;
    case 15: word("ZADD"), word(set_key(d)), word(pick(d, scores, 7)), word(token(d)); break;
    case 16: word("ZADD"), word(set_key(d)), word("GT"), word(pick(d, scores, 7)), word(token(d)); break;
    case 17: word("ZREM"), word(set_key(d)), word(token(d)); break;
    case 18: word("ZREMRANGEBYSCORE"), word(set_key(d)), word("-inf"), word(pick(d, scores, 7)); break;
    case 19: word("ZREVRANGE"), word(set_key(d)), word("0"), word(PICK(d, "0", "1", "-1")), word("WITHSCORES"); break;
    case 20: word("HINCRBY"), word("mp:m:{n:0}"), word("seq"), word("1"); break;
    case 21: word("HSETNX"), word(hash_key(d)), word("f"), word(token(d)); break;
    case 22: word("HDEL"), word(hash_key(d)), word("f"), word(PICK(d, "g", "a")); break;
    case 23: word("HSTRLEN"), word(hash_key(d)), word(PICK(d, "f", "a")); break;
    case 24: word("HGETALL"), word("mp:i:{n:0}a"); break; /* one field at most: their order is Redis' own */
    case 25: word("HSET"), word("mp:i:{n:0}a"), word("/n"), word("1"); break;
    case 26: word("HINCRBY"), word(hash_key(d)), word(PICK(d, "f", "g", "h")), word(PICK(d, "1", "-3", "x")); break;
    case 27: word("XADD"), word(stream_key(d)), word("*"), word("k"), word(PICK(d, "a", "b")); break;
    case 28: word("XLEN"), word(stream_key(d)); break;
    case 29:
        word("XRANGE"), word(stream_key(d)), word(PICK(d, "-", "(1099511627790-0", "1099511627790", "x"));
        word(PICK(d, "+", "1099511627800-1", "1099511627800")), word("COUNT"), word(PICK(d, "1", "2", "100"));
        break;
    case 30: word("XDEL"), word(stream_key(d)), entry_id(d); break;
    case 31: word("RPUSH"), word(list_key(d)), word(PICK(d, "a", "b")), word(PICK(d, "a", "b")); break;
    case 32: word("LLEN"), word(list_key(d)); break;
    case 33: word("LRANGE"), word(list_key(d)), word(pick(d, ends, 8)), word(pick(d, ends, 8)); break;
    case 34: word("LTRIM"), word(list_key(d)), word(pick(d, ends, 8)), word(pick(d, ends, 8)); break;
    case 35: word("GETRANGE"), word(text_key(d)), word(pick(d, ends, 8)), word(pick(d, ends, 8)); break;
    case 36: word("SETRANGE"), word(text_key(d)), word(pick(d, ends, 8)), word(PICK(d, "new", "")); break;
    case 37: word("MSET"), word(text_key(d)), word(token(d)), word(text_key(d)), word(token(d)); break;
    }
}

static const char fences[2][9] = {"fence--1", "fence--2"};

static uint64_t slot_number; /* of who writes behind */

/* An envelope as far as the scripts look into it: 48 bytes, a fence at 16. */
static void envelope_of(dice *d, const char *fence) {
    char text[64];
    memset(text, 'e', sizeof text);
    memcpy(text, "MP", 2);
    text[3] = dice_chance(d, 300) ? 5 : 4; /* an absence, or a value */
    memcpy(text + 32, "\7\0\0", 4);        /* grace */
    memcpy(text + 16, fence, 8);
    bytes(text, 48 + dice_below(d, 16));
}
static void envelope(dice *d) { envelope_of(d, fences[dice_below(d, 2)]); }

static void script(dice *d, const char *name) {
    static const char *const of_key[] = {"mp:v:{n:a}", "mp:w:{n:a}", "mp:l:{n:a}"}, *const of_tag[] = {"mp:g:{n:t}",
                                                                                                       "mp:gw:{n:t}"};
    bool tag =
        strcmp(name, "gen") == 0 || ((strcmp(name, "begin") == 0 || strcmp(name, "end") == 0) && dice_chance(d, 500));
    bool lease = strcmp(name, "renew") == 0 || strcmp(name, "release") == 0, fence = strcmp(name, "fence") == 0;
    number(lease || fence ? 1 : tag ? 2 : 3);
    if (fence) word("mp:f");
    else if (lease) word(of_key[2]);
    else if (tag) word(of_tag[0]), word(of_tag[1]);
    else word(of_key[0]), word(of_key[1]), word(of_key[2]);
    if (strcmp(name, "get") == 0) {
        word(token(d)), number(dice_between(d, 1, 12)), word(fences[dice_below(d, 2)]), word(PICK(d, "0", "1", "2"));
        if (dice_chance(d, 500)) envelope(d);
        else word("");
    } else if (strcmp(name, "fill") == 0) {
        word(token(d)), envelope(d), number(dice_between(d, 1, 12));
    } else if (lease) {
        word(token(d)), number(dice_between(d, 0, 12));
    } else if (strcmp(name, "begin") == 0) {
        word(token(d)), number(dice_between(d, 1, 12)), word(PICK(d, "0", "1")), number(dice_chance(d, 500) ? 0 : 5);
    } else if (strcmp(name, "end") == 0) {
        word(token(d));
        if (dice_chance(d, 500)) envelope(d);
        else word("");
        number(dice_between(d, 1, 12)), number(dice_chance(d, 500) ? 0 : 5);
    } else if (strcmp(name, "gen") == 0) {
        char random[17];
        snprintf(random, sizeof random, "%016llx", (unsigned long long)dice_bits(d));
        word(random), number(dice_between(d, 1, 30)), word(fences[dice_below(d, 2)]),
            number(dice_chance(d, 500) ? 0 : 5);
    } else if (fence) {
        word(fences[dice_below(d, 2)]), word(""), word(""), word(dice_chance(d, 300) ? fences[dice_below(d, 2)] : "");
    }
}

/* ---- what is written behind: keys a and b of a namespace's shard 0 ---- */

/* An envelope but for its version and fence: up to them, and what is behind them. */
static void envelope_head(dice *d) {
    char text[8] = "MP\1\204crc"; /* with DIRTY */
    if (dice_chance(d, 300)) text[3] = (char)(128 | 5);
    if (dice_chance(d, 30)) text[3] = 4;
    bytes(text, sizeof text);
}
static void envelope_tail(dice *d) {
    char text[48];
    memset(text, 'e', sizeof text);
    memset(text + 8, 0, 8);
    text[12] = (char)dice_between(d, 0, 12); /* how long it is cached */
    bytes(text, dice_chance(d, 30) ? dice_below(d, 24) : 24 + dice_below(d, 24));
}

static void part_of(const char *kind, const char *user) {
    char name[32];
    snprintf(name, sizeof name, "mp:%s:{n:0}%s", kind, user);
    word(name);
}
static void shard_of(const char *kind) { part_of(kind, ""); }

static void slot(void) { bytes("ssssssssssssssssss", 18); }

/* n, and whether it was sent before; mostly a new one. */
static bool slot_n(dice *d) {
    bool again = dice_chance(d, 300);
    uint64_t n = again ? slot_number - (slot_number && dice_chance(d, 100)) : ++slot_number;
    unsigned char le[6];
    for (int i = 0; i < 6; i++) le[i] = (unsigned char)(n >> 8 * i);
    bytes(le, sizeof le);
    return again && dice_chance(d, 900);
}

static void most(dice *d) { number(dice_between(d, 1, 3)); }

static void put(dice *d, const char *user, const char *fence) {
    number(6), part_of("b", user), part_of("i", user), shard_of("d"), shard_of("q"), shard_of("m");
    word("mp:o:{n:0}:1"), word(user), envelope_head(d), envelope_tail(d), word(fence), most(d);
    if (dice_chance(d, 200)) word("-");
    else if (dice_chance(d, 400)) record_version(d, user);
    else word("");
    slot();
    bool again = slot_n(d);
    number(dice_between(d, 0, again || dice_chance(d, 100) ? 3 : 0)), word(again ? "1" : "0");
}

static void puts_together(dice *d, const char *fence) {
    const char *user[3];
    uint32_t n = dice_below(d, 3) + 1;
    for (uint32_t i = 0; i < n; i++) user[i] = PICK(d, "a", "b");
    number(4 + 2 * n), shard_of("d"), shard_of("q"), shard_of("m"), word("mp:o:{n:0}:1");
    for (uint32_t i = 0; i < n; i++) part_of("b", user[i]);
    for (uint32_t i = 0; i < n; i++) part_of("i", user[i]);
    word(fence), most(d), slot(), slot_n(d);
    for (uint32_t i = 0; i < n; i++) word(user[i]);
    for (uint32_t i = 0; i < n; i++) envelope_head(d);
    for (uint32_t i = 0; i < n; i++) envelope_tail(d);
    for (uint32_t i = 0, all = dice_chance(d, 500); all && i < n; i++)
        if (dice_chance(d, 300)) record_version(d, user[i]);
        else word(PICK(d, "", "-"));
}

static void increment(dice *d, const char *user, const char *fence) {
    number(7), part_of("b", user), part_of("i", user), shard_of("d"), shard_of("q"), shard_of("m");
    word("mp:o:{n:0}:1"), part_of("bl", user), word(user), word("f");
    word(PICK(d, "1", "0", "-3", "9007199254740991")), word(fence), most(d), slot();
    word(slot_n(d) ? "1" : "0"), word(dice_chance(d, 900) ? "0" : "1");
}

static void fold(dice *d, const char *user, const char *fence) {
    bool drops = dice_chance(d, 300);
    number(6), part_of("b", user), part_of("i", user), shard_of("d"), shard_of("q"), shard_of("m");
    part_of("bl", user), word(user);
    if (drops) word(""), word("");
    else envelope_head(d), envelope_tail(d);
    word(fence), sums_version(d, user, 8), sums_version(d, user, 0), word("f"), word(PICK(d, "1", "0", "-3"));
}

static void ack(dice *d) {
    number(8), shard_of("q"), shard_of("m"), part_of("i", "a"), part_of("i", "b"), part_of("b", "a");
    part_of("b", "b"), part_of("bl", "a"), part_of("bl", "b");
    place(d), record_version(d, "a"), word("a"), place(d), record_version(d, "b"), word("b");
}

static void dead_retry(dice *d, const char *user) {
    number(8), part_of("b", user), part_of("i", user), shard_of("d"), shard_of("q"), shard_of("m");
    word("mp:o:{n:0}:1"), part_of("bl", user), shard_of("x"), word(user), entry_id(d), bytes(buried, sizeof buried);
    most(d), slot(), word(slot_n(d) ? "1" : "0");
}

static void behind(dice *d, const char *name) {
    const char *user = PICK(d, "a", "b"), *fence = dice_chance(d, 900) ? fences[0] : fences[1];
    if (strcmp(name, "wb_put") == 0) {
        put(d, user, fence);
    } else if (strcmp(name, "wb_puts") == 0) {
        puts_together(d, fence);
    } else if (strcmp(name, "wb_incr") == 0) {
        increment(d, "b", fence); /* here and below: of a there is another, and the order of fields is Redis' own */
    } else if (strcmp(name, "wb_fold") == 0) {
        fold(d, "b", fence);
    } else if (strcmp(name, "wb_sums") == 0) {
        number(5), shard_of("d"), part_of("i", "a"), part_of("i", "b"), part_of("b", "a"), part_of("b", "b");
        word("a"), record_version(d, "a"), word("b"), record_version(d, "b");
    } else if (strcmp(name, "wb_get") == 0) {
        number(3), part_of("b", user), part_of("bl", user), part_of("i", user), word(token(d));
        number(dice_between(d, 1, 12)), word(fence), word(PICK(d, "0", "1", "2"));
        if (dice_chance(d, 500)) envelope(d);
        else word("");
    } else if (strcmp(name, "wb_fill") == 0) {
        number(3), part_of("b", user), part_of("i", user), part_of("bl", user), word(token(d));
        envelope_of(d, fence), number(dice_between(d, 1, 12));
    } else if (strcmp(name, "wb_end") == 0) {
        number(2), part_of("b", user), part_of("bl", user);
    } else if (strcmp(name, "wb_take") == 0) {
        number(3), shard_of("q"), shard_of("d"), shard_of("m");
        if (dice_chance(d, 300)) place(d);
        else word("");
        number(dice_between(d, 1, 4)), number(dice_chance(d, 500) ? 0 : dice_between(d, 1, 120)), shard_of("b");
    } else if (strcmp(name, "wb_ack") == 0) {
        ack(d);
    } else if (strcmp(name, "wb_dead") == 0) {
        number(5), part_of("b", user), part_of("bl", user), part_of("i", user), shard_of("d"), shard_of("x");
        record_version(d, user);
        memcpy(buried, command.data + command.len - 10, sizeof buried); /* the last word, but for its end */
        word(user), word("why");
    } else if (strcmp(name, "wb_dead_list") == 0) {
        number(1), shard_of("x");
        if (dice_chance(d, 300)) entry_id(d);
        else word("");
        number(dice_between(d, 1, 4)), number(dice_chance(d, 500) ? 0 : dice_between(d, 1, 120));
    } else if (strcmp(name, "wb_dead_retry") == 0) {
        dead_retry(d, user);
    } else if (strcmp(name, "wb_epoch") == 0) {
        number(1), shard_of("m"), word(fence), number(dice_between(d, 0, 30));
    } else if (strcmp(name, "wb_own") == 0) {
        number(1), shard_of("t"), word(token(d)), number(dice_between(d, 0, 12));
    } else if (strcmp(name, "wb_open") == 0) {
        number(1), shard_of("m"), number(dice_between(d, 1, 2));
    } else {
        number(3), part_of("b", user), part_of("i", user), part_of("bl", user);
    }
}

static void next_command(dice *d) {
    begin();
    if (dice_chance(d, 400)) {
        plain(d);
        return;
    }
    /* The protocol's; other scripts keep no values. */
    static const mp_script_id known[] = {
        MP_SCRIPT_fence,   MP_SCRIPT_get,          MP_SCRIPT_fill,          MP_SCRIPT_renew,    MP_SCRIPT_release,
        MP_SCRIPT_begin,   MP_SCRIPT_end,          MP_SCRIPT_gen,           MP_SCRIPT_inspect,  MP_SCRIPT_wb_put,
        MP_SCRIPT_wb_put,  MP_SCRIPT_wb_put,       MP_SCRIPT_wb_get,        MP_SCRIPT_wb_take,  MP_SCRIPT_wb_ack,
        MP_SCRIPT_wb_dead, MP_SCRIPT_wb_dead_list, MP_SCRIPT_wb_dead_retry, MP_SCRIPT_wb_epoch, MP_SCRIPT_wb_own,
        MP_SCRIPT_wb_open, MP_SCRIPT_wb_inspect,   MP_SCRIPT_wb_incr,       MP_SCRIPT_wb_incr,  MP_SCRIPT_wb_sums,
        MP_SCRIPT_wb_fold, MP_SCRIPT_wb_fold,      MP_SCRIPT_wb_puts,       MP_SCRIPT_wb_puts,  MP_SCRIPT_wb_fill,
        MP_SCRIPT_wb_ack,  MP_SCRIPT_wb_end};
    const mp_script *s = &mp_scripts[known[dice_below(d, sizeof known / sizeof known[0])]];
    char name[16];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(s->text + 3, ":"), s->text + 3);
    bool text = dice_chance(d, 200);
    word(text ? "EVAL" : "EVALSHA");
    if (text) bytes(s->text, s->len);
    else word(s->sha);
    if (strncmp(name, "wb_", 3) == 0) behind(d, name);
    else script(d, name);
    scripts++;
}

/* ---- rounds ---- */

static bool same_state(server *s) {
    static const char *const all[] = {
        "mp:v:{n:a}", "mp:w:{n:a}",  "mp:l:{n:a}",  "mp:g:{n:t}",   "mp:gw:{n:t}",  "mp:f",        "a",
        "b",          "mp:b:{n:0}a", "mp:b:{n:0}b", "mp:bl:{n:0}a", "mp:bl:{n:0}b", "mp:i:{n:0}a", "mp:i:{n:0}b",
        "mp:d:{n:0}", "mp:q:{n:0}",  "mp:m:{n:0}",  "mp:o:{n:0}:1", "mp:x:{n:0}",   "mp:t:{n:0}",  "l"};
    bool well = true;
    for (size_t i = 0; well && i < sizeof all / sizeof all[0]; i++) {
        begin(), word("TYPE"), word(all[i]);
        well = compare(s);
        begin(), word("PTTL"), word(all[i]);
        well = well && compare(s);
        begin(), word("GET"), word(all[i]);
        well = well && compare(s);
        begin(), word("HMGET"), word(all[i]), word("f"), word("g"), word("run"), word("replid"), word("fence");
        word("epoch"), word("seq"), word("head"), word("shards"), word("incr"), word("a"), word("b"), word("/n");
        word("ssssssssssssssssss");
        well = well && compare(s);
        begin(), word("LRANGE"), word(all[i]), word("0"), word("-1");
        well = well && compare(s);
        begin(), word("XRANGE"), word(all[i]), word("-"), word("+");
        well = well && compare(s);
        begin(), word("ZREVRANGE"), word(all[i]), word("0"), word("-1"), word("WITHSCORES");
        well = well && compare(s);
    }
    return well;
}

/* What INFO says under a name. */
static void info(const char *name, char out[41]) {
    mp_buf reply;
    mp_buf_init(&reply);
    begin(), word("INFO");
    ask_real(&reply);
    const char *at = strstr(reply.data, name);
    must(at != NULL, name);
    snprintf(out, 41, "%s", at + strlen(name) + 1);
    mp_buf_free(&reply);
}

static void flush_real(void) {
    mp_buf reply;
    mp_buf_init(&reply);
    begin(), word("FLUSHALL");
    ask_real(&reply);
    begin(), word("SCRIPT"), word("FLUSH");
    ask_real(&reply);
    mp_buf_free(&reply);
}

static bool run_round(unsigned long seed, const char *run, const char *replid) {
    dice d = dice_of(seed, "cross-check");
    server *s = server_new(&d, NULL, false, false);
    server_adopt(s, run, replid);
    simulated = s;
    flush_real();
    bool well = true;
    for (int i = 0; well && i < STEPS; i++) {
        if (dice_chance(&d, 300)) pass(dice_between(&d, 0, 6));
        next_command(&d);
        well = compare(s);
    }
    well = well && same_state(s);
    if (!well) printf("round %lu\n", seed);
    server_free(s);
    return well;
}

int main(int argc, char **argv) {
    must(argc == 4, "cross_check ROUNDS SOCKET CLOCK");
    int fd = open(argv[3], O_RDWR | O_CLOEXEC);
    real_clock = mmap(NULL, sizeof *real_clock, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(fd >= 0 && real_clock != MAP_FAILED, argv[3]);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", argv[2]);
    real = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(connect(real, (struct sockaddr *)&at, sizeof at) == 0, argv[2]);
    real_in = fdopen(dup(real), "r");
    mp_buf_init(&command);
    virtual_begin(0);
    pass(0);
    char run[41], replid[41];
    info("run_id", run);
    info("master_replid", replid);
    unsigned long rounds = strtoul(argv[1], NULL, 10), done = 0;
    while (done < rounds && run_round(done + 1, run, replid)) done++;
    printf("cross-check: %lu rounds, %lu commands, %lu of them scripts: %s\n", done, commands, scripts,
           done == rounds ? "the same replies" : "THEY DIFFER");
    return done == rounds ? 0 : 1;
}
