/* A user of the cache who may do what the manual says and no more; passwords and users that change under way; and no part of a
 * password in anything that the library says. */
#include <ctype.h>

#include "behind_ops.h"
#include "cache/redis_scripts.h"
#include "support/fake.h"
#include "support/fetch_cases.h"
#include "support/redis.h"
#include "support/support.h"

#define SECRET "hunter2-geheim"
#define SECOND "Tr0ub4dor"

static redisContext *server;

/* ---- what is said ---- */

static char said[1 << 16];

static void hear(pond_value *value, pond_error *err) {
    if (value && pond_value_state(value) == POND_VALUE)
        strncat(said, pond_value_data(value, NULL), sizeof said - strlen(said) - 1);
    strncat(said, pond_error_message(err), sizeof said - strlen(said) - 1);
    pond_value_free(value);
    pond_error_free(err);
}

/* Everything that a pond can be made to say. */
static void hear_out(pond *p) {
    pond_value *value = NULL;
    pond_error *err = NULL;
    const char *key = "key";
    size_t len = 3;
#define HEAR(call)                                                                                                     \
    value = NULL, err = NULL;                                                                                          \
    (void)(call);                                                                                                      \
    hear(value, err)
    HEAR(pond_explain(p, key, len, NULL, &value, &err));
    HEAR(pond_lookup(p, key, len, NULL, &value, &err));
    HEAR(pond_invalidate(p, &key, &len, 1, NULL, &err));
    HEAR(pond_stats(p, &value, &err));
    HEAR(pond_metrics(p, &value, &err));
}

static void heard(const char *words) {
    if (!strstr(said, words)) fail_msg("nothing of \"%s\" in: %s", words, said);
}

static void never_heard(const char *secret) {
    if (strstr(said, secret)) fail_msg("%s was said: %s", secret, said);
}

/* ---- the manual's user ---- */

static char rule[4096]; /* the manual's line, and its words */
static const char *words[128];
static int count;

static void read_rule(void) {
    char line[sizeof rule];
    FILE *manual = fopen(POND_TEST_ROOT "/core/GUIDE.md", "r");
    if (!manual) abort();
    while (fgets(line, sizeof line, manual))
        if (strncmp(line, "    ACL SETUSER ", 16) == 0) memcpy(rule, line, sizeof rule);
    fclose(manual);
    for (char *word = strtok(rule, " \n"); word && count < 127; word = strtok(NULL, " \n")) words[count++] = word;
}

/* A reply without an error, to a command of any words. */
static void tell(int argc, const char **argv) {
    redisReply *r = redisCommandArgv(server, argc, argv, NULL);
    assert_non_null(r);
    if (r->type == REDIS_REPLY_ERROR) fail_msg("%s %s: %s", argv[0], argv[1], r->str);
    freeReplyObject(r);
}

static void make_user(const char *password) {
    char given[64];
    const char *argv[128];
    snprintf(given, sizeof given, ">%s", password);
    for (int i = 0; i < count; i++) argv[i] = strcmp(words[i], ">PASSWORD") == 0 ? given : words[i];
    tell(count, argv);
}

static void set_user(const char *how) { redis_do(server, "ACL SETUSER %s %s", words[2], how); }

static bool granted(const char *command) {
    for (int i = 0; i < count; i++)
        if (words[i][0] == '+' && strcasecmp(words[i] + 1, command) == 0) return true;
    return false;
}

static pond *pond_of(const char *password, const char *when_down) {
    return pond_made(redis_url(), "namespace", "acl", "username", words[2], "password", password, "when_cache_down",
                     when_down, NULL);
}

static int begin(void **state) {
    (void)state;
    make_user(SECRET);
    *said = 0;
    return 0;
}

static int end(void **state) {
    (void)state;
    redis_do(server, "ACL DELUSER %s", words[2]);
    return strstr(said, SECRET) || strstr(said, SECOND);
}

/* The scripts' own commands and what is sent beside them: each is granted, and nothing else is. */
static void the_manual_grants_what_is_used(void **state) {
    (void)state;
    static const char *const sent[] = {"get", "eval", "evalsha", "pttl", "client|tracking"};
    bool used[128] = {false};
    char missing[512] = "";
    for (int i = 0; i < count; i++)
        for (size_t k = 0; k < sizeof sent / sizeof *sent; k++) used[i] = used[i] || strcmp(words[i] + 1, sent[k]) == 0;
    for (size_t s = 0; s < MP_SCRIPTS; s++) {
        const char *end = mp_scripts[s].text + mp_scripts[s].len;
        for (const char *at = mp_scripts[s].text; (at = memmem(at, (size_t)(end - at), "call('", 6));) {
            char command[32] = "";
            at += 6;
            for (size_t n = 0; at + n < end && isalpha((unsigned char)at[n]) && n < 31; n++)
                command[n] = (char)tolower(at[n]);
            if (!granted(command))
                snprintf(missing + strlen(missing), sizeof missing - strlen(missing), " %s", command);
            for (int i = 0; i < count; i++) used[i] = used[i] || strcmp(words[i] + 1, command) == 0;
        }
    }
    if (*missing) fail_msg("the manual's user may not run what scripts call:%s", missing);
    for (int i = 0; i < count; i++)
        if (words[i][0] == '+' && !used[i]) fail_msg("the manual grants %s, which nothing uses", words[i]);
}

static void the_manuals_user_may_do_no_more(void **state) {
    (void)state;
    redisContext *c = redis_open(redis_url());
    static const char *const no[] = {
        "GET other", "SET mp:v:{a} 1 EX 9 GET KEEPTTL", "FLUSHALL", "KEYS *", "CONFIG GET *", "ACL LIST"};
    redisReply *r = redisCommand(c, "AUTH %s %s", words[2], SECRET);
    assert_string_equal(r->str, "OK");
    freeReplyObject(r);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        r = redisCommand(c, no[i]);
        if (i != 1 && (r->type != REDIS_REPLY_ERROR || strncmp(r->str, "NOPERM", 6) != 0))
            fail_msg("%s: %s", no[i], r->str);
        freeReplyObject(r);
    }
    redisFree(c);
}

/* Also of waits for another's load, which go on without a permission, but in another way. */
static void waits_are_told(void **state) {
    (void)state;
    pond *p = pond_of(SECRET, "error"), *q = pond_of(SECRET, "error");
    const char *key = fresh("wait");
    fetcher f = {.p = p, .key = key, .script = {.value = "x", .delay_ms = 300}};
    fetcher_start(&f);
    await_stat(p, "acl", "loads", 1);
    assert_string_equal(fetch_text(q, key, NULL, "y"), "x");
    fetcher_join(&f);
    hear_out(q);
    heard("\"wait_mode\":\"push\"");
    heard("\"problem\":null");
    pond_free(p);
    pond_free(q);
}

/* Each operation of write-behind, of which some are commands of their own. */
static void writing_behind_asks_for_no_more(void **state) {
    (void)state;
    char url[128];
    side s;
    act a, taken;
    snprintf(url, sizeof url, "redis://%s:%s@%s", words[2], SECRET, redis_url() + strlen("redis://"));
    side_open(&s, url, "on");
    assert_true(epoch(&s, 1) > 0);
    assert_int_equal(put(&s, "sa", "{}", NULL), MP_VERDICT_OK);
    assert_int_equal(put(&s, "sb", "{}", NULL), MP_VERDICT_OK);
    increment(&s, "sb", "n", 1);
    assert_int_equal(lease(&s, "sa", 1, NULL, NULL), MP_HIT);
    assert_int_equal(take(&s, &taken), 2);
    assert_int_equal(ack(&s, taken.behind.entries, 1), MP_DONE);
    redis_do(server, "DEL mp:b:{b:0}sa");
    assert_int_equal(load(&s, "sa", "{}", 0), MP_STORED);
    static const mp_op_kind kinds[] = {MP_BEHIND_OPEN, MP_OWN,       MP_DEAD,   MP_DEAD_LIST,
                                       MP_DEAD_RETRY,  MP_DEAD_DROP, MP_FORGET, MP_INSPECT};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        act_make(&a, kinds[i], kinds[i] == MP_INSPECT ? "sa" : NULL, 1);
        a.behind.entries = &taken.behind.entries[1];
        a.behind.count = 1;
        a.behind.error = "";
        a.behind.most = 1;
        if (act_run(&s, &a) == MP_FAILED) fail_msg("%s", pond_error_message(a.op.error));
        if (kinds[i] == MP_INSPECT) pond_value_free(a.op.value);
        if (kinds[i] == MP_DEAD_LIST) mp_behind_clear(&a.behind);
    }
    mp_behind_clear(&taken.behind);
    side_close(&s);
}

/* ---- what changes under way ---- */

static void hang_up(void) { redis_do(server, "CLIENT KILL USER %s", words[2]); }

/* Asked until it works, but not for ever: a connection is tried again after a pause. */
static void comes_back(pond *p) {
    int64_t until = clock_ms() + 5000;
    pond_value *value = NULL;
    while (pond_lookup(p, "key", 3, NULL, &value, NULL) != POND_OK) {
        if (clock_ms() > until) fail_msg("it does not come back");
        rest_ms(5);
    }
    pond_value_free(value);
}

static void a_password_changes(void **state) {
    (void)state;
    pond *p = pond_of(SECRET, "error"), *q = pond_of(SECRET, "store");
    assert_string_equal(lookup_text(p, "key", NULL), "(miss)");
    set_user(">" SECOND);
    set_user("<" SECRET);
    assert_string_equal(lookup_text(p, "key", NULL), "(miss)"); /* who has come in is not asked again */
    hang_up();
    hear_out(p);
    heard("check username and password");
    heard("WRONGPASS");
    fetcher f = {.p = p, .key = "key", .script = {.value = "x"}};
    assert_int_equal(fetch(&f), POND_ECACHE);
    strcat(said, f.text);
    f = (fetcher){.p = q, .key = "key", .script = {.value = "x"}};
    assert_int_equal(fetch(&f), POND_OK);
    hear_out(q);
    pond *r = pond_of(SECOND, "error");
    assert_string_equal(lookup_text(r, "key", NULL), "(miss)");
    hear_out(r);
    set_user(">" SECRET);
    comes_back(p);
    comes_back(q);
    pond_free(p);
    pond_free(q);
    pond_free(r);
}

static void a_user_is_deleted(void **state) {
    (void)state;
    pond *p = pond_of(SECRET, "error");
    assert_string_equal(lookup_text(p, "key", NULL), "(miss)");
    redis_do(server, "ACL DELUSER %s", words[2]);
    hear_out(p);
    heard("WRONGPASS");
    make_user(SECRET);
    comes_back(p);
    pond_free(p);
}

static void a_permission_is_taken(void **state) {
    (void)state;
    pond *p = pond_of(SECRET, "error");
    assert_string_equal(lookup_text(p, "key", NULL), "(miss)");
    set_user("-get");
    hear_out(p);
    heard("lacks a permission");
    heard("'get'");
    set_user("+get");
    comes_back(p);
    *said = 0;
    set_user("-zcard"); /* in a script: begin or end of a write */
    set_user("-strlen");
    set_user("-pttl");
    hear_out(p);
    heard("lacks a permission");
    set_user("+zcard");
    set_user("+strlen");
    set_user("+pttl");
    comes_back(p);
    *said = 0;
    set_user("-info");
    hang_up();
    hear_out(p);
    heard("+info");
    pond_free(p);
}

/* ---- nothing of it is shown ---- */

/* A server that does not know AUTH, as where it was renamed, repeats what it was told. */
static void serve_a_parrot(fake_conn *c) {
    const char *const how = c->ctx;
    while (fake_read(c)) {
        if (c->len[0] == 4 && strncmp(c->argv[0], "AUTH", 4) == 0) fake_say(c, how, "shop", SECRET);
        else fake_proper(c);
    }
}

static void a_parrot_is_not_repeated(void **state) {
    (void)state;
    static const char *const ways[] = {
        "-ERR unknown command 'AUTH', with args beginning with: '%s' '%s' \r\n",
        "-ERR unknown command `AUTH`, with args beginning with: `%s`, `%.9s`, \r\n",
        "-ERR wrong number of arguments for AUTH %s %s\r\n",
        "-WRONGPASS %s may not come in by %s\r\n",
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        fake *f = fake_start(serve_a_parrot, (void *)(uintptr_t)ways[i]);
        pond *p = pond_made(fake_url(f), "username", "shop", "password", SECRET, NULL);
        *said = 0;
        hear_out(p);
        heard(i == 3 ? "check username and password" : "ERR ");
        never_heard("hunter2-");
        pond_free(p);
        fake_stop(f);
    }
}

/* Addresses with something wrong in them, and the password in a form that each of them can have. */
static void no_bad_address_shows_it(void **state) {
    (void)state;
    static const char *const urls[] = {
        "redis://u:" SECRET "@h:99999/0",
        "redis://u:" SECRET "@h:port/0",
        "redis://u:" SECRET "@h:6379/db",
        "redis://u:" SECRET "@h:6379/0?x=" SECRET,
        "redis://u:" SECRET "@h/0#" SECRET,
        "redis://u:" SECRET "@[::1/0",
        "redis://u:" SECRET "@:6379:1/0",
        "redis://u:" SECRET "/@h",
        "redis://u:" SECRET "?@h",
        "redis://u:" SECRET "#@h",
        "redis://u:" SECRET,
        "redis://:" SECRET,
        "redis://" SECRET "@h",
        "redis:u:" SECRET "@h",
        "redis:/u:" SECRET "@h",
        "rediss://u:" SECRET "%@h",
        "rediss://u:" SECRET "%zz@h",
        "rediss://u:" SECRET "%00@h",
        "rediss://" SECRET "%2@h",
        "rediss://u:%68unter2-geheim/@h",
        "rediss://u:h%75nter2-geheim@h:x",
        "rediss://u:" SECRET "@%",
        "unix:" SECRET,
        "unix://u:" SECRET "@/run/redis.sock",
        "unix:/run/redis.sock?password=" SECRET,
        "u:" SECRET "@h:6379",
        ":" SECRET "@h",
        SECRET "@h",
        "http://u:" SECRET "@h",
        "redis.u:" SECRET "@h",
        "rediss://u:" SECRET "@h:1/0",
    };
    static const char *const stores[] = {
        "mongodb://u:" SECRET "@h:99999/d",
        "mongodb://u:" SECRET "/@h/d",
        "mongodb://u:" SECRET "%@h/d",
        "mongodb://u:" SECRET "@h",
        "mongodb://u:" SECRET "@h/d?nonsense=" SECRET,
        "mongodb://u:" SECRET,
        "u:" SECRET "@h/d",
        "mongodb+srv://u:" SECRET "@h/d",
        "postgres://u:" SECRET "@h/d",
        SECRET "@h",
    };
    size_t n = sizeof urls / sizeof *urls;
    for (size_t i = 0; i < n + sizeof stores / sizeof *stores; i++) {
        pond_config *config = pond_config_new();
        pond *p = NULL;
        pond_error *err = NULL;
        int code = i < n ? pond_config_set(config, "cache", urls[i], &err)
                         : pond_config_set(config, "store", stores[i - n], &err);
        if (code == POND_OK) code = pond_config_set(config, "tls_ca", "/no/such/file", &err);
        if (code == POND_OK) code = pond_open(&p, config, &err);
        *said = 0;
        hear(NULL, err);
        never_heard("hunter2");
        never_heard("geheim");
        never_heard("unter2");
        if (code == POND_OK && i < n) fail_msg("%s was taken", urls[i]);
        pond_free(p);
        pond_config_free(config);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
    watchdog(60);
    server = redis_open(redis_url());
    if (!server) return 2;
    read_rule();
    const struct CMUnitTest tests[] = {
        TEST(the_manual_grants_what_is_used),
        TEST(the_manuals_user_may_do_no_more),
        TEST(waits_are_told),
        TEST(writing_behind_asks_for_no_more),
        TEST(a_password_changes),
        TEST(a_user_is_deleted),
        TEST(a_permission_is_taken),
        TEST(a_parrot_is_not_repeated),
        TEST(no_bad_address_shows_it),
    };
    int failed = cmocka_run_group_tests_name("users", tests, NULL, NULL);
    redisFree(server);
    return failed;
}
