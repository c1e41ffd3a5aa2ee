/* Errors ride with the result: a code for machines, a sentence for people, `retriable` for both.
 *
 * Conventions of every header here:
 *   - A function that can fail returns POND_OK (0) or a negative code and, where it takes `pond_error **err`,
 *     stores a new error there (yours: pond_error_free). `err` may be NULL.
 *   - A returned pointer is borrowed; what comes through `T **out` is yours. Every free function takes NULL.
 *   - Text going in is (pointer, length) where it may hold any byte, and NUL-terminated where it is an option.
 *   - Times are milliseconds on the monotonic clock unless a name says otherwise.
 */
#ifndef MILLPOND_ERROR_H
#define MILLPOND_ERROR_H

#include <millpond/export.h>

POND_BEGIN_DECLS

/* name, number, retriable by default, what it means. Numbers never change; new ones go to the end. */
#define POND_ERROR_MAP(X)                                                                                              \
    X(OPTION, -1, 0, "an option is unknown, or its value is out of range")                                             \
    X(URL, -2, 0, "a cache or store address cannot be used")                                                           \
    X(KEY, -3, 0, "a key is empty, too long, or not clean UTF-8")                                                      \
    X(VALUE, -4, 0, "a value is too large, not clean UTF-8, or of a type that cannot be stored")                       \
    X(LOADER, -5, 0, "the loader failed")                                                                              \
    X(TIMEOUT, -6, 1, "the deadline passed")                                                                           \
    X(CACHE, -7, 1, "the cache cannot be reached, or refused the command")                                             \
    X(STORE, -8, 1, "the store cannot be reached, or refused the statement")                                           \
    X(CLOSED, -9, 0, "the pond is closed")                                                                             \
    X(DEADLOCK, -10, 0, "a loader asked for the key that it is loading")                                               \
    X(CANCELED, -11, 0, "the request was cancelled")                                                                   \
    X(INTERRUPTED, -12, 0, "a signal interrupted the wait")                                                            \
    X(NOMEM, -13, 1, "no memory")                                                                                      \
    X(PROTOCOL, -14, 1, "the server answered something unexpected")                                                    \
    X(OVERLOAD, -15, 1, "too much is waiting to be sent")                                                              \
    X(MISUSE, -16, 0, "the library was called in a way that it does not allow")                                        \
    X(ABSENT, -17, 0, "there is no such thing: to be changed, or where absence was asked to be an error")              \
    X(QUERY, -18, 0, "a query asks for something that is not allowed or not understood")                               \
    X(DUPLICATE, -19, 0, "a document with that id is there already")                                                   \
    X(INVALID, -20, 0, "a validation rejected the document")

typedef enum pond_code {
    POND_OK = 0,
#define X(name, number, retriable, text) POND_E##name = number,
    POND_ERROR_MAP(X)
#undef X
} pond_code;

typedef struct pond_error pond_error;

/* The code, one of pond_code. @threads any */
POND_API int pond_error_code(const pond_error *error);
/* A sentence that names the thing and says what to do next. Borrowed from the error. @threads any */
POND_API const char *pond_error_message(const pond_error *error);
/* 1 if the same call may succeed later without a change. @threads any */
POND_API int pond_error_retriable(const pond_error *error);
/* Which rule a query broke (code POND_EQUERY), one of: bad_field bad_operator bad_type bad_value bad_number bad_page
 * bad_encoding duplicate too_long sort_arrays. NULL for every other error. Static. @threads any */
POND_API const char *pond_error_reason(const pond_error *error);
/* Another reference to the same error (errors never change). @threads any */
POND_API pond_error *pond_error_ref(pond_error *error);
POND_API void pond_error_free(pond_error *error);

/* The name of a code, as "POND_ETIMEOUT"; "POND_E?" if unknown. Static. @threads any */
POND_API const char *pond_code_name(int code);
/* What a code means, a phrase. Static. @threads any */
POND_API const char *pond_code_text(int code);

/* What a host (a binding) hung on the error with pond_load_fail_with: its own exception object. NULL if the error
 * came from elsewhere or belongs to another owner. Borrowed. @threads any */
POND_API void *pond_error_attachment(const pond_error *error, const void *owner);

POND_END_DECLS

#endif
