#include "cache/memory_intent.h"

#include <stdlib.h>
#include <string.h>

typedef struct member {
    struct member *next;
    int64_t deadline;
    uint8_t token[MP_TOKEN_LEN];
} member;

typedef struct set {
    mp_mitem item; /* `expires`: the greatest deadline */
    member *first;
    unsigned count; /* with the mark */
    int64_t mark;   /* its deadline; 0: there is none */
    char key[];
} set;

static set *set_of(mp_mitem *item) { return MP_OF(item, set, item); }

static int64_t set_bytes(const set *s) { return mp_mblock_bytes(sizeof *s + s->item.key_len); }
#define MEMBER_BYTES mp_mblock_bytes(sizeof(member))

static int64_t later(int64_t now_ms, int64_t ms) { return ms > INT64_MAX - now_ms ? INT64_MAX : now_ms + ms; }

void mp_mintents_init(mp_mintents *intents, uint32_t most) {
    mp_mtable_init(&intents->table);
    mp_list_init(&intents->queue);
    intents->most = most;
    intents->item_bytes = 0;
}

static void free_set(mp_mintents *intents, set *s) {
    for (member *m = s->first, *next; m; m = next) {
        next = m->next;
        intents->item_bytes -= MEMBER_BYTES;
        free(m);
    }
    intents->item_bytes -= set_bytes(s);
    free(s);
}

static void drop(mp_mintents *intents, set *s) {
    mp_mtable_remove(&intents->table, &s->item);
    mp_list_remove(&s->item.link);
    free_set(intents, s);
}

void mp_mintents_free(mp_mintents *intents) {
    mp_node *node;
    while ((node = mp_list_shift(&intents->queue))) free_set(intents, set_of(MP_OF(node, mp_mitem, link)));
    mp_mtable_free(&intents->table);
}

/* NULL if there is none, or all that were in it are over. */
static set *find(const mp_mintents *intents, const mp_key *key, int64_t now_ms) {
    mp_mitem *item = mp_mtable_find(&intents->table, (uint32_t)key->hash, key->name, key->len);
    return item && item->expires > now_ms ? set_of(item) : NULL;
}

static member *find_member(const set *s, const uint8_t *token) {
    member *m = s->first;
    while (m && memcmp(m->token, token, MP_TOKEN_LEN) != 0) m = m->next;
    return m;
}

static void remove_member(mp_mintents *intents, set *s, member *m) {
    member **at = &s->first;
    while (*at != m) at = &(*at)->next;
    *at = m->next;
    s->count--;
    intents->item_bytes -= MEMBER_BYTES;
    free(m);
}

static void purge(mp_mintents *intents, set *s, int64_t now_ms) {
    for (member *m = s->first, *next; m; m = next) {
        next = m->next;
        if (m->deadline <= now_ms) remove_member(intents, s, m);
    }
    if (s->mark && s->mark <= now_ms) {
        s->mark = 0;
        s->count--;
    }
}

static void mark(set *s) {
    if (!s->mark) s->count++;
    for (const member *m = s->first; m; m = m->next)
        if (m->deadline > s->mark) s->mark = m->deadline;
}

/* Each begin removes at most two that are over, so what was left behind goes faster than it comes. */
static bool make_room(mp_mintents *intents, int64_t now_ms) {
    for (int i = 0; i < 2 && !mp_list_empty(&intents->queue); i++) {
        set *oldest = set_of(MP_OF(intents->queue.next, mp_mitem, link));
        if (oldest->item.expires > now_ms) break;
        drop(intents, oldest);
    }
    return intents->table.count < intents->most;
}

static set *new_set(mp_mintents *intents, const mp_key *key) {
    set *s = calloc(1, sizeof *s + key->len);
    if (!s) return NULL;
    mp_list_init(&s->item.link);
    s->item.hash = (uint32_t)key->hash;
    s->item.key_len = (uint16_t)key->len;
    s->item.key_at = offsetof(set, key);
    memcpy(s->key, key->name, key->len);
    if (!mp_mtable_add(&intents->table, &s->item)) {
        free(s);
        return NULL;
    }
    mp_list_push(&intents->queue, &s->item.link);
    intents->item_bytes += set_bytes(s);
    return s;
}

/* The set to write to, empty if what was in it is over. */
static set *open_set(mp_mintents *intents, const mp_key *key, int64_t now_ms, mp_mbegin *why) {
    mp_mitem *item = mp_mtable_find(&intents->table, (uint32_t)key->hash, key->name, key->len);
    if (item) {
        purge(intents, set_of(item), item->expires > now_ms ? now_ms : INT64_MAX);
        return set_of(item);
    }
    *why = MP_MBEGIN_CROWDED;
    if (!make_room(intents, now_ms)) return NULL;
    *why = MP_MBEGIN_NO_MEMORY;
    return new_set(intents, key);
}

mp_mbegin mp_mintents_begin(mp_mintents *intents, const mp_key *key, const uint8_t *token, bool again,
                            int64_t intent_ms, int64_t now_ms) {
    mp_mbegin why = MP_MBEGUN;
    set *s = open_set(intents, key, now_ms, &why);
    if (!s) return why;
    member *mine = find_member(s, token);
    bool others = s->count > (mine ? 1u : 0u), lost = again && !mine;
    int64_t deadline = later(now_ms, intent_ms);
    if (!mine) {
        if (!(mine = malloc(sizeof *mine))) {
            if (!s->count) drop(intents, s);
            return MP_MBEGIN_NO_MEMORY;
        }
        *mine = (member){.next = s->first, .deadline = deadline};
        memcpy(mine->token, token, MP_TOKEN_LEN);
        s->first = mine;
        s->count++;
        intents->item_bytes += MEMBER_BYTES;
    }
    if (deadline > mine->deadline) mine->deadline = deadline;
    if (others || lost) mark(s);
    if (deadline > s->item.expires) s->item.expires = deadline;
    mp_list_remove(&s->item.link);
    mp_list_push(&intents->queue, &s->item.link);
    return MP_MBEGUN;
}

bool mp_mintents_end(mp_mintents *intents, const mp_key *key, const uint8_t *token, int64_t now_ms, int64_t *until) {
    set *s = find(intents, key, now_ms);
    *until = 0;
    if (!s) return false;
    member *mine = find_member(s, token);
    bool alone = mine && s->count == 1;
    if (mine) *until = mine->deadline;
    if (mine) remove_member(intents, s, mine);
    if (!s->count || (s->count == 1 && s->mark)) drop(intents, s);
    else if (!mine) mark(s); /* a foreign writer: those in flight were not alone */
    return alone;
}

bool mp_mintents_stand(mp_mintents *intents, const mp_key *key, int64_t now_ms) {
    set *s = find(intents, key, now_ms);
    if (!s) return false;
    purge(intents, s, now_ms);
    if (s->count) return true;
    drop(intents, s);
    return false;
}

bool mp_mintents_exist(const mp_mintents *intents, const mp_key *key, int64_t now_ms) {
    return find(intents, key, now_ms) != NULL;
}

int64_t mp_mintents_left(const mp_mintents *intents, const mp_key *key, int64_t now_ms) {
    const set *s = find(intents, key, now_ms);
    return s ? s->item.expires - now_ms : 0;
}

unsigned mp_mintents_count(const mp_mintents *intents, const mp_key *key, int64_t now_ms) {
    const set *s = find(intents, key, now_ms);
    return s ? s->count : 0;
}

int64_t mp_mintents_bytes(const mp_mintents *intents) { return intents->table.bytes + intents->item_bytes; }
