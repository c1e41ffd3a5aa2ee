/* Random readers, writers and workers on one shard, beside a model of what must be true: a read gives what was accepted last, versions grow,
 * whatever is not in the store waits, once, and nothing is left in the end. Values, leases and whole caches go in between; workers
 * stop half-way and repeat themselves; the server loses its fence. On what, behind_on_redis.h or behind_on_journal.h says, which comes first. */
#ifndef BEHIND_RANDOM_H
#define BEHIND_RANDOM_H

enum { KEYS = 4, STEPS = 20000, DOC = 32 };

typedef struct doc {
    char text[DOC]; /* "": there is none */
    int64_t version;
} doc;

static doc accepted[KEYS], in_store[KEYS];
static int64_t last_version, epochs;
static uint32_t fresh_number;
static unsigned stored, changed, exists, dirty, compared, kept, acks, refused_fills;

static const char *name_of(size_t k) {
    static char name[4];
    snprintf(name, sizeof name, "s%c", (char)('a' + k));
    return name;
}

static bool same(const doc *d, const char *text) { return text && strcmp(d->text[0] ? d->text : "absent", text) == 0; }

static void write_key(size_t k) {
    static const mp_expect expects[] = {MP_EXPECT_ANY, MP_EXPECT_ANY, MP_EXPECT_VERSION, MP_EXPECT_ABSENT};
    mp_expect expect = expects[dice(4)];
    bool right = dice(3) > 0;
    char text[DOC] = "";
    if (expect == MP_EXPECT_ABSENT || dice(4) > 0) snprintf(text, sizeof text, "{\"n\":%u}", ++fresh_number);
    act a;
    accept_make(&us, &a, name_of(k), *text ? text : NULL);
    a.behind.expect = expect;
    a.behind.expect_version = right ? accepted[k].version : accepted[k].version - 1;
    if (dice(6) == 0) a.op.ttl_ms = 0;
    mp_behind_verdict verdict = accept_run(&us, &a, NULL);
    if (verdict == MP_STALE_FENCE) {
        assert_int_equal(epoch(&us, epochs + 1), epochs + 1);
        epochs++;
        verdict = accept_run(&us, &a, NULL);
    }
    if (verdict == MP_VERDICT_OK) {
        assert_true(a.op.version > last_version);
        assert_int_equal(a.behind.epoch, epochs);
        if (expect == MP_EXPECT_VERSION) assert_true(right);
        if (expect == MP_EXPECT_ABSENT) assert_string_equal(accepted[k].text, "");
        last_version = a.op.version;
        accepted[k].version = last_version;
        memcpy(accepted[k].text, text, sizeof text);
        stored++;
    } else if (verdict == MP_EXISTS) {
        assert_int_equal(expect, MP_EXPECT_ABSENT);
        assert_true(accepted[k].text[0]);
        exists++;
    } else {
        assert_int_equal(verdict, MP_CHANGED);
        assert_int_not_equal(expect, MP_EXPECT_ANY);
        changed++;
    }
    pond_value_free(a.op.value);
}

/* To the store, which refuses what is older, as the real ones do. */
static void flush(const mp_behind_entry *e) {
    if (!e->value) return;
    size_t k = (size_t)(e->key[1] - 'a');
    assert_true(k < KEYS);
    if (e->version <= in_store[k].version) return;
    in_store[k].version = e->version;
    snprintf(in_store[k].text, DOC, "%s", e->value->state == POND_ABSENT ? "" : e->value->data);
}

static bool over; /* nothing more is accepted */

/* One that stopped after the flush, or before it; somebody writes between flush and ack; an ack twice. */
static void work(void) {
    act a;
    size_t n = take(&us, &a);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++) assert_string_not_equal(a.behind.entries[i].key, a.behind.entries[k].key);
    size_t some = n ? 1 + dice((uint32_t)n) : 0;
    for (size_t i = 0; i < some; i++) flush(&a.behind.entries[i]);
    if (!over && dice(3) == 0) write_key(dice(KEYS));
    for (int times = dice(4) ? 1 + (int)dice(2) : 0; times > 0; times--) {
        assert_int_equal(ack(&us, a.behind.entries, some), MP_DONE);
        for (size_t i = 0; i < some; i++) {
            acks++;
            kept += !a.behind.entries[i].acked;
        }
    }
    mp_behind_clear(&a.behind);
}

/* A lease that is granted is given back, or filled with what the store has, which is then what was accepted last. */
static void read_key(size_t k, bool fill) {
    const char *text;
    int64_t version;
    mp_reply reply = get(&us, name_of(k), &text, &version);
    if (reply == MP_MISSED) reply = lease(&us, name_of(k), 1, &text, &version);
    if (reply == MP_DIRTY) {
        compared++;
        assert_true(same(&accepted[k], text) && version == accepted[k].version && version >= in_store[k].version);
    } else if (reply == MP_HIT) {
        if (!same(&accepted[k], text)) fail_msg("%s gives %s and not %s", name_of(k), text, accepted[k].text);
        if (VERSIONED || accepted[k].text[0]) assert_true(version == accepted[k].version);
    } else {
        assert_int_equal(reply, MP_LEASED);
        assert_string_equal(in_store[k].text, accepted[k].text); /* nobody waits, so the store has it */
        act a;
        act_make(&a, fill ? MP_FILL : MP_RELEASE, name_of(k), 1);
        a.op.lease_ms = 0;
        if (!fill) {
            assert_int_equal(act_run(&us, &a), MP_DONE);
            return;
        }
        act b;
        act_make(&b, MP_LEASE, name_of(k), 1); /* a repeat of it brings the fence */
        assert_int_equal(act_run(&us, &b), MP_LEASED);
        memcpy(a.op.fence, b.op.fence, sizeof a.op.fence);
        a.op.value = document(in_store[k].text[0] ? in_store[k].text : NULL);
        a.op.version = in_store[k].version;
        if (in_store[k].text[0]) a.op.value->version = in_store[k].version;
        unsigned was = stored;
        bool came_between = dice(8) == 0;
        if (came_between) drop_lease(name_of(k));
        else if (dice(4) == 0) write_key(k); /* while it loads, and perhaps it is in the store already */
        if (stored > was && dice(2)) work();
        came_between |= stored > was;
        assert_int_equal(act_run(&us, &a), came_between ? MP_REFUSED : MP_STORED);
        refused_fills += came_between;
        pond_value_free(a.op.value);
    }
}

/* An entry of the queue for each record, one each; what has none is in the store. */
static void check(void) {
    long long waiting = 0;
    for (size_t k = 0; k < KEYS; k++) {
        bool waits = has_record(name_of(k));
        waiting += waits;
        if (!waits) assert_string_equal(in_store[k].text, accepted[k].text);
        dirty += waits;
    }
    assert_int_equal(entries(), waiting);
}

/* Has each of what may happen happened? */
static bool has_seen_all(void) {
    return stored > 500 && changed > 100 && exists > 20 && compared > 5 && kept > 5 && acks > 200 && dirty > 50 &&
           refused_fills > 5 && epochs > 5;
}

static void a_read_gives_what_was_accepted_last(void **state) {
    (void)state;
    watchdog(110);
    begin();
    for (int i = 0; i < STEPS; i++) {
        if (slow_build() && REMOTE && i >= STEPS / 4 && has_seen_all()) break;
        size_t k = dice(KEYS);
        switch (dice(100)) {
        default: read_key(k, dice(4) > 0); break;
        case 0 ... 29: write_key(k); break;
        case 30 ... 39: work(); break;
        case 40 ... 47: drop_value(name_of(k)); break;
        case 48 ... 51: drop_lease(name_of(k)); break;
        case 52: lose_history(); break;
        case 53: drop_caches(); break;
        case 54 ... 58: check(); break;
        }
    }
    over = true;
    for (int i = 0; i < 200; i++) work();
    act a;
    assert_int_equal(take(&us, &a), 0);
    mp_behind_clear(&a.behind);
    check();
    for (size_t k = 0; k < KEYS; k++) read_key(k, true);
    assert_true(has_seen_all());
    end();
}

#endif
