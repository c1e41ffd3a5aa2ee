#include "pattern/flight_private.h"

#include <stdlib.h>
#include <string.h>

#define SHARDS 16

_Static_assert(MP_SHARD_BUCKETS == 64, "a bit a bucket");

struct mp_flights {
    mp_shard shards[SHARDS];
};

mp_flights *mp_flights_new(void) {
    mp_flights *flights = calloc(1, sizeof *flights);
    for (size_t i = 0; flights && i < SHARDS; i++) pthread_mutex_init(&flights->shards[i].lock, NULL);
    return flights;
}

void mp_flights_free(mp_flights *flights) {
    if (!flights) return;
    for (size_t i = 0; i < SHARDS; i++) pthread_mutex_destroy(&flights->shards[i].lock);
    free(flights);
}

mp_shard *mp_shard_of(const mp_lane *lane, const mp_key *key) {
    return &lane->pond->flights->shards[key->hash % SHARDS];
}

static size_t place_of(const mp_key *key) { return key->hash / SHARDS % MP_SHARD_BUCKETS; }
static uint64_t bit_of(const mp_key *key) { return UINT64_C(1) << place_of(key); }

bool mp_shard_may_have(const mp_shard *s, const mp_key *key) {
    return atomic_load_explicit(&s->taken, memory_order_relaxed) & bit_of(key);
}

static bool is_named(const mp_flight *f, const mp_key *key) {
    return f->key.hash == key->hash && f->key.len == key->len && memcmp(f->name, key->name, key->len) == 0;
}

mp_flight *mp_shard_find(const mp_shard *s, const mp_key *key, const pond_tags *tags) {
    mp_flight *f = s->buckets[place_of(key)];
    while (f && !(is_named(f, key) && mp_tags_same(f->tagging ? f->tagging->tags : NULL, tags))) f = f->next;
    return f;
}

void mp_shard_list(mp_shard *s, mp_flight *f) {
    mp_flight **bucket = &s->buckets[place_of(&f->key)];
    f->next = *bucket;
    *bucket = f;
    f->listed = true;
    atomic_fetch_or_explicit(&s->taken, bit_of(&f->key), memory_order_relaxed);
}

void mp_shard_unlist(mp_shard *s, mp_flight *f) {
    if (!f->listed) return;
    mp_flight **bucket = &s->buckets[place_of(&f->key)], **at = bucket;
    while (*at != f) at = &(*at)->next;
    *at = f->next;
    f->listed = false;
    if (!*bucket) atomic_fetch_and_explicit(&s->taken, ~bit_of(&f->key), memory_order_relaxed);
}

void mp_flights_doubt(const mp_lane *lane, const mp_key *key) {
    mp_shard *s = mp_shard_of(lane, key);
    if (!mp_shard_may_have(s, key)) return;
    pthread_mutex_lock(&s->lock);
    for (mp_flight *f = s->buckets[place_of(key)]; f; f = f->next)
        if (is_named(f, key)) f->firm = false;
    pthread_mutex_unlock(&s->lock);
}
