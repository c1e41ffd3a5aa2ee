/* Random increments, changes, readers and workers on one shard, beside a model: each counts once. On what, behind_on_redis.h or
 * behind_on_journal.h says, which comes first. */
#ifndef INCREMENTS_RANDOM_H
#define INCREMENTS_RANDOM_H

enum { KEYS = 3, STEPS = 12000 };

/* ---- one key as it must be ---- */

typedef struct counter {
    bool there;
    int64_t n;
} counter;

static counter now[KEYS], in_store[KEYS];
static int64_t store_version[KEYS], last_version, epochs;
static unsigned counted, repeated, folded, dropped, overtaken, known_absent, kept;

/* An increment whose answer is lost on its way, so that it is sent again; NULL where nothing is sent. */
static mp_behind_verdict (*increment_again)(act *a, const char *key, int64_t by);

static const char *name_of(size_t k) {
    static char name[4];
    snprintf(name, sizeof name, "s%c", (char)('a' + k));
    return name;
}

static void increment_make(side *s, act *a, const char *key, int64_t by) {
    accept_make(s, a, key, NULL);
    a->op.value = NULL;
    a->behind.member = "n";
    a->behind.member_len = 1;
    a->behind.by = by;
}

static mp_behind_verdict increment_by(act *a, const char *key, int64_t by) {
    increment_make(&us, a, key, by);
    return accept_run(&us, a, NULL);
}

static void take_an_epoch(void) {
    assert_int_equal(epoch(&us, epochs + 1), epochs + 1);
    epochs++;
}

static int64_t number_in(const pond_value *value) {
    long long n = -1;
    assert_int_equal(sscanf(value->data, "{\"n\":%lld}", &n), 1);
    return n;
}

/* What a reader or a worker does: reads, adds, and says what that makes. `between` may come in between. False: somebody was faster. */
static bool fold(size_t k, const mp_behind_entry *taken, void (*between)(size_t), counter *out, int64_t *version) {
    act a, b;
    const char *name = name_of(k);
    mp_behind_entry entry = {.key = (char *)name, .key_len = strlen(name), .version = taken ? taken->version : 0};
    act_make(&a, MP_SUMS, NULL, 0);
    a.behind.entries = &entry;
    a.behind.count = 1;
    assert_int_equal(act_run(&us, &a), MP_DONE);
    mp_sums *s = &a.behind.sums[0];
    if (taken && taken->value && !s->value && !s->newest) { /* it is as it was taken */
        s->value = pond_value_ref(taken->value);
        s->version = taken->version;
        s->old_fence = taken->old_fence;
    }
    assert_false(s->damaged);
    bool use = s->value && (!s->old_fence || s->version > store_version[k]);
    counter base =
        use ? (counter){s->value->state == POND_VALUE, s->value->state == POND_VALUE ? number_in(s->value) : 0}
            : in_store[k];
    int64_t base_version = use ? s->version : store_version[k];
    int64_t sum = 0;
    for (size_t i = 0; i < s->n; i++) sum += s->sum[i].by;
    *out = base;
    *version = base_version;
    bool adds = s->newest && base_version < s->newest && base.there, well = true;
    if (adds) out->n += sum;
    if (between) between(k);
    if (s->newest) {
        char text[64];
        snprintf(text, sizeof text, "{\"n\":%lld}", (long long)out->n);
        act_make(&b, MP_FOLD, name, 0);
        b.behind.sums = s;
        b.op.value = adds ? document(text) : NULL;
        memcpy(b.op.fence, a.op.fence, sizeof b.op.fence);
        mp_reply reply = act_run(&us, &b);
        if (reply == MP_FAILED) fail_msg("%s", pond_error_message(b.op.error));
        if (reply == MP_REFUSED && b.behind.verdict == MP_STALE_FENCE) take_an_epoch();
        well = reply != MP_REFUSED;
        if (well) assert_int_equal(reply, adds ? MP_STORED : MP_DONE);
        bool rest = reply == MP_STORED && has_sums(name); /* below what is left */
        if (rest) assert_true(b.op.version == s->newest);
        if (reply == MP_STORED && !rest) assert_true(b.op.version > last_version);
        if (reply == MP_STORED) *version = b.op.version;
        if (*version > last_version) last_version = *version;
        if (reply == MP_STORED && dice(4) == 0)
            assert_int_equal(act_run(&us, &b), MP_REFUSED); /* its answer was lost */
        folded += reply == MP_STORED;
        dropped += reply == MP_DONE;
        overtaken += !well;
        pond_value_free(b.op.value);
    }
    mp_sums_clear(s);
    free(a.behind.sums);
    return well;
}

static void put_one(size_t k) {
    static unsigned fresh_number;
    char text[32] = "";
    int64_t n = 1000 * ++fresh_number;
    bool there = dice(4) > 0;
    if (there) snprintf(text, sizeof text, "{\"n\":%lld}", (long long)n);
    while (put(&us, name_of(k), there ? text : NULL, &last_version) == MP_STALE_FENCE) take_an_epoch();
    now[k] = (counter){there, there ? n : 0};
}

static void increment_one(size_t k) {
    act a;
    int64_t by = (int64_t)dice(9) - 3;
    bool lost = increment_again && dice(16) == 0;
    mp_behind_verdict verdict = (lost ? increment_again : increment_by)(&a, name_of(k), by);
    if (verdict == MP_STALE_FENCE) {
        lost = false;
        take_an_epoch();
        verdict = increment_by(&a, name_of(k), by);
    }
    if (verdict == MP_CHANGED) { /* of an earlier epoch */
        counter is;
        int64_t version;
        while (!fold(k, NULL, NULL, &is, &version)) continue;
        verdict = increment_by(&a, name_of(k), by);
    }
    if (verdict == MP_ABSENT) {
        assert_false(now[k].there);
        known_absent++;
        return;
    }
    assert_int_equal(verdict, MP_VERDICT_OK);
    assert_true(a.op.version > last_version);
    last_version = a.op.version;
    if (now[k].there) now[k].n += by;
    counted++;
    repeated += lost;
}

static bool over; /* nothing more is accepted */

static void something(size_t k) {
    if (over) return;
    if (dice(2)) increment_one(k);
    else if (dice(3) == 0) put_one(k);
}

static void read_one(size_t k) {
    const char *text;
    mp_reply reply = get(&us, name_of(k), &text, NULL);
    char due[64] = "absent";
    if (now[k].there) snprintf(due, sizeof due, "{\"n\":%lld}", (long long)now[k].n);
    if (reply == MP_MISSED) reply = lease(&us, name_of(k), 1, &text, NULL);
    if (reply == MP_HIT) {
        assert_string_equal(text, due);
    } else if (reply == MP_LEASED) {
        assert_true(in_store[k].there == now[k].there && in_store[k].n == now[k].n);
        act a;
        act_make(&a, MP_RELEASE, name_of(k), 1);
        a.op.lease_ms = 0;
        act_run(&us, &a);
    } else if (reply == MP_UNFOLDED) {
        counter is;
        int64_t version;
        if (fold(k, NULL, NULL, &is, &version)) assert_true(is.there == now[k].there && is.n == now[k].n);
    } else {
        assert_int_equal(reply, MP_DIRTY);
        assert_string_equal(text, due);
    }
}

static void work(void) {
    act a;
    size_t n = take(&us, &a), m = 0;
    mp_behind_entry *e = a.behind.entries;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++) assert_string_not_equal(e[i].key, e[k].key);
    for (size_t i = 0; i < n; i++) {
        size_t k = (size_t)(e[i].key[1] - 'a');
        counter is;
        int64_t version;
        if (!fold(k, &e[i], dice(4) ? NULL : something, &is, &version)) continue;
        if (version > store_version[k]) {
            in_store[k] = is;
            store_version[k] = version;
        }
        e[i].version = version > e[i].version || e[i].value ? version : 0;
        mp_behind_entry swap = e[m];
        e[m++] = e[i];
        e[i] = swap;
    }
    if (dice(3) == 0) something(dice(KEYS));
    for (int times = dice(4) ? 1 + (int)dice(2) : 0; m && times > 0; times--) {
        assert_int_equal(ack(&us, e, m), MP_DONE);
        for (size_t i = 0; i < m; i++) kept += !e[i].acked;
    }
    mp_behind_clear(&a.behind);
}

/* What waits has an entry, in Redis also what has waited until a fold left nothing of it; a value stands alone. */
static void check(void) {
    act a;
    size_t n = take(&us, &a), waiting = 0;
    for (size_t k = 0; k < KEYS; k++) {
        bool record = has_record(name_of(k)), sums = has_sums(name_of(k)), taken = false;
        if (sums) assert_false(has_value(name_of(k)));
        if (!sums && !record) assert_true(in_store[k].there == now[k].there && in_store[k].n == now[k].n);
        for (size_t i = 0; i < n; i++) taken |= strcmp(a.behind.entries[i].key, name_of(k)) == 0;
        if (record || sums || !REMOTE) assert_int_equal(taken, record || sums);
        waiting += record || sums;
    }
    mp_behind_clear(&a.behind);
    if (REMOTE) assert_true(entries() >= (long long)waiting);
    else assert_int_equal(entries(), waiting);
}

/* Has each of what may happen happened? */
static bool has_seen_all(void) {
    return counted > 300 && (!increment_again || repeated > 20) && folded > 200 && dropped > 5 && overtaken > 10 &&
           known_absent > 20 && kept > 10 && epochs > 5;
}

static void each_counts_once(void **state) {
    (void)state;
    watchdog(110);
    begin();
    for (int i = 0; i < STEPS; i++) {
        if (slow_build() && REMOTE && i >= STEPS / 10 && has_seen_all()) break;
        size_t k = dice(KEYS);
        switch (dice(100)) {
        default: read_one(k); break;
        case 0 ... 29: increment_one(k); break;
        case 30 ... 35: put_one(k); break;
        case 36 ... 49: work(); break;
        case 50 ... 54: drop_value(name_of(k)); break;
        case 55: lose_history(); break;
        case 56 ... 59: check(); break;
        }
    }
    act a;
    over = true;
    for (int i = 0; i < 200; i++) work();
    assert_int_equal(take(&us, &a), 0);
    mp_behind_clear(&a.behind);
    check();
    for (size_t k = 0; k < KEYS; k++) assert_true(in_store[k].there == now[k].there && in_store[k].n == now[k].n);
    assert_true(has_seen_all());
    end();
}

#endif
