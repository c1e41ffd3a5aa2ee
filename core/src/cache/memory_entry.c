#include "cache/memory_entry.h"

#include <stdlib.h>
#include <string.h>

/* A small value is copied into the block of its entry, so that a hit touches a line of the table and one or two of this
 * block, and waits for memory twice, not three times; the block lives until the last reference to the value has gone. A
 * large one is kept by reference, and an absence needs nothing, as it is always the same one. */
#define WHOLE 0u   /* struct whole, then the key, then the payload and its NUL */
#define APART 8u   /* struct apart, then the key */
#define ABSENT 16u /* mp_mitem, then the key */
#define TAGGED 24u /* struct tagged, then the key, then the generations; the value apart, or the absence */
/* Right before the key there is an mp_mage where MP_MENTRY_AGED says so, and before that a stamp where MP_MENTRY_STAMPED does. */

#define WHOLE_MAX 1024 /* bytes of payload: beyond, what a reader does with the value costs more than finding it */

struct whole {
    mp_mitem item;
    pond_value value;
};

struct apart {
    mp_mitem item;
    pond_value *value;
};

struct tagged {
    mp_mitem item;
    pond_value *value;
    uint8_t ntags;
};

static unsigned kind_of(const pond_value *value, uint8_t ntags) {
    if (ntags) return TAGGED;
    if (value->state == POND_ABSENT) return ABSENT;
    return value->len <= WHOLE_MAX ? WHOLE : APART;
}

static size_t head_of(unsigned kind) {
    switch (kind) {
    case WHOLE: return sizeof(struct whole);
    case APART: return sizeof(struct apart);
    case TAGGED: return sizeof(struct tagged);
    default: return sizeof(mp_mitem);
    }
}

static struct whole *whole_of(mp_mitem *entry) { return MP_OF(entry, struct whole, item); }
static struct apart *apart_of(mp_mitem *entry) { return MP_OF(entry, struct apart, item); }
static struct tagged *tagged_of(const mp_mitem *entry) { return MP_OF(entry, struct tagged, item); }

static void free_whole(pond_value *self) { free(MP_OF(self, struct whole, value)); }

static unsigned extras_of(bool aged, bool stamped) {
    return (aged ? MP_MENTRY_AGED : 0) | (stamped ? MP_MENTRY_STAMPED : 0);
}

static size_t age_size(unsigned marks) { return marks & MP_MENTRY_AGED ? sizeof(mp_mage) : 0; }

static size_t key_at(unsigned kind, unsigned extras) {
    return head_of(kind) + (extras & MP_MENTRY_STAMPED ? sizeof(uint64_t) : 0) + age_size(extras);
}

static size_t block_of(unsigned kind, unsigned extras, size_t key_len, const pond_value *value, uint8_t ntags) {
    return key_at(kind, extras) + key_len + (kind == WHOLE ? (size_t)value->len + 1 : 0) + (size_t)ntags * MP_TAG_SIZE;
}

/* A value of two blocks is not told from one of one, so two are counted. */
static int64_t apart_bytes(const pond_value *value) {
    return mp_mblock_bytes(sizeof *value) + mp_mblock_bytes((size_t)value->len + 1);
}

static int64_t bytes_of(unsigned kind, unsigned extras, size_t key_len, const pond_value *value, uint8_t ntags) {
    bool apart = kind == APART || (kind == TAGGED && value->state != POND_ABSENT);
    return mp_mblock_bytes(block_of(kind, extras, key_len, value, ntags)) + (apart ? apart_bytes(value) : 0);
}

mp_mitem *mp_mentry_new(const mp_key *key, pond_value *value, const uint8_t *generations, uint8_t ntags,
                        const mp_mage *age, uint64_t stamp, int64_t expires) {
    unsigned kind = kind_of(value, ntags), extras = extras_of(age, stamp);
    mp_mitem *entry = malloc(block_of(kind, extras, key->len, value, ntags));
    if (!entry) return NULL;
    mp_list_init(&entry->link);
    entry->expires = expires;
    entry->hash = (uint32_t)key->hash;
    entry->key_len = (uint16_t)key->len;
    entry->key_at = (uint8_t)key_at(kind, extras);
    entry->marks = (uint8_t)(kind | extras);
    char *bytes = (char *)entry + entry->key_at;
    if (stamp) mp_mentry_set_stamp(entry, stamp);
    if (age) memcpy(bytes - sizeof *age, age, sizeof *age);
    memcpy(bytes, key->name, key->len);
    if (kind == APART) {
        apart_of(entry)->value = pond_value_ref(value);
    } else if (kind == TAGGED) {
        tagged_of(entry)->value = pond_value_ref(value);
        tagged_of(entry)->ntags = ntags;
        memcpy(bytes + key->len, generations, (size_t)ntags * MP_TAG_SIZE);
    } else if (kind == WHOLE) {
        char *payload = bytes + key->len;
        pond_value *own = &whole_of(entry)->value;
        memcpy(payload, value->data, value->len);
        payload[value->len] = 0;
        atomic_init(&own->refs, 1);
        own->state = value->state;
        own->codec = value->codec;
        own->stale = false;
        own->len = value->len;
        own->version = value->version;
        own->data = payload;
        own->free = free_whole;
    }
    return entry;
}

static unsigned kind(const mp_mitem *entry) { return entry->marks & MP_MENTRY_KIND; }

mp_mage mp_mentry_age(const mp_mitem *entry) {
    mp_mage age = {0, 0};
    if (entry->marks & MP_MENTRY_AGED) memcpy(&age, mp_mitem_key(entry) - sizeof age, sizeof age);
    return age;
}

bool mp_mentry_kept(const mp_mitem *entry, int64_t now_ms) {
    return (entry->marks & MP_MENTRY_AGED) && now_ms - entry->expires < (int64_t)mp_mentry_age(entry).keep_ms;
}

static char *stamp_of(const mp_mitem *entry) {
    return (char *)entry + entry->key_at - age_size(entry->marks) - sizeof(uint64_t);
}

uint64_t mp_mentry_stamp(const mp_mitem *entry) {
    uint64_t stamp = 0;
    if (entry->marks & MP_MENTRY_STAMPED) memcpy(&stamp, stamp_of(entry), sizeof stamp);
    return stamp;
}

void mp_mentry_set_stamp(mp_mitem *entry, uint64_t stamp) { memcpy(stamp_of(entry), &stamp, sizeof stamp); }

pond_value *mp_mentry_value(mp_mitem *entry) {
    switch (kind(entry)) {
    case WHOLE: return &whole_of(entry)->value;
    case APART: return apart_of(entry)->value;
    case ABSENT: return mp_value_absent();
    default: return NULL;
    }
}

uint8_t mp_mentry_tags(const mp_mitem *entry, const uint8_t **generations) {
    if (kind(entry) != TAGGED) return 0;
    *generations = (const uint8_t *)mp_mitem_key(entry) + entry->key_len;
    return tagged_of(entry)->ntags;
}

pond_value *mp_mentry_tagged(mp_mitem *entry, uint8_t ntags, const uint8_t **generations) {
    if (mp_mentry_tags(entry, generations) != ntags) return NULL;
    return ntags ? tagged_of(entry)->value : mp_mentry_value(entry);
}

int64_t mp_mentry_bytes(const mp_mitem *entry) {
    const uint8_t *generations;
    uint8_t ntags = mp_mentry_tags(entry, &generations);
    return bytes_of(kind(entry), entry->marks, entry->key_len, mp_mentry_tagged((mp_mitem *)entry, ntags, &generations),
                    ntags);
}

int64_t mp_mentry_bytes_of(const mp_key *key, const pond_value *value, uint8_t ntags, bool aged, bool stamped) {
    return bytes_of(kind_of(value, ntags), extras_of(aged, stamped), key->len, value, ntags);
}

void mp_mentry_free(mp_mitem *entry) {
    switch (kind(entry)) {
    case WHOLE: pond_value_free(&whole_of(entry)->value); return; /* the block lives as long as the value */
    case APART: pond_value_free(apart_of(entry)->value); break;
    case TAGGED: pond_value_free(tagged_of(entry)->value); break;
    default: break;
    }
    free(entry);
}
