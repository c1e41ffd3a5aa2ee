/* Making errors. An error can always be made: without memory it is a static one. */
#ifndef MP_BASE_ERROR_H
#define MP_BASE_ERROR_H

#include <stdarg.h>
#include <millpond/error.h>

/* Stores a new error in *err (if err is not NULL, and after freeing nothing: *err must be unset) and returns `code`. */
int mp_fail(pond_error **err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same with a reason, a static text: what pond_error_reason answers. */
int mp_fail_reason(pond_error **err, int code, const char *reason, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
pond_error *mp_error_new(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* With `retriable` other than the code's default. */
pond_error *mp_error_new_retriable(int code, int retriable, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Hangs a host's object on a new error; `release(object)` runs when the last reference goes. */
pond_error *mp_error_with(int code, const char *message, const void *owner, void *object, void (*release)(void *));

#endif
