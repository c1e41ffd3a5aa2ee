#include "base/error.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

struct pond_error {
    _Atomic unsigned refs; /* 0: static, neither counted nor freed */
    int code;
    int retriable;
    const char *message;
    const char *reason; /* static, or NULL */
    const void *owner;
    void *object;
    void (*release)(void *object);
};

/* The message of an error that is not static follows it. */
static char *text_of(pond_error *error) { return (char *)(error + 1); }

/* What stands in for an error that finds no memory: the code and `retriable` stay right, only the details are lost. */
static const struct row {
    int code, retriable;
    const char *name, *text;
    pond_error spare;
} rows[] = {
#define X(name, number, retriable, text)                                                                               \
    {number, retriable, "POND_E" #name, text, {0, number, retriable, text " (no memory for details)", 0, 0, 0, 0}},
    POND_ERROR_MAP(X)
#undef X
};

static const struct row *row_of(int code) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].code == code) return &rows[i];
    return NULL;
}

static pond_error *spare_of(int code) {
    const struct row *row = row_of(code);
    if (row == NULL) row = row_of(POND_ENOMEM);
    return (pond_error *)&row->spare; /* refs 0: nobody writes to it */
}

/* Messages often quote what came from outside; whoever shows one may rely on UTF-8. */
static void clean(char *text, size_t len) {
    for (size_t at = 0; (at += mp_utf8_check(text + at, len - at)) < len;) text[at++] = '?';
}

static pond_error *blank(int code, int retriable, size_t len) {
    pond_error *error = len < SIZE_MAX / 2 ? malloc(sizeof *error + len + 1) : NULL;
    if (error == NULL) return NULL;
    atomic_init(&error->refs, 1);
    error->code = code;
    error->retriable = retriable;
    error->message = text_of(error);
    error->reason = NULL;
    error->owner = NULL;
    error->object = NULL;
    error->release = NULL;
    text_of(error)[len] = 0;
    return error;
}

static int default_retriable(int code) {
    const struct row *row = row_of(code);
    return row != NULL && row->retriable;
}

static pond_error *make(int code, int retriable, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    pond_error *error = len < 0 ? NULL : blank(code, retriable, (size_t)len);
    if (error != NULL) {
        vsnprintf(text_of(error), (size_t)len + 1, format, again);
        clean(text_of(error), (size_t)len);
    }
    va_end(again);
    return error != NULL ? error : spare_of(code);
}

int mp_fail(pond_error **err, int code, const char *format, ...) {
    if (err == NULL) return code;
    va_list args;
    va_start(args, format);
    *err = make(code, default_retriable(code), format, args);
    va_end(args);
    return code;
}

int mp_fail_reason(pond_error **err, int code, const char *reason, const char *format, ...) {
    if (err == NULL) return code;
    va_list args;
    va_start(args, format);
    *err = make(code, default_retriable(code), format, args);
    va_end(args);
    if (atomic_load_explicit(&(*err)->refs, memory_order_relaxed) != 0)
        (*err)->reason = reason; /* not of a spare one */
    return code;
}

pond_error *mp_error_new(int code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    pond_error *error = make(code, default_retriable(code), format, args);
    va_end(args);
    return error;
}

pond_error *mp_error_new_retriable(int code, int retriable, const char *format, ...) {
    va_list args;
    va_start(args, format);
    pond_error *error = make(code, retriable != 0, format, args);
    va_end(args);
    return error;
}

pond_error *mp_error_with(int code, const char *message, const void *owner, void *object, void (*release)(void *)) {
    if (message == NULL) message = pond_code_text(code);
    size_t len = strlen(message);
    pond_error *error = blank(code, default_retriable(code), len);
    if (error == NULL) {
        if (release != NULL) release(object); /* promised once, whatever happens */
        return spare_of(code);
    }
    memcpy(text_of(error), message, len);
    clean(text_of(error), len);
    error->owner = owner;
    error->object = object;
    error->release = release;
    return error;
}

int pond_error_code(const pond_error *error) { return error != NULL ? error->code : POND_OK; }

const char *pond_error_message(const pond_error *error) { return error != NULL ? error->message : ""; }

const char *pond_error_reason(const pond_error *error) { return error != NULL ? error->reason : NULL; }

int pond_error_retriable(const pond_error *error) { return error != NULL && error->retriable; }

void *pond_error_attachment(const pond_error *error, const void *owner) {
    return error != NULL && error->owner == owner ? error->object : NULL;
}

pond_error *pond_error_ref(pond_error *error) {
    if (error != NULL && atomic_load_explicit(&error->refs, memory_order_relaxed) != 0)
        atomic_fetch_add_explicit(&error->refs, 1, memory_order_relaxed);
    return error;
}

void pond_error_free(pond_error *error) {
    if (error == NULL || atomic_load_explicit(&error->refs, memory_order_relaxed) == 0) return;
    if (atomic_fetch_sub_explicit(&error->refs, 1, memory_order_acq_rel) != 1) return;
    if (error->release != NULL) error->release(error->object);
    free(error);
}

const char *pond_code_name(int code) {
    const struct row *row = row_of(code);
    return code == POND_OK ? "POND_OK" : row != NULL ? row->name : "POND_E?";
}

const char *pond_code_text(int code) {
    const struct row *row = row_of(code);
    return code == POND_OK ? "no error" : row != NULL ? row->text : "an unknown error";
}
