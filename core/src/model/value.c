#include "model/value.h"

#include <stdlib.h>
#include <string.h>

/* A static value has no `free`. Nor is it counted, so threads that answer absences do not fight for its cache line. */
static pond_value absent_value = {.state = POND_ABSENT, .data = ""};
static pond_value miss_value = {.state = POND_MISS, .data = ""};

pond_value *mp_value_absent(void) { return &absent_value; }

pond_value *mp_value_miss(void) { return &miss_value; }

static void free_whole(pond_value *self) { free(self); }

static void free_adopted(pond_value *self) {
    free((char *)self->data);
    free(self);
}

static void fill(pond_value *value, pond_state state, pond_codec codec, const char *data, size_t len,
                 void (*free_it)(pond_value *)) {
    atomic_init(&value->refs, 1);
    value->state = (uint8_t)state;
    value->codec = (uint8_t)codec;
    value->stale = false;
    value->len = (uint32_t)len;
    value->version = 0;
    value->data = data;
    value->free = free_it;
}

pond_value *mp_value_new(pond_state state, pond_codec codec, const void *data, size_t len) {
    if (len >= UINT32_MAX) return NULL;
    pond_value *value = malloc(sizeof *value + len + 1);
    if (value == NULL) return NULL;
    char *bytes = (char *)(value + 1);
    if (len > 0) memcpy(bytes, data, len);
    bytes[len] = 0;
    fill(value, state, codec, bytes, len, free_whole);
    return value;
}

pond_value *mp_value_adopt(pond_codec codec, char *data, size_t len) {
    pond_value *value = data != NULL && len < UINT32_MAX ? malloc(sizeof *value) : NULL;
    if (value == NULL) {
        free(data);
        return NULL;
    }
    fill(value, POND_VALUE, codec, data, len, free_adopted);
    return value;
}

typedef struct stale {
    pond_value value;
    pond_value *of;
} stale;

static void free_stale(pond_value *self) {
    pond_value_free(((stale *)self)->of);
    free(self);
}

pond_value *mp_value_stale(pond_value *of) {
    stale *s = malloc(sizeof *s);
    if (s == NULL) {
        pond_value_free(of);
        return NULL;
    }
    fill(&s->value, (pond_state)of->state, (pond_codec)of->codec, of->data, of->len, free_stale);
    s->value.stale = true;
    s->of = of;
    return &s->value;
}

pond_state pond_value_state(const pond_value *value) { return value != NULL ? (pond_state)value->state : POND_MISS; }

pond_codec pond_value_codec(const pond_value *value) { return value != NULL ? (pond_codec)value->codec : POND_NONE; }

int pond_value_stale(const pond_value *value) { return value != NULL && value->stale; }

const char *pond_value_data(const pond_value *value, size_t *len) {
    if (len != NULL) *len = value != NULL ? value->len : 0;
    return value != NULL ? value->data : "";
}

pond_value *pond_value_ref(pond_value *value) {
    if (value != NULL && value->free != NULL) atomic_fetch_add_explicit(&value->refs, 1, memory_order_relaxed);
    return value;
}

void pond_value_free(pond_value *value) {
    if (value == NULL || value->free == NULL) return;
    if (atomic_fetch_sub_explicit(&value->refs, 1, memory_order_acq_rel) == 1) value->free(value);
}
