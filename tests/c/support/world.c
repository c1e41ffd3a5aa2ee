#include "support/world.h"

#include "api/start.h"
#include "engine/loop_private.h"

struct world world;

static const world_rule *rules;
static int seen[FAKE_OTHER + 1];

static peer_reply by_rules(const fake_conn *c, void *ctx) {
    (void)ctx;
    int n = seen[c->kind]++;
    for (const world_rule *r = rules; rules && r < rules + WORLD_RULES; r++)
        if ((r->reply.act || r->reply.after_ms) && r->kind == c->kind && n >= r->from && (!r->to || n < r->to))
            return r->reply;
    return (peer_reply){0};
}

void world_rules(const world_rule *r) {
    rules = r;
    memset(seen, 0, sizeof seen);
}

int world_seen(fake_kind kind) { return seen[kind]; }

void world_open(const world_rule *r, const char *url, const char *const *options) {
    world_rules(r);
    virtual_begin(1);
    world.server = peer_new(by_rules, NULL);
    pond_error *err = NULL;
    pond_config *config = pond_config_new();
    pond_config_set(config, "cache", url ? url : peer_url(world.server), NULL);
    for (size_t i = 0; options && options[i]; i += 2)
        assert_int_equal(pond_config_set(config, options[i], options[i + 1], NULL), POND_OK);
    if (pond_open(&world.p, config, &err) != POND_OK) fail_msg("%s", pond_error_message(err));
    pond_config_free(config);
    assert_int_equal(pond_queue_new(&world.queue, world.p, NULL), POND_OK);
    world.began = virtual_now();
}

void world_close(void) {
    pond_queue_free(world.queue);
    pond_free(world.p);
    peer_free(world.server);
}

int64_t world_now(void) { return virtual_now() - world.began; }

void world_start(world_call call) { world_start_key(call, 'k'); }

void world_start_key(world_call call, char letter) {
    const char *key = &letter;
    size_t len = 1;
    pond *p = world.p;
    pond_queue *queue = world.queue;
    int code = POND_OK;
    switch (call) {
    case WORLD_FETCH: code = pond_fetch_start(p, queue, key, len, NULL, 1, NULL, NULL, NULL); break;
    case WORLD_LOOKUP: code = pond_lookup_start(p, queue, key, len, NULL, 1, NULL, NULL, NULL); break;
    case WORLD_EXPLAIN: code = pond_explain_start(p, queue, key, len, NULL, 1, NULL); break;
    case WORLD_INVALIDATE: code = pond_invalidate_start(p, queue, &key, &len, 1, NULL, 1, NULL); break;
    }
    assert_int_equal(code, POND_OK);
}

/* When something may happen again, but not later than `at`. */
static int64_t next_moment(int64_t at) {
    int64_t timer = mp_loop_next_timer(world.queue->lane->loop), answer = peer_next(world.server);
    if (timer < at) at = timer;
    return answer < at ? answer : at;
}

pond_event *world_event(int64_t ms, int64_t *at) {
    for (;;) {
        pond_event *event = NULL;
        for (int quiet = 0; quiet < 3 && !event; quiet++) {
            if (peer_turn(world.server, virtual_now())) quiet = 0;
            pond_queue_poll(world.queue, &event, 1, 0);
        }
        *at = world_now();
        if (event || *at >= ms) return event;
        int64_t next = next_moment(world.began + ms);
        assert_true(next > virtual_now()); /* or it would have happened */
        virtual_move_to(next);
    }
}

void world_pass_to(int64_t ms) {
    int64_t at;
    assert_null(world_event(ms, &at));
}

static const char *what(pond_event *event) {
    if (!event) return "nothing";
    switch (pond_event_kind(event)) {
    case POND_EVENT_ERROR: return pond_code_name(pond_error_code(pond_event_error(event)));
    case POND_EVENT_LOAD: return "a load";
    case POND_EVENT_VALUE: return "a value";
    case POND_EVENT_MISS: return "a miss";
    case POND_EVENT_OK: return "ok";
    default: return "another event";
    }
}

pond_event *world_expect(const char *name, int64_t at, const char *wanted) {
    int64_t came;
    pond_event *event = world_event(at + 100000, &came);
    if (came != at || strcmp(what(event), wanted) != 0)
        fail_msg("%s: %s after %lld ms instead of %s after %lld", name, what(event), (long long)came, wanted,
                 (long long)at);
    return event;
}
