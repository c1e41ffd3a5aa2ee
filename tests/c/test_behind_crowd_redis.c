/* Writers, readers and workers in threads on one shard, while connections are cut under them and the server forgets its scripts. What is cut off is
 * sent again, and applied once: the server has given away as many numbers as there were changes, but for those that failed, of which it may
 * have applied each. What is read is never older than what was answered before, and in the end the store has the newest of each. */
#include "behind_ops.h"

enum { CROWD = 4, KEYS = 5, ACTS = 6000, DOC = 32 };

/* In a thread that is not the test's own. */
#define MUST(what)                                                                                                     \
    do {                                                                                                               \
        if (what) break;                                                                                               \
        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                                                     \
        abort();                                                                                                       \
    } while (0)

typedef struct doc {
    int64_t version;
    char text[DOC];
} doc;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static doc answered[KEYS], in_store[KEYS];
static atomic_uint accepted, doubtful, flushed, cuts;
static atomic_bool stop;

static void newer(doc *of, int64_t version, const char *text) {
    pthread_mutex_lock(&lock);
    if (version > of->version) {
        of->version = version;
        snprintf(of->text, sizeof of->text, "%s", text);
    }
    pthread_mutex_unlock(&lock);
}

static doc look(const doc *of) {
    pthread_mutex_lock(&lock);
    doc d = *of;
    pthread_mutex_unlock(&lock);
    return d;
}

/* Until it is answered. */
static mp_reply persist(side *s, act *a) {
    mp_reply reply;
    while ((reply = act_run(s, a)) == MP_FAILED) {
        pond_code code = pond_error_code(a->op.error);
        if (code != POND_ECACHE) fprintf(stderr, "%s\n", pond_error_message(a->op.error));
        MUST(code == POND_ECACHE);
        pond_error_free(a->op.error);
        a->op.error = NULL;
        if (a->op.kind == MP_ACCEPT) atomic_fetch_add(&doubtful, 1);
        rest_ms(1);
    }
    return reply;
}

static void name_key(char name[4], size_t k) { snprintf(name, 4, "s%c", (char)('a' + k)); }

static void write_one(side *s, size_t k) {
    char name[4], text[DOC];
    act a;
    name_key(name, k);
    snprintf(text, sizeof text, "{\"by\":%d,\"n\":%lld}", s->number, (long long)s->n);
    accept_make(s, &a, name, text);
    MUST(persist(s, &a) == MP_STORED);
    MUST(a.op.version > 0);
    newer(&answered[k], a.op.version, text);
    atomic_fetch_add(&accepted, 1);
    pond_value_free(a.op.value);
}

static void read_one(side *s, size_t k) {
    char name[4];
    act a;
    name_key(name, k);
    int64_t least = look(&answered[k]).version;
    act_make(&a, MP_GET, name, 0);
    mp_reply reply = persist(s, &a);
    if (reply == MP_MISSED) {
        act_make(&a, MP_LEASE, name, (uint8_t)s->number);
        reply = persist(s, &a);
    }
    if (reply == MP_HIT) MUST(a.op.version >= least);
    pond_value_free(a.op.value);
    if (reply != MP_LEASED) {
        MUST(reply == MP_HIT || reply == MP_BUSY);
        return;
    }
    doc d = look(&in_store[k]);
    MUST(d.version >= least); /* what was answered and does not wait is there */
    act fill;
    act_make(&fill, MP_FILL, name, (uint8_t)s->number);
    memcpy(fill.op.fence, a.op.fence, sizeof fill.op.fence);
    fill.op.value = document(d.version ? d.text : NULL);
    fill.op.version = d.version;
    persist(s, &fill);
    pond_value_free(fill.op.value);
}

static size_t work(side *s) {
    act a, b;
    act_make(&a, MP_TAKE, NULL, 0);
    a.behind.most = 3;
    MUST(persist(s, &a) == MP_DONE);
    for (size_t i = 0; i < a.behind.count; i++) {
        const mp_behind_entry *e = &a.behind.entries[i];
        MUST(!e->damaged);
        if (e->value) newer(&in_store[e->key[1] - 'a'], e->version, pond_value_data(e->value, NULL));
    }
    act_make(&b, MP_ACK, NULL, 0);
    b.behind.entries = a.behind.entries;
    b.behind.count = a.behind.count;
    if (dice(5) > 0 && a.behind.count) MUST(persist(s, &b) == MP_DONE); /* else it dies before the ack */
    size_t n = a.behind.count;
    atomic_fetch_add(&flushed, (unsigned)n);
    mp_behind_clear(&a.behind);
    return n;
}

static void plainly(redisContext *c, const char *command) {
    redisReply *r = redisCommand(c, command);
    MUST(r != NULL && r->type != REDIS_REPLY_ERROR);
    freeReplyObject(r);
}

/* Its connection may have been cut as well. */
static void evict(const char *name) {
    redisReply *r;
    do {
        redisContext *c = redis_open(redis_url());
        r = redisCommand(c, "EVAL %s 1 mp:b:{b:0}%s",
                         "return redis.call('PTTL', KEYS[1]) < 0 or redis.call('DEL', KEYS[1])", name);
        redisFree(c);
    } while (!r);
    freeReplyObject(r);
}

static void *crowd(void *arg) {
    side *s = arg;
    mp_loop_lock(s->loop);
    for (int i = 0; i < (slow_build() ? ACTS / 10 : ACTS); i++) {
        size_t k = dice(KEYS);
        char name[4];
        name_key(name, k);
        uint32_t what = dice(40);
        if (what < 14) write_one(s, k);
        else if (what < 20) work(s);
        else if (what < 22) evict(name);
        else read_one(s, k);
    }
    mp_loop_unlock(s->loop);
    return NULL;
}

static void *cut(void *arg) {
    redisContext *c = arg;
    while (!atomic_load(&stop)) {
        plainly(c, "CLIENT KILL TYPE normal SKIPME yes");
        if (dice(10) == 0) plainly(c, "SCRIPT FLUSH");
        atomic_fetch_add(&cuts, 1);
        rest_ms(1 + dice(6));
    }
    return NULL;
}

static void each_change_is_accepted_once(void **state) {
    (void)state;
    pthread_t thread[CROWD], cutter;
    static side sides[CROWD];
    watchdog(110);
    redisContext *redis = redis_open(redis_url()), *scissors = redis_open(redis_url());
    for (int i = 0; i < CROWD; i++) {
        side_open(&sides[i], redis_url(), "on");
        if (i == 0) assert_int_equal(epoch(&sides[0], 1), 1);
        mp_loop_unlock(sides[i].loop); /* whose thread drives it holds it */
    }
    for (int i = 0; i < CROWD; i++) assert_int_equal(pthread_create(&thread[i], NULL, crowd, &sides[i]), 0);
    assert_int_equal(pthread_create(&cutter, NULL, cut, scissors), 0);
    for (int i = 0; i < CROWD; i++) pthread_join(thread[i], NULL);
    atomic_store(&stop, true);
    pthread_join(cutter, NULL);
    redisFree(redis);
    redis = redis_open(redis_url());
    unsigned sure = atomic_load(&accepted);
    assert_in_range(atoll(redis_do(redis, "HGET mp:m:{b:0} seq")->str), sure, sure + atomic_load(&doubtful));
    mp_loop_lock(sides[0].loop);
    while (work(&sides[0]) > 0) continue;
    assert_int_equal(redis_number(redis, "LLEN mp:q:{b:0}"), 0);
    for (size_t k = 0; k < KEYS; k++) {
        assert_true(in_store[k].version == answered[k].version);
        assert_string_equal(in_store[k].text, answered[k].text);
    }
    assert_true(atomic_load(&cuts) > 5 && atomic_load(&flushed) > 50);
    for (int i = 0; i < CROWD; i++) {
        if (i > 0) mp_loop_lock(sides[i].loop);
        side_close(&sides[i]);
    }
    redisFree(redis);
    redisFree(scissors);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_change_is_accepted_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
