#include "judge.h"

#include <stdio.h>
#include <string.h>

#include "virtual/virtual.h"

void judge_begin(judge *j, trace *t, const store *s, bool strict, bool unjudged) {
    *j = (judge){.trace = t, .store = s, .strict = strict, .unjudged = unjudged};
    j->counts.schedules = 1;
}

judge_floor judge_floor_of(const judge *j, size_t key, int64_t bound) {
    if (j->unjudged) return (judge_floor){0};
    if (bound) return (judge_floor){.acked = store_before(j->store, key, virtual_now() - bound)};
    return (judge_floor){.acked = j->acked[key], .seen = j->seen[key]};
}

static void wrong(judge *j, const char *what, size_t key, const char *text, size_t len, uint32_t due, bool violation) {
    char line[sizeof j->first];
    snprintf(line, sizeof line, "%s: k%zu: %.*s, where %u was due", what, key, (int)len, text, due);
    trace_line(j->trace, violation ? "*** %s" : "(%s)", line);
    if (!violation) return;
    j->counts.violations++;
    if (!*j->first) memcpy(j->first, line, sizeof line);
}

void judge_broken(judge *j, const char *what) { judge_counted(j, &j->counts.broken, what); }

void judge_counted(judge *j, uint64_t *count, const char *what) {
    ++*count;
    j->counts.violations++;
    trace_line(j->trace, "*** %s", what);
    if (!*j->first) snprintf(j->first, sizeof j->first, "%s", what);
}

/* The absence names no version: of those that it may be, the oldest that is new enough for this read. */
static uint32_t absent_since(const store_key *k, uint32_t floor) {
    for (uint32_t v = floor; v < k->versions; v++)
        if (k->absent[v]) return v;
    for (uint32_t v = floor; v-- > 0;)
        if (k->absent[v]) return v;
    return UINT32_MAX;
}

static uint32_t version_of(const judge *j, size_t key, const char *text, size_t len, uint32_t floor) {
    const store_key *k = &j->store->key[key];
    if (!text) return absent_since(k, floor);
    char copy[32];
    unsigned named, version;
    int end = 0;
    snprintf(copy, sizeof copy, "%.*s", (int)len, text);
    if (sscanf(copy, "k%u:%u%n", &named, &version, &end) != 2 || copy[end] || named != key) return UINT32_MAX;
    return version < k->versions && !k->absent[version] ? version : UINT32_MAX;
}

void judge_read(judge *j, size_t key, judge_floor floor, const char *text, size_t len, bool at_rest) {
    uint32_t due = floor.acked > floor.seen ? floor.acked : floor.seen;
    uint32_t version = version_of(j, key, text, len, at_rest ? store_latest(j->store, key) : due);
    if (!text) text = "absent", len = 6;
    trace_mark(j->trace, "read", text, len);
    if (version == UINT32_MAX) {
        j->counts.broken++;
        wrong(j, "what the store never held", key, text, len, due, true);
        return;
    }
    if (at_rest) {
        if (version != store_latest(j->store, key)) {
            j->counts.stale_at_rest++;
            wrong(j, "stale at rest", key, text, len, store_latest(j->store, key), true);
        }
        return;
    }
    j->counts.reads++;
    if (version < floor.acked) {
        j->counts.stale_after_ack++;
        wrong(j, "stale after an acknowledgement", key, text, len, floor.acked, true);
    } else if (version < floor.seen) {
        j->counts.went_backwards++;
        wrong(j, "went backwards", key, text, len, floor.seen, j->strict);
    }
    if (version > j->seen[key]) j->seen[key] = version;
}

void judge_acked(judge *j, size_t key, uint32_t version) {
    if (version > j->acked[key]) j->acked[key] = version;
}
