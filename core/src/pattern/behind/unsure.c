#include "pattern/behind/unsure.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "model/behind.h"
#include "pattern/pond.h"
#include "pattern/behind/shards.h"
#include "pattern/wait.h"

/* Of no record, and of no entry: such an ack takes none away. */
#define NO_VERSION INT64_MAX
#define NOWHERE "-1"

struct mp_unsure {
    struct mp_unsure *next;
    uint8_t shard;
    size_t len;
    char key[]; /* NUL-terminated */
};

static void note(mp_backlog *b, uint8_t shard, const mp_flush_row *row) {
    struct mp_unsure *u = malloc(sizeof *u + row->id_len + 2);
    if (!u) return;
    *u = (struct mp_unsure){.next = b->unsure, .shard = shard, .len = row->id_len + 1};
    u->key[0] = 's'; /* the user's key of a document */
    memcpy(u->key + 1, row->id, row->id_len);
    u->key[u->len] = 0;
    b->unsure = u;
}

void mp_unsure_note(mp_backlog *b, const mp_flush_row *rows, const uint8_t *shards, size_t n) {
    if (mp_backlog_embedded(b)) return; /* a journal loses nothing while its process lives */
    for (size_t i = 0; i < n; i++) note(b, shards[i], &rows[i]);
}

void mp_unsure_clear(mp_backlog *b) {
    for (struct mp_unsure *next; b->unsure; b->unsure = next) {
        next = b->unsure->next;
        free(b->unsure);
    }
}

/* The acks, each with its part of `entries`. */
static void ask(const mp_backlog *b, mp_shards *s, mp_behind_entry *entries) {
    s->backlog = b;
    for (uint8_t i = 0; i < MP_BACKLOG_SHARDS; i++) {
        size_t n = 0;
        for (struct mp_unsure *u = b->unsure; u; u = u->next) {
            if (u->shard != i) continue;
            entries[n] = (mp_behind_entry){.id = NOWHERE, .key = u->key, .key_len = u->len, .version = NO_VERSION};
            n++;
        }
        if (!n) continue;
        mp_behind *behind = mp_shards_add(s, MP_ACK, i)->behind;
        behind->entries = entries;
        behind->count = n;
        entries += n;
    }
}

int mp_unsure_settle(mp_backlog *b, pond_error **err) {
    size_t n = 0;
    for (const struct mp_unsure *u = b->unsure; u; u = u->next) n++;
    if (!n) return POND_OK;
    mp_shards *s = calloc(1, sizeof *s);
    mp_behind_entry *entries = calloc(n, sizeof *entries);
    int code = s && entries ? mp_wait_invalidate(b->pond, b->policy, NULL, NULL, 0, b->pages, true, err)
                            : mp_fail(err, POND_ENOMEM, "no memory for what the store may have got");
    if (code == POND_OK) {
        ask(b, s, entries);
        code = mp_shards_send(s, err);
    }
    if (code == POND_OK) mp_unsure_clear(b);
    free(entries);
    free(s);
    return code;
}
