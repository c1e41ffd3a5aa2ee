/* Servers that lie, stutter, hang up or say nothing. Whatever they do: no crash, no wait beyond the deadlines, no wrong value, and
 * with when_cache_down=store every fetch gets what its loader gives. */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/fake.h"
#include "support/support.h"

static atomic_int pipes; /* SIGPIPE, which a library must not raise */
static void on_pipe(int number) {
    (void)number;
    atomic_fetch_add(&pipes, 1);
}

/* ---- the client's side ---- */

typedef struct client {
    pond *p;
    int rounds;
    int64_t
        until; /* 0: all the rounds; else until then, and without haste: while a connection may not be made anew, calls cost nothing */
    int64_t limit_ms; /* of one call */
    bool proper;      /* nothing may fail */
    atomic_int wrong, slow, failed;
    atomic_int codes[32];
} client;

static void judge(client *c, const fetcher *f) {
    if (f->code != POND_OK) atomic_fetch_add(&c->failed, 1);
    else if (strcmp(f->text, f->script.value) != 0) atomic_fetch_add(&c->wrong, 1);
    if (f->took_ms > c->limit_ms) atomic_fetch_add(&c->slow, 1);
}

static bool goes_on(const client *c, int round, bool failed) {
    if (c->until && failed) rest_ms(3);
    return c->until ? clock_ms() < c->until : round < c->rounds;
}

static void *blocking_calls(void *arg) {
    client *c = arg;
    bool down = false;
    for (int i = 0; goes_on(c, i, down); i++) {
        char key[64];
        snprintf(key, sizeof key, "%s", fresh("k"));
        fetcher f = {.p = c->p, .key = key, .script = {.value = "mine"}};
        fetch(&f);
        judge(c, &f);
        const char *names[2] = {key, "other"};
        size_t lens[2] = {strlen(key), 5};
        pond_value *value = NULL;
        int64_t began = clock_ms();
        int codes[3];
        codes[0] = pond_invalidate(c->p, names, lens, 2, NULL, NULL);
        codes[1] = pond_lookup(c->p, key, lens[0], NULL, &value, NULL);
        pond_value_free(value);
        value = NULL;
        codes[2] = pond_explain(c->p, key, lens[0], NULL, &value, NULL);
        pond_value_free(value);
        if (clock_ms() - began > 3 * c->limit_ms) atomic_fetch_add(&c->slow, 1);
        down = codes[1] != POND_OK;
        for (size_t k = 0; k < 3; k++) {
            if (codes[k] != POND_OK && c->proper) atomic_fetch_add(&c->failed, 1);
            atomic_fetch_add(&c->codes[-codes[k]], 1);
        }
    }
    return NULL;
}

static void *queue_calls(void *arg) {
    client *c = arg;
    pond_queue *queue;
    if (pond_queue_new(&queue, c->p, NULL) != POND_OK) abort();
    for (int i = 0; goes_on(c, i, i % 4 == 3); i++) {
        int64_t began = clock_ms();
        char keys[4][64];
        for (uint64_t k = 0; k < 4; k++) {
            snprintf(keys[k], sizeof keys[k], "%s", fresh("q"));
            if (pond_fetch_start(c->p, queue, keys[k], strlen(keys[k]), NULL, k, NULL, NULL, NULL) != POND_OK) abort();
        }
        for (size_t open = 4; open;) {
            pond_event *event = NULL;
            if (!pond_queue_poll(queue, &event, 1, 5000)) break;
            pond_load *load = pond_event_load(event);
            if (load) {
                pond_load_value(load, "mine", 4, POND_TEXT, 0);
            } else {
                size_t len;
                open--;
                if (pond_event_kind(event) != POND_EVENT_VALUE) atomic_fetch_add(&c->failed, 1);
                else if (strcmp(pond_value_data(pond_event_value(event), &len), "mine") != 0)
                    atomic_fetch_add(&c->wrong, 1);
            }
            pond_event_free(event);
        }
        if (pond_queue_pending(queue) || clock_ms() - began > c->limit_ms) atomic_fetch_add(&c->slow, 1);
    }
    pond_queue_free(queue);
    return NULL;
}

enum { THREADS = 3 };

static void run_client(client *c, const char *url, const char *timeout) {
    /* A server may say that somebody loads, and for how long, though nobody does: then the wait ends, and the call does not fail. */
    c->p = pond_made(url, "namespace", "hostile", "command_timeout", timeout, "connect_timeout", timeout,
                     "wait_timeout", "2s", "when_wait_ends", "load", NULL);
    pthread_t threads[THREADS + 1];
    for (size_t i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, blocking_calls, c);
    pthread_create(&threads[THREADS], NULL, queue_calls, c);
    for (size_t i = 0; i <= THREADS; i++) pthread_join(threads[i], NULL);
    pond_close(c->p, 1000);
    pond_free(c->p);
    if (atomic_load(&c->wrong) || atomic_load(&c->slow) || atomic_load(&c->failed))
        fail_msg("%d wrong, %d slow, %d failed", atomic_load(&c->wrong), atomic_load(&c->slow),
                 atomic_load(&c->failed));
    assert_int_equal(atomic_load(&pipes), 0);
}

/* Against a server that keeps nobody's promises. A new pond connects at once, an old one waits longer and longer. */
static int against(void (*serve)(fake_conn *c), int ponds, int64_t ms) {
    fake *f = fake_start(serve, NULL);
    for (int i = 0; i < ponds; i++) {
        client c = {.until = clock_ms() + ms, .limit_ms = 3000};
        run_client(&c, fake_url(f), "50ms");
    }
    int connections = fake_connections(f);
    fake_stop(f);
    return connections;
}

/* Against one that is odd, but right. */
static void beside(void (*serve)(fake_conn *c), int rounds) {
    fake *f = fake_start(serve, NULL);
    client c = {.rounds = rounds, .limit_ms = 5000, .proper = true};
    run_client(&c, fake_url(f), "2s");
    fake_stop(f);
}

/* ---- answers ---- */

static void say_garbage(fake_conn *c) {
    char noise[400];
    while (fake_read(c)) {
        if (dice(3) == 0) {
            fake_proper(c);
            continue;
        }
        size_t len = 1 + dice(sizeof noise);
        for (size_t i = 0; i < len; i++) noise[i] = dice(4) ? (char)dice(256) : "\r\n$*:+-_#,(=!%~>|"[dice(17)];
        fake_send(c, noise, len);
    }
}

static void garbage(void **state) {
    (void)state;
    against(say_garbage, 6, 30);
}

static const char *const odd_replies[] = {
    "+OK\r\n",
    "+\r\n",
    ":0\r\n",
    ":1\r\n",
    ":9223372036854775807\r\n",
    ":-1\r\n",
    "$-1\r\n",
    "$0\r\n\r\n",
    "$5\r\nhello\r\n",
    "*-1\r\n",
    "*0\r\n",
    "*1\r\n$-1\r\n",
    "*3\r\n:1\r\n$-1\r\n:5\r\n",
    "*3\r\n:1\r\n:1\r\n:5\r\n",
    "*3\r\n$1\r\n2\r\n$-1\r\n:5\r\n",
    "*3\r\n:1\r\n$3\r\nabc\r\n:-7\r\n",
    "*3\r\n:1\r\n$0\r\n\r\n:0\r\n",
    "*3\r\n:3\r\n$-1\r\n$-1\r\n",
    "*3\r\n:3\r\n$-1\r\n:-1\r\n",
    "*3\r\n:4\r\n$-1\r\n:0\r\n",
    "*3\r\n:99\r\n$-1\r\n:0\r\n",
    "*2\r\n$-1\r\n$5\r\nslave\r\n",
    "*2\r\n$-1\r\n$6\r\nnoinfo\r\n",
    "*2\r\n$-1\r\n:1\r\n",
    "*4\r\n$7\r\n1234567\r\n$1\r\na\r\n$1\r\nb\r\n:0\r\n",
    "*4\r\n$8\r\n12345678\r\n$-1\r\n$1\r\nb\r\n:0\r\n",
    "*6\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n",
    "*6\r\n$3\r\nabc\r\n:1\r\n$0\r\n\r\n:1\r\n$1\r\nx\r\n*0\r\n",
    "_\r\n",
    "#t\r\n",
    "#f\r\n",
    ",1.5\r\n",
    ",inf\r\n",
    "(123456789012345678901234567890\r\n",
    "=7\r\ntxt:abc\r\n",
    "%1\r\n+a\r\n:1\r\n",
    "~2\r\n:1\r\n:2\r\n",
    "*3\r\n:3\r\n$-1\r\n:9223372036854775807\r\n",
};

static void say_other_types(fake_conn *c) {
    while (fake_read(c)) {
        if (dice(3) == 0 || (c->kind == FAKE_FENCE && dice(4))) fake_proper(c);
        else fake_say(c, "%s", odd_replies[dice(sizeof odd_replies / sizeof odd_replies[0])]);
    }
}

static void other_types(void **state) {
    (void)state;
    against(say_other_types, 10, 50);
}

static void say_huge(fake_conn *c) {
    static const char *const huge[] = {
        "$9223372036854775807\r\n",
        "$536870913\r\nabc",
        "$4294967296\r\n",
        "$99999999999999999999999\r\n",
        "*4294967295\r\n",
        "*1000000000\r\n$1\r\n",
        "*4097\r\n",
        "*99999999999999999999\r\n",
        "$-7\r\n",
        "*-7\r\n",
        "%9223372036854775807\r\n",
        ">2147483647\r\n",
        ":99999999999999999999999\r\n",
        "=2147483647\r\ntxt:",
        "(\r\n",
        ",\r\n",
        "#x\r\n",
    };
    while (fake_read(c)) {
        if (dice(2)) fake_proper(c);
        else fake_say(c, "%s", huge[dice(sizeof huge / sizeof huge[0])]);
    }
}

static void huge_lengths(void **state) {
    (void)state;
    against(say_huge, 8, 50);
}

static void say_nests(fake_conn *c) {
    while (fake_read(c)) {
        if (c->kind == FAKE_FENCE) {
            fake_proper(c);
            continue;
        }
        for (uint32_t n = dice(40); n > 0; n--) fake_say(c, dice(5) ? "*1\r\n" : ">1\r\n");
        fake_say(c, ":1\r\n");
    }
}

static void nested_arrays(void **state) {
    (void)state;
    against(say_nests, 5, 50);
}

/* More than any value may have, for as long as the client listens. */
static void say_too_much(fake_conn *c) {
    static char block[1 << 16];
    while (fake_read(c) && c->kind == FAKE_FENCE) fake_proper(c);
    fake_say(c, "$500000000\r\n");
    for (size_t i = 0; i < 500000000 / sizeof block && fake_rest(c, 0); i++) fake_send(c, block, sizeof block);
}

static void an_endless_value(void **state) {
    (void)state;
    if (slow_build()) skip(); /* its realloc copies, hiredis' buffer grows by a megabyte at a time */
    fake *f = fake_start(say_too_much, NULL);
    pond *p =
        pond_made(fake_url(f), "command_timeout", "30s", "namespace", "endless", "when_cache_down", "error", NULL);
    fetcher one = {.p = p, .key = "k", .script = {.value = "mine"}};
    assert_int_equal(fetch(&one), POND_EPROTOCOL);
    assert_non_null(strstr(one.text, "an answer of more than"));
    pond_free(p);
    fake_stop(f);
}

static const char *const errors[] = {
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "NOPERM this user has no permissions to run the 'get' command",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "LOADING Redis is loading the dataset in memory",
    "READONLY You can't write against a read only replica.",
    "MASTERDOWN Link with MASTER is down",
    "MISCONF Redis is configured to save RDB snapshots",
    "BUSY Redis is busy running a script.",
    "MOVED 3999 127.0.0.1:6381",
    "ASK 3999 127.0.0.1:6381",
    "CLUSTERDOWN The cluster is down",
    "TRYAGAIN",
    "CROSSSLOT",
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "ERR unknown command",
    "NOSCRIPT No matching script.",
    "EXECABORT",
    "NOREPLICAS",
    "UNKILLABLE",
    "",
    " ",
    "x",
    "ERR \xff\xfe\x80 not UTF-8 %s %n %d",
};
enum { ERRORS = sizeof errors / sizeof errors[0] };

static void say_errors(fake_conn *c) {
    char out[1200];
    while (fake_read(c)) {
        if (c->kind == FAKE_FENCE && dice(8)) {
            fake_proper(c);
        } else if (dice(20) == 0) { /* a long one */
            memset(out, 'E', sizeof out);
            out[0] = '-';
            memcpy(out + sizeof out - 2, "\r\n", 2);
            fake_send(c, out, sizeof out);
        } else if (dice(3) == 0) {
            fake_proper(c);
        } else {
            fake_say(c, "-%s\r\n", errors[dice(ERRORS)]);
        }
    }
}

static void errors_of_every_name(void **state) {
    (void)state;
    against(say_errors, 4, 100);
}

/* One by one, with when_cache_down=error: the sentence says what to do. */
static atomic_int which;
static void say_this_error(fake_conn *c) {
    while (fake_read(c)) {
        if (c->kind == FAKE_FENCE) fake_proper(c);
        else fake_say(c, "-%s\r\n", errors[atomic_load(&which)]);
    }
}

static void errors_reach_the_caller(void **state) {
    (void)state;
    fake *f = fake_start(say_this_error, NULL);
    pond *p = pond_made(fake_url(f), "namespace", "errors", "when_cache_down", "error", NULL);
    for (int i = 0; i < ERRORS; i++) {
        atomic_store(&which, i);
        fetcher one = {.p = p, .key = "k", .script = {.value = "mine"}};
        assert_int_equal(fetch(&one), POND_ECACHE);
        assert_int_equal(atomic_load(&one.script.calls), 0);
        assert_non_null(strstr(one.text, "cache redis://127.0.0.1:"));
        if (i == 0) assert_non_null(strstr(one.text, "set username and password"));
        if (i == 3) assert_non_null(strstr(one.text, "maxmemory"));
        if (i == 5) assert_non_null(strstr(one.text, "connect to its master"));
    }
    pond_free(p);
    fake_stop(f);
}

static void never_a_script(fake_conn *c) {
    while (fake_read(c)) {
        if (c->kind == FAKE_FENCE || c->kind == FAKE_GET) fake_proper(c);
        else fake_say(c, "-NOSCRIPT No matching script. Please use EVAL.\r\n");
    }
}

static void no_script_for_ever(void **state) {
    (void)state;
    assert_int_equal(against(never_a_script, 1, 100), 2); /* and that is no reason to connect anew */
}

static void once_a_script(fake_conn *c) { /* as after SCRIPT FLUSH, again and again */
    while (fake_read(c)) {
        if (c->evaluated || c->kind == FAKE_GET) fake_proper(c);
        else fake_say(c, "-NOSCRIPT No matching script. Please use EVAL.\r\n");
    }
}

static void scripts_that_are_forgotten(void **state) {
    (void)state;
    beside(once_a_script, 200);
}

/* Always a hit, never one that can be used. */
static void say_spoilt_hits(fake_conn *c) {
    while (fake_read(c)) {
        char noise[64];
        for (size_t i = 0; i < sizeof noise; i++) noise[i] = (char)dice(256);
        if (c->kind == FAKE_LEASE) {
            fake_say(c, "*3\r\n:1\r\n$64\r\n");
            fake_send(c, noise, sizeof noise);
            fake_say(c, "\r\n:1000\r\n");
        } else {
            fake_proper(c);
        }
    }
}

static void hits_that_cannot_be_used(void **state) {
    (void)state;
    against(say_spoilt_hits, 2, 100);
}

/* Another fence at every look, and looks are due all the time. */
static void say_new_fences(fake_conn *c) {
    while (fake_read(c)) {
        if (c->kind == FAKE_FENCE)
            fake_say(c, "*4\r\n$8\r\n%08x\r\n$4\r\nabcd\r\n$4\r\ndcba\r\n:2\r\n", dice(UINT32_MAX));
        else if (c->kind == FAKE_FILL)
            fake_say(c, dice(2) ? ":0\r\n" : "-READONLY You can't write against a read only replica.\r\n");
        else if (dice(4) == 0) fake_say(c, "-LOADING Redis is loading the dataset in memory\r\n");
        else fake_proper(c);
    }
}

static void a_fence_that_never_rests(void **state) {
    (void)state;
    against(say_new_fences, 4, 100);
}

/* ---- when, and how much of it ---- */

static void byte_by_byte(fake_conn *c) {
    char out[256];
    while (fake_read(c)) {
        size_t len = fake_answer(c, out);
        for (size_t i = 0; i < len; i++) fake_send(c, out + i, 1);
    }
}

static void single_bytes(void **state) {
    (void)state;
    beside(byte_by_byte, 60);
}

static void with_pushes(fake_conn *c) {
    while (fake_read(c)) {
        if (dice(2)) fake_say(c, ">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n");
        if (dice(4) == 0) fake_say(c, ">0\r\n>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n");
        if (dice(4) == 0) fake_say(c, ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
        fake_proper(c);
    }
}

static void pushes(void **state) {
    (void)state;
    beside(with_pushes, 200);
}

static void half_and_close(fake_conn *c) {
    char out[256];
    while (fake_read(c)) {
        size_t len = fake_answer(c, out);
        if (dice(4)) {
            fake_send(c, out, len);
            continue;
        }
        fake_send(c, out, dice((uint32_t)len));
        return;
    }
}

static void half_an_answer(void **state) {
    (void)state;
    assert_true(against(half_and_close, 10, 50) > 20);
}

/* Closes after so many bytes, and once in a while with a reset; many connections. */
static void until_so_many_bytes(fake_conn *c) {
    char out[256];
    for (long left = (long)dice(900); fake_read(c);) {
        long len = (long)fake_answer(c, out);
        fake_send(c, out, (size_t)(len < left ? len : left));
        if ((left -= len) > 0) continue;
        struct linger hard = {.l_onoff = 1};
        if (dice(2)) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        return;
    }
}

static void closes_at_random_bytes(void **state) {
    (void)state;
    fake *f = fake_start(until_so_many_bytes, NULL);
    for (int i = 0; fake_connections(f) < (slow_build() ? 100 : 150); i++) {
        client c = {.until = clock_ms() + 20, .limit_ms = 3000};
        run_client(&c, fake_url(f), "50ms");
        assert_true(i < 1000);
    }
    fake_stop(f);
}

static void close_at_once(fake_conn *c) { (void)c; }

static void closes_at_once(void **state) {
    (void)state;
    against(close_at_once, 10, 30);
}

/* After the handshake it closes while much is being written. */
static void close_on_the_first(fake_conn *c) {
    if (fake_read(c)) fake_proper(c);
    struct linger hard = {.l_onoff = 1};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
}

static void closes_while_much_is_written(void **state) {
    (void)state;
    fake *f = fake_start(close_on_the_first, NULL);
    for (int round = 0; round < 20; round++) {
        pond *p = pond_made(fake_url(f), "namespace", "much", "command_timeout", "50ms", NULL);
        pond_queue *queue;
        assert_int_equal(pond_queue_new(&queue, p, NULL), POND_OK);
        enum { MANY = 500 };
        char keys[MANY][16];
        for (uint64_t i = 0; i < MANY; i++) {
            snprintf(keys[i], sizeof keys[i], "m%llu", (unsigned long long)i);
            assert_int_equal(pond_fetch_start(p, queue, keys[i], strlen(keys[i]), NULL, i, NULL, NULL, NULL), POND_OK);
        }
        size_t values = 0;
        for (int64_t until = clock_ms() + 5000; pond_queue_pending(queue) && clock_ms() < until;) {
            pond_event *events[64];
            size_t n = pond_queue_poll(queue, events, 64, 100);
            for (size_t i = 0; i < n; i++) {
                if (pond_event_load(events[i])) pond_load_value(pond_event_load(events[i]), "mine", 4, POND_TEXT, 0);
                else values += pond_event_kind(events[i]) == POND_EVENT_VALUE;
                pond_event_free(events[i]);
            }
        }
        assert_int_equal(values, MANY);
        pond_queue_free(queue);
        pond_free(p);
    }
    assert_int_equal(atomic_load(&pipes), 0);
    fake_stop(f);
}

static void say_one_more(fake_conn *c) {
    while (fake_read(c)) {
        fake_proper(c);
        if (dice(10) == 0) fake_say(c, dice(2) ? "+and another thing\r\n" : "$5\r\nhello\r\n");
    }
}

static void greet(fake_conn *c) {
    static const char *const greetings[] = {"-ERR max number of clients reached\r\n", "+welcome\r\n", ":1\r\n",
                                            "*0\r\n"};
    fake_say(c, "%s", greetings[dice(4)]);
    while (fake_read(c)) fake_proper(c);
}

static void answers_to_nothing(void **state) {
    (void)state;
    against(say_one_more, 10, 30);
    against(greet, 10, 30);
}

/* ---- silence ---- */

static void say_nothing(fake_conn *c) {
    while (fake_read(c)) continue;
}

static void say_nothing_after_the_handshake(fake_conn *c) {
    while (fake_read(c))
        if (c->kind == FAKE_FENCE) fake_proper(c);
}

static void silence(void **state) {
    (void)state;
    against(say_nothing, 1, 500);
    against(say_nothing_after_the_handshake, 1, 500);
}

/* Something comes all the time, but never an answer: it is given up all the same, and nothing piles up. */
static void only_pushes(fake_conn *c) {
    if (!fake_read(c)) return;
    fake_proper(c);
    while (fake_rest(c, 5)) fake_say(c, ">2\r\n+invalidate\r\n*0\r\n");
}

static void noise_without_answers(void **state) {
    (void)state;
    assert_true(against(only_pushes, 1, 1000) > 3);
}

/* The handshake is answered by half a word. Nothing else is asked on such a connection, so nothing else would show it. */
static atomic_bool recovered;
static void half_a_handshake(fake_conn *c) {
    if (!fake_read(c)) return;
    if (atomic_load(&recovered)) {
        do fake_proper(c);
        while (fake_read(c));
        return;
    }
    rest_ms(5);
    fake_say(c, "*4\r\n$8");
    while (fake_rest(c, 10)) continue;
}

static void a_handshake_that_stops_half_way(void **state) {
    (void)state;
    atomic_store(&recovered, false);
    fake *f = fake_start(half_a_handshake, NULL);
    pond *p = pond_made(fake_url(f), "namespace", "half", "command_timeout", "50ms", "when_cache_down", "error", NULL);
    fetcher one = {.p = p, .key = "k", .script = {.value = "mine"}};
    assert_int_equal(fetch(&one), POND_ECACHE);
    atomic_store(&recovered, true);
    for (int64_t until = clock_ms() + 3000; fetch(&one) != POND_OK && clock_ms() < until;) rest_ms(10);
    assert_string_equal(one.text, "mine");
    pond_free(p);
    fake_stop(f);
}

/* Answers come late, in their order: each belongs to its own command, or to nobody. */
static void late_but_in_order(fake_conn *c) {
    while (fake_read(c)) {
        if (dice(30) == 0) fake_rest(c, (int)dice(slow_build() ? 240 : 60));
        if (c->kind == FAKE_GET) { /* mp:v:{ns:key}: the value is the key */
            char key[64], out[256];
            size_t from = 4, len = c->len[1];
            while (from < len && c->argv[1][from++] != ':') continue;
            while (from < len && c->argv[1][from - 1] != ':') from++;
            snprintf(key, sizeof key, "%.*s", (int)(len - from - 1), c->argv[1] + from);
            char *colon = strchr(key, ':');
            fake_send(c, out, fake_envelope(out, colon ? colon + 1 : key));
        } else {
            fake_proper(c);
        }
    }
}

static void *look_up(void *arg) {
    client *c = arg;
    /* until there were answers both in time and late */
    int64_t limit = clock_ms() + 5000;
    for (int i = 0;
         (i < c->rounds || !atomic_load(&c->codes[0]) || !atomic_load(&c->codes[-POND_ECACHE])) && clock_ms() < limit;
         i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", dice(100));
        pond_value *value = NULL;
        size_t len;
        int code = pond_lookup(c->p, key, strlen(key), NULL, &value, NULL);
        atomic_fetch_add(&c->codes[-code], 1);
        if (code == POND_OK && strcmp(pond_value_data(value, &len), key) != 0) atomic_fetch_add(&c->wrong, 1);
        pond_value_free(value);
    }
    return NULL;
}

static void late_answers(void **state) {
    (void)state;
    fake *f = fake_start(late_but_in_order, NULL);
    client c = {.rounds = 300};
    c.p = pond_made(fake_url(f), "namespace", "late", "command_timeout", slow_build() ? "100ms" : "25ms", NULL);
    pthread_t threads[6];
    for (size_t i = 0; i < 6; i++) pthread_create(&threads[i], NULL, look_up, &c);
    for (size_t i = 0; i < 6; i++) pthread_join(threads[i], NULL);
    pond_free(c.p);
    fake_stop(f);
    assert_int_equal(atomic_load(&c.wrong), 0);
    assert_true(atomic_load(&c.codes[0]) > 0 && atomic_load(&c.codes[-POND_ECACHE]) > 0);
}

/* A lease that is granted when its caller has gone is given back, by its token. */
typedef struct tokens {
    pthread_mutex_t lock;
    char granted[64][16];
    atomic_size_t count;
    atomic_int released;
} tokens;

static void grant_late(fake_conn *c) {
    tokens *t = c->ctx;
    while (fake_read(c)) {
        pthread_mutex_lock(&t->lock);
        if (c->kind == FAKE_LEASE) {
            assert_int_equal(c->len[6], 16);
            memcpy(t->granted[t->count++ % 64], c->argv[6], 16);
        } else if (c->kind == FAKE_RELEASE &&
                   c->evaluated) { /* with its text: perhaps nobody is there to hear a NOSCRIPT */
            for (size_t i = 0; i < t->count && i < 64; i++)
                if (memcmp(t->granted[i], c->argv[4], 16) == 0) atomic_fetch_add(&t->released, 1);
        }
        pthread_mutex_unlock(&t->lock);
        if (c->kind == FAKE_LEASE) { /* late, but not dead: else the connection would be given up */
            fake_rest(c, 50);
            fake_say(c, ">1\r\n+ping\r\n");
            fake_rest(c, 200);
        }
        fake_proper(c);
    }
}

static void a_lease_granted_too_late(void **state) {
    (void)state;
    tokens t = {.lock = PTHREAD_MUTEX_INITIALIZER};
    fake *f = fake_start(grant_late, &t);
    pond *p = pond_made(fake_url(f), "namespace", "late", "command_timeout", "2s", NULL);
    pond_policy *hasty = policy_made(p, "command_timeout", "150ms", NULL);
    /* its command timed out (on a busy machine perhaps the one before it: then once more) */
    for (int i = 0; i < 5 && atomic_load(&t.released) < 1; i++) {
        fetcher one = {.p = p, .key = fresh("k"), .policy = hasty, .script = {.value = "mine"}};
        assert_int_equal(fetch(&one), POND_OK);
        for (int64_t until = clock_ms() + 1000; atomic_load(&t.released) < 1 && clock_ms() < until;) rest_ms(1);
    }
    assert_int_equal(atomic_load(&t.released), 1);
    /* its caller cancelled */
    desk d;
    desk_open(&d, p, 1);
    pond_request *request;
    desk_fetch(&d, 0, "q", NULL, 1, &request);
    for (size_t before = atomic_load(&t.count); atomic_load(&t.count) == before;) desk_drive(&d, 1);
    pond_request_cancel(request);
    for (int64_t until = clock_ms() + 2000; atomic_load(&t.released) < 2 && clock_ms() < until;) desk_drive(&d, 1);
    assert_int_equal(atomic_load(&t.released), 2);
    /* its queue was freed, while it loaded */
    desk_fetch(&d, 0, "r", NULL, 2, NULL);
    pond_load *load = desk_load(&d, 0, 2);
    desk_free_queue(&d, 0);
    for (int64_t until = clock_ms() + 2000; atomic_load(&t.released) < 3 && clock_ms() < until;) rest_ms(1);
    assert_int_equal(atomic_load(&t.released), 3);
    pond_load_fail(load, 0, "nobody hears it");
    desk_close(&d);
    pond_policy_free(hasty);
    pond_free(p);
    fake_stop(f);
}

/* A fill that was refused by the server, not by the protocol, may leave the lease standing: it is given back. */
static void full(fake_conn *c) {
    tokens *t = c->ctx;
    while (fake_read(c)) {
        if (c->kind == FAKE_RELEASE) atomic_fetch_add(&t->released, 1);
        if (c->kind == FAKE_FILL) fake_say(c, "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
        else fake_proper(c);
    }
}

static void a_fill_that_failed(void **state) {
    (void)state;
    tokens t = {.lock = PTHREAD_MUTEX_INITIALIZER};
    fake *f = fake_start(full, &t);
    pond *p = pond_made(fake_url(f), "namespace", "full", NULL);
    assert_string_equal(fetch_text(p, "k", NULL, "mine"), "mine");
    for (int64_t until = clock_ms() + 2000; atomic_load(&t.released) < 1 && clock_ms() < until;) rest_ms(1);
    assert_int_equal(atomic_load(&t.released), 1);
    assert_int_equal(pond_stat(p, NULL, "cache_errors"), 1);
    pond_free(p);
    fake_stop(f);
}

/* ---- connections that are cut while they stand ---- */

/* As a server or a proxy does with idle ones: every command is the last of its connection. */
static void one_command_each(fake_conn *c) {
    if (!fake_read(c)) return;
    fake_proper(c); /* the handshake */
    if (!fake_read(c)) return;
    if (c->number % 2) fake_proper(c); /* answered, and then cut; or cut before the answer */
    fake_rest(c, 1);
}

static void cut_after_each_command(void **state) {
    (void)state;
    fake *f = fake_start(one_command_each, NULL);
    client c = {.rounds = 20, .limit_ms = 5000};
    run_client(&c, fake_url(f), "2s");
    fake_stop(f);
}

/* The fill is stored, then the connection is cut: asked once more, the server finds the lease gone and refuses. Who came during
 * the load must not share it, for nobody knows what came in between. */
static void cut_behind_the_fill(fake_conn *c) {
    atomic_int *fills = c->ctx;
    while (fake_read(c)) {
        if (c->kind != FAKE_FILL) {
            fake_proper(c);
        } else if (atomic_fetch_add(fills, 1) == 0) {
            return;
        } else {
            fake_say(c, ":%d\r\n", atomic_load(fills) > 2);
        }
    }
}

static void a_fill_that_is_sent_twice(void **state) {
    (void)state;
    atomic_int fills = 0;
    fake *f = fake_start(cut_behind_the_fill, &fills);
    pond *p = pond_made(fake_url(f), "namespace", "twice", "command_timeout", "2s", NULL);
    desk d;
    desk_open(&d, p, 2);
    desk_fetch(&d, 0, "k", NULL, 1, NULL);
    pond_load *load = desk_load(&d, 0, 1);
    desk_fetch(&d, 1, "k", NULL, 2, NULL);
    desk_nothing(&d, 30);
    answer_text(load, "old");
    desk_value(&d, 0, 1, "old");
    load = desk_load(&d, 1, 2);
    assert_int_equal(atomic_load(&fills), 2);
    answer_text(load, "new");
    desk_value(&d, 1, 2, "new");
    desk_close(&d);
    pond_free(p);
    fake_stop(f);
}

/* ---- nobody there ---- */

static void connection_refused(void **state) {
    (void)state;
    fake *f = fake_start(close_at_once, NULL);
    char url[64];
    snprintf(url, sizeof url, "%s", fake_url(f));
    fake_stop(f);
    client c = {.rounds = 200, .limit_ms = 1000};
    run_client(&c, url, "50ms");
    client u = {.rounds = 200, .limit_ms = 1000};
    run_client(&u, "unix:/tmp/there-is-no-such-socket", "50ms");
}

/* A listener whose queue is full drops what comes: connections neither stand nor fail. */
static void black_hole(void **state) {
    (void)state;
    int listener = socket(AF_INET, SOCK_STREAM, 0), fill[8];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    assert_int_equal(bind(listener, (struct sockaddr *)&at, size) | listen(listener, 0), 0);
    getsockname(listener, (struct sockaddr *)&at, &size);
    for (size_t i = 0; i < 8; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fill[i], (struct sockaddr *)&at, size);
    }
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d/0", ntohs(at.sin_port));
    client c = {.rounds = 4, .limit_ms = 1000};
    run_client(&c, url, "50ms");
    for (size_t i = 0; i < 8; i++) close(fill[i]);
    close(listener);
}

int main(void) {
    watchdog(115);
    signal(SIGPIPE, on_pipe);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(garbage),
        cmocka_unit_test(other_types),
        cmocka_unit_test(huge_lengths),
        cmocka_unit_test(nested_arrays),
        cmocka_unit_test(an_endless_value),
        cmocka_unit_test(errors_of_every_name),
        cmocka_unit_test(errors_reach_the_caller),
        cmocka_unit_test(no_script_for_ever),
        cmocka_unit_test(scripts_that_are_forgotten),
        cmocka_unit_test(hits_that_cannot_be_used),
        cmocka_unit_test(a_fence_that_never_rests),
        cmocka_unit_test(single_bytes),
        cmocka_unit_test(pushes),
        cmocka_unit_test(half_an_answer),
        cmocka_unit_test(closes_at_random_bytes),
        cmocka_unit_test(closes_at_once),
        cmocka_unit_test(closes_while_much_is_written),
        cmocka_unit_test(answers_to_nothing),
        cmocka_unit_test(silence),
        cmocka_unit_test(noise_without_answers),
        cmocka_unit_test(a_handshake_that_stops_half_way),
        cmocka_unit_test(late_answers),
        cmocka_unit_test(a_lease_granted_too_late),
        cmocka_unit_test(a_fill_that_failed),
        cmocka_unit_test(cut_after_each_command),
        cmocka_unit_test(a_fill_that_is_sent_twice),
        cmocka_unit_test(connection_refused),
        cmocka_unit_test(black_hole),
    };
    return cmocka_run_group_tests_name("hostile servers", tests, NULL, NULL);
}
