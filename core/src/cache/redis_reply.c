#include "cache/redis_reply.h"

#include <stdlib.h>
#include <string.h>

void mp_reply_free(redisReply *r) {
    if (!r) return;
    for (size_t i = 0; r->element && i < r->elements; i++) mp_reply_free(r->element[i]);
    free(r->element);
    free(r);
}

static void free_object(void *r) { mp_reply_free(r); }

/* Puts a reply into the array that it belongs to. */
static void *placed(const redisReadTask *task, redisReply *r) {
    if (r && task->parent) {
        redisReply *parent = task->parent->obj;
        parent->element[task->idx] = r;
    }
    return r;
}

static void *make_text(const redisReadTask *task, char *str, size_t len) {
    mp_text *t = malloc(sizeof *t + len + 1);
    if (!t) return NULL;
    memset(&t->reply, 0, sizeof t->reply);
    t->reply.type = task->type;
    t->reply.str = t->bytes;
    t->reply.len = len;
    memcpy(t->bytes, str, len);
    t->bytes[len] = 0;
    return placed(task, &t->reply);
}

static redisReply *plain(int type) {
    redisReply *r = calloc(1, sizeof *r);
    if (r) r->type = type;
    return r;
}

static void *make_array(const redisReadTask *task, size_t elements) {
    redisReply *r = plain(task->type);
    if (r && elements) {
        r->element = calloc(elements, sizeof r->element[0]);
        if (!r->element) {
            free(r);
            return NULL;
        }
    }
    if (r) r->elements = elements;
    return placed(task, r);
}

static void *make_integer(const redisReadTask *task, long long value) {
    redisReply *r = plain(REDIS_REPLY_INTEGER);
    if (r) r->integer = value;
    return placed(task, r);
}

static void *make_double(const redisReadTask *task, double value, char *str, size_t len) {
    redisReply *r = make_text(task, str, len);
    if (r) r->dval = value;
    return r;
}

static void *make_nil(const redisReadTask *task) {
    return placed(task, plain(REDIS_REPLY_NIL)); /* the task only knows that a text was to come */
}

static void *make_bool(const redisReadTask *task, int value) { return make_integer(task, value != 0); }

redisReplyObjectFunctions mp_reply_functions = {
    .createString = make_text,
    .createArray = make_array,
    .createInteger = make_integer,
    .createDouble = make_double,
    .createNil = make_nil,
    .createBool = make_bool,
    .freeObject = free_object,
};

static void free_value(pond_value *value) { free((char *)value - offsetof(mp_text, value)); }

pond_value *mp_reply_value(redisReply *r, pond_codec codec, const char *at, size_t len) {
    mp_text *t = (mp_text *)r;
    t->value = (pond_value){
        .refs = 1, .state = POND_VALUE, .codec = (uint8_t)codec, .len = (uint32_t)len, .data = at, .free = free_value};
    return &t->value;
}
