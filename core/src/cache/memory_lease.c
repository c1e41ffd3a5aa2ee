#include "cache/memory_lease.h"

#include <stdlib.h>
#include <string.h>

typedef struct lease {
    mp_mitem item;
    uint8_t token[MP_TOKEN_LEN];
    mp_node waits;
    char key[];
} lease;

static lease *lease_of(mp_mitem *item) { return MP_OF(item, lease, item); }

static int64_t lease_bytes(const lease *l) { return mp_mblock_bytes(sizeof *l + l->item.key_len); }

/* Far-away times do not wrap. */
static int64_t later(int64_t now_ms, int64_t ms) { return ms > INT64_MAX - now_ms ? INT64_MAX : now_ms + ms; }

void mp_mleases_init(mp_mleases *leases, uint32_t most) {
    mp_mtable_init(&leases->table);
    mp_list_init(&leases->queue);
    leases->most = most;
    leases->item_bytes = 0;
}

/* Under the shard's lock, so that whoever goes away meanwhile is either told or not there. */
static void tell(lease *l) {
    mp_node *n;
    while ((n = mp_list_shift(&l->waits))) {
        mp_mwait *w = MP_OF(n, mp_mwait, node);
        mp_loop_post(w->loop, &w->told);
    }
}

static void drop(mp_mleases *leases, lease *l) {
    tell(l);
    mp_mtable_remove(&leases->table, &l->item);
    mp_list_remove(&l->item.link);
    leases->item_bytes -= lease_bytes(l);
    free(l);
}

void mp_mleases_free(mp_mleases *leases) {
    mp_node *node;
    while ((node = mp_list_shift(&leases->queue))) free(lease_of(MP_OF(node, mp_mitem, link)));
    mp_mtable_free(&leases->table);
}

static lease *find(const mp_mleases *leases, const mp_key *key) {
    mp_mitem *item = mp_mtable_find(&leases->table, (uint32_t)key->hash, key->name, key->len);
    return item ? lease_of(item) : NULL;
}

#define RESTS 1u /* the mark of a back-off: nobody's lease */

static bool is_of(const lease *l, const uint8_t *token) {
    return l->item.marks != RESTS && memcmp(l->token, token, MP_TOKEN_LEN) == 0;
}

/* NULL if the token has none that stands. */
static lease *mine(const mp_mleases *leases, const mp_key *key, const uint8_t *token, int64_t now_ms) {
    lease *l = find(leases, key);
    return l && l->item.expires > now_ms && is_of(l, token) ? l : NULL;
}

static void extend(mp_mleases *leases, lease *l, int64_t expires) {
    l->item.expires = expires;
    mp_list_remove(&l->item.link);
    mp_list_push(&leases->queue, &l->item.link);
}

/* Each grant removes at most two, so what was left behind goes faster than it comes. */
static void make_room(mp_mleases *leases, int64_t now_ms) {
    for (int i = 0; i < 2 && !mp_list_empty(&leases->queue); i++) {
        lease *oldest = lease_of(MP_OF(leases->queue.next, mp_mitem, link));
        if (oldest->item.expires > now_ms && leases->table.count < leases->most) return;
        drop(leases, oldest);
    }
}

static bool grant_new(mp_mleases *leases, const mp_key *key, const uint8_t *token, int64_t expires) {
    lease *l = malloc(sizeof *l + key->len);
    if (!l) return false;
    mp_list_init(&l->item.link);
    mp_list_init(&l->waits);
    l->item.expires = expires;
    l->item.hash = (uint32_t)key->hash;
    l->item.key_len = (uint16_t)key->len;
    l->item.key_at = offsetof(lease, key);
    l->item.marks = 0;
    memcpy(l->token, token, MP_TOKEN_LEN);
    memcpy(l->key, key->name, key->len);
    if (!mp_mtable_add(&leases->table, &l->item)) {
        free(l);
        return false;
    }
    mp_list_push(&leases->queue, &l->item.link);
    leases->item_bytes += lease_bytes(l);
    return true;
}

int64_t mp_mleases_grant(mp_mleases *leases, const mp_key *key, const uint8_t *token, int64_t lease_ms, bool *rests,
                         int64_t now_ms) {
    lease *l = find(leases, key);
    int64_t expires = later(now_ms, lease_ms);
    if (l && l->item.expires > now_ms && !is_of(l, token) && (l->item.marks != RESTS || rests)) {
        if (rests) *rests = l->item.marks == RESTS;
        return l->item.expires - now_ms;
    }
    if (l) {
        if (!is_of(l, token)) tell(l);
        l->item.marks = 0;
        memcpy(l->token, token, MP_TOKEN_LEN);
        extend(leases, l, expires);
        return 0;
    }
    make_room(leases, now_ms);
    return grant_new(leases, key, token, expires) ? 0 : -1;
}

bool mp_mleases_renew(mp_mleases *leases, const mp_key *key, const uint8_t *token, int64_t lease_ms, int64_t now_ms) {
    lease *l = mine(leases, key, token, now_ms);
    if (l) extend(leases, l, later(now_ms, lease_ms));
    return l != NULL;
}

bool mp_mleases_end(mp_mleases *leases, const mp_key *key, const uint8_t *token, int64_t now_ms) {
    lease *l = mine(leases, key, token, now_ms);
    if (l) drop(leases, l);
    return l != NULL;
}

bool mp_mleases_rest(mp_mleases *leases, const mp_key *key, const uint8_t *token, int64_t rest_ms, int64_t now_ms) {
    lease *l = mine(leases, key, token, now_ms);
    if (!l) return false;
    tell(l);
    l->item.marks = RESTS;
    extend(leases, l, later(now_ms, rest_ms));
    return true;
}

void mp_mleases_revoke(mp_mleases *leases, const mp_key *key) {
    lease *l = find(leases, key);
    if (l) drop(leases, l);
}

bool mp_mleases_await(mp_mleases *leases, const mp_key *key, mp_mwait *w, int64_t now_ms) {
    lease *l = find(leases, key);
    mp_list_init(&w->node);
    if (!l || l->item.expires <= now_ms || l->item.marks == RESTS) return false;
    mp_list_push(&l->waits, &w->node);
    return true;
}

int64_t mp_mleases_left(const mp_mleases *leases, const mp_key *key, int64_t now_ms) {
    const lease *l = find(leases, key);
    return l && l->item.expires > now_ms ? l->item.expires - now_ms : 0;
}

int64_t mp_mleases_bytes(const mp_mleases *leases) { return leases->table.bytes + leases->item_bytes; }
