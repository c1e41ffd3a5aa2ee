/* What a server's errors lead to, by their names: a sentence that helps, once more, or another connection. */
#include "support/world.h"

static const struct named {
    const char *reply, *advice;
    bool retriable, reconnects;
} all[] = {
    {"-READONLY You can't write against a read only replica.\r\n", "connect to its master", true, true},
    {"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n", "connect to the master",
     true, true},
    {"-LOADING Redis is loading the dataset in memory\r\n", "try again", true, true},
    {"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "raise its maxmemory", true, false},
    {"-MISCONF Redis is configured to save RDB snapshots\r\n", "look at its log", true, false},
    {"-NOREPLICAS Not enough good replicas to write.\r\n", "min-replicas-to-write", true, false},
    {"-BUSY Redis is busy running a script.\r\n", "try again", true, false},
    {"-UNKILLABLE Sorry the script already executed write commands\r\n", "try again", true, false},
    {"-ERR max number of clients reached\r\n", "raise its maxclients", true, false},
    {"-NOAUTH Authentication required.\r\n", "set username and password", false, false},
    {"-WRONGPASS invalid username-password pair or user is disabled.\r\n", "check username and password", false, false},
    {"-NOPERM this user has no permissions to run the 'get' command\r\n", "grant the command", false, false},
    {"-ERR The user executing the script can't run this command or subcommand script: x\r\n",
     "grant the commands of the scripts", false, false},
    {"-ERR ACL failure in script: User x has no permissions to run the 'get' command script: y, on @user_script:3.\r\n",
     "grant the commands of the scripts", false, false},
    {"-DENIED Redis is running in protected mode\r\n", "protected mode", false, false},
    {"-MOVED 3999 127.0.0.1:6381\r\n", "Redis Cluster", false, false},
    {"-ASK 3999 127.0.0.1:6381\r\n", "Redis Cluster", false, false},
    {"-CLUSTERDOWN The cluster is down\r\n", "Redis Cluster", false, false},
    {"-CROSSSLOT Keys in request don't hash to the same slot\r\n", "Redis Cluster", false, false},
    {"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", "something else writes", false, false},
    {"-ERR unknown command 'GET'\r\n", "unknown command", true, false},
    {"-BUSYGROUP not that\r\n", "BUSYGROUP", true, false},
    {"-NOSCRIPT No matching script.\r\n", "forgets scripts", true, false},
};
enum { ALL = sizeof all / sizeof all[0] };

static const char *const wants_errors[] = {"when_cache_down", "error", NULL};
static const char *const without[] = {"fence", "off", NULL};

static void every_name_has_its_sentence(void **state) {
    (void)state;
    for (const struct named *n = all; n < all + ALL; n++) {
        const world_rule rules[WORLD_RULES] = {{FAKE_GET, 0, 0, {PEER_SAY, 0, n->reply}}};
        world_open(rules, NULL, NULL);
        world_start(WORLD_LOOKUP);
        pond_event *event = world_expect(n->reply, 0, "POND_ECACHE");
        const pond_error *error = pond_event_error(event);
        if (!strstr(pond_error_message(error), n->advice)) fail_msg("%s", pond_error_message(error));
        if (pond_error_retriable(error) != n->retriable) fail_msg("retriable: %s", n->reply);
        pond_event_free(event);
        if (peer_connections(world.server) != 1 + n->reconnects) fail_msg("connections: %s", n->reply);
        world_close();
    }
}

/* Whatever a miss is told when it asks for the lease: the loader answers, or the error is wanted. */
static void a_refused_lease(void **state) {
    (void)state;
    for (const struct named *n = all; n < all + ALL; n++) {
        const world_rule rules[WORLD_RULES] = {{FAKE_LEASE, 0, 0, {PEER_SAY, 0, n->reply}}};
        world_open(rules, NULL, NULL);
        world_start(WORLD_FETCH);
        pond_event *event = world_expect(n->reply, 0, "a load");
        answer_text(pond_event_load(event), "mine");
        pond_event_free(event);
        pond_event_free(world_expect(n->reply, 0, "a value"));
        world_close();
        world_open(rules, NULL, wants_errors);
        world_start(WORLD_FETCH);
        pond_event_free(world_expect(n->reply, 0, "POND_ECACHE"));
        world_close();
    }
}

/* A value that could not be stored is handed out all the same, whatever is wanted when the cache is down. */
static void a_refused_fill_fails_no_read(void **state) {
    (void)state;
    for (size_t i = 0; i < 2 * ALL; i++) {
        const struct named *n = &all[i / 2];
        const world_rule rules[WORLD_RULES] = {{FAKE_FILL, 0, 0, {PEER_SAY, 0, n->reply}}};
        world_open(rules, NULL, i % 2 ? wants_errors : NULL);
        world_start(WORLD_FETCH);
        pond_event *event = world_expect(n->reply, 0, "a load");
        world_pass_to(40);
        answer_text(pond_event_load(event), "mine");
        pond_event_free(event);
        pond_event_free(world_expect(n->reply, 40, "a value"));
        assert_int_equal(pond_stat(world.p, NULL, "cache_errors"), 1);
        assert_int_equal(pond_stat(world.p, NULL, "load_errors"), 0);
        world_close();
    }
}

/* A server that is no master any more: the next connection may reach another. Nobody notices, neither who was told nor who was
 * under way beside them. */
static void another_connection_may_be_better(void **state) {
    (void)state;
    for (const struct named *n = all; n < all + ALL; n++) {
        if (!n->reconnects) continue;
        const world_rule once[WORLD_RULES] = {{FAKE_GET, 3, 4, {PEER_SAY, 10, n->reply}}};
        world_open(once, NULL, NULL);
        world_start(WORLD_LOOKUP);
        pond_event_free(world_expect(n->reply, 0, "a miss"));
        for (int i = 0; i < 5; i++) world_start_key(WORLD_LOOKUP, (char)('a' + i));
        for (int i = 0; i < 2; i++) pond_event_free(world_expect(n->reply, 0, "a miss"));
        for (int i = 0; i < 3; i++) pond_event_free(world_expect(n->reply, 10, "a miss"));
        assert_int_equal(peer_connections(world.server), 2);
        assert_int_equal(pond_stat(world.p, NULL, "cache_errors"), 0);
        world_close();
    }
}

/* Without a fence the new connection cannot know that it is no better: it is tried once a second, not for every call. */
static void no_storm_of_connections(void **state) {
    (void)state;
    const world_rule always[WORLD_RULES] = {{FAKE_GET, 0, 0, {PEER_SAY, 0, all[0].reply}}};
    world_open(always, NULL, without);
    for (int i = 0; i < 500; i++) {
        world_start(WORLD_LOOKUP);
        pond_event_free(world_expect("a replica", 10 * i, "POND_ECACHE"));
        world_pass_to(10 * i + 10);
    }
    assert_int_equal(peer_connections(world.server), 1 + 5);
    world_close();
}

/* The fence is asked for again before anything else is judged, and a replica is refused by it. */
static void a_replica_is_left(void **state) {
    (void)state;
    const world_rule demoted[WORLD_RULES] = {{FAKE_LEASE, 0, 0, {PEER_SAY, 0, all[0].reply}},
                                             {FAKE_FENCE, 1, 0, {PEER_SAY, 0, "*2\r\n$-1\r\n$5\r\nslave\r\n"}}};
    world_open(demoted, NULL, NULL);
    world_start(WORLD_FETCH);
    pond_event *event = world_expect("a replica", 0, "a load");
    answer_text(pond_event_load(event), "mine");
    pond_event_free(event);
    pond_event_free(world_expect("a replica", 0, "a value"));
    world_start(WORLD_LOOKUP); /* in the backoff: not even asked */
    event = world_expect("a replica", 0, "POND_ECACHE");
    assert_non_null(
        strstr(pond_error_message(pond_event_error(event)), "the server is a slave: connect to its master"));
    pond_event_free(event);
    world_rules(NULL); /* it is a master again */
    world_pass_to(2000);
    world_start(WORLD_LOOKUP);
    pond_event_free(world_expect("a master", 2000, "a miss"));
    world_close();
}

int main(void) {
    watchdog(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_has_its_sentence),  cmocka_unit_test(a_refused_lease),
        cmocka_unit_test(a_refused_fill_fails_no_read), cmocka_unit_test(another_connection_may_be_better),
        cmocka_unit_test(no_storm_of_connections),      cmocka_unit_test(a_replica_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
