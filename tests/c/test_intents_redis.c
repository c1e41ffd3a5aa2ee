/* The scripts in Redis and what stands for them in memory: the same random operations on both must get the same answers. Nothing
 * runs out here: the times are long (test_intents.c has the edges). */
#include "memory_ops.h"

#include "base/clock.h"
#include "support/redis.h"

enum { KEYS = 3, TAGS = 2, TOKENS = 2, STEPS = 30000, LONG = 600000 };

static mp_cache *caches[2]; /* memory, redis */
static mp_link *links[2];
static mp_loop *loop;
static key keys[KEYS], tags[TAGS];

static int set_up(void **state) {
    (void)state;
    mp_options options;
    assert_true(mp_options_init(&options));
    free(options.cache);
    options.cache = strdup(redis_url());
    caches[0] = mp_memory_new(16 << 20);
    assert_int_equal(mp_redis_open(&caches[1], &options, NULL), POND_OK);
    mp_options_free(&options);
    loop = mp_loop_new();
    mp_loop_lock(loop);
    for (int i = 0; i < 2; i++) links[i] = caches[i]->vt->link_open(caches[i], loop);
    for (size_t i = 0; i < KEYS; i++) key_number(&keys[i], "both", i);
    for (size_t i = 0; i < TAGS; i++) key_number(&tags[i], "both", i); /* of the same names */
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        caches[i]->vt->link_close(links[i]);
        caches[i]->vt->close(caches[i]);
    }
    mp_loop_unlock(loop);
    mp_loop_free(loop);
    return 0;
}

/* What an operation left behind for the next ones. */
typedef struct memo {
    uint8_t fence[TOKENS][MP_FENCE_LEN];
    uint8_t made[TAGS][MP_TAG_SIZE]; /* the tag's last generation */
    uint8_t rejected[64];
    uint8_t rejected_len;
} memo;
static memo memos[2];

typedef struct step {
    mp_op_kind kind;
    bool tag, again, refresh, with_value, rejecting;
    size_t key, token;
    uint8_t ntags;
    int64_t ms, cut_ms;
    uint32_t content;
} step;

/* No two values end at one time: a memory: tells by that, and by where they lie, which of them is rejected. */
static mp_op make_op(const step *s, memo *m, uint8_t generations[TAGS * MP_TAG_SIZE], pond_value *value) {
    mp_op op = {.kind = s->kind,
                .key = s->tag ? tags[s->key].key : keys[s->key].key,
                .lease_ms = s->ms,
                .ttl_ms = LONG + s->content,
                .cut_ms = s->cut_ms,
                .timeout_ms = 5000,
                .generations = generations,
                .ntags = s->ntags,
                .tag = s->tag,
                .again = s->again,
                .refresh = s->refresh,
                .value = s->with_value ? value : NULL,
                .done = op_done};
    memset(op.token, (int)s->token + 1, MP_TOKEN_LEN);
    if (s->kind == MP_TAG_MAKE) memcpy(op.token, &s->content, sizeof s->content); /* a generation is never made twice */
    memcpy(op.fence, m->fence[s->token], MP_FENCE_LEN);
    if (s->rejecting) {
        op.rejected_len = m->rejected_len;
        memcpy(op.rejected, m->rejected, sizeof op.rejected);
    }
    if (s->kind == MP_FILL)
        for (size_t i = 0; i < s->ntags; i++) memcpy(generations + i * MP_TAG_SIZE, m->made[i], MP_TAG_SIZE);
    return op;
}

static void run_op(int which, mp_op *op) {
    links[which]->vt->submit(links[which], op);
    while (!op->link_private || op->reply == MP_PENDING) mp_loop_turn(loop, 1000);
}

static void learn(const step *s, memo *m, const mp_op *op) {
    if (op->reply == MP_LEASED || (s->kind == MP_BEGIN && op->reply == MP_DONE))
        memcpy(m->fence[s->token], op->fence, MP_FENCE_LEN);
    if (s->kind == MP_TAG_MAKE && op->reply == MP_HIT) memcpy(m->made[s->key], op->generations, MP_TAG_SIZE);
    if ((s->kind == MP_GET || s->kind == MP_LEASE) && op->rejected_len) {
        m->rejected_len = op->rejected_len;
        memcpy(m->rejected, op->rejected, sizeof m->rejected);
    }
}

static bool same_value(const pond_value *a, const pond_value *b) {
    if (pond_value_state(a) != pond_value_state(b)) return false;
    return !a || (a->len == b->len && memcmp(a->data, b->data, a->len) == 0);
}

/* Less their fences, which only Redis has. */
static bool same_generations(const uint8_t *a, const uint8_t *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (memcmp(a + i * MP_TAG_SIZE + MP_FENCE_LEN, b + i * MP_TAG_SIZE + MP_FENCE_LEN, MP_TOKEN_LEN) != 0)
            return false;
    return true;
}

static step random_step(uint64_t *seed, uint32_t number) {
    static const mp_op_kind kinds[] = {MP_GET,  MP_GET,  MP_LEASE,   MP_LEASE,    MP_LEASE,   MP_FILL,
                                       MP_FILL, MP_FILL, MP_RENEW,   MP_RELEASE,  MP_BEGIN,   MP_END,
                                       MP_END,  MP_END,  MP_TAG_GET, MP_TAG_MAKE, MP_TAG_MAKE};
    static size_t at, who; /* often those of the step before: begin and end, lease and fill */
    step s = {.kind = kinds[next_random(seed) % (sizeof kinds / sizeof kinds[0])], .content = number, .ms = LONG};
    bool writes = s.kind == MP_BEGIN || s.kind == MP_END;
    if (next_random(seed) % 3 == 0) at = next_random(seed);
    if (next_random(seed) % 3 == 0) who = next_random(seed);
    s.tag = s.kind == MP_TAG_GET || s.kind == MP_TAG_MAKE || (writes && next_random(seed) % 3 == 0);
    s.key = at % (s.tag ? TAGS : KEYS);
    s.token = who % TOKENS;
    s.again = s.kind == MP_BEGIN && next_random(seed) % 3 == 0;
    if (s.kind == MP_RELEASE) s.ms = next_random(seed) % 2 ? 0 : LONG;
    if (s.kind == MP_GET || s.kind == MP_LEASE || s.kind == MP_FILL)
        s.ntags = (uint8_t)(next_random(seed) % (TAGS + 1));
    if (s.kind == MP_LEASE) s.refresh = next_random(seed) % 4 == 0;
    s.rejecting = s.kind == MP_LEASE && !s.refresh && next_random(seed) % 3 == 0;
    s.with_value = s.kind == MP_FILL || (s.kind == MP_END && !s.tag && next_random(seed) % 2);
    if (s.tag && next_random(seed) % 4 == 0) s.cut_ms = LONG / 2;
    return s;
}

static void memory_and_redis_say_the_same(void **state) {
    (void)state;
    uint64_t seed = 7;
    unsigned stored = 0, served = 0, doubts = 0;
    for (uint32_t number = 1; number <= STEPS; number++) {
        step s = random_step(&seed, number);
        bool absent = next_random(&seed) % 4 == 0;
        pond_value *value = absent ? mp_value_absent() : mp_value_new(POND_VALUE, POND_BYTES, &number, sizeof number);
        uint8_t generations[2][TAGS * MP_TAG_SIZE] = {{0}};
        mp_op ops[2];
        for (int i = 0; i < 2; i++) {
            ops[i] = make_op(&s, &memos[i], generations[i], value);
            run_op(i, &ops[i]);
            if (ops[i].error) fail_msg("step %u: %s", number, pond_error_message(ops[i].error));
            learn(&s, &memos[i], &ops[i]);
        }
        bool out = s.kind != MP_FILL && s.kind != MP_END;
        if (ops[0].reply != ops[1].reply || (out && !same_value(ops[0].value, ops[1].value)) ||
            (ops[0].reply == MP_HIT && !same_generations(generations[0], generations[1], s.ntags)))
            fail_msg(
                "step %u: kind %d%s key %zu token %zu ntags %d refresh %d rejecting %d again %d cut %d: memory %d, "
                "redis %d",
                number, s.kind, s.tag ? " of a tag," : "", s.key, s.token, s.ntags, s.refresh, s.rejecting, s.again,
                (int)s.cut_ms, ops[0].reply, ops[1].reply);
        stored += ops[0].reply == MP_STORED;
        served += s.ntags > 0 && ops[0].reply == MP_HIT;
        doubts += ops[0].reply == MP_INDOUBT;
        for (int i = 0; i < 2 && out; i++) pond_value_free(ops[i].value);
        pond_value_free(value);
    }
    assert_true(stored > 500 && served > 100 && doubts > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(memory_and_redis_say_the_same, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
